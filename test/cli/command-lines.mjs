// Runs command lines of `nidomq` for a test, as many at once as there are, in one process: that one
// starts takes longer than most of them run. Takes `{ id, words }`, sends
// `{ id, status, out, err }`, for ever.
import { AsyncLocalStorage } from 'node:async_hooks';
import { runCommandLine } from '../../dist/cli/program.js';

const running = new AsyncLocalStorage();

// What `sub` prints goes to stdout as it is, because it need not be text.
process.stdout.write = (chunk) => {
  running.getStore().push(Buffer.from(chunk));
  return true;
};

process.on('message', async ({ id, words }) => {
  const out = [];
  const err = [];
  const output = {
    line: (text) => void out.push(Buffer.from(`${text}\n`)),
    errorLine: (text) => void err.push(`${text}\n`),
  };
  const status = await running.run(out, () => runCommandLine(words, output));
  process.send({ id, status, out: Buffer.concat(out), err: err.join('') });
});
