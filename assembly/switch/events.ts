/**
 * Event rows: how the core tells its host what happened. A row, and the bytes that it points to,
 * are valid until `releaseRows`; the host reads all rows in order and releases them before the next
 * chunk comes in.
 */
import {
  COUNT_DROPPED, LIMIT_DROP_ROWS, ROW_DELIVER, ROW_DONE, ROW_DROPPED, ROW_ENDED, ROW_FAILED,
  ROW_INTERCEPT, ROW_MOVED, ROW_PUBLISHED, ROW_PUBREL, ROW_RECEIVE, ROW_RELEASE,
  ROW_RENUMBERED, ROW_RETAINED, ROW_WORDS,
  DELIVER_MESSAGE, DELIVER_TOPIC_AT, ROW_AUTHORIZE,
} from '../shared/abi';
import { pinGroup, unpinGroup } from '../index/shared-group';
import { unpinTopicName } from '../index/topic-intern';
import { allocateUrgent, release } from '../memory/blocks';
import { count, limitOf } from '../session/limits';
import {
  createMessage, holdMessage, messageAt, releaseMessage, topicOf,
} from '../session/message-block';
import { MEMORY_MESSAGE, MEMORY_RECORD } from '../shared/memory-class';

const ROWS_MAX: u32 = 16384;
/** Rows that only control events may use: a flood of deliveries cannot push out a failure. */
const ROWS_RESERVED: u32 = 1024;
/** `ingest` stops here and lets the host read. */
const ROWS_COMFORTABLE: u32 = 2048;
const ROW_BYTES: u32 = ROW_WORDS * 4;
const ROWS_BYTES: u32 = ROWS_MAX * ROW_BYTES;
const NEXT_BYTES: u32 = 4;

let rowsAt: u32 = 0;
export let rowCount: u32 = 0;
let dropRows: u32 = 0;
/**
 * Rows that found the table full, oldest first, each in a block of its own with the address of the
 * next behind it. They move up as the host reads; while there are any, the table is full.
 */
let spareHead: u32 = 0;
let spareTail: u32 = 0;

export function initialiseRows(at: u32): u32 {
  rowsAt = at;
  return at + ROWS_BYTES;
}
export function rowTable(): u32 {
  return rowsAt;
}

/** Whoever makes rows in a loop of unknown length goes on in the next turn. */
export function hasRoomForRows(): bool {
  return rowCount < ROWS_MAX / 2;
}

@inline
export function rowsAreMany(): bool {
  return rowCount >= ROWS_COMFORTABLE;
}

@inline
export function setColumn(row: u32, column: u32, value: u32): void {
  store<u32>(row + (column << 2), value);
}

/**
 * A new row for a control event: one call can cause any number of them, and somebody waits for
 * each. 0 when the last memory is gone.
 */
export function addRow(kind: u32, handle: u32): u32 {
  let row: u32;
  if (rowCount < ROWS_MAX) {
    row = rowsAt + rowCount * ROW_BYTES;
    rowCount++;
  } else {
    row = addSpareRow();
    if (row == 0) return 0;
  }
  setColumn(row, 0, kind);
  setColumn(row, 1, handle);
  return row;
}

function addSpareRow(): u32 {
  const row = allocateUrgent(MEMORY_RECORD, ROW_BYTES + NEXT_BYTES);
  if (row == 0) return 0;
  store<u32>(row + ROW_BYTES, 0);
  if (spareTail != 0) store<u32>(spareTail + ROW_BYTES, row);
  else spareHead = row;
  spareTail = row;
  return row;
}

function takeSpareRows(): void {
  while (spareHead != 0 && rowCount < ROWS_MAX) {
    const row = spareHead;
    memory.copy(rowsAt + rowCount * ROW_BYTES, row, ROW_BYTES);
    rowCount++;
    spareHead = load<u32>(row + ROW_BYTES);
    if (spareHead == 0) spareTail = 0;
    release(MEMORY_RECORD, row);
  }
}

/** A new row for a delivery; 0 when the host must read first. */
export function addDeliveryRow(handle: u32): u32 {
  if (rowCount >= ROWS_MAX - ROWS_RESERVED) return 0;
  return addRow(ROW_DELIVER, handle);
}

export function tellFailed(connection: u32, reasonCode: u32, detail: u32): void {
  const row = addRow(ROW_FAILED, connection);
  if (row == 0) return;
  setColumn(row, 2, reasonCode);
  setColumn(row, 3, detail);
}

export function tellPublished(token: u32, reasonCode: u32): void {
  const row = addRow(ROW_PUBLISHED, 0);
  if (row == 0) return;
  setColumn(row, 2, token);
  setColumn(row, 3, reasonCode);
}

/** False when the last memory is gone. */
export function tellRenumbered(): bool {
  return addRow(ROW_RENUMBERED, 0) != 0;
}

/** Asks who may receive. False when the host must read first. */
export function tellReceive(session: u32, serial: u32, rules: u32, message: u32): bool {
  if (rowCount >= ROWS_MAX - ROWS_RESERVED) return false;
  const row = addRow(ROW_RECEIVE, session);
  setColumn(row, 2, serial);
  setColumn(row, 3, rules);
  setColumn(row, 4, topicOf(message));
  setColumn(row, 5, messageAt(message).topicLength);
  setColumn(row, 6, message);
  holdMessage(message);
  return true;
}

