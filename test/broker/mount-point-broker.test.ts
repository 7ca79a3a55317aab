/** What a broker makes of mount points: sessions, names for its own side, and places by name. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Broker, createGuard } from '../../lib/index.js';
import type { BrokerOptions } from '../../lib/index.js';
import { PROPERTY } from '../conformance/kit.js';
import * as build from '../conformance/wire/packets.js';
import { valueOf } from '../conformance/wire/reader.js';
import { LASTING, endHouses, house, onEnd } from './support/tenants.js';

const { property } = build;

afterEach(endHouses);

describe('sessions behind mount points', () => {
  it('are nobody else\'s, although the Client Identifier is the same', async () => {
    const { kits: [whole, a, b], broker } = await house();
    const lasting = { clientId: 'sensor', ...LASTING(5) };
    const peers = [await whole.connect(lasting), await a.connect(lasting), await b.connect(lasting)];
    await a.subscribed(peers[1], 'x', 1);
    expect(peers.map(({ connack }) => connack.sessionPresent)).toEqual([false, false, false]);
    expect(broker.clients()).toHaveLength(3);
    await a.disconnect(peers[1]);
    await broker.publish('tenant-a/x', 'for a', { qos: 1 });
    // At the neighbour's door the session of tenant a is not there.
    const atB = await b.connect(lasting);
    expect(atB.connack.sessionPresent).toBe(true);
    await b.fence(atB);
    await atB.expectNothing(20);
    const back = await a.connect(lasting);
    expect(back.connack.sessionPresent).toBe(true);
    await a.receive(back, { topic: 'x', payload: 'for a' });
    expect(broker.client('sensor', 'tenant-a/')).toMatchObject({ mountPoint: 'tenant-a/' });
    expect(broker.client('sensor')).not.toHaveProperty('mountPoint');
    expect(broker.session('sensor', 'tenant-a/')?.subscriptions).toBe(1);
    expect(broker.disconnectClient('sensor', { mountPoint: 'tenant-b/', session: 'end' })).toBe(true);
    await atB.expectClosed();
    for (const [kit, peer] of [[whole, peers[0]], [a, back]] as const) await kit.fence(peer);
  });

  it('are shared by all doors of one mount point', async () => {
    const { kits: [one, other] } = await house({
      listeners: [{ port: 0, mountPoint: 't/' }, { port: 0, mountPoint: 't/' }],
    });
    const first = await one.connect({ clientId: 'moves', ...LASTING(5) });
    await one.subscribed(first, 'x', 1);
    const second = await other.connect({ clientId: 'moves', ...LASTING(5) });
    expect(second.connack.sessionPresent).toBe(true);
    await first.expectPacket('DISCONNECT', { reasonCode: 0x8e });
    await other.publish(second, 'x', 'y', { qos: 1 });
  });

  it('survive a restart with what waits for them, each in its place', async () => {
    const path = await mkdtemp(join(tmpdir(), 'nidomq-mount-'));
    onEnd(() => rm(path, { recursive: true, force: true }));
    const engine = { file: { path, durability: 'os' } } as const;
    const first = await house({ engine });
    const lasting = { clientId: 'sleeper', ...LASTING(5) };
    for (const kit of first.kits) {
      const peer = await kit.connect({
        ...lasting, will: { topic: 'will', payload: 'late', qos: 1, properties: [property.willDelay(1)] },
      });
      await kit.subscribed(peer, [['#', 2], ['$share/g/s', 1]]);
      peer.cut();
    }
    const [whole, a] = first.kits;
    const sender = await a.connect();
    await a.publish(sender, 'kept', 'r', { qos: 1, retain: true });
    for (const qos of [1, 2]) {
      await a.publish(sender, 'q', `${qos}`, { qos, properties: [property.responseTopic('re')] });
    }
    await whole.fence(await whole.connect());
    await first.stop();

    const { kits: [wholeAgain, aAgain, bAgain] } = await house({ engine });
    const back = await aAgain.connect(lasting);
    expect(back.connack.sessionPresent).toBe(true);
    await aAgain.receive(back, { topic: 'kept', payload: 'r' });
    for (const qos of [1, 2]) {
      const message = await aAgain.receive(back, { topic: 'q', payload: `${qos}`, qos });
      expect(valueOf(message, PROPERTY.responseTopic)).toBe('re');
    }
    const seesAll = await wholeAgain.connect(lasting);
    await seesAll.awaitPacket('PUBLISH', { topic: 'tenant-a/kept' });
    const fromQ = await seesAll.awaitPacket('PUBLISH', { topic: 'tenant-a/q', payload: '1' });
    expect(valueOf(fromQ, PROPERTY.responseTopic)).toBe('tenant-a/re');
    // The will of the one that has not come back: of its own tenant.
    await seesAll.awaitPacket('PUBLISH', { topic: 'tenant-b/will', payload: 'late' });
    const strangers = await bAgain.connect(lasting);
    await bAgain.receive(strangers, { topic: 'will', payload: 'late' });
    await bAgain.fence(strangers);
    await strangers.expectNothing(20);
  });
});

describe('the broker\'s side of a mount point', () => {
  it('shows the names of the whole to handlers, hooks, events and the log', async () => {
    const asked: string[] = [];
    const { kits: [, a], broker, log } = await house({
      authorization: [{
        canPublish: (who, topicName) => Boolean(asked.push(`pub ${who.mountPoint} ${topicName}`)),
        canSubscribe: (who, filter) => Boolean(asked.push(`sub ${who.clientId} ${filter}`)),
        canReceive: (_who, topicName) => Boolean(asked.push(`get ${topicName}`)),
      }],
    });
    const heard: string[] = [];
    await broker.subscribe('tenant-a/#', async ({ topicName, properties, publisher }) => {
      heard.push(`${topicName} ${publisher?.clientId} of ${publisher?.mountPoint}`);
      if (properties.responseTopic !== undefined) await broker.publish(properties.responseTopic, 'done', { qos: 1 });
    });
    const told: unknown[] = [];
    broker.on('subscribed', (event) => told.push(event));
    broker.on('clientConnected', ({ mountPoint }) => told.push(mountPoint));
    const peer = await a.connect({ clientId: 'me' });
    await a.subscribed(peer, 're/+', 1);
    await a.publish(peer, 'do/it', 'x', { qos: 1, properties: [property.responseTopic('re/1')] });
    await a.receive(peer, { topic: 're/1', payload: 'done' });
    expect(heard[0]).toBe('tenant-a/do/it me of tenant-a/');
    expect(asked).toEqual(expect.arrayContaining([
      'sub me tenant-a/re/+', 'pub tenant-a/ tenant-a/do/it', 'get tenant-a/re/1',
    ]));
    expect(told).toEqual([
      'tenant-a/', { clientId: 'me', mountPoint: 'tenant-a/', topicFilter: 'tenant-a/re/+', qos: 1 },
    ]);
    expect(log.join('\n')).toContain('client connected client="me" mountPoint="tenant-a/"');
  });

  it('keeps the names of many messages of one chunk apart, until handlers have read them', async () => {
    const { kits: [, a], broker } = await house();
    const heard: string[] = [];
    await broker.subscribe('tenant-a/ask', ({ payload, properties }) => {
      heard.push(`${payload.toString()} ${properties.responseTopic} ${properties.contentType}`);
    });
    const peer = await a.connect();
    const asked = Array.from({ length: 200 }, (_, at) => build.publish({
      version: 5, topic: 'ask', payload: `${at}`, qos: at % 2, packetId: at + 1,
      properties: [property.contentType(`c${at}`), property.responseTopic(`r/${at}`)],
    }));
    peer.send(Buffer.concat(asked));
    await a.fence(peer);
    // QoS 1 may come behind QoS 0 of the same handler: compared as sets.
    expect(heard.sort()).toEqual(asked.map((_, at) => `${at} tenant-a/r/${at} c${at}`).sort());
  });

  it('shows interceptors the names of the whole, and takes theirs for such', async () => {
    const seen: unknown[] = [];
    const { kits: [whole, a] } = await house({
      interceptors: [{
        topicFilters: ['tenant-a/#'],
        intercept: ({ topicName, properties }) => {
          seen.push([topicName, properties.responseTopic]);
          if (topicName === 'tenant-a/pass') return { kind: 'pass' };
          if (topicName === 'tenant-a/out') return { kind: 'replace', topicName: 'outside' };
          if (topicName === 'tenant-a/forge') return { kind: 'replace', topicName: '$SYS/x' };
          return { kind: 'replace', payload: 'changed' };
        },
      }],
    });
    const seesAll = await whole.connect();
    await whole.subscribed(seesAll, '#', 1);
    const peer = await a.connect();
    await a.subscribed(peer, '#', 1);
    const properties = [property.responseTopic('re')];
    for (const topic of ['pass', 'change', 'out', 'forge']) {
      const packetId = a.send(peer, topic, 'x', { qos: 1, properties });
      await peer.awaitPacket('PUBACK', { packetId, reasonCode: topic === 'forge' ? 0x87 : 0 });
    }
    expect(seen).toEqual(
      ['pass', 'change', 'out', 'forge'].map((topic) => [`tenant-a/${topic}`, 'tenant-a/re']),
    );
    for (const [topic, payload] of [['tenant-a/pass', 'x'], ['tenant-a/change', 'changed'], ['outside', 'x']]) {
      const message = await whole.receive(seesAll, { topic, payload });
      expect(valueOf(message, PROPERTY.responseTopic)).toBe('tenant-a/re');
    }
    for (const [topic, payload] of [['pass', 'x'], ['change', 'changed']]) {
      const message = await peer.awaitPacket('PUBLISH', { topic, payload });
      expect(valueOf(message, PROPERTY.responseTopic)).toBe('re');
    }
    await a.fence(peer);
    await peer.expectNothing(20);
  });

  it('lets rules speak of the whole', async () => {
    const guard = createGuard({
      authorization: { rules: [{ effect: 'allow', topics: ['tenant-a/open/#'] }] },
    });
    onEnd(() => guard.close());
    const { kits: [, a, b] } = await house(guard.brokerOptions);
    const allowed = await a.connect();
    expect((await a.subscribe(allowed, [['open/x', 1], ['closed/x', 1]])).reasonCodes).toEqual([1, 0x87]);
    const other = await b.connect();
    expect((await b.subscribe(other, 'open/x')).reasonCodes).toEqual([0x87]);
  });
});

describe('%u and %c in a mount point', () => {
  const proved: BrokerOptions['authentication'] = [
    { authenticate: ({ username }) => ({ ok: true, username }) },
  ];

  it('give every user, or every client, a place of its own', async () => {
    const { kits: [whole, users, clients] } = await house({
      authentication: proved,
      listeners: [
        { port: 0 }, { port: 0, mountPoint: 'users/%u/' }, { port: 0, mountPoint: '%c/' },
      ],
    });
    const seesAll = await whole.connect({ username: 'root' });
    await whole.subscribed(seesAll, '#', 1);
    const anna = await users.connect({ username: 'anna' });
    await users.publish(anna, 'x', '1', { qos: 1 });
    await whole.receive(seesAll, { topic: 'users/anna/x' });
    const device = await clients.connect({ clientId: 'd7', username: 'anna' });
    await clients.publish(device, 'x', '2', { qos: 1 });
    await whole.receive(seesAll, { topic: 'd7/x' });
  });

  it.each(['a/b', '+', '#', '', 'a#', '$SYS'])('keep out a client called %j', async (name) => {
    const { kits: [users, clients] } = await house({
      authentication: proved,
      listeners: [{ port: 0, mountPoint: '%u/' }, { port: 0, mountPoint: '%c/' }],
    });
    await users.expectRefused(await users.connecting({ username: name }), [0x87]);
    if (name !== '') await clients.expectRefused(await clients.connecting({ clientId: name, username: 'u' }), [0x87]);
  });

  it('%u needs names that are proved', () => {
    const listeners = [{ port: 0, mountPoint: '%u/', allowAnonymous: true }];
    expect(() => new Broker({ listeners })).toThrow(/listeners\[0\]\.mountPoint.*nobody has proved/);
    expect(() => new Broker({ listeners, authentication: proved })).not.toThrow();
  });
});

it.each(['tenant', 'a/+/', 'a/#', '$SYS/', '', '%u%c/', `${'x'.repeat(5_000)}/`, 7 as unknown as string])(
  'the mount point %j is refused at start', (mountPoint) => {
    const listeners = [{ port: 0 }, { port: 0, mountPoint }];
    const authentication = [{ authenticate: () => ({ ok: true } as const) }];
    expect(() => new Broker({ listeners, authentication })).toThrow(
      expect.objectContaining({ code: 'NIDO_OPTION_INVALID', path: 'listeners[1].mountPoint' }),
    );
  },
);
