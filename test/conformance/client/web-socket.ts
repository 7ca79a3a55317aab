/** MQTT over WebSocket, with the server's frames written by hand. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { connect } from '../../../lib/client/index.js';
import type { NidoClient } from '../../../lib/client/index.js';
import { cat, u16, u8 } from '../wire/bytes.js';
import type { Version } from '../wire/packets.js';
import { publish } from '../wire/packets.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import { readSent } from './client-reader.js';
import type { Sent } from './client-reader.js';
import { insist, within } from './client-kit.js';
import { connack, suback } from './server-packets.js';

const ACCEPT_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const BINARY = 2;
const TEXT = 1;

/** A frame of a server: final, not masked. */
function frame(opcode: number, payload: Buffer): Buffer {
  const length = payload.length < 126 ? u8(payload.length) : cat(u8(126), u16(payload.length));
  return cat(u8(0x80 | opcode), length, payload);
}

interface Frame { readonly opcode: number; readonly payload: Buffer }

/** The frames of a client are masked. */
function takeFrame(bytes: Buffer): { frame: Frame; length: number } | undefined {
  if (bytes.length < 2) return undefined;
  let [size, at] = [(bytes[1] ?? 0) & 0x7f, 2];
  if (size === 126) [size, at] = [bytes.length < 4 ? Infinity : bytes.readUInt16BE(2), 4];
  if (bytes.length < at + 4 + size) return undefined;
  const mask = bytes.subarray(at, at + 4);
  const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + size))
    .map((byte, index) => byte ^ (mask[index % 4] ?? 0));
  return {
    frame: { opcode: (bytes[0] ?? 0) & 15, payload: Buffer.from(payload) }, length: at + 4 + size,
  };
}

class WebSocketPeer {
  readonly opcodes = new Set<number>();
  private bytes: Buffer = Buffer.alloc(0);
  private stream: Buffer = Buffer.alloc(0);
  private readonly sent: Sent[] = [];
  private wake: () => void = () => undefined;
  readonly closed: Promise<void>;

  constructor(readonly socket: Socket, readonly version: Version, readonly protocol: string) {
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
  }

  private receive(chunk: Buffer): void {
    this.bytes = Buffer.concat([this.bytes, chunk]);
    for (let next = takeFrame(this.bytes); next; next = takeFrame(this.bytes)) {
      this.bytes = this.bytes.subarray(next.length);
      this.opcodes.add(next.frame.opcode);
      if (next.frame.opcode >= 8) {
        this.socket.end();
        continue;
      }
      this.stream = Buffer.concat([this.stream, next.frame.payload]);
    }
    for (let one = readSent(this.stream, this.version); one;
      one = readSent(this.stream, this.version)) {
      this.stream = this.stream.subarray(one.raw.length);
      this.sent.push(one);
    }
    this.wake();
  }

  async expect(name: string): Promise<Sent> {
    const arrived = async (): Promise<Sent> => {
      while (this.sent.length === 0) await new Promise<void>((resolve) => { this.wake = resolve; });
      return this.sent.shift() as Sent;
    };
    const one = await within(arrived(), name);
    insist(one.name === name, `expected ${name}, got ${one.name}`);
    return one;
  }

  send(opcode: number, payload: Buffer): void {
    this.socket.write(frame(opcode, payload));
  }
}

/** One client over WebSocket, one connection, and what a case does with both. */
async function overWebSocket(
  version: Version, run: (client: NidoClient, peer: WebSocketPeer) => Promise<void>,
): Promise<void> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const arrived = new Promise<WebSocketPeer>((resolve) => {
    listener.on('upgrade', (request, socket) => {
      const key = request.headers['sec-websocket-key'] ?? '';
      const accept = createHash('sha1').update(key + ACCEPT_GUID).digest('base64');
      const protocol = request.headers['sec-websocket-protocol'] ?? '';
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n'
        + `Connection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n`
        + 'Sec-WebSocket-Protocol: mqtt\r\n\r\n');
      resolve(new WebSocketPeer(socket as Socket, version, protocol));
    });
  });
  const { port } = listener.address() as AddressInfo;
  const client = connect(`ws://127.0.0.1:${port}/mqtt`, {
    protocolVersion: version, logger: false, reconnectPeriod: 0, clientId: 'c',
  });
  client.connected().catch(() => undefined);
  try {
    const peer = await within(arrived, 'the WebSocket handshake');
    await peer.expect('CONNECT');
    peer.send(BINARY, connack(version));
    await within(client.connected(), 'the client to be connected');
    await run(client, peer);
    peer.socket.destroy();
  } finally {
    await client.end({ deadlineMs: 0 });
    listener.closeAllConnections();
    listener.close();
  }
}

const rows: readonly ClientRow[] = [
  {
    name: 'WebSocket: the client offers the subprotocol mqtt and sends binary frames',
    on: { 4: ['6.0.0-1', '6.0.0-3'], 5: ['6.0.0-1', '6.0.0-3'] },
    run: (t) => overWebSocket(t.version, async (client, peer) => {
      insist(peer.protocol.split(/\s*,\s*/).includes('mqtt'), `offers "${peer.protocol}"`);
      await client.publish('a', 'x'.repeat(200));
      await peer.expect('PUBLISH');
      insist([...peer.opcodes].every((opcode) => opcode === BINARY || opcode === 0), 'opcodes');
    }),
  },
  {
    name: 'WebSocket: frames need not be packets',
    on: { 4: ['6.0.0-2'], 5: ['6.0.0-2'] },
    run: (t) => overWebSocket(t.version, async (client, peer) => {
      const heard: string[] = [];
      const second = new Promise<void>((resolve) => {
        const subscribed = client.subscribe('a', (message) => {
          heard.push(message.payload.toString());
          if (heard.length === 2) resolve();
        });
        void subscribed;
      });
      const { packetId } = await peer.expect('SUBSCRIBE');
      const bytes = cat(suback(t.version, packetId, [0]),
        publish({ version: t.version, topic: 'a', payload: '1' }),
        publish({ version: t.version, topic: 'a', payload: '2' }));
      peer.send(BINARY, bytes.subarray(0, 3));
      peer.send(BINARY, bytes.subarray(3, 9));
      peer.send(BINARY, bytes.subarray(9));
      await within(second, 'the second message');
      insist(heard.join() === '1,2', heard.join());
    }),
  },
  {
    name: 'WebSocket: a text frame closes the connection',
    on: { 4: ['6.0.0-1'], 5: ['6.0.0-1'] },
    run: (t) => overWebSocket(t.version, async (_client, peer) => {
      peer.send(TEXT, Buffer.from('hello'));
      await within(peer.closed, 'the connection to be closed');
    }),
  },
];

export const webSocketCases = expandClient('WebSocket', rows);
