/** `nidomq passwd`: users of a password file, in the format of mosquitto_passwd. */
import { Option } from 'commander';
import type { PasswordFormat } from '../../guard/index.js';
import type { RegisterCommand } from '../command.js';
import { CliError } from '../cli-error.js';
import { readPassword } from '../read-password.js';

interface PasswdFlags {
  readonly format?: PasswordFormat;
  readonly iterations?: string;
  readonly delete?: true;
  readonly print?: true;
}

const FORMATS: readonly PasswordFormat[] = ['pbkdf2-sha512', 'sha512', 'scrypt', 'scram-sha-256'];

export const registerPasswd: RegisterCommand = (program, output) => {
  program
    .command('passwd')
    .description('add a user to a password file, or change its password (typed, or from stdin)')
    .argument('[file]', 'made when there is none, readable by its owner only')
    .argument('[user]', 'name of the user')
    .addOption(new Option(
      '--format <name>', 'how it is stored; mosquitto reads the first two (default: pbkdf2-sha512)',
    ).choices([...FORMATS]))
    .option('--iterations <number>', 'work factor of pbkdf2-sha512 and scram-sha-256')
    .option('--delete', 'take the user out instead')
    .option('--print', 'print the hash alone, for `users` of a configuration: no file, no user')
    .action(async (file: string | undefined, user: string | undefined, flags: PasswdFlags) => {
      const { passwordLine, removeUser, setPassword } = await import('../../guard/index.js');
      if (flags.print) {
        refuseAll('--print', file, flags.delete);
        const password = await readPassword(process.stdin, output);
        output.line(await passwordLine({ password }, hashOptions(flags)));
        return;
      }
      if (file === undefined || user === undefined) {
        throw new CliError(
          'NIDO_CLI_FLAG_INVALID', 'passwd: name a file and a user, or use --print',
        );
      }
      if (flags.delete) {
        if (!removeUser(file, user)) {
          throw new CliError('NIDO_CLI_PASSWORD', `${file}: there is no user ${user}`);
        }
        output.line(`${user} is gone from ${file}`);
        return;
      }
      const password = await readPassword(process.stdin, output);
      const done = await setPassword(file, { username: user, password }, hashOptions(flags));
      output.line(done === 'added' ? `${user} was added to ${file}`
        : `${user} has a new password in ${file}`);
    });
};

function hashOptions(flags: PasswdFlags): { format?: PasswordFormat; iterations?: number } {
  return { format: flags.format, iterations: iterationsOf(flags) };
}

function refuseAll(flag: string, ...others: readonly unknown[]): void {
  if (others.every((other) => other === undefined)) return;
  throw new CliError('NIDO_CLI_FLAG_INVALID', `passwd: ${flag} goes alone, it touches no file`);
}

function iterationsOf({ iterations }: PasswdFlags): number | undefined {
  if (iterations === undefined) return undefined;
  if (/^[1-9]\d{0,7}$/.test(iterations)) return Number(iterations);
  throw new CliError('NIDO_CLI_FLAG_INVALID',
    `--iterations ${iterations}: must be a whole number from 1 to 99999999`);
}
