// A WebSocket as plain bytes: the little of RFC 6455 that a load generator needs, so that its own
// cost stays small. Presents itself like a socket: write, end, destroy, and the events of one.
import { randomBytes } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';

const BINARY_FRAME = 0x82;
const HEADER_END = '\r\n\r\n';

function upgradeRequest(port) {
  return [
    'GET /mqtt HTTP/1.1', `Host: 127.0.0.1:${port}`, 'Upgrade: websocket', 'Connection: Upgrade',
    `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`, 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Protocol: mqtt', '', '',
  ].join('\r\n');
}

/** A masked frame whose mask is zero: legal, and it leaves the bytes as they are. */
function frameHeader(length) {
  if (length < 126) return Buffer.from([BINARY_FRAME, 0x80 | length, 0, 0, 0, 0]);
  if (length < 65_536) {
    return Buffer.from([BINARY_FRAME, 0xfe, length >> 8, length & 0xff, 0, 0, 0, 0]);
  }
  const header = Buffer.alloc(14);
  header[0] = BINARY_FRAME;
  header[1] = 0xff;
  header.writeUInt32BE(length, 6);
  return header;
}

/** `onBytes(buffer, length)` gets the payload of every whole frame. */
class FrameReader {
  #carry = Buffer.alloc(0);

  constructor(onBytes) {
    this.onBytes = onBytes;
  }

  read(chunk) {
    const bytes = this.#carry.length > 0 ? Buffer.concat([this.#carry, chunk]) : chunk;
    let at = 0;
    while (at + 2 <= bytes.length) {
      let length = bytes[at + 1] & 0x7f;
      let body = at + 2;
      if (length === 126) {
        if (body + 2 > bytes.length) break;
        length = bytes.readUInt16BE(body);
        body += 2;
      } else if (length === 127) {
        if (body + 8 > bytes.length) break;
        length = Number(bytes.readBigUInt64BE(body));
        body += 8;
      }
      if (body + length > bytes.length) break;
      if ((bytes[at] & 15) < 8) this.onBytes(bytes.subarray(body, body + length), length);
      at = body + length;
    }
    this.#carry = Buffer.from(bytes.subarray(at));
  }
}

class WebSocketPipe extends EventEmitter {
  #socket;
  #reader;
  #head = Buffer.alloc(0);
  #upgraded = false;

  constructor({ door, port }, onBytes) {
    super();
    const address = { host: '127.0.0.1', port, noDelay: true };
    const secure = door === 'wss';
    const socket = secure
      ? connectTls({ ...address, rejectUnauthorized: false }) : connect(address);
    this.#socket = socket;
    this.#reader = new FrameReader(onBytes);
    socket.once(secure ? 'secureConnect' : 'connect', () => socket.write(upgradeRequest(port)));
    socket.on('data', (chunk) => {
      if (this.#upgraded) this.#reader.read(chunk);
      else this.#upgrade(chunk);
    });
    socket.on('error', (error) => this.emit('error', error));
    socket.on('close', () => this.emit('close'));
  }

  #upgrade(chunk) {
    this.#head = Buffer.concat([this.#head, chunk]);
    const end = this.#head.indexOf(HEADER_END);
    if (end < 0) return;
    if (!this.#head.toString('latin1').startsWith('HTTP/1.1 101')) {
      this.#socket.destroy(new Error('the broker refused the upgrade'));
      return;
    }
    this.#upgraded = true;
    this.emit('connect');
    this.#reader.read(this.#head.subarray(end + HEADER_END.length));
  }

  get destroyed() {
    return this.#socket.destroyed;
  }

  write(bytes) {
    this.#socket.cork();
    this.#socket.write(frameHeader(bytes.length));
    this.#socket.write(bytes);
    this.#socket.uncork();
  }

  end(bytes) {
    this.write(bytes);
    this.#socket.end();
  }

  destroy() {
    this.#socket.destroy();
  }
}

export function openWebSocket(target, onBytes) {
  return new WebSocketPipe(target, onBytes);
}
