/** Chapter 4.7 and 4.8: topics, filters, matching, shared subscriptions. */
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { OPTION } from '../kit.js';
import type { Kit, Peer } from '../kit.js';
import { ExpectationError } from '../wire/peer.js';
import { puback, publish, pubrec, subscribe } from '../wire/packets.js';
import type { Reply } from '../wire/reader.js';

const BAD_FILTER = [0x8f, 0x81, 0x82];

/** A filter that is wrong: the connection is closed, or MQTT 5 answers SUBACK 0x8F for it. */
function wrongFilter(name: string, on: CaseRow['on'], filter: (t: Kit) => string): CaseRow {
  return {
    name: `the filter ${name} is refused`, on,
    run: async (t) => {
      const peer = await t.connect();
      peer.send(subscribe(t.version, 1, [[filter(t), 0]]));
      const reply = await peer.next().catch(() => undefined);
      if (reply?.name === 'SUBACK') {
        const refused = reply.reasonCodes[0] === (t.version === 5 ? 0x8f : 0x80);
        if (!refused) throw new ExpectationError(`SUBACK ${reply.reasonCodes.join()}`);
        return;
      }
      if (t.version === 5 && reply && !BAD_FILTER.includes(reply.reasonCode)) {
        throw new ExpectationError(`${reply.name} ${reply.reasonCode}`);
      }
      await peer.expectClosed();
    },
  };
}

const wrong: CaseRow[] = [
  ...['a#', '#/a', 'a/#/b', 'a/b#', '##'].map((filter) => wrongFilter(filter,
    { 3: [], 4: ['4.7.1-2'], 5: ['4.7.1-1'] }, (t) => `${t.root}/${filter}`)),
  ...['a+', '+a', 'a/b+/c', '++', '+#'].map((filter) => wrongFilter(filter,
    { 3: [], 4: [filter === '+#' ? '4.7.1-2' : '4.7.1-3'],
      5: [filter === '+#' ? '4.7.1-1' : '4.7.1-2'] }, (t) => `${t.root}/${filter}`)),
  wrongFilter('of length 0', { 3: [], 4: ['4.7.3-1'], 5: ['4.7.3-1'] }, () => ''),
];

/** Rows of topic names and what filters match; every topic is prefixed by a level of its own. */
const MATCHING: readonly (readonly [filter: string, topic: string, matches: boolean])[] = [
  ['a', 'a', true], ['a', 'A', false], ['a', 'a/', false], ['a', '/a', false],
  ['+', 'a', true], ['+', '', true], ['+', 'a/b', false], ['+/+', 'a/b', true],
  ['+/+', '/x', true], ['a/+', 'a/', true], ['a/+', 'a', false], ['a/+/b', 'a//b', true],
  ['a//b', 'a//b', true], ['a//b', 'a/b', false], ['a/', 'a/', true], ['a/', 'a', false],
  ['/', '/', true], ['/', '//', false], ['//', '//', true], ['+/', 'a/', true],
  ['/+', '/a', true], ['/+', 'a', false], ['#', 'a', true], ['#', 'a/b/c', true],
  ['#', '', true], ['a/#', 'a', true], ['a/#', 'a/', true], ['a/#', 'a/b/c', true],
  ['a/#', 'ab', false], ['a/+/#', 'a', false], ['a/+/#', 'a/b', true], ['+/#', '/', true],
  ['a b', 'a b', true], ['a', 'a ', false], ['ä', 'a\u0308', false], ['%2F', '/', false],
  ['.', '.', true], ['..', '.', false], ['a/./b', 'a/b', false], ['$x', '$x', true],
  ['+', '$x', true], ['a/+', 'a/$x', true],
];

