/**
 * Writes PUBLISH packets. The message to be written stands in this file's globals (the *source*):
 * set once per message, used for every receiver that needs a packet of its own. Receivers that can
 * share one encoding use a *template* (templates.ts) instead.
 */
import { EXPIRY_NONE } from '../shared/abi';
import { PUBLISH } from '../shared/control-packet';
import { findResponseTopic } from '../codec/forwarded';
import { vbiSize, writeVbi } from '../codec/variable-byte-integer';
import {
  copyWithSlack, loadTwoBytes, storeFourBytes, storeTwoBytes,
} from '../memory/bytes';
import {
  forwardOf, messageAt, payloadOf, remainingExpiry, topicOf,
} from './message-block';
import { isBelowMount, mountedBytes } from './mount-point';

const PROPERTY_MESSAGE_EXPIRY: u8 = 2;
const PROPERTY_TOPIC_ALIAS: u8 = 35;
const PROPERTY_SUBSCRIPTION_IDENTIFIER: u8 = 11;
const EXPIRY_PROPERTY_BYTES: u32 = 5;
const ALIAS_PROPERTY_BYTES: u32 = 3;

// The source.
export let sourceTopicAt: u32 = 0;
export let sourceTopicLength: u32 = 0;
export let sourceForwardAt: u32 = 0;
export let sourceForwardLength: u32 = 0;
export let sourcePayloadAt: u32 = 0;
export let sourcePayloadLength: u32 = 0;
export let sourceExpiry: u32 = EXPIRY_NONE; // remaining seconds

export function setSource(
  topicAt: u32, topicLength: u32, forwardAt: u32, forwardLength: u32, payloadAt: u32,
  payloadLength: u32, expiry: u32,
): void {
  sourceTopicAt = topicAt;
  sourceTopicLength = topicLength;
  sourceForwardAt = forwardAt;
  sourceForwardLength = forwardLength;
  sourcePayloadAt = payloadAt;
  sourcePayloadLength = payloadLength;
  sourceExpiry = expiry;
  viewMount = 0;
}

export function setSourceFromMessage(message: u32): void {
  const block = messageAt(message);
  setSource(
    topicOf(message), block.topicLength, forwardOf(message), block.forwardLength,
    payloadOf(message), block.payloadLength, remainingExpiry(block.expiresAt),
  );
}

/**
 * The mount point that the source is written for; 0 = names are written as they are. With it hold:
 */
export let viewMount: u32 = 0;
/** Bytes of the Topic Name that the receiver does not see. */
let viewSkip: u32 = 0;
/** Its Response Topic property, when that changes; else 0. */
let viewResponseAt: u32 = 0;
/** Bytes that are taken from behind the property's length, or all of it when it is left out. */
let viewResponseCut: u32 = 0;
let viewLeavesOut: bool = false;

/** Writes for receivers behind `mount` from here on, until the next source is set. */
export function lookThrough(mount: u32): void {
  viewMount = mount;
  if (mount == 0) return;
  viewSkip = mountedBytes(mount, sourceTopicAt, sourceTopicLength);
  viewResponseAt = sourceForwardLength == 0
    ? 0 : findResponseTopic(sourceForwardAt, sourceForwardAt + sourceForwardLength);
  viewResponseCut = 0;
  if (viewResponseAt == 0) return;
  const at = viewResponseAt + STRING_PROPERTY_HEADER_BYTES;
  const length = loadTwoBytes(viewResponseAt + 1);
  // A topic outside of the mount point is none that the receiver could answer to.
  viewLeavesOut = !isBelowMount(mount, at, length);
  viewResponseCut = viewLeavesOut
    ? STRING_PROPERTY_HEADER_BYTES + length : mountedBytes(mount, at, length);
}
const STRING_PROPERTY_HEADER_BYTES: u32 = 3; // id and length

// What differs from receiver to receiver.
/** Topic Alias to write; 0 = none. With `aliasKnown` the Topic Name is left empty. */
let frameAlias: u32 = 0;
let frameAliasKnown: u32 = 0;
/** Encoded Subscription Identifier properties, in the order of the spec's property list. */
let frameIdentifiersAt: u32 = 0;
let frameIdentifiersLength: u32 = 0;
const oneIdentifier: usize = memory.data(8);

export function setFrameAlias(alias: u32, known: u32): void {
  frameAlias = alias;
  frameAliasKnown = known;
}
export function setFrameIdentifiers(at: u32, length: u32): void {
  frameIdentifiersAt = at;
  frameIdentifiersLength = length;
}
/** A single Subscription Identifier; 0 = none. */
export function setFrameIdentifier(identifier: u32): void {
  frameIdentifiersLength = 0;
  if (identifier == 0) return;
  const at = <u32>oneIdentifier;
  store<u8>(at, PROPERTY_SUBSCRIPTION_IDENTIFIER);
  frameIdentifiersAt = at;
  frameIdentifiersLength = writeVbi(at + 1, identifier) - at;
}

