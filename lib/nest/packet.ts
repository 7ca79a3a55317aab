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

/** An MQTT PUBLISH in the words of mqtt-packet. */
export class PublishPacket {
  readonly #message: IncomingMessage;

  constructor(message: IncomingMessage) {
    this.#message = message;
  }

  get cmd(): 'publish' {
    return 'publish';
  }
  get topic(): string {
    return this.#message.topicName;
  }
  get payload(): Buffer {
    return this.#message.payload;
  }
  get qos(): Qos {
    return this.#message.qos;
  }
  get retain(): boolean {
    return this.#message.retain;
  }
  get dup(): boolean {
    return this.#message.dup;
  }
  get properties(): PublishPacketProperties {
    const { properties, subscriptionIdentifiers } = this.#message;
    const packet = toPacketProperties(properties);
    if (subscriptionIdentifiers.length === 1) {
      packet.subscriptionIdentifier = subscriptionIdentifiers[0];
    } else if (subscriptionIdentifiers.length > 1) {
      packet.subscriptionIdentifier = [...subscriptionIdentifiers];
    }
    return packet;
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
