// CPU of a whole Nest application per message: one async @EventPattern handler with @Payload(), JSON of 64 bytes, default
// options, saturated. Hosted and joined by nidomq, and Nest's stock MQTT transport, in the same run. The peer (a publisher for the
// hosted broker, a bare server for the others) is a process of its own that sends packets made beforehand.
//
//   node bench/nest.mjs [--messages 200000] [--runs 5] [--qos 0] [--only host] [--dist ../dist]
import 'reflect-metadata';
import { fork } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import mqttPacket from 'mqtt-packet';

const SELF = fileURLToPath(import.meta.url);

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
const MESSAGES = Number(option('messages', 200_000));
const RUNS = Number(option('runs', 5));
const QOS = Number(option('qos', 0));
const DIST = new URL(`${option('dist', '../dist')}/nest/index.js`, import.meta.url).href;
const WARM_UP = 20_000;
const WINDOW = 1_000;
const PAYLOAD = JSON.stringify({ id: 12345, room: 'sala', celsius: 21.5, at: 1700000000 }).padEnd(64);
const TOPIC = 'bench/sala/value';

// --- the peer ------------------------------------------------------------------------------------

/** Sends `count` PUBLISH packets; at QoS 1 never more than a window ahead of the acknowledgements. */
function publisher(socket, version, done) {
  const generate = (messageId) => mqttPacket.generate({
    cmd: 'publish', topic: TOPIC, payload: PAYLOAD, qos: QOS, dup: false, retain: false,
    messageId: QOS === 0 ? undefined : messageId,
  }, { protocolVersion: version });
  const batch = 100;
  const chunks = new Map();
  let sent = 0;
  let acknowledged = 0;
  let count = 0;
  const chunk = (from) => {
    const known = chunks.get(from);
    if (known !== undefined) return known;
    const packets = Array.from({ length: batch }, (_, at) => generate(from + at + 1));
    const made = Buffer.concat(packets);
    chunks.set(from, made);
    return made;
  };
  const pump = () => {
    while (sent < count && (QOS === 0 || sent - acknowledged < WINDOW)) {
      const isTaken = socket.write(chunk(QOS === 0 ? 0 : sent % 50_000));
      sent += batch;
      if (!isTaken) { socket.once('drain', pump); return; }
    }
    if (sent >= count && (QOS === 0 || acknowledged >= count)) done();
  };
  return {
    acknowledge(packets) { acknowledged += packets; pump(); },
    start(messages) { count = sent + messages; pump(); },
  };
}

function readPackets(socket, version, onPacket) {
  const parser = mqttPacket.parser({ protocolVersion: version });
  parser.on('packet', onPacket);
  return (data) => parser.parse(data);
}

/** `puback` alone is counted without a parser: 4 bytes each, or more in MQTT 5. */
function countAcknowledgements(data) {
  let packets = 0;
  for (let at = 0; at < data.length; at += 2 + data[at + 1]) if (data[at] === 0x40) packets += 1;
  return packets;
}

function peer() {
  let sender;
  const ready = () => process.send({ kind: 'ready' });
  process.on('message', (message) => {
    if (message.kind === 'publish') sender.start(message.count);
    if (message.kind === 'connect') {
      const socket = connect(message.port, '127.0.0.1');
      socket.setNoDelay(true);
      socket.write(mqttPacket.generate({
        cmd: 'connect', clientId: 'peer', protocolVersion: 4, protocolId: 'MQTT', clean: true,
        keepalive: 0,
      }));
      sender = publisher(socket, 4, () => undefined);
      let isConnected = false;
      socket.on('data', (data) => {
        if (!isConnected) { isConnected = true; ready(); return; }
        sender.acknowledge(countAcknowledgements(data));
      });
    }
  });
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    let version = 4;
    let subscribed = false;
    let read = readPackets(socket, version, (packet) => {
      if (packet.cmd === 'connect') {
        version = packet.protocolVersion;
        const reasonCode = version === 5 ? { reasonCode: 0 } : { returnCode: 0 };
        socket.write(mqttPacket.generate(
          { cmd: 'connack', sessionPresent: false, ...reasonCode }, { protocolVersion: version }));
      } else if (packet.cmd === 'subscribe') {
        socket.write(mqttPacket.generate(
          { cmd: 'suback', messageId: packet.messageId, granted: [QOS] }, { protocolVersion: version }));
        sender = publisher(socket, version, () => undefined);
        subscribed = true;
        ready();
      } else if (packet.cmd === 'pingreq') socket.write(mqttPacket.generate({ cmd: 'pingresp' }));
    });
    socket.on('error', () => undefined);
    socket.on('data', (data) => {
      if (subscribed) sender.acknowledge(countAcknowledgements(data));
      else read(data);
    });
  });
  server.listen(0, '127.0.0.1', () => process.send({ kind: 'port', port: server.address().port }));
}

