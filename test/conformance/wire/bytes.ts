/**
 * Bytes by hand. The suite is black-box: nothing of the product's codec may be used here, or a
 * mistake would cancel itself out on both ends of the wire.
 */

export const u8 = (value: number): Buffer => Buffer.from([value & 0xff]);

export const u16 = (value: number): Buffer => Buffer.from([(value >> 8) & 0xff, value & 0xff]);

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** Variable Byte Integer in its shortest form. */
export function vbi(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** Binary Data: two length bytes, then the bytes as they are. */
export function bin(data: Buffer | string): Buffer {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'utf8') : data;
  return Buffer.concat([u16(bytes.length), bytes]);
}

/** UTF-8 Encoded String. A Buffer goes in unchecked, for strings that are wrong on purpose. */
export const str = bin;

/** Bytes written as hex, blanks allowed: `hex('c0 00')`. */
export const hex = (text: string): Buffer => Buffer.from(text.replace(/\s+/g, ''), 'hex');

export const cat = (...parts: Buffer[]): Buffer => Buffer.concat(parts);

/** A whole Control Packet: first byte, Remaining Length, body. */
export function packet(firstByte: number, ...body: Buffer[]): Buffer {
  const rest = cat(...body);
  return cat(u8(firstByte), vbi(rest.length), rest);
}

/** Prints bytes for a report; long ones are cut in the middle. */
export function show(bytes: Buffer): string {
  const text = (part: Buffer): string => part.toString('hex').replace(/(..)(?=.)/g, '$1 ');
  if (bytes.length <= 96) return text(bytes);
  return `${text(bytes.subarray(0, 64))} ... ${text(bytes.subarray(-16))} (${bytes.length} bytes)`;
}
