// One JSON line on standard output, at once. Whoever reads the pipe may be slower than we are.
import { writeSync } from 'node:fs';

export function say(line) {
  const text = `${JSON.stringify(line)}\n`;
  for (;;) {
    try {
      writeSync(1, text); // shorter than PIPE_BUF: all of it or nothing
      return;
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}
