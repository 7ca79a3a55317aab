/**
 * Replays of retained messages: a new subscription is sent what is retained under its filter
 * [MQTT-3.3.1-9]. A replay is a walk of the retained index that goes on while the receiver has
 * room, a piece at a time; nobody waits for it. Messages stored after it began are passed over: the
 * subscription itself brought those.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { SESSION_HANDLER, LIMIT_SLAB_WATERMARK } from '../shared/abi';
import { allocate, release } from '../memory/blocks';
import { walkDone, walkEnd, walkNext, walkStart } from '../index/retained-index';
import { STATE_OPEN, connectionAt } from './connection';
import { OFFER_TAKEN, offerEntry, pump } from './delivery';
import { limitOf } from './limits';
import { holdMessage, isExpired, messageAt } from './message-block';
import { FLAG_RETAIN, createEntry, entryAt } from './queue-entry';
import { Session, sessionAt } from './session';

/**
 * Steps of the walk that one piece may take, and messages that may wait in the queue before it
 * pauses.
 */
const STEPS_PER_PIECE: u32 = 512;
const QUEUED_MAX: u32 = 64;

/**
 * ```
 *  0      4      8             12
 *  +------+------+-------------+-----+
 *  | next | walk | identifier  | qos |
 *  +------+------+-------------+-----+
 * ```
 */
@unmanaged
class Replay {
  next: u32;
  walk: u32;
  identifier: u32;
  qos: u32;
}

/** Sessions with replays under way; each turn serves every one of them with a piece. */
let replaying: u32 = 0;
let retainedOrder: f64 = 0;

/** The place of the next retained message in the order of storing. */
export function nextRetainedOrder(): f64 {
  return ++retainedOrder;
}

/** Starts a replay. False when memory is exhausted. */
export function startReplay(
  session: Session, filterAt: u32, filterLength: u32, qos: u32, identifier: u32,
): bool {
  const walk = walkStart(filterAt, filterLength, retainedOrder);
  if (walk == 0) return false;
  const pointer = allocate(MEMORY_RECORD, offsetof<Replay>());
  if (pointer == 0) {
    walkEnd(walk);
    return false;
  }
  const replay = changetype<Replay>(pointer);
  replay.walk = walk;
  replay.qos = qos;
  replay.identifier = identifier;
  replay.next = 0;
  if (session.walks == 0) {
    session.walks = pointer;
    session.walkNext = replaying;
    replaying = changetype<u32>(session);
    return true;
  }
  let last = changetype<Replay>(session.walks);
  while (last.next != 0) last = changetype<Replay>(last.next);
  last.next = pointer;
  return true;
}

/** A piece of every replay that has room. True when some could go on at once. */
export function advanceReplays(): bool {
  let more = false;
  let before: u32 = 0;
  let at = replaying;
  while (at != 0) {
    const session = sessionAt(at);
    if (hasRoom(session) && advance(session)) more = true;
    const next = session.walkNext;
    if (session.walks == 0) unlinkAfter(before, at);
    else before = at;
    at = next;
  }
  return more;
}

function unlinkAfter(before: u32, pointer: u32): void {
  const session = sessionAt(pointer);
  if (before == 0) replaying = session.walkNext;
  else sessionAt(before).walkNext = session.walkNext;
  session.walkNext = 0;
}

function hasRoom(session: Session): bool {
  if (session.kind & SESSION_HANDLER) return session.queueCount < QUEUED_MAX;
  if (session.connection == 0) return false;
  const connection = connectionAt(session.connection);
  return connection.state == STATE_OPEN && session.pendingHead == 0 &&
    connection.txBytes < limitOf(LIMIT_SLAB_WATERMARK);
}

/** One piece; true when it ended for its budget and not for the receiver. */
function advance(session: Session): bool {
  const pointer = session.walks;
  const replay = changetype<Replay>(pointer);
  for (let steps: u32 = 0; steps < STEPS_PER_PIECE; steps++) {
    const message = walkNext(replay.walk, STEPS_PER_PIECE);
    if (message == 0) {
      if (!walkDone) return true;
      session.walks = replay.next;
      walkEnd(replay.walk);
      release(MEMORY_RECORD, pointer);
      return session.walks != 0;
    }
    if (isExpired(message)) continue;
    if (!give(session, replay, message)) return false;
    if (!hasRoom(session)) return false;
  }
  return true;
}

function give(session: Session, replay: Replay, message: u32): bool {
  const pointer = createEntry();
  if (pointer == 0) return false;
  const entry = entryAt(pointer);
  entry.message = message;
  holdMessage(message);
  entry.qos = <u8>min<u32>(replay.qos, messageAt(message).qos);
  entry.identifiers = replay.identifier;
  entry.flags = FLAG_RETAIN; // [MQTT-3.3.1-8]
  if (offerEntry(session, pointer) == OFFER_TAKEN) pump(session);
  return true;
}

/** The session is offline or ends: what was not replayed is not owed any more. */
export function endReplays(session: Session): void {
  if (session.walks == 0) return;
  while (session.walks != 0) {
    const pointer = session.walks;
    const replay = changetype<Replay>(pointer);
    session.walks = replay.next;
    walkEnd(replay.walk);
    release(MEMORY_RECORD, pointer);
  }
  let before: u32 = 0;
  let at = replaying;
  const self = changetype<u32>(session);
  while (at != 0 && at != self) {
    before = at;
    at = sessionAt(at).walkNext;
  }
  if (at == self) unlinkAfter(before, self);
}
