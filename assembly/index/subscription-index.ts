/**
 * The subscription index: who subscribed to what. Filters without wildcards stand in a hash table
 * of whole filters, those with wildcards in a trie; both lead to a filter end, which the
 * subscriptions and shared groups hang on.
 *
 * Whatever fails for lack of memory leaves the index as it was.
 */
import { release } from '../memory/blocks';
import { MEMORY_INDEX } from '../shared/memory-class';
import { hashBytes, initialiseHash } from '../topic/hash';
import { hasWildcard } from '../topic/topic-level';
import {
  addExact, exactBytesOf, exactLengthOf, findExact, initialiseExactFilters, isExactEnd, pruneExact,
} from './exact-filters';
import {
  addFilter, createTrie, filterLengthOf, findFilter, initialiseTries, pruneEnd, writeFilter,
} from './filter-trie';
import { initialiseRetained } from './retained-index';
import {
  createGroup, discardGroup, findGroup, findMember, groupAt, groupNameOf, joinGroup, leaveGroup,
  reserveMember,
} from './shared-group';
import {
  findOnFilter, linkToFilter, linkToSession, SUBSCRIPTION_BYTES, subscriptionAt, unlinkFromFilter,
  unlinkFromSession,
} from './subscription';
import { allocateIndex, forgetAllMatches, forgetMatch, initialiseTopics } from './topic-intern';

/** The last `subscribe` replaced the options of a subscription that was there. */
export let subscribeExisted: bool = false;

/** Root of the trie of filters with wildcards. */
export let wildcardRoot: u32 = 0;

let subscriptions: u32 = 0;

const SHARE_BYTES: u32 = 8; // `$share/` before the name and `/` after it
const SLASH: u8 = 0x2f;
const SHARE_PREFIX: u64 = 0x2f65_7261_6873_24; // `$share/`, little end first

/**
 * Prepares all tables; called once, after the block allocator. `seed` goes into every hash: it
 * has to be unpredictable for peers, else chosen topics meet in one slot. Answers false when
 * there is no memory for the first record.
 */
export function initialiseIndex(seed: u64): bool {
  initialiseHash(seed);
  initialiseTopics();
  initialiseTries();
  initialiseExactFilters();
  initialiseRetained();
  wildcardRoot = createTrie();
  return wildcardRoot != 0;
}

export function subscriptionCount(): u32 {
  return subscriptions;
}

function endOf(at: u32, length: u32): u32 {
  if (hasWildcard(at, length)) return findFilter(wildcardRoot, at, length);
  return findExact(at, length, hashBytes(at, length));
}

function addEnd(at: u32, length: u32): u32 {
  if (hasWildcard(at, length)) return addFilter(wildcardRoot, at, length);
  return addExact(at, length, hashBytes(at, length));
}

function pruneAny(end: u32): void {
  if (isExactEnd(end)) pruneExact(end);
  else pruneEnd(end);
}

/** The receivers of the topics that match the filter at `end` have changed. */
function forgetEnd(end: u32): void {
  if (!isExactEnd(end)) {
    forgetAllMatches();
    return;
  }
  const at = exactBytesOf(end);
  const length = exactLengthOf(end);
  forgetMatch(at, length, hashBytes(at, length));
}

/**
 * Adds a subscription of `session` (whose first word is the head of its list), or replaces the
 * options, identifier and tag of the one it has on the same filter and ShareName. The filter is
 * well-formed and without `$share/name/`. Answers the Subscription; 0: out of memory, nothing
 * changed.
 */
export function subscribe(
  filterAt: u32, filterLength: u32, shareNameAt: u32, shareNameLength: u32,
  session: u32, options: u8, identifier: u32, tag: u32,
): u32 {
  subscribeExisted = false;
  const end = addEnd(filterAt, filterLength);
  if (end == 0) return 0;
  const group = shareNameLength == 0 ? 0 : findGroup(end, shareNameAt, shareNameLength);
  let existing: u32 = 0;
  if (shareNameLength == 0) existing = findOnFilter(end, session);
  else if (group != 0) existing = findMember(group, session);
  if (existing != 0) {
    subscribeExisted = true;
    replaceOptions(existing, options, identifier, tag); // [MQTT-3.8.4-3]
    return existing;
  }
  const pointer = allocateIndex(SUBSCRIPTION_BYTES);
  let added = pointer != 0;
  if (added) {
    const subscription = subscriptionAt(pointer);
    subscription.options = options;
    subscription.identifier = identifier;
    subscription.tag = tag;
    if (shareNameLength == 0) addPlain(pointer, end);
    else added = addMember(pointer, end, group, shareNameAt, shareNameLength);
  }
  if (!added) {
    if (pointer != 0) release(MEMORY_INDEX, pointer);
    pruneAny(end);
    return 0;
  }
  linkToSession(pointer, session);
  subscriptions++;
  return pointer;
}

