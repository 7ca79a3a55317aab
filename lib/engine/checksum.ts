/**
 * Every value in the store ends with a CRC-32 of its key and itself. LevelDB has checksums of its
 * own, but the binding reads without verifying them (and replays a damaged log by leaving out what
 * is damaged), so ours are the ones that count.
 */
import { crc32 } from 'node:zlib';
import { viewOf } from '../core/views.js';

export const CHECKSUM_BYTES = 4;
/** The CRC-32 of anything that ends with its CRC-32, least significant byte first. */
const RESIDUE = 0x2144_df1c;
/** Up to here a loop is faster than a call that leaves JavaScript. */
const LOOP_BYTES_MAX = 160;
const POLYNOMIAL = 0xedb8_8320;
const TABLE = Int32Array.from({ length: 256 }, (_none, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) {
    remainder = remainder & 1 ? (remainder >>> 1) ^ POLYNOMIAL : remainder >>> 1;
  }
  return remainder;
});

export function checksumOf(bytes: Uint8Array, before = 0): number {
  const { length } = bytes;
  return length > LOOP_BYTES_MAX ? crc32(bytes, before) : loop(bytes, length, before);
}
function loop(bytes: Uint8Array, length: number, before: number): number {
  let remainder = ~before;
  for (let i = 0; i < length; i++) {
    remainder = TABLE[(remainder ^ bytes[i]) & 0xff] ^ (remainder >>> 8);
  }
  return ~remainder >>> 0;
}

/** Whether a value is what was written under this key: the CRC of all with its own behind it. */
export function isIntact(key: Buffer, value: Buffer): boolean {
  return value.length >= CHECKSUM_BYTES && checksumOf(value, checksumOf(key)) === RESIDUE;
}
/** The value without its checksum, or undefined when it is not what was written under this key. */
export function openValue(key: Buffer, value: Buffer): Buffer | undefined {
  if (!isIntact(key, value)) return undefined;
  return viewOf(value.buffer, value.byteOffset, value.length - CHECKSUM_BYTES);
}

export function sealValue(key: Buffer, body: Buffer): Buffer {
  const value = Buffer.allocUnsafe(body.length + CHECKSUM_BYTES);
  body.copy(value);
  value.writeUInt32LE(checksumOf(body, checksumOf(key)), body.length);
  return value;
}
