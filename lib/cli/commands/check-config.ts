/** `nidomq check-config`: everything that is wrong with a configuration, without starting it. */
import { doorNames } from '../../broker/door-names.js';
import { OptionError } from '../../broker/errors.js';
import type { RegisterCommand } from '../command.js';
import { CliError, codeOf } from '../cli-error.js';
import type { ConfigProblem } from '../../guard/index.js';
import { removePath } from '../set-path.js';
import { readConfiguration, settingsOf } from '../settings.js';
import type { Settings, StartFlags } from '../settings.js';

type CheckFlags = Pick<StartFlags, 'set' | 'passwordFile' | 'aclFile' | 'allowAnonymous'>;

export const registerCheckConfig: RegisterCommand = (program, output) => {
  program
    .command('check-config')
    .description('say what is wrong with a configuration, and end with 2 when something is')
    .argument('<file>', 'JSON or YAML file of options')
    .option('--set <path=value>', 'as of `nidomq start`',
      (value: string, before: readonly string[] = []) => [...before, value])
    .option('--allow-anonymous', 'as of `nidomq start`')
    .option('--password-file <file>', 'as of `nidomq start`')
    .option('--acl-file <file>', 'as of `nidomq start`')
    .action(async (file: string, flags: CheckFlags) => {
      const problems: ConfigProblem[] = [];
      const config = await readConfiguration({ ...flags, config: file });
      const settings = whatIsRight(config, () => settingsOf(config), problems);
      if (settings !== undefined) problems.push(...await problemsOf(settings));
      for (const { severity, path, message, code } of problems) {
        output.line(`${severity}: ${path === '' ? '' : `${path}: `}${message} [${code}]`);
      }
      const errors = problems.filter(({ severity }) => severity === 'error').length;
      if (errors > 0) {
        throw new CliError('NIDO_CLI_CONFIG_FORMAT',
          `${file}: ${errors === 1 ? 'one error' : `${errors} errors`}; a server would not start`);
      }
      output.line(`${file}: a server would start with this`);
    });
};

/** More wrong options than this are not told one by one. */
const PROBLEMS_MAX = 100;

/**
 * What `read` makes of the configuration without what is wrong in it: every wrong option is noted
 * and taken out, so that the next one shows. undefined when something cannot be taken out.
 */
function whatIsRight<T>(config: object, read: () => T, problems: ConfigProblem[]): T | undefined {
  for (let left = PROBLEMS_MAX; left > 0; left -= 1) {
    try {
      return read();
    } catch (error) {
      problems.push(problemOf('', error));
      if (!(error instanceof OptionError) || !removePath(config, error.path)) return undefined;
    }
  }
  return undefined;
}

function problemOf(path: string, error: unknown): ConfigProblem {
  return {
    severity: 'error',
    path,
    code: codeOf(error) ?? 'NIDO_CLI_CONFIG_FORMAT',
    message: (error as Error).message,
  };
}

async function problemsOf(settings: Settings): Promise<ConfigProblem[]> {
  const { checkGuardConfig } = await import('../../guard/index.js');
  const { TopicMatcher } = await import('../../core/topic-matcher.js');
  const { resolveOptions } = await import('../../broker/options.js');
  const { Doors, doorProblems } = await import('../../broker/doors.js');
  const { BrokerLog } = await import('../../broker/broker-log.js');
  const problems = checkGuardConfig(
    settings.guard, { createFilterSet: () => new TopicMatcher() },
  );
  // Stand-ins: only whether there is one matters for who may come in at which door.
  const authentication = (settings.guard.authentication ?? []).map(() => ({
    authenticate: () => ({ ok: 'pass' as const }),
  }));
  const given = { ...settings.broker, authentication };
  const options = whatIsRight(given, () => resolveOptions(given), problems);
  if (options === undefined) return problems;
  try {
    new Doors(options, new BrokerLog(false));
    const doors = await doorProblems(options.listeners);
    for (const { at, error } of doors) problems.push(problemOf(`listeners[${at}]`, error));
    problems.push(...strangeNames(settings, doorNames(options.listeners)));
  } catch (error) {
    problems.push(problemOf('', error));
  }
  return problems;
}

/** An authenticator for a listener that there is not lets nobody in, and nobody would know why. */
function strangeNames(settings: Settings, names: readonly string[]): ConfigProblem[] {
  return (settings.guard.authentication ?? []).flatMap(({ listeners = [] }, at) =>
    [...listeners].filter((name) => !names.includes(name)).map((name) => ({
      severity: 'warning' as const,
      path: `authentication[${at}].listeners`,
      code: 'NIDO_LISTENER_NAME',
      message: `there is no listener ${JSON.stringify(name)}; there are ${names.join(', ')}`,
    })));
}
