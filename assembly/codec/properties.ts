/**
 * The properties of MQTT 5: one loop over one table (shared/property.ts).
 * ```
 *   +--------------+----+-------+----+-------+---
 *   | length (VBI) | id | value | id | value | ...
 *   +--------------+----+-------+----+-------+---
 * ```
 * Errors are found in the order of the bytes: a property that does not belong to the packet, is
 * unknown, cut off or not of its type makes the packet malformed; one that comes twice or has a
 * value it may not have is a protocol error.
 */
import { IN_PUBLISH, IN_WILL } from '../shared/control-packet';
import {
  FORWARDED, REPEATABLE, REPEATABLE_IN_PUBLISH, RESPONSE_TOPIC, SUBSCRIPTION_IDENTIFIER,
  SUBSCRIPTION_IDENTIFIERS_MAX, TOPIC_ALIAS, TYPE_BINARY_DATA, TYPE_BYTE, TYPE_FOUR_BYTE_INTEGER,
  TYPE_MASK, TYPE_TWO_BYTE_INTEGER, TYPE_UTF8_STRING,
  TYPE_VARIABLE_BYTE_INTEGER, USER_PROPERTIES_MAX_DEFAULT, USER_PROPERTY, VALUE_NOT_ZERO,
  VALUE_ZERO_OR_ONE, ruleOfProperty,
} from '../shared/property';
import {
  MALFORMED_PACKET, PROTOCOL_ERROR, QUOTA_EXCEEDED, SUCCESS, TOPIC_ALIAS_INVALID,
} from '../shared/reason-code';
import { loadTwoBytes } from '../memory/bytes';
import { isTopicName } from '../topic/topic-name';
import { fieldAt, fieldLength, loadFourBytes, readBinary, readString } from './field';
import { PROPERTY_RECORD_BYTES, PropertyRecord } from './property-record';
import { readVbi, vbiValue } from './variable-byte-integer';

const packetRecord: usize = memory.data(PROPERTY_RECORD_BYTES, 8);
const willRecord: usize = memory.data(PROPERTY_RECORD_BYTES, 8);

/** Properties of the packet parsed last (of CONNECT: without those of the will). */
export const properties: PropertyRecord = changetype<PropertyRecord>(packetRecord);
/** Will Properties of the CONNECT parsed last. */
export const willProperties: PropertyRecord = changetype<PropertyRecord>(willRecord);
/**
 * Subscription Identifiers of the PUBLISH parsed last, as u32;
 * properties.subscriptionIdentifierCount of them.
 */
export const subscriptionIdentifiers: u32 = <u32>memory.data(SUBSCRIPTION_IDENTIFIERS_MAX << 2, 8);

/** First byte after the length, and first byte after the properties. */
export let propertiesAt: u32 = 0;
export let propertiesEnd: u32 = 0;

let userPropertiesMax: u32 = USER_PROPERTIES_MAX_DEFAULT;
// Of the property read last: its value (a number, or where the bytes are) and length.
let value: u32 = 0;
let valueLength: u32 = 0;
// Where what is forwarded begins and ends, and how many bytes of the range are forwarded.
let forwardedFrom: u32 = 0;
let forwardedUntil: u32 = 0;
let forwardedBytes: u32 = 0;

/** Bound on the User Properties of one packet; a packet with more is answered by QUOTA_EXCEEDED. */
export function setUserPropertiesMax(count: u32): void {
  userPropertiesMax = count;
}

/** Forgets what the last packet said: for packets that have no properties. */
@inline
export function clearProperties(): void {
  properties.present = 0;
  properties.forwardedLength = 0;
}

/**
 * Parses the property length at `at` and the properties behind it into `properties`, or, for
 * IN_WILL, into `willProperties`. `packetBit` is the bit of the packet type (control-packet.ts).
 * Sets propertiesAt, propertiesEnd.
 */
