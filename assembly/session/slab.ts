/**
 * The slab of a connection: bytes on their way to its socket, as a chain of chunks. Packets are
 * appended to the last chunk during a turn; once a turn the host is given every new chunk
 * (`flush`), and gives each one back when the transport no longer needs its memory. A chunk that
 * was given to the host is never written to again.
 */
import { MEMORY_SLAB } from '../shared/memory-class';
import { COUNT_BYTES_SENT, FLUSH_WORDS } from '../shared/abi';
import {
  allocate, allocateUrgent, blockBytes, release, roomOf,
} from '../memory/blocks';
import { Connection, connectionAt } from './connection';
import { count } from './limits';

/**
 * ```
 *  0        4         8           12     16
 *  +--------+---------+-----------+------+----------------------+
 *  | next   | length  | capacity  | sent | packets ...          |
 *  +--------+---------+-----------+------+----------------------+
 * ```
 */
@unmanaged
class Chunk {
  next: u32;
  length: u32;
  capacity: u32;
  sent: u32; // 1 = the host has it
}
const CHUNK_HEADER_BYTES: u32 = 16;
/** Copies of small packets may write this far beyond their end. */
const COPY_SLACK: u32 = 16;
const CHUNK_BYTES_FIRST: u32 = 512;
const CHUNK_BYTES_MAX: u32 = 262144;

/** Head of the list of connections that have something to flush. */
let dirtyHead: u32 = 0;
let dirtyTail: u32 = 0;

@inline
export function isDirty(): bool {
  return dirtyHead != 0;
}

/**
 * Room for `length` more bytes in one piece: the place to write to, or 0 when memory is exhausted.
 * The bytes count as written from here on.
 */
@inline
export function reserve(connection: Connection, length: u32): u32 {
  const at = reserveInTail(connection, length);
  return at != 0 ? at : reserveInNewChunk(connection, length, FOR_ANSWERS);
}

/** As `reserve`, for a message: it leaves the reserve to acknowledgements and goodbyes. */
@inline
export function reserveForPublish(connection: Connection, length: u32): u32 {
  const at = reserveInTail(connection, length);
  return at != 0 ? at : reserveInNewChunk(connection, length, FOR_MESSAGES);
}
/** The place in the chunk that is being filled; 0 when there is none, or it is too full. */
@inline
function reserveInTail(connection: Connection, length: u32): u32 {
  const tail = connection.chunkTail;
  if (tail != 0) {
    const chunk = changetype<Chunk>(tail);
    const used = chunk.length;
    if (chunk.sent == 0 && used + length <= chunk.capacity) {
      chunk.length = used + length;
      connection.txBytes += length;
      return tail + CHUNK_HEADER_BYTES + used;
    }
  }
  return 0;
}
const FOR_ANSWERS: u32 = 0;
const FOR_MESSAGES: u32 = 1;

function reserveInNewChunk(connection: Connection, length: u32, purpose: u32): u32 {
  const tail = connection.chunkTail;
  let bytes = max(connection.txHint, CHUNK_BYTES_FIRST);
  if (tail != 0 && changetype<Chunk>(tail).sent == 0) {
    // The turn needs more than the hint: the next chunk is four times as large, and so is the hint.
    bytes = min(max(changetype<Chunk>(tail).capacity << 2, CHUNK_BYTES_FIRST), CHUNK_BYTES_MAX);
    connection.txHint = bytes;
  }
  bytes = max(bytes, length + CHUNK_HEADER_BYTES + COPY_SLACK);
  let block = allocate(MEMORY_SLAB, bytes);
  if (block == 0) {
    bytes = length + CHUNK_HEADER_BYTES + COPY_SLACK;
    block = purpose == FOR_MESSAGES
      ? allocate(MEMORY_SLAB, bytes)
      : allocateUrgent(MEMORY_SLAB, bytes);
    if (block == 0) return 0;
  }
  const chunk = changetype<Chunk>(block);
  chunk.next = 0;
  chunk.length = length;
  chunk.capacity = blockBytes(block) - CHUNK_HEADER_BYTES - COPY_SLACK;
  chunk.sent = 0;
  if (tail != 0) changetype<Chunk>(tail).next = block;
  else connection.chunkHead = block;
  connection.chunkTail = block;
  if (connection.chunkFlush == 0) connection.chunkFlush = block;
  connection.txBytes += length;
  markDirty(connection);
  return block + CHUNK_HEADER_BYTES;
}

