/**
 * What one call may do. A chunk of small messages that have many receivers each is seconds of work:
 * after this much of it the rest of the chunk waits, so that everybody else has a turn.
 */
const DELIVERIES_MAX: u32 = 65536;

let spent: u32 = 0;

export function beginWork(): void {
  spent = 0;
}
/** So many receivers were served, or looked at. */
@inline
export function spend(receivers: u32): void {
  spent += receivers;
}
@inline
export function isSpent(): bool {
  return spent >= DELIVERIES_MAX;
}
