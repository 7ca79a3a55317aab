// CPU of a client per message, ours and MQTT.js in the same run. The peer is a bare socket in a process of its own that sends
// packets made beforehand (or counts what comes and acknowledges it), so that only the client's own cost is measured.
//
//   node bench/client.mjs [--messages 200000] [--runs 5] [--bytes 64] [--topics 50] [--batch 500] [--only subscribe-0]
import { fork } from 'node:child_process';
import { createServer } from 'node:net';
import { fileURLToPath, pathToFileURL } from 'node:url';
import mqttPacket from 'mqtt-packet';

const SELF = fileURLToPath(import.meta.url);
const BUILT = new URL('../dist/client/index.js', import.meta.url).href;

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
const MESSAGES = Number(option('messages', 200_000));
const RUNS = Number(option('runs', 5));
const BYTES = Number(option('bytes', 64));
const TOPICS = Number(option('topics', 50));
const BATCH = Number(option('batch', 500));
const WINDOW = 500;

// --- the peer ------------------------------------------------------------------------------------

/** Packets in their order, each with its Packet Identifier at a known place. */
function makeStream(qos) {
  const payload = Buffer.alloc(BYTES, 'x');
  const packets = [];
  for (let at = 0; at < MESSAGES; at += 1) {
    packets.push(mqttPacket.generate({
      cmd: 'publish', topic: `bench/${at % TOPICS}/value`, payload, qos, dup: false, retain: false,
      messageId: qos === 0 ? undefined : (at % 60_000) + 1,
    }));
  }
  return packets;
}

/** Takes whole packets off the front of what has come; answers what is left. */
function takePackets(bytes, take) {
  let at = 0;
  while (at + 2 <= bytes.length) {
    let length = 0;
    let size = 1;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at + size];
      if (byte === undefined) return bytes.subarray(at);
      length |= (byte & 127) << shift;
      size += 1;
      if (byte < 128) break;
    }
    if (at + size + length > bytes.length) break;
    take(bytes, at, at + size, length);
    at += size + length;
  }
  return bytes.subarray(at);
}

function servePeer(mode, qos) {
  const packets = mode === 'subscribe' ? makeStream(qos) : [];
  const server = createServer({ noDelay: true }, (socket) => {
    let left = Buffer.alloc(0);
    let sent = 0;
    let acknowledged = 0;
    const push = () => {
      const until = qos === 0 ? MESSAGES : Math.min(MESSAGES, acknowledged + WINDOW);
      while (sent < until && socket.writableLength < 262_144) {
        const upTo = Math.min(until, sent + 500);
        socket.write(Buffer.concat(packets.slice(sent, upTo)));
        sent = upTo;
      }
    };
    const take = (bytes, from, body, _length) => {
      const type = bytes[from] >> 4;
      if (type === 1) socket.write(Buffer.from([0x20, 2, 0, 0]));
      else if (type === 8) socket.write(Buffer.from([0x90, 3, bytes[body], bytes[body + 1], qos]));
      else if (type === 4) acknowledged += 1;
      else if (type === 12) socket.write(Buffer.from([0xd0, 0]));
      else if (type === 3 && qos === 1) {
        const topicLength = bytes.readUInt16BE(body);
        const id = body + 2 + topicLength;
        acks.push(0x40, 2, bytes[id], bytes[id + 1]);
      }
    };
    let acks = [];
    socket.on('data', (chunk) => {
      left = takePackets(left.length === 0 ? chunk : Buffer.concat([left, chunk]), take);
      if (acks.length !== 0) {
        socket.write(Buffer.from(acks));
        acks = [];
      }
      if (started) push();
    });
    let started = false;
    process.on('message', () => { started = true; push(); });
    socket.on('drain', () => { if (started) push(); });
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
}

// --- the clients ---------------------------------------------------------------------------------

const LIBRARIES = {
  async nidomq(port, qos) {
    const { connect } = await import(option('client', BUILT));
    const client = connect(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4, clean: true });
    await client.connected();
    return {
      subscribe: (handler) => client.subscribe('bench/#',
        (message) => handler(message.topicName, message.payload), { qos }),
      publish: (topic, payload) => client.publish(topic, payload, { qos }),
    };
  },
  async mqttjs(port, qos) {
    const { default: mqtt } = await import('mqtt');
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 4 });
    return {
      subscribe: async (handler) => {
        client.on('message', handler);
        await client.subscribeAsync('bench/#', { qos });
      },
      publish: (topic, payload) => client.publishAsync(topic, payload, { qos }),
    };
  },
};

