/** A disk that refuses, and a core that dies: what clients see, and what they find afterwards. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { connect as connectSocket } from 'node:net';
import mqtt from 'mqtt';
import type { IClientOptions, MqttClient } from 'mqtt';
import mqttPacket from 'mqtt-packet';
import type { Packet } from 'mqtt-packet';
import { Broker } from 'nidomq';
import type { BrokerOptions } from 'nidomq';
import { Core } from '../../lib/core/core.js';
import type { Engine, EngineBatch } from '../../lib/engine/index.js';
import { EngineError, createMemoryEngine } from '../../lib/engine/index.js';

const brokers: Broker[] = [];
const clients: MqttClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.end(true);
  for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 200 });
});

/** An engine whose disk is full while `isFull` is set. */
function engineWithDisk(): { engine: Engine; disk: { isFull: boolean; refusals: number } } {
  const disk = { isFull: false, refusals: 0 };
  const inner = createMemoryEngine({ durability: 'disk' });
  const engine = new Proxy(inner, {
    get(target, name) {
      if (name === 'commit') {
        return (batch: EngineBatch) => {
          if (!disk.isFull) return target.commit(batch);
          disk.refusals++;
          return Promise.reject(new EngineError('NIDO_ENGINE_IO', 'no space left on device'));
        };
      }
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
  return { engine, disk };
}

async function start(
  engine: Engine, options: BrokerOptions = {},
): Promise<{ broker: Broker; states: string[]; traps: (() => void)[] }> {
  const traps: (() => void)[] = [];
  const broker = new Broker({ listeners: [{ port: 0 }], logger: false, ...options }, {
    engine,
    createCore(options, events, around) {
      traps.push(() => around.broken(new Error('unreachable')));
      return new Core(options, events, around);
    },
  });
  brokers.push(broker);
  const states: string[] = [];
  broker.on('engineState', ({ state }) => states.push(state));
  await broker.listen();
  return { broker, states, traps };
}
async function connect(
  broker: Broker, clientId: string, options: IClientOptions = {},
): Promise<MqttClient> {
  const client = await mqtt.connectAsync({
    port: broker.listeners[0].port, host: '127.0.0.1', clientId, clean: false, protocolVersion: 5,
    properties: { sessionExpiryInterval: 3_600 }, reconnectPeriod: 0, ...options,
  });
  clients.push(client);
  return client;
}
async function until(condition: () => boolean): Promise<void> {
  const limit = Date.now() + 15_000;
  while (!condition()) {
    if (Date.now() > limit) throw new Error('the condition did not come about in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Packets as they come, in words. */
function connectRaw(broker: Broker) {
  const socket = connectSocket({ port: broker.listeners[0].port!, host: '127.0.0.1' });
  const heard: string[] = [];
  const parser = mqttPacket.parser();
  parser.on('packet', (packet: Packet) => heard.push(`${packet.cmd} ${packet.messageId}`));
  socket.on('data', (chunk) => parser.parse(chunk));
  const send = (packet: Packet) => socket.write(mqttPacket.generate(packet));
  send({
    cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: false, clientId: 'raw', keepalive: 0,
  });
  return { socket, heard, send };
}
async function rawClient(broker: Broker) {
  const client = connectRaw(broker);
  await until(() => client.heard.length > 0);
  return client;
}

describe('a disk that is full', () => {
  it('stops acknowledgements, says so, and goes on when there is room again', async () => {
    const { engine, disk } = engineWithDisk();
    const { broker, states } = await start(engine);
    const receiver = await connect(broker, 'receiver');
    const heard: string[] = [];
    receiver.on('message', (_topic, payload) => heard.push(payload.toString()));
    await receiver.subscribeAsync('t', { qos: 1 });
    const sender = await connect(broker, 'sender');
    disk.isFull = true;
    let acknowledged = 0;
    const published = Array.from({ length: 10 }, (_, i) => {
      return sender.publishAsync('t', `${i}`, { qos: 1 }).then(() => acknowledged++);
    });
    await until(() => disk.refusals > 2);
    expect([acknowledged, heard.length, broker.engineState]).toEqual([0, 0, 'stalled']);
    const passing = await connect(broker, 'passing', { clean: true, properties: {} });
    await passing.publishAsync('nobody/listens', 'x', { qos: 1 }); // nothing to store: not held up
    disk.isFull = false;
    await Promise.all(published);
    await until(() => heard.length === 10);
    expect(heard).toEqual(Array.from({ length: 10 }, (_, i) => `${i}`));
    expect(states).toEqual(['stalled', 'ok']);
  });

  it('tells publishers when too much waits for it: 0x97, or the end of a 3.x connection', async () => {
    const { engine, disk } = engineWithDisk();
    const { broker } = await start(engine, { limits: { unstoredBytesMax: 4_096 } });
    const receiver = await connect(broker, 'receiver');
    await receiver.subscribeAsync('t', { qos: 1 });
    const sender = await connect(broker, 'sender');
    const other = await connect(broker, 'other');
    const old = await connect(broker, 'old', { protocolVersion: 4 });
    disk.isFull = true;
    const held = sender.publishAsync('t', 'x'.repeat(5_000), { qos: 1 });
    await until(() => disk.refusals > 0);
    await expect(other.publishAsync('t', 'y', { qos: 1 })).rejects.toMatchObject({ code: 0x97 });
    const cut = new Promise<void>((resolve) => old.once('close', () => resolve()));
    old.publish('t', 'z', { qos: 1 });
    await cut;
    disk.isFull = false;
    await held;
    await until(() => broker.engineState === 'ok');
    await sender.publishAsync('t', 'w', { qos: 1 });
  });

  it('is not waited for with ever more memory: retained QoS 0, sessions, subscriptions', async () => {
    const { engine, disk } = engineWithDisk();
    const { broker } = await start(engine, { limits: { unstoredBytesMax: 4_096 } });
    const receiver = await connect(broker, 'receiver');
    const sender = await connect(broker, 'sender', { clean: true, properties: {} });
    disk.isFull = true;
    for (let i = 0; i < 500; i++) sender.publish(`r/${i % 50}`, `${i}`, { retain: true });
    sender.publish('r/none', '', { retain: true });
    await sender.publishAsync('nobody/listens', 'x', { qos: 1 });
    await until(() => disk.refusals > 0);
    const late = await mqtt.connectAsync({
      port: broker.listeners[0].port, host: '127.0.0.1', clientId: 'late', clean: false,
      protocolVersion: 5, properties: { sessionExpiryInterval: 60 }, reconnectPeriod: 0,
    }).catch((error: { code: number }) => error.code);
    expect(late).toBe(0x88);
    await connect(broker, 'passing', { clean: true, properties: {} }); // nothing of it is stored
    const refused = receiver.subscribeAsync('t', { qos: 1 }).catch((error: Error) => error.message);
    disk.isFull = false;
    await expect(refused).resolves.toContain('Quota exceeded');
    await until(() => broker.engineState === 'ok');
    await receiver.subscribeAsync('t', { qos: 1 });
    await broker.close();
    brokers.length = 0;
    const next = await start(engine);
    const heard = new Map<string, string>();
    const reader = await connect(next.broker, 'reader');
    reader.on('message', (topic, payload) => heard.set(topic, payload.toString()));
    await reader.subscribeAsync('r/#', { qos: 0 });
    await until(() => heard.size >= 50);
    expect(Object.fromEntries(heard)).toEqual(
      Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`r/${i}`, `${450 + i}`])),
    );
  });

  it('lets no SUBACK, UNSUBACK, PUBACK, PUBREC or PUBREL out before what it promises is stored', async () => {
    const { engine, disk } = engineWithDisk();
    const { broker } = await start(engine);
    const client = await rawClient(broker);
    const answersTo = async (packet: Packet, answer: string): Promise<void> => {
      disk.isFull = true;
      const refusals = disk.refusals;
      client.send(packet);
      await until(() => disk.refusals > refusals + 1);
      expect(client.heard).not.toContain(answer);
      disk.isFull = false;
      await until(() => client.heard.includes(answer));
    };
    await answersTo({
      cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't', qos: 2 }],
    }, 'suback 1');
    const message = { cmd: 'publish', topic: 't', payload: 'x', dup: false, retain: false } as const;
    await answersTo({ ...message, qos: 1, messageId: 2 }, 'puback 2');
    await answersTo({ ...message, qos: 2, messageId: 3 }, 'pubrec 3');
    await until(() => client.heard.filter((heard) => heard.startsWith('publish')).length === 2);
    const [identifier] = client.heard.filter((heard) => heard.startsWith('publish')).slice(-1)
      .map((heard) => Number(heard.split(' ')[1]));
    await answersTo({ cmd: 'pubrec', messageId: identifier }, `pubrel ${identifier}`);
    await answersTo({ cmd: 'unsubscribe', messageId: 4, unsubscriptions: ['t'] }, 'unsuback 4');
    client.socket.destroy();
  });

  it('lets no PUBCOMP out before the end of the exchange is stored, reconnected or not', async () => {
    const { engine, disk } = engineWithDisk();
    const { broker } = await start(engine);
    const first = await rawClient(broker);
    first.send({ cmd: 'publish', topic: 't', payload: 'x', qos: 2, messageId: 7, dup: false, retain: false });
    await until(() => first.heard.includes('pubrec 7'));
    disk.isFull = true;
    first.send({ cmd: 'pubrel', messageId: 7 });
    await until(() => disk.refusals > 0);
    first.socket.destroy();
    const second = connectRaw(broker);
    second.send({ cmd: 'pubrel', messageId: 7 });
    const refusals = disk.refusals;
    await until(() => disk.refusals > refusals + 1);
    expect(second.heard).not.toContain('pubcomp 7');
    disk.isFull = false;
    await until(() => second.heard.includes('pubcomp 7'));
    second.socket.destroy();
  });

  it('does not keep the broker from closing', async () => {
    const { engine, disk } = engineWithDisk();
    const { broker } = await start(engine);
    const receiver = await connect(broker, 'receiver');
    await receiver.subscribeAsync('t', { qos: 1 });
    disk.isFull = true;
    const refused = broker.publish('t', 'x', { qos: 1 }).catch((error: { code: string }) => error.code);
    await until(() => disk.refusals > 0);
    await broker.close({ deadlineMs: 200 });
    expect(await refused).toBe('NIDO_BROKER_CLOSED');
  });
});

describe('a core that dies', () => {
  it('is followed by one that has everything from the engine', async () => {
    const { engine } = engineWithDisk();
    const { broker, traps } = await start(engine);
    const receiver = await connect(broker, 'receiver');
    await receiver.subscribeAsync('t', { qos: 1 });
    await receiver.endAsync();
    await broker.publish('t', 'kept', { qos: 1 });
    traps[0]();
    await until(() => broker.session('receiver') !== undefined);
    const again = mqtt.connect({
      port: broker.listeners[0].port, host: '127.0.0.1', clientId: 'receiver', clean: false,
      protocolVersion: 5, properties: { sessionExpiryInterval: 3_600 }, reconnectPeriod: 20,
    });
    clients.push(again);
    const heard: string[] = [];
    again.on('message', (_topic, payload) => heard.push(payload.toString()));
    await until(() => heard.length > 0);
    expect(heard).toEqual(['kept']);
  });
});
