/** A password from a person (nothing is shown) or from a pipe (its first line). */
import { createInterface } from 'node:readline';
import { StringDecoder } from 'node:string_decoder';
import { CliError } from './cli-error.js';
import type { CliOutput } from './output.js';

const BYTES_MAX = 65_536;
const INTERRUPT = '\u0003';
const END = '\u0004';
const BACKSPACES = ['\u007f', '\b'];

export type PasswordSource = NodeJS.ReadableStream & {
  readonly isTTY?: boolean;
  setRawMode?(mode: boolean): unknown;
};

export async function readPassword(source: PasswordSource, output: CliOutput): Promise<string> {
  if (source.isTTY !== true) return firstLine(source);
  const first = await typed(source, output, 'Password: ');
  const second = await typed(source, output, 'The same again: ');
  if (first === second) return first;
  throw new CliError('NIDO_CLI_PASSWORD', 'the two passwords differ: nothing was changed');
}

async function firstLine(source: NodeJS.ReadableStream): Promise<string> {
  const lines = createInterface({ input: source, crlfDelay: Infinity });
  try {
    for await (const line of lines) return line;
  } finally {
    lines.close();
  }
  throw new CliError('NIDO_CLI_PASSWORD',
    'no password came on stdin: type it when asked, or pipe it in');
}

function typed(source: PasswordSource, output: CliOutput, question: string): Promise<string> {
  output.errorLine(question);
  source.setRawMode?.(true);
  source.resume();
  const decoder = new StringDecoder('utf8');
  let text = '';
  return new Promise<string>((resolve, reject) => {
    const finish = (settle: () => void): void => {
      source.off('data', hear);
      source.setRawMode?.(false);
      source.pause();
      settle();
    };
    const hear = (chunk: Buffer | string): void => {
      for (const key of decoder.write(Buffer.from(chunk))) {
        if (key === '\r' || key === '\n') return finish(() => resolve(text));
        if (key === INTERRUPT || key === END) {
          return finish(() => reject(new CliError('NIDO_CLI_PASSWORD', 'nothing was changed')));
        }
        text = BACKSPACES.includes(key) ? [...text].slice(0, -1).join('') : text + key;
        if (text.length > BYTES_MAX) text = text.slice(0, BYTES_MAX);
      }
    };
    source.on('data', hear);
  });
}
