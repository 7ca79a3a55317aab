/** What stands in the values of the store, without their checksums. Keys are in keys.ts. */
import { viewOf } from '../core/views.js';
import type {
  FoundMessage, FoundSession, FoundSubscription, QueueEntry, SessionRecord, StoredMessage,
  SubscriptionRecord, WillRecord,
} from './engine.js';
import { messageNumberOf } from './engine.js';
import type { OperationLog } from './operation-log.js';
import { readNumber, readTime, readUint16, readUint32, writeNumber } from './keys.js';

/**
 * ```
 *  0       1             3                  7           15          23
 *  +-------+-------------+------------------+-----------+-----------+----
 *  | flags | topicLength | propertiesLength | expiresAt | publisher |
 *  +-------+-------------+------------------+-----------+-----------+----
 *  then: topic name, properties, payload. flags: bits 0-1 QoS, bit 2 RETAIN
 * ```
 */
const BODY_HEADER_BYTES = 23;
const FLAG_RETAIN = 4;
const QOS_MASK = 3;

const NOTHING = Buffer.alloc(0);

/** A part of a record that may be damaged: never more than there is. */
function partOf(record: Buffer, from: number, before: number): Buffer {
  if (from >= before) return NOTHING;
  if (before > record.length) return record.subarray(from, before);
  return viewOf(record.buffer, record.byteOffset + from, before - from);
}

function flagsOf(of: { readonly qos: number; readonly retain: boolean }): number {
  return of.qos | (of.retain ? FLAG_RETAIN : 0);
}

export function writeMessage(log: OperationLog, message: StoredMessage): void {
  log.uint8(flagsOf(message));
  log.uint16(message.topicName.length);
  log.uint32(message.properties.length);
  log.float(message.expiresAt);
  log.number(message.publisher);
  log.raw(message.topicName);
  log.raw(message.properties);
  log.raw(message.payload);
}
/**
 * There may be very many of them at a time, and mostly they are copied to where they go in one
 * piece: what else they are is read out of the record for whoever asks.
 */
class RecordMessage implements FoundMessage {
  constructor(
    readonly number: number, private readonly record: Buffer, private readonly at: number,
    private readonly end: number,
  ) {}

  get body(): Buffer {
    return partOf(this.record, this.at + BODY_HEADER_BYTES, this.end);
  }
  get bodyLength(): number {
    return this.end - this.at - BODY_HEADER_BYTES;
  }
  get topicLength(): number {
    return readUint16(this.record, this.at + 1);
  }
  get propertiesLength(): number {
    return readUint32(this.record, this.at + 3);
  }
  get topicName(): Buffer {
    return partOf(this.body, 0, this.topicLength);
  }
  get properties(): Buffer {
    const { topicLength } = this;
    return partOf(this.body, topicLength, topicLength + this.propertiesLength);
  }
  get payload(): Buffer {
    return partOf(this.body, this.topicLength + this.propertiesLength, this.bodyLength);
  }
  get qos(): number {
    return this.record[this.at] & QOS_MASK;
  }
  get retain(): boolean {
    return (this.record[this.at] & FLAG_RETAIN) !== 0;
  }
  get expiresAt(): number {
    return readTime(this.record, this.at + 7);
  }
  get publisher(): number {
    return readNumber(this.record, this.at + 15);
  }
}
/** It stands between `at` and `end`. */
export function readMessage(
  number: number, record: Buffer, at: number, end: number,
): FoundMessage {
  return new RecordMessage(number, record, at, end);
}

/**
 * ```
 *  0      1       2                  4                   6
 *  +------+-------+------------------+-------------------+----
 *  | kind | flags | packetIdentifier | identifiersLength |
 *  +------+-------+------------------+-------------------+----
 *  then: subscription identifiers; groupLength 2 and group, if the flags say so (bit 3); and the
 *  body if it is inline
 * ```
 */
const ENTRY_HEADER_BYTES = 6;
const KIND_REFERENCE = 0;
const KIND_INLINE = 1;
const FLAG_GROUP = 8;

/** With a message: the body stands in the entry. */
export function writeQueueEntry(
  log: OperationLog, entry: QueueEntry, inline?: StoredMessage,
): void {
  log.uint8(inline === undefined ? KIND_REFERENCE : KIND_INLINE);
  const { group } = entry;
  log.uint8(flagsOf(entry) | (group.length === 0 ? 0 : FLAG_GROUP));
  log.uint16(entry.packetIdentifier);
  log.uint16(entry.subscriptionIdentifiers.length);
  log.raw(entry.subscriptionIdentifiers);
  if (group.length !== 0) {
    log.uint16(group.length);
    log.raw(group);
  }
  if (inline !== undefined) writeMessage(log, inline);
}
/** The number of the body that an entry refers to; 0 when it carries its own. */
export function referenceOf(key: Buffer, body: Buffer): number {
  return body[0] === KIND_REFERENCE ? messageNumberOf(readNumber(key, 9)) : 0;
}
/** What is read stands before `end`. */
export function readQueueEntry(
  key: Buffer, body: Buffer, end: number,
): { readonly entry: QueueEntry; readonly inline?: FoundMessage } {
  const flags = body[1];
  const identifiersEnd = ENTRY_HEADER_BYTES + readUint16(body, 4);
  const hasGroup = (flags & FLAG_GROUP) !== 0;
  const groupAt = hasGroup ? identifiersEnd + 2 : identifiersEnd;
  const bodyAt = hasGroup ? groupAt + readUint16(body, identifiersEnd) : groupAt;
  const entry: QueueEntry = {
    sessionId: readNumber(key, 1),
    number: readNumber(key, 9),
    qos: flags & QOS_MASK,
    retain: (flags & FLAG_RETAIN) !== 0,
    packetIdentifier: readUint16(body, 2),
    // Most entries have none of the two.
    subscriptionIdentifiers: identifiersEnd === ENTRY_HEADER_BYTES
      ? NOTHING : partOf(body, ENTRY_HEADER_BYTES, identifiersEnd),
    group: hasGroup ? partOf(body, groupAt, bodyAt) : NOTHING,
  };
  if (body[0] === KIND_REFERENCE) return { entry };
  return { entry, inline: readMessage(messageNumberOf(entry.number), body, bodyAt, end) };
}

