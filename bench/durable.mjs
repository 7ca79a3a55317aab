// Durable messages a second through the whole broker: publishers with a window of unacknowledged QoS 1 messages, each to the
// offline session of its own subscriber. Broker and load are processes of their own; CPU is the broker's.
//
//   node bench/durable.mjs [--publishers 1,10,100,1000] [--window 10] [--seconds 3] [--bytes 256] [--durability disk]
//     [--sync-us 2000] [--dir PATH]
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import mqttPacket from 'mqtt-packet';
import { compileBroker } from '../test/engine/compile-broker.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const SERVER = join(HERE, '..', 'test', 'engine', 'crash', 'server.mjs');
const TICKS_PER_SECOND = 100;

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
function slowSync() {
  const library = join(HERE, '..', 'build', 'slow-sync.so');
  mkdirSync(dirname(library), { recursive: true });
  const source = join(HERE, '..', 'test', 'engine', 'native', 'slow-sync.c');
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl']);
  return library;
}
/** User and system time of a process, in seconds. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

async function startBroker(broker, path) {
  const delay = option('sync-us', undefined);
  const slow = delay === undefined ? {} : { LD_PRELOAD: slowSync(), SLOW_SYNC_US: delay };
  const args = [SERVER, broker, path, '0', option('durability', 'disk')];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ...slow } });
  for await (const line of createInterface({ input: child.stdout })) {
    const { port } = JSON.parse(line);
    if (port === undefined) continue;
    child.stdout.resume();
    return { child, port };
  }
  throw new Error('the broker ended before it was ready');
}

function client(port, clientId, onPacket) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const parser = mqttPacket.parser();
  parser.on('packet', onPacket);
  socket.on('data', (chunk) => parser.parse(chunk));
  socket.write(mqttPacket.generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: false, clientId, keepalive: 0 }));
  return socket;
}
async function subscribeAndLeave(port, number) {
  await new Promise((resolve) => {
    const socket = client(port, `receiver-${number}`, ({ cmd }) => {
      if (cmd === 'connack') {
        socket.write(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: `bench/${number}`, qos: 1 }] }));
      } else if (cmd === 'suback') {
        socket.end(mqttPacket.generate({ cmd: 'disconnect' }));
        socket.once('close', resolve);
      }
    });
  });
}

/** PUBACKs of four bytes are read without a parser once CONNACK is there. */
function publisher(port, number, window, payload, tally) {
  const sentAt = new Float64Array(65_536);
  const frame = mqttPacket.generate({ cmd: 'publish', topic: `bench/${number}`, payload, qos: 1, messageId: 1 });
  const identifierAt = frame.length - payload.length - 2;
  let next = 1;
  const send = (socket, count) => {
    const out = Buffer.allocUnsafe(frame.length * count);
    const now = performance.now();
    for (let i = 0; i < count; i++) {
      frame.copy(out, i * frame.length);
      out.writeUInt16BE(next, i * frame.length + identifierAt);
      sentAt[next] = now;
      next = next === 65_535 ? 1 : next + 1;
    }
    socket.write(out);
  };
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true }, () => {
      socket.write(mqttPacket.generate({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId: `publisher-${number}`, keepalive: 0 }));
    });
    let kept = Buffer.alloc(0);
    let isOpen = false;
    socket.on('data', (chunk) => {
      const bytes = kept.length === 0 ? chunk : Buffer.concat([kept, chunk]);
      let at = 0;
      let acknowledged = 0;
      const now = performance.now();
      for (; at + 4 <= bytes.length; at += 4) {
        if (bytes[at] !== 0x40) {
          isOpen = true;
          resolve({ go: () => send(socket, window), socket });
          continue;
        }
        tally.latencies.push(now - sentAt[bytes.readUInt16BE(at + 2)]);
        acknowledged++;
      }
      kept = bytes.subarray(at);
      tally.acknowledged += acknowledged;
      if (isOpen && acknowledged > 0 && !tally.isOver) send(socket, acknowledged);
    });
  });
}

async function run(broker, publishers) {
  const path = mkdtempSync(join(option('dir', tmpdir()), 'nidomq-bench-'));
  const { child, port } = await startBroker(broker, path);
  try {
    for (let i = 0; i < publishers; i++) await subscribeAndLeave(port, i);
    const tally = { acknowledged: 0, latencies: [], isOver: false };
    const payload = randomBytes(Number(option('bytes', 256)));
    const open = [];
    for (let i = 0; i < publishers; i++) open.push(await publisher(port, i, Number(option('window', 10)), payload, tally));
    const cpu = cpuOf(child.pid);
    const begun = performance.now();
    for (const { go } of open) go();
    await new Promise((resolve) => setTimeout(resolve, Number(option('seconds', 3)) * 1_000));
    const seconds = (performance.now() - begun) / 1_000;
    const { acknowledged, latencies } = tally;
    const used = cpuOf(child.pid) - cpu;
    tally.isOver = true;
    latencies.sort((a, b) => a - b);
    const at = (share) => latencies[Math.floor(latencies.length * share)].toFixed(2);
    console.log(`publishers ${publishers}: ${Math.round(acknowledged / seconds)} durable msg/s, `
      + `${(used / acknowledged * 1e6).toFixed(1)} us CPU/msg (all threads), p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`);
    for (const { socket } of open) socket.destroy();
  } finally {
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    rmSync(path, { recursive: true, force: true });
  }
}

const compiled = compileBroker();
process.on('exit', () => rmSync(compiled.directory, { recursive: true, force: true }));
for (const publishers of String(option('publishers', '1,10,100,1000')).split(',')) {
  await run(compiled.broker, Number(publishers));
}
