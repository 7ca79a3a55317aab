/**
 * Exchanges, deadlines and properties across the death of the process, packet by packet: the
 * directory as it is at some moment is taken over by another broker, as after kill -9.
 */
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { connect as connectSocket } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqttPacket from 'mqtt-packet';
import type { IConnectPacket, IPublishPacket, ISubscribePacket, Packet } from 'mqtt-packet';
import { Broker } from 'nidomq';
import type { BrokerOptions } from 'nidomq';
import { checkDirectory, createFileEngine } from '../../lib/engine/index.js';
import { Recorder } from '../engine/contract.js';

const DEADLINE_MS = 20_000;
// For a machine that has much else to do.
jest.setTimeout(90_000);
let root: string;
let path: string;
const brokers: Broker[] = [];
const sockets: Socket[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nidomq-state-'));
  path = join(root, 'data');
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 500 });
  await rm(root, { recursive: true, force: true });
});

async function start(options: BrokerOptions = {}): Promise<Broker> {
  const broker = new Broker({
    listeners: [{ port: 0 }], engine: { file: { path } }, logger: false, ...options,
  });
  brokers.push(broker);
  await broker.listen();
  return broker;
}
async function startAfterKill(): Promise<Broker> {
  const copy = join(root, `copy-${brokers.length}`);
  await cp(path, copy, { recursive: true });
  path = copy;
  return start();
}

type Wanted = (packet: Packet) => boolean;
interface Raw {
  readonly packets: Packet[];
  send(packet: Packet): void;
  /** The first packet of this kind that was not taken yet. */
  take(cmd: Packet['cmd'], wanted?: Wanted): Promise<Packet>;
  leave(): Promise<void>;
  /** The line breaks. */
  cut(): void;
}

/** A client of MQTT 5 that acknowledges nothing by itself. */
async function raw(
  broker: Broker, clientId: string, options: Partial<IConnectPacket> = {},
): Promise<Raw> {
  const socket = connectSocket({ port: broker.listeners[0].port!, host: '127.0.0.1' });
  sockets.push(socket);
  const packets: Packet[] = [];
  const waiting = new Set<() => void>();
  const parser = mqttPacket.parser({ protocolVersion: 5 });
  parser.on('packet', (packet) => {
    packets.push(packet);
    for (const look of waiting) look();
  });
  socket.on('data', (chunk) => parser.parse(chunk));
  const client: Raw = {
    packets,
    send: (packet) => void socket.write(mqttPacket.generate(packet, { protocolVersion: 5 })),
    take: (cmd, wanted = () => true) => new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.delete(look);
        reject(new Error(`${clientId}: no ${cmd}, but ${packets.map((one) => one.cmd).join(' ')}`));
      }, DEADLINE_MS);
      const look = (): void => {
        const at = packets.findIndex((packet) => packet.cmd === cmd && wanted(packet));
        if (at < 0) return;
        clearTimeout(timer);
        waiting.delete(look);
        resolve(packets.splice(at, 1)[0]);
      };
      waiting.add(look);
      look();
    }),
    cut: () => void socket.destroy(),
    leave: () => new Promise((resolve) => {
      socket.once('close', () => resolve());
      socket.end(mqttPacket.generate({ cmd: 'disconnect' }, { protocolVersion: 5 }));
    }),
  };
  client.send({
    cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clean: false, clientId, keepalive: 0,
    properties: { sessionExpiryInterval: 3_600 }, ...options,
  });
  await client.take('connack');
  return client;
}
async function subscribe(
  client: Raw, topic: string, qos: 0 | 1 | 2,
  properties?: ISubscribePacket['properties'],
): Promise<void> {
  client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos }], properties });
  await client.take('suback');
}
async function offlineSubscriber(
  broker: Broker, clientId: string, topic: string, qos: 1 | 2,
): Promise<void> {
  const client = await raw(broker, clientId);
  await subscribe(client, topic, qos);
  await client.leave();
}
const publishOf = async (client: Raw): Promise<IPublishPacket> =>
  await client.take('publish') as IPublishPacket;
