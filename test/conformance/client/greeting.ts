/** CONNECT and CONNACK, wills, names, Keep Alive, DISCONNECT. */
import { cat, packet, u16, u8 } from '../wire/bytes.js';
import { valueOf } from '../wire/reader.js';
import { connect } from '../../../lib/client/index.js';
import type { ClientOptions } from '../../../lib/client/index.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import { insist, rejection, within } from './client-kit.js';
import { ExpectationError } from '../wire/peer.js';
import * as server from './server-packets.js';

const LONE_SURROGATE = 'a\ud800';
const WILL = { topic: 'w/t', payload: Buffer.from([0, 1, 2]), qos: 1, retain: true } as const;

/** Options that would make a CONNECT no server may be sent: refused, or never on the wire. */
const WRONG: readonly (readonly [string, ClientOptions, ClientRow['on']])[] = [
  ['a Client Identifier with a lone surrogate', { clientId: LONE_SURROGATE },
    { 4: ['1.5.3-1', '3.1.3-4'], 5: ['1.5.4-1', '3.1.3-4'] }],
  ['a User Name with a lone surrogate', { username: LONE_SURROGATE },
    { 4: ['1.5.3-1', '3.1.3-11'], 5: ['1.5.4-1', '3.1.3-12'] }],
  ['a Will Topic with a lone surrogate', { will: { topic: LONE_SURROGATE } },
    { 4: ['1.5.3-1', '3.1.3-10'], 5: ['1.5.4-1', '3.1.3-11'] }],
  ['a Client Identifier with NUL', { clientId: 'a\0b' },
    { 4: ['1.5.3-2', '3.1.3-4'], 5: ['1.5.4-2', '3.1.3-4'] }],
  ['a User Name with NUL', { username: 'a\0b' },
    { 4: ['1.5.3-2', '3.1.3-11'], 5: ['1.5.4-2', '3.1.3-12'] }],
  ['a Will Topic with NUL', { will: { topic: 'a\0b' } },
    { 4: ['1.5.3-2', '3.1.3-10'], 5: ['1.5.4-2', '3.1.3-11'] }],
];

