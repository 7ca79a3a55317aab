/** Listeners with a mount point: tenants of one broker who take their part for the whole. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Broker, createGuard } from '../../lib/index.js';
import type { BrokerOptions, ListenerSettings } from '../../lib/index.js';
import { Kit, OPTION, PROPERTY } from '../conformance/kit.js';
import type { Peer } from '../conformance/kit.js';
import * as build from '../conformance/wire/packets.js';
import type { Version } from '../conformance/wire/packets.js';
import { valueOf } from '../conformance/wire/reader.js';

const { property } = build;
const DOORS: readonly ListenerSettings[] = [
  { port: 0, name: 'whole' },
  { port: 0, name: 'a', mountPoint: 'tenant-a/' },
  { port: 0, name: 'b', mountPoint: 'tenant-b/' },
];
const VERSIONS: readonly Version[] = [3, 4, 5];
const QOS = [0, 1, 2] as const;
const cleanUp: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

interface House {
  readonly broker: Broker;
  /** One for each door, in the order of the listeners. */
  readonly kits: readonly Kit[];
  readonly log: readonly string[];
  stop(): Promise<void>;
}

async function house(options: BrokerOptions = {}, version: Version = 5): Promise<House> {
  const log: string[] = [];
  const write = (line: string): void => void log.push(line);
  const logger = { error: write, warn: write, log: write, debug: write };
  const broker = new Broker({ listeners: DOORS, sys: { intervalSeconds: 0 }, logger, ...options });
  await broker.listen();
  const kits = broker.listeners.map(
    ({ port }) => new Kit({ host: '127.0.0.1', port: port! }, version),
  );
  const stop = async (): Promise<void> => {
    for (const kit of kits) kit.close();
    await broker.close({ deadlineMs: 500 });
  };
  cleanUp.push(stop);
  return { broker, kits, log, stop };
}

const LASTING = (version: Version) => ({
  cleanStart: false, properties: version === 5 ? [property.sessionExpiry(600)] : [],
});

