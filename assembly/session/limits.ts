/**
 * The limits in force and the counters, both in static memory. The host sets the one and reads the
 * other. Connections may have limits of their own (those of their listener): a table in a block,
 * which begins as a copy.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { allocate } from '../memory/blocks';
import { COUNTERS, LIMIT_COUNT } from '../shared/abi';

const limits: usize = memory.data(80); // one u32 per LIMIT_*
const counters: usize = memory.data(160, 8); // one f64 per COUNT_*
if (LIMIT_COUNT * 4 > 80 || COUNTERS * 8 > 160) ERROR('layout drift: limits');

@inline
export function limitOf(id: u32): u32 {
  return load<u32>(limits + (id << 2));
}
export function setLimitValue(id: u32, value: u32): void {
  if (id < LIMIT_COUNT) store<u32>(limits + (id << 2), value);
}

/** The table that holds for all who have none of their own. */
export const GENERAL_LIMITS: u32 = <u32>limits;
const LIMIT_BYTES: u32 = LIMIT_COUNT << 2;

/** A limit of a connection, whose `limits` is `table`. */
@inline
export function limitIn(table: u32, id: u32): u32 {
  return load<u32>(table + (id << 2));
}
/** Another table, that says what the general one says now; 0 = no memory. It is never freed. */
export function copyLimits(): u32 {
  const table = allocate(MEMORY_RECORD, LIMIT_BYTES);
  if (table != 0) memory.copy(table, GENERAL_LIMITS, LIMIT_BYTES);
  return table;
}
export function setLimitIn(table: u32, id: u32, value: u32): void {
  if (id < LIMIT_COUNT) store<u32>(table + (id << 2), value);
}

@inline
export function count(id: u32, by: f64): void {
  const at = counters + (id << 3);
  store<f64>(at, load<f64>(at) + by);
}
export function counterTable(): u32 {
  return <u32>counters;
}

/**
 * The clock of the current call, in milliseconds, monotonic. Every export that depends on time sets
 * it first.
 */
export let clock: f64 = 0;
export function setClock(now: f64): void {
  if (now > clock) clock = now;
}
