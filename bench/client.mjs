// CPU of a client for each message, ours and MQTT.js 5 in the same run, and a bare socket beside
// them that knows just enough MQTT to do the same (the floor: what the kernel and Node's `net`
// take). The peer is a broker in a process of its own; what the subscriber gets is published by a
// load generator in another one, which is never more than CREDIT messages ahead of it.
//
//   npm run bench:client -- [--peer nidomq|mosquitto] [--version 4|5] [--runs 5]
//     [--messages 200000] [--bytes 64] [--topics 50] [--batch 500] [--only subscribe-0]
//     [--profile FOLDER]
//
// A callback for each message takes the Topic Name as a string and the payload as a Buffer; a
// publisher awaits batches of promises. The CPU time is that of the whole process, all threads,
// from SUBACK or CONNACK to the last message. Exit code 1 when a bar is missed (peer nidomq).
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { availableBrokers, pinned, startBroker } from './load/brokers.mjs';
import { PUBACK, PUBLISH, publishTemplate } from './load/packets.mjs';
import { Peer } from './load/peer.mjs';
import { checkWords } from './load/words.mjs';

checkWords(import.meta.url, {
  options: [
    'as', 'batch', 'bytes', 'messages', 'mode', 'only', 'peer', 'port', 'profile', 'qos', 'runs', 'topics', 'version',
  ],
});

const SELF = fileURLToPath(import.meta.url);

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
const MESSAGES = Number(option('messages', 200_000));
const RUNS = Number(option('runs', 5));
const BYTES = Number(option('bytes', 64));
const TOPICS = Number(option('topics', 50));
const BATCH = Number(option('batch', 500));
const VERSION = Number(option('version', 5));
/** Messages between two reports of the subscriber, and how far the generator may be ahead. */
const REPORT = 10_000;
const CREDIT = 25_000;
const PACKET_IDS = 60_000;
const WRITE_MESSAGES = 500;

const topicName = (number) => `bench/${number % TOPICS}/value`;

// --- the load generator --------------------------------------------------------------------------

function makeStream(qos) {
  const templates = Array.from({ length: TOPICS }, (_, at) =>
    publishTemplate({ topicName: topicName(at), size: BYTES, qos, version: VERSION }));
  return Array.from({ length: MESSAGES }, (_, at) => {
    const { bytes, idAt } = templates[at % TOPICS];
    const packet = Buffer.from(bytes);
    if (idAt >= 0) packet.writeUInt16BE((at % PACKET_IDS) + 1, idAt);
    return packet;
  });
}

async function generate(port, qos) {
  const packets = makeStream(qos);
  const peer = new Peer({ port, version: VERSION, clientId: 'generator' });
  await peer.connect();
  peer.onPacket = () => {};
  let sent = 0;
  const sendUpTo = (limit) => {
    while (sent < limit) {
      const end = Math.min(limit, sent + WRITE_MESSAGES);
      peer.send(Buffer.concat(packets.slice(sent, end)));
      sent = end;
    }
  };
  process.on('message', ({ received }) => sendUpTo(Math.min(MESSAGES, received + CREDIT)));
  process.send({ ready: true });
}

// --- the clients ---------------------------------------------------------------------------------

const LIBRARIES = {
  async nidomq(port, qos) {
    const { connect } = await import('../dist/client/index.js');
    const client = connect(`mqtt://127.0.0.1:${port}`, { protocolVersion: VERSION });
    await client.connected();
    return {
      subscribe: (handler) => client.subscribe(
        'bench/#', (message) => handler(message.topicName, message.payload), { qos }),
      publish: (topic, payload) => client.publish(topic, payload, { qos }),
    };
  },
  async mqttjs(port, qos) {
    const { default: mqtt } = await import('mqtt');
    const client = await mqtt.connectAsync(
      `mqtt://127.0.0.1:${port}`, { protocolVersion: VERSION });
    return {
      subscribe: async (handler) => {
        client.on('message', handler);
        await client.subscribeAsync('bench/#', { qos });
      },
      publish: (topic, payload) => client.publishAsync(topic, payload, { qos }),
    };
  },
  async socket(port, qos) {
    const peer = new Peer({ port, version: VERSION, clientId: 'floor' });
    await peer.connect();
    return {
      async subscribe(handler) {
        await peer.subscribe(['bench/#'], qos);
        const payload = Buffer.alloc(BYTES);
        peer.onPacket = (type, _flags, bytes, at) => {
          if (type !== PUBLISH) return;
          const id = at + 2 + (bytes[at] << 8) + bytes[at + 1];
          if (qos > 0) peer.answer(PUBACK, (bytes[id] << 8) | bytes[id + 1]);
          handler(topicName(0), payload);
        };
      },
      publishBatch: batchesOf(peer, qos),
    };
  },
};

/** Writes packets made before, one write a batch; QoS 1: waits for as many PUBACK packets. */
function batchesOf(peer, qos) {
  const packets = makeStream(qos);
  let acknowledged = 0;
  let wanted = 0;
  let done;
  peer.onPacket = (type) => {
    if (type === PUBACK && ++acknowledged === wanted) done();
  };
  return (sent) => {
    const bytes = Buffer.concat(packets.slice(sent, sent + BATCH));
    if (qos === 0) return new Promise((resolve) => peer.socket.write(bytes, resolve));
    wanted = sent + BATCH;
    peer.send(bytes);
    return new Promise((resolve) => { done = resolve; });
  };
}

