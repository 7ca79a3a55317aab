/**
 * Delivery: from a session's queue to its receiver, and the receiver's acknowledgements back.
 *
 * `pump` sends what may be sent: the queue in its order, within the receiver's Receive Maximum and
 * while its slab is below the watermark. `offer` takes a routed message in: straight to the wire
 * when nothing waits before it, else to the queue.
 */
import {
  COUNT_PUBLISH_SENT, DROP_EXPIRED, DROP_MEMORY, DROP_NOT_AUTHORIZED, DROP_PACKET_TOO_LARGE,
  DROP_QUEUE_FULL, DROP_REFUSED_BY_RECEIVER, LIMIT_MAXIMUM_QOS, LIMIT_QUEUE_BYTES,
  LIMIT_RETAIN_AVAILABLE, LIMIT_SLAB_WATERMARK, POLICY_ALLOW, PUBLISHED_EXPIRED, SESSION_HANDLER,
  SESSION_HOLDS,
} from '../shared/abi';
import { PUBCOMP, PUBREL } from '../shared/control-packet';
import {
  PACKET_IDENTIFIER_NOT_FOUND, PACKET_TOO_LARGE, QOS_NOT_SUPPORTED, RETAIN_NOT_SUPPORTED, SUCCESS,
} from '../shared/reason-code';
import { release } from '../memory/blocks';
import { MEMORY_MESSAGE } from '../shared/memory-class';
import { unpinGroup } from '../index/shared-group';
import { tellDone, tellDropped, tellMoved, tellRelease } from '../switch/events';
import { makeHold } from '../switch/publisher';
import { Connection, STATE_OPEN, connectionAt } from './connection';
import { deliverEntryToHandler } from './handler-delivery';
import { REASON_FAILURE, holdAt, releaseHold, sendAck } from './holds';
import { clock, count, limitOf } from './limits';
import { isExpired, messageAt, messageBytes, topicOf } from './message-block';
import {
  frameBytes, setFrameIdentifier, setFrameIdentifiers, setSourceFromMessage, writeFrame,
} from './publish-writer';
import {
  ENTRY_PENDING, ENTRY_RELEASED, ENTRY_RERELEASE, ENTRY_RESEND, ENTRY_SENT, FLAG_COMPLETION,
  FLAG_DUP, FLAG_IDENTIFIERS, FLAG_MOVED, FLAG_RETAIN, QueueEntry, appendEntry, entryAt,
  freeEntry, releaseEntryMessage, setReleasedNumber, storedNumber, unlinkEntry,
} from './queue-entry';
import { forgetReceive, verdictForMessage } from './receive-verdicts';
import {
  Session, bindIdentifier, entryInSlot, giveIdentifier, nextStoredIdentifier, sessionAt,
  takeIdentifier,
} from './session';
import { reserve, reserveForPublish } from './slab';
import { wakeReplay } from './replay';
import { starve } from './starving';
import { aliasWasSent, chooseAlias } from './topic-alias';
import { VERDICT_ALLOWED, VERDICT_UNKNOWN } from './verdicts';

const DUP_FLAG: u32 = 8;
const RETAIN_FLAG: u32 = 1;
const PUBREL_BYTES: u32 = 4;
const PUBREL_BYTE: u8 = 0x62;

/** What became of an entry that was offered to a session. */
export const OFFER_TAKEN: u32 = 0;
export const OFFER_DROPPED: u32 = 1;

// --- receivers that make publishers wait -------------------------------------------------------

let holdingSessions: u32 = 0;
export function firstHoldingSession(): u32 {
  return holdingSessions;
}

function linkHolding(session: Session): void {
  session.holdingPrev = 0;
  session.holdingNext = holdingSessions;
  const pointer = changetype<u32>(session);
  if (holdingSessions != 0) sessionAt(holdingSessions).holdingPrev = pointer;
  holdingSessions = pointer;
}
function unlinkHolding(session: Session): void {
  if (session.holdingPrev != 0) sessionAt(session.holdingPrev).holdingNext = session.holdingNext;
  else holdingSessions = session.holdingNext;
  if (session.holdingNext != 0) sessionAt(session.holdingNext).holdingPrev = session.holdingPrev;
}

/** True when one more message of `bytes` would pass the bound of the queue. */
@inline
export function isAtBound(session: Session, bytes: u32): bool {
  return session.queueCount + session.gated >= session.queueMessagesMax ||
    session.queueBytes + bytes > limitOf(LIMIT_QUEUE_BYTES);
}

function startHolding(session: Session, pointer: u32, hold: u32): void {
  entryAt(pointer).hold = hold;
  holdAt(hold).waiting++;
  if (session.holdingCount == 0) {
    session.holdingHead = pointer;
    linkHolding(session);
  }
  session.holdingCount++;
  session.holdingBytes += messageBytes(entryAt(pointer).message);
}

