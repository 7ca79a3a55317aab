/**
 * Who of a shared group gets the next message: exactly one member. A member that is
 * connected and has room comes before one that is full, and that before one that is offline,
 * whatever the strategy says.
 */
import {
  LIMIT_SHARED_STRATEGY, SESSION_HANDLER, STRATEGY_HASH_CLIENT, STRATEGY_HASH_TOPIC,
  STRATEGY_STICKY,
} from '../shared/abi';
import { Group } from '../index/shared-group';
import { Subscription } from '../index/subscription';
import { TopicEntry } from '../index/topic-intern';
import { limitOf } from '../session/limits';
import { sessionAt } from '../session/session';
import { isAtBound } from '../session/withholding';
import { spend } from './budget';
import { isWanted } from './routed';

const RANK_OFFLINE: u32 = 1;
const RANK_FULL: u32 = 2;
const RANK_READY: u32 = 3;

@inline
function memberOf(group: Group, index: u32): u32 {
  return load<u32>(group.members + (index << 2));
}

function rankOf(subscription: u32): u32 {
  const session = sessionAt(changetype<Subscription>(subscription).session);
  if (session.kind & SESSION_HANDLER) return isAtBound(session, 0) ? RANK_FULL : RANK_READY;
  if (session.connection == 0) return RANK_OFFLINE;
  return isAtBound(session, 0) || session.noHold ? RANK_FULL : RANK_READY;
}

function firstIndex(group: Group, topic: u32, publisher: u32): u32 {
  const strategy = limitOf(LIMIT_SHARED_STRATEGY);
  const members = group.memberCount;
  if (strategy == STRATEGY_HASH_CLIENT) return (publisher * 0x9e3779b1) % members;
  if (strategy == STRATEGY_HASH_TOPIC) {
    return <u32>(changetype<TopicEntry>(topic).hash % <u64>members);
  }
  return group.cursor % members;
}

/**
 * Client role: the server sends a copy to each group, and this one may be for another. Asked before
 * a member is chosen, or copies for others would have their turns.
 */
function isWantedByGroup(group: Group): bool {
  for (let i: u32 = 0; i < group.memberCount; i++) {
    if (isWanted(changetype<Subscription>(memberOf(group, i)).identifier)) return true;
  }
  return false;
}

/** The Subscription of the chosen member; 0 when the group has none, or the message is not its. */
export function chooseMember(group: Group, topic: u32, publisher: u32): u32 {
  const members = group.memberCount;
  if (!isWantedByGroup(group)) return 0;
  const first = firstIndex(group, topic, publisher);
  let best: u32 = 0;
  let bestRank: u32 = 0;
  let bestIndex: u32 = 0;
  let looked: u32 = 0;
  for (; looked < members && bestRank < RANK_READY; looked++) {
    let index = first + looked;
    if (index >= members) index -= members;
    const subscription = memberOf(group, index);
    const rank = rankOf(subscription);
    if (rank > bestRank) {
      best = subscription;
      bestRank = rank;
      bestIndex = index;
    }
  }
  spend(looked);
  const sticky = limitOf(LIMIT_SHARED_STRATEGY) == STRATEGY_STICKY;
  group.cursor = sticky ? bestIndex : (bestIndex + 1) % members;
  return best;
}

/** A connected member other than `leaving` that takes over what it left behind; 0 = none. */
export function chooseHeir(group: Group, leaving: u32): u32 {
  return nextMember(group, leaving, RANK_FULL);
}
/** Who takes over from a member that has ended: a connected one if there is one; 0 = none. */
export function chooseLastHeir(group: Group, ended: u32): u32 {
  const heir = nextMember(group, ended, RANK_FULL);
  return heir != 0 ? heir : nextMember(group, ended, RANK_OFFLINE);
}
function nextMember(group: Group, except: u32, rankMin: u32): u32 {
  for (let i: u32 = 0; i < group.memberCount; i++) {
    const index = (group.cursor + i) % group.memberCount;
    const subscription = memberOf(group, index);
    const session = changetype<Subscription>(subscription).session;
    if (session != except && rankOf(subscription) >= rankMin) {
      group.cursor = (index + 1) % group.memberCount;
      return subscription;
    }
  }
  return 0;
}
