/**
 * The block allocator: every byte that the core holds for longer than one call comes from here.
 *
 * Linear memory is fixed when the core starts. Its pool is cut into pages of 64 KiB. A page serves
 * blocks of one size class (four classes per doubling: 64, 80, 96, 112, 128, 160 ...), or belongs
 * to a run of 2^k pages that serves one large block. Runs are kept by the buddy method, so a page
 * whose blocks are all free goes back and serves any class. A block has no header: its page knows
 * its size.
 *
 * The last pages are not for everybody. What waits (queued and retained messages) stops first, then
 * what brings it to its receivers and makes room again, then records, so that a client can still
 * come, take what is queued for it and acknowledge; answers take what is left:
 * ```
 *  0 free      reserve         reserve + step      reserve + 3 steps            all free
 *  +-----------+---------------+-------------------+-----------------------------+
 *  | urgent    | and records   | and slabs, carry, | and messages, retained      |
 *  |           |               | index             |                             |
 *  +-----------+---------------+-------------------+-----------------------------+
 * ```
 *
 * Invariants: a page in a partial list has at least one free or uncarved block; an empty page in a
 * partial list is alone there; a free run of order k starts at a multiple of 2^k pages;
 * `used[class]` is the sum of `blockBytes` of the live blocks of that memory class.
 */
import {
  MEMORY_CLASSES, MEMORY_MESSAGE, MEMORY_RECORD, MEMORY_RETAINED,
} from '../shared/memory-class';

const PAGE_SHIFT: u32 = 16;
export const PAGE_BYTES: u32 = 1 << PAGE_SHIFT;
const SMALL_BYTES_MAX: u32 = 32768;
const SMALL_CLASSES: u32 = 40;
const ORDERS: u32 = 17;
const NONE: u32 = 0xffff_ffff;

const STATE_INSIDE: u8 = 0;
const STATE_FREE: u8 = 1;
const STATE_SMALL: u8 = 2;
const STATE_LARGE: u8 = 3;

/**
 * One record per page of the pool.
 * ```
 *  0        4        8          12         14         16      17      18
 *  +--------+--------+----------+----------+----------+-------+-------+----+
 *  | next   | prev   | freeHead | live     | carved   | class | order | st |
 *  +--------+--------+----------+----------+----------+-------+-------+----+
 * ```
 */
@unmanaged
class Page {
  next: u32; // neighbours in a partial list or in a list of free runs, as page numbers
  prev: u32;
  freeHead: u32; // first free block of this page; free blocks are chained through their first word
  live: u16; // blocks handed out
  carved: u16; // blocks that were ever handed out: the rest of the page was never touched
  sizeClass: u8;
  order: u8; // of the run that starts here
  state: u8;
}
const PAGE_RECORD_BYTES: u32 = 20;
if (offsetof<Page>() > PAGE_RECORD_BYTES) ERROR('layout drift: Page');

let pageTable: u32 = 0;
let poolBase: u32 = 0;
let poolPages: u32 = 0;
let freePages: u32 = 0;
const partialHeads: usize = memory.data(160); // SMALL_CLASSES page numbers
const runHeads: usize = memory.data(68); // ORDERS page numbers
const usedBytes: usize = memory.data(32); // one u32 per memory class
const limitBytes: usize = memory.data(32);
/** One u32 per memory class: it takes no page that would leave fewer free ones. */
const floorPages: usize = memory.data(32);
/** Pages that only `allocateUrgent` may take: a share of the pool, and at least so many. */
const RESERVE_SHIFT: u32 = 5;
const RESERVE_PAGES_MIN: u32 = 4;
const STEPS_BELOW_PASSING: u32 = 1; // slabs, carried packets, the index
const STEPS_BELOW_WAITING: u32 = 3; // messages and what is retained

@inline
function pageAt(number: u32): Page {
  return changetype<Page>(pageTable + number * PAGE_RECORD_BYTES);
}

/**
 * Size class of a small request: index into the row 16, 32, 48, 64, 80, 96, 112, 128, 160, ...
 * 32768.
 */
