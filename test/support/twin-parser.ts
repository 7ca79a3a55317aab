/**
 * A second parser for MQTT Control Packets, slow and plain, written from the standard and not from
 * the core. It exists to disagree with the core in a differential test.
 *
 * It reads from the first byte to the last and stops at the first thing that is wrong. What is
 * wrong has the Reason Code of MQTT 5, whatever the version of the packet.
 */

export const MALFORMED = 0x81;
export const PROTOCOL = 0x82;
const UNSUPPORTED_VERSION = 0x84;
const BAD_IDENTIFIER = 0x85;
const BAD_FILTER = 0x8f;
const BAD_TOPIC = 0x90;
const BAD_ALIAS = 0x94;
const QUOTA = 0x97;
const USER_PROPERTIES_MAX = 256;

class Refusal extends Error {
  constructor(readonly reason: number) {
    super(`refused with 0x${reason.toString(16)}`);
  }
}

function refuse(reason: number): never {
  throw new Refusal(reason);
}

export type Fields = Record<string, unknown>;
export type Verdict = { reason: number; fields?: Fields };
export type Frame = 'more' | 'malformed' | { header: number; bodyAt: number; remaining: number };
export type Sender = 'client' | 'server';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function text(bytes: Uint8Array): string {
  let decoded: string;
  try {
    decoded = utf8.decode(bytes);
  } catch {
    return refuse(MALFORMED);
  }
  return decoded.includes('\0') ? refuse(MALFORMED) : decoded;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}

/** Cuts the first packet off a stream. */
export function readFrame(bytes: Uint8Array, version: number): Frame {
  if (bytes.length === 0) return 'more';
  const header = bytes[0];
  if (!firstByteIsRight(header, version)) return 'malformed';
  let remaining = 0;
  let bodyAt = 1;
  for (;;) {
    if (bodyAt >= bytes.length) return bodyAt > 4 ? 'malformed' : 'more';
    if (bodyAt > 4) return 'malformed';
    const byte = bytes[bodyAt];
    remaining += (byte % 128) * 128 ** (bodyAt - 1);
    bodyAt += 1;
    if (byte < 128) {
      if (byte === 0 && bodyAt > 2) return 'malformed';
      break;
    }
    if (bodyAt === 5) return 'malformed';
  }
  const type = header >> 4;
  if ((type === 12 || type === 13) && remaining > 0) return 'malformed';
  if (type === 14 && version < 5 && remaining > 0) return 'malformed';
  return { header, bodyAt, remaining };
}

function firstByteIsRight(header: number, version: number): boolean {
  const type = header >> 4;
  const [dup, qos, retain] = [(header >> 3) & 1, (header >> 1) & 3, header & 1];
  if (type === 0) return false;
  if (type === 3) return qos < 3 && !(qos === 0 && dup === 1);
  if (type === 15 && version < 5) return false;
  const wantedQos = [6, 8, 10].includes(type) ? 1 : 0;
  return qos === wantedQos && (version === 3 || (dup === 0 && retain === 0));
}

class Reader {
  constructor(readonly bytes: Uint8Array, public at = 0, readonly end = bytes.length) {}
  get left(): number {
    return this.end - this.at;
  }
  take(count: number): Uint8Array {
    if (count > this.left) refuse(MALFORMED);
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }
  number(bytes: number): number {
    return this.take(bytes).reduce((value, byte) => value * 256 + byte, 0);
  }
  variable(): number {
    let value = 0;
    for (let i = 0; i < 4; i++) {
      const byte = this.number(1);
      value += (byte & 127) * 128 ** i;
      if (byte < 128) return byte === 0 && i > 0 ? refuse(MALFORMED) : value;
    }
    return refuse(MALFORMED);
  }
  binary(): Uint8Array {
    return this.take(this.number(2));
  }
  string(): Uint8Array {
    const bytes = this.binary();
    text(bytes);
    return bytes;
  }
  identifier(): number {
    return this.number(2) || refuse(PROTOCOL);
  }
  finish(): void {
    if (this.left !== 0) refuse(MALFORMED);
  }
}

