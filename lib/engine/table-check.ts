/**
 * LevelDB's tables carry a checksum for each block, but the binding reads without verifying them. A
 * flipped bit in a value shows by our own checksums; one in the kind of an entry would take it for
 * deleted, and nothing else would tell. So the blocks of every table are verified here, about a
 * second for a gigabyte.
 *
 * ```
 *   [data block] ... [meta block] [index of meta blocks] [index of data blocks] [footer]
 *   block:   contents, kind 1 (0 = plain, 1 = Snappy), CRC-32C 4 (of contents and kind, masked)
 *   footer:  handle of the meta index, handle of the index, padding up to 40, magic number 8
 *   handle:  offset, length of the contents; both as varints
 *   index:   entries (shared, unshared, value length as varints; key; handle), restarts 4 each,
 *            number of restarts 4
 * ```
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const TABLE_FILE = /^\d+\.(ldb|sst)$/;
const FOOTER_BYTES = 48;
const MAGIC = 0xdb47_7524_8b80_fb57n;
const TRAILER_BYTES = 5;
const KIND_SNAPPY = 1;
const MASK_DELTA = 0xa282_ead8;
const CASTAGNOLI = 0x82f6_3b78;
/**
 * What a byte makes of the remainder when 0 to 7 bytes follow it: eight bytes are taken at a time,
 * a fifth of the time of one after the other ("slicing-by-8": Kounavis, Berry, 2005).
 */
const A0 = Int32Array.from({ length: 256 }, (_none, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) {
    remainder = remainder & 1 ? (remainder >>> 1) ^ CASTAGNOLI : remainder >>> 1;
  }
  return remainder;
});
const oneMore = (fewer: Int32Array): Int32Array =>
  fewer.map((remainder) => A0[remainder & 0xff] ^ (remainder >>> 8));
const A1 = oneMore(A0);
const A2 = oneMore(A1);
const A3 = oneMore(A2);
const A4 = oneMore(A3);
const A5 = oneMore(A4);
const A6 = oneMore(A5);
const A7 = oneMore(A6);

interface Handle {
  readonly offset: number;
  readonly length: number;
}

/** The number in the name of a file of LevelDB; it gives each file a higher one than the last. */
export function fileNumber(name: string): number {
  return Number.parseInt(name, 10);
}

/**
 * What is damaged in the tables of a directory, in words; its store is open. Tables with numbers
 * below `finishedBefore` were finished when it was opened; others may be being written.
 */
export async function damageOfTables(
  path: string, names: readonly string[], finishedBefore: number,
): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of names) {
    if (!TABLE_FILE.test(name)) continue;
    // One that goes meanwhile was no longer needed.
    const table = await readFile(join(path, name)).catch(() => undefined);
    if (table === undefined) continue;
    if (hasEnd(table)) found.push(...damageOf(name, table));
    else if (fileNumber(name) < finishedBefore) {
      found.push(`table ${name} has no end: ${table.length} bytes are left of it`);
    }
  }
  return found;
}

function hasEnd(table: Buffer): boolean {
  return table.length >= FOOTER_BYTES && table.readBigUInt64LE(table.length - 8) === MAGIC;
}
function damageOf(name: string, table: Buffer): string[] {
  const footerAt = table.length - FOOTER_BYTES;
  try {
    const metaIndex = readHandle(table, footerAt);
    const index = readHandle(table, metaIndex.end);
    const indexes = [metaIndex, index];
    const blocks = indexes.flatMap((handle) => handlesIn(contentsOf(table, handle)));
    const handles = [...indexes, ...blocks];
    const damaged = handles.filter((handle) => !isIntact(table, handle));
    return damaged.map(({ offset, length }) => {
      return `table ${name}: the block of ${length} bytes at ${offset} is damaged`;
    });
  } catch (error) {
    if (error instanceof RangeError) return [`table ${name}: its index is damaged`];
    throw error;
  }
}