describe.each(VERSIONS)('a mount point, MQTT version %i', (version) => {
  it.each(QOS)('is put before topics that come in and taken from those that leave, at QoS %i', async (qos) => {
    const { kits: [whole, a, b] } = await house({}, version);
    const seesAll = await whole.connect();
    const inA = await a.connect();
    const inB = await b.connect();
    await whole.subscribed(seesAll, '#', qos);
    await a.subscribed(inA, '#', qos);
    await b.subscribed(inB, '#', qos);
    const sender = await a.connect();
    await a.publish(sender, 'sensor/1', 'warm', { qos });
    await whole.receive(seesAll, { topic: 'tenant-a/sensor/1', payload: 'warm', qos });
    await a.receive(inA, { topic: 'sensor/1', payload: 'warm', qos });
    await whole.publish(seesAll, 'tenant-b/sensor/1', 'cold', { qos });
    await b.receive(inB, { topic: 'sensor/1', payload: 'cold', qos });
    await whole.publish(seesAll, 'elsewhere', 'x', { qos });
    for (const [kit, peer] of [[a, inA], [b, inB]] as const) {
      await kit.fence(peer);
      await peer.expectNothing(20);
    }
  });

  it('holds for retained messages, before and after they are deleted', async () => {
    const { kits: [whole, a, b] } = await house({}, version);
    const writer = await a.connect();
    await a.publish(writer, 'state/x', 'kept', { retain: true, qos: 1 });
    const late = await a.connect();
    await a.subscribed(late, 'state/+', 1);
    await a.receive(late, { topic: 'state/x', payload: 'kept', retain: true });
    const stranger = await b.connect();
    await b.subscribed(stranger, '#', 1);
    const seesAll = await whole.connect();
    await whole.subscribed(seesAll, '#', 1);
    await whole.receive(seesAll, { topic: 'tenant-a/state/x', payload: 'kept' });
    await a.publish(writer, 'state/x', '', { retain: true, qos: 1 });
    const later = await a.connect();
    await a.subscribed(later, '#', 1);
    for (const [kit, peer] of [[b, stranger], [a, later]] as const) {
      await kit.fence(peer);
      await peer.expectNothing(20);
    }
  });

  it('holds for what waits for a client that is away', async () => {
    const { kits: [whole, a] } = await house({}, version);
    const sleeper = await a.connect({ clientId: 'sleeper', ...LASTING(version) });
    await a.subscribed(sleeper, '#', 2);
    await a.disconnect(sleeper);
    const sender = await whole.connect();
    for (const qos of [1, 2]) await whole.publish(sender, 'tenant-a/news', `at ${qos}`, { qos });
    const back = await a.connect({ clientId: 'sleeper', ...LASTING(version) });
    await a.receive(back, { topic: 'news', payload: 'at 1', qos: 1 });
    await a.receive(back, { topic: 'news', payload: 'at 2', qos: 2 });
  });

  it('holds for wills', async () => {
    const { kits: [whole, a] } = await house({}, version);
    const seesAll = await whole.connect();
    await whole.subscribed(seesAll, '#', 1);
    const heir = await a.connect();
    await a.subscribed(heir, 'last/words', 1);
    const mortal = await a.connect({ will: { topic: 'last/words', payload: 'bye', qos: 1 } });
    mortal.cut();
    await whole.receive(seesAll, { topic: 'tenant-a/last/words', payload: 'bye' });
    await a.receive(heir, { topic: 'last/words', payload: 'bye' });
  });

  it('ends a subscription by the name that the client gave', async () => {
    const { kits: [whole, a] } = await house({}, version);
    const peer = await a.connect();
    await a.subscribed(peer, [['one/#', 1], ['$share/g/two', 1]]);
    const unsuback = await a.unsubscribe(peer, 'one/#', '$share/g/two');
    if (version === 5) expect(unsuback.reasonCodes).toEqual([0, 0]);
    const sender = await whole.connect();
    for (const topic of ['tenant-a/one/x', 'tenant-a/two']) await whole.publish(sender, topic, 'x', { qos: 1 });
    await a.fence(peer);
    await peer.expectNothing(20);
  });

  it('shares subscriptions within a tenant and not across', async () => {
    const { kits: [whole, a, b] } = await house({}, version);
    const workers = [await a.connect(), await a.connect()];
    for (const worker of workers) await a.subscribed(worker, '$share/g/work/#', 1);
    const stranger = await b.connect();
    await b.subscribed(stranger, '$share/g/work/#', 1);
    const sender = await whole.connect();
    for (const job of ['1', '2']) await whole.publish(sender, 'tenant-a/work/x', job, { qos: 1 });
    for (const worker of workers) await a.receive(worker, { topic: 'work/x' });
    await b.fence(stranger);
    await stranger.expectNothing(20);
  });

  it('lets nobody see or write what begins with $ of the whole', async () => {
    const { kits: [whole, a, b], broker } = await house({}, version);
    const inA = await a.connect();
    await a.subscribed(inA, [['#', 1], ['+/x', 1], ['$SYS/#', 1], ['$aws/#', 1]]);
    const inB = await b.connect();
    await b.subscribed(inB, [['#', 1], ['$aws/#', 1]]);
    await broker.publish('$SYS/broker/x', 'secret', { qos: 1 });
    await broker.publish('$aws/x', 'of the whole', { qos: 1 });
    const sender = await a.connect();
    await a.publish(sender, '$aws/x', 'our own', { qos: 1 });
    // Its own, by its own filter, and not by those with a wildcard in front [MQTT-4.7.2-1].
    await a.receive(inA, { topic: '$aws/x', payload: 'our own' });
    const seesAll = await whole.connect();
    await whole.subscribed(seesAll, '$tenant-a/#', 1);
    await a.publish(sender, '$aws/x', 'again', { qos: 1 });
    await whole.receive(seesAll, { topic: '$tenant-a/$aws/x', payload: 'again' });
    await a.receive(inA, { topic: '$aws/x', payload: 'again' });
    await a.publish(sender, '$SYS/x', 'forged', { qos: 1 });
    for (const [kit, peer] of [[a, inA], [b, inB], [whole, seesAll]] as const) {
      await kit.fence(peer);
      await peer.expectNothing(20);
    }
  });
});

