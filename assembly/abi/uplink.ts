/** Client role: messages to the server, and the Packet Identifiers of what is no message. */
import { MEMORY_MESSAGE } from '../shared/memory-class';
import { release } from '../memory/blocks';
import { Connection, STATE_OPEN, connectionAt } from '../session/connection';
import { offerEntry, pump } from '../session/delivery';
import { holdAt } from '../session/holds';
import { count, limitOf, setClock } from '../session/limits';
import { messageAt, messageBytes, releaseMessage } from '../session/message-block';
import {
  frameBytes, setFrameIdentifiers, setSource, setSourceFromMessage, sourceTopicAt,
  sourceTopicLength, writeFrame,
} from '../session/publish-writer';
import {
  ENTRY_PENDING, FLAG_COMPLETION, FLAG_RETAIN, createEntry, entryAt, freeEntry,
} from '../session/queue-entry';
import { removeEntry } from '../session/queue-end';
import {
  Session, entryInSlot, giveIdentifier as freeIdentifier, sessionAt, sessionOf, takeIdentifier,
} from '../session/session';
import { reserveForPublish, slabLimit } from '../session/slab';
import { aliasWasSent, chooseAlias } from '../session/topic-alias';
import { isAtBound } from '../session/withholding';
import {
  AWAIT_HANDLERS, COUNT_PUBLISH_SENT, EXPIRY_NONE, LIMIT_SLAB_BYTES, PUBLISHED_NO_ROOM,
  PUBLISH_LATER,
} from '../shared/abi';
import { PACKET_TOO_LARGE, QUOTA_EXCEEDED, SUCCESS } from '../shared/reason-code';
import { closeGate, freezeEntry } from '../switch/gate';
import { beginHostPublish, endPublish, makeHold } from '../switch/publisher';
import { exchangeArea } from './exchange';
import { fillMessage } from './messages';

/**
 * Gives a message to the session of an uplink, to be published to its server. QoS 0 leaves at once
 * when nothing waits before it. Everything else waits in the session's queue; `token` is told how
 * it ended (0 = nobody asks). Takes the block over.
 */
export function publishTo(
  handle: u32, message: u32, qos: u32, retain: u32, expirySeconds: f64, token: u32, now: f64,
): u32 {
  setClock(now);
  fillMessage(message, qos, retain, expirySeconds, 0);
  const pointer = sessionOf(handle);
  let reason = QUOTA_EXCEEDED;
  if (pointer != 0) {
    const session = sessionAt(pointer);
    reason = qos == 0 && mayLeaveAtOnce(session)
      ? publishBlock(connectionAt(session.connection), message, retain, token)
      : publishQueued(session, message, qos, retain, token);
  }
  releaseMessage(message);
  return reason;
}

/**
 * QoS 0 that leaves with this turn, straight from the exchange area: Topic Name, forwarded
 * properties, payload. PUBLISH_LATER, and nothing was done, when something waits before it or the
 * peer does not keep up: `publishTo` is for that.
 */
export function publishNow(
  handle: u32, topicLength: u32, forwardLength: u32, payloadLength: u32, retain: u32,
  expirySeconds: f64,
): u32 {
  const pointer = sessionOf(handle);
  if (pointer == 0 || !mayLeaveAtOnce(sessionAt(pointer))) return PUBLISH_LATER;
  const forwardAt = exchangeArea + topicLength;
  setSource(
    exchangeArea, topicLength, forwardAt, forwardLength, forwardAt + forwardLength, payloadLength,
    expirySeconds < 0 ? EXPIRY_NONE : <u32>expirySeconds,
  );
  const reason = writePublish(connectionAt(sessionAt(pointer).connection), retain);
  return reason == QUOTA_EXCEEDED ? PUBLISH_LATER : reason;
}

/** Nothing waits before it, and the peer keeps up. */
function mayLeaveAtOnce(session: Session): bool {
  if (session.connection == 0 || session.pendingHead != 0) return false;
  const connection = connectionAt(session.connection);
  return connection.state == STATE_OPEN &&
    connection.txBytes <= slabLimit(limitOf(LIMIT_SLAB_BYTES));
}

function publishBlock(connection: Connection, message: u32, retain: u32, token: u32): u32 {
  setSourceFromMessage(message);
  const reason = writePublish(connection, retain);
  if (reason != SUCCESS) return reason;
  beginHostPublish(token, AWAIT_HANDLERS);
  endPublish(SUCCESS, 0);
  return SUCCESS;
}

