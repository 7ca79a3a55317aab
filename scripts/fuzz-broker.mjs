// `node scripts/fuzz-broker.mjs [cases] [seed]`: the fuzzer of the running broker, long. A failure
// prints its seed.
import './require-node.mjs';
import { spawnSync } from 'node:child_process';
import { ROOT, toolPath } from './toolbox.mjs';

const CASES_DEFAULT = '50000';
const [cases = CASES_DEFAULT, seed] = process.argv.slice(2);
const env = { ...process.env, NIDOMQ_FUZZ_CASES: cases };
if (seed !== undefined) env.NIDOMQ_FUZZ_SEED = seed;
const flags = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
const run = spawnSync(
  process.execPath, [...flags, toolPath('jest', 'bin/jest.js'), 'test/abuse/fuzz.test.ts'],
  { cwd: ROOT, stdio: 'inherit', env },
);
process.exit(run.status ?? 1);
