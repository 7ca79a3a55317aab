/** MQTT 5: properties of PUBLISH, flow control, packet size, topic aliases. */
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { OPTION, PROPERTY } from '../kit.js';
import type { Peer } from '../kit.js';
import { ExpectationError } from '../wire/peer.js';
import { hex } from '../wire/bytes.js';
import { property, puback, publish, pubrec, pubrel } from '../wire/packets.js';
import { valueOf, valuesOf } from '../wire/reader.js';
import type { Reply } from '../wire/reader.js';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function expectValue(reply: Reply, id: number, wanted: unknown): void {
  const value = valueOf(reply, id);
  const [got, want] =
    [value, wanted].map((one) => Buffer.isBuffer(one) ? one.toString('hex') : one);
  if (got !== want) throw new ExpectationError(
    `property ${id} is ${String(got)}, not ${String(want)}`);
}

const USERS = [['z', '1'], ['a', '2'], ['z', '3'], ['__proto__', 'x'], ['', '']] as const;
const PAYLOAD_PROPERTIES = [
  property.payloadFormat(1), property.contentType('text/plain; charset=ñ'),
  property.responseTopic('reply/to/me'), property.correlationData(hex('00 01 ff fe')),
  ...USERS.map(([key, value]) => property.user(key, value)),
];

function expectAllForwarded(message: Reply): void {
  expectValue(message, PROPERTY.payloadFormat, 1);
  expectValue(message, PROPERTY.contentType, 'text/plain; charset=ñ');
  expectValue(message, PROPERTY.responseTopic, 'reply/to/me');
  expectValue(message, PROPERTY.correlationData, hex('00 01 ff fe'));
  const users = JSON.stringify(valuesOf(message, PROPERTY.user));
  if (users !== JSON.stringify(USERS)) throw new ExpectationError(`user properties ${users}`);
}

const FORWARDED = [
  '3.3.2-4', '3.3.2-13', '3.3.2-15', '3.3.2-16', '3.3.2-17', '3.3.2-18', '3.3.2-19', '3.3.2-20',
  '1.5.7-1',
];

const forwarding: CaseRow[] = [
  ...([0, 1, 2] as const).map((qos): CaseRow => ({
    name: `properties of a QoS ${qos} message are forwarded unchanged and in order`,
    on: { 5: FORWARDED },
    run: async (t) => {
      const subscriber = await t.connect();
      await t.subscribed(subscriber, t.topic('a'), 2);
      await t.publish(await t.connect(), t.topic('a'), 'x',
        { qos, properties: PAYLOAD_PROPERTIES });
      expectAllForwarded(await t.receive(subscriber, { payload: 'x' }));
    },
  })),
  {
    name: 'a retained message keeps its properties',
    on: { 5: FORWARDED },
    run: async (t) => {
      await t.publish(await t.connect(), t.topic('a'), 'x',
        { qos: 1, retain: true, properties: PAYLOAD_PROPERTIES });
      const subscriber = await t.connect();
      await t.subscribed(subscriber, t.topic('a'), 1);
      expectAllForwarded(await t.receive(subscriber, { retain: true }));
    },
  },
  {
    name: 'a queued message keeps its properties',
    on: { 5: FORWARDED },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const first = await t.connect(options);
      await t.subscribed(first, t.topic('a'), 1);
      await t.disconnect(first);
      await t.publish(await t.connect(), t.topic('a'), 'x',
        { qos: 1, properties: PAYLOAD_PROPERTIES });
      expectAllForwarded(await t.receive(await t.connect(options), { payload: 'x' }));
    },
  },
  {
    name: 'a 3.1.1 subscriber gets a message with properties without them, and back',
    on: { 5: ['3.3.2-3'] }, kind: 'non-normative',
    run: async (t) => {
      const [old, modern] = [await t.connect({ version: 4 }), await t.connect({ version: 5 })];
      await t.subscribed(old, t.topic('a'), 1);
      await t.subscribed(modern, t.topic('a'), 1);
      await t.publish(modern, t.topic('a'), 'from 5', { qos: 1, properties: PAYLOAD_PROPERTIES });
      await t.publish(old, t.topic('a'), 'from 4', { qos: 1 });
      for (const peer of [old, modern]) {
        for (const payload of ['from 5', 'from 4']) {
          await t.acknowledge(peer, await peer.awaitPacket('PUBLISH', { payload, qos: 1 }));
        }
      }
    },
  },
  {
    name: 'a Response Topic with a wildcard closes the connection',
    on: { 5: ['3.3.2-14', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(publish({
      version: 5, topic: t.topic('a'), properties: [property.responseTopic('a/#')] }),
    [0x81, 0x82, 0x90])),
  },
  {
    name: 'a Response Topic or Content Type that is not UTF-8 closes the connection',
    on: { 5: ['3.3.2-13', '3.3.2-19', '1.5.4-1'] },
    run: async (t) => {
      for (const one of [property.responseTopic(hex('c0 af')),
        property.contentType(hex('c0 af'))]) {
        await t.expectBytesRefused(
          publish({ version: 5, topic: t.topic('a'), properties: [one] }), [0x81, 0x82, 0x90]);
      }
    },
  },
];

