/** SIGTERM and SIGINT drain and end with 0; a second SIGINT does not wait. */
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, describeError } from './cli-error.js';
import type { CliOutput } from './output.js';

export function stopOnSignals(stop: () => Promise<void>, output: CliOutput): void {
  let interrupts = 0;
  let stopping: Promise<void> | undefined;
  const begin = (): void => {
    stopping ??= stop().then(
      () => process.exit(EXIT_OK),
      (error: unknown) => {
        output.errorLine(`nidomq could not stop in peace: ${describeError(error)}`);
        process.exit(EXIT_FAILED);
      },
    );
  };
  process.on('SIGTERM', begin);
  process.on('SIGINT', () => {
    interrupts++;
    if (interrupts > 1) process.exit(EXIT_INTERRUPTED);
    begin();
    output.errorLine('nidomq: once more to stop at once');
  });
}
