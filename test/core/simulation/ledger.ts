/**
 * What was promised and what came: every message, who must get it, who got it. The invariants are
 * its methods.
 */
import { naiveMatch } from '../../support/naive-matcher.js';
import type { Reply } from '../../conformance/wire/reader.js';
import type { Actor, Subscription } from './actor.js';
import type { Hub } from './hub.js';

export interface Message {
  readonly number: number;
  readonly topic: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly payload: Buffer;
  readonly publisher: string;
  readonly sequence: number;
  readonly canExpire: boolean;
  reasonCode: number | undefined;
  /** A first copy may have been routed, to others. */
  wasSentAgain: boolean;
  /** A handler has refused it. */
  mayComeAgain: boolean;
  /** Who has subscribed since before it was sent. */
  readonly candidates: readonly (readonly [Receiver, Subscription])[];
}
interface Receiver {
  readonly actor: Actor;
  readonly epoch: number;
  readonly handle: number;
  readonly expected: Set<Message>;
  readonly delivered: Map<number, number>;
  /** `publisher topic qos` -> the highest sequence that came. */
  readonly highest: Map<string, number>;
}
export interface MessageFacts {
  readonly topic: string;
  readonly qos: number;
  readonly retain: boolean;
  readonly sequence: number;
  readonly size: number;
  readonly canExpire: boolean;
}

const FAILURE = 0x80;

/** Payloads begin with the number of their message. */
function numberOf(payload: Buffer): number {
  return Number(payload.toString('latin1', 0, 10).split('|')[0]);
}

export class Ledger {
  readonly messages: Message[] = [];
  private readonly receivers = new Map<Actor, Receiver>();
  readonly violations: string[] = [];
  longestWaitMs = 0;
  deliveries = 0;
  acknowledged = 0;
  refused = 0;
  private readonly groupDeliveries = new Map<number, number>();

  constructor(private readonly hub: Hub, private readonly actors: readonly Actor[]) {}

  private receiver(actor: Actor): Receiver {
    let found = this.receivers.get(actor);
    if (found === undefined || found.epoch !== actor.epoch) {
      const handle = this.hub.sessions.get(actor.traits.clientId)?.handle ?? 0;
      found = {
        actor, epoch: actor.epoch, handle, expected: new Set(), delivered: new Map(),
        highest: new Map(),
      };
      this.receivers.set(actor, found);
    }
    return found;
  }
  /** The session ends or may end: nothing is owed to it any more. */
  endSession(actor: Actor): void {
    this.receivers.delete(actor);
    for (const subscription of actor.subscriptions.values()) subscription.isActive = false;
  }

  create(publisher: Actor, facts: MessageFacts): Message {
    const number = this.messages.length;
    const head = Buffer.from(`${number}|${facts.topic}|${facts.qos}|`);
    const message: Message = {
      ...facts, number, publisher: publisher.traits.clientId, reasonCode: undefined,
      wasSentAgain: false, mayComeAgain: false, payload: Buffer.concat([head, Buffer.alloc(facts.size, number & 0xff)]),
      candidates: this.candidatesFor(publisher, facts),
    };
    this.messages.push(message);
    return message;
  }
  private candidatesFor(publisher: Actor, facts: MessageFacts): [Receiver, Subscription][] {
    const found: [Receiver, Subscription][] = [];
    if (facts.qos === 0 || this.hub.denied.has(facts.topic)) return found;
    for (const actor of this.actors) {
      for (const subscription of actor.subscriptions.values()) {
        if (!subscription.isActive || subscription.qos === 0) continue;
        if (subscription.topicFilter.startsWith('$share/')) continue;
        if (subscription.noLocal && actor === publisher) continue;
        if (naiveMatch(subscription.topicFilter, facts.topic)) {
          found.push([this.receiver(actor), subscription]);
        }
      }
    }
    return found;
  }

  /**
   * A handler said no, and the publisher is told so with PUBREC: if that is lost, the DUP that
   * follows is a new message [MQTT-4.3.3-9].
   */
  refusedByHandler(payload: Buffer): void {
    const message = this.messages[numberOf(payload)];
    if (message !== undefined) message.mayComeAgain = true;
  }