const expiry: CaseRow[] = [
  {
    name: 'a message that expired before its delivery began is not delivered',
    on: { 5: ['3.3.2-5'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const first = await t.connect(options);
      await t.subscribed(first, t.topic('a'), 1);
      await t.disconnect(first);
      const publisher = await t.connect();
      const properties = [property.messageExpiry(1)];
      await t.publish(publisher, t.topic('a'), 'short', { qos: 1, properties });
      await t.publish(publisher, t.topic('a'), 'long', { qos: 1 });
      await t.publish(publisher, t.topic('r'), 'short', { qos: 1, retain: true, properties });
      await sleep(2200);
      const back = await t.connect(options);
      await t.receive(back, { payload: 'long' });
      await t.subscribed(back, t.topic('r'), 1);
      await back.expectNothing();
    },
  },
  {
    name: 'the message expiry interval goes out less the time spent waiting',
    on: { 5: ['3.3.2-6'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const first = await t.connect(options);
      await t.subscribed(first, t.topic('a'), 1);
      await t.disconnect(first);
      const publisher = await t.connect();
      const properties = [property.messageExpiry(100)];
      await t.publish(publisher, t.topic('a'), 'x', { qos: 1, retain: true, properties });
      await sleep(1600);
      const queued = await t.receive(await t.connect(options), { payload: 'x' });
      const reader = await t.connect();
      await t.subscribed(reader, t.topic('a'), 1);
      for (const message of [queued, await t.receive(reader, { retain: true })]) {
        const left = valueOf(message, PROPERTY.messageExpiry);
        // Whole seconds, rounded either way, and a busy machine may take its time.
        if (typeof left !== 'number' || left > 99 || left < 90) {
          throw new ExpectationError(`expiry ${String(left)}, expected 97 to 99`);
        }
      }
    },
  },
  {
    name: 'a message that was already sent does not expire: resume sends it again',
    on: { 5: ['4.3.3-7', '4.3.2-3', '4.3.3-13'] }, kind: 'easily-wrong',
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const first = await t.connect(options);
      await t.subscribed(first, t.topic('a'), 2);
      const publisher = await t.connect();
      const properties = [property.messageExpiry(1)];
      await t.publish(publisher, t.topic('a'), 'x', { qos: 2, properties });
      const { packetId } = await first.expectPacket('PUBLISH', { payload: 'x', qos: 2 });
      await t.cut(first);
      await sleep(2200);
      const back = await t.connect(options);
      await back.expectPacket('PUBLISH', { payload: 'x', packetId, dup: true });
      back.send(pubrec(packetId));
      await back.expectPacket('PUBREL', { packetId });
    },
  },
  {
    name: 'the QoS 2 exchange goes on although the message has expired',
    on: { 5: ['4.3.3-13', '4.3.3-11'] }, kind: 'easily-wrong',
    run: async (t) => {
      const peer = await t.connect();
      const properties = [property.messageExpiry(1)];
      t.send(peer, t.topic('a'), 'x', { qos: 2, packetId: 4, properties });
      await peer.expectPacket('PUBREC', { packetId: 4 });
      await sleep(1600);
      t.send(peer, t.topic('a'), 'x', { qos: 2, packetId: 4, properties, dup: true });
      await peer.expectPacket('PUBREC', { packetId: 4 });
      peer.send(pubrel(4));
      await peer.expectPacket('PUBCOMP', { packetId: 4 });
    },
  },
];

/** Publishes with an alias and expects the message on `subscriber` under its full topic. */
async function viaAlias(
  peer: Peer, subscriber: Peer, topic: string, sent: string, alias: number,
): Promise<void> {
  const properties = [property.topicAlias(alias)];
  peer.send(publish({ version: 5, topic: sent, payload: topic, properties }));
  await subscriber.awaitPacket('PUBLISH', { topic, payload: topic });
}

const aliases: CaseRow[] = [
  {
    name: 'every alias from 1 to the announced maximum is accepted',
    on: { 5: ['3.3.2-12'] },
    run: async (t) => {
      const peer = await t.connect();
      const most = Math.min(t.announced(peer, PROPERTY.topicAliasMaximum, 0), 300);
      const subscriber = await t.connect();
      await t.subscribed(subscriber, t.topic('#'));
      for (let alias = 1; alias <= most; alias++) {
        await viaAlias(peer, subscriber, t.topic(`${alias}`), t.topic(`${alias}`), alias);
      }
      for (let alias = 1; alias <= most; alias++) {
        await viaAlias(peer, subscriber, t.topic(`${alias}`), '', alias);
      }
      if (most === 0) return;
      await viaAlias(peer, subscriber, t.topic('changed'), t.topic('changed'), 1);
      await viaAlias(peer, subscriber, t.topic('changed'), '', 1);
    },
  },
  {
    name: 'alias 0 closes the connection (0x94)', on: { 5: ['3.3.2-8', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(publish({
      version: 5, topic: t.topic('a'), properties: [property.topicAlias(0)] }),
        [0x94, 0x81, 0x82])),
  },
  {
    name: 'an alias above the announced maximum closes the connection (0x94)',
    on: { 5: ['3.3.2-9', '3.2.2-17', '3.2.2-18', '4.13.1-1'] },
    run: async (t) => {
      const peer = await t.connect();
      const above = t.announced(peer, PROPERTY.topicAliasMaximum, 0) + 1;
      if (above > 65_535) return;
      peer.send(
        publish({ version: 5, topic: t.topic('a'), properties: [property.topicAlias(above)] }));
      await t.expectRefused(peer, [0x94, 0x81, 0x82]);
    },
  },
  {
    name: 'an alias nobody has set closes the connection (0x82)',
    on: { 5: ['4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(publish({
      version: 5, topic: '', payload: 'x', properties: [property.topicAlias(1)] }), [0x82])),
  },
  {
    name: 'aliases die with the connection', on: { 5: ['3.3.2-7'] }, kind: 'easily-wrong',
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const peer = await t.connect(options);
      if (t.announced(peer, PROPERTY.topicAliasMaximum, 0) === 0) return;
      await t.publish(peer, t.topic('a'), 'x', { properties: [property.topicAlias(1)] });
      await t.cut(peer);
      const back = await t.connect(options);
      back.send(
        publish({ version: 5, topic: '', payload: 'x', properties: [property.topicAlias(1)] }));
      await t.expectRefused(back, [0x82]);
    },
  },
  {
    name: 'the server keeps to the topic alias maximum, and its aliases mean what they say',
    on: { 5: ['3.1.2-26', '3.3.2-11', '3.3.2-8', '3.3.2-7'] },
    run: async (t) => {
      const peer = await t.connect({ properties: [property.topicAliasMaximum(2)] });
      await t.subscribed(peer, t.topic('#'));
      const publisher = await t.connect();
      const known = new Map<unknown, string>();
      for (const name of ['a', 'b', 'c', 'a', 'b', 'c', 'a']) {
        await t.publish(publisher, t.topic(name), name);
        const message = await peer.expectPacket('PUBLISH', { payload: name });
        const alias = valueOf(message, PROPERTY.topicAlias);
        if (typeof alias === 'number' && alias > 2) throw new ExpectationError(`alias ${alias}`);
        if (message.topic !== '') known.set(alias, message.topic);
        const topic = message.topic || known.get(alias);
        if (topic !== t.topic(name)) throw new ExpectationError(`topic ${String(topic)}`);
      }
    },
  },
  {
    name: 'the server uses no alias when the client allows none',
    on: { 5: ['3.1.2-27', '3.3.2-11'] },
    run: async (t) => {
      const peers =
        [await t.connect(), await t.connect({ properties: [property.topicAliasMaximum(0)] })];
      for (const peer of peers) await t.subscribed(peer, t.topic('a'));
      const publisher = await t.connect();
      for (let at = 0; at < 3; at++) {
        await t.publish(publisher, t.topic('a'), 'x', {});
        for (const peer of peers) {
          const message = await peer.expectPacket('PUBLISH', { topic: t.topic('a') });
          expectValue(message, PROPERTY.topicAlias, undefined);
        }
      }
    },
  },
  {
    name: 'a publisher\'s alias is not passed on to subscribers', on: { 5: ['3.1.2-27'] },
    run: async (t) => {
      const [subscriber, peer] = [await t.connect(), await t.connect()];
      if (t.announced(peer, PROPERTY.topicAliasMaximum, 0) === 0) return;
      await t.subscribed(subscriber, t.topic('a'));
      await t.publish(peer, t.topic('a'), 'x', { properties: [property.topicAlias(1)] });
      await t.publish(peer, '', 'y', { properties: [property.topicAlias(1)] });
      for (const payload of ['x', 'y']) {
        const message = await subscriber.expectPacket('PUBLISH', { payload, topic: t.topic('a') });
        expectValue(message, PROPERTY.topicAlias, undefined);
      }
    },
  },
];

