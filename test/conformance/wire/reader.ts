/**
 * An independent reader of what a server sends, in plain TypeScript and for these tests only. It is
 * strict: whatever a server is forbidden to send is a WireFault, whichever test it happens in.
 */
import type { Version } from './packets.js';
import { PROPERTY_TABLE, REASON_CODES } from './tables.js';

export type PropertyValue = number | string | Buffer | readonly [string, string];
export interface ReadProperty {
  readonly id: number;
  readonly value: PropertyValue;
}

export interface Reply {
  readonly name: string;
  readonly type: number;
  readonly flags: number;
  readonly raw: Buffer;
  dup: boolean;
  qos: number;
  retain: boolean;
  topic: string;
  packetId: number;
  payload: Buffer;
  sessionPresent: boolean;
  /** CONNACK Return Code before MQTT 5, Reason Code in MQTT 5 (0 when left out). */
  reasonCode: number;
  reasonCodes: number[];
  properties: ReadProperty[];
}

/** The server sent something that no server may send. */
export class WireFault extends Error {
  override readonly name = 'WireFault';
}

const NAMES = [
  '', 'CONNECT', 'CONNACK', 'PUBLISH', 'PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP', 'SUBSCRIBE',
  'SUBACK', 'UNSUBSCRIBE', 'UNSUBACK', 'PINGREQ', 'PINGRESP', 'DISCONNECT', 'AUTH',
];
const CLIENT_ONLY = new Set(['', 'CONNECT', 'SUBSCRIBE', 'UNSUBSCRIBE', 'PINGREQ']);
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A cursor that cannot leave its packet. */
export class Cursor {
  at = 0;
  constructor(readonly bytes: Buffer, readonly where: string) {}

  take(length: number): Buffer {
    if (this.at + length > this.bytes.length) throw new WireFault(`${this.where}: field cut short`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
  u8(): number { return this.take(1)[0] ?? 0; }
  u16(): number { return this.take(2).readUInt16BE(); }
  u32(): number { return this.take(4).readUInt32BE(); }
  binary(): Buffer { return this.take(this.u16()); }
  text(): string {
    const bytes = this.binary();
    let text: string;
    try {
      text = utf8.decode(bytes);
    } catch {
      throw new WireFault(`${this.where}: string is not UTF-8 [MQTT-1.5.3-1] [MQTT-1.5.4-1]`);
    }
    if (text.includes('\0')) throw new WireFault(`${this.where}: string has NUL [MQTT-1.5.3-2]`);
    return text;
  }
  vbi(): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (byte === 0 && shift > 0) throw new WireFault(
          `${this.where}: long integer [MQTT-1.5.5-1]`);
        return value >>> 0;
      }
    }
    throw new WireFault(`${this.where}: Variable Byte Integer of more than four bytes`);
  }
  rest(): Buffer { return this.take(this.bytes.length - this.at); }
  get left(): number { return this.bytes.length - this.at; }
}

function readValue(cursor: Cursor, type: string): PropertyValue {
  switch (type) {
    case 'byte': return cursor.u8();
    case 'two byte integer': return cursor.u16();
    case 'four byte integer': return cursor.u32();
    case 'variable byte integer': return cursor.vbi();
    case 'UTF-8 string': return cursor.text();
    case 'binary data': return Buffer.from(cursor.binary());
    case 'UTF-8 string pair': return [cursor.text(), cursor.text()];
    default: throw new WireFault(`${cursor.where}: property type ${type}`);
  }
}

export function readProperties(outer: Cursor): ReadProperty[] {
  const cursor = new Cursor(outer.take(outer.vbi()), outer.where);
  const list: ReadProperty[] = [];
  while (cursor.left > 0) {
    const id = cursor.vbi();
    const row = PROPERTY_TABLE.get(id);
    if (!row?.packets.has(outer.where)) {
      throw new WireFault(`${outer.where}: property ${id} does not belong here`);
    }
    // A Subscription Identifier repeats in PUBLISH only, as the table says.
    if (!row.repeatable && list.some((earlier) => earlier.id === id)) {
      throw new WireFault(`${outer.where}: property ${row.name} stands twice`);
    }
    list.push({ id, value: readValue(cursor, row.type) });
  }
  return list;
}

