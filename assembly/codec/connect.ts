/**
 * CONNECT of MQTT 3.1, 3.1.1 and 5.0.
 * ```
 *   +---------------+-------+-------+------------+------------+
 *   | protocol name | level | flags | keep alive | properties |
 *   +---------------+-------+-------+------------+------------+
 *   +-------------------+-----------------+------------+--------------+-----------+----------+
 *   | client identifier | will properties | will topic | will payload | user name | password |
 *   +-------------------+-----------------+------------+--------------+-----------+----------+
 * ```
 * Properties exist in version 5 only; what follows the client identifier is there as the flags say.
 */
import {
  CONNECT_CLEAN_START, CONNECT_PASSWORD, CONNECT_RESERVED, CONNECT_USER_NAME, CONNECT_WILL,
  CONNECT_WILL_QOS_MASK, CONNECT_WILL_QOS_SHIFT, CONNECT_WILL_RETAIN, IN_CONNECT, IN_WILL,
  LEVEL_OF_BRIDGE,
  VERSION_3_1, VERSION_3_1_1, VERSION_5,
} from '../shared/control-packet';
import { AUTHENTICATION_DATA, AUTHENTICATION_METHOD } from '../shared/property';
import {
  CLIENT_IDENTIFIER_NOT_VALID, MALFORMED_PACKET, PROTOCOL_ERROR, SUCCESS,
  UNSUPPORTED_PROTOCOL_VERSION,
} from '../shared/reason-code';
import { loadTwoBytes } from '../memory/bytes';
import { topicNameReason } from '../topic/topic-name';
import { fieldAt, fieldLength, readBinary, readString } from './field';
import {
  clearProperties, parseProperties, properties, propertiesAt, propertiesEnd, willProperties,
} from './properties';
import { isWellFormed } from './utf8-string';

/**
 * The CONNECT parsed last. Positions point into the packet; an absent field has length 0, and its
 * flag tells it from an empty one. Parsed property values are in `properties` and `willProperties`.
 * ```
 *   0         4       8           12                    48                   72
 *   +---------+-------+-----------+---------------------+--------------------+
 *   | version | flags | keepAlive | 9 words: id ...     | 6 words: will ...  |
 *   +---------+-------+-----------+---------------------+--------------------+
 * ```
 */
@unmanaged
class ConnectRecord {
  version: u32; // 3, 4 or 5
  flags: u32; // Connect Flags, CONNECT_ bits
  keepAlive: u32; // seconds, 0 = none
  clientIdentifierAt: u32;
  clientIdentifierLength: u32;
  userNameAt: u32;
  userNameLength: u32;
  passwordAt: u32;
  passwordLength: u32;
  propertiesAt: u32; // content, without the length
  propertiesLength: u32;
  willQos: u32;
  willTopicAt: u32;
  willTopicLength: u32;
  willPayloadAt: u32;
  willPayloadLength: u32;
  willPropertiesAt: u32;
  willPropertiesLength: u32;

  get cleanStart(): bool { return (this.flags & CONNECT_CLEAN_START) != 0; }
  get hasWill(): bool { return (this.flags & CONNECT_WILL) != 0; }
  get willRetain(): bool { return (this.flags & CONNECT_WILL_RETAIN) != 0; }
  get hasUserName(): bool { return (this.flags & CONNECT_USER_NAME) != 0; }
  get hasPassword(): bool { return (this.flags & CONNECT_PASSWORD) != 0; }
}

const connectRecord: usize = memory.data(offsetof<ConnectRecord>(), 8);
export const connect: ConnectRecord = changetype<ConnectRecord>(connectRecord);

/**
 * Set together with UNSUPPORTED_PROTOCOL_VERSION: the level that was asked for, which picks the
 * form of CONNACK.
 */
export let connectVersionUnsupported: u32 = 0;

// "MQTT" and "MQIs" and "dp" as little-endian words.
const NAME_MQTT: u32 = 0x5454_514d;
const NAME_MQIS: u32 = 0x7349_514d;
const NAME_DP: u32 = 0x7064;

