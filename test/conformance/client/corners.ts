/** Corners of the client role: wills, state that must not outlive its session, sizes, resuming. */
import { Broker } from '../../../lib/index.js';
import { hex, packet, u16, vbi } from '../wire/bytes.js';
import * as build from '../wire/packets.js';
import { property } from '../wire/packets.js';
import { valueOf } from '../wire/reader.js';
import { connect } from '../../../lib/client/index.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import { insist, rejection, within } from './client-kit.js';
import * as server from './server-packets.js';

const willRows: readonly ClientRow[] = [
  ...([0, 1, 2] as const).flatMap((qos) => [false, true].map((retain): ClientRow => ({
    name: `a will of QoS ${qos} with retain ${retain ? 1 : 0} stands in the Connect Flags`,
    on: { 3: [], 4: ['3.1.2-9', '3.1.2-14'], 5: ['3.1.2-9', '3.1.2-12'] },
    run: async (t) => {
      const { connect: sent } = await t.pair({ will: { topic: 'w', payload: '', qos, retain } });
      const wanted = 0x02 | 0x04 | (qos << 3) | (retain ? 0x20 : 0);
      insist(sent.connect?.flags === wanted, `Connect Flags ${sent.connect?.flags}`);
      insist(sent.connect?.will?.payload.length === 0, 'the empty Will Payload');
    },
  }))),
  {
    name: 'a will of QoS 3 does not reach a server',
    on: { 4: ['3.1.2-14'], 5: ['3.1.2-12'] },
    run: async (t) => {
      let thrown: unknown;
      try {
        connect(`mqtt://127.0.0.1:${t.port}`, {
          logger: false, manualConnect: true, will: { topic: 'w', qos: 3 as 2 },
        });
      } catch (error) {
        thrown = error;
      }
      insist(thrown !== undefined, 'QoS 3 was accepted');
      await Promise.resolve();
    },
  },
  {
    name: 'a user name without a password: its flag, and no password',
    on: { 3: [], 4: ['3.1.2-19', '3.1.2-20'], 5: ['3.1.2-17', '3.1.2-18'] },
    run: async (t) => {
      const { connect: sent } = await t.pair({ username: 'u' });
      insist(sent.connect?.flags === (0x80 | 0x02), `Connect Flags ${sent.connect?.flags}`);
      insist(sent.connect?.username === 'u' && sent.connect.password === undefined, 'names');
    },
  },
];

