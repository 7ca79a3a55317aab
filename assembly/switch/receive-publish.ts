/**
 * A PUBLISH that came in. The order of the steps is law: it decides who learns what.
 *
 *  1. form (codec)                          -> malformed packet, protocol error: closed
 *  2. Topic Alias                           -> 0x94, unknown 0x82: closed
 *  3. what we announced: QoS, RETAIN, quota -> 0x9B, 0x9A, 0x93: closed
 *  4. QoS 2 seen before                     -> answered again, not routed again
 *  5. may it?                               -> asked once per topic; refused with 0x87
 *  6. payload format, when that is checked  -> 0x99
 *  7. an interceptor may change or drop it  -> asked; dropped with its Reason Code; another topic
 *                                              goes through 5 again
 *  8. retained message stored or deleted    -> 0x97 when there is no room
 *  9. routed                                -> 0x97 when no receiver has room, 0x10 when there is
 *                                              none
 * 10. acknowledged, now or when all have agreed
 */
import {
  AWAIT_NOBODY, COUNT_PUBLISH_RECEIVED, DELIVER_ALIAS_SHIFT, DETAIL_MEMORY,
  DETAIL_PAYLOAD_FORMAT, DETAIL_QOS,
  DETAIL_QUOTA,
  DETAIL_RECEIVE_MAXIMUM, DETAIL_RETAIN, DETAIL_TOPIC_ALIAS, DETAIL_TOPIC_LEVELS,
  DROP_EXPIRED, DROP_MEMORY, DROP_NOT_AUTHORIZED, DROP_NO_RECEIVER_ROOM,
  EXPIRY_NONE, LIMIT_MAXIMUM_QOS, LIMIT_RECEIVE_MAXIMUM, LIMIT_RETAIN_AVAILABLE,
  LIMIT_TOPIC_LEVELS, LIMIT_VALIDATE_PAYLOAD, POLICY_ALLOW, POLICY_DENY, ROLE_CLIENT,
  ROW_AUTHORIZE,
} from '../shared/abi';
import {
  PUBACK, PUBLISH_DUP, PUBLISH_QOS_MASK, PUBLISH_QOS_SHIFT, PUBLISH_RETAIN, PUBREC,
} from '../shared/control-packet';
import {
  NOT_AUTHORIZED, NO_MATCHING_SUBSCRIBERS, PAYLOAD_FORMAT_INVALID, PROTOCOL_ERROR,
  QOS_NOT_SUPPORTED, QUOTA_EXCEEDED, RECEIVE_MAXIMUM_EXCEEDED, RETAIN_NOT_SUPPORTED, SUCCESS,
  TOPIC_ALIAS_INVALID, TOPIC_NAME_INVALID,
} from '../shared/reason-code';
import { subscriptionIdentifiers } from '../codec/properties';
import {
  isPayloadFormatValid, parsePublish, parsePublishFromServer, publishExpiry, publishForwardAt,
  publishForwardLength, publishPacketIdentifier, publishPayloadAt, publishPayloadFormat,
  publishIsPlain, publishPayloadLength, publishSubscriptionIdentifierCount,
  publishTopicAlias, publishTopicAt, publishTopicLength,
} from '../codec/publish';
import { retainedFind } from '../index/retained-index';
import { TopicEntry, internTopic, pinTopic } from '../index/topic-intern';
import { topicLevelsOf } from '../topic/topic-filter';
import { Connection, STATE_CLOSED } from '../session/connection';
import { pump } from '../session/delivery';
import { failConnection } from '../session/failure';
import { REASON_FAILURE, acknowledge, adoptOrphan, holdAt } from '../session/holds';
import { clock, count, limitIn } from '../session/limits';
import { isBelowMount, mountedBytes } from '../session/mount-point';
import {
  messageAt, messageRetain, remainingExpiry, setMessageFacts, topicOf,
} from '../session/message-block';
import {
  setSource, setSourceFromMessage, sourcePayloadLength, sourceTopicAt, sourceTopicLength,
} from '../session/publish-writer';
import { addInbound, hasInbound, removeInbound, sessionAt } from '../session/session';
import {
  adoptTemplate, clearTemplates, layoutOf, lookThroughTemplates,
} from '../session/templates';
import { bindAlias, topicOfAlias } from '../session/topic-alias';
import { VERDICT_ALLOWED, VERDICT_DENIED, VERDICT_UNKNOWN } from '../session/verdict-table';
import { cachedVerdict, rememberVerdict } from '../session/verdicts';
import { addRow, setColumn, tellDropped } from './events';
import { closeGate, isDurable, retainedBits, tellRetained } from './gate';
import {
  INTERCEPT_ASK, INTERCEPT_DROP, intercept, interceptReason, receivedAt, replacementFor,
  somebodyIntercepts, takeReplacement,
} from './interception';
import {
  beginHostPublish, beginPeerPublish, endPublish, makeHold, takeOwnWaits,
} from './publisher';
import { mountForwarded, mountTopicName } from './mounted-publish';
import { storeRetained } from './retain';
import { deliverRouted, discardRouted, prepareRoute } from './route';
import {
  addOnlyIdentifier, clearOnlyIdentifiers, ensureMessage, expiryFrom, hasOnlyIdentifiers,
  releaseRouted, routedMatched, routedMessage, routedTaken, setRouted, setRoutedOwner,
} from './routed';

