/**
 * The properties of MQTT 5 in one table: type, packets, repeatability, valid values, and whether a
 * PUBLISH forwards them unaltered. Imports nothing.
 */

export const PAYLOAD_FORMAT_INDICATOR: u32 = 1;
export const MESSAGE_EXPIRY_INTERVAL: u32 = 2;
export const CONTENT_TYPE: u32 = 3;
export const RESPONSE_TOPIC: u32 = 8;
export const CORRELATION_DATA: u32 = 9;
export const SUBSCRIPTION_IDENTIFIER: u32 = 11;
export const SESSION_EXPIRY_INTERVAL: u32 = 17;
export const ASSIGNED_CLIENT_IDENTIFIER: u32 = 18;
export const SERVER_KEEP_ALIVE: u32 = 19;
export const AUTHENTICATION_METHOD: u32 = 21;
export const AUTHENTICATION_DATA: u32 = 22;
export const REQUEST_PROBLEM_INFORMATION: u32 = 23;
export const WILL_DELAY_INTERVAL: u32 = 24;
export const REQUEST_RESPONSE_INFORMATION: u32 = 25;
export const RESPONSE_INFORMATION: u32 = 26;
export const SERVER_REFERENCE: u32 = 28;
export const REASON_STRING: u32 = 31;
export const RECEIVE_MAXIMUM: u32 = 33;
export const TOPIC_ALIAS_MAXIMUM: u32 = 34;
export const TOPIC_ALIAS: u32 = 35;
export const MAXIMUM_QOS: u32 = 36;
export const RETAIN_AVAILABLE: u32 = 37;
export const USER_PROPERTY: u32 = 38;
export const MAXIMUM_PACKET_SIZE: u32 = 39;
export const WILDCARD_SUBSCRIPTION_AVAILABLE: u32 = 40;
export const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u32 = 41;
export const SHARED_SUBSCRIPTION_AVAILABLE: u32 = 42;
export const PROPERTY_LAST: u32 = 42;

/** User Properties accepted in one packet (a will counts on its own). */
export const USER_PROPERTIES_MAX_DEFAULT: u32 = 256;
/** Subscription Identifiers accepted in one PUBLISH from a server. */
export const SUBSCRIPTION_IDENTIFIERS_MAX: u32 = 1024;

// Bits 16 to 18 of a rule: the type.
export const TYPE_MASK: u32 = 7 << 16;
export const TYPE_BYTE: u32 = 1 << 16;
export const TYPE_TWO_BYTE_INTEGER: u32 = 2 << 16;
export const TYPE_FOUR_BYTE_INTEGER: u32 = 3 << 16;
export const TYPE_VARIABLE_BYTE_INTEGER: u32 = 4 << 16;
export const TYPE_BINARY_DATA: u32 = 5 << 16;
export const TYPE_UTF8_STRING: u32 = 6 << 16;
export const TYPE_UTF8_STRING_PAIR: u32 = 7 << 16;
// Bits 19 and 20: valid values; without a bit every value of the type is valid.
export const VALUE_ZERO_OR_ONE: u32 = 1 << 19;
export const VALUE_NOT_ZERO: u32 = 1 << 20;
// Bits 21 and 22: how often.
export const REPEATABLE: u32 = 1 << 21;
export const REPEATABLE_IN_PUBLISH: u32 = 1 << 22;
/** A receiver of the message gets this property exactly as the publisher sent it. */
export const FORWARDED: u32 = 1 << 23;

// Short names of the packet bits (control-packet.ts, bit n is packet type n; bit 0 is the will) for
// the table below.
const WILL: u32 = 1 << 0;
const CONNECT: u32 = 1 << 1;
const CONNACK: u32 = 1 << 2;
const PUBLISH: u32 = 1 << 3;
const SUBSCRIBE: u32 = 1 << 8;
const UNSUBSCRIBE: u32 = 1 << 10;
const DISCONNECT: u32 = 1 << 14;
const AUTH: u32 = 1 << 15;
/** PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK */
const ACKNOWLEDGEMENTS: u32 = 0xf0 | (1 << 9) | (1 << 11);
const MESSAGE: u32 = PUBLISH | WILL;
const FLAG: u32 = TYPE_BYTE | VALUE_ZERO_OR_ONE;

/**
 * The rule of one property: packets in bits 0 to 15, then type, values, repeatability; 0 = no such
 * property.
 */
export function ruleOfProperty(id: u32): u32 {
  switch (id) {
    case PAYLOAD_FORMAT_INDICATOR:
      return FLAG | MESSAGE | FORWARDED;
    case MESSAGE_EXPIRY_INTERVAL:
      return TYPE_FOUR_BYTE_INTEGER | MESSAGE;
    case CONTENT_TYPE: case RESPONSE_TOPIC:
      return TYPE_UTF8_STRING | MESSAGE | FORWARDED;
    case CORRELATION_DATA:
      return TYPE_BINARY_DATA | MESSAGE | FORWARDED;
    case SUBSCRIPTION_IDENTIFIER:
      return TYPE_VARIABLE_BYTE_INTEGER | VALUE_NOT_ZERO | REPEATABLE_IN_PUBLISH
        | PUBLISH | SUBSCRIBE;
    case SESSION_EXPIRY_INTERVAL:
      return TYPE_FOUR_BYTE_INTEGER | CONNECT | CONNACK | DISCONNECT;
    case ASSIGNED_CLIENT_IDENTIFIER: case RESPONSE_INFORMATION:
      return TYPE_UTF8_STRING | CONNACK;
    case SERVER_KEEP_ALIVE:
      return TYPE_TWO_BYTE_INTEGER | CONNACK;
    case AUTHENTICATION_METHOD:
      return TYPE_UTF8_STRING | CONNECT | CONNACK | AUTH;
    case AUTHENTICATION_DATA:
      return TYPE_BINARY_DATA | CONNECT | CONNACK | AUTH;
    case REQUEST_PROBLEM_INFORMATION: case REQUEST_RESPONSE_INFORMATION:
      return FLAG | CONNECT;
    case WILL_DELAY_INTERVAL:
      return TYPE_FOUR_BYTE_INTEGER | WILL;
    case SERVER_REFERENCE:
      return TYPE_UTF8_STRING | CONNACK | DISCONNECT;
    case REASON_STRING:
      return TYPE_UTF8_STRING | CONNACK | ACKNOWLEDGEMENTS | DISCONNECT | AUTH;
    case RECEIVE_MAXIMUM:
      return TYPE_TWO_BYTE_INTEGER | VALUE_NOT_ZERO | CONNECT | CONNACK;
    case TOPIC_ALIAS_MAXIMUM:
      return TYPE_TWO_BYTE_INTEGER | CONNECT | CONNACK;
    case TOPIC_ALIAS:
      return TYPE_TWO_BYTE_INTEGER | VALUE_NOT_ZERO | PUBLISH;
    case MAXIMUM_QOS: case RETAIN_AVAILABLE: case WILDCARD_SUBSCRIPTION_AVAILABLE:
    case SUBSCRIPTION_IDENTIFIER_AVAILABLE: case SHARED_SUBSCRIPTION_AVAILABLE:
      return FLAG | CONNACK;
    case USER_PROPERTY:
      return TYPE_UTF8_STRING_PAIR | REPEATABLE | FORWARDED | CONNECT | CONNACK | MESSAGE
        | ACKNOWLEDGEMENTS | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH;
    case MAXIMUM_PACKET_SIZE:
      return TYPE_FOUR_BYTE_INTEGER | VALUE_NOT_ZERO | CONNECT | CONNACK;
    default:
      return 0;
  }
}
