/** Bytes that no server may send: the client closes the connection they came on. */
import { bin, cat, hex, packet, u16, u8 } from '../wire/bytes.js';
import * as build from '../wire/packets.js';
import type { Version } from '../wire/packets.js';
import { property } from '../wire/packets.js';
import { expandClient } from './client-case.js';
import type { ClientRow } from './client-case.js';
import type { ClientKit } from './client-kit.js';
import { insist } from './client-kit.js';
import { longVbi } from './server-packets.js';

type Bytes = Buffer | ((t: ClientKit) => Buffer);
type Statements = readonly string[];
const both = (v4: Statements, v5: Statements): ClientRow['on'] => ({ 4: v4, 5: v5 });
const only5 = (...v5: Statements): ClientRow['on'] => ({ 5: v5 });
const topicOf = (t: ClientKit, bytes: Buffer): Buffer => cat(Buffer.from(`${t.topic}/`), bytes);

/** What the server sends, statements by version, and the Reason Codes a goodbye may have. */
const TABLE: readonly (readonly [string, ClientRow['on'], Bytes, (readonly number[])?])[] = [
  ['PUBACK with flags 0001', both(['2.2.2-2', '4.8.0-1'], ['2.1.3-1']), hex('41 02 00 01')],
  ['PUBREC with flags 0010', both(['2.2.2-2'], ['2.1.3-1']), hex('52 02 00 01')],
  ['PUBREL with flags 0000', both(['2.2.2-2'], ['2.1.3-1']), hex('60 02 00 01')],
  ['PUBCOMP with flags 1000', both(['2.2.2-2'], ['2.1.3-1']), hex('78 02 00 01')],
  ['SUBACK with flags 0010', both(['2.2.2-2'], ['2.1.3-1']),
    (t) => t.version === 5 ? hex('92 04 00 01 00 00') : hex('92 03 00 01 00')],
  ['PINGRESP with flags 0001', both(['2.2.2-2'], ['2.1.3-1']), hex('d1 00')],
  ['PINGRESP with a body', both(['4.8.0-1'], []), hex('d0 01 00')],
  ['DISCONNECT with flags 0001', only5('3.14.1-1', '2.1.3-1'), hex('e1 00'), [0x81]],
  ['AUTH with flags 0001', only5('3.15.1-1', '2.1.3-1'), hex('f1 00'), [0x81]],
  ['a packet of type 0', both(['4.8.0-1'], []), hex('00 00')],
  ['CONNECT', both(['4.8.0-1'], []), (t) => build.connect({ version: t.version, clientId: 's' })],
  ['SUBSCRIBE', both(['4.8.0-1'], []), (t) => build.subscribe(t.version, 1, [['a', 0]])],
  ['PINGREQ', both(['4.8.0-1'], []), hex('c0 00')],
  ['DISCONNECT before MQTT 5', { 4: ['4.8.0-1'] }, hex('e0 00')],
  ['AUTH before MQTT 5', { 4: ['4.8.0-1'] }, hex('f0 00')],
  ['a second CONNACK', both(['4.8.0-1'], []),
    (t) => t.version === 5 ? hex('20 03 00 00 00') : hex('20 02 00 00')],
  ['QoS 3', both(['3.3.1-4'], ['3.3.1-4']), (t) => t.publish(3, 1)],
  ['QoS 0 with DUP', both(['3.3.1-2'], ['3.3.1-2']), (t) => t.publish(0, 0, '', { dup: true })],
  ['identifier 0 at QoS 1', both(['2.3.1-1'], []), (t) => t.publish(1, 0)],
  ['+ in a Topic Name', both(['3.3.2-2', '4.7.1-1'], ['3.3.2-2', '4.7.0-1']),
    (t) => t.publish(0, 0, '', { topic: `${t.topic}/+` }), [0x82, 0x90]],
  ['# in a Topic Name', both(['3.3.2-2', '4.7.1-1'], ['3.3.2-2', '4.7.0-1']),
    (t) => t.publish(0, 0, '', { topic: '#' }), [0x82, 0x90]],
  ['an empty Topic Name', both(['4.7.3-1'], ['4.7.3-1']), (t) => t.publish(0, 0, '', { topic: '' })],
  ['NUL in a Topic Name', both(['1.5.3-2', '4.7.3-2'], ['1.5.4-2', '4.7.3-2']),
    (t) => t.publish(0, 0, '', { topic: `${t.topic}/\0` })],
  ['an overlong form in a Topic Name', both(['1.5.3-1', '3.3.2-1'], ['1.5.4-1', '3.3.2-1']),
    (t) => t.publish(0, 0, '', { topic: topicOf(t, hex('c0 af')) })],
  ['a surrogate in a Topic Name', both(['1.5.3-1', '3.3.2-1'], ['1.5.4-1', '3.3.2-1']),
    (t) => t.publish(0, 0, '', { topic: topicOf(t, hex('ed a0 80')) })],
  ['a cut-off sequence in a Topic Name', both(['1.5.3-1', '3.3.2-1'], ['1.5.4-1', '3.3.2-1']),
    (t) => t.publish(0, 0, '', { topic: topicOf(t, hex('e2 82')) })],
  ['a Topic Name longer than its packet', both(['4.8.0-1'], []), hex('30 04 00 09 61 62')],
  ['a Remaining Length of five bytes', both(['4.8.0-1'], ['1.5.5-1']),
    hex('30 80 80 80 80 01')],
  ['a Property Length that is longer than needed', only5('1.5.5-1'),
    (t) => packet(0x30, bin(`${t.topic}/a`), longVbi(0))],
  ['Topic Alias 0', only5('3.3.2-8'),
    (t) => t.publish(0, 0, '', { properties: [property.topicAlias(0)] }), [0x82, 0x94]],
  ['a Topic Alias above the announced maximum', only5('3.3.2-8'),
    (t) => t.publish(0, 0, '', { properties: [property.topicAlias(1)] }), [0x94]],
  ['a Response Topic with a wildcard', only5('3.3.2-14'),
    (t) => t.publish(0, 0, '', { properties: [property.responseTopic('a/+')] }),
    [0x81, 0x82, 0x90]],
  ['a Response Topic that is not UTF-8', only5('3.3.2-13'),
    (t) => t.publish(0, 0, '', { properties: [property.responseTopic(hex('ff'))] }), [0x81, 0x82]],
  ['a Content Type that is not UTF-8', only5('3.3.2-19'),
    (t) => t.publish(0, 0, '', { properties: [property.contentType(hex('c0 80'))] }),
    [0x81, 0x82]],
  ['a User Property with NUL', only5('1.5.7-1'),
    (t) => t.publish(0, 0, '', { properties: [property.user('a', 'b\0')] }), [0x81, 0x82]],
  ['a property that does not belong to PUBLISH', only5(),
    (t) => t.publish(0, 0, '', { properties: [property.sessionExpiry(1)] }), [0x81, 0x82]],
  ['PUBACK with a code that it does not have', only5('3.4.2-1'), hex('40 03 00 01 8e')],
  ['PUBREC with a code that it does not have', only5('3.5.2-1'), hex('50 03 00 01 92')],
  ['PUBREL with a code that it does not have', only5('3.6.2-1'), hex('62 03 00 01 80')],
  ['PUBCOMP with a code that it does not have', only5('3.7.2-1'), hex('70 03 00 01 10')],
  ['DISCONNECT with a code that it does not have', only5('3.14.2-1'), hex('e0 01 91')],
  ['AUTH that nobody asked for', only5('4.12.0-7', '3.15.2-1'),
    build.auth(0x18, [property.authenticationMethod('M')])],
];

