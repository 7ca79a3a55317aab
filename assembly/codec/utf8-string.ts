/**
 * UTF-8 as MQTT wants it: well-formed, no surrogates, no U+0000. U+FEFF is a character like any
 * other and is never stripped: strings are compared and forwarded as bytes. [MQTT-1.5.3-3]
 * [MQTT-1.5.4-3]
 */

/**
 * True when `length` bytes at `at` are a valid string. Looks at 16 bytes at a time while they are
 * ASCII; reads, and ignores, up to 15 bytes beyond the end.
 */
export function isWellFormed(at: u32, length: u32): bool {
  const end = at + length;
  while (at < end) {
    // As signed bytes everything that is not plain ASCII is <= 0: U+0000 and every byte of a longer
    // sequence.
    const suspects = i8x16.le_s(v128.load(at), i8x16.splat(0));
    let mask = <u32>i8x16.bitmask(suspects);
    const left = end - at;
    if (left < 16) mask &= (1 << left) - 1;
    if (mask == 0) {
      at += 16;
      continue;
    }
    at = afterSequences(at + ctz(mask), end);
    if (at == 0) return false; // [MQTT-1.5.3-1] [MQTT-1.5.4-1]
  }
  return true;
}

@inline
function isContinuation(byte: u32): bool {
  return (byte & 0xc0) == 0x80;
}

/**
 * The position after a run of multi-byte sequences that starts at `at`; 0 when one of them is ill-
 * formed.
 */
function afterSequences(at: u32, end: u32): u32 {
  do {
    const lead = <u32>load<u8>(at);
    // 00 is U+0000, 80 to BF have no lead byte, C0 and C1 would be overlong.
    if (lead < 0xc2) return 0; // [MQTT-1.5.3-2] [MQTT-1.5.4-2] [MQTT-4.7.3-2]
    const size: u32 = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead > 0xf4 || end - at < size) return 0;
    const second = <u32>load<u8>(at, 1);
    let low: u32 = 0x80;
    let high: u32 = 0xbf;
    if (lead == 0xe0) low = 0xa0; // below: overlong
    else if (lead == 0xed) high = 0x9f; // above: surrogates
    else if (lead == 0xf0) low = 0x90; // below: overlong
    else if (lead == 0xf4) high = 0x8f; // above: beyond U+10FFFF
    if (second < low || second > high) return 0;
    if (size > 2 && !isContinuation(load<u8>(at, 2))) return 0;
    if (size > 3 && !isContinuation(load<u8>(at, 3))) return 0;
    at += size;
  } while (at < end && load<u8>(at) >= 0x80);
  return at;
}
