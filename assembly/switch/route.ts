/**
 * Routing: one message to all who subscribe to its topic.
 *
 * In this order: (1) match; (2) when the message has QoS 1 or 2, make every queue entry that its
 * receivers need, so that exhaustion is a refusal and never half a fan-out; (3) give it to each
 * receiver: straight into its slab when nothing waits before it, as a row for a handler, or into
 * its queue.
 */
import { MEMORY_MESSAGE } from '../shared/memory-class';
import {
  COUNT_PUBLISH_SENT, DROP_MEMORY, DROP_NOT_AUTHORIZED, DROP_PACKET_TOO_LARGE, DROP_QUEUE_FULL,
  DROP_SLAB_FULL, LIMIT_SLAB_BYTES, LIMIT_SLAB_WATERMARK, POLICY_ALLOW, SESSION_HANDLER,
} from '../shared/abi';
import { vbiSize, writeVbi } from '../codec/variable-byte-integer';
import { allocate } from '../memory/blocks';
import {
  RECEIVERS_AT, RECEIVER_BYTES, RECEIVER_MIXED_NO_LOCAL, RECEIVER_NO_LOCAL,
  RECEIVER_RETAIN_AS_PUBLISHED, RECEIVER_SHARED, Receiver, Receivers, localReceiver, receiversOf,
} from '../index/match-cache';
import { Group, pinGroup } from '../index/shared-group';
import { Subscription } from '../index/subscription';
import { pinTopic, unpinTopic } from '../index/topic-intern';
import { Connection, STATE_OPEN, connectionAt } from '../session/connection';
import { OFFER_TAKEN, entryWasSent, isAtBound, offerEntry, pump } from '../session/delivery';
import { deliverSourceToHandler } from '../session/handler-delivery';
import { clock, count, limitOf } from '../session/limits';
import {
  createMessage, forwardOf, holdMessage, messageAt, payloadOf, releaseMessage, topicOf,
} from '../session/message-block';
import {
  frameBytes, setFrameIdentifiers, setSource, sourceExpiry, sourceForwardAt, sourceForwardLength,
  sourcePayloadAt, sourcePayloadLength, sourceTopicAt, sourceTopicLength, writeFrame,
} from '../session/publish-writer';
import {
  FLAG_IDENTIFIERS, FLAG_RETAIN, createEntry, entryAt, freeEntry,
} from '../session/queue-entry';
import { receiveVerdict } from '../session/receive-verdicts';
import { Session, sessionAt, takeIdentifier } from '../session/session';
import { reserveForPublish, slabLimit } from '../session/slab';
import { appendTemplate, hasTemplate, layoutOf, templateBytes } from '../session/templates';
import { aliasWasSent, chooseAlias } from '../session/topic-alias';
import { VERDICT_ALLOWED, VERDICT_DENIED, VERDICT_UNKNOWN } from '../session/verdicts';
import { tellDropped } from './events';
import { freezeEntry } from './gate';
import { chooseMember } from './shared-choice';

const RETAIN_FLAG: u32 = 1;
const IDENTIFIER_BLOCK_HEADER: u32 = 4;

// The message that is being routed; its bytes stand in the source (publish-writer.ts).
let topic: u32 = 0;
let publisher: u32 = 0; // session pointer, 0 = the host
let publisherHandle: u32 = 0;
let messageQos: u32 = 0;
let messageRetain: u32 = 0;
let messageExpiresAt: f64 = 0;
/**
 * Handlers with another owner do not get this message: 0 for the broker, the uplink's session for a
 * client.
 */
let owner: u32 = 0;
/** The block that queue entries share; 0 while nobody needs one. */
export let routedMessage: u32 = 0;

// What became of it.
export let routedMatched: u32 = 0;
export let routedTaken: u32 = 0;

// The receiver in hand.
let toSession: u32 = 0;
let toQos: u32 = 0;
let toRetain: u32 = 0;
let toIdentifiersAt: u32 = 0;
let toIdentifiersLength: u32 = 0;
let toIdentifier: u32 = 0;
let toGroup: u32 = 0;
/** Whether the receiver may have it; unknown: it waits in the queue until that is known. */
let toVerdict: u32 = VERDICT_ALLOWED;

