/**
 * Puts and deletes one behind the other in one growing piece of memory: writing one costs no
 * object, and a batch that failed can be written again as it is.
 */
import { viewOf } from '../core/views.js';
import { CHECKSUM_BYTES, checksumOf } from './checksum.js';

const FIRST_BYTES = 16 * 1024;
/** A log that grew beyond this gives its memory back when it is reset. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;
const DELETE = -1;
const UINT16_MAX = 0xffff;
/** Numbers are 8 bytes: what is above the lower 4 is divided by this, and its fraction cut. */
const HIGH = 0x1_0000_0000;
const NUMBER_KEY_BYTES = 17;
/** Words of `#marks` for each operation: where its key, its value (or DELETE) and its end are. */
const MARK_WORDS = 3;

export interface OperationSink {
  put(key: Buffer, value: Buffer): void;
  delete(key: Buffer): void;
}

export class OperationLog {
  /** In memory of its own, from its first byte on. */
  #bytes = Buffer.allocUnsafeSlow(FIRST_BYTES);
  /** The same memory: a number is one store of it, where it is eight of the other. */
  #data = dataOf(this.#bytes);
  #at = 0;
  #keyAt = 0;
  #valueAt = DELETE;
  #marks: number[] = [];
  #digest = 0;

  get operations(): number {
    return this.#marks.length / MARK_WORDS;
  }
  get bytes(): number {
    return this.#at;
  }
  /** Over the checksums of all puts and the keys of all deletes, in order. */
  get digest(): number {
    return this.#digest >>> 0;
  }

  beginKey(keyClass: number): void {
    this.#keyAt = this.#at;
    this.#valueAt = DELETE;
    this.uint8(keyClass);
  }
  /** A key of two numbers. */
  beginNumberKey(keyClass: number, first: number, second: number): void {
    this.#room(NUMBER_KEY_BYTES);
    const data = this.#data;
    const at = this.#at;
    this.#keyAt = at;
    this.#valueAt = DELETE;
    data.setUint8(at, keyClass);
    data.setUint32(at + 1, first / HIGH);
    data.setUint32(at + 5, first);
    data.setUint32(at + 9, second / HIGH);
    data.setUint32(at + 13, second);
    this.#at = at + NUMBER_KEY_BYTES;
  }
  beginValue(): void {
    this.#valueAt = this.#at;
  }
  endPut(): void {
    const checksum = checksumOf(this.#view(this.#keyAt, this.#at));
    this.#room(CHECKSUM_BYTES);
    this.#data.setUint32(this.#at, checksum, true);
    this.#at += CHECKSUM_BYTES;
    this.#mark(checksum);
  }
  endDelete(): void {
    this.#mark(this.#at - this.#keyAt);
  }
  /** A key and a value that carries its checksum already. */
  copyPut(key: Buffer, value: Buffer): void {
    this.#keyAt = this.#at;
    this.raw(key);
    this.beginValue();
    this.raw(value);
    this.#mark(value.readUInt32LE(value.length - CHECKSUM_BYTES));
  }
  #mark(checksum: number): void {
    this.#marks.push(this.#keyAt, this.#valueAt, this.#at);
    this.#digest = Math.imul(this.#digest ^ checksum, 0x0100_0193) + this.#marks.length;
  }

  uint8(value: number): void {
    this.#room(1);
    this.#bytes[this.#at] = value;
    this.#at += 1;
  }
  /** The lengths of fields: one that does not fit would make another record of it. */
  uint16(value: number): void {
    if (value > UINT16_MAX) throw new RangeError(`${value} does not fit into 16 bits`);
    this.#room(2);
    this.#data.setUint16(this.#at, value);
    this.#at += 2;
  }
  uint32(value: number): void {
    this.#room(4);
    this.#data.setUint32(this.#at, value);
    this.#at += 4;
  }
  /** 8 bytes big-endian: integers up to 2^53, in key order. */
  number(value: number): void {
    this.#room(8);
    this.#data.setUint32(this.#at, value / HIGH);
    this.#data.setUint32(this.#at + 4, value);
    this.#at += 8;
  }
  /** 8 bytes: any number, for times. */
  float(value: number): void {
    this.#room(8);
    this.#data.setFloat64(this.#at, value);
    this.#at += 8;
  }
  raw(value: Uint8Array): void {
    if (value.length === 0) return;
    this.#room(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }
  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.#room(length);
    this.#at += this.#bytes.write(value, this.#at, length, 'utf8');
  }

  replay(sink: OperationSink): void {
    const marks = this.#marks;
    for (let i = 0; i < marks.length; i += MARK_WORDS) {
      const valueAt = marks[i + 1];
      if (valueAt === DELETE) sink.delete(this.#view(marks[i], marks[i + 2]));
      else sink.put(this.#view(marks[i], valueAt), this.#view(valueAt, marks[i + 2]));
    }
  }
  #view(from: number, before: number): Buffer {
    return viewOf(this.#bytes.buffer, from, before - from);
  }

  reset(): void {
    this.#at = 0;
    this.#digest = 0;
    this.#marks.length = 0;
    if (this.#bytes.length > KEPT_BYTES_MAX) this.#use(Buffer.allocUnsafeSlow(FIRST_BYTES));
  }

  #room(length: number): void {
    if (this.#at + length > this.#bytes.length) this.#grow(length);
  }
  #grow(length: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#at + length, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#use(larger);
  }
  #use(bytes: Buffer<ArrayBuffer>): void {
    this.#bytes = bytes;
    this.#data = dataOf(bytes);
  }
}

function dataOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
