/**
 * Topic levels: the bytes between two `/`. A level may be empty (`a//b` has three, `/` has two),
 * and nothing is ever trimmed, folded or normalised.
 *
 * `scanLevel` may read up to seven bytes beyond `end`; it never uses them.
 */
import { finishHash, firstBytes, hashKey, hashWord, nextKey } from './hash';

const SLASHES: u64 = 0x2f2f_2f2f_2f2f_2f2f;
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

export const LEVEL_SEPARATOR: u8 = 0x2f;
export const SINGLE_LEVEL_WILDCARD: u8 = 0x2b;
export const MULTI_LEVEL_WILDCARD: u8 = 0x23;
export const DOLLAR: u8 = 0x24;

/** Hash of the level that `scanLevel` read last; equal to `hashBytes` over the same bytes. */
export let levelHash: u64 = 0;

/**
 * Length of the level that starts at `at` (it ends before the next `/`, or at `end`); sets
 * `levelHash`.
 */
export function scanLevel(at: u32, end: u32): u32 {
  let hash: u64 = 0;
  let key = hashKey;
  let position = at;
  while (position < end) {
    const word = load<u64>(position);
    const difference = word ^ SLASHES;
    const found = (difference - ONES) & ~difference & HIGH_BITS;
    const bytes: u32 = min(found == 0 ? 8 : <u32>(ctz(found) >> 3), end - position);
    if (bytes < 8) {
      if (bytes != 0) hash = hashWord(hash, firstBytes(word, bytes), key);
      position += bytes;
      break;
    }
    hash = hashWord(hash, word, key);
    key = nextKey(key);
    position += 8;
  }
  levelHash = finishHash(hash, position - at);
  return position - at;
}

/** True when the level at `at` of `length` bytes is exactly the one-byte `wildcard`. */
@inline
export function isWildcardLevel(at: u32, length: u32, wildcard: u8): bool {
  return length == 1 && load<u8>(at) == wildcard;
}

/**
 * True when a well-formed Topic Filter has a wildcard: there, both characters stand for nothing
 * else.
 */
export function hasWildcard(at: u32, length: u32): bool {
  const end = at + length;
  for (let position = at; position < end; position++) {
    const byte = load<u8>(position);
    if (byte == SINGLE_LEVEL_WILDCARD || byte == MULTI_LEVEL_WILDCARD) return true;
  }
  return false;
}
