/** Limits and choices of one listener beside those of the broker. */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Broker, createGuard } from '../../lib/index.js';
import type { BrokerOptions, ListenerSettings } from '../../lib/index.js';
import { until } from '../abuse/abuse-kit.js';
import { Kit, PROPERTY } from '../conformance/kit.js';
import type { Peer } from '../conformance/kit.js';
import * as build from '../conformance/wire/packets.js';
import { WirePeer } from '../conformance/wire/peer.js';
import { valueOf } from '../conformance/wire/reader.js';

const { property } = build;
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

/** A broker with two doors: the second has `own`. */
async function twoDoors(
  own: Partial<ListenerSettings>, options: BrokerOptions = {},
): Promise<{ broker: Broker; free: Kit; strict: Kit }> {
  const broker = new Broker({
    logger: false, sys: { intervalSeconds: 0 },
    listeners: [{ port: 0, name: 'free' }, { port: 0, name: 'strict', ...own }], ...options,
  });
  await broker.listen();
  const [free, strict] = broker.listeners.map(
    ({ port }) => new Kit({ host: '127.0.0.1', port: port! }, 5),
  );
  cleanUp.push(async () => {
    free.close();
    strict.close();
    await broker.close({ deadlineMs: 500 });
  });
  return { broker, free, strict };
}

it('CONNACK announces what holds at the door', async () => {
  const { free, strict } = await twoDoors({
    limits: { packetBytesMax: 2_000, receiveMaximum: 7, topicAliasMaximum: 3 },
    mqtt: {
      maximumQos: 1, retainAvailable: false, wildcardSubscriptionAvailable: false,
      sharedSubscriptionAvailable: false, subscriptionIdentifiersAvailable: false,
      serverKeepAliveSeconds: 99, sessionExpirySecondsMax: 60, responseInformation: 'here/',
    },
  });
  const asking = { keepAlive: 5, properties: [property.sessionExpiry(600), property.requestResponseInformation(1)] };
  const said = (peer: Peer, id: number) => valueOf(peer.connack, id);
  const ids = [
    PROPERTY.maximumPacketSize, PROPERTY.receiveMaximum, PROPERTY.topicAliasMaximum,
    PROPERTY.maximumQos, PROPERTY.retainAvailable, PROPERTY.wildcardAvailable,
    PROPERTY.sharedAvailable, PROPERTY.subscriptionIdentifierAvailable, PROPERTY.serverKeepAlive,
    PROPERTY.sessionExpiry, PROPERTY.responseInformation,
  ];
  const there = await strict.connect(asking);
  expect(ids.map((id) => said(there, id))).toEqual([2_000, 7, 3, 1, 0, 0, 0, 0, 99, 60, 'here/']);
  const elsewhere = await free.connect(asking);
  expect(ids.map((id) => said(elsewhere, id))).toEqual([
    1_048_576, 65_535, 32, ...Array<undefined>(8).fill(undefined),
  ]);
});

/** What a client does, the door that minds, and what it says. */
const CASES: readonly {
  readonly name: string;
  readonly own: Partial<ListenerSettings>;
  readonly act: (kit: Kit, peer: Peer) => unknown;
  readonly code: number;
}[] = [
  { name: 'packetBytesMax', own: { limits: { packetBytesMax: 100 } }, code: 0x95,
    act: (kit, peer) => kit.send(peer, 't', 'x'.repeat(200)) },
  { name: 'topicLevelsMax', own: { limits: { topicLevelsMax: 2 } }, code: 0x90,
    act: (kit, peer) => kit.send(peer, 'a/b/c', '') },
  { name: 'topicAliasMaximum', own: { limits: { topicAliasMaximum: 1 } }, code: 0x94,
    act: (kit, peer) => kit.send(peer, 't', '', { properties: [property.topicAlias(2)] }) },
  { name: 'userPropertiesMax', own: { limits: { userPropertiesMax: 1 } }, code: 0x97,
    act: (kit, peer) => kit.send(peer, 't', '', { properties: [property.user('a', 'b'), property.user('c', 'd')] }) },
  { name: 'receiveMaximum', own: { limits: { receiveMaximum: 2 } }, code: 0x93,
    act: (kit, peer) => [1, 2, 3].map((packetId) => kit.send(peer, 't', '', { qos: 2, packetId })) },
  { name: 'maximumQos', own: { mqtt: { maximumQos: 0 } }, code: 0x9b,
    act: (kit, peer) => kit.send(peer, 't', '', { qos: 1 }) },
  { name: 'retainAvailable', own: { mqtt: { retainAvailable: false } }, code: 0x9a,
    act: (kit, peer) => kit.send(peer, 't', '', { retain: true }) },
  { name: 'validatePayloadFormat', own: { mqtt: { validatePayloadFormat: true } }, code: 0x99,
    act: (kit, peer) => kit.send(peer, 't', Buffer.from([0xff]), { properties: [property.payloadFormat(1)] }) },
];

