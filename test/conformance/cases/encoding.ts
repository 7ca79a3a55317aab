/** Chapters 1 and 2: strings, integers, fixed header, Packet Identifiers. */
import { expand } from '../case.js';
import type { CaseRow } from '../case.js';
import { ExpectationError } from '../wire/peer.js';
import { bin, cat, hex, packet, str, u16, u8, vbi } from '../wire/bytes.js';
import { connect, property, publish, pubrel, subscribe, unsubscribe } from '../wire/packets.js';
import type { Version } from '../wire/packets.js';
import type { Kit } from '../kit.js';

/** Malformed Packet or Protocol Error: implementations may see the same fault as either. */
const BAD = [0x81, 0x82];
const BAD_TOPIC = [...BAD, 0x90];
const BAD_FILTER = [...BAD, 0x8f];

type On = CaseRow['on'];
/** Bytes on an accepted connection that must end it. */
function refusal(
  name: string, on: On, bytes: (t: Kit) => Buffer, codes: readonly number[] = BAD,
): CaseRow {
  return { name, on, run: async (t) => void (await t.expectBytesRefused(bytes(t), codes)) };
}

/** Byte strings that are not UTF-8, each for its own reason. */
const ILL_FORMED: readonly (readonly [string, string])[] = [
  ['an overlong form (C0 AF)', '61 c0 af'],
  ['a surrogate code point (ED A0 80)', '61 ed a0 80'],
  ['the last surrogate code point (ED BF BF)', '61 ed bf bf'],
  ['a code point above U+10FFFF (F4 90 80 80)', '61 f4 90 80 80'],
  ['a cut-off sequence (E2 82)', '61 e2 82'],
  ['a lone continuation byte (80)', '61 80 62'],
];

const illFormed: CaseRow[] = ILL_FORMED.flatMap(([what, bytes]) => [
  refusal(`a Topic Name with ${what} closes the connection`,
    { 4: ['1.5.3-1', '3.3.2-1'], 5: ['1.5.4-1', '3.3.2-1'] },
    (t) => publish({ version: t.version, topic: hex(bytes), payload: 'x' }), BAD_TOPIC),
  refusal(`a Topic Filter with ${what} closes the connection`,
    { 4: ['1.5.3-1', '3.8.3-1'], 5: ['1.5.4-1', '3.8.3-1'] },
    (t) => subscribe(t.version, 1, [[hex(bytes), 0]]), BAD_FILTER),
]);

