/**
 * A queue entry is one message on its way to one session: waiting, sent, or half through the QoS 2
 * exchange.
 */
import { MEMORY_MESSAGE } from '../shared/memory-class';
import { allocate, release } from '../memory/blocks';
import {
  COUNT_QUEUED, FACT_COPY_SHIFT, FACT_GROUP, FACT_IDENTIFIER_SHIFT, FACT_RETAIN,
} from '../shared/abi';
import { NO_MATCHING_SUBSCRIBERS, SUCCESS } from '../shared/reason-code';
import { Group, unpinGroup } from '../index/shared-group';
import { count } from './limits';
import { messageAt, messageBytes, releaseMessage } from './message-block';
import { ENTRY_IDENTIFIER_OFFSET, Session, entryInSlot, giveIdentifier } from './session';

export const ENTRY_PENDING: u8 = 0; // not sent on any connection
export const ENTRY_SENT: u8 = 1; // PUBLISH left, PUBACK or PUBREC awaited
// PUBREC came, PUBREL left, PUBCOMP awaited: the message itself is gone
export const ENTRY_RELEASED: u8 = 2;
export const ENTRY_RESEND: u8 = 3; // was SENT when the connection ended: PUBLISH again, with DUP
export const ENTRY_RERELEASE: u8 = 4; // was RELEASED when the connection ended: PUBREL again

export const FLAG_RETAIN: u8 = 1; // RETAIN of the PUBLISH that will leave
export const FLAG_IDENTIFIERS: u8 = 2; // `identifiers` is a block, not a number
export const FLAG_MOVED: u8 = 4; // came to this session from another member of its group

// `hold` waits for the end of the exchange, not for room in the queue
export const FLAG_COMPLETION: u8 = 8;
export const FLAG_DUP: u8 = 16; // was sent before
// stands in the durable store (a replayed retained message does not)
export const FLAG_STORED: u8 = 32;
// PUBREC came, and that is being stored: PUBREL must wait
export const FLAG_RELEASING: u8 = 64;
// PUBREC said No matching subscribers: PUBCOMP has no word for it
export const FLAG_UNHEARD: u8 = 128;

/**
 * ```
 *  0      4      8         12            16      20     24    26    27     28       29
 *  +------+------+---------+-------------+-------+------+-----+-----+------+--------+----+
 *  | next | prev | message | identifiers | group | hold | pid | qos | state| flags  |copy|
 *  +------+------+---------+-------------+-------+------+-----+-----+------+--------+----+
 * ```
 */
@unmanaged
export class QueueEntry {
  next: u32;
  prev: u32;
  message: u32; // counted reference; 0 once released
  identifiers: u32; // Subscription Identifier, or a block of encoded ones
  group: u32; // pinned shared group it was delivered for, or 0
  hold: u32; // acknowledgement that waits for this entry, or 0
  packetIdentifier: u16;
  qos: u8;
  state: u8;
  flags: u8;
  copy: u8; // which copy of its message this session got: 0, or 1 when it is in a group as well
}
const ENTRY_BYTES: u32 = 32;
if (offsetof<QueueEntry>() > ENTRY_BYTES) ERROR('layout drift: QueueEntry');
if (offsetof<QueueEntry>('packetIdentifier') != ENTRY_IDENTIFIER_OFFSET) {
  ERROR('layout drift: ENTRY_IDENTIFIER_OFFSET');
}

@inline
export function entryAt(pointer: u32): QueueEntry {
  return changetype<QueueEntry>(pointer);
}

/** An entry that belongs to nobody yet; 0 when memory is exhausted. */
export function createEntry(): u32 {
  const pointer = allocate(MEMORY_MESSAGE, ENTRY_BYTES);
  if (pointer != 0) memory.fill(pointer, 0, ENTRY_BYTES);
  return pointer;
}

/**
 * Several Subscription Identifiers stand in a block of their own, encoded as they leave:
 * ```
 *  0        4
 *  +--------+-----------------------+-------+
 *  | length | 0B vbi 0B vbi 0B ...  | slack |
 *  +--------+-----------------------+-------+
 * ```
 */
const IDENTIFIERS_AT: u32 = 4;
const IDENTIFIERS_SLACK: u32 = 16; // copies read this far beyond the end

/** Gives an entry the encoded identifiers at `at`. False when memory is exhausted. */
export function keepIdentifiers(entry: QueueEntry, at: u32, length: u32): bool {
  const block = allocate(MEMORY_MESSAGE, IDENTIFIERS_AT + length + IDENTIFIERS_SLACK);
  if (block == 0) return false;
  store<u32>(block, length);
  memory.copy(block + IDENTIFIERS_AT, at, length);
  entry.identifiers = block;
  entry.flags |= FLAG_IDENTIFIERS;
  return true;
}
/** A single identifier, or none, in the place of whatever it had. */
export function replaceIdentifiers(entry: QueueEntry, identifier: u32): void {
  if (entry.flags & FLAG_IDENTIFIERS) release(MEMORY_MESSAGE, entry.identifiers);
  entry.flags &= ~FLAG_IDENTIFIERS;
  entry.identifiers = identifier;
}
/** The encoded identifiers of an entry with FLAG_IDENTIFIERS. */
@inline
export function keptIdentifiersAt(entry: QueueEntry): u32 {
  return entry.identifiers + IDENTIFIERS_AT;
}
@inline
export function keptIdentifiersLength(entry: QueueEntry): u32 {
  return load<u32>(entry.identifiers);
}

