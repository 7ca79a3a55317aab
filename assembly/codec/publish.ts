/**
 * PUBLISH, the packet of the hot path.
 * ```
 *   +--------+------------+----------------------+--------------------------+-------------+
 *   | length | topic name | packet identifier    | property length, content | payload ... |
 *   |   2    |            | 2, only above QoS 0  | only in version 5        |             |
 *   +--------+------------+----------------------+--------------------------+-------------+
 * ```
 * Errors are found in the order of the bytes; what needs the whole packet (an empty name without
 * alias) comes last.
 */
import {
  IN_PUBLISH, PUBLISH_DUP, PUBLISH_QOS_MASK, VERSION_5,
} from '../shared/control-packet';
import { SUBSCRIPTION_IDENTIFIER } from '../shared/property';
import {
  MALFORMED_PACKET, PROTOCOL_ERROR, SUCCESS,
} from '../shared/reason-code';
import { loadTwoBytes } from '../memory/bytes';
import { topicNameReason } from '../topic/topic-name';
import {
  clearProperties, parseOnlyIdentifier, parseProperties, properties, propertiesAt, propertiesEnd,
} from './properties';
import { isWellFormed } from './utf8-string';

// The PUBLISH parsed last. Positions point into the packet.
export let publishTopicAt: u32 = 0;
/** 0 only in version 5, together with an alias. */
export let publishTopicLength: u32 = 0;
/** 0 at QoS 0. */
export let publishPacketIdentifier: u32 = 0;
/** The properties without their length; below version 5 the length is 0. */
let publishPropertiesAt: u32 = 0;
export let publishPropertiesLength: u32 = 0;
export let publishPayloadAt: u32 = 0;
export let publishPayloadLength: u32 = 0;
/** 0 = no alias. */
export let publishTopicAlias: u32 = 0;
/** Message Expiry Interval in seconds; -1 = the message does not expire. */
export let publishExpiry: f64 = -1;
/** Payload Format Indicator: 1 = the publisher says that the payload is UTF-8. */
export let publishPayloadFormat: u32 = 0;
/**
 * The properties that every receiver gets unaltered: all but alias, expiry and Subscription
 * Identifiers.
 */
export let publishForwardAt: u32 = 0;
export let publishForwardLength: u32 = 0;
let publishHasForwardable: bool = false;
/** It has no other properties than those that are forwarded. */
export let publishIsPlain: bool = true;
/** How many u32 `subscriptionIdentifiers` (properties.ts) holds; only a server sends them. */
export let publishSubscriptionIdentifierCount: u32 = 0;

/** What is forwarded stands elsewhere, and is not what came. */
export function setForwarded(at: u32, length: u32): void {
  publishForwardAt = at;
  publishForwardLength = length;
}

/** Parses a PUBLISH that a client sent; `header` is the first byte of the packet. */
export function parsePublish(header: u8, at: u32, end: u32, version: u32): u32 {
  const reason = parsePublishFromServer(header, at, end, version);
  if (reason != SUCCESS) return reason;
  return publishSubscriptionIdentifierCount == 0 ? SUCCESS : PROTOCOL_ERROR; // [MQTT-3.3.4-6]
}

/** Parses a PUBLISH that a server sent: it may have Subscription Identifiers. */
export function parsePublishFromServer(header: u8, at: u32, end: u32, version: u32): u32 {
  const qos = <u32>header & PUBLISH_QOS_MASK;
  if (qos == PUBLISH_QOS_MASK) return MALFORMED_PACKET; // [MQTT-3.3.1-4]
  // [MQTT-3.3.1-2] [MQTT-4.3.1-1]
  if (qos == 0 && (<u32>header & PUBLISH_DUP) != 0) return MALFORMED_PACKET;
  if (end - at < 2) return MALFORMED_PACKET;
  publishTopicLength = loadTwoBytes(at); // [MQTT-4.7.3-3]
  publishTopicAt = at + 2;
  at = publishTopicAt + publishTopicLength;
  if (at > end) return MALFORMED_PACKET;
  if (publishTopicLength != 0 || version < VERSION_5) {
    // [MQTT-3.3.2-1] [MQTT-3.3.2-2]
    const reason = topicNameReason(publishTopicAt, publishTopicLength);
    if (reason != SUCCESS) return reason;
  }
  publishPacketIdentifier = 0; // 3.1.1 [MQTT-2.3.1-5], 5.0 [MQTT-2.2.1-2]
  if (qos != 0) {
    if (end - at < 2) return MALFORMED_PACKET;
    publishPacketIdentifier = loadTwoBytes(at);
    // 3.1.1 [MQTT-2.3.1-1] [MQTT-2.3.1-4], 5.0 [MQTT-2.2.1-3] [MQTT-2.2.1-4]
    if (publishPacketIdentifier == 0) return PROTOCOL_ERROR;
    at += 2;
  }
  forgetProperties(at);
  if (version >= VERSION_5) {
    if (at >= end) return MALFORMED_PACKET; // 5.0 [MQTT-2.2.2-1]
    if (load<u8>(at) == 0) {
      at++;
    } else {
      const reason = parsePublishProperties(at, end);
      if (reason != SUCCESS) return reason;
      at = propertiesEnd;
    }
    if (publishTopicLength == 0 && publishTopicAlias == 0) return PROTOCOL_ERROR;
  }
  publishPayloadAt = at;
  publishPayloadLength = end - at;
  return SUCCESS;
}

/**
 * Whether the payload is what its Payload Format Indicator says. Not part of parsing: the standard
 * leaves it to the receiver, and it reads every byte.
 */
export function isPayloadFormatValid(): bool {
  if (publishPayloadFormat == 0) return true;
  return isWellFormed(publishPayloadAt, publishPayloadLength);
}

@inline
function forgetProperties(at: u32): void {
  clearProperties();
  publishPropertiesAt = at;
  publishPropertiesLength = 0;
  publishTopicAlias = 0;
  publishExpiry = -1;
  publishPayloadFormat = 0;
  publishForwardLength = 0;
  publishHasForwardable = false;
  publishIsPlain = true;
  publishSubscriptionIdentifierCount = 0;
}

function parsePublishProperties(at: u32, end: u32): u32 {
  if (parseOnlyIdentifier(at, end)) {
    publishPropertiesAt = propertiesAt;
    publishPropertiesLength = propertiesEnd - propertiesAt;
    publishIsPlain = false;
    publishSubscriptionIdentifierCount = 1;
    return SUCCESS;
  }
  const reason = parseProperties(at, end, IN_PUBLISH);
  if (reason != SUCCESS) return reason;
  publishPropertiesAt = propertiesAt;
  publishPropertiesLength = propertiesEnd - propertiesAt;
  publishTopicAlias = properties.topicAlias;
  publishExpiry = properties.messageExpiryInterval;
  publishPayloadFormat = properties.payloadFormatIndicator;
  publishForwardAt = properties.forwardedAt;
  publishForwardLength = properties.forwardedLength;
  publishHasForwardable = publishForwardLength != 0;
  publishIsPlain = publishForwardLength == publishPropertiesLength;
  publishSubscriptionIdentifierCount = properties.lengthOf(SUBSCRIPTION_IDENTIFIER);
  return SUCCESS;
}
