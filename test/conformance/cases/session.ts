/** Sessions: clean start, session present, expiry, takeover, redelivery. */
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { PROPERTY } from '../kit.js';
import type { ConnectOptions, Kit, Peer } from '../kit.js';
import { ExpectationError } from '../wire/peer.js';
import { property, puback, pubcomp, pubrec, publish, subscribe } from '../wire/packets.js';
import { valueOf } from '../wire/reader.js';

function present(peer: Peer, wanted: boolean): void {
  if (peer.connack.sessionPresent !== wanted) {
    throw new ExpectationError(`session present is ${peer.connack.sessionPresent}`);
  }
}

/** A stored session with one subscription; its client is away. */
async function leaveSession(t: Kit, filter: string, qos = 2): Promise<ConnectOptions> {
  const options = { ...t.persistent(), clientId: t.clientId() };
  const peer = await t.connect(options);
  await t.subscribed(peer, filter, qos);
  await t.disconnect(peer);
  return options;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const storing: CaseRow[] = [
  {
    name: 'a stored session is resumed: session present 1, subscription and queue kept',
    on: { 4: ['3.1.2-4', '3.1.2-5', '3.2.2-2', '3.1.4-3', '4.1.0-1', '4.5.0-1'],
      5: ['3.1.2-5', '3.1.2-23', '3.2.2-3', '3.1.4-4', '4.5.0-1'] },
    run: async (t) => {
      const session = await leaveSession(t, t.topic('a'));
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'one', { qos: 1 });
      await t.publish(publisher, t.topic('a'), 'two', { qos: 2 });
      const back = await t.connect(session);
      present(back, true);
      await t.receive(back, { payload: 'one', qos: 1, dup: false });
      await t.receive(back, { payload: 'two', qos: 2, dup: false });
      await t.publish(publisher, t.topic('a'), 'live');
      await t.receive(back, { payload: 'live' });
    },
  },
  {
    name: '3.1 keeps a session too, and its CONNACK has no session present',
    on: { 3: [] }, kind: 'easily-wrong',
    run: async (t) => {
      const session = await leaveSession(t, t.topic('a'));
      await t.publish(await t.connect(), t.topic('a'), 'one', { qos: 1 });
      const back = await t.connect(session);
      // The byte is reserved in 3.1.
      present(back, false);
      await t.receive(back, { payload: 'one' });
    },
  },
  {
    name: 'without a stored session, session present is 0',
    on: { 4: ['3.1.2-4', '3.2.2-3'], 5: ['3.1.2-6', '3.2.2-3'] },
    run: async (t) => present(await t.connect(t.persistent()), false),
  },
  {
    name: 'clean start 1 throws the stored session away: subscription, queue and flag',
    on: { 3: [], 4: ['3.1.2-6', '3.2.2-1', '3.1.4-3'], 5: ['3.1.2-4', '3.2.2-2', '3.1.4-4'] },
    run: async (t) => {
      const session = await leaveSession(t, t.topic('a'));
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'queued', { qos: 1 });
      const clean = await t.connect({ clientId: session.clientId, cleanStart: true });
      present(clean, false);
      await t.publish(publisher, t.topic('a'), 'live', { qos: 1 });
      await clean.expectNothing();
    },
  },
  {
    name: 'the state of a clean session is never used later',
    on: { 3: [], 4: ['3.1.2-6', '3.2.2-3'], 5: ['4.1.0-2', '3.2.2-3'] },
    run: async (t) => {
      const clientId = t.clientId();
      const clean = await t.connect({ clientId });
      await t.subscribed(clean, t.topic('a'), 1);
      await t.disconnect(clean);
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'gone', { qos: 1 });
      const later = await t.connect({ ...t.persistent(), clientId });
      present(later, false);
      await t.publish(publisher, t.topic('a'), 'gone too', { qos: 1 });
      await later.expectNothing();
    },
  },
  {
    name: 'a session lasts as long as its connection, whatever its expiry',
    on: { 4: ['4.1.0-1', '4.1.0-2'], 5: ['4.1.0-1'] },
    run: async (t) => {
      const peer = await t.connect();
      await t.subscribed(peer, t.topic('a'), 1);
      await sleep(1300);
      await t.publish(await t.connect(), t.topic('a'), 'still here', { qos: 1 });
      await t.receive(peer, { payload: 'still here' });
    },
  },
  {
    name: 'session state belongs to the Client Identifier',
    on: { 3: [], 4: ['3.1.3-2'], 5: ['3.1.3-2'] },
    run: async (t) => {
      const session = await leaveSession(t, t.topic('a'));
      await t.publish(await t.connect(), t.topic('a'), 'yours', { qos: 1 });
      const other = await t.connect({ ...session, clientId: `${String(session.clientId)}x` });
      present(other, false);
      await other.expectNothing();
      await t.receive(await t.connect(session), { payload: 'yours' });
    },
  },
  {
    name: 'retained messages outlive the session that published them',
    on: { 3: [], 4: ['3.1.2-7'], 5: [] },
    run: async (t) => {
      const clientId = t.clientId();
      const peer = await t.connect({ clientId });
      await t.publish(peer, t.topic('a'), 'kept', { qos: 1, retain: true });
      await t.disconnect(peer);
      await t.connect({ clientId, cleanStart: true });
      const reader = await t.connect();
      await t.subscribed(reader, t.topic('a'));
      await reader.expectPacket('PUBLISH', { payload: 'kept', retain: true });
    },
  },
  {
    name: 'every matching session gets the message, online or away',
    on: { 3: [], 4: ['4.5.0-1'], 5: ['4.5.0-1'] },
    run: async (t) => {
      const away = await leaveSession(t, t.topic('+'), 1);
      const online = [await t.connect(), await t.connect()];
      for (const peer of online) await t.subscribed(peer, t.topic('a'), 1);
      await t.publish(await t.connect(), t.topic('a'), 'all', { qos: 1 });
      for (const peer of online) await t.receive(peer, { payload: 'all', qos: 1 });
      await t.receive(await t.connect(away), { payload: 'all', qos: 1 });
    },
  },
];

