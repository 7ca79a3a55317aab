/**
 * What a case of the client role works with: a server that says what the case writes, byte by byte,
 * and clients of the public API that connect to it.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { connect } from '../../../lib/client/index.js';
import type { ClientOptions, IncomingMessage, NidoClient } from '../../../lib/client/index.js';
import { VERSION_NAME } from '../kit.js';
import * as build from '../wire/packets.js';
import type { Version } from '../wire/packets.js';
import { ExpectationError, WirePeer } from '../wire/peer.js';
import type { Match } from '../wire/peer.js';
import { readSent } from './client-reader.js';
import type { Sent } from './client-reader.js';
import * as server from './server-packets.js';
import type { ConnackFields } from './server-packets.js';

/** How long something that must happen may take. */
export const HAPPENS_MS = 5000;

/** Malformed Packet, Protocol Error. */
const MALFORMED_OR_ERROR: readonly number[] = [0x81, 0x82];

/** Resolves like `promise`, or fails with `what` when that takes too long. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ExpectationError(`no sign of ${what}`)), HAPPENS_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The error a promise is rejected with; that it resolves is a failure. */
export async function rejection(promise: Promise<unknown>, what: string): Promise<{
  readonly code?: string; readonly reasonCode?: number; readonly message: string;
}> {
  const silent = promise.then(() => undefined, (error: Error) => error);
  const error = await within(silent, `the rejection of ${what}`);
  if (error === undefined) throw new ExpectationError(`${what} was not refused`);
  return error;
}

export function insist(condition: boolean, what: string): void {
  if (!condition) throw new ExpectationError(what);
}

/** A client with the connection that the server has with it. */
export interface Pair {
  readonly client: NidoClient;
  readonly peer: WirePeer;
  readonly connect: Sent;
}

/** A subscription of a client and what its handler was given, as a test sees it. */
export interface Heard {
  readonly messages: IncomingMessage[];
  next(): Promise<IncomingMessage>;
}

export class ClientKit {
  readonly topic = `t${randomBytes(4).toString('hex')}`;
  private readonly clients: NidoClient[] = [];
  private readonly peers: WirePeer[] = [];
  private readonly arrived: WirePeer[] = [];
  private readonly waiting: ((peer: WirePeer) => void)[] = [];
  private listener: Server | undefined;
  port = 0;

  constructor(readonly version: Version) {}

  async listen(): Promise<void> {
    this.listener = createServer((socket) => {
      const peer = WirePeer.over(socket, this.version, readSent);
      this.peers.push(peer);
      const taker = this.waiting.shift();
      if (taker) taker(peer);
      else this.arrived.push(peer);
    }).listen(0, '127.0.0.1');
    await once(this.listener, 'listening');
    this.port = (this.listener.address() as AddressInfo).port;
  }

  /** A client of the version of the case. What it waits for is the case's business. */
  client(options: ClientOptions = {}): NidoClient {
    const client = connect(`mqtt://127.0.0.1:${this.port}`, {
      protocolVersion: this.version, logger: false, reconnectPeriod: 5, clientId: 'c',
      ...options,
    });
    this.clients.push(client);
    client.connected().catch(() => undefined);
    return client;
  }

  /** The next connection that arrives. */
  accept(): Promise<WirePeer> {
    const peer = this.arrived.shift();
    if (peer) return Promise.resolve(peer);
    return within(new Promise<WirePeer>((resolve) => this.waiting.push(resolve)), 'a connection');
  }

  /** The next connection, whose CONNECT is answered. */
  async greet(fields: ConnackFields = {}): Promise<{ peer: WirePeer; connect: Sent }> {
    const peer = await this.accept();
    const sent = await peer.expectPacket('CONNECT') as Sent;
    peer.send(server.connack(this.version, fields));
    return { peer, connect: sent };
  }

  /** A connected client. */
  async pair(options: ClientOptions = {}, fields: ConnackFields = {}): Promise<Pair> {
    const client = this.client(options);
    const { peer, connect: sent } = await this.greet(fields);
    await within(client.connected(), 'the client to be connected');
    return { client, peer, connect: sent };
  }

