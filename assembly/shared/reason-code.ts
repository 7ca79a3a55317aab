/**
 * Reason Codes of MQTT 5, the return codes of 3.x, and which packets may carry which. Imports
 * nothing.
 */

export const SUCCESS: u32 = 0x00; // also Normal disconnection and Granted QoS 0
export const GRANTED_QOS_1: u32 = 0x01;
export const GRANTED_QOS_2: u32 = 0x02;
export const DISCONNECT_WITH_WILL_MESSAGE: u32 = 0x04;
export const NO_MATCHING_SUBSCRIBERS: u32 = 0x10;
export const NO_SUBSCRIPTION_EXISTED: u32 = 0x11;
export const CONTINUE_AUTHENTICATION: u32 = 0x18;
export const RE_AUTHENTICATE: u32 = 0x19;
export const UNSPECIFIED_ERROR: u32 = 0x80;
export const MALFORMED_PACKET: u32 = 0x81;
export const PROTOCOL_ERROR: u32 = 0x82;
export const IMPLEMENTATION_SPECIFIC_ERROR: u32 = 0x83;
export const UNSUPPORTED_PROTOCOL_VERSION: u32 = 0x84;
export const CLIENT_IDENTIFIER_NOT_VALID: u32 = 0x85;
export const BAD_USER_NAME_OR_PASSWORD: u32 = 0x86;
export const NOT_AUTHORIZED: u32 = 0x87;
export const SERVER_UNAVAILABLE: u32 = 0x88;
export const SERVER_BUSY: u32 = 0x89;
export const BANNED: u32 = 0x8a;
export const SERVER_SHUTTING_DOWN: u32 = 0x8b;
export const BAD_AUTHENTICATION_METHOD: u32 = 0x8c;
export const KEEP_ALIVE_TIMEOUT: u32 = 0x8d;
export const SESSION_TAKEN_OVER: u32 = 0x8e;
export const TOPIC_FILTER_INVALID: u32 = 0x8f;
export const TOPIC_NAME_INVALID: u32 = 0x90;
export const PACKET_IDENTIFIER_IN_USE: u32 = 0x91;
export const PACKET_IDENTIFIER_NOT_FOUND: u32 = 0x92;
export const RECEIVE_MAXIMUM_EXCEEDED: u32 = 0x93;
export const TOPIC_ALIAS_INVALID: u32 = 0x94;
export const PACKET_TOO_LARGE: u32 = 0x95;
export const MESSAGE_RATE_TOO_HIGH: u32 = 0x96;
export const QUOTA_EXCEEDED: u32 = 0x97;
export const ADMINISTRATIVE_ACTION: u32 = 0x98;
export const PAYLOAD_FORMAT_INVALID: u32 = 0x99;
export const RETAIN_NOT_SUPPORTED: u32 = 0x9a;
export const QOS_NOT_SUPPORTED: u32 = 0x9b;
export const USE_ANOTHER_SERVER: u32 = 0x9c;
export const SERVER_MOVED: u32 = 0x9d;
export const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: u32 = 0x9e;
export const CONNECTION_RATE_EXCEEDED: u32 = 0x9f;
export const MAXIMUM_CONNECT_TIME: u32 = 0xa0;
export const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: u32 = 0xa1;
export const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: u32 = 0xa2;

// Connect return codes of MQTT 3.1 and 3.1.1.
export const RETURN_UNACCEPTABLE_PROTOCOL_VERSION: u32 = 1;
export const RETURN_IDENTIFIER_REJECTED: u32 = 2;
export const RETURN_NOT_AUTHORIZED: u32 = 5;
/** The only failure that a SUBACK of MQTT 3.1.1 knows. */
export const RETURN_SUBSCRIBE_FAILURE: u32 = 0x80;

// Short names of the packet bits (control-packet.ts, bit n is packet type n) for the table below.
const CONNACK: u32 = 1 << 2;
const PUBACK: u32 = 1 << 4;
const PUBREC: u32 = 1 << 5;
const PUBREL: u32 = 1 << 6;
const PUBCOMP: u32 = 1 << 7;
const SUBACK: u32 = 1 << 9;
const UNSUBACK: u32 = 1 << 11;
const DISCONNECT: u32 = 1 << 14;
const AUTH: u32 = 1 << 15;
const ANSWER: u32 = PUBACK | PUBREC; // the answers that may refuse a PUBLISH

/**
 * The packets that may carry `reasonCode`, as bits by packet type; 0 when the standard lists no
 * such code.
 */
export function packetsOfReasonCode(reasonCode: u32): u32 {
  switch (reasonCode) {
    case SUCCESS:
      return CONNACK | ANSWER | PUBREL | PUBCOMP | SUBACK | UNSUBACK | DISCONNECT | AUTH;
    case GRANTED_QOS_1: case GRANTED_QOS_2:
      return SUBACK;
    case DISCONNECT_WITH_WILL_MESSAGE: case SERVER_SHUTTING_DOWN: case KEEP_ALIVE_TIMEOUT:
    case SESSION_TAKEN_OVER: case RECEIVE_MAXIMUM_EXCEEDED: case TOPIC_ALIAS_INVALID:
    case MESSAGE_RATE_TOO_HIGH: case ADMINISTRATIVE_ACTION: case MAXIMUM_CONNECT_TIME:
      return DISCONNECT;
    case NO_MATCHING_SUBSCRIBERS:
      return ANSWER;
    case NO_SUBSCRIPTION_EXISTED:
      return UNSUBACK;
    case CONTINUE_AUTHENTICATION: case RE_AUTHENTICATE:
      return AUTH;
    case UNSPECIFIED_ERROR: case IMPLEMENTATION_SPECIFIC_ERROR: case NOT_AUTHORIZED:
      return CONNACK | ANSWER | SUBACK | UNSUBACK | DISCONNECT;
    case UNSUPPORTED_PROTOCOL_VERSION: case CLIENT_IDENTIFIER_NOT_VALID:
    case BAD_USER_NAME_OR_PASSWORD: case SERVER_UNAVAILABLE: case BANNED:
      return CONNACK;
    case MALFORMED_PACKET: case PROTOCOL_ERROR: case SERVER_BUSY: case BAD_AUTHENTICATION_METHOD:
    case PACKET_TOO_LARGE: case RETAIN_NOT_SUPPORTED: case QOS_NOT_SUPPORTED:
    case USE_ANOTHER_SERVER: case SERVER_MOVED: case CONNECTION_RATE_EXCEEDED:
      return CONNACK | DISCONNECT;
    case TOPIC_FILTER_INVALID:
      return SUBACK | UNSUBACK | DISCONNECT;
    case TOPIC_NAME_INVALID: case PAYLOAD_FORMAT_INVALID:
      return CONNACK | ANSWER | DISCONNECT;
    case PACKET_IDENTIFIER_IN_USE:
      return ANSWER | SUBACK | UNSUBACK;
    case PACKET_IDENTIFIER_NOT_FOUND:
      return PUBREL | PUBCOMP;
    case QUOTA_EXCEEDED:
      return CONNACK | ANSWER | SUBACK | DISCONNECT;
    case SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: case SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED:
    case WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED:
      return SUBACK | DISCONNECT;
    default:
      return 0;
  }
}