const expiring: CaseRow[] = [
  {
    name: 'a session is gone once its expiry interval has passed, and there before',
    on: { 5: ['4.1.0-2', '3.1.2-23', '3.2.2-3'] },
    run: async (t) => {
      const options = { ...t.persistent(1), clientId: t.clientId() };
      const peer = await t.connect(options);
      await t.disconnect(peer);
      const back = await t.connect(options);
      present(back, true);
      await t.disconnect(back);
      await sleep(2400);
      present(await t.connect(options), false);
    },
  },
  {
    name: 'DISCONNECT may change the session expiry interval',
    on: { 5: ['4.1.0-2', '3.1.2-23'] },
    run: async (t) => {
      const options = { ...t.persistent(300), clientId: t.clientId() };
      const peer = await t.connect(options);
      await t.disconnect(peer, 0, [property.sessionExpiry(0)]);
      present(await t.connect(options), false);
    },
  },
  {
    name: 'a session expiry interval of 0 cannot be raised by DISCONNECT (0x82)',
    on: { 5: ['4.13.1-1'] }, kind: 'easily-wrong',
    run: async (t) => {
      const peer = await t.connect();
      peer.send(Buffer.from('e00700051100000064', 'hex')); // DISCONNECT 0x00, expiry 100
      await t.expectRefused(peer, [0x82]);
    },
  },
  {
    name: 'a capped session expiry interval is announced and kept',
    on: { 5: [] }, kind: 'announced', variant: 'session-expiry-cap',
    run: async (t) => {
      const options = { ...t.persistent(3600), clientId: t.clientId() };
      const peer = await t.connect(options);
      const told = valueOf(peer.connack, PROPERTY.sessionExpiry);
      if (typeof told !== 'number' || told >= 3600) {
        throw new ExpectationError(`CONNACK announces ${String(told)} s`);
      }
      await t.disconnect(peer);
      await sleep(told * 1000 + 1300);
      present(await t.connect(options), false);
    },
  },
  {
    name: 'a session that was away is kept while its connection is open, and not for ever after',
    on: { 4: ['4.1.0-2'], 5: ['4.1.0-1', '4.1.0-2'] }, variant: 'session-expiry-cap',
    run: async (t) => {
      const session = await leaveSession(t, t.topic('a'));
      const back = await t.connect(session);
      present(back, true);
      await sleep(2300); // longer than the cap of a second
      await t.publish(await t.connect(), t.topic('a'), 'still here', { qos: 1 });
      await t.receive(back, { payload: 'still here' });
      await t.disconnect(back);
      await sleep(2300);
      present(await t.connect(session), false);
    },
  },
  {
    name: 'a clean session 0 session of an old version ends at the configured cap',
    on: { 3: [], 4: [] }, kind: 'easily-wrong', variant: 'session-expiry-cap',
    run: async (t) => {
      const session = await leaveSession(t, t.topic('a'));
      const publisher = await t.connect();
      await sleep(2300);
      await t.publish(publisher, t.topic('a'), 'too late', { qos: 1 });
      const back = await t.connect(session);
      present(back, false);
      await back.expectNothing();
    },
  },
];

