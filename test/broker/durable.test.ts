/** What outlives the process, with real clients: the broker is closed or abandoned, and another one opens its directory. */
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import type { IClientOptions, MqttClient } from 'mqtt';
import { Broker } from 'nidomq';
import type { BrokerOptions } from 'nidomq';

// Thousands of messages on a machine that has much else to do.
jest.setTimeout(90_000);
let root: string;
let path: string;
const brokers: Broker[] = [];
const clients: MqttClient[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nidomq-durable-'));
  path = join(root, 'data');
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.end(true);
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
/** As after kill -9: the directory as it is now, taken over by another broker. */
async function startAfterKill(options: BrokerOptions = {}): Promise<Broker> {
  const copy = join(root, `copy-${brokers.length}`);
  await cp(path, copy, { recursive: true });
  path = copy;
  return start(options);
}
function open(broker: Broker, clientId: string, options: IClientOptions = {}): MqttClient {
  const client = mqtt.connect({
    port: broker.listeners[0].port, host: '127.0.0.1', clientId, clean: false, protocolVersion: 5,
    properties: { sessionExpiryInterval: 3_600 }, reconnectPeriod: 0, ...options,
  });
  clients.push(client);
  return client;
}
function connected(client: MqttClient): Promise<{ sessionPresent: boolean }> {
  return new Promise((resolve, reject) => {
    client.once('connect', resolve);
    client.once('error', reject);
  });
}
async function connect(
  broker: Broker, clientId: string, options: IClientOptions = {},
): Promise<MqttClient & { sessionPresent: boolean }> {
  const client = open(broker, clientId, options);
  const { sessionPresent } = await connected(client);
  return Object.assign(client, { sessionPresent });
}
function leave(client: MqttClient): Promise<void> {
  return client.endAsync();
}
/** Payloads as they come, from the first packet on. */
function listen(client: MqttClient): { payloads: string[]; until(count: number): Promise<void> } {
  const payloads: string[] = [];
  let wake = () => {};
  client.on('message', (_topic, payload) => {
    payloads.push(payload.toString());
    wake();
  });
  return {
    payloads,
    async until(count) {
      const limit = Date.now() + 60_000;
      while (payloads.length < count) {
        if (Date.now() > limit) throw new Error(`${payloads.length} of ${count} messages came`);
        await new Promise<void>((resolve) => {
          wake = resolve;
          setTimeout(resolve, 100).unref();
        });
      }
    },
  };
}

describe('a broker with the file engine', () => {
  it.each([4, 5] as const)('keeps the queue of an offline session, MQTT version %d', async (protocolVersion) => {
    const broker = await start();
    const receiver = await connect(broker, 'receiver', { protocolVersion });
    await receiver.subscribeAsync(['a/#', 'b'], { qos: 2 });
    await leave(receiver);
    const sender = await connect(broker, 'sender');
    for (let i = 0; i < 50; i++) {
      await sender.publishAsync(i % 2 ? 'a/x' : 'b', `${i}`, { qos: i % 3 === 0 ? 2 : 1 });
    }
    const next = await startAfterKill();
    const again = open(next, 'receiver', { protocolVersion });
    const heard = listen(again);
    expect((await connected(again)).sessionPresent).toBe(true);
    await heard.until(50);
    // A client tells of QoS 2 when PUBREL has come, so order holds within each QoS.
    const of = (isQos2: (i: number) => unknown) => Array.from({ length: 50 }, (_, i) => i).filter(isQos2);
    const numbers = heard.payloads.map(Number);
    expect(numbers.filter((i) => i % 3 === 0)).toEqual(of((i) => i % 3 === 0));
    expect(numbers.filter((i) => i % 3 !== 0)).toEqual(of((i) => i % 3 !== 0));
    await next.publish('a/late', 'late', { qos: 1 });
    await heard.until(51);
  });

  it('forgets what was acknowledged', async () => {
    const broker = await start();
    const receiver = await connect(broker, 'receiver');
    const heard = listen(receiver);
    await receiver.subscribeAsync('t', { qos: 2 });
    for (let i = 0; i < 20; i++) await broker.publish('t', `${i}`, { qos: i % 2 ? 1 : 2 });
    await heard.until(20);
    await leave(receiver);
    await broker.close();
    const next = await start();
    const again = open(next, 'receiver');
    const after = listen(again);
    expect((await connected(again)).sessionPresent).toBe(true);
    await next.publish('t', 'new', { qos: 1 });
    await after.until(1);
    expect(after.payloads).toEqual(['new']);
  });

  it('keeps retained messages, the last one of each topic', async () => {
    const broker = await start();
    const sender = await connect(broker, 'sender');
    for (const qos of [0, 1, 2] as const) {
      await sender.publishAsync(`r/${qos}`, 'old', { qos, retain: true });
      await sender.publishAsync(`r/${qos}`, 'new', { qos, retain: true });
      await sender.publishAsync(`gone/${qos}`, 'x', { qos, retain: true });
      await sender.publishAsync(`gone/${qos}`, '', { qos, retain: true });
    }
    await broker.close();
    const next = await start();
    const reader = await connect(next, 'reader');
    const heard = listen(reader);
    await reader.subscribeAsync('#', { qos: 1 });
    await heard.until(3);
    expect(heard.payloads).toEqual(['new', 'new', 'new']);
  });

  it('keeps retained messages under names that begin with $, but not $SYS', async () => {
    const broker = await start();
    await broker.publish('$app/x', 'old', { qos: 1, retain: true });
    await broker.publish('$app/x', 'new', { qos: 0, retain: true });
    await broker.publish('marker', '', { qos: 1, retain: true });
    const next = await startAfterKill({ sys: { intervalSeconds: 0 } });
    expect(next.stats().retainedMessages).toBe(1);
    const reader = await connect(next, 'reader');
    const heard = listen(reader);
    await reader.subscribeAsync('$app/#', { qos: 1 });
    await heard.until(1);
    expect(heard.payloads).toEqual(['new']);
  });

  it('starts again whatever the length of a User Name, and knows it still', async () => {
    const lengths = [65_534, 65_535];
    const broker = await start({ limits: { unauthenticatedBytesMax: 200_000 } });
    for (const bytes of lengths) {
      await connect(broker, `${bytes}`, {
        username: 'u'.repeat(bytes), will: { topic: 'gone', payload: Buffer.from(''), qos: 1, retain: false },
      });
    }
    const asked: (number | undefined)[] = [];
    await startAfterKill({
      authorization: [{
        canPublish: ({ username }) => {
          asked.push(username?.length);
          return true;
        },
        canSubscribe: () => true,
      }],
    });
    expect(asked).toEqual(lengths);
  });

  it('sends SUBACK, which waits for the disk, before the retained messages', async () => {
    const broker = await start();
    await broker.publish('r', 'kept', { qos: 1, retain: true });
    const reader = await connect(broker, 'reader');
    const commands: string[] = [];
    reader.on('packetreceive', ({ cmd }) => commands.push(cmd));
    const heard = listen(reader);
    await reader.subscribeAsync(['r', '+'], { qos: 1 });
    await heard.until(2);
    expect(commands).toEqual(['suback', 'publish', 'publish']);
  });

  it('answers a client that hears itself before it sends it its own message', async () => {
    const broker = await start();
    const client = await connect(broker, 'both');
    await client.subscribeAsync('own', { qos: 1 });
    const commands: string[] = [];
    client.on('packetreceive', ({ cmd }) => commands.push(cmd));
    const heard = listen(client);
    await client.publishAsync('own', 'x', { qos: 1 });
    await client.publishAsync('own', 'y', { qos: 2 });
    await heard.until(2);
    expect(commands).toEqual(['puback', 'publish', 'pubrec', 'publish', 'pubcomp']);
  });

  it('discards a session that a clean start discarded', async () => {
    const broker = await start();
    const first = await connect(broker, 'c');
    await first.subscribeAsync('t', { qos: 1 });
    await leave(first);
    await broker.publish('t', 'old', { qos: 1 });
    await connect(broker, 'c', { clean: true });
    const next = await startAfterKill();
    const again = await connect(next, 'c');
    expect(again.sessionPresent).toBe(true); // the one that the clean start began
    const heard = listen(again);
    await next.publish('t', 'for nobody', { qos: 1 });
    await again.subscribeAsync('u', { qos: 1 });
    await next.publish('u', 'mine', { qos: 1 });
    await heard.until(1);
    expect(heard.payloads).toEqual(['mine']);
  });

  it('publishes the will of a client that was connected when the process died', async () => {
    const broker = await start();
    const watcher = await connect(broker, 'watcher');
    await watcher.subscribeAsync('will', { qos: 1 });
    await leave(watcher);
    await connect(broker, 'mortal', {
      will: { topic: 'will', payload: Buffer.from('gone'), qos: 1, retain: false },
    });
    const next = await startAfterKill();
    const again = open(next, 'watcher');
    const heard = listen(again);
    await connected(again);
    await heard.until(1);
    expect(heard.payloads).toEqual(['gone']);
  });

  it('ends a session whose time ran out while the broker was down', async () => {
    const broker = await start();
    const short = await connect(broker, 'short', { properties: { sessionExpiryInterval: 1 } });
    const long = await connect(broker, 'long');
    await Promise.all([leave(short), leave(long)]);
    await broker.close();
    await new Promise((resolve) => setTimeout(resolve, 1_100)); // wall clock time has to pass
    const next = await start();
    expect((await connect(next, 'long')).sessionPresent).toBe(true);
    expect((await connect(next, 'short')).sessionPresent).toBe(false);
  });

  it('acknowledges QoS 1 only when the message is on disk', async () => {
    const broker = await start();
    const receiver = await connect(broker, 'receiver');
    await receiver.subscribeAsync('t', { qos: 1 });
    await leave(receiver);
    const sender = await connect(broker, 'sender');
    await Promise.all(Array.from({ length: 500 }, (_, i) => sender.publishAsync('t', `${i}`, { qos: 1 })));
    const next = await startAfterKill();
    expect(next.session('receiver')?.queuedMessages).toBe(500);
  });

  it('refuses a directory that another broker has open', async () => {
    await start();
    await expect(start()).rejects.toMatchObject({ code: 'NIDO_ENGINE_LOCKED' });
  });
});

describe('a queue that is longer than memory is given for', () => {
  const numbers = (from: number, to: number) => {
    return Array.from({ length: to - from }, (_, i) => `${from + i}`);
  };
  async function fill(broker: Broker, from: number, to: number): Promise<void> {
    await Promise.all(numbers(from, to).map((value) => broker.publish('t', value, { qos: 1 })));
  }
  async function offlineReceiver(broker: Broker): Promise<void> {
    const receiver = await connect(broker, 'receiver');
    await receiver.subscribeAsync('t', { qos: 1 });
    await leave(receiver);
  }

  it.each([
    ['limits.queueMemoryMessagesMax', { queueMemoryMessagesMax: 50 }],
    ['limits.queueMemoryBytesMax', { queueMemoryBytesMax: 1_024 }],
  ])('waits on disk and arrives in order, with new ones behind it (%s)', async (_name, limits) => {
    const broker = await start({ limits });
    await offlineReceiver(broker);
    await fill(broker, 0, 3_000);
    expect(broker.session('receiver')!.queuedMessages).toBeLessThan(1_000);
    const again = open(broker, 'receiver');
    const heard = listen(again);
    await connected(again);
    await fill(broker, 3_000, 4_000);
    await heard.until(4_000);
    expect(heard.payloads).toEqual(numbers(0, 4_000));
    await fill(broker, 4_000, 4_100);
    await heard.until(4_100);
    expect(heard.payloads).toEqual(numbers(0, 4_100));
  });

  it('is found again after a restart, which reads no more of it than it may', async () => {
    const limits = { queueMemoryMessagesMax: 100 };
    const broker = await start({ limits });
    await offlineReceiver(broker);
    await fill(broker, 0, 2_000);
    await broker.close();
    const next = await start({ limits });
    expect(next.session('receiver')!.queuedMessages).toBe(100);
    await fill(next, 2_000, 2_500);
    const again = open(next, 'receiver');
    const heard = listen(again);
    await connected(again);
    await heard.until(2_500);
    expect(heard.payloads).toEqual(numbers(0, 2_500));
  });

  it('is bounded by limits.queueMessagesMax, in memory and on disk together', async () => {
    const broker = await start({ limits: { queueMemoryMessagesMax: 50, queueMessagesMax: 200 } });
    const dropped: string[] = [];
    broker.on('messageDropped', ({ reason }) => dropped.push(reason));
    await offlineReceiver(broker);
    for (let i = 0; i < 200; i++) await broker.publish('t', `${i}`, { qos: 1 });
    for (let i = 0; i < 49; i++) {
      await expect(broker.publish('t', 'x', { qos: 1 })).rejects.toMatchObject({ reasonCode: 0x97 });
    }
    const online = await connect(broker, 'online', { clean: true });
    await online.subscribeAsync('t', { qos: 1 });
    await broker.publish('t', 'x', { qos: 1 }); // somebody has it: no reason to refuse the publisher
    expect(dropped).toEqual(Array.from({ length: 50 }, () => 'queue-full'));
    expect(broker.stats().dropped['queue-full']).toBe(50);
    const again = open(broker, 'receiver');
    const heard = listen(again);
    await connected(again);
    await heard.until(200);
    expect(heard.payloads).toEqual(numbers(0, 200));
  });

  it.each([
    ['limits.queueMemoryMessagesMax', { queueMemoryMessagesMax: 50 }, 'small'],
    ['limits.queueMemoryBytesMax', { queueMemoryBytesMax: 1_024 }, 'x'.repeat(100)],
  ])('reaches who is there when a burst is longer than memory (%s)', async (_name, limits, payload) => {
    const broker = await start({ limits });
    const receiver = await connect(broker, 'receiver');
    const heard = listen(receiver);
    await receiver.subscribeAsync('t', { qos: 1 });
    const sent = numbers(0, 200).map((value) => `${value} ${payload}`);
    await Promise.all(sent.map((value) => broker.publish('t', value, { qos: 1 })));
    await heard.until(200);
    expect(heard.payloads).toEqual(sent);
  });

  it('is read when memory has run low, also of what is stored nowhere', async () => {
    const topics = [{ topicFilter: 'light', durability: 'memory' as const }];
    const broker = await start({
      engine: { file: { path, topics } }, limits: { queueMemoryMessagesMax: 50 },
    });
    const receiver = await connect(broker, 'receiver');
    await receiver.subscribeAsync(['light', 't'], { qos: 1 });
    await leave(receiver);
    for (const value of numbers(0, 60)) await broker.publish('light', value, { qos: 1 });
    await fill(broker, 60, 160);
    const again = open(broker, 'receiver');
    const heard = listen(again);
    await connected(again);
    await heard.until(160);
    expect(heard.payloads).toEqual(numbers(0, 160));
  });

  it('takes no more bytes of memory than it may while a slow client is there', async () => {
    const broker = await start({ limits: { queueMemoryBytesMax: 64 * 1_024, inflightMax: 2 } });
    // Two receivers: what they get is stored once.
    for (const clientId of ['receiver', 'other']) {
      const receiver = await connect(broker, clientId);
      await receiver.subscribeAsync('t', { qos: 1 });
      await leave(receiver);
    }
    const payload = 'x'.repeat(4_096);
    await Promise.all(numbers(0, 300).map((value) => broker.publish('t', value + payload, { qos: 1 })));
    const again = open(broker, 'receiver');
    let most = 0;
    const heard = listen(again);
    again.on('message', () => {
      most = Math.max(most, broker.session('receiver')!.queuedMessages);
    });
    await connected(again);
    await heard.until(300);
    expect(heard.payloads.map((text) => text.slice(0, -4_096))).toEqual(numbers(0, 300));
    expect(most).toBeLessThanOrEqual(40);
  });

  it('takes as many as the bound says when they come in bursts', async () => {
    const broker = await start({ limits: { queueMemoryMessagesMax: 50, queueMessagesMax: 1_000 } });
    await offlineReceiver(broker);
    // One write of many packets: all of them are on their way to the disk at once.
    const sender = await connect(broker, 'sender');
    sender.stream.cork();
    const sent = numbers(0, 1_000).map((value) => sender.publishAsync('t', value, { qos: 1 }));
    sender.stream.uncork();
    await Promise.all(sent);
    expect(broker.stats().dropped['queue-full']).toBe(0);
    const again = open(broker, 'receiver');
    const heard = listen(again);
    await connected(again);
    await heard.until(1_000);
    expect(heard.payloads).toEqual(numbers(0, 1_000));
  });
});
