/** Makes the guards that a configuration names, ready for the options of a broker. */
import type { BrokerOptions } from '../broker/broker-options.js';
import type { BrokerLogger } from '../broker/logger.js';
import { CliError } from './cli-error.js';
import type { CliOutput } from './output.js';
import type { Settings } from './settings.js';

export interface OpenGuard {
  readonly options: Pick<
    BrokerOptions, 'authentication' | 'enhancedAuthentication' | 'authorization' | 'gate'
  >;
  /** Reads every file again. Throws when one was refused; its old content stays in force. */
  reload(): void;
  close(): void;
}

/**
 * undefined when the configuration names no guard: then nobody counts who comes and goes either.
 * Throws a GuardError for what cannot be built.
 */
export async function openGuard(
  settings: Settings, output: CliOutput,
): Promise<OpenGuard | undefined> {
  const config = settings.guard;
  if (Object.keys(config).length === 0) return undefined;
  const { createGuard } = await import('../guard/index.js');
  const guard = createGuard(config, { logger: loggerTo(output) });
  return {
    options: guard.brokerOptions,
    reload: () => {
      if (guard.reload()) return;
      throw new CliError('NIDO_CLI_RELOAD_REFUSED',
        'a file of passwords or rules is wrong (see above); its old content stays in force');
    },
    close: () => guard.close(),
  };
}

/** Guards say which line of which file is wrong; that is for whoever runs the command. */
function loggerTo(output: CliOutput): BrokerLogger {
  const write = (message: string): void => output.errorLine(`nidomq: ${message}`);
  return { error: write, warn: write };
}
