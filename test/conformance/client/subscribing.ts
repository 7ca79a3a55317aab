/** SUBSCRIBE and UNSUBSCRIBE: their form, their identifiers, the filters that are never sent. */
import { bin, packet, u16, u8 } from '../wire/bytes.js';
import { valueOf } from '../wire/reader.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import { insist, rejection, within } from './client-kit.js';
import * as server from './server-packets.js';

const WRONG_FILTERS: readonly (readonly [string, readonly string[], readonly string[]])[] = [
  ['a#', ['4.7.1-2'], ['4.7.1-1']],
  ['#/a', ['4.7.1-2'], ['4.7.1-1']],
  ['a/b#/c', ['4.7.1-2'], ['4.7.1-1']],
  ['a+', ['4.7.1-3'], ['4.7.1-2']],
  ['+a/b', ['4.7.1-3'], ['4.7.1-2']],
  ['', ['4.7.3-1'], ['4.7.3-1']],
  ['a\0b', ['4.7.3-2', '1.5.3-2'], ['4.7.3-2', '1.5.4-2']],
  ['a\ud800', ['3.8.3-1', '1.5.3-1', '3.10.3-1'], ['3.8.3-1', '1.5.4-1', '3.10.3-1']],
];
const WRONG_SHARES = ['$share/', '$share//a', '$share/g', '$share/g/', '$share/g+/a', '$share/#/a'];

const rows: readonly ClientRow[] = [
  {
    name: 'SUBSCRIBE, byte for byte, and SUBACK with its identifier completes it',
    on: {
      3: [], 4: ['3.8.3-1', '3.8.3-3', '2.3.1-1', '2.3.1-7', '2.2.2-1'],
      5: ['3.8.3-1', '3.8.3-2', '2.2.1-3', '2.2.1-6', '2.1.3-1'],
    },
    run: async (t) => {
      const { client, peer } = await t.pair();
      let done = false;
      const subscribed = client.subscribe('é/+/#', () => undefined, { qos: 1 })
        .then(() => { done = true; });
      const sent = await t.expect(peer, 'SUBSCRIBE');
      const at = sent.raw.subarray(4);
      const properties = t.version === 5 ? at.subarray(0, 1 + (at[0] ?? 0)) : Buffer.alloc(0);
      const wanted = packet(0x82, u16(sent.packetId), properties, bin('é/+/#'), u8(1));
      insist(sent.raw.equals(wanted), `SUBSCRIBE is ${sent.raw.toString('hex')}`);
      peer.send(server.suback(t.version, (sent.packetId % 65_535) + 1, [1]));
      await new Promise((resolve) => setImmediate(resolve));
      insist(!done, 'the SUBACK of another request completed this one');
      peer.send(server.suback(t.version, sent.packetId, [1]));
      await within(subscribed, 'the subscription');
    },
  },
  {
    name: 'UNSUBSCRIBE, byte for byte, and UNSUBACK with its identifier completes it',
    on: {
      3: [], 4: ['3.10.3-1', '3.10.3-2', '2.3.1-1', '2.3.1-7', '2.2.2-1'],
      5: ['3.10.3-1', '3.10.3-2', '2.2.1-3', '2.2.1-6', '2.2.2-1'],
    },
    run: async (t) => {
      const { client, peer } = await t.pair();
      const subscribed = client.subscribe('a/é', () => undefined);
      const { packetId } = await peer.expectPacket('SUBSCRIBE');
      peer.send(server.suback(t.version, packetId, [0]));
      let done = false;
      const closed = (await within(subscribed, 'the subscription')).close()
        .then(() => { done = true; });
      const sent = await peer.expectPacket('UNSUBSCRIBE');
      const none = t.version === 5 ? u8(0) : Buffer.alloc(0);
      insist(sent.raw.equals(packet(0xa2, u16(sent.packetId), none, bin('a/é'))),
        `UNSUBSCRIBE is ${sent.raw.toString('hex')}`);
      peer.send(server.unsuback(t.version, (sent.packetId % 65_535) + 1, [0]));
      await new Promise((resolve) => setImmediate(resolve));
      insist(!done, 'the UNSUBACK of another request completed this one');
      peer.send(server.unsuback(t.version, sent.packetId, [0]));
      await within(closed, 'the end of the subscription');
    },
  },
  ...WRONG_FILTERS.map(([filter, v4, v5]): ClientRow => ({
    name: `the Topic Filter ${JSON.stringify(filter)} is not sent`,
    on: { 4: v4, 5: v5 },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await rejection(client.subscribe(filter, () => undefined), 'subscribe');
      await t.quiet({ client, peer });
    },
  })),
  ...WRONG_SHARES.map((filter): ClientRow => ({
    name: `the shared Topic Filter ${filter} is not sent`,
    on: { 5: ['4.8.2-1', '4.8.2-2'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await rejection(client.subscribe(filter, () => undefined), 'subscribe');
      await t.quiet({ client, peer });
    },
  })),
  {
    name: 'a shared subscription goes out as $share/name/filter, never with No Local',
    on: { 5: ['3.8.3-4', '4.8.2-1', '4.8.2-2'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await rejection(client.subscribe('$share/g/a/#', () => undefined, { nl: true }), 'subscribe');
      client.subscribe('$share/g/a/#', () => undefined).catch(() => undefined);
      const sent = await t.expect(peer, 'SUBSCRIBE');
      insist(sent.filters[0]?.filter === '$share/g/a/#', 'filter');
      insist(((sent.filters[0]?.options ?? 4) & 4) === 0, 'No Local');
    },
  },
  {
    name: 'a Topic Filter of 65,535 bytes is sent, one of 65,536 is not',
    on: { 4: ['4.7.3-3'], 5: ['4.7.3-3'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      await rejection(client.subscribe('é'.repeat(32_768), () => undefined), 'subscribe');
      const longest = `${'t'.repeat(32_767)}/${'u'.repeat(32_767)}`;
      const refused = client.subscribe(longest, () => undefined).catch((cause: Error) => cause);
      const sent = await Promise.race([t.expect(peer, 'SUBSCRIBE'), refused]);
      insist('filters' in sent && sent.filters[0]?.filter === longest, `sent ${String(sent)}`);
    },
  },
  {
    name: 'options of a subscription stand in their bits',
    on: { 5: ['2.1.3-1'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      client.subscribe('a', () => undefined, { qos: 2, nl: true, rap: true, rh: 2 })
        .catch(() => undefined);
      const sent = await t.expect(peer, 'SUBSCRIBE');
      insist(sent.filters[0]?.options === (0x20 | 0x08 | 0x04 | 2), 'options');
      const identifier = valueOf(sent, 0x0b);
      insist(identifier === undefined || Number(identifier) > 0, 'Subscription Identifier');
    },
  },
  ...[0x80, 0x87, 0x97].map((code): ClientRow => ({
    name: `a SUBACK of 0x${code.toString(16)} rejects the subscription`,
    on: code === 0x80 ? { 4: [], 5: [] } : { 5: [] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      const refused = rejection(client.subscribe('a', () => undefined), 'subscribe');
      const { packetId } = await peer.expectPacket('SUBSCRIBE');
      peer.send(server.suback(t.version, packetId, [code]));
      insist((await refused).reasonCode === code, 'the reason reached the subscriber');
    },
  })),
];

export const subscribingCases = expandClient('subscriptions', rows);