const localScratch: usize = memory.data(16, 16);
const identifierScratch: usize = memory.data(8);

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
function isWanted(identifier: u32): bool {
  for (let i: u32 = 0; i < onlyCount; i++) {
    if (load<u32>(onlyIdentifiers + (i << 2)) == identifier) return true;
  }
  return false;
}

export function setRouted(
  entry: u32, from: u32, fromHandle: u32, qos: u32, retain: u32, expiresAt: f64, message: u32,
): void {
  topic = entry;
  publisher = from;
  publisherHandle = fromHandle;
  messageQos = qos;
  messageRetain = retain;
  messageExpiresAt = expiresAt;
  routedMessage = message;
  owner = 0;
}
export function setRoutedOwner(session: u32): void {
  owner = session;
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
  message.qos = <u8>messageQos;
  message.retain = <u8>messageRetain;
  message.expiresAt = messageExpiresAt;
  message.publisher = publisherHandle;
  memory.copy(topicOf(pointer), sourceTopicAt, sourceTopicLength);
  memory.copy(forwardOf(pointer), sourceForwardAt, sourceForwardLength);
  memory.copy(payloadOf(pointer), sourcePayloadAt, sourcePayloadLength);
  routedMessage = pointer;
  return pointer;
}
/** Lets go of the router's own reference. */
export function releaseRouted(): void {
  if (routedMessage != 0) releaseMessage(routedMessage);
  routedMessage = 0;
}

/** Who receives the message in hand, between `prepareRoute` and what ends it. */
let receiverList: u32 = 0;

/**
 * Matches the message in hand and takes the memory that its fan-out needs. False when memory is
 * exhausted: nothing has changed then. Else `deliverRouted` or `discardRouted` follows.
 */
export function prepareRoute(): bool {
  routedMatched = 0;
  routedTaken = 0;
  pinTopic(topic); // aliases intern topics too, and may evict others
  receiverList = receiversOf(topic);
  if (receiverList != 0 && (messageQos == 0 || prepareEntries(receiverList))) return true;
  unpinTopic(topic);
  return false;
}

export function deliverRouted(): void {
  const receivers = changetype<Receivers>(receiverList).count;
  let at = receiverList + RECEIVERS_AT;
  // [MQTT-3.3.2-3] [MQTT-4.5.0-1]: to all who match, and to nobody else
  for (let i: u32 = 0; i < receivers; i++) {
    deliver(changetype<Receiver>(at));
    at += RECEIVER_BYTES;
  }
  unpinTopic(topic);
}

export function discardRouted(): void {
  if (messageQos != 0) discardPrepared();
  unpinTopic(topic);
}

// --- who gets it, and how ----------------------------------------------------------------------

/**
 * Sets the `to...` globals for a receiver that is no group. False when it does not get this
 * message.
 */
function resolve(found: Receiver): bool {
  let receiver = found;
  if (publisher != 0 && receiver.session == publisher) {
    if (receiver.flags & RECEIVER_NO_LOCAL) return false; // [MQTT-3.8.3-3]
    if (receiver.flags & RECEIVER_MIXED_NO_LOCAL) {
      if (!localReceiver(topic, publisher, <u32>localScratch)) return false;
      receiver = changetype<Receiver>(<u32>localScratch);
    }
  }
  const session = sessionAt(receiver.session);
  if (session.owner != owner) return false;
  const subscription = changetype<Subscription>(receiver.subscription);
  if (onlyCount != 0 && !isWanted(subscription.identifier)) return false;
  toSession = receiver.session;
  toQos = min<u32>(receiver.qos, messageQos); // [MQTT-3.8.4-8]
  // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
  toRetain = receiver.flags & RECEIVER_RETAIN_AS_PUBLISHED ? messageRetain : 0;
  toIdentifiersAt = receiver.identifiers;
  toIdentifiersLength = receiver.identifiersLength;
  toIdentifier = subscription.identifier;
  toGroup = 0;
  return true;
}

