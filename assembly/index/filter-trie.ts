/**
 * Tries of Topic Filters, and the walk that finds every filter that matches a Topic Name.
 *
 * A node is one level of a filter. Literal edges of all tries live in one hash table keyed by
 * (parent, level bytes); the `+` child is a field; `#` is no node but a second list head of the
 * node before it. A *filter end* is a pointer to such a list head: the low four bits say which,
 * because blocks are aligned to 16.
 *
 * The walk is depth-first without recursion. A node pushes at most two children, so the stack is
 * bounded by the depth of the deepest filter; the levels of the topic are split and hashed once,
 * on demand, and never beyond that depth, so a topic of 65,535 `/` costs what the filters cost.
 * Stack and levels are sized when a filter is added: a walk needs no memory and cannot fail. One
 * walk at a time; a trie must not change during a walk.
 */
import { release } from '../memory/blocks';
import { MEMORY_INDEX } from '../shared/memory-class';
import { hashPair } from '../topic/hash';
import {
  DOLLAR, isWildcardLevel, LEVEL_SEPARATOR, levelHash, MULTI_LEVEL_WILDCARD, scanLevel,
  SINGLE_LEVEL_WILDCARD,
} from '../topic/topic-level';
import { findEdge } from './edges';
import {
  POINTER_TABLE_BYTES, PointerTable, initialiseTable, insertPointer, removePointer,
} from './pointer-table';
import { allocateIndex, reserveIndexSlot } from './topic-intern';

/**
 * What hangs on a filter: non-shared subscriptions (or a matcher's rules), and shared groups.
 * ```
 *  0       4        8
 *  +-------+--------+
 *  | first | groups |
 *  +-------+--------+
 * ```
 */
@unmanaged
export class FilterEnd {
  first: u32; // first Subscription
  groups: u32; // first Group
}

/**
 * ```
 *  0           8            16       20     24         28       30     32
 *  +-----------+------------+--------+------+----------+--------+------+-----------------
 *  | here (end)| multi (end)| parent | plus | literals | length | kind | bytes of the level
 *  +-----------+------------+--------+------+----------+--------+------+-----------------
 * ```
 */
@unmanaged
class TrieNode {
  hereFirst: u32; // filters that end with this level
  hereGroups: u32;
  multiFirst: u32; // filters that go on with `#`
  multiGroups: u32;
  parent: u32; // 0: a root
  plus: u32; // child for `+`
  literals: u32; // number of children in the edge table
  length: u16;
  kind: u16;
}
const NODE_BYTES: u32 = 32;
if (offsetof<TrieNode>() != NODE_BYTES) ERROR('layout drift: TrieNode');
const MULTI_END: u32 = 8; // offset of the `#` end within its node
const END_MASK: u32 = 15;

const KIND_ROOT: u16 = 0;
const KIND_LITERAL: u16 = 1;
const KIND_PLUS: u16 = 2;

/**
 * One level of the topic that is walked.
 * ```
 *  0      8       12       16
 *  +------+-------+--------+
 *  | hash | start | length |
 *  +------+-------+--------+
 * ```
 */
@unmanaged
class WalkLevel {
  hash: u64;
  start: u32; // pointer; beyond the topic's end when there is no such level
  length: u32;
}
const LEVEL_BYTES: u32 = 16;
const VISIT_BYTES: u32 = 8; // node, depth
const DEPTH_MIN: u32 = 32;
const edges: usize = memory.data(POINTER_TABLE_BYTES);
const firstScratch: usize = memory.data(768); // DEPTH_MIN x (LEVEL_BYTES + VISIT_BYTES)

let scratch: u32 = 0;
let depthCapacity: u32 = 0;
let levels: u32 = 0;
let visits: u32 = 0;
let visitTop: u32 = 0;
let levelsReady: u32 = 0;
let topicEnd: u32 = 0;
let startsWithDollar: bool = false;
let pendingEnd: u32 = 0;

@inline
function edgeTable(): PointerTable {
  return changetype<PointerTable>(edges);
}
@inline
function nodeAt(pointer: u32): TrieNode {
  return changetype<TrieNode>(pointer);
}
@inline
function levelAt(depth: u32): WalkLevel {
  return changetype<WalkLevel>(levels + depth * LEVEL_BYTES);
}

export function initialiseTries(): void {
  initialiseTable(edgeTable(), MEMORY_INDEX);
  useScratch(<u32>firstScratch, DEPTH_MIN);
}

