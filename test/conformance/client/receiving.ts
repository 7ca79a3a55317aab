/** What the client does with the messages of a server: acknowledgements, order, repeats. */
import * as build from '../wire/packets.js';
import { property } from '../wire/packets.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import { insist, within } from './client-kit.js';

const exchangeRows: readonly ClientRow[] = [
  {
    name: 'a QoS 0 PUBLISH is answered by nothing',
    on: { 3: [], 4: ['3.3.4-1'], 5: ['3.3.4-1'] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      pair.peer.send(t.publish(0, 0, 'zero'));
      insist((await heard.next()).payload.toString() === 'zero', 'payload');
      await t.quiet(pair);
    },
  },
  {
    name: 'a QoS 1 PUBLISH is answered by PUBACK, byte for byte',
    on: {
      3: [], 4: ['3.3.4-1', '4.3.2-2', '2.3.1-6', '2.2.2-1'],
      5: ['3.3.4-1', '4.3.2-4', '2.2.1-5', '3.4.2-1', '2.1.3-1'],
    },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      pair.peer.send(t.publish(1, 0x1234, 'one'));
      const puback = await pair.peer.expectPacket('PUBACK', { packetId: 0x1234, reasonCode: 0 });
      insist(puback.raw.equals(build.puback(0x1234)), `PUBACK is ${puback.raw.toString('hex')}`);
      insist((await heard.next()).qos === 1, 'delivery');
    },
  },
  {
    name: 'a QoS 2 PUBLISH: PUBREC, then PUBCOMP for PUBREL, byte for byte',
    on: {
      3: [], 4: ['3.3.4-1', '4.3.3-2', '2.3.1-6', '2.2.2-1'],
      5: ['3.3.4-1', '4.3.3-8', '4.3.3-11', '2.2.1-5', '3.5.2-1', '3.7.2-1', '3.7.2-2', '3.7.2-3'],
    },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      pair.peer.send(t.publish(2, 0x4321, 'two'));
      const pubrec = await pair.peer.expectPacket('PUBREC', { packetId: 0x4321, reasonCode: 0 });
      insist(pubrec.raw.equals(build.pubrec(0x4321)), `PUBREC is ${pubrec.raw.toString('hex')}`);
      pair.peer.send(build.pubrel(0x4321));
      const done = await pair.peer.expectPacket('PUBCOMP', { packetId: 0x4321, reasonCode: 0 });
      insist(done.raw.equals(build.pubcomp(0x4321)), `PUBCOMP is ${done.raw.toString('hex')}`);
      await heard.next();
      insist(heard.messages.length === 1, `${heard.messages.length} deliveries`);
    },
  },
  {
    name: 'QoS 1: after PUBACK the same identifier is a new message, whatever DUP says',
    on: { 4: ['4.3.2-2'], 5: ['4.3.2-5'] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      for (const [at, dup] of [false, true, false].entries()) {
        pair.peer.send(t.publish(1, 7, `${at}`, { dup }));
        await pair.peer.expectPacket('PUBACK', { packetId: 7 });
        insist((await heard.next()).payload.toString() === `${at}`, 'delivery');
      }
    },
  },
  {
    name: 'QoS 2: repeats before PUBREL are answered by PUBREC and not delivered',
    on: { 4: ['4.3.3-2', '4.1.0-2'], 5: ['4.3.3-10', '4.1.0-1'] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      for (const dup of [false, true, true]) {
        pair.peer.send(t.publish(2, 8, 'once', { dup }));
        await pair.peer.expectPacket('PUBREC', { packetId: 8, reasonCode: 0 });
      }
      pair.peer.send(build.pubrel(8));
      await pair.peer.expectPacket('PUBCOMP', { packetId: 8 });
      insist(heard.messages.length === 1, `${heard.messages.length} deliveries`);
    },
  },
  {
    name: 'QoS 2: after PUBCOMP the same identifier is a new message',
    on: { 4: ['4.3.3-2'], 5: ['4.3.3-12'] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      for (let at = 0; at < 2; at++) {
        pair.peer.send(t.publish(2, 8, `${at}`));
        await pair.peer.expectPacket('PUBREC', { packetId: 8 });
        pair.peer.send(build.pubrel(8));
        await pair.peer.expectPacket('PUBCOMP', { packetId: 8 });
        insist((await heard.next()).payload.toString() === `${at}`, 'delivery');
      }
    },
  },
  {
    name: 'QoS 2: after a PUBREC of 0x80 or above the same identifier is a new message',
    on: { 5: ['4.3.3-9', '3.5.2-1', '3.5.2-2', '3.5.2-3'] },
    run: async (t) => {
      const pair = await t.pair();
      let calls = 0;
      const heard = await t.listening(pair, undefined, () => {
        calls++;
        if (calls === 1) throw new Error('no');
      });
      pair.peer.send(t.publish(2, 9, 'first'));
      const refused = await pair.peer.expectPacket('PUBREC', { packetId: 9 });
      insist(refused.reasonCode >= 0x80 && refused.properties.length === 0, 'PUBREC');
      pair.peer.send(t.publish(2, 9, 'second'));
      await pair.peer.expectPacket('PUBREC', { packetId: 9, reasonCode: 0 });
      insist(heard.messages.length === 2, `${heard.messages.length} deliveries`);
    },
  },
  {
    name: 'a handler that fails: PUBACK with a listed code, no Reason String, no User Property',
    on: { 5: ['3.4.2-1', '3.4.2-2', '3.4.2-3'] },
    run: async (t) => {
      const pair = await t.pair();
      await t.listening(pair, undefined, () => {
        throw Object.assign(new Error('x'.repeat(1000)), { reasonCode: 0x87 });
      });
      pair.peer.send(t.publish(1, 3));
      const puback = await pair.peer.expectPacket('PUBACK', { packetId: 3, reasonCode: 0x87 });
      insist(puback.properties.length === 0, 'PUBACK with properties');
    },
  },
  {
    name: 'a handler that fails with a code that PUBACK does not know: one that it does',
    on: { 5: ['3.4.2-1'] },
    run: async (t) => {
      const pair = await t.pair();
      await t.listening(pair, undefined, () => {
        throw Object.assign(new Error('x'), { reasonCode: 0x8e });
      });
      pair.peer.send(t.publish(1, 3));
      await pair.peer.expectPacket('PUBACK', { packetId: 3 });
    },
  },
  {
    name: 'PUBREL for an unknown identifier is answered by PUBCOMP',
    on: { 4: ['4.3.3-2'], 5: ['3.7.2-1', '3.7.2-2', '3.7.2-3', '4.3.3-11'] },
    run: async (t) => {
      const { peer } = await t.pair();
      peer.send(build.pubrel(99));
      const done = await peer.expectPacket('PUBCOMP', { packetId: 99 });
      insist(t.version < 5 || done.reasonCode === 0x92, `0x${done.reasonCode.toString(16)}`);
      insist(done.properties.length === 0, 'PUBCOMP with properties');
    },
  },
  {
    name: 'a message that expires while its handler works is acknowledged all the same',
    on: { 5: ['4.3.3-13'] },
    run: async (t) => {
      const pair = await t.pair();
      let release: () => void = () => undefined;
      const heard = await t.listening(pair, undefined,
        () => new Promise<void>((resolve) => { release = resolve; }));
      pair.peer.send(t.publish(2, 4, 'x', { properties: [property.messageExpiry(1)] }));
      await heard.next();
      await pair.peer.expectNothing(1300);
      release();
      await pair.peer.expectPacket('PUBREC', { packetId: 4, reasonCode: 0 });
      pair.peer.send(build.pubrel(4));
      await pair.peer.expectPacket('PUBCOMP', { packetId: 4, reasonCode: 0 });
    },
  },
  {
    name: 'messages that no handler wants are acknowledged too',
    on: { 4: ['4.5.0-2'], 5: ['4.5.0-2'] },
    run: async (t) => {
      const { peer } = await t.pair();
      peer.send(t.publish(1, 1), t.publish(2, 2));
      await peer.expectPacket('PUBACK', { packetId: 1 });
      await peer.expectPacket('PUBREC', { packetId: 2 });
    },
  },
];

