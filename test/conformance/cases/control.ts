/** PINGREQ, DISCONNECT, AUTH, and what an error does to a connection. */
import { createHash, randomBytes } from 'node:crypto';
import { connect as connectSocket } from 'node:net';
import type { Socket } from 'node:net';
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { PROPERTY } from '../kit.js';
import type { Kit } from '../kit.js';
import { cat, hex, u16, u8 } from '../wire/bytes.js';
import { auth, connect, disconnect, pingreq, property, publish,
  subscribe } from '../wire/packets.js';
import { ExpectationError, REPLY_MS, SILENCE_MS } from '../wire/peer.js';
import { valueOf } from '../wire/reader.js';
import type { Reply } from '../wire/reader.js';

const control: CaseRow[] = [
  {
    name: 'PINGREQ is answered by PINGRESP, byte for byte',
    on: { 3: [], 4: ['3.12.4-1'], 5: ['3.12.4-1'] },
    run: async (t) => {
      const peer = await t.connect();
      for (let at = 0; at < 3; at++) {
        peer.send(pingreq());
        const { raw } = await peer.expectPacket('PINGRESP');
        if (raw.toString('hex') !== 'd000') throw new ExpectationError('not D0 00');
      }
    },
  },
  {
    name: 'nothing sent behind DISCONNECT is processed, and nothing comes back',
    on: { 3: [], 4: ['3.14.4-2'], 5: ['3.14.4-1'] }, kind: 'non-normative',
    run: async (t) => {
      const witness = await t.connect();
      await t.subscribed(witness, t.topic('a'));
      const peer = await t.connect();
      const { version } = t;
      peer.send(cat(disconnect(version), publish({ version, topic: t.topic('a'), payload: 'late' }),
        pingreq()));
      const replies = await peer.expectClosed();
      if (replies.length > 0) throw new ExpectationError(`${replies[0]?.name} after DISCONNECT`);
      await witness.expectNothing();
    },
  },
  {
    name: 'the server closes after DISCONNECT',
    on: { 3: [], 4: ['3.14.4-1'], 5: ['3.14.4-2'] },
    run: async (t) => {
      const peer = await t.connect();
      peer.send(disconnect(t.version));
      const replies = await peer.expectClosed();
      if (replies.length > 0) throw new ExpectationError(`${replies[0]?.name} after DISCONNECT`);
    },
  },
  {
    name: 'DISCONNECT with a reason code a client may not send is refused',
    on: { 5: ['3.14.2-1', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(hex('e0 02 7f 00'), [0x81, 0x82])),
  },
  {
    name: 'one client\'s error does not touch another connection',
    on: { 3: [], 4: ['4.8.0-1', '4.8.0-2'], 5: ['4.13.1-1', '4.13.2-1'] },
    run: async (t) => {
      const other = await t.connect();
      await t.subscribed(other, t.topic('a'), 1);
      await t.expectBytesRefused(hex('f3 00'));
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 1 });
      await t.receive(other, { payload: 'x' });
    },
  },
  {
    name: 'a message before the error is processed, one behind it is not',
    on: { 3: [], 4: ['4.8.0-1', '4.8.0-2'], 5: ['4.13.1-1'] }, kind: 'non-normative',
    run: async (t) => {
      const { version } = t;
      const witness = await t.connect();
      await t.subscribed(witness, t.topic('a'));
      const peer = await t.connect();
      peer.send(cat(publish({ version, topic: t.topic('a'), payload: 'before' }), hex('00 00'),
        publish({ version, topic: t.topic('a'), payload: 'behind' })));
      await t.expectRefused(peer);
      await witness.expectPacket('PUBLISH', { payload: 'before' });
      await witness.expectNothing();
    },
  },
  {
    name: 'TCP: bytes may come one by one or all at once',
    on: { 3: [], 4: ['7.1.1-1'], 5: ['4.2-1'] },
    run: async (t) => {
      const { version } = t;
      const life = (): Buffer => cat(connect({ version, clientId: t.clientId() }),
        subscribe(version, 1, [[t.topic('a'), 0]]),
        publish({ version, topic: t.topic('a'), payload: 'x', qos: 1, packetId: 2 }));
      const slow = await t.open();
      for (const byte of life()) {
        slow.send(u8(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      for (const peer of [slow, (await t.open()).send(life())]) {
        await peer.expectPacket('CONNACK', { reasonCode: 0 });
        await peer.awaitPacket('SUBACK', { packetId: 1 });
        await peer.awaitPacket('PUBLISH', { payload: 'x' });
        await peer.awaitPacket('PUBACK', { packetId: 2 });
      }
    },
  },
  {
    name: 'a client and a server of the same process need nothing outside the standard',
    on: { 3: [], 4: ['7.0.0-2', '7.0.0-1'], 5: [] },
    run: async (t) => {
      // Every packet of a whole life, with no property and no option that could be left out.
      const peer = await t.connect();
      await t.subscribed(peer, t.topic('a'), 2);
      await t.publish(peer, t.topic('a'), 'x', { qos: 0 });
      await peer.awaitPacket('PUBLISH', { payload: 'x' });
      await t.unsubscribe(peer, t.topic('a'));
      await t.fence(peer);
      await t.disconnect(peer);
    },
  },
];

/** The method of the configured enhanced authenticator; see target.ts for the exchange. */
const METHOD = 'CONFORMANCE';
const method = property.authenticationMethod(METHOD);
const data = (text: string): Buffer => property.authenticationData(text);

function expectMethod(reply: Reply): void {
  if (valueOf(reply, PROPERTY.authenticationMethod) !== METHOD) {
    throw new ExpectationError(`${reply.name} does not name the method`);
  }
}

async function enhanced(t: Kit, answer: string) {
  const peer = await t.connecting({ properties: [method, data('hello')] });
  const challenge = await peer.expectPacket('AUTH', { reasonCode: 0x18 });
  expectMethod(challenge);
  peer.send(auth(0x18, [method, data(answer)]));
  return peer;
}

const authentication: CaseRow[] = [
  {
    name: 'AUTH without an authentication method in CONNECT is refused',
    on: { 5: ['4.12.0-7', '4.12.0-6', '4.13.1-1'] },
    run: async (t) => {
      const replies = await t.expectBytesRefused(auth(0x19, [method]), [0x82, 0x81, 0x8c]);
      if (replies.some((reply) => reply.name === 'AUTH')) throw new ExpectationError('AUTH');
    },
  },
  {
    name: 'AUTH of a Reason Code alone is refused as what it is, without a method (0x82)',
    on: { 5: [] }, kind: 'non-normative',
    run: async (t) => void (await t.expectBytesRefused(Buffer.from('f00118', 'hex'), [0x82])),
  },
  {
    name: 'enhanced authentication: AUTH 0x18, answer, CONNACK with the method',
    on: { 5: ['4.12.0-2', '4.12.0-3', '4.12.0-5', '3.15.2-1', '3.2.0-1'] },
    variant: 'enhanced-authentication',
    run: async (t) => {
      const peer = await enhanced(t, 'right');
      expectMethod(await peer.expectPacket('CONNACK', { reasonCode: 0 }));
      await t.fence(peer);
    },
  },
  {
    name: 'enhanced authentication that fails is refused and closed',
    on: { 5: ['4.12.0-4', '3.1.4-2'] }, variant: 'enhanced-authentication',
    run: async (t) => void (await t.expectRefused(await enhanced(t, 'wrong'), [0x86, 0x87, 0x8c])),
  },
  {
    name: 'AUTH keeps within a small Maximum Packet Size',
    on: { 5: ['3.15.2-2', '3.15.2-3'] }, variant: 'enhanced-authentication',
    run: async (t) => {
      const peer =
        await t.connecting({ properties: [method, data('hello')], maximumPacketSize: 48 });
      await peer.expectPacket('AUTH', { reasonCode: 0x18 });
      peer.send(auth(0x18, [method, data('right')]));
      await peer.expectPacket('CONNACK', { reasonCode: 0 });
    },
  },
  {
    name: 'an AUTH that exceeds the client\'s Maximum Packet Size is not sent',
    on: { 5: ['3.1.2-24'] }, variant: 'enhanced-authentication',
    run: async (t) => {
      // The challenge takes 29 bytes.
      const peer =
        await t.connecting({ properties: [method, data('hello')], maximumPacketSize: 28 });
      const replies = await t.expectRefused(peer, [0x95]);
      if (replies.some((reply) => reply.name === 'AUTH')) throw new ExpectationError('AUTH');
    },
  },
  {
    name: 'only AUTH and DISCONNECT are in place while authentication goes on',
    on: { 5: ['3.1.2-30', '3.2.0-1', '4.13.1-1'] }, variant: 'enhanced-authentication',
    run: async (t) => {
      const peer = await t.connecting({ properties: [method, data('hello')] });
      await peer.expectPacket('AUTH', { reasonCode: 0x18 });
      peer.send(pingreq());
      await t.expectRefused(peer, [0x82]);
    },
  },
  {
    name: 'an AUTH with another method or a reason code of the server closes the connection',
    on: { 5: ['4.12.0-5', '4.12.0-3', '3.15.2-1'] }, variant: 'enhanced-authentication',
    run: async (t) => {
      const attempts = [auth(0x18, [property.authenticationMethod('OTHER'), data('right')]),
        auth(0x00, [method, data('right')]), auth(0x77, [method, data('right')])];
      for (const bytes of attempts) {
        const peer = await t.connecting({ properties: [method, data('hello')] });
        await peer.expectPacket('AUTH');
        peer.send(bytes);
        await t.expectRefused(peer, [0x82, 0x81, 0x8c]);
      }
    },
  },
  {
    name: 're-authentication succeeds with AUTH 0x00 while the connection works',
    on: { 5: ['4.12.0-5', '4.12.0-2'] }, variant: 'enhanced-authentication',
    run: async (t) => {
      const peer = await enhanced(t, 'right');
      await peer.expectPacket('CONNACK', { reasonCode: 0 });
      peer.send(auth(0x19, [method, data('hello')]));
      expectMethod(await peer.expectPacket('AUTH', { reasonCode: 0x18 }));
      peer.send(auth(0x18, [method, data('right')]));
      expectMethod(await peer.expectPacket('AUTH', { reasonCode: 0 }));
      await t.fence(peer);
    },
  },
  {
    name: 're-authentication that fails closes the connection',
    on: { 5: ['4.12.1-2', '4.12.1-1'] }, variant: 'enhanced-authentication',
    run: async (t) => {
      const peer = await enhanced(t, 'right');
      await peer.expectPacket('CONNACK', { reasonCode: 0 });
      peer.send(auth(0x19, [method, data('hello')]));
      await peer.expectPacket('AUTH', { reasonCode: 0x18 });
      peer.send(auth(0x18, [method, data('wrong')]));
      await t.expectRefused(peer, [0x86, 0x87, 0x8c]);
    },
  },
];

/** A WebSocket client by hand: the upgrade, then masked frames as the case wants them. */
class RawWebSocket {
  private bytes = Buffer.alloc(0);
  head = '';
  closed = false;
  constructor(readonly socket: Socket) {
    socket.on('data', (chunk: Buffer) => (this.bytes = Buffer.concat([this.bytes, chunk])));
    socket.on('error', () => undefined);
    socket.on('close', () => (this.closed = true));
  }

  async until(check: () => boolean, what: string, within = REPLY_MS): Promise<void> {
    const end = Date.now() + within;
    while (!check()) {
      if (Date.now() > end) throw new ExpectationError(`no sign of ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async upgrade(host: string, path: string, protocols: string): Promise<void> {
    const key = randomBytes(16).toString('base64');
    this.socket.write([`GET ${path} HTTP/1.1`, `Host: ${host}`, 'Upgrade: websocket',
      'Connection: Upgrade', `Sec-WebSocket-Key: ${key}`, 'Sec-WebSocket-Version: 13',
      `Sec-WebSocket-Protocol: ${protocols}`, '', ''].join('\r\n'));
    await this.until(() => this.bytes.includes('\r\n\r\n') || this.closed, 'the upgrade');
    const end = this.bytes.indexOf('\r\n\r\n');
    this.head = this.bytes.subarray(0, end).toString();
    this.bytes = this.bytes.subarray(end + 4);
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    if (!this.head.includes('101') || !this.head.includes(accept.digest('base64'))) {
      throw new ExpectationError(`upgrade refused: ${this.head}`);
    }
  }

  frame(opcode: number, payload: Buffer): void {
    const mask = randomBytes(4);
    const masked = Buffer.from(payload.map((byte, at) => byte ^ (mask[at % 4] ?? 0)));
    const length = payload.length < 126 ? u8(0x80 | payload.length)
      : cat(u8(0x80 | 126), u16(payload.length));
    this.socket.write(cat(u8(0x80 | opcode), length, mask, masked));
  }

  /** Payload bytes of all binary frames so far. */
  received(): Buffer {
    const parts: Buffer[] = [];
    for (let at = 0; at + 2 <= this.bytes.length;) {
      const short = (this.bytes[at + 1] ?? 0) & 0x7f;
      const start = at + (short === 126 ? 4 : 2);
      const length = short === 126 ? this.bytes.readUInt16BE(at + 2) : short;
      if (((this.bytes[at] ?? 0) & 15) === 2) parts.push(
        this.bytes.subarray(start, start + length));
      else if (((this.bytes[at] ?? 0) & 15) === 1) throw new ExpectationError('a text frame');
      at = start + length;
    }
    return Buffer.concat(parts);
  }
}

async function webSocket(t: Kit, protocols = 'mqtt'): Promise<RawWebSocket> {
  const door = t.endpoint.webSocket;
  if (!door) throw new ExpectationError('the target has no WebSocket door');
  const socket = connectSocket(door.port, door.host);
  t.adopt((await import('../wire/peer.js')).WirePeer.over(socket, 4));
  await new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  socket.removeAllListeners('data');
  const peer = new RawWebSocket(socket);
  await peer.upgrade(`${door.host}:${door.port}`, door.path, protocols);
  return peer;
}

const CONNACK_BYTES = 4;
/** Less than the patience of servers with clients that do no harm. */
const SOON_MS = 8_000;

const webSockets: CaseRow[] = [
  {
    name: 'WebSocket: the subprotocol is mqtt and frames are binary',
    on: { 4: ['6.0.0-1', '6.0.0-4'], 5: ['6.0.0-1', '6.0.0-4'] }, variant: 'web-socket',
    run: async (t) => {
      const peer = await webSocket(t, 'other, mqtt');
      if (!/sec-websocket-protocol:\s*mqtt\s*(\r\n|$)/i.test(peer.head)) {
        throw new ExpectationError(peer.head);
      }
      peer.frame(2, connect({ version: t.version, clientId: t.clientId() }));
      await peer.until(() => peer.received().length >= CONNACK_BYTES, 'CONNACK');
      if (peer.received()[0] !== 0x20) throw new ExpectationError('no CONNACK');
    },
  },
  {
    name: 'WebSocket: packets may be split over frames and joined in one',
    on: { 4: ['6.0.0-2'], 5: ['6.0.0-2'] }, variant: 'web-socket',
    run: async (t) => {
      const { version } = t;
      const peer = await webSocket(t);
      const bytes = cat(connect({ version, clientId: t.clientId() }), pingreq(),
        subscribe(version, 1, [[t.topic('a'), 0]]), pingreq());
      const cut = [1, 7, 20, bytes.length - 3];
      let from = 0;
      for (const to of [...cut, bytes.length]) {
        peer.frame(2, bytes.subarray(from, to));
        from = to;
      }
      const pings = (): number => peer.received().toString('hex').split('d000').length - 1;
      await peer.until(() => pings() >= 2, 'two PINGRESP');
    },
  },
  {
    name: 'WebSocket: a text frame closes the connection',
    on: { 4: ['6.0.0-1'], 5: ['6.0.0-1'] }, variant: 'web-socket',
    run: async (t) => {
      const peer = await webSocket(t);
      peer.frame(2, connect({ version: t.version, clientId: t.clientId() }));
      await peer.until(() => peer.received().length >= CONNACK_BYTES, 'CONNACK');
      peer.frame(1, pingreq());
      await new Promise((resolve) => setTimeout(resolve, SILENCE_MS));
      if (peer.received().toString('hex').endsWith('d000')) throw new ExpectationError('answered');
      await peer.until(() => peer.closed || peer.socket.readableEnded, 'the close').catch(() => {
        // A server may wait for the client's Close frame; then its own must have come.
        if (!peer.socket.destroyed) peer.socket.write(hex('88 80 00 00 00 00'));
      });
      await peer.until(() => peer.closed, 'the close');
    },
  },
  {
    name: 'WebSocket: who sends a text frame and does not answer the Close frame is closed',
    on: { 4: [], 5: [] }, variant: 'web-socket', kind: 'non-normative',
    run: async (t) => {
      const peer = await webSocket(t);
      peer.frame(2, connect({ version: t.version, clientId: t.clientId() }));
      await peer.until(() => peer.received().length >= CONNACK_BYTES, 'CONNACK');
      peer.frame(1, pingreq());
      await peer.until(() => peer.closed, 'the close', SOON_MS);
    },
  },
];

export const controlCases = expand('PINGREQ, DISCONNECT, AUTH and transports', [
  ...control, ...authentication, ...webSockets,
]);
