/**
 * The limits in force and the counters, both in static memory. The host sets the one and reads the
 * other.
 */
import { COUNTERS, LIMIT_COUNT } from '../shared/abi';

const limits: usize = memory.data(72); // one u32 per LIMIT_*
const counters: usize = memory.data(160, 8); // one f64 per COUNT_*
if (LIMIT_COUNT * 4 > 72 || COUNTERS * 8 > 160) ERROR('layout drift: limits');

@inline
export function limitOf(id: u32): u32 {
  return load<u32>(limits + (id << 2));
}
export function setLimitValue(id: u32, value: u32): void {
  if (id < LIMIT_COUNT) store<u32>(limits + (id << 2), value);
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
