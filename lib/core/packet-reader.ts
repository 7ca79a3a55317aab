/**
 * Reads control packets that the core has checked already: lengths, strings and properties are
 * known to be right. Only packets that need a decision come this way; PUBLISH and acknowledgements
 * never do.
 */
import { LEVEL_OF_BRIDGE } from '../../assembly/shared/control-packet.js';
import {
  ASSIGNED_CLIENT_IDENTIFIER, AUTHENTICATION_DATA, AUTHENTICATION_METHOD, CONTENT_TYPE,
  CORRELATION_DATA, MAXIMUM_PACKET_SIZE, MAXIMUM_QOS, MESSAGE_EXPIRY_INTERVAL,
  PAYLOAD_FORMAT_INDICATOR, REASON_STRING, RECEIVE_MAXIMUM, REQUEST_PROBLEM_INFORMATION,
  REQUEST_RESPONSE_INFORMATION, RESPONSE_INFORMATION, RESPONSE_TOPIC, RETAIN_AVAILABLE,
  SERVER_KEEP_ALIVE, SERVER_REFERENCE, SESSION_EXPIRY_INTERVAL, SHARED_SUBSCRIPTION_AVAILABLE,
  SUBSCRIPTION_IDENTIFIER, SUBSCRIPTION_IDENTIFIER_AVAILABLE, TOPIC_ALIAS_MAXIMUM,
  TYPE_BINARY_DATA, TYPE_BYTE, TYPE_FOUR_BYTE_INTEGER, TYPE_MASK, TYPE_TWO_BYTE_INTEGER,
  TYPE_UTF8_STRING, TYPE_VARIABLE_BYTE_INTEGER, USER_PROPERTY, WILDCARD_SUBSCRIPTION_AVAILABLE,
  WILL_DELAY_INTERVAL, ruleOfProperty,
} from '../../assembly/shared/property.js';
import type {
  AuthPacket, ConnackFields, ConnectPacket, DisconnectPacket, MessageProperties, ProtocolVersion,
  Qos, ReasonFields, SubscribePacket, SubscriptionRequest, UnsubscribePacket, UserProperties,
  WillMessage,
} from './contract.js';

const NO_USER_PROPERTIES: UserProperties = Object.freeze([]);
const SHARE_PREFIX = '$share/';

/** A position in bytes, moving forward. Strings are decoded, binary data is copied. */
class Cursor {
  constructor(private readonly bytes: Buffer, public at: number, readonly end: number) {}

  u8(): number {
    return this.bytes[this.at++];
  }
  u16(): number {
    this.at += 2;
    return this.bytes.readUInt16BE(this.at - 2);
  }
  u32(): number {
    this.at += 4;
    return this.bytes.readUInt32BE(this.at - 4);
  }
  variableByteInteger(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.u8();
      value |= (byte & 127) << shift;
      if (byte < 128) return value;
    }
  }
  string(): string {
    const length = this.u16();
    this.at += length;
    return this.bytes.toString('utf8', this.at - length, this.at);
  }
  binary(): Buffer {
    const length = this.u16();
    this.at += length;
    return Buffer.from(this.bytes.subarray(this.at - length, this.at));
  }
  skip(): void {
    const length = this.u16();
    this.at += length;
  }
}

/** Values by property number, user properties apart. */
class Properties {
  private readonly values = new Map<number, number | string | Buffer>();
  private pairs: [string, string][] | undefined;
  readonly subscriptionIdentifiers: number[] = [];

  set(id: number, value: number | string | Buffer): void {
    if (id === SUBSCRIPTION_IDENTIFIER) this.subscriptionIdentifiers.push(value as number);
    this.values.set(id, value);
  }
  addPair(name: string, value: string): void {
    if (this.pairs === undefined) this.values.set(USER_PROPERTY, '');
    (this.pairs ??= []).push([name, value]);
  }
  /** In the order in which they first came. */
  get identifiers(): IterableIterator<number> {
    return this.values.keys();
  }
  value(id: number): unknown {
    return id === USER_PROPERTY ? this.userProperties : this.values.get(id);
  }
  number(id: number): number | undefined {
    return this.values.get(id) as number | undefined;
  }
  text(id: number): string | undefined {
    return this.values.get(id) as string | undefined;
  }
  data(id: number): Buffer | undefined {
    return this.values.get(id) as Buffer | undefined;
  }
  flag(id: number): boolean | undefined {
    const value = this.number(id);
    return value === undefined ? undefined : value === 1;
  }
  get userProperties(): UserProperties {
    return this.pairs ?? NO_USER_PROPERTIES;
  }
}

function readValue(cursor: Cursor, type: number): number | string | Buffer {
  switch (type) {
    case TYPE_BYTE: return cursor.u8();
    case TYPE_TWO_BYTE_INTEGER: return cursor.u16();
    case TYPE_FOUR_BYTE_INTEGER: return cursor.u32();
    case TYPE_VARIABLE_BYTE_INTEGER: return cursor.variableByteInteger();
    case TYPE_BINARY_DATA: return cursor.binary();
    case TYPE_UTF8_STRING: return cursor.string();
    default: throw new RangeError(`property type ${type} is unknown`);
  }
}

