// Publishers, receivers, and the credit between them. A publisher is never more than `credit`
// messages ahead of its slowest receiver, so QoS 0 cannot overrun a broker; with QoS 1 and 2 at
// most `window` of them are unacknowledged as well.
//
// Every received message is checked: its topic, its payload, and that its sequence number is the
// next one (or at least a later one, where other receivers get those between).
import { PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL } from './packets.mjs';

const WRITE_BYTES_MAX = 65_536;
const PACKET_IDS = 65_535;
export const now = () => performance.now();

export class Verification {
  received = 0;
  faults = 0;
  firstFault = '';

  fault(text) {
    this.faults++;
    if (this.firstFault === '') this.firstFault = text;
  }
}

export class Publisher {
  sent = 0;
  acknowledged = 0;
  /** Messages that every receiver has. */
  confirmed = 0;
  limit = Infinity;
  #counts;
  #held = new Set();

  /** `templates[sequence % templates.length]` is the message with that sequence number. */
  constructor(peer, { index, templates, qos, credit, window, copies, verification }) {
    Object.assign(this, { peer, index, templates, qos, credit, window, copies, verification });
    this.#counts = new Uint32Array(credit);
    peer.onPacket = (type, _flags, bytes, at) => this.#acknowledge(type, bytes, at);
    peer.onChunkEnd = () => this.topUp();
    peer.onClose = (error) => verification.fault(`publisher ${index}: ${error.message}`);
  }

  #acknowledge(type, bytes, at) {
    const packetId = (bytes[at] << 8) | bytes[at + 1];
    if (type === PUBREC && this.qos === 2) {
      this.peer.answer(PUBREL, packetId);
      return;
    }
    if (type !== (this.qos === 1 ? PUBACK : PUBCOMP) || !this.#held.delete(packetId)) {
      this.verification.fault(`publisher ${this.index}: type ${type} for ${packetId}`);
      return;
    }
    this.acknowledged++;
  }

  /** One receiver has got `sequence`. */
  confirm(sequence) {
    const counts = this.#counts;
    counts[sequence % this.credit]++;
    while (this.confirmed < this.sent
      && counts[this.confirmed % this.credit] === this.copies) {
      counts[this.confirmed % this.credit] = 0;
      this.confirmed++;
    }
  }

  allowance() {
    const ahead = this.credit - (this.sent - this.confirmed);
    const open = this.qos === 0 ? ahead : this.window - (this.sent - this.acknowledged);
    return Math.min(ahead, open, this.limit - this.sent);
  }

  /** Sends what is allowed, but not in crumbs: a quarter of the credit, or the rest. */
  topUp() {
    const count = this.allowance();
    if (count <= 0) return;
    const least = (this.qos === 0 ? this.credit : Math.min(this.credit, this.window)) >> 2;
    const open = this.sent - (this.qos === 0 ? this.confirmed
      : Math.min(this.confirmed, this.acknowledged));
    if (count < least && count < this.limit - this.sent && open > least) return;
    this.send(count);
  }

  send(count) {
    let left = count;
    while (left > 0) {
      const { length } = this.templates[this.sent % this.templates.length].bytes;
      const some = Math.min(left, Math.max(1, Math.floor(WRITE_BYTES_MAX / length)));
      this.#write(some);
      left -= some;
    }
  }

  #write(count) {
    const { templates } = this;
    let size = 0;
    for (let i = 0; i < count; i++) {
      size += templates[(this.sent + i) % templates.length].bytes.length;
    }
    const buffer = Buffer.allocUnsafe(size);
    const time = now();
    let at = 0;
    for (let i = 0; i < count; i++) {
      const template = templates[this.sent % templates.length];
      buffer.set(template.bytes, at);
      if (template.idAt >= 0) this.#stampId(buffer, at + template.idAt);
      buffer.writeUInt32BE(this.index, at + template.payloadAt);
      buffer.writeUInt32BE(this.sent, at + template.payloadAt + 4);
      buffer.writeDoubleBE(time, at + template.payloadAt + 8);
      at += template.bytes.length;
      this.sent++;
    }
    this.peer.send(buffer);
  }

  #stampId(buffer, at) {
    const packetId = (this.sent % PACKET_IDS) + 1;
    this.#held.add(packetId);
    buffer[at] = packetId >> 8;
    buffer[at + 1] = packetId & 0xff;
  }
}