const message = (messageId: number, dup: boolean): IPublishPacket => ({
  cmd: 'publish', topic: 't', payload: 'x', qos: 2, messageId, dup, retain: false,
});
async function condition(holds: () => boolean): Promise<void> {
  const limit = Date.now() + DEADLINE_MS;
  while (!holds()) {
    if (Date.now() > limit) throw new Error('the condition did not come about in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const passes = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

describe('an exchange of QoS 2 that the process did not survive', () => {
  it('from the publisher: the message that comes again is not a second one', async () => {
    const broker = await start();
    await offlineSubscriber(broker, 'receiver', 't', 2);
    const sender = await raw(broker, 'sender');
    sender.send(message(7, false));
    await sender.take('pubrec');
    const second = await startAfterKill();
    const again = await raw(second, 'sender');
    again.send(message(7, true));
    await again.take('pubrec');
    expect(second.session('receiver')!.queuedMessages).toBe(1);
    again.send({ cmd: 'pubrel', messageId: 7 });
    await again.take('pubcomp');
    const third = await startAfterKill();
    const last = await raw(third, 'sender');
    last.send(message(7, false)); // released: a new message
    await last.take('pubrec');
    expect(third.session('receiver')!.queuedMessages).toBe(2);
  });

  it('to the receiver: the same identifier before PUBREC, only PUBREL after it', async () => {
    const broker = await start();
    await offlineSubscriber(broker, 'receiver', 't', 2);
    await broker.publish('t', 'one', { qos: 2 });
    await broker.publish('t', 'two', { qos: 2 });
    const first = await raw(broker, 'receiver');
    const one = await publishOf(first);
    const two = await publishOf(first);
    expect([one.dup, two.dup]).toEqual([false, false]);
    const second = await startAfterKill();
    const again = await raw(second, 'receiver');
    expect(await publishOf(again)).toMatchObject({
      messageId: one.messageId, dup: true, payload: one.payload,
    });
    await publishOf(again);
    again.send({ cmd: 'pubrec', messageId: one.messageId });
    await again.take('pubrel');
    const third = await startAfterKill();
    const last = await raw(third, 'receiver');
    expect(await last.take('pubrel')).toMatchObject({ messageId: one.messageId });
    expect(await publishOf(last)).toMatchObject({ messageId: two.messageId, payload: two.payload });
    last.send({ cmd: 'pubcomp', messageId: one.messageId });
    await third.publish('t', 'three', { qos: 2 });
    const three = await publishOf(last);
    expect(three.payload.toString()).toBe('three');
    expect([one.messageId, two.messageId]).not.toContain(three.messageId);
    expect(last.packets).toEqual([]);
  });
});

describe('time that passes while the broker is down', () => {
  it('brings a delayed will nearer, and no will before its time', async () => {
    const broker = await start();
    await offlineSubscriber(broker, 'watcher', 'will/#', 1);
    const will = (name: string, willDelayInterval: number): Partial<IConnectPacket> => ({
      will: {
        topic: `will/${name}`, payload: Buffer.from(name), qos: 1, retain: false,
        properties: { willDelayInterval },
      },
    });
    await raw(broker, 'soon', will('soon', 1));
    await raw(broker, 'late', will('late', 3_600));
    for (const socket of sockets.splice(0)) socket.destroy();
    while (broker.clients().length > 0) await passes(5);
    await broker.close();
    await passes(1_100);
    const next = await start();
    const watcher = await raw(next, 'watcher');
    expect((await publishOf(watcher)).topic).toBe('will/soon');
    await next.publish('will/end', '', { qos: 1 });
    expect((await publishOf(watcher)).topic).toBe('will/end');
  });

  it('is not prolonged by a clock that is set back', async () => {
    const broker = await start();
    await offlineSubscriber(broker, 'watcher', 'will/#', 1);
    const dying = await raw(broker, 'dying', {
      properties: { sessionExpiryInterval: 2 },
      will: {
        topic: 'will/dying', payload: Buffer.from('gone'), qos: 1, retain: false,
        properties: { willDelayInterval: 1 },
      },
    });
    dying.cut();
    await condition(() => broker.clients().length === 0);
    await broker.close();
    const dayMs = 86_400_000;
    const { now } = Date;
    const clock = jest.spyOn(Date, 'now').mockImplementation(() => now() - dayMs);
    try {
      const next = await start();
      const watcher = await raw(next, 'watcher');
      expect((await publishOf(watcher)).topic).toBe('will/dying');
      await condition(() => next.session('dying') === undefined);
    } finally {
      clock.mockRestore();
    }
  });

  it('brings a will that was being decided about, with an identifier of its own', async () => {
    const decisions: string[] = [];
    const broker = await start({
      authorization: [{
        canSubscribe: () => true,
        // Asked for CONNECT, and again when it is to be published: then nobody answers.
        canPublish: ({ clientId }, topicName) => {
          if (topicName !== 'will') return true;
          decisions.push(clientId);
          return decisions.length === 1 || new Promise<boolean>(() => undefined);
        },
      }],
    });
    const payload = Buffer.from('gone');
    const dying = await raw(broker, 'a', {
      will: { topic: 'will', payload, qos: 2, retain: false },
    });
    const receiver = await raw(broker, 'receiver');
    await subscribe(receiver, '#', 2);
    const sender = await raw(broker, 'sender');
    sender.send({ ...message(1, false), topic: 'other' });
    const first = await publishOf(receiver);
    dying.cut();
    await condition(() => decisions.length === 2);
    await broker.publish('unrelated', '', { qos: 1, retain: true });
    const next = await startAfterKill();
    const again = await raw(next, 'receiver');
    const came = [await publishOf(again), await publishOf(again), await publishOf(again)];
    const will = came.find(({ topic }) => topic === 'will')!;
    expect(will.payload.toString()).toBe('gone');
    expect(came.find(({ topic }) => topic === 'other')).toMatchObject({
      messageId: first.messageId, dup: true,
    });
    expect(new Set(came.map(({ messageId }) => messageId)).size).toBe(3);
  });

  it('takes retained messages that have expired out of the store', async () => {
    const broker = await start();
    for (const [topicName, messageExpiryInterval] of [['short', 1], ['long', 1_000]] as const) {
      await broker.publish(topicName, 'x', { qos: 1, retain: true, properties: { messageExpiryInterval } });
    }
    await broker.close();
    await passes(1_100);
    const next = await start({ sys: { intervalSeconds: 0 } });
    expect(next.stats().retainedMessages).toBe(1);
    await next.close();
    expect((await checkDirectory(path)).records).toMatchObject({ 'retained message': 1 });
  });

  it('counts against Message Expiry, queued and retained', async () => {
    const broker = await start();
    await offlineSubscriber(broker, 'receiver', 't', 1);
    const publish = (payload: string, messageExpiryInterval: number): Promise<void> =>
      broker.publish('t', payload, {
        qos: 1, retain: true, properties: { messageExpiryInterval },
      });
    await publish('long', 1_000);
    await publish('short', 1);
    await broker.close();
    await passes(1_100);
    const next = await start();
    const receiver = await raw(next, 'receiver');
    const long = await publishOf(receiver);
    expect(long.payload.toString()).toBe('long');
    expect(long.properties!.messageExpiryInterval).toBeLessThan(1_000);
    await subscribe(receiver, 't', 1); // asks for the retained message, which has expired
    await next.publish('t', 'end', { qos: 1 });
    expect((await publishOf(receiver)).payload.toString()).toBe('end');
  });
});

describe('what comes back with a message', () => {
  it('has its properties and Subscription Identifiers', async () => {
    const broker = await start();
    const receiver = await raw(broker, 'receiver');
    await subscribe(receiver, 'a/#', 1, { subscriptionIdentifier: 300 });
    await subscribe(receiver, 'a/b', 1, { subscriptionIdentifier: 5 });
    await receiver.leave();
    const properties = {
      contentType: 'text/plain', responseTopic: 'answer', payloadFormatIndicator: true,
      correlationData: Buffer.from([0, 255]),
      userProperties: { one: ['1', 'again'], two: '2' },
    };
    const sender = await raw(broker, 'sender');
    sender.send({
      cmd: 'publish', topic: 'a/b', payload: 'x', qos: 1, messageId: 1, dup: false, retain: false,
      properties,
    });
    await sender.take('puback');
    const again = await raw(await startAfterKill(), 'receiver');
    const came = await publishOf(again);
    expect(came.properties).toMatchObject(properties);
    const identifiers = came.properties!.subscriptionIdentifier as unknown as number[];
    expect([...identifiers].sort()).toEqual([300, 5]);
  });

  it('of a shared group goes to its members, each to one of them', async () => {
    const broker = await start();
    await offlineSubscriber(broker, 'a', '$share/g/t', 1);
    await offlineSubscriber(broker, 'b', '$share/g/t', 1);
    const values = Array.from({ length: 20 }, (_, i) => `${i}`);
    for (const value of values) await broker.publish('t', value, { qos: 1 });
    const next = await startAfterKill();
    const heard: string[] = [];
    for (const clientId of ['a', 'b']) {
      const waiting = next.session(clientId)!.queuedMessages;
      const member = await raw(next, clientId);
      for (let i = 0; i < waiting; i++) heard.push((await publishOf(member)).payload.toString());
    }
    expect(heard.sort((x, y) => Number(x) - Number(y))).toEqual(values);
  });

  it('goes from a member whose time runs out after the restart to one who is there', async () => {
    const broker = await start();
    const leaving = await raw(broker, 'a', { properties: { sessionExpiryInterval: 1 } });
    await subscribe(leaving, '$share/g/t', 1);
    for (let i = 0; i < 3; i++) await broker.publish('t', `${i}`, { qos: 1 });
    for (let i = 0; i < 3; i++) await publishOf(leaving);
    await offlineSubscriber(broker, 'b', '$share/g/t', 1);
    const next = await startAfterKill();
    const member = await raw(next, 'b');
    const came = [await publishOf(member), await publishOf(member), await publishOf(member)];
    expect(came.map(({ payload, dup }) => [payload.toString(), dup]))
      .toEqual([['0', false], ['1', false], ['2', false]]);
    // Stored as the other's own: the next process has them there, too.
    await next.publish('unrelated', '', { qos: 1, retain: true });
    const last = await startAfterKill();
    expect(last.session('a')).toBeUndefined();
    expect(last.session('b')!.queuedMessages).toBe(3);
  });

  it('goes to a member that is away when nobody is there', async () => {
    const broker = await start();
    await offlineSubscriber(broker, 'a', '$share/g/t', 2);
    for (let i = 0; i < 3; i++) await broker.publish('t', `${i}`, { qos: 2 });
    await offlineSubscriber(broker, 'b', '$share/g/t', 2);
    broker.disconnectClient('a', { session: 'end' });
    await broker.publish('unrelated', '', { qos: 1, retain: true });
    const next = await startAfterKill();
    expect(next.session('a')).toBeUndefined();
    const member = await raw(next, 'b');
    for (const value of ['0', '1', '2']) {
      expect((await publishOf(member)).payload.toString()).toBe(value);
    }
  });

  it('is not lost when the process dies while a session is ending', async () => {
    const broker = await start();
    await offlineSubscriber(broker, 'a', '$share/g/t', 1);
    await broker.publish('t', 'left', { qos: 1 });
    await offlineSubscriber(broker, 'b', '$share/g/t', 1);
    await broker.close();
    // What is written before the first message moves: the session is over.
    const engine = createFileEngine({ path });
    await engine.open();
    const recorder = new Recorder();
    await engine.load(recorder);
    const batch = engine.createBatch();
    const [record] = [...recorder.sessions.values()].filter((one) => one.clientIdentifier === 'a');
    batch.putSession({ ...record, sessionExpiryInterval: 0 });
    // And the client has begun another one.
    batch.putSession({ ...record, sessionId: engine.nextNumber(), sessionExpiryInterval: 3_600 });
    await engine.commit(batch);
    await engine.close();
    const next = await start();
    expect(next.session('a')).toMatchObject({ queuedMessages: 0, subscriptions: 0 });
    const member = await raw(next, 'b');
    expect((await publishOf(member)).payload.toString()).toBe('left');
  });
});
