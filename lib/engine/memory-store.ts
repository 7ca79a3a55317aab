/**
 * An ordered store in memory: what the memory engine stands on. Its content outlives `close`, as a
 * disk's would.
 */
import type { KeyRange } from './keys.js';
import type { OperationLog } from './operation-log.js';
import type { OrderedStore, StoreCursor, StoreEntry, StoreView } from './store.js';

class ArrayCursor implements StoreCursor {
  #at = 0;
  constructor(private readonly entries: readonly StoreEntry[]) {}
  next(limit: number): Promise<StoreEntry[]> {
    const found = this.entries.slice(this.#at, this.#at + limit);
    this.#at += found.length;
    return Promise.resolve(found);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

export class MemoryStore implements OrderedStore {
  #values = new Map<string, Buffer>();
  /** Sorted; made when somebody reads after a write. */
  #keys: string[] | undefined;

  open(): Promise<void> {
    return Promise.resolve();
  }
  write(operations: readonly OperationLog[]): Promise<void> {
    this.#keys = undefined;
    const sink = {
      put: (key: Buffer, value: Buffer) => {
        this.#values.set(key.toString('latin1'), Buffer.from(value));
      },
      delete: (key: Buffer) => {
        this.#values.delete(key.toString('latin1'));
      },
    };
    for (const log of operations) log.replay(sink);
    return Promise.resolve();
  }
  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return Promise.resolve(keys.map((key) => this.#values.get(key.toString('latin1'))));
  }
  scan(range: KeyRange): StoreCursor {
    const from = range.from.toString('latin1');
    const before = range.before.toString('latin1');
    this.#keys ??= [...this.#values.keys()].sort((a, b) => (a < b ? -1 : 1));
    const found: StoreEntry[] = [];
    for (let at = lowerBound(this.#keys, from); at < this.#keys.length; at++) {
      const key = this.#keys[at];
      if (key >= before) break;
      found.push([Buffer.from(key, 'latin1'), this.#values.get(key) as Buffer]);
    }
    return new ArrayCursor(found);
  }
  convert(): Promise<void> {
    return Promise.resolve();
  }
  damage(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }
  freeze(): StoreView {
    const copy = new MemoryStore();
    copy.#values = new Map(this.#values);
    return copy;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
