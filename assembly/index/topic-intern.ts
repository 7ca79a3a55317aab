/**
 * Interned Topic Names: one entry per distinct name, which carries the cached match result.
 *
 * Unpinned entries are a cache, bounded by a number (`setTopicCacheMax`); the least interesting one
 * makes room (CLOCK: an entry that was met since the hand passed last gets a second chance).
 * Whoever keeps a pointer to an entry, or to its receivers, while other topics are interned or
 * matched, pins it. Pinned entries are in use and do not count against the cache: else peers with
 * many Topic Aliases could leave no entry for anybody. Each user bounds its own (aliases: Topic
 * Alias Maximum per connection), and the INDEX budget bounds all.
 *
 * Invariants: `slots[entry.slot] == entry`; `pinned` is the number of entries with pins; an entry
 * whose `epoch` is not `matchEpoch` has a result that is not valid any more (it is released when
 * the topic is matched again or evicted); no two entries have the same serial number, and none has
 * 0.
 */
import { allocate, release } from '../memory/blocks';
import { MEMORY_INDEX } from '../shared/memory-class';
import { invalidateVerdicts } from '../session/verdict-table';
import { tellRenumbered } from '../switch/events';
import { bytesEqual, hashBytes } from '../topic/hash';
import {
  POINTER_TABLE_BYTES, PointerTable, firstSlot, initialiseTable, insertPointer, pointerAt,
  removePointer, reserveSlot, slotAfter, tagAt,
} from './pointer-table';

/**
 * ```
 *  0      8       12       14           16     20     24       28      32          36            40
 *  +------+-------+--------+------------+------+------+--------+-------+-----------+-------------+
 *  | hash | bytes | length | referenced | pins | slot | serial | epoch | receivers | intercepted |
 *  +------+-------+--------+------------+------+------+--------+-------+-----------+-------------+
 * ```
 */
@unmanaged
export class TopicEntry {
  hash: u64;
  bytes: u32; // pointer to the name
  length: u16;
  referenced: u16; // met since the hand passed
  pins: u32;
  slot: u32; // dense: below the number of entries that ever lived at once; reused
  serial: u32; // never reused within `serialEra`
  epoch: u32;
  receivers: u32; // pointer to Receivers, or 0
  intercepted: u32; // see switch/interception.ts; 0 = not looked at yet
}
const TOPIC_HEADER_BYTES: u32 = 40;
if (offsetof<TopicEntry>() > TOPIC_HEADER_BYTES) ERROR('layout drift: TopicEntry');

const TOPIC_CACHE_MAX_DEFAULT: u32 = 65536;
const SLOTS_MIN: u32 = 64;
const EPOCH_NONE: u32 = 0;

/**
 * The result of topics that nobody subscribes to: a Receivers record with count 0 that is never
 * released.
 */
export const noReceivers: usize = memory.data(8);

/** Results that carry this number are valid. */
export let matchEpoch: u32 = 1;

const topics: usize = memory.data(POINTER_TABLE_BYTES);
let slots: u32 = 0; // per slot a pointer, or (next free slot + 1) << 1 | 1
let slotCapacity: u32 = 0;
let slotsUsed: u32 = 0; // slots from here on were never used
let freeSlot: u32 = 0; // first free slot + 1
let hand: u32 = 0;
let pinned: u32 = 0;
let cacheMax: u32 = TOPIC_CACHE_MAX_DEFAULT;
let lastSerial: u32 = 0;
let serialMax: u32 = 0xffff_ffff;
/** Whoever remembers a serial number for longer than a call remembers this with it. */
export let serialEra: u32 = 0;

@inline
function topicTable(): PointerTable {
  return changetype<PointerTable>(topics);
}

export function initialiseTopics(): void {
  initialiseTable(topicTable(), MEMORY_INDEX);
}

export function internedTopics(): u32 {
  return topicTable().count;
}

/** Entries that nobody has pinned. */
@inline
function cachedTopics(): u32 {
  return topicTable().count - pinned;
}

/** Bounds the number of unpinned entries; those above leave now. */
export function setTopicCacheMax(entries: u32): void {
  cacheMax = max<u32>(entries, 1);
  while (cachedTopics() > cacheMax) if (!evictTopic()) return;
}

/** The last serial number before they begin again. Tests cannot wait for 2^32 topics. */
export function setSerialMax(serial: u32): void {
  serialMax = serial;
}

/**
 * All serial numbers were given (a million new topics a second take 72 minutes for that): what is
 * interned gets new ones, and nobody may take an old one for them. False when there is no memory to
 * tell the host.
 */
function startSerialEra(): bool {
  if (!tellRenumbered()) return false;
  invalidateVerdicts();
  serialEra++;
  lastSerial = 0;
  for (let slot: u32 = 0; slot < slotsUsed; slot++) {
    const pointer = load<u32>(slots + (slot << 2));
    if (pointer & 1) continue;
    lastSerial++;
    changetype<TopicEntry>(pointer).serial = lastSerial;
  }
  return true;
}

/**
 * A block of the INDEX class; cached topics make way for it. 0: out of memory with nothing left
 * to evict.
 */
export function allocateIndex(bytes: u32): u32 {
  let block = allocate(MEMORY_INDEX, bytes);
  while (block == 0) {
    if (!evictTopic()) return 0;
    block = allocate(MEMORY_INDEX, bytes);
  }
  return block;
}

/** As `reserveSlot`; cached topics make way. */
export function reserveIndexSlot(table: PointerTable): bool {
  while (!reserveSlot(table)) if (!evictTopic()) return false;
  return true;
}

