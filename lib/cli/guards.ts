/** Makes the guards that a configuration names, ready for the options of a broker. */
import type { BrokerOptions } from '../broker/broker-options.js';
import type { CliOutput } from './output.js';
import type { Settings } from './settings.js';

export interface OpenGuard {
  readonly options: Pick<
    BrokerOptions, 'authentication' | 'enhancedAuthentication' | 'authorization'
  >;
  /** SIGHUP reads passwords and rules again, as with mosquitto. */
  reloadOnSignal(output: CliOutput): void;
  close(): void;
}

/** undefined when nothing is named. Throws a GuardError for what cannot be built. */
export async function openGuard(settings: Settings): Promise<OpenGuard | undefined> {
  const { authentication, authorization } = settings;
  if (authentication.length === 0 && authorization === undefined) return undefined;
  const { buildGuard } = await import('../guard/index.js');
  const { TopicMatcher } = await import('../core/topic-matcher.js');
  const guard = buildGuard(
    { authentication, authorization }, { createFilterSet: () => new TopicMatcher() },
  );
  return {
    options: {
      authentication: guard.authentication,
      enhancedAuthentication: guard.enhancedAuthentication,
      authorization: guard.authorization,
    },
    reloadOnSignal: (output) => {
      process.on('SIGHUP', () => {
        if (guard.reload()) output.line('nidomq has read its passwords and rules again');
        else output.errorLine('nidomq: a file was refused; its old content stays in force');
      });
    },
    close: () => guard.close(),
  };
}