const stateRows: readonly ClientRow[] = [
  {
    name: 'a clean session leaves no message that was begun, and no identifier, to the next one',
    on: { 4: ['3.1.2-6'], 5: ['3.1.2-4', '4.4.0-1'] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      pair.client.publish(t.topic, 'x', { qos: 1 }).catch(() => undefined);
      await pair.peer.expectPacket('PUBLISH', { dup: false });
      pair.peer.send(t.publish(2, 5, 'first'));
      await pair.peer.expectPacket('PUBREC', { packetId: 5 });
      await heard.next();
      pair.peer.cut();
      const { peer: next, connect: again } = await t.greet();
      insist(again.connect?.cleanStart === true, 'Clean Start 0 in the second CONNECT');
      const { packetId } = await next.awaitPacket('SUBSCRIBE');
      next.send(server.suback(t.version, packetId, [2]));
      next.send(t.publish(2, 5, 'second'));
      await next.awaitPacket('PUBREC', { packetId: 5, reasonCode: 0 });
      insist((await heard.next()).payload.toString() === 'second', 'the new message was not heard');
      // Publishing it again is the library's own decision; to the server it is a new message.
      await next.expectNothing(0, (one) => one.dup || one.name === 'PUBREL');
    },
  },
  {
    name: 'the state of a session is not given up while its connection lasts',
    on: { 4: ['4.1.0-2', '4.1.0-1'], 5: ['4.1.0-1'] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      const published = pair.client.publish(t.topic, 'out', { qos: 2 });
      const { packetId } = await pair.peer.expectPacket('PUBLISH', { qos: 2 });
      pair.peer.send(t.publish(2, 77, 'in'));
      await pair.peer.expectPacket('PUBREC', { packetId: 77 });
      for (let at = 0; at < 300; at++) {
        pair.peer.send(t.publish(1, 100 + at));
        await pair.peer.expectPacket('PUBACK', { packetId: 100 + at });
      }
      pair.peer.send(t.publish(2, 77, 'in', { dup: true }));
      await pair.peer.expectPacket('PUBREC', { packetId: 77 });
      pair.peer.send(build.pubrec(packetId));
      await pair.peer.expectPacket('PUBREL', { packetId });
      pair.peer.send(build.pubcomp(packetId));
      await within(published, 'the end of the exchange');
      const inbound = heard.messages.filter((one) => one.payload.toString() === 'in');
      insist(inbound.length === 1, `${inbound.length} deliveries`);
    },
  },
  {
    name: 'what is sent again keeps to the Receive Maximum of the new connection, in order',
    on: { 5: ['4.9.0-1', '4.9.0-2', '3.3.4-7', '4.6.0-1', '4.4.0-1'] },
    run: async (t) => {
      const { client, peer } = await t.pair(t.lasting());
      for (const payload of ['0', '1', '2']) {
        client.publish(t.topic, payload, { qos: 1 }).catch(() => undefined);
      }
      for (let at = 0; at < 3; at++) await peer.expectPacket('PUBLISH', { payload: `${at}` });
      peer.cut();
      const { peer: next } = await t.greet({
        sessionPresent: true, properties: [server.serverProperty.receiveMaximum(1)],
      });
      for (const payload of ['0', '1', '2']) {
        const sent = await next.expectPacket('PUBLISH', { payload, dup: true });
        await next.expectNothing();
        next.send(build.puback(sent.packetId));
      }
    },
  },
];

