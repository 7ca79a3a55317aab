// One connection of the load generator: cuts what arrives into packets and sends bytes that were
// made before. All connections read into the same buffer, so a read allocates nothing.
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { openWebSocket } from './websocket.mjs';
import { CONNACK, DISCONNECT_PACKET, SUBACK, connectPacket, subscribePacket, writeAnswer }
  from './packets.mjs';

const READ_BUFFER = Buffer.allocUnsafeSlow(262_144);
const NOTHING = Buffer.alloc(0);
const ANSWER_BYTES = 4;
const FILTERS_PER_SUBSCRIBE = 500;
const SETUP_DEADLINE_MS = 20_000;

function openSocket({ door, port, localAddress }, onRead) {
  const onread = { buffer: READ_BUFFER, callback: (length, buffer) => onRead(buffer, length) };
  const address = { host: '127.0.0.1', port, localAddress, noDelay: true };
  if (door === 'tcp') return connect({ ...address, onread });
  if (door === 'tls') {
    return connectTls({ ...address, rejectUnauthorized: false })
      .on('data', (chunk) => onRead(chunk, chunk.length));
  }
  return openWebSocket({ door, port }, onRead);
}

export class Peer {
  /** `onPacket(type, flags, bytes, at, end)`: the body of one packet. */
  onPacket = () => {};
  /** A chunk has been read to its end. */
  onChunkEnd = () => {};
  onClose = () => {};
  #carry = NOTHING;
  #answers = NOTHING;
  #answersEnd = 0;
  #closing = false;

  constructor(options) {
    this.options = { door: 'tcp', version: 4, session: 'clean', ...options };
    this.socket = openSocket(this.options, (buffer, length) => {
      this.#read(buffer, length);
      return true;
    });
    this.opened = new Promise((resolve, reject) => {
      this.socket.once(this.options.door === 'tls' ? 'secureConnect' : 'connect', resolve);
      this.socket.once('error', reject);
    });
    this.socket.on('error', (error) => this.#closed(error));
    this.socket.on('close', () => this.#closed(new Error('the broker closed the connection')));
  }

  #closed(error) {
    if (!this.#closing) this.onClose(error);
    this.#closing = true;
  }

  #read(buffer, length) {
    let bytes = buffer;
    let end = length;
    if (this.#carry.length > 0) {
      bytes = Buffer.concat([this.#carry, buffer.subarray(0, length)]);
      end = bytes.length;
      this.#carry = NOTHING;
    }
    const at = this.#cut(bytes, end);
    if (at < end) this.#carry = Buffer.from(bytes.subarray(at, end));
    this.flushAnswers();
    this.onChunkEnd();
  }

  /** Tells every whole packet; answers where the first one begins that is not whole. */
  #cut(bytes, end) {
    let at = 0;
    while (at + 2 <= end) {
      let body = at + 1;
      let length = 0;
      let shift = 0;
      let byte;
      do {
        if (body >= end) return at;
        byte = bytes[body++];
        length += (byte & 0x7f) << shift;
        shift += 7;
      } while (byte & 0x80);
      if (body + length > end) return at;
      this.onPacket(bytes[at] >> 4, bytes[at] & 15, bytes, body, body + length);
      at = body + length;
    }
    return at;
  }

  send(bytes) {
    this.socket.write(bytes);
  }

  /** Answers of one chunk leave together. */
  answer(type, packetId) {
    if (this.#answersEnd + ANSWER_BYTES > this.#answers.length) {
      this.flushAnswers();
      this.#answers = Buffer.allocUnsafe(4096);
    }
    this.#answersEnd = writeAnswer(this.#answers, this.#answersEnd, type, packetId);
  }

  flushAnswers() {
    if (this.#answersEnd === 0) return;
    this.socket.write(this.#answers.subarray(0, this.#answersEnd));
    // The socket may still read these bytes, so the next answers stand behind them.
    this.#answers = this.#answers.subarray(this.#answersEnd);
    this.#answersEnd = 0;
  }

  /** Resolves with the body of the first packet of `type`; others are an error. */
  waitFor(type) {
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(
        () => reject(new Error(`no packet of type ${type} within ${SETUP_DEADLINE_MS} ms`)),
        SETUP_DEADLINE_MS,
      );
      const settle = (then, value) => {
        clearTimeout(deadline);
        then(value);
      };
      this.onClose = (error) => settle(reject, error);
      this.onPacket = (found, _flags, bytes, at, end) => {
        if (found === type) settle(resolve, Buffer.from(bytes.subarray(at, end)));
        else settle(reject, new Error(`packet of type ${found}, expected ${type}`));
      };
    });
  }

  async connect(bytes = connectPacket(this.options)) {
    await this.opened;
    const answer = this.waitFor(CONNACK);
    this.send(bytes);
    const body = await answer;
    if (body[1] !== 0) throw new Error(`CONNACK with code ${body[1]}`);
    return { sessionPresent: body[0] === 1 };
  }

  async subscribe(filters, qos) {
    for (let at = 0; at < filters.length; at += FILTERS_PER_SUBSCRIBE) {
      const some = filters.slice(at, at + FILTERS_PER_SUBSCRIBE);
      const answer = this.waitFor(SUBACK);
      const { version } = this.options;
      this.send(subscribePacket({ packetId: 1, filters: some, qos, version }));
      const body = await answer;
      const codes = body.subarray(body.length - some.length);
      if (codes.some((code) => code !== qos)) throw new Error('a subscription was refused');
    }
  }

  async disconnect() {
    this.#closing = true;
    if (this.socket.destroyed) return;
    const closed = new Promise((resolve) => this.socket.once('close', resolve));
    this.socket.end(DISCONNECT_PACKET);
    await closed;
  }

  destroy() {
    this.#closing = true;
    this.socket.destroy();
  }
}