/** `pointer` no longer keeps its publisher waiting. It is still in the queue. */
function stopHolding(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  const hold = entry.hold;
  entry.hold = 0;
  session.holdingCount--;
  if (entry.message != 0) session.holdingBytes -= messageBytes(entry.message);
  if (session.holdingHead == pointer) {
    let next = entry.next;
    while (next != 0 && (entryAt(next).hold == 0 || entryAt(next).flags & FLAG_COMPLETION)) {
      next = entryAt(next).next;
    }
    session.holdingHead = next;
  }
  if (session.holdingCount == 0) {
    session.holdingHead = 0;
    session.holdingBytes = 0;
    unlinkHolding(session);
  }
  releaseHold(hold, SUCCESS);
}

/**
 * The queue has shrunk: publishers whose message is within the bound now need not wait longer,
 * oldest first.
 */
function relax(session: Session): void {
  while (
    session.holdingCount != 0 &&
    session.queueCount - session.holdingCount < session.queueMessagesMax &&
    session.queueBytes - session.holdingBytes <= limitOf(LIMIT_QUEUE_BYTES)
  ) stopHolding(session, session.holdingHead);
  allowHoldingWithinBound(session);
}

/**
 * What comes may make publishers wait again once the queue is within its bound. Not before: a ring
 * of clients would let each other's acknowledgements go for ever, and its queues grow without end.
 */
export function allowHoldingWithinBound(session: Session): void {
  if (session.noHold == 0 || isAtBound(session, 0)) return;
  const isHandler = (session.kind & SESSION_HANDLER) != 0;
  if (isHandler || (session.connection != 0 && mayHold(connectionAt(session.connection)))) {
    session.noHold = 0;
  }
}

/**
 * This receiver makes nobody wait any more: it is paused itself, offline, or had its time. Its
 * queue stays.
 */
export function releaseReceiverHolds(session: Session): void {
  session.noHold = 1;
  while (session.holdingCount != 0) stopHolding(session, session.holdingHead);
}

/** Since when the oldest held publisher of this session waits. */
export function holdingSince(session: Session): f64 {
  return session.holdingHead == 0 ? clock : holdAt(entryAt(session.holdingHead).hold).since;
}

/** Only who is read can acknowledge, and only who can acknowledge may be waited for. */
@inline
function mayHold(connection: Connection): bool {
  return !connection.paused && connection.state == STATE_OPEN;
}

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
  if (completes && entry.qos != 0) hold = makeHold();
  if (hold == 0 && isAtBound(session, bytes)) {
    const mayWait = session.noHold == 0 && (session.connection != 0 ||
      session.kind & SESSION_HANDLER);
    if (mayWait && entry.qos != 0) hold = makeHold();
    if (hold == 0) {
      dropOffered(session, pointer, DROP_QUEUE_FULL);
      return OFFER_DROPPED;
    }
  }
  appendEntry(session, pointer);
  // [MQTT-4.6.0-5] [MQTT-4.6.0-6]: behind what came before
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
  const watermark = limitOf(LIMIT_SLAB_WATERMARK);
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
  if (entry.state == ENTRY_RERELEASE) return sendPubrelAgain(session, connection, entry);
  // [MQTT-3.3.4-9] [MQTT-4.9.0-2]
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
  if (entry.flags & FLAG_IDENTIFIERS) {
    setFrameIdentifiers(entry.identifiers + 4, load<u32>(entry.identifiers));
  } else {
    setFrameIdentifier(entry.identifiers);
  }
  const serial = chooseAlias(
    connection, topicOf(entry.message), messageAt(entry.message).topicLength,
  );
  const bytes = frameBytes(connection.version, entry.qos);
  if (connection.maximumPacketSize != 0 && bytes > connection.maximumPacketSize) {
    // [MQTT-3.1.2-24] [MQTT-3.1.2-25]: not sent, and done with as if it had been
    const reason = isUplink(session) ? PACKET_TOO_LARGE : SUCCESS; // [MQTT-3.2.2-15]
    finishEntry(session, pointer, reason, DROP_PACKET_TOO_LARGE);
    return true;
  }
  if (entry.qos != 0 && !hasIdentifier(session, pointer)) return waitForMemory(session);
  const at = reserveForPublish(connection, bytes);
  if (at == 0) return waitForMemory(session);
  // [MQTT-3.3.1-3] [MQTT-4.3.2-2] [MQTT-4.3.3-2]: DUP is our own, 0 the first time
  let flags: u32 = entry.flags & FLAG_RETAIN ? RETAIN_FLAG : 0;
  if (entry.flags & FLAG_DUP) flags |= DUP_FLAG; // [MQTT-3.3.1-1] [MQTT-4.4.0-1]
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
  if (entry.packetIdentifier != 0) return bindIdentifier(session, pointer, entry.packetIdentifier);
  // 5.0 [MQTT-4.3.2-1] [MQTT-4.3.3-1]: not in use by any other exchange
  entry.packetIdentifier = <u16>takeIdentifier(session, pointer, session.queueCount);
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

