/** The core as a whole: its memory, its settings, its figures, time. */
import { initialiseRetained, retainedCount } from '../index/retained-index';
import { initialiseIndex, subscriptionCount } from '../index/subscription-index';
import { setSerialMax, setTopicCacheMax } from '../index/topic-intern';
import { freePoolBytes, initialiseBlocks, setBudget, usedOf } from '../memory/blocks';
import { connectionAt, initialiseConnections } from '../session/connection';
import {
  clock, copyLimits, counterTable, limitOf, setClock, setLimitIn, setLimitValue,
} from '../session/limits';
import { initialiseSessions, sessionAt } from '../session/session';
import { serveStarved } from '../session/starving';
import {
  firstHoldingSession, holdingSince, releaseReceiverHolds,
} from '../session/withholding';
import { ABI_VERSION, LIMIT_WITHHOLD_MS, ROW_WITHHELD } from '../shared/abi';
import { MEMORY_CLASSES } from '../shared/memory-class';
import { addRow, initialiseRows } from '../switch/events';
import { deleteExpiredRetained } from '../switch/retained-expiry';
import { initialiseIngest } from '../switch/ingest';
import { bytesRetained } from '../switch/retain';
import { initialiseFlush } from './bytes';
import { initialiseExchange } from './exchange';

const WASM_PAGE_BYTES: u32 = 65536;
/** Copies read up to this far beyond the last block. */
const END_SLACK: u32 = 64;

export function abiVersion(): u32 {
  return ABI_VERSION;
}

/**
 * Takes `memoryBytes` of linear memory, once and for all. False when the engine does not give it.
 * ```
 *  | static data | handle tables | event rows | flush rows | exchange | headroom + RX window |
 *  blocks ... |
 * ```
 */
export function initialise(
  memoryBytes: u32, seedHigh: u32, seedLow: u32, connectionsMax: u32, sessionsMax: u32,
): bool {
  const pages = memoryBytes / WASM_PAGE_BYTES;
  const more = <i32>pages - memory.size();
  if (more > 0 && memory.grow(more) < 0) return false;
  let at = (<u32>__heap_base + 63) & ~63;
  at = initialiseConnections(at, connectionsMax);
  at = initialiseSessions(at, sessionsMax);
  at = initialiseRows((at + 63) & ~63);
  at = initialiseFlush(at);
  at = initialiseExchange(at);
  at = initialiseIngest((at + 63) & ~63);
  const end = <u32>(<u64>pages * WASM_PAGE_BYTES - END_SLACK);
  if (at >= end) return false;
  initialiseBlocks(at, end);
  if (!initialiseIndex((<u64>seedHigh << 32) | seedLow)) return false;
  initialiseRetained();
  return true;
}

export function setLimit(id: u32, value: u32): void {
  setLimitValue(id, value);
}
export function setMemoryBudget(memoryClass: u32, bytes: u32): void {
  if (memoryClass < MEMORY_CLASSES) setBudget(memoryClass, bytes);
}
export function setTopicCache(entries: u32): void {
  setTopicCacheMax(entries);
}
export function setTopicSerialMax(serial: u32): void {
  setSerialMax(serial);
}
/** A table of limits for some connections, a copy of the general one; 0 = no memory. */
export function createLimits(): u32 {
  return copyLimits();
}
export function setOwnLimit(table: u32, id: u32, value: u32): void {
  setLimitIn(table, id, value);
}
export function countersAt(): u32 {
  return counterTable();
}
export function memoryUsed(memoryClass: u32): u32 {
  return usedOf(memoryClass);
}
export function memoryFree(): u32 {
  return freePoolBytes();
}
export function subscriptions(): u32 {
  return subscriptionCount();
}
export function retainedMessages(): u32 {
  return retainedCount();
}
export function retainedByteCount(): f64 {
  return bytesRetained();
}

/**
 * Receivers that have kept publishers waiting for too long are named in rows; they keep nobody
 * waiting from here on.
 */
export function tick(now: f64): void {
  setClock(now);
  const longest = <f64>limitOf(LIMIT_WITHHOLD_MS);
  let pointer = firstHoldingSession();
  while (pointer != 0) {
    const session = sessionAt(pointer);
    const next = session.holdingNext;
    if (clock - holdingSince(session) >= longest) {
      if (session.connection != 0) addRow(ROW_WITHHELD, connectionAt(session.connection).handle);
      releaseReceiverHolds(session);
    }
    pointer = next;
  }
  deleteExpiredRetained();
  serveStarved();
}
