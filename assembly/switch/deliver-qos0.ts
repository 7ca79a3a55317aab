/**
 * QoS 0 to one receiver: now or not at all. Straight from the source into its slab, or as a row for
 * a handler. QoS 0 is owed to nobody: who does not get it is no reason to refuse the publisher.
 */
import {
  COUNT_PUBLISH_SENT, DROP_MEMORY, DROP_PACKET_TOO_LARGE, DROP_QUEUE_FULL, DROP_SLAB_FULL,
  LIMIT_SLAB_BYTES,
} from '../shared/abi';
import { PUBLISH_RETAIN } from '../shared/control-packet';
import { STATE_OPEN, Connection, connectionAt } from '../session/connection';
import { OFFER_TAKEN, offerEntry, pump } from '../session/delivery';
import { deliverSourceToHandler } from '../session/handler-delivery';
import { count, limitIn } from '../session/limits';
import { holdMessage } from '../session/message-block';
import {
  frameBytes, setFrameIdentifiers, setSource, sourceExpiry, sourceForwardAt, sourceForwardLength,
  sourcePayloadAt, sourcePayloadLength, sourceTopicAt, sourceTopicLength, writeFrame,
} from '../session/publish-writer';
import { FLAG_RETAIN, createEntry, entryAt } from '../session/queue-entry';
import { Session } from '../session/session';
import { reserveForPublish, slabLimit } from '../session/slab';
import { appendTemplate, hasTemplate, layoutOf, templateBytes } from '../session/templates';
import { aliasWasSent, chooseAlias } from '../session/topic-alias';
import { VERDICT_ALLOWED } from '../session/verdict-table';
import { isAtBound } from '../session/withholding';
import { tellDropped } from './events';
import { toIdentifier, toIdentifiersAt, toIdentifiersLength, toRetain } from './receiver';
import { ensureMessage, routedMessage, routedPublisherHandle, routedTopic } from './routed';

/** Below this a slab is never the one that is too large. */
const SLAB_BYTES_SMALL: u32 = 65536;

/** An offline session does not keep it [MQTT-4.3.1-1]. */
export function deliverQos0(session: Session, verdict: u32): void {
  if (session.connection == 0) return;
  const connection = connectionAt(session.connection);
  if (connection.state != STATE_OPEN) return;
  if (verdict != VERDICT_ALLOWED || session.queuedQos0 != 0) {
    if (queueQos0(session)) pumpAside(session);
    return;
  }
  if (isSlabFull(connection)) {
    tellDropped(session.handle, DROP_SLAB_FULL, 0, sourceTopicAt, sourceTopicLength);
    return;
  }
  if (connection.aliasOutMax != 0 || toIdentifiersLength != 0) {
    sendOwnFrame(session, connection);
    return;
  }
  const layout = layoutOf(connection.version, 0);
  // 5.0 [MQTT-3.1.2-24] [MQTT-3.1.2-25]
  if (connection.maximumPacketSize != 0 && templateBytes(layout) > connection.maximumPacketSize) {
    dropTooLarge(session);
  } else if (!hasTemplate(layout)) {
    sendOwnFrame(session, connection);
  } else if (appendTemplate(connection, layout, toRetain & PUBLISH_RETAIN, 0, 0)) {
    count(COUNT_PUBLISH_SENT, 1);
  } else {
    tellDropped(session.handle, DROP_MEMORY, 0, sourceTopicAt, sourceTopicLength);
  }
}

@inline
function isSlabFull(connection: Connection): bool {
  const bytes = connection.txBytes;
  if (bytes <= SLAB_BYTES_SMALL) return false;
  return bytes > slabLimit(limitIn(connection.limits, LIMIT_SLAB_BYTES));
}

/** Counts as delivered. */
function dropTooLarge(session: Session): void {
  tellDropped(session.handle, DROP_PACKET_TOO_LARGE, 0, sourceTopicAt, sourceTopicLength);
}

/** A QoS 0 packet with an alias or Subscription Identifiers: made for this receiver alone. */
function sendOwnFrame(session: Session, connection: Connection): void {
  setFrameIdentifiers(toIdentifiersAt, connection.version == 5 ? toIdentifiersLength : 0);
  const serial = chooseAlias(connection, sourceTopicAt, sourceTopicLength, 0);
  const bytes = frameBytes(connection.version, 0);
  // 5.0 [MQTT-3.1.2-24] [MQTT-3.1.2-25]
  if (connection.maximumPacketSize != 0 && bytes > connection.maximumPacketSize) {
    dropTooLarge(session);
    return;
  }
  const at = reserveForPublish(connection, bytes);
  if (at == 0) {
    tellDropped(session.handle, DROP_MEMORY, 0, sourceTopicAt, sourceTopicLength);
    return;
  }
  writeFrame(at, connection.version, toRetain & PUBLISH_RETAIN, 0, 0);
  aliasWasSent(connection, serial);
  count(COUNT_PUBLISH_SENT, 1);
}

/** QoS 0 to a handler: a row when it has credit, else an entry within the bound of its queue. */
export function deliverToHandler(session: Session): void {
  if (session.pendingHead == 0 && session.credit != 0) {
    const went = deliverSourceToHandler(
      session, routedTopic, toRetain, toIdentifier, routedPublisherHandle, routedMessage,
    );
    if (went) return;
  }
  if (queueQos0(session)) pumpAside(session);
}

/** QoS 0 that has to wait here: an entry within the bound of the queue. False: it was dropped. */
export function queueQos0(session: Session): bool {
  const message = isAtBound(session, 0) ? 0 : ensureMessage();
  const pointer = message == 0 ? 0 : createEntry();
  if (pointer == 0) {
    const reason = message == 0 && isAtBound(session, 0) ? DROP_QUEUE_FULL : DROP_MEMORY;
    tellDropped(session.handle, reason, 0, sourceTopicAt, sourceTopicLength);
    return false;
  }
  const entry = entryAt(pointer);
  entry.message = message;
  holdMessage(message);
  entry.identifiers = toIdentifier;
  if (toRetain) entry.flags |= FLAG_RETAIN;
  return offerEntry(session, pointer) == OFFER_TAKEN;
}

/** Pumping sets the source to other messages: the one in hand is put back. */
export function pumpAside(session: Session): void {
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
