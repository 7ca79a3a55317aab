/** CONNACK, as a client reads it. */
import { IN_CONNACK, VERSION_3_1, VERSION_5 } from '../shared/control-packet';
import {
  MALFORMED_PACKET, PROTOCOL_ERROR, RETURN_NOT_AUTHORIZED, SUCCESS, packetsOfReasonCode,
} from '../shared/reason-code';
import { clearProperties, parseProperties, propertiesEnd } from './properties';

const SESSION_PRESENT: u32 = 1;

export let connackSessionPresent: bool = false;
/** A Reason Code in version 5, a return code of 0 to 5 below. */
export let connackReasonCode: u32 = 0;

/** Parses a CONNACK; its properties are in `properties`. */
export function parseConnack(at: u32, end: u32, version: u32): u32 {
  clearProperties();
  if (end - at < 2) return MALFORMED_PACKET;
  // In MQTT 3.1 the first byte is "reserved, not used".
  const flags: u32 = version == VERSION_3_1 ? 0 : load<u8>(at);
  if (flags > SESSION_PRESENT) return MALFORMED_PACKET; // 5.0 [MQTT-3.2.2-1]
  connackSessionPresent = flags == SESSION_PRESENT;
  connackReasonCode = load<u8>(at, 1);
  const isListed = version < VERSION_5
    ? connackReasonCode <= RETURN_NOT_AUTHORIZED
    : (packetsOfReasonCode(connackReasonCode) & IN_CONNACK) != 0;
  if (!isListed) return PROTOCOL_ERROR; // [MQTT-3.2.2-8]
  // 3.1.1 [MQTT-3.2.2-4], 5.0 [MQTT-3.2.2-6]
  if (connackSessionPresent && connackReasonCode != SUCCESS) return PROTOCOL_ERROR;
  at += 2;
  if (version >= VERSION_5) {
    const reason = parseProperties(at, end, IN_CONNACK);
    if (reason != SUCCESS) return reason;
    at = propertiesEnd;
  }
  return at == end ? SUCCESS : MALFORMED_PACKET;
}
