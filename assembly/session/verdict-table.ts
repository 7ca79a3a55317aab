/**
 * What was decided about topics, for one connection (may it publish?) or one session (may it
 * receive?). A direct-mapped table by serial number of the topic: serials are given in a row, so
 * that topics which are in use together have slots of their own.
 *
 *     0       4        8       12      16
 *     +-------+--------+-------+-------+-------------------------------------+- - -
 *     | slots | pushed | rules |   -   | serial | known | allowed |     -    |
 *     +-------+--------+-------+-------+-------------------------------------+- - -
 *       u32     u32      u32             u32      u8      u8        u16
 *
 * The whole table was decided by the same rules, and is empty as soon as others hold. One that
 * topics push each other out of doubles, up to VERDICT_SLOTS_MAX.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { allocateZeroed, budgetOf, release, roomOf } from '../memory/blocks';

const SLOTS_FIRST: u32 = 64;
/** Verdicts that are kept of one connection or session; what does not fit is asked again. */
export const VERDICT_SLOTS_MAX: u32 = 2_048;
const HEADER_BYTES: u32 = 16;
const SLOT_SHIFT: u32 = 3;
const SLOT_BYTES: u32 = 1 << SLOT_SHIFT;

export const VERDICT_UNKNOWN: u32 = 0;
export const VERDICT_DENIED: u32 = 1;
export const VERDICT_ALLOWED: u32 = 2;

@unmanaged
class VerdictTable {
  slots: u32;
  pushed: u32; // topics pushed out by others since it has this size
  rules: u32;
  reserved: u32;
}
@unmanaged
class VerdictSlot {
  serial: u32; // 0: empty; no topic has it
  known: u8;
  allowed: u8;
  reserved: u16;
}

let rules: u32 = 1;
/** The table that `keepVerdict` wrote to: another one when it has grown. */
export let verdictTable: u32 = 0;

/** The rules changed: what is cached is void. */
export function invalidateVerdicts(): void {
  rules++;
}
/** The rules that hold now; a number that changes when they do. */
@inline
export function rulesInForce(): u32 {
  return rules;
}

@inline
function slotOf(table: VerdictTable, serial: u32): VerdictSlot {
  const at = (serial & (table.slots - 1)) << SLOT_SHIFT;
  return changetype<VerdictSlot>(changetype<u32>(table) + HEADER_BYTES + at);
}

/** `bit` tells questions about one topic apart. */
@inline
export function verdictIn(pointer: u32, serial: u32, bit: u32): u32 {
  if (pointer == 0) return VERDICT_UNKNOWN;
  const table = changetype<VerdictTable>(pointer);
  if (table.rules != rules) return VERDICT_UNKNOWN;
  const slot = slotOf(table, serial);
  if (slot.serial != serial || !(slot.known & bit)) return VERDICT_UNKNOWN;
  return slot.allowed & bit ? VERDICT_ALLOWED : VERDICT_DENIED;
}

/** Keeps a verdict in the table `pointer` (0: makes one); it is then `verdictTable`. */
export function keepVerdict(pointer: u32, serial: u32, bit: u32, verdict: u32): void {
  verdictTable = pointer;
  if (pointer == 0) {
    verdictTable = newTable(SLOTS_FIRST);
    if (verdictTable == 0) return; // asked again next time
  }
  forgetStale(changetype<VerdictTable>(verdictTable));
  growIfCrowded(serial);
  const slot = slotOf(changetype<VerdictTable>(verdictTable), serial);
  if (slot.serial != serial) {
    slot.serial = serial;
    slot.known = 0;
    slot.allowed = 0;
  }
  slot.known |= <u8>bit;
  slot.allowed = <u8>(verdict == VERDICT_ALLOWED ? slot.allowed | bit : slot.allowed & ~bit);
}

export function forgetVerdicts(pointer: u32): void {
  if (pointer != 0) changetype<VerdictTable>(pointer).rules = 0;
}
export function freeVerdicts(pointer: u32): void {
  if (pointer != 0) release(MEMORY_RECORD, pointer);
}

function newTable(slots: u32): u32 {
  const pointer = allocateZeroed(MEMORY_RECORD, HEADER_BYTES + (slots << SLOT_SHIFT));
  if (pointer == 0) return 0;
  const table = changetype<VerdictTable>(pointer);
  table.slots = slots;
  table.rules = rules;
  return pointer;
}

function forgetStale(table: VerdictTable): void {
  if (table.rules == rules) return;
  memory.fill(changetype<u32>(table) + HEADER_BYTES, 0, table.slots << SLOT_SHIFT);
  table.rules = rules;
  table.pushed = 0;
}

function growIfCrowded(serial: u32): void {
  const table = changetype<VerdictTable>(verdictTable);
  const there = slotOf(table, serial).serial;
  if (there == 0 || there == serial) return;
  if (++table.pushed <= table.slots >> 2 || table.slots >= VERDICT_SLOTS_MAX) return;
  table.pushed = 0;
  // A cache must not take the memory that the next connection needs.
  if (roomOf(MEMORY_RECORD) < budgetOf(MEMORY_RECORD) >> 1) return;
  const pointer = newTable(table.slots << 1);
  if (pointer == 0) return;
  const grown = changetype<VerdictTable>(pointer);
  let at = verdictTable + HEADER_BYTES;
  for (let left = table.slots; left != 0; left--, at += SLOT_BYTES) {
    const slot = changetype<VerdictSlot>(at);
    if (slot.serial != 0) store<u64>(changetype<u32>(slotOf(grown, slot.serial)), load<u64>(at));
  }
  release(MEMORY_RECORD, verdictTable);
  verdictTable = pointer;
}