/** The same for the chosen member of a group. */
function resolveMember(group: u32, member: u32): bool {
  if (member == 0) return false;
  const subscription = changetype<Subscription>(member);
  if (sessionAt(subscription.session).owner != owner) return false;
  toSession = subscription.session;
  // [MQTT-4.8.2-3]
  toQos = min<u32>(subscription.options & 3, messageQos);
  toRetain = subscription.options & 8 ? messageRetain : 0;
  toIdentifier = subscription.identifier;
  toIdentifiersLength = 0;
  toGroup = group;
  if (toIdentifier != 0) {
    setSingleIdentifier(toIdentifier);
  }
  return true;
}

function setSingleIdentifier(identifier: u32): void {
  const at = <u32>identifierScratch;
  store<u8>(at, 11);
  toIdentifiersAt = at;
  toIdentifiersLength = writeVbi(at + 1, identifier) - at;
}

// --- entries, made before anything changes -----------------------------------------------------

/**
 * Entries in the order in which `deliver` needs them, chained by `next`; a group's chosen member
 * stands in `hold`.
 */
let preparedHead: u32 = 0;
let preparedTail: u32 = 0;

function prepareEntries(list: u32): bool {
  preparedHead = 0;
  preparedTail = 0;
  const receivers = changetype<Receivers>(list).count;
  let at = list + RECEIVERS_AT;
  for (let i: u32 = 0; i < receivers; i++) {
    if (!prepareEntry(changetype<Receiver>(at))) {
      discardPrepared();
      return false;
    }
    at += RECEIVER_BYTES;
  }
  return true;
}

function prepareEntry(receiver: Receiver): bool {
  let member: u32 = 0;
  if (receiver.flags & RECEIVER_SHARED) {
    member = chooseMember(changetype<Group>(receiver.subscription), topic, publisherHandle);
    if (!resolveMember(receiver.subscription, member)) member = 0;
  } else if (!resolve(receiver) || toQos == 0) {
    return true;
  }
  if (ensureMessage() == 0) return false;
  const pointer = createEntry();
  if (pointer == 0) return false;
  const entry = entryAt(pointer);
  if (preparedTail != 0) entryAt(preparedTail).next = pointer;
  else preparedHead = pointer;
  preparedTail = pointer;
  entry.hold = member;
  return toIdentifiersLength == 0 || (receiver.flags & RECEIVER_SHARED) != 0 ||
    keepIdentifiers(pointer);
}

/** One identifier stands in the entry itself; several need a block. */
function keepIdentifiers(pointer: u32): bool {
  const entry = entryAt(pointer);
  if (toIdentifier != 0 && toIdentifiersLength == vbiSize(toIdentifier) + 1) {
    entry.identifiers = toIdentifier;
    return true;
  }
  const block = allocate(MEMORY_MESSAGE, IDENTIFIER_BLOCK_HEADER + toIdentifiersLength + 16);
  if (block == 0) return false;
  store<u32>(block, toIdentifiersLength);
  memory.copy(block + IDENTIFIER_BLOCK_HEADER, toIdentifiersAt, toIdentifiersLength);
  entry.identifiers = block;
  entry.flags |= FLAG_IDENTIFIERS;
  return true;
}

function discardPrepared(): void {
  while (preparedHead != 0) {
    const pointer = preparedHead;
    preparedHead = entryAt(pointer).next;
    freeEntry(changetype<Session>(0), pointer);
  }
}

function takePrepared(): u32 {
  const pointer = preparedHead;
  preparedHead = entryAt(pointer).next;
  return pointer;
}

// --- giving it ---------------------------------------------------------------------------------

