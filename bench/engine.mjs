// The file engine alone: durable messages a second, CPU for each, how long a commit takes, and how long the event loop stood
// still. Publishers wait for their acknowledgement (a window of unacknowledged messages each); every message goes to the
// offline session of its publisher. Then what a start costs.
//
//   node bench/engine.mjs [publish] [drain] [start] [--publishers 1,10,100,1000] [--window 10] [--seconds 2]
//     [--bytes 256] [--durability disk] [--sync-us 2000] [--retained 1000000] [--sessions 100000]
import { execFileSync, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { compileEngine } from '../test/engine/compile-engine.mjs';
import { checkWords } from './load/words.mjs';

checkWords(import.meta.url, {
  options: [
    'bytes', 'dir', 'durability', 'publishers', 'retained', 'seconds', 'sessions', 'sync-us', 'window',
  ],
  words: ['publish', 'drain', 'start'],
});

const HERE = dirname(fileURLToPath(import.meta.url));
const MICRO = 1e6;
const EMPTY = new Uint8Array(0);

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
function wants(part) {
  const named = ['publish', 'drain', 'start'].filter((name) => process.argv.includes(name));
  return named.length === 0 || named.includes(part);
}

function slowSync() {
  const library = join(HERE, '..', 'build', 'slow-sync.so');
  mkdirSync(dirname(library), { recursive: true });
  const source = join(HERE, '..', 'test', 'engine', 'native', 'slow-sync.c');
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl']);
  return library;
}

/** A delay is a library that is loaded before libc, so it needs a process of its own. */
function rerunWithDelay() {
  const delay = option('sync-us', undefined);
  if (delay === undefined || process.env.SLOW_SYNC_US !== undefined) return;
  const env = { ...process.env, LD_PRELOAD: slowSync(), SLOW_SYNC_US: delay };
  const { status } = spawnSync(process.execPath, process.argv.slice(1), { env, stdio: 'inherit' });
  process.exit(status ?? 1);
}

const session = (sessionId) => ({
  sessionId, clientIdentifier: `client-${sessionId}`, epoch: 1, protocolVersion: 5,
  sessionExpiryInterval: 3_600, detachedAt: 1, sentThrough: 0, lastPacketIdentifier: 1, attributes: EMPTY,
});
const NOBODY = {
  session() {}, subscription() {}, will() {}, inbound() {}, released() {}, retained() {}, message() {},
  queueEntry() {}, spilled() {},
};
const print = (line) => process.stdout.write(`${line}\n`);
const percentile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

async function withEngine(api, work, options = {}) {
  const path = mkdtempSync(join(option('dir', tmpdir()), 'nidomq-bench-'));
  const engine = api.createFileEngine({ path, durability: option('durability', 'disk'), ...options });
  try {
    await engine.open();
    await engine.load(NOBODY);
    return await work(engine, path);
  } finally {
    await engine.close();
    rmSync(path, { recursive: true, force: true });
  }
}

function events(extra) {
  return {
    committed() {},
    state(state, error) {
      print(`state ${state}: ${error?.message}`);
    },
    fault(error) {
      throw error;
    },
    ...extra,
  };
}

async function publish(api, publishers) {
  await withEngine(api, async (engine) => {
    const window = Number(option('window', 10));
    const payload = randomBytes(Number(option('bytes', 256)));
    const latencies = [];
    let isOver = false;
    let done = 0;
    const begunAt = new Float64Array(publishers * window);
    const group = new api.GroupCommit(engine, events({
      committed(tokens) {
        const now = performance.now();
        for (const token of tokens) {
          latencies.push(now - begunAt[token]);
          done++;
          if (!isOver) send(token);
        }
      },
    }));
    const send = (token) => {
      begunAt[token] = performance.now();
      const number = engine.nextNumber();
      const sessionId = 1 + Math.floor(token / window);
      const batch = group.unit();
      batch.putMessage({
        number, topicName: Buffer.from(`bench/${sessionId}/telemetry`), properties: EMPTY, payload, qos: 1,
        retain: false, expiresAt: 0, publisher: sessionId,
      }, 1);
      batch.putQueueEntry({
        sessionId, number, qos: 1, retain: false, packetIdentifier: (number % 65_535) + 1,
        subscriptionIdentifiers: EMPTY,
        group: EMPTY,
      });
      group.wait(token);
    };
    for (let i = 1; i <= publishers; i++) group.unit().putSession(session(i));
    await group.settled();
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const cpu = process.cpuUsage();
    const begun = performance.now();
    const before = group.stats;
    for (let token = 0; token < publishers * window; token++) send(token);
    await new Promise((resolve) => setTimeout(resolve, Number(option('seconds', 2)) * 1000));
    const seconds = (performance.now() - begun) / 1000;
    const used = process.cpuUsage(cpu);
    const counted = done;
    const after = group.stats;
    isOver = true;
    await group.close({ deadlineMs: 10_000 });
    latencies.sort((a, b) => a - b);
    print(`publish x${publishers} window ${window}: ${Math.round(counted / seconds)} msg/s, `
      + `${((used.user + used.system) / counted).toFixed(1)} us CPU/msg, `
      + `p50 ${percentile(latencies, 0.5).toFixed(2)} ms, p99 ${percentile(latencies, 0.99).toFixed(2)} ms, `
      + `${Math.round(counted / (after.batches - before.batches))} msg/batch, `
      + `loop max ${(delay.max / MICRO).toFixed(1)} ms`);
  });
}

async function drain(api) {
  const messages = 100_000;
  await withEngine(api, async (engine) => {
    const group = new api.GroupCommit(engine, events());
    group.unit().putSession(session(1));
    const payload = randomBytes(Number(option('bytes', 256)));
    for (let i = 0; i < messages; i++) {
      const number = engine.nextNumber();
      const batch = group.unit();
      batch.putMessage({
        number, topicName: Buffer.from('bench/drain'), properties: EMPTY, payload, qos: 1, retain: false,
        expiresAt: 0, publisher: 0,
      }, 1);
      batch.putQueueEntry({
        sessionId: 1, number, qos: 1, retain: false, packetIdentifier: 1,
        subscriptionIdentifiers: EMPTY,
        group: EMPTY,
      });
      if (i % 5_000 === 0) await group.settled();
    }
    await group.settled();
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const cpu = process.cpuUsage();
    const begun = performance.now();
    let after = 0;
    let count = 0;
    for (let end = false; !end;) {
      const slice = await engine.readQueue(1, after, { messagesMax: 256, bytesMax: 1024 * 1024 });
      for (const entry of slice.entries) group.unit().deleteQueueEntry(1, entry.number);
      after = slice.entries.at(-1)?.number ?? after;
      count += slice.entries.length;
      end = slice.end;
    }
    await group.settled();
    const used = process.cpuUsage(cpu);
    print(`drain ${count}: ${Math.round(count / (performance.now() - begun) * 1000)} msg/s, `
      + `${((used.user + used.system) / count).toFixed(1)} us CPU/msg, loop max ${(delay.max / MICRO).toFixed(1)} ms`);
  });
}

async function start(api) {
  const retained = Number(option('retained', 1_000_000));
  const sessions = Number(option('sessions', 100_000));
  await startOf(api, `${retained} retained messages`, retained, (batch, i) => batch.putRetained({
    number: i + 1, topicName: Buffer.from(`site/building-${i % 97}/floor-${i % 13}/sensor-${i}/temperature`),
    properties: EMPTY, payload: randomBytes(100), qos: 1, retain: true, expiresAt: 0, publisher: 0,
  }));
  await startOf(api, `${sessions} sessions with a subscription`, sessions, (batch, i) => {
    batch.putSession(session(i + 1));
    batch.putSubscription({
      sessionId: i + 1, topicFilter: `site/+/device-${i}/#`, options: 1, subscriptionIdentifier: 0,
    });
  });
}

async function startOf(api, what, count, put) {
  await withEngine(api, async (engine, path) => {
    const group = new api.GroupCommit(engine, events());
    for (let i = 0; i < count; i++) {
      put(group.unit('os'), i);
      if (i % 1_000 === 0) await group.settled();
    }
    await group.settled();
    await engine.close();
    const again = api.createFileEngine({ path });
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const begun = performance.now();
    await again.open();
    const opened = performance.now();
    const report = await again.load(NOBODY);
    const done = performance.now();
    await again.close();
    print(`start with ${what}: open ${(opened - begun).toFixed(0)} ms, load ${(done - opened).toFixed(0)} ms `
      + `(${report.sessions} sessions, ${report.retainedMessages} retained), loop max `
      + `${(delay.max / MICRO).toFixed(1)} ms`);
  });
}

rerunWithDelay();
const compiled = compileEngine();
process.on('exit', () => rmSync(compiled.directory, { recursive: true, force: true }));
const api = await import(compiled.index);
if (wants('publish')) {
  for (const publishers of String(option('publishers', '1,10,100,1000')).split(',')) {
    await publish(api, Number(publishers));
  }
}
if (wants('drain')) await drain(api);
if (wants('start')) await start(api);
