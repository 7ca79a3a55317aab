/**
 * Topic Filters without wildcards: a hash table of whole filters, because such a filter matches
 * the Topic Name with the same bytes and no other.
 */
import { release } from '../memory/blocks';
import { MEMORY_INDEX } from '../shared/memory-class';
import { bytesEqual, hashBytes } from '../topic/hash';
import { FilterEnd } from './filter-trie';
import {
  POINTER_TABLE_BYTES, PointerTable, firstSlot, initialiseTable, insertPointer, pointerAt,
  removePointer, slotAfter, tagAt,
} from './pointer-table';
import { allocateIndex, reserveIndexSlot } from './topic-intern';

/**
 * Its filter end stands at offset 4, where a trie node has none: so the low bits tell them apart.
 * ```
 *  0        2   4           12
 *  +--------+---+-----------+------
 *  | length |   | end       | bytes
 *  +--------+---+-----------+------
 * ```
 */
@unmanaged
class ExactFilter {
  length: u16;
  reserved: u16;
  first: u32;
  groups: u32;
}
const EXACT_BYTES_AT: u32 = 12;
const EXACT_END: u32 = 4;
if (offsetof<ExactFilter>() != EXACT_BYTES_AT) ERROR('layout drift: ExactFilter');

const filters: usize = memory.data(POINTER_TABLE_BYTES);

@inline
function filterTable(): PointerTable {
  return changetype<PointerTable>(filters);
}

export function initialiseExactFilters(): void {
  initialiseTable(filterTable(), MEMORY_INDEX);
}

/** True when the filter end belongs to an exact filter. */
@inline
export function isExactEnd(end: u32): bool {
  return (end & 15) == EXACT_END;
}
@inline
export function exactBytesOf(end: u32): u32 {
  return end - EXACT_END + EXACT_BYTES_AT;
}
@inline
export function exactLengthOf(end: u32): u32 {
  return changetype<ExactFilter>(end - EXACT_END).length;
}

/** The end of the filter, or 0. */
export function findExact(at: u32, length: u32, hash: u64): u32 {
  const table = filterTable();
  const tag = <u32>hash;
  let slot = firstSlot(table, tag);
  let found = pointerAt(slot);
  while (found != 0) {
    if (tagAt(slot) == tag && <u32>changetype<ExactFilter>(found).length == length) {
      // Byte by byte, nothing normalised [MQTT-4.7.3-4].
      if (bytesEqual(found + EXACT_BYTES_AT, at, length)) return found + EXACT_END;
    }
    slot = slotAfter(table, slot);
    found = pointerAt(slot);
  }
  return 0;
}

/** The end of the filter, made when there is none; 0: out of memory. */
export function addExact(at: u32, length: u32, hash: u64): u32 {
  const existing = findExact(at, length, hash);
  if (existing != 0) return existing;
  if (!reserveIndexSlot(filterTable())) return 0;
  const pointer = allocateIndex(EXACT_BYTES_AT + length);
  if (pointer == 0) return 0;
  const filter = changetype<ExactFilter>(pointer);
  filter.length = <u16>length;
  filter.first = 0;
  filter.groups = 0;
  memory.copy(pointer + EXACT_BYTES_AT, at, length);
  insertPointer(filterTable(), <u32>hash, pointer);
  return pointer + EXACT_END;
}

/**
 * Called when something was removed from the end: releases the filter when it serves nobody any
 * more.
 */
export function pruneExact(end: u32): void {
  const filterEnd = changetype<FilterEnd>(end);
  if ((filterEnd.first | filterEnd.groups) != 0) return;
  const pointer = end - EXACT_END;
  const hash = hashBytes(exactBytesOf(end), exactLengthOf(end));
  removePointer(filterTable(), <u32>hash, pointer);
  release(MEMORY_INDEX, pointer);
}
