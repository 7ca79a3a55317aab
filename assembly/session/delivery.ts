/**
 * Delivery: from a session's queue to its receiver.
 *
 * `pump` sends what may be sent: the queue in its order, within the receiver's Receive Maximum and
 * while its slab is below the watermark. `offerEntry` takes a routed message in: behind what waits
 * before it.
 */
import {
  COUNT_PUBLISH_SENT, DROP_EXPIRED, DROP_MEMORY, DROP_NOT_AUTHORIZED, DROP_PACKET_TOO_LARGE,
  DROP_QUEUE_FULL, DROP_REFUSED_BY_RECEIVER, LIMIT_MAXIMUM_QOS, LIMIT_RETAIN_AVAILABLE,
  LIMIT_SLAB_WATERMARK, POLICY_ALLOW, PUBLISHED_EXPIRED, PUBLISHED_NO_ROOM, SESSION_HANDLER,
  SESSION_HOLDS,
} from '../shared/abi';
import { PUBLISH_DUP, PUBLISH_RETAIN } from '../shared/control-packet';
import {
  PACKET_TOO_LARGE, QOS_NOT_SUPPORTED, RETAIN_NOT_SUPPORTED, SUCCESS,
} from '../shared/reason-code';
import { STATE_OPEN, Connection, connectionAt } from './connection';
import { deliverEntryToHandler } from './handler-delivery';
import { holdAt } from './holds';
import { count, limitIn, limitOf } from './limits';
import { isExpired, messageAt, messageBytes, topicOf } from './message-block';
import { isBelowMount } from './mount-point';
import {
  frameBytes, lookThrough, setFrameIdentifier, setFrameIdentifiers, setSourceFromMessage,
  sourceTopicAt, sourceTopicLength, writeFrame,
} from './publish-writer';
import { finishEntry, removeEntry } from './queue-end';
import {
  ENTRY_PENDING, ENTRY_RELEASED, ENTRY_RERELEASE, ENTRY_SENT, FLAG_COMPLETION, FLAG_DUP,
  FLAG_IDENTIFIERS, FLAG_RELEASING, FLAG_RETAIN, QueueEntry, appendEntry, entryAt, freeEntry,
  keptIdentifiersAt,
  keptIdentifiersLength,
} from './queue-entry';
import { verdictForMessage } from './receive-verdicts';
import { wakeReplay } from './replay';
import { Session, bindIdentifier, takeIdentifier } from './session';
import { reserve, reserveForPublish } from './slab';
import { starve } from './starving';
import { aliasWasSent, chooseAlias } from './topic-alias';
import { VERDICT_ALLOWED, VERDICT_UNKNOWN } from './verdict-table';
import { isAtBound, startHolding } from './withholding';
import { tellDropped } from '../switch/events';
import { awaitsHandlers, makeHold } from '../switch/publisher';

/** What became of an entry that was offered to a session. */
export const OFFER_TAKEN: u32 = 0;
const OFFER_DROPPED: u32 = 1;

const PUBREL_BYTES: u32 = 4;
const PUBREL_BYTE: u8 = 0x62;

// --- taking a message in -----------------------------------------------------------------------

/**
 * Queues a filled entry (message, qos, identifiers, flags set; it belongs to `session` from here
 * on). OFFER_DROPPED when the session is at its bound and may not make the publisher wait: the
 * entry is freed then.
 */
export function offerEntry(session: Session, pointer: u32): u32 {
  const entry = entryAt(pointer);
  const bytes = messageBytes(entry.message);
  const completes = session.kind & SESSION_HOLDS;
  let hold: u32 = 0;
  if (isAtBound(session, bytes)) dropExpired(session);
  if (completes && entry.qos != 0 && awaitsHandlers()) hold = makeHold();
  if (hold == 0 && isAtBound(session, bytes)) {
    const mayWait = session.noHold == 0 && (session.connection != 0 ||
      session.kind & SESSION_HANDLER);
    if (mayWait && entry.qos != 0) hold = makeHold();
    if (hold == 0) {
      dropOffered(session, pointer, DROP_QUEUE_FULL);
      return OFFER_DROPPED;
    }
  }
  // [MQTT-4.6.0-5] [MQTT-4.6.0-6] 3.1.1 [MQTT-3.1.2-5]: behind what came before
  appendEntry(session, pointer);
  if (session.pendingHead == 0) session.pendingHead = pointer;
  if (hold != 0) {
    if (completes) {
      entry.hold = hold;
      entry.flags |= FLAG_COMPLETION;
      holdAt(hold).waiting++;
    } else {
      startHolding(session, pointer, hold);
    }
  }
  return OFFER_TAKEN;
}