export function parseProperties(at: u32, end: u32, packetBit: u32): u32 {
  const record = packetBit == IN_WILL ? willProperties : properties;
  record.present = 0;
  record.forwardedLength = 0;
  at = readVbi(at, end); // 5.0 [MQTT-2.2.2-1]
  if (at == 0 || vbiValue > end - at) return MALFORMED_PACKET;
  propertiesAt = at;
  propertiesEnd = at + vbiValue;
  if (vbiValue == 0) return SUCCESS;
  const reason = parseInto(record, packetBit);
  if (reason != SUCCESS) return reason;
  if ((packetBit & (IN_PUBLISH | IN_WILL)) == 0) return SUCCESS;
  return keepForwarded(record, packetBit);
}

/**
 * What a server sends to a client with Subscription Identifiers has mostly that one property:
 * ```
 *   +--------------+----------------------------+----------------+
 *   | length 2 - 5 | 11 Subscription Identifier | value, a VBI   |
 *   +--------------+----------------------------+----------------+
 * ```
 * Does what `parseProperties` would, without the table. False for all others, malformed ones too,
 * which it leaves to that.
 */
export function parseOnlyIdentifier(at: u32, end: u32): bool {
  const length = <u32>load<u8>(at);
  if (length < 2 || length > ONLY_IDENTIFIER_BYTES_MAX || length >= end - at) return false;
  if (<u32>load<u8>(at, 1) != SUBSCRIPTION_IDENTIFIER) return false;
  const last = at + 1 + length;
  if (readVbi(at + 2, last) != last || vbiValue == 0) return false;
  properties.present = (1 as u64) << <u64>SUBSCRIPTION_IDENTIFIER;
  const slot = properties.slot(SUBSCRIPTION_IDENTIFIER);
  store<u32>(slot, vbiValue);
  store<u32>(slot, 1, 4);
  store<u32>(subscriptionIdentifiers, vbiValue);
  propertiesAt = at + 1;
  propertiesEnd = last;
  return true;
}
/** Its number, and a Variable Byte Integer. */
const ONLY_IDENTIFIER_BYTES_MAX: u32 = 5;

function parseInto(record: PropertyRecord, packetBit: u32): u32 {
  let at = propertiesAt;
  const end = propertiesEnd;
  forwardedFrom = 0;
  forwardedBytes = 0;
  while (at < end) {
    const id = <u32>load<u8>(at);
    const rule = ruleOfProperty(id);
    // The rule of an unknown property is 0: it belongs to no packet.
    if ((rule & packetBit) == 0) return MALFORMED_PACKET;
    const next = readValue(at + 1, end, rule & TYPE_MASK);
    if (next == 0) return MALFORMED_PACKET;
    const reason = keepValue(record, id, rule, packetBit);
    if (reason != SUCCESS) return reason;
    if ((rule & FORWARDED) != 0) {
      if (forwardedFrom == 0) forwardedFrom = at;
      forwardedUntil = next;
      forwardedBytes += next - at;
    }
    at = next;
  }
  return SUCCESS;
}

/**
 * Reads one value of `type` into `value` and `valueLength`; answers the position after it, 0 when
 * malformed.
 */
function readValue(at: u32, end: u32, type: u32): u32 {
  switch (type) {
    case TYPE_BYTE:
      if (at >= end) return 0;
      value = load<u8>(at);
      return at + 1;
    case TYPE_TWO_BYTE_INTEGER:
      if (end - at < 2) return 0;
      value = loadTwoBytes(at);
      return at + 2;
    case TYPE_FOUR_BYTE_INTEGER:
      if (end - at < 4) return 0;
      value = loadFourBytes(at);
      return at + 4;
    case TYPE_VARIABLE_BYTE_INTEGER:
      at = readVbi(at, end);
      value = vbiValue;
      return at;
    case TYPE_BINARY_DATA:
      at = readBinary(at, end);
      break;
    case TYPE_UTF8_STRING:
      at = readString(at, end); // [MQTT-3.3.2-13] [MQTT-3.3.2-19]
      break;
    default: // TYPE_UTF8_STRING_PAIR
      at = readString(at, end);
      if (at != 0) at = readString(at, end); // [MQTT-1.5.7-1]
  }
  value = fieldAt;
  valueLength = fieldLength;
  return at;
}