const matching: CaseRow[] = [
  {
    name: 'filters match as the standard says, empty levels included, and nothing is normalised',
    on: { 3: [], 4: ['4.7.3-4', '4.7.1-3', '4.7.1-2', '3.3.2-3'],
      5: ['4.7.3-4', '4.7.1-1', '4.7.1-2', '3.3.2-3'] },
    run: async (t) => {
      const publisher = await t.connect();
      const filters = [...new Set(MATCHING.map(([filter]) => filter))];
      for (const filter of filters) {
        const peer = await t.connect();
        await t.subscribed(peer, t.topic(filter));
        for (const [, topic, matches] of MATCHING.filter(([one]) => one === filter)) {
          await t.publish(publisher, t.topic(topic), topic);
          if (matches) await peer.expectPacket('PUBLISH',
            { topic: t.topic(topic), payload: topic });
          else await peer.expectNothing(60);
        }
        peer.cut();
      }
    },
  },
  {
    name: 'the topics / and // of nothing but empty levels are published, matched and told apart',
    on: { 3: [], 4: [], 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const [publisher, peer] = [await t.connect(), await t.connect()];
      await t.subscribed(peer, [['/', 0], ['//', 0]]);
      for (const topic of ['/', '//']) {
        await t.publish(publisher, topic, t.root);
        // Cases of other versions publish there too.
        await peer.awaitPacket('PUBLISH', { topic, payload: t.root });
      }
    },
  },
  {
    name: 'filters that begin with a wildcard do not match topics that begin with $',
    on: { 3: [], 4: ['4.7.2-1'], 5: ['4.7.2-1'] },
    run: async (t) => {
      const [wild, exact] = [await t.connect(), await t.connect()];
      await t.subscribed(wild, [[`+/${t.root}/#`, 0], [`+/${t.root}/a`, 0], [`+/+/${t.root}`, 0]]);
      await t.subscribed(exact, `$test/${t.root}/a`);
      // Refusing a client's publish to such a topic would be the server's right.
      const publisher = await t.connect();
      t.send(publisher, `$test/${t.root}/a`, 'x');
      t.send(publisher, `$test/b/${t.root}`, 'x');
      await exact.next(500).catch(() => undefined);
      await wild.expectNothing();
    },
  },
  {
    name: 'retained $-topics are kept from wildcards too', on: { 4: ['4.7.2-1'], 5: ['4.7.2-1'] },
    kind: 'non-normative',
    run: async (t) => {
      const publisher = await t.connect();
      t.send(publisher, `$test/${t.root}/a`, 'x', { retain: true });
      await publisher.expectNothing(50, () => false).catch(() => undefined);
      const wild = await t.connect();
      await t.subscribed(wild, `+/${t.root}/#`);
      await wild.expectNothing();
    },
  },
  {
    name: '# does not deliver $SYS', on: { 4: ['4.7.2-1'], 5: ['4.7.2-1'] }, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect();
      await t.subscribed(peer, '#');
      await peer.expectNothing(300, (reply: Reply) => reply.topic.startsWith('$'));
    },
  },
  {
    name: 'a topic of 65535 bytes is published and matched',
    on: { 3: [], 4: ['4.7.3-3'], 5: ['4.7.3-3'] }, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect();
      const topic = `${t.root}/`.padEnd(65_535, 'x');
      await t.subscribed(peer, [[t.topic('#'), 0], [topic, 1]]);
      await t.publish(peer, topic, 'long', { qos: 1 });
      await peer.awaitPacket('PUBLISH', { topic, payload: 'long' });
    },
  },
  {
    name: 'the names of object properties are topics like any others',
    on: { 4: ['4.7.3-4'], 5: ['4.7.3-4'] }, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect();
      for (const name of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
        await t.subscribed(peer, t.topic(name));
        await t.publish(peer, t.topic(name), name, { retain: true });
        await peer.awaitPacket('PUBLISH', { topic: t.topic(name), payload: name });
      }
    },
  },
  {
    name: 'a packet of 256 MiB is refused by limit, before its bytes come',
    on: { 4: [], 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect();
      peer.send(Buffer.from('30ffffff7f', 'hex'), publish({ version: t.version, topic: 'x' }));
      const replies = await peer.expectClosed(3000).catch(() => undefined);
      // A server may have a limit of 256 MiB, but then it has to take the packet.
      if (!replies) await t.fence(await t.connect());
      const told = replies?.find((reply) => reply.name === 'DISCONNECT');
      if (told && told.reasonCode !== 0x95) throw new ExpectationError(`0x${told.reasonCode}`);
    },
  },
];

