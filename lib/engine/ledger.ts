/**
 * Batches are numbered, and each leaves a record behind its last operation. A batch that is missing
 * in the middle, or that was applied by half, shows at the next start, whatever the store below
 * thinks of itself.
 *
 * ```
 *   x open   -> number of the batch, its first operation
 *   b <n>    -> its last operation: operations 4, bytes 4, digest 4, chain 4, numbers reserved 8,
 *               disk batch before 8, disk or not 1
 * ```
 * `chain` is computed from the record before, so that records of two histories cannot be mixed.
 * Records are kept for as long as their batch can still stand in one of LevelDB's two logs: what is
 * in its tables was synced and is checked value by value.
 */
import { openValue } from './checksum.js';
import type { Loss, WriteDurability } from './engine.js';
import { NUMBER_STEP } from './engine.js';
import { KEY_BATCH, KEY_STORE, classRange, readNumber, storeKey } from './keys.js';
import type { OperationLog } from './operation-log.js';
import type { Readable } from './store.js';
import { readOne, scanAll } from './store.js';

/** Numbers that are reserved beyond the last one given. */
const RESERVE = 1_024 * NUMBER_STEP;
/** Old records that one batch removes at most. */
const TRIM_MAX = 64;
const OPEN_KEY = storeKey('open');
const RECORD_OVERHEAD_BYTES = 64;

interface Mark {
  readonly number: number;
  /** Bytes of all batches up to this one. */
  readonly through: number;
}
interface BatchRecord {
  readonly number: number;
  readonly bytes: number;
  readonly digest: number;
  readonly chain: number;
  readonly reserved: number;
  /** The last batch before this one that was promised to the disk. */
  readonly diskBefore: number;
  readonly durability: WriteDurability;
}

function chainOf(before: number, digest: number, number: number): number {
  return (Math.imul(before ^ digest, 0x0100_0193) + (number >>> 0)) >>> 0;
}

export class Ledger {
  #marks: Mark[] = [];
  #oldest = 0;
  #through = 0;
  #windowBytes: number;
  #last = 0;
  #lastDisk = 0;
  #chain = 0;
  #reserved = NUMBER_STEP;
  #contiguousFrom = 0;
  #damaged: Buffer[] = [];
  #next = NUMBER_STEP;

  /** `windowBytes`: what the logs of the store can hold. */
  constructor(windowBytes: number) {
    this.#windowBytes = windowBytes;
  }

  get lastBatch(): number {
    return this.#last;
  }
  /** The last one that was promised to the disk. */
  get lastDiskBatch(): number {
    return this.#lastDisk;
  }
  nextNumber(): number {
    const number = this.#next;
    this.#next += NUMBER_STEP;
    return number;
  }