// number, type, packets, and what is special: f = 0 or 1, n = not 0, r = may be repeated, m = part
// of the message that is forwarded
const PROPERTY_TABLE = `
1 byte publish,will fm
2 four publish,will -
3 string publish,will m
8 string publish,will m
9 binary publish,will m
11 variable publish,subscribe n
17 four connect,connack,disconnect -
18 string connack -
19 two connack -
21 string connect,connack,auth -
22 binary connect,connack,auth -
23 byte connect f
24 four will -
25 byte connect f
26 string connack -
28 string connack,disconnect -
31 string connack,puback,pubrec,pubrel,pubcomp,suback,unsuback,disconnect,auth -
33 two connect,connack n
34 two connect,connack -
35 two publish n
36 byte connack f
37 byte connack f
38 pair connect,connack,publish,will,puback,pubrec,pubrel,pubcomp,subscribe,suback,unsubscribe,\
unsuback,disconnect,auth rm
39 four connect,connack n
40 byte connack f
41 byte connack f
42 byte connack f`;

export interface PropertyRow {
  readonly id: number;
  readonly type: string;
  readonly packets: readonly string[];
  readonly special: string;
}

export const PROPERTY_ROWS: readonly PropertyRow[] = PROPERTY_TABLE.trim().split('\n')
  .map((line) => line.split(' '))
  .map(([id, type, packets, special]) => ({
    id: Number(id), type, packets: packets.split(','), special,
  }));
const PROPERTIES = new Map(PROPERTY_ROWS.map((row) => [row.id, row]));

interface PropertySet {
  /** By number; a string or binary data as hexadecimal digits. */
  readonly values: Map<number, number | string>;
  readonly identifiers: number[];
  userProperties: number;
  forwarded: string;
}

function noProperties(): PropertySet {
  return { values: new Map(), identifiers: [], userProperties: 0, forwarded: '' };
}

function readProperties(reader: Reader, packet: string): PropertySet {
  const length = reader.variable();
  const inner = new Reader(reader.bytes, reader.at, reader.at + length);
  reader.take(length);
  const found = noProperties();
  const isMessage = packet === 'publish' || packet === 'will';
  while (inner.left > 0) {
    const start = inner.at;
    const id = inner.number(1);
    const row = PROPERTIES.get(id);
    if (!row?.packets.includes(packet)) refuse(MALFORMED);
    keepProperty(found, row, readPropertyValue(inner, row.type), packet);
    if (isMessage && row.special.includes('m')) {
      found.forwarded += hex(inner.bytes.subarray(start, inner.at));
    }
  }
  return found;
}

function readPropertyValue(reader: Reader, type: string): number | Uint8Array {
  switch (type) {
    case 'byte': return reader.number(1);
    case 'two': return reader.number(2);
    case 'four': return reader.number(4);
    case 'variable': return reader.variable();
    case 'binary': return reader.binary();
    case 'string': return reader.string();
    default:
      reader.string();
      return reader.string();
  }
}

