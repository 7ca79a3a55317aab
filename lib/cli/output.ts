/** Where commands write: lines for a person or a pipe, and nowhere else. */
export interface CliOutput {
  line(text: string): void;
  errorLine(text: string): void;
}

export const processOutput: CliOutput = {
  line: (text) => void process.stdout.write(`${text}\n`),
  errorLine: (text) => void process.stderr.write(`${text}\n`),
};
