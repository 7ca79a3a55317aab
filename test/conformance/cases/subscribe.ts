/** SUBSCRIBE, UNSUBSCRIBE and their answers. */
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { OPTION, PROPERTY } from '../kit.js';
import { ExpectationError } from '../wire/peer.js';
import { packet, str, u16, u8 } from '../wire/bytes.js';
import { property, puback, pubcomp, publish, pubrec, subscribe,
  unsubscribe } from '../wire/packets.js';
import { valueOf } from '../wire/reader.js';

const BAD = [0x81, 0x82];

const answers: CaseRow[] = [
  {
    name: 'SUBACK has the identifier of SUBSCRIBE and one code for each filter, in order',
    on: {
      3: [], 4: ['3.8.4-1', '3.8.4-2', '3.8.4-5', '3.8.4-6', '3.9.3-1', '3.9.3-2', '2.3.1-7',
        '3.8.4-4'],
      5: ['3.8.4-1', '3.8.4-2', '3.8.4-6', '3.8.4-7', '3.9.3-1', '3.9.3-2', '2.2.1-6', '3.8.4-5'],
    },
    run: async (t) => {
      const peer = await t.connect();
      const orders = [[0, 1, 2], [2, 1, 0, 2], [1], [2, 2, 0, 0, 1]];
      for (const [at, qoss] of orders.entries()) {
        const packetId = 1000 + at;
        const filters = qoss.map((qos, level) => [t.topic(`${at}/${level}`), qos] as const);
        peer.send(subscribe(t.version, packetId, filters));
        await peer.expectPacket('SUBACK', { packetId, reasonCodes: qoss });
      }
    },
  },
  {
    name: 'a SUBACK without properties is exact: length, identifier, codes',
    on: { 3: [], 4: ['3.8.4-2'], 5: ['2.2.2-1', '3.8.4-2'] },
    run: async (t) => {
      const peer = await t.connect();
      peer.send(subscribe(t.version, 0x1234, [[t.topic('a'), 1]]));
      const { raw, properties } = await peer.expectPacket('SUBACK');
      const wanted = t.version === 5 ? '900412340001' : '9003123401';
      if (properties.length === 0 && raw.toString('hex') !== wanted) {
        throw new ExpectationError(`expected ${wanted}`);
      }
    },
  },
  {
    name: 'a SUBSCRIBE with several filters works like several SUBSCRIBE packets',
    on: { 3: [], 4: ['3.8.4-4'], 5: ['3.8.4-5'] },
    run: async (t) => {
      const [peer, publisher] = [await t.connect(), await t.connect()];
      await t.publish(publisher, t.topic('b'), 'retained', { qos: 1, retain: true });
      await t.subscribed(peer, [[t.topic('a'), 0], [t.topic('b'), 1], [t.topic('c/#'), 2]]);
      await t.receive(peer, { payload: 'retained', qos: 1, retain: true });
      for (const [name, qos] of [['a', 0], ['b', 1], ['c/d', 2]] as const) {
        await t.publish(publisher, t.topic(name), name, { qos: 2 });
        await t.receive(peer, { payload: name, qos });
      }
    },
  },
  {
    name: 'the same filter twice in one SUBSCRIBE: the last one counts',
    on: { 3: [], 4: ['3.8.4-4', '3.8.4-3'], 5: ['3.8.4-5', '3.8.4-3'] },
    run: async (t) => {
      const peer = await t.connect();
      const suback = await t.subscribed(peer, [[t.topic('a'), 2], [t.topic('a'), 1]]);
      if (suback.reasonCodes.length !== 2) throw new ExpectationError('one code for each filter');
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 2 });
      await t.receive(peer, { payload: 'x', qos: 1 });
      await peer.expectNothing();
    },
  },
  {
    name: 'subscribing again replaces the subscription: one copy, at the new QoS',
    on: { 3: [], 4: ['3.8.4-3'], 5: ['3.8.4-3'] },
    run: async (t) => {
      const [peer, publisher] = [await t.connect(), await t.connect()];
      for (const qos of [2, 0, 1]) {
        await t.subscribed(peer, t.topic('a'), qos);
        await t.publish(publisher, t.topic('a'), 'x', { qos: 2 });
        await t.receive(peer, { payload: 'x', qos });
      }
      await peer.expectNothing();
    },
  },
  {
    name: 'a refused subscription has a failure code and stands for nothing',
    on: { 4: ['3.8.4-6', '3.9.3-2', '3.8.4-5'], 5: ['3.8.4-7', '3.9.3-2', '3.8.4-6'] },
      variant: 'guarded',
    run: async (t) => {
      const alice = { username: 'alice', password: 'secret' };
      const peer = await t.connect(alice);
      const { reasonCodes } = await t.subscribe(peer, [
        [t.topic('a'), 1], [`forbidden/${t.root}`, 1], [t.topic('b'), 0]]);
      const failure = t.version === 5 ? 0x87 : 0x80;
      if (reasonCodes.join() !== [1, failure, 0].join()) {
        throw new ExpectationError(`SUBACK codes ${reasonCodes.join()}`);
      }
    },
  },
  {
    name: '3.1 has no SUBACK 0x80',
    on: { 3: [] }, kind: 'easily-wrong', variant: 'guarded',
    run: async (t) => {
      const peer = await t.connect({ username: 'alice', password: 'secret' });
      peer.send(subscribe(3, 1, [[`forbidden/${t.root}`, 1]]));
      // The reader refuses 0x80 here; a grant that delivers nothing or a close are both possible.
      const reply = await peer.next().catch(() => undefined);
      if (reply && reply.name !== 'SUBACK') throw new ExpectationError(reply.name);
    },
  },
];

