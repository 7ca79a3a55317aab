/**
 * Replays of retained messages: a new subscription is sent what is retained under its filter.
 * A replay is a walk of the retained index that goes on while the receiver has
 * room, a piece at a time; nobody waits for it. Messages stored after the subscription was made
 * are passed over: the subscription itself brought those.
 *
 * A subscription has one replay at most (its `tag` points there): who replaces it begins anew, who
 * ends it ends the replay. So a session has no more replays than subscriptions. They are served in
 * their order, and only the first has a cursor in the index. A replay outlives the connection: it
 * goes on when the session is resumed.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { SESSION_HANDLER, LIMIT_SLAB_WATERMARK } from '../shared/abi';
import { allocate, release } from '../memory/blocks';
import {
  retainedCount, retainedFind, walkDone, walkEnd, walkNext, walkSpent, walkStart,
} from '../index/retained-index';
import { Subscription } from '../index/subscription';
import { topicFilterLength, writeTopicFilter } from '../index/subscription-index';
import { MULTI_LEVEL_WILDCARD, SINGLE_LEVEL_WILDCARD } from '../topic/topic-level';
import { STATE_OPEN, WAITING_SUBACK, connectionAt } from './connection';
import { pump } from './delivery';
import { limitIn } from './limits';
import {
  holdMessage, isExpired, messageAt, messageQos, releaseMessage, topicOf,
} from './message-block';
import { isBelowMount } from './mount-point';
import { FLAG_RETAIN, createEntry, entryAt } from './queue-entry';
import { Session, sessionAt } from './session';
import { offerStored } from './resume';
import { starve } from './starving';
import { isAtBound } from './withholding';
import { spend } from '../switch/budget';

/** Steps of the walk that one piece may take. */
const STEPS_PER_PIECE: u32 = 512;
/** Steps that all walks together may take in one turn; who is left over is first in the next. */
const STEPS_PER_TURN: u32 = 8192;
/** Messages that may wait in a handler's queue before its replay pauses. */
const QUEUED_MAX: u32 = 64;

/**
 * ```
 *  0       8      12     16             20     24     28
 *  +-------+------+------+--------------+------+------+------+
 *  | order | next | prev | subscription | walk | held | qos  |
 *  +-------+------+------+--------------+------+------+------+
 * ```
 */
@unmanaged
class Replay {
  order: f64; // messages that were stored later follow by the live path
  next: u32;
  prev: u32;
  subscription: u32;
  walk: u32; // 0 = has not begun
  held: u32; // a message that the walk has passed and that found no memory
  qos: u32;
}

/** Sessions whose replay can go on, in the order in which they are served with a piece. */
let readyHead: u32 = 0;
let readyTail: u32 = 0;
let stepsLeft: u32 = 0;
let retainedOrder: f64 = 0;

/** The place of the next retained message in the order of storing. */
export function nextRetainedOrder(): f64 {
  return ++retainedOrder;
}

/** True when some replay can go on at once. */
export function areReplaysReady(): bool {
  return readyHead != 0;
}

/** Starts the replay of a subscription, from its beginning. False when memory is exhausted. */
export function startReplay(
  session: Session, subscription: u32, filterAt: u32, filterLength: u32, qos: u32,
): bool {
  cancelReplay(session, subscription);
  if (retainedCount() == 0) return true;
  if (isExact(filterAt, filterLength) && retainedFind(filterAt, filterLength) == 0) return true;
  const pointer = allocate(MEMORY_RECORD, offsetof<Replay>());
  if (pointer == 0) return false;
  const replay = changetype<Replay>(pointer);
  replay.order = retainedOrder;
  replay.subscription = subscription;
  replay.walk = 0;
  replay.held = 0;
  replay.qos = qos;
  replay.next = 0;
  replay.prev = session.replayTail;
  if (session.replayTail != 0) changetype<Replay>(session.replayTail).next = pointer;
  else session.replayHead = pointer;
  session.replayTail = pointer;
  changetype<Subscription>(subscription).tag = pointer;
  wakeReplay(session);
  return true;
}

function isExact(at: u32, length: u32): bool {
  for (let i: u32 = 0; i < length; i++) {
    const byte = load<u8>(at + i);
    if (byte == MULTI_LEVEL_WILDCARD || byte == SINGLE_LEVEL_WILDCARD) return false;
  }
  return true;
}

/** The subscription ends or is replaced: what was not replayed is not owed any more. */
export function cancelReplay(session: Session, subscription: u32): void {
  const pointer = changetype<Subscription>(subscription).tag;
  if (pointer != 0) endReplay(session, pointer);
}

/** The session ends. */
export function endReplays(session: Session): void {
  while (session.replayHead != 0) endReplay(session, session.replayHead);
  if (!session.replayListed) return;
  const self = changetype<u32>(session);
  let before: u32 = 0;
  let at = readyHead;
  while (at != self) {
    before = at;
    at = sessionAt(at).replayNext;
  }
  if (before == 0) readyHead = session.replayNext;
  else sessionAt(before).replayNext = session.replayNext;
  if (readyTail == self) readyTail = before;
  session.replayListed = 0;
}

