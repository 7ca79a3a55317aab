/**
 * A subscription: one session's interest in one Topic Filter. It hangs in two lists, its
 * session's and its filter's (a member of a shared group stands in the group's table instead of
 * the filter's list).
 */
import { FilterEnd } from './filter-trie';

/** Bits of `Subscription.options`; the lower six are those of the SUBSCRIBE packet. */
export const OPTION_QOS: u8 = 0x03;
export const OPTION_NO_LOCAL: u8 = 0x04;
export const OPTION_RETAIN_AS_PUBLISHED: u8 = 0x08;

/**
 * ```
 *  0         4         8         12       16      20       24    28        32       36       40
 *  +---------+---------+---------+--------+-------+--------+-----+---------+--------+--------+
 *  | nextOf  | prevOf  | session | filter | group | identi | tag | options | nextOf | prevOf |
 *  | Session | Session |         | End    |       | fier   |     |         | Filter | Filter |
 *  +---------+---------+---------+--------+-------+--------+-----+---------+--------+--------+
 * ```
 */
@unmanaged
export class Subscription {
  nextOfSession: u32;
  prevOfSession: u32; // 0: the session's first
  session: u32;
  filterEnd: u32; // internal
  group: u32; // 0: not shared
  identifier: u32; // 0: none
  tag: u32; // opaque to the core
  options: u8;
  reserved8: u8;
  reserved16: u16;
  nextOfFilter: u32; // for a member of a group: its place in the table
  prevOfFilter: u32; // 0: the filter's first
}
export const SUBSCRIPTION_BYTES: u32 = 40;
if (offsetof<Subscription>() != SUBSCRIPTION_BYTES) ERROR('layout drift: Subscription');

@inline
export function subscriptionAt(pointer: u32): Subscription {
  return changetype<Subscription>(pointer);
}

/** The list head that every session starts with. */
@inline
export function firstOfSession(session: u32): u32 {
  return load<u32>(session);
}

export function linkToSession(pointer: u32, session: u32): void {
  const subscription = subscriptionAt(pointer);
  const head = load<u32>(session);
  subscription.session = session;
  subscription.prevOfSession = 0;
  subscription.nextOfSession = head;
  if (head != 0) subscriptionAt(head).prevOfSession = pointer;
  store<u32>(session, pointer);
}

export function unlinkFromSession(pointer: u32): void {
  const subscription = subscriptionAt(pointer);
  const next = subscription.nextOfSession;
  const prev = subscription.prevOfSession;
  if (prev != 0) subscriptionAt(prev).nextOfSession = next;
  else store<u32>(subscription.session, next);
  if (next != 0) subscriptionAt(next).prevOfSession = prev;
}

export function linkToFilter(pointer: u32, end: u32): void {
  const subscription = subscriptionAt(pointer);
  const filterEnd = changetype<FilterEnd>(end);
  const head = filterEnd.first;
  subscription.filterEnd = end;
  subscription.prevOfFilter = 0;
  subscription.nextOfFilter = head;
  if (head != 0) subscriptionAt(head).prevOfFilter = pointer;
  filterEnd.first = pointer;
}

export function unlinkFromFilter(pointer: u32): void {
  const subscription = subscriptionAt(pointer);
  const next = subscription.nextOfFilter;
  const prev = subscription.prevOfFilter;
  if (prev != 0) subscriptionAt(prev).nextOfFilter = next;
  else changetype<FilterEnd>(subscription.filterEnd).first = next;
  if (next != 0) subscriptionAt(next).prevOfFilter = prev;
}

/**
 * What was asked for stands first among the session's, so that asking again and again costs nothing
 * (one packet can name the same filter a hundred thousand times).
 */
function moveUp(pointer: u32, session: u32): u32 {
  if (subscriptionAt(pointer).prevOfSession == 0) return pointer;
  unlinkFromSession(pointer);
  linkToSession(pointer, session);
  return pointer;
}

/**
 * The session's non-shared subscription on the filter, or 0. Walks both lists at once and ends
 * with the shorter one: neither a filter with 100,000 subscribers nor a session with 100,000
 * subscriptions makes this slow.
 */
export function findOnFilter(end: u32, session: u32): u32 {
  let ofFilter = changetype<FilterEnd>(end).first;
  let ofSession = firstOfSession(session);
  while (ofFilter != 0 && ofSession != 0) {
    if (subscriptionAt(ofFilter).session == session) return moveUp(ofFilter, session);
    const subscription = subscriptionAt(ofSession);
    if (subscription.filterEnd == end && subscription.group == 0) return moveUp(ofSession, session);
    ofFilter = subscriptionAt(ofFilter).nextOfFilter;
    ofSession = subscription.nextOfSession;
  }
  return 0;
}
