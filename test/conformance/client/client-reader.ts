/**
 * An independent reader of what a client sends. It is strict: whatever a client is forbidden to
 * send is a WireFault, whichever case it happens in.
 */
import type { Version } from '../wire/packets.js';
import {
  Cursor, WireFault, blankReply, checkCode, frameOf, identifier, readAcknowledgement,
  readProperties, readPublish,
} from '../wire/reader.js';
import type { ReadProperty, Reply } from '../wire/reader.js';

export interface ReadWill {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: number;
  readonly retain: boolean;
  readonly properties: readonly ReadProperty[];
}

export interface ReadConnect {
  readonly cleanStart: boolean;
  readonly keepAlive: number;
  readonly clientId: string;
  readonly flags: number;
  readonly will?: ReadWill;
  readonly username?: string;
  readonly password?: Buffer;
}

export interface ReadFilter {
  readonly filter: string;
  readonly options: number;
}

/** A packet of a client. */
export interface Sent extends Reply {
  connect?: ReadConnect;
  filters: ReadFilter[];
}

const SERVER_ONLY = new Set(['', 'CONNACK', 'SUBACK', 'UNSUBACK', 'PINGRESP']);
const FLAGGED = new Set(['PUBREL', 'SUBSCRIBE', 'UNSUBSCRIBE']);

function readWill(cursor: Cursor, flags: number, version: Version): ReadWill | undefined {
  const qos = (flags >> 3) & 3;
  if ((flags & 4) === 0) {
    if (qos !== 0) throw new WireFault('CONNECT: Will QoS without a will [MQTT-3.1.2-11]');
    if (flags & 0x20) throw new WireFault('CONNECT: Will Retain without a will [MQTT-3.1.2-13]');
    return undefined;
  }
  if (qos === 3) throw new WireFault('CONNECT: Will QoS 3 [MQTT-3.1.2-12]');
  const inner = new Cursor(cursor.rest(), 'WILL');
  const list = version === 5 ? readProperties(inner) : [];
  const topic = inner.text();
  const payload = Buffer.from(inner.binary());
  cursor.at -= inner.left;
  return { topic, payload, qos, retain: (flags & 0x20) !== 0, properties: list };
}

function readConnect(sent: Sent, cursor: Cursor, version: Version): void {
  const protocol = cursor.text();
  const level = cursor.u8();
  if (protocol !== (version === 3 ? 'MQIsdp' : 'MQTT') || level !== version) {
    throw new WireFault(`CONNECT: protocol ${protocol} level ${level}`);
  }
  const flags = cursor.u8();
  if (flags & 1) throw new WireFault('CONNECT: reserved flag [MQTT-3.1.2-3]');
  if (version < 5 && (flags & 0xc0) === 0x40) {
    throw new WireFault('CONNECT: password without user name [MQTT-3.1.2-22]');
  }
  const keepAlive = cursor.u16();
  if (version === 5) sent.properties = readProperties(cursor);
  const clientId = cursor.text();
  if (version < 5 && clientId === '' && (flags & 2) === 0) {
    throw new WireFault('CONNECT: no identifier and no clean session [MQTT-3.1.3-7]');
  }
  const will = readWill(cursor, flags, version);
  const username = flags & 0x80 ? cursor.text() : undefined;
  const password = flags & 0x40 ? Buffer.from(cursor.binary()) : undefined;
  sent.connect = {
    cleanStart: (flags & 2) !== 0, keepAlive, clientId, flags,
    ...(will ? { will } : {}), ...(username === undefined ? {} : { username }),
    ...(password ? { password } : {}),
  };
}

