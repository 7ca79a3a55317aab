// What a thousand ACL rules cost: CPU of the broker per message with them and without, in turns.
//
//   node bench/acl.mjs [--rules 1000] [--messages 400000] [--rounds 15] [--topics 100] [--qos 0]
//                     [--heap roomy|default] [--bar 1.15]
//
// Broker and load are processes of their own. The last line is JSON.
//
// The brokers get a roomy heap, because V8 collects garbage when the buffers of Node's socket reads
// add up to its next threshold, and where that threshold stands depends on what the process loaded
// at its start: with the rules in it or, by other luck, without. `--heap default` leaves it to V8.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import mqttPacket from 'mqtt-packet';
import { checkWords } from './load/words.mjs';

checkWords(import.meta.url, {
  options: ['bar', 'heap', 'messages', 'qos', 'rounds', 'rules', 'topics'],
});

const COMMAND = join(dirname(fileURLToPath(import.meta.url)), '..', 'dist', 'cli', 'nidomq.js');
const BATCH = 200;

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
}
const RULES = option('rules', 1_000);
const MESSAGES = option('messages', 400_000);
const ROUNDS = option('rounds', 15);
const TOPICS = option('topics', 100);
const QOS = option('qos', 0);
const HEAP = process.argv.includes('default') ? 'default' : 'roomy';
const HEAP_FLAGS = HEAP === 'default' ? [] : ['--initial-old-space-size=256'];
/** With it, the end is an error when the rules cost more. */
const BAR = option('bar', Infinity);

/** The rule that fits stands last: everything before it has been looked at in vain. */
function aclFile(path) {
  const lines = Array.from({ length: RULES - 1 }, (_, at) =>
    (at % 3 === 0 ? `topic deny closed/${at}/#` : `topic readwrite plant/${at}/+/state`));
  writeFileSync(path, [...lines, 'pattern readwrite bench/%c/#', ''].join('\n'));
}

async function start(...words) {
  const args = [COMMAND, 'start', '--port', '0', '--engine', 'memory', '--allow-anonymous', ...words];
  const child = spawn(process.execPath, [...HEAP_FLAGS, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /ready on \S*:(\d+)/.exec(line)?.[1];
    if (port === undefined) continue;
    child.stdout.resume();
    return { child, port: Number(port) };
  }
  throw new Error('the broker ended before it was ready');
}

/** CPU time of all threads of a process, in microseconds. */
function cpuOf({ child }) {
  const tasks = `/proc/${child.pid}/task`;
  return readdirSync(tasks).reduce((sum, task) => {
    const nanoseconds = readFileSync(join(tasks, task, 'schedstat'), 'utf8').split(' ')[0];
    return sum + Number(nanoseconds) / 1_000;
  }, 0);
}

/** One client that publishes to itself: its rules are about publishing and receiving. */
function open(broker) {
  const socket = connect({ port: broker.port, host: '127.0.0.1', noDelay: true });
  const load = { socket, received: 0, awaited: 0, done: undefined };
  const parser = mqttPacket.parser();
  const ready = new Promise((resolve) => {
    parser.on('packet', ({ cmd }) => {
      if (cmd === 'connack') {
        socket.write(mqttPacket.generate({
          cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'bench/load/#', qos: 0 }],
        }));
      } else if (cmd === 'suback') {
        socket.removeAllListeners('data');
        socket.on('data', (chunk) => {
          load.received += chunk.length;
          if (load.received >= load.awaited) load.done?.();
        });
        resolve(load);
      }
    });
  });
  socket.on('data', (chunk) => parser.parse(chunk));
  socket.write(mqttPacket.generate({
    cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, clientId: 'load', keepalive: 0,
  }));
  return ready;
}

/** CPU microseconds of the broker per message. */
async function measure(broker, load, messages) {
  const topic = (at) => `bench/load/${String(at % TOPICS).padStart(4, '0')}`;
  const payload = Buffer.alloc(64, 97);
  const frame = (at, qos) => mqttPacket.generate({ cmd: 'publish', topic: topic(at), payload, qos, messageId: at + 1 });
  const batch = Buffer.concat(Array.from({ length: BATCH }, (_, at) => frame(at, QOS)));
  const back = BATCH * (frame(0, 0).length + (QOS === 1 ? 4 : 0));
  load.received = 0;
  load.awaited = Infinity;
  const before = cpuOf(broker);
  const started = performance.now();
  for (let sent = 0; sent < messages; sent += BATCH) {
    load.socket.write(batch);
    // A window of a few batches: what is measured is not a queue that grows.
    load.awaited = (sent / BATCH - 8) * back;
    if (load.received < load.awaited) await new Promise((resolve) => { load.done = resolve; });
  }
  load.awaited = Math.ceil(messages / BATCH) * back;
  if (load.received < load.awaited) await new Promise((resolve) => { load.done = resolve; });
  const cpuMicroseconds = (cpuOf(broker) - before) / messages;
  return { cpuMicroseconds, perSecond: messages / ((performance.now() - started) / 1000) };
}

const quartile = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 4)];
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

const folder = mkdtempSync(join(tmpdir(), 'nidomq-acl-'));
const path = join(folder, 'acl');
aclFile(path);
// `control` is like `none`: what it differs by is the noise of this machine.
const brokers = {
  none: await start(), control: await start(), rules: await start('--acl-file', path),
};
const names = Object.keys(brokers);
try {
  const loads = {};
  const seen = {};
  for (const name of names) {
    loads[name] = await open(brokers[name]);
    seen[name] = [];
    await measure(brokers[name], loads[name], MESSAGES); // warm
  }
  for (let round = 0; round < ROUNDS; round++) {
    // Everybody is first, second and last as often as the others.
    for (const at of names.keys()) {
      const name = names[(at + round) % names.length];
      seen[name].push(await measure(brokers[name], loads[name], MESSAGES));
    }
  }
  // Noise only adds, so the lower quartile of the rounds is nearest to what it costs.
  const cpu = (name) => quartile(seen[name].map(({ cpuMicroseconds }) => cpuMicroseconds));
  const rate = (name) => Math.round(median(seen[name].map(({ perSecond }) => perSecond)));
  const without = (cpu('none') + cpu('control')) / 2;
  const ratio = cpu('rules') / without;
  const short = (value) => Number(value.toFixed(3));
  console.log(JSON.stringify({
    bench: 'acl', rules: RULES, messages: MESSAGES, rounds: ROUNDS, topics: TOPICS, qos: QOS, heap: HEAP,
    cpuMicrosecondsWithout: short(without), cpuMicrosecondsWith: short(cpu('rules')),
    ratio: short(ratio), ratioOfControl: short(cpu('control') / cpu('none')),
    messagesPerSecondWithout: rate('none'), messagesPerSecondWith: rate('rules'),
  }));
  if (ratio > BAR) process.exitCode = 1;
  for (const { socket } of Object.values(loads)) socket.destroy();
} finally {
  for (const { child } of Object.values(brokers)) child.kill('SIGTERM');
  rmSync(folder, { recursive: true, force: true });
}
