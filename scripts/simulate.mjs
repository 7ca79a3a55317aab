// `npm run simulate -- [--seeds N] [--from S] [--kept] [--asked] [--trace]`: the seeded simulation of the core
// (test/core/simulation), long. A seed that fails is printed with what it violated;
// `--seeds 1 --from SEED --trace` shows every packet of that one.
import './require-node.mjs';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { ROOT, runNode } from './toolbox.mjs';
import { transpile } from './transpile.mjs';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1000' },
    from: { type: 'string', default: '1' },
    kept: { type: 'boolean', default: false },
    asked: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
  },
});
const seeds = Number(values.seeds);
const from = Number(values.from);
if (!(Number.isInteger(seeds) && seeds > 0 && Number.isInteger(from))) {
  console.error('usage: npm run simulate -- [--seeds N] [--from S] [--kept] [--asked] [--trace]');
  process.exit(2);
}

const FOLDERS = [
  'assembly/shared', 'lib/core', 'test/core/simulation', 'test/support', 'test/conformance/wire',
];
const PROGRESS_MS = 10_000;

runNode(join(ROOT, 'scripts/build-wasm.mjs'), ['--if-stale']);
const folder = transpile(FOLDERS, `simulate-${process.pid}`);
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
const { runWorld } = await import(
  pathToFileURL(join(folder, 'test/core/simulation/world.js')).href
);

const kind = {
  sessions: values.kept ? 'kept' : 'not kept',
  receivers: values.asked ? 'asked' : 'not asked',
  trace: values.trace ? (line) => console.log(line) : undefined,
};
const total = { messages: 0, deliveries: 0, acknowledged: 0, refused: 0 };
const failed = [];
let told = Date.now();
for (let seed = from; seed < from + seeds; seed++) {
  const report = runWorld(seed, kind);
  for (const key of Object.keys(total)) total[key] += report[key];
  const wrong = [...report.violations, ...report.leftover];
  if (wrong.length !== 0) {
    failed.push(seed);
    console.log(`seed ${seed}:\n  ${wrong.join('\n  ')}`);
  }
  if (Date.now() - told > PROGRESS_MS) {
    told = Date.now();
    console.log(`... seed ${seed}, ${failed.length} failed`);
  }
}
console.log(`${seeds} seeds from ${from}: ${JSON.stringify(total)}`);
console.log(failed.length === 0 ? 'every invariant held' : `FAILED seeds: ${failed.join(' ')}`);
process.exit(failed.length === 0 ? 0 : 1);