export function checkCode(reply: Reply, code: number, version: Version): void {
  if (version === 5) {
    if (!REASON_CODES.get(reply.name)?.has(code)) {
      throw new WireFault(
        `${reply.name}: Reason Code 0x${code.toString(16)} is not for this packet`);
    }
    return;
  }
  const known =
    reply.name === 'CONNACK' ? code <= 5 : code <= 2 || (code === 0x80 && version === 4);
  if (!known) throw new WireFault(`${reply.name}: Return Code 0x${code.toString(16)}`);
}

function readConnack(reply: Reply, cursor: Cursor, version: Version): void {
  const flags = cursor.u8();
  if (flags > 1) throw new WireFault('CONNACK: reserved acknowledge flags [MQTT-3.2.2-1]');
  reply.sessionPresent = flags === 1;
  reply.reasonCode = cursor.u8();
  if (version === 5 && cursor.left === 0 && reply.reasonCode === 1) {
    // A server that does not know the protocol may refuse in the four bytes of 3.1.1.
    reply.reasonCode = 0x84;
    return;
  }
  checkCode(reply, reply.reasonCode, version);
  if (reply.sessionPresent && reply.reasonCode !== 0) {
    throw new WireFault('CONNACK: session present in a refusal [MQTT-3.2.2-4] [MQTT-3.2.2-6]');
  }
  if (version === 5) reply.properties = readProperties(cursor);
}

