/**
 * Whole conversations, as the interoperability suites of others hold them with a broker in its
 * default configuration.
 */
import * as build from '../wire/packets.js';
import { property } from '../wire/packets.js';
import { ExpectationError } from '../wire/peer.js';
import type { Reply } from '../wire/reader.js';
import { valueOf, valuesOf } from '../wire/reader.js';
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { OPTION, PROPERTY } from '../kit.js';
import type { Kit, Peer } from '../kit.js';

const all = { 3: [], 4: [], 5: [] };
const both = { 4: [], 5: [] };

async function payloads(t: Kit, peer: Peer, count: number): Promise<Reply[]> {
  const messages: Reply[] = [];
  for (let at = 0; at < count; at++) {
    const message = await peer.awaitPacket('PUBLISH');
    await t.acknowledge(peer, message);
    messages.push(message);
  }
  return messages;
}

function same(got: unknown, wanted: unknown, what: string): void {
  if (JSON.stringify(got) === JSON.stringify(wanted)) return;
  throw new ExpectationError(`${what}: ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`);
}

const rows: readonly CaseRow[] = [
  {
    name: 'a client that talks to itself at every QoS hears every message once',
    on: all, kind: 'non-normative',
    run: async (t) => {
      await t.disconnect(await t.connect({ clientId: `${t.root}x` }));
      const peer = await t.connect({ clientId: `${t.root}x` });
      await t.subscribed(peer, t.topic('TopicA'), 2);
      for (const qos of [0, 1, 2]) await t.publish(peer, t.topic('TopicA'), `qos ${qos}`, { qos });
      const heard = await payloads(t, peer, 3);
      same(heard.map((one) => one.payload.toString()).sort(), ['qos 0', 'qos 1', 'qos 2'], 'heard');
      await t.disconnect(peer);
    },
  },
  {
    name: 'retained messages of three QoS and three topics, read by + / +, deleted, gone',
    on: all, kind: 'non-normative',
    run: async (t) => {
      const topics = ['TopicA/B', 'Topic/C', 'TopicA/C'];
      const writer = await t.connect();
      const properties = t.version === 5 ? [property.user('a', '2'), property.user('c', '3')] : [];
      for (const [qos, name] of topics.entries()) {
        await t.publish(writer, t.topic(name), `qos ${qos}`, { qos, retain: true, properties });
      }
      const reader = await t.connect();
      await t.subscribed(reader, t.topic('+/+'), 2);
      const heard = await payloads(t, reader, 3);
      same(heard.map((one) => one.qos).sort(), [0, 1, 2], 'QoS');
      if (t.version === 5) {
        for (const one of heard) {
          same(valuesOf(one, PROPERTY.user), [['a', '2'], ['c', '3']], 'User Properties');
        }
      }
      for (const [qos, name] of topics.entries()) {
        await t.publish(writer, t.topic(name), '', { qos, retain: true });
      }
      const late = await t.connect();
      await t.subscribed(late, t.topic('+/+'), 2);
      await t.fence(late);
      await late.expectNothing();
    },
  },
  {
    name: 'messages that a client left unanswered before its DISCONNECT come when it is back',
    on: all, kind: 'non-normative',
    run: async (t) => {
      const session = { ...t.persistent(), clientId: `${t.root}x` };
      const peer = await t.connect(session);
      await t.subscribed(peer, t.topic('TopicA/#'), 2);
      const ids = ['TopicA/B', 'TopicA/C'].map((name, at) =>
        t.send(peer, t.topic(name), `${at + 1}`, { qos: at + 1 }));
      await peer.awaitPacket('PUBACK', { packetId: ids[0] ?? 0 });
      await peer.awaitPacket('PUBREC', { packetId: ids[1] ?? 0 });
      peer.send(build.pubrel(ids[1] ?? 0));
      await peer.awaitPacket('PUBLISH', { payload: '1' });
      await peer.awaitPacket('PUBLISH', { payload: '2' });
      await t.disconnect(peer);
      const again = await t.connect(session);
      const heard = await payloads(t, again, 2);
      same(heard.map((one) => [one.payload.toString(), one.dup]), [['1', true], ['2', true]],
        'what came again');
    },
  },
  {
    name: 'three messages for a client that is away: those of QoS 1 and 2 wait for it',
    on: all, kind: 'non-normative',
    run: async (t) => {
      const session = { ...t.persistent(), clientId: `${t.root}x` };
      const first = await t.connect(session);
      await t.subscribed(first, t.topic('+/+'), 2);
      await t.disconnect(first);
      const writer = await t.connect();
      for (const qos of [0, 1, 2]) await t.publish(writer, t.topic('a/b'), `${qos}`, { qos });
      await t.disconnect(writer);
      const again = await t.connect(session);
      // A server may keep QoS 0 too.
      let [early] = await payloads(t, again, 1);
      if (early?.qos === 0) [early] = await payloads(t, again, 1);
      const [second] = await payloads(t, again, 1);
      same([early?.payload.toString(), second?.payload.toString()], ['1', '2'], 'messages');
      await t.fence(again);
      await again.expectNothing();
    },
  },
  {
    name: 'a request with Response Topic and Correlation Data, and its answer, on one topic',
    on: { 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const [asking, answering] = [await t.connect(), await t.connect()];
      for (const peer of [asking, answering]) {
        await t.subscribed(peer, t.topic('TopicA'), 2 | OPTION.noLocal);
      }
      const properties = [property.responseTopic(t.topic('TopicA')),
        property.correlationData('334')];
      await t.publish(asking, t.topic('TopicA'), 'request', { qos: 1, properties });
      const request = await t.receive(answering, { payload: 'request' });
      same(valueOf(request, PROPERTY.responseTopic), t.topic('TopicA'), 'Response Topic');
      same(valueOf(request, PROPERTY.correlationData)?.toString(), '334', 'Correlation Data');
      await t.publish(answering, t.topic('TopicA'), 'response', {
        qos: 1, properties: [property.correlationData('334')] });
      const response = await t.receive(asking, { payload: 'response' });
      same(valueOf(response, PROPERTY.correlationData)?.toString(), '334', 'Correlation Data');
      for (const peer of [asking, answering]) {
        await t.fence(peer);
        await peer.expectNothing();
      }
    },
  },
  {
    name: 'a shared and a plain subscription in one SUBSCRIBE, of two clients',
    on: { 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const peers = [await t.connect(), await t.connect()] as const;
      for (const peer of peers) {
        const suback = await t.subscribed(peer, [
          [`$share/sharename/${t.topic('x')}`, 2], [t.topic('TopicA'), 2]]);
        same(suback.reasonCodes, [2, 2], 'SUBACK');
      }
      await t.publish(peers[1], t.topic('TopicA'), 'to both');
      for (const peer of peers) await peer.awaitPacket('PUBLISH', { payload: 'to both' });
      for (let at = 0; at < 10; at++) await t.publish(peers[1], t.topic('x'), `${at}`);
      let heard = 0;
      for (const peer of peers) {
        await t.fence(peer);
        for (; ;heard++) {
          const next = await peer.awaitPacket('PUBLISH', {}, 200).catch(() => undefined);
          if (!next) break;
        }
      }
      same(heard, 10, 'messages of the group');
    },
  },
  {
    name: 'every printable character of ASCII may stand in a Client Identifier and in a topic',
    on: both, kind: 'non-normative',
    run: async (t) => {
      const codes = Array.from({ length: 95 }, (_, at) => 32 + at);
      const printable = String.fromCharCode(...codes);
      const peer = await t.connect({ clientId: `${t.root}${printable}` });
      const topic = t.topic(printable.replace(/[+#]/g, ''));
      await t.subscribed(peer, topic, 1);
      await t.publish(peer, topic, 'x', { qos: 1 });
      await t.receive(peer, { topic });
    },
  },
  {
    name: 'a payload of 100,000 bytes arrives whole at every QoS',
    on: both, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect();
      await t.subscribed(peer, t.topic('big'), 2);
      const payload = Buffer.alloc(100_000, 'abcdefghij');
      for (const qos of [0, 1, 2]) {
        await t.publish(peer, t.topic('big'), payload, { qos });
        const message = await peer.awaitPacket('PUBLISH');
        await t.acknowledge(peer, message);
        if (!message.payload.equals(payload)) throw new ExpectationError(`QoS ${qos}: payload`);
      }
    },
  },
  {
    name: 'a client that hears itself is answered before it is sent its own message',
    on: all, kind: 'non-normative',
    run: async (t) => {
      for (const granted of [0, 1, 2]) {
        const peer = await t.connect();
        await t.subscribed(peer, t.topic(`own${granted}`), granted);
        for (const [qos, answer] of [[1, 'PUBACK'], [2, 'PUBREC']] as const) {
          t.send(peer, t.topic(`own${granted}`), 'x', { qos, packetId: 77 });
          await peer.expectPacket(answer, { packetId: 77 });
          await t.receive(peer, { qos: Math.min(qos, granted) });
        }
      }
    },
  },
  {
    name: 'a bridge (0x80 in the level) hears others with RETAIN as published, and not itself',
    on: { 3: [], 4: [] }, kind: 'non-normative',
    run: async (t) => {
      const bridge = await t.connect({ protocolLevel: 0x80 | t.version });
      await t.subscribed(bridge, t.topic('#'), 1);
      await t.publish(bridge, t.topic('a'), 'own', { qos: 1 });
      await t.publish(await t.connect(), t.topic('a'), 'kept', { qos: 1, retain: true });
      await t.receive(bridge, { payload: 'kept', retain: true });
      await bridge.expectNothing();
    },
  },
  {
    name: 'topic aliases are given out from 1, and QoS 2 comes with its Topic Name all the same',
    on: { 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect({ properties: [property.topicAliasMaximum(3)] });
      await t.subscribed(peer, t.topic('+'), 2);
      const publisher = await t.connect();
      for (const name of ['a', 'b']) {
        for (const qos of [0, 1, 2]) {
          await t.publish(publisher, t.topic(name), 'x', { qos });
          const message = await t.receive(peer, { qos });
          const alias = valueOf(message, PROPERTY.topicAlias);
          if (alias === undefined) continue; // a server need not use any
          if (name === 'a') same(alias, 1, 'alias'); // that of the next may have been a's
          // MQTT.js hands on the name that a QoS 2 packet itself brings.
          if (qos === 2) same(message.topic, t.topic(name), 'Topic Name of QoS 2');
        }
      }
    },
  },
];

export const scenarioCases = expand('conversations', rows);