const orderRows: readonly ClientRow[] = [
  {
    name: 'PUBACKs go out in the order of the PUBLISHes, also when handlers end in another',
    on: { 4: ['4.6.0-2'], 5: ['4.6.0-2'] },
    run: async (t) => {
      const pair = await t.pair();
      const releases: (() => void)[] = [];
      const heard = await t.listening(pair, undefined,
        () => new Promise<void>((resolve) => releases.push(resolve)));
      for (let at = 1; at <= 4; at++) pair.peer.send(t.publish(1, at));
      for (let at = 1; at <= 4; at++) await heard.next();
      for (const release of releases.reverse()) {
        release();
        await new Promise((resolve) => setImmediate(resolve));
      }
      for (let at = 1; at <= 4; at++) await pair.peer.expectPacket('PUBACK', { packetId: at });
    },
  },
  {
    name: 'PUBRECs go out in the order of the PUBLISHes, also when handlers end in another',
    on: { 4: ['4.6.0-3'], 5: ['4.6.0-3'] },
    run: async (t) => {
      const pair = await t.pair();
      const releases: (() => void)[] = [];
      const heard = await t.listening(pair, undefined,
        () => new Promise<void>((resolve) => releases.push(resolve)));
      for (let at = 1; at <= 4; at++) pair.peer.send(t.publish(2, at));
      for (let at = 1; at <= 4; at++) await heard.next();
      for (const release of releases.reverse()) {
        release();
        await new Promise((resolve) => setImmediate(resolve));
      }
      for (let at = 1; at <= 4; at++) await pair.peer.expectPacket('PUBREC', { packetId: at });
    },
  },
  {
    name: 'PUBRELs go out in the order of the PUBRECs',
    on: { 4: ['4.6.0-4'], 5: ['4.6.0-4'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      for (let at = 0; at < 4; at++) {
        client.publish(t.topic, `${at}`, { qos: 2 }).catch(() => undefined);
      }
      const ids: number[] = [];
      for (let at = 0; at < 4; at++) ids.push((await peer.expectPacket('PUBLISH')).packetId);
      const order = [ids[2], ids[0], ids[3], ids[1]] as number[];
      peer.send(...order.map((id) => build.pubrec(id)));
      for (const packetId of order) await peer.expectPacket('PUBREL', { packetId });
    },
  },
  {
    name: 'messages reach their handler in the order they came',
    on: { 3: [], 4: [], 5: [] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      for (let at = 0; at < 50; at++) pair.peer.send(t.publish(at % 3, at + 1, `${at}`));
      for (let at = 0; at < 50; at++) {
        insist((await heard.next()).payload.toString() === `${at}`, `message ${at}`);
      }
    },
  },
  {
    name: 'every Topic Alias from 1 to the announced maximum is accepted',
    on: { 5: ['3.3.2-10'] },
    run: async (t) => {
      const pair = await t.pair({ properties: { topicAliasMaximum: 3 } });
      const heard = await t.listening(pair);
      for (const alias of [1, 2, 3]) {
        pair.peer.send(t.publish(0, 0, '', {
          topic: `${t.topic}/${alias}`, properties: [property.topicAlias(alias)],
        }));
      }
      for (const alias of [3, 1, 2]) {
        pair.peer.send(t.publish(0, 0, '', { topic: '', properties: [property.topicAlias(alias)] }));
      }
      for (const alias of [1, 2, 3, 3, 1, 2]) {
        insist((await heard.next()).topicName === `${t.topic}/${alias}`, `alias ${alias}`);
      }
    },
  },
  {
    name: 'a Topic Alias of the connection before is not known any more',
    on: { 5: ['3.3.2-7'] },
    run: async (t) => {
      const pair = await t.pair({ ...t.lasting(),
        properties: { sessionExpiryInterval: 60, topicAliasMaximum: 3 } });
      const heard = await t.listening(pair);
      pair.peer.send(t.publish(0, 0, '', { properties: [property.topicAlias(1)] }));
      await heard.next();
      pair.peer.cut();
      const { peer } = await t.greet({ sessionPresent: true });
      await within(pair.client.connected(), 'the client to be connected');
      peer.send(t.publish(0, 0, '', { topic: '', properties: [property.topicAlias(1)] }));
      await t.expectClosed(peer);
    },
  },
];

export const receivingCases = [
  ...expandClient('messages of the server', exchangeRows),
  ...expandClient('order and aliases', orderRows),
];