// --- the receiver's answers --------------------------------------------------------------------

/** The entry that was sent with this identifier and is in one of the states; 0 = none. */
function sentEntry(session: Session, packetIdentifier: u32): u32 {
  const pointer = entryInSlot(session, packetIdentifier);
  if (pointer == 0 || <u32>entryAt(pointer).packetIdentifier != packetIdentifier) return 0;
  return pointer;
}

/** PUBACK [MQTT-4.3.2-4]. False when no QoS 1 message has this identifier. */
export function receivePuback(session: Session, packetIdentifier: u32, reasonCode: u32): bool {
  const pointer = sentEntry(session, packetIdentifier);
  if (pointer == 0) return false;
  const entry = entryAt(pointer);
  if (entry.qos != 1 || entry.state != ENTRY_SENT) return false;
  completeSent(session, pointer, reasonCode);
  return true;
}

/**
 * PUBREC: answered with PUBREL [MQTT-4.3.3-4], or the end of the exchange when it refuses
 * [MQTT-4.3.3-3].
 */
export function receivePubrec(
  session: Session, connection: Connection, packetIdentifier: u32, reasonCode: u32,
): void {
  const pointer = sentEntry(session, packetIdentifier);
  if (pointer == 0 || entryAt(pointer).qos != 2 || isUnsent(entryAt(pointer))) {
    if (reasonCode < REASON_FAILURE) {
      sendAck(connection, PUBREL, packetIdentifier, PACKET_IDENTIFIER_NOT_FOUND);
    }
    return;
  }
  const entry = entryAt(pointer);
  // [MQTT-4.4.0-2] [MQTT-4.8.2-6]: refused is acknowledged; no other member is asked
  if (reasonCode >= REASON_FAILURE) {
    completeSent(session, pointer, reasonCode);
    return;
  }
  if (entry.state == ENTRY_SENT) {
    // [MQTT-4.3.3-6]: nor can it be, its message is let go
    entry.state = ENTRY_RELEASED; // [MQTT-4.3.3-5]: the PUBLISH is never sent again
    // It has arrived: its publisher need not wait for room in this queue.
    if (entry.hold != 0 && !(entry.flags & FLAG_COMPLETION)) stopHolding(session, pointer);
    const number = releaseStored(session, pointer);
    relax(session);
    if (number != 0) {
      tellRelease(session.handle, packetIdentifier, number); // PUBREL leaves when that is on disk
      return;
    }
  }
  // 3.1.1 [MQTT-4.3.3-1] [MQTT-4.6.0-4]: in the order in which the PUBRECs came
  sendAck(connection, PUBREL, packetIdentifier, SUCCESS);
}

/** Lets the message go; a stored entry keeps its number, which is answered (0 = not stored). */
function releaseStored(session: Session, pointer: u32): f64 {
  const entry = entryAt(pointer);
  const number = storedNumber(session, entry);
  releaseEntryMessage(session, entry);
  if (entry.flags & FLAG_IDENTIFIERS) release(MEMORY_MESSAGE, entry.identifiers);
  if (entry.group != 0) unpinGroup(entry.group);
  entry.flags &= ~FLAG_IDENTIFIERS;
  setReleasedNumber(entry, number);
  return number;
}

/** PUBCOMP ends the exchange. False when none is open. */
export function receivePubcomp(session: Session, packetIdentifier: u32, reasonCode: u32): bool {
  const pointer = sentEntry(session, packetIdentifier);
  if (pointer == 0 || entryAt(pointer).state != ENTRY_RELEASED) return false;
  // 0x92 here only says that the peer had released it already: the message arrived.
  completeSent(session, pointer, reasonCode == PACKET_IDENTIFIER_NOT_FOUND ? SUCCESS : reasonCode);
  return true;
}

@inline
function isUnsent(entry: QueueEntry): bool {
  return entry.state == ENTRY_PENDING || entry.state == ENTRY_RESEND;
}

/**
 * An exchange is over: identifier and quota are free again [MQTT-4.9.0-1], and the next message may
 * go.
 */
export function completeSent(session: Session, pointer: u32, reasonCode: u32): void {
  const entry = entryAt(pointer);
  session.inflightCount--;
  if (reasonCode >= REASON_FAILURE && entry.message != 0 && !(session.kind & SESSION_HOLDS)) {
    const message = entry.message;
    tellDropped(
      session.handle, DROP_REFUSED_BY_RECEIVER, entry.qos, topicOf(message),
      messageAt(message).topicLength,
    );
  }
  removeEntry(session, pointer, reasonCode);
  pump(session);
}