const takeover: CaseRow[] = [
  {
    name: 'a second connection with the Client Identifier ends the first (5.0: 0x8E)',
    on: { 3: [], 4: ['3.1.4-2'], 5: ['3.1.4-3'] },
    run: async (t) => {
      const clientId = t.clientId();
      const first = await t.connect({ clientId });
      const second = await t.connect({ clientId });
      if (t.version === 5) await first.expectPacket('DISCONNECT', { reasonCode: 0x8e });
      const rest = await first.expectClosed();
      if (rest.length > 0) throw new ExpectationError(`${rest[0]?.name} before the close`);
      await t.fence(second);
    },
  },
  {
    name: 'a takeover goes on with the session, unacknowledged messages included',
    on: { 3: [], 4: ['3.1.4-2', '4.4.0-1'], 5: ['3.1.4-3', '3.1.2-5', '4.4.0-1'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const first = await t.connect(options);
      await t.subscribed(first, t.topic('a'), 1);
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), 'once', { qos: 1 });
      const { packetId } = await first.expectPacket('PUBLISH', { payload: 'once', dup: false });
      const second = await t.connect(options);
      present(second, t.version > 3);
      await t.receive(second, { payload: 'once', dup: true, packetId });
      await t.publish(publisher, t.topic('a'), 'next', { qos: 1 });
      await t.receive(second, { payload: 'next', dup: false });
    },
  },
  {
    name: 'a takeover with clean start 1 begins a new session',
    on: { 3: [], 4: ['3.1.4-3', '3.1.2-6'], 5: ['3.1.4-4', '3.1.2-4'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const first = await t.connect(options);
      await t.subscribed(first, t.topic('a'), 1);
      const second = await t.connect({ ...options, cleanStart: true });
      present(second, false);
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 1 });
      await second.expectNothing();
    },
  },
];

