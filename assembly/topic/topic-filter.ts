/**
 * Topic Filters: what is subscribed to, shared or not.
 * ```
 *   $share/workers/factory/+/temperature        sensors/#
 *          ^       ^                            ^
 *   shareNameAt    filterAt                     filterAt (shareNameLength = 0)
 * ```
 */
import { MALFORMED_PACKET, SUCCESS, TOPIC_FILTER_INVALID } from '../shared/reason-code';
import { isWellFormed } from '../codec/utf8-string';

const SLASH: u32 = 0x2f;
const PLUS: u32 = 0x2b;
const HASH: u32 = 0x23;
/** `$share/` is `$sha` and `are/`, as little-endian words. */
const SHARE_HEAD: u32 = 0x6168_7324;
const SHARE_TAIL: u32 = 0x2f65_7261;
const SHARE_PREFIX_BYTES: u32 = 7;

// What the last parseTopicFilter that answered SUCCESS found.
export let filterAt: u32 = 0;
export let filterLength: u32 = 0;
export let shareNameAt: u32 = 0;
/** 0 = not a shared subscription. */
export let shareNameLength: u32 = 0;
export let filterLevels: u32 = 0;
export let filterHasWildcard: bool = false;

/**
 * Takes a filter as the client wrote it apart. MALFORMED_PACKET for an ill-formed string,
 * TOPIC_FILTER_INVALID for an empty filter, a misplaced wildcard or an ill-formed shared filter.
 */
export function parseTopicFilter(at: u32, length: u32): u32 {
  if (!isWellFormed(at, length)) return MALFORMED_PACKET; // [MQTT-3.8.3-1] [MQTT-3.10.3-1]
  const end = at + length;
  shareNameAt = at;
  shareNameLength = 0;
  if (isShared(at, length)) {
    shareNameAt = at + SHARE_PREFIX_BYTES; // [MQTT-4.8.2-1]
    at = afterShareName(shareNameAt, end);
    if (at == 0) return TOPIC_FILTER_INVALID;
    shareNameLength = at - 1 - shareNameAt;
  }
  if (at >= end) return TOPIC_FILTER_INVALID; // [MQTT-4.7.3-1] [MQTT-4.8.2-2]
  filterAt = at;
  filterLength = end - at;
  return checkLevels(at, end);
}

/** Topic Levels of a name or a filter: one more than its slashes; an empty string has none. */
export function topicLevelsOf(at: u32, length: u32): u32 {
  if (length == 0) return 0;
  const end = at + length;
  let slashes: u32 = 0;
  for (; at < end; at += 16) {
    let mask = <u32>i8x16.bitmask(i8x16.eq(v128.load(at), i8x16.splat(<i8>SLASH)));
    const left = end - at;
    if (left < 16) mask &= (1 << left) - 1;
    slashes += popcnt(mask);
  }
  return slashes + 1;
}

@inline
function isShared(at: u32, length: u32): bool {
  if (length < SHARE_PREFIX_BYTES || load<u32>(at) != SHARE_HEAD) return false;
  return load<u32>(at, 3) == SHARE_TAIL;
}

/**
 * The position after the slash that ends the Share Name; 0 when the name is empty, has a wildcard
 * or never ends.
 */
function afterShareName(at: u32, end: u32): u32 {
  const start = at;
  for (; at < end; at++) {
    const byte = <u32>load<u8>(at);
    if (byte == PLUS || byte == HASH) return 0; // [MQTT-4.8.2-2]
    if (byte == SLASH) return at == start ? 0 : at + 1; // [MQTT-4.8.2-1]
  }
  return 0;
}

function checkLevels(at: u32, end: u32): u32 {
  const start = at;
  filterLevels = 1;
  filterHasWildcard = false;
  for (; at < end; at++) {
    const byte = <u32>load<u8>(at);
    if (byte == SLASH) {
      filterLevels++;
    } else if (byte == PLUS || byte == HASH) {
      filterHasWildcard = true;
      if (at > start && load<u8>(at - 1) != SLASH) return TOPIC_FILTER_INVALID;
      if (at + 1 == end) continue;
      if (byte == HASH) return TOPIC_FILTER_INVALID; // 3.1.1 [MQTT-4.7.1-2], 5.0 [MQTT-4.7.1-1]
      // 3.1.1 [MQTT-4.7.1-3], 5.0 [MQTT-4.7.1-2]
      if (load<u8>(at + 1) != SLASH) return TOPIC_FILTER_INVALID;
    }
  }
  return SUCCESS;
}
