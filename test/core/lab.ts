/**
 * The core on a table: the small control plane and the wires of the simulation, but nothing happens
 * by chance. Peers write real bytes and read them with the tests' own strict reader; time passes
 * when a test says so.
 */
import * as build from '../conformance/wire/packets.js';
import { readPacket } from '../conformance/wire/reader.js';
import type { Reply } from '../conformance/wire/reader.js';
import type { CoreOptions, Delivery, SessionHandle } from '../../lib/core/contract.js';
import { Hub } from './simulation/hub.js';
import { Schedule, Wire } from './simulation/network.js';
import { ROOMY } from './simulation/world.js';

export { build };

export interface PeerOptions {
  readonly version?: 4 | 5;
  readonly cleanStart?: boolean;
  readonly receiveMaximum?: number;
  readonly topicAliasMaximum?: number;
  readonly maximumPacketSize?: number;
}
export interface Sent {
  readonly qos?: 0 | 1 | 2;
  readonly packetId?: number;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly properties?: readonly Buffer[];
}

/** A client that does only what it is told. */
export class Peer {
  readonly wire: Wire;
  isClosed = false;
  private bytes = Buffer.alloc(0);
  private replies: Reply[] = [];

  constructor(
    private readonly lab: Lab, readonly clientId: string, readonly version: 4 | 5,
  ) {
    this.wire = new Wire(lab.schedule, {
      wireData: (bytes) => this.hear(bytes),
      wireClosed: () => { this.isClosed = true; },
    }, 'instant');
    lab.hub.accept(this.wire);
  }

  private hear(bytes: Buffer): void {
    this.bytes = Buffer.concat([this.bytes, bytes]);
    for (;;) {
      const packet = readPacket(this.bytes, this.version);
      if (packet === undefined) return;
      this.bytes = this.bytes.subarray(packet.raw.length);
      this.replies.push(packet);
    }
  }

  get session(): SessionHandle {
    return this.lab.hub.sessions.get(this.clientId)!.handle;
  }
  /** All packets in one piece. */
  send(...packets: readonly Buffer[]): void {
    this.wire.send(Buffer.concat(packets));
    this.lab.settle();
  }
  next(): Reply | undefined {
    return this.replies.shift();
  }
  /** What came since the last time. */
  take(): Reply[] {
    const { replies } = this;
    this.replies = [];
    return replies;
  }
  /** The same in words: `PUBACK 1`, `PUBLISH 1 t first` (with DUP: `PUBLISH! ...`). */
  words(): string[] {
    return this.take().map((packet) => {
      const { name, packetId, reasonCode } = packet;
      if (name === 'PUBLISH') {
        const text = packet.payload.toString('latin1');
        return `PUBLISH${packet.dup ? '!' : ''} ${packetId} ${packet.topic} ${text}`;
      }
      const code = reasonCode === 0 ? '' : ` 0x${reasonCode.toString(16)}`;
      return packetId === 0 ? `${name}${code}` : `${name} ${packetId}${code}`;
    });
  }

  publish(topic: string, payload: string, more: Sent = {}): Buffer {
    return build.publish({
      version: this.version, topic, payload, qos: more.qos ?? 0, retain: more.retain ?? false,
      dup: more.dup ?? false, packetId: more.packetId ?? 0, properties: more.properties ?? [],
    });
  }
  /** Answers what came with QoS 1. */
  acknowledge(...packetIds: readonly number[]): void {
    this.send(...packetIds.map((packetId) => build.puback(packetId)));
  }
  subscribe(topicFilter: string, options: number): void {
    this.send(build.subscribe(this.version, 9000, [[topicFilter, options]], []));
    const answer = this.replies.findIndex(({ name }) => name === 'SUBACK');
    if (answer < 0) throw new Error(`no SUBACK for ${topicFilter}`);
    this.replies.splice(answer, 1);
  }
  cut(): void {
    this.wire.cut();
    this.lab.settle();
  }
}

export class Lab {
  readonly schedule = new Schedule(() => 0);
  readonly hub: Hub;

  constructor(options: Partial<CoreOptions> = {}) {
    this.hub = new Hub(this.schedule, { ...ROOMY, ...options });
  }
  get core(): Hub['core'] {
    return this.hub.core;
  }
  /** Everything that can happen now has happened. */
  settle(): void {
    this.schedule.run(this.schedule.now);
  }
  pass(ms: number): void {
    this.schedule.run(this.schedule.now + ms);
  }
  /** The reasons of all drops, each with its number. */
  get drops(): Record<string, number> {
    return Object.fromEntries(this.hub.dropReasons);
  }

  /** Connected, its CONNACK taken. */
  connect(clientId: string, more: PeerOptions = {}): Peer {
    const version = more.version ?? 5;
    const peer = new Peer(this, clientId, version);
    const list = version === 5 ? [build.property.receiveMaximum(more.receiveMaximum ?? 100)] : [];
    if (more.maximumPacketSize) list.push(build.property.maximumPacketSize(more.maximumPacketSize));
    if (more.topicAliasMaximum) list.push(build.property.topicAliasMaximum(more.topicAliasMaximum));
    peer.send(build.connect({
      version, clientId, cleanStart: more.cleanStart ?? false, keepAlive: 0, properties: list,
    }));
    return peer;
  }
  /** Connected and past its CONNACK. */
  client(clientId: string, more: PeerOptions = {}): Peer {
    const peer = this.connect(clientId, more);
    if (peer.next()?.name !== 'CONNACK') throw new Error(`no CONNACK for ${clientId}`);
    return peer;
  }
  /** A subscriber in this process; what it got is given to `heard`. */
  handler(
    topicFilter: string, heard: (delivery: Delivery) => void,
    acknowledgeAfterSettle: 'yes' | 'no' = 'yes',
  ): SessionHandle {
    const session = this.core.createHandlerSession(
      { concurrency: 10, acknowledgeAfterSettle },
      { reads: 'bytes', deliver: heard },
    );
    this.core.subscribe(session, topicFilter, { qos: 2 });
    return session;
  }
}