/**
 * ```
 *  0                 1       9                       13           21            29
 *  +-----------------+-------+-----------------------+------------+-------------+---------------
 *  | protocolVersion | epoch | sessionExpiryInterval | detachedAt | sentThrough | lastIdentifier
 *  +-----------------+-------+-----------------------+------------+-------------+---------------
 *  31: clientIdentifierLength 2, usernameLength 2 (0xFFFF = none); then client identifier,
 *  username, attributes
 * ```
 */
const SESSION_TEXT_AT = 35;
const NO_USERNAME = 0xffff;

export function writeSession(log: OperationLog, record: SessionRecord): void {
  const { username } = record;
  log.uint8(record.protocolVersion);
  log.number(record.epoch);
  log.uint32(record.sessionExpiryInterval);
  log.float(record.detachedAt);
  log.number(record.sentThrough);
  log.uint16(record.lastPacketIdentifier);
  log.uint16(Buffer.byteLength(record.clientIdentifier));
  log.uint16(username === undefined ? NO_USERNAME : Buffer.byteLength(username));
  log.text(record.clientIdentifier);
  if (username !== undefined) log.text(username);
  log.raw(record.attributes);
}
/** Its number stands in front when it is packed, as it does in its key. */
const PACKED_NUMBER_BYTES = 8;

class RecordSession implements FoundSession {
  constructor(
    readonly sessionId: number, private readonly record: Buffer, private readonly at: number,
    private readonly end: number,
  ) {}

  get #usernameAt(): number {
    return this.at + SESSION_TEXT_AT + readUint16(this.record, this.at + 31);
  }
  get #attributesAt(): number {
    const length = readUint16(this.record, this.at + 33);
    return this.#usernameAt + (length === NO_USERNAME ? 0 : length);
  }
  get key(): Buffer {
    return partOf(this.record, this.at + SESSION_TEXT_AT, this.#usernameAt);
  }
  get clientIdentifier(): string {
    return this.record.toString('utf8', this.at + SESSION_TEXT_AT, this.#usernameAt);
  }
  get username(): string | undefined {
    if (readUint16(this.record, this.at + 33) === NO_USERNAME) return undefined;
    return this.record.toString('utf8', this.#usernameAt, this.#attributesAt);
  }
  get epoch(): number {
    return readNumber(this.record, this.at + 1);
  }
  get protocolVersion(): number {
    return this.record[this.at];
  }
  get sessionExpiryInterval(): number {
    return readUint32(this.record, this.at + 9);
  }
  get detachedAt(): number {
    return readTime(this.record, this.at + 13);
  }
  get sentThrough(): number {
    return readNumber(this.record, this.at + 21);
  }
  get lastPacketIdentifier(): number {
    return readUint16(this.record, this.at + 29);
  }
  get attributes(): Buffer {
    return partOf(this.record, this.#attributesAt, this.end);
  }

  get packedBytes(): number {
    return PACKED_NUMBER_BYTES + this.end - this.at;
  }
  pack(into: Buffer, at: number): void {
    writeNumber(into, at, this.sessionId);
    const moved = at + PACKED_NUMBER_BYTES - this.at;
    // A few bytes of very many: a call of what copies them takes longer.
    for (let from = this.at; from < this.end; from++) into[from + moved] = this.record[from];
  }
}
/** What is read stands before `end`. */
export function readSession(key: Buffer, body: Buffer, end: number): FoundSession {
  return new RecordSession(readNumber(key, 1), body, 0, end);
}
/** What `pack` wrote between `at` and `end`. It is good as long as that stands there. */
export function unpackSession(from: Buffer, at: number, end: number): FoundSession {
  return new RecordSession(readNumber(from, at), from, at + PACKED_NUMBER_BYTES, end);
}

const SUBSCRIPTION_FILTER_AT = 9;

export function writeSubscription(log: OperationLog, record: SubscriptionRecord): void {
  log.uint8(record.options);
  log.uint32(record.subscriptionIdentifier);
}
export function readSubscription(key: Buffer, body: Buffer): FoundSubscription {
  return {
    sessionId: readNumber(key, 1),
    topicFilter: partOf(key, SUBSCRIPTION_FILTER_AT, key.length),
    options: body[0],
    subscriptionIdentifier: readUint32(body, 1),
  };
}

/** dueAt 8, willDelayIntervalSeconds 4, message number 8, body. */
export function writeWill(log: OperationLog, record: WillRecord): void {
  log.float(record.dueAt);
  log.uint32(record.willDelayIntervalSeconds);
  log.number(record.message.number);
  writeMessage(log, record.message);
}
export function readWill(key: Buffer, body: Buffer): WillRecord {
  return {
    sessionId: readNumber(key, 1),
    dueAt: readTime(body, 0),
    willDelayIntervalSeconds: readUint32(body, 8),
    message: readMessage(readNumber(body, 12), body, 20, body.length),
  };
}
