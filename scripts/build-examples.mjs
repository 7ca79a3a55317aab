// Compiles examples/ to build/nest when it is older than its sources. An example says
// `import ... from 'nidomq/nest'` as a user's program does: it is compiled against dist/ and runs
// on dist/, so the core and dist/ are built first.
import './require-node.mjs';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, isFresh, runNode, toolPath } from './toolbox.mjs';

const INPUTS = ['examples', 'build/dist.stamp', 'tsconfig.json', 'tsconfig.examples.json'];

/** Names of the folders of examples/. */
export function exampleNames() {
  return readdirSync(join(ROOT, 'examples'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name);
}

/** Path of the compiled main file of an example. */
export function compiledMain(name) {
  return join(ROOT, 'build/nest/examples', name, 'main.js');
}

runNode(join(ROOT, 'scripts/build-wasm.mjs'), ['--if-stale']);
runNode(join(ROOT, 'scripts/build-lib.mjs'), ['--if-stale']);
const outputs = exampleNames().map((name) => `build/nest/examples/${name}/main.js`);
if (!isFresh(outputs, INPUTS)) {
  runNode(toolPath('typescript', 'bin/tsc'), ['-p', 'tsconfig.examples.json']);
}
