/** The matcher, for rules: sets of Topic Filters of their own. */
import {
  matcherAdd, matcherCreate, matcherFree, matcherMatch, matcherRemove,
} from '../index/matcher';
import { exchangeArea } from './exchange';

export function createMatcher(): u32 {
  return matcherCreate();
}
export function addToMatcher(matcher: u32, filterLength: u32, id: u32): u32 {
  return matcherAdd(matcher, exchangeArea, filterLength, id);
}
export function removeFromMatcher(matcher: u32, filterLength: u32, id: u32): void {
  matcherRemove(matcher, exchangeArea, filterLength, id);
}
/**
 * Ids of the filters that match the topic at the exchange area; they are written behind it, at a
 * multiple of 8.
 */
export function matchTopic(matcher: u32, topicLength: u32, maximum: u32): u32 {
  const out = exchangeArea + ((topicLength + 15) & ~7);
  return matcherMatch(matcher, exchangeArea, topicLength, out, maximum);
}
export function freeMatcher(matcher: u32): void {
  matcherFree(matcher);
}
