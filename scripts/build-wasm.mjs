// Compiles assembly/ to build/core.wasm and embeds it into lib/core/wasm-binary.generated.ts.
// `--if-stale` does nothing when the result is younger than its sources.
import './require-node.mjs';
import { join } from 'node:path';
import { ROOT, isFresh, runNode, toolPath } from './toolbox.mjs';

const INPUTS = ['assembly', 'asconfig.json'];
const OUTPUTS = ['build/core.wasm', 'lib/core/wasm-binary.generated.ts'];

if (!(process.argv.includes('--if-stale') && isFresh(OUTPUTS, INPUTS))) {
  const asc = toolPath('assemblyscript', 'bin/asc.js');
  runNode(asc, ['assembly/index.ts', '--target', 'release']);
  runNode(join(ROOT, 'scripts/embed-wasm.mjs'), []);
}
