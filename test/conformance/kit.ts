/**
 * What a conformance case works with: unique names, connections, and the exchanges of a good
 * client.
 */
import { randomBytes } from 'node:crypto';
import * as build from './wire/packets.js';
import type { ConnectFields, FilterEntry, Version } from './wire/packets.js';
import { ExpectationError, WirePeer } from './wire/peer.js';
import type { Endpoint, Match } from './wire/peer.js';
import { valueOf } from './wire/reader.js';
import type { Reply } from './wire/reader.js';

/** Property identifiers that cases look at. */
export const PROPERTY = {
  payloadFormat: 0x01, messageExpiry: 0x02, contentType: 0x03, responseTopic: 0x08,
  correlationData: 0x09, subscriptionIdentifier: 0x0b, sessionExpiry: 0x11,
  assignedClientIdentifier: 0x12, serverKeepAlive: 0x13, authenticationMethod: 0x15,
  authenticationData: 0x16, responseInformation: 0x1a, reasonString: 0x1f, receiveMaximum: 0x21,
  topicAliasMaximum: 0x22, topicAlias: 0x23, maximumQos: 0x24, retainAvailable: 0x25, user: 0x26,
  maximumPacketSize: 0x27, wildcardAvailable: 0x28, subscriptionIdentifierAvailable: 0x29,
  sharedAvailable: 0x2a,
} as const;

/** Bits of the Subscription Options byte. */
export const OPTION = {
  noLocal: 0x04, retainAsPublished: 0x08, retainHandling1: 0x10, retainHandling2: 0x20,
} as const;

/** Version of the protocol as the standard writes it. */
export const VERSION_NAME: Readonly<Record<Version, string>> = { 3: '3.1', 4: '3.1.1', 5: '5.0' };

/** A connection whose CONNECT was accepted. */
export interface Peer extends WirePeer {
  connack: Reply;
  clientId: string;
  nextIdentifier: number;
}

export interface PublishOptions {
  readonly qos?: number;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly packetId?: number;
  readonly properties?: readonly Buffer[];
}

export type ConnectOptions = Partial<ConnectFields> & { readonly maximumPacketSize?: number };

/** What an endpoint offers besides MQTT over TCP. */
export interface TargetEndpoint extends Endpoint {
  /** The same broker over WebSocket, when it has such a door. */
  readonly webSocket?: Endpoint & { readonly path: string };
}

export class Kit {
  readonly root = `c${randomBytes(6).toString('hex')}`;
  private readonly peers: WirePeer[] = [];
  private clients = 0;

  constructor(readonly endpoint: TargetEndpoint, readonly version: Version) {}

  topic(name: string): string {
    return `${this.root}/${name}`;
  }

  clientId(): string {
    return `${this.root}n${++this.clients}`;
  }

  /** A bare connection: no CONNECT has been sent. */
  async open(version: Version = this.version): Promise<WirePeer> {
    const peer = await WirePeer.open(this.endpoint, version);
    this.peers.push(peer);
    return peer;
  }

  /** Takes a connection that the case opened by itself into the transcript and the clean-up. */
  adopt(peer: WirePeer): WirePeer {
    this.peers.push(peer);
    return peer;
  }

  /** A connection whose CONNECT has been sent; nothing is expected yet. */
  async connecting(options: ConnectOptions = {}): Promise<Peer> {
    const version = options.version ?? this.version;
    const peer = (await this.open(version)) as Peer;
    const { maximumPacketSize: limit, properties = [], ...fields } = options;
    const clientId = fields.clientId ?? this.clientId();
    if (limit !== undefined) peer.maximumPacketSize = limit;
    const all = limit === undefined
      ? properties
      : [...properties, build.property.maximumPacketSize(limit)];
    peer.clientId = clientId.toString();
    peer.nextIdentifier = 1;
    peer.send(build.connect({ ...fields, version, clientId, properties: all }));
    return peer;
  }

  async connect(options: ConnectOptions = {}): Promise<Peer> {
    const peer = await this.connecting(options);
    peer.connack = await peer.expectPacket('CONNACK', { reasonCode: 0 });
    return peer;
  }

  /** CONNECT fields for a session that outlives its connection, in every version. */
  persistent(seconds = 300): ConnectOptions {
    const properties = this.version === 5 ? [build.property.sessionExpiry(seconds)] : [];
    return { cleanStart: false, properties };
  }

  async subscribe(
    peer: Peer, filters: string | readonly FilterEntry[], options = 0,
    properties: readonly Buffer[] = [],
  ): Promise<Reply> {
    const packetId = peer.nextIdentifier++;
    const list: readonly FilterEntry[] =
      typeof filters === 'string' ? [[filters, options]] : filters;
    peer.send(build.subscribe(peer.version, packetId, list, properties));
    return peer.awaitPacket('SUBACK', { packetId });
  }

  /** Subscribes and insists that every filter is granted. */
  async subscribed(
    peer: Peer, filters: string | readonly FilterEntry[], options = 0,
    properties: readonly Buffer[] = [],
  ): Promise<Reply> {
    const suback = await this.subscribe(peer, filters, options, properties);
    if (suback.reasonCodes.some((code) => code > 2) || suback.reasonCodes.length === 0) {
      throw new ExpectationError(`subscription refused: SUBACK ${suback.raw.toString('hex')}`);
    }
    return suback;
  }