const sizeRows: readonly ClientRow[] = [
  {
    name: 'a Remaining Length takes the fewest bytes, at every border',
    on: { 4: [], 5: ['1.5.5-1'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      const extra = 2 + 1 + (t.version === 5 ? 1 : 0);
      for (const length of [127, 128, 16_383, 16_384, 2_097_151, 2_097_152]) {
        await client.publish('a', Buffer.alloc(length - extra));
        const { raw } = await peer.expectPacket('PUBLISH');
        insist(raw.subarray(1, 1 + vbi(length).length).equals(vbi(length)), `at ${length}`);
        insist(raw.length === 1 + vbi(length).length + length, `the length at ${length}`);
      }
    },
  },
  {
    name: 'a Property Length takes the fewest bytes, at its border',
    on: { 5: ['1.5.5-1', '2.2.2-1'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      for (const length of [127, 128, 16_383, 16_384]) {
        const contentType = 'c'.repeat(length - 3);
        await client.publish('a', '', { properties: { contentType } });
        const { raw } = await peer.expectPacket('PUBLISH');
        const at = 1 + vbi(raw.length).length + 3;
        const found = [at - 1, at].some((start) =>
          raw.subarray(start, start + vbi(length).length).equals(vbi(length)));
        insist(found, `Property Length at ${length}`);
      }
    },
  },
  {
    name: 'an AUTH larger than the server\'s Maximum Packet Size is not sent',
    on: { 5: ['3.2.2-15'] },
    run: async (t) => {
      let size = 1;
      const client = t.client({ reconnectPeriod: 0, enhancedAuthentication: {
        method: 'M', start: () => Buffer.alloc(size), continue: () => undefined,
      } });
      const { peer } = await t.greet({ properties: [
        property.authenticationMethod('M'), server.serverProperty.maximumPacketSize(64),
      ] });
      await within(client.connected(), 'the client to be connected');
      size = 64;
      await rejection(client.reauthenticate(), 'reauthenticate');
      await peer.expectNothing(0, (one) => one.name === 'AUTH');
    },
  },
];

const plainRows: readonly ClientRow[] = [
  {
    name: 'a server that announces nothing and explains nothing is worked with in full',
    on: { 3: [], 4: ['7.0.0-2'], 5: [] },
    run: async (t) => {
      const pair = await t.pair();
      const { client, peer } = pair;
      const heard = await t.listening(pair, t.topic);
      for (const qos of [0, 1, 2] as const) {
        const published = client.publish(t.topic, `${qos}`, { qos });
        const { packetId } = await peer.awaitPacket('PUBLISH', { qos });
        if (qos === 1) peer.send(build.puback(packetId));
        if (qos === 2) {
          peer.send(build.pubrec(packetId));
          await peer.awaitPacket('PUBREL', { packetId });
          peer.send(build.pubcomp(packetId));
        }
        await within(published, `the publish of QoS ${qos}`);
        peer.send(build.publish({
          version: t.version, topic: t.topic, payload: `${qos}`, qos, packetId: qos }));
        insist((await heard.next()).qos === qos, `delivery of QoS ${qos}`);
      }
      await peer.expectPacket('PUBACK', { packetId: 1 });
      await peer.expectPacket('PUBREC', { packetId: 2 });
      peer.send(build.pubrel(2));
      await peer.expectPacket('PUBCOMP', { packetId: 2 });
      const ended = client.end();
      await peer.expectPacket('DISCONNECT');
      await peer.expectClosed();
      await within(ended, 'the end');
    },
  },
  {
    name: 'a server that joins another: both roles in one process, each by its rules',
    on: { 4: ['7.0.0-1'], 5: [] },
    run: async (t) => {
      const broker = new Broker({ logger: false, listeners: [{ host: '127.0.0.1', port: 0 }] });
      await broker.listen();
      try {
        const pair = await t.pair();
        await t.listening(pair, `${t.topic}/#`, (message) =>
          broker.publish(message.topicName, message.payload, { qos: 1 }));
        const local = connect(`mqtt://127.0.0.1:${broker.listeners[0]?.port}`, {
          logger: false, protocolVersion: t.version,
        });
        let arrived: (payload: string) => void = () => undefined;
        const message = new Promise<string>((resolve) => { arrived = resolve; });
        await local.subscribe(`${t.topic}/#`, ({ payload }) => arrived(payload.toString()),
          { qos: 1 });
        pair.peer.send(t.publish(1, 11, 'across'));
        await pair.peer.expectPacket('PUBACK', { packetId: 11, reasonCode: 0 });
        insist(await within(message, 'the message on the other side') === 'across', 'payload');
        await local.end();
      } finally {
        await broker.close();
      }
    },
  },
  {
    name: 'no Subscription Identifier where the server has none',
    on: { 5: [] },
    run: async (t) => {
      const { client, peer } = await t.pair({}, { properties: [hex('29 00')] });
      client.subscribe('a', () => undefined).catch(() => undefined);
      const sent = await t.expect(peer, 'SUBSCRIBE');
      insist(valueOf(sent, 0x0b) === undefined, 'Subscription Identifier');
    },
  },
  {
    name: 'a Reason String of CONNACK that is not UTF-8 closes the connection',
    on: { 5: ['1.5.4-1'] },
    run: async (t) => {
      t.client({ reconnectPeriod: 0 });
      const peer = await t.accept();
      await peer.expectPacket('CONNECT');
      peer.send(packet(0x20, hex('00 00 04 1f 00 01 ff')));
      await t.expectClosed(peer);
    },
  },
  {
    name: 'a SUBACK with a code that it does not have closes the connection',
    on: { 4: ['4.8.0-1'], 5: [] },
    run: async (t) => {
      const { client, peer } = await t.pair({ reconnectPeriod: 0 });
      const refused = rejection(client.subscribe('a', () => undefined), 'subscribe');
      const { packetId } = await peer.expectPacket('SUBSCRIBE');
      const code = t.version === 5 ? 0x03 : 0x7f;
      peer.send(packet(0x90, u16(packetId), t.version === 5 ? hex('00') : hex(''), hex(
        code.toString(16).padStart(2, '0'))));
      await t.expectClosed(peer, [0x81, 0x82]);
      await refused;
    },
  },
];

export const cornerCases = [
  ...expandClient('wills and names', willRows),
  ...expandClient('what a session keeps', stateRows),
  ...expandClient('sizes', sizeRows),
  ...expandClient('servers of all kinds', plainRows),
];
