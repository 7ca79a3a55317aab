/**
 * Retained messages by Topic Name: a trie of topic levels, with a wildcard walk that can stop at
 * any node and go on later, so that a new subscriber to `#` over a million retained messages
 * stops the loop for nobody.
 *
 * The children of a node are a linked list (for the walk) and stand in a hash table keyed by
 * (parent, level bytes) (for look-ups). New children go to the front of the list, behind every
 * cursor.
 *
 * A walk is depth-first. Because nodes know their parents, the whole position is one node, its
 * depth and what to do with it next; the filter's level at that depth says how to go on. Between
 * two calls that node is pinned: it stays in its place even when its message and its children go.
 * So every topic that is there from start to end of the walk and matches is answered exactly
 * once, whatever is added or removed meanwhile.
 *
 * Invariant: a node other than the root has a message, a child or a pin.
 */
import { allocate, release } from '../memory/blocks';
import { MEMORY_INDEX, MEMORY_RETAINED } from '../shared/memory-class';
import { hashPair } from '../topic/hash';
import {
  DOLLAR, levelHash, MULTI_LEVEL_WILDCARD, scanLevel, SINGLE_LEVEL_WILDCARD,
} from '../topic/topic-level';
import { findEdge } from './edges';
import {
  POINTER_TABLE_BYTES, PointerTable, initialiseTable, insertPointer, removePointer, reserveSlot,
} from './pointer-table';
import { allocateIndex } from './topic-intern';

/**
 * ```
 *  0       8         12       16           20     24     28       30     32
 *  +-------+---------+--------+------------+------+------+--------+------+-------------------
 *  | order | message | parent | firstChild | next | prev | length | pins | bytes of the level
 *  +-------+---------+--------+------------+------+------+--------+------+-------------------
 * ```
 */
@unmanaged
class RetainedNode {
  order: f64;
  message: u32; // 0: none
  parent: u32; // 0: the root
  firstChild: u32;
  next: u32;
  prev: u32; // 0: the first child
  length: u16;
  pins: u16; // walks that stand here
}
const NODE_BYTES: u32 = 32;
if (offsetof<RetainedNode>() != NODE_BYTES) ERROR('layout drift: RetainedNode');

/**
 * ```
 *  0       8      12      16       20          24       28     32       36        40
 *  +-------+------+-------+--------+-----------+--------+------+--------+---------+--------
 *  | order | node | depth | levels | multiFrom | filter | step | skips  | level   | filter
 *  |       |      |       |        |           | Length |      | Dollar | Starts  |
 *  +-------+------+-------+--------+-----------+--------+------+--------+---------+--------
 * ```
 */
@unmanaged
class Walk {
  order: f64; // messages that are younger follow by the live path
  node: u32;
  depth: u32; // levels from the root to `node`
  levels: u32; // of the filter
  multiFrom: u32; // depth from which `#` takes everything, or NEVER
  filterLength: u32;
  step: u32; // what comes next at `node`
  skipsDollar: u32;
  levelStarts: u32; // pointer to a u16 per level: its offset in the filter
}
const WALK_HEADER_BYTES: u32 = 40;
if (offsetof<Walk>() != WALK_HEADER_BYTES) ERROR('layout drift: Walk');
const NEVER: u32 = 0xffff_ffff;
const PADDING: u32 = 2; // a zero behind the filter: an empty last level is neither `+` nor `#`

const STEP_ENTER: u32 = 0; // the node's own message
const STEP_DESCEND: u32 = 1; // its children
const STEP_LEAVE: u32 = 2; // its next sibling, or up

/** Walks that may be under way at once: as many as a node can count. */
export const RETAINED_WALKS_MAX: u32 = 65535;

/** The message that the last `retainedPut` took the place of, or 0. */
export let retainedReplaced: u32 = 0;
/**
 * The last `walkNext` answered 0 because the walk is through (else because the budget was spent).
 */
export let walkDone: bool = false;
/** Steps that the last `walkNext` took of its budget. */
export let walkSpent: u32 = 0;

const root: usize = memory.data(32);
const edges: usize = memory.data(POINTER_TABLE_BYTES);
let messages: u32 = 0;
let walks: u32 = 0;

@inline
function nodeAt(pointer: u32): RetainedNode {
  return changetype<RetainedNode>(pointer);
}
@inline
function edgeTable(): PointerTable {
  return changetype<PointerTable>(edges);
}

export function initialiseRetained(): void {
  initialiseTable(edgeTable(), MEMORY_RETAINED);
}

/** Topics that have a retained message. */
export function retainedCount(): u32 {
  return messages;
}

/** The child of `parent` for the literal level, or 0. */
@inline
function findChild(parent: u32, at: u32, length: u32, hash: u64): u32 {
  return findEdge<RetainedNode>(edgeTable(), NODE_BYTES, parent, at, length, hash);
}