// --- the application -------------------------------------------------------------------------------

async function application(mode, port) {
  const { Controller, Module } = await import('@nestjs/common');
  const { NestFactory } = await import('@nestjs/core');
  const { EventPattern, Payload, Transport } = await import('@nestjs/microservices');
  let wanted = 0;
  let seen = 0;
  let startedAt;
  class Handlers {
    async value(data) {
      if (data.room !== 'sala') throw new Error('wrong payload');
      seen += 1;
      if (seen === wanted) finished();
    }
  }
  function finished() {
    const { user, system } = process.cpuUsage(startedAt);
    process.send({ kind: 'done', micros: user + system });
  }
  const descriptor = Object.getOwnPropertyDescriptor(Handlers.prototype, 'value');
  Payload()(Handlers.prototype, 'value', 0);
  EventPattern('bench/+/value', { qos: QOS })(Handlers.prototype, 'value', descriptor);
  Reflect.defineMetadata('design:paramtypes', [Object], Handlers.prototype, 'value');
  Controller()(Handlers);
  class AppModule {}
  Module({ controllers: [Handlers] })(AppModule);
  const url = `mqtt://127.0.0.1:${port}`;
  let options = { transport: Transport.MQTT, options: { url } };
  if (mode !== 'stock') {
    const { NidoStrategy } = await import(DIST);
    const how = mode === 'join' ? { join: { url } } : { host: { listeners: [{ host: '127.0.0.1', port: 0 }] } };
    options = { strategy: new NidoStrategy(how) };
  }
  const app = await NestFactory.createMicroservice(AppModule, { ...options, logger: ['error'] });
  await app.listen();
  process.on('message', (message) => {
    if (message.kind !== 'measure') return;
    wanted = seen + message.count;
    startedAt = process.cpuUsage();
    process.send({ kind: 'armed' });
  });
  process.send({ kind: 'listening', port: mode === 'host' ? app.unwrap().listeners[0].port : 0 });
}

// --- the run ---------------------------------------------------------------------------------------

function listenTo(child) {
  const waiting = [];
  const come = [];
  child.on('message', (message) => {
    const at = waiting.findIndex(({ kind }) => kind === message.kind);
    if (at >= 0) waiting.splice(at, 1)[0].resolve(message);
    else come.push(message);
  });
  return (kind) => {
    const at = come.findIndex((message) => message.kind === kind);
    if (at >= 0) return Promise.resolve(come.splice(at, 1)[0]);
    return new Promise((resolve) => waiting.push({ kind, resolve }));
  };
}

async function measure(mode) {
  const other = fork(SELF, [...process.argv.slice(2), '--role', 'peer']);
  const fromOther = listenTo(other);
  const { port } = await fromOther('port');
  const app = fork(SELF, [...process.argv.slice(2), '--role', mode, '--port', String(port)], {
    execArgv: (option('node-options', '') || '').split(' ').filter(Boolean),
  });
  const fromApp = listenTo(app);
  const listening = await fromApp('listening');
  if (mode === 'host') other.send({ kind: 'connect', port: listening.port });
  await fromOther('ready');
  const results = [];
  for (const count of [WARM_UP, ...Array.from({ length: RUNS }, () => MESSAGES)]) {
    app.send({ kind: 'measure', count });
    await fromApp('armed');
    other.send({ kind: 'publish', count });
    results.push((await fromApp('done')).micros / count);
  }
  app.kill();
  other.kill();
  return results.slice(1).sort((one, two) => one - two);
}

const role = option('role', undefined);
if (role === 'peer') peer();
else if (role !== undefined) await application(role, Number(option('port', 0)));
else {
  const only = option('only', undefined);
  let stock;
  for (const mode of only === undefined ? ['stock', 'host', 'join'] : only.split(',')) {
    const sorted = await measure(mode);
    const median = sorted[Math.floor(sorted.length / 2)];
    if (mode === 'stock') stock = median;
    const ratio = stock === undefined || mode === 'stock' ? '' : `  1/${(stock / median).toFixed(1)}`;
    console.log(`${mode.padEnd(6)} QoS ${QOS}  ${median.toFixed(2)} us/message  (${sorted[0].toFixed(2)}..`
      + `${sorted.at(-1).toFixed(2)})${ratio}`);
  }
}