// --- the durable gate --------------------------------------------------------------------------

export function tellDone(session: u32, number: f64, released: u32): void {
  const row = addRow(ROW_DONE, session);
  if (row == 0) return;
  setColumn(row, 2, released);
  setNumber(row, number);
}
export function tellRelease(session: u32, packetIdentifier: u32, number: f64): void {
  const row = addRow(ROW_RELEASE, session);
  if (row == 0) return;
  setColumn(row, 2, packetIdentifier);
  setNumber(row, number);
}
export function tellPubrel(connection: u32, packetIdentifier: u32, session: u32): void {
  const row = addRow(ROW_PUBREL, connection);
  if (row == 0) return;
  setColumn(row, 2, packetIdentifier);
  setColumn(row, 3, session);
}
/** The message and the group are held by the row: the entry itself may be done with at once. */
export function tellMoved(
  from: u32, to: u32, number: f64, facts: u32, message: u32, identifier: u32, group: u32,
): void {
  const row = addRow(ROW_MOVED, to);
  if (row == 0) return;
  setColumn(row, 2, from);
  setColumn(row, 3, facts);
  setNumber(row, number);
  setColumn(row, MOVED_MESSAGE, message);
  setColumn(row, 7, identifier);
  setColumn(row, MOVED_GROUP, group);
  holdMessage(message);
  pinGroup(group);
}
const MOVED_MESSAGE: u32 = 6;
const MOVED_GROUP: u32 = 8;
/** False when the host must read first. */
export function tellEnded(session: u32): bool {
  return addRow(ROW_ENDED, session) != 0;
}
@inline
function setNumber(row: u32, number: f64): void {
  store<f64>(row + (NUMBER_COLUMN << 2), number);
}
const NUMBER_COLUMN: u32 = 4;

/**
 * Counts a dropped message, and tells about it unless this turn has told enough. The topic is
 * copied.
 */
export function tellDropped(
  session: u32, reason: u32, qos: u32, topicAt: u32, topicLength: u32,
): void {
  count(COUNT_DROPPED + reason, 1);
  if (dropRows >= limitOf(LIMIT_DROP_ROWS) || rowCount >= ROWS_MAX - ROWS_RESERVED) return;
  const message = createMessage(topicLength, 0, 0);
  if (message == 0) return;
  memory.copy(topicOf(message), topicAt, topicLength);
  dropRows++;
  const row = addRow(ROW_DROPPED, session);
  setColumn(row, 2, reason);
  setColumn(row, 3, qos);
  setColumn(row, 4, topicOf(message));
  setColumn(row, 5, topicLength);
  setColumn(row, 6, message);
}
const DROPPED_MESSAGE: u32 = 6;

/**
 * Blocks that rows may point into, chained by their first word: what belongs to no message and
 * must outlive the packet that it was made for.
 */
let keptHead: u32 = 0;
export const KEPT_HEADER_BYTES: u32 = 4;

/**
 * Takes a block (MEMORY_MESSAGE) until the rows that may point into it have been read; answers
 * where its content begins.
 */
export function releaseAfterRows(block: u32): u32 {
  if (rowCount == 0) releaseKept();
  store<u32>(block, keptHead);
  keptHead = block;
  return block + KEPT_HEADER_BYTES;
}

function releaseKept(): void {
  while (keptHead != 0) {
    const block = keptHead;
    keptHead = load<u32>(block);
    release(MEMORY_MESSAGE, block);
  }
}

/** The host has read every row. */
export function clearRows(): void {
  clearFirstRows(rowCount);
  dropRows = 0;
}

/** The host has read the first rows: what they hold is let go, the others move up. */
export function clearFirstRows(read: u32): void {
  const rows = min(read, rowCount);
  for (let i: u32 = 0; i < rows; i++) letGo(rowsAt + i * ROW_BYTES);
  rowCount -= rows;
  if (rowCount != 0) memory.copy(rowsAt, rowsAt + rows * ROW_BYTES, rowCount * ROW_BYTES);
  if (spareHead != 0) takeSpareRows();
}

function letGo(row: u32): void {
  const kind = load<u32>(row);
  if (kind == ROW_AUTHORIZE || kind == ROW_INTERCEPT) {
    unpinTopicName(load<u32>(row + (ASKED_TOPIC << 2)));
    return;
  }
  let message: u32 = 0;
  if (kind == ROW_DELIVER) {
    message = load<u32>(row + (DELIVER_MESSAGE << 2));
    if (message == 0) unpinTopicName(load<u32>(row + (DELIVER_TOPIC_AT << 2)));
  } else if (kind == ROW_DROPPED || kind == ROW_RETAINED || kind == ROW_RECEIVE) {
    message = load<u32>(row + (DROPPED_MESSAGE << 2));
  } else if (kind == ROW_MOVED) {
    message = load<u32>(row + (MOVED_MESSAGE << 2));
    unpinGroup(load<u32>(row + (MOVED_GROUP << 2)));
  }
  if (message != 0) releaseMessage(message);
}
const ASKED_TOPIC: u32 = 4;
if (ASKED_TOPIC != DELIVER_TOPIC_AT) ERROR('layout drift: topic of a question');