  async unsubscribe(peer: Peer, ...filters: string[]): Promise<Reply> {
    const packetId = peer.nextIdentifier++;
    peer.send(build.unsubscribe(peer.version, packetId, filters));
    return peer.awaitPacket('UNSUBACK', { packetId });
  }

  /** Sends PUBLISH without waiting for anything. Answers the Packet Identifier. */
  send(peer: Peer, topic: string, payload: string | Buffer, options: PublishOptions = {}): number {
    const packetId = options.packetId ?? peer.nextIdentifier++;
    peer.send(build.publish({ version: peer.version, topic, payload, ...options, packetId }));
    return packetId;
  }

  /** Publishes and completes the exchange, so that the broker has processed the message. */
  async publish(
    peer: Peer, topic: string, payload: string | Buffer, options: PublishOptions = {},
  ): Promise<void> {
    const packetId = this.send(peer, topic, payload, options);
    if (!options.qos) await this.fence(peer);
    if (options.qos === 1) await peer.awaitPacket('PUBACK', { packetId });
    if (options.qos === 2) {
      await peer.awaitPacket('PUBREC', { packetId });
      peer.send(build.pubrel(packetId));
      await peer.awaitPacket('PUBCOMP', { packetId });
    }
  }

  /** Waits until the broker has processed everything this peer sent. */
  async fence(peer: WirePeer): Promise<void> {
    peer.send(build.pingreq());
    await peer.awaitPacket('PINGRESP');
  }

  /** Takes the next PUBLISH, checks it and acknowledges it as its QoS asks. */
  async receive(peer: WirePeer, match: Match = {}): Promise<Reply> {
    const message = await peer.expectPacket('PUBLISH', match);
    await this.acknowledge(peer, message);
    return message;
  }

  async acknowledge(peer: WirePeer, message: Reply): Promise<void> {
    const { packetId } = message;
    if (message.qos === 1) peer.send(build.puback(packetId));
    if (message.qos === 2) {
      peer.send(build.pubrec(packetId));
      await peer.awaitPacket('PUBREL', { packetId });
      peer.send(build.pubcomp(packetId));
    }
  }

  /** DISCONNECT in peace, and wait until the broker has closed. */
  async disconnect(peer: WirePeer, reasonCode?: number, list: readonly Buffer[] =
    []): Promise<void> {
    peer.send(build.disconnect(peer.version, reasonCode, list));
    // A broker may leave closing to the client for a while, which the standard allows.
    await peer.expectClosed(300).catch(() => peer.cut());
  }

  /** Cuts the network and waits until the broker has certainly noticed. */
  async cut(peer: WirePeer): Promise<void> {
    peer.cut();
    await peer.expectClosed();
    const witness = await this.connect();
    await this.fence(witness);
    witness.send(build.disconnect(witness.version));
  }

  /**
   * The broker must close the connection. MQTT 5 lets it say why first: CONNACK before and
   * DISCONNECT
   * after the connection was accepted, with a Reason Code of 0x80 or above, one of `codes` if
   * given.
   */
  async expectRefused(peer: WirePeer, codes?: readonly number[]): Promise<Reply[]> {
    const before = await peer.expectClosed();
    for (const reply of before) {
      const reason = reply.name === 'CONNACK' || reply.name === 'DISCONNECT';
      if (!reason) continue;
      if (peer.version === 5 && reply.reasonCode < 0x80) {
        throw new ExpectationError(
          `${reply.name} with 0x${reply.reasonCode.toString(16)} in a refusal`);
      }
      if (peer.version === 5 && codes && !codes.includes(reply.reasonCode)) {
        const wanted = codes.map((code) => `0x${code.toString(16)}`).join(', ');
        const got = `0x${reply.reasonCode.toString(16)}`;
        throw new ExpectationError(`${reply.name}: Reason Code ${got}, expected ${wanted}`);
      }
    }
    return before;
  }

  /** Sends raw bytes on an accepted connection, which works, and expects the refusal. */
  async expectBytesRefused(bytes: Buffer, codes?: readonly number[]): Promise<Reply[]> {
    const peer = await this.connect();
    await this.fence(peer);
    peer.send(bytes);
    return this.expectRefused(peer, codes);
  }

  /** The number an MQTT 5 CONNACK announces, or the standard's default. */
  announced(peer: Peer, id: number, otherwise: number): number {
    const value = valueOf(peer.connack, id);
    return typeof value === 'number' ? value : otherwise;
  }

  close(): void {
    for (const peer of this.peers) peer.cut();
  }

  /** The last lines of every connection, for the report of a failure. */
  transcript(): string {
    return this.peers
      .map((peer, at) => [`  connection ${at + 1} (MQTT ${VERSION_NAME[peer.version]}):`,
        ...peer.transcript.slice(-14).map((line) => `    ${line}`)].join('\n'))
      .join('\n');
  }
}
