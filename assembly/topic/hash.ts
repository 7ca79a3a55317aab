/**
 * Seeded hashing and comparing of bytes, eight at a time.
 *
 * The hash is NH (sums of 32 x 32 -> 64 bit products of message and key words) over a key stream
 * that grows out of the seed: without the seed nobody can choose topics that meet in one slot.
 * Everybody who looks something up by hash compares the bytes as well, so a collision costs time
 * and never correctness.
 *
 * All functions may read up to seven bytes beyond the end of their input; they never use them.
 */
const KEY_MULTIPLIER: u64 = 0x5851_f42d_4c95_7f2d;
const KEY_INCREMENT: u64 = 0x1405_7b7e_f767_814f;
const LENGTH_MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;
const MIX_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/** First word of the key stream. Read-only outside of this file. */
export let hashKey: u64 = 0x2545_f491_4f6c_dd1d;

/**
 * Sets the seed. Whatever was hashed before is not found any more: called once, before the first
 * use.
 */
export function initialiseHash(seed: u64): void {
  const mixed = (seed ^ (seed >> 31)) * MIX_MULTIPLIER;
  hashKey = (mixed ^ (mixed >> 29)) * KEY_MULTIPLIER + KEY_INCREMENT;
}

@inline
export function nextKey(key: u64): u64 {
  return key * KEY_MULTIPLIER + KEY_INCREMENT;
}

/** Takes one word of input into `hash`. */
@inline
export function hashWord(hash: u64, word: u64, key: u64): u64 {
  const low = <u64>(<u32>word + <u32>key);
  const high = <u64>(<u32>(word >> 32) + <u32>(key >> 32));
  return hash + low * high;
}

/** Ends a hash: `length` keeps inputs apart that differ only in the zeros they were padded with. */
@inline
export function finishHash(hash: u64, length: u32): u64 {
  const sum = hash + <u64>length * LENGTH_MULTIPLIER + hashKey;
  const mixed = (sum ^ (sum >> 32)) * MIX_MULTIPLIER;
  return mixed ^ (mixed >> 32);
}

/** The first `count` (1 to 7) bytes of a word. */
@inline
export function firstBytes(word: u64, count: u32): u64 {
  return word & (((<u64>1) << (<u64>count << 3)) - 1);
}

export function hashBytes(at: u32, length: u32): u64 {
  let hash: u64 = 0;
  let key = hashKey;
  let position = at;
  let left = length;
  while (left >= 8) {
    hash = hashWord(hash, load<u64>(position), key);
    key = nextKey(key);
    position += 8;
    left -= 8;
  }
  if (left != 0) hash = hashWord(hash, firstBytes(load<u64>(position), left), key);
  return finishHash(hash, length);
}

/** Hash of a pair: the child of `parent` (a pointer) whose own hash is `hash`. */
@inline
export function hashPair(parent: u32, hash: u64): u32 {
  const mixed = (hash + <u64>parent) * MIX_MULTIPLIER;
  return <u32>(mixed ^ (mixed >> 32));
}

export function bytesEqual(left: u32, right: u32, length: u32): bool {
  let position: u32 = 0;
  while (position + 8 <= length) {
    if (load<u64>(left + position) != load<u64>(right + position)) return false;
    position += 8;
  }
  const rest = length - position;
  if (rest == 0) return true;
  return firstBytes(load<u64>(left + position) ^ load<u64>(right + position), rest) == 0;
}