const connectRows: readonly ClientRow[] = [
  {
    name: 'CONNECT comes first, and nothing else before CONNACK',
    on: { 3: [], 4: ['3.1.0-1', '7.1.2-1'], 5: ['3.1.0-1', '4.2-1'] },
    run: async (t) => {
      const client = t.client();
      const published = client.publish('a', 'x');
      void client.subscribe('b', () => undefined).catch(() => undefined);
      const peer = await t.accept();
      await peer.expectPacket('CONNECT');
      await peer.expectNothing();
      peer.send(server.connack(t.version));
      await peer.awaitPacket('PUBLISH', { topic: 'a' });
      await within(published, 'the promise of publish');
    },
  },
  {
    name: 'a CONNECT with nothing asked for, byte for byte',
    on: {
      3: [],
      4: ['3.1.2-11', '3.1.2-13', '3.1.2-15', '3.1.2-18', '3.1.2-20', '3.1.2-22', '3.1.3-1',
        '3.1.3-3', '2.2.2-1'],
      5: ['3.1.2-11', '3.1.2-13', '3.1.2-16', '3.1.2-18', '3.1.3-1', '3.1.3-3', '2.1.3-1',
        '1.5.5-1'],
    },
    run: async (t) => {
      const { connect: sent } = await t.pair({ keepalive: 0x0102 });
      const name = t.version === 3 ? 'MQIsdp' : 'MQTT';
      // Receive Maximum and Maximum Packet Size are the client's to say.
      const properties = t.version === 5 ? sent.raw.subarray(12, 13 + (sent.raw[12] ?? 0))
        : Buffer.alloc(0);
      const wanted = packet(0x10, u16(name.length), Buffer.from(name), u8(t.version), u8(2),
        u16(0x0102), properties, u16(1), Buffer.from('c'));
      insist(sent.raw.equals(wanted), `CONNECT is ${sent.raw.toString('hex')}`);
    },
  },
  {
    name: 'a CONNECT with a will, a user name and a password, in their order',
    on: {
      3: [],
      4: ['3.1.2-9', '3.1.2-19', '3.1.2-21', '3.1.3-1', '3.1.3-3', '3.1.3-4',
        '3.1.3-10', '3.1.3-11'],
      5: ['3.1.2-9', '3.1.2-17', '3.1.2-19', '3.1.3-1', '3.1.3-3', '3.1.3-4',
        '3.1.3-11', '3.1.3-12'],
    },
    run: async (t) => {
      const { connect: sent } = await t.pair({
        clientId: 'clé', username: 'ü', password: 'p', will: WILL,
      });
      const fields = sent.connect;
      insist(fields?.flags === (0x80 | 0x40 | 0x20 | 0x08 | 0x04 | 0x02), 'Connect Flags');
      insist(fields?.clientId === 'clé' && fields.username === 'ü', 'names');
      insist(fields?.password?.toString() === 'p', 'password');
      insist(fields?.will?.topic === 'w/t' && fields.will.qos === 1 && fields.will.retain,
        'Will Topic, QoS and Retain');
      insist(fields?.will?.payload.equals(WILL.payload) === true, 'Will Payload');
    },
  },
  {
    name: 'Will Properties stand before the Will Topic',
    on: { 5: ['3.1.2-9', '3.1.3-1'] },
    run: async (t) => {
      const { connect: sent } = await t.pair({ will: {
        ...WILL, properties: { willDelayInterval: 7, contentType: 'é', responseTopic: 'r' },
      } });
      const list = sent.connect?.will?.properties ?? [];
      const value = (id: number): unknown => list.find((one) => one.id === id)?.value;
      insist(value(0x18) === 7 && value(0x03) === 'é' && value(0x08) === 'r', 'Will Properties');
    },
  },
  {
    name: 'a CONNECT of several thousand bytes, every field of its own length',
    on: { 4: ['3.1.3-1'], 5: ['3.1.3-1'] },
    run: async (t) => {
      const long = (letter: string, length: number): string => letter.repeat(length);
      const { connect: sent } = await t.pair({
        clientId: long('c', 250), username: long('u', 600), password: long('p', 1300),
        will: { topic: long('t', 2700), payload: long('w', 6000) },
      });
      const fields = sent.connect;
      insist(fields?.clientId === long('c', 250) && fields.username === long('u', 600), 'names');
      insist(fields?.password?.toString() === long('p', 1300), 'password');
      insist(fields?.will?.topic === long('t', 2700) && fields.will.payload.length === 6000, 'will');
    },
  },
  {
    name: 'a password without a user name: with its flags in MQTT 5, never in 3.x',
    on: { 3: [], 4: ['3.1.2-22'], 5: ['3.1.2-16', '3.1.2-19'] },
    run: async (t) => {
      if (t.version === 5) {
        const { connect: sent } = await t.pair({ password: 'p' });
        insist(sent.connect?.flags === 0x42, 'Connect Flags');
        insist(sent.connect?.password?.toString() === 'p', 'password');
        return;
      }
      await neverConnects(t.port, { protocolVersion: t.version, password: 'p' }, async () => {
        const peer = await t.accept();
        await peer.next().catch(() => undefined);
        return peer.transcript.join(' ');
      });
    },
  },
  {
    name: 'an empty Client Identifier asks for a clean session',
    on: { 4: ['3.1.3-7'] },
    run: async (t) => {
      const { connect: sent } = await t.pair({ clientId: '', clean: true });
      insist(sent.connect?.cleanStart === true && sent.connect.clientId === '', 'CONNECT');
      await neverConnects(t.port, { protocolVersion: 4, clientId: '', clean: false }, async () => {
        const peer = await t.accept();
        await peer.next().catch(() => undefined);
        return peer.transcript.join(' ');
      });
    },
  },
  {
    name: 'an identifier that the server assigns is used from then on',
    on: { 5: ['3.1.3-2'] },
    run: async (t) => {
      const { client, peer } = await t.pair({ ...t.lasting(), clientId: '' },
        { properties: [server.serverProperty.assignedClientIdentifier('given')] });
      insist(client.clientIdentifier === 'given', 'clientIdentifier');
      peer.cut();
      const { connect: again } = await t.greet({ sessionPresent: true });
      insist(again.connect?.clientId === 'given', 'the identifier of the second CONNECT');
    },
  },
  ...WRONG.map(([what, options, on]): ClientRow => ({
    name: `${what} does not reach a server`,
    on,
    run: async (t) => {
      await neverConnects(t.port, { protocolVersion: t.version, ...options }, async () => {
        const peer = await t.accept();
        await peer.next().catch(() => undefined);
        return peer.transcript.join(' ');
      });
    },
  })),
];

