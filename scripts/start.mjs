// `npm start [-- arguments of the example]`: builds the package and the smart home of
// examples/casa, then becomes it. It runs in this process, so that Ctrl-C and SIGTERM reach the
// example and nothing stays behind.
import './require-node.mjs';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT, isFresh, runNode, toolPath } from './toolbox.mjs';

const SOURCE = 'examples/casa/main.ts';
const COMPILED = 'build/nest/examples/casa/main.js';

if (!existsSync(join(ROOT, SOURCE))) {
  console.error(`${SOURCE} is missing: this copy of the repository is not whole. Clone it again.`);
  process.exit(1);
}
runNode(join(ROOT, 'scripts/build-wasm.mjs'), ['--if-stale']);
runNode(join(ROOT, 'scripts/build-lib.mjs'), ['--if-stale']);
// The example says `import ... from 'nidomq'` as a user's program does: it is compiled against
// dist/ and runs on dist/.
const INPUTS = ['examples', 'build/dist.stamp', 'tsconfig.json', 'tsconfig.examples.json'];
if (!isFresh([COMPILED], INPUTS)) {
  runNode(toolPath('typescript', 'bin/tsc'), ['-p', 'tsconfig.examples.json']);
}
await import(pathToFileURL(join(ROOT, COMPILED)).href);