/**
 * Parses the body of a CONNECT. UNSUPPORTED_PROTOCOL_VERSION for a protocol level that is none of
 * ours; MALFORMED_PACKET for another protocol name: whatever that protocol is, it is not known to
 * understand a CONNACK. CLIENT_IDENTIFIER_NOT_VALID for an identifier that this version does not
 * allow, once all the rest is right.
 */
export function parseConnect(at: u32, end: u32): u32 {
  memory.fill(changetype<usize>(connect), 0, offsetof<ConnectRecord>());
  clearProperties();
  willProperties.present = 0;
  willProperties.forwardedLength = 0;
  connectVersionUnsupported = 0;
  at = readString(at, end);
  if (at == 0 || at >= end) return MALFORMED_PACKET;
  let level = <u32>load<u8>(at++);
  if (!isName(NAME_MQTT, 0) && !isName(NAME_MQIS, NAME_DP)) { // [MQTT-3.1.2-1]
    return MALFORMED_PACKET;
  }
  if (!isSupported(level)) { // [MQTT-3.1.2-2]
    connectVersionUnsupported = level;
    return UNSUPPORTED_PROTOCOL_VERSION;
  }
  level &= ~LEVEL_OF_BRIDGE; // what a bridge asks for besides is for the control plane
  connect.version = level;
  if (end - at < 3) return MALFORMED_PACKET;
  if (!takeFlags(load<u8>(at), level)) return MALFORMED_PACKET;
  connect.keepAlive = loadTwoBytes(at + 1);
  at += 3;
  if (level == VERSION_5) {
    const reason = parseConnectProperties(at, end);
    if (reason != SUCCESS) return reason;
    at = propertiesEnd;
  }
  return parsePayload(at, end);
}

/** Whether the field read last is this protocol name; `rest` = 0: it has four letters, else six. */
function isName(start: u32, rest: u32): bool {
  if (fieldLength != (rest == 0 ? 4 : 6) || load<u32>(fieldAt) != start) return false;
  return rest == 0 || load<u16>(fieldAt, 4) == rest;
}

/** Whether the protocol name (one of the two) and the level belong together. */
function isSupported(level: u32): bool {
  if (level == VERSION_5) return fieldLength == 4;
  return (level & ~LEVEL_OF_BRIDGE) == (fieldLength == 4 ? VERSION_3_1_1 : VERSION_3_1);
}

/** Keeps the Connect Flags; false when they contradict themselves. */
function takeFlags(flags: u32, version: u32): bool {
  if (version == VERSION_3_1) {
    // 3.1 says "unused" of the reserved bit, and gives the will bits a meaning only together with a
    // will.
    flags &= ~CONNECT_RESERVED;
    if ((flags & CONNECT_WILL) == 0) flags &= ~(CONNECT_WILL_QOS_MASK | CONNECT_WILL_RETAIN);
  }
  connect.flags = flags;
  connect.willQos = (flags & CONNECT_WILL_QOS_MASK) >> CONNECT_WILL_QOS_SHIFT;
  if ((flags & CONNECT_RESERVED) != 0) return false; // [MQTT-3.1.2-3]
  if ((flags & CONNECT_WILL) == 0) {
    // 3.1.1 [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15], 5.0 [MQTT-3.1.2-11] [MQTT-3.1.2-13]
    if ((flags & (CONNECT_WILL_QOS_MASK | CONNECT_WILL_RETAIN)) != 0) return false;
  }
  if (connect.willQos == 3) return false; // 3.1.1 [MQTT-3.1.2-14], 5.0 [MQTT-3.1.2-12]
  const hasPasswordOnly = (flags & (CONNECT_USER_NAME | CONNECT_PASSWORD)) == CONNECT_PASSWORD;
  return !hasPasswordOnly || version >= VERSION_5; // 3.1.1 [MQTT-3.1.2-22]
}

function parseConnectProperties(at: u32, end: u32): u32 {
  const reason = parseProperties(at, end, IN_CONNECT);
  if (reason != SUCCESS) return reason;
  connect.propertiesAt = propertiesAt;
  connect.propertiesLength = propertiesEnd - propertiesAt;
  const hasDataOnly = properties.has(AUTHENTICATION_DATA) && !properties.has(AUTHENTICATION_METHOD);
  return hasDataOnly ? PROTOCOL_ERROR : SUCCESS;
}

