/**
 * SUBSCRIBE: a packet identifier, properties (version 5), and one or more filters with their
 * options.
 * ```
 *   +-------------------+------------+--------+--------------+---------+--------+---
 *   | packet identifier | properties | length | topic filter | options | length | ...
 *   +-------------------+------------+--------+--------------+---------+--------+---
 *                                    ^ subscribeFirstAt                ^ nextSubscription answers
 * ```
 */
import {
  IN_SUBSCRIBE, OPTION_NO_LOCAL, OPTION_QOS_MASK, OPTION_RESERVED_MASK, OPTION_RETAIN_HANDLING_MASK,
  VERSION_3_1, VERSION_5,
} from '../shared/control-packet';
import { MALFORMED_PACKET, PROTOCOL_ERROR, SUCCESS } from '../shared/reason-code';
import { loadTwoBytes } from '../memory/bytes';
import { parseTopicFilter, shareNameLength } from '../topic/topic-filter';
import { fieldAt, fieldLength, readBinary } from './field';
import { clearProperties, parseProperties, properties, propertiesEnd } from './properties';

export let subscribePacketIdentifier: u32 = 0;
export let subscribeCount: u32 = 0;
export let subscribeFirstAt: u32 = 0;
/** Subscription Identifier of all entries; 0 = none. */
export let subscribeIdentifier: u32 = 0;

// The entry that nextSubscription read last: the filter as the client wrote it, with `$share/name/`
// if it is shared.
export let subscriptionFilterAt: u32 = 0;
export let subscriptionFilterLength: u32 = 0;
export let subscriptionOptions: u32 = 0;

/**
 * Checks the whole packet, every entry included; nothing of a packet that is not SUCCESS may be
 * acted on.
 */
export function parseSubscribe(at: u32, end: u32, version: u32): u32 {
  subscribeCount = 0;
  subscribeIdentifier = 0;
  clearProperties();
  if (end - at < 2) return MALFORMED_PACKET;
  subscribePacketIdentifier = loadTwoBytes(at);
  // 3.1.1 [MQTT-2.3.1-1], 5.0 [MQTT-2.2.1-3]
  if (subscribePacketIdentifier == 0) return PROTOCOL_ERROR;
  at += 2;
  if (version >= VERSION_5) {
    const reason = parseProperties(at, end, IN_SUBSCRIBE);
    if (reason != SUCCESS) return reason;
    at = propertiesEnd;
    subscribeIdentifier = properties.subscriptionIdentifier;
  }
  subscribeFirstAt = at;
  while (at < end) {
    at = readBinary(at, end);
    if (at == 0) return MALFORMED_PACKET;
    // 3.1.1 [MQTT-3.8.3-1] [MQTT-4.7.1-2] [MQTT-4.7.1-3], 5.0 [MQTT-3.8.3-1] [MQTT-4.7.1-1]
    // [MQTT-4.7.1-2]
    let reason = parseTopicFilter(fieldAt, fieldLength);
    if (reason != SUCCESS) return reason;
    if (at >= end) return MALFORMED_PACKET;
    reason = optionsReason(load<u8>(at), version);
    if (reason != SUCCESS) return reason;
    at++;
    subscribeCount++;
  }
  return subscribeCount == 0 ? PROTOCOL_ERROR : SUCCESS; // 3.1.1 [MQTT-3.8.3-3], 5.0 [MQTT-3.8.3-2]
}

function optionsReason(options: u32, version: u32): u32 {
  if (version < VERSION_5) {
    // The upper bits are "not used" in 3.1 and reserved in 3.1.1.
    const qos = version == VERSION_3_1 ? options & OPTION_QOS_MASK : options;
    return qos > 2 ? MALFORMED_PACKET : SUCCESS; // 3.1.1 [MQTT-3.8.3-4]
  }
  if ((options & OPTION_RESERVED_MASK) != 0) return MALFORMED_PACKET; // [MQTT-3.8.3-5]
  if ((options & OPTION_QOS_MASK) == OPTION_QOS_MASK) return PROTOCOL_ERROR;
  if ((options & OPTION_RETAIN_HANDLING_MASK) == OPTION_RETAIN_HANDLING_MASK) return PROTOCOL_ERROR;
  const isNoLocal = (options & OPTION_NO_LOCAL) != 0;
  if (isNoLocal && shareNameLength != 0) return PROTOCOL_ERROR; // 5.0 [MQTT-3.8.3-4]
  return SUCCESS;
}

/**
 * Reads the entry at `at` of a packet that parseSubscribe found valid and answers where the next
 * one starts. The first is at subscribeFirstAt, and there are subscribeCount.
 */
export function nextSubscription(at: u32): u32 {
  subscriptionFilterLength = loadTwoBytes(at);
  subscriptionFilterAt = at + 2;
  at = subscriptionFilterAt + subscriptionFilterLength;
  subscriptionOptions = load<u8>(at);
  return at + 1;
}
