/**
 * Builds the bodies of control packets. The core frames them (fixed header, Remaining Length) when
 * they are appended to a connection's slab. PUBLISH and acknowledgements are written by the core
 * itself.
 */
import {
  ASSIGNED_CLIENT_IDENTIFIER, AUTHENTICATION_DATA, AUTHENTICATION_METHOD, CONTENT_TYPE,
  CORRELATION_DATA, MAXIMUM_PACKET_SIZE, MAXIMUM_QOS, MESSAGE_EXPIRY_INTERVAL,
  PAYLOAD_FORMAT_INDICATOR, REASON_STRING,
  RECEIVE_MAXIMUM, REQUEST_PROBLEM_INFORMATION, REQUEST_RESPONSE_INFORMATION, RESPONSE_INFORMATION,
  RESPONSE_TOPIC, RETAIN_AVAILABLE, SERVER_KEEP_ALIVE, SERVER_REFERENCE, SESSION_EXPIRY_INTERVAL,
  SHARED_SUBSCRIPTION_AVAILABLE, SUBSCRIPTION_IDENTIFIER, SUBSCRIPTION_IDENTIFIER_AVAILABLE,
  TOPIC_ALIAS_MAXIMUM, TYPE_BINARY_DATA, TYPE_BYTE, TYPE_FOUR_BYTE_INTEGER, TYPE_MASK,
  TYPE_TWO_BYTE_INTEGER, TYPE_UTF8_STRING, TYPE_VARIABLE_BYTE_INTEGER, USER_PROPERTY,
  WILDCARD_SUBSCRIPTION_AVAILABLE, WILL_DELAY_INTERVAL, ruleOfProperty,
} from '../../assembly/shared/property.js';
import type {
  AuthPacket, ConnackFields, ConnectPacket, MessageProperties, ProtocolVersion, ReasonFields,
  SubscriptionRequest, UserProperties, WillMessage,
} from './contract.js';

type Value = number | boolean | string | Uint8Array | undefined;

/** Bytes that grow as they are written. */
export class PacketBody {
  private bytes = Buffer.allocUnsafe(256);
  private at = 0;

  /** Where the next bytes go. It may replace `bytes`: call it before `this.bytes` is read. */
  private room(length: number): number {
    const at = this.at;
    if (at + length > this.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, at + length));
      this.bytes.copy(larger, 0, 0, at);
      this.bytes = larger;
    }
    this.at = at + length;
    return at;
  }
  u8(value: number): this {
    const at = this.room(1);
    this.bytes[at] = value;
    return this;
  }
  u16(value: number): this {
    const at = this.room(2);
    this.bytes.writeUInt16BE(value, at);
    return this;
  }
  u32(value: number): this {
    const at = this.room(4);
    this.bytes.writeUInt32BE(value, at);
    return this;
  }
  variableByteInteger(value: number): this {
    let rest = value;
    while (rest > 127) {
      this.u8((rest & 127) | 128);
      rest >>>= 7;
    }
    return this.u8(rest);
  }
  string(text: string): this {
    const length = Buffer.byteLength(text);
    this.u16(length);
    const at = this.room(length);
    this.bytes.write(text, at, length, 'utf8');
    return this;
  }
  binary(data: Uint8Array): this {
    this.u16(data.length);
    return this.raw(data);
  }
  raw(data: Uint8Array): this {
    const at = this.room(data.length);
    this.bytes.set(data, at);
    return this;
  }
  /** What has been written, valid until the next write. */
  view(): Buffer {
    return this.bytes.subarray(0, this.at);
  }
}

class PropertyList {
  readonly body = new PacketBody();

  add(id: number, value: Value): this {
    if (value === undefined) return this;
    this.body.u8(id);
    const plain = typeof value === 'boolean' ? Number(value) : value;
    switch (ruleOfProperty(id) & TYPE_MASK) {
      case TYPE_BYTE: this.body.u8(plain as number); break;
      case TYPE_TWO_BYTE_INTEGER: this.body.u16(plain as number); break;
      case TYPE_FOUR_BYTE_INTEGER: this.body.u32(plain as number); break;
      case TYPE_VARIABLE_BYTE_INTEGER: this.body.variableByteInteger(plain as number); break;
      case TYPE_BINARY_DATA: this.body.binary(plain as Uint8Array); break;
      case TYPE_UTF8_STRING: this.body.string(plain as string); break;
      default: throw new RangeError(`property ${id} is unknown`);
    }
    return this;
  }
  addPairs(pairs: UserProperties | undefined): this {
    for (const [name, value] of pairs ?? []) this.body.u8(USER_PROPERTY).string(name).string(value);
    return this;
  }
  get isEmpty(): boolean {
    return this.body.view().length === 0;
  }
  writeTo(body: PacketBody): void {
    const bytes = this.body.view();
    body.variableByteInteger(bytes.length).raw(bytes);
  }
}