  acknowledge(message: Message, reasonCode: number): void {
    if (message.reasonCode !== undefined && message.reasonCode < FAILURE) return;
    message.reasonCode = reasonCode;
    if (reasonCode >= FAILURE) {
      this.refused++;
      return;
    }
    this.acknowledged++;
    for (const [receiver, subscription] of message.candidates) {
      const isCurrent = this.receivers.get(receiver.actor) === receiver;
      if (isCurrent && subscription.isActive) receiver.expected.add(message);
    }
  }
  tellWait(_actor: Actor, ms: number): void {
    this.longestWaitMs = Math.max(this.longestWaitMs, ms);
  }

  deliver(actor: Actor, packet: Reply, topic: string): void {
    this.deliveries++;
    if (topic.startsWith('host/')) return;
    const number = numberOf(packet.payload);
    const message = this.messages[number];
    if (message === undefined || !packet.payload.equals(message.payload)) {
      this.violate(`${actor.traits.clientId} got a payload that nobody sent on ${topic}`);
      return;
    }
    if (message.topic !== topic) this.violate(`message of ${message.topic} came on ${topic}`);
    if (packet.qos > message.qos) this.violate(`QoS ${message.qos} was raised to ${packet.qos}`);
    const receiver = this.receiver(actor);
    const times = (receiver.delivered.get(number) ?? 0) + 1;
    receiver.delivered.set(number, times);
    if (packet.retain || message.retain) return;
    if (topic.startsWith('$g/')) {
      this.checkGroup(message, packet);
      return;
    }
    if (packet.qos === 2 && times > 1 && !message.mayComeAgain) {
      this.violate(`${actor.traits.clientId} got message ${number} (QoS 2) ${times} times`);
    }
    if (packet.dup || times > 1 || message.wasSentAgain) return;
    const key = `${message.publisher} ${topic} ${message.qos} ${packet.qos}`;
    const highest = receiver.highest.get(key) ?? -1;
    if (message.sequence < highest) {
      this.violate(`${actor.traits.clientId}: ${key} sequence ${message.sequence} after ${highest}`);
    }
    receiver.highest.set(key, Math.max(highest, message.sequence));
  }
  /** Two groups share the topics `$g/...`: a QoS 2 message goes to one member of each. */
  private checkGroup(message: Message, packet: Reply): void {
    if (packet.qos !== 2) return;
    const times = (this.groupDeliveries.get(message.number) ?? 0) + 1;
    this.groupDeliveries.set(message.number, times);
    if (times > 2 && !message.mayComeAgain) {
      this.violate(`shared message ${message.number} (QoS 2) came ${times} times`);
    }
  }

  violate(text: string): void {
    if (this.violations.length < 20) this.violations.push(text);
  }

  // --- the end
  /** No acknowledged QoS 1 or 2 message is lost, unless the core has said so. */
  checkNothingLost(): void {
    for (const receiver of this.receivers.values()) {
      const missing = new Map<string, Message[]>();
      for (const message of receiver.expected) {
        if (receiver.delivered.has(message.number)) continue;
        const list = missing.get(message.topic) ?? [];
        list.push(message);
        missing.set(message.topic, list);
      }
      const handle = this.hub.sessions.get(receiver.actor.traits.clientId)?.handle ?? 0;
      for (const [topic, list] of missing) {
        const told = this.hub.drops.get(`${handle} ${topic}`) ?? 0;
        if (list.length > told) {
          this.violate(`${receiver.actor.traits.clientId} lost ${list.length} acknowledged messages of `
            + `${topic}, ${told} drops were told: ${list.slice(0, 5).map((one) => one.number)}`);
        }
      }
    }
  }
  /** Who was told 0x97 may send again: nobody has that message. */
  checkRefusals(): void {
    for (const message of this.messages) {
      if (message.reasonCode !== 0x97 || message.retain || message.wasSentAgain) continue;
      for (const receiver of this.receivers.values()) {
        if (receiver.delivered.has(message.number)) {
          this.violate(`message ${message.number} was refused with 0x97 and delivered to `
            + receiver.actor.traits.clientId);
        }
      }
    }
  }
}