/** A full queue gives up what nobody wants any more before it refuses what is new. */
function dropExpired(session: Session): void {
  while (session.pendingHead != 0) {
    const entry = entryAt(session.pendingHead);
    if (entry.state != ENTRY_PENDING || !isExpired(entry.message)) return;
    finishEntry(session, session.pendingHead, SUCCESS, DROP_EXPIRED);
  }
}

function dropOffered(session: Session, pointer: u32, reason: u32): void {
  const entry = entryAt(pointer);
  const message = entry.message;
  tellDropped(session.handle, reason, entry.qos, topicOf(message), messageAt(message).topicLength);
  freeEntry(session, pointer);
}

// --- sending -----------------------------------------------------------------------------------

/** Sends what the receiver can take now. */
export function pump(session: Session): void {
  if (session.kind & SESSION_HANDLER) {
    pumpHandler(session);
  } else if (session.connection != 0) {
    pumpConnection(session, connectionAt(session.connection));
  }
  wakeReplay(session);
}

function pumpConnection(session: Session, connection: Connection): void {
  if (connection.state != STATE_OPEN) return;
  const watermark = limitIn(connection.limits, LIMIT_SLAB_WATERMARK);
  while (session.pendingHead != 0 && connection.txBytes < watermark) {
    if (!sendNext(session, connection)) return;
  }
}

function pumpHandler(session: Session): void {
  while (session.pendingHead != 0 && session.credit != 0) {
    const pointer = session.pendingHead;
    if (isExpired(entryAt(pointer).message)) {
      finishEntry(session, pointer, SUCCESS, DROP_EXPIRED);
    } else if (!deliverEntryToHandler(session, pointer)) {
      return;
    }
  }
}

/** The first pending entry goes out; false when it must wait. */
function sendNext(session: Session, connection: Connection): bool {
  const pointer = session.pendingHead;
  const entry = entryAt(pointer);
  if (entry.state == ENTRY_RERELEASE) {
    // Its release is being stored: `commitRelease` comes back.
    if (entry.flags & FLAG_RELEASING) return false;
    return sendPubrelAgain(session, connection, entry);
  }
  // [MQTT-3.3.4-7] [MQTT-3.3.4-9] [MQTT-4.9.0-2]; nothing but PUBLISH waits here [MQTT-3.3.4-8]
  if (entry.qos != 0 && session.inflightCount >= connection.sendQuota) return false;
  if (entry.state == ENTRY_PENDING && isExpired(entry.message)) {
    // [MQTT-3.3.2-5]
    finishEntry(session, pointer, isUplink(session) ? PUBLISHED_EXPIRED : SUCCESS, DROP_EXPIRED);
    return true;
  }
  if (isUplink(session) && entry.state == ENTRY_PENDING) {
    const reason = reasonOfServer(entry);
    if (reason != SUCCESS) {
      finishEntry(session, pointer, reason, DROP_REFUSED_BY_RECEIVER);
      return true;
    }
  }
  if (session.receivePolicy != POLICY_ALLOW) {
    const verdict = verdictForMessage(session, entry.message);
    if (verdict == VERDICT_UNKNOWN) return false;
    if (verdict != VERDICT_ALLOWED) {
      finishEntry(session, pointer, SUCCESS, DROP_NOT_AUTHORIZED);
      return true;
    }
  }
  setSourceFromMessage(entry.message);
  if (session.mount != 0) {
    if (!isBelowMount(session.mount, sourceTopicAt, sourceTopicLength)) {
      // From a member of its group that sees more than it does.
      finishEntry(session, pointer, SUCCESS, DROP_NOT_AUTHORIZED);
      return true;
    }
    lookThrough(session.mount);
  }
  if (entry.flags & FLAG_IDENTIFIERS) {
    setFrameIdentifiers(keptIdentifiersAt(entry), keptIdentifiersLength(entry));
  } else {
    setFrameIdentifier(entry.identifiers);
  }
  const serial = chooseAlias(
    connection, topicOf(entry.message), messageAt(entry.message).topicLength, entry.qos,
  );
  const bytes = frameBytes(connection.version, entry.qos);
  if (connection.maximumPacketSize != 0 && bytes > connection.maximumPacketSize) {
    // 5.0 [MQTT-3.1.2-24] [MQTT-3.1.2-25]: not sent, and done with as if it had been
    const reason = isUplink(session) ? PACKET_TOO_LARGE : SUCCESS; // [MQTT-3.2.2-15]
    finishEntry(session, pointer, reason, DROP_PACKET_TOO_LARGE);
    return true;
  }
  if (entry.qos != 0 && !hasIdentifier(session, pointer)) return waitForMemory(session);
  const at = reserveForPublish(connection, bytes);
  if (at == 0) return waitForSlab(session, connection, pointer);
  let flags: u32 = entry.flags & FLAG_RETAIN ? PUBLISH_RETAIN : 0;
  if (entry.flags & FLAG_DUP) flags |= PUBLISH_DUP; // [MQTT-3.3.1-1] [MQTT-4.4.0-1]
  writeFrame(at, connection.version, flags, entry.qos, entry.packetIdentifier);
  aliasWasSent(connection, serial);
  count(COUNT_PUBLISH_SENT, 1);
  entryWasSent(session, pointer);
  return true;
}