/**
 * Appends `entry` to the queue of `session`. Its message counts against the bounds from here on.
 */
export function appendEntry(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  entry.prev = session.queueTail;
  entry.next = 0;
  if (session.queueTail != 0) entryAt(session.queueTail).next = pointer;
  else session.queueHead = pointer;
  session.queueTail = pointer;
  session.queueCount++;
  if (entry.qos == 0) session.queuedQos0++;
  session.queueBytes += messageBytes(entry.message);
  count(COUNT_QUEUED, 1);
}

/** Appends an exchange of which only the identifier is left (restored from the store). */
export function appendReleased(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  entry.prev = session.queueTail;
  if (session.queueTail != 0) entryAt(session.queueTail).next = pointer;
  else session.queueHead = pointer;
  session.queueTail = pointer;
  if (session.pendingHead == 0) session.pendingHead = pointer;
  session.queueCount++;
  count(COUNT_QUEUED, 1);
}

/** The message is no longer needed (PUBREC came): only the identifier is kept. */
export function releaseEntryMessage(session: Session, entry: QueueEntry): void {
  if (entry.message == 0) return;
  session.queueBytes -= messageBytes(entry.message);
  releaseMessage(entry.message);
  entry.message = 0;
}

/**
 * Takes an entry out of its session's list. Its message, identifier, group and hold stay the
 * caller's business.
 */
export function unlinkEntry(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  if (entry.prev != 0) entryAt(entry.prev).next = entry.next;
  else session.queueHead = entry.next;
  if (entry.next != 0) entryAt(entry.next).prev = entry.prev;
  else session.queueTail = entry.prev;
  if (session.pendingHead == pointer) session.pendingHead = entry.next;
  session.queueCount--;
  if (entry.qos == 0) session.queuedQos0--;
  if (entry.message != 0) session.queueBytes -= messageBytes(entry.message);
  count(COUNT_QUEUED, -1);
}

/** The entry's number in the durable store; 0 = not stored. */
export function storedNumber(session: Session, entry: QueueEntry): f64 {
  if (!session.durable) return 0;
  // A released entry has no message, group or identifiers any more: the number stands in their
  // place.
  if (entry.message == 0) return load<f64>(changetype<u32>(entry), RELEASED_NUMBER_OFFSET);
  if ((entry.flags & FLAG_STORED) == 0) return 0;
  const number = messageAt(entry.message).number;
  return number == 0 ? 0 : number + <f64>entry.copy;
}
export function setReleasedNumber(entry: QueueEntry, number: f64): void {
  store<f64>(changetype<u32>(entry), number, RELEASED_NUMBER_OFFSET);
}
const RELEASED_NUMBER_OFFSET: usize = 12; // identifiers and group

/**
 * Frees an entry that is in no list any more, with all that it holds except its acknowledgement
 * hold.
 */
export function freeEntry(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  const packetIdentifier = <u32>entry.packetIdentifier;
  const isBound = packetIdentifier != 0 && changetype<u32>(session) != 0;
  if (isBound && entryInSlot(session, packetIdentifier) == pointer) {
    giveIdentifier(session, packetIdentifier);
  }
  if (entry.state != ENTRY_RELEASED && entry.state != ENTRY_RERELEASE) {
    if (entry.message != 0) releaseMessage(entry.message);
    if (entry.flags & FLAG_IDENTIFIERS) release(MEMORY_MESSAGE, entry.identifiers);
    if (entry.group != 0) unpinGroup(entry.group);
  }
  release(MEMORY_MESSAGE, pointer);
}

/** What the receiver has said of a message whose exchange ends well. */
export function successOf(entry: QueueEntry): u32 {
  return entry.flags & FLAG_UNHEARD ? NO_MATCHING_SUBSCRIBERS : SUCCESS;
}

/** FACT_* bits. */
export function factsOf(entry: QueueEntry): u32 {
  const retain: u32 = entry.flags & FLAG_RETAIN ? FACT_RETAIN : 0;
  const group: u32 = entry.group != 0 ? FACT_GROUP : 0;
  return <u32>entry.qos | retain | group | (<u32>entry.copy << FACT_COPY_SHIFT) |
    (<u32>entry.packetIdentifier << FACT_IDENTIFIER_SHIFT);
}

/** The group behind an entry, for redelivery. */
@inline
export function groupOf(entry: QueueEntry): Group {
  return changetype<Group>(entry.group);
}
