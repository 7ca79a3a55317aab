/**
 * The operations of one commit, in words of MQTT. A batch is a builder that is used again: nothing
 * is kept per operation except its bytes. Whoever writes it never waits; whoever waits, waits for
 * the commit.
 *
 * A message with one queue entry is stored in that entry. With several there is one body, and how
 * many entries refer to it is known in memory only: the start counts them again.
 */
import type {
  QueueEntry, SessionRecord, StoredMessage, SubscriptionRecord, WillRecord, WriteDurability,
} from './engine.js';
import { messageNumberOf } from './engine.js';
import {
  KEY_ENDED, KEY_INBOUND, KEY_MESSAGE, KEY_QUEUE, KEY_RELEASED, KEY_RETAINED, KEY_SESSION,
  KEY_SUBSCRIPTION, KEY_WILL,
} from './keys.js';
import { OperationLog } from './operation-log.js';
import {
  referenceOf, writeMessage, writeQueueEntry, writeSession, writeSubscription, writeWill,
} from './records.js';

/** How many queue entries refer to a shared body. */
export class BodyReferences {
  #counts = new Map<number, number>();

  get size(): number {
    return this.#counts.size;
  }
  add(messageNumber: number, count: number): void {
    this.#counts.set(messageNumber, (this.#counts.get(messageNumber) ?? 0) + count);
  }
  /** True when that was the last one. False also for a message that never had a body of its own. */
  drop(messageNumber: number): boolean {
    const count = this.#counts.get(messageNumber);
    if (count === undefined) return false;
    if (count > 1) {
      this.#counts.set(messageNumber, count - 1);
      return false;
    }
    this.#counts.delete(messageNumber);
    return true;
  }
  has(messageNumber: number): boolean {
    return this.#counts.has(messageNumber);
  }
  clear(): void {
    this.#counts.clear();
  }
}

export class EngineBatch {
  readonly log = new OperationLog();
  /**
   * Sessions that end with this batch: what they leave is swept once it is committed, not before.
   */
  readonly ended: number[] = [];
  #references: BodyReferences;
  #durability: WriteDurability = 'os';
  #inline: StoredMessage | undefined;

  constructor(references: BodyReferences) {
    this.#references = references;
  }

  get bytes(): number {
    return this.log.bytes;
  }
  get operations(): number {
    return this.log.operations;
  }
  /** The strictest that any of its operations asked for. */
  get durability(): WriteDurability {
    return this.#durability;
  }
  require(durability: WriteDurability): void {
    if (durability === 'disk') this.#durability = 'disk';
  }

  /**
   * A message and how many queue entries it will have; those follow at once with `putQueueEntry`.
   * With one entry the fields must stay as they are until that call.
   */
  putMessage(message: StoredMessage, queueEntries: number): void {
    this.#inline = queueEntries === 1 ? message : undefined;
    if (queueEntries < 2) return;
    this.#references.add(message.number, queueEntries);
    this.log.beginKey(KEY_MESSAGE);
    this.log.number(message.number);
    this.log.beginValue();
    writeMessage(this.log, message);
    this.log.endPut();
  }
  putQueueEntry(entry: QueueEntry): void {
    const isInline = this.#inline?.number === messageNumberOf(entry.number);
    const inline = isInline ? this.#inline : undefined;
    this.#inline = undefined;
    this.log.beginNumberKey(KEY_QUEUE, entry.sessionId, entry.number);
    this.log.beginValue();
    writeQueueEntry(this.log, entry, inline);
    this.log.endPut();
  }
  /**
   * The same message now waits for another session. Before the entry that it had is deleted: a
   * shared body must not go with that one.
   */
  moveQueueEntry(message: StoredMessage, entry: QueueEntry): void {
    if (this.#references.has(message.number)) {
      this.#references.add(message.number, 1);
      this.#inline = undefined;
    } else {
      this.#inline = message;
    }
    this.putQueueEntry(entry);
  }
  /**
   * PUBREC came: the message is gone, the identifier stays until PUBCOMP. Commit before PUBREL is
   * sent.
   */
  releaseQueueEntry(sessionId: number, number: number, packetIdentifier: number): void {
    this.deleteQueueEntry(sessionId, number);
    this.log.beginNumberKey(KEY_RELEASED, sessionId, number);
    this.log.beginValue();
    this.log.uint16(packetIdentifier);
    this.log.endPut();
  }
  /**
   * Acknowledged, expired or dropped. Once for each entry: a second time would take the body from
   * somebody else.
   */
  deleteQueueEntry(sessionId: number, number: number): void {
    this.log.beginNumberKey(KEY_QUEUE, sessionId, number);
    this.log.endDelete();
    this.#dropReference(messageNumberOf(number));
  }
  /** PUBCOMP came. */
  deleteReleased(sessionId: number, number: number): void {
    this.log.beginNumberKey(KEY_RELEASED, sessionId, number);
    this.log.endDelete();
  }

