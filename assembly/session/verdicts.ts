/**
 * Cached verdicts of the publish policy: may this connection publish to this topic, with this QoS
 * and RETAIN? The control plane is asked once; its answer is kept per connection and topic until
 * the rules change.
 *
 * A direct-mapped table of 64 slots, 8 bytes each: serial number of the topic, rules it was decided
 * by (low 16 bits), one bit
 * *known* and one bit *allowed* for each of the 6 combinations of QoS and RETAIN.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { allocateZeroed } from '../memory/blocks';
import { TopicEntry } from '../index/topic-intern';
import { Connection } from './connection';

const SLOTS: u32 = 64;
export const VERDICT_UNKNOWN: u32 = 0;
export const VERDICT_DENIED: u32 = 1;
export const VERDICT_ALLOWED: u32 = 2;

let rules: u16 = 1;

/** The rules changed: what is cached is void. */
export function invalidateVerdicts(): void {
  rules++;
}
/** The rules that hold now; a number that changes when they do. */
@inline
export function rulesInForce(): u16 {
  return rules;
}

@inline
function slotFor(connection: Connection, serial: u32): u32 {
  return connection.verdicts + ((serial & (SLOTS - 1)) << 3);
}
@inline
function bitOf(qos: u32, retain: u32): u32 {
  return 1 << ((qos << 1) | retain);
}

export function cachedVerdict(connection: Connection, topic: u32, qos: u32, retain: u32): u32 {
  if (connection.verdicts == 0) return VERDICT_UNKNOWN;
  const serial = changetype<TopicEntry>(topic).serial;
  const slot = slotFor(connection, serial);
  if (load<u32>(slot) != serial || load<u16>(slot, 4) != rules) return VERDICT_UNKNOWN;
  const bit = bitOf(qos, retain);
  if (!(load<u8>(slot, 6) & bit)) return VERDICT_UNKNOWN;
  return load<u8>(slot, 7) & bit ? VERDICT_ALLOWED : VERDICT_DENIED;
}

export function rememberVerdict(
  connection: Connection, topic: u32, qos: u32, retain: u32, verdict: u32,
): void {
  if (connection.verdicts == 0) {
    connection.verdicts = allocateZeroed(MEMORY_RECORD, SLOTS << 3);
    if (connection.verdicts == 0) return; // asked again next time
  }
  const serial = changetype<TopicEntry>(topic).serial;
  const slot = slotFor(connection, serial);
  if (load<u32>(slot) != serial || load<u16>(slot, 4) != rules) {
    store<u32>(slot, serial);
    store<u32>(slot, <u32>rules, 4);
  }
  const bit = <u8>bitOf(qos, retain);
  store<u8>(slot, load<u8>(slot, 6) | bit, 6);
  const allowed = load<u8>(slot, 7) & ~bit;
  store<u8>(slot, verdict == VERDICT_ALLOWED ? allowed | bit : allowed, 7);
}
