// The load of the durable bench: publishers with a window of unacknowledged QoS 1 messages, each to
// the offline session of a receiver of its own; and a receiver that comes back to a long queue.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import mqttPacket from 'mqtt-packet';

const PUBACK = 0x40;
const PUBACK_BYTES = 4;
const PACE_MS = 1;
const STALL_MS = 30_000;
/** mosquitto writes its whole store for every change: it would not be done in an hour. */
const FILL_MS = 60_000;

function packetClient(port, clientId, onPacket) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const parser = mqttPacket.parser();
  parser.on('packet', onPacket);
  socket.on('data', (chunk) => parser.parse(chunk));
  socket.write(connectPacket(clientId, false));
  return socket;
}
function connectPacket(clientId, clean) {
  return mqttPacket.generate({
    cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean, clientId, keepalive: 0,
  });
}
export function subscribeAndLeave(port, number) {
  return new Promise((resolve) => {
    const socket = packetClient(port, `receiver-${number}`, ({ cmd }) => {
      if (cmd === 'connack') {
        const subscriptions = [{ topic: `bench/${number}`, qos: 1 }];
        socket.write(mqttPacket.generate({ cmd: 'subscribe', messageId: 1, subscriptions }));
      } else if (cmd === 'suback') {
        socket.end(mqttPacket.generate({ cmd: 'disconnect' }));
        socket.once('close', resolve);
      }
    });
  });
}

/** Latencies in bins of 10 us: an array of all of them would be the load's own garbage. */
export class Latencies {
  #bins = new Uint32Array(2_000_000);
  count = 0;
  add(milliseconds) {
    this.#bins[Math.min(this.#bins.length - 1, Math.floor(milliseconds * 100))]++;
    this.count++;
  }
  at(share) {
    let left = this.count * share;
    for (let i = 0; i < this.#bins.length; i++) {
      left -= this.#bins[i];
      if (left < 0) return i / 100;
    }
    return 0;
  }
}

class Publisher {
  #frame;
  #identifierAt;
  #next = 1;
  #sentAt = new Float64Array(65_536);
  #kept = Buffer.alloc(0);
  outstanding = 0;
  constructor(socket, number, payload, tally) {
    this.socket = socket;
    this.tally = tally;
    this.#frame = mqttPacket.generate({
      cmd: 'publish', topic: `bench/${number}`, payload, qos: 1, messageId: 1,
    });
    this.#identifierAt = this.#frame.length - payload.length - 2;
    socket.on('data', (chunk) => this.#read(chunk));
  }
  send(count) {
    const frame = this.#frame;
    const out = Buffer.allocUnsafe(frame.length * count);
    const now = performance.now();
    for (let i = 0; i < count; i++) {
      frame.copy(out, i * frame.length);
      out.writeUInt16BE(this.#next, i * frame.length + this.#identifierAt);
      this.#sentAt[this.#next] = now;
      this.#next = this.#next === 65_535 ? 1 : this.#next + 1;
    }
    this.outstanding += count;
    this.socket.write(out);
  }
  /** Nothing but PUBACKs comes here. */
  #read(chunk) {
    const bytes = this.#kept.length === 0 ? chunk : Buffer.concat([this.#kept, chunk]);
    const now = performance.now();
    let at = 0;
    for (; at + PUBACK_BYTES <= bytes.length; at += PUBACK_BYTES) {
      if (bytes[at] !== PUBACK) throw new Error(`packet ${bytes[at]} is no PUBACK`);
      this.tally.latencies.add(now - this.#sentAt[bytes.readUInt16BE(at + 2)]);
      this.outstanding--;
    }
    this.#kept = bytes.subarray(at);
    if (at > 0) this.tally.acknowledged?.(this, at / PUBACK_BYTES);
  }
}
function openPublisher(port, number, payload, tally) {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.write(connectPacket(`publisher-${number}`, true));
    socket.once('data', () => resolve(new Publisher(socket, number, payload, tally)));
  });
}

/**
 * `rate`: messages a second, all together; undefined = as many as the window allows. What happens
 * in the first `warmup` seconds is not counted.
 */
