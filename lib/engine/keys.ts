/**
 * Keys of the store. The first byte is the class, numbers are 8 bytes big-endian, so that LevelDB's
 * order is ours:
 * ```
 *   b <batch>                     one for each recent batch, see ledger.ts
 *   d <session>                   a session that has ended and is being swept
 *   i <session> <identifier 2>    incoming QoS 2 Packet Identifier that waits for PUBREL
 *   m <message>                   body of a message with several queue entries
 *   p <session> <entry>           outgoing QoS 2 exchange that waits for PUBCOMP
 *   q <session> <entry>           queue entry; carries the body when it is the only one
 *   r <topic name>                retained message
 *   s <session>                   session
 *   u <session> <topic filter>    subscription
 *   w <session>                   will message
 *   x <name>                      about the store itself
 * ```
 */
export const KEY_BATCH = 0x62;
export const KEY_ENDED = 0x64;
export const KEY_INBOUND = 0x69;
export const KEY_MESSAGE = 0x6d;
export const KEY_RELEASED = 0x70;
export const KEY_QUEUE = 0x71;
export const KEY_RETAINED = 0x72;
export const KEY_SESSION = 0x73;
export const KEY_SUBSCRIPTION = 0x75;
export const KEY_WILL = 0x77;
export const KEY_STORE = 0x78;

/** Words for reports, by class. */
export const KEY_WORDS: ReadonlyMap<number, string> = new Map([
  [KEY_BATCH, 'batch record'], [KEY_ENDED, 'ended session'],
  [KEY_INBOUND, 'incoming QoS 2 identifier'],
  [KEY_MESSAGE, 'message body'], [KEY_RELEASED, 'outgoing QoS 2 release'],
  [KEY_QUEUE, 'queue entry'],
  [KEY_RETAINED, 'retained message'], [KEY_SESSION, 'session'], [KEY_SUBSCRIPTION, 'subscription'],
  [KEY_WILL, 'will message'], [KEY_STORE, 'store record'],
]);

const HIGH = 0x1_0000_0000;

/** `from` is inclusive, `before` exclusive. */
export interface KeyRange {
  readonly from: Buffer;
  readonly before: Buffer;
}

/*
 * The methods of Buffer look at their arguments: four times the code, compiled anew in everything
 * that reads a record. Whoever reads here has checked that the record is whole.
 */
function writeUint32(out: Buffer, at: number, value: number): void {
  out[at] = value >>> 24;
  out[at + 1] = value >>> 16;
  out[at + 2] = value >>> 8;
  out[at + 3] = value;
}
/** An integer up to 2^53. */
export function writeNumber(out: Buffer, at: number, value: number): void {
  writeUint32(out, at, Math.floor(value / HIGH));
  writeUint32(out, at + 4, value >>> 0);
}

export function readUint16(from: Buffer, at: number): number {
  return (from[at] << 8) | from[at + 1];
}
export function readUint32(from: Buffer, at: number): number {
  return ((from[at] << 24) | (from[at + 1] << 16) | (from[at + 2] << 8) | from[at + 3]) >>> 0;
}
export function readNumber(from: Buffer, at: number): number {
  const high = readUint32(from, at);
  const low = readUint32(from, at + 4);
  return high === 0 ? low : high * HIGH + low; // mostly a small integer, and then always as one
}
/** Most records have none, which is 0. */
export function readTime(from: Buffer, at: number): number {
  return readNumber(from, at) === 0 ? 0 : from.readDoubleBE(at);
}

export function numberKey(keyClass: number, first: number, second?: number): Buffer {
  const key = Buffer.allocUnsafe(second === undefined ? 9 : 17);
  key[0] = keyClass;
  writeNumber(key, 1, first);
  if (second !== undefined) writeNumber(key, 9, second);
  return key;
}
export function storeKey(name: string): Buffer {
  return Buffer.concat([Buffer.from([KEY_STORE]), Buffer.from(name)]);
}

export function classRange(keyClass: number): KeyRange {
  return { from: Buffer.from([keyClass]), before: Buffer.from([keyClass + 1]) };
}
/** Everything of one session in one class. */
export function sessionRange(keyClass: number, sessionId: number): KeyRange {
  return { from: numberKey(keyClass, sessionId), before: numberKey(keyClass, sessionId + 1) };
}

/** Whether all of a range is of the class that it begins in. */
export function isOneClass({ from, before }: KeyRange): boolean {
  if (from.length === 0) return false;
  return before[0] === from[0] || (before.length === 1 && before[0] === from[0] + 1);
}

/** A key in words, for reports. */
export function describeKey(key: Buffer): string {
  const word = KEY_WORDS.get(key[0] ?? 0) ?? 'unknown record';
  if (key[0] === KEY_RETAINED) return `${word} '${key.toString('utf8', 1)}'`;
  if (key[0] === KEY_STORE) return `${word} '${key.toString('latin1', 1)}'`;
  if (key.length < 9) return `${word} ${key.toString('hex')}`;
  const owner = readNumber(key, 1);
  const of = `of session ${owner}`;
  if (key[0] === KEY_SUBSCRIPTION) return `${word} '${key.toString('utf8', 9)}' ${of}`;
  if (key[0] === KEY_INBOUND) return `${word} ${key.readUInt16BE(9)} ${of}`;
  return key.length >= 17 ? `${word} ${readNumber(key, 9)} ${of}` : `${word} ${owner}`;
}
