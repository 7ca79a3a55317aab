// `npm start [-- arguments of the example]` builds what is stale and runs the smart home of
// examples/casa; `npm run example -- NAME [arguments]` does the same with another example. The
// example runs in this process, so that Ctrl-C and SIGTERM reach it and nothing stays behind.
import './require-node.mjs';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from './toolbox.mjs';

if (!existsSync(join(ROOT, 'examples/casa/main.ts'))) {
  console.error(
    'examples/casa/main.ts is missing: this copy of the repository is not whole. Clone it again.',
  );
  process.exit(1);
}
const { compiledMain, exampleNames } = await import('./build-examples.mjs');
const name = process.argv[2] === '--example' ? process.argv.splice(2, 2)[1] : 'casa';
if (!exampleNames().includes(name)) {
  console.error(`There is no example ${name ?? '(no name given)'}: ${exampleNames().join(', ')}.`);
  process.exit(2);
}
await import(pathToFileURL(compiledMain(name)).href);
