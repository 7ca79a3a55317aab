/** The topic index alone, exported for its tests and its benchmark. */
import { receiversOf } from '../../../assembly/index/match-cache';
import { internTopic, TopicEntry } from '../../../assembly/index/topic-intern';

export {
  allocate, budgetOf, freePoolBytes, initialiseBlocks, release, setBudget, usedOf,
} from '../../../assembly/memory/blocks';
export { bytesEqual, hashBytes, hashKey } from '../../../assembly/topic/hash';
export { hasWildcard, scanLevel } from '../../../assembly/topic/topic-level';
export {
  findTopic, internedTopics, internTopic, matchEpoch, pinTopic, setTopicCacheMax, unpinTopic,
} from '../../../assembly/index/topic-intern';
export {
  findSubscription, initialiseIndex, subscribe, subscribeExisted, subscriptionCount,
  topicFilterLength, unsubscribe, writeTopicFilter,
} from '../../../assembly/index/subscription-index';
export { localReceiver, receiversOf } from '../../../assembly/index/match-cache';
export { pinGroup, unpinGroup } from '../../../assembly/index/shared-group';
export {
  matcherAdd, matcherCreate, matcherFree, matcherMatch, matcherRemove,
} from '../../../assembly/index/matcher';
export {
  retainedCount, retainedFind, retainedPut, retainedRemove, retainedReplaced, walkDone, walkEnd,
  walkNext, walkSpent, walkStart,
} from '../../../assembly/index/retained-index';

/** As `receiversOf`, of a topic that is interned while its cached result is not valid any more. */
export function matchAnew(at: u32, length: u32): u32 {
  const entry = internTopic(at, length);
  changetype<TopicEntry>(entry).epoch = 0;
  return receiversOf(entry);
}

export function heapBase(): u32 {
  return <u32>__heap_base;
}
/** Gives the memory `pages` more pages of 64 KiB. */
export function growMemory(pages: i32): i32 {
  return memory.grow(pages);
}
