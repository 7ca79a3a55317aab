/**
 * DISCONNECT: empty below version 5; then a Reason Code and properties, both of which may be left
 * out.
 */
import { IN_DISCONNECT, VERSION_5 } from '../shared/control-packet';
import { SESSION_EXPIRY_INTERVAL } from '../shared/property';
import {
  MALFORMED_PACKET, PROTOCOL_ERROR, SUCCESS, packetsOfReasonCode,
} from '../shared/reason-code';
import { clearProperties, parseProperties, properties, propertiesEnd } from './properties';

export let disconnectReasonCode: u32 = 0;
/** Session Expiry Interval in seconds; -1 = absent, the one of CONNECT stays. */
export let disconnectSessionExpiry: f64 = -1;

/** Parses a DISCONNECT that a client sent; its properties are in `properties`. */
export function parseDisconnect(at: u32, end: u32, version: u32): u32 {
  disconnectReasonCode = SUCCESS;
  disconnectSessionExpiry = -1;
  clearProperties();
  if (at == end) return SUCCESS;
  if (version < VERSION_5) return MALFORMED_PACKET;
  disconnectReasonCode = load<u8>(at);
  const isListed = (packetsOfReasonCode(disconnectReasonCode) & IN_DISCONNECT) != 0;
  if (!isListed) return PROTOCOL_ERROR; // [MQTT-3.14.2-1]
  if (end - at == 1) return SUCCESS;
  const reason = parseProperties(at + 1, end, IN_DISCONNECT);
  if (reason != SUCCESS) return reason;
  if (propertiesEnd != end) return MALFORMED_PACKET;
  if (properties.has(SESSION_EXPIRY_INTERVAL)) {
    disconnectSessionExpiry = <f64>properties.sessionExpiryInterval;
  }
  return SUCCESS;
}

/** Parses a DISCONNECT that a server sent: it has no Session Expiry Interval. */
export function parseDisconnectFromServer(at: u32, end: u32, version: u32): u32 {
  // Below version 5 a server has no DISCONNECT.
  if (version < VERSION_5) return PROTOCOL_ERROR;
  const reason = parseDisconnect(at, end, version);
  if (reason != SUCCESS) return reason;
  return disconnectSessionExpiry < 0 ? SUCCESS : PROTOCOL_ERROR; // [MQTT-3.14.2-2]
}
