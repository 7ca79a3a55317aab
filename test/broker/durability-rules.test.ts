/** What each message is promised: rules for topics, then the listener, then the engine. */
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import type { IClientOptions, MqttClient } from 'mqtt';
import { Broker } from 'nidomq';
import type { BrokerOptions, Durability } from 'nidomq';
import { createMemoryEngine } from '../../lib/engine/index.js';
import type { Engine, EngineBatch } from '../../lib/engine/index.js';

// For a machine that has much else to do.
jest.setTimeout(90_000);
let root: string;
let path: string;
const brokers: Broker[] = [];
const clients: MqttClient[] = [];
const RULES = [
  { topicFilter: 'telemetry/alarm', durability: 'disk' },
  { topicFilter: 'telemetry/#', durability: 'memory' },
  { topicFilter: 'log/#', durability: 'os' },
] as const;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nidomq-rules-'));
  path = join(root, 'data');
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.end(true);
  for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 500 });
  await rm(root, { recursive: true, force: true });
});

async function start(options: BrokerOptions = {}, engine?: Engine): Promise<Broker> {
  const broker = new Broker({
    listeners: [{ port: 0 }], engine: { file: { path, topics: RULES } }, logger: false,
    sys: { intervalSeconds: 0 }, ...options,
  }, { engine });
  brokers.push(broker);
  await broker.listen();
  return broker;
}
async function startAfterKill(options: BrokerOptions = {}): Promise<Broker> {
  const copy = join(root, `copy-${brokers.length}`);
  await cp(path, copy, { recursive: true });
  path = copy;
  return start({ engine: { file: { path, topics: RULES } }, ...options });
}
async function connect(
  broker: Broker, clientId: string, options: IClientOptions & { door?: number } = {},
): Promise<MqttClient> {
  const client = await mqtt.connectAsync({
    port: broker.listeners[options.door ?? 0].port, host: '127.0.0.1', clientId, clean: false,
    protocolVersion: 5, properties: { sessionExpiryInterval: 3_600 }, reconnectPeriod: 0,
    ...options,
  });
  clients.push(client);
  return client;
}
async function offlineReceiver(broker: Broker, qos: 1 | 2): Promise<void> {
  const receiver = await connect(broker, 'receiver');
  await receiver.subscribeAsync('#', { qos });
  await receiver.endAsync();
}
async function received(broker: Broker, count: number): Promise<string[]> {
  const client = mqtt.connect({
    port: broker.listeners[0].port, host: '127.0.0.1', clientId: 'receiver', clean: false,
    protocolVersion: 5, properties: { sessionExpiryInterval: 3_600 }, reconnectPeriod: 0,
  });
  clients.push(client);
  const heard: string[] = [];
  await new Promise<void>((resolve) => {
    client.on('message', (_topic, payload) => {
      heard.push(payload.toString());
      if (heard.length === count) resolve();
    });
  });
  return heard;
}