export class Receiver {
  /** Called with the milliseconds between sending and receiving, when set. */
  onLatency = undefined;
  #expected;
  #released = new Set();
  #touched = new Set();

  /** `order: 'next'` wants every sequence number, `'later'` lets others have some. */
  constructor(peer, { publishers, order, version, verification, retained = 'no' }) {
    Object.assign(this, { peer, publishers, order, version, verification, retained });
    this.#expected = new Uint32Array(publishers.length);
    peer.onPacket = (type, flags, bytes, at, end) => this.#packet(type, flags, bytes, at, end);
    peer.onChunkEnd = () => this.#chunkEnd();
    peer.onClose = (error) => verification.fault(`receiver: ${error.message}`);
  }

  #chunkEnd() {
    for (const publisher of this.#touched) publisher.topUp();
    this.#touched.clear();
  }

  #packet(type, flags, bytes, at, end) {
    if (type === PUBLISH) {
      this.#publish(flags, bytes, at, end);
    } else if (type === PUBREL) {
      const packetId = (bytes[at] << 8) | bytes[at + 1];
      if (!this.#released.delete(packetId)) this.verification.fault(`PUBREL of ${packetId}`);
      this.peer.answer(PUBCOMP, packetId);
    } else {
      this.verification.fault(`receiver: packet of type ${type}`);
    }
  }

  #publish(flags, bytes, at, end) {
    const topicAt = at + 2;
    const topicEnd = topicAt + ((bytes[at] << 8) | bytes[at + 1]);
    const qos = (flags >> 1) & 3;
    let payloadAt = topicEnd;
    if (qos > 0) {
      this.#answer(qos, (bytes[payloadAt] << 8) | bytes[payloadAt + 1]);
      payloadAt += 2;
    }
    if (this.version === 5) payloadAt += 1 + bytes[payloadAt];
    const publisher = this.publishers[bytes.readUInt32BE(payloadAt)];
    const sequence = bytes.readUInt32BE(payloadAt + 4);
    this.verification.received++;
    if (publisher === undefined) {
      this.verification.fault('a payload without a publisher');
      return;
    }
    const template = publisher.templates[sequence % publisher.templates.length];
    if (!sameTopic(template, bytes, topicAt, topicEnd)
      || !samePayload(template, bytes, payloadAt, end)) {
      this.verification.fault(`message ${sequence} of ${publisher.index}: other topic or payload`);
      return;
    }
    this.#inOrder(publisher, sequence);
    publisher.confirm(sequence);
    this.#touched.add(publisher);
    this.onLatency?.(now() - bytes.readDoubleBE(payloadAt + 8));
  }

  #inOrder(publisher, sequence) {
    const expected = this.#expected[publisher.index];
    const right = this.order === 'next' ? sequence === expected : sequence >= expected;
    if (!right) {
      this.verification.fault(`message ${sequence} of ${publisher.index}, expected ${expected}`);
    }
    this.#expected[publisher.index] = sequence + 1;
  }

  #answer(qos, packetId) {
    if (qos === 2) this.#released.add(packetId);
    this.peer.answer(qos === 1 ? PUBACK : PUBREC, packetId);
  }
}

function sameTopic({ topic }, bytes, at, end) {
  if (end - at !== topic.length) return false;
  for (let i = 0; i < topic.length; i++) if (bytes[at + i] !== topic[i]) return false;
  return true;
}

function samePayload({ payload }, bytes, at, end) {
  if (end - at !== payload.length) return false;
  return payload.length === 16 || bytes.compare(payload, 16, payload.length, at + 16, end) === 0;
}
