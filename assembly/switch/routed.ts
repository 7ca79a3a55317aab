/**
 * The message that is being routed, and what became of it. Its bytes stand in the source
 * (publish-writer.ts) until somebody needs a block of its own.
 */
import { TopicEntry } from '../index/topic-intern';
import {
  createMessage, forwardOf, messageAt, payloadOf, releaseMessage, setMessageFacts,
  setTopicSerial, topicOf,
} from '../session/message-block';
import {
  sourceForwardAt, sourceForwardLength, sourcePayloadAt, sourcePayloadLength, sourceTopicAt,
  sourceTopicLength,
} from '../session/publish-writer';

export let routedTopic: u32 = 0; // its TopicEntry
export let routedPublisher: u32 = 0; // session pointer, 0 = the host
export let routedPublisherHandle: u32 = 0;
export let routedQos: u32 = 0;
export let routedRetain: u32 = 0;
let routedExpiresAt: f64 = 0;
/**
 * Handlers with another owner do not get this message: 0 for the broker, the uplink's session for a
 * client.
 */
export let routedOwner: u32 = 0;
/** The block that queue entries share; 0 while nobody needs one. */
export let routedMessage: u32 = 0;

// What became of it.
export let routedMatched: u32 = 0; // receivers
export let routedTaken: u32 = 0; // of those: who has it, or is not owed it

export function clearOutcome(): void {
  routedMatched = 0;
  routedTaken = 0;
}
@inline
export function countMatched(): void {
  routedMatched++;
}
@inline
export function countTaken(): void {
  routedTaken++;
}

// Client role: Subscription Identifiers that the server put on the message; none = all that match.
const IDENTIFIERS_MAX: u32 = 64;
const onlyIdentifiers: usize = memory.data(256);
let onlyCount: u32 = 0;

export function clearOnlyIdentifiers(): void {
  onlyCount = 0;
}
export function hasOnlyIdentifiers(): bool {
  return onlyCount != 0;
}
export function addOnlyIdentifier(identifier: u32): void {
  if (onlyCount < IDENTIFIERS_MAX) store<u32>(onlyIdentifiers + (onlyCount++ << 2), identifier);
}

/** True when the message may go to a subscription with this identifier. */
export function isWanted(identifier: u32): bool {
  if (onlyCount == 0) return true;
  for (let i: u32 = 0; i < onlyCount; i++) {
    if (load<u32>(onlyIdentifiers + (i << 2)) == identifier) return true;
  }
  return false;
}

export function setRouted(
  entry: u32, from: u32, fromHandle: u32, qos: u32, retain: u32, expiresAt: f64, message: u32,
): void {
  routedTopic = entry;
  routedPublisher = from;
  routedPublisherHandle = fromHandle;
  routedQos = qos;
  routedRetain = retain;
  routedExpiresAt = expiresAt;
  routedMessage = message;
  routedOwner = 0;
  if (message != 0) nameTopic();
}

/** The block knows its Topic Name by number: handlers need not read its bytes. */
function nameTopic(): void {
  if (routedTopic == 0) return;
  setTopicSerial(routedMessage, changetype<TopicEntry>(routedTopic).serial);
}

export function setRoutedOwner(session: u32): void {
  routedOwner = session;
}

/**
 * The block of the message in hand, made from the source when it is needed first; 0 when memory is
 * exhausted.
 */
export function ensureMessage(): u32 {
  if (routedMessage != 0) return routedMessage;
  const pointer = createMessage(sourceTopicLength, sourceForwardLength, sourcePayloadLength);
  if (pointer == 0) return 0;
  const message = messageAt(pointer);
  setMessageFacts(pointer, routedQos, routedRetain);
  message.expiresAt = routedExpiresAt;
  message.publisher = routedPublisherHandle;
  memory.copy(topicOf(pointer), sourceTopicAt, sourceTopicLength);
  memory.copy(forwardOf(pointer), sourceForwardAt, sourceForwardLength);
  memory.copy(payloadOf(pointer), sourcePayloadAt, sourcePayloadLength);
  routedMessage = pointer;
  nameTopic();
  return pointer;
}

/** Lets go of the router's own reference. */
export function releaseRouted(): void {
  if (routedMessage != 0) releaseMessage(routedMessage);
  routedMessage = 0;
}

/**
 * Milliseconds on the core's clock at which a message expires that came at `receivedAt` with this
 * interval; 0 = never.
 */
export function expiryFrom(receivedAt: f64, seconds: f64): f64 {
  return seconds < 0 ? 0 : receivedAt + seconds * 1000;
}
