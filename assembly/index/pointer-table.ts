/**
 * An open-addressing hash table of pointers: linear probing, power-of-two capacity, removal by
 * shifting back, so that there are no tombstones and a table that empties is as fast as a new
 * one.
 *
 * A slot is eight bytes: the low half of the hash (its low bits say where the search starts, and
 * growing needs no look at what the pointers point to) and the pointer; pointer 0 is an empty
 * slot. Comparing keys is the caller's job:
 * ```
 * let slot = firstSlot(table, tag);
 * while ((found = pointerAt(slot)) != 0) {
 *   if (tagAt(slot) == tag && same(found)) ...
 *   slot = slotAfter(table, slot);
 * }
 * ```
 * Invariant: at least one slot is empty, so every search ends.
 */
import { allocateZeroed, release } from '../memory/blocks';

/**
 * ```
 *  0       4      8       12      16            20
 *  +-------+------+-------+-------+-------------+
 *  | slots | mask | count | limit | memoryClass |
 *  +-------+------+-------+-------+-------------+
 * ```
 */
@unmanaged
export class PointerTable {
  slots: u32;
  mask: u32; // capacity - 1
  count: u32;
  limit: u32; // grows when count reaches this; 0 while the table has no block of its own
  memoryClass: u32;
}
export const POINTER_TABLE_BYTES: u32 = 20;
const SLOT_SHIFT: u32 = 3;
export const SLOT_BYTES: u32 = 1 << SLOT_SHIFT;
const CAPACITY_MIN: u32 = 64;
const noSlots: usize = memory.data(8);

export function initialiseTable(table: PointerTable, memoryClass: u32): void {
  table.slots = <u32>noSlots;
  table.mask = 0;
  table.count = 0;
  table.limit = 0;
  table.memoryClass = memoryClass;
}

@inline
export function firstSlot(table: PointerTable, tag: u32): u32 {
  return table.slots + ((tag & table.mask) << SLOT_SHIFT);
}
@inline
export function slotAfter(table: PointerTable, slot: u32): u32 {
  const next = slot - table.slots + (1 << SLOT_SHIFT);
  return table.slots + (next & ((table.mask << SLOT_SHIFT) | 7));
}
@inline
export function tagAt(slot: u32): u32 {
  return load<u32>(slot);
}
@inline
export function pointerAt(slot: u32): u32 {
  return load<u32>(slot, 4);
}

/** The address behind the last slot. */
export function tableEnd(table: PointerTable): u32 {
  return table.slots + ((table.mask + 1) << SLOT_SHIFT);
}

/** Gives back the block of an empty table. */
export function releaseTable(table: PointerTable): void {
  if (table.limit != 0) release(table.memoryClass, table.slots);
  initialiseTable(table, table.memoryClass);
}

/** Makes room for one more pointer. False: out of memory, and nothing has changed. */
export function reserveSlot(table: PointerTable): bool {
  if (table.count < table.limit) return true;
  const capacity = table.limit == 0 ? CAPACITY_MIN : (table.mask + 1) << 1;
  if (resize(table, capacity)) return true;
  // Without memory for twice the slots the last eighth is used as well, slower, but one slot
  // stays empty.
  return table.limit != 0 && table.count < table.mask;
}

/** Adds a pointer. The caller has reserved a slot and knows that the key is not there yet. */
export function insertPointer(table: PointerTable, tag: u32, pointer: u32): void {
  place(table, tag, pointer);
  table.count++;
}

export function removePointer(table: PointerTable, tag: u32, pointer: u32): void {
  let slot = firstSlot(table, tag);
  while (pointerAt(slot) != pointer) {
    if (pointerAt(slot) == 0) return;
    slot = slotAfter(table, slot);
  }
  closeGap(table, slot);
  table.count--;
  const capacity = table.mask + 1;
  if (table.count < capacity >> 3 && capacity > CAPACITY_MIN) resize(table, capacity >> 1);
}

function place(table: PointerTable, tag: u32, pointer: u32): void {
  let slot = firstSlot(table, tag);
  while (pointerAt(slot) != 0) slot = slotAfter(table, slot);
  store<u32>(slot, tag);
  store<u32>(slot, pointer, 4);
}

/** Moves every pointer back that was pushed beyond the gap by what stood in it. */
function closeGap(table: PointerTable, gap: u32): void {
  let hole = gap;
  let slot = slotAfter(table, gap);
  while (pointerAt(slot) != 0) {
    const home = tagAt(slot) & table.mask;
    const here = (slot - table.slots) >> SLOT_SHIFT;
    const empty = (hole - table.slots) >> SLOT_SHIFT;
    // The pointer may fill the hole when its home does not lie between the hole and itself.
    if (((here - home) & table.mask) >= ((here - empty) & table.mask)) {
      store<u64>(hole, load<u64>(slot));
      hole = slot;
    }
    slot = slotAfter(table, slot);
  }
  store<u64>(hole, 0);
}

function resize(table: PointerTable, capacity: u32): bool {
  const block = allocateZeroed(table.memoryClass, capacity << SLOT_SHIFT);
  if (block == 0) return false;
  const oldSlots = table.slots;
  const oldEnd = tableEnd(table);
  const owned = table.limit != 0;
  table.slots = block;
  table.mask = capacity - 1;
  table.limit = capacity - (capacity >> 3);
  for (let slot = oldSlots; slot < oldEnd; slot += SLOT_BYTES) {
    if (pointerAt(slot) != 0) place(table, tagAt(slot), pointerAt(slot));
  }
  if (owned) release(table.memoryClass, oldSlots);
  return true;
}
