/**
 * Matchers: small sets of Topic Filters with numbers, answered by the same trie as the
 * subscriptions (access rules, interceptors, handler dispatch). A matcher is a session of its
 * own, and a rule is a subscription whose tag is the caller's number.
 */
import { release } from '../memory/blocks';
import { MEMORY_INDEX } from '../shared/memory-class';
import {
  addFilter, createTrie, FilterEnd, findFilter, freeTrie, nextMatch, pruneEnd, startMatch,
} from './filter-trie';
import {
  linkToFilter, linkToSession, SUBSCRIPTION_BYTES, subscriptionAt, unlinkFromFilter,
  unlinkFromSession,
} from './subscription';
import { allocateIndex } from './topic-intern';

@unmanaged
class Matcher {
  firstRule: u32; // head of the list of its rules, as a session's
  root: u32;
}
const MATCHER_BYTES: u32 = 8;

/** A new matcher without rules; 0: out of memory. */
export function matcherCreate(): u32 {
  const pointer = allocateIndex(MATCHER_BYTES);
  if (pointer == 0) return 0;
  const root = createTrie();
  if (root == 0) {
    release(MEMORY_INDEX, pointer);
    return 0;
  }
  const matcher = changetype<Matcher>(pointer);
  matcher.firstRule = 0;
  matcher.root = root;
  return pointer;
}

function findRule(end: u32, id: u32): u32 {
  let rule = changetype<FilterEnd>(end).first;
  while (rule != 0 && subscriptionAt(rule).tag != id) rule = subscriptionAt(rule).nextOfFilter;
  return rule;
}

/**
 * Adds a rule; the same filter and id twice is one rule. 0: done; 1: out of memory, nothing
 * changed.
 */
export function matcherAdd(pointer: u32, filterAt: u32, filterLength: u32, id: u32): u32 {
  const matcher = changetype<Matcher>(pointer);
  const end = addFilter(matcher.root, filterAt, filterLength);
  if (end == 0) return 1;
  if (findRule(end, id) != 0) return 0;
  const rule = allocateIndex(SUBSCRIPTION_BYTES);
  if (rule == 0) {
    pruneEnd(end);
    return 1;
  }
  const subscription = subscriptionAt(rule);
  subscription.tag = id;
  subscription.group = 0;
  linkToFilter(rule, end);
  linkToSession(rule, pointer);
  return 0;
}

/** Removes a rule; nothing happens when there is none. */
export function matcherRemove(pointer: u32, filterAt: u32, filterLength: u32, id: u32): void {
  const end = findFilter(changetype<Matcher>(pointer).root, filterAt, filterLength);
  const rule = end == 0 ? 0 : findRule(end, id);
  if (rule != 0) removeRule(rule);
}

function removeRule(rule: u32): void {
  const end = subscriptionAt(rule).filterEnd;
  unlinkFromFilter(rule);
  unlinkFromSession(rule);
  release(MEMORY_INDEX, rule);
  pruneEnd(end);
}

/**
 * Writes the ids of the rules that match the Topic Name to `out`, at most `max` words, in no
 * particular order. Answers how many match, which may be more than were written.
 */
export function matcherMatch(
  pointer: u32, topicAt: u32, topicLength: u32, out: u32, max: u32,
): u32 {
  startMatch(changetype<Matcher>(pointer).root, topicAt, topicLength);
  let count: u32 = 0;
  for (let end = nextMatch(); end != 0; end = nextMatch()) {
    let rule = changetype<FilterEnd>(end).first;
    while (rule != 0) {
      if (count < max) store<u32>(out + (count << 2), subscriptionAt(rule).tag);
      count++;
      rule = subscriptionAt(rule).nextOfFilter;
    }
  }
  return count;
}

/** Releases the matcher with all its rules. */
export function matcherFree(pointer: u32): void {
  const matcher = changetype<Matcher>(pointer);
  while (matcher.firstRule != 0) removeRule(matcher.firstRule);
  freeTrie(matcher.root);
  release(MEMORY_INDEX, pointer);
}
