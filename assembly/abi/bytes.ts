/** Bytes in and bytes out. */
import { connectionAt, connectionOf } from '../session/connection';
import { pump } from '../session/delivery';
import { advanceEndings } from '../session/ending';
import { setClock } from '../session/limits';
import { advanceReplays, areReplaysReady } from '../session/replay';
import { sessionAt } from '../session/session';
import { collectFlush, giveChunk, isDirty } from '../session/slab';
import { serveStarved } from '../session/starving';
import { INGEST_DONE } from '../shared/abi';
import { clearFirstRows, clearRows, rowCount, rowTable } from '../switch/events';
import {
  ingestCarried, ingestChunk, parkChunk, resumeChunk, windowAddress,
} from '../switch/ingest';
import { EXCHANGE_BYTES, exchangeArea } from './exchange';

const FLUSH_ROWS: u32 = 256;
const FLUSH_ROW_BYTES: u32 = 16;
let flushTable: u32 = 0;

/**
 * Takes the flush table out of memory that starts at `at`; answers where the next region may begin.
 */
export function initialiseFlush(at: u32): u32 {
  flushTable = at;
  return at + FLUSH_ROWS * FLUSH_ROW_BYTES;
}

export function rxWindowAt(): u32 {
  return windowAddress();
}
export function exchangeAt(): u32 {
  return exchangeArea;
}
export function exchangeBytes(): u32 {
  return EXCHANGE_BYTES;
}
export function rowsAt(): u32 {
  return rowTable();
}
export function rows(): u32 {
  return rowCount;
}

/**
 * The host has read all rows. Handlers that found the table full are served now: look at `rows`
 * again.
 */
export function releaseRows(): u32 {
  clearRows();
  serveStarved();
  return rowCount;
}

/** The host has read the first rows, and there are many: makes room for more. */
export function releaseFirstRows(read: u32): void {
  clearFirstRows(read);
}

/** `length` bytes of this connection stand in the RX window. */
export function ingest(handle: u32, length: u32, now: f64): u32 {
  setClock(now);
  const pointer = connectionOf(handle);
  return pointer == 0 ? INGEST_DONE : ingestChunk(pointer, length);
}
export function resume(now: f64): u32 {
  setClock(now);
  return resumeChunk();
}
export function park(): void {
  parkChunk();
}
export function ingestCarry(handle: u32, now: f64): u32 {
  setClock(now);
  const pointer = connectionOf(handle);
  return pointer == 0 ? INGEST_DONE : ingestCarried(pointer);
}

export function flushAt(): u32 {
  return flushTable;
}
/** Writes flush rows; call until it answers 0. */
export function flush(): u32 {
  return collectFlush(flushTable, FLUSH_ROWS);
}
/** True while bytes of this connection have not been in a flush row. */
export function hasUnflushed(handle: u32): bool {
  const pointer = connectionOf(handle);
  return pointer != 0 && connectionAt(pointer).chunkFlush != 0;
}
/** The transport no longer needs the memory of this chunk. Whoever waited for room goes on. */
export function written(handle: u32, chunk: u32, now: f64): void {
  setClock(now);
  const pointer = connectionOf(handle);
  if (pointer == 0) return;
  const connection = connectionAt(pointer);
  giveChunk(connection, chunk);
  if (connection.session != 0) {
    const session = sessionAt(connection.session);
    if (session.pendingHead != 0 || session.replayHead != 0) pump(session);
  }
}
/** Long work goes on a piece: replays, endings. True when there is more to do at once. */
export function advance(now: f64): bool {
  setClock(now);
  const replays = advanceReplays();
  const endings = advanceEndings();
  return replays || endings;
}
export function needsFlush(): bool {
  return isDirty() || areReplaysReady();
}