function readRange(cursor: Cursor, end: number): Properties {
  const properties = new Properties();
  while (cursor.at < end) {
    const id = cursor.variableByteInteger();
    if (id === USER_PROPERTY) properties.addPair(cursor.string(), cursor.string());
    else properties.set(id, readValue(cursor, ruleOfProperty(id) & TYPE_MASK));
  }
  return properties;
}

/**
 * Properties with their length in front; none at the end of a packet that leaves them out, or below
 * version 5.
 */
function readProperties(cursor: Cursor, version: ProtocolVersion): Properties {
  if (version < 5 || cursor.at >= cursor.end) return new Properties();
  const length = cursor.variableByteInteger();
  return readRange(cursor, cursor.at + length);
}

const MESSAGE_PROPERTIES = new Map<number, keyof MessageProperties>([
  [PAYLOAD_FORMAT_INDICATOR, 'payloadFormatIndicator'],
  [MESSAGE_EXPIRY_INTERVAL, 'messageExpiryInterval'], [CONTENT_TYPE, 'contentType'],
  [RESPONSE_TOPIC, 'responseTopic'], [CORRELATION_DATA, 'correlationData'],
  [USER_PROPERTY, 'userProperties'],
]);

function messageProperties(properties: Properties): MessageProperties {
  const found: { -readonly [Key in keyof MessageProperties]?: unknown } = {};
  for (const id of properties.identifiers) {
    const key = MESSAGE_PROPERTIES.get(id);
    if (key !== undefined) found[key] = properties.value(id);
  }
  return found as MessageProperties;
}

function dropUndefined<T extends object>(fields: T): T {
  for (const key of Object.keys(fields) as (keyof T)[]) {
    if (fields[key] === undefined) delete fields[key];
  }
  return fields;
}

/** The properties of a message as they travel (no length in front). */
export function readMessageProperties(bytes: Buffer): MessageProperties {
  return messageProperties(readRange(new Cursor(bytes, 0, bytes.length), bytes.length));
}

function readWill(cursor: Cursor, flags: number, version: ProtocolVersion): WillMessage {
  const properties = readProperties(cursor, version);
  return {
    topicName: cursor.string(),
    payload: cursor.binary(),
    qos: ((flags >> 3) & 3) as Qos,
    retain: (flags & 0x20) !== 0,
    willDelayIntervalSeconds: properties.number(WILL_DELAY_INTERVAL) ?? 0,
    properties: messageProperties(properties),
  };
}

export function readConnect(bytes: Buffer, at: number, length: number): ConnectPacket {
  const cursor = new Cursor(bytes, at, at + length);
  cursor.skip(); // protocol name
  const level = cursor.u8();
  const protocolVersion = (level & ~LEVEL_OF_BRIDGE) as ProtocolVersion;
  const flags = cursor.u8();
  const keepAliveSeconds = cursor.u16();
  const properties = readProperties(cursor, protocolVersion);
  const clientIdentifier = cursor.string();
  const will = flags & 4 ? readWill(cursor, flags, protocolVersion) : undefined;
  const username = flags & 0x80 ? cursor.string() : undefined;
  const password = flags & 0x40 ? cursor.binary() : undefined;
  return {
    protocolVersion,
    fromBridge: level !== protocolVersion,
    clientIdentifier,
    cleanStart: (flags & 2) !== 0,
    keepAliveSeconds,
    username,
    password,
    will,
    sessionExpiryInterval: properties.number(SESSION_EXPIRY_INTERVAL),
    receiveMaximum: properties.number(RECEIVE_MAXIMUM),
    maximumPacketSize: properties.number(MAXIMUM_PACKET_SIZE),
    topicAliasMaximum: properties.number(TOPIC_ALIAS_MAXIMUM),
    requestResponseInformation: properties.number(REQUEST_RESPONSE_INFORMATION) === 1,
    requestProblemInformation: properties.number(REQUEST_PROBLEM_INFORMATION) !== 0,
    userProperties: properties.userProperties,
    authenticationMethod: properties.text(AUTHENTICATION_METHOD),
    authenticationData: properties.data(AUTHENTICATION_DATA),
  };
}

/** `$share/name/filter` taken apart. */
export function splitShare(topicFilter: string): { filter: string; shareName?: string } {
  if (!topicFilter.startsWith(SHARE_PREFIX)) return { filter: topicFilter };
  const slash = topicFilter.indexOf('/', SHARE_PREFIX.length);
  return { filter: topicFilter.slice(slash + 1), shareName: topicFilter.slice(
    SHARE_PREFIX.length, slash,
  ) };
}

function readSubscription(cursor: Cursor): SubscriptionRequest {
  const topicFilter = cursor.string();
  const options = cursor.u8();
  return {
    topicFilter,
    ...splitShare(topicFilter),
    qos: (options & 3) as Qos,
    noLocal: (options & 4) !== 0,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: ((options >> 4) & 3) as 0 | 1 | 2,
  };
}

