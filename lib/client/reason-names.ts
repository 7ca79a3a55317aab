/** What MQTT's Reason Codes are called, and which of them a client acts upon. */

export const SUCCESS = 0x00;
export const CONTINUE_AUTHENTICATION = 0x18;
export const RE_AUTHENTICATE = 0x19;
export const UNSPECIFIED_ERROR = 0x80;
export const PROTOCOL_ERROR = 0x82;
export const UNSUPPORTED_PROTOCOL_VERSION = 0x84;
export const NOT_AUTHORIZED = 0x87;
export const SERVER_UNAVAILABLE = 0x88;
export const KEEP_ALIVE_TIMEOUT = 0x8d;
export const SESSION_TAKEN_OVER = 0x8e;
export const TOPIC_FILTER_INVALID = 0x8f;
export const PACKET_TOO_LARGE = 0x95;
export const QUOTA_EXCEEDED = 0x97;
export const RETAIN_NOT_SUPPORTED = 0x9a;
export const QOS_NOT_SUPPORTED = 0x9b;
export const USE_ANOTHER_SERVER = 0x9c;
export const SERVER_MOVED = 0x9d;
export const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9e;
export const WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xa2;

/** Reason Codes from here on say that something failed. */
export const FAILURE = 0x80;

const NAMES = new Map<number, string>([
  [0x00, 'Success'], [0x01, 'Granted QoS 1'], [0x02, 'Granted QoS 2'],
  [0x04, 'Disconnect with Will Message'], [0x10, 'No matching subscribers'],
  [0x11, 'No subscription existed'], [0x18, 'Continue authentication'], [0x19, 'Re-authenticate'],
  [0x80, 'Unspecified error'], [0x81, 'Malformed Packet'], [0x82, 'Protocol Error'],
  [0x83, 'Implementation specific error'], [0x84, 'Unsupported Protocol Version'],
  [0x85, 'Client Identifier not valid'], [0x86, 'Bad User Name or Password'],
  [0x87, 'Not authorized'], [0x88, 'Server unavailable'], [0x89, 'Server busy'], [0x8a, 'Banned'],
  [0x8b, 'Server shutting down'], [0x8c, 'Bad authentication method'],
  [0x8d, 'Keep Alive timeout'], [0x8e, 'Session taken over'], [0x8f, 'Topic Filter invalid'],
  [0x90, 'Topic Name invalid'], [0x91, 'Packet Identifier in use'],
  [0x92, 'Packet Identifier not found'], [0x93, 'Receive Maximum exceeded'],
  [0x94, 'Topic Alias invalid'], [0x95, 'Packet too large'], [0x96, 'Message rate too high'],
  [0x97, 'Quota exceeded'], [0x98, 'Administrative action'], [0x99, 'Payload format invalid'],
  [0x9a, 'Retain not supported'], [0x9b, 'QoS not supported'], [0x9c, 'Use another server'],
  [0x9d, 'Server moved'], [0x9e, 'Shared Subscriptions not supported'],
  [0x9f, 'Connection rate exceeded'], [0xa0, 'Maximum connect time'],
  [0xa1, 'Subscription Identifiers not supported'],
  [0xa2, 'Wildcard Subscriptions not supported'],
]);

/** `0x87 Not authorized`. */
export function reasonName(reasonCode: number): string {
  const hex = `0x${reasonCode.toString(16).toUpperCase().padStart(2, '0')}`;
  const name = NAMES.get(reasonCode);
  return name === undefined ? hex : `${hex} ${name}`;
}

/** Return codes of a 3.x CONNACK as Reason Codes of MQTT 5. */
const RETURN_CODES: readonly number[] = [0x00, 0x84, 0x85, 0x88, 0x86, 0x87];

export function reasonOfReturnCode(returnCode: number): number {
  return RETURN_CODES[returnCode] ?? UNSPECIFIED_ERROR;
}

/** Refusals that another attempt with the same CONNECT would meet again. */
const FINAL_REFUSALS = new Set([
  0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8a, 0x8c, 0x90, 0x95, 0x99, 0x9a, 0x9b,
]);

export function isFinalRefusal(reasonCode: number): boolean {
  return FINAL_REFUSALS.has(reasonCode);
}

/** PUBACK and PUBREC Reason Codes with which a receiver may refuse a message. */
const PUBACK_FAILURES = new Set([0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);

export function pubackFailure(code: unknown): number {
  return typeof code === 'number' && PUBACK_FAILURES.has(code) ? code : UNSPECIFIED_ERROR;
}
