/** Who may receive: verdicts for deliveries, in the running broker. */
import { describe, expect, it } from '@jest/globals';
import { TopicMatcher } from '../../lib/core/topic-matcher.js';
import type { Authorizer } from '../../lib/broker/hooks.js';
import { ConfiguredRules, RulesAuthorizer } from '../../lib/guard/index.js';
import type { AccessRule } from '../../lib/guard/index.js';
import { underAttack, until } from '../abuse/abuse-kit.js';
import type { Peer } from '../abuse/abuse-kit.js';
import * as build from '../conformance/wire/packets.js';

const createFilterSet = () => new TopicMatcher();
const pair: AccessRule = { effect: 'allow', topics: ['good/pair'] };
const filtering = (...rules: AccessRule[]): RulesAuthorizer => new RulesAuthorizer({
  rules: [new ConfiguredRules(createFilterSet, [pair, ...rules])], widerSubscriptions: 'filter',
});

/** Everything that arrives until PINGRESP. */
async function arrived(peer: Peer): Promise<string[]> {
  const list: string[] = [];
  peer.send(build.pingreq());
  for (let reply = await peer.next(); reply.name !== 'PINGRESP'; reply = await peer.next()) {
    list.push(reply.payload.toString());
    if (reply.qos === 1) peer.send(build.puback(reply.packetId));
  }
  return list;
}
const lasting = (clientId: string) => ({
  clientId, cleanStart: false, properties: [build.property.sessionExpiry(600)],
});

describe('who may receive', () => {
  it.each([0, 1, 2])('filters deliveries of a wide subscription at QoS %i, in order', (qos) => underAttack(
    async ({ kit, broker }) => {
      const peer = await kit.connect();
      await kit.subscribed(peer, '#', qos);
      const expected: string[] = [];
      for (let at = 0; at < 300; at += 1) {
        const open = at % 3 !== 0;
        await broker.publish(`${open ? 'open' : 'closed'}/${at % 100}`, `${at}`, { qos: qos as 0 | 1 | 2 });
        if (open) expected.push(`${at}`);
      }
      for (const payload of expected) await kit.receive(peer, { payload });
      await peer.expectNothing(20);
      expect(broker.stats().dropped['not-authorized']).toBe(100);
    }, { authorization: [filtering({ effect: 'allow', topics: ['open/#'] })] },
  ));

  it('filters what was retained and what was queued', () => underAttack(async ({ kit, broker }) => {
    const first = await kit.connect(lasting('sleeper'));
    await kit.subscribed(first, '+/news', 1);
    await kit.cut(first);
    for (const topic of ['open/news', 'closed/news']) await broker.publish(topic, topic, { qos: 1 });
    for (const topic of ['open/kept', 'closed/kept']) await broker.publish(topic, topic, { qos: 1, retain: true });
    const back = await kit.connect(lasting('sleeper'));
    expect(await arrived(back)).toEqual(['open/news']);
    await kit.subscribe(back, '+/kept');
    await kit.receive(back, { payload: 'open/kept' });
    await back.expectNothing(20);
  }, { authorization: [filtering({ effect: 'allow', topics: ['open/#'] })] }));

  it('lets messages wait for a verdict that takes its time, and keeps their order', async () => {
    const asked: ((verdict: boolean) => void)[] = [];
    const slow: Authorizer = {
      canReceive: (_, topic) => (topic.startsWith('slow/') ? new Promise((done) => asked.push(done)) : true),
    };
    await underAttack(async ({ kit, broker }) => {
      const peer = await kit.connect();
      await kit.subscribed(peer, '#', 1);
      await broker.publish('quick/1', 'before', { qos: 1 });
      await kit.receive(peer, { payload: 'before' });
      for (const topic of ['slow/1', 'quick/1', 'slow/2', 'quick/1']) {
        await broker.publish(topic, topic, { qos: 1 });
      }
      await until('the first question', () => asked.length === 1);
      expect(await arrived(peer)).toEqual([]);
      asked[0](false);
      await kit.receive(peer, { payload: 'quick/1' });
      await until('the second question', () => asked.length === 2);
      asked[1](true);
      await kit.receive(peer, { payload: 'slow/2' });
      await kit.receive(peer, { payload: 'quick/1' });
    }, { authorization: [slow] });
  });

  it('asks again after the rules have changed, and drops what was sent and not acknowledged', async () => {
    const denied = new Set<string>();
    const authorizer: Authorizer = { canSubscribe: (_, filter) => !denied.has(filter) };
    await underAttack(async ({ kit, broker }) => {
      const first = await kit.connect(lasting('holder'));
      await kit.subscribed(first, [['a/+', 1], ['b', 2]]);
      await broker.publish('a/1', 'unacknowledged', { qos: 1 });
      await broker.publish('b', 'fine', { qos: 2 });
      await first.awaitPacket('PUBLISH');
      await first.awaitPacket('PUBLISH');
      await kit.cut(first);
      for (const filter of ['a/+', 'a/1']) denied.add(filter);
      broker.rulesChanged();
      const back = await kit.connect(lasting('holder'));
      expect(await arrived(back)).toEqual(['fine']);
      expect(broker.session('holder')?.subscriptions).toBe(1);
    }, { authorization: [authorizer] });
  });

  it('asks an authorizer that knows filters only for the filter it granted', async () => {
    const authorizer: Authorizer = { canSubscribe: (_, filter) => ['good/pair', 'plant/+/state'].includes(filter) };
    await underAttack(async ({ kit, broker }) => {
      const first = await kit.connect(lasting('worker'));
      await kit.subscribed(first, 'plant/+/state', 1);
      await kit.cut(first);
      await broker.publish('plant/7/state', 'on', { qos: 1 });
      const back = await kit.connect(lasting('worker'));
      expect(await arrived(back)).toEqual(['on']);
    }, { authorization: [authorizer] });
  });

  it('refuses what an authorizer that throws was asked about', async () => {
    const authorizer: Authorizer = {
      canReceive: (_, topic) => {
        if (topic === 'boom') throw new Error('broken');
        return topic === 'later' ? Promise.reject(new Error('broken')) : true;
      },
    };
    await underAttack(async ({ kit, broker }) => {
      const peer = await kit.connect();
      await kit.subscribed(peer, '#', 1);
      for (const topic of ['boom', 'later', 'fine']) await broker.publish(topic, topic, { qos: 1 });
      await kit.receive(peer, { payload: 'fine' });
      await peer.expectNothing(20);
    }, { authorization: [authorizer] });
  });

  it('gives sixty sessions that ask about 400 topics each all they may have', async () => {
    const authorizer: Authorizer = { canReceive: () => true };
    await underAttack(async ({ kit, broker }) => {
      const peers: Peer[] = [];
      for (let at = 0; at < 60; at += 1) {
        const peer = await kit.connect();
        await kit.subscribed(peer, 'all/#', 1);
        peers.push(peer);
      }
      for (let at = 0; at < 400; at += 1) void broker.publish(`all/${at}`, `${at}`, { qos: 1 });
      for (const peer of peers) for (let at = 0; at < 400; at += 1) await kit.receive(peer, { payload: `${at}` });
    }, { authorization: [authorizer] });
  }, 30_000);
});
