// `npm test [-- arguments of jest]`. Builds what the tests need within the script itself, so that a
// clone works with `ignore-scripts` as well: the core (embedded in a generated module), then dist/
// (command and package tests run it).
import './require-node.mjs';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, runNode, toolPath } from './toolbox.mjs';

runNode(join(ROOT, 'scripts/build-wasm.mjs'), ['--if-stale']);
runNode(join(ROOT, 'scripts/build-lib.mjs'), ['--if-stale']);

// Nest 12 is ESM: jest needs vm modules on every version of Node, and Node warns about them in
// every worker.
const flags = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
const jest = toolPath('jest', 'bin/jest.js');
const child = spawn(process.execPath, [...flags, jest, ...process.argv.slice(2)], {
  cwd: ROOT,
  stdio: 'inherit',
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.on('exit', (status, signal) => process.exit(signal ? 1 : (status ?? 1)));