describe('behind a mount point', () => {
  it('# matches neither the mount point itself nor a name that would be empty', async () => {
    const { kits: [whole, a], broker } = await house();
    const sender = await whole.connect();
    for (const topic of ['tenant-a', 'tenant-a/', 'tenant-a/$x', 'tenant-ab/x']) {
      await whole.publish(sender, topic, 'kept', { qos: 1, retain: true });
    }
    const peer = await a.connect();
    await a.subscribed(peer, [['#', 1], ['$share/g/#', 1]]);
    for (const qos of QOS) {
      for (const topic of ['tenant-a', 'tenant-a/', 'tenant-a/$x', 'tenant-ab/x']) {
        await whole.publish(sender, topic, 'live', { qos });
      }
    }
    await whole.publish(sender, 'tenant-a//', 'an empty level is one', { qos: 1 });
    await a.receive(peer, { topic: '/', payload: 'an empty level is one' });
    // They were not meant for it: nothing was dropped.
    expect(broker.stats().dropped['not-authorized']).toBe(0);
  });

  it('Response Topics change as Topic Names do, in order with the other properties', async () => {
    const { kits: [whole, a, b], broker } = await house();
    const service = await whole.connect();
    await whole.subscribed(service, 'tenant-a/ask', 1);
    const neighbour = await a.connect();
    await a.subscribed(neighbour, 'ask', 1);
    const client = await a.connect();
    await a.subscribed(client, 'answers/7', 1);
    const properties = [
      property.user('before', '1'), property.responseTopic('answers/7'),
      property.correlationData('c'), property.user('after', '2'),
    ];
    for (const qos of QOS) {
      await a.publish(client, 'ask', '?', { qos, properties });
      const asked = await whole.receive(service, { topic: 'tenant-a/ask' });
      expect(valueOf(asked, PROPERTY.responseTopic)).toBe('tenant-a/answers/7');
      expect(asked.properties.map(({ id }) => id)).toEqual([0x26, 0x08, 0x09, 0x26]);
      const seen = await a.receive(neighbour, { topic: 'ask' });
      expect(valueOf(seen, PROPERTY.responseTopic)).toBe('answers/7');
      expect(seen.properties.map(({ id }) => id)).toEqual([0x26, 0x08, 0x09, 0x26]);
      await whole.publish(service, String(valueOf(asked, PROPERTY.responseTopic)), '!', { qos });
      await a.receive(client, { topic: 'answers/7', payload: '!' });
    }
    // Where nobody here could answer to, there is none.
    const stranger = await b.connect();
    await b.subscribed(stranger, 'news', 1);
    await broker.publish('tenant-b/news', 'x', {
      qos: 1, properties: { responseTopic: 'tenant-a/answers', contentType: 'text/plain' },
    });
    const news = await b.receive(stranger, { topic: 'news' });
    expect(news.properties.map(({ id }) => id)).toEqual([PROPERTY.contentType]);
  });

  it('a will has a Response Topic of its own tenant', async () => {
    const { kits: [whole, a] } = await house();
    const seesAll = await whole.connect();
    await whole.subscribed(seesAll, '#', 1);
    const mortal = await a.connect({
      will: { topic: 'w', payload: 'x', qos: 1, properties: [property.responseTopic('r')] },
    });
    mortal.cut();
    const will = await whole.receive(seesAll, { topic: 'tenant-a/w' });
    expect(valueOf(will, PROPERTY.responseTopic)).toBe('tenant-a/r');
  });

  it.each(QOS)('Topic Aliases work in both directions, at QoS %i', async (qos) => {
    const { kits: [whole, a] } = await house();
    const seesAll = await whole.connect();
    await whole.subscribed(seesAll, '#', 2);
    const peer = await a.connect({ properties: [property.topicAliasMaximum(4)] });
    await a.subscribed(peer, 'm/+', 2);
    const sender = await a.connect();
    await a.publish(sender, 'm/1', 'named', { qos, properties: [property.topicAlias(3)] });
    await a.publish(sender, '', 'alias', { qos, properties: [property.topicAlias(3)] });
    for (const payload of ['named', 'alias']) await whole.receive(seesAll, { topic: 'tenant-a/m/1', payload });
    const first = await a.receive(peer, { topic: 'm/1', payload: 'named' });
    // At QoS 2 the name goes along: some clients look at it only when PUBREL has come.
    const second = await a.receive(peer, { topic: qos === 2 ? 'm/1' : '', payload: 'alias' });
    if (qos < 2) expect(valueOf(second, PROPERTY.topicAlias)).toBe(valueOf(first, PROPERTY.topicAlias));
  });

  it('Maximum Packet Size counts what the client gets', async () => {
    const { kits: [whole, a] } = await house();
    const peer = await a.connect({ maximumPacketSize: 30 });
    await a.subscribed(peer, 'x', 1);
    const sender = await whole.connect();
    for (const qos of [0, 1]) {
      const room = 30 - 2 - 3 - 1 - (qos === 0 ? 0 : 2);
      await whole.publish(sender, 'tenant-a/x', '.'.repeat(room + 1), { qos });
      await whole.publish(sender, 'tenant-a/x', '.'.repeat(room), { qos });
      expect((await a.receive(peer, { topic: 'x', qos })).raw.length).toBe(30);
    }
  });

  it('clients of many mount points get one message each as they see it', async () => {
    const { kits: [whole, a, nested] } = await house({
      listeners: [{ port: 0 }, { port: 0, mountPoint: 'a/' }, { port: 0, mountPoint: 'a/b/' }],
    });
    const places = [[whole, 'a/b/c'], [a, 'b/c'], [nested, 'c']] as const;
    const peers: (readonly [Kit, string, Peer])[] = [];
    for (let round = 0; round < 4; round += 1) {
      for (const [kit, topic] of places) {
        const peer = await kit.connect(
          { version: round % 2 === 0 ? 4 : 5, properties: [] },
        );
        await kit.subscribed(peer, '#', 2);
        peers.push([kit, topic, peer]);
      }
    }
    for (const [kit, topic] of places) {
      const sender = await kit.connect();
      for (const qos of QOS) {
        await kit.publish(sender, topic, `at ${qos}`, { qos });
        for (const [theirs, seen, peer] of peers) await theirs.receive(peer, { topic: seen, qos, payload: `at ${qos}` });
      }
    }
  });

  it('No Local, Retain As Published and Subscription Identifiers are as ever', async () => {
    const { kits: [whole, a] } = await house();
    const peer = await a.connect();
    await a.subscribed(peer, [['own', 1 | OPTION.noLocal]]);
    await a.subscribed(peer, [['kept', 1 | OPTION.retainAsPublished]], 0, [property.subscriptionIdentifier(77)]);
    await a.publish(peer, 'own', 'mine', { qos: 1 });
    const sender = await whole.connect();
    await whole.publish(sender, 'tenant-a/own', 'theirs', { qos: 1 });
    await whole.publish(sender, 'tenant-a/kept', 'k', { qos: 1, retain: true });
    await a.receive(peer, { topic: 'own', payload: 'theirs' });
    const kept = await a.receive(peer, { topic: 'kept', retain: true });
    expect(valueOf(kept, PROPERTY.subscriptionIdentifier)).toBe(77);
  });

  it('names that are too long once they are mounted are refused', async () => {
    const { kits: [, a] } = await house();
    const long = 'x'.repeat(65_535 - 'tenant-a/'.length);
    const peer = await a.connect();
    await a.subscribed(peer, long, 1);
    await a.publish(peer, long, 'fits', { qos: 1 });
    await a.receive(peer, { topic: long, payload: 'fits' });
    expect((await a.subscribe(peer, `${long}x`)).reasonCodes).toEqual([0x8f]);
    a.send(peer, `${long}x`, '', { qos: 1 });
    await a.expectRefused(peer, [0x90]);
    const asking = await a.connect();
    a.send(asking, 'ask', '', { qos: 1, properties: [property.responseTopic(`${long}x`)] });
    await a.expectRefused(asking, [0x90]);
    const mortal = await a.connecting({ will: { topic: `${long}x`, payload: '' } });
    await a.expectRefused(mortal, [0x87]);
  });
});

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
    cleanUp.push(() => rm(path, { recursive: true, force: true }));
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
    cleanUp.push(() => guard.close());
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
