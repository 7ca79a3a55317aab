/**
 * A set of Topic Filters of its own, matched by the core's index: for ACL rules and whatever else
 * asks "does it match".
 */
import { CoreError } from './errors.js';
import { instantiate, type CoreExports } from './instance.js';

const MEMORY_BYTES = 64 * 1_048_576;
const MATCHES_MAX = 65_536;
const STRING_BYTES_MAX = 65_535;

/** One instance serves all matchers of the process. */
let shared: { x: CoreExports; heap: Buffer; words: Uint32Array; exchange: number } | undefined;

function instance(): NonNullable<typeof shared> {
  if (shared === undefined) {
    const x = instantiate({ memoryBytes: MEMORY_BYTES, connectionsMax: 1, sessionsMax: 1 });
    const memory = x.memory.buffer;
    const heap = Buffer.from(memory);
    shared = { x, heap, words: new Uint32Array(memory), exchange: x.exchangeAt() >>> 0 };
  }
  return shared;
}

export class TopicMatcher {
  private readonly handle: number;
  private readonly filters = new Map<number, string>();
  private nextId = 1;

  constructor() {
    this.handle = instance().x.createMatcher() >>> 0;
    if (this.handle === 0) throw noMemory();
  }

  private put(text: string): number {
    const { heap, exchange } = instance();
    const length = Buffer.byteLength(text);
    if (length > STRING_BYTES_MAX) throw new RangeError('a topic has 65,535 bytes at most');
    heap.write(text, exchange, length, 'utf8');
    return length;
  }

  /** Adds a filter (without `$share/`); answers the id that `match` gives back. */
  add(filter: string): number {
    const id = this.nextId++;
    if (instance().x.addToMatcher(this.handle, this.put(filter), id) !== 0) throw noMemory();
    this.filters.set(id, filter);
    return id;
  }
  remove(id: number): void {
    const filter = this.filters.get(id);
    if (filter === undefined) return;
    this.filters.delete(id);
    instance().x.removeFromMatcher(this.handle, this.put(filter), id);
  }
  /** Ids of all filters that match, in no particular order. */
  match(topicName: string): number[] {
    const { x, words, exchange } = instance();
    const length = this.put(topicName);
    const found = x.matchTopic(this.handle, length, MATCHES_MAX) >>> 0;
    const first = (exchange + ((length + 15) & ~7)) >>> 2;
    return Array.from(words.subarray(first, first + found));
  }
  free(): void {
    instance().x.freeMatcher(this.handle);
    this.filters.clear();
  }
}

/** Those of the filters that match a Topic Name. For a list that is asked once. */
export function filtersThatMatch(filters: readonly string[], topicName: string): string[] {
  if (filters.length === 0) return [];
  const matcher = new TopicMatcher();
  try {
    const byId = new Map(filters.map((filter) => [matcher.add(filter), filter]));
    return matcher.match(topicName).map((id) => byId.get(id)!);
  } finally {
    matcher.free();
  }
}

function noMemory(): CoreError {
  return new CoreError('NIDO_CORE_MEMORY', 'no memory for another rule: the matcher has 64 MiB');
}
