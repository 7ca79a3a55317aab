/** 3.1 and 3.2: CONNECT and CONNACK. */
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { PROPERTY } from '../kit.js';
import type { ConnectOptions, Kit } from '../kit.js';
import { ExpectationError } from '../wire/peer.js';
import { cat } from '../wire/bytes.js';
import { connect, pingreq, property, publish, subscribe } from '../wire/packets.js';
import { valueOf } from '../wire/reader.js';

const BAD = [0x81, 0x82];

/** A CONNECT that breaks its format: closed, and before MQTT 5 without a CONNACK. */
function malformed(
  name: string, on: CaseRow['on'], fields: (t: Kit) => ConnectOptions, codes = BAD,
): CaseRow {
  return {
    name, on,
    run: async (t) => {
      const replies = await t.expectRefused(await t.connecting(fields(t)), codes);
      if (t.version < 5 && replies.length > 0) {
        throw new ExpectationError(`${replies[0]?.name} before the close`);
      }
    },
  };
}

const opening: CaseRow[] = [
  {
    name: 'a second CONNECT ends the connection (5.0: 0x82)',
    on: { 3: [], 4: ['3.1.0-2', '4.8.0-1'], 5: ['3.1.0-2', '4.13.1-1', '3.2.0-2'] },
    run: async (t) => {
      const peer = await t.connect();
      await t.fence(peer);
      peer.send(connect({ version: t.version, clientId: peer.clientId }));
      const replies = await t.expectRefused(peer, [0x82]);
      if (replies.some((reply) => reply.name === 'CONNACK')) {
        throw new ExpectationError('a second CONNACK');
      }
    },
  },
  ...(['PUBLISH', 'SUBSCRIBE', 'PINGREQ'] as const).map((what): CaseRow => ({
    name: `${what} before CONNECT closes the connection and does nothing`,
    on: { 3: [], 4: ['3.1.0-1', '4.8.0-1'], 5: ['3.1.0-1', '4.13.1-1', '3.14.0-1'] },
    run: async (t) => {
      const { version } = t;
      const witness = await t.connect();
      await t.subscribed(witness, t.topic('a'));
      const bytes = what === 'PUBLISH'
        ? publish({ version, topic: t.topic('a'), payload: 'early' })
        : what === 'SUBSCRIBE' ? subscribe(version, 1, [[t.topic('a'), 0]]) : pingreq();
      const peer = await t.open();
      peer.send(bytes);
      const replies = await t.expectRefused(peer);
      if (replies.length > 0) throw new ExpectationError(`${replies[0]?.name} before CONNACK`);
      await witness.expectNothing();
    },
  })),
  {
    name: 'a wrong protocol name is not taken for MQTT',
    on: { 3: [], 4: ['3.1.2-1'], 5: ['3.1.2-1'] },
    run: async (t) => {
      const peer = await t.connecting({ protocolName: 'MQTP' });
      const replies = await t.expectRefused(peer, [0x84, 0x81, 0x82]);
      if (replies.some((reply) => reply.reasonCode === 0)) {
        throw new ExpectationError('accepted');
      }
    },
  },
  {
    name: 'whoever speaks another protocol is sent nothing before the close',
    on: { 4: [], 5: [] }, kind: 'non-normative',
    run: async (t) => {
      const replies = await t.expectRefused(await t.connecting({ protocolName: 'MQTP' }));
      if (replies.length > 0) throw new ExpectationError(`${replies[0]?.name} before the close`);
    },
  },
  {
    name: 'a protocol name of the wrong length is refused',
    on: { 4: ['3.1.2-1'], 5: ['3.1.2-1'] },
    run: async (t) => void (await t.expectRefused(await t.connecting({ protocolName: 'MQTTX' }))),
  },
  {
    name: 'protocol level 2 is answered by CONNACK 0x01 and a close',
    on: { 4: ['3.1.2-2', '3.2.2-5', '3.2.2-4'] },
    run: async (t) => {
      const peer = await t.connecting({ protocolLevel: 2 });
      await peer.expectPacket('CONNACK', { reasonCode: 1, sessionPresent: false });
      await peer.expectClosed();
    },
  },
  {
    name: 'protocol level 6 is refused (0x84 or the old 0x01) and closed',
    on: { 5: ['3.1.2-2', '4.13.2-1'] },
    run: async (t) => {
      const peer = await t.connecting({ protocolLevel: 6 });
      await t.expectRefused(peer, [0x84]);
    },
  },
  {
    name: 'CONNACK comes first, whatever the client sends without waiting',
    on: { 3: [], 4: ['3.2.0-1', '3.1.4-4'], 5: ['3.2.0-1', '3.1.4-5', '3.2.0-2'] },
    run: async (t) => {
      const { version } = t;
      const peer = await t.open();
      peer.send(cat(
        connect({ version, clientId: t.clientId() }),
        subscribe(version, 1, [[t.topic('a'), 1]]),
        publish({ version, topic: t.topic('a'), payload: 'x', qos: 1, packetId: 2 }),
        pingreq(),
      ));
      await peer.expectPacket('CONNACK', { reasonCode: 0 });
      await peer.awaitPacket('SUBACK', { packetId: 1 });
      await peer.awaitPacket('PUBLISH', { payload: 'x' });
      await peer.awaitPacket('PUBACK', { packetId: 2 });
      await peer.awaitPacket('PINGRESP');
      await peer.expectNothing();
    },
  },
  {
    name: 'CONNACK comes before the queued messages of a resumed session',
    on: { 3: [], 4: ['3.2.0-1'], 5: ['3.2.0-1'] },
    run: async (t) => {
      const clientId = t.clientId();
      const peer = await t.connect({ ...t.persistent(), clientId });
      await t.subscribed(peer, t.topic('a'), 1);
      await t.disconnect(peer);
      await t.publish(await t.connect(), t.topic('a'), 'queued', { qos: 1 });
      const back = await t.connecting({ ...t.persistent(), clientId });
      await back.expectPacket('CONNACK', { reasonCode: 0 });
      await t.receive(back, { payload: 'queued' });
    },
  },
];

