/**
 * A simulated client: real bytes, written and read by the tests' own encoder and strict reader. It
 * keeps the client's half of Session State and checks what any client can see for itself.
 */
import * as build from '../../conformance/wire/packets.js';
import { readPacket, valueOf, valuesOf } from '../../conformance/wire/reader.js';
import type { Reply } from '../../conformance/wire/reader.js';
import type { Hub } from './hub.js';
import { Wire } from './network.js';
import type { Schedule, WirePeer } from './network.js';
import type { Ledger, Message } from './ledger.js';

export interface ActorTraits {
  readonly clientId: string;
  readonly version: 4 | 5;
  /** MQTT 5: what it announces. */
  readonly receiveMaximum: number;
  readonly topicAliasMaximum: number;
  readonly maximumPacketSize: number;
  /** Chance that an acknowledgement is not sent at once. */
  readonly laziness: number;
  readonly refusal: number;
}

export interface Subscription {
  readonly topicFilter: string;
  readonly qos: number;
  readonly noLocal: boolean;
  isActive: boolean;
}

interface Outgoing {
  readonly message: Message;
  readonly packetId: number;
  isReleased: boolean;
  /** Sent on the connection that is open now. */
  sentAt: number;
}

const QUOTA_V3 = 20;
const PAYLOAD_SHOWN = 16;

function describe(message: Message): string {
  const retain = message.retain ? ' retain' : '';
  return `#${message.number} ${message.topic} qos ${message.qos}${retain}`;
}
function describeReply(packet: Reply): string {
  const { name, packetId, reasonCode } = packet;
  if (name !== 'PUBLISH') return `${name} ${packetId} 0x${reasonCode.toString(16)}`;
  const flags = `qos ${packet.qos}${packet.dup ? ' dup' : ''}${packet.retain ? ' retain' : ''}`;
  return `PUBLISH ${packetId} ${flags} ${packet.topic} #${packet.payload.toString('latin1', 0, PAYLOAD_SHOWN)}`;
}

export class Actor implements WirePeer {
  wire: Wire | undefined;
  isConnected = false;
  private buffer = Buffer.alloc(0);
  /** Counts sessions: it grows when the server has none for this client. */
  epoch = 0;
  readonly subscriptions = new Map<string, Subscription>();
  private readonly pendingSubscribes = new Map<number, () => void>();
  private outgoing: Outgoing[] = [];
  private readonly unreleased = new Set<number>();
  private nextId = 0;
  private sequence = 0;
  private serverQuota = QUOTA_V3;
  private serverAliases = 0;
  private readonly aliasesIn = new Map<number, string>();
  private readonly aliasesOut = new Map<string, number>();
  /** Packet Identifiers of messages that we have not acknowledged in full on this connection. */
  private readonly open = new Map<number, number>();
  private postponed: (() => void)[] = [];
  private mustStartClean = false;
  private waitsFor: 'nothing' | 'connack' = 'nothing';

  constructor(
    readonly traits: ActorTraits, private readonly schedule: Schedule, private readonly hub: Hub,
    private readonly ledger: Ledger,
  ) {}

  get version(): 4 | 5 {
    return this.traits.version;
  }
  get isIdle(): boolean {
    return this.outgoing.length === 0 && this.postponed.length === 0;
  }
  private trace(text: string | (() => string)): void {
    this.schedule.trace?.(`${this.traits.clientId} ${typeof text === 'string' ? text : text()}`);
  }
  private fail(text: string): never {
    throw new Error(`${this.traits.clientId} (v${this.version}): ${text}`);
  }

