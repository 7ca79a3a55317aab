/**
 * The members of one Shared Subscription: one group per ShareName and Topic Filter. A match
 * answers the group, not its members; who serves a message is decided at delivery.
 *
 * A group lives while it has members or pins. Without members it is detached from its filter (a
 * new member makes a new group), and goes with its last pin.
 */
import { release } from '../memory/blocks';
import { MEMORY_INDEX } from '../shared/memory-class';
import { bytesEqual } from '../topic/hash';
import { FilterEnd } from './filter-trie';
import { firstOfSession, subscriptionAt } from './subscription';
import { allocateIndex } from './topic-intern';

/**
 * ```
 *  0         4        8        12     16         20       24     28     32         36       38
 *  +---------+--------+--------+------+----------+--------+------+------+----------+--------+-----
 *  | members | member | cursor | pins | strategy | filter | next | prev | member   | name   | name
 *  |         | Count  |        |      |          | End    |      |      | Capacity | Length |
 *  +---------+--------+--------+------+----------+--------+------+------+----------+--------+-----
 * ```
 */
@unmanaged
export class Group {
  members: u32; // pointer to memberCount Subscription pointers
  memberCount: u32;
  cursor: u32; // whose turn it is; the delivery's, kept below memberCount here
  pins: u32;
  strategy: u32; // the delivery's
  filterEnd: u32; // 0: detached
  next: u32;
  prev: u32;
  memberCapacity: u32;
  nameLength: u16;
}
const GROUP_NAME_AT: u32 = 38;
if (offsetof<Group>() != GROUP_NAME_AT) ERROR('layout drift: Group');
const MEMBERS_MIN: u32 = 4;

@inline
export function groupAt(pointer: u32): Group {
  return changetype<Group>(pointer);
}
@inline
export function groupNameOf(pointer: u32): u32 {
  return pointer + GROUP_NAME_AT;
}

/** The group of this name on the filter, or 0. */
export function findGroup(end: u32, nameAt: u32, nameLength: u32): u32 {
  let pointer = changetype<FilterEnd>(end).groups;
  while (pointer != 0) {
    const group = groupAt(pointer);
    if (
      <u32>group.nameLength == nameLength && bytesEqual(groupNameOf(pointer), nameAt, nameLength)
    ) return pointer;
    pointer = group.next;
  }
  return 0;
}

/** A new group without members on the filter; 0: out of memory. */
export function createGroup(end: u32, nameAt: u32, nameLength: u32): u32 {
  const pointer = allocateIndex(GROUP_NAME_AT + nameLength);
  if (pointer == 0) return 0;
  const members = allocateIndex(MEMBERS_MIN << 2);
  if (members == 0) {
    release(MEMORY_INDEX, pointer);
    return 0;
  }
  const group = groupAt(pointer);
  group.members = members;
  group.memberCount = 0;
  group.memberCapacity = MEMBERS_MIN;
  group.cursor = 0;
  group.pins = 0;
  group.strategy = 0;
  group.nameLength = <u16>nameLength;
  memory.copy(groupNameOf(pointer), nameAt, nameLength);
  const filterEnd = changetype<FilterEnd>(end);
  const head = filterEnd.groups;
  group.filterEnd = end;
  group.prev = 0;
  group.next = head;
  if (head != 0) groupAt(head).prev = pointer;
  filterEnd.groups = pointer;
  return pointer;
}

/** Makes room for one more member. False: out of memory. */
export function reserveMember(pointer: u32): bool {
  const group = groupAt(pointer);
  if (group.memberCount < group.memberCapacity) return true;
  return resizeMembers(group, group.memberCapacity << 1);
}

function resizeMembers(group: Group, capacity: u32): bool {
  const members = allocateIndex(capacity << 2);
  if (members == 0) return false;
  memory.copy(members, group.members, group.memberCount << 2);
  release(MEMORY_INDEX, group.members);
  group.members = members;
  group.memberCapacity = capacity;
  return true;
}

/** Adds a member; room has been reserved. */
export function joinGroup(pointer: u32, member: u32): void {
  const group = groupAt(pointer);
  const subscription = subscriptionAt(member);
  subscription.group = pointer;
  subscription.filterEnd = group.filterEnd;
  subscription.nextOfFilter = group.memberCount;
  subscription.prevOfFilter = 0;
  store<u32>(group.members + (group.memberCount << 2), member);
  group.memberCount++;
}

/**
 * Takes a member out. Answers whether it was the last: then the group is detached from its
 * filter.
 */
export function leaveGroup(member: u32): bool {
  const subscription = subscriptionAt(member);
  const pointer = subscription.group;
  const group = groupAt(pointer);
  const place = subscription.nextOfFilter;
  group.memberCount--;
  const last = load<u32>(group.members + (group.memberCount << 2));
  store<u32>(group.members + (place << 2), last);
  subscriptionAt(last).nextOfFilter = place;
  if (group.cursor >= group.memberCount) group.cursor = 0;
  if (group.memberCount != 0) {
    const few = group.memberCapacity >> 2;
    if (group.memberCapacity > MEMBERS_MIN && group.memberCount <= few) {
      resizeMembers(group, group.memberCapacity >> 1);
    }
    return false;
  }
  detachGroup(pointer);
  if (group.pins == 0) freeGroup(pointer);
  return true;
}

/** Takes a group that has no members from its filter. */
function detachGroup(pointer: u32): void {
  const group = groupAt(pointer);
  if (group.prev != 0) groupAt(group.prev).next = group.next;
  else changetype<FilterEnd>(group.filterEnd).groups = group.next;
  if (group.next != 0) groupAt(group.next).prev = group.prev;
  group.filterEnd = 0;
}

function freeGroup(pointer: u32): void {
  release(MEMORY_INDEX, groupAt(pointer).members);
  release(MEMORY_INDEX, pointer);
}

/** Undoes `createGroup` when its first member could not be made. */
export function discardGroup(pointer: u32): void {
  if (groupAt(pointer).memberCount != 0) return;
  detachGroup(pointer);
  freeGroup(pointer);
}

/** The session's subscription in the group, or 0; ends with the shorter of both lists. */
export function findMember(pointer: u32, session: u32): u32 {
  const group = groupAt(pointer);
  let ofSession = firstOfSession(session);
  for (let i: u32 = 0; i < group.memberCount && ofSession != 0; i++) {
    const member = load<u32>(group.members + (i << 2));
    if (subscriptionAt(member).session == session) return member;
    if (subscriptionAt(ofSession).group == pointer) return ofSession;
    ofSession = subscriptionAt(ofSession).nextOfSession;
  }
  return 0;
}

/** Keeps the group's record alive, also when its last member leaves. */
@inline
export function pinGroup(pointer: u32): void {
  groupAt(pointer).pins++;
}
export function unpinGroup(pointer: u32): void {
  const group = groupAt(pointer);
  group.pins--;
  if (group.pins == 0 && group.memberCount == 0) freeGroup(pointer);
}