function addChild(parent: u32, at: u32, length: u32, hash: u64): u32 {
  if (!reserveSlot(edgeTable())) return 0;
  const pointer = allocate(MEMORY_RETAINED, NODE_BYTES + length);
  if (pointer == 0) return 0;
  const node = nodeAt(pointer);
  const head = nodeAt(parent).firstChild;
  node.order = 0;
  node.message = 0;
  node.parent = parent;
  node.firstChild = 0;
  node.next = head;
  node.prev = 0;
  node.length = <u16>length;
  node.pins = 0;
  memory.copy(pointer + NODE_BYTES, at, length);
  if (head != 0) nodeAt(head).prev = pointer;
  nodeAt(parent).firstChild = pointer;
  insertPointer(edgeTable(), hashPair(parent, hash), pointer);
  return pointer;
}

/** Releases the node, and what is above it, as far as nobody needs it. */
function pruneNode(start: u32): void {
  let pointer = start;
  while (pointer != <u32>root) {
    const node = nodeAt(pointer);
    if ((node.message | node.firstChild | <u32>node.pins) != 0) return;
    const parent = node.parent;
    const at = pointer + NODE_BYTES;
    scanLevel(at, at + <u32>node.length);
    removePointer(edgeTable(), hashPair(parent, levelHash), pointer);
    if (node.prev != 0) nodeAt(node.prev).next = node.next;
    else nodeAt(parent).firstChild = node.next;
    if (node.next != 0) nodeAt(node.next).prev = node.prev;
    release(MEMORY_RETAINED, pointer);
    pointer = parent;
  }
}

/**
 * Makes `message` (a pointer, not 0) the retained message of the topic; `order` is its place
 * among all messages. 0: done, and `retainedReplaced` is the message before it; 1: out of memory,
 * nothing changed.
 */
export function retainedPut(topicAt: u32, topicLength: u32, message: u32, order: f64): u32 {
  retainedReplaced = 0;
  const end = topicAt + topicLength;
  let pointer = <u32>root;
  let position = topicAt;
  while (position <= end) {
    const bytes = scanLevel(position, end);
    const hash = levelHash;
    let child = findChild(pointer, position, bytes, hash);
    if (child == 0) child = addChild(pointer, position, bytes, hash);
    if (child == 0) {
      pruneNode(pointer);
      return 1;
    }
    pointer = child;
    position += bytes + 1;
  }
  const node = nodeAt(pointer);
  retainedReplaced = node.message;
  if (node.message == 0) messages++;
  node.message = message; // 3.1.1 [MQTT-3.3.1-7]
  node.order = order;
  return 0;
}

function findNode(topicAt: u32, topicLength: u32): u32 {
  const end = topicAt + topicLength;
  let pointer = <u32>root;
  let position = topicAt;
  while (position <= end) {
    const bytes = scanLevel(position, end);
    pointer = findChild(pointer, position, bytes, levelHash);
    if (pointer == 0) return 0;
    position += bytes + 1;
  }
  return pointer;
}

/** The retained message of the topic, or 0. */
export function retainedFind(topicAt: u32, topicLength: u32): u32 {
  const pointer = findNode(topicAt, topicLength);
  return pointer == 0 ? 0 : nodeAt(pointer).message;
}

/** Takes the retained message off its topic and answers it; 0 when there is none. */
export function retainedRemove(topicAt: u32, topicLength: u32): u32 {
  const pointer = findNode(topicAt, topicLength);
  if (pointer == 0) return 0;
  const node = nodeAt(pointer);
  const message = node.message;
  if (message == 0) return 0;
  node.message = 0;
  messages--;
  pruneNode(pointer);
  return message;
}

/**
 * Starts a walk over the retained messages that match the filter and are not younger than
 * `order`. The filter (without `$share/name/`) is copied; length 0 stands for every topic, those
 * that start with `$` included. 0: out of memory, or RETAINED_WALKS_MAX walks are under way.
 */
export function walkStart(filterAt: u32, filterLength: u32, order: f64): u32 {
  if (walks == RETAINED_WALKS_MAX) return 0;
  const levels = countLevels(filterAt, filterLength);
  const startsAt = (WALK_HEADER_BYTES + filterLength + PADDING) & ~1;
  // Not of the retained class: a store that is full must still be readable.
  const pointer = allocateIndex(startsAt + (levels << 1));
  if (pointer == 0) return 0;
  const filter = pointer + WALK_HEADER_BYTES;
  const walk = changetype<Walk>(pointer);
  memory.copy(filter, filterAt, filterLength);
  store<u8>(filter + filterLength, 0);
  walk.order = order;
  walk.node = <u32>root;
  walk.depth = 0;
  walk.levels = levels;
  walk.filterLength = filterLength;
  walk.step = STEP_ENTER;
  walk.levelStarts = pointer + startsAt;
  let position = filter;
  for (let i: u32 = 0; i < levels; i++) {
    store<u16>(walk.levelStarts + (i << 1), <u16>(position - filter));
    position += scanLevel(position, filter + filterLength) + 1;
  }
  const endsWithMulti = filterLength == 0 || byteOf(walk, levels - 1) == MULTI_LEVEL_WILDCARD;
  walk.multiFrom = endsWithMulti ? levels - 1 : NEVER;
  // A wildcard in the first level does not match a topic that starts with `$` [MQTT-4.7.2-1].
  walk.skipsDollar = filterLength != 0 && isWild(walk, 0) ? 1 : 0;
  nodeAt(<u32>root).pins++;
  walks++;
  return pointer;
}