@inline
function sizeClassOf(bytes: u32): u32 {
  if (bytes <= 64) return ((bytes + 15) >> 4) - 1;
  const n = bytes - 1;
  const log = 31 - clz(n);
  return 4 + ((log - 6) << 2) + ((n >> (log - 2)) & 3);
}

@inline
function bytesOfClass(sizeClass: u32): u32 {
  if (sizeClass < 4) return (sizeClass + 1) << 4;
  const log = 6 + ((sizeClass - 4) >> 2);
  return (1 << log) + ((((sizeClass - 4) & 3) + 1) << (log - 2));
}

/** Takes `[base, end)` as the pool. Called once; whatever stands below `base` is the caller's. */
export function initialiseBlocks(base: u32, end: u32): void {
  pageTable = (base + 15) & ~15;
  const pages = (end - pageTable) >> PAGE_SHIFT;
  const tableEnd = pageTable + pages * PAGE_RECORD_BYTES;
  poolBase = (tableEnd + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
  poolPages = (end - poolBase) >> PAGE_SHIFT;
  freePages = poolPages;
  for (let i: u32 = 0; i < SMALL_CLASSES; i++) store<u32>(partialHeads + (i << 2), NONE);
  for (let i: u32 = 0; i < ORDERS; i++) store<u32>(runHeads + (i << 2), NONE);
  for (let i: u32 = 0; i < MEMORY_CLASSES; i++) {
    store<u32>(usedBytes + (i << 2), 0);
    store<u32>(limitBytes + (i << 2), end);
    setFloor(i, floorFor(i));
  }
  let at: u32 = 0;
  while (at < poolPages) {
    let order: u32 = at == 0 ? ORDERS - 1 : min(ctz(at), ORDERS - 1);
    while (at + (1 << order) > poolPages) order--;
    pushRun(at, order);
    at += 1 << order;
  }
}

function floorFor(memoryClass: u32): u32 {
  const share = poolPages >> RESERVE_SHIFT;
  const reserve = max<u32>(share, RESERVE_PAGES_MIN);
  if (memoryClass == MEMORY_RECORD) return reserve;
  const isWaiting = memoryClass == MEMORY_MESSAGE || memoryClass == MEMORY_RETAINED;
  const steps = isWaiting ? STEPS_BELOW_WAITING : STEPS_BELOW_PASSING;
  return reserve + steps * max<u32>(share, 1);
}
@inline
function floorOf(memoryClass: u32): u32 {
  return load<u32>(floorPages + (memoryClass << 2));
}
@inline
function setFloor(memoryClass: u32, pages: u32): void {
  store<u32>(floorPages + (memoryClass << 2), pages);
}

/** Sets the budget of one memory class, in bytes. */
export function setBudget(memoryClass: u32, bytes: u32): void {
  store<u32>(limitBytes + (memoryClass << 2), bytes);
}
@inline
export function usedOf(memoryClass: u32): u32 {
  return load<u32>(usedBytes + (memoryClass << 2));
}
@inline
export function budgetOf(memoryClass: u32): u32 {
  return load<u32>(limitBytes + (memoryClass << 2));
}
/**
 * Bytes that `memoryClass` may still take: of its budget, and of the pages that it need not leave
 * to others. Fragmentation can make a single large request fail earlier.
 */
export function roomOf(memoryClass: u32): u32 {
  const used = usedOf(memoryClass);
  const limit = budgetOf(memoryClass);
  const floor = floorOf(memoryClass);
  if (used >= limit || freePages <= floor) return 0;
  return min(limit - used, (freePages - floor) << PAGE_SHIFT);
}
export function freePoolBytes(): u32 {
  return freePages << PAGE_SHIFT;
}

function pushRun(at: u32, order: u32): void {
  const page = pageAt(at);
  const slot = runHeads + (order << 2);
  const head = load<u32>(slot);
  page.state = STATE_FREE;
  page.order = <u8>order;
  page.prev = NONE;
  page.next = head;
  if (head != NONE) pageAt(head).prev = at;
  store<u32>(slot, at);
}

function unlinkFrom(slot: usize, at: u32): void {
  const page = pageAt(at);
  if (page.prev != NONE) pageAt(page.prev).next = page.next;
  else store<u32>(slot, page.next);
  if (page.next != NONE) pageAt(page.next).prev = page.prev;
}

/** A run of 2^order pages, split off a larger one when needed; NONE when the pool has none. */
function takeRun(order: u32): u32 {
  let found = order;
  while (found < ORDERS && load<u32>(runHeads + (found << 2)) == NONE) found++;
  if (found >= ORDERS) return NONE;
  const at = load<u32>(runHeads + (found << 2));
  unlinkFrom(runHeads + (found << 2), at);
  while (found > order) {
    found--;
    pushRun(at + (1 << found), found);
  }
  pageAt(at).order = <u8>order;
  freePages -= 1 << order;
  return at;
}

function giveRun(start: u32, startOrder: u32): void {
  let at = start;
  let order = startOrder;
  freePages += 1 << order;
  while (order < ORDERS - 1) {
    const buddy = at ^ (1 << order);
    if (buddy + (1 << order) > poolPages) break;
    const page = pageAt(buddy);
    if (page.state != STATE_FREE || page.order != order) break;
    unlinkFrom(runHeads + (order << 2), buddy);
    page.state = STATE_INSIDE;
    pageAt(at).state = STATE_INSIDE;
    at = min(at, buddy);
    order++;
  }
  pushRun(at, order);
}

/** Blocks that a page of this class holds. */
@inline
function blocksPerPage(sizeClass: u32): u32 {
  return PAGE_BYTES / bytesOfClass(sizeClass);
}

/** A run of 2^order pages for `memoryClass`; NONE when it would have to take what is not for it. */
function takePages(order: u32, memoryClass: u32): u32 {
  const enough = floorOf(memoryClass) + (<u32>1 << order);
  const at = freePages >= enough ? takeRun(order) : NONE;
  if (at != NONE) return at;
  giveEmptyPages();
  return freePages >= enough ? takeRun(order) : NONE;
}

/**
 * The empty pages that size classes have kept go back: there may be one for each of them, which is
 * a third of a small pool.
 */
function giveEmptyPages(): void {
  for (let sizeClass: u32 = 0; sizeClass < SMALL_CLASSES; sizeClass++) {
    const slot = partialHeads + (sizeClass << 2);
    const at = load<u32>(slot);
    if (at != NONE && pageAt(at).live == 0) giveEmptyPage(slot, at);
  }
}

function giveEmptyPage(slot: usize, at: u32): void {
  unlinkFrom(slot, at);
  giveRun(at, 0);
}

function takePage(sizeClass: u32, memoryClass: u32): u32 {
  const at = takePages(0, memoryClass);
  if (at == NONE) return NONE;
  const page = pageAt(at);
  page.state = STATE_SMALL;
  page.sizeClass = <u8>sizeClass;
  page.freeHead = 0;
  page.live = 0;
  page.carved = 0;
  page.prev = NONE;
  page.next = NONE;
  store<u32>(partialHeads + (sizeClass << 2), at);
  return at;
}

function allocateSmall(sizeClass: u32, memoryClass: u32): u32 {
  const slot = partialHeads + (sizeClass << 2);
  let at = load<u32>(slot);
  if (at == NONE) {
    at = takePage(sizeClass, memoryClass);
    if (at == NONE) return 0;
  }
  const page = pageAt(at);
  let block = page.freeHead;
  if (block != 0) {
    page.freeHead = load<u32>(block);
  } else {
    block = poolBase + (at << PAGE_SHIFT) + <u32>page.carved * bytesOfClass(sizeClass);
    page.carved++;
  }
  page.live++;
  if (page.freeHead == 0 && <u32>page.carved == blocksPerPage(sizeClass)) {
    unlinkFrom(slot, at);
    page.next = NONE;
    page.prev = NONE;
  }
  return block;
}

function allocateLarge(bytes: u32, memoryClass: u32): u32 {
  const pages = (bytes + PAGE_BYTES - 1) >> PAGE_SHIFT;
  const order: u32 = pages <= 1 ? 0 : 32 - clz(pages - 1);
  if (order >= ORDERS) return 0;
  const at = takePages(order, memoryClass);
  if (at == NONE) return 0;
  pageAt(at).state = STATE_LARGE;
  return poolBase + (at << PAGE_SHIFT);
}

/** Bytes that a request of `bytes` really costs. */
function grossBytes(bytes: u32): u32 {
  if (bytes <= SMALL_BYTES_MAX) return bytesOfClass(sizeClassOf(bytes));
  const pages = (bytes + PAGE_BYTES - 1) >> PAGE_SHIFT;
  return pages <= 1 ? PAGE_BYTES : (<u32>1 << (32 - clz(pages - 1))) << PAGE_SHIFT;
}

/**
 * A block of at least `bytes` (1 or more), aligned to 16, with undefined content.
 * 0 when the class is at its budget or the pool is exhausted: the caller refuses, with a reason.
 */
export function allocate(memoryClass: u32, bytes: u32): u32 {
  const gross = grossBytes(bytes);
  const used = usedOf(memoryClass);
  if (used + gross > budgetOf(memoryClass)) return 0;
  const block = bytes <= SMALL_BYTES_MAX
    ? allocateSmall(sizeClassOf(bytes), memoryClass)
    : allocateLarge(bytes, memoryClass);
  if (block != 0) store<u32>(usedBytes + (memoryClass << 2), used + gross);
  return block;
}

/**
 * As `allocate`, for the few bytes that must leave when all else is full: acknowledgements,
 * goodbyes. It may pass the budget and takes from the reserve of the pool.
 */
export function allocateUrgent(memoryClass: u32, bytes: u32): u32 {
  const budget = budgetOf(memoryClass);
  const floor = floorOf(memoryClass);
  setBudget(memoryClass, 0xffff_ffff);
  setFloor(memoryClass, 0);
  const block = allocate(memoryClass, bytes);
  setFloor(memoryClass, floor);
  setBudget(memoryClass, budget);
  return block;
}

/** As `allocate`, filled with zeros. */
export function allocateZeroed(memoryClass: u32, bytes: u32): u32 {
  const block = allocate(memoryClass, bytes);
  if (block != 0) memory.fill(block, 0, bytes);
  return block;
}

/** Bytes that may be used of a block: at least what was asked for. */
export function blockBytes(block: u32): u32 {
  const page = pageAt((block - poolBase) >> PAGE_SHIFT);
  if (page.state == STATE_SMALL) return bytesOfClass(page.sizeClass);
  return PAGE_BYTES << page.order;
}

/** Gives a block back. `memoryClass` must be the one it was allocated with. */
export function release(memoryClass: u32, block: u32): void {
  const at = (block - poolBase) >> PAGE_SHIFT;
  const page = pageAt(at);
  const slotUsed = usedBytes + (memoryClass << 2);
  if (page.state == STATE_LARGE) {
    store<u32>(slotUsed, load<u32>(slotUsed) - (PAGE_BYTES << page.order));
    giveRun(at, page.order);
    return;
  }
  const sizeClass = <u32>page.sizeClass;
  store<u32>(slotUsed, load<u32>(slotUsed) - bytesOfClass(sizeClass));
  const wasFull = page.freeHead == 0 && <u32>page.carved == blocksPerPage(sizeClass);
  store<u32>(block, page.freeHead);
  page.freeHead = block;
  page.live--;
  const slot = partialHeads + (sizeClass << 2);
  if (wasFull) {
    const head = load<u32>(slot);
    page.prev = NONE;
    page.next = head;
    if (head != NONE) pageAt(head).prev = at;
    store<u32>(slot, at);
    if (head != NONE && pageAt(head).live == 0) giveEmptyPage(slot, head);
  }
  // One empty page per class stays, so that a class that hovers around zero does not thrash.
  if (page.live == 0 && (page.prev != NONE || page.next != NONE)) giveEmptyPage(slot, at);
}
