// nidomq with its file engine, and what only it can say of itself: how long commits took, and how
// long its event loop stood still.
//
//   node nidomq-server.mjs <directory> <durability> [limits as JSON]
// It tells its port by IPC; `reset` begins a measurement, `report` answers it.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Broker } from '../../dist/index.js';
import { createFileEngine } from '../../dist/engine/index.js';

const [, , path, durability, limits = '{}'] = process.argv;
const MIB = 1024 * 1024;
const NS_PER_MS = 1e6;
const inner = createFileEngine({ path, durability });
let commits = [];
let committed = 0;

const engine = new Proxy(inner, {
  get(target, name) {
    if (name === 'commit') {
      return async (batch) => {
        const begun = performance.now();
        committed += batch.operations;
        await target.commit(batch);
        commits.push(performance.now() - begun);
      };
    }
    const value = Reflect.get(target, name);
    return typeof value === 'function' ? value.bind(target) : value;
  },
});
const broker = new Broker({
  listeners: [{ port: 0 }], sys: { intervalSeconds: 0 },
  limits: {
    memoryBytes: 1_536 * MIB, queueMessagesMax: 10_000_000, queueBytesMax: 4_000 * MIB, ...JSON.parse(limits),
  },
}, { engine });
broker.on('engineState', ({ state }) => process.send({ state }));
await broker.listen();
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();
process.on('message', (command) => {
  if (command === 'reset') {
    commits = [];
    committed = 0;
    delay.reset();
    return;
  }
  commits.sort((a, b) => a - b);
  const at = (share) => commits[Math.min(commits.length - 1, Math.floor(commits.length * share))] ?? 0;
  process.send({
    commits: commits.length, operations: committed, commitP50: at(0.5), commitP99: at(0.99),
    loopMaxMs: delay.max / NS_PER_MS,
  });
});
// A profile is written when the process ends by itself.
process.on('SIGINT', () => process.exit(0));
process.send({ port: broker.listeners[0].port });