/** The options are refused at once; if not, `sent` tells what went over the wire. */
async function neverConnects(
  port: number, options: ClientOptions, sent: () => Promise<string>,
): Promise<void> {
  let client;
  try {
    client = connect(`mqtt://127.0.0.1:${port}`, { clientId: 'c', logger: false, ...options });
  } catch {
    return;
  }
  client.connected().catch(() => undefined);
  const transcript = await sent();
  await client.end({ deadlineMs: 0 });
  throw new ExpectationError(`not refused: ${transcript}`);
}

const sessionRows: readonly ClientRow[] = [
  {
    name: 'Session Present 1 after Clean Start 1 ends the connection',
    on: { 4: ['3.1.2-6', '4.8.0-1'], 5: ['3.2.2-4', '3.1.2-4'] },
    run: async (t) => {
      t.client({ reconnectPeriod: 0 });
      const { peer } = await t.greet({ sessionPresent: true });
      await t.expectClosed(peer);
    },
  },
  {
    name: 'a session that is not kept leaves nothing behind',
    on: { 4: ['3.1.2-6'], 5: ['3.2.2-5', '3.1.2-4'] },
    run: async (t) => {
      const { client, peer } = await t.pair(t.lasting());
      void client.publish(t.topic, 'x', { qos: 2 }).catch(() => undefined);
      const first = await t.expect(peer, 'PUBLISH', { qos: 2 });
      peer.send(packet(0x50, u16(first.packetId)));
      await peer.expectPacket('PUBREL');
      peer.cut();
      const second = await t.greet({ sessionPresent: false });
      await within(client.connected(), 'the client to be connected');
      // The old exchange is gone: no PUBREL, and the message, if it goes, is a new one.
      await second.peer.expectNothing(undefined, (one) => one.name === 'PUBREL' || one.dup);
    },
  },
  ...[1, 2, 3, 4, 5].map((code): ClientRow => ({
    name: `CONNACK with Return Code ${code} ends the connection`,
    on: { 3: [], 4: ['4.8.0-1'] },
    run: async (t) => {
      const client = t.client({ reconnectPeriod: 0 });
      const { peer } = await t.greet({ reasonCode: code });
      await t.expectClosed(peer);
      await rejection(client.connected(), 'connected()');
    },
  })),
  ...[0x80, 0x84, 0x85, 0x86, 0x87, 0x88, 0x8a, 0x97, 0x9c, 0x9f].map((code): ClientRow => ({
    name: `CONNACK with Reason Code 0x${code.toString(16)} ends the connection`,
    on: { 5: ['4.13.2-1'] },
    run: async (t) => {
      const client = t.client({ reconnectPeriod: 0 });
      const { peer } = await t.greet({ reasonCode: code });
      await t.expectClosed(peer);
      const error = await rejection(client.connected(), 'connected()');
      insist(error.reasonCode === code, `the error carries ${error.reasonCode}`);
    },
  })),
  ...[0x00, 0x81, 0x8b, 0x8e, 0x98].map((code): ClientRow => ({
    name: `DISCONNECT 0x${code.toString(16)} of the server ends the connection`,
    on: { 5: ['4.13.2-1', '3.14.4-1'] },
    run: async (t) => {
      const { peer } = await t.pair({ reconnectPeriod: 0 });
      peer.send(packet(0xe0, u8(code)));
      const sent = await peer.expectClosed();
      insist(sent.length === 0, `the client sent ${sent[0]?.name}`);
    },
  })),
  {
    name: 'end sends DISCONNECT, nothing after it, and closes',
    on: { 3: [], 4: ['3.14.4-1', '3.14.4-2'], 5: ['3.14.4-1', '3.14.4-2', '3.14.2-1'] },
    run: async (t) => {
      const { client, peer } = await t.pair();
      const ended = client.end();
      const goodbye = await t.expect(peer, 'DISCONNECT', { reasonCode: 0 });
      if (t.version < 5) insist(goodbye.raw.length === 2, 'DISCONNECT of two bytes');
      await rejection(client.publish(t.topic, 'late'), 'publish after the goodbye');
      insist((await peer.expectClosed()).length === 0, 'something came after DISCONNECT');
      await within(ended, 'the end');
    },
  },
];

