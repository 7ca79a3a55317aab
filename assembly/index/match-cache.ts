/**
 * Who receives a message of a Topic Name: the merged result of the index, cached in the topic's
 * entry.
 *
 * The result is drafted in a growing scratch block and copied to a block of its exact size.
 * Overlapping subscriptions of one session become one receiver: the highest QoS,
 * every Subscription Identifier, Retain As Published if any asks for it. A session
 * is looked for in the draft by a short scan, and by a hash table (the *seats*) once the draft is
 * long.
 *
 * While a result is made its entry is pinned, because making room may evict topics.
 */
import { allocateZeroed, release } from '../memory/blocks';
import { MEMORY_INDEX } from '../shared/memory-class';
import { findExact } from './exact-filters';
import { FilterEnd, nextMatch, startMatch } from './filter-trie';
import { groupAt } from './shared-group';
import {
  findOnFilter, OPTION_NO_LOCAL, OPTION_QOS, OPTION_RETAIN_AS_PUBLISHED, subscriptionAt,
} from './subscription';
import { wildcardRoot } from './subscription-index';
import {
  allocateIndex, evictTopic, forgetReceivers, matchEpoch, noReceivers, pinTopic, TopicEntry,
  unpinTopic,
} from './topic-intern';

/**
 * ```
 *  0       4       8
 *  +-------+-------+-------------------------+----------------------
 *  | count | bytes | count x Receiver (16)   | identifier properties
 *  +-------+-------+-------------------------+----------------------
 * ```
 */
@unmanaged
export class Receivers {
  count: u32;
  bytes: u32; // of the whole record
}
export const RECEIVERS_AT: u32 = 8;

/**
 * ```
 *  0         4              8     9       10                  12            16
 *  +---------+--------------+-----+-------+-------------------+-------------+
 *  | session | subscription | qos | flags | identifiersLength | identifiers |
 *  +---------+--------------+-----+-------+-------------------+-------------+
 * ```
 */
@unmanaged
export class Receiver {
  session: u32; // 0: a shared group
  subscription: u32; // the one with the highest QoS, or the Group
  qos: u8;
  flags: u8;
  identifiersLength: u16;
  identifiers: u32; // pointer to `0B vbi 0B vbi ...`, or 0
}
export const RECEIVER_BYTES: u32 = 16;
if (offsetof<Receiver>() != RECEIVER_BYTES) ERROR('layout drift: Receiver');

export const RECEIVER_RETAIN_AS_PUBLISHED: u8 = 1;
export const RECEIVER_NO_LOCAL: u8 = 2; // all matching subscriptions of the session are No Local
export const RECEIVER_SHARED: u8 = 4;
export const RECEIVER_MIXED_NO_LOCAL: u8 = 8; // some are, some are not

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
const IDENTIFIERS_BYTES_MAX: u32 = 65535;
const SCAN_MAX: u32 = 16;
const DRAFT_MIN: u32 = 64;
const DRAFT_KEPT_MAX: u32 = 4096;
const NONE: u32 = 0xffff_ffff;

const firstDraft: usize = memory.data(1024); // DRAFT_MIN receivers
const localIdentifiers: usize = memory.data(65536);
let draft: u32 = <u32>firstDraft;
let draftCapacity: u32 = DRAFT_MIN;
let draftCount: u32 = 0;
let seats: u32 = 0; // hash table of (number in the draft + 1)
let seatMask: u32 = 0;
let identifierBytes: u32 = 0;
let exactEnd: u32 = 0;

@inline
function receiverAt(pointer: u32): Receiver {
  return changetype<Receiver>(pointer);
}
@inline
function draftAt(number: u32): Receiver {
  return changetype<Receiver>(draft + number * RECEIVER_BYTES);
}

/**
 * The receivers of the topic: pointer to Receivers, valid until the next subscribe or
 * unsubscribe, and, unless the entry is pinned, until another topic is interned or matched. 0:
 * out of memory.
 */
export function receiversOf(pointer: u32): u32 {
  const entry = changetype<TopicEntry>(pointer);
  if (entry.epoch == matchEpoch && entry.receivers != 0) return entry.receivers;
  return matchAgain(pointer);
}

function matchAgain(pointer: u32): u32 {
  const entry = changetype<TopicEntry>(pointer);
  forgetReceivers(entry);
  pinTopic(pointer);
  draftCount = 0;
  identifierBytes = 0;
  const result = draftReceivers(entry) ? copyDraft(entry) : 0;
  dropSeats();
  if (draftCapacity > DRAFT_KEPT_MAX) {
    release(MEMORY_INDEX, draft);
    draft = <u32>firstDraft;
    draftCapacity = DRAFT_MIN;
  }
  unpinTopic(pointer);
  if (result == 0) return 0;
  entry.receivers = result;
  entry.epoch = matchEpoch;
  return result;
}