/** The entry of the name, or 0: does not make one. */
export function findTopic(at: u32, length: u32, hash: u64): u32 {
  const table = topicTable();
  const tag = <u32>hash;
  let slot = firstSlot(table, tag);
  let found = pointerAt(slot);
  while (found != 0) {
    if (tagAt(slot) == tag) {
      const entry = changetype<TopicEntry>(found);
      if (<u32>entry.length == length && bytesEqual(entry.bytes, at, length)) return found;
    }
    slot = slotAfter(table, slot);
    found = pointerAt(slot);
  }
  return 0;
}

/**
 * The entry of the Topic Name, made when there is none. 0: no memory, and every other is pinned.
 */
export function internTopic(at: u32, length: u32): u32 {
  const hash = hashBytes(at, length);
  const found = findTopic(at, length, hash);
  if (found == 0) return addTopic(at, length, hash);
  changetype<TopicEntry>(found).referenced = 1;
  return found;
}

function addTopic(at: u32, length: u32, hash: u64): u32 {
  const table = topicTable();
  while (cachedTopics() >= cacheMax) if (!evictTopic()) return 0;
  if (lastSerial >= serialMax && !startSerialEra()) return 0;
  if (!reserveIndexSlot(table)) return 0;
  const block = allocateIndex(TOPIC_HEADER_BYTES + length);
  if (block == 0) return 0;
  const slot = takeSlot();
  if (slot == 0) {
    release(MEMORY_INDEX, block);
    return 0;
  }
  const entry = changetype<TopicEntry>(block);
  entry.hash = hash;
  entry.bytes = block + TOPIC_HEADER_BYTES;
  entry.length = <u16>length;
  entry.referenced = 1;
  entry.pins = 0;
  entry.slot = slot - 1;
  lastSerial++;
  entry.serial = lastSerial;
  entry.epoch = EPOCH_NONE;
  entry.receivers = 0;
  entry.intercepted = 0;
  memory.copy(block + TOPIC_HEADER_BYTES, at, length);
  store<u32>(slots + (entry.slot << 2), block);
  insertPointer(table, <u32>hash, block);
  return block;
}

/** A free slot's number + 1, or 0 when there is no memory for more slots. */
function takeSlot(): u32 {
  if (freeSlot == 0 && slotsUsed == slotCapacity) {
    const capacity: u32 = slotCapacity == 0 ? SLOTS_MIN : slotCapacity << 1;
    // May evict, which frees a slot: then the old table would do, and the new one is fine as well.
    const block = allocateIndex(capacity << 2);
    if (block == 0) return 0;
    if (slots != 0) {
      memory.copy(block, slots, slotsUsed << 2);
      release(MEMORY_INDEX, slots);
    }
    slots = block;
    slotCapacity = capacity;
  }
  if (freeSlot == 0) {
    slotsUsed++;
    return slotsUsed;
  }
  const slot = freeSlot;
  freeSlot = load<u32>(slots + ((slot - 1) << 2)) >> 1;
  return slot;
}

@inline
export function pinTopic(pointer: u32): void {
  const entry = changetype<TopicEntry>(pointer);
  if (entry.pins == 0) pinned++;
  entry.pins++;
}
@inline
export function unpinTopic(pointer: u32): void {
  const entry = changetype<TopicEntry>(pointer);
  entry.pins--;
  if (entry.pins == 0) pinned--;
}

/** As `unpinTopic`, for who has kept the address of the name. */
export function unpinTopicName(bytes: u32): void {
  unpinTopic(bytes - TOPIC_HEADER_BYTES);
}

/** Releases one unpinned entry. False: there is none. */
export function evictTopic(): bool {
  if (cachedTopics() == 0) return false;
  while (true) {
    if (hand >= slotsUsed) hand = 0;
    const pointer = load<u32>(slots + (hand << 2));
    hand++;
    if (pointer & 1) continue;
    const entry = changetype<TopicEntry>(pointer);
    if (entry.pins != 0) continue;
    if (entry.referenced == 0) {
      releaseTopic(entry);
      return true;
    }
    entry.referenced = 0;
  }
}

function releaseTopic(entry: TopicEntry): void {
  forgetReceivers(entry);
  removePointer(topicTable(), <u32>entry.hash, changetype<u32>(entry));
  store<u32>(slots + (entry.slot << 2), (freeSlot << 1) | 1);
  freeSlot = entry.slot + 1;
  release(MEMORY_INDEX, changetype<u32>(entry));
}

/** Releases the cached match result of one entry. */
export function forgetReceivers(entry: TopicEntry): void {
  const receivers = entry.receivers;
  if (receivers != 0 && receivers != <u32>noReceivers) release(MEMORY_INDEX, receivers);
  entry.receivers = 0;
  entry.epoch = EPOCH_NONE;
}

/** A Topic Filter with a wildcard changed: no cached result is valid any more. */
export function forgetAllMatches(): void {
  matchEpoch++;
  if (matchEpoch != EPOCH_NONE) return;
  // The numbers begin again: no result from 2^32 changes ago may pass for a valid one.
  matchEpoch = 1;
  for (let slot: u32 = 0; slot < slotsUsed; slot++) {
    const pointer = load<u32>(slots + (slot << 2));
    if (!(pointer & 1)) changetype<TopicEntry>(pointer).epoch = EPOCH_NONE;
  }
}

/** A Topic Filter without wildcards changed: only the topic of the same name is affected. */
export function forgetMatch(at: u32, length: u32, hash: u64): void {
  const found = findTopic(at, length, hash);
  if (found != 0) changetype<TopicEntry>(found).epoch = EPOCH_NONE;
}