it.each(CASES)('$name closes a connection of its door and no other', async ({ own, act, code }) => {
  const { free, strict } = await twoDoors(own);
  const inside = await free.connect();
  const there = await strict.connect();
  await act(free, inside);
  await act(strict, there);
  await strict.expectRefused(there, [code]);
  await free.fence(inside);
});

it.each<[string, Partial<ListenerSettings>, string, number]>([
  ['topicLevelsMax', { limits: { topicLevelsMax: 2 } }, 'a/b/c', 0x8f],
  ['subscriptionsPerSessionMax', { limits: { subscriptionsPerSessionMax: 1 } }, 'second', 0x97],
  ['wildcardSubscriptionAvailable', { mqtt: { wildcardSubscriptionAvailable: false } }, '+', 0xa2],
  ['sharedSubscriptionAvailable', { mqtt: { sharedSubscriptionAvailable: false } }, '$share/g/x', 0x9e],
  ['maximumQos', { mqtt: { maximumQos: 1 } }, 'x', 1],
])('%s answers subscriptions of its door and no other', async (_name, own, filter, code) => {
  const { free, strict } = await twoDoors(own);
  for (const [kit, expected] of [[free, 2], [strict, code]] as const) {
    const peer = await kit.connect();
    await kit.subscribe(peer, 'first', 2);
    expect((await kit.subscribe(peer, filter, 2)).reasonCodes).toEqual([expected]);
  }
});

describe('before a client is in', () => {
  it('its door bounds identifier, bytes, will and time', async () => {
    const { free, strict } = await twoDoors({
      limits: { clientIdBytesMax: 23, unauthenticatedBytesMax: 300, connectTimeoutSeconds: 1 },
      mqtt: { maximumQos: 1 },
    });
    const silent = await strict.open();
    const patient = await free.open();
    const clientId = 'x'.repeat(24);
    await free.connect({ clientId, will: { topic: 'w', payload: '', qos: 2 } });
    await strict.expectRefused(await strict.connecting({ clientId }), [0x85]);
    await strict.expectRefused(await strict.connecting({ will: { topic: 'w', payload: '', qos: 2 } }), [0x9b]);
    const long = { username: 'u'.repeat(400) };
    await free.connect(long);
    await strict.expectRefused(await strict.connecting(long), [0x95]);
    await silent.expectClosed();
    expect(patient.closed).toBe(false);
  });

  it('an authenticated user finds the rule of its door about sessions of others', async () => {
    const { free, strict } = await twoDoors(
      { mqtt: { sessionOfAnotherUser: 'resume' } },
      { authentication: [{ authenticate: ({ username }) => ({ ok: true, username }) }] },
    );
    const lasting = { clientId: 'c', cleanStart: false, properties: [property.sessionExpiry(60)] };
    await free.connect({ ...lasting, username: 'anna' });
    await free.expectRefused(await free.connecting({ ...lasting, username: 'bruno' }), [0x87]);
    const taken = await strict.connect({ ...lasting, username: 'bruno' });
    expect(taken.connack.sessionPresent).toBe(true);
  });
});

it('a session that moves is held to the limits of the door it came through last', async () => {
  const { free, strict } = await twoDoors({ limits: { inflightMax: 1 } });
  const lasting = { clientId: 'moves', cleanStart: false, properties: [property.sessionExpiry(60)] };
  const first = await free.connect(lasting);
  await free.subscribed(first, 'q', 1);
  const sender = await free.connect();
  const second = await strict.connect(lasting);
  for (const payload of ['1', '2']) await free.publish(sender, 'q', payload, { qos: 1 });
  const held = await second.expectPacket('PUBLISH', { payload: '1' });
  await strict.fence(second);
  await second.expectNothing(20);
  await strict.acknowledge(second, held);
  await strict.receive(second, { payload: '2' });
});