function waitForMemory(session: Session): bool {
  starve(session);
  return false;
}

/**
 * In the client role, when nothing is under way that could give memory back, no wait would end, and
 * all that is behind this message would wait with it: it is done with.
 */
function waitForSlab(session: Session, connection: Connection, pointer: u32): bool {
  if (!isUplink(session) || connection.txBytes != 0 || session.inflightCount != 0) {
    return waitForMemory(session);
  }
  finishEntry(session, pointer, PUBLISHED_NO_ROOM, DROP_MEMORY);
  return true;
}

/** The session of the client role towards its server. */
@inline
function isUplink(session: Session): bool {
  return session.kind == SESSION_HOLDS;
}

/** Client role: what the server said in CONNACK that it does not take, it is not sent. */
function reasonOfServer(entry: QueueEntry): u32 {
  if (<u32>entry.qos > limitOf(LIMIT_MAXIMUM_QOS)) return QOS_NOT_SUPPORTED; // [MQTT-3.2.2-11]
  const retained = entry.flags & FLAG_RETAIN && limitOf(LIMIT_RETAIN_AVAILABLE) == 0;
  return retained ? RETAIN_NOT_SUPPORTED : SUCCESS; // [MQTT-3.2.2-14]
}

/**
 * Gives an entry its Packet Identifier, or binds the one that it was stored with. False when it
 * must wait.
 */
export function hasIdentifier(session: Session, pointer: u32): bool {
  const entry = entryAt(pointer);
  // Sent again, it keeps the one it had. 3.1.1 [MQTT-2.3.1-3]
  if (entry.packetIdentifier != 0) return bindIdentifier(session, pointer, entry.packetIdentifier);
  // [MQTT-4.3.2-1] [MQTT-4.3.3-1]: not in use by any other exchange
  entry.packetIdentifier = <u16>takeIdentifier(session, pointer, session.inflightCount);
  return entry.packetIdentifier != 0;
}

/** PUBLISH is in the slab. QoS 0 is done with [MQTT-4.3.1-1]; QoS 1 and 2 wait for their answer. */
export function entryWasSent(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  if (entry.qos == 0) {
    removeEntry(session, pointer, SUCCESS);
    return;
  }
  // 5.0 [MQTT-4.3.2-3]: unacknowledged until its answer comes; it does not expire [MQTT-4.3.3-7]
  entry.state = ENTRY_SENT;
  entry.flags |= FLAG_DUP;
  session.inflightCount++;
  session.pendingHead = entry.next;
}

function sendPubrelAgain(session: Session, connection: Connection, entry: QueueEntry): bool {
  const at = reserve(connection, PUBREL_BYTES);
  if (at == 0) return waitForMemory(session);
  store<u8>(at, PUBREL_BYTE);
  store<u8>(at, 2, 1);
  store<u16>(at, bswap<u16>(entry.packetIdentifier), 2);
  entry.state = ENTRY_RELEASED;
  session.inflightCount++;
  session.pendingHead = entry.next;
  return true;
}