  /** Options for a session that outlives its connection. */
  lasting(seconds = 300): ClientOptions {
    return this.version === 5
      ? { clean: false, properties: { sessionExpiryInterval: seconds } } : { clean: false };
  }

  /** A subscription whose messages are kept. */
  async listening(
    { client, peer }: Pair, filter = `${this.topic}/#`,
    handler: (message: IncomingMessage) => unknown = () => undefined, qos: 0 | 1 | 2 = 2,
  ): Promise<Heard & { readonly subscribe: Sent }> {
    const messages: IncomingMessage[] = [];
    const waiting: ((message: IncomingMessage) => void)[] = [];
    let seen = 0;
    const done = client.subscribe(filter, (message) => {
      messages.push(message);
      waiting.shift()?.(message);
      return handler(message);
    }, { qos });
    const sent = await peer.expectPacket('SUBSCRIBE') as Sent;
    peer.send(server.suback(this.version, sent.packetId, [qos]));
    await within(done, 'the subscription');
    const next = (): Promise<IncomingMessage> => {
      const message = messages[seen++];
      if (message) return Promise.resolve(message);
      return within(new Promise((resolve) => waiting.push(resolve)), 'a message');
    };
    return { messages, next, subscribe: sent };
  }

  /** Bytes of a PUBLISH to this case's topic. */
  publish(
    qos: number, packetId: number, payload = 'x', more: Partial<build.PublishFields> = {},
  ): Buffer {
    return build.publish({
      version: this.version, topic: `${this.topic}/a`, payload, qos, packetId, ...more,
    });
  }

  /** Everything the client had to say about what it was sent has been said. */
  async fence({ client, peer }: Pick<Pair, 'client' | 'peer'>): Promise<void> {
    const mark = randomBytes(4).toString('hex');
    await client.publish(`fence/${mark}`, '');
    await peer.awaitPacket('PUBLISH', { topic: `fence/${mark}` });
  }

  /** The client has sent nothing but what was expected, and goes on sending. */
  async quiet(pair: Pick<Pair, 'client' | 'peer'>): Promise<void> {
    await this.fence(pair);
    await pair.peer.expectNothing(0);
  }

  /** The client must close this connection; MQTT 5 lets it say why before that. */
  async expectClosed(peer: WirePeer, codes?: readonly number[]): Promise<void> {
    for (const sent of await peer.expectClosed()) {
      if (sent.name !== 'DISCONNECT' || this.version < 5) continue;
      if (sent.reasonCode < 0x80 || (codes && !codes.includes(sent.reasonCode))) {
        throw new ExpectationError(`DISCONNECT with 0x${sent.reasonCode.toString(16)}`);
      }
    }
  }

  /**
   * Bytes that no server may send: the client closes the connection they came on, and in MQTT 5
   * says why in a DISCONNECT, its last packet.
   */
  async refuses(bytes: Buffer, codes: readonly number[] = MALFORMED_OR_ERROR): Promise<void> {
    const pair = await this.pair({ reconnectPeriod: 0 });
    await this.listening(pair);
    pair.peer.send(bytes);
    const sent = await pair.peer.expectClosed();
    const goodbye = sent.map((one) => `${one.name} 0x${one.reasonCode.toString(16)}`).join(', ');
    const isRight = this.version < 5
      ? sent.length === 0
      : sent.length === 1 && sent[0]?.name === 'DISCONNECT' && codes.includes(sent[0].reasonCode);
    insist(isRight, `the client closed after "${goodbye}"`);
  }

  async expect(peer: WirePeer, name: string, match: Match = {}): Promise<Sent> {
    return await peer.expectPacket(name, match) as Sent;
  }

  async close(): Promise<void> {
    for (const client of this.clients) void client.end({ deadlineMs: 0 }).catch(() => undefined);
    for (const peer of this.peers) peer.cut();
    this.listener?.close();
    await Promise.all(this.clients.map((client) => client.end({ deadlineMs: 0 })
      .catch(() => undefined)));
  }

  transcript(): string {
    return this.peers.map((peer, at) => [
      `  connection ${at + 1} (MQTT ${VERSION_NAME[peer.version]}, ">" is the server):`,
      ...peer.transcript.slice(-14).map((line) => `    ${line}`)].join('\n')).join('\n');
  }
}
