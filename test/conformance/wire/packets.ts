/** Builders for the packets a client sends: correct unless told otherwise, one line per field. */
import { bin, cat, packet, str, u16, u32, u8, vbi } from './bytes.js';

/** Protocol Level: 3 is MQTT 3.1 (MQIsdp), 4 is 3.1.1, 5 is 5.0. */
export type Version = 3 | 4 | 5;

/** MQTT 5 properties, each with its identifier byte. */
export const property = {
  payloadFormat: (value: number): Buffer => cat(u8(0x01), u8(value)),
  messageExpiry: (seconds: number): Buffer => cat(u8(0x02), u32(seconds)),
  contentType: (text: string | Buffer): Buffer => cat(u8(0x03), str(text)),
  responseTopic: (text: string | Buffer): Buffer => cat(u8(0x08), str(text)),
  correlationData: (data: string | Buffer): Buffer => cat(u8(0x09), bin(data)),
  subscriptionIdentifier: (value: number): Buffer => cat(u8(0x0b), vbi(value)),
  sessionExpiry: (seconds: number): Buffer => cat(u8(0x11), u32(seconds)),
  authenticationMethod: (text: string): Buffer => cat(u8(0x15), str(text)),
  authenticationData: (data: string): Buffer => cat(u8(0x16), bin(data)),
  requestProblemInformation: (value: number): Buffer => cat(u8(0x17), u8(value)),
  willDelay: (seconds: number): Buffer => cat(u8(0x18), u32(seconds)),
  requestResponseInformation: (value: number): Buffer => cat(u8(0x19), u8(value)),
  reasonString: (text: string): Buffer => cat(u8(0x1f), str(text)),
  receiveMaximum: (value: number): Buffer => cat(u8(0x21), u16(value)),
  topicAliasMaximum: (value: number): Buffer => cat(u8(0x22), u16(value)),
  topicAlias: (value: number): Buffer => cat(u8(0x23), u16(value)),
  user: (key: string, value: string): Buffer => cat(u8(0x26), str(key), str(value)),
  maximumPacketSize: (value: number): Buffer => cat(u8(0x27), u32(value)),
};

/** Property Length, then the properties. Nothing at all before MQTT 5. */
export function properties(version: Version, list: readonly Buffer[] = []): Buffer {
  if (version < 5) return Buffer.alloc(0);
  const body = cat(...list);
  return cat(vbi(body.length), body);
}

export interface WillFields {
  readonly topic: string | Buffer;
  readonly payload: string | Buffer;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly properties?: readonly Buffer[];
}

export interface ConnectFields {
  readonly version: Version;
  readonly clientId?: string | Buffer;
  readonly cleanStart?: boolean;
  readonly keepAlive?: number;
  readonly will?: WillFields;
  readonly username?: string | Buffer;
  readonly password?: string | Buffer;
  readonly properties?: readonly Buffer[];
  /** Overrides, for packets that are wrong on purpose. */
  readonly protocolName?: string | Buffer;
  readonly protocolLevel?: number;
  readonly flags?: number;
  readonly firstByte?: number;
  readonly tail?: Buffer;
}

function connectFlags(fields: ConnectFields): number {
  if (fields.flags !== undefined) return fields.flags;
  let flags = fields.cleanStart === false ? 0 : 0x02;
  if (fields.will) {
    flags |= 0x04 | ((fields.will.qos ?? 0) << 3) | (fields.will.retain ? 0x20 : 0);
  }
  if (fields.password !== undefined) flags |= 0x40;
  if (fields.username !== undefined) flags |= 0x80;
  return flags;
}

export function connect(fields: ConnectFields): Buffer {
  const { version, will } = fields;
  return packet(
    fields.firstByte ?? 0x10,
    str(fields.protocolName ?? (version === 3 ? 'MQIsdp' : 'MQTT')), // Protocol Name
    u8(fields.protocolLevel ?? version), // Protocol Level
    u8(connectFlags(fields)), // Connect Flags
    u16(fields.keepAlive ?? 60), // Keep Alive
    properties(version, fields.properties), // Properties
    str(fields.clientId ?? ''), // Client Identifier
    will ? properties(version, will.properties) : Buffer.alloc(0), // Will Properties
    will ? str(will.topic) : Buffer.alloc(0), // Will Topic
    will ? bin(will.payload) : Buffer.alloc(0), // Will Payload
    fields.username === undefined ? Buffer.alloc(0) : str(fields.username), // User Name
    fields.password === undefined ? Buffer.alloc(0) : bin(fields.password), // Password
    fields.tail ?? Buffer.alloc(0),
  );
}

export interface PublishFields {
  readonly version: Version;
  readonly topic: string | Buffer;
  readonly payload?: string | Buffer;
  readonly qos?: number;
  readonly retain?: boolean;
  readonly dup?: boolean;
  readonly packetId?: number;
  readonly properties?: readonly Buffer[];
}

export function publish(fields: PublishFields): Buffer {
  const qos = fields.qos ?? 0;
  return packet(
    0x30 | (fields.dup ? 8 : 0) | (qos << 1) | (fields.retain ? 1 : 0), // type and flags
    str(fields.topic), // Topic Name
    qos > 0 ? u16(fields.packetId ?? 1) : Buffer.alloc(0), // Packet Identifier
    properties(fields.version, fields.properties), // Properties
    Buffer.from(fields.payload ?? ''), // Application Message
  );
}

/** One Topic Filter with its options byte (before MQTT 5: the requested QoS). */
export type FilterEntry = readonly [filter: string | Buffer, options: number];

export function subscribe(
  version: Version, packetId: number, filters: readonly FilterEntry[],
  list: readonly Buffer[] = [],
): Buffer {
  const entries = filters.map(([filter, options]) => cat(str(filter), u8(options)));
  return packet(0x82, u16(packetId), properties(version, list), ...entries);
}

export function unsubscribe(
  version: Version, packetId: number, filters: readonly (string | Buffer)[],
  list: readonly Buffer[] = [],
): Buffer {
  return packet(0xa2, u16(packetId), properties(version, list), ...filters.map((f) => str(f)));
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP; a Reason Code only when one is given. */
function acknowledgement(firstByte: number) {
  return (packetId: number, reasonCode?: number): Buffer =>
    packet(firstByte, u16(packetId), reasonCode === undefined ? Buffer.alloc(0) : u8(reasonCode));
}
export const puback = acknowledgement(0x40);
export const pubrec = acknowledgement(0x50);
export const pubrel = acknowledgement(0x62);
export const pubcomp = acknowledgement(0x70);

export const pingreq = (): Buffer => packet(0xc0);

export function disconnect(
  version: Version, reasonCode?: number, list: readonly Buffer[] = [],
): Buffer {
  if (version < 5 || reasonCode === undefined) return packet(0xe0);
  return packet(0xe0, u8(reasonCode), list.length > 0 ? properties(5, list) : Buffer.alloc(0));
}

export const auth = (reasonCode: number, list: readonly Buffer[]): Buffer =>
  packet(0xf0, u8(reasonCode), properties(5, list));