  /** Frames a batch of the next number. The ledger itself moves on with `committed` only. */
  frame(
    body: OperationLog, durability: WriteDurability, head: OperationLog, tail: OperationLog,
  ): void {
    const number = this.#last + 1;
    const reserved = Math.max(this.#reserved, this.#next + RESERVE);
    head.reset();
    head.beginKey(KEY_STORE);
    head.text('open');
    head.beginValue();
    head.number(number);
    head.endPut();
    tail.reset();
    this.#trim(tail);
    tail.beginKey(KEY_BATCH);
    tail.number(number);
    tail.beginValue();
    tail.uint32(body.operations);
    tail.uint32(body.bytes);
    tail.uint32(body.digest);
    tail.uint32(chainOf(this.#chain, body.digest, number));
    tail.number(reserved);
    tail.number(this.#lastDisk);
    tail.uint8(durability === 'disk' ? 1 : 0);
    tail.endPut();
  }
  #trim(tail: OperationLog): void {
    let at = this.#oldest;
    const end = Math.min(this.#marks.length, at + TRIM_MAX);
    while (at < end && this.#through - this.#marks[at].through > this.#windowBytes) {
      tail.beginKey(KEY_BATCH);
      tail.number(this.#marks[at++].number);
      tail.endDelete();
    }
  }

  committed(body: OperationLog, durability: WriteDurability): void {
    let dropped = 0;
    while (dropped < TRIM_MAX && this.#oldest < this.#marks.length
      && this.#through - this.#marks[this.#oldest].through > this.#windowBytes) {
      this.#oldest++;
      dropped++;
    }
    if (this.#oldest > 4_096 && this.#oldest * 2 > this.#marks.length) {
      this.#marks.splice(0, this.#oldest);
      this.#oldest = 0;
    }
    this.#last++;
    this.#chain = chainOf(this.#chain, body.digest, this.#last);
    this.#reserved = Math.max(this.#reserved, this.#next + RESERVE);
    this.#through += body.bytes + RECORD_OVERHEAD_BYTES;
    this.#marks.push({ number: this.#last, through: this.#through });
    if (durability === 'disk') this.#lastDisk = this.#last;
  }

  /** Reads the records of the store and says what is missing. */
  async read(store: Readable): Promise<Loss[]> {
    const losses: Loss[] = [];
    const records: BatchRecord[] = [];
    await scanAll(store, classRange(KEY_BATCH), (key, value) => {
      const body = openValue(key, value);
      if (body === undefined) {
        const detail = `batch record ${readNumber(key, 1)} is damaged`;
        losses.push({ kind: 'record', promised: true, detail });
        this.#damaged.push(key);
        return;
      }
      records.push({
        number: readNumber(key, 1), bytes: body.readUInt32BE(4), digest: body.readUInt32BE(8),
        chain: body.readUInt32BE(12), reserved: readNumber(body, 16),
        diskBefore: readNumber(body, 24), durability: body[32] === 1 ? 'disk' : 'os',
      });
    });
    this.#adopt(records);
    this.#contiguousFrom = findGaps(records, losses);
    await this.#checkLast(store, losses);
    return losses;
  }
  /** Writes down that what is missing was reported: the next start does not report it again. */
  forget(log: OperationLog): void {
    for (const { number } of this.#marks) {
      if (number >= this.#contiguousFrom) break;
      log.beginKey(KEY_BATCH);
      log.number(number);
      log.endDelete();
    }
    for (const key of this.#damaged) {
      log.beginKey(KEY_BATCH);
      log.raw(key.subarray(1));
      log.endDelete();
    }
    log.beginKey(KEY_STORE);
    log.text('open');
    log.beginValue();
    log.number(this.#last);
    log.endPut();
  }
  #adopt(records: readonly BatchRecord[]): void {
    this.#marks = [];
    this.#oldest = 0;
    this.#through = 0;
    for (const record of records) {
      this.#through += record.bytes + RECORD_OVERHEAD_BYTES;
      this.#marks.push({ number: record.number, through: this.#through });
      this.#reserved = Math.max(this.#reserved, record.reserved);
    }
    const last = records[records.length - 1];
    if (last !== undefined) {
      this.#last = last.number;
      this.#chain = last.chain;
      this.#lastDisk = last.durability === 'disk' ? last.number : last.diskBefore;
    }
    this.#next = Math.max(this.#next, this.#reserved);
  }
  async #checkLast(store: Readable, losses: Loss[]): Promise<void> {
    const value = await readOne(store, OPEN_KEY);
    const body = value === undefined ? undefined : openValue(OPEN_KEY, value);
    const begun = body === undefined ? 0 : readNumber(body, 0);
    if (begun === this.#last) return;
    const detail = `batch ${begun} was begun last, but the last complete one is ${this.#last}`;
    losses.push({ kind: 'batch', promised: true, detail });
    this.#last = Math.max(this.#last, begun);
    this.#contiguousFrom = this.#last + 1;
  }
}

/** Answers the first number of the last run without a gap. */
function findGaps(records: readonly BatchRecord[], losses: Loss[]): number {
  let found = losses.length;
  let from = records[0]?.number ?? 0;
  for (let i = 1; i < records.length; i++) {
    const before = records[i - 1];
    const record = records[i];
    if (record.number !== before.number + 1) {
      losses.push(gap(before.number + 1, record.number - 1, record.diskBefore));
    } else if (chainOf(before.chain, record.digest, record.number) !== record.chain) {
      const detail = `batch ${record.number} does not follow batch ${before.number}`;
      losses.push({ kind: 'batch', promised: true, detail });
    }
    if (losses.length > found) from = record.number;
    found = losses.length;
  }
  return from;
}
function gap(first: number, last: number, diskBefore: number): Loss {
  const which = first === last ? `batch ${first} is` : `batches ${first} to ${last} are`;
  const promised = diskBefore >= first;
  const why = promised ? '' : '; committed with durability os, which power loss may take';
  return { kind: 'batch', promised, detail: `${which} missing, later ones are there${why}` };
}