  // --- connections
  connect(cleanStart: boolean, style: 'instant' | 'slow' | 'bytewise'): void {
    this.buffer = Buffer.alloc(0);
    this.isConnected = false;
    this.open.clear();
    this.aliasesIn.clear();
    this.aliasesOut.clear();
    this.postponed = [];
    this.pendingSubscribes.clear();
    const self = new Wire(this.schedule, {
      wireData: (bytes) => { if (this.wire === self) this.wireData(bytes); },
      wireClosed: () => { if (this.wire === self) this.wireClosed(); },
    }, style);
    this.wire = self;
    this.waitsFor = 'connack';
    const clean = cleanStart || this.mustStartClean;
    this.mustStartClean = clean; // until one of them has arrived
    if (clean) this.forget();
    this.hub.accept(self);
    const { receiveMaximum, topicAliasMaximum, maximumPacketSize } = this.traits;
    const list = [build.property.receiveMaximum(receiveMaximum)];
    if (topicAliasMaximum > 0) list.push(build.property.topicAliasMaximum(topicAliasMaximum));
    if (maximumPacketSize > 0) list.push(build.property.maximumPacketSize(maximumPacketSize));
    self.send(build.connect({
      version: this.version, clientId: this.traits.clientId, cleanStart: clean, keepAlive: 0,
      properties: list,
    }));
  }
  /**
   * Leaves the old connection as it is and comes back on a new one. A CONNECT that nobody answered
   * yet is lost with it: arriving after the next one, it would take over from its own future.
   */
  abandon(): void {
    this.trace('abandons its connection');
    const { wire } = this;
    if (!this.isConnected) {
      this.cut();
      return;
    }
    if (wire !== undefined) wire.mute = true;
    this.lose();
  }
  disconnect(): void {
    if (!this.isConnected) {
      this.cut();
      return;
    }
    this.trace('disconnects');
    this.wire?.send(build.disconnect(this.version));
    this.lose();
  }
  cut(): void {
    this.trace('loses its connection');
    const { wire } = this;
    this.lose();
    wire?.cut();
  }
  private lose(): void {
    this.wire = undefined;
    this.isConnected = false;
  }
  wireClosed(): void {
    this.lose();
  }

  // --- what it does
  private id(): number {
    for (;;) {
      this.nextId = (this.nextId % 40) + 1; // few identifiers: they are used again soon
      const id = this.nextId;
      const isTaken = this.outgoing.some((one) => one.packetId === id)
        || this.pendingSubscribes.has(id);
      if (!isTaken) return id;
    }
  }
  private get mayUseId(): boolean {
    return this.outgoing.length + this.pendingSubscribes.size < 39;
  }

  subscribe(topicFilter: string, qos: number, bits: number, identifier: number): void {
    if (!this.isConnected || !this.mayUseId) return;
    this.trace(() => `SUBSCRIBE ${topicFilter} qos ${qos} options ${bits}`);
    const options = this.version === 5 && !topicFilter.startsWith('$share') ? qos | bits : qos;
    const old = this.subscriptions.get(topicFilter);
    if (old !== undefined) old.isActive = false;
    const packetId = this.id();
    const subscription = { topicFilter, qos, noLocal: (options & 4) !== 0, isActive: false };
    this.pendingSubscribes.set(packetId, () => {
      if (this.subscriptions.get(topicFilter) === subscription) subscription.isActive = true;
    });
    this.subscriptions.set(topicFilter, subscription);
    const list = identifier > 0 && this.version === 5
      ? [build.property.subscriptionIdentifier(identifier)] : [];
    this.wire?.send(build.subscribe(this.version, packetId, [[topicFilter, options]], list));
  }
  unsubscribe(topicFilter: string): void {
    if (!this.isConnected || !this.mayUseId) return;
    const subscription = this.subscriptions.get(topicFilter);
    if (subscription !== undefined) subscription.isActive = false;
    this.subscriptions.delete(topicFilter);
    const packetId = this.id();
    this.pendingSubscribes.set(packetId, () => undefined);
    this.wire?.send(build.unsubscribe(this.version, packetId, [topicFilter]));
  }

