/** Messages of the host itself, and what its handlers say to theirs. */
import { internTopic } from '../index/topic-intern';
import { pump } from '../session/delivery';
import { clock, setClock } from '../session/limits';
import {
  createMessage, messageAt, releaseMessage, setMessageFacts, topicOf,
} from '../session/message-block';
import { setSourceFromMessage } from '../session/publish-writer';
import { ENTRY_SENT, entryAt } from '../session/queue-entry';
import { completeSent } from '../session/receiver-answers';
import { entryInSlot, sessionAt, sessionOf } from '../session/session';
import { clearTemplates } from '../session/templates';
import { NO_MATCHING_SUBSCRIBERS, QUOTA_EXCEEDED, SUCCESS } from '../shared/reason-code';
import { closeGate, isDurable, retainedBits, tellRetained } from '../switch/gate';
import { beginHostPublish, endPublish } from '../switch/publisher';
import { storeRetained } from '../switch/retain';
import { deliverRouted, discardRouted, prepareRoute } from '../switch/route';
import { releaseRouted, routedMatched, routedTaken, setRouted } from '../switch/routed';

/**
 * A block for a message; the host writes topic, properties and payload to `messageBody` in this
 * order. 0 = no memory.
 */
export function allocateMessage(topicLength: u32, propertiesLength: u32, payloadLength: u32): u32 {
  return createMessage(topicLength, propertiesLength, payloadLength);
}
export function messageBody(message: u32): u32 {
  return topicOf(message);
}
export function freeMessage(message: u32): void {
  releaseMessage(message);
}

export function fillMessage(
  message: u32, qos: u32, retain: u32, expirySeconds: f64, publisher: u32,
): void {
  const block = messageAt(message);
  setMessageFacts(message, qos, retain);
  block.expiresAt = expirySeconds < 0 ? 0 : clock + expirySeconds * 1000;
  block.publisher = publisher;
}

/**
 * Routes a message of the host and takes its block over. Answers a Reason Code; `token` is told
 * when all have agreed.
 */
export function publish(
  message: u32, qos: u32, retain: u32, expirySeconds: f64, publisher: u32, token: u32, awaits: u32,
  now: f64,
): u32 {
  setClock(now);
  fillMessage(message, qos, retain, expirySeconds, publisher);
  const topic = internTopic(topicOf(message), messageAt(message).topicLength);
  if (topic == 0) {
    releaseMessage(message);
    return QUOTA_EXCEEDED;
  }
  setSourceFromMessage(message);
  clearTemplates();
  setRouted(
    topic, sessionOf(publisher), publisher, qos, retain, messageAt(message).expiresAt, message,
  );
  beginHostPublish(qos == 0 ? 0 : token, awaits);
  let reason = SUCCESS;
  if (!prepareRoute()) {
    reason = QUOTA_EXCEEDED;
  } else if (retain && !storeRetained(topicOf(message), messageAt(message).topicLength)) {
    discardRouted();
    reason = QUOTA_EXCEEDED;
  } else {
    deliverRouted();
    if (routedMatched == 0) reason = NO_MATCHING_SUBSCRIBERS;
    else if (routedTaken == 0 && qos != 0 && !retain) reason = QUOTA_EXCEEDED;
  }
  if (isDurable() && reason != QUOTA_EXCEEDED && !storeHostMessage(message, qos, retain)) {
    reason = QUOTA_EXCEEDED;
  }
  releaseRouted();
  if (qos != 0) endPublish(reason, 0);
  return reason;
}

function storeHostMessage(message: u32, qos: u32, retain: u32): bool {
  const block = messageAt(message);
  if (qos != 0) {
    const retained = retain ? retainedBits(block.payloadLength) : 0;
    return closeGate(block.publisher, message, retained, 0);
  }
  if (retain) {
    tellRetained(block.payloadLength == 0 ? 0 : message, topicOf(message), block.topicLength);
  }
  return true;
}

/**
 * A handler is done with a QoS 1 or 2 delivery: its publisher may be answered, its place is free.
 */
export function settle(handle: u32, token: u32, reasonCode: u32, now: f64): bool {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer == 0) return false;
  const session = sessionAt(pointer);
  const entry = entryInSlot(session, token);
  if (
    entry == 0 || entryAt(entry).packetIdentifier != token || entryAt(entry).state != ENTRY_SENT
  ) {
    return false;
  }
  session.credit++;
  completeSent(session, entry, reasonCode);
  return true;
}
/** A handler is done with so many QoS 0 deliveries. */
export function grant(handle: u32, deliveries: u32, now: f64): void {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer == 0) return;
  sessionAt(pointer).credit += deliveries;
  pump(sessionAt(pointer));
}
