/** A Map that forgets its longest unused entry rather than grow over `entriesMax`. */
export class BoundedMap<K, V> {
  private readonly entries = new Map<K, V>();

  constructor(
    private readonly entriesMax: number,
    private readonly evicted?: (value: V, key: K) => void,
  ) {}

  get size(): number {
    return this.entries.size;
  }

  get(key: K): V | undefined {
    const value = this.entries.get(key);
    if (value === undefined) return undefined;
    // A Map keeps the order of insertion: putting a used entry back at the end makes the first one
    // the oldest.
    this.entries.delete(key);
    this.entries.set(key, value);
    return value;
  }

  set(key: K, value: V): void {
    this.entries.delete(key);
    this.entries.set(key, value);
    if (this.entries.size <= this.entriesMax) return;
    for (const [oldestKey, oldest] of this.entries) {
      this.entries.delete(oldestKey);
      this.evicted?.(oldest, oldestKey);
      break;
    }
  }

  delete(key: K): boolean {
    return this.entries.delete(key);
  }

  clear(): void {
    if (this.evicted) for (const [key, value] of this.entries) this.evicted(value, key);
    this.entries.clear();
  }

  /** Every entry, the longest unused first. */
  [Symbol.iterator](): IterableIterator<[K, V]> {
    return this.entries[Symbol.iterator]();
  }
}