const flow: CaseRow[] = [
  {
    name: 'no more unacknowledged messages than the client\'s receive maximum',
    on: { 5: ['3.3.4-9', '4.9.0-1', '4.9.0-2'] },
    run: async (t) => {
      const peer = await t.connect({ properties: [property.receiveMaximum(2)] });
      await t.subscribed(peer, t.topic('a'), 2);
      const publisher = await t.connect();
      for (let at = 0; at < 6; at++) {
        await t.publish(publisher, t.topic('a'), `${at}`, { qos: at % 2 === 0 ? 1 : 2 });
      }
      const first = await peer.expectPacket('PUBLISH', { payload: '0', qos: 1 });
      const second = await peer.expectPacket('PUBLISH', { payload: '1', qos: 2 });
      await peer.expectNothing();
      peer.send(puback(first.packetId));
      const third = await peer.expectPacket('PUBLISH', { payload: '2' });
      await peer.expectNothing();
      peer.send(pubrec(second.packetId));
      await peer.expectPacket('PUBREL', { packetId: second.packetId });
      await peer.expectNothing(); // PUBREC does not give the quota back, PUBCOMP does
      peer.send(Buffer.from([0x70, 2, second.packetId >> 8, second.packetId & 255]));
      await t.receive(peer, { payload: '3' });
      peer.send(puback(third.packetId));
      await t.receive(peer, { payload: '4' });
      await t.receive(peer, { payload: '5' });
    },
  },
  {
    name: 'a used-up quota holds back nothing but QoS 1 and 2 messages',
    on: { 5: ['3.3.4-10', '4.9.0-3'] },
    run: async (t) => {
      const peer = await t.connect({ properties: [property.receiveMaximum(1)] });
      await t.subscribed(peer, t.topic('a'), 2);
      const publisher = await t.connect();
      for (const payload of ['1', '2']) await t.publish(publisher, t.topic('a'), payload,
        { qos: 1 });
      await peer.expectPacket('PUBLISH', { payload: '1' });
      await t.fence(peer);
      await t.publish(peer, t.topic('b'), 'x', { qos: 1 });
      await t.publish(peer, t.topic('b'), 'x', { qos: 2 });
      await t.subscribed(peer, t.topic('c'), 0);
      await t.unsubscribe(peer, t.topic('c'));
      await t.subscribed(peer, t.topic('d'), 0);
      await t.publish(publisher, t.topic('d'), 'QoS 0 flows');
      await peer.expectPacket('PUBLISH', { payload: 'QoS 0 flows' });
    },
  },
  {
    name: 'the receive maximum holds for a resumed session too',
    on: { 5: ['3.3.4-9', '4.9.0-2', '4.4.0-1'] }, kind: 'easily-wrong',
    run: async (t) => {
      const clientId = t.clientId();
      const first = await t.connect({ ...t.persistent(), clientId });
      await t.subscribed(first, t.topic('a'), 1);
      const publisher = await t.connect();
      for (let at = 0; at < 4; at++) await t.publish(publisher, t.topic('a'), `${at}`, { qos: 1 });
      for (let at = 0; at < 4; at++) await first.expectPacket('PUBLISH', { payload: `${at}` });
      await t.cut(first);
      const properties = [property.sessionExpiry(300), property.receiveMaximum(1)];
      const back = await t.connect({ clientId, cleanStart: false, properties });
      for (let at = 0; at < 4; at++) {
        const message = await back.expectPacket('PUBLISH', { payload: `${at}`, dup: true });
        await back.expectNothing(60);
        back.send(puback(message.packetId));
      }
    },
  },
  {
    name: 'a message too large for a client is dropped for it, and counts as delivered',
    on: { 5: ['3.1.2-24', '3.1.2-25'] }, kind: 'easily-wrong',
    run: async (t) => {
      const small = await t.connect({ maximumPacketSize: 100 });
      const large = await t.connect();
      const publisher = await t.connect();
      for (const peer of [small, large]) await t.subscribed(peer, t.topic('a'), 2);
      for (const qos of [0, 1, 2]) {
        await t.publish(publisher, t.topic('a'), 'x'.repeat(200), { qos });
        await t.receive(large, { qos });
      }
      await t.publish(publisher, t.topic('a'), 'fits', { qos: 1 });
      await t.receive(small, { payload: 'fits' });
      await t.publish(publisher, t.topic('r'), 'x'.repeat(200), { qos: 1, retain: true });
      await t.subscribed(small, t.topic('r'), 1);
      await small.expectNothing();
    },
  },
  {
    name: 'a message one byte too large is dropped, one that just fits is delivered',
    on: { 5: ['3.1.2-24', '3.1.2-25'] },
    run: async (t) => {
      const limit = 120;
      const peer = await t.connect({ maximumPacketSize: limit });
      await t.subscribed(peer, t.topic('a'), 0);
      const room = limit - 2 - 2 - t.topic('a').length - 1;
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'x'.repeat(room + 1));
      await t.publish(publisher, t.topic('a'), 'y'.repeat(room));
      await peer.expectPacket('PUBLISH', { payload: 'y'.repeat(room) });
    },
  },
];

