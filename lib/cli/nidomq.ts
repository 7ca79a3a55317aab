/** The command `nidomq`. The build puts the shebang in front. */
import { EXIT_FAILED, EXIT_OK } from './cli-error.js';
import { processOutput } from './output.js';
import { runCommandLine } from './program.js';

// `nidomq options | head` closes the pipe early; that is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT_OK);
  processOutput.errorLine(`nidomq: standard output takes no more: ${error.message}`);
  process.exit(EXIT_FAILED);
});

void runCommandLine(process.argv.slice(2), processOutput).then((status) => {
  process.exitCode = status;
});
