/**
 * Length-prefixed fields of a variable header or payload.
 * ```
 *   0          2                 2 + length
 *   +----------+-----------------+
 *   | length   | bytes ...       |   UTF-8 encoded string, binary data
 *   +----------+-----------------+
 * ```
 * The read functions answer the position after the field, or 0 when the field does not end within
 * the packet.
 */
import { loadTwoBytes } from '../memory/bytes';
import { isWellFormed } from './utf8-string';

/** Content of the field that readBinary or readString found last. */
export let fieldAt: u32 = 0;
export let fieldLength: u32 = 0;

@inline
export function loadFourBytes(at: u32): u32 {
  return bswap<u32>(load<u32>(at));
}

export function readBinary(at: u32, end: u32): u32 {
  if (end - at < 2) return 0;
  fieldLength = loadTwoBytes(at); // [MQTT-4.7.3-3]
  fieldAt = at + 2;
  return fieldLength > end - fieldAt ? 0 : fieldAt + fieldLength;
}

/** As readBinary; 0 also when the content is not a valid string. */
export function readString(at: u32, end: u32): u32 {
  const next = readBinary(at, end);
  if (next == 0 || !isWellFormed(fieldAt, fieldLength)) return 0;
  return next;
}