function startEnds(entry: TopicEntry): void {
  exactEnd = findExact(entry.bytes, <u32>entry.length, entry.hash);
  startMatch(wildcardRoot, entry.bytes, <u32>entry.length);
}

@inline
function nextEnd(): u32 {
  if (exactEnd == 0) return nextMatch();
  const end = exactEnd;
  exactEnd = 0;
  return end;
}

/** Fills the draft. False: out of memory. */
function draftReceivers(entry: TopicEntry): bool {
  startEnds(entry);
  for (let pointer = nextEnd(); pointer != 0; pointer = nextEnd()) {
    const end = changetype<FilterEnd>(pointer);
    // The subscriptions of one filter belong to distinct sessions: only a second filter can
    // bring overlaps.
    const before = draftCount;
    for (let group = end.groups; group != 0; group = groupAt(group).next) {
      if (!addReceiver(0, group, 0, RECEIVER_SHARED)) return false;
    }
    let subscription = end.first;
    while (subscription != 0) {
      if (!draftSubscription(subscription, before)) return false;
      subscription = subscriptionAt(subscription).nextOfFilter;
    }
  }
  return true;
}

function draftSubscription(pointer: u32, before: u32): bool {
  const subscription = subscriptionAt(pointer);
  if (before != 0) {
    const number = findInDraft(subscription.session);
    if (number == NONE - 1) return false;
    if (number != NONE) {
      merge(draftAt(number), pointer);
      countIdentifier(draftAt(number), subscription.identifier);
      return true;
    }
  }
  const options = subscription.options;
  const qos: u8 = options & OPTION_QOS;
  if (!addReceiver(subscription.session, pointer, qos, flagsOf(options))) return false;
  countIdentifier(draftAt(draftCount - 1), subscription.identifier);
  return true;
}

@inline
function flagsOf(options: u8): u8 {
  const noLocal: u8 = (options & OPTION_NO_LOCAL) != 0 ? RECEIVER_NO_LOCAL : 0;
  if ((options & OPTION_RETAIN_AS_PUBLISHED) == 0) return noLocal;
  return noLocal | RECEIVER_RETAIN_AS_PUBLISHED;
}

function addReceiver(session: u32, subscription: u32, qos: u8, flags: u8): bool {
  if (draftCount == draftCapacity && !growDraft()) return false;
  const receiver = draftAt(draftCount);
  receiver.session = session;
  receiver.subscription = subscription;
  receiver.qos = qos;
  receiver.flags = flags;
  receiver.identifiersLength = 0;
  receiver.identifiers = 0;
  draftCount++;
  if (seats != 0) {
    if (draftCount << 1 > seatMask) dropSeats();
    else takeSeat(session, draftCount);
  }
  return true;
}

/** Takes one more overlapping subscription of the session into its receiver. */
function merge(receiver: Receiver, pointer: u32): void {
  const options = subscriptionAt(pointer).options;
  const qos: u8 = options & OPTION_QOS;
  // The highest QoS wins [MQTT-3.3.4-2], in 3.1.1 [MQTT-3.3.5-1].
  if (qos > receiver.qos) {
    receiver.qos = qos;
    receiver.subscription = pointer;
  }
  const flags = flagsOf(options);
  const wasNoLocal = receiver.flags & RECEIVER_NO_LOCAL;
  receiver.flags |= flags & RECEIVER_RETAIN_AS_PUBLISHED;
  if (wasNoLocal == (flags & RECEIVER_NO_LOCAL)) return;
  receiver.flags = (receiver.flags & ~RECEIVER_NO_LOCAL) | RECEIVER_MIXED_NO_LOCAL;
}

@inline
function identifierSize(identifier: u32): u32 {
  if (identifier < 0x80) return 2;
  if (identifier < 0x4000) return 3;
  return identifier < 0x20_0000 ? 4 : 5;
}

/**
 * Reserves the bytes of an identifier. Answers false when there is none, or when the properties
 * are full.
 */
@inline
function countIdentifier(receiver: Receiver, identifier: u32): bool {
  if (identifier == 0) return false;
  const bytes = <u32>receiver.identifiersLength + identifierSize(identifier);
  if (bytes > IDENTIFIERS_BYTES_MAX) return false;
  identifierBytes += bytes - <u32>receiver.identifiersLength;
  receiver.identifiersLength = <u16>bytes;
  return true;
}

/** Appends `0B vbi`; `receiver.identifiers` is where its properties start. */
function writeIdentifier(receiver: Receiver, identifier: u32): void {
  let at = receiver.identifiers + <u32>receiver.identifiersLength;
  if (!countIdentifier(receiver, identifier)) return;
  store<u8>(at, SUBSCRIPTION_IDENTIFIER);
  at++;
  let rest = identifier;
  while (rest >= 0x80) {
    store<u8>(at, <u8>(rest | 0x80));
    rest >>= 7;
    at++;
  }
  store<u8>(at, <u8>rest);
}