const strings: CaseRow[] = [
  ...illFormed,
  refusal('an UNSUBSCRIBE filter that is not UTF-8 closes the connection',
    { 4: ['1.5.3-1', '3.10.3-1'], 5: ['1.5.4-1', '3.10.3-1'] },
    (t) => unsubscribe(t.version, 1, [hex('61 c0 af')]), BAD_FILTER),
  refusal('NUL in a Topic Name closes the connection',
    { 4: ['1.5.3-2', '4.7.3-2'], 5: ['1.5.4-2', '4.7.3-2'] },
    (t) => publish({ version: t.version, topic: 'a\0b' }), BAD_TOPIC),
  refusal('NUL in a Topic Filter closes the connection',
    { 4: ['1.5.3-2', '4.7.3-2'], 5: ['1.5.4-2', '4.7.3-2'] },
    (t) => subscribe(t.version, 1, [['a\0b', 0]]), BAD_FILTER),
  ...(['clientId', 'username'] as const).map((field): CaseRow => ({
    name: `a CONNECT whose ${field} is not UTF-8 is refused`,
    on: {
      4: ['1.5.3-1', '3.1.4-1', field === 'clientId' ? '3.1.3-4' : '3.1.3-11'],
      5: ['1.5.4-1', '3.1.4-1', field === 'clientId' ? '3.1.3-4' : '3.1.3-12'],
    },
    run: async (t) => {
      const peer = await t.connecting({ [field]: hex('61 ed a0 80') });
      await t.expectRefused(peer, [...BAD, 0x85, 0x86]);
    },
  })),
  {
    name: 'a CONNECT whose Will Topic is not UTF-8 is refused',
    on: { 4: ['1.5.3-1', '3.1.3-10'], 5: ['1.5.4-1', '3.1.3-11'] },
    run: async (t) => {
      const peer = await t.connecting({ will: { topic: hex('61 c0 af'), payload: 'x' } });
      await t.expectRefused(peer, BAD_TOPIC);
    },
  },
  {
    name: 'a CONNECT whose Client Identifier has NUL is refused',
    on: { 4: ['1.5.3-2'], 5: ['1.5.4-2'] },
    run: async (t) => {
      await t.expectRefused(await t.connecting({ clientId: 'a\0b' }), [...BAD, 0x85]);
    },
  },
  {
    name: 'EF BB BF in a topic is U+FEFF and is not stripped',
    on: { 4: ['1.5.3-3', '4.7.3-4'], 5: ['1.5.4-3', '4.7.3-4'] },
    run: async (t) => {
      const peer = await t.connect();
      const marked = `\uFEFF${t.topic('x\uFEFF')}`;
      await t.subscribed(peer, [[marked, 0], [t.topic('x'), 0]]);
      await t.publish(peer, marked, 'marked');
      const message = await peer.awaitPacket('PUBLISH', { topic: marked, payload: 'marked' });
      const wire = message.raw.subarray(4, 7).toString('hex');
      if (wire !== 'efbbbf') throw new ExpectationError(`topic begins with ${wire}`);
      await peer.expectNothing();
    },
  },
];

/** Five bytes of Variable Byte Integer where four are the most. */
const integers: CaseRow[] = [
  refusal('a Remaining Length of five bytes closes the connection',
    { 3: [], 4: ['4.8.0-1'], 5: ['4.13.1-1'] }, () => hex('30 ff ff ff ff 01'), [...BAD, 0x95]),
  refusal('a Remaining Length that is longer than needed is malformed', { 5: ['1.5.5-1'] },
    () => hex('c0 80 00')),
  refusal('a Property Length that is longer than needed is malformed', { 5: ['1.5.5-1'] },
    (t) => packet(0x30, str(t.topic('a')), hex('80 00'), Buffer.from('x'))),
  refusal('a Subscription Identifier that is longer than needed is malformed', { 5: ['1.5.5-1'] },
    (t) => packet(0x82, u16(1), hex('03 0b 81 00'), str(t.topic('a')), u8(0))),
  refusal('a Property Length of five bytes is malformed', { 5: ['4.13.1-1'] },
    (t) => packet(0x30, str(t.topic('a')), hex('80 80 80 80 01'), Buffer.from('x'))),
  {
    name: 'lengths around 127 and 16383 go out in the fewest bytes',
    on: { 3: [], 4: [], 5: ['1.5.5-1'] },
    run: async (t) => {
      const peer = await t.connect();
      await t.subscribed(peer, t.topic('a'));
      const head = 2 + t.topic('a').length + (t.version === 5 ? 1 : 0);
      for (const length of [127, 128, 16_383, 16_384]) {
        const payload = 'x'.repeat(length - head);
        t.send(peer, t.topic('a'), payload);
        const { raw } = await peer.expectPacket('PUBLISH', { payload });
        const wanted = 1 + vbi(length).length + length;
        if (raw.length !== wanted) {
          throw new ExpectationError(`${raw.length} bytes, expected ${wanted}`);
        }
      }
    },
  },
  refusal('a user property whose name is not UTF-8 is malformed', { 5: ['1.5.7-1'] },
    (t) => publish({
      version: 5, topic: t.topic('a'), properties: [cat(u8(0x26), bin(hex('c0 af')), str('v'))],
    })),
  refusal('a user property whose value is not UTF-8 is malformed', { 5: ['1.5.7-1'] },
    (t) => publish({
      version: 5, topic: t.topic('a'), properties: [cat(u8(0x26), str('k'), bin(hex('c0 af')))],
    })),
  refusal('a user property with NUL is malformed', { 5: ['1.5.7-1', '1.5.4-2'] },
    (t) => publish({ version: 5, topic: t.topic('a'), properties: [property.user('k\0', 'v')] })),
];

