/**
 * The packet that Nest's MqttContext shows: the shape of mqtt-packet, so that handlers written for
 * the stock transport read the same fields. Made from a message on demand.
 */
import type { MessageProperties, Qos, UserProperties } from '../core/contract.js';
import type { IncomingMessage } from './link/link.js';

/** User properties as MQTT.js has them: a name that occurs twice has a list. */
export type UserPropertyRecord = Record<string, string | string[]>;

export interface PublishPacketProperties {
  payloadFormatIndicator?: boolean;
  messageExpiryInterval?: number;
  topicAlias?: number;
  responseTopic?: string;
  correlationData?: Buffer;
  userProperties?: UserPropertyRecord;
  subscriptionIdentifier?: number | number[];
  contentType?: string;
}

/** An MQTT PUBLISH in the words of mqtt-packet; a plain object to whoever logs or copies it. */
export class PublishPacket {
  readonly cmd = 'publish';
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup: boolean;
  readonly properties: PublishPacketProperties;

  constructor(message: IncomingMessage) {
    const { properties, subscriptionIdentifiers: identifiers } = message;
    this.topic = message.topicName;
    this.payload = message.payload;
    this.qos = message.qos;
    this.retain = message.retain;
    this.dup = message.dup;
    this.properties = toPacketProperties(properties);
    if (identifiers.length > 0) {
      this.properties.subscriptionIdentifier =
        identifiers.length === 1 ? identifiers[0] : [...identifiers];
    }
  }
}

export function toPacketProperties(properties: MessageProperties): PublishPacketProperties {
  const { payloadFormatIndicator, correlationData, userProperties, ...same } = properties;
  const packet: PublishPacketProperties = { ...same };
  if (payloadFormatIndicator !== undefined) {
    packet.payloadFormatIndicator = payloadFormatIndicator === 1;
  }
  if (correlationData !== undefined) packet.correlationData = Buffer.from(correlationData);
  if (userProperties !== undefined && userProperties.length > 0) {
    packet.userProperties = toUserPropertyRecord(userProperties);
  }
  return packet;
}

export function toUserPropertyRecord(pairs: UserProperties): UserPropertyRecord {
  const record = Object.create(null) as UserPropertyRecord;
  for (const [name, value] of pairs) {
    const before = record[name];
    if (before === undefined) record[name] = value;
    else record[name] = typeof before === 'string' ? [before, value] : [...before, value];
  }
  return record;
}

export function toUserProperties(
  record: Readonly<Record<string, string | readonly string[]>> | undefined,
): [string, string][] {
  if (record === undefined) return [];
  return Object.entries(record).flatMap(([name, value]) =>
    typeof value === 'string'
      ? [[name, value] as [string, string]]
      : value.map((one): [string, string] => [name, one]),
  );
}

/** Properties as a caller of MQTT.js writes them, for example in an MqttRecord. */
export function fromPacketProperties(
  packet: Readonly<Partial<Record<string, unknown>>> | undefined,
): MessageProperties {
  if (packet === undefined) return {};
  const given = packet as PublishPacketProperties;
  const { payloadFormatIndicator, userProperties, correlationData } = given;
  const { messageExpiryInterval, contentType, responseTopic } = given;
  const pairs = toUserProperties(userProperties);
  return {
    ...(payloadFormatIndicator === undefined
      ? {}
      : { payloadFormatIndicator: payloadFormatIndicator ? 1 : 0 }),
    ...(messageExpiryInterval === undefined ? {} : { messageExpiryInterval }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(responseTopic === undefined ? {} : { responseTopic }),
    ...(correlationData === undefined ? {} : { correlationData }),
    ...(pairs.length === 0 ? {} : { userProperties: pairs }),
  };
}