const redelivery: CaseRow[] = [
  {
    name: 'unacknowledged QoS 1 and 2 come again in order, with DUP and their identifiers',
    on: { 3: [], 4: ['4.4.0-1', '4.6.0-1', '3.3.1-1', '4.3.2-1', '4.3.3-1'],
      5: ['4.4.0-1', '3.3.1-1', '4.3.2-3', '4.3.3-3'] },
    kind: 'easily-wrong',
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const peer = await t.connect(options);
      await t.subscribed(peer, t.topic('a'), 2);
      const publisher = await t.connect();
      const sent: [string, number][] = [];
      for (const [payload, qos] of [['1', 1], ['2', 2], ['3', 1], ['4', 2]] as const) {
        await t.publish(publisher, t.topic('a'), payload, { qos });
        sent.push([payload, (await peer.expectPacket('PUBLISH', { payload, qos })).packetId]);
      }
      await t.cut(peer);
      const back = await t.connect(options);
      for (const [payload, packetId] of sent) {
        await t.receive(back, { payload, packetId, dup: true });
      }
      await back.expectNothing();
    },
  },
  {
    name: 'after PUBREC the PUBREL comes again, never the PUBLISH',
    on: { 3: [], 4: ['4.4.0-1', '4.3.3-1', '2.3.1-6'],
      5: ['4.4.0-1', '4.3.3-5', '4.3.3-6', '4.3.3-4'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const peer = await t.connect(options);
      await t.subscribed(peer, t.topic('a'), 2);
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 2 });
      const { packetId } = await peer.expectPacket('PUBLISH', { qos: 2 });
      peer.send(pubrec(packetId));
      await peer.expectPacket('PUBREL', { packetId });
      await t.cut(peer);
      const back = await t.connect(options);
      await back.expectPacket('PUBREL', { packetId });
      back.send(pubcomp(packetId));
      await back.expectNothing();
      await t.cut(back);
      await (await t.connect(options)).expectNothing();
    },
  },
  {
    name: 'nothing is sent again while the connection lives',
    on: { 4: [], 5: ['4.4.0-1'] }, kind: 'easily-wrong',
    run: async (t) => {
      const peer = await t.connect({ ...t.persistent(), keepAlive: 0 });
      await t.subscribed(peer, t.topic('a'), 2);
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), '1', { qos: 1 });
      await t.publish(publisher, t.topic('a'), '2', { qos: 2 });
      await peer.expectPacket('PUBLISH', { payload: '1' });
      await peer.expectPacket('PUBLISH', { payload: '2' });
      await peer.expectNothing(2000);
    },
  },
  {
    name: 'an acknowledged message does not come again after a resume',
    on: { 3: [], 4: ['4.3.2-1'], 5: ['4.3.2-3'] },
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const peer = await t.connect(options);
      await t.subscribed(peer, t.topic('a'), 1);
      await t.publish(await t.connect(), t.topic('a'), 'x', { qos: 1 });
      const { packetId } = await peer.expectPacket('PUBLISH');
      peer.send(puback(packetId));
      await t.fence(peer);
      await t.cut(peer);
      await (await t.connect(options)).expectNothing();
    },
  },
  {
    name: 'a message refused by PUBACK or PUBREC 0x80 is not sent again',
    on: { 5: ['4.4.0-2'] }, kind: 'easily-wrong',
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const peer = await t.connect(options);
      await t.subscribed(peer, t.topic('a'), 2);
      const publisher = await t.connect();
      await t.publish(publisher, t.topic('a'), '1', { qos: 1 });
      await t.publish(publisher, t.topic('a'), '2', { qos: 2 });
      peer.send(puback((await peer.expectPacket('PUBLISH', { qos: 1 })).packetId, 0x80));
      peer.send(pubrec((await peer.expectPacket('PUBLISH', { qos: 2 })).packetId, 0x83));
      await t.fence(peer);
      await peer.expectNothing();
      await t.cut(peer);
      await (await t.connect(options)).expectNothing();
    },
  },
  {
    name: 'a subscription made in the same bytes as CONNECT survives with its session',
    on: { 4: ['3.1.2-4'], 5: ['3.1.2-5'] }, kind: 'non-normative',
    run: async (t) => {
      const options = { ...t.persistent(), clientId: t.clientId() };
      const peer = await t.connecting(options);
      peer.send(subscribe(t.version, 9, [[t.topic('a'), 1]]));
      await peer.expectPacket('CONNACK', { reasonCode: 0 });
      await peer.expectPacket('SUBACK', { packetId: 9 });
      await t.cut(peer);
      const publisher = await t.connect();
      publisher.send(publish({
        version: t.version, topic: t.topic('a'), payload: 'x', qos: 1, packetId: 7 }));
      await publisher.expectPacket('PUBACK');
      await t.receive(await t.connect(options), { payload: 'x' });
    },
  },
];

export const sessionCases = expand('sessions', [
  ...storing, ...expiring, ...takeover, ...redelivery,
]);
