/**
 * Every value in the store ends with a CRC-32 of its key and itself. LevelDB has checksums of its
 * own, but the binding reads without verifying them (and replays a damaged log by leaving out what
 * is damaged), so ours are the ones that count.
 */
import { crc32 } from 'node:zlib';

export const CHECKSUM_BYTES = 4;

export function checksumOf(bytes: Uint8Array, before = 0): number {
  return crc32(bytes, before);
}

/** The value without its checksum, or undefined when it is not what was written under this key. */
export function openValue(key: Buffer, value: Buffer): Buffer | undefined {
  const length = value.length - CHECKSUM_BYTES;
  if (length < 0) return undefined;
  const body = value.subarray(0, length);
  return checksumOf(body, checksumOf(key)) === value.readUInt32LE(length) ? body : undefined;
}

export function sealValue(key: Buffer, body: Buffer): Buffer {
  const value = Buffer.allocUnsafe(body.length + CHECKSUM_BYTES);
  body.copy(value);
  value.writeUInt32LE(checksumOf(body, checksumOf(key)), body.length);
  return value;
}
