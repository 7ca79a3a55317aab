/** Will Messages and Keep Alive. */
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { PROPERTY } from '../kit.js';
import type { Kit, Peer } from '../kit.js';
import { ExpectationError } from '../wire/peer.js';
import { hex } from '../wire/bytes.js';
import { property } from '../wire/packets.js';
import type { WillFields } from '../wire/packets.js';
import { valueOf, valuesOf } from '../wire/reader.js';

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function watcher(t: Kit, options = 2): Promise<Peer> {
  const peer = await t.connect();
  await t.subscribed(peer, t.topic('w'), options);
  return peer;
}

function will(t: Kit, more: Partial<WillFields> = {}): WillFields {
  return { topic: t.topic('w'), payload: 'last words', ...more };
}

const publishing: CaseRow[] = [
  ...([0, 1, 2] as const).map((qos): CaseRow => ({
    name: `a QoS ${qos} will is published when the network fails`,
    on: { 3: [], 4: ['3.1.2-8', '3.1.2-16'], 5: ['3.1.2-7', '3.1.2-8', '3.1.2-14'] },
    run: async (t) => {
      const witness = await watcher(t);
      (await t.connect({ will: will(t, { qos }) })).cut();
      await t.receive(witness, { payload: 'last words', qos, retain: false, topic: t.topic('w') });
    },
  })),
  {
    name: 'a will is published when the client breaks the protocol',
    on: { 3: [], 4: ['3.1.2-8', '4.8.0-1'], 5: ['3.1.2-8', '4.13.1-1'] },
    run: async (t) => {
      const witness = await watcher(t);
      const peer = await t.connect({ will: will(t) });
      peer.send(hex('00 00'));
      await t.expectRefused(peer);
      await t.receive(witness, { payload: 'last words' });
    },
  },
  {
    name: 'a will is published when the connection is taken over',
    on: { 3: [], 4: ['3.1.2-8', '3.1.4-2'], 5: ['3.1.2-8', '3.1.4-3'] }, kind: 'easily-wrong',
    run: async (t) => {
      const witness = await watcher(t);
      const clientId = t.clientId();
      await t.connect({ clientId, will: will(t) });
      await t.connect({ clientId });
      await t.receive(witness, { payload: 'last words' });
    },
  },
  {
    name: 'DISCONNECT deletes the will',
    on: { 3: [], 4: ['3.1.2-10', '3.14.4-3'], 5: ['3.1.2-10', '3.14.4-3', '3.1.2-8'] },
    run: async (t) => {
      const witness = await watcher(t);
      await t.disconnect(await t.connect({ will: will(t) }));
      await witness.expectNothing();
    },
  },
  {
    name: 'a DISCONNECT that is wrong does not delete the will',
    on: { 4: ['3.14.1-1', '3.1.2-8'], 5: ['3.14.1-1', '3.14.2-1', '3.1.2-8'] },
    run: async (t) => {
      const witness = await watcher(t);
      // Flags 0001; in 5.0 a Reason Code that does not exist as well.
      for (const bytes of ['e100', ...(t.version === 5 ? ['e0017f'] : [])]) {
        const peer = await t.connect({ will: will(t) });
        peer.send(hex(bytes));
        await t.expectRefused(peer);
        await t.receive(witness, { payload: 'last words' });
      }
    },
  },
  {
    name: 'a published will is gone: the next failure without a will says nothing',
    on: { 3: [], 4: ['3.1.2-10', '3.1.2-12'], 5: ['3.1.2-10'] },
    run: async (t) => {
      const witness = await watcher(t);
      const clientId = t.clientId();
      (await t.connect({ ...t.persistent(), clientId, will: will(t) })).cut();
      await t.receive(witness, { payload: 'last words' });
      await t.cut(await t.connect({ ...t.persistent(), clientId }));
      await witness.expectNothing();
    },
  },
  {
    name: 'a published will is gone: the end of its session does not publish it again',
    on: { 3: [], 4: ['3.1.2-10'], 5: ['3.1.2-10'] },
    run: async (t) => {
      const witness = await watcher(t);
      const clientId = t.clientId();
      (await t.connect({ ...t.persistent(), clientId, will: will(t) })).cut();
      await t.receive(witness, { payload: 'last words' });
      await t.disconnect(await t.connect({ clientId, cleanStart: true }));
      await t.fence(witness);
      await witness.expectNothing();
    },
  },
  {
    name: 'without a will nothing is published when the network fails',
    on: { 3: [], 4: ['3.1.2-12'], 5: [] },
    run: async (t) => {
      const witness = await t.connect();
      await t.subscribed(witness, t.topic('#'));
      await t.cut(await t.connect());
      await witness.expectNothing();
    },
  },
  {
    name: 'Will Retain 1 leaves a retained message, Will Retain 0 none',
    on: { 3: [], 4: ['3.1.2-16', '3.1.2-17'], 5: ['3.1.2-14', '3.1.2-15'] },
    run: async (t) => {
      const witness = await t.connect();
      await t.subscribed(witness, t.topic('+'), 1);
      (await t.connect({ will: will(t, { retain: true, qos: 1 }) })).cut();
      await t.receive(witness, { topic: t.topic('w'), retain: false });
      (await t.connect({ will: will(t, { topic: t.topic('v') }) })).cut();
      await t.receive(witness, { topic: t.topic('v'), retain: false });
      const late = await t.connect();
      await t.subscribed(late, t.topic('+'), 1);
      await t.receive(late, { topic: t.topic('w'), retain: true, payload: 'last words', qos: 1 });
      await late.expectNothing();
    },
  },
  {
    name: 'an empty will payload is a message like any other',
    on: { 3: [], 4: ['3.1.2-8'], 5: ['3.1.2-8'] }, kind: 'non-normative',
    run: async (t) => {
      const witness = await watcher(t);
      (await t.connect({ will: will(t, { payload: '' }) })).cut();
      await t.receive(witness, { payload: '' });
    },
  },
];