/** The packet of the source, QoS 0. */
function writePublish(connection: Connection, retain: u32): u32 {
  setFrameIdentifiers(0, 0);
  const serial = chooseAlias(connection, sourceTopicAt, sourceTopicLength, 0);
  const bytes = frameBytes(connection.version, 0);
  if (connection.maximumPacketSize != 0 && bytes > connection.maximumPacketSize) {
    return PACKET_TOO_LARGE; // [MQTT-3.2.2-15]
  }
  const at = reserveForPublish(connection, bytes);
  if (at == 0) return QUOTA_EXCEEDED;
  writeFrame(at, connection.version, retain, 0, 0);
  aliasWasSent(connection, serial);
  count(COUNT_PUBLISH_SENT, 1);
  return SUCCESS;
}

function publishQueued(session: Session, message: u32, qos: u32, retain: u32, token: u32): u32 {
  if (isAtBound(session, messageBytes(message))) return QUOTA_EXCEEDED;
  const made = createEntry();
  if (made == 0) return QUOTA_EXCEEDED;
  const entry = entryAt(made);
  entry.message = message;
  messageAt(message).references++;
  entry.qos = <u8>qos;
  if (retain) entry.flags = FLAG_RETAIN;
  beginHostPublish(token, AWAIT_HANDLERS);
  if (qos != 0 && session.durable) return publishStored(session, made, message);
  const hold = makeHold();
  if (hold == 0 && token != 0) {
    freeEntry(session, made);
    return QUOTA_EXCEEDED;
  }
  if (qos == 0 && hold != 0) {
    // QoS 0 is done with when it has been sent; `offerEntry` makes only QoS 1 and 2 wait.
    entry.hold = hold;
    entry.flags |= FLAG_COMPLETION;
    holdAt(hold).waiting++;
  }
  offerEntry(session, made);
  pump(session);
  // The publisher's state belongs to this message again: nothing that `pump` does changes it.
  endPublish(SUCCESS, 0);
  return SUCCESS;
}

/** It joins the queue when it has been stored, and leaves when its turn comes. */
function publishStored(session: Session, pointer: u32, message: u32): u32 {
  freezeEntry(session, pointer);
  const reason = closeGate(0, message, 0, 0) ? SUCCESS : QUOTA_EXCEEDED;
  if (reason != SUCCESS) beginHostPublish(0, AWAIT_HANDLERS); // the caller tells
  endPublish(reason, 0);
  return reason;
}

/** Drops the oldest message that was never sent; false when there is none. */
export function shedOldest(handle: u32): bool {
  const found = sessionOf(handle);
  if (found == 0) return false;
  const session = sessionAt(found);
  let pointer = session.pendingHead;
  while (pointer != 0 && entryAt(pointer).state != ENTRY_PENDING) pointer = entryAt(pointer).next;
  if (pointer == 0) return false;
  removeEntry(session, pointer, PUBLISHED_NO_ROOM);
  return true;
}

/**
 * A Packet Identifier for SUBSCRIBE or UNSUBSCRIBE, which no message uses until it is given back
 * [MQTT-2.2.1-3]. An entry that is in no queue keeps its place. 0 = no memory, or all are in use.
 */
export function reserveIdentifier(handle: u32): u32 {
  const pointer = sessionOf(handle);
  if (pointer == 0) return 0;
  const session = sessionAt(pointer);
  const made = createEntry();
  if (made == 0) return 0;
  const packetIdentifier = takeIdentifier(session, made, session.inflightCount);
  if (packetIdentifier == 0) release(MEMORY_MESSAGE, made);
  else entryAt(made).packetIdentifier = <u16>packetIdentifier;
  return packetIdentifier;
}
export function giveIdentifier(handle: u32, packetIdentifier: u32): void {
  const pointer = sessionOf(handle);
  if (pointer == 0) return;
  const session = sessionAt(pointer);
  const entry = entryInSlot(session, packetIdentifier);
  if (entry == 0 || entryAt(entry).packetIdentifier != packetIdentifier) return;
  if (entryAt(entry).message != 0 || entryAt(entry).qos != 0) return;
  freeIdentifier(session, packetIdentifier);
  release(MEMORY_MESSAGE, entry);
}
