/**
 * What the engines need of an ordered key-value store. LevelDB is one; memory-store.ts is the
 * other.
 */
import type { KeyRange } from './keys.js';
import type { OperationLog } from './operation-log.js';

export type StoreEntry = readonly [key: Buffer, value: Buffer];

export interface StoreCursor {
  /** Some entries in key order, `limit` at most; none at the end of the range, and only there. */
  next(limit: number): Promise<StoreEntry[]>;
  close(): Promise<void>;
}
/** The store as it was when the view was made. */
export interface StoreView {
  scan(range: KeyRange): StoreCursor;
  close(): Promise<void>;
}
export interface OrderedStore {
  open(): Promise<void>;
  /** Atomic. After a rejection the store takes no more writes until it was closed and opened. */
  write(
    operations: readonly OperationLog[], options: { readonly sync: 'yes' | 'no' },
  ): Promise<void>;
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]>;
  /** A range over several classes of keys has them in any order. */
  scan(range: KeyRange): StoreCursor;
  freeze(): StoreView;
  /** Brings what formats up to 2 wrote into the form of today; bears being run again. */
  convert(converted?: (records: number) => void): Promise<void>;
  /** What is damaged below the records, in words. */
  damage(): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Whatever can be read: a store, or a view of one. */
export type Readable = Pick<OrderedStore, 'scan'>;

export const SCAN_ENTRIES = 1_000;

export async function readOne(store: Readable, key: Buffer): Promise<Buffer | undefined> {
  const cursor = store.scan({ from: key, before: Buffer.concat([key, Buffer.alloc(1)]) });
  try {
    return (await cursor.next(1))[0]?.[1];
  } finally {
    await cursor.close();
  }
}

/**
 * Chunk after chunk of a cursor until its end; the next one is being read while the caller works on
 * this one.
 */
export async function* chunksOf(cursor: StoreCursor): AsyncGenerator<StoreEntry[]> {
  let next = cursor.next(SCAN_ENTRIES);
  try {
    for (;;) {
      const entries = await next;
      if (entries.length === 0) return;
      next = cursor.next(SCAN_ENTRIES);
      next.catch(() => undefined); // thrown when it is its turn, however long that takes
      yield entries;
    }
  } finally {
    await next.catch(() => undefined); // nobody wants it any more, but it must not outlive us
    await cursor.close();
  }
}

/** Calls `visit` for each entry of a range; answers false of it end the scan. */
export async function scanAll(
  store: Readable, range: KeyRange,
  visit: (key: Buffer, value: Buffer) => boolean | void,
): Promise<void> {
  for await (const entries of chunksOf(store.scan(range))) {
    if (!visitAll(entries, visit)) return;
  }
}
/** False when the visitor had enough. A pair is not taken apart: that is an iterator for each. */
function visitAll(
  entries: readonly StoreEntry[], visit: (key: Buffer, value: Buffer) => boolean | void,
): boolean {
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i];
    if (visit(entry[0], entry[1]) === false) return false;
  }
  return true;
}
