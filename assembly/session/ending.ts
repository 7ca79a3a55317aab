/**
 * The end of things: a connection that closes, a session whose state is given up, a member that
 * leaves a shared group. Long queues, and very many sessions, are freed a piece per turn.
 */
import { DROP_SESSION_ENDED } from '../shared/abi';
import { SUCCESS } from '../shared/reason-code';
import { Subscription } from '../index/subscription';
import { unsubscribe } from '../index/subscription-index';
import { chooseHeir, chooseLastHeir } from '../switch/shared-choice';
import { hasRoomForRows, tellDropped, tellEnded } from '../switch/events';
import { endInterception } from '../switch/interception';
import { Connection, STATE_CLOSED, connectionAt, freeConnection } from './connection';
import { pump } from './delivery';
import { orphanHolds } from './holds';
import { messageAt, topicOf } from './message-block';
import { forgetOrphans } from './orphans';
import {
  ENTRY_PENDING, ENTRY_RESEND, FLAG_DUP, FLAG_STORED, entryAt, groupOf, successOf,
} from './queue-entry';
import { removeEntry } from './queue-end';
import { endReplays } from './replay';
import { appendMoved, detach, joinMember, rewind } from './resume';
import {
  Session, freeSession, giveIdentifier, releaseInbound, sessionAt, voidSession,
} from './session';
import { dropSlab } from './slab';
import { forgetStarved } from './starving';
import { releaseReceiverHolds } from './withholding';

/** Entries and records that one turn frees. */
const FREED_PER_PIECE: u32 = 4096;

/** Sessions whose end is under way, in the order in which they ended. */
let endingHead: u32 = 0;
let endingTail: u32 = 0;

/** The transport is gone: the session goes on without it, the record is freed. */
export function closeConnection(connection: Connection): void {
  connection.state = STATE_CLOSED;
  orphanHolds(connection);
  if (connection.session != 0) leave(sessionAt(connection.session));
  dropSlab(connection);
  endInterception(connection);
  freeConnection(connection);
}

/** A session loses its connection: what a group's other members can do for it moves to them. */
export function leave(session: Session): void {
  if (session.connection == 0) return;
  orphanHolds(connectionAt(session.connection));
  detach(session);
  moveShared(session);
}

/**
 * Unacknowledged QoS 1 messages of shared subscriptions go to another member; a QoS 2 message only
 * if no part of its exchange has begun: else it is completed to this client or to nobody
 * [MQTT-4.8.2-4] [MQTT-4.8.2-5].
 */
function moveShared(session: Session): void {
  let pointer = session.queueHead;
  // What moves is written down by the host, row by row: the rest of a very long queue stays.
  while (pointer != 0 && hasRoomForRows()) {
    const next = entryAt(pointer).next;
    if (mayMove(pointer)) {
      moveTo(chooseHeir(groupOf(entryAt(pointer)), changetype<u32>(session)), session, pointer);
    }
    pointer = next;
  }
}

function mayMove(pointer: u32): bool {
  const entry = entryAt(pointer);
  if (entry.message == 0 || entry.group == 0) return false;
  return entry.state == ENTRY_PENDING || (entry.qos == 1 && entry.state == ENTRY_RESEND);
}
/** The queue has something that another member of a group could take. */
export function hasShared(session: Session): bool {
  let pointer = session.queueHead;
  while (pointer != 0 && !mayMove(pointer)) pointer = entryAt(pointer).next;
  return pointer != 0;
}

/** What came for a member that is not connected goes to one who is. */
export function passOn(session: Session, pointer: u32): void {
  if (session.connection != 0 || !mayMove(pointer)) return;
  moveTo(chooseHeir(groupOf(entryAt(pointer)), changetype<u32>(session)), session, pointer);
}
/**
 * An entry that is stored for a member that has ended since goes to another. False when there is
 * none: the entry still belongs to nobody.
 */
export function inherit(pointer: u32, from: u32): bool {
  const entry = entryAt(pointer);
  const heir = entry.group == 0 ? 0 : chooseLastHeir(groupOf(entry), 0);
  if (heir == 0) return false;
  const subscription = changetype<Subscription>(heir);
  const number = messageAt(entry.message).number + <f64>entry.copy;
  joinMember(sessionAt(subscription.session), pointer, subscription.identifier, number, from);
  pump(sessionAt(subscription.session));
  return true;
}

/** True when another member took the entry. */
function moveTo(heir: u32, session: Session, pointer: u32): bool {
  if (heir == 0) return false;
  const subscription = changetype<Subscription>(heir);
  appendMoved(session, sessionAt(subscription.session), pointer, subscription.identifier);
  pump(sessionAt(subscription.session));
  return true;
}

/** Ends Session State. The handle is void at once; the queue is freed piece by piece. */
export function endSession(session: Session): void {
  leave(session);
  endReplays(session);
  forgetStarved(session);
  forgetOrphans(session);
  releaseReceiverHolds(session);
  rewind(session);
  const pointer = changetype<u32>(session);
  while (load<u32>(pointer) != 0) unsubscribe(load<u32>(pointer));
  voidSession(session);
  session.endNext = 0;
  if (endingTail != 0) sessionAt(endingTail).endNext = pointer;
  else endingHead = pointer;
  endingTail = pointer;
}

/** Frees a piece of what has ended; true when more is left. The host is told of what it keeps. */
export function advanceEndings(): bool {
  let budget = FREED_PER_PIECE;
  while (endingHead != 0 && budget != 0) {
    const pointer = endingHead;
    const session = sessionAt(pointer);
    while (session.queueHead != 0 && budget != 0 && hasRoomForRows()) {
      budget--;
      endEntry(session, session.queueHead);
    }
    if (session.queueHead != 0 || budget == 0) return true;
    if (session.endedHandle != 0 && !tellEnded(session.endedHandle)) return true;
    budget--;
    endingHead = session.endNext;
    if (endingHead == 0) endingTail = 0;
    freeSession(session);
  }
  return endingHead != 0;
}

function endEntry(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  if (mayMove(pointer)) {
    const heir = chooseLastHeir(groupOf(entry), changetype<u32>(session));
    if (moveTo(heir, session, pointer)) return;
  }
  if (entry.message != 0) {
    tellDropped(
      0, DROP_SESSION_ENDED, entry.qos, topicOf(entry.message),
      messageAt(entry.message).topicLength,
    );
  }
  removeEntry(session, pointer, SUCCESS);
}

/**
 * Client role: the server has lost the session, 5.0 [MQTT-3.2.2-5]. What was not acknowledged is
 * published anew (what is not stored with fresh identifiers); an exchange that the server had taken
 * over (PUBREC) is complete.
 */
export function restartExchanges(session: Session): void {
  rewind(session);
  releaseInbound(session);
  forgetOrphans(session);
  let pointer = session.queueHead;
  while (pointer != 0) {
    const entry = entryAt(pointer);
    const next = entry.next;
    if (entry.message == 0) {
      removeEntry(session, pointer, successOf(entry));
    } else if (entry.packetIdentifier != 0) {
      // What is stored keeps the identifier under which the store knows it.
      if (!(session.durable && entry.flags & FLAG_STORED)) {
        giveIdentifier(session, entry.packetIdentifier);
        entry.packetIdentifier = 0;
      }
      entry.state = ENTRY_PENDING;
      entry.flags &= ~FLAG_DUP;
    }
    pointer = next;
  }
}