function useScratch(block: u32, depth: u32): void {
  scratch = block;
  depthCapacity = depth;
  levels = block;
  visits = block + depth * LEVEL_BYTES;
}

/**
 * Makes sure that a walk can go down to `depth`: one level record beyond it, and one visit more
 * than levels.
 */
function ensureDepth(depth: u32): bool {
  if (depth + 2 <= depthCapacity) return true;
  const capacity = depthCapacity << 1;
  const block = allocateIndex(capacity * (LEVEL_BYTES + VISIT_BYTES));
  if (block == 0) return false;
  if (scratch != <u32>firstScratch) release(MEMORY_INDEX, scratch);
  useScratch(block, capacity);
  return true;
}

/** A new, empty trie; 0: out of memory. Given back with `freeTrie`. */
export function createTrie(): u32 {
  const root = allocateIndex(NODE_BYTES);
  if (root != 0) clearNode(root, 0, 0, KIND_ROOT);
  return root;
}

/** Releases the root of a trie without filters. */
export function freeTrie(root: u32): void {
  release(MEMORY_INDEX, root);
}

function clearNode(pointer: u32, parent: u32, length: u32, kind: u16): void {
  const node = nodeAt(pointer);
  node.hereFirst = 0;
  node.hereGroups = 0;
  node.multiFirst = 0;
  node.multiGroups = 0;
  node.parent = parent;
  node.plus = 0;
  node.literals = 0;
  node.length = <u16>length;
  node.kind = kind;
}

/** The child of `parent` for the literal level, or 0. */
@inline
function findChild(parent: u32, at: u32, length: u32, hash: u64): u32 {
  return findEdge<TrieNode>(edgeTable(), NODE_BYTES, parent, at, length, hash);
}

function addPlus(parent: u32): u32 {
  const child = allocateIndex(NODE_BYTES);
  if (child == 0) return 0;
  clearNode(child, parent, 0, KIND_PLUS);
  nodeAt(parent).plus = child;
  return child;
}

function addLiteral(parent: u32, at: u32, length: u32, hash: u64): u32 {
  const table = edgeTable();
  if (!reserveIndexSlot(table)) return 0;
  const child = allocateIndex(NODE_BYTES + length);
  if (child == 0) return 0;
  clearNode(child, parent, length, KIND_LITERAL);
  memory.copy(child + NODE_BYTES, at, length);
  insertPointer(table, hashPair(parent, hash), child);
  nodeAt(parent).literals++;
  return child;
}

/**
 * The end of the filter, with all nodes that lead to it; 0: out of memory, and the trie is as it
 * was.
 */
export function addFilter(root: u32, at: u32, length: u32): u32 {
  const end = at + length;
  let node = root;
  let position = at;
  let depth: u32 = 0;
  while (true) {
    const bytes = scanLevel(position, end);
    // `#` also matches its parent level, so it belongs to the node before it.
    if (isWildcardLevel(position, bytes, MULTI_LEVEL_WILDCARD)) return node + MULTI_END;
    let child: u32 = 0;
    if (ensureDepth(depth + 1)) {
      if (isWildcardLevel(position, bytes, SINGLE_LEVEL_WILDCARD)) {
        child = nodeAt(node).plus;
        if (child == 0) child = addPlus(node);
      } else {
        const hash = levelHash;
        child = findChild(node, position, bytes, hash);
        if (child == 0) child = addLiteral(node, position, bytes, hash);
      }
    }
    if (child == 0) {
      pruneNode(node);
      return 0;
    }
    node = child;
    if (position + bytes == end) return node;
    position += bytes + 1;
    depth++;
  }
}

/** The end of the filter, or 0 when the trie has no such path. */
export function findFilter(root: u32, at: u32, length: u32): u32 {
  const end = at + length;
  let node = root;
  let position = at;
  while (true) {
    const bytes = scanLevel(position, end);
    if (isWildcardLevel(position, bytes, MULTI_LEVEL_WILDCARD)) return node + MULTI_END;
    if (isWildcardLevel(position, bytes, SINGLE_LEVEL_WILDCARD)) node = nodeAt(node).plus;
    else node = findChild(node, position, bytes, levelHash);
    if (node == 0) return 0;
    if (position + bytes == end) return node;
    position += bytes + 1;
  }
}

/**
 * Called when something was removed from a filter end: releases the nodes that serve nobody any
 * more.
 */
export function pruneEnd(end: u32): void {
  pruneNode(end & ~END_MASK);
}