const identifiers: CaseRow[] = [
  {
    name: 'a message carries the identifiers of all subscriptions it matched',
    on: { 5: ['3.3.4-3', '3.3.4-4', '3.3.4-5'] },
    run: async (t) => {
      const peer = await t.connect();
      await t.subscribed(peer, t.topic('a'), 0, [property.subscriptionIdentifier(1)]);
      await t.subscribed(peer, t.topic('#'), 0, [property.subscriptionIdentifier(268_435_455)]);
      await t.subscribed(peer, t.topic('+'), 0);
      await t.publish(await t.connect(), t.topic('a'), 'x');
      // One copy with both identifiers, or a copy for each subscription.
      const got = new Set<unknown>();
      do {
        const message = await peer.expectPacket('PUBLISH', { payload: 'x' });
        valuesOf(message, PROPERTY.subscriptionIdentifier).forEach((id) => got.add(id));
      } while (got.size < 2);
      if (!got.has(1) || !got.has(268_435_455)) throw new ExpectationError(`${[...got].join()}`);
    },
  },
  {
    name: 'subscribing again changes the subscription identifier',
    on: { 5: ['3.8.4-3', '3.3.4-3'] },
    run: async (t) => {
      const peer = await t.connect();
      const publisher = await t.connect();
      for (const [list, wanted] of [[[property.subscriptionIdentifier(7)], 7],
        [[property.subscriptionIdentifier(9)], 9], [[], undefined]] as const) {
        await t.subscribed(peer, t.topic('a'), 0, list);
        await t.publish(publisher, t.topic('a'), 'x');
        expectValue(await peer.expectPacket('PUBLISH'), PROPERTY.subscriptionIdentifier, wanted);
      }
    },
  },
  {
    name: 'retained messages and resumed sessions carry the subscription identifier',
    on: { 5: ['3.3.4-3'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'r', { qos: 1, retain: true });
      const peer = await t.connect(options);
      await t.subscribed(peer, t.topic('a'), 1, [property.subscriptionIdentifier(5)]);
      expectValue(await t.receive(peer, { payload: 'r' }), PROPERTY.subscriptionIdentifier, 5);
      await t.disconnect(peer);
      await t.publish(publisher, t.topic('a'), 'q', { qos: 1 });
      const back = await t.connect(options);
      expectValue(await t.receive(back, { payload: 'q' }), PROPERTY.subscriptionIdentifier, 5);
    },
  },
  {
    name: 'a client\'s PUBLISH with a subscription identifier closes the connection',
    on: { 5: ['3.3.4-6', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(publish({
      version: 5, topic: t.topic('a'), properties: [property.subscriptionIdentifier(1)] }),
    [0x81, 0x82])),
  },
  {
    name: 'no local 1 keeps messages from their publisher, and from nobody else',
    on: { 5: ['3.8.3-3'] },
    run: async (t) => {
      const [peer, other] = [await t.connect(), await t.connect()];
      await t.subscribed(peer, t.topic('a'), OPTION.noLocal | 1);
      await t.subscribed(other, t.topic('a'), OPTION.noLocal | 1);
      await t.publish(peer, t.topic('a'), 'mine', { qos: 1 });
      await t.receive(other, { payload: 'mine' });
      await peer.expectNothing();
      await t.publish(other, t.topic('a'), 'theirs', { qos: 1 });
      await t.receive(peer, { payload: 'theirs' });
    },
  },
];

export const propertyCases = expand('MQTT 5 properties and flow control', [
  ...forwarding, ...expiry, ...aliases, ...flow, ...identifiers,
]);