/** The packet is done with; read on. */
const PUBLISH_DONE: u32 = 0;
/**
 * The control plane must say whether this is allowed: the packet is read again after its answer.
 */
export const PUBLISH_ASK: u32 = 1;

const SYS: u32 = 0x53595324; // "$SYS", little-endian
const SYS_BYTES: u32 = 4;

// The packet in hand.
let qos: u32 = 0;
let retain: u32 = 0;
let dup: bool = false;
let topic: u32 = 0; // its TopicEntry

/** `[packetAt, end)` is the whole packet, its body starts at `bodyAt`. */
export function receivePublish(
  connection: Connection, header: u32, packetAt: u32, bodyAt: u32, end: u32,
): u32 {
  qos = (header & PUBLISH_QOS_MASK) >> PUBLISH_QOS_SHIFT;
  retain = header & PUBLISH_RETAIN;
  dup = (header & PUBLISH_DUP) != 0;
  const fromServer = connection.role == ROLE_CLIENT;
  const reason = fromServer
    ? parsePublishFromServer(<u8>header, bodyAt, end, connection.version)
    : parsePublish(<u8>header, bodyAt, end, connection.version);
  if (reason != SUCCESS) {
    failConnection(connection, reason, 0);
    return PUBLISH_DONE;
  }
  topic = topicOfPacket(connection);
  if (topic == 0 || connection.session == 0) return PUBLISH_DONE;
  if (connection.mount != 0 && !mountForwarded(connection)) return PUBLISH_DONE;
  if (!fromServer && !keepsPromises(connection)) return PUBLISH_DONE;
  if (qos != 0 && isRepeated(connection)) return PUBLISH_DONE;
  if (!fromServer) {
    if (replacementFor(connection) != 0 && !useReplacement(connection)) return PUBLISH_DONE;
    const verdict = verdictFor(connection);
    if (verdict == VERDICT_UNKNOWN) return PUBLISH_ASK;
    if (verdict != VERDICT_ALLOWED) {
      connection.publishes++;
      refuse(connection, connection.answerReason);
      return PUBLISH_DONE;
    }
  }
  const isValid = hasValidPayload(connection);
  if (somebodyIntercepts() && isValid && !fromServer) {
    const flags = qos | (retain ? DELIVERED_RETAIN : 0);
    const answer = intercept(connection, topic, flags);
    if (answer == INTERCEPT_ASK) return PUBLISH_ASK;
    if (answer == INTERCEPT_DROP) {
      connection.publishes++;
      answerRefused(connection, interceptReason);
      return PUBLISH_DONE;
    }
  }
  connection.publishes++;
  count(COUNT_PUBLISH_RECEIVED, 1);
  if (isValid) routePublish(connection, packetAt, bodyAt, end);
  else refusePayload(connection);
  return PUBLISH_DONE;
}
const DELIVERED_RETAIN: u32 = 4; // in DELIVER_FLAGS