/** What each member of a group got, after as many messages as `total` arrived in sum. */
async function collect(t: Kit, members: readonly Peer[], total: number): Promise<string[][]> {
  const got: string[][] = members.map(() => []);
  const readers = members.map(async (peer, at) => {
    for (;;) {
      const message = await t.receive(peer, {}).catch(() => undefined);
      if (!message) return;
      got[at]?.push(message.payload.toString());
      if (got.flat().length >= total) members.forEach((one) => one.expectNothing(1).catch(() => 0));
    }
  });
  const end = Date.now() + 5000;
  while (got.flat().length < total && Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await new Promise((resolve) => setTimeout(resolve, 150));
  members.forEach((peer) => peer.cut());
  await Promise.all(readers);
  return got;
}

const sharedFilter = (t: Kit, name = 'g'): string => `$share/${t.root}${name}/${t.topic('a')}`;

const shared: CaseRow[] = [
  {
    name: 'each message goes to one member of a group, to every group and to plain subscribers',
    on: { 5: ['4.8.2-3', '4.8.2-1', '4.8.2-2'] },
    run: async (t) => {
      const members = [await t.connect(), await t.connect(), await t.connect()];
      const other = [await t.connect()];
      const plain = [await t.connect()];
      for (const peer of members) await t.subscribed(peer, sharedFilter(t), 1);
      await t.subscribed(other[0] as Peer, sharedFilter(t, 'h'), 1);
      await t.subscribed(plain[0] as Peer, t.topic('a'), 1);
      const publisher = await t.connect();
      for (let at = 0; at < 12; at++) await t.publish(publisher, t.topic('a'), `${at}`, { qos: 1 });
      const [inGroup, inOther, inPlain] = await Promise.all([
        collect(t, members, 12), collect(t, other, 12), collect(t, plain, 12)]);
      const unique = new Set(inGroup.flat());
      if (inGroup.flat().length !== 12 || unique.size !== 12) {
        throw new ExpectationError(`group got ${JSON.stringify(inGroup)}`);
      }
      if (inOther.flat().length !== 12 || inPlain.flat().length !== 12) {
        throw new ExpectationError('another group or a plain subscriber was left out');
      }
    },
  },
  {
    name: 'each member is served at the QoS granted to it', on: { 5: ['4.8.2-3', '3.8.4-8'] },
    run: async (t) => {
      const members = [await t.connect(), await t.connect(), await t.connect()];
      for (const [qos, peer] of members.entries()) await t.subscribed(peer, sharedFilter(t), qos);
      const publisher = await t.connect();
      const sent = 9;
      for (let at = 0; at < sent; at++) await t.publish(publisher, t.topic('a'), 'x', { qos: 2 });
      let count = 0;
      await Promise.all(members.map(async (peer, qos) => {
        for (;;) {
          const message = await peer.next(300).catch(() => undefined);
          if (!message) return;
          if (message.name !== 'PUBLISH') continue;
          if (message.qos !== qos) throw new ExpectationError(`QoS ${message.qos}, granted ${qos}`);
          await t.acknowledge(peer, message);
          count++;
        }
      }));
      if (count !== sent) throw new ExpectationError(`${count} of ${sent} arrived`);
    },
  },
  {
    name: 'a shared subscription gets no retained messages at subscribe',
    on: { 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect();
      await t.publish(peer, t.topic('a'), 'x', { qos: 1, retain: true });
      await t.subscribed(peer, sharedFilter(t), 1);
      await peer.expectNothing();
    },
  },
  {
    name: 'no local on a shared subscription closes the connection',
    on: { 5: ['3.8.3-4', '4.13.1-1'] },
    run: async (t) => void (await t.expectBytesRefused(
      subscribe(5, 1, [[sharedFilter(t), OPTION.noLocal]]), [0x82, 0x81])),
  },
  ...(['$share//a', '$share/g', '$share/g+/a', '$share/g#/a', '$share/+/a', '$share/g/'] as const)
    .map((filter) => wrongFilter(filter,
      { 5: [['$share//a'].includes(filter) ? '4.8.2-1' : '4.8.2-2'] }, () => filter)),
  {
    name: 'an unacknowledged QoS 2 delivery is completed to the same member when it comes back',
    on: { 5: ['4.8.2-4'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const [first, second] = [await t.connect(options), await t.connect()];
      const publisher = await t.connect();
      await t.subscribed(first, sharedFilter(t), 2);
      await t.publish(publisher, t.topic('a'), 'x', { qos: 2 });
      const { packetId } = await first.expectPacket('PUBLISH', { payload: 'x', qos: 2 });
      first.send(pubrec(packetId));
      await first.expectPacket('PUBREL', { packetId });
      await t.subscribed(second, sharedFilter(t), 2);
      await t.cut(first);
      await second.expectNothing();
      const back = await t.connect(options);
      await back.expectPacket('PUBREL', { packetId });
      await second.expectNothing();
    },
  },
  {
    name: 'a QoS 2 PUBLISH cut off before PUBREC stays with its member too',
    on: { 5: ['4.8.2-4'] }, kind: 'easily-wrong',
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const [first, second] = [await t.connect(options), await t.connect()];
      await t.subscribed(first, sharedFilter(t), 2);
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 2 });
      const { packetId } = await first.expectPacket('PUBLISH', { payload: 'x', qos: 2 });
      await t.subscribed(second, sharedFilter(t), 2);
      await t.cut(first);
      await second.expectNothing();
      const back = await t.connect(options);
      await t.receive(back, { payload: 'x', packetId, dup: true });
    },
  },
  {
    name: 'when the session of that member ends first, nobody else gets the QoS 2 message',
    on: { 5: ['4.8.2-5'] },
    run: async (t) => {
      const [first, second] = [await t.connect(), await t.connect()];
      await t.subscribed(first, sharedFilter(t), 2);
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 2 });
      await first.expectPacket('PUBLISH', { payload: 'x', qos: 2 });
      await t.subscribed(second, sharedFilter(t), 2);
      await t.cut(first);
      await second.expectNothing(300);
    },
  },
  {
    name: 'a message that a member refused is offered to nobody else',
    on: { 5: ['4.8.2-6'] },
    run: async (t) => {
      const [first, second] = [await t.connect(), await t.connect()];
      await t.subscribed(first, sharedFilter(t), 2);
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), '1', { qos: 1 });
      await t.publish(publisher, t.topic('a'), '2', { qos: 2 });
      const one = await first.expectPacket('PUBLISH', { payload: '1' });
      const two = await first.expectPacket('PUBLISH', { payload: '2' });
      await t.subscribed(second, sharedFilter(t), 2);
      first.send(puback(one.packetId, 0x80), pubrec(two.packetId, 0x97));
      await t.fence(first);
      await second.expectNothing();
    },
  },
  {
    name: 'an unacknowledged QoS 1 delivery of a member whose session ended goes to another',
    on: { 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const [first, second] = [await t.connect(), await t.connect()];
      await t.subscribed(first, sharedFilter(t), 1);
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 1 });
      await first.expectPacket('PUBLISH', { payload: 'x' });
      await t.subscribed(second, sharedFilter(t), 1);
      await t.cut(first);
      await t.receive(second, { payload: 'x' });
    },
  },
  {
    name: 'shared subscriptions work for older versions too',
    on: { 3: [], 4: [] }, kind: 'non-normative',
    run: async (t) => {
      const members = [await t.connect(), await t.connect()];
      for (const peer of members) await t.subscribed(peer, sharedFilter(t), 1);
      const publisher = await t.connect();
      for (let at = 0; at < 6; at++) await t.publish(publisher, t.topic('a'), `${at}`, { qos: 1 });
      const got = (await collect(t, members, 6)).flat();
      if (got.length !== 6 || new Set(got).size !== 6) throw new ExpectationError(got.join());
    },
  },
  {
    name: 'an unsubscribed member gets nothing more, the others everything',
    on: { 5: ['3.10.4-1', '3.10.4-2'] }, kind: 'non-normative',
    run: async (t) => {
      const [first, second] = [await t.connect(), await t.connect()];
      for (const peer of [first, second]) await t.subscribed(peer, sharedFilter(t), 1);
      await t.unsubscribe(first, sharedFilter(t));
      const publisher = await t.connect();
      for (let at = 0; at < 4; at++) await t.publish(publisher, t.topic('a'), `${at}`, { qos: 1 });
      for (let at = 0; at < 4; at++) await t.receive(second, { payload: `${at}` });
      await first.expectNothing(50);
    },
  },
];

export const topicCases = expand('topics and shared subscriptions', [
  ...wrong, ...matching, ...shared,
]);
