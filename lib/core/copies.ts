/**
 * What a handler gets is its own: payloads and Topic Names are copied out of linear memory. Both
 * are made for every message, so they are made cheaply: small payloads share a buffer, as those of
 * `Buffer.allocUnsafe` do, and a Topic Name that was seen before is the same string.
 */
import { viewOf } from './views.js';

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
  private chunkEnd = 0;
  /**
   * A copy of a piece of the chunk, from `copiedAt` on, made with the first payload that is asked
   * of it. Payloads come in the order in which they stand in the chunk.
   */
  private copied: ArrayBufferLike | undefined;
  private copiedAt = 0;
  private copiedEnd = 0;
  /** For what does not stand in the chunk: payloads that had to wait in a block. */
  private pool: ArrayBufferLike = new ArrayBuffer(0);
  private poolBytes = Buffer.alloc(0);
  private poolUsed = 0;
  private chunkAt = 0;

  constructor(private readonly heap: Buffer) {}

  /** The RX window has new contents. */
  arrived(at: number, length: number): void {
    this.chunkAt = at;
    this.chunkEnd = at + length;
    this.copied = undefined;
    this.copiedAt = 0;
    this.copiedEnd = 0;
  }

  copy(at: number, length: number): Buffer {
    const end = at + length;
    if (at >= this.copiedAt && end <= this.copiedEnd) {
      return viewOf(this.copied!, at - this.copiedAt, length);
    }
    if (length > SMALL_BYTES_MAX) return this.copyOf(at, end);
    if (at < this.chunkAt || end > this.chunkEnd) return this.pooled(at, length);
    const copy = this.copyOf(at, Math.min(this.chunkEnd, at + SHARED_BYTES_MAX));
    this.copied = copy.buffer;
    this.copiedAt = at;
    this.copiedEnd = at + copy.length;
    return viewOf(this.copied, 0, length);
  }

  /** In memory of its own. */
  private copyOf(at: number, end: number): Buffer {
    const copy = Buffer.allocUnsafeSlow(end - at);
    copy.set(viewOf(this.heap.buffer, at, end - at));
    return copy;
  }

  /** The first one is small: most never fill it. */
  private refill(): void {
    const bytes = Math.min(SHARED_BYTES_MAX, Math.max(SMALL_BYTES_MAX, 2 * this.poolBytes.length));
    this.poolBytes = Buffer.allocUnsafeSlow(bytes);
    this.pool = this.poolBytes.buffer;
    this.poolUsed = 0;
  }

  private pooled(at: number, length: number): Buffer {
    if (this.poolUsed + length > this.poolBytes.length) {
      this.refill();
    }
    const { heap, poolBytes, poolUsed } = this;
    this.poolUsed += length;
    if (length > LOOP_BYTES_MAX) heap.copy(poolBytes, poolUsed, at, at + length);
    else for (let i = 0; i < length; i++) poolBytes[poolUsed + i] = heap[at + i];
    return viewOf(this.pool, poolUsed, length);
  }
}

/** Powers of two. */
const NAMES_INTERNED = 16_384;
const NAMES_REMEMBERED = 4096;
const NAME_BYTES_REMEMBERED = 128;

interface SeenName {
  readonly bytes: Uint8Array;
  readonly text: string;
}

export class TopicNames {
  /** By the serial number of the interned topic: numbers of topics used together stand in a row. */
  private readonly serials = new Uint32Array(NAMES_INTERNED);
  private readonly interned = new Array<string>(NAMES_INTERNED);
  /** Of messages that come from the store: by a hash of the name, the last one seen. */
  private readonly seen: (SeenName | undefined)[] = [];

  constructor(private readonly heap: Buffer) {}

  /** `serial` is 0 when the topic was not interned. */
  read(at: number, length: number, serial: number): string {
    if (serial === 0) return this.remembered(at, length);
    const place = serial & (NAMES_INTERNED - 1);
    if (this.serials[place] === serial) return this.interned[place];
    const name = this.heap.toString('utf8', at, at + length);
    this.serials[place] = serial;
    this.interned[place] = name;
    return name;
  }

  /** The serial numbers have begun again. */
  forgetSerials(): void {
    this.serials.fill(0);
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