function markDirty(connection: Connection): void {
  if (connection.dirty) return;
  connection.dirty = 1;
  connection.dirtyNext = 0;
  const pointer = changetype<u32>(connection);
  if (dirtyTail != 0) connectionAt(dirtyTail).dirtyNext = pointer;
  else dirtyHead = pointer;
  dirtyTail = pointer;
}

/** So much may be tried when next to nothing is free: a small message may find a place. */
const SLAB_BYTES_SMALL: u32 = 4096;

/**
 * What one connection may hold: `slabBytesMax`, but never more than half of what is still free for
 * slabs, so that many frozen receivers share what there is (dynamic thresholds, Choudhury and Hahne
 * 1998).
 */
export function slabLimit(slabBytesMax: u32): u32 {
  return min(slabBytesMax, max(roomOf(MEMORY_SLAB) >> 1, SLAB_BYTES_SMALL));
}

/**
 * Writes flush rows for dirty connections to `out`, at most `rowsMax`; answers their number. Call
 * until it answers 0.
 */
export function collectFlush(out: u32, rowsMax: u32): u32 {
  let rows: u32 = 0;
  while (dirtyHead != 0 && rows < rowsMax) {
    const connection = connectionAt(dirtyHead);
    let block = connection.chunkFlush;
    while (block != 0 && rows < rowsMax) {
      const chunk = changetype<Chunk>(block);
      const row = out + rows * FLUSH_WORDS * 4;
      store<u32>(row, connection.handle);
      store<u32>(row, block + CHUNK_HEADER_BYTES, 4);
      store<u32>(row, chunk.length, 8);
      store<u32>(row, block, 12);
      count(COUNT_BYTES_SENT, chunk.length);
      chunk.sent = 1;
      rows++;
      block = chunk.next;
    }
    connection.chunkFlush = block;
    if (block != 0) break;
    shrinkHint(connection);
    dirtyHead = connection.dirtyNext;
    if (dirtyHead == 0) dirtyTail = 0;
    connection.dirty = 0;
  }
  return rows;
}

/** A quiet turn lowers the hint, so that an idle connection does not keep a large appetite. */
function shrinkHint(connection: Connection): void {
  const tail = changetype<Chunk>(connection.chunkTail);
  if (connection.txHint > CHUNK_BYTES_FIRST && tail.length < connection.txHint >> 3) {
    connection.txHint >>= 1;
  }
}

/**
 * The transport no longer needs `block`. Chunks come back in the order in which they were given.
 */
export function giveChunk(connection: Connection, block: u32): void {
  if (block != connection.chunkHead) return;
  const chunk = changetype<Chunk>(block);
  connection.txBytes -= chunk.length;
  connection.chunkHead = chunk.next;
  if (chunk.next == 0) connection.chunkTail = 0;
  release(MEMORY_SLAB, block);
}

/**
 * Takes a closing connection out of the dirty list and frees its slab: its transport holds no view
 * any more.
 */
export function dropSlab(connection: Connection): void {
  if (connection.dirty) {
    const pointer = changetype<u32>(connection);
    let before: u32 = 0;
    let at = dirtyHead;
    while (at != pointer) {
      before = at;
      at = connectionAt(at).dirtyNext;
    }
    if (before == 0) dirtyHead = connection.dirtyNext;
    else connectionAt(before).dirtyNext = connection.dirtyNext;
    if (dirtyTail == pointer) dirtyTail = before;
    connection.dirty = 0;
  }
  let block = connection.chunkHead;
  while (block != 0) {
    const next = changetype<Chunk>(block).next;
    release(MEMORY_SLAB, block);
    block = next;
  }
  connection.chunkHead = 0;
  connection.chunkTail = 0;
  connection.chunkFlush = 0;
  connection.txBytes = 0;
}