export function readPublish(reply: Reply, cursor: Cursor, version: Version): void {
  reply.dup = (reply.flags & 8) !== 0;
  reply.qos = (reply.flags >> 1) & 3;
  reply.retain = (reply.flags & 1) !== 0;
  if (reply.qos === 3) throw new WireFault('PUBLISH: QoS 3 [MQTT-3.3.1-4]');
  if (reply.qos === 0 && reply.dup) throw new WireFault('PUBLISH: DUP at QoS 0 [MQTT-3.3.1-2]');
  reply.topic = cursor.text();
  if (/[+#]/.test(reply.topic)) throw new WireFault('PUBLISH: wildcard in topic [MQTT-3.3.2-2]');
  if (reply.qos > 0) reply.packetId = identifier(cursor);
  if (version === 5) {
    reply.properties = readProperties(cursor);
    checkPublishProperties(reply);
  } else if (reply.topic === '') {
    throw new WireFault('PUBLISH: no topic [MQTT-4.7.3-1]');
  }
  reply.payload = Buffer.from(cursor.rest());
}

function checkPublishProperties(reply: Reply): void {
  const aliased = reply.properties.find((property) => property.id === 0x23);
  if (aliased?.value === 0) throw new WireFault('PUBLISH: Topic Alias 0 [MQTT-3.3.2-8]');
  if (!aliased && reply.topic === '') throw new WireFault('PUBLISH: no topic [MQTT-4.7.3-1]');
  const responseTopic = reply.properties.find((property) => property.id === 0x08)?.value;
  if (typeof responseTopic === 'string' && /[+#]/.test(responseTopic)) {
    throw new WireFault('PUBLISH: wildcard in Response Topic [MQTT-3.3.2-14]');
  }
}

export function identifier(cursor: Cursor): number {
  const packetId = cursor.u16();
  if (packetId === 0) throw new WireFault(`${cursor.where}: Packet Identifier 0 [MQTT-2.3.1-1]`);
  return packetId;
}

export function readAcknowledgement(reply: Reply, cursor: Cursor, version: Version): void {
  reply.packetId = identifier(cursor);
  if (version < 5 || cursor.left === 0) return;
  reply.reasonCode = cursor.u8();
  checkCode(reply, reply.reasonCode, version);
  if (cursor.left > 0) reply.properties = readProperties(cursor);
}

function readSubscriptionAnswer(reply: Reply, cursor: Cursor, version: Version): void {
  reply.packetId = identifier(cursor);
  if (version === 5) reply.properties = readProperties(cursor);
  if (reply.name === 'UNSUBACK' && version < 5) return;
  reply.reasonCodes = [...cursor.rest()];
  for (const code of reply.reasonCodes) checkCode(reply, code, version);
}

function readReasoned(reply: Reply, cursor: Cursor, version: Version): void {
  if (version < 5) throw new WireFault(`${reply.name} from a server before MQTT 5`);
  if (cursor.left === 0) return;
  reply.reasonCode = cursor.u8();
  checkCode(reply, reply.reasonCode, version);
  if (cursor.left > 0) reply.properties = readProperties(cursor);
  if (reply.name === 'DISCONNECT' && reply.properties.some((property) => property.id === 0x11)) {
    throw new WireFault('DISCONNECT: Session Expiry Interval from a server [MQTT-3.14.2-2]');
  }
}

function readBody(reply: Reply, cursor: Cursor, version: Version): void {
  switch (reply.name) {
    case 'CONNACK': return readConnack(reply, cursor, version);
    case 'PUBLISH': return readPublish(reply, cursor, version);
    case 'PUBACK': case 'PUBREC': case 'PUBREL': case 'PUBCOMP':
      return readAcknowledgement(reply, cursor, version);
    case 'SUBACK': case 'UNSUBACK': return readSubscriptionAnswer(reply, cursor, version);
    case 'DISCONNECT': case 'AUTH': return readReasoned(reply, cursor, version);
    default:
  }
}

/** Cuts the first whole packet out of `bytes`: its length and where its body begins. */
export function frameOf(bytes: Buffer): { start: number; end: number } | undefined {
  if (bytes.length < 2) return undefined;
  let length = 0;
  let at = 1;
  for (let shift = 0; ; shift += 7, at++) {
    if (shift === 28) throw new WireFault('Remaining Length of more than four bytes');
    if (at >= bytes.length) return undefined;
    const byte = bytes[at] ?? 0;
    length += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) {
      if (byte === 0 && shift > 0) throw new WireFault('Remaining Length is not minimal');
      break;
    }
  }
  const start = at + 1;
  return bytes.length < start + length ? undefined : { start, end: start + length };
}

/** A packet whose body has not been read. */
export function blankReply(bytes: Buffer, end: number): Reply {
  const first = bytes[0] ?? 0;
  return {
    name: NAMES[first >> 4] ?? '', type: first >> 4, flags: first & 15,
    raw: Buffer.from(bytes.subarray(0, end)),
    dup: false, qos: 0, retain: false, topic: '', packetId: 0, payload: Buffer.alloc(0),
    sessionPresent: false, reasonCode: 0, reasonCodes: [], properties: [],
  };
}

/** Takes the first whole packet from `bytes`; undefined while it is not whole. */
export function readPacket(bytes: Buffer, version: Version): Reply | undefined {
  const frame = frameOf(bytes);
  if (frame === undefined) return undefined;
  const reply = blankReply(bytes, frame.end);
  const { name, flags } = reply;
  if (CLIENT_ONLY.has(name)) throw new WireFault(`a server sent ${name || 'type 0'}`);
  if (name !== 'PUBLISH' && flags !== (name === 'PUBREL' ? 2 : 0)) {
    throw new WireFault(`${name}: flags ${flags} [MQTT-2.2.2-1] [MQTT-2.1.3-1]`);
  }
  const cursor = new Cursor(reply.raw.subarray(frame.start), name);
  readBody(reply, cursor, version);
  if (cursor.left > 0) throw new WireFault(`${name}: ${cursor.left} bytes too many`);
  return reply;
}

/** The value of a property that stands at most once. */
export function valueOf(reply: Reply, id: number): PropertyValue | undefined {
  return reply.properties.find((property) => property.id === id)?.value;
}

export function valuesOf(reply: Reply, id: number): PropertyValue[] {
  return reply.properties.filter((property) => property.id === id).map((one) => one.value);
}
