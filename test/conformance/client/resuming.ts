/** A connection lost and made again: what is sent again, how, and in which order. */
import * as build from '../wire/packets.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import { insist, within } from './client-kit.js';

const rows: readonly ClientRow[] = [
  {
    name: 'after a reconnect PUBLISH and PUBREL go again: same identifiers, DUP 1, same order',
    on: {
      4: ['4.4.0-1', '2.3.1-3', '3.3.1-1', '4.6.0-1', '3.1.2-4', '4.1.0-1', '3.1.3-2'],
      5: ['4.4.0-1', '3.3.1-1', '4.6.0-1', '3.1.2-23', '4.1.0-1', '3.1.3-2', '4.3.3-6'],
    },
    run: async (t) => {
      const { client, peer } = await t.pair(t.lasting());
      for (const [at, qos] of ([1, 2, 2, 1] as const).entries()) {
        client.publish(t.topic, `${at}`, { qos }).catch(() => undefined);
      }
      const ids: number[] = [];
      for (let at = 0; at < 4; at++) {
        ids.push((await peer.expectPacket('PUBLISH', { payload: `${at}`, dup: false })).packetId);
      }
      peer.send(build.pubrec(ids[1] ?? 0));
      await peer.expectPacket('PUBREL', { packetId: ids[1] ?? 0 });
      peer.cut();
      const { peer: next, connect } = await t.greet({ sessionPresent: true });
      insist(connect.connect?.cleanStart === false, 'Clean Start 1 in the second CONNECT');
      insist(connect.connect?.clientId === 'c', 'another Client Identifier');
      const again = [];
      for (let at = 0; at < 4; at++) again.push(await next.next());
      const publishes = again.filter((one) => one.name === 'PUBLISH');
      insist(publishes.map((one) => one.payload.toString()).join() === '0,2,3', 'the order');
      insist(publishes.every((one) => one.dup), 'DUP 0');
      insist(publishes.map((one) => one.packetId).join() === [ids[0], ids[2], ids[3]].join(),
        'identifiers');
      const pubrel = again.find((one) => one.name === 'PUBREL');
      insist(pubrel?.packetId === ids[1], 'no PUBREL');
      await t.quiet({ client, peer: next });
    },
  },
  {
    name: 'nothing is sent again while the connection lasts',
    on: { 4: ['4.3.2-1'], 5: ['4.4.0-1'] },
    run: async (t) => {
      const { client, peer } = await t.pair(t.lasting());
      client.publish(t.topic, 'x', { qos: 1 }).catch(() => undefined);
      await peer.expectPacket('PUBLISH', { dup: false });
      await peer.expectNothing(800);
    },
  },
  {
    name: 'a message already sent does not expire',
    on: { 5: ['4.3.3-7'] },
    run: async (t) => {
      const { client, peer } = await t.pair(t.lasting());
      client.publish(t.topic, 'x', { qos: 2, properties: { messageExpiryInterval: 1 } })
        .catch(() => undefined);
      const { packetId } = await peer.expectPacket('PUBLISH');
      await peer.expectNothing(1300);
      peer.cut();
      const { peer: next } = await t.greet({ sessionPresent: true });
      await next.expectPacket('PUBLISH', { packetId, dup: true });
      next.send(build.pubrec(packetId));
      await next.expectPacket('PUBREL', { packetId });
    },
  },
  {
    name: 'QoS 0 is never sent with DUP, also after a reconnect',
    on: { 4: ['3.3.1-2', '4.3.1-1'], 5: ['3.3.1-2', '4.3.1-1'] },
    run: async (t) => {
      const { client, peer } = await t.pair(t.lasting());
      peer.cut();
      const next = await t.accept();
      await next.expectPacket('CONNECT');
      client.publishAndForget(t.topic, 'zero');
      next.cut();
      const { peer: last } = await t.greet({ sessionPresent: true });
      await last.expectPacket('PUBLISH', { qos: 0, dup: false, payload: 'zero' });
    },
  },
  {
    name: 'a QoS 2 message received before the cut is not delivered again after it',
    on: { 4: ['4.1.0-1', '3.1.2-4', '4.3.3-2'], 5: ['3.1.2-23', '4.1.0-1', '4.3.3-10'] },
    run: async (t) => {
      const pair = await t.pair(t.lasting());
      const heard = await t.listening(pair);
      pair.peer.send(t.publish(2, 5, 'once'));
      await pair.peer.expectPacket('PUBREC', { packetId: 5 });
      pair.peer.cut();
      const { peer: next } = await t.greet({ sessionPresent: true });
      await within(pair.client.connected(), 'the client to be connected');
      next.send(t.publish(2, 5, 'once', { dup: true }));
      await next.expectPacket('PUBREC', { packetId: 5, reasonCode: 0 });
      next.send(build.pubrel(5));
      await next.expectPacket('PUBCOMP', { packetId: 5, reasonCode: 0 });
      insist(heard.messages.length === 1, `${heard.messages.length} deliveries`);
    },
  },
  {
    name: 'a PUBREC lost with the connection: PUBREL of the server is answered after it',
    on: { 4: ['4.3.3-2'], 5: ['4.3.3-11', '3.7.2-1'] },
    run: async (t) => {
      const pair = await t.pair(t.lasting());
      await t.listening(pair);
      pair.peer.send(t.publish(2, 6));
      await pair.peer.expectPacket('PUBREC', { packetId: 6 });
      pair.peer.cut();
      const { peer: next } = await t.greet({ sessionPresent: true });
      next.send(build.pubrel(6));
      await next.expectPacket('PUBCOMP', { packetId: 6, reasonCode: 0 });
    },
  },
];

export const resumingCases = expandClient('a connection lost and made again', rows);