/**
 * The properties that travel with a message unaltered, as they stand in the packet. Expiry is the
 * core's.
 */
export function encodeForwarded(properties: MessageProperties | undefined): Buffer {
  if (properties === undefined) return EMPTY;
  return new PropertyList()
    .add(PAYLOAD_FORMAT_INDICATOR, properties.payloadFormatIndicator)
    .add(CONTENT_TYPE, properties.contentType)
    .add(RESPONSE_TOPIC, properties.responseTopic)
    .add(CORRELATION_DATA, properties.correlationData)
    .addPairs(properties.userProperties)
    .body.view();
}
const EMPTY = Buffer.alloc(0);

/**
 * Return Codes of 3.x for the Reason Codes of MQTT 5; what has none is "server unavailable".
 */
const RETURN_CODES = new Map<number, number>([
  [0x00, 0], [0x84, 1], [0x85, 2], [0x88, 3], [0x89, 3], [0x8b, 3], [0x97, 3], [0x9f, 3],
  [0x86, 4], [0x8c, 4], [0x87, 5], [0x8a, 5],
]);
const RETURN_CODE_OTHERWISE = 3;

export function connackBody(fields: ConnackFields, version: ProtocolVersion): Buffer {
  const body = new PacketBody();
  // 3.1.1 [MQTT-3.2.2-4], 5.0 [MQTT-3.2.2-6]
  const present = fields.sessionPresent && fields.reasonCode === 0;
  if (version < 5) {
    body.u8(present && version === 4 ? 1 : 0);
    body.u8(RETURN_CODES.get(fields.reasonCode) ?? RETURN_CODE_OTHERWISE);
    return body.view();
  }
  body.u8(present ? 1 : 0).u8(fields.reasonCode);
  new PropertyList()
    .add(SESSION_EXPIRY_INTERVAL, fields.sessionExpiryInterval)
    .add(RECEIVE_MAXIMUM, fields.receiveMaximum)
    .add(MAXIMUM_QOS, fields.maximumQos === 2 ? undefined : fields.maximumQos)
    .add(RETAIN_AVAILABLE, fields.retainAvailable)
    .add(MAXIMUM_PACKET_SIZE, fields.maximumPacketSize)
    .add(ASSIGNED_CLIENT_IDENTIFIER, fields.assignedClientIdentifier)
    .add(TOPIC_ALIAS_MAXIMUM, fields.topicAliasMaximum)
    .add(REASON_STRING, fields.reasonString)
    .addPairs(fields.userProperties)
    .add(WILDCARD_SUBSCRIPTION_AVAILABLE, fields.wildcardSubscriptionAvailable)
    .add(SUBSCRIPTION_IDENTIFIER_AVAILABLE, fields.subscriptionIdentifiersAvailable)
    .add(SHARED_SUBSCRIPTION_AVAILABLE, fields.sharedSubscriptionAvailable)
    .add(SERVER_KEEP_ALIVE, fields.serverKeepAlive)
    .add(RESPONSE_INFORMATION, fields.responseInformation)
    .add(SERVER_REFERENCE, fields.serverReference)
    .add(AUTHENTICATION_METHOD, fields.authenticationMethod)
    .add(AUTHENTICATION_DATA, fields.authenticationData)
    .writeTo(body);
  return body.view();
}

function reasonProperties(fields: ReasonFields | undefined): PropertyList {
  return new PropertyList()
    .add(SESSION_EXPIRY_INTERVAL, fields?.sessionExpiryInterval)
    .add(REASON_STRING, fields?.reasonString)
    .addPairs(fields?.userProperties)
    .add(SERVER_REFERENCE, fields?.serverReference);
}

/** SUBACK, UNSUBACK. 3.x has no properties, and no codes in UNSUBACK. */
export function codesBody(
  packetIdentifier: number, codes: readonly number[], version: ProtocolVersion,
  fields?: ReasonFields,
): Buffer {
  const body = new PacketBody().u16(packetIdentifier);
  if (version === 5) reasonProperties(fields).writeTo(body);
  for (const code of codes) body.u8(code);
  return body.view();
}