/** Wrong flags in the fixed header, packet by packet. */
const flags: CaseRow[] = [
  refusal('SUBSCRIBE with flags 0000 closes the connection',
    { 4: ['2.2.2-1', '2.2.2-2', '3.8.1-1'], 5: ['2.1.3-1', '3.8.1-1'] },
    (t) => cat(u8(0x80), subscribe(t.version, 1, [['a', 0]]).subarray(1))),
  refusal('UNSUBSCRIBE with flags 0000 closes the connection',
    { 4: ['2.2.2-1', '2.2.2-2', '3.10.1-1'], 5: ['2.1.3-1', '3.10.1-1'] },
    (t) => cat(u8(0xa0), unsubscribe(t.version, 1, ['a']).subarray(1))),
  refusal('PUBREL with flags 0000 closes the connection',
    { 4: ['2.2.2-1', '2.2.2-2', '3.6.1-1'], 5: ['2.1.3-1', '3.6.1-1'] },
    () => cat(u8(0x60), pubrel(1).subarray(1))),
  refusal('PUBREL with flags 0011 closes the connection',
    { 4: ['2.2.2-2', '3.6.1-1'], 5: ['2.1.3-1', '3.6.1-1'] },
    () => cat(u8(0x63), pubrel(1).subarray(1))),
  refusal('DISCONNECT with reserved bits closes the connection (5.0: 0x81)',
    { 4: ['2.2.2-2', '3.14.1-1'], 5: ['2.1.3-1', '3.14.1-1'] }, () => hex('e1 00'), [0x81]),
  ...([['PINGREQ', 'c1 00'], ['PUBACK', '41 02 00 01'], ['PUBREC', '51 02 00 01'],
    ['PUBCOMP', '71 02 00 01']] as const).map(([what, bytes]) =>
    refusal(`${what} with flags 0001 closes the connection`,
      { 4: ['2.2.2-1', '2.2.2-2'], 5: ['2.1.3-1'] }, () => hex(bytes))),
  refusal('AUTH with flags 0001 closes the connection', { 5: ['2.1.3-1', '3.15.1-1'] },
    () => hex('f1 00')),
  {
    name: 'CONNECT with flags 0001 is refused',
    on: { 4: ['2.2.2-1', '2.2.2-2'], 5: ['2.1.3-1'] },
    run: async (t) => void (await t.expectRefused(await t.connecting({ firstByte: 0x11 }), BAD)),
  },
];

const withIdentifierZero = (version: Version, topic: string): readonly [string, Buffer][] => [
  ['SUBSCRIBE', subscribe(version, 0, [[topic, 0]])],
  ['UNSUBSCRIBE', unsubscribe(version, 0, [topic])],
  ['PUBLISH at QoS 1', publish({ version, topic, qos: 1, packetId: 0 })],
  ['PUBLISH at QoS 2', publish({ version, topic, qos: 2, packetId: 0 })],
];

