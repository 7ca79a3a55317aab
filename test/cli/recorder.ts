/** Runs a command line in this process and keeps what it said. */
import type { CliOutput } from '../../lib/cli/output.js';
import { runCommandLine } from '../../lib/cli/program.js';

export interface Said {
  readonly status: number;
  readonly lines: string;
  readonly errors: string;
}

export async function say(...words: string[]): Promise<Said> {
  const lines: string[] = [];
  const errors: string[] = [];
  const output: CliOutput = {
    line: (text) => void lines.push(text),
    errorLine: (text) => void errors.push(text),
  };
  const status = await runCommandLine(words, output);
  return { status, lines: lines.join('\n'), errors: errors.join('\n') };
}