function deliver(receiver: Receiver): void {
  let entry: u32 = 0;
  if (receiver.flags & RECEIVER_SHARED) {
    let member: u32 = 0;
    if (messageQos != 0) {
      entry = takePrepared();
      member = entryAt(entry).hold;
      entryAt(entry).hold = 0;
    } else {
      member = chooseMember(changetype<Group>(receiver.subscription), topic, publisherHandle);
    }
    if (!resolveMember(receiver.subscription, member)) {
      if (entry != 0) freeEntry(changetype<Session>(0), entry);
      return;
    }
    if (toQos == 0 && entry != 0) {
      freeEntry(changetype<Session>(0), entry);
      entry = 0;
    }
    if (entry != 0) entryAt(entry).identifiers = toIdentifier;
  } else {
    if (!resolve(receiver)) return;
    if (toQos != 0) entry = takePrepared();
  }
  routedMatched++;
  const session = sessionAt(toSession);
  toVerdict = session.receivePolicy == POLICY_ALLOW ? VERDICT_ALLOWED : verdictNow(session);
  if (toVerdict == VERDICT_DENIED) {
    routedTaken++; // not owed: no reason to refuse the publisher
    tellDropped(session.handle, DROP_NOT_AUTHORIZED, toQos, sourceTopicAt, sourceTopicLength);
    if (entry != 0) freeEntry(changetype<Session>(0), entry);
  } else if (entry != 0) {
    deliverEntry(session, entry);
  } else {
    // QoS 0 is owed to nobody: whoever does not get it now is no reason to refuse the publisher.
    routedTaken++;
    if (session.kind & SESSION_HANDLER) deliverToHandler(session);
    else deliverQos0(session);
  }
}

/** What is allowed must not overtake what still waits for its verdict. */
function verdictNow(session: Session): u32 {
  const verdict = receiveVerdict(session, topic);
  return verdict == VERDICT_ALLOWED && session.asking != 0 ? VERDICT_UNKNOWN : verdict;
}

function deliverEntry(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  entry.next = 0;
  entry.message = routedMessage;
  holdMessage(routedMessage);
  entry.qos = <u8>toQos;
  if (toRetain) entry.flags |= FLAG_RETAIN;
  if (toGroup != 0) {
    entry.group = toGroup;
    pinGroup(toGroup);
  }
  if (session.durable) {
    freeze(session, pointer);
    return;
  }
  if (offerEntry(session, pointer) != OFFER_TAKEN) return;
  routedTaken++;
  if (session.pendingHead != pointer) return; // others wait before it
  const goes = session.connection != 0 && toVerdict == VERDICT_ALLOWED;
  if (goes && sendAtOnce(session, connectionAt(session.connection), pointer)) return;
  pumpAside(session);
}

/** Pumping sets the source to other messages: the one in hand is put back. */
function pumpAside(session: Session): void {
  const topicAt = sourceTopicAt;
  const topicLength = sourceTopicLength;
  const forwardAt = sourceForwardAt;
  const forwardLength = sourceForwardLength;
  const payloadAt = sourcePayloadAt;
  const payloadLength = sourcePayloadLength;
  const expiry = sourceExpiry;
  pump(session);
  setSource(topicAt, topicLength, forwardAt, forwardLength, payloadAt, payloadLength, expiry);
}

/**
 * A durable session gets it when it is stored; an offline one at its bound does not get it at all.
 */
function freeze(session: Session, pointer: u32): void {
  if (session.connection == 0 && isAtBound(session, sourcePayloadLength)) {
    tellDropped(session.handle, DROP_QUEUE_FULL, messageQos, sourceTopicAt, sourceTopicLength);
    freeEntry(session, pointer);
    return;
  }
  freezeEntry(session, pointer);
  routedTaken++;
}

/**
 * The common case: nothing waits, the receiver needs nothing of its own. False when `pump` must
 * look closer.
 */
@inline
function sendAtOnce(session: Session, connection: Connection, pointer: u32): bool {
  const entry = entryAt(pointer);
  if (
    connection.state != STATE_OPEN || connection.aliasOutMax != 0 || entry.identifiers != 0 ||
    session.inflightCount >= connection.sendQuota ||
      connection.txBytes >= limitOf(LIMIT_SLAB_WATERMARK)
  ) return false;
  const layout = layoutOf(connection.version, entry.qos);
  if (connection.maximumPacketSize != 0 && templateBytes(layout) > connection.maximumPacketSize) {
    return false;
  }
  if (!hasTemplate(layout)) return false;
  const packetIdentifier = takeIdentifier(session, pointer, session.queueCount);
  if (packetIdentifier == 0) return false;
  entry.packetIdentifier = <u16>packetIdentifier;
  if (!appendTemplate(connection, layout, toRetain, entry.qos, packetIdentifier)) return false;
  count(COUNT_PUBLISH_SENT, 1);
  entryWasSent(session, pointer);
  return true;
}