export function disconnectBody(reasonCode: number, fields?: ReasonFields): Buffer {
  const body = new PacketBody().u8(reasonCode);
  const properties = reasonProperties(fields);
  if (!properties.isEmpty) properties.writeTo(body);
  return body.view();
}

export function authBody(packet: AuthPacket): Buffer {
  const body = new PacketBody().u8(packet.reasonCode);
  new PropertyList()
    .add(AUTHENTICATION_METHOD, packet.authenticationMethod)
    .add(AUTHENTICATION_DATA, packet.authenticationData)
    .add(REASON_STRING, packet.reasonString)
    .addPairs(packet.userProperties)
    .writeTo(body);
  return body.view();
}

// --- what a client sends -----------------------------------------------------------------------

function willProperties(will: WillMessage): PropertyList {
  const list = new PropertyList()
    .add(WILL_DELAY_INTERVAL, will.willDelayIntervalSeconds || undefined)
    .add(MESSAGE_EXPIRY_INTERVAL, will.properties.messageExpiryInterval);
  list.body.raw(encodeForwarded(will.properties));
  return list;
}

function connectFlags(packet: ConnectPacket): number {
  let flags = packet.cleanStart ? 2 : 0;
  const { will } = packet;
  if (will !== undefined) flags |= 4 | (will.qos << 3) | (will.retain ? 0x20 : 0);
  if (packet.password !== undefined) flags |= 0x40;
  if (packet.username !== undefined) flags |= 0x80;
  return flags;
}

export function connectBody(packet: ConnectPacket): Buffer {
  const version = packet.protocolVersion;
  const body = new PacketBody().string(version === 3 ? 'MQIsdp' : 'MQTT').u8(version);
  body.u8(connectFlags(packet)).u16(packet.keepAliveSeconds);
  if (version === 5) {
    new PropertyList()
      .add(SESSION_EXPIRY_INTERVAL, packet.sessionExpiryInterval)
      .add(RECEIVE_MAXIMUM, packet.receiveMaximum)
      .add(MAXIMUM_PACKET_SIZE, packet.maximumPacketSize)
      .add(TOPIC_ALIAS_MAXIMUM, packet.topicAliasMaximum)
      .add(REQUEST_RESPONSE_INFORMATION, packet.requestResponseInformation || undefined)
      .add(REQUEST_PROBLEM_INFORMATION, packet.requestProblemInformation ? undefined : 0)
      .addPairs(packet.userProperties)
      .add(AUTHENTICATION_METHOD, packet.authenticationMethod)
      .add(AUTHENTICATION_DATA, packet.authenticationData)
      .writeTo(body);
  }
  body.string(packet.clientIdentifier);
  if (packet.will !== undefined) {
    if (version === 5) willProperties(packet.will).writeTo(body);
    body.string(packet.will.topicName).binary(packet.will.payload);
  }
  if (packet.username !== undefined) body.string(packet.username);
  if (packet.password !== undefined) body.binary(packet.password);
  return body.view();
}

export function subscribeBody(
  packetIdentifier: number, subscriptions: readonly SubscriptionRequest[], version: ProtocolVersion,
  options: {
    readonly subscriptionIdentifier?: number; readonly userProperties?: UserProperties;
  } = {},
): Buffer {
  const body = new PacketBody().u16(packetIdentifier);
  if (version === 5) {
    new PropertyList()
      .add(SUBSCRIPTION_IDENTIFIER, options.subscriptionIdentifier)
      .addPairs(options.userProperties)
      .writeTo(body);
  }
  for (const wanted of subscriptions) {
    body.string(wanted.topicFilter).u8(version === 5 ? optionsByte(wanted) : wanted.qos);
  }
  return body.view();
}

function optionsByte(wanted: SubscriptionRequest): number {
  return wanted.qos | (wanted.noLocal ? 4 : 0) | (wanted.retainAsPublished ? 8 : 0)
    | (wanted.retainHandling << 4);
}

export function unsubscribeBody(
  packetIdentifier: number, topicFilters: readonly string[], version: ProtocolVersion,
  userProperties?: UserProperties,
): Buffer {
  const body = new PacketBody().u16(packetIdentifier);
  if (version === 5) new PropertyList().addPairs(userProperties).writeTo(body);
  for (const filter of topicFilters) body.string(filter);
  return body.view();
}