/** Seconds. A ping is due after three quarters of it, so a second is left for a slow machine. */
const KEEP_ALIVE = 4;
const KEEP_ALIVE_MS = KEEP_ALIVE * 1000;

const keepAliveRows: readonly ClientRow[] = [
  {
    name: 'an idle client sends PINGREQ within the Keep Alive',
    on: { 3: [], 4: ['3.1.2-23', '2.2.2-1'], 5: ['3.1.2-20', '2.1.3-1'] },
    run: async (t) => {
      const { peer } = await t.pair({ keepalive: KEEP_ALIVE });
      for (let at = 0; at < 2; at++) {
        const ping = await peer.expectPacket('PINGREQ', {}, KEEP_ALIVE_MS);
        insist(ping.raw.equals(Buffer.from([0xc0, 0])), 'PINGREQ of two bytes');
        peer.send(server.pingresp());
      }
    },
  },
  {
    name: 'a busy client that only receives still sends something within the Keep Alive',
    on: { 3: [], 4: ['3.1.2-23'], 5: ['3.1.2-20'] },
    run: async (t) => {
      const pair = await t.pair({ keepalive: KEEP_ALIVE });
      await t.listening(pair);
      const timer = setInterval(() => pair.peer.send(t.publish(0, 0)), 50);
      try {
        await pair.peer.expectPacket('PINGREQ', {}, KEEP_ALIVE_MS);
      } finally {
        clearInterval(timer);
      }
    },
  },
  {
    name: 'Server Keep Alive takes the place of the client\'s own',
    on: { 5: ['3.1.2-21', '3.2.2-21'] },
    run: async (t) => {
      const { peer } = await t.pair({ keepalive: 600 },
        { properties: [server.serverProperty.serverKeepAlive(KEEP_ALIVE)] });
      await peer.expectPacket('PINGREQ', {}, KEEP_ALIVE_MS);
    },
  },
  {
    name: 'Server Keep Alive 0 turns the pings off',
    on: { 5: ['3.1.2-21', '3.2.2-21'] },
    run: async (t) => {
      const { peer } = await t.pair({ keepalive: 1 },
        { properties: [server.serverProperty.serverKeepAlive(0)] });
      await peer.expectNothing(1200);
    },
  },
  {
    name: 'a server that does not answer PINGREQ is given up',
    on: { 3: [], 4: [], 5: [] },
    run: async (t) => {
      const { peer } = await t.pair({ keepalive: 1, reconnectPeriod: 0 });
      await peer.expectPacket('PINGREQ');
      await peer.expectClosed();
    },
  },
  {
    name: 'CONNECT keeps its properties: what is announced is what was asked for',
    on: { 5: ['3.1.2-23'] },
    run: async (t) => {
      const { connect: sent } = await t.pair({ properties: {
        sessionExpiryInterval: 9, receiveMaximum: 3, maximumPacketSize: 1000,
        topicAliasMaximum: 4, userProperties: [['k', 'v']],
      } });
      const values = [0x11, 0x21, 0x27, 0x22].map((id) => valueOf(sent, id));
      insist(JSON.stringify(values) === '[9,3,1000,4]', `properties ${JSON.stringify(values)}`);
      insist(JSON.stringify(valueOf(sent, 0x26)) === '["k","v"]', 'User Property');
    },
  },
  {
    name: 'CONNACK in pieces, byte by byte',
    on: { 3: [], 4: ['7.0.0-2'], 5: [] },
    run: async (t) => {
      const client = t.client();
      const peer = await t.accept();
      await peer.expectPacket('CONNECT');
      for (const byte of server.connack(t.version)) {
        peer.send(cat(u8(byte)));
        await new Promise((resolve) => setImmediate(resolve));
      }
      await within(client.connected(), 'the client to be connected');
    },
  },
];

export const greetingCases = [
  ...expandClient('CONNECT', connectRows),
  ...expandClient('sessions and refusals', sessionRows),
  ...expandClient('Keep Alive', keepAliveRows),
];