const flagFaults: CaseRow[] = [
  malformed('the reserved connect flag is refused', { 4: ['3.1.2-3', '3.1.4-1'],
    5: ['3.1.2-3', '3.1.4-1', '4.13.1-1'] }, () => ({ flags: 0x03 })),
  malformed('Will QoS 3 is refused', { 4: ['3.1.4-1', '3.1.2-14'], 5: ['3.1.4-1', '3.1.2-12'] },
    (t) => ({ flags: 0x1e, will: { topic: t.topic('w'), payload: 'x' } })),
  malformed('Will QoS without the Will Flag is refused',
    { 4: ['3.1.4-1', '3.1.2-13', '3.1.2-11'], 5: ['3.1.4-1', '3.1.2-11'] }, () =>
      ({ flags: 0x0a })),
  malformed('Will Retain without the Will Flag is refused',
    { 4: ['3.1.4-1', '3.1.2-15', '3.1.2-11'], 5: ['3.1.4-1', '3.1.2-13'] }, () =>
      ({ flags: 0x22 })),
  malformed('Password without User Name is refused', { 4: ['3.1.4-1', '3.1.2-22'] },
    () => ({ flags: 0x42, password: 'x' })),
  malformed('a missing User Name is refused', { 4: ['3.1.4-1', '3.1.2-19', '3.2.2-6'],
    5: ['3.1.4-1', '3.1.2-17'] }, () => ({ flags: 0x82 })),
  malformed('a missing Password is refused',
    { 4: ['3.1.4-1', '3.1.2-21'], 5: ['3.1.4-1', '3.1.2-19'] },
    () => ({ flags: 0xc2, username: 'u' })),
  malformed('missing will fields are refused',
    { 4: ['3.1.4-1', '3.1.2-9'], 5: ['3.1.4-1', '3.1.2-9'] },
    () => ({ flags: 0x06 })),
  malformed('a Will Topic with a wildcard is refused', { 4: ['3.3.2-2', '4.7.1-1'],
    5: ['3.3.2-2', '4.7.0-1'] }, (t) => ({ will: { topic: `${t.topic('w')}/#`, payload: 'x' } }),
      [...BAD, 0x90]),
  {
    name: 'a Password without a User Name is well formed in MQTT 5',
    on: { 5: ['3.1.4-5'] }, kind: 'easily-wrong',
    run: async (t) => void (await t.connect({ password: 'x' })),
  },
];

const sizes: CaseRow[] = [
  {
    name: 'a client that takes no packet as large as CONNACK is sent none, and closed',
    on: { 5: ['3.1.2-24'] },
    run: async (t) => {
      for (const limit of [1, 4]) { // a CONNACK has five bytes at least
        const peer = await t.connecting({ maximumPacketSize: limit });
        const replies = await peer.expectClosed();
        if (replies.length > 0) throw new ExpectationError(`${replies[0]?.name} before the close`);
      }
    },
  },
];

const CLIENT_IDENTIFIER_LETTERS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';