/** What its batches asked for. */
function askedEngine(): { asked: Durability[]; engine: Engine } {
  const asked: Durability[] = [];
  const engine = new Proxy(createMemoryEngine({ durability: 'disk' }), {
    get(target, name) {
      if (name === 'commit') {
        return (batch: EngineBatch) => {
          asked.push(batch.durability);
          return target.commit(batch);
        };
      }
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
  return { asked, engine };
}

describe('durability of a topic', () => {
  it('memory: delivered as ever, and gone with the process; the rest stays', async () => {
    const broker = await start();
    await offlineReceiver(broker, 1);
    const sender = await connect(broker, 'sender');
    await sender.publishAsync('telemetry/x', 'light', { qos: 1 });
    await sender.publishAsync('telemetry/alarm', 'alarm', { qos: 1 });
    await sender.publishAsync('command', 'command', { qos: 2 });
    await sender.publishAsync('log/x', 'log', { qos: 1 });
    expect(broker.session('receiver')!.queuedMessages).toBe(4);
    const after = await startAfterKill();
    expect(after.session('receiver')!.queuedMessages).toBe(3);
    expect((await received(after, 3)).sort()).toEqual(['alarm', 'command', 'log']);
    expect((await received(broker, 4)).sort()).toEqual(['alarm', 'command', 'light', 'log']);
  });

  it('memory keeps what goes out at QoS 2: its identifier must be known after a crash', async () => {
    const broker = await start();
    await offlineReceiver(broker, 2);
    const sender = await connect(broker, 'sender');
    await sender.publishAsync('telemetry/x', 'once', { qos: 2 });
    await sender.publishAsync('telemetry/x', 'light', { qos: 1 });
    const after = await startAfterKill();
    expect(await received(after, 1)).toEqual(['once']);
  });

  it('memory holds for retained messages: an older one does not come back in their place', async () => {
    const everything = { engine: { file: { path } } };
    const before = await start(everything);
    await before.publish('telemetry/x', 'old', { qos: 1, retain: true });
    await before.publish('kept', 'kept', { qos: 1, retain: true });
    await before.close();
    const broker = await start();
    for (const qos of [0, 1] as const) {
      await broker.publish('telemetry/x', `new ${qos}`, { qos, retain: true });
    }
    await broker.close();
    const again = await start(everything);
    const reader = await connect(again, 'reader');
    const heard = new Promise((resolve) => reader.once('message', (topic) => resolve(topic)));
    await reader.subscribeAsync('#', { qos: 1 });
    expect(await heard).toBe('kept');
    expect(again.stats().retainedMessages).toBe(1);
  });

  it('asks the disk for no more than the rule says', async () => {
    const { asked, engine } = askedEngine();
    const broker = await start({}, engine);
    await offlineReceiver(broker, 1);
    for (const [topic, expected] of [
      ['log/x', ['os']], ['telemetry/x', []], ['telemetry/alarm', ['disk']], ['x', ['disk']],
    ] as const) {
      asked.length = 0;
      await broker.publish(topic, 'x', { qos: 1 });
      expect(asked).toEqual(expected);
    }
  });

  it('memory by default and disk for one topic is possible', async () => {
    const engine = (): BrokerOptions['engine'] => ({
      file: { path, durability: 'memory', topics: [{ topicFilter: 'command', durability: 'disk' }] },
    });
    const broker = await start({ engine: engine() });
    await offlineReceiver(broker, 1);
    await broker.publish('telemetry/x', 'light', { qos: 1 });
    await broker.publish('command', 'command', { qos: 1 });
    const copy = join(root, 'copy');
    await cp(path, copy, { recursive: true });
    path = copy;
    expect(await received(await start({ engine: engine() }), 1)).toEqual(['command']);
  });
});

describe('durability of a listener', () => {
  it('is of what comes in there, unless a rule is about the topic', async () => {
    const listeners = [{ port: 0 }, { port: 0, durability: 'memory' as const }];
    const broker = await start({ listeners });
    await offlineReceiver(broker, 1);
    const light = await connect(broker, 'light', { door: 1 });
    await light.publishAsync('x', 'light', { qos: 1 });
    await light.publishAsync('log/x', 'log', { qos: 1 });
    await light.publishAsync('r', 'retained', { qos: 1, retain: true });
    const sender = await connect(broker, 'sender');
    await sender.publishAsync('x', 'kept', { qos: 1 });
    const after = await startAfterKill({ listeners });
    expect(await received(after, 3)).toEqual(['log', 'retained', 'kept']);
    expect(after.stats().retainedMessages).toBe(1);
  });
});

describe('durability of a listener, and retained messages', () => {
  it.each(['os', 'memory'] as const)('follow their topic behind one of %s', async (durability) => {
    const { asked, engine } = askedEngine();
    const broker = await start({ listeners: [{ port: 0 }, { port: 0, durability }] }, engine);
    const sender = await connect(broker, 'sender', { door: 1 });
    for (const [topic, expected] of [['log/x', ['os']], ['telemetry/x', []], ['x', ['disk']]] as const) {
      asked.length = 0;
      await sender.publishAsync(topic, 'x', { qos: 1, retain: true });
      expect(asked).toEqual(expected);
    }
  });
});

describe('what is no rule', () => {
  it.each([
    [[{ topicFilter: 'a', durability: 'sometimes' }], /topics\[0\]\.durability/],
    [[{ topicFilter: 'a/#/b', durability: 'os' }], /topics\[0\]\.topicFilter/],
    [[{ topicFilter: '$share/g/a', durability: 'os' }], /without \$share/],
    ['a', /engine\.file\.topics/],
  ])('%j is refused with its place', (topics, words) => {
    const options = { engine: { file: { path: '/nowhere', topics } } } as unknown as BrokerOptions;
    expect(() => new Broker(options)).toThrow(words);
  });
});
