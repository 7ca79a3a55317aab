/**
 * Reason Codes of MQTT 5 that the control plane decides about, under the names that the standard
 * gives them.
 */
export const SUCCESS = 0x00;
export const NO_SUBSCRIPTION_EXISTED = 0x11;
export const CONTINUE_AUTHENTICATION = 0x18;
export const RE_AUTHENTICATE = 0x19;
export const UNSPECIFIED_ERROR = 0x80;
export const PROTOCOL_ERROR = 0x82;
export const IMPLEMENTATION_SPECIFIC_ERROR = 0x83;
export const CLIENT_IDENTIFIER_NOT_VALID = 0x85;
export const BAD_USER_NAME_OR_PASSWORD = 0x86;
export const NOT_AUTHORIZED = 0x87;
export const SERVER_UNAVAILABLE = 0x88;
export const SERVER_BUSY = 0x89;
export const SERVER_SHUTTING_DOWN = 0x8b;
export const BAD_AUTHENTICATION_METHOD = 0x8c;
export const KEEP_ALIVE_TIMEOUT = 0x8d;
export const SESSION_TAKEN_OVER = 0x8e;
export const TOPIC_FILTER_INVALID = 0x8f;
export const TOPIC_NAME_INVALID = 0x90;
export const PACKET_IDENTIFIER_IN_USE = 0x91;
export const PACKET_TOO_LARGE = 0x95;
export const QUOTA_EXCEEDED = 0x97;
export const ADMINISTRATIVE_ACTION = 0x98;
export const PAYLOAD_FORMAT_INVALID = 0x99;
export const RETAIN_NOT_SUPPORTED = 0x9a;
export const QOS_NOT_SUPPORTED = 0x9b;
export const USE_ANOTHER_SERVER = 0x9c;
export const SERVER_MOVED = 0x9d;
export const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9e;
export const MAXIMUM_CONNECT_TIME = 0xa0;
export const SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xa1;
export const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xa2;

/** SUBACK of 3.1.1 knows one failure only [MQTT-3.9.3-2]. */
export const SUBACK_FAILURE = 0x80;
/** DISCONNECT of MQTT 5: goodbye, but publish my will. */
export const DISCONNECT_WITH_WILL = 0x04;

/**
 * CONNACK Reason Codes with which a server may refuse; a hook that answers another one gets 0x80.
 */
const CONNACK_CODES = new Set([
  0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99,
  0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
]);
/** PUBACK and PUBREC Reason Codes that tell a failure. */
const PUBACK_CODES = new Set([0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
/** DISCONNECT Reason Codes that a server may send. */
const DISCONNECT_CODES = new Set([
  0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96,
  0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
]);

/** `code` when CONNACK may carry it [MQTT-3.2.2-8]. */
export function connackFailure(code: number): number {
  return CONNACK_CODES.has(code) ? code : UNSPECIFIED_ERROR;
}

export function pubackFailure(code: unknown): number {
  return typeof code === 'number' && PUBACK_CODES.has(code) ? code : UNSPECIFIED_ERROR;
}

export function isDisconnectCode(code: number): boolean {
  return DISCONNECT_CODES.has(code);
}

/** `0x8E`, for people. */
export function hexCode(code: number): string {
  return `0x${code.toString(16).toUpperCase().padStart(2, '0')}`;
}
