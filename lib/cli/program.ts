/** The command line as a whole: help, version, commands, and how a failure ends. */
import { Command, CommanderError } from 'commander';
import { BROKER_VERSION } from '../broker/sys-topics.js';
import { CommandEnded, EXIT_OK, EXIT_USAGE, describeError, exitStatusOf } from './cli-error.js';
import { COMMANDS } from './commands/index.js';
import type { CliOutput } from './output.js';

export function makeProgram(output: CliOutput): Command {
  const program = new Command('nidomq')
    .description('An MQTT 3.1, 3.1.1 and 5.0 broker')
    .version(BROKER_VERSION)
    .showHelpAfterError('(`nidomq --help` lists what there is)')
    .showSuggestionAfterError()
    .exitOverride()
    .enablePositionalOptions()
    .configureOutput({
      writeOut: (text) => output.line(text.trimEnd()),
      writeErr: (text) => output.errorLine(text.trimEnd()),
    });
  for (const register of COMMANDS) register(program, output);
  return program;
}

/** Runs one command line (without `node` and the script) and answers the exit status. */
export async function runCommandLine(
  words: readonly string[], output: CliOutput,
): Promise<number> {
  const program = makeProgram(output);
  try {
    await program.parseAsync(words, { from: 'user' });
    return EXIT_OK;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE;
    if (error instanceof CommandEnded) return error.status;
    output.errorLine(`nidomq: ${describeError(error)}`);
    return exitStatusOf(error);
  }
}