function pruneNode(start: u32): void {
  let pointer = start;
  while (true) {
    const node = nodeAt(pointer);
    const parent = node.parent;
    const ends = node.hereFirst | node.hereGroups | node.multiFirst | node.multiGroups;
    if (parent == 0 || (ends | node.plus | node.literals) != 0) return;
    if (node.kind == KIND_PLUS) {
      nodeAt(parent).plus = 0;
    } else {
      scanLevelOf(pointer);
      removePointer(edgeTable(), hashPair(parent, levelHash), pointer);
      nodeAt(parent).literals--;
    }
    release(MEMORY_INDEX, pointer);
    pointer = parent;
  }
}

function scanLevelOf(pointer: u32): void {
  const at = pointer + NODE_BYTES;
  scanLevel(at, at + <u32>nodeAt(pointer).length);
}

/** Length of the filter that ends at `end`. */
export function filterLengthOf(end: u32): u32 {
  let length: u32 = (end & END_MASK) == MULTI_END ? 2 : 0;
  let node = nodeAt(end & ~END_MASK);
  while (node.kind != KIND_ROOT) {
    length += (node.kind == KIND_PLUS ? 1 : <u32>node.length) + 1;
    node = nodeAt(node.parent);
  }
  return length - 1;
}

/** Writes the filter that ends at `end`; answers its length. */
export function writeFilter(end: u32, out: u32): u32 {
  const total = filterLengthOf(end);
  let position = out + total;
  if ((end & END_MASK) == MULTI_END) {
    position--;
    store<u8>(position, MULTI_LEVEL_WILDCARD);
    if (position != out) {
      position--;
      store<u8>(position, LEVEL_SEPARATOR);
    }
  }
  let pointer = end & ~END_MASK;
  while (true) {
    const node = nodeAt(pointer);
    if (node.kind == KIND_ROOT) return total;
    if (node.kind == KIND_PLUS) {
      position--;
      store<u8>(position, SINGLE_LEVEL_WILDCARD);
    } else {
      position -= <u32>node.length;
      memory.copy(position, pointer + NODE_BYTES, <u32>node.length);
    }
    if (position != out) {
      position--;
      store<u8>(position, LEVEL_SEPARATOR);
    }
    pointer = node.parent;
  }
}

/** Starts the walk; `nextMatch` answers the ends of the matching filters one by one. */
export function startMatch(root: u32, at: u32, length: u32): void {
  topicEnd = at + length;
  startsWithDollar = length != 0 && load<u8>(at) == DOLLAR;
  levelsReady = 0;
  pendingEnd = 0;
  levelAt(0).start = at;
  visitTop = visits;
  visit(root, 0);
}

@inline
function visit(node: u32, depth: u32): void {
  store<u32>(visitTop, node);
  store<u32>(visitTop, depth, 4);
  visitTop += VISIT_BYTES;
}

function splitLevel(depth: u32): void {
  const level = levelAt(depth);
  const bytes = scanLevel(level.start, topicEnd);
  level.length = bytes;
  level.hash = levelHash;
  levelAt(depth + 1).start = level.start + bytes + 1;
  levelsReady = depth + 1;
}

/** The next matching filter's end, or 0 when there are no more. */
export function nextMatch(): u32 {
  if (pendingEnd != 0) {
    const end = pendingEnd;
    pendingEnd = 0;
    return end;
  }
  while (visitTop != visits) {
    visitTop -= VISIT_BYTES;
    const pointer = load<u32>(visitTop);
    const depth = load<u32>(visitTop, 4);
    const node = nodeAt(pointer);
    // A wildcard in the first level does not match a topic that starts with `$` [MQTT-4.7.2-1].
    const wildcards = depth != 0 || !startsWithDollar;
    let found: u32 = 0;
    if ((node.multiFirst | node.multiGroups) != 0 && wildcards) found = pointer + MULTI_END;
    if (levelAt(depth).start > topicEnd) {
      if ((node.hereFirst | node.hereGroups) != 0) {
        if (found == 0) found = pointer;
        else pendingEnd = pointer;
      }
    } else {
      if (node.plus != 0 && wildcards) visit(node.plus, depth + 1);
      if (node.plus != 0 && depth >= levelsReady) splitLevel(depth);
      if (node.literals != 0) visitLiteral(pointer, depth);
    }
    if (found != 0) return found;
  }
  return 0;
}

@inline
function visitLiteral(pointer: u32, depth: u32): void {
  if (depth >= levelsReady) splitLevel(depth);
  const level = levelAt(depth);
  const child = findChild(pointer, level.start, level.length, level.hash);
  if (child != 0) visit(child, depth + 1);
}