export async function publish(broker, { publishers, window, bytes, seconds, warmup, rate }) {
  for (let i = 0; i < publishers; i++) await subscribeAndLeave(broker.port, i);
  const payload = randomBytes(bytes);
  const tally = { latencies: new Latencies() };
  const open = [];
  for (let i = 0; i < publishers; i++) open.push(await openPublisher(broker.port, i, payload, tally));
  const pacer = rate === undefined ? undefined : pace(open, { rate, window });
  if (rate === undefined) {
    tally.acknowledged = (publisher, count) => publisher.send(count);
    for (const publisher of open) publisher.send(window);
  }
  await new Promise((resolve) => setTimeout(resolve, warmup * 1_000));
  tally.latencies = new Latencies();
  broker.reset();
  const cpu = broker.cpu();
  const begun = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  const took = (performance.now() - begun) / 1_000;
  const { count } = tally.latencies;
  const used = broker.cpu() - cpu;
  clearInterval(pacer);
  tally.acknowledged = undefined;
  const report = await broker.report();
  for (const { socket } of open) socket.destroy();
  return {
    perSecond: count / took, cpuMicros: used / count * 1e6,
    p50: tally.latencies.at(0.5), p99: tally.latencies.at(0.99), ...report,
  };
}
function pace(open, { rate, window }) {
  const begun = performance.now();
  let sent = 0;
  let turn = 0;
  return setInterval(() => {
    let due = Math.floor((performance.now() - begun) / 1_000 * rate) - sent;
    for (let tries = 0; due > 0 && tries < open.length; tries++) {
      const publisher = open[turn];
      turn = (turn + 1) % open.length;
      const count = Math.min(due, window - publisher.outstanding);
      if (count <= 0) continue;
      publisher.send(count);
      sent += count;
      due -= count;
    }
  }, PACE_MS);
}

/** Fills the queue of an offline session, then its receiver comes and acknowledges all of it. */
export async function drain(broker, { messages, bytes }) {
  await subscribeAndLeave(broker.port, 0);
  const tally = { latencies: new Latencies() };
  const publisher = await openPublisher(broker.port, 0, randomBytes(bytes), tally);
  try {
    await fill(publisher, tally, messages);
  } finally {
    publisher.socket.destroy(); // else it breaks when the broker is stopped
  }
  broker.reset();
  const cpu = broker.cpu();
  const begun = performance.now();
  await receiveAll(broker.port, messages);
  const took = (performance.now() - begun) / 1_000;
  const report = await broker.report();
  return {
    perSecond: messages / took, cpuMicros: (broker.cpu() - cpu) / messages * 1e6, ...report,
  };
}
function fill(publisher, tally, messages) {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`it took ${tally.latencies.count} of ${messages} messages `
      + `into the queue within ${FILL_MS / 1_000} s`));
    const timer = setTimeout(late, FILL_MS);
    let left = messages - 1_000;
    tally.acknowledged = (_publisher, count) => {
      const more = Math.min(left, count);
      left -= more;
      if (more > 0) publisher.send(more);
      if (tally.latencies.count < messages) return;
      clearTimeout(timer);
      resolve();
    };
    publisher.send(1_000);
  });
}
/** A parser for PUBLISH at QoS 1 alone: mqtt-packet would cost more than the broker does. */
function receiveAll(port, messages) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let kept = Buffer.alloc(0);
    let count = 0;
    let timer = setTimeout(() => reject(new Error('nothing came')), STALL_MS);
    socket.write(connectPacket('receiver-0', false));
    socket.on('data', (chunk) => {
      timer.refresh();
      let bytes = kept.length === 0 ? chunk : Buffer.concat([kept, chunk]);
      const acks = [];
      for (let length = packetLength(bytes); length > 0; length = packetLength(bytes)) {
        if (bytes[0] >> 4 === 3) acks.push(identifierOf(bytes));
        bytes = bytes.subarray(length);
      }
      kept = bytes;
      count += acks.length;
      const out = Buffer.allocUnsafe(acks.length * PUBACK_BYTES);
      acks.forEach((identifier, i) => {
        out.writeUInt16BE(0x4002, i * PUBACK_BYTES);
        out.writeUInt16BE(identifier, i * PUBACK_BYTES + 2);
      });
      socket.write(out);
      if (count < messages) return;
      clearTimeout(timer);
      timer = undefined;
      socket.end(resolve);
    });
  });
}
function headerOf(bytes) {
  let remaining = 0;
  for (let at = 1, shift = 0; at < bytes.length && at < 5; at++, shift += 7) {
    remaining |= (bytes[at] & 127) << shift;
    if (bytes[at] < 128) return { bodyAt: at + 1, remaining };
  }
  return undefined;
}
/** 0 while it is not all there. */
function packetLength(bytes) {
  const header = headerOf(bytes);
  if (header === undefined) return 0;
  const length = header.bodyAt + header.remaining;
  return length <= bytes.length ? length : 0;
}
function identifierOf(bytes) {
  const { bodyAt } = headerOf(bytes);
  return bytes.readUInt16BE(bodyAt + 2 + bytes.readUInt16BE(bodyAt));
}
