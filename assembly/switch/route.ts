/**
 * Routing: one message to all who subscribe to its topic.
 *
 * In this order: (1) match; (2) when the message has QoS 1 or 2, make every queue entry that its
 * receivers need (prepared-entries.ts), so that exhaustion is a refusal and never half a fan-out;
 * (3) give it to each receiver: straight into its slab when nothing waits before it, as a row for a
 * handler, or into its queue.
 */
import {
  COUNT_PUBLISH_SENT, DROP_NOT_AUTHORIZED, DROP_QUEUE_FULL, LIMIT_SLAB_WATERMARK, POLICY_ALLOW,
  SESSION_HANDLER,
} from '../shared/abi';
import {
  RECEIVER_BYTES, RECEIVER_SHARED, RECEIVERS_AT, Receiver, Receivers, receiversOf,
} from '../index/match-cache';
import { Group, pinGroup } from '../index/shared-group';
import { pinTopic, unpinTopic } from '../index/topic-intern';
import { STATE_OPEN, Connection, connectionAt } from '../session/connection';
import { OFFER_TAKEN, entryWasSent, offerEntry } from '../session/delivery';
import { count, limitIn } from '../session/limits';
import { holdMessage } from '../session/message-block';
import {
  sourcePayloadLength, sourceTopicAt, sourceTopicLength, viewMount,
} from '../session/publish-writer';
import { FLAG_RETAIN, entryAt, freeEntry } from '../session/queue-entry';
import { receiveVerdict } from '../session/receive-verdicts';
import { Session, sessionAt, takeIdentifier } from '../session/session';
import {
  appendTemplate, hasTemplate, layoutOf, lookThroughTemplates, templateBytes,
} from '../session/templates';
import { VERDICT_ALLOWED, VERDICT_DENIED, VERDICT_UNKNOWN } from '../session/verdict-table';
import { isAtBound } from '../session/withholding';
import { spend } from './budget';
import { deliverQos0, deliverToHandler, pumpAside, queueQos0 } from './deliver-qos0';
import { tellDropped } from './events';
import { freezeEntry } from './gate';
import { discardPrepared, prepareEntries, takePrepared } from './prepared-entries';
import { leavesBehindAnswer } from './publisher';
import {
  resolve, resolveMember, toGroup, toIdentifier, toIdentifiersLength, toQos, toRetain, toSession,
} from './receiver';
import {
  clearOutcome, countMatched, countTaken, routedMessage, routedPublisherHandle, routedQos,
  routedTopic,
} from './routed';
import { chooseMember } from './shared-choice';

/** Who receives the message in hand, between `prepareRoute` and what ends it. */
let receiverList: u32 = 0;

/**
 * Matches the message in hand and takes the memory that its fan-out needs. False when memory is
 * exhausted: nothing has changed then. Else `deliverRouted` or `discardRouted` follows.
 */
export function prepareRoute(): bool {
  clearOutcome();
  pinTopic(routedTopic); // aliases intern topics too, and may evict others
  receiverList = receiversOf(routedTopic);
  if (receiverList != 0 && (routedQos == 0 || prepareEntries(receiverList))) return true;
  unpinTopic(routedTopic);
  return false;
}

/** Gives the message to all its receivers. */
export function deliverRouted(): void {
  const receivers = changetype<Receivers>(receiverList).count;
  let at = receiverList + RECEIVERS_AT;
  // [MQTT-3.3.2-3] [MQTT-4.5.0-1]: to all who match, and to nobody else
  for (let i: u32 = 0; i < receivers; i++) {
    deliver(changetype<Receiver>(at));
    at += RECEIVER_BYTES;
  }
  spend(receivers);
  unpinTopic(routedTopic);
}

/** Nobody gets it. */
export function discardRouted(): void {
  if (routedQos != 0) discardPrepared();
  unpinTopic(routedTopic);
}

function deliver(receiver: Receiver): void {
  let entry: u32 = 0;
  if (receiver.flags & RECEIVER_SHARED) {
    let member: u32 = 0;
    if (routedQos != 0) {
      entry = takePrepared();
      member = entryAt(entry).hold;
      entryAt(entry).hold = 0;
    } else {
      const group = changetype<Group>(receiver.subscription);
      member = chooseMember(group, routedTopic, routedPublisherHandle);
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
  countMatched();
  const session = sessionAt(toSession);
  const verdict = session.receivePolicy == POLICY_ALLOW ? VERDICT_ALLOWED : verdictNow(session);
  if (verdict == VERDICT_DENIED) {
    countTaken(); // not owed: no reason to refuse the publisher
    tellDropped(session.handle, DROP_NOT_AUTHORIZED, toQos, sourceTopicAt, sourceTopicLength);
    if (entry != 0) freeEntry(changetype<Session>(0), entry);
  } else if (entry != 0) {
    deliverEntry(session, entry, verdict);
  } else {
    countTaken();
    if (session.mount != viewMount) lookThroughTemplates(session.mount);
    if (session.kind & SESSION_HANDLER) deliverToHandler(session);
    else if (routedQos != 0 && canQueueOwn(session)) queueQos0(session);
    else deliverQos0(session, verdict);
  }
}

/** QoS 0 to the publisher itself, which is owed an answer first; only where nothing else waits. */
function canQueueOwn(session: Session): bool {
  if (session.pendingHead != 0 || session.connection == 0 || toIdentifiersLength != 0) return false;
  return leavesBehindAnswer(toSession);
}

/** What is allowed must not overtake what still waits for its verdict. */
function verdictNow(session: Session): u32 {
  const verdict = receiveVerdict(session, routedTopic);
  return verdict == VERDICT_ALLOWED && session.asking != 0 ? VERDICT_UNKNOWN : verdict;
}

function deliverEntry(session: Session, pointer: u32, verdict: u32): void {
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
  countTaken();
  if (session.pendingHead != pointer) return; // others wait before it
  if (leavesBehindAnswer(toSession)) return;
  const goes = session.connection != 0 && verdict == VERDICT_ALLOWED;
  if (goes && sendAtOnce(session, connectionAt(session.connection), pointer)) return;
  pumpAside(session);
}

/**
 * A durable session gets it when it is stored; an offline one at its bound does not get it at all.
 */
function freeze(session: Session, pointer: u32): void {
  if (session.connection == 0 && isAtBound(session, sourcePayloadLength)) {
    tellDropped(session.handle, DROP_QUEUE_FULL, routedQos, sourceTopicAt, sourceTopicLength);
    freeEntry(session, pointer);
    return;
  }
  freezeEntry(session, pointer);
  countTaken();
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
      connection.txBytes >= limitIn(connection.limits, LIMIT_SLAB_WATERMARK)
  ) return false;
  if (session.mount != viewMount) lookThroughTemplates(session.mount);
  const layout = layoutOf(connection.version, entry.qos);
  if (connection.maximumPacketSize != 0 && templateBytes(layout) > connection.maximumPacketSize) {
    return false;
  }
  if (!hasTemplate(layout)) return false;
  const packetIdentifier = takeIdentifier(session, pointer, session.inflightCount);
  if (packetIdentifier == 0) return false;
  entry.packetIdentifier = <u16>packetIdentifier;
  if (!appendTemplate(connection, layout, toRetain, entry.qos, packetIdentifier)) return false;
  count(COUNT_PUBLISH_SENT, 1);
  entryWasSent(session, pointer);
  return true;
}
