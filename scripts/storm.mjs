// `node scripts/storm.mjs [clients]`: the storm of clients under one identifier, in full.
import './require-node.mjs';
import { spawnSync } from 'node:child_process';
import { ROOT, toolPath } from './toolbox.mjs';

const CLIENTS_DEFAULT = '10000';
const [clients = CLIENTS_DEFAULT] = process.argv.slice(2);
const env = { ...process.env, NIDOMQ_STORM_CLIENTS: clients };
const flags = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning'];
const run = spawnSync(
  process.execPath, [...flags, toolPath('jest', 'bin/jest.js'), 'test/abuse/storm.test.ts'],
  { cwd: ROOT, stdio: 'inherit', env },
);
process.exit(run.status ?? 1);