function keepProperty(
  found: PropertySet, row: PropertyRow, value: number | Uint8Array, packet: string,
): void {
  if (row.id === 38) {
    found.userProperties += 1;
    if (found.userProperties > USER_PROPERTIES_MAX) refuse(QUOTA);
    return;
  }
  const isIdentifier = row.id === 11;
  const isSecond = isIdentifier ? found.identifiers.length > 0 : found.values.has(row.id);
  if (isSecond && !(isIdentifier && packet === 'publish')) refuse(PROTOCOL);
  if (typeof value === 'number') {
    if (row.special.includes('f') && value > 1) refuse(PROTOCOL);
    if (row.special.includes('n') && value === 0) refuse(row.id === 35 ? BAD_ALIAS : PROTOCOL);
    if (isIdentifier) found.identifiers.push(value);
    else found.values.set(row.id, value);
    return;
  }
  if (row.id === 8 && (value.length === 0 || /[+#]/.test(text(value)))) refuse(PROTOCOL);
  found.values.set(row.id, hex(value));
}

function fieldsOf(set: PropertySet): Fields {
  return {
    values: [...set.values].sort(([a], [b]) => a - b),
    identifiers: set.identifiers,
    userProperties: set.userProperties,
  };
}

function checkTopicName(bytes: Uint8Array): void {
  const name = text(bytes);
  if (name === '' || /[+#]/.test(name)) refuse(BAD_TOPIC);
}

/** The two halves of a filter: a Share Name ('' = none) and what is matched. */
function checkTopicFilter(bytes: Uint8Array): { shareName: string; filter: string } {
  const whole = text(bytes);
  let [shareName, filter] = ['', whole];
  if (whole.startsWith('$share/')) {
    const parts = /^\$share\/([^/+#]+)\/(.*)$/s.exec(whole);
    if (!parts) return refuse(BAD_FILTER);
    [, shareName, filter] = parts;
  }
  if (filter === '') refuse(BAD_FILTER);
  const levels = filter.split('/');
  levels.forEach((level, i) => {
    const isWildcard = level === '+' || (level === '#' && i === levels.length - 1);
    if (!isWildcard && /[+#]/.test(level)) refuse(BAD_FILTER);
  });
  return { shareName, filter };
}

function readPublish(header: number, reader: Reader, version: number, sender: Sender): Fields {
  const qos = (header >> 1) & 3;
  if (qos === 3 || (qos === 0 && (header & 8) !== 0)) refuse(MALFORMED);
  const topic = reader.binary();
  if (version < 5 || topic.length > 0) checkTopicName(topic);
  const packetIdentifier = qos > 0 ? reader.identifier() : 0;
  const set = version === 5 ? readProperties(reader, 'publish') : noProperties();
  const alias = set.values.get(35) ?? 0;
  if (topic.length === 0 && alias === 0) refuse(PROTOCOL);
  if (sender === 'client' && set.identifiers.length > 0) refuse(PROTOCOL);
  return {
    topic: hex(topic), packetIdentifier, alias, payload: hex(reader.take(reader.left)),
    expiry: set.values.get(2) ?? -1, format: set.values.get(1) ?? 0, forwarded: set.forwarded,
    properties: fieldsOf(set),
  };
}

function readConnect(reader: Reader): Fields {
  const name = text(reader.binary());
  const level = reader.number(1);
  const version = level > 0x80 + 4 ? level : level & 0x7f; // a bridge says so in the highest bit
  if (!['MQIsdp', 'MQTT'].includes(name)) refuse(MALFORMED);
  if (!['MQIsdp 3', 'MQTT 4', 'MQTT 5'].includes(`${name} ${version}`)) refuse(UNSUPPORTED_VERSION);
  // The two fields behind the level are there or not; only then their values count.
  if (reader.left < 3) refuse(MALFORMED);
  let flags = reader.number(1);
  if (version === 3) {
    flags &= ~1;
    if ((flags & 4) === 0) flags &= ~0x38;
  }
  const willQos = (flags >> 3) & 3;
  if ((flags & 1) !== 0 || willQos === 3) refuse(MALFORMED);
  if ((flags & 4) === 0 && (flags & 0x38) !== 0) refuse(MALFORMED);
  if (version < 5 && (flags & 0xc0) === 0x40) refuse(MALFORMED);
  const keepAlive = reader.number(2);
  const set = version === 5 ? readProperties(reader, 'connect') : noProperties();
  if (set.values.has(22) && !set.values.has(21)) refuse(PROTOCOL);
  const clientIdentifier = reader.string();
  const will = (flags & 4) !== 0 ? readWill(reader, version) : null;
  // 3.1: "the Remaining Length takes precedence over the flag"
  if (version === 3 && reader.left === 0) flags &= ~0xc0;
  const userName = (flags & 0x80) !== 0 ? hex(reader.string()) : null;
  if (version === 3 && reader.left === 0) flags &= ~0x40;
  const password = (flags & 0x40) !== 0 ? hex(reader.binary()) : null;
  reader.finish();
  if (clientIdentifier.length === 0) {
    if (version === 3 || (version === 4 && (flags & 2) === 0)) refuse(BAD_IDENTIFIER);
  }
  return {
    version, flags, willQos, keepAlive, clientIdentifier: hex(clientIdentifier), will, userName,
    password, properties: fieldsOf(set),
  };
}

function readWill(reader: Reader, version: number): Fields {
  const set = version === 5 ? readProperties(reader, 'will') : noProperties();
  const topic = reader.binary();
  checkTopicName(topic);
  const payload = hex(reader.binary());
  return { topic: hex(topic), payload, forwarded: set.forwarded, properties: fieldsOf(set) };
}

function readSubscribe(reader: Reader, version: number): Fields {
  const packetIdentifier = reader.identifier();
  const set = version === 5 ? readProperties(reader, 'subscribe') : noProperties();
  const entries: Fields[] = [];
  while (reader.left > 0) {
    const raw = reader.binary();
    const { shareName, filter } = checkTopicFilter(raw);
    const options = reader.number(1);
    checkOptions(options, shareName !== '', version);
    entries.push({ raw: hex(raw), options, ...describeFilter(shareName, filter) });
  }
  if (entries.length === 0) refuse(PROTOCOL);
  return { packetIdentifier, entries, properties: fieldsOf(set) };
}

function describeFilter(shareName: string, filter: string): Fields {
  const levels = filter.split('/');
  return {
    shareName, filter, levels: levels.length,
    hasWildcard: levels.some((level) => level === '+' || level === '#'),
  };
}

function checkOptions(options: number, isShared: boolean, version: number): void {
  const qos = options & 3;
  if (version === 3 && qos === 3) refuse(MALFORMED);
  if (version === 4 && options > 2) refuse(MALFORMED);
  if (version < 5) return;
  if (options >> 6 !== 0) refuse(MALFORMED);
  if (qos === 3 || ((options >> 4) & 3) === 3) refuse(PROTOCOL);
  if (isShared && (options & 4) !== 0) refuse(PROTOCOL);
}

function readUnsubscribe(reader: Reader, version: number): Fields {
  const packetIdentifier = reader.identifier();
  const set = version === 5 ? readProperties(reader, 'unsubscribe') : noProperties();
  const entries: Fields[] = [];
  while (reader.left > 0) {
    const raw = reader.binary();
    const { shareName, filter } = checkTopicFilter(raw);
    entries.push({ raw: hex(raw), ...describeFilter(shareName, filter) });
  }
  if (entries.length === 0) refuse(PROTOCOL);
  return { packetIdentifier, entries, properties: fieldsOf(set) };
}

const ANY_ERROR = [0x80, 0x83, 0x87];
const CODES: Record<string, readonly number[]> = {
  connack: [0, ...ANY_ERROR, 0x81, 0x82, 0x84, 0x85, 0x86, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
    0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f],
  puback: [0, 0x10, ...ANY_ERROR, 0x90, 0x91, 0x97, 0x99],
  pubrec: [0, 0x10, ...ANY_ERROR, 0x90, 0x91, 0x97, 0x99],
  pubrel: [0, 0x92],
  pubcomp: [0, 0x92],
  suback: [0, 1, 2, ...ANY_ERROR, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
  unsuback: [0, 0x11, ...ANY_ERROR, 0x8f, 0x91],
  disconnect: [0, 4, ...ANY_ERROR, 0x81, 0x82, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94,
    0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2],
  auth: [0, 0x18, 0x19],
};

function readCode(reader: Reader, packet: string): number {
  const code = reader.number(1);
  return CODES[packet].includes(code) ? code : refuse(PROTOCOL);
}

function readAcknowledgement(packet: string, reader: Reader, version: number): Fields {
  const packetIdentifier = reader.identifier();
  if (version < 5) {
    reader.finish();
    return { packetIdentifier, reasonCode: 0, properties: fieldsOf(noProperties()) };
  }
  const reasonCode = reader.left > 0 ? readCode(reader, packet) : 0;
  const set = reader.left > 0 ? readProperties(reader, packet) : noProperties();
  reader.finish();
  return { packetIdentifier, reasonCode, properties: fieldsOf(set) };
}

function readDisconnect(reader: Reader, version: number, sender: Sender): Fields {
  if (sender === 'server' && version < 5) refuse(PROTOCOL);
  if (version < 5) reader.finish();
  const reasonCode = reader.left > 0 ? readCode(reader, 'disconnect') : 0;
  const set = reader.left > 0 ? readProperties(reader, 'disconnect') : noProperties();
  reader.finish();
  if (sender === 'server' && set.values.has(17)) refuse(PROTOCOL);
  const sessionExpiry = set.values.get(17) ?? -1;
  return { reasonCode, sessionExpiry, properties: fieldsOf(set) };
}

function readAuth(reader: Reader): Fields {
  if (reader.left === 0) return { reasonCode: 0, properties: fieldsOf(noProperties()) };
  const reasonCode = readCode(reader, 'auth');
  if (reader.left === 0) refuse(PROTOCOL);
  const set = readProperties(reader, 'auth');
  reader.finish();
  if (!set.values.has(21)) refuse(PROTOCOL);
  return { reasonCode, properties: fieldsOf(set) };
}

function readConnack(reader: Reader, version: number): Fields {
  if (reader.left < 2) refuse(MALFORMED);
  let flags = reader.number(1);
  if (version === 3) flags = 0;
  if (flags > 1) refuse(MALFORMED);
  const reasonCode = version === 5 ? readCode(reader, 'connack') : reader.number(1);
  if (version < 5 && reasonCode > 5) refuse(PROTOCOL);
  if (flags === 1 && reasonCode !== 0) refuse(PROTOCOL);
  const set = version === 5 ? readProperties(reader, 'connack') : noProperties();
  reader.finish();
  return { sessionPresent: flags === 1, reasonCode, properties: fieldsOf(set) };
}

function readSuback(packet: string, reader: Reader, version: number): Fields {
  const packetIdentifier = reader.identifier();
  const set = version === 5 ? readProperties(reader, packet) : noProperties();
  const codes: number[] = [];
  if (version < 5 && packet === 'unsuback') {
    reader.finish();
  } else {
    if (reader.left === 0) refuse(PROTOCOL);
    while (reader.left > 0) {
      const code = version === 5 ? readCode(reader, packet) : reader.number(1);
      if (version < 5 && ![0, 1, 2, 0x80].includes(code)) refuse(PROTOCOL);
      codes.push(code);
    }
  }
  return { packetIdentifier, codes, properties: fieldsOf(set) };
}

const NAMES = ['', 'connect', 'connack', 'publish', 'puback', 'pubrec', 'pubrel', 'pubcomp',
  'subscribe', 'suback', 'unsubscribe', 'unsuback', 'pingreq', 'pingresp', 'disconnect', 'auth'];

function readFields(header: number, body: Uint8Array, version: number, sender: Sender): Fields {
  const reader = new Reader(body);
  const packet = NAMES[header >> 4];
  switch (packet) {
    case 'connect': return readConnect(reader);
    case 'connack': return readConnack(reader, version);
    case 'publish': return readPublish(header, reader, version, sender);
    case 'subscribe': return readSubscribe(reader, version);
    case 'unsubscribe': return readUnsubscribe(reader, version);
    case 'suback': case 'unsuback': return readSuback(packet, reader, version);
    case 'disconnect': return readDisconnect(reader, version, sender);
    case 'auth': return readAuth(reader);
    case 'pingreq': case 'pingresp': return {};
    default: return readAcknowledgement(packet, reader, version);
  }
}

/** Parses the body of one packet. */
export function readPacket(
  header: number, body: Uint8Array, version: number, sender: Sender,
): Verdict {
  try {
    return { reason: 0, fields: readFields(header, body, version, sender) };
  } catch (error) {
    if (error instanceof Refusal) return { reason: error.reason };
    throw error;
  }
}