  putSession(record: SessionRecord): void {
    this.#key1(KEY_SESSION, record.sessionId);
    this.log.beginValue();
    writeSession(this.log, record);
    this.log.endPut();
  }
  /**
   * Ends a session and everything below it. The session is gone with this batch, the rest is swept
   * in slices afterwards: name none of its entries from here on.
   */
  deleteSession(sessionId: number): void {
    this.#key1(KEY_SESSION, sessionId);
    this.log.endDelete();
    this.#key1(KEY_ENDED, sessionId);
    this.log.beginValue();
    this.log.endPut();
    this.ended.push(sessionId);
  }
  putSubscription(record: SubscriptionRecord): void {
    this.#subscriptionKey(record.sessionId, record.topicFilter);
    this.log.beginValue();
    writeSubscription(this.log, record);
    this.log.endPut();
  }
  deleteSubscription(sessionId: number, topicFilter: string): void {
    this.#subscriptionKey(sessionId, topicFilter);
    this.log.endDelete();
  }
  putWill(record: WillRecord): void {
    this.#key1(KEY_WILL, record.sessionId);
    this.log.beginValue();
    writeWill(this.log, record);
    this.log.endPut();
  }
  deleteWill(sessionId: number): void {
    this.#key1(KEY_WILL, sessionId);
    this.log.endDelete();
  }

  /** Commit before PUBREC is sent. */
  putInbound(sessionId: number, packetIdentifier: number): void {
    this.#inboundKey(sessionId, packetIdentifier);
    this.log.beginValue();
    this.log.endPut();
  }
  /** Commit before PUBCOMP is sent. */
  deleteInbound(sessionId: number, packetIdentifier: number): void {
    this.#inboundKey(sessionId, packetIdentifier);
    this.log.endDelete();
  }

  putRetained(message: StoredMessage): void {
    this.log.beginKey(KEY_RETAINED);
    this.log.raw(message.topicName);
    this.log.beginValue();
    this.log.number(message.number);
    writeMessage(this.log, message);
    this.log.endPut();
  }
  deleteRetained(topicName: Uint8Array): void {
    this.log.beginKey(KEY_RETAINED);
    this.log.raw(topicName);
    this.log.endDelete();
  }

  /** For sweeps and migrations: any key at all. */
  deleteKey(key: Buffer): void {
    this.log.beginKey(key[0]);
    this.log.raw(key.subarray(1));
    this.log.endDelete();
  }
  /**
   * As `deleteQueueEntry`, with what the store itself says. `body` is the value without its
   * checksum.
   */
  sweepQueueEntry(key: Buffer, body: Buffer | undefined): void {
    this.deleteKey(key);
    const messageNumber = body === undefined ? 0 : referenceOf(key, body);
    if (messageNumber !== 0) this.#dropReference(messageNumber);
  }

  reset(): void {
    this.log.reset();
    this.ended.length = 0;
    this.#durability = 'os';
    this.#inline = undefined;
  }

  #dropReference(messageNumber: number): void {
    if (!this.#references.drop(messageNumber)) return;
    this.#key1(KEY_MESSAGE, messageNumber);
    this.log.endDelete();
  }
  #key1(keyClass: number, first: number): void {
    this.log.beginKey(keyClass);
    this.log.number(first);
  }
  #subscriptionKey(sessionId: number, topicFilter: string): void {
    this.#key1(KEY_SUBSCRIPTION, sessionId);
    this.log.text(topicFilter);
  }
  #inboundKey(sessionId: number, packetIdentifier: number): void {
    this.#key1(KEY_INBOUND, sessionId);
    this.log.uint16(packetIdentifier);
  }
}