function endReplay(session: Session, pointer: u32): void {
  const replay = changetype<Replay>(pointer);
  if (replay.prev != 0) changetype<Replay>(replay.prev).next = replay.next;
  else session.replayHead = replay.next;
  if (replay.next != 0) changetype<Replay>(replay.next).prev = replay.prev;
  else session.replayTail = replay.prev;
  if (replay.walk != 0) walkEnd(replay.walk);
  if (replay.held != 0) releaseMessage(replay.held);
  changetype<Subscription>(replay.subscription).tag = 0;
  release(MEMORY_RECORD, pointer);
}

/** The receiver may have room again: its replay goes on in the next turn. */
@inline
export function wakeReplay(session: Session): void {
  if (session.replayHead == 0 || session.replayListed || !hasRoom(session)) return;
  session.replayListed = 1;
  session.replayNext = 0;
  if (readyTail != 0) sessionAt(readyTail).replayNext = changetype<u32>(session);
  else readyHead = changetype<u32>(session);
  readyTail = changetype<u32>(session);
}

/**
 * A piece of every replay that can go on, as far as the steps of this turn reach. True when some
 * could go on at once.
 */
export function advanceReplays(): bool {
  const last = readyTail; // who is listed meanwhile waits for the next turn
  let at: u32 = 0;
  stepsLeft = STEPS_PER_TURN;
  while (readyHead != 0 && at != last && stepsLeft != 0) {
    at = readyHead;
    const session = sessionAt(at);
    readyHead = session.replayNext;
    if (readyHead == 0) readyTail = 0;
    session.replayListed = 0;
    if (hasRoom(session) && advance(session)) wakeReplay(session);
  }
  return readyHead != 0;
}

/**
 * Room is for a message that leaves at once: one that waited could be overtaken by a younger one of
 * its topic with another QoS.
 */
function hasRoom(session: Session): bool {
  if (isAtBound(session, 0)) return false;
  if (session.kind & SESSION_HANDLER) return session.queueCount < QUEUED_MAX;
  if (session.connection == 0) return false;
  const connection = connectionAt(session.connection);
  // SUBACK, which may wait for the disk, comes before what its subscriptions bring.
  return connection.state == STATE_OPEN && connection.waiting != WAITING_SUBACK &&
    session.pendingHead == 0 &&
    session.inflightCount < connection.sendQuota &&
    connection.txBytes < limitIn(connection.limits, LIMIT_SLAB_WATERMARK);
}

/**
 * The first piece, at once: what few there are comes before any live message of the same topics.
 */
export function beginReplays(session: Session): void {
  if (session.replayHead == 0 || !hasRoom(session)) return;
  stepsLeft = STEPS_PER_PIECE;
  if (advance(session)) wakeReplay(session);
  spend(STEPS_PER_PIECE - stepsLeft); // one chunk can have very many SUBSCRIBE packets
}

/** One piece; true when it ended for its budget and not for the receiver. */
function advance(session: Session): bool {
  let budget = min(STEPS_PER_PIECE, stepsLeft);
  while (session.replayHead != 0) {
    if (budget == 0) return true;
    const pointer = session.replayHead;
    const replay = changetype<Replay>(pointer);
    if (replay.walk == 0 && !beginWalk(replay)) {
      starve(session);
      return false;
    }
    const message = replay.held != 0 ? takeHeld(replay) : walkNext(replay.walk, budget);
    const spent = min(budget, max<u32>(walkSpent, 1));
    budget -= spent;
    stepsLeft -= spent;
    if (message == 0) {
      if (walkDone) endReplay(session, pointer);
      continue;
    }
    if (isExpired(message) || !isSeen(session, message)) continue;
    if (!give(session, replay, message)) {
      holdMessage(message);
      replay.held = message;
      starve(session);
      return false;
    }
    if (!hasRoom(session)) return false;
  }
  return false;
}

/** A wildcard in the first level reaches what is above the mount point of the session, too. */
function isSeen(session: Session, message: u32): bool {
  return session.mount == 0 ||
    isBelowMount(session.mount, topicOf(message), messageAt(message).topicLength);
}

function beginWalk(replay: Replay): bool {
  const length = topicFilterLength(replay.subscription);
  const filter = allocate(MEMORY_RECORD, length);
  if (filter == 0) return false;
  writeTopicFilter(replay.subscription, filter);
  replay.walk = walkStart(filter, length, replay.order);
  release(MEMORY_RECORD, filter);
  return replay.walk != 0;
}

/** The held message if it is still the retained one of its topic, else the next of the walk. */
function takeHeld(replay: Replay): u32 {
  const message = replay.held;
  replay.held = 0;
  const current = retainedFind(topicOf(message), messageAt(message).topicLength);
  releaseMessage(message);
  return current == message ? message : walkNext(replay.walk, STEPS_PER_PIECE);
}

function give(session: Session, replay: Replay, message: u32): bool {
  const pointer = createEntry();
  if (pointer == 0) return false;
  const entry = entryAt(pointer);
  entry.message = message;
  holdMessage(message);
  entry.qos = <u8>min<u32>(replay.qos, messageQos(message));
  entry.identifiers = changetype<Subscription>(replay.subscription).identifier;
  entry.flags = FLAG_RETAIN; // 3.1.1 [MQTT-3.3.1-8]
  offerStored(session, pointer, 0);
  pump(session);
  return true;
}