const version5: CaseRow[] = [
  {
    name: 'DISCONNECT 0x04 publishes the will',
    on: { 5: ['3.1.2-8'] }, kind: 'easily-wrong',
    run: async (t) => {
      const witness = await watcher(t);
      await t.disconnect(await t.connect({ will: will(t) }), 0x04);
      await t.receive(witness, { payload: 'last words' });
    },
  },
  {
    name: 'a delayed will waits for its delay',
    on: { 5: ['3.1.2-8'] },
    run: async (t) => {
      const witness = await watcher(t);
      const properties = [property.willDelay(1)];
      (await t.connect({ ...t.persistent(30), will: will(t, { properties }) })).cut();
      await witness.expectNothing(600);
      await t.receive(witness, { payload: 'last words' });
    },
  },
  {
    name: 'a delayed will is not sent when the client comes back in time',
    on: { 5: ['3.1.3-9', '3.1.2-8'] },
    run: async (t) => {
      const witness = await watcher(t);
      const clientId = t.clientId();
      const properties = [property.willDelay(1)];
      await t.cut(
        await t.connect({ ...t.persistent(30), clientId, will: will(t, { properties }) }));
      await t.connect({ ...t.persistent(30), clientId });
      await witness.expectNothing(2200);
    },
  },
  {
    name: 'a takeover that resumes the session suppresses a delayed will',
    on: { 5: ['3.1.3-9'] }, kind: 'easily-wrong',
    run: async (t) => {
      const witness = await watcher(t);
      const clientId = t.clientId();
      const properties = [property.willDelay(1)];
      await t.connect({ ...t.persistent(30), clientId, will: will(t, { properties }) });
      await t.connect({ ...t.persistent(30), clientId });
      await witness.expectNothing(2200);
    },
  },
  {
    name: 'a takeover with clean start 1 ends the session and publishes the delayed will',
    on: { 5: ['3.1.2-8'] }, kind: 'easily-wrong',
    run: async (t) => {
      const witness = await watcher(t);
      const clientId = t.clientId();
      const properties = [property.willDelay(60)];
      await t.connect({ ...t.persistent(120), clientId, will: will(t, { properties }) });
      await t.connect({ clientId, cleanStart: true });
      await t.receive(witness, { payload: 'last words' });
    },
  },
  {
    name: 'a clean start while the will waits ends the session and publishes the will',
    on: { 5: ['3.1.2-8'] }, kind: 'easily-wrong',
    run: async (t) => {
      const witness = await watcher(t);
      const clientId = t.clientId();
      const properties = [property.willDelay(60)];
      await t.cut(
        await t.connect({ ...t.persistent(120), clientId, will: will(t, { properties }) }));
      await t.connect({ clientId, cleanStart: true });
      await t.receive(witness, { payload: 'last words' });
    },
  },
  {
    name: 'a session that ends before the will delay publishes the will at its end',
    on: { 5: ['3.1.2-8'] }, kind: 'non-normative',
    run: async (t) => {
      const witness = await watcher(t);
      const properties = [property.willDelay(60)];
      (await t.connect({ ...t.persistent(1), will: will(t, { properties }) })).cut();
      await witness.expectNothing(500);
      await t.receive(witness, { payload: 'last words' });
    },
  },
  {
    name: 'without session expiry a will delay does not delay',
    on: { 5: ['3.1.2-8'] }, kind: 'non-normative',
    run: async (t) => {
      const witness = await watcher(t);
      (await t.connect({ will: will(t, { properties: [property.willDelay(60)] }) })).cut();
      await t.receive(witness, { payload: 'last words' });
    },
  },
  {
    name: 'a will keeps its properties, and user properties keep their order',
    on: { 5: ['3.1.3-10', '3.3.2-17', '3.3.2-18'] },
    run: async (t) => {
      const witness = await watcher(t);
      const users = [['b', '1'], ['a', '2'], ['b', '3'], ['', '']] as const;
      const properties = [
        property.payloadFormat(1), property.contentType('text/plain'),
        property.responseTopic('answer/here'), property.correlationData(hex('00 ff 01')),
        property.messageExpiry(100), ...users.map(([key, value]) => property.user(key, value)),
      ];
      (await t.connect({ will: will(t, { properties }) })).cut();
      const message = await t.receive(witness, { payload: 'last words' });
      const got = JSON.stringify(valuesOf(message, PROPERTY.user));
      if (got !== JSON.stringify(users)) throw new ExpectationError(`user properties ${got}`);
      for (const [id, wanted] of [[PROPERTY.payloadFormat, 1], [PROPERTY.contentType, 'text/plain'],
        [PROPERTY.responseTopic, 'answer/here']] as const) {
        const value = valueOf(message, id);
        if (value !== wanted) throw new ExpectationError(`property ${id} is ${String(value)}`);
      }
      const data = valueOf(message, PROPERTY.correlationData) as Buffer | undefined;
      if (data?.toString('hex') !== '00ff01') throw new ExpectationError('correlation data');
      if (valueOf(message, 0x18) !== undefined) throw new ExpectationError('will delay leaked');
    },
  },
];