const usage = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

async function receive(client) {
  let count = 0;
  let bytes = 0;
  let before = 0;
  const finish = () => process.send({ us: (usage() - before) / MESSAGES });
  await client.subscribe((topic, payload) => {
    bytes += topic.length + payload.length;
    count += 1;
    if (count % REPORT === 0) process.send({ received: count });
    if (count === MESSAGES) {
      if (bytes < MESSAGES * BYTES) throw new Error('payloads are missing');
      setTimeout(finish, 20); // acknowledgements are part of the work
    }
  });
  before = usage();
  process.send({ received: 0 });
}

async function send(client) {
  const payload = Buffer.alloc(BYTES, 'x');
  const before = usage();
  for (let sent = 0; sent < MESSAGES; sent += BATCH) {
    if (client.publishBatch !== undefined) {
      await client.publishBatch(sent);
      continue;
    }
    const batch = [];
    for (let at = sent; at < sent + BATCH; at += 1) {
      batch.push(client.publish(topicName(at), payload));
    }
    await Promise.all(batch);
  }
  process.send({ us: (usage() - before) / MESSAGES });
}

// --- the run -------------------------------------------------------------------------------------

/** A process of this file on one core. */
function start(core, as, mode, qos, port) {
  const flags = option('profile', '') === '' || as !== 'nidomq'
    ? [] : ['--cpu-prof', `--cpu-prof-dir=${option('profile', '')}`];
  const [execPath, ...execArgv] = pinned(core, [process.execPath]);
  const words = ['--as', as, '--mode', mode, '--qos', `${qos}`, '--port', `${port}`];
  const node = execArgv.length === 0 ? {} : { execPath };
  const own = execArgv.length === 0 ? flags : [...execArgv, ...flags];
  return fork(SELF, [...words, ...process.argv.slice(2)], { ...node, execArgv: own });
}

function next(child, key) {
  return new Promise((resolve, reject) => {
    child.on('message', (message) => { if (key in message) resolve(message[key]); });
    child.once('exit', (code) => reject(new Error(`a process of the bench ended with ${code}`)));
  });
}

async function measure(peerName, library, mode, qos) {
  const broker = await startBroker(peerName);
  const children = [];
  try {
    let generator;
    if (mode === 'subscribe') {
      generator = start(0, 'generator', mode, qos, broker.port);
      children.push(generator);
      await next(generator, 'ready');
    }
    const client = start(1, library, mode, qos, broker.port);
    children.push(client);
    client.on('message', (message) => { if ('received' in message) generator.send(message); });
    return await next(client, 'us');
  } finally {
    for (const child of children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.removeAllListeners('exit');
      const gone = new Promise((resolve) => child.once('exit', resolve));
      // A profile is written at a proper end.
      if (option('profile', '') !== '' && child.connected) child.send({ end: true });
      else child.kill('SIGKILL');
      await gone;
    }
    await broker.stop();
  }
}

function summary(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const [median, low, high] = [sorted[sorted.length >> 1], sorted[0], sorted.at(-1)];
  return {
    median, text: `${median.toFixed(2)} (${low.toFixed(2)}..${high.toFixed(2)})`,
  };
}

async function main() {
  const only = option('only', '');
  const peer = option('peer', 'nidomq');
  const version = availableBrokers()[peer];
  if (version === undefined) throw new Error(`${peer} is not installed`);
  console.log(`us of CPU per message, whole process; ${MESSAGES} messages of ${BYTES} B, `
    + `${TOPICS} topics, MQTT version ${VERSION}, batches of ${BATCH}, median of ${RUNS} `
    + `(min..max); peer ${peer} ${version}\n`);
  console.log('| scenario | nidomq | MQTT.js | socket | nidomq : MQTT.js | bar |');
  console.log('|---|---|---|---|---|---|');
  for (const [mode, bar] of [['subscribe', 5], ['publish', 3]]) {
    for (const qos of [0, 1]) {
      if (!`${mode}-${qos}`.startsWith(only)) continue;
      const us = { nidomq: [], mqttjs: [], socket: [] };
      for (let run = 0; run < RUNS; run += 1) {
        for (const library of Object.keys(us)) {
          us[library].push(await measure(peer, library, mode, qos));
        }
      }
      const [ours, theirs, floor] = Object.values(us).map(summary);
      const ratio = theirs.median / ours.median;
      const verdict = peer !== 'nidomq' ? '-' : `1 : ${bar} ${ratio >= bar ? 'ok' : 'MISSED'}`;
      console.log(`| ${mode} QoS ${qos} | ${ours.text} | ${theirs.text} | ${floor.text} `
        + `| 1 : ${ratio.toFixed(1)} | ${verdict} |`);
      if (peer === 'nidomq' && ratio < bar) process.exitCode = 1;
    }
  }
}

const role = option('as', 'main');
if (role === 'main') {
  await main();
} else {
  const [port, qos] = [Number(option('port')), Number(option('qos'))];
  process.on('message', (message) => { if (message.end) process.exit(); });
  if (role === 'generator') await generate(port, qos);
  else {
    const client = await LIBRARIES[role](port, qos);
    await (option('mode') === 'subscribe' ? receive(client) : send(client));
  }
}