function isIntact(table: Buffer, { offset, length }: Handle): boolean {
  const end = offset + length + 1; // the kind, too
  if (end + 4 > table.length) return false;
  const checksum = castagnoliOf(table, offset, end);
  // In 32 bits throughout: V8 threw its code away at every larger sum, once for each block.
  return (((checksum >>> 15) | (checksum << 17)) + MASK_DELTA | 0) === table.readInt32LE(end);
}
function castagnoliOf(table: Buffer, from: number, before: number): number {
  let remainder = -1;
  let i = from;
  for (; i + 8 <= before; i += 8) {
    remainder ^= table[i] | table[i + 1] << 8 | table[i + 2] << 16 | table[i + 3] << 24;
    remainder = A7[remainder & 0xff] ^ A6[remainder >>> 8 & 0xff]
      ^ A5[remainder >>> 16 & 0xff] ^ A4[remainder >>> 24]
      ^ A3[table[i + 4]] ^ A2[table[i + 5]] ^ A1[table[i + 6]] ^ A0[table[i + 7]];
  }
  for (; i < before; i++) remainder = A0[(remainder ^ table[i]) & 0xff] ^ (remainder >>> 8);
  return ~remainder;
}

function contentsOf(table: Buffer, { offset, length }: Handle): Buffer {
  if (offset + length + TRAILER_BYTES > table.length) throw new RangeError('beyond the table');
  const contents = table.subarray(offset, offset + length);
  return table[offset + length] === KIND_SNAPPY ? uncompress(contents) : contents;
}
function handlesIn(index: Buffer): Handle[] {
  const restarts = index.readUInt32LE(index.length - 4);
  const end = index.length - 4 - 4 * restarts;
  const handles: Handle[] = [];
  for (let at = 0; at < end;) {
    const shared = readVarint(index, at);
    const unshared = readVarint(index, shared.end);
    const length = readVarint(index, unshared.end);
    const valueAt = length.end + unshared.value;
    handles.push(readHandle(index, valueAt));
    at = valueAt + length.value;
  }
  return handles;
}
function readHandle(from: Buffer, at: number): Handle & { readonly end: number } {
  const offset = readVarint(from, at);
  const length = readVarint(from, offset.end);
  return { offset: offset.value, length: length.value, end: length.end };
}
function readVarint(from: Buffer, at: number): { readonly value: number; readonly end: number } {
  let value = 0;
  let scale = 1;
  for (let i = at; i < at + 10; i++) {
    const byte = from.readUInt8(i);
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, end: i + 1 };
    scale *= 128;
  }
  throw new RangeError('a varint without an end');
}

const LITERAL_SHORT_MAX = 60;
/** Snappy's raw format: its length, then literals and copies of what came before. */
function uncompress(from: Buffer): Buffer {
  const { value: length, end } = readVarint(from, 0);
  const out = Buffer.alloc(Math.min(length, MAX_UNCOMPRESSED));
  let to = 0;
  for (let at = end; at < from.length;) {
    const tag = from.readUInt8(at++);
    if ((tag & 3) === 0) {
      const short = (tag >> 2) + 1;
      const extra = short > LITERAL_SHORT_MAX ? short - LITERAL_SHORT_MAX : 0;
      const count = extra === 0 ? short : from.readUIntLE(at, extra) + 1;
      at += extra;
      to += from.copy(out, to, at, at + count);
      at += count;
      continue;
    }
    const bytes = [0, 1, 2, 4][tag & 3];
    const isNear = bytes === 1;
    const count = isNear ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1;
    const back = from.readUIntLE(at, bytes) + (isNear ? (tag >> 5) << 8 : 0);
    at += bytes;
    if (back === 0 || back > to) throw new RangeError('a copy of nothing');
    for (let i = 0; i < count; i++, to++) out[to] = out[to - back];
  }
  if (to !== length) throw new RangeError('not as long as it says');
  return out;
}
/** An index of a table of 2 MiB is far below that. */
const MAX_UNCOMPRESSED = 64 * 1024 * 1024;