// --- steps -------------------------------------------------------------------------------------

/** The interned Topic Name, by name or by alias; 0 when the connection was closed for it. */
function topicOfPacket(connection: Connection): u32 {
  const alias = publishTopicAlias;
  // [MQTT-3.3.2-12]: every alias up to the maximum is taken
  if (alias > <u32>connection.aliasInMax) { // [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.3.2-10]
    failConnection(connection, TOPIC_ALIAS_INVALID, DETAIL_TOPIC_ALIAS);
    return 0;
  }
  const length = publishTopicLength;
  if (length == 0) {
    const known = alias == 0 ? 0 : topicOfAlias(connection, alias);
    // Not 0x94, which is for values: an alias without a topic is a protocol error (section 3.3.4).
    if (known == 0) failConnection(connection, PROTOCOL_ERROR, DETAIL_TOPIC_ALIAS);
    return known;
  }
  const levelsMax = limitIn(connection.limits, LIMIT_TOPIC_LEVELS);
  if (length >= levelsMax && topicLevelsOf(publishTopicAt, length) > levelsMax) {
    failConnection(connection, TOPIC_NAME_INVALID, DETAIL_TOPIC_LEVELS);
    return 0;
  }
  const entry = connection.mount == 0
    ? internTopic(publishTopicAt, length) : mountTopicName(connection);
  if (connection.state == STATE_CLOSED) return 0;
  if (entry == 0 || (alias != 0 && !bindAlias(connection, alias, entry))) {
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return 0;
  }
  return entry;
}

/** What an interceptor made of the message: its topic and RETAIN are those that are judged. */
function useReplacement(connection: Connection): bool {
  const message = replacementFor(connection);
  const block = messageAt(message);
  topic = internTopic(topicOf(message), block.topicLength);
  retain = messageRetain(message);
  if (topic != 0) return true;
  connection.publishes++;
  tellDropped(
    sessionHandle(connection), DROP_MEMORY, qos, topicOf(message), block.topicLength,
  );
  answerRefused(connection, QUOTA_EXCEEDED);
  return false;
}

/** What CONNACK announced holds for the client. */
function keepsPromises(connection: Connection): bool {
  if (qos > limitIn(connection.limits, LIMIT_MAXIMUM_QOS)) { // [MQTT-3.2.2-11]
    failConnection(connection, QOS_NOT_SUPPORTED, DETAIL_QOS);
  } else if (retain && !limitIn(connection.limits, LIMIT_RETAIN_AVAILABLE)) { // [MQTT-3.2.2-14]
    failConnection(connection, RETAIN_NOT_SUPPORTED, DETAIL_RETAIN);
  } else {
    return true;
  }
  return false;
}

/**
 * A message that was received before: QoS 2 whose identifier is not released [MQTT-4.3.3-10], or a
 * DUP whose first copy is still at work. Counts against our Receive Maximum unless it is known.
 */
function isRepeated(connection: Connection): bool {
  const session = sessionAt(connection.session);
  const identifier = publishPacketIdentifier;
  const kind: u32 = qos == 1 ? PUBACK : PUBREC;
  const known = qos == 2 && hasInbound(session, identifier);
  if (!known) {
    const receiveMaximum = limitIn(connection.limits, LIMIT_RECEIVE_MAXIMUM);
    if (connection.version == 5 && connection.inboundOpen >= receiveMaximum) {
      // [MQTT-3.3.4-9]
      failConnection(connection, RECEIVE_MAXIMUM_EXCEEDED, DETAIL_RECEIVE_MAXIMUM);
      return true;
    }
    // 3.1.1 [MQTT-4.3.2-2], 5.0 [MQTT-4.3.2-5]: once answered, the identifier is free again
    if (
      !(qos == 1 && dup && session.orphans != 0 && adoptOrphan(connection, kind, identifier))
    ) {
      return false;
    }
    connection.inboundOpen++;
    return true;
  }
  if (session.orphans != 0 && adoptOrphan(connection, kind, identifier)) return true;
  // 3.1.1 [MQTT-4.3.3-2], 5.0 [MQTT-4.3.3-8]
  acknowledge(connection, kind, identifier, SUCCESS);
  return true;
}

