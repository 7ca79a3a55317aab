/** What a server does when its process is signalled. */
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, describeError } from './cli-error.js';
import type { CliOutput } from './output.js';

/** SIGTERM and SIGINT drain and end with 0; a second SIGINT does not wait. */
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

/** SIGHUP reads certificates, passwords and rules again, as mosquitto does; connections stay. */
export function reloadOnHangup(reload: () => Promise<void>, output: CliOutput): void {
  process.on('SIGHUP', () => {
    reload().then(
      () => output.line('nidomq has read certificates, passwords and rules again'),
      (error: unknown) => {
        output.errorLine(`nidomq keeps what it had: ${describeError(error)}`);
      },
    );
  });
}