function keepValue(record: PropertyRecord, id: u32, rule: u32, packetBit: u32): u32 {
  const bit = (1 as u64) << <u64>id;
  const slot = record.slot(id);
  if ((record.present & bit) != 0) {
    const isRepeatable = (rule & REPEATABLE) != 0
      || ((rule & REPEATABLE_IN_PUBLISH) != 0 && packetBit == IN_PUBLISH);
    if (!isRepeatable) return PROTOCOL_ERROR;
  } else {
    store<u64>(slot, 0);
  }
  record.present |= bit;
  if (id == USER_PROPERTY) {
    const count = load<u32>(slot) + 1;
    store<u32>(slot, count);
    return count > userPropertiesMax ? QUOTA_EXCEEDED : SUCCESS;
  }
  if ((rule & VALUE_ZERO_OR_ONE) != 0 && value > 1) return PROTOCOL_ERROR;
  if ((rule & VALUE_NOT_ZERO) != 0 && value == 0) {
    return id == TOPIC_ALIAS ? TOPIC_ALIAS_INVALID : PROTOCOL_ERROR; // [MQTT-3.3.2-8]
  }
  if (id == SUBSCRIPTION_IDENTIFIER) return keepSubscriptionIdentifier(slot);
  if (id == RESPONSE_TOPIC && !isTopicName(value, valueLength)) {
    return PROTOCOL_ERROR; // [MQTT-3.3.2-14] [MQTT-4.7.3-1]
  }
  store<u32>(slot, value);
  store<u32>(slot, valueLength, 4);
  return SUCCESS;
}

function keepSubscriptionIdentifier(slot: u32): u32 {
  const count = load<u32>(slot, 4);
  if (count == SUBSCRIPTION_IDENTIFIERS_MAX) return QUOTA_EXCEEDED;
  if (count == 0) store<u32>(slot, value);
  store<u32>(subscriptionIdentifiers + (count << 2), value);
  store<u32>(slot, count + 1, 4);
  return SUCCESS;
}

/**
 * Answers what is forwarded unaltered as one range.
 * 5.0 [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16]
 * [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20] [MQTT-3.1.3-10]
 *
 * Almost always it is one already. When an expiry or an alias stands between two of them, the few
 * bytes that are not forwarded move to the front, within the packet: nothing is lost or added, the
 * order among the others stays, and the packet says the same when it is parsed again.
 */
function keepForwarded(record: PropertyRecord, packetBit: u32): u32 {
  if (forwardedFrom != 0 && forwardedUntil - forwardedFrom != forwardedBytes) {
    gatherForwarded();
    // The positions in the record changed. This round finds one range.
    record.present = 0;
    const reason = parseInto(record, packetBit);
    if (reason != SUCCESS) return reason;
  }
  record.forwardedAt = forwardedFrom;
  record.forwardedLength = forwardedBytes;
  return SUCCESS;
}

/**
 * Expiry, alias or Will Delay Interval (5 + 5 + 3 bytes), and every Subscription Identifier with
 * its id.
 */
const OTHERS_BYTES_MAX: u32 = 16 + SUBSCRIPTION_IDENTIFIERS_MAX * 5;
const others: u32 = <u32>memory.data(OTHERS_BYTES_MAX, 8);

/**
 * Closes the gaps between what is forwarded, then moves it up as a whole and puts the rest in front
 * of it. The properties are known to be valid.
 */
function gatherForwarded(): void {
  let othersLength: u32 = 0;
  let at = propertiesAt;
  const end = propertiesEnd;
  let keptUntil = propertiesAt;
  while (at < end) {
    const rule = ruleOfProperty(load<u8>(at));
    const next = readValue(at + 1, end, rule & TYPE_MASK);
    if ((rule & FORWARDED) == 0) {
      memory.copy(others + othersLength, at, next - at);
      othersLength += next - at;
    } else {
      memory.copy(keptUntil, at, next - at);
      keptUntil += next - at;
    }
    at = next;
  }
  memory.copy(propertiesAt + othersLength, propertiesAt, keptUntil - propertiesAt);
  memory.copy(propertiesAt, others, othersLength);
}
