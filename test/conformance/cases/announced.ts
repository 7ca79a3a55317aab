/** What CONNACK announces is what happens; and what MQTT 3.1 does in another way. */
import { expand } from '../case.js';
import type { CaseRow, Variant } from '../case.js';
import { OPTION, PROPERTY } from '../kit.js';
import type { Kit, Peer } from '../kit.js';
import { ExpectationError } from '../wire/peer.js';
import { property, publish, subscribe } from '../wire/packets.js';
import { valueOf } from '../wire/reader.js';

function expectAnnounced(peer: Peer, id: number, wanted: number): void {
  const value = valueOf(peer.connack, id);
  if (value !== wanted) throw new ExpectationError(`CONNACK property ${id} is ${String(value)}`);
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const maximumQos: CaseRow[] = ([0, 1] as const).flatMap((most): CaseRow[] => {
  const variant: Variant = `maximum-qos-${most}`;
  return [
    {
      name: `maximum QoS ${most} is announced, and a higher PUBLISH refused (0x9B)`,
      on: { 5: ['3.2.2-9', '3.2.2-11', '4.13.1-1'] }, kind: 'announced', variant,
      run: async (t) => {
        const peer = await t.connect();
        expectAnnounced(peer, PROPERTY.maximumQos, most);
        await t.publish(peer, t.topic('a'), 'x', { qos: most });
        t.send(peer, t.topic('a'), 'x', { qos: most + 1 });
        await t.expectRefused(peer, [0x9b]);
      },
    },
    {
      name: `maximum QoS ${most}: SUBSCRIBE is accepted at every QoS`,
      on: { 5: ['3.2.2-10', '3.8.4-7'] }, kind: 'announced', variant,
      run: async (t) => {
        const peer = await t.connect();
        for (const qos of [0, 1, 2]) await t.subscribed(peer, t.topic(`${qos}`), qos);
        await t.publish(peer, t.topic('2'), 'x', { qos: most });
        await t.receive(peer, { payload: 'x', qos: most });
      },
    },
    {
      name: `maximum QoS ${most}: a will above it is refused (0x9B)`,
      on: { 5: ['3.2.2-12', '3.2.2-7'] }, kind: 'announced', variant,
      run: async (t) => {
        const will = { topic: t.topic('w'), payload: 'x', qos: most + 1 };
        await t.expectRefused(await t.connecting({ will }), [0x9b]);
      },
    },
  ];
});

const retain: CaseRow[] = [
  {
    name: 'retain available 0 is announced, and RETAIN 1 refused (0x9A)',
    on: { 5: ['3.2.2-14', '4.13.1-1'] }, kind: 'announced', variant: 'no-retain',
    run: async (t) => {
      const peer = await t.connect();
      expectAnnounced(peer, PROPERTY.retainAvailable, 0);
      t.send(peer, t.topic('a'), 'x', { retain: true });
      await t.expectRefused(peer, [0x9a]);
    },
  },
  {
    name: 'retain available 0: a retained will is refused (0x9A)',
    on: { 5: ['3.2.2-13', '3.2.2-7'] }, kind: 'announced', variant: 'no-retain',
    run: async (t) => {
      const will = { topic: t.topic('w'), payload: 'x', retain: true };
      await t.expectRefused(await t.connecting({ will }), [0x9a]);
    },
  },
];

/** A feature that is announced as missing: SUBACK or DISCONNECT with the code that says so. */
function unavailable(
  name: string, variant: Variant, id: number, code: number, ids: CaseRow['on'],
  send: (t: Kit) => Buffer,
): CaseRow {
  return {
    name, on: ids, kind: 'announced', variant,
    run: async (t) => {
      const peer = await t.connect();
      if (t.version === 5) expectAnnounced(peer, id, 0);
      peer.send(send(t));
      const reply = await peer.next();
      const wanted = t.version === 5 ? code : 0x80;
      const got = reply.name === 'SUBACK' ? reply.reasonCodes[0] : reply.reasonCode;
      if (got !== wanted) throw new ExpectationError(`${reply.name} 0x${got?.toString(16)}`);
    },
  };
}

const features: CaseRow[] = [
  unavailable('wildcard subscriptions not available: filters with wildcards are refused (0xA2)',
    'no-wildcard', PROPERTY.wildcardAvailable, 0xa2, { 4: ['3.8.3-2'], 5: ['3.9.3-2'] },
    (t) => subscribe(t.version, 1, [[t.topic('+'), 0]])),
  unavailable('subscription identifiers not available: refused (0xA1)',
    'no-subscription-identifier', PROPERTY.subscriptionIdentifierAvailable, 0xa1,
      { 5: ['3.9.3-2'] },
    (t) => subscribe(5, 1, [[t.topic('a'), 0]], [property.subscriptionIdentifier(1)])),
  unavailable('shared subscriptions not available: refused (0x9E)',
    'no-shared', PROPERTY.sharedAvailable, 0x9e, { 5: ['3.9.3-2'] },
    (t) => subscribe(5, 1, [[`$share/g/${t.topic('a')}`, 0]])),
  {
    name: 'what CONNACK does not deny is there: wildcards, identifiers, shared, retain, QoS 2',
    on: { 5: [] }, kind: 'announced',
    run: async (t) => {
      const peer = await t.connect();
      if (t.announced(peer, PROPERTY.wildcardAvailable, 1) === 1) await t.subscribed(peer,
        t.topic('w/+'));
      if (t.announced(peer, PROPERTY.subscriptionIdentifierAvailable, 1) === 1) {
        await t.subscribed(peer, t.topic('i'), 0, [property.subscriptionIdentifier(1)]);
      }
      if (t.announced(peer, PROPERTY.sharedAvailable, 1) === 1) {
        await t.subscribed(peer, `$share/g/${t.topic('s')}`, 0);
      }
      const qos = t.announced(peer, PROPERTY.maximumQos, 2);
      const retained = t.announced(peer, PROPERTY.retainAvailable, 1) === 1;
      await t.publish(peer, t.topic('p'), 'x', { qos, retain: retained });
      await t.subscribed(peer, t.topic('p'), OPTION.retainAsPublished | qos);
      if (retained) await t.receive(peer, { payload: 'x', qos, retain: true });
    },
  },
  {
    name: 'the announced server keep alive is kept in place of the client\'s',
    on: { 5: ['3.1.2-22', '3.2.2-21', '3.1.2-21'] }, kind: 'announced',
      variant: 'server-keep-alive',
    run: async (t) => {
      const start = Date.now(); // before CONNECT: a busy machine must not make it look early
      const peer = await t.connect({ keepAlive: 600 });
      const told = valueOf(peer.connack, PROPERTY.serverKeepAlive);
      if (typeof told !== 'number' || told >= 600) throw new ExpectationError(
        `told ${String(told)}`);
      await t.expectRefused(await Promise.resolve(peer), [0x8d]).catch(async (error: Error) => {
        if (peer.closed) throw error;
        await peer.expectClosed(9000);
      });
      if (Date.now() - start < told * 1400) throw new ExpectationError('cut off too early');
    },
  },
];

const limits: CaseRow[] = [
  {
    name: 'the announced maximum packet size: what fits is taken, what does not is refused (0x95)',
    on: { 5: ['3.2.2-15', '4.13.1-1'] }, kind: 'announced', variant: 'small-packets',
    run: async (t) => {
      const peer = await t.connect();
      const most = t.announced(peer, PROPERTY.maximumPacketSize, 0);
      if (most === 0 || most > 100_000) throw new ExpectationError(`announces ${most}`);
      const make = (size: number): Buffer => {
        const empty = publish({ version: 5, topic: t.topic('a'), qos: 1, packetId: 1,
          payload: 'x'.repeat(200) }).length - 200;
        return publish({ version: 5, topic: t.topic('a'), qos: 1, packetId: 1,
          payload: 'x'.repeat(size - empty) });
      };
      const fits = make(most);
      if (fits.length !== most) throw new ExpectationError(`test built ${fits.length} bytes`);
      peer.send(fits);
      await peer.expectPacket('PUBACK', { packetId: 1 });
      peer.send(make(most + 1));
      await t.expectRefused(peer, [0x95]);
    },
  },
  {
    name: 'a packet above the limit closes an older client\'s connection',
    on: { 3: [], 4: ['4.8.0-1'] }, kind: 'announced', variant: 'small-packets',
    run: async (t) => void (await t.expectBytesRefused(publish({
      version: t.version, topic: t.topic('a'), payload: 'x'.repeat(100_001) }))),
  },
  {
    name: 'the announced receive maximum: that many QoS 2 at once, one more is refused (0x93)',
    on: { 5: ['3.3.4-7', '4.9.0-1', '4.13.1-1'] }, kind: 'announced', variant: 'few-in-flight',
    run: async (t) => {
      const peer = await t.connect();
      const most = t.announced(peer, PROPERTY.receiveMaximum, 65_535);
      if (most > 1000) throw new ExpectationError(`announces ${most}`);
      for (let id = 1; id <= most; id++) {
        t.send(peer, t.topic('a'), 'x', { qos: 2, packetId: id });
        await peer.expectPacket('PUBREC', { packetId: id });
      }
      // QoS 0 and other packets do not count.
      await t.publish(peer, t.topic('a'), 'x');
      peer.send(Buffer.from([0x62, 2, 0, 1]));
      await peer.expectPacket('PUBCOMP', { packetId: 1 });
      t.send(peer, t.topic('a'), 'x', { qos: 2, packetId: 1 });
      await peer.expectPacket('PUBREC', { packetId: 1 });
      t.send(peer, t.topic('a'), 'x', { qos: 2, packetId: most + 1 });
      await t.expectRefused(peer, [0x93]);
    },
  },
  {
    name: 'the announced topic alias maximum: up to it accepted, above it refused (0x94)',
    on: { 5: ['3.3.2-12', '3.3.2-9', '3.2.2-17'] }, kind: 'announced', variant: 'few-aliases',
    run: async (t) => {
      const peer = await t.connect();
      const most = t.announced(peer, PROPERTY.topicAliasMaximum, 0);
      if (most === 0 || most > 1000) throw new ExpectationError(`announces ${most}`);
      for (let alias = 1; alias <= most; alias++) {
        await t.publish(peer, t.topic(`${alias}`), 'x', {
          qos: 1, properties: [property.topicAlias(alias)] });
      }
      peer.send(
        publish({ version: 5, topic: t.topic('b'), properties: [property.topicAlias(most + 1)] }));
      await t.expectRefused(peer, [0x94]);
    },
  },
  {
    name: 'an announced session expiry interval replaces the client\'s',
    on: { 5: [] }, kind: 'announced',
    run: async (t) => {
      const peer = await t.connect(t.persistent(0xffff_ffff));
      const told = valueOf(peer.connack, PROPERTY.sessionExpiry);
      if (told !== undefined && typeof told !== 'number') throw new ExpectationError(
        'not a number');
      await t.disconnect(peer);
      await sleep(10);
      const back = await t.connect({ ...t.persistent(0xffff_ffff), clientId: peer.clientId });
      if (!back.connack.sessionPresent) throw new ExpectationError('session not kept');
    },
  },
];

/** MQTT 3.1: another name and level, and three rules of its own. */
const legacy: CaseRow[] = [
  {
    name: 'MQIsdp level 3 is accepted, CONNACK is 20 02 00 00',
    on: { 3: [] }, kind: 'easily-wrong',
    run: async (t) => {
      const { connack } = await t.connect();
      if (connack.raw.toString('hex') !== '20020000') throw new ExpectationError('not 20 02 00 00');
    },
  },
  {
    name: 'a Client Identifier of 24 characters is answered by CONNACK 0x02',
    on: { 3: [] }, kind: 'easily-wrong',
    run: async (t) => {
      const peer = await t.connecting({ clientId: t.root.padEnd(24, 'x') });
      await peer.expectPacket('CONNACK', { reasonCode: 2 });
      await peer.expectClosed();
    },
  },
  {
    name: 'an empty Client Identifier is answered by CONNACK 0x02',
    on: { 3: [] }, kind: 'easily-wrong',
    run: async (t) => {
      const peer = await t.connecting({ clientId: '' });
      await peer.expectPacket('CONNACK', { reasonCode: 2 });
      await peer.expectClosed();
    },
  },
  {
    name: 'MQIsdp with level 4, and MQTT with level 3, are not taken for 3.1',
    on: { 3: [] }, kind: 'easily-wrong',
    run: async (t) => {
      for (const wrong of [{ protocolLevel: 4 }, { protocolName: 'MQTT' }]) {
        const replies = await t.expectRefused(await t.connecting(wrong));
        if (replies.some((reply) => reply.reasonCode === 0)) throw new ExpectationError('accepted');
      }
    },
  },
  {
    name: 'session present is 0 for a resumed session: the byte is reserved',
    on: { 3: [] }, kind: 'easily-wrong',
    run: async (t) => {
      const options = { cleanStart: false, clientId: t.clientId() };
      const first = await t.connect(options);
      await t.subscribed(first, t.topic('a'), 1);
      await t.disconnect(first);
      const { connack } = await t.connect(options);
      if (connack.raw.toString('hex') !== '20020000') throw new ExpectationError('not 20 02 00 00');
    },
  },
];

export const announcedCases = [
  ...expand('what CONNACK announces', [...maximumQos, ...retain, ...features, ...limits]),
  ...expand('MQTT 3.1', legacy),
];
