/**
 * SUBACK and UNSUBACK, as a client reads them: a packet identifier, properties (version 5), a code
 * for each filter.
 */
import { IN_SUBACK, IN_UNSUBACK, VERSION_5 } from '../shared/control-packet';
import {
  GRANTED_QOS_2, MALFORMED_PACKET, PROTOCOL_ERROR, RETURN_SUBSCRIBE_FAILURE, SUCCESS,
  packetsOfReasonCode,
} from '../shared/reason-code';
import { loadTwoBytes } from '../memory/bytes';
import { clearProperties, parseProperties, propertiesEnd } from './properties';

// Of the SUBACK or UNSUBACK parsed last; one byte for each filter, in the order of the request.
export let subackPacketIdentifier: u32 = 0;
export let subackCodesAt: u32 = 0;
/** 0 in an UNSUBACK below version 5, which has no codes. */
export let subackCodesLength: u32 = 0;

export function parseSuback(at: u32, end: u32, version: u32): u32 {
  const reason = parseIdentifierAndProperties(at, end, version, IN_SUBACK);
  if (reason != SUCCESS) return reason;
  return codesReason(end, version, IN_SUBACK); // [MQTT-3.9.3-2]
}

export function parseUnsuback(at: u32, end: u32, version: u32): u32 {
  const reason = parseIdentifierAndProperties(at, end, version, IN_UNSUBACK);
  if (reason != SUCCESS) return reason;
  if (version < VERSION_5) return subackCodesAt == end ? SUCCESS : MALFORMED_PACKET;
  return codesReason(end, version, IN_UNSUBACK); // [MQTT-3.11.3-2]
}

function parseIdentifierAndProperties(at: u32, end: u32, version: u32, packetBit: u32): u32 {
  clearProperties();
  subackCodesLength = 0;
  if (end - at < 2) return MALFORMED_PACKET;
  subackPacketIdentifier = loadTwoBytes(at);
  if (subackPacketIdentifier == 0) return PROTOCOL_ERROR;
  subackCodesAt = at + 2;
  if (version < VERSION_5) return SUCCESS;
  const reason = parseProperties(at + 2, end, packetBit);
  subackCodesAt = propertiesEnd;
  return reason;
}

function codesReason(end: u32, version: u32, packetBit: u32): u32 {
  subackCodesLength = end - subackCodesAt;
  if (subackCodesLength == 0) return PROTOCOL_ERROR;
  for (let at = subackCodesAt; at < end; at++) {
    const code = <u32>load<u8>(at);
    const isListed = version < VERSION_5
      ? code <= GRANTED_QOS_2 || code == RETURN_SUBSCRIBE_FAILURE
      : (packetsOfReasonCode(code) & packetBit) != 0;
    if (!isListed) return PROTOCOL_ERROR;
  }
  return SUCCESS;
}
