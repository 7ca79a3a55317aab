/**
 * The devices of the house. Each one is a real MQTT client with a TCP connection of its own, as if
 * it were a small box on a wall; half of them speak MQTT 3.1.1, half MQTT 5.
 */
import { connectAsync } from 'mqtt';
import type { IClientOptions, IPublishPacket, MqttClient } from 'mqtt';
import { say } from './report.js';

type Version = 4 | 5;

function connect(port: number, clientId: string, version: Version, more: IClientOptions = {}) {
  return connectAsync(`mqtt://127.0.0.1:${port}`, {
    clientId,
    protocolVersion: version,
    reconnectPeriod: 0,
    ...more,
  });
}

/** Says how warm a room is. The message is retained: who comes later knows at once. */
export class Thermometer {
  private constructor(
    private readonly client: MqttClient,
    private readonly room: string,
  ) {}

  static async start(port: number, room: string, version: Version): Promise<Thermometer> {
    const name = `termometro-${room}`;
    const status = `casa/${room}/termometro`;
    // The broker publishes this will if the thermometer vanishes without a goodbye.
    const will = { topic: status, payload: Buffer.from('perdido'), qos: 1, retain: true } as const;
    const client = await connect(port, name, version, { will });
    await client.publishAsync(status, 'presente', { qos: 1, retain: true });
    say(name, `is connected (MQTT ${version === 5 ? '5.0' : '3.1.1'}) and has left a will`);
    return new Thermometer(client, room);
  }

  async measure(celsius: number): Promise<void> {
    const topic = `casa/${this.room}/temperatura`;
    await this.client.publishAsync(topic, JSON.stringify({ celsius }), { retain: true });
  }

  /** The battery is empty: the connection breaks, nobody says goodbye. */
  loseBattery(): void {
    say(`termometro-${this.room}`, 'loses its battery: its connection breaks without a goodbye');
    this.client.stream.destroy();
  }

  stop(): Promise<void> {
    return this.client.endAsync();
  }
}

/** A lamp that is switched by commands at QoS 1 and answers them with MQTT 5's Response Topic. */
export class Lamp {
  private constructor(
    private readonly client: MqttClient,
    private readonly name: string,
    private readonly base: string,
  ) {}

  static async start(port: number, room: string): Promise<Lamp> {
    const name = `luz-${room}`;
    const client = await connect(port, name, 5);
    const lamp = new Lamp(client, name, `casa/${room}/luz`);
    client.on('message', (_topic, payload, packet) => void lamp.obey(payload.toString(), packet));
    await client.subscribeAsync(`casa/${room}/luz/set`, { qos: 1 });
    await client.publishAsync(`casa/${room}/luz`, 'off', { qos: 1, retain: true });
    say(name, 'is connected (MQTT 5.0) and waits for commands');
    return lamp;
  }

  private async obey(command: string, packet: IPublishPacket): Promise<void> {
    say(this.name, `is told "${command}" at QoS ${packet.qos}`);
    await this.client.publishAsync(this.base, command, { qos: 1, retain: true });
    const { responseTopic, correlationData } = packet.properties ?? {};
    if (responseTopic === undefined) return;
    const answer = JSON.stringify({ state: command });
    await this.client.publishAsync(responseTopic, answer, {
      qos: 1,
      properties: { correlationData },
    });
  }

  stop(): Promise<void> {
    return this.client.endAsync();
  }
}

/** The front door tells when it opens and closes. It speaks MQTT 3.1.1. */
export class Door {
  private constructor(private readonly client: MqttClient) {}

  static async start(port: number): Promise<Door> {
    const client = await connect(port, 'puerta-entrada', 4);
    say('puerta-entrada', 'is connected (MQTT 3.1.1)');
    return new Door(client);
  }

  /** QoS 1: when this resolves, the application has handled it. */
  async move(state: 'abierta' | 'cerrada'): Promise<void> {
    await this.client.publishAsync('casa/entrada/puerta', state, { qos: 1 });
    say('puerta-entrada', `has its PUBACK: "${state}" was handled, not only received`);
  }

  stop(): Promise<void> {
    return this.client.endAsync();
  }
}

/** A phone that joins late: what is retained tells it the state of the house at once. */
export async function lookAtThePhone(port: number): Promise<void> {
  const phone = await connect(port, 'telefono', 5);
  phone.on('message', (topic, payload, packet) => {
    const how = packet.retain ? 'retained' : 'live';
    say('telefono', `learns ${topic} = ${payload.toString()} (${how})`);
  });
  await phone.subscribeAsync('casa/+/+', { qos: 1 });
  // Answered in order: when the answer to this is there, the retained messages are too.
  await phone.unsubscribeAsync('casa/+/+');
  await phone.endAsync();
}