it('slabBytesMax drops QoS 0 of receivers of its door and no other', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'nidomq-doors-'));
  cleanUp.push(() => rm(folder, { recursive: true, force: true }));
  const paths = ['free', 'strict'].map((name) => join(folder, name)); // short buffers in the kernel
  const { broker } = await twoDoors({}, {
    listeners: [
      { port: 0 }, { path: paths[0] },
      { path: paths[1], limits: { slabBytesMax: 100_000, slabWatermarkBytes: 50_000 } },
    ],
  });
  const dropped = new Set<string>();
  broker.on('messageDropped', ({ clientId }) => dropped.add(clientId));
  for (const [at, path] of paths.entries()) {
    const socket = connectSocket(path);
    const peer = WirePeer.over(socket, 5);
    peer.send(build.connect({ version: 5, clientId: `slow ${at}` }), build.subscribe(5, 1, [['flood', 0]]));
    await peer.expectPacket('CONNACK');
    await peer.expectPacket('SUBACK');
    socket.pause();
    cleanUp.push(() => peer.cut());
  }
  for (let sent = 0; sent < 60; sent += 1) {
    await broker.publish('flood', Buffer.alloc(50_000));
    await new Promise(setImmediate);
  }
  expect([...dropped]).toEqual(['slow 1']);
});

describe('limits of the guards', () => {
  it('count a listener with limits of its own by itself', async () => {
    const guard = createGuard({
      limits: { connectionsPerAddressMax: 3 },
      listenerLimits: { strict: { connectionsPerAddressMax: 1 } },
    });
    cleanUp.push(() => guard.close());
    const { broker, free, strict } = await twoDoors({}, guard.brokerOptions);
    const there = await strict.connect();
    await (await strict.open()).expectClosed();
    for (let count = 0; count < 3; count += 1) await free.connect();
    await (await free.open()).expectClosed();
    await strict.disconnect(there);
    await until('the place to be free', () => broker.stats().connections === 3);
    await strict.connect();
  });

  it('slow down publishers of their listener, and lose nothing', async () => {
    const guard = createGuard({
      listenerLimits: { strict: { publishesPerSecond: 100, publishesBurst: 10 } },
    });
    cleanUp.push(() => guard.close());
    const { broker, free, strict } = await twoDoors({}, guard.brokerOptions);
    const counts = { free: 0, strict: 0 };
    await broker.subscribe('#', ({ topicName }) => void (counts[topicName as 'free' | 'strict'] += 1));
    const publishAll = async (kit: Kit, topic: string): Promise<number> => {
      const peer = await kit.connect();
      const began = performance.now();
      for (let sent = 0; sent < 60; sent += 1) await kit.publish(peer, topic, 'x', { qos: 1 });
      return performance.now() - began;
    };
    const times = await Promise.all([publishAll(free, 'free'), publishAll(strict, 'strict')]);
    // 60 messages at 100 a second, 10 of them at once.
    expect(times[1]).toBeGreaterThan(400);
    expect(times[0]).toBeLessThan(times[1]);
    await until('all messages', () => counts.free === 60 && counts.strict === 60);
  });

  it('ban everywhere', async () => {
    const guard = createGuard({ listenerLimits: { strict: {} } });
    cleanUp.push(() => guard.close());
    const { free, strict } = await twoDoors({}, guard.brokerOptions);
    const peers = [await free.connect({ clientId: 'bad' }), await strict.connect({ clientId: 'bad2' })];
    for (const value of ['bad', 'bad2']) guard.bans.add({ kind: 'clientId', value }, Date.now());
    for (const peer of peers) await peer.expectClosed();
  });
});

it.each<[string, unknown, string]>([
  ['limits.packetBytesMax', { limits: { packetBytesMax: 1 } }, 'listeners[1].limits.packetBytesMax'],
  ['mqtt.maximumQos', { mqtt: { maximumQos: 3 } }, 'listeners[1].mqtt.maximumQos'],
  ['limits.memoryBytes', { limits: { memoryBytes: 1e8 } }, 'listeners[1].limits.memoryBytes'],
  ['mqtt.sharedStrategy', { mqtt: { sharedStrategy: 'sticky' } }, 'listeners[1].mqtt.sharedStrategy'],
  ['limits', { limits: 7 }, 'listeners[1].limits'],
  ['slabWatermarkBytes', { limits: { slabBytesMax: 5_000 } }, 'listeners[1].limits.slabWatermarkBytes'],
])('%s of a listener is refused at start by its path when it is wrong', (_name, own, path) => {
  const listeners = [{ port: 0 }, { port: 0, ...(own as object) }];
  expect(() => new Broker({ listeners })).toThrow(
    expect.objectContaining({ code: 'NIDO_OPTION_INVALID', path }),
  );
});
