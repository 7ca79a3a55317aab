/** Sessions and their subscriptions. Topic Filters stand at the exchange area. */
import { Subscription } from '../index/subscription';
import {
  findSubscription, subscribe as indexSubscribe, subscribeExisted,
  unsubscribe as indexUnsubscribe, writeTopicFilter,
} from '../index/subscription-index';
import { unpinTopic } from '../index/topic-intern';
import { connectionAt } from '../session/connection';
import { pump } from '../session/delivery';
import { endSession, leave, restartExchanges } from '../session/ending';
import { limitOf, setClock } from '../session/limits';
import { pinMountPoint } from '../session/mount-point';
import { forgetReceiveVerdicts, rememberReceive } from '../session/receive-verdicts';
import { cancelReplay, startReplay } from '../session/replay';
import { createSession, sessionAt, sessionOf } from '../session/session';
import { VERDICT_ALLOWED, VERDICT_DENIED } from '../session/verdict-table';
import { LIMIT_QUEUE_MESSAGES } from '../shared/abi';
import { parseTopicFilter } from '../topic/topic-filter';
import { isTopicName } from '../topic/topic-name';
import { exchangeArea } from './exchange';

/** A handle, 0 when memory or the table is exhausted. */
export function openSession(kind: u32, credit: u32, queueMessagesMax: u32, owner: u32): u32 {
  const bound = queueMessagesMax == 0 ? limitOf(LIMIT_QUEUE_MESSAGES) : queueMessagesMax;
  const pointer = createSession(kind, credit, bound);
  if (pointer == 0) return 0;
  const session = sessionAt(pointer);
  if (owner != 0) session.owner = sessionOf(owner);
  return session.handle;
}
/** As `openSession`, for a client behind the mount point at the exchange area. */
export function openMountedSession(kind: u32, mountLength: u32): u32 {
  const mount = pinMountPoint(exchangeArea, mountLength);
  if (mount == 0) return 0;
  const handle = openSession(kind, 0, 0, 0);
  if (handle == 0) unpinTopic(mount);
  else sessionAt(sessionOf(handle)).mount = mount;
  return handle;
}
export function closeSession(handle: u32, now: f64): void {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer != 0) endSession(sessionAt(pointer));
}
export function detachSession(handle: u32): void {
  const pointer = sessionOf(handle);
  if (pointer != 0) leave(sessionAt(pointer));
}
export function restartSession(handle: u32): void {
  const pointer = sessionOf(handle);
  if (pointer != 0) restartExchanges(sessionAt(pointer));
}
export function connectionOfSession(handle: u32): u32 {
  const pointer = sessionOf(handle);
  if (pointer == 0 || sessionAt(pointer).connection == 0) return 0;
  return connectionAt(sessionAt(pointer).connection).handle;
}
export function queuedMessages(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).queueCount;
}
export function queuedBytes(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).queueBytes;
}
export function inflightMessages(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).inflightCount;
}
export function sessionExists(handle: u32): bool {
  return sessionOf(handle) != 0;
}

export const SUBSCRIBED_NEW: u32 = 0;
export const SUBSCRIBED_AGAIN: u32 = 1;
export const SUBSCRIBE_NO_MEMORY: u32 = 2;
export const SUBSCRIBE_NO_SESSION: u32 = 3;

/** The filter stands at the exchange area, the share name (length 0 = none) right behind it. */
export function subscribe(
  handle: u32, filterLength: u32, shareNameLength: u32, options: u32, identifier: u32,
): u32 {
  const pointer = sessionOf(handle);
  if (pointer == 0) return SUBSCRIBE_NO_SESSION;
  const shareNameAt = exchangeArea + filterLength;
  const before = findSubscription(
    exchangeArea, filterLength, shareNameAt, shareNameLength, pointer,
  );
  if (before != 0) cancelReplay(sessionAt(pointer), before);
  const made = indexSubscribe(
    exchangeArea, filterLength, shareNameAt, shareNameLength, pointer, <u8>options, identifier, 0,
  );
  if (made == 0) return SUBSCRIBE_NO_MEMORY;
  if (!subscribeExisted) sessionAt(pointer).subscriptions++;
  return subscribeExisted ? SUBSCRIBED_AGAIN : SUBSCRIBED_NEW;
}
export function unsubscribe(handle: u32, filterLength: u32, shareNameLength: u32): bool {
  const pointer = sessionOf(handle);
  if (pointer == 0) return false;
  const found = findSubscription(
    exchangeArea, filterLength, exchangeArea + filterLength, shareNameLength, pointer,
  );
  if (found == 0) return false;
  // What is in the queue already stays there.
  cancelReplay(sessionAt(pointer), found);
  indexUnsubscribe(found);
  sessionAt(pointer).subscriptions--;
  return true;
}
/** Whether the session has a subscription to the filter at the exchange area; as in `subscribe`. */
export function isSubscribed(handle: u32, filterLength: u32, shareNameLength: u32): bool {
  const pointer = sessionOf(handle);
  return pointer != 0 && findSubscription(
    exchangeArea, filterLength, exchangeArea + filterLength, shareNameLength, pointer,
  ) != 0;
}
/** Starts the replay of retained messages for the subscription to the filter in the exchange. */
export function replayRetained(handle: u32, filterLength: u32, qos: u32): bool {
  const pointer = sessionOf(handle);
  if (pointer == 0) return false;
  const found = findSubscription(exchangeArea, filterLength, exchangeArea, 0, pointer);
  if (found == 0) return false;
  return startReplay(sessionAt(pointer), found, exchangeArea, filterLength, qos);
}
/**
 * POLICY_ASK: nothing leaves for this session without a verdict for its topic. What was decided
 * about it before is forgotten.
 */
export function setReceivePolicy(handle: u32, policy: u32): void {
  const pointer = sessionOf(handle);
  if (pointer == 0) return;
  sessionAt(pointer).receivePolicy = policy;
  forgetReceiveVerdicts(sessionAt(pointer));
}
/** The verdict that a ROW_RECEIVE asked for; `serial` and `rules` as they stood in the row. */
export function answerReceive(
  handle: u32, serial: u32, rules: u32, isAllowed: u32, now: f64,
): void {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer == 0) return;
  const session = sessionAt(pointer);
  const verdict = isAllowed ? VERDICT_ALLOWED : VERDICT_DENIED;
  if (rememberReceive(session, serial, rules, verdict)) pump(session);
}
export function subscriptionsOf(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).subscriptions;
}
/** Walks a session's subscriptions: start with 0; answers the next one's address, 0 at the end. */
export function nextSubscription(handle: u32, after: u32): u32 {
  const pointer = sessionOf(handle);
  if (pointer == 0) return 0;
  return after == 0 ? load<u32>(pointer) : changetype<Subscription>(after).nextOfSession;
}
/** Writes the filter as it was sent to the exchange area; answers its length. */
export function describeSubscription(subscription: u32): u32 {
  return writeTopicFilter(subscription, exchangeArea);
}
export function subscriptionOptions(subscription: u32): u32 {
  return changetype<Subscription>(subscription).options;
}
export function subscriptionIdentifier(subscription: u32): u32 {
  return changetype<Subscription>(subscription).identifier;
}
/** Reason Code of the filter at the exchange area: 0 = valid. */
export function checkTopicFilter(length: u32): u32 {
  return parseTopicFilter(exchangeArea, length);
}
export function checkTopicName(length: u32): bool {
  return isTopicName(exchangeArea, length);
}
