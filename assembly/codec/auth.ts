/**
 * AUTH (version 5): a Reason Code and properties; an empty body means Success without properties.
 */
import { IN_AUTH } from '../shared/control-packet';
import { AUTHENTICATION_METHOD } from '../shared/property';
import {
  MALFORMED_PACKET, PROTOCOL_ERROR, SUCCESS, packetsOfReasonCode,
} from '../shared/reason-code';
import { clearProperties, parseProperties, properties, propertiesEnd } from './properties';

export let authReasonCode: u32 = 0;

/**
 * Parses an AUTH; its method and data are in `properties`. Whether the code fits the direction and
 * the moment, and whether the method is the one of CONNECT, is for the caller to say.
 */
export function parseAuth(at: u32, end: u32): u32 {
  authReasonCode = SUCCESS;
  clearProperties();
  if (at == end) return SUCCESS;
  authReasonCode = load<u8>(at);
  const isListed = (packetsOfReasonCode(authReasonCode) & IN_AUTH) != 0;
  if (!isListed) return PROTOCOL_ERROR; // [MQTT-3.15.2-1]
  if (at + 1 == end) return PROTOCOL_ERROR; // no properties, so no method [MQTT-4.12.0-5]
  const reason = parseProperties(at + 1, end, IN_AUTH);
  if (reason != SUCCESS) return reason;
  if (propertiesEnd != end) return MALFORMED_PACKET;
  return properties.has(AUTHENTICATION_METHOD) ? SUCCESS : PROTOCOL_ERROR; // [MQTT-4.12.0-5]
}