@inline
function frameTopicLength(): u32 {
  if (frameAliasKnown) return 0;
  return viewMount == 0 ? sourceTopicLength : sourceTopicLength - viewSkip;
}

function propertyBytes(): u32 {
  let bytes = sourceForwardLength + frameIdentifiersLength;
  if (viewMount != 0) bytes -= viewResponseCut;
  if (sourceExpiry != EXPIRY_NONE) bytes += EXPIRY_PROPERTY_BYTES;
  if (frameAlias != 0) bytes += ALIAS_PROPERTY_BYTES;
  return bytes;
}

function remainingLengthFor(version: u32, qos: u32): u32 {
  let remaining: u32 = 2 + frameTopicLength() + (qos != 0 ? 2 : 0) + sourcePayloadLength;
  if (version == 5) {
    const properties = propertyBytes();
    remaining += vbiSize(properties) + properties;
  }
  return remaining;
}

/** Bytes of the whole packet. */
export function frameBytes(version: u32, qos: u32): u32 {
  const remaining = remainingLengthFor(version, qos);
  return 1 + vbiSize(remaining) + remaining;
}

/** Where `writeFrameHead` put the Packet Identifier, counted from the first byte of the packet. */
export let frameIdentifierOffset: u32 = 0;

/** Writes everything but the payload; answers where the payload goes. */
export function writeFrameHead(
  to: u32, version: u32, flags: u32, qos: u32, packetIdentifier: u32,
): u32 {
  store<u8>(to, <u8>((PUBLISH << 4) | flags | (qos << 1)));
  let at = writeVbi(to + 1, remainingLengthFor(version, qos));
  const topicLength = frameTopicLength();
  storeTwoBytes(at, topicLength);
  at += 2;
  copyWithSlack(at, sourceTopicAt + (viewMount == 0 ? 0 : viewSkip), topicLength);
  at += topicLength;
  if (qos != 0) {
    frameIdentifierOffset = at - to;
    storeTwoBytes(at, packetIdentifier);
    at += 2;
  }
  return version == 5 ? writeProperties(at) : at;
}

function writeProperties(start: u32): u32 {
  const bytes = propertyBytes();
  if (bytes == 0) {
    store<u8>(start, 0);
    return start + 1;
  }
  let at = writeVbi(start, bytes);
  if (sourceExpiry != EXPIRY_NONE) {
    store<u8>(at, PROPERTY_MESSAGE_EXPIRY);
    storeFourBytes(at + 1, sourceExpiry); // [MQTT-3.3.2-6]: what is left of it
    at += EXPIRY_PROPERTY_BYTES;
  }
  if (frameAlias != 0) {
    store<u8>(at, PROPERTY_TOPIC_ALIAS);
    storeTwoBytes(at + 1, frameAlias);
    at += ALIAS_PROPERTY_BYTES;
  }
  // [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]:
  // unaltered, in order
  at = writeForwarded(at);
  // [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]: the identifiers of all subscriptions that matched
  copyWithSlack(at, frameIdentifiersAt, frameIdentifiersLength);
  return at + frameIdentifiersLength;
}

function writeForwarded(to: u32): u32 {
  if (viewMount == 0 || viewResponseCut == 0) {
    copyWithSlack(to, sourceForwardAt, sourceForwardLength);
    return to + sourceForwardLength;
  }
  let from = viewResponseAt;
  let at = to + (from - sourceForwardAt);
  memory.copy(to, sourceForwardAt, from - sourceForwardAt);
  if (!viewLeavesOut) {
    store<u8>(at, load<u8>(from));
    storeTwoBytes(at + 1, loadTwoBytes(from + 1) - viewResponseCut);
    at += STRING_PROPERTY_HEADER_BYTES;
    from += STRING_PROPERTY_HEADER_BYTES;
  }
  from += viewResponseCut;
  const rest = sourceForwardAt + sourceForwardLength - from;
  memory.copy(at, from, rest);
  return at + rest;
}

/** Writes a whole packet to `to`, which has `frameBytes` and slack. */
export function writeFrame(
  to: u32, version: u32, flags: u32, qos: u32, packetIdentifier: u32,
): void {
  const at = writeFrameHead(to, version, flags, qos, packetIdentifier);
  copyWithSlack(at, sourcePayloadAt, sourcePayloadLength);
}