const identifiers: CaseRow[] = [
  ...withIdentifierZero(4, '').map(([what], at) =>
    refusal(`${what} with Packet Identifier 0 closes the connection`,
      { 4: ['2.3.1-1', '4.8.0-1'], 5: ['2.2.1-3', '4.13.1-1'] },
      (t) => withIdentifierZero(t.version, t.topic('a'))[at]?.[1] ?? Buffer.alloc(0))),
  {
    name: 'a QoS 0 PUBLISH goes out without a Packet Identifier, byte for byte',
    on: { 3: [], 4: ['2.3.1-5', '2.2.2-1', '4.3.1-1'],
      5: ['2.2.1-2', '2.1.3-1', '2.2.2-1', '4.3.1-1'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 2);
      const bytes = publish({ version: t.version, topic: t.topic('a'), payload: 'hello' });
      publisher.send(bytes);
      const { raw } = await subscriber.expectPacket('PUBLISH');
      if (!raw.equals(bytes)) throw new ExpectationError(`expected ${bytes.toString('hex')}`);
    },
  },
  {
    name: 'outgoing PUBLISH above QoS 0 have identifiers that are not zero and not in use',
    on: { 3: [], 4: ['2.3.1-4', '2.3.1-1', '4.3.2-1', '4.3.3-1'],
      5: ['2.2.1-4', '4.3.2-1', '4.3.3-1', '4.3.2-2', '4.3.3-2'] },
    run: async (t) => {
      const [subscriber, publisher] = [await t.connect(), await t.connect()];
      await t.subscribed(subscriber, t.topic('a'), 2);
      const inUse = new Set<number>();
      for (let at = 0; at < 10; at++) await t.publish(publisher, t.topic('a'), `${at}`, { qos: 1 });
      for (let at = 0; at < 5; at++) await t.publish(publisher, t.topic('a'), `${at}`, { qos: 2 });
      for (let at = 0; at < 15; at++) {
        const { packetId } = await subscriber.expectPacket('PUBLISH', { dup: false });
        if (inUse.has(packetId)) throw new ExpectationError(`identifier ${packetId} in use`);
        inUse.add(packetId);
      }
    },
  },
  {
    name: 'acknowledgements repeat the Packet Identifier, 1, 256 and 65535 alike',
    on: { 3: [], 4: ['2.3.1-6', '2.3.1-7', '4.3.2-2', '4.3.3-2'],
      5: ['2.2.1-5', '2.2.1-6', '4.3.2-4', '4.3.3-8', '4.3.3-11'] },
    run: async (t) => {
      const peer = await t.connect();
      for (const packetId of [1, 256, 0x1234, 65_535]) {
        t.send(peer, t.topic('a'), 'x', { qos: 1, packetId });
        await peer.expectPacket('PUBACK', { packetId });
        t.send(peer, t.topic('a'), 'x', { qos: 2, packetId });
        await peer.expectPacket('PUBREC', { packetId });
        peer.send(pubrel(packetId));
        await peer.expectPacket('PUBCOMP', { packetId });
        peer.send(subscribe(t.version, packetId, [[t.topic('b'), 0]]));
        await peer.expectPacket('SUBACK', { packetId });
        peer.send(unsubscribe(t.version, packetId, [t.topic('b')]));
        await peer.expectPacket('UNSUBACK', { packetId });
      }
    },
  },
];

/** Packets that no client sends, bodies that are too short or too long. */
const shapes: CaseRow[] = [
  ...([['CONNACK', '20 02 00 00'], ['SUBACK', '90 03 00 01 00'], ['UNSUBACK', 'b0 02 00 01'],
    ['PINGRESP', 'd0 00'], ['reserved type 0', '00 00']] as const).map(([what, bytes]) =>
    refusal(`${what} from a client closes the connection`,
      { 3: [], 4: ['4.8.0-1'], 5: ['4.13.1-1'] }, () => hex(bytes))),
  refusal('AUTH, reserved before MQTT 5, closes the connection', { 3: [], 4: ['4.8.0-1'] },
    () => hex('f0 00')),
  refusal('a PUBLISH whose topic is longer than the packet closes the connection',
    { 3: [], 4: ['4.8.0-1'], 5: ['4.13.1-1'] }, () => packet(0x30, u16(200), str('abc'))),
  refusal('a PUBLISH above QoS 0 that ends before its identifier closes the connection',
    { 3: [], 4: ['4.8.0-1'], 5: ['4.13.1-1'] }, () => packet(0x32, str('abc'), u8(0))),
  refusal('a SUBSCRIBE that ends before the options byte closes the connection',
    { 3: [], 4: ['4.8.0-1'], 5: ['4.13.1-1'] },
    (t) => packet(0x82, u16(1), t.version === 5 ? u8(0) : Buffer.alloc(0), str('abc'))),
  refusal('a PUBACK of one byte closes the connection', { 3: [], 4: ['4.8.0-1'], 5: ['4.13.1-1'] },
    () => hex('40 01 00')),
  refusal('a PUBLISH that ends before its Property Length is malformed',
    { 5: ['2.2.2-1', '4.13.1-1'] }, (t) => packet(0x30, str(t.topic('a')))),
  refusal('PINGREQ with a body closes the connection', { 4: ['4.8.0-1'], 5: ['4.13.1-1'] },
    () => hex('c0 01 00')),
];