const usage = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

async function runClient(library, mode, port, qos) {
  const client = await LIBRARIES[library](port, qos);
  if (mode === 'subscribe') await receive(client);
  else await send(client);
}

async function receive(client) {
  let count = 0;
  let bytes = 0;
  let before = 0;
  await client.subscribe((topic, payload) => {
    bytes += topic.length + payload.length;
    count += 1;
    if (count === MESSAGES) setImmediate(() => setTimeout(() => process.send({ us: (usage() - before) / MESSAGES, bytes }), 20));
  });
  before = usage();
  process.send({ ready: true });
}

async function send(client) {
  const payload = Buffer.alloc(BYTES, 'x');
  const before = usage();
  for (let sent = 0; sent < MESSAGES; sent += BATCH) {
    const batch = [];
    for (let at = sent; at < sent + BATCH; at += 1) {
      batch.push(client.publish(`bench/${at % TOPICS}/value`, payload));
    }
    await Promise.all(batch);
  }
  process.send({ us: (usage() - before) / MESSAGES });
}

// --- the run -------------------------------------------------------------------------------------

function next(child, key) {
  return new Promise((resolve, reject) => {
    child.on('message', (message) => { if (key in message) resolve(message[key]); });
    child.once('exit', (code) => reject(new Error(`a process of the bench ended with ${code}`)));
  });
}

async function measure(library, mode, qos) {
  const shared = process.argv.slice(2);
  const peer = fork(SELF, ['--as', 'peer', '--mode', mode, '--qos', String(qos), ...shared]);
  const port = await next(peer, 'port');
  const client = fork(SELF, [
    '--as', library, '--mode', mode, '--qos', String(qos), '--port', String(port), ...shared,
  ]);
  client.on('message', (message) => { if (message.ready) peer.send('go'); });
  const us = await next(client, 'us');
  client.kill('SIGKILL');
  peer.kill('SIGKILL');
  return us;
}

const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];

async function main() {
  const only = option('only', '');
  console.log(`us of CPU per message, whole process; ${MESSAGES} messages of ${BYTES} B, ${TOPICS} topics, median of ${RUNS}`);
  for (const [mode, limit] of [['subscribe', 1 / 5], ['publish', 1 / 3]]) {
    for (const qos of [0, 1]) {
      if (!`${mode}-${qos}`.startsWith(only)) continue;
      const us = { nidomq: [], mqttjs: [] };
      for (let run = 0; run < RUNS; run += 1) {
        for (const library of Object.keys(us)) us[library].push(await measure(library, mode, qos));
      }
      const [ours, theirs] = [median(us.nidomq), median(us.mqttjs)];
      const verdict = ours / theirs <= limit ? 'ok' : 'TOO SLOW';
      console.log(`${mode} QoS ${qos}: nidomq ${ours.toFixed(2)}  MQTT.js ${theirs.toFixed(2)}  `
        + `ratio 1/${(theirs / ours).toFixed(1)} (at most 1/${(1 / limit).toFixed(0)}) ${verdict}`);
      if (verdict !== 'ok') process.exitCode = 1;
    }
  }
}

const role = option('as', 'main');
if (role === 'peer') servePeer(option('mode', ''), Number(option('qos', 0)));
else if (role === 'main' && process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
else await runClient(role, option('mode', ''), Number(option('port', 0)), Number(option('qos', 0)));