/** Ends an entry that never left: expired, too large. Its publisher need not wait for it. */
function finishEntry(session: Session, pointer: u32, reasonCode: u32, dropReason: u32): void {
  const entry = entryAt(pointer);
  const message = entry.message;
  tellDropped(
    session.handle, dropReason, entry.qos, topicOf(message), messageAt(message).topicLength,
  );
  removeEntry(session, pointer, reasonCode);
}

/** Takes an entry out of the queue and frees it; whoever waited for it is told. */
export function removeEntry(session: Session, pointer: u32, reasonCode: u32): void {
  const entry = entryAt(pointer);
  if (entry.hold != 0) {
    if (entry.flags & FLAG_COMPLETION) releaseHold(entry.hold, reasonCode);
    else stopHolding(session, pointer);
    entry.hold = 0;
  }
  if (session.durable && session.handle != 0) {
    const number = storedNumber(session, entry);
    if (number != 0) tellDone(session.handle, number, entry.message == 0 ? 1 : 0);
  }
  unlinkEntry(session, pointer);
  freeEntry(session, pointer);
  relax(session);
}

/** Memory ran out while a message was on its way to a receiver. */
export function dropForMemory(session: Session, qos: u32, topicAt: u32, topicLength: u32): void {
  tellDropped(session.handle, DROP_MEMORY, qos, topicAt, topicLength);
}

// --- connections come and go -------------------------------------------------------------------

/**
 * The connection of a session is gone (or taken over). Everything unacknowledged will be sent
 * again, with its identifiers and in its order, when a connection comes back [MQTT-4.4.0-1]
 * [MQTT-4.6.0-1].
 */
export function rewind(session: Session): void {
  releaseReceiverHolds(session);
  let pointer = session.queueHead;
  while (pointer != 0 && pointer != session.pendingHead) {
    const entry = entryAt(pointer);
    if (entry.state == ENTRY_SENT) entry.state = ENTRY_RESEND;
    else if (entry.state == ENTRY_RELEASED) entry.state = ENTRY_RERELEASE;
    pointer = entry.next;
  }
  session.pendingHead = session.queueHead;
  session.inflightCount = 0;
}

/**
 * Binds a session to a connection that has been accepted. `pump` follows when CONNACK has been
 * written.
 */
export function attach(session: Session, connection: Connection): void {
  session.connection = changetype<u32>(connection);
  connection.session = changetype<u32>(session);
  session.noHold = 0;
  forgetReceive(session);
}

export function detach(session: Session): void {
  if (session.connection == 0) return;
  connectionAt(session.connection).session = 0;
  session.connection = 0;
  rewind(session);
}

/**
 * An entry of a shared group moves from the member that left to another: a new delivery, without
 * DUP.
 */
export function appendMoved(from: Session, to: Session, pointer: u32, identifier: u32): void {
  const entry = entryAt(pointer);
  const packetIdentifier = <u32>entry.packetIdentifier;
  if (packetIdentifier != 0 && entryInSlot(from, packetIdentifier) == pointer) {
    giveIdentifier(from, packetIdentifier);
  }
  const number = storedNumber(from, entry);
  unlinkEntry(from, pointer);
  entry.packetIdentifier = to.durable ? <u16>nextStoredIdentifier(to) : 0;
  if (number != 0) tellMoved(from.handle, to.durable ? to.handle : 0, number, pointer);
  if (entry.flags & FLAG_COMPLETION && !(to.kind & SESSION_HOLDS)) {
    // This member does not settle: its queue has the message, and that is what is waited for.
    if (entry.hold != 0) releaseHold(entry.hold, SUCCESS);
    entry.hold = 0;
    entry.flags &= ~FLAG_COMPLETION;
  }
  entry.state = ENTRY_PENDING;
  entry.flags = (entry.flags & ~FLAG_DUP) | FLAG_MOVED;
  entry.identifiers = identifier;
  appendEntry(to, pointer);
  if (to.pendingHead == 0) to.pendingHead = pointer;
}

/**
 * A stored entry joins its session's queue. It is never dropped; at the bound it keeps its
 * publisher waiting.
 */
export function offerStored(session: Session, pointer: u32, hold: u32): void {
  const entry = entryAt(pointer);
  const full = isAtBound(session, messageBytes(entry.message));
  appendEntry(session, pointer);
  if (session.pendingHead == 0) session.pendingHead = pointer;
  if (full && hold != 0 && session.noHold == 0 && session.connection != 0) {
    startHolding(session, pointer, hold);
  }
}