const clientIdentifiers: CaseRow[] = [
  {
    name: 'Client Identifiers of 1 to 23 letters and digits are accepted',
    on: { 3: [], 4: ['3.1.3-5', '3.1.4-4'], 5: ['3.1.3-5', '3.1.4-5'] },
    run: async (t) => {
      // All 62 characters, in identifiers of every length up to 23.
      const unique = t.root.slice(1, 9);
      for (let length = 9; length <= 23; length++) {
        const from = (length * 7) % 48;
        const clientId = unique + CLIENT_IDENTIFIER_LETTERS.slice(from, from + length - 8);
        await t.connect({ clientId });
      }
      await t.connect({ clientId: 'Z' });
    },
  },
  {
    name: 'an empty Client Identifier gets a unique one (or is refused)',
    on: { 4: ['3.1.3-6'], 5: ['3.1.3-6', '3.1.3-7', '3.2.2-16'] },
    run: async (t) => {
      const seen = new Set<unknown>();
      const peers = [];
      for (let at = 0; at < 3; at++) {
        const peer = await t.connecting({ clientId: '' });
        peer.connack = await peer.expectPacket('CONNACK');
        // A server may refuse them, with 0x02 or 0x85.
        if ([0x02, 0x85].includes(peer.connack.reasonCode)) return;
        peers.push(peer);
        if (t.version < 5) continue;
        const id = valueOf(peer.connack, PROPERTY.assignedClientIdentifier);
        if (typeof id !== 'string' || id === '' || seen.has(id)) {
          throw new ExpectationError(`Assigned Client Identifier ${JSON.stringify(id)}`);
        }
        seen.add(id);
      }
      // Nobody took anybody's session over.
      for (const peer of peers) await t.fence(peer);
    },
  },
  {
    name: 'the session of an assigned identifier is found again by it',
    on: { 5: ['3.1.3-7', '3.1.3-2'] },
    run: async (t) => {
      const peer = await t.connecting({ ...t.persistent(), clientId: '' });
      const connack = await peer.expectPacket('CONNACK');
      if (connack.reasonCode === 0x85) return;
      const clientId = valueOf(connack, PROPERTY.assignedClientIdentifier) as string;
      await t.disconnect(peer);
      const back = await t.connect({ ...t.persistent(), clientId });
      if (!back.connack.sessionPresent) throw new ExpectationError('session not found');
      if (valueOf(back.connack, PROPERTY.assignedClientIdentifier) !== undefined) {
        throw new ExpectationError('assigned although the client had one');
      }
    },
  },
  {
    name: 'an empty Client Identifier with clean session 0 gets CONNACK 0x02 and a close',
    on: { 4: ['3.1.3-8', '3.1.3-9', '3.1.3-7', '3.2.2-5', '3.2.2-4'] },
    run: async (t) => {
      const peer = await t.connecting({ clientId: '', cleanStart: false });
      await peer.expectPacket('CONNACK', { reasonCode: 2, sessionPresent: false });
      await peer.expectClosed();
    },
  },
  {
    name: 'a long Client Identifier is accepted or refused by 0x85, not by accident',
    on: { 5: ['3.1.3-8', '3.2.2-7'] },
    run: async (t) => {
      for (const bytes of [300, 1000, 5000, 20_000, 65_535]) {
        await longIdentifier(t, t.root.padEnd(bytes, 'x'));
      }
    },
  },
];

/** Accepted and at work, or refused with a code that fits, and closed. */
async function longIdentifier(t: Kit, clientId: string): Promise<void> {
  const peer = await t.connecting({ clientId });
  const reply = await peer.next().catch(() => undefined);
  if (reply?.name === 'CONNACK' && reply.reasonCode === 0) return t.fence(peer);
  if (reply && ![0x85, 0x95, 0x97].includes(reply.reasonCode)) {
    throw new ExpectationError(`CONNACK ${reply.raw.toString('hex')}`);
  }
  await peer.expectClosed();
}