/** The payload: its fields come in this order and no other. [MQTT-3.1.3-1] [MQTT-3.1.3-3] */
function parsePayload(at: u32, end: u32): u32 {
  at = readString(at, end); // [MQTT-3.1.3-4]
  if (at == 0) return MALFORMED_PACKET;
  connect.clientIdentifierAt = fieldAt;
  connect.clientIdentifierLength = fieldLength;
  if (connect.hasWill) { // [MQTT-3.1.2-9]
    const reason = parseWill(at, end);
    if (reason != SUCCESS) return reason;
    at = connect.willPayloadAt + connect.willPayloadLength;
  }
  if (connect.version == VERSION_3_1) dropMissingCredentials(at, end);
  if (connect.hasUserName) { // 3.1.1 [MQTT-3.1.2-19], 5.0 [MQTT-3.1.2-17]
    at = readString(at, end); // 3.1.1 [MQTT-3.1.3-11], 5.0 [MQTT-3.1.3-12]
    if (at == 0) return MALFORMED_PACKET;
    connect.userNameAt = fieldAt;
    connect.userNameLength = fieldLength;
    if (connect.version == VERSION_3_1 && at == end) connect.flags &= ~CONNECT_PASSWORD;
  }
  if (connect.hasPassword) { // 3.1.1 [MQTT-3.1.2-21], 5.0 [MQTT-3.1.2-19]
    at = readBinary(at, end);
    if (at == 0) return MALFORMED_PACKET;
    connect.passwordAt = fieldAt;
    connect.passwordLength = fieldLength;
  }
  // What no flag announces may not be there. 3.1.1 [MQTT-3.1.2-18] [MQTT-3.1.2-20], 5.0
  // [MQTT-3.1.2-16] [MQTT-3.1.2-18]
  if (at != end) return MALFORMED_PACKET; // 3.1.1 [MQTT-3.1.4-1], 5.0 [MQTT-3.1.4-1]
  return clientIdentifierReason();
}

/**
 * In MQTT 3.1 the Remaining Length takes precedence over the flags: a user name that is not there
 * is not an error.
 */
function dropMissingCredentials(at: u32, end: u32): void {
  if (at == end) connect.flags &= ~(CONNECT_USER_NAME | CONNECT_PASSWORD);
}

function parseWill(at: u32, end: u32): u32 {
  if (connect.version == VERSION_5) {
    const reason = parseProperties(at, end, IN_WILL);
    if (reason != SUCCESS) return reason;
    connect.willPropertiesAt = propertiesAt;
    connect.willPropertiesLength = propertiesEnd - propertiesAt;
    at = propertiesEnd;
  }
  at = readBinary(at, end);
  if (at == 0) return MALFORMED_PACKET;
  connect.willTopicAt = fieldAt;
  connect.willTopicLength = fieldLength;
  // 3.1.1 [MQTT-3.1.3-10], 5.0 [MQTT-3.1.3-11]
  const reason = topicNameReason(fieldAt, fieldLength);
  if (reason != SUCCESS) return reason;
  at = readBinary(at, end);
  if (at == 0) return MALFORMED_PACKET;
  connect.willPayloadAt = fieldAt;
  connect.willPayloadLength = fieldLength;
  return SUCCESS;
}

function clientIdentifierReason(): u32 {
  if (connect.clientIdentifierLength != 0 || connect.version == VERSION_5) return SUCCESS;
  // MQTT 3.1 has no empty identifier, its successor has it for clean sessions only.
  // 3.1.1 [MQTT-3.1.3-7] [MQTT-3.1.3-8]
  const isAllowed = connect.version == VERSION_3_1_1 && connect.cleanStart;
  return isAllowed ? SUCCESS : CLIENT_IDENTIFIER_NOT_VALID;
}

/** Whether the will's payload is what its Payload Format Indicator says; true without a will. */
export function isWillPayloadFormatValid(): bool {
  if (willProperties.payloadFormatIndicator == 0) return true;
  return isWellFormed(connect.willPayloadAt, connect.willPayloadLength);
}