/** Keep Alive 1 s: cut off after 1.5 s, not before, and before the patience of anybody ends. */
const KEEP_ALIVE_EARLIEST_MS = 1400;
const KEEP_ALIVE_LATEST_MS = 9000;

async function expectCutOff(t: Kit, peer: Peer): Promise<void> {
  const start = Date.now();
  const replies = await peer.expectClosed(KEEP_ALIVE_LATEST_MS);
  if (Date.now() - start < KEEP_ALIVE_EARLIEST_MS) {
    throw new ExpectationError(`cut off after ${Date.now() - start} ms`);
  }
  const told = replies.find((reply) => reply.name === 'DISCONNECT');
  if (t.version === 5 && told && told.reasonCode !== 0x8d) {
    throw new ExpectationError(`DISCONNECT 0x${told.reasonCode.toString(16)}, expected 0x8d`);
  }
}

const keepAlive: CaseRow[] = [
  {
    name: 'a silent client is cut off after one and a half times its keep alive',
    on: { 3: [], 4: ['3.1.2-24'], 5: ['3.1.2-22', '3.2.2-22'] },
    run: async (t) => expectCutOff(t, await t.connect({ keepAlive: 1 })),
  },
  {
    name: 'keep alive that ran out publishes the will',
    on: { 3: [], 4: ['3.1.2-24', '3.1.2-8'], 5: ['3.1.2-22', '3.1.2-8'] },
    run: async (t) => {
      const witness = await watcher(t);
      await t.connect({ keepAlive: 1, will: will(t) });
      await witness.expectNothing(1000);
      await witness.expectPacket('PUBLISH', { payload: 'last words' }, KEEP_ALIVE_LATEST_MS);
    },
  },
  {
    name: 'PINGREQ and any other packet keep the connection alive',
    on: { 3: [], 4: ['3.1.2-24', '3.12.4-1'], 5: ['3.1.2-22', '3.12.4-1'] },
    run: async (t) => {
      const peer = await t.connect({ keepAlive: 1 });
      const publisher = await t.connect({ keepAlive: 1 });
      await t.subscribed(peer, t.topic('other'));
      for (let at = 0; at < 4; at++) {
        await sleep(700);
        await t.fence(peer);
        t.send(publisher, t.topic('a'), 'x');
      }
      await t.fence(publisher);
    },
  },
  {
    name: 'what the server sends does not keep a silent client alive',
    on: { 4: ['3.1.2-24'], 5: ['3.1.2-22'] }, kind: 'easily-wrong',
    run: async (t) => {
      const silent = await t.connect({ keepAlive: 1 });
      await t.subscribed(silent, t.topic('a'));
      const publisher = await t.connect();
      const start = Date.now();
      while (!silent.closed && Date.now() - start < KEEP_ALIVE_LATEST_MS) {
        t.send(publisher, t.topic('a'), 'x');
        await sleep(200);
      }
      if (!silent.closed) throw new ExpectationError('still connected');
    },
  },
  {
    name: 'keep alive 0 turns the check off',
    on: { 3: [], 4: [], 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const peer = await t.connect({ keepAlive: 0 });
      // A server keep alive would be the server's right; then there is nothing to see.
      if (t.announced(peer, PROPERTY.serverKeepAlive, 0) > 0) return;
      await peer.expectNothing(2500);
      await t.fence(peer);
    },
  },
];

export const willCases = expand('wills and keep alive', [
  ...publishing, ...version5, ...keepAlive,
]);