function countLevels(at: u32, length: u32): u32 {
  let levels: u32 = 0;
  let position = at;
  while (position <= at + length) {
    position += scanLevel(position, at + length) + 1;
    levels++;
  }
  return levels;
}

@inline
function filterOf(walk: Walk): u32 {
  return changetype<u32>(walk) + WALK_HEADER_BYTES;
}
@inline
function levelStart(walk: Walk, level: u32): u32 {
  return filterOf(walk) + <u32>load<u16>(walk.levelStarts + (level << 1));
}
/** First byte of a level: in a well-formed filter it says whether the level is a wildcard. */
@inline
function byteOf(walk: Walk, level: u32): u8 {
  return load<u8>(levelStart(walk, level));
}
/** True when the nodes that this level takes are all children of a node, not one. */
@inline
function isWild(walk: Walk, level: u32): bool {
  return level >= walk.multiFrom || byteOf(walk, level) == SINGLE_LEVEL_WILDCARD;
}

@inline
function takesMessage(walk: Walk, node: RetainedNode, depth: u32): bool {
  const matches = depth == walk.levels || depth >= walk.multiFrom;
  return matches && node.message != 0 && node.order <= walk.order;
}

@inline
function isSkipped(walk: Walk, pointer: u32, depth: u32): bool {
  if (depth != 1 || walk.skipsDollar == 0) return false;
  return nodeAt(pointer).length != 0 && load<u8>(pointer + NODE_BYTES) == DOLLAR;
}

/** The first child that the filter's next level takes, or 0. */
@inline
function childFor(walk: Walk, pointer: u32, depth: u32): u32 {
  const node = nodeAt(pointer);
  if (node.firstChild == 0) return 0;
  if (depth >= walk.multiFrom) return node.firstChild;
  if (depth >= walk.levels) return 0;
  if (isWild(walk, depth)) return node.firstChild;
  const at = levelStart(walk, depth);
  const bytes = scanLevel(at, filterOf(walk) + walk.filterLength);
  return findChild(pointer, at, bytes, levelHash);
}

/**
 * The next message of the walk. 0: with `walkDone`, there are no more; without, `budget` steps
 * (about one node each) were taken and the next call goes on.
 */
export function walkNext(handle: u32, budget: u32): u32 {
  const walk = changetype<Walk>(handle);
  let pointer = walk.node;
  let depth = walk.depth;
  let step = walk.step;
  let message: u32 = 0;
  let left = budget;
  walkDone = false;
  while (left != 0) {
    left--;
    if (step == STEP_ENTER) {
      if (isSkipped(walk, pointer, depth)) {
        step = STEP_LEAVE;
      } else {
        step = STEP_DESCEND;
        if (takesMessage(walk, nodeAt(pointer), depth)) {
          message = nodeAt(pointer).message;
          break;
        }
      }
    }
    if (step == STEP_DESCEND) {
      const child = childFor(walk, pointer, depth);
      step = child != 0 ? STEP_ENTER : STEP_LEAVE;
      if (child != 0) {
        pointer = child;
        depth++;
        continue;
      }
    }
    if (depth == 0) {
      walkDone = true;
      break;
    }
    const sibling = isWild(walk, depth - 1) ? nodeAt(pointer).next : 0;
    step = sibling != 0 ? STEP_ENTER : STEP_LEAVE;
    if (sibling == 0) depth--;
    pointer = sibling != 0 ? sibling : nodeAt(pointer).parent;
  }
  walkSpent = budget - left;
  walk.depth = depth;
  walk.step = step;
  moveTo(walk, pointer);
  return message;
}

/** Moves the walk's pin; the node that it leaves may have waited for that. */
function moveTo(walk: Walk, pointer: u32): void {
  const start = walk.node;
  if (start == pointer) return;
  walk.node = pointer;
  nodeAt(pointer).pins++;
  nodeAt(start).pins--;
  pruneNode(start);
}

/** Ends the walk, finished or not, and releases it. */
export function walkEnd(handle: u32): void {
  const node = changetype<Walk>(handle).node;
  nodeAt(node).pins--;
  pruneNode(node);
  release(MEMORY_INDEX, handle);
  walks--;
}
