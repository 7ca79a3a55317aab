/**
 * Sessions and subscriptions stand in LevelDB as text. There are very many of both, a start reads
 * all of them, and its binding makes a string in half the time that a Buffer takes (200,000
 * small records: 0.2 s instead of 0.44). Each byte of a key or value becomes a character; UTF-8
 * keeps the order of characters, so the keys are in the same order. The first of a key is the
 * capital of its class, which tells it from what formats up to 2 wrote:
 *
 *     s 00 00 00 00 00 00 30 90  ->  S 00 00 00 00 00 00 30 C2 90
 *
 * What is damaged in it comes back as other bytes, and then its checksum says so. (Also where it
 * stands elsewhere in the order: C6 90, one bit away, would be cut to the same byte as C2 90.)
 */
import type { KeyRange } from './keys.js';
import { KEY_SESSION, KEY_SUBSCRIPTION, isOneClass } from './keys.js';

/** From a capital letter of ASCII to its small one. */
const SMALL = 0x20;
export const TEXT_CLASSES: readonly number[] = [KEY_SESSION, KEY_SUBSCRIPTION];

const isTextClass = (keyClass: number): boolean => TEXT_CLASSES.includes(keyClass);

/** What nobody wrote: of a byte comes no such character. */
const NO_BYTE = /[\u0100-\uffff]/;
function bytesOf(text: string): Buffer {
  return Buffer.from(text, NO_BYTE.test(text) ? 'utf8' : 'latin1');
}

/** Encodings of abstract-level: everybody above has the bytes. */
export const TEXT = {
  keyEncoding: {
    name: 'nidomq-key',
    format: 'utf8' as const,
    encode: (key: Buffer): string =>
      String.fromCharCode(key[0] - SMALL) + key.toString('latin1', 1),
    decode: (text: string): Buffer => {
      const key = bytesOf(text);
      key[0] += SMALL;
      return key;
    },
  },
  valueEncoding: {
    name: 'nidomq-value',
    format: 'utf8' as const,
    encode: (value: Buffer): string => value.toString('latin1'),
    decode: bytesOf,
  },
};

/** Whether a key is written as text. */
export function isText(key: Buffer): boolean {
  return isTextClass(key[0]);
}
/** Of a class, or a part of one, that is written as text. */
export function isTextRange(range: KeyRange): boolean {
  return isOneClass(range) && isText(range.from);
}
/** An entry as LevelDB has it, whichever form that is. */
export function entryOf([key, value]: readonly [Buffer, Buffer]): [Buffer, Buffer] {
  if (!isTextClass(key[0] + SMALL)) return [key, value];
  const { keyEncoding, valueEncoding } = TEXT;
  return [keyEncoding.decode(key.toString()), valueEncoding.decode(value.toString())];
}
