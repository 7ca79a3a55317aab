/** UNSUBSCRIBE: a packet identifier, properties (version 5), and one or more filters. */
import { IN_UNSUBSCRIBE, VERSION_5 } from '../shared/control-packet';
import { MALFORMED_PACKET, PROTOCOL_ERROR, SUCCESS } from '../shared/reason-code';
import { loadTwoBytes } from '../memory/bytes';
import { parseTopicFilter } from '../topic/topic-filter';
import { fieldAt, fieldLength, readBinary } from './field';
import { clearProperties, parseProperties, propertiesEnd } from './properties';

export let unsubscribePacketIdentifier: u32 = 0;
export let unsubscribeCount: u32 = 0;
export let unsubscribeFirstAt: u32 = 0;

// The entry that nextUnsubscription read last: the filter as the client wrote it, with
// `$share/name/` if it is shared.
export let unsubscriptionFilterAt: u32 = 0;
export let unsubscriptionFilterLength: u32 = 0;

/** Checks the whole packet, every entry included. */
export function parseUnsubscribe(at: u32, end: u32, version: u32): u32 {
  unsubscribeCount = 0;
  clearProperties();
  if (end - at < 2) return MALFORMED_PACKET;
  unsubscribePacketIdentifier = loadTwoBytes(at);
  // 3.1.1 [MQTT-2.3.1-1], 5.0 [MQTT-2.2.1-3]
  if (unsubscribePacketIdentifier == 0) return PROTOCOL_ERROR;
  at += 2;
  if (version >= VERSION_5) {
    const reason = parseProperties(at, end, IN_UNSUBSCRIBE);
    if (reason != SUCCESS) return reason;
    at = propertiesEnd;
  }
  unsubscribeFirstAt = at;
  while (at < end) {
    at = readBinary(at, end);
    if (at == 0) return MALFORMED_PACKET;
    const reason = parseTopicFilter(fieldAt, fieldLength); // [MQTT-3.10.3-1]
    if (reason != SUCCESS) return reason;
    unsubscribeCount++;
  }
  return unsubscribeCount == 0 ? PROTOCOL_ERROR : SUCCESS; // [MQTT-3.10.3-2]
}

/**
 * Reads the entry at `at` of a packet that parseUnsubscribe found valid and answers where the next
 * one starts.
 */
export function nextUnsubscription(at: u32): u32 {
  unsubscriptionFilterLength = loadTwoBytes(at);
  unsubscriptionFilterAt = at + 2;
  return unsubscriptionFilterAt + unsubscriptionFilterLength;
}