  publish(topic: string, qos: number, retain: boolean, size: number, expiry: number): void {
    if (!this.isConnected) return;
    if (qos > 0 && (this.outgoing.length >= this.serverQuota || !this.mayUseId)) return;
    const message = this.ledger.create(this, {
      topic, qos, retain, sequence: this.sequence++, size, canExpire: expiry > 0,
    });
    const packetId = qos > 0 ? this.id() : 0;
    const list = expiry > 0 ? [build.property.messageExpiry(expiry)] : [];
    const aliased = this.alias(topic, list);
    this.trace(() => `PUBLISH ${packetId} ${describe(message)}`);
    if (qos > 0) {
      this.outgoing.push({ message, packetId, isReleased: false, sentAt: this.schedule.now });
    }
    this.wire?.send(build.publish({
      version: this.version, topic: aliased, payload: message.payload, qos, retain, packetId,
      properties: list,
    }));
  }
  private alias(topic: string, list: Buffer[]): string {
    if (this.serverAliases === 0 || !this.schedule.chance(0.5)) return topic;
    const known = this.aliasesOut.get(topic);
    if (known !== undefined) {
      list.push(build.property.topicAlias(known));
      return '';
    }
    const alias = 1 + this.schedule.below(this.serverAliases);
    for (const [name, number] of this.aliasesOut) {
      if (number === alias) this.aliasesOut.delete(name);
    }
    this.aliasesOut.set(topic, alias);
    list.push(build.property.topicAlias(alias));
    return topic;
  }
  ping(): void {
    if (this.isConnected) this.wire?.send(build.pingreq());
  }
  /** Sends what it has not acknowledged so far. */
  catchUp(): void {
    for (const fn of this.postponed.splice(0)) fn();
  }

  // --- what it hears
  wireData(bytes: Buffer): void {
    this.buffer = Buffer.concat([this.buffer, bytes]);
    for (;;) {
      const packet = readPacket(this.buffer, this.version);
      if (packet === undefined) return;
      this.buffer = this.buffer.subarray(packet.raw.length);
      const maximum = this.traits.maximumPacketSize;
      if (this.version === 5 && maximum > 0 && packet.raw.length > maximum) {
        this.fail(`a packet of ${packet.raw.length} bytes, Maximum Packet Size is ${maximum}`);
      }
      this.hear(packet);
    }
  }

  private hear(packet: Reply): void {
    this.trace(() => `hears ${describeReply(packet)}`);
    if (this.waitsFor === 'connack') {
      if (packet.name !== 'CONNACK') this.fail(`${packet.name} before CONNACK`);
      this.waitsFor = 'nothing';
      this.hearConnack(packet);
      return;
    }
    switch (packet.name) {
      case 'PUBLISH': return this.hearPublish(packet);
      case 'PUBACK': return this.hearPuback(packet);
      case 'PUBREC': return this.hearPubrec(packet);
      case 'PUBREL': return this.hearPubrel(packet);
      case 'PUBCOMP': return this.hearPubcomp(packet);
      case 'SUBACK': case 'UNSUBACK': {
        const made = this.pendingSubscribes.get(packet.packetId);
        if (made === undefined) this.fail(`${packet.name} that was not asked for`);
        this.pendingSubscribes.delete(packet.packetId);
        if (packet.reasonCodes.every((code) => code < 0x80)) made();
        return;
      }
      case 'PINGRESP': case 'DISCONNECT': return;
      default: this.fail(`${packet.name} from the server`);
    }
  }

  private hearConnack(packet: Reply): void {
    if (packet.reasonCode !== 0) this.fail(`CONNACK 0x${packet.reasonCode.toString(16)}`);
    this.isConnected = true;
    this.mustStartClean = false;
    this.serverQuota = Number(valueOf(packet, 0x21) ?? (this.version === 5 ? 65_535 : QUOTA_V3));
    this.serverQuota = Math.min(this.serverQuota, 30);
    this.serverAliases = Math.min(3, Number(valueOf(packet, 0x22) ?? 0));
    if (!packet.sessionPresent) {
      this.forget();
      return;
    }
    for (const one of this.outgoing) {
      one.sentAt = this.schedule.now;
      const { message, packetId } = one;
      this.trace(() => `sends again ${packetId} ${describe(message)}`);
      message.wasSentAgain = true;
      this.wire?.send(one.isReleased ? build.pubrel(packetId) : build.publish({
        version: this.version, topic: message.topic, payload: message.payload, qos: message.qos,
        retain: message.retain, dup: true, packetId, properties: [],
      }));
    }
  }

  /** The client's half of Session State ends. */
  private forget(): void {
    this.ledger.endSession(this);
    this.epoch++;
    this.subscriptions.clear();
    this.outgoing = [];
    this.unreleased.clear();
  }
  /** Its session was ended from outside: it would not know which one it finds. */
  startOver(): void {
    this.ledger.endSession(this);
    this.mustStartClean = true;
    this.cut();
  }