const connackRules: CaseRow[] = [
  {
    name: 'nothing sent behind a rejected CONNECT is processed',
    on: { 4: ['3.1.4-5', '3.2.2-5'], 5: ['3.1.4-6', '3.2.2-7', '4.13.2-1'] },
    run: async (t) => {
      const { version } = t;
      const witness = await t.connect();
      await t.subscribed(witness, t.topic('a'));
      const rejected = version === 5
        ? connect({ version, clientId: t.clientId(),
          properties: [property.authenticationMethod('NO-SUCH-METHOD')] })
        : connect({ version, clientId: '', cleanStart: false });
      const peer = await t.open();
      peer.send(cat(rejected, publish({ version, topic: t.topic('a'), payload: 'smuggled' }),
        subscribe(version, 1, [[t.topic('b'), 0]])));
      const replies = await t.expectRefused(peer);
      if (replies.some((reply) => reply.name !== 'CONNACK')) {
        throw new ExpectationError(`answered by ${replies.map((reply) => reply.name).join()}`);
      }
      await witness.expectNothing();
    },
  },
  {
    name: 'an authentication method the server does not know is refused (0x8C or 0x87)',
    on: { 5: ['4.12.0-1', '3.2.2-8', '3.2.2-6', '3.2.2-7', '4.13.2-1'] },
    run: async (t) => {
      const peer = await t.connecting({
        properties: [property.authenticationMethod('NO-SUCH-METHOD')] });
      await t.expectRefused(peer, [0x8c, 0x87]);
    },
  },
  {
    name: 'CONNACK has no authentication method when CONNECT had none',
    on: { 5: ['4.12.0-6'] },
    run: async (t) => {
      const { connack } = await t.connect();
      if (valueOf(connack, PROPERTY.authenticationMethod) !== undefined) {
        throw new ExpectationError('CONNACK names an authentication method');
      }
    },
  },
  {
    name: 'CONNACK has no response information unless it was asked for',
    on: { 5: ['3.1.2-28'] },
    run: async (t) => {
      for (const list of [[], [property.requestResponseInformation(0)]]) {
        const { connack } = await t.connect({ properties: list });
        if (valueOf(connack, PROPERTY.responseInformation) !== undefined) {
          throw new ExpectationError('CONNACK has response information');
        }
      }
    },
  },
  {
    name: 'reserved acknowledge flags of CONNACK are 0 and the length is right',
    on: { 3: [], 4: ['3.2.0-1'], 5: ['3.2.2-1'] },
    run: async (t) => {
      const { connack } = await t.connect();
      const wanted = t.version === 5 ? /^20....00/ : /^20020000$/;
      if (!wanted.test(connack.raw.toString('hex'))) {
        throw new ExpectationError(`CONNACK ${connack.raw.toString('hex')}`);
      }
    },
  },
];

const guarded: CaseRow[] = [
  {
    name: 'a wrong password is refused, with session present 0 although a session is stored',
    on: { 3: [], 4: ['3.2.2-4', '3.2.2-5'],
      5: ['3.1.4-2', '3.2.2-6', '3.2.2-7', '3.2.2-8', '4.13.2-1'] },
    variant: 'guarded',
    run: async (t) => {
      const clientId = t.clientId();
      const good = { ...t.persistent(), clientId, username: 'alice', password: 'secret' };
      await t.disconnect(await t.connect(good));
      const peer = await t.connecting({ ...good, password: 'wrong' });
      const connack = await peer.expectPacket('CONNACK', { sessionPresent: false });
      const codes = t.version === 5 ? [0x86, 0x87] : [4, 5];
      if (!codes.includes(connack.reasonCode)) {
        throw new ExpectationError(`CONNACK ${connack.reasonCode}, expected ${codes.join(' or ')}`);
      }
      await peer.expectClosed();
    },
  },
  {
    name: 'a client without credentials is refused',
    on: { 3: [], 4: ['3.2.2-5'], 5: ['3.1.4-2', '3.2.2-7'] }, variant: 'guarded',
    run: async (t) => {
      const peer = await t.connecting();
      const replies = await t.expectRefused(peer, [0x86, 0x87]);
      if (replies.some((reply) => reply.reasonCode === 0)) throw new ExpectationError('accepted');
    },
  },
  {
    name: 'a refusing CONNACK keeps within a small Maximum Packet Size',
    on: { 5: ['3.2.2-19', '3.2.2-20', '3.1.2-24'] }, variant: 'guarded',
    run: async (t) => {
      const peer = await t.connecting({ username: 'alice', password: 'no', maximumPacketSize: 12 });
      await t.expectRefused(peer, [0x86, 0x87]);
    },
  },
  {
    name: 'PUBLISH pipelined behind a wrong password is not processed',
    on: { 3: [], 4: ['3.1.4-5'], 5: ['3.1.4-6'] }, variant: 'guarded',
    run: async (t) => {
      const { version } = t;
      const witness = await t.connect({ username: 'alice', password: 'secret' });
      await t.subscribed(witness, t.topic('a'));
      const peer = await t.open();
      const [username, password] = ['alice', 'wrong'];
      peer.send(cat(connect({ version, clientId: t.clientId(), username, password }),
        publish({ version, topic: t.topic('a'), payload: 'smuggled' })));
      await t.expectRefused(peer);
      await witness.expectNothing();
    },
  },
];

export const connectCases = expand('CONNECT and CONNACK', [
  ...opening, ...flagFaults, ...sizes, ...clientIdentifiers, ...connackRules, ...guarded,
]);