/** The publish policy. With VERDICT_DENIED the Reason Code stands in `answerReason`. */
function verdictFor(connection: Connection): u32 {
  const answered = connection.answered;
  connection.answered = 0; // it is for this packet and no other
  if (isSys(connection)) {
    connection.answerReason = <u8>NOT_AUTHORIZED; // $SYS is the server's own [MQTT-4.7.2-1]
    return VERDICT_DENIED;
  }
  if (connection.policy == POLICY_ALLOW) return VERDICT_ALLOWED;
  if (connection.policy == POLICY_DENY) {
    connection.answerReason = <u8>NOT_AUTHORIZED;
    return VERDICT_DENIED;
  }
  if (answered) {
    const verdict = connection.answerReason == SUCCESS ? VERDICT_ALLOWED : VERDICT_DENIED;
    if (answered == ANSWER_KEPT) rememberVerdict(connection, topic, qos, retain, verdict);
    return verdict;
  }
  const verdict = cachedVerdict(connection, topic, qos, retain);
  if (verdict == VERDICT_DENIED) connection.answerReason = <u8>NOT_AUTHORIZED;
  if (verdict != VERDICT_UNKNOWN) return verdict;
  const entry = changetype<TopicEntry>(topic);
  const row = addRow(ROW_AUTHORIZE, connection.handle);
  if (row == 0) {
    connection.answerReason = <u8>QUOTA_EXCEEDED;
    return VERDICT_DENIED;
  }
  pinTopic(topic); // until the host has read the row
  setColumn(row, 2, qos);
  setColumn(row, 3, retain);
  setColumn(row, 4, entry.bytes);
  setColumn(row, 5, entry.length);
  return VERDICT_UNKNOWN;
}

/** By the name that the client gave, or that an interceptor did. */
@inline
function isSys(connection: Connection): bool {
  const name = changetype<TopicEntry>(topic);
  const mount = connection.mount;
  if (name.length < SYS_BYTES) return false;
  if (load<u32>(name.bytes) == SYS) return true;
  if (mount == 0 || !isBelowMount(mount, name.bytes, name.length)) return false;
  const skip = mountedBytes(mount, name.bytes, name.length);
  return name.length >= SYS_BYTES + skip && load<u32>(name.bytes + skip) == SYS;
}

/**
 * The control plane answers for the PUBLISH that waits; `keep` lets later ones of the topic go by
 * the same answer.
 */
export function answerPublish(connection: Connection, reasonCode: u32, keep: u32): void {
  const isVerdict = reasonCode == SUCCESS || reasonCode == NOT_AUTHORIZED;
  connection.answered = keep && isVerdict ? ANSWER_KEPT : ANSWER_ONCE;
  connection.answerReason = <u8>reasonCode;
}
const ANSWER_ONCE: u8 = 1;
const ANSWER_KEPT: u8 = 2;

/** Not routed. MQTT 5 is told why in the acknowledgement; 3.x has no word for it [MQTT-3.3.5-2]. */
function refuse(connection: Connection, reasonCode: u32): void {
  const entry = changetype<TopicEntry>(topic);
  tellDropped(sessionHandle(connection), DROP_NOT_AUTHORIZED, qos, entry.bytes, entry.length);
  answerRefused(connection, reasonCode);
}

function answerRefused(connection: Connection, reasonCode: u32): void {
  if (qos == 0) return;
  connection.inboundOpen++;
  const kind: u32 = qos == 1 ? PUBACK : PUBREC;
  // A PUBREC that says no failure is followed by PUBREL, and so is every one of 3.x.
  if (kind == PUBREC && (connection.version != 5 || reasonCode < REASON_FAILURE)) {
    addInbound(sessionAt(connection.session), publishPacketIdentifier);
  }
  acknowledge(connection, kind, publishPacketIdentifier, reasonCode);
}

function hasValidPayload(connection: Connection): bool {
  if (!limitIn(connection.limits, LIMIT_VALIDATE_PAYLOAD)) return true;
  return publishPayloadFormat != 1 || isPayloadFormatValid();
}