function addPlain(pointer: u32, end: u32): void {
  subscriptionAt(pointer).group = 0;
  linkToFilter(pointer, end);
  forgetEnd(end);
}

function addMember(pointer: u32, end: u32, found: u32, nameAt: u32, nameLength: u32): bool {
  let group = found;
  if (group == 0) group = createGroup(end, nameAt, nameLength);
  if (group == 0) return false;
  if (!reserveMember(group)) {
    discardGroup(group);
    return false;
  }
  joinGroup(group, pointer);
  // A match answers the group: only its first member changes what is cached.
  if (found == 0) forgetEnd(end);
  return true;
}

function replaceOptions(pointer: u32, options: u8, identifier: u32, tag: u32): void {
  const subscription = subscriptionAt(pointer);
  const same = subscription.options == options && subscription.identifier == identifier;
  subscription.options = options;
  subscription.identifier = identifier;
  subscription.tag = tag;
  if (!same && subscription.group == 0) forgetEnd(subscription.filterEnd);
}

/** Ends a subscription and releases it. */
export function unsubscribe(pointer: u32): void {
  const subscription = subscriptionAt(pointer);
  const end = subscription.filterEnd;
  let changed = true;
  if (subscription.group != 0) changed = leaveGroup(pointer);
  else unlinkFromFilter(pointer);
  unlinkFromSession(pointer);
  release(MEMORY_INDEX, pointer);
  subscriptions--;
  if (!changed) return;
  forgetEnd(end); // nothing cached leads to it any more [MQTT-3.10.4-2]
  pruneAny(end);
}

/**
 * The session's subscription on the filter (without `$share/name/`) and ShareName (length 0:
 * none), or 0.
 */
export function findSubscription(
  filterAt: u32, filterLength: u32, shareNameAt: u32, shareNameLength: u32, session: u32,
): u32 {
  const end = endOf(filterAt, filterLength);
  if (end == 0) return 0;
  if (shareNameLength == 0) return findOnFilter(end, session);
  const group = findGroup(end, shareNameAt, shareNameLength);
  return group == 0 ? 0 : findMember(group, session);
}

/**
 * Writes the Topic Filter as it was subscribed to, with `$share/name/` if shared; answers its
 * length (<= 65535).
 */
export function writeTopicFilter(pointer: u32, out: u32): u32 {
  const subscription = subscriptionAt(pointer);
  return writeEnd(subscription.filterEnd, subscription.group, out);
}
/** As `writeTopicFilter`, of a group; 0 when its last member has left. */
export function writeGroupFilter(pointer: u32, out: u32): u32 {
  const end = groupAt(pointer).filterEnd;
  return end == 0 ? 0 : writeEnd(end, pointer, out);
}
/** The group of a Topic Filter with `$share/name/`, or 0. */
export function findGroupOf(at: u32, length: u32): u32 {
  const nameAt = at + SHARE_BYTES - 1;
  let filterAt = nameAt;
  while (filterAt < at + length && load<u8>(filterAt) != SLASH) filterAt++;
  const nameLength = filterAt - nameAt;
  filterAt++;
  if (filterAt >= at + length) return 0;
  const end = endOf(filterAt, at + length - filterAt);
  return end == 0 ? 0 : findGroup(end, nameAt, nameLength);
}

function writeEnd(end: u32, group: u32, out: u32): u32 {
  let position = out;
  if (group != 0) {
    const nameLength = <u32>groupAt(group).nameLength;
    store<u64>(position, SHARE_PREFIX);
    memory.copy(position + SHARE_BYTES - 1, groupNameOf(group), nameLength);
    position += SHARE_BYTES + nameLength;
    store<u8>(position - 1, SLASH);
  }
  if (!isExactEnd(end)) return position - out + writeFilter(end, position);
  const length = exactLengthOf(end);
  memory.copy(position, exactBytesOf(end), length);
  return position - out + length;
}

/** Length of what `writeTopicFilter` writes. */
export function topicFilterLength(pointer: u32): u32 {
  const subscription = subscriptionAt(pointer);
  const end = subscription.filterEnd;
  const length = isExactEnd(end) ? exactLengthOf(end) : filterLengthOf(end);
  if (subscription.group == 0) return length;
  return length + SHARE_BYTES + <u32>groupAt(subscription.group).nameLength;
}