/** The session's number in the draft, or NONE; NONE - 1: out of memory. */
function findInDraft(session: u32): u32 {
  if (draftCount <= SCAN_MAX) {
    for (let i: u32 = 0; i < draftCount; i++) if (draftAt(i).session == session) return i;
    return NONE;
  }
  if (seats == 0 && !makeSeats()) return NONE - 1;
  let seat = seatOf(session);
  while (true) {
    const number = load<u32>(seats + (seat << 2));
    if (number == 0) return NONE;
    if (draftAt(number - 1).session == session) return number - 1;
    seat = (seat + 1) & seatMask;
  }
}

@inline
function seatOf(session: u32): u32 {
  const mixed = (session >> 4) * 0x9e37_79b1;
  return (mixed ^ (mixed >> 16)) & seatMask;
}

function takeSeat(session: u32, number: u32): void {
  if (session == 0) return;
  let seat = seatOf(session);
  while (load<u32>(seats + (seat << 2)) != 0) seat = (seat + 1) & seatMask;
  store<u32>(seats + (seat << 2), number);
}

function makeSeats(): bool {
  let capacity: u32 = 256;
  while (capacity < draftCount << 2) capacity <<= 1;
  do {
    seats = allocateZeroed(MEMORY_INDEX, capacity << 2);
  } while (seats == 0 && evictTopic());
  if (seats == 0) return false;
  seatMask = capacity - 1;
  for (let i: u32 = 0; i < draftCount; i++) takeSeat(draftAt(i).session, i + 1);
  return true;
}

function dropSeats(): void {
  if (seats != 0) release(MEMORY_INDEX, seats);
  seats = 0;
}

function growDraft(): bool {
  const block = allocateIndex((draftCapacity << 1) * RECEIVER_BYTES);
  if (block == 0) return false;
  memory.copy(block, draft, draftCount * RECEIVER_BYTES);
  if (draft != <u32>firstDraft) release(MEMORY_INDEX, draft);
  draft = block;
  draftCapacity <<= 1;
  return true;
}

/**
 * Copies the draft to a block of its own and writes the identifiers behind it; 0: out of memory.
 */
function copyDraft(entry: TopicEntry): u32 {
  if (draftCount == 0) return <u32>noReceivers;
  const records = draftCount * RECEIVER_BYTES;
  const bytes = RECEIVERS_AT + records + identifierBytes;
  const block = allocateIndex(bytes);
  if (block == 0) return 0;
  const receivers = changetype<Receivers>(block);
  receivers.count = draftCount;
  receivers.bytes = bytes;
  if (identifierBytes != 0 && !writeIdentifiers(entry, block + RECEIVERS_AT + records)) {
    release(MEMORY_INDEX, block);
    return 0;
  }
  memory.copy(block + RECEIVERS_AT, draft, records);
  return block;
}

/** Second pass over the matching filters, in the same order as the first. False: out of memory. */
function writeIdentifiers(entry: TopicEntry, start: u32): bool {
  let at = start;
  for (let i: u32 = 0; i < draftCount; i++) {
    const receiver = draftAt(i);
    if (receiver.identifiersLength == 0) continue;
    receiver.identifiers = at;
    at += <u32>receiver.identifiersLength;
    receiver.identifiersLength = 0;
  }
  startEnds(entry);
  for (let pointer = nextEnd(); pointer != 0; pointer = nextEnd()) {
    let subscription = changetype<FilterEnd>(pointer).first;
    while (subscription != 0) {
      const record = subscriptionAt(subscription);
      if (record.identifier != 0) {
        const number = findInDraft(record.session);
        if (number >= NONE - 1) return false;
        writeIdentifier(draftAt(number), record.identifier); // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
      }
      subscription = record.nextOfFilter;
    }
  }
  return true;
}

/**
 * For a publisher that is a receiver with RECEIVER_MIXED_NO_LOCAL: writes to `out` the receiver
 * that its subscriptions without No Local make. Answers false when there are none.
 * The identifiers are valid until the next call.
 */
export function localReceiver(pointer: u32, session: u32, out: u32): bool {
  const receiver = receiverAt(out);
  receiver.session = 0;
  startEnds(changetype<TopicEntry>(pointer));
  for (let end = nextEnd(); end != 0; end = nextEnd()) {
    const found = findOnFilter(end, session);
    if (found == 0) continue;
    const subscription = subscriptionAt(found);
    if ((subscription.options & OPTION_NO_LOCAL) != 0) continue; // 5.0 [MQTT-3.8.3-3]
    if (receiver.session == 0) {
      receiver.session = session;
      receiver.subscription = found;
      receiver.qos = subscription.options & OPTION_QOS;
      receiver.flags = flagsOf(subscription.options);
      receiver.identifiersLength = 0;
      receiver.identifiers = <u32>localIdentifiers;
    } else {
      merge(receiver, found);
    }
    writeIdentifier(receiver, subscription.identifier);
  }
  if (receiver.session == 0) return false;
  if (receiver.identifiersLength == 0) receiver.identifiers = 0;
  return true;
}