const refusals: CaseRow[] = [
  {
    name: 'a SUBSCRIBE without filters closes the connection',
    on: { 4: ['3.8.3-3', '4.8.0-1'], 5: ['3.8.3-2', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(subscribe(t.version, 1, []), BAD)),
  },
  {
    name: 'an UNSUBSCRIBE without filters closes the connection',
    on: { 4: ['3.10.3-2', '4.8.0-1'], 5: ['3.10.3-2', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(unsubscribe(t.version, 1, []), BAD)),
  },
  ...([['QoS 3', 0x03], ['reserved bit 7', 0x80], ['reserved bit 6', 0x40]] as const)
    .map(([what, options]): CaseRow => ({
      name: `a SUBSCRIBE with ${what} closes the connection`,
      on: { 4: ['3.8.3-4', '4.8.0-1'], 5: ['3.8.3-5', '4.13.1-1'] },
      run: async (t) => void (await t.expectBytesRefused(
        subscribe(t.version, 1, [[t.topic('a'), options]]), BAD)),
    })),
  {
    name: 'MQTT 5 subscription options are reserved bits in 3.1.1', on: { 4: ['3.8.3-4'] },
    run: async (t) => {
      for (const options of [OPTION.noLocal, OPTION.retainAsPublished, OPTION.retainHandling1]) {
        await t.expectBytesRefused(subscribe(t.version, 1, [[t.topic('a'), options]]));
      }
    },
  },
  {
    name: 'retain handling 3 closes the connection', on: { 5: ['3.8.3-5', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(
      subscribe(5, 1, [[t.topic('a'), 0x30]]), BAD)),
  },
  {
    name: 'the second filter is checked like the first',
    on: { 4: ['4.7.3-2'], 5: ['4.7.3-2'] },
    run: async (t) => void (await t.expectBytesRefused(
      subscribe(t.version, 1, [[t.topic('a'), 0], ['a\0', 0]]), [...BAD, 0x8f])),
  },
  {
    name: 'a filter longer than its packet closes the connection',
    on: { 3: [], 4: ['4.8.0-1'], 5: ['4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(packet(
      0xa2, u16(1), t.version === 5 ? u8(0) : Buffer.alloc(0), str(t.topic('a')), u16(9), u8(65)),
    BAD)),
  },
];

const unsubscribing: CaseRow[] = [
  {
    name: 'UNSUBSCRIBE is answered by UNSUBACK with its identifier, also when nothing was deleted',
    on: { 3: [], 4: ['3.10.4-4', '3.10.4-5', '2.3.1-7'],
      5: ['3.10.4-4', '3.10.4-5', '3.11.3-2', '2.2.1-6'] },
    run: async (t) => {
      const peer = await t.connect();
      peer.send(unsubscribe(t.version, 0x4321, [t.topic('never')]));
      const { raw } = await peer.expectPacket('UNSUBACK', { packetId: 0x4321 });
      if (t.version < 5 && raw.toString('hex') !== 'b0024321') throw new ExpectationError('bytes');
    },
  },
  {
    name: 'UNSUBACK has one code for each filter, in order',
      on: { 5: ['3.11.3-1', '3.11.3-2', '2.2.2-1'] },
    run: async (t) => {
      const peer = await t.connect();
      await t.subscribed(peer, [[t.topic('a'), 0], [t.topic('b'), 0]]);
      const { reasonCodes } = await t.unsubscribe(peer, t.topic('a'), t.topic('x'), t.topic('b'));
      if (reasonCodes.join() !== [0, 0x11, 0].join()) throw new ExpectationError(
        reasonCodes.join());
    },
  },
  {
    name: 'an unsubscribed filter gets nothing more; others do',
    on: { 3: [], 4: ['3.10.4-1', '3.10.4-2'], 5: ['3.10.4-1', '3.10.4-2'] },
    run: async (t) => {
      const [peer, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(peer, [[t.topic('a'), 1], [t.topic('b'), 1]]);
      await t.unsubscribe(peer, t.topic('a'));
      await t.publish(publisher, t.topic('a'), 'gone', { qos: 1 });
      await t.publish(publisher, t.topic('b'), 'there', { qos: 1 });
      await t.receive(peer, { payload: 'there' });
      await peer.expectNothing();
    },
  },
  {
    name: 'filters are compared character by character when unsubscribing',
    on: { 3: [], 4: ['3.10.4-1', '4.7.3-4'], 5: ['3.10.4-1', '4.7.3-4'] },
    run: async (t) => {
      const [peer, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(peer, t.topic('a/+'), 1);
      const near = ['a/#', 'a/b', 'A/+', 'a/+/', '/a/+', 'a'].map((name) => t.topic(name));
      await t.unsubscribe(peer, ...near);
      await t.publish(publisher, t.topic('a/b'), 'x', { qos: 1 });
      await t.receive(peer, { payload: 'x' });
    },
  },
  {
    name: 'an UNSUBSCRIBE with several filters works like several packets',
    on: { 3: [], 4: ['3.10.4-6'], 5: ['3.10.4-6'] },
    run: async (t) => {
      const [peer, publisher] = [await t.connect(), await t.connect()];
      const names = ['a', 'b/#', 'c/+'];
      await t.subscribed(peer, names.map((name) => [t.topic(name), 0] as const));
      await t.unsubscribe(peer, ...names.map((name) => t.topic(name)));
      for (const name of ['a', 'b/c', 'c/d']) await t.publish(publisher, t.topic(name), 'x');
      await peer.expectNothing();
    },
  },
  {
    name: 'QoS 1 and 2 deliveries already begun are completed after an unsubscribe',
    on: { 3: [], 4: ['3.10.4-3'], 5: ['3.10.4-3'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const peer = await t.connect(options);
      const publisher = await t.connect();
      await t.subscribed(peer, t.topic('a'), 2);
      await t.publish(publisher, t.topic('a'), '1', { qos: 1 });
      await t.publish(publisher, t.topic('a'), '2', { qos: 2 });
      const one = await peer.expectPacket('PUBLISH', { payload: '1' });
      const two = await peer.expectPacket('PUBLISH', { payload: '2' });
      await t.unsubscribe(peer, t.topic('a'));
      peer.send(pubrec(two.packetId));
      await peer.expectPacket('PUBREL', { packetId: two.packetId });
      peer.send(pubcomp(two.packetId));
      await t.fence(peer);
      await t.cut(peer);
      const back = await t.connect(options);
      await back.expectPacket('PUBLISH', { payload: '1', dup: true, packetId: one.packetId });
      back.send(puback(one.packetId));
      await back.expectNothing();
    },
  },
  {
    name: 'an unsubscribe of a stored session stops its queue',
    on: { 3: [], 4: ['3.10.4-2'], 5: ['3.10.4-2'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const peer = await t.connect(options);
      await t.subscribed(peer, t.topic('a'), 1);
      await t.unsubscribe(peer, t.topic('a'));
      await t.disconnect(peer);
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 1 });
      await (await t.connect(options)).expectNothing();
    },
  },
];

/** Small enough for any SUBACK, PUBACK..., too small for a Reason String of any use. */
const SMALL = 40;

const smallPackets: CaseRow[] = [
  {
    name: 'answers keep within a small Maximum Packet Size, reason strings left out',
    on: { 5: ['3.4.2-2', '3.4.2-3', '3.5.2-2', '3.5.2-3', '3.6.2-2', '3.6.2-3', '3.7.2-2',
      '3.7.2-3', '3.9.2-1', '3.9.2-2', '3.11.2-1', '3.11.2-2', '3.1.2-24'] },
    run: async (t) => {
      const peer = await t.connect({ maximumPacketSize: SMALL });
      t.send(peer, t.topic('nobody'), 'x', { qos: 1, packetId: 3 });
      await peer.expectPacket('PUBACK', { packetId: 3 });
      t.send(peer, t.topic('nobody'), 'x', { qos: 2, packetId: 3 });
      await peer.expectPacket('PUBREC', { packetId: 3 });
      peer.send(Buffer.from([0x62, 2, 0, 3]));
      await peer.expectPacket('PUBCOMP', { packetId: 3 });
      peer.send(Buffer.from([0x62, 2, 0, 9])); // unknown: PUBCOMP 0x92
      await peer.expectPacket('PUBCOMP', { packetId: 9 });
      peer.send(pubrec(8)); // unknown: PUBREL 0x92
      await peer.expectPacket('PUBREL', { packetId: 8 });
      peer.send(subscribe(5, 4, [[`$share/${t.root}/${t.topic('a')}`, 1], [t.topic('b'), 2]]));
      await peer.expectPacket('SUBACK', { packetId: 4 });
      peer.send(unsubscribe(5, 5, [t.topic('unknown'), t.topic('b')]));
      await peer.expectPacket('UNSUBACK', { packetId: 5 });
    },
  },
  {
    name: 'a SUBACK or UNSUBACK that exceeds the client\'s Maximum Packet Size is not sent',
    on: { 5: ['3.1.2-24'] },
    run: async (t) => {
      const peer = await t.connect({ maximumPacketSize: SMALL });
      const filters = Array.from({ length: SMALL }, (_, at) => t.topic(`${at}`));
      peer.send(subscribe(5, 4, filters.map((filter) => [filter, 0] as const)));
      await t.publish(await t.connect(), t.topic('7'), 'x'); // it is subscribed all the same
      await peer.expectPacket('PUBLISH', { payload: 'x' });
      peer.send(unsubscribe(5, 5, filters));
      await t.fence(peer);
      await peer.expectNothing(0);
    },
  },
  {
    name: 'refusals keep within a small Maximum Packet Size, reason strings left out',
    on: { 5: ['3.4.2-2', '3.4.2-3', '3.5.2-2', '3.5.2-3', '3.9.2-1', '3.9.2-2'] },
      variant: 'guarded',
    run: async (t) => {
      const alice = { username: 'alice', password: 'secret' };
      const peer = await t.connect({ ...alice, maximumPacketSize: SMALL });
      peer.send(subscribe(5, 4, [[`forbidden/${t.root}`, 1]]));
      await peer.expectPacket('SUBACK', { packetId: 4 });
      for (const [qos, name] of [[1, 'PUBACK'], [2, 'PUBREC']] as const) {
        t.send(peer, `forbidden/${t.root}`, 'x', { qos, packetId: 3 });
        await peer.expectPacket(name, { packetId: 3 });
      }
    },
  },
  {
    name: 'DISCONNECT keeps within a small Maximum Packet Size, reason string left out',
    on: { 5: ['3.14.2-3', '3.14.2-4', '3.14.2-2', '3.14.2-1', '3.14.4-2', '3.14.4-1'] },
    run: async (t) => {
      const peer = await t.connect({ maximumPacketSize: SMALL });
      peer.send(publish({ version: 5, topic: t.topic('+'), payload: 'x' }));
      const replies = await t.expectRefused(peer, [0x81, 0x82, 0x90]);
      const last = replies.findIndex((reply) => reply.name === 'DISCONNECT');
      if (last >= 0 && last < replies.length - 1) throw new ExpectationError(
        'packet after DISCONNECT');
    },
  },
  {
    name: 'with request problem information 0 no acknowledgement explains itself',
    on: { 5: ['3.1.2-29'] }, variant: 'guarded',
    run: async (t) => {
      const alice = { username: 'alice', password: 'secret' };
      const peer =
        await t.connect({ ...alice, properties: [property.requestProblemInformation(0)] });
      peer.send(subscribe(5, 1, [[`forbidden/${t.root}`, 1]]), unsubscribe(5, 2, [t.topic('x')]),
        publish({ version: 5, topic: `forbidden/${t.root}`, qos: 1, packetId: 3 }),
        publish({ version: 5, topic: `forbidden/${t.root}`, qos: 2, packetId: 4 }),
        Buffer.from([0x62, 2, 0, 9]), pubrec(8));
      for (let at = 0; at < 6; at++) {
        const reply = await peer.next();
        for (const id of [PROPERTY.reasonString, PROPERTY.user]) {
          if (valueOf(reply, id) !== undefined) throw new ExpectationError(
            `${reply.name} explains`);
        }
      }
    },
  },
];

export const subscribeCases = expand('SUBSCRIBE and UNSUBSCRIBE', [
  ...answers, ...refusals, ...unsubscribing, ...smallPackets,
]);
