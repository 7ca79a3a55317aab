/** PUBLISH before properties: flags, QoS exchanges, order, retained messages. */
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { retainedRows } from './retained.js';
import { ExpectationError } from '../wire/peer.js';
import { cat, packet, str, u16, u8 } from '../wire/bytes.js';
import { puback, pubcomp, publish, pubrec, pubrel } from '../wire/packets.js';

const flags: CaseRow[] = [
  {
    name: 'QoS 3 closes the connection',
    on: { 3: [], 4: ['3.3.1-4', '4.8.0-1'], 5: ['3.3.1-4', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(
      packet(0x36, str(t.topic('a')), u16(1), t.version === 5 ? u8(0) : Buffer.alloc(0)),
      [0x81, 0x82])),
  },
  {
    name: 'QoS 0 with DUP 1 is never passed on with DUP',
    on: { 4: ['3.3.1-2', '3.3.1-3'], 5: ['3.3.1-2', '3.3.1-3'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 1);
      t.send(publisher, t.topic('a'), 'x', { dup: true });
      await t.publish(await t.connect(), t.topic('a'), 'next');
      // A server may take it for malformed; if it forwards, then without DUP (the reader checks).
      for (;;) {
        const { payload } = await subscriber.expectPacket('PUBLISH', { dup: false, qos: 0 });
        if (payload.toString() === 'next') return;
      }
    },
  },
  {
    name: 'DUP of an incoming PUBLISH is not copied to the outgoing one',
    on: { 3: [], 4: ['3.3.1-3', '4.3.2-1', '4.3.3-1'], 5: ['3.3.1-3', '4.3.2-2', '4.3.3-2'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 2);
      await t.publish(publisher, t.topic('a'), 'one', { qos: 1, dup: true });
      await t.receive(subscriber, { payload: 'one', dup: false, qos: 1 });
      await t.publish(publisher, t.topic('a'), 'two', { qos: 2, dup: true });
      await t.receive(subscriber, { payload: 'two', dup: false, qos: 2 });
    },
  },
  ...(['#', '+', 'a/+/b', 'a#'] as const).map((name): CaseRow => ({
    name: `the Topic Name ${name} closes the connection`,
    on: { 3: [], 4: ['3.3.2-2', '4.7.1-1'], 5: ['3.3.2-2', '4.7.0-1'] },
    run: async (t) => void (await t.expectBytesRefused(
      publish({ version: t.version, topic: `${t.root}/${name}`, payload: 'x' }),
      [0x81, 0x82, 0x90])),
  })),
  {
    name: 'an empty Topic Name closes the connection',
    on: { 3: [], 4: ['4.7.3-1'], 5: ['4.7.3-1'] },
    run: async (t) => void (await t.expectBytesRefused(
      publish({ version: t.version, topic: '', payload: 'x' }), [0x81, 0x82, 0x90])),
  },
  {
    name: 'the topic that arrives is the one that was published',
    on: { 3: [], 4: ['3.3.2-3', '3.3.2-1'], 5: ['3.3.2-3', '3.3.2-1'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('+/ñ/#'));
      for (const name of ['a/ñ', 'b/ñ/c', 'ż/ñ/💧']) {
        await t.publish(publisher, t.topic(name), name);
        await subscriber.expectPacket('PUBLISH', { topic: t.topic(name), payload: name });
      }
      await t.publish(publisher, t.topic('a/n'), 'no');
      await subscriber.expectNothing();
    },
  },
];

const exchanges: CaseRow[] = [
  {
    name: 'QoS 0 gets no answer, QoS 1 PUBACK, QoS 2 PUBREC',
    on: { 3: [], 4: ['3.3.4-1', '4.3.2-2', '4.3.3-2'],
      5: ['3.3.4-1', '4.3.2-4', '4.3.3-8', '3.4.2-1', '3.5.2-1'] },
    run: async (t) => {
      const peer = await t.connect();
      t.send(peer, t.topic('a'), 'x');
      await peer.expectNothing();
      t.send(peer, t.topic('a'), 'x', { qos: 1, packetId: 9 });
      await peer.expectPacket('PUBACK', { packetId: 9 });
      t.send(peer, t.topic('a'), 'x', { qos: 2, packetId: 9 });
      await peer.expectPacket('PUBREC', { packetId: 9 });
    },
  },
  {
    name: 'after PUBACK the identifier means a new message, whatever DUP says',
    on: { 3: [], 4: ['4.3.2-2'], 5: ['4.3.2-5'] },
    run: async (t) => {
      const peer = await t.connect();
      await t.subscribed(peer, t.topic('a'), 0);
      for (const dup of [false, true, false]) {
        t.send(peer, t.topic('a'), `${dup}`, { qos: 1, packetId: 5, dup });
        await peer.awaitPacket('PUBACK', { packetId: 5 });
        await peer.awaitPacket('PUBLISH', { payload: `${dup}` });
      }
    },
  },
  {
    name: 'a repeated QoS 2 PUBLISH is answered by PUBREC and delivered once',
    on: { 3: [], 4: ['4.3.3-2'], 5: ['4.3.3-10', '4.3.3-8', '4.3.3-11'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 2);
      for (const dup of [false, true, true]) {
        t.send(publisher, t.topic('a'), 'once', { qos: 2, packetId: 5, dup });
        await publisher.expectPacket('PUBREC', { packetId: 5 });
      }
      publisher.send(pubrel(5));
      await publisher.expectPacket('PUBCOMP', { packetId: 5 });
      await t.receive(subscriber, { payload: 'once', qos: 2 });
      await subscriber.expectNothing();
    },
  },
  {
    name: 'a QoS 2 PUBLISH repeated after a reconnect is still delivered once',
    on: { 3: [], 4: ['4.3.3-2', '3.1.2-4'], 5: ['4.3.3-10', '3.1.2-5'] },
    run: async (t) => {
      const subscriber = await t.connect();
      await t.subscribed(subscriber, t.topic('a'), 2);
      const options = { ...t.persistent(), clientId: t.clientId() };
      const first = await t.connect(options);
      t.send(first, t.topic('a'), 'once', { qos: 2, packetId: 5 });
      await first.expectPacket('PUBREC', { packetId: 5 });
      await t.cut(first);
      const second = await t.connect(options);
      t.send(second, t.topic('a'), 'once', { qos: 2, packetId: 5, dup: true });
      await second.expectPacket('PUBREC', { packetId: 5 });
      second.send(pubrel(5));
      await second.expectPacket('PUBCOMP', { packetId: 5 });
      await t.receive(subscriber, { payload: 'once' });
      await subscriber.expectNothing();
    },
  },
  {
    name: 'after PUBCOMP the identifier means a new message',
    on: { 3: [], 4: ['4.3.3-2'], 5: ['4.3.3-12'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 0);
      for (const dup of [false, true]) {
        await t.publish(publisher, t.topic('a'), `${dup}`, { qos: 2, packetId: 5, dup });
        await subscriber.expectPacket('PUBLISH', { payload: `${dup}` });
      }
    },
  },
  {
    name: 'a PUBREL for an unknown identifier is answered by PUBCOMP (5.0: 0x92)',
    on: { 3: [], 4: ['4.3.3-2', '2.3.1-6'], 5: ['4.3.3-11', '3.7.2-1', '3.6.2-1'] },
    run: async (t) => {
      const peer = await t.connect();
      peer.send(pubrel(77));
      const { reasonCode } = await peer.expectPacket('PUBCOMP', { packetId: 77 });
      if (reasonCode !== 0 && reasonCode !== 0x92) throw new ExpectationError(`${reasonCode}`);
      await t.fence(peer);
    },
  },
  {
    name: 'an acknowledgement for an unknown identifier does no harm',
    on: { 3: [], 4: [], 5: ['3.6.2-1'] }, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect();
      peer.send(cat(puback(70), pubcomp(71)));
      await t.fence(peer);
      peer.send(pubrec(72));
      // MQTT 5 answers PUBREL 0x92; older versions PUBREL or nothing.
      if (t.version === 5) await peer.awaitPacket('PUBREL', { packetId: 72, reasonCode: 0x92 });
      await t.fence(peer);
    },
  },
  ...([[1, 'PUBREC', pubrec], [1, 'PUBCOMP', pubcomp], [2, 'PUBACK', puback],
    [2, 'PUBCOMP', pubcomp]] as const).map(([qos, name, answer]): CaseRow => ({
    name: `${name} in answer to a QoS ${qos} PUBLISH closes the connection (5.0: 0x82)`,
    on: { 3: [], 4: [], 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), qos);
      await t.publish(publisher, t.topic('a'), 'x', { qos });
      const { packetId } = await subscriber.expectPacket('PUBLISH', { qos });
      subscriber.send(answer(packetId));
      await t.expectRefused(subscriber, [0x82]);
    },
  })),
  {
    name: 'the server sends PUBREL on PUBREC and takes PUBCOMP as the end',
    on: { 3: [], 4: ['4.3.3-1', '2.3.1-6'], 5: ['4.3.3-4', '3.6.2-1', '2.2.1-5', '4.3.3-5'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 2);
      await t.publish(publisher, t.topic('a'), 'x', { qos: 2 });
      const { packetId } = await subscriber.expectPacket('PUBLISH', { qos: 2, dup: false });
      subscriber.send(pubrec(packetId));
      const pubrelReply = await subscriber.expectPacket('PUBREL', { packetId, reasonCode: 0 });
      const bytes = pubrelReply.raw.toString('hex');
      if (!bytes.startsWith('62')) throw new ExpectationError(`PUBREL ${bytes}`);
      subscriber.send(pubcomp(packetId));
      await subscriber.expectNothing();
    },
  },
  {
    name: 'PUBREC of 0x80 or above frees identifier and quota, without PUBREL',
    on: { 5: ['4.3.3-4', '4.3.3-9', '4.9.0-1'] }, kind: 'easily-wrong',
    run: async (t) => {
      const subscriber = await t.connect({
        properties: [Buffer.from('210001', 'hex')] }); // Receive Maximum 1
      await t.subscribed(subscriber, t.topic('a'), 2);
      const publisher = await t.connect();
      for (let at = 0; at < 3; at++) await t.publish(publisher, t.topic('a'), `${at}`, { qos: 2 });
      for (let at = 0; at < 3; at++) {
        const { packetId } = await subscriber.expectPacket('PUBLISH', { payload: `${at}` });
        subscriber.send(pubrec(packetId, 0x80));
      }
      await subscriber.expectNothing();
    },
  },
  {
    name: 'acknowledgements leave in the order of their messages',
    on: { 3: [], 4: ['4.6.0-2', '4.6.0-3', '4.6.0-4'], 5: ['3.3.4-1'] },
    run: async (t) => {
      const { version } = t;
      const [subscriber, peer] = [await t.connect(), await t.connect()];
      const topic = t.topic('a');
      const list = Array.from({ length: 8 }, (_, at) => at + 1);
      for (const qos of [1, 2]) {
        peer.send(...list.map((packetId) =>
          publish({ version, topic, payload: 'x', qos, packetId: packetId * qos })));
        const name = qos === 1 ? 'PUBACK' : 'PUBREC';
        for (const packetId of list) await peer.expectPacket(name, { packetId: packetId * qos });
      }
      await t.subscribed(subscriber, topic, 2);
      for (const payload of list) await t.publish(peer, topic, `${payload}`,
        { qos: 2, packetId: 99 });
      const identifiers = [];
      for (const payload of list) {
        identifiers.push(
          (await subscriber.expectPacket('PUBLISH', { payload: `${payload}` })).packetId);
      }
      const order = [...identifiers].reverse();
      subscriber.send(...order.map((packetId) => pubrec(packetId)));
      for (const packetId of order) await subscriber.expectPacket('PUBREL', { packetId });
    },
  },
  ...([0, 1, 2] as const).map((qos): CaseRow => ({
    name: `QoS ${qos} messages of one client arrive in their order`,
    on: { 3: [], 4: ['4.6.0-5', '4.6.0-6'], 5: ['4.6.0-5', '4.6.0-6'] },
    run: async (t) => {
      const { version } = t;
      const topic = t.topic('a');
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, [[t.topic('#'), qos]]);
      const list = Array.from({ length: 30 }, (_, at) => at + 1);
      const all =
        list.map((at) => publish({ version, topic, payload: `${at}`, qos, packetId: at }));
      const half = Math.min(list.length, 10);
      for (let at = 0; at < all.length; at += half) {
        publisher.send(...all.slice(at, at + half));
        if (qos === 2) publisher.send(...list.slice(at, at + half).map((id) => pubrel(id)));
        for (const id of list.slice(at, at + half)) {
          await t.receive(subscriber, { payload: `${id}` });
          if (qos > 0) await publisher.awaitPacket(qos === 1 ? 'PUBACK' : 'PUBCOMP',
            { packetId: id });
        }
      }
    },
  })),
  {
    name: 'messages that wait for a client that is away come in their order, each once',
    on: {
      3: [], 4: ['4.6.0-5', '4.6.0-6', '3.1.2-5', '4.5.0-1'], 5: ['4.6.0-5', '4.6.0-6', '4.5.0-1'],
    },
    run: async (t) => {
      const session = { ...t.persistent(), clientId: t.clientId() };
      const first = await t.connect(session);
      await t.subscribed(first, t.topic('#'), 2);
      await t.disconnect(first);
      const publisher = await t.connect();
      for (let at = 0; at < 12; at++) {
        await t.publish(publisher, t.topic(`${at % 3}`), `${at}`, { qos: 1 });
      }
      const again = await t.connect(session);
      for (let at = 0; at < 12; at++) await t.receive(again, { payload: `${at}`, qos: 1 });
      await t.fence(again);
      await again.expectNothing(0);
    },
  },
  {
    name: 'a message goes out at the lower of published and granted QoS',
    on: { 3: [], 4: ['3.8.4-6'], 5: ['3.8.4-8'] },
    run: async (t) => {
      const publisher = await t.connect();
      for (const granted of [0, 1, 2]) {
        const subscriber = await t.connect();
        await t.subscribed(subscriber, t.topic('a'), granted);
        for (const qos of [0, 1, 2]) {
          await t.publish(publisher, t.topic('a'), 'x', { qos });
          await t.receive(subscriber, { qos: Math.min(qos, granted) });
        }
      }
    },
  },
  {
    name: 'a client without the right to publish is not heard: acknowledged or closed',
    on: { 3: [], 4: ['3.3.5-2'], 5: ['3.4.2-1', '3.5.2-1'] }, variant: 'guarded',
    run: async (t) => {
      const alice = { username: 'alice', password: 'secret' };
      const witness = await t.connect(alice);
      await t.subscribe(witness, [[`+/${t.root}`, 0]]);
      for (const qos of [0, 1, 2]) {
        const peer = await t.connect(alice);
        t.send(peer, `forbidden/${t.root}`, 'x', { qos, packetId: 3 });
        const reply = await peer.next(qos === 0 ? 150 : 5000).catch(() => undefined);
        const expected = ['', 'PUBACK', 'PUBREC'][qos];
        if (reply && reply.name !== 'DISCONNECT' && reply.name !== expected) {
          throw new ExpectationError(`answered by ${reply.name}`);
        }
        if (t.version === 5 && qos > 0 && reply && reply.reasonCode !== 0x87) {
          throw new ExpectationError(
            `Reason Code 0x${reply.reasonCode.toString(16)}, expected 0x87`);
        }
        if (!reply && qos > 0 && !peer.closed) throw new ExpectationError('neither');
      }
      await witness.expectNothing();
    },
  },
  {
    name: 'after PUBREC 0x87 the identifier means a new message',
    on: { 5: ['4.3.3-9'] }, variant: 'guarded',
    run: async (t) => {
      const peer = await t.connect({ username: 'alice', password: 'secret' });
      await t.subscribed(peer, t.topic('a'), 0);
      t.send(peer, `forbidden/${t.root}`, 'x', { qos: 2, packetId: 3 });
      await peer.expectPacket('PUBREC', { packetId: 3, reasonCode: 0x87 });
      await t.publish(peer, t.topic('a'), 'new', { qos: 2, packetId: 3 });
      await peer.awaitPacket('PUBLISH', { payload: 'new' });
    },
  },
];

const overlapping: CaseRow[] = [
  {
    name: 'overlapping subscriptions deliver at the highest QoS among them',
    on: { 3: [], 4: ['3.3.5-1'], 5: ['3.3.4-2'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, [[t.topic('#'), 0], [t.topic('a'), 2], [t.topic('+'), 1]]);
      await t.publish(publisher, t.topic('a'), 'x', { qos: 2 });
      await subscriber.awaitPacket('PUBLISH', { payload: 'x', qos: 2 });
      await t.publish(publisher, t.topic('b'), 'y', { qos: 2 });
      await subscriber.awaitPacket('PUBLISH', { payload: 'y', qos: 1 });
    },
  },
  {
    name: 'overlapping subscriptions deliver one copy',
    on: { 3: [], 4: [], 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, [[t.topic('#'), 0], [t.topic('a'), 1]]);
      await t.publish(publisher, t.topic('a'), 'x', { qos: 1 });
      await t.receive(subscriber, { payload: 'x', qos: 1 });
      await subscriber.expectNothing();
    },
  },
];

export const publishCases = expand('PUBLISH, QoS and retained messages', [
  ...flags, ...exchanges, ...overlapping, ...retainedRows,
]);