const PROPERTY_FAULTS: readonly (readonly [string, (topic: string) => Buffer])[] = [
  ['a property that stands twice', (topic) => publish({
    version: 5, topic, properties: [property.contentType('a'), property.contentType('a')] })],
  ['an unknown property', (topic) => publish({ version: 5, topic, properties: [hex('7e 00')] })],
  ['a property of another packet', (topic) => publish({
    version: 5, topic, properties: [property.sessionExpiry(1)] })],
  ['a Property Length beyond the packet', (topic) => packet(0x30, str(topic), hex('20 01 01'))],
  ['a property cut short by the Property Length', (topic) =>
    packet(0x30, str(topic), hex('02 26 00'), Buffer.from('payload'))],
  ['Subscription Identifier 0', (topic) =>
    subscribe(5, 1, [[topic, 0]], [property.subscriptionIdentifier(0)])],
  ['two Subscription Identifiers in SUBSCRIBE', (topic) => subscribe(5, 1, [[topic, 0]],
    [property.subscriptionIdentifier(1), property.subscriptionIdentifier(2)])],
];

const CONNECT_FAULTS: readonly (readonly [string, readonly Buffer[]])[] = [
  ['Receive Maximum 0', [property.receiveMaximum(0)]],
  ['Maximum Packet Size 0', [property.maximumPacketSize(0)]],
  ['Request Problem Information 2', [property.requestProblemInformation(2)]],
  ['Request Response Information 2', [property.requestResponseInformation(2)]],
  ['two Session Expiry Intervals', [property.sessionExpiry(1), property.sessionExpiry(1)]],
  ['a PUBLISH property', [property.topicAlias(1)]],
  ['Authentication Data without a method', [property.authenticationData('x')]],
];

const propertyFaults: CaseRow[] = [
  ...PROPERTY_FAULTS.map(([what, bytes]) =>
    refusal(`${what} closes the connection`, { 5: ['4.13.1-1'] }, (t) => bytes(t.topic('a')))),
  ...CONNECT_FAULTS.map(([what, list]): CaseRow => ({
    name: `a CONNECT with ${what} is refused`,
    on: { 5: ['3.1.4-1', '4.13.1-1', '3.14.0-1'] },
    run: async (t) => {
      const peer = await t.connecting({ properties: list });
      const replies = await t.expectRefused(peer, BAD);
      if (replies.some((reply) => reply.name === 'DISCONNECT')) {
        throw new ExpectationError('DISCONNECT before CONNACK');
      }
    },
  })),
  {
    name: 'a CONNECT longer than its fields is refused',
    on: { 4: ['3.1.4-1', '3.2.2-6', '3.1.2-18', '3.1.2-20', '3.1.3-1'],
      5: ['3.1.4-1', '3.1.2-16', '3.1.2-18', '3.1.3-1'] },
    run: async (t) => {
      const peer = await t.open();
      peer.send(connect({ version: t.version, clientId: t.clientId(), tail: str('someone') }));
      await t.expectRefused(peer, BAD);
    },
  },
];

export const encodingCases = expand('strings, integers and packet shapes', [
  ...strings, ...integers, ...flags, ...identifiers, ...shapes, ...propertyFaults,
]);
