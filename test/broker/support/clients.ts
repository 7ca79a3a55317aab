/** Real clients against a real broker, with time limits and no sleeps. */
import { connect as connectSocket } from 'node:net';
import type { Socket } from 'node:net';
import mqtt from 'mqtt';
import type { IClientOptions, IConnackPacket, IPublishPacket, MqttClient } from 'mqtt';
import { Broker } from '../../../lib/broker/broker.js';
import type { BrokerInternals } from '../../../lib/broker/broker.js';
import type { BrokerOptions } from '../../../lib/broker/broker-options.js';
import type { BrokerEvents } from '../../../lib/broker/events.js';

const LIMIT_MS = 5_000;

export interface Received {
  readonly topic: string;
  readonly payload: string;
  readonly packet: IPublishPacket;
}

/** Waits until `condition` holds, looking again after every turn. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + LIMIT_MS;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export function within<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  let timer: NodeJS.Timeout;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), LIMIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Broker and clients of one test; `stop` takes all of it away. */
export class Stage {
  readonly #clients: MqttClient[] = [];
  readonly #sockets: Socket[] = [];
  #broker: Broker | undefined;

  async broker(options: BrokerOptions = {}, internals?: BrokerInternals): Promise<Broker> {
    const listeners = options.listeners ?? [{ host: '127.0.0.1', port: 0 }];
    this.#broker = new Broker(
      {
        logger: false,
        sys: { intervalSeconds: 0 },
        ...options,
        listeners,
      },
      internals,
    );
    await this.#broker.listen();
    return this.#broker;
  }

  get port(): number {
    return this.#broker!.listeners[0].port!;
  }

  event<Name extends keyof BrokerEvents>(name: Name): Promise<BrokerEvents[Name][0]> {
    const told = new Promise<BrokerEvents[Name][0]>((resolve) => {
      this.#broker!.once(name, (...event) => resolve(event[0]));
    });
    return within(told, name);
  }

  /** A client that has its CONNACK. */
  async client(options: IClientOptions = {}): Promise<Client> {
    const client = new Client(this.raw(options));
    await within(client.whenConnected, 'CONNACK');
    return client;
  }

  raw(options: IClientOptions = {}): MqttClient {
    const client = mqtt.connect({
      host: '127.0.0.1',
      port: this.port,
      reconnectPeriod: 0,
      protocolVersion: 5,
      ...options,
    });
    client.on('error', () => {});
    this.#clients.push(client);
    return client;
  }

  async socket(): Promise<RawPeer> {
    const socket = connectSocket(this.port, '127.0.0.1');
    this.#sockets.push(socket);
    await within(new Promise((resolve) => socket.once('connect', resolve)), 'TCP');
    return new RawPeer(socket);
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.end(true);
    for (const socket of this.#sockets) socket.destroy();
    await this.#broker?.close({ deadlineMs: 1_000 });
  }
}

export class Client {
  readonly received: Received[] = [];
  readonly disconnects: number[] = [];
  readonly whenConnected: Promise<IConnackPacket>;
  readonly whenClosed: Promise<void>;

  constructor(readonly mqtt: MqttClient) {
    mqtt.on('message', (topic, payload, packet) => {
      this.received.push({ topic, payload: payload.toString(), packet });
    });
    mqtt.on('disconnect', (packet) => this.disconnects.push(packet.reasonCode ?? 0));
    this.whenConnected = new Promise((resolve, reject) => {
      mqtt.once('connect', resolve);
      mqtt.once('error', reject);
    });
    this.whenClosed = new Promise((resolve) => mqtt.once('close', () => resolve()));
  }

  async next(count = 1): Promise<Received[]> {
    await until(
      () => this.received.length >= count,
      `${count} messages, has ${this.received.length}`,
    );
    return this.received.splice(0, count);
  }

  async end(): Promise<void> {
    await this.mqtt.endAsync();
  }
}

/** Bytes, for what no client library would send. */
export class RawPeer {
  bytes = Buffer.alloc(0);
  readonly whenClosed: Promise<void>;

  constructor(readonly socket: Socket) {
    socket.on('data', (chunk) => {
      this.bytes = Buffer.concat([this.bytes, chunk]);
    });
    socket.on('error', () => {});
    this.whenClosed = new Promise((resolve) => socket.once('close', () => resolve()));
  }

  send(hex: string): void {
    this.socket.write(Buffer.from(hex.replace(/\s/g, ''), 'hex'));
  }

  async answer(hex: string): Promise<void> {
    const wanted = hex.replace(/\s/g, '').toLowerCase();
    await until(() => this.bytes.length * 2 >= wanted.length, `bytes ${hex}`);
    const got = this.bytes.subarray(0, wanted.length / 2).toString('hex');
    if (got !== wanted) throw new Error(`expected ${wanted}, got ${this.bytes.toString('hex')}`);
    this.bytes = this.bytes.subarray(wanted.length / 2);
  }
}
