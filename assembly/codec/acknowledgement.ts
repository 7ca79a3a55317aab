/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP: one shape. The properties are left out when there are none,
 * and the Reason Code as well when it is 0.
 * ```
 *   +-------------------+-------------+------------+
 *   | packet identifier | reason code | properties |
 *   |        2          |  only in version 5; may be left out
 *   +-------------------+-------------+------------+
 * ```
 */
import { PUBREL, VERSION_5 } from '../shared/control-packet';
import {
  MALFORMED_PACKET, PROTOCOL_ERROR, SUCCESS, packetsOfReasonCode,
} from '../shared/reason-code';
import { loadTwoBytes, storeTwoBytes } from '../memory/bytes';
import { clearProperties, parseProperties, propertiesEnd } from './properties';

export let ackPacketIdentifier: u32 = 0;
export let ackReasonCode: u32 = 0;

/** The most that writeAcknowledgement writes. */
export const ACKNOWLEDGEMENT_BYTES_MAX: u32 = 5;

/** Parses the body of one of the four; `type` is its packet type. */
export function parseAcknowledgement(type: u32, at: u32, end: u32, version: u32): u32 {
  ackReasonCode = SUCCESS;
  clearProperties();
  const length = end - at;
  if (length < 2) return MALFORMED_PACKET;
  ackPacketIdentifier = loadTwoBytes(at);
  if (ackPacketIdentifier == 0) return PROTOCOL_ERROR;
  if (length == 2) return SUCCESS;
  if (version < VERSION_5) return MALFORMED_PACKET;
  ackReasonCode = load<u8>(at, 2);
  // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
  if ((packetsOfReasonCode(ackReasonCode) & (1 << type)) == 0) return PROTOCOL_ERROR;
  if (length == 3) return SUCCESS;
  const reason = parseProperties(at + 3, end, 1 << type);
  if (reason != SUCCESS) return reason;
  return propertiesEnd == end ? SUCCESS : MALFORMED_PACKET;
}

/**
 * Writes one of the four without properties and answers its length: 4, or 5 with a Reason Code
 * other than 0. Below version 5 there is no Reason Code to write.
 */
export function writeAcknowledgement(
  out: u32, type: u32, packetIdentifier: u32, reasonCode: u32, version: u32,
): u32 {
  const hasReasonCode = version >= VERSION_5 && reasonCode != SUCCESS;
  store<u8>(out, <u8>((type << 4) | (type == PUBREL ? 2 : 0))); // [MQTT-3.6.1-1]
  store<u8>(out, hasReasonCode ? 3 : 2, 1);
  storeTwoBytes(out + 2, packetIdentifier); // 3.1.1 [MQTT-2.3.1-6], 5.0 [MQTT-2.2.1-5]
  // No properties: nothing that could exceed the receiver's maximum packet size.
  // [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3]
  // [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3]
  if (!hasReasonCode) return 4;
  store<u8>(out, <u8>reasonCode, 4);
  return 5;
}