/** Wildcards where they may stand, a share name that is one. */
function checkFilter(where: string, topicFilter: string): void {
  let filter = topicFilter;
  if (filter.startsWith('$share/')) {
    const [, name = '', ...rest] = filter.split('/');
    filter = rest.join('/');
    if (!/^[^+#]+$/.test(name)) throw new WireFault(`${where}: share name [MQTT-4.8.2-1]`);
  }
  if (filter === '') throw new WireFault(`${where}: empty filter [MQTT-4.7.3-1]`);
  for (const [at, level] of filter.split('/').entries()) {
    const last = at === filter.split('/').length - 1;
    if (level.includes('#') && (level !== '#' || !last)) {
      throw new WireFault(`${where}: misplaced # [MQTT-4.7.1-1]`);
    }
    if (level.includes('+') && level !== '+') {
      throw new WireFault(`${where}: misplaced + [MQTT-4.7.1-2]`);
    }
  }
}

function readFilters(sent: Sent, cursor: Cursor, version: Version): void {
  sent.packetId = identifier(cursor);
  if (version === 5) sent.properties = readProperties(cursor);
  const isSubscribe = sent.name === 'SUBSCRIBE';
  while (cursor.left > 0) {
    const filter = cursor.text();
    checkFilter(sent.name, filter);
    const options = isSubscribe ? cursor.u8() : 0;
    const reserved = version === 5 ? 0xc0 : 0xfc;
    if ((options & 3) === 3 || (options & reserved) !== 0 || (options & 0x30) === 0x30) {
      throw new WireFault(`SUBSCRIBE: options ${options} [MQTT-3.8.3-5]`);
    }
    if (options & 4 && filter.startsWith('$share/')) {
      throw new WireFault('SUBSCRIBE: No Local on a shared subscription [MQTT-3.8.3-4]');
    }
    sent.filters.push({ filter, options });
  }
  if (sent.filters.length === 0) throw new WireFault(`${sent.name}: no filter [MQTT-3.8.3-2]`);
}

function readGoodbye(sent: Sent, cursor: Cursor, version: Version): void {
  if (version < 5) {
    if (sent.name === 'AUTH') throw new WireFault('AUTH before MQTT 5');
    return;
  }
  if (cursor.left === 0) return;
  sent.reasonCode = cursor.u8();
  checkCode(sent, sent.reasonCode, version);
  if (cursor.left > 0) sent.properties = readProperties(cursor);
}

function readBody(sent: Sent, cursor: Cursor, version: Version): void {
  switch (sent.name) {
    case 'CONNECT': return readConnect(sent, cursor, version);
    case 'PUBLISH':
      readPublish(sent, cursor, version);
      if (sent.properties.some((one) => one.id === 0x0b)) {
        throw new WireFault('PUBLISH: Subscription Identifier from a client [MQTT-3.3.4-6]');
      }
      return;
    case 'PUBACK': case 'PUBREC': case 'PUBREL': case 'PUBCOMP':
      return readAcknowledgement(sent, cursor, version);
    case 'SUBSCRIBE': case 'UNSUBSCRIBE': return readFilters(sent, cursor, version);
    case 'DISCONNECT': case 'AUTH': return readGoodbye(sent, cursor, version);
    default:
  }
}

/** Takes the first whole packet from `bytes`; undefined while it is not whole. */
export function readSent(bytes: Buffer, version: Version): Sent | undefined {
  const frame = frameOf(bytes);
  if (frame === undefined) return undefined;
  const sent: Sent = { ...blankReply(bytes, frame.end), filters: [] };
  const { name, flags } = sent;
  if (SERVER_ONLY.has(name)) throw new WireFault(`a client sent ${name || 'type 0'}`);
  if (name !== 'PUBLISH' && flags !== (FLAGGED.has(name) ? 2 : 0)) {
    throw new WireFault(`${name}: flags ${flags} [MQTT-2.2.2-1] [MQTT-2.1.3-1]`);
  }
  const cursor = new Cursor(sent.raw.subarray(frame.start), name);
  readBody(sent, cursor, version);
  if (cursor.left > 0) throw new WireFault(`${name}: ${cursor.left} bytes too many`);
  return sent;
}
