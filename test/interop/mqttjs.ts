/** MQTT.js as a Library. */
import mqtt from 'mqtt';
import type { IClientOptions, IClientPublishOptions, MqttClient, Packet } from 'mqtt';
import { Inbox, SESSION_EXPIRY_SECONDS } from './client.js';
import type {
  ConnectSettings, InteropClient, Library, MessageProperties, PublishSettings,
} from './client.js';

type PublishProperties = NonNullable<IClientPublishOptions['properties']>;

function toMqttJs(properties: MessageProperties): PublishProperties {
  const users: Record<string, string[]> = {};
  for (const [key, value] of properties.user ?? []) users[key] = [...(users[key] ?? []), value];
  return {
    ...(properties.payloadFormat !== undefined
      ? { payloadFormatIndicator: properties.payloadFormat === 1 } : {}),
    ...(properties.contentType ? { contentType: properties.contentType } : {}),
    ...(properties.responseTopic ? { responseTopic: properties.responseTopic } : {}),
    ...(properties.correlationData
      ? { correlationData: Buffer.from(properties.correlationData, 'hex') } : {}),
    ...(properties.user ? { userProperties: users } : {}),
  };
}

function fromMqttJs(given: Record<string, unknown> | undefined): MessageProperties {
  if (!given) return {};
  const users = Object.entries((given['userProperties'] ?? {}) as Record<string, string | string[]>)
    .flatMap(([key, value]) => [value].flat().map((one) => [key, one] as const));
  const format = given['payloadFormatIndicator'];
  const identifier = [given['subscriptionIdentifier']].flat()[0];
  const properties = {
    payloadFormat: format === undefined ? undefined : Number(format),
    contentType: given['contentType'], responseTopic: given['responseTopic'],
    correlationData: (given['correlationData'] as Buffer | undefined)?.toString('hex'),
    user: users.length > 0 ? users : undefined, subscriptionIdentifier: identifier,
  };
  return Object.fromEntries(
    Object.entries(properties).filter(([, value]) => value !== undefined)) as MessageProperties;
}

function optionsOf(settings: ConnectSettings): IClientOptions {
  const { endpoint, version, clientId, persistent, will } = settings;
  return {
    host: endpoint.host, port: endpoint.port, protocol: 'mqtt', clientId,
    protocolVersion: version, protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
    clean: !persistent, reconnectPeriod: 0, connectTimeout: 8000,
    ...(version === 5 && persistent
      ? { properties: { sessionExpiryInterval: SESSION_EXPIRY_SECONDS } } : {}),
    ...(will ? { will: { ...will, payload: Buffer.from(will.payload) } } : {}),
  };
}

const closed = (client: MqttClient): Promise<void> =>
  new Promise((resolve) => client.once('close', () => resolve()));

export class MqttJsLibrary implements Library {
  readonly name = 'MQTT.js';
  private readonly clients: MqttClient[] = [];

  async connect(settings: ConnectSettings): Promise<InteropClient> {
    const inbox = new Inbox();
    const client = mqtt.connect(optionsOf(settings));
    this.clients.push(client);
    client.on('error', () => undefined);
    client.on('message', (topic, payload, packet) => inbox.add({
      topic, payload, qos: packet.qos, retain: packet.retain,
      properties: fromMqttJs(packet.properties as Record<string, unknown> | undefined),
    }));
    const connack = await new Promise<Packet>((resolve, reject) => {
      client.once('connect', resolve);
      client.once('error', reject);
    });
    return {
      inbox,
      sessionPresent: Boolean((connack as { sessionPresent?: boolean }).sessionPresent),
      subscribe: async (filter, qos, subscriptionIdentifier) => {
        const properties = subscriptionIdentifier === undefined
          ? {} : { properties: { subscriptionIdentifier } };
        const granted = await client.subscribeAsync(filter, { qos, ...properties });
        if (granted.some((one) => one.qos > 2)) throw new Error('refused');
      },
      unsubscribe: async (filter) => void (await client.unsubscribeAsync(filter)),
      publish: async (topic, payload, options: PublishSettings = {}) =>
        void (await client.publishAsync(topic, payload, {
          qos: options.qos ?? 0, retain: options.retain ?? false,
          ...(options.properties ? { properties: toMqttJs(options.properties) } : {}),
        })),
      end: async () => client.endAsync(),
      cut: async () => {
        const gone = closed(client);
        client.stream.destroy();
        await gone;
      },
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.endAsync(true).catch(() => undefined)));
  }
}