  private hearPublish(packet: Reply): void {
    const topic = this.topicOf(packet);
    const { qos, packetId } = packet;
    if (qos === 0) {
      this.ledger.deliver(this, packet, topic);
      return;
    }
    const limit = this.version === 5 ? this.traits.receiveMaximum : 65_535;
    if (this.open.has(packetId) && !(qos === 2 && packet.dup)) {
      this.fail(`Packet Identifier ${packetId} is in use`);
    }
    this.open.set(packetId, qos);
    if (this.open.size > limit) this.fail(`${this.open.size} open messages, Receive Maximum ${limit}`);
    if (qos === 1) {
      this.ledger.deliver(this, packet, topic);
      const refused = this.version === 5 && this.schedule.chance(this.traits.refusal);
      this.soonOrLater(() => {
        this.open.delete(packetId);
        this.wire?.send(refused ? build.puback(packetId, 0x83) : build.puback(packetId));
      });
      return;
    }
    if (!this.unreleased.has(packetId)) {
      this.unreleased.add(packetId);
      this.ledger.deliver(this, packet, topic);
    } else if (!packet.dup) {
      this.fail(`QoS 2 identifier ${packetId} again, without DUP`);
    }
    this.soonOrLater(() => this.wire?.send(build.pubrec(packetId)));
  }
  private topicOf(packet: Reply): string {
    const alias = valueOf(packet, 0x23) as number | undefined;
    if (alias === undefined) return packet.topic;
    if (alias > this.traits.topicAliasMaximum) this.fail(`Topic Alias ${alias}`);
    if (packet.topic !== '') this.aliasesIn.set(alias, packet.topic);
    return this.aliasesIn.get(alias) ?? this.fail(`Topic Alias ${alias} is not known`);
  }
  private hearPubrel(packet: Reply): void {
    this.unreleased.delete(packet.packetId);
    this.soonOrLater(() => {
      this.open.delete(packet.packetId);
      this.wire?.send(build.pubcomp(packet.packetId));
    });
  }
  /** Acknowledgements keep their order: one that is put off takes the later ones with it. */
  private soonOrLater(fn: () => void): void {
    if (this.postponed.length === 0 && !this.schedule.chance(this.traits.laziness)) {
      fn();
      return;
    }
    this.postponed.push(fn);
    const { wire } = this;
    this.schedule.after(this.schedule.below(800), () => {
      if (this.wire === wire) this.catchUp();
    });
  }

  // --- answers to what it published
  private answered(packet: Reply, qos: number, isReleased: boolean): number {
    const at = this.outgoing.findIndex((one) => one.packetId === packet.packetId);
    const found = this.outgoing[at];
    if (found === undefined || found.message.qos !== qos || found.isReleased !== isReleased) {
      return this.fail(`${packet.name} ${packet.packetId} answers nothing that was sent`);
    }
    const first = this.outgoing.find((one) => one.message.qos === qos && !one.isReleased);
    if (!isReleased && first !== found) {
      this.fail(`${packet.name} out of order [MQTT-4.6.0-2] [MQTT-4.6.0-3]`);
    }
    this.ledger.tellWait(this, this.schedule.now - found.sentAt);
    return at;
  }
  private hearPuback(packet: Reply): void {
    const at = this.answered(packet, 1, false);
    this.ledger.acknowledge(this.outgoing[at]!.message, packet.reasonCode);
    this.outgoing.splice(at, 1);
  }
  private hearPubrec(packet: Reply): void {
    const at = this.answered(packet, 2, false);
    const one = this.outgoing[at]!;
    this.ledger.acknowledge(one.message, packet.reasonCode);
    if (packet.reasonCode >= 0x80) {
      this.outgoing.splice(at, 1);
      return;
    }
    one.isReleased = true;
    this.wire?.send(build.pubrel(packet.packetId));
  }
  private hearPubcomp(packet: Reply): void {
    const at = this.outgoing.findIndex((one) => one.packetId === packet.packetId);
    if (at < 0 || !this.outgoing[at]!.isReleased) this.fail(`PUBCOMP ${packet.packetId} not due`);
    this.outgoing.splice(at, 1);
  }
  identifiersOf(packet: Reply): number[] {
    return valuesOf(packet, 0x0b) as number[];
  }
}
