/**
 * What a handler gets is its own: payloads and Topic Names are copied out of linear memory. Both
 * are made for every message, so they are made cheaply: small payloads share a buffer, as those of
 * `Buffer.allocUnsafe` do, and a Topic Name that was seen before is the same string.
 */

/** Who keeps one small payload keeps at most this much memory. */
const SHARED_BYTES_MAX = 16_384;
/** Larger payloads have a buffer of their own. */
const SMALL_BYTES_MAX = 1024;
/** Up to here a loop is faster than a call that leaves JavaScript, or makes typed arrays. */
const LOOP_BYTES_MAX = 96;

/** Writes `text` as bytes; false when it is not ASCII, and then what was written means nothing. */
export function writeAscii(heap: Buffer, text: string, at: number): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return false;
    heap[at + i] = code;
  }
  return true;
}

export class ChunkCopy {
  private chunkAt = 0;
  private chunkEnd = 0;
  /** A copy of the whole chunk, made with the first payload that is asked of it. */
  private shared: Buffer | undefined;
  /** For what does not stand in the chunk: payloads that had to wait in a block. */
  private pool = Buffer.alloc(0);
  private poolUsed = 0;

  constructor(private readonly heap: Buffer) {}

  /** The RX window has new contents. */
  arrived(at: number, length: number): void {
    this.chunkAt = at;
    this.chunkEnd = length <= SHARED_BYTES_MAX ? at + length : at;
    this.shared = undefined;
  }

  copy(at: number, length: number): Buffer {
    if (length > SMALL_BYTES_MAX) return this.copyOf(at, at + length);
    if (at >= this.chunkAt && at + length <= this.chunkEnd) {
      const shared = (this.shared ??= this.copyOf(this.chunkAt, this.chunkEnd));
      return shared.subarray(at - this.chunkAt, at - this.chunkAt + length);
    }
    return this.pooled(at, length);
  }

  private copyOf(at: number, end: number): Buffer {
    const copy = Buffer.allocUnsafeSlow(end - at);
    this.heap.copy(copy, 0, at, end);
    return copy;
  }

  private pooled(at: number, length: number): Buffer {
    if (this.poolUsed + length > this.pool.length) {
      this.pool = Buffer.allocUnsafeSlow(SHARED_BYTES_MAX);
      this.poolUsed = 0;
    }
    const { heap, pool, poolUsed } = this;
    this.poolUsed += length;
    if (length > LOOP_BYTES_MAX) heap.copy(pool, poolUsed, at, at + length);
    else for (let i = 0; i < length; i++) pool[poolUsed + i] = heap[at + i];
    return pool.subarray(poolUsed, poolUsed + length);
  }
}

/** A power of two. */
const NAMES_REMEMBERED = 4096;
const NAME_BYTES_REMEMBERED = 128;

interface SeenName {
  readonly bytes: Uint8Array;
  readonly text: string;
}

export class TopicNames {
  /** By the slot of the interned topic; a serial number tells whether it is still that one. */
  private readonly serials: number[] = [];
  private readonly interned: string[] = [];
  /** Of messages that stand in a block: by a hash of the name, the last one seen. */
  private readonly seen: (SeenName | undefined)[] = [];

  constructor(private readonly heap: Buffer) {}

  /** `serial` is 0 when the topic is not interned. */
  read(at: number, length: number, serial: number, slot: number): string {
    if (serial === 0) return this.remembered(at, length);
    if (this.serials[slot] === serial) return this.interned[slot];
    const name = this.heap.toString('utf8', at, at + length);
    this.serials[slot] = serial;
    this.interned[slot] = name;
    return name;
  }

  private remembered(at: number, length: number): string {
    const { heap } = this;
    if (length > NAME_BYTES_REMEMBERED) return heap.toString('utf8', at, at + length);
    let hash = length;
    for (let i = 0; i < length; i++) hash = Math.imul(hash ^ heap[at + i], 0x0100_0193);
    const place = (hash ^ (hash >>> 15)) & (NAMES_REMEMBERED - 1);
    const known = this.seen[place];
    if (known !== undefined && this.isSame(known.bytes, at, length)) return known.text;
    const bytes = Uint8Array.prototype.slice.call(heap, at, at + length);
    const text = heap.toString('utf8', at, at + length);
    this.seen[place] = { bytes, text };
    return text;
  }

  private isSame(bytes: Uint8Array, at: number, length: number): boolean {
    if (bytes.length !== length) return false;
    const { heap } = this;
    for (let i = 0; i < length; i++) if (bytes[i] !== heap[at + i]) return false;
    return true;
  }
}