/** QoS 0 is sent now or not at all: an offline session does not keep it [MQTT-4.3.1-1]. */
function deliverQos0(session: Session): void {
  if (session.connection == 0) return;
  const connection = connectionAt(session.connection);
  if (connection.state != STATE_OPEN) return;
  if (toVerdict != VERDICT_ALLOWED) {
    queueQos0(session);
    return;
  }
  if (connection.txBytes > slabQuick && connection.txBytes > slabLimit(limitOf(LIMIT_SLAB_BYTES))) {
    tellDropped(session.handle, DROP_SLAB_FULL, 0, sourceTopicAt, sourceTopicLength);
    return;
  }
  if (connection.aliasOutMax != 0 || toIdentifiersLength != 0) {
    sendOwnFrame(session, connection);
    return;
  }
  const layout = layoutOf(connection.version, 0);
  if (connection.maximumPacketSize != 0 && templateBytes(layout) > connection.maximumPacketSize) {
    dropTooLarge(session);
  } else if (!hasTemplate(layout)) {
    sendOwnFrame(session, connection);
  } else if (appendTemplate(connection, layout, toRetain & RETAIN_FLAG, 0, 0)) {
    wasSent();
  } else {
    tellDropped(session.handle, DROP_MEMORY, 0, sourceTopicAt, sourceTopicLength);
  }
}
/** Below this a slab is never the one that is too large. */
const slabQuick: u32 = 65536;

@inline
function wasSent(): void {
  routedTaken++;
  count(COUNT_PUBLISH_SENT, 1);
}

/** [MQTT-3.1.2-24] [MQTT-3.1.2-25]: counts as delivered. */
function dropTooLarge(session: Session): void {
  routedTaken++;
  tellDropped(session.handle, DROP_PACKET_TOO_LARGE, 0, sourceTopicAt, sourceTopicLength);
}

/** A QoS 0 packet with an alias or Subscription Identifiers: made for this receiver alone. */
function sendOwnFrame(session: Session, connection: Connection): void {
  setFrameIdentifiers(toIdentifiersAt, connection.version == 5 ? toIdentifiersLength : 0);
  const serial = chooseAlias(connection, sourceTopicAt, sourceTopicLength);
  const bytes = frameBytes(connection.version, 0);
  if (connection.maximumPacketSize != 0 && bytes > connection.maximumPacketSize) {
    dropTooLarge(session);
    return;
  }
  const at = reserveForPublish(connection, bytes);
  if (at == 0) {
    tellDropped(session.handle, DROP_MEMORY, 0, sourceTopicAt, sourceTopicLength);
    return;
  }
  writeFrame(at, connection.version, toRetain & RETAIN_FLAG, 0, 0);
  aliasWasSent(connection, serial);
  wasSent();
}

/** QoS 0 to a handler: a row when it has credit, else an entry within the bound of its queue. */
function deliverToHandler(session: Session): void {
  if (session.pendingHead == 0 && session.credit != 0) {
    const flags = toRetain << 2;
    if (
      deliverSourceToHandler(session, topic, flags, toIdentifier, publisherHandle, routedMessage)
    ) {
      routedTaken++;
      return;
    }
  }
  queueQos0(session);
}

/** QoS 0 that has to wait here: an entry within the bound of the queue. */
function queueQos0(session: Session): void {
  const message = isAtBound(session, 0) ? 0 : ensureMessage();
  const pointer = message == 0 ? 0 : createEntry();
  if (pointer == 0) {
    const reason = message == 0 && isAtBound(session, 0) ? DROP_QUEUE_FULL : DROP_MEMORY;
    tellDropped(session.handle, reason, 0, sourceTopicAt, sourceTopicLength);
    return;
  }
  const entry = entryAt(pointer);
  entry.message = message;
  holdMessage(message);
  entry.identifiers = toIdentifier;
  if (toRetain) entry.flags |= FLAG_RETAIN;
  if (offerEntry(session, pointer) == OFFER_TAKEN) {
    routedTaken++;
    pumpAside(session);
  }
}

/** Milliseconds on the core's clock at which a message with this interval expires; 0 = never. */
export function expiryFrom(seconds: f64): f64 {
  return seconds < 0 ? 0 : clock + seconds * 1000;
}
