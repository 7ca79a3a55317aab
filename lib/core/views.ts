/** Views of memory, for whoever makes several of them for each message. */

type ViewConstructor = new (memory: ArrayBufferLike, at: number, length: number) => Buffer;
/**
 * What `Buffer.prototype.subarray` makes, by the name under which the language has it
 * (`Symbol.species`): a third of the time, because nobody looks at arguments.
 */
const NodeBuffer = (Buffer as unknown as { [Symbol.species]?: ViewConstructor })[Symbol.species];

/** A view of `length` bytes. Its memory is shared, not copied. */
export function viewOf(memory: ArrayBufferLike, at: number, length: number): Buffer {
  return NodeBuffer === undefined
    ? Buffer.from(memory as ArrayBuffer, at, length)
    : new NodeBuffer(memory, at, length);
}

/** The same bytes as a Buffer, which they mostly are. */
export function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : viewOf(bytes.buffer, bytes.byteOffset, bytes.length);
}