export function readSubscribe(
  bytes: Buffer, at: number, length: number, version: ProtocolVersion,
): SubscribePacket {
  const cursor = new Cursor(bytes, at, at + length);
  const packetIdentifier = cursor.u16();
  const properties = readProperties(cursor, version);
  const subscriptions: SubscriptionRequest[] = [];
  while (cursor.at < cursor.end) subscriptions.push(readSubscription(cursor));
  return {
    packetIdentifier,
    subscriptions,
    subscriptionIdentifier: properties.number(SUBSCRIPTION_IDENTIFIER),
    userProperties: properties.userProperties,
  };
}

export function readUnsubscribe(
  bytes: Buffer, at: number, length: number, version: ProtocolVersion,
): UnsubscribePacket {
  const cursor = new Cursor(bytes, at, at + length);
  const packetIdentifier = cursor.u16();
  const properties = readProperties(cursor, version);
  const topicFilters: string[] = [];
  while (cursor.at < cursor.end) topicFilters.push(cursor.string());
  return { packetIdentifier, topicFilters, userProperties: properties.userProperties };
}

export function readDisconnect(
  bytes: Buffer, at: number, length: number, version: ProtocolVersion,
): DisconnectPacket {
  const cursor = new Cursor(bytes, at, at + length);
  const reasonCode = length === 0 ? 0 : cursor.u8();
  const properties = readProperties(cursor, version);
  return {
    reasonCode,
    sessionExpiryInterval: properties.number(SESSION_EXPIRY_INTERVAL),
    reasonString: properties.text(REASON_STRING),
    serverReference: properties.text(SERVER_REFERENCE),
    userProperties: properties.userProperties,
  };
}

export function readAuth(bytes: Buffer, at: number, length: number): AuthPacket {
  const cursor = new Cursor(bytes, at, at + length);
  const reasonCode = length === 0 ? 0 : cursor.u8();
  const properties = readProperties(cursor, 5);
  return {
    reasonCode,
    authenticationMethod: properties.text(AUTHENTICATION_METHOD),
    authenticationData: properties.data(AUTHENTICATION_DATA),
    reasonString: properties.text(REASON_STRING),
    userProperties: properties.userProperties,
  };
}

// --- what a server sends -----------------------------------------------------------------------

export function readConnack(
  bytes: Buffer, at: number, length: number, version: ProtocolVersion,
): ConnackFields {
  const cursor = new Cursor(bytes, at, at + length);
  const sessionPresent = (cursor.u8() & 1) !== 0;
  const reasonCode = cursor.u8();
  const properties = readProperties(cursor, version);
  return dropUndefined({
    reasonCode,
    sessionPresent,
    sessionExpiryInterval: properties.number(SESSION_EXPIRY_INTERVAL),
    receiveMaximum: properties.number(RECEIVE_MAXIMUM),
    maximumQos: properties.number(MAXIMUM_QOS) as Qos | undefined,
    retainAvailable: properties.flag(RETAIN_AVAILABLE),
    maximumPacketSize: properties.number(MAXIMUM_PACKET_SIZE),
    assignedClientIdentifier: properties.text(ASSIGNED_CLIENT_IDENTIFIER),
    topicAliasMaximum: properties.number(TOPIC_ALIAS_MAXIMUM),
    reasonString: properties.text(REASON_STRING),
    userProperties: properties.userProperties,
    wildcardSubscriptionAvailable: properties.flag(WILDCARD_SUBSCRIPTION_AVAILABLE),
    subscriptionIdentifiersAvailable: properties.flag(SUBSCRIPTION_IDENTIFIER_AVAILABLE),
    sharedSubscriptionAvailable: properties.flag(SHARED_SUBSCRIPTION_AVAILABLE),
    serverKeepAlive: properties.number(SERVER_KEEP_ALIVE),
    responseInformation: properties.text(RESPONSE_INFORMATION),
    serverReference: properties.text(SERVER_REFERENCE),
    authenticationMethod: properties.text(AUTHENTICATION_METHOD),
    authenticationData: properties.data(AUTHENTICATION_DATA),
  });
}

/** SUBACK and UNSUBACK: the codes are the rest of the packet (none in an UNSUBACK of 3.x). */
export function readReasonCodes(
  bytes: Buffer, at: number, length: number, version: ProtocolVersion,
): { packetIdentifier: number; reasonCodes: Buffer; fields: ReasonFields } {
  const cursor = new Cursor(bytes, at, at + length);
  const packetIdentifier = cursor.u16();
  const properties = readProperties(cursor, version);
  return {
    packetIdentifier,
    reasonCodes: Buffer.from(bytes.subarray(cursor.at, cursor.end)),
    fields: dropUndefined({
      reasonString: properties.text(REASON_STRING),
      userProperties: properties.userProperties,
    }),
  };
}
