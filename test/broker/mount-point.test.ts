/** Listeners with a mount point: tenants of one broker who take their part for the whole. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Kit, OPTION, PROPERTY } from '../conformance/kit.js';
import type { Peer } from '../conformance/kit.js';
import { property } from '../conformance/wire/packets.js';
import type { Version } from '../conformance/wire/packets.js';
import { valueOf } from '../conformance/wire/reader.js';
import { LASTING, endHouses, house } from './support/tenants.js';

const VERSIONS: readonly Version[] = [3, 4, 5];
const QOS = [0, 1, 2] as const;

afterEach(endHouses);

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
