/**
 * Handles: what the host holds instead of a pointer. A handle names a slot and the generation of
 * its tenant, so that an answer for a connection or session that is gone finds nobody.
 * ```
 *  31           20 19                    0
 *  +--------------+-----------------------+
 *  | generation   | slot (1 ...)          |
 *  +--------------+-----------------------+
 * ```
 * A table is a row of slots:
 * ```
 *  0                            4            8
 *  +----------------------------+------------+
 *  | tenant, or next free slot  | generation |
 *  +----------------------------+------------+
 * ```
 */
const SLOT_BITS: u32 = 20;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const GENERATION_MASK: u32 = 0xfff;
export const SLOTS_MAX: u32 = SLOT_MASK;
/**
 * A slot rests until so many are free, and the one that has rested longest is taken first: clients
 * that come and go do not run through the generations of one slot while an answer is under way.
 */
const RESTING_MIN: u32 = 1024;

@unmanaged
export class HandleTable {
  slots: u32; // address of the slots
  capacity: u32;
  used: u32; // slots that ever had a tenant
  freeHead: u32; // slot number, 0 = none; the one that has rested longest
  freeTail: u32;
  freeCount: u32;
}
export const HANDLE_TABLE_BYTES: u32 = 24;
if (offsetof<HandleTable>() > HANDLE_TABLE_BYTES) ERROR('layout drift: HandleTable');

@inline
function slotAt(table: HandleTable, slot: u32): u32 {
  return table.slots + (slot << 3);
}

/** Bytes that a table of `capacity` slots needs; slot 0 is never used. */
export function handleTableBytes(capacity: u32): u32 {
  return (capacity + 1) << 3;
}

export function startHandles(table: HandleTable, slots: u32, capacity: u32): void {
  table.slots = slots;
  table.capacity = capacity;
  table.used = 0;
  table.freeHead = 0;
  table.freeTail = 0;
  table.freeCount = 0;
}

/** A new handle for `pointer`; 0 when the table is full. */
export function takeHandle(table: HandleTable, pointer: u32): u32 {
  let slot = table.freeHead;
  if (table.freeCount < RESTING_MIN && table.used < table.capacity) {
    slot = ++table.used;
    store<u32>(slotAt(table, slot), 0, 4);
  } else {
    if (slot == 0) return 0;
    table.freeHead = load<u32>(slotAt(table, slot));
    if (table.freeHead == 0) table.freeTail = 0;
    table.freeCount--;
  }
  const at = slotAt(table, slot);
  store<u32>(at, pointer);
  return (load<u32>(at, 4) << SLOT_BITS) | slot;
}

/** The tenant of `handle`, or 0 when it is gone. */
@inline
export function resolveHandle(table: HandleTable, handle: u32): u32 {
  const slot = handle & SLOT_MASK;
  if (slot == 0 || slot > table.used) return 0;
  const at = slotAt(table, slot);
  return load<u32>(at, 4) == handle >> SLOT_BITS ? load<u32>(at) : 0;
}

/** Ends the tenancy: every copy of `handle` is void from here on. */
export function giveHandle(table: HandleTable, handle: u32): void {
  const slot = handle & SLOT_MASK;
  const at = slotAt(table, slot);
  store<u32>(at, (load<u32>(at, 4) + 1) & GENERATION_MASK, 4);
  store<u32>(at, 0);
  if (table.freeTail != 0) store<u32>(slotAt(table, table.freeTail), slot);
  else table.freeHead = slot;
  table.freeTail = slot;
  table.freeCount++;
}
