// What a start costs: a directory is filled through the engine, then a broker opens it in a process of its own.
//
//   node bench/restart.mjs [--retained 1000000] [--sessions 100000] [--queued 100000] [--memory-mib 1024]
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { compileBroker } from '../test/engine/compile-broker.mjs';
import { checkWords } from './load/words.mjs';

checkWords(import.meta.url, { options: ['memory-mib', 'queued', 'retained', 'sessions'] });

const HERE = dirname(fileURLToPath(import.meta.url));
const SERVER = join(HERE, '..', 'test', 'engine', 'crash', 'server.mjs');
const EMPTY = new Uint8Array(0);
const PER_BATCH = 1_000;
const TICKS_PER_SECOND = 100;
const NOBODY = {
  session() {}, subscription() {}, will() {}, inbound() {}, released() {}, retained() {}, message() {},
  queueEntry() {}, spilled() {},
};

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
}
/** User and system time of all threads, in seconds: what it costs, whoever else is at work. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
function rssOf(pid) {
  const line = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line[1]) * 1_024;
}

async function fill(api, path, count, put) {
  const engine = api.createFileEngine({ path });
  await engine.open();
  await engine.load(NOBODY);
  const batch = engine.createBatch();
  for (let i = 0; i < count; i++) {
    put(batch, i, engine);
    if (i % PER_BATCH === 0 || i === count - 1) {
      await engine.commit(batch);
      batch.reset();
    }
  }
  await engine.close();
}
const session = (sessionId) => ({
  sessionId, clientIdentifier: `client-${sessionId}`, epoch: 1, protocolVersion: 5, sessionExpiryInterval: 86_400,
  detachedAt: Date.now(), sentThrough: 0, lastPacketIdentifier: 0, attributes: EMPTY,
});

async function open(broker, path) {
  const begun = performance.now();
  const memoryBytes = option('memory-mib', 1_024) * 1024 * 1024;
  const limits = JSON.stringify({ memoryBytes, queueMemoryMessagesMax: 1_000_000 });
  const child = spawn(process.execPath, [SERVER, broker, path, '0', 'disk', limits], { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line);
    if (said.port === undefined) continue;
    const result = { milliseconds: performance.now() - begun, listenMs: said.ms, rss: rssOf(child.pid), cpu: cpuOf(child.pid) };
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    return result;
  }
  throw new Error('the broker ended before it was ready');
}

async function measure({ api, broker }, what, count, put) {
  const path = mkdtempSync(join(tmpdir(), 'nidomq-restart-'));
  const empty = mkdtempSync(join(tmpdir(), 'nidomq-restart-'));
  try {
    await fill(api, path, count, put);
    const bare = await open(broker, empty);
    const full = await open(broker, path);
    console.log(`${count} ${what}: ready after ${(full.milliseconds / 1_000).toFixed(2)} s (listen ${Math.round(full.listenMs)} ms; `
      + `empty ${(bare.milliseconds / 1_000).toFixed(2)} s), ${(full.cpu - bare.cpu).toFixed(2)} s CPU, ${Math.round((full.rss - bare.rss) / count)} B RSS each`);
  } finally {
    rmSync(path, { recursive: true, force: true });
    rmSync(empty, { recursive: true, force: true });
  }
}

const compiled = compileBroker();
process.on('exit', () => rmSync(compiled.directory, { recursive: true, force: true }));
const parts = { broker: compiled.broker, api: await import(join(compiled.directory, 'lib', 'engine', 'index.js')) };
await measure(parts, 'sessions with a subscription', option('sessions', 100_000), (batch, i) => {
  batch.putSession(session(16 * (i + 1)));
  batch.putSubscription({ sessionId: 16 * (i + 1), topicFilter: `site/${i % 97}/device-${i}/#`, options: 1, subscriptionIdentifier: 0 });
});
await measure(parts, 'queued messages of 256 B', option('queued', 100_000), (batch, i, engine) => {
  if (i === 0) batch.putSession(session(engine.nextNumber()));
  const number = engine.nextNumber();
  batch.putMessage({
    number, topicName: Buffer.from('bench/queue'), properties: EMPTY, payload: randomBytes(256), qos: 1, retain: false,
    expiresAt: 0, publisher: 0,
  }, 1);
  batch.putQueueEntry({
    sessionId: 16 * 1_025, number, qos: 1, retain: false, packetIdentifier: (i % 65_535) + 1, subscriptionIdentifiers: EMPTY,
    group: EMPTY,
  });
});
await measure(parts, 'retained messages of 100 B', option('retained', 1_000_000), (batch, i) => batch.putRetained({
  number: 16 * (i + 1), topicName: Buffer.from(`site/building-${i % 97}/floor-${i % 13}/sensor-${i}/temperature`),
  properties: EMPTY, payload: randomBytes(100), qos: 1, retain: true, expiresAt: 0, publisher: 0,
}));
