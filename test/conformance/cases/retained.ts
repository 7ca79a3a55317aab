/** Retained messages: storing, replacing, removing, and who gets them when. */
import type { CaseRow } from '../case.js';
import { OPTION } from '../kit.js';
import { ExpectationError } from '../wire/peer.js';
import { subscribe } from '../wire/packets.js';

/** How long a message that may be missing is waited for. */
const SETTLE_MS = 500;

export const retainedRows: readonly CaseRow[] = [
  {
    name: 'a retained message is stored with its QoS and sent to new subscribers with RETAIN 1',
    on: { 3: [], 4: ['3.3.1-5', '3.3.1-6', '3.3.1-8'], 5: ['3.3.1-5', '3.3.1-9'] },
    run: async (t) => {
      const publisher = await t.connect();
      for (const qos of [0, 1, 2]) {
        await t.publish(publisher, t.topic(`q${qos}`), `${qos}`, { qos, retain: true });
      }
      const subscriber = await t.connect();
      await t.subscribed(subscriber, t.topic('+'), 2);
      for (const qos of [0, 1, 2]) {
        const message = await subscriber.awaitPacket('PUBLISH', { topic: t.topic(`q${qos}`) });
        if (!message.retain || message.qos !== qos || message.payload.toString() !== `${qos}`) {
          throw new ExpectationError(`got ${message.raw.toString('hex')}`);
        }
        await t.acknowledge(subscriber, message);
      }
      await subscriber.expectNothing();
    },
  },
  {
    name: 'the last retained message of a topic is the one that counts',
    on: { 3: [], 4: ['3.3.1-6', '3.3.1-7'], 5: ['3.3.1-5'] },
    run: async (t) => {
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'old', { qos: 1, retain: true });
      await t.publish(publisher, t.topic('a'), 'new', { retain: true });
      const subscriber = await t.connect();
      await t.subscribed(subscriber, t.topic('a'), 1);
      // Storing a retained QoS 0 message is recommended, dropping the old one is required.
      const message = await subscriber.next(SETTLE_MS).catch(() => undefined);
      if (message && message.payload.toString() !== 'new') throw new ExpectationError(
        'the old one');
      await subscriber.expectNothing();
    },
  },
  {
    name: 'a retained QoS 0 message takes the place of the one before',
    on: { 3: [], 4: ['3.3.1-7'], 5: ['3.3.1-5'] }, kind: 'non-normative',
    run: async (t) => {
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'old', { qos: 1, retain: true });
      await t.publish(publisher, t.topic('a'), 'new', { retain: true });
      const subscriber = await t.connect();
      await t.subscribed(subscriber, t.topic('a'), 1);
      await t.receive(subscriber, { payload: 'new', retain: true, qos: 0 });
      await t.fence(subscriber);
      await subscriber.expectNothing(0);
    },
  },
  {
    name: 'an existing subscription gets RETAIN 0',
    on: { 3: [], 4: ['3.3.1-9'], 5: ['3.3.1-12'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 1);
      await t.publish(publisher, t.topic('a'), 'x', { qos: 1, retain: true });
      await t.receive(subscriber, { payload: 'x', retain: false });
    },
  },
  {
    name: 'an empty retained message removes the old one, is passed on and not stored',
    on: { 3: [], 4: ['3.3.1-10', '3.3.1-11'], 5: ['3.3.1-6', '3.3.1-7'] },
    run: async (t) => {
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'x', { qos: 1, retain: true });
      const before = await t.connect();
      await t.subscribed(before, t.topic('a'), 1);
      await t.receive(before, { payload: 'x', retain: true });
      await t.publish(publisher, t.topic('a'), '', { qos: 1, retain: true });
      await t.receive(before, { payload: '', retain: false });
      const after = await t.connect();
      await t.subscribed(after, t.topic('a'), 1);
      await after.expectNothing();
    },
  },
  {
    name: 'a message with RETAIN 0 leaves the retained one alone, an empty one too',
    on: { 3: [], 4: ['3.3.1-12'], 5: ['3.3.1-8'] },
    run: async (t) => {
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('never'), 'x', { qos: 1 });
      await t.publish(publisher, t.topic('a'), 'kept', { qos: 1, retain: true });
      await t.publish(publisher, t.topic('a'), 'other', { qos: 1 });
      await t.publish(publisher, t.topic('a'), '', { qos: 1 });
      const subscriber = await t.connect();
      await t.subscribed(subscriber, t.topic('#'), 1);
      await t.receive(subscriber, { payload: 'kept', retain: true });
      await subscriber.expectNothing();
    },
  },
  {
    name: 'subscribing again sends the retained messages again',
    on: { 3: [], 4: ['3.8.4-3', '3.3.1-6'], 5: ['3.3.1-9', '3.8.4-4'] },
    run: async (t) => {
      const peer = await t.connect();
      await t.publish(peer, t.topic('a'), 'x', { qos: 1, retain: true });
      for (let at = 0; at < 3; at++) {
        await t.subscribed(peer, t.topic('a'), 1);
        const message = await peer.awaitPacket('PUBLISH', { payload: 'x', retain: true });
        await t.acknowledge(peer, message);
      }
    },
  },
  {
    name: 'retained messages match wildcards, one for every topic',
    on: { 3: [], 4: ['3.3.1-6'], 5: ['3.3.1-9'] }, kind: 'non-normative',
    run: async (t) => {
      const publisher = await t.connect();
      const names = ['x', 'x/y', 'x/', 'x/y/z', '/x', 'x//z'];
      for (const name of names) await t.publish(publisher, t.topic(name), name,
        { retain: true, qos: 1 });
      for (const [filter, expected] of [
        ['x/#', ['x', 'x/y', 'x/', 'x/y/z', 'x//z']], ['x/+', ['x/y', 'x/']], ['+', ['x']],
        ['x/+/z', ['x/y/z', 'x//z']], ['+/x', ['/x']], ['#', names],
      ] as const) {
        const subscriber = await t.connect();
        await t.subscribed(subscriber, t.topic(filter), 0);
        const got = new Set<string>();
        for (let at = 0; at < expected.length; at++) {
          const message = await subscriber.expectPacket('PUBLISH', { retain: true });
          got.add(message.payload.toString());
        }
        const missing = expected.filter((name) => !got.has(name));
        if (missing.length > 0) throw new ExpectationError(`${filter}: no ${missing.join(' ')}`);
        await subscriber.expectNothing(100);
      }
    },
  },
  {
    name: 'retain handling 0, 1 and 2',
    on: { 5: ['3.3.1-9', '3.3.1-10', '3.3.1-11', '3.8.4-4'] },
    run: async (t) => {
      const peer = await t.connect();
      await t.publish(peer, t.topic('a'), 'x', { qos: 1, retain: true });
      const expectRetained = async (options: number, count: number): Promise<void> => {
        await t.subscribed(peer, t.topic('a'), options);
        for (let at = 0; at < count; at++) {
          await peer.expectPacket('PUBLISH', { payload: 'x', retain: true });
        }
        await peer.expectNothing();
      };
      await expectRetained(OPTION.retainHandling2, 0);
      await expectRetained(OPTION.retainHandling1, 0); // it exists already
      await expectRetained(0, 1);
      await expectRetained(0, 1);
      await t.unsubscribe(peer, t.topic('a'));
      await expectRetained(OPTION.retainHandling1, 1);
      await expectRetained(OPTION.retainHandling1, 0);
      await expectRetained(OPTION.retainHandling2, 0);
    },
  },
  {
    name: 'retain as published 1 keeps RETAIN, 0 clears it',
    on: { 5: ['3.3.1-12', '3.3.1-13'] },
    run: async (t) => {
      const [kept, cleared] = [await t.connect(), await t.connect()];
      await t.subscribed(kept, t.topic('a'), OPTION.retainAsPublished);
      await t.subscribed(cleared, t.topic('a'), 0);
      for (const retain of [true, false]) {
        await t.publish(await t.connect(), t.topic('a'), `${retain}`, { retain });
        await kept.expectPacket('PUBLISH', { payload: `${retain}`, retain });
        await cleared.expectPacket('PUBLISH', { payload: `${retain}`, retain: false });
      }
    },
  },
  {
    name: 'a replaced subscription loses no message',
    on: { 3: [], 4: ['3.8.4-3'], 5: ['3.8.4-4', '3.8.4-3'] },
    run: async (t) => {
      const { version } = t;
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 1);
      for (let at = 0; at < 10; at++) {
        t.send(publisher, t.topic('a'), `${at}`, { qos: 1 });
        subscriber.send(subscribe(version, 100 + at, [[t.topic('a'), at % 2]]));
      }
      for (let at = 0; at < 10; at++) {
        const message = await subscriber.awaitPacket('PUBLISH', { payload: `${at}` });
        await t.acknowledge(subscriber, message);
      }
      await subscriber.expectNothing(100, (reply) => reply.name === 'PUBLISH');
    },
  },
];