const rows: readonly ClientRow[] = [
  ...TABLE.map(([what, on, bytes, codes]): ClientRow => ({
    name: `${what} closes the connection`,
    on,
    run: (t) => t.refuses(typeof bytes === 'function' ? bytes(t) : bytes, codes),
  })),
  ...([
    ['reserved acknowledge flags', { 4: ['2.2.2-2'], 5: ['2.1.3-1'] },
      (v: Version) => v === 5 ? hex('20 03 02 00 00') : hex('20 02 02 00')],
    ['a code that it does not have', { 4: ['4.8.0-1'], 5: ['4.13.2-1'] },
      (v: Version) => v === 5 ? hex('20 03 00 05 00') : hex('20 02 00 06')],
    ['Maximum QoS 2', { 5: ['3.2.2-11'] }, () => hex('20 05 00 00 02 24 02')],
    ['Receive Maximum 0', { 5: ['4.9.0-1'] }, () => hex('20 06 00 00 03 21 00 00')],
    ['the same property twice', { 5: [] }, () => hex('20 07 00 00 04 25 01 25 01')],
  ] as const).map(([what, on, bytes]): ClientRow => ({
    name: `CONNACK with ${what} closes the connection`,
    on,
    run: async (t) => {
      t.client({ reconnectPeriod: 0 });
      const peer = await t.accept();
      await peer.expectPacket('CONNECT');
      peer.send(bytes(t.version));
      await t.expectClosed(peer);
    },
  })),
  {
    name: 'a packet before CONNACK closes the connection',
    on: { 4: ['4.8.0-1'], 5: [] },
    run: async (t) => {
      t.client({ reconnectPeriod: 0 });
      const peer = await t.accept();
      await peer.expectPacket('CONNECT');
      peer.send(t.publish(0, 0));
      await t.expectClosed(peer);
    },
  },
  {
    name: 'a packet that the client has no room for closes the connection',
    on: { 4: ['4.8.0-2'], 5: [] },
    run: async (t) => {
      const pair = await t.pair({ reconnectPeriod: 0, packetBytesMax: 1000 });
      pair.peer.send(t.publish(0, 0, 'x'.repeat(1000)));
      await t.expectClosed(pair.peer, [0x95]);
    },
  },
  {
    name: 'more unacknowledged messages than the announced Receive Maximum close the connection',
    on: { 5: ['4.9.0-1'] },
    run: async (t) => {
      const pair = await t.pair({ reconnectPeriod: 0, properties: { receiveMaximum: 2 } });
      await t.listening(pair, undefined, () => new Promise(() => undefined));
      pair.peer.send(t.publish(1, 1), t.publish(1, 2), t.publish(1, 3));
      await t.expectClosed(pair.peer, [0x93]);
    },
  },
  {
    name: 'a goodbye of the client is last, has a listed code, and fits the server\'s limit',
    on: { 5: ['3.14.2-1', '3.14.2-3', '3.14.2-4', '3.14.4-1', '3.14.4-2'] },
    run: async (t) => {
      const pair = await t.pair({ reconnectPeriod: 0 },
        { properties: [property.maximumPacketSize(20)] });
      pair.peer.send(hex('41 02 00 01'), t.publish(1, 5));
      const sent = await pair.peer.expectClosed();
      insist(sent.length <= 1 && sent.every((one) => one.name === 'DISCONNECT'), 'DISCONNECT last');
      for (const one of sent) {
        insist(one.raw.length <= 20, `DISCONNECT of ${one.raw.length} bytes`);
        insist(one.properties.every((each) => each.id !== 0x26), 'User Property');
        insist([0x81, 0x82].includes(one.reasonCode), `0x${one.reasonCode.toString(16)}`);
      }
    },
  },
  {
    name: 'EF BB BF in a topic of the server is U+FEFF and is not stripped',
    on: { 4: ['1.5.3-3'], 5: ['1.5.4-3'] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      pair.peer.send(t.publish(0, 0, '', { topic: topicOf(t, hex('ef bb bf 61')) }));
      insist((await heard.next()).topicName === `${t.topic}/\ufeffa`, 'topic');
    },
  },
  {
    name: 'the longest topic of a server arrives',
    on: { 4: ['4.7.3-3'], 5: ['4.7.3-3'] },
    run: async (t) => {
      const pair = await t.pair();
      const heard = await t.listening(pair);
      const topic = `${t.topic}/${'t'.repeat(65_534 - t.topic.length)}`;
      pair.peer.send(t.publish(0, 0, '', { topic }));
      insist((await heard.next()).topicName === topic, 'topic');
    },
  },
  {
    name: 'a server that closes in the middle of a packet: the client connects again',
    on: { 4: ['7.0.0-2'], 5: [] },
    run: async (t) => {
      const { peer } = await t.pair();
      peer.send(cat(u8(0x30), u8(9), u16(3)));
      peer.cut();
      await t.greet();
    },
  },
];

export const refusingCases = expandClient('what no server may send', rows);
