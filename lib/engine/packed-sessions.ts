/**
 * Records of sessions as they are stored, one behind the other, for as long as somebody may ask for
 * them: an object with its strings for each is several times the memory.
 *
 * ```
 *  0          4          8
 *  +----------+----------+--------
 *  | tag      | length   | record      never across two chunks
 *  +----------+----------+--------
 * ```
 */
import type { FoundSession } from './engine.js';
import { unpackSession } from './records.js';

const CHUNK_BYTES = 256 * 1024;
const LENGTH_AT = 4;
const HEADER_BYTES = 8;

export class PackedSessions {
  readonly #chunks: Buffer[] = [];
  #end = 0;

  /** Answers its address. `tag`: 32 bits that are kept with it. */
  add(found: FoundSession, tag: number): number {
    const { packedBytes } = found;
    const address = this.#append(HEADER_BYTES + packedBytes);
    const chunk = this.#chunkOf(address);
    const at = address % CHUNK_BYTES;
    chunk.writeUInt32LE(tag, at);
    chunk.writeUInt32LE(packedBytes, at + LENGTH_AT);
    found.pack(chunk, at + HEADER_BYTES);
    return address;
  }
  tagAt(address: number): number {
    return this.#chunkOf(address).readUInt32LE(address % CHUNK_BYTES);
  }
  recordAt(address: number): FoundSession {
    const chunk = this.#chunkOf(address);
    const at = address % CHUNK_BYTES;
    const from = at + HEADER_BYTES;
    return unpackSession(chunk, from, from + chunk.readUInt32LE(at + LENGTH_AT));
  }

  #append(bytes: number): number {
    if (this.#end % CHUNK_BYTES + bytes > CHUNK_BYTES || this.#end % CHUNK_BYTES === 0) {
      this.#end = this.#chunks.length * CHUNK_BYTES;
      this.#chunks.push(Buffer.allocUnsafeSlow(Math.max(bytes, CHUNK_BYTES)));
    }
    const address = this.#end;
    // Behind one that is larger than a chunk another begins.
    this.#end = Math.min(address + bytes, this.#chunks.length * CHUNK_BYTES);
    return address;
  }
  #chunkOf(address: number): Buffer {
    return this.#chunks[Math.floor(address / CHUNK_BYTES)];
  }
}
