/**
 * Delivery to handlers in this process: a message becomes a row for the host. `credit` is how many
 * more the handler takes at once; the rest waits in the session's queue, as it does for a slow
 * socket.
 */
import {
  DELIVER_EXPIRY, DELIVER_FLAGS, DELIVER_IDENTIFIER, DELIVER_MESSAGE, DELIVER_PAYLOAD_AT,
  DELIVER_PAYLOAD_LENGTH, DELIVER_PROPERTIES_AT, DELIVER_PROPERTIES_LENGTH, DELIVER_PUBLISHER,
  DELIVER_TOKEN, DELIVER_TOPIC_AT, DELIVER_TOPIC_LENGTH, DELIVER_TOPIC_SERIAL,
} from '../shared/abi';
import { TopicEntry, pinTopic } from '../index/topic-intern';
import { addDeliveryRow, setColumn } from '../switch/events';
import { entryWasSent, hasIdentifier } from './delivery';
import {
  forwardOf, holdMessage, messageAt, payloadOf, remainingExpiry, topicOf, topicSerialOf,
} from './message-block';
import {
  sourceExpiry, sourceForwardAt, sourceForwardLength, sourcePayloadAt, sourcePayloadLength,
  sourceTopicAt, sourceTopicLength,
} from './publish-writer';
import { FLAG_DUP, FLAG_RETAIN, FLAG_IDENTIFIERS, entryAt } from './queue-entry';
import { Session } from './session';
import { starve } from './starving';

const ROW_RETAIN: u32 = 4;
const ROW_DUP: u32 = 8;

/**
 * QoS 0, straight from the source: no entry, no block of its own. False when the host must read
 * first.
 */
export function deliverSourceToHandler(
  session: Session, topic: u32, retain: u32, identifier: u32, publisher: u32, message: u32,
): bool {
  const row = addDeliveryRow(session.handle);
  if (row == 0) return false;
  session.credit--;
  const serial = topic == 0 ? 0 : changetype<TopicEntry>(topic).serial;
  setColumn(row, DELIVER_TOPIC_SERIAL, serial);
  // The row keeps what it points to: the message, or else the interned topic.
  if (message == 0) pinTopic(topic);
  setColumn(row, DELIVER_TOPIC_AT, message == 0 ? sourceTopicAt : topicOf(message));
  setColumn(row, DELIVER_TOPIC_LENGTH, sourceTopicLength);
  setColumn(row, DELIVER_PAYLOAD_AT, sourcePayloadAt);
  setColumn(row, DELIVER_PAYLOAD_LENGTH, sourcePayloadLength);
  setColumn(row, DELIVER_PROPERTIES_AT, sourceForwardAt);
  setColumn(row, DELIVER_PROPERTIES_LENGTH, sourceForwardLength);
  setColumn(row, DELIVER_FLAGS, retain ? ROW_RETAIN : 0);
  setColumn(row, DELIVER_TOKEN, 0);
  setColumn(row, DELIVER_PUBLISHER, publisher);
  setColumn(row, DELIVER_MESSAGE, message);
  setColumn(row, DELIVER_IDENTIFIER, identifier);
  setColumn(row, DELIVER_EXPIRY, sourceExpiry);
  if (message != 0) holdMessage(message);
  return true;
}

/**
 * A queued entry becomes a row. QoS 1 and 2 carry a token that `settle` names. False when it must
 * wait.
 */
export function deliverEntryToHandler(session: Session, pointer: u32): bool {
  const entry = entryAt(pointer);
  if (entry.qos != 0 && !hasIdentifier(session, pointer)) return false;
  const row = addDeliveryRow(session.handle);
  if (row == 0) {
    starve(session);
    return false;
  }
  session.credit--;
  const message = entry.message;
  const block = messageAt(message);
  let flags = <u32>entry.qos;
  if (entry.flags & FLAG_RETAIN) flags |= ROW_RETAIN;
  if (entry.flags & FLAG_DUP) flags |= ROW_DUP;
  setColumn(row, DELIVER_TOPIC_SERIAL, topicSerialOf(message));
  setColumn(row, DELIVER_TOPIC_AT, topicOf(message));
  setColumn(row, DELIVER_TOPIC_LENGTH, block.topicLength);
  setColumn(row, DELIVER_PAYLOAD_AT, payloadOf(message));
  setColumn(row, DELIVER_PAYLOAD_LENGTH, block.payloadLength);
  setColumn(row, DELIVER_PROPERTIES_AT, forwardOf(message));
  setColumn(row, DELIVER_PROPERTIES_LENGTH, block.forwardLength);
  setColumn(row, DELIVER_FLAGS, flags);
  setColumn(row, DELIVER_TOKEN, entry.packetIdentifier);
  setColumn(row, DELIVER_PUBLISHER, block.publisher);
  setColumn(row, DELIVER_MESSAGE, message);
  setColumn(row, DELIVER_IDENTIFIER, entry.flags & FLAG_IDENTIFIERS ? 0 : entry.identifiers);
  setColumn(row, DELIVER_EXPIRY, remainingExpiry(block.expiresAt));
  holdMessage(message);
  entryWasSent(session, pointer);
  return true;
}
