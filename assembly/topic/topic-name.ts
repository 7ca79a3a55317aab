/**
 * Topic Names: what a message is published to. Bytes only; nothing is normalised.
 */
import { MALFORMED_PACKET, SUCCESS, TOPIC_NAME_INVALID } from '../shared/reason-code';
import { isWellFormed } from '../codec/utf8-string';

const PLUS: u8 = 0x2b;
const HASH: u8 = 0x23;

/** True for a Topic Name that may be published to: a valid string, not empty, without wildcards. */
export function isTopicName(at: u32, length: u32): bool {
  return topicNameReason(at, length) == SUCCESS;
}

/**
 * SUCCESS, MALFORMED_PACKET for an ill-formed string, TOPIC_NAME_INVALID for a wildcard or an empty
 * name. Reads, and ignores, up to 15 bytes beyond the end.
 */
export function topicNameReason(at: u32, length: u32): u32 {
  if (length == 0) return TOPIC_NAME_INVALID; // [MQTT-4.7.3-1]
  const end = at + length;
  for (let position = at; position < end; position += 16) {
    const bytes = v128.load(position);
    const suspects = v128.or(
      i8x16.le_s(bytes, i8x16.splat(0)), // U+0000 or not ASCII
      v128.or(i8x16.eq(bytes, i8x16.splat(PLUS)), i8x16.eq(bytes, i8x16.splat(HASH))),
    );
    let mask = <u32>i8x16.bitmask(suspects);
    const left = end - position;
    if (left < 16) mask &= (1 << left) - 1;
    if (mask != 0) return suspiciousNameReason(at, length);
  }
  return SUCCESS;
}

/** The careful answer for a name with something other than plain ASCII in it. */
function suspiciousNameReason(at: u32, length: u32): u32 {
  if (!isWellFormed(at, length)) return MALFORMED_PACKET; // [MQTT-3.3.2-1]
  const end = at + length;
  for (; at < end; at += 16) {
    const bytes = v128.load(at);
    const plus = i8x16.eq(bytes, i8x16.splat(PLUS));
    const wildcards = v128.or(plus, i8x16.eq(bytes, i8x16.splat(HASH)));
    let mask = <u32>i8x16.bitmask(wildcards);
    const left = end - at;
    if (left < 16) mask &= (1 << left) - 1;
    // [MQTT-3.3.2-2] 3.1.1 [MQTT-4.7.1-1], 5.0 [MQTT-4.7.0-1]
    if (mask != 0) return TOPIC_NAME_INVALID;
  }
  return SUCCESS;
}
