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

export function writeNumber(out: Buffer, at: number, value: number): number {
  out.writeUInt32BE(Math.floor(value / HIGH), at);
  return out.writeUInt32BE(value % HIGH, at + 4);
}
export function readNumber(key: Buffer, at: number): number {
  return key.readUInt32BE(at) * HIGH + key.readUInt32BE(at + 4);
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