function refusePayload(connection: Connection): void {
  if (connection.version == 5 && qos != 0) answerRefused(connection, PAYLOAD_FORMAT_INVALID);
  else failConnection(connection, PAYLOAD_FORMAT_INVALID, DETAIL_PAYLOAD_FORMAT);
}

function sessionHandle(connection: Connection): u32 {
  return connection.session == 0 ? 0 : sessionAt(connection.session).handle;
}

function routePublish(connection: Connection, packetAt: u32, bodyAt: u32, end: u32): void {
  const from = connection.session;
  if (hasChanged(connection)) {
    if (!setRoutedByInterceptor(connection)) return;
  } else {
    setSourceFromPacket(publishExpiry < 0 ? EXPIRY_NONE : <u32>publishExpiry);
    clearTemplates();
    if (connection.mount != 0) lookThroughTemplates(connection.mount);
    if (publishTopicAlias == 0 && (connection.version != 5 || publishIsPlain)) {
      // As it came is as it leaves: flags and identifier are set per receiver.
      const identifierAt = bodyAt + 2 + publishTopicLength - packetAt;
      adoptTemplate(layoutOf(connection.version, qos), packetAt, end - packetAt, identifierAt);
    }
    const expiresAt = expiryFrom(clock, publishExpiry);
    setRouted(topic, from, publisherOf(connection), qos, retain, expiresAt, 0);
  }
  if (connection.role == ROLE_CLIENT) {
    setRoutedOwner(from);
    clearOnlyIdentifiers();
    for (let i: u32 = 0; i < publishSubscriptionIdentifierCount; i++) {
      addOnlyIdentifier(load<u32>(subscriptionIdentifiers + (i << 2)));
    }
  }
  // [MQTT-3.3.4-1]: QoS 0 has no answer, QoS 1 PUBACK, QoS 2 PUBREC
  if (qos == 0) beginHostPublish(0, AWAIT_NOBODY);
  else if (!acceptQos(connection)) {
    releaseRouted();
    clearOnlyIdentifiers();
    return;
  }
  const bytes = sourcePayloadLength + sourceTopicLength;
  const reason = routeAndRetain(connection);
  releaseRouted();
  clearOnlyIdentifiers();
  if (qos == 0) return;
  if (reason == QUOTA_EXCEEDED) {
    // Nobody has it. MQTT 5 is told, perhaps behind other answers; 3.x is not acknowledged.
    if (connection.version != 5) failConnection(connection, QUOTA_EXCEEDED, DETAIL_QUOTA);
    if (qos == 2) removeInbound(sessionAt(from), publishPacketIdentifier);
  }
  endPublish(connection.version == 5 ? reason : SUCCESS, bytes);
  if (takeOwnWaits() && connection.session != 0) pump(sessionAt(connection.session));
}

function setSourceFromPacket(expiry: u32): void {
  const entry = changetype<TopicEntry>(topic);
  setSource(
    entry.bytes, entry.length, publishForwardAt, publishForwardLength, publishPayloadAt,
    publishPayloadLength, expiry,
  );
}

/** By an interceptor, or by the time that it took. */
function hasChanged(connection: Connection): bool {
  if (connection.interception == 0) return false;
  return publishExpiry >= 0 || replacementFor(connection) != 0;
}

/**
 * The message that interceptors let pass or made. False when it has expired meanwhile: nobody gets
 * it, its publisher is answered as if somebody had [MQTT-3.3.2-5].
 */
function setRoutedByInterceptor(connection: Connection): bool {
  const came = receivedAt(connection);
  const message = takeReplacement(connection);
  const expiresAt = message == 0
    ? expiryFrom(came, publishExpiry)
    : messageAt(message).expiresAt;
  if (message == 0) setSourceFromPacket(remainingExpiry(expiresAt));
  else setSourceFromMessage(message);
  clearTemplates();
  const publisher = sessionHandle(connection);
  if (message != 0) fillReplacement(message, publisher);
  setRouted(topic, connection.session, publisher, qos, retain, expiresAt, message);
  if (expiresAt == 0 || expiresAt > clock || came == clock) return true;
  tellDropped(publisher, DROP_EXPIRED, qos, sourceTopicAt, sourceTopicLength);
  releaseRouted();
  answerRefused(connection, SUCCESS);
  return false;
}

