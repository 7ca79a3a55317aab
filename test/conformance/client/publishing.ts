/** What the client publishes: form, identifiers, exchanges, quota, aliases, the server's limits. */
import { packet, u16, u8 } from '../wire/bytes.js';
import * as build from '../wire/packets.js';
import { valueOf } from '../wire/reader.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import { insist, rejection, within } from './client-kit.js';
import * as server from './server-packets.js';

const WRONG_TOPICS: readonly (readonly [string, string, readonly string[], readonly string[]])[] = [
  ['with +', 'a/+', ['3.3.2-2', '4.7.1-1'], ['3.3.2-2', '4.7.0-1']],
  ['with #', '#', ['3.3.2-2', '4.7.1-1'], ['3.3.2-2', '4.7.0-1']],
  ['that is empty', '', ['4.7.3-1'], ['4.7.3-1']],
  ['with NUL', 'a\0', ['4.7.3-2', '1.5.3-2'], ['4.7.3-2', '1.5.4-2']],
  ['with a lone surrogate', 'a\ud800', ['3.3.2-1', '1.5.3-1'], ['3.3.2-1', '1.5.4-1']],
  ['of 65,536 bytes', 'é'.repeat(32_768), ['4.7.3-3'], ['4.7.3-3']],
];

const formRows: readonly ClientRow[] = [
  {
    name: 'a QoS 0 PUBLISH, byte for byte: no identifier, DUP 0',
    on: {
      3: [], 4: ['2.3.1-5', '3.3.1-2', '3.3.2-1', '4.3.1-1', '2.2.2-1'],
      5: ['2.2.1-2', '3.3.1-2', '3.3.2-1', '4.3.1-1', '2.2.2-1', '2.1.3-1'],
    },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await client.publish('a/é', 'hi');
      const sent = await peer.expectPacket('PUBLISH');
      const wanted = build.publish({ version: t.version, topic: 'a/é', payload: 'hi' });
      insist(sent.raw.equals(wanted), `PUBLISH is ${sent.raw.toString('hex')}`);
    },
  },
  {
    name: 'a QoS 1 exchange: DUP 0, an identifier, unacknowledged until PUBACK',
    on: {
      3: [], 4: ['2.3.1-1', '4.3.2-1', '3.3.1-1'],
      5: ['2.2.1-3', '4.3.2-1', '4.3.2-2', '4.3.2-3', '4.4.0-1'],
    },
    run: async (t) => {
      const { client, peer } = await t.pair();
      let done = false;
      const published = client.publish(t.topic, 'x', { qos: 1 }).then(() => { done = true; });
      const sent = await t.expect(peer, 'PUBLISH', { qos: 1, dup: false, retain: false });
      await t.quiet({ client, peer });
      insist(!done, 'done before PUBACK');
      peer.send(build.puback(sent.packetId));
      await within(published, 'the end of the exchange');
      await t.quiet({ client, peer });
    },
  },
  {
    name: 'a QoS 2 exchange: PUBREL for PUBREC, done at PUBCOMP, PUBLISH not again',
    on: {
      3: [], 4: ['2.3.1-1', '2.3.1-6', '4.3.3-1', '2.2.2-1'],
      5: ['2.2.1-3', '2.2.1-5', '4.3.3-1', '4.3.3-2', '4.3.3-3', '4.3.3-4', '4.3.3-5', '4.3.3-6',
        '3.6.2-1', '3.6.2-2', '3.6.2-3'],
    },
    run: async (t) => {
      const { client, peer } = await t.pair();
      let done = false;
      const published = client.publish(t.topic, 'x', { qos: 2 }).then(() => { done = true; });
      const { packetId } = await t.expect(peer, 'PUBLISH', { qos: 2, dup: false });
      await t.quiet({ client, peer });
      peer.send(build.pubrec(packetId));
      const pubrel = await peer.expectPacket('PUBREL', { packetId, reasonCode: 0 });
      insist(pubrel.properties.length === 0, 'PUBREL with properties');
      await t.quiet({ client, peer });
      insist(!done, 'done before PUBCOMP');
      peer.send(build.pubcomp(packetId));
      await within(published, 'the end of the exchange');
      await t.quiet({ client, peer });
    },
  },
  {
    name: 'identifiers of what is under way all differ, also those of SUBSCRIBE and UNSUBSCRIBE',
    on: { 3: [], 4: ['2.3.1-1', '2.3.1-2'], 5: ['2.2.1-3', '4.3.2-1', '4.3.3-1'] },
    run: async (t) => {
      const pair = await t.pair();
      const { client, peer } = pair;
      for (let at = 0; at < 20; at++) {
        client.publish(t.topic, `${at}`, { qos: at % 2 ? 1 : 2 }).catch(() => undefined);
        client.subscribe(`s/${at}`, () => undefined).catch(() => undefined);
      }
      const seen = new Set<number>();
      for (let at = 0; at < 40; at++) seen.add((await peer.next()).packetId);
      insist(seen.size === 40 && !seen.has(0), `${seen.size} different identifiers`);
    },
  },
  {
    name: 'an identifier is not used again while its exchange is open',
    on: { 4: ['2.3.1-2'], 5: ['2.2.1-3'] },
    alone: true,
    run: async (t) => {
      const { client, peer } = await t.pair({ inflightMax: 2000 });
      client.publish(t.topic, 'open', { qos: 1 }).catch(() => undefined);
      const open = await t.expect(peer, 'PUBLISH', { qos: 1 });
      // Once round all the identifiers and a little more, in rounds of one write each.
      const [rounds, each] = [66, 1000];
      for (let round = 0; round < rounds; round++) {
        for (let at = 0; at < each; at++) {
          client.publish(t.topic, '', { qos: 1 }).catch(() => undefined);
        }
        const acknowledgements: Buffer[] = [];
        for (let at = 0; at < each; at++) {
          const { packetId } = await peer.next();
          insist(packetId !== open.packetId, 'the identifier of the open exchange came again');
          acknowledgements.push(build.puback(packetId));
        }
        peer.send(...acknowledgements);
      }
    },
  },
  ...WRONG_TOPICS.map(([what, topic, v4, v5]): ClientRow => ({
    name: `a Topic Name ${what} is not sent`,
    on: { 4: v4, 5: v5 },
    run: async (t) => {
      const pair = await t.pair();
      await rejection(pair.client.publish(topic, 'x', { qos: 1 }), 'publish');
      insist(!pair.client.publishAndForget(topic, 'x'), 'publishAndForget took it');
      await t.quiet(pair);
    },
  })),
  {
    name: 'a Topic Name of 65,535 bytes is sent',
    on: { 4: ['4.7.3-3'], 5: ['4.7.3-3'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await client.publish('t'.repeat(65_535), 'x');
      insist((await peer.expectPacket('PUBLISH')).topic.length === 65_535, 'topic');
    },
  },
  {
    name: 'QoS 3 is not sent',
    on: { 4: ['3.3.1-4'], 5: ['3.3.1-4'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await rejection(client.publish('a', 'x', { qos: 3 as 2 }), 'publish');
      await t.quiet({ client, peer });
    },
  },
  {
    name: 'EF BB BF in a topic goes out as it is',
    on: { 4: ['1.5.3-3'], 5: ['1.5.4-3'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await client.publish('\ufeffa', 'x');
      const { raw } = await peer.expectPacket('PUBLISH');
      insist(raw.includes(Buffer.from([0, 4, 0xef, 0xbb, 0xbf, 0x61])), 'U+FEFF was stripped');
    },
  },
  {
    name: 'properties of a message go out, each valid, and no Subscription Identifier',
    on: { 5: ['3.3.2-13', '3.3.2-19', '1.5.7-1', '3.3.4-6', '3.3.2-8'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await client.publish('a', 'x', { properties: {
        responseTopic: 'r/é', contentType: 'ü', correlationData: Buffer.from([0]),
        messageExpiryInterval: 5, payloadFormatIndicator: 1, userProperties: [['k', 'ö']],
      } });
      const sent = await peer.expectPacket('PUBLISH');
      insist(valueOf(sent, 0x08) === 'r/é' && valueOf(sent, 0x03) === 'ü', 'strings');
      insist(JSON.stringify(valueOf(sent, 0x26)) === '["k","ö"]', 'User Property');
      insist(sent.properties.length === 6, `${sent.properties.length} properties`);
    },
  },
  ...([
    ['a Response Topic with a wildcard', { responseTopic: 'a/#' }, '3.3.2-14'],
    ['a Response Topic with NUL', { responseTopic: 'a\0' }, '3.3.2-13'],
    ['a Content Type that is not Unicode', { contentType: '\ud800' }, '3.3.2-19'],
    ['a User Property with NUL', { userProperties: [['k', '\0']] }, '1.5.7-1'],
  ] as const).map(([what, properties, id]): ClientRow => ({
    name: `${what} is not sent`,
    on: { 5: [id] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await rejection(client.publish('a', 'x', { properties }), 'publish');
      await t.quiet({ client, peer });
    },
  })),
];

const limitRows: readonly ClientRow[] = [
  ...([0, 1] as const).map((qos): ClientRow => ({
    name: `nothing above a Maximum QoS of ${qos} is published`,
    on: { 5: ['3.2.2-11'] },
    run: async (t) => {
      const { client, peer } = await t.pair({},
        { properties: [server.serverProperty.maximumQos(qos)] });
      const error = await rejection(
        client.publish('a', 'x', { qos: (qos + 1) as 1 | 2 }), 'publish');
      insist(error.reasonCode === 0x9b, `reason ${error.reasonCode}`);
      await t.quiet({ client, peer });
    },
  })),
  {
    name: 'what was queued before CONNACK keeps to the Maximum QoS too',
    on: { 5: ['3.2.2-11'] },
    run: async (t) => {
      const client = t.client();
      const published = client.publish('a', 'x', { qos: 2 }).catch(() => undefined);
      const { peer } = await t.greet({ properties: [server.serverProperty.maximumQos(0)] });
      await peer.expectNothing(undefined, (one) => one.qos > 0);
      await within(published, 'the end of the message');
    },
  },
  {
    name: 'nothing is retained where Retain is not available',
    on: { 5: ['3.2.2-14'] },
    run: async (t) => {
      const { client, peer } = await t.pair({},
        { properties: [server.serverProperty.retainAvailable(0)] });
      const error = await rejection(client.publish('a', 'x', { retain: true }), 'publish');
      insist(error.reasonCode === 0x9a, `reason ${error.reasonCode}`);
      await t.quiet({ client, peer });
    },
  },
  {
    name: 'what was queued before CONNACK is not retained where Retain is not available',
    on: { 5: ['3.2.2-14'] },
    run: async (t) => {
      const client = t.client();
      const published = client.publish('a', 'x', { retain: true }).catch(() => undefined);
      const { peer } = await t.greet({ properties: [server.serverProperty.retainAvailable(0)] });
      await peer.expectNothing(undefined, (one) => one.retain);
      await within(published, 'the end of the message');
    },
  },
  ...[0, 1].map((qos): ClientRow => ({
    name: `a QoS ${qos} PUBLISH larger than the server's Maximum Packet Size is not sent`,
    on: { 5: ['3.2.2-15'] },
    run: async (t) => {
      const { client, peer } = await t.pair({},
        { properties: [server.serverProperty.maximumPacketSize(64)] });
      const error = await rejection(
        client.publish('a', 'x'.repeat(64), { qos: qos as 0 }), 'publish');
      insist(error.reasonCode === 0x95, `reason ${error.reasonCode}`);
      await t.quiet({ client, peer });
      const fits = 64 - 2 - 3 - 1 - (qos ? 2 : 0);
      client.publish('a', 'y'.repeat(fits), { qos: qos as 0 }).catch(() => undefined);
      insist((await peer.expectPacket('PUBLISH')).raw.length === 64, 'exactly the maximum');
    },
  })),
  {
    name: 'a SUBSCRIBE larger than the server\'s Maximum Packet Size is not sent',
    on: { 5: ['3.2.2-15'] },
    run: async (t) => {
      const { client, peer } = await t.pair({},
        { properties: [server.serverProperty.maximumPacketSize(64)] });
      await rejection(client.subscribe('a'.repeat(80), () => undefined), 'subscribe');
      await t.quiet({ client, peer });
    },
  },
  {
    name: 'Receive Maximum 2: the third QoS 1 or 2 waits, everything else does not',
    on: { 5: ['3.3.4-7', '3.3.4-8', '4.9.0-1', '4.9.0-2', '4.9.0-3'] },
    run: async (t) => {
      const pair = await t.pair({}, { properties: [server.serverProperty.receiveMaximum(2)] });
      const { client, peer } = pair;
      for (const qos of [1, 2, 1] as const) {
        client.publish('q', `${qos}`, { qos }).catch(() => undefined);
      }
      const first = await peer.expectPacket('PUBLISH', { qos: 1 });
      const second = await peer.expectPacket('PUBLISH', { qos: 2 });
      await peer.expectNothing();
      await t.listening(pair);
      peer.send(t.publish(1, 9), t.publish(2, 10));
      await peer.expectPacket('PUBACK', { packetId: 9 });
      await peer.expectPacket('PUBREC', { packetId: 10 });
      peer.send(build.pubrec(second.packetId));
      await peer.expectPacket('PUBREL', { packetId: second.packetId });
      await peer.expectNothing();
      peer.send(build.puback(first.packetId));
      await peer.expectPacket('PUBLISH', { qos: 1 });
    },
  },
  {
    name: 'PUBREC of 0x80 or above frees identifier and quota, and nothing is sent again',
    on: { 5: ['4.4.0-2', '4.3.3-4', '4.9.0-2'] },
    run: async (t) => {
      const { client, peer } = await t.pair(t.lasting(),
        { properties: [server.serverProperty.receiveMaximum(1)] });
      const refused = rejection(client.publish('q', '1', { qos: 2 }), 'publish');
      client.publish('q', '2', { qos: 2 }).catch(() => undefined);
      const { packetId } = await peer.expectPacket('PUBLISH', { payload: '1' });
      peer.send(build.pubrec(packetId, 0x97));
      insist((await refused).reasonCode === 0x97, 'the reason reached the publisher');
      await peer.expectPacket('PUBLISH', { payload: '2' });
      peer.cut();
      const { peer: next } = await t.greet({ sessionPresent: true });
      await next.expectPacket('PUBLISH', { payload: '2', dup: true });
      await next.expectNothing();
    },
  },
  {
    name: 'PUBACK of 0x80 or above counts as acknowledged',
    on: { 5: ['4.4.0-2'] },
    run: async (t) => {
      const { client, peer } = await t.pair(t.lasting());
      const refused = rejection(client.publish('q', '1', { qos: 1 }), 'publish');
      const { packetId } = await peer.expectPacket('PUBLISH');
      peer.send(build.puback(packetId, 0x87));
      insist((await refused).reasonCode === 0x87, 'the reason reached the publisher');
      peer.cut();
      const { peer: next } = await t.greet({ sessionPresent: true });
      await t.quiet({ client, peer: next });
    },
  },
  {
    name: 'no Topic Alias where the server allows none',
    on: { 5: ['3.2.2-18', '3.3.2-9'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      for (let at = 0; at < 5; at++) await client.publish('same/topic/again', '');
      for (let at = 0; at < 5; at++) {
        const sent = await peer.expectPacket('PUBLISH', { topic: 'same/topic/again' });
        insist(valueOf(sent, 0x23) === undefined, 'Topic Alias');
      }
    },
  },
  {
    name: 'Topic Aliases from 1 to what the server allows, and none beyond',
    on: { 5: ['3.2.2-17', '3.3.2-9', '3.3.2-8'] },
    run: async (t) => {
      const { client, peer } = await t.pair({},
        { properties: [server.serverProperty.topicAliasMaximum(2)] });
      const known = new Map<number, string>();
      let aliased = 0;
      for (let at = 0; at < 60; at++) {
        const topic = `long/topic/number/${at % 3}`;
        await client.publish(topic, '');
        const sent = await peer.expectPacket('PUBLISH');
        const alias = valueOf(sent, 0x23);
        if (typeof alias !== 'number') continue;
        insist(alias >= 1 && alias <= 2, `Topic Alias ${alias}`);
        if (sent.topic === '') insist(known.get(alias) === topic, 'an alias of another topic');
        else known.set(alias, sent.topic);
        aliased++;
      }
      insist(aliased > 0, 'no alias was used at all');
    },
  },
  {
    name: 'Topic Aliases die with the connection',
    on: { 5: ['3.3.2-7'] },
    run: async (t) => {
      const fields = { properties: [server.serverProperty.topicAliasMaximum(2)] };
      const { client, peer } = await t.pair(t.lasting(), fields);
      for (let at = 0; at < 5; at++) await client.publish('long/topic/again', '');
      for (let at = 0; at < 5; at++) await peer.expectPacket('PUBLISH');
      peer.cut();
      const { peer: next } = await t.greet({ sessionPresent: true, ...fields });
      await within(client.connected(), 'the client to be connected');
      await client.publish('long/topic/again', '');
      await next.expectPacket('PUBLISH', { topic: 'long/topic/again' });
    },
  },
  {
    name: 'PUBREC for an unknown identifier is answered by PUBREL',
    on: { 5: ['3.6.2-1', '3.6.2-2', '3.6.2-3', '2.2.1-5'] },
    run: async (t) => {
      const { peer } = await t.pair();
      peer.send(build.pubrec(77));
      const pubrel = await peer.expectPacket('PUBREL', { packetId: 77 });
      insist([0, 0x92].includes(pubrel.reasonCode), `0x${pubrel.reasonCode.toString(16)}`);
      insist(pubrel.properties.length === 0, 'PUBREL with properties');
      insist(pubrel.raw.equals(packet(0x62, u16(77), u8(pubrel.reasonCode)))
        || pubrel.raw.length === 4, 'PUBREL bytes');
    },
  },
];

export const publishingCases = [
  ...expandClient('PUBLISH to the server', formRows),
  ...expandClient('limits of the server', limitRows),
];