function fillReplacement(message: u32, publisher: u32): void {
  setMessageFacts(message, qos, messageRetain(message));
  messageAt(message).publisher = publisher;
}

/**
 * What a receiver in this process is told of who sent it: the session; of a server, which is but
 * one, how it numbered the packet (client role, DELIVER_PUBLISHER).
 */
function publisherOf(connection: Connection): u32 {
  if (connection.role != ROLE_CLIENT) return sessionHandle(connection);
  const identifier = qos == 0 ? 0 : publishPacketIdentifier;
  return identifier | (publishTopicAlias << DELIVER_ALIAS_SHIFT);
}

/**
 * From here on the message is ours: it counts against our Receive Maximum, and a QoS 2 identifier
 * is remembered.
 */
function acceptQos(connection: Connection): bool {
  connection.inboundOpen++;
  if (qos == 2 && !addInbound(sessionAt(connection.session), publishPacketIdentifier)) {
    // Routed, it would come twice: its DUP could not be told from a new message.
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return false;
  }
  beginPeerPublish(
    changetype<u32>(connection), qos == 1 ? PUBACK : PUBREC, publishPacketIdentifier,
  );
  return true;
}

function routeAndRetain(connection: Connection): u32 {
  const entry = changetype<TopicEntry>(topic);
  if (!prepareRoute()) return refuseForRoom(connection, entry);
  // 3.1.1 [MQTT-3.3.1-12], 5.0 [MQTT-3.3.1-8]
  const keeps = retain && connection.role != ROLE_CLIENT;
  const kept = keeps && storeRetained(entry.bytes, entry.length);
  if (keeps && !kept && connection.version == 5 && qos != 0) {
    discardRouted();
    return QUOTA_EXCEEDED;
  }
  deliverRouted();
  if (routedMatched == 0 && connection.role == ROLE_CLIENT && hasOnlyIdentifiers()) {
    // Identifiers that nobody here gave: all whose filter matches.
    clearOnlyIdentifiers();
    if (!prepareRoute()) return refuseForRoom(connection, entry);
    deliverRouted();
  }
  if (isDurable() && !storeBeforeAnswer(connection)) return refuseForRoom(connection, entry);
  // 0x10 is for servers to say: a client acknowledges also what nobody here wants [MQTT-4.5.0-2].
  if (routedMatched == 0) return connection.role == ROLE_CLIENT ? SUCCESS : NO_MATCHING_SUBSCRIBERS;
  if (routedTaken == 0 && qos != 0 && !kept) return refuseForRoom(connection, entry);
  return SUCCESS;
}

/** With a durable engine: what must be on disk before the answer leaves. False = no memory. */
function storeBeforeAnswer(connection: Connection): bool {
  const entry = changetype<TopicEntry>(topic);
  const session = sessionAt(connection.session);
  if (connection.role == ROLE_CLIENT) return qos != 2 || !session.durable || storeWhenHandled();
  const retained = retain ? retainedBits(sourcePayloadLength) : 0;
  if (qos == 0) {
    if (retain) tellRetained(retainedFind(entry.bytes, entry.length), entry.bytes, entry.length);
    return true;
  }
  const inbound = qos == 2 && session.durable ? publishPacketIdentifier : 0;
  const message = retained != 0 || inbound != 0 ? ensureMessage() : routedMessage;
  return closeGate(session.handle, message, retained, inbound);
}

/** Client role: the identifier of a QoS 2 message is stored when its handlers are done with it. */
function storeWhenHandled(): bool {
  const hold = makeHold();
  if (hold == 0) return false;
  holdAt(hold).stores = 1;
  return true;
}

function refuseForRoom(connection: Connection, entry: TopicEntry): u32 {
  tellDropped(sessionHandle(connection), DROP_NO_RECEIVER_ROOM, qos, entry.bytes, entry.length);
  return QUOTA_EXCEEDED;
}
