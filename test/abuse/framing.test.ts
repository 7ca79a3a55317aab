/** Abuse gate 1 to 15: framing and parsing. */
import { describe, expect, it } from '@jest/globals';
import { bin, cat, hex, packet, str, u16, u8, vbi } from '../conformance/wire/bytes.js';
import * as build from '../conformance/wire/packets.js';
import { memoryInUse, underAttack } from './abuse-kit.js';

const MALFORMED = [0x81];
const MALFORMED_OR_PROTOCOL = [0x81, 0x82];
const { property } = build;

/** Each of these on a connection of its own; all must be closed, with one of the codes where MQTT 5 sends one. */
async function allRefused(packets: readonly Buffer[], codes: readonly number[]): Promise<void> {
  await underAttack(async ({ kit }) => {
    for (const bytes of packets) await kit.expectBytesRefused(bytes, codes);
  });
}
const publishWith = (...list: Buffer[]): Buffer =>
  build.publish({ version: 5, topic: 'a', payload: 'x', properties: list });

describe('framing and parsing', () => {
  it('abuse 1: a Variable Byte Integer of five bytes', () => allRefused([
    hex('30 ff ff ff ff 7f 00'), hex('30 80 80 80 80 01'), hex('c0 80 80 80 80 00'),
    cat(hex('30 0a'), str('a'), hex('80 80 80 80 01 00 00')),
  ], MALFORMED));

  // Claims 4 MB, sends 60,000 bytes of it, then nothing.
  const halfOpen = cat(hex('10'), vbi(4_000_000), str('MQTT'), hex('05 02 00 3c 00'), u16(65_535), Buffer.alloc(60_000, 97));

  it.each([
    ['are refused as soon as they claim it', {}, 'larger than the limit'],
    ['are closed in time where they are allowed', { unauthenticatedBytesMax: 5_000_000 }, 'connect timeout'],
  ])('abuse 3: forty half-open CONNECTs of 4 MB cost under 10 MB and %s', (_, limits, reason) => underAttack(async ({ kit, log, broker }) => {
    const before = memoryInUse();
    const used = (): number => Object.values(broker.stats().memoryUsedBytes).reduce((sum, bytes) => sum + bytes, 0);
    const usedBefore = used();
    const peers = await Promise.all(Array.from({ length: 40 }, () => kit.open()));
    for (const peer of peers) peer.send(halfOpen);
    let most = 0;
    const look = setInterval(() => { most = Math.max(most, used() - usedBefore); }, 20);
    await Promise.all(peers.map((peer) => kit.expectRefused(peer))).finally(() => clearInterval(look));
    expect(log.filter((line) => line.startsWith('connection refused') && line.includes(reason))).toHaveLength(40);
    expect(memoryInUse() - before + most).toBeLessThan(10_000_000);
  }, { limits: { connectTimeoutSeconds: 2, packetBytesMax: 8 * 1024 * 1024, ...limits } }));

  it('abuse 3: slow partial CONNECTs within the limit are closed when their time is over', () => underAttack(async ({ kit }) => {
    const peers = await Promise.all(Array.from({ length: 20 }, () => kit.open()));
    const half = cat(hex('10'), vbi(60_000), str('MQTT'), hex('05 02 00 3c 00'), u16(50_000), Buffer.alloc(100, 97));
    for (const peer of peers) peer.send(half);
    const drip = setInterval(() => peers.forEach((peer) => peer.send(u8(97))), 100);
    await Promise.all(peers.map((peer) => kit.expectRefused(peer))).finally(() => clearInterval(drip));
  }, { limits: { connectTimeoutSeconds: 1 } }));

  it('abuse 3: more bytes than a stranger may send end the connection at once', () => underAttack(async ({ kit, log }) => {
    const peer = await kit.open();
    peer.send(cat(hex('10'), vbi(4_000_000), str('MQTT'), hex('05 02 00 3c 00'), u16(65_535), Buffer.alloc(200_000, 97)));
    await kit.expectRefused(peer);
    expect(log.join('\n')).not.toContain('connect timeout');
  }, { limits: { packetBytesMax: 8 * 1024 * 1024 } }));

  it('abuse 4: anything before CONNECT, and a second CONNECT', () => underAttack(async ({ kit }) => {
    const first = [
      build.puback(1), build.pubrec(1), build.pubrel(1), build.pubcomp(1), build.pingreq(), build.disconnect(5),
      build.subscribe(5, 1, [['a', 0]]), build.publish({ version: 5, topic: 'a' }), hex('f0 00'), hex('00 00'),
    ];
    for (const bytes of first) {
      const peer = await kit.open();
      peer.send(bytes);
      await kit.expectRefused(peer);
    }
    await kit.expectBytesRefused(build.connect({ version: 5, clientId: 'again' }), [0x82]);
  }));

  it('abuse 5: packets that only a server sends', () => allRefused(
    [hex('20 03 00 00 00'), hex('90 04 00 01 00 00'), hex('b0 04 00 01 00 00'), hex('d0 00')], MALFORMED_OR_PROTOCOL,
  ));

  it('abuse 6: an empty topic without alias, and an alias that was never set', () => allRefused([
    build.publish({ version: 5, topic: '' }), build.publish({ version: 5, topic: '', properties: [property.topicAlias(1)] }),
    build.publish({ version: 5, topic: 'a', properties: [property.topicAlias(0)] }),
    build.publish({ version: 5, topic: 'a', properties: [property.topicAlias(65_535)] }),
  ], [0x81, 0x82, 0x90, 0x94]));

  it('abuse 7: topics of tens of thousands of levels', () => underAttack(async ({ kit }) => {
    const deep = '/'.repeat(60_000);
    const publisher = await kit.connect();
    publisher.send(build.publish({ version: 5, topic: deep, payload: 'x', qos: 1, packetId: 1 }));
    await kit.expectRefused(publisher, [0x90]);
    const subscriber = await kit.connect();
    subscriber.send(build.subscribe(5, 1, [[`${'+/'.repeat(30_000)}#`, 0]]));
    const reply = await subscriber.next();
    expect(reply.name === 'SUBACK' ? reply.reasonCodes[0] : reply.reasonCode).toBeGreaterThanOrEqual(0x80);
  }));

  it('abuse 8: topics that begin with $', () => underAttack(async ({ kit }) => {
    const peer = await kit.connect();
    await kit.subscribed(peer, '#');
    for (const topic of ['$', '$x', '$SYS', '$SYS/broker/x', '$share/a/b', '$share', '$queue/x', '$MQTT/x']) {
      const sender = await kit.connect();
      sender.send(build.publish({ version: 5, topic, payload: 'x', qos: 1, packetId: 1 }));
      await sender.next();
    }
    await kit.fence(peer);
    await peer.expectNothing();
  }));

  it.each(['$share/ab', '$share//x', '$share/g/', '$share/g+/x', '$share/#/x', '$share/', '$share', '$share/g#/x'])(
    'abuse 9: a malformed shared subscription %s', (filter) => underAttack(async ({ kit }) => {
      const peer = await kit.connect();
      peer.send(build.subscribe(5, 1, [[filter, 0]]));
      const reply = await peer.next();
      // `$share` alone is a filter like any other.
      const code = reply.name === 'SUBACK' ? reply.reasonCodes[0] : reply.reasonCode;
      if (filter !== '$share') expect(code).toBeGreaterThanOrEqual(0x80);
      const sender = await kit.connect();
      for (const topic of ['ab', 'x', '/x', 'g/x']) await kit.publish(sender, topic, 'x');
    }));

  it('abuse 9: No Local on a shared subscription', () =>
    allRefused([build.subscribe(5, 1, [['$share/g/x', 0x04]])], [0x82]));

  it('abuse 10: properties twice, cut short, or not of this packet', () => allRefused([
    publishWith(property.contentType('a'), property.contentType('b')),
    publishWith(property.messageExpiry(1), property.messageExpiry(1)),
    publishWith(property.topicAlias(1), property.topicAlias(1)), publishWith(property.payloadFormat(2)),
    publishWith(hex('26 00 01 61')), publishWith(hex('26 00 05 61 00 01 62')), publishWith(hex('03 00 ff 61')),
    publishWith(property.sessionExpiry(1)), publishWith(hex('7f 00')), publishWith(hex('02 00')),
    cat(hex('30 06'), str('a'), hex('7f 01 00')),
  ], MALFORMED_OR_PROTOCOL));

  it('abuse 11: thousands of User Properties, in bounded time', () => underAttack(async ({ kit }) => {
    const peer = await kit.connect();
    const many = Array.from({ length: 30_000 }, (_, at) => property.user(`k${at}`, 'v'));
    const started = process.cpuUsage();
    peer.send(build.publish({ version: 5, topic: 'a', qos: 1, packetId: 1, properties: many }));
    const reply = await peer.next();
    expect(reply.reasonCode).toBeGreaterThanOrEqual(0x80);
    const { user, system } = process.cpuUsage(started);
    expect(user + system).toBeLessThan(1_000_000);
  }));

  it('abuse 12: text that is no UTF-8, null and control characters', () => underAttack(async ({ kit, log }) => {
    const evil = [hex('c0 80'), hex('ed a0 80'), hex('f4 90 80 80'), hex('61 00 62'), hex('ff'), hex('c3')];
    for (const text of evil) {
      await kit.expectBytesRefused(build.publish({ version: 5, topic: text }), [0x81, 0x82, 0x90]);
      await kit.expectBytesRefused(build.subscribe(5, 1, [[text, 0]]), [0x81, 0x82, 0x8f]);
      const peer = await kit.connecting({ clientId: text });
      await kit.expectRefused(peer);
    }
    const forged = await kit.connecting({ clientId: 'x\r\n2026 [admin] logged in' });
    await forged.next().catch(() => undefined);
    expect(log.filter((line) => /[\r\n]/.test(line))).toEqual([]);
  }));

  it('abuse 13: properties in the will that do not belong there, and cut CONNECTs', () => underAttack(async ({ kit }) => {
    const will = (list: Buffer[]) => ({ topic: 'w', payload: 'x', properties: list });
    for (const list of [[property.receiveMaximum(1)], [property.willDelay(1), property.willDelay(1)], [hex('18 00')], [property.topicAlias(1)]]) {
      await kit.expectRefused(await kit.connecting({ will: will(list) }));
    }
    const whole = build.connect({ version: 5, clientId: 'cut', will: will([property.willDelay(5)]), username: 'u', password: 'p' });
    for (let length = 3; length < whole.length; length += 1) {
      const peer = await kit.open();
      peer.send(packet(0x10, whole.subarray(2, length)));
      await kit.expectRefused(peer);
    }
  }));

  it('abuse 14: one packet that claims 256 MB', () => underAttack(async ({ kit }) => {
    const before = memoryInUse();
    await kit.expectBytesRefused(cat(hex('30 ff ff ff 7f'), str('a')), [0x95]);
    await kit.expectBytesRefused(cat(hex('82 ff ff ff 7f'), u16(1)), [0x95]);
    expect(memoryInUse() - before).toBeLessThan(10_000_000);
  }));

  it('abuse 15: retained messages with strange expiry, and rubbish of every packet type', () => underAttack(async ({ kit }) => {
    const sender = await kit.connect();
    for (const [at, seconds] of [0, 1, 0xffffffff].entries()) {
      await kit.publish(sender, `r/${at}`, 'x', { qos: 1, retain: true, properties: [property.messageExpiry(seconds)] });
      await kit.publish(sender, `r/${at}`, '', { qos: 1, retain: true });
    }
    let seed = 1;
    const random = (): number => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) >>> 16;
    for (let round = 0; round < 300; round += 1) {
      const peer = round % 3 === 0 ? await kit.open() : await kit.connect();
      const body = Buffer.from(Array.from({ length: random() % 40 }, () => random() & 0xff));
      peer.send(cat(u8(random() & 0xff), vbi(body.length), body));
      peer.cut();
    }
  }));

  it('abuse 2: a frame in a packet, and a packet in many pieces', () => underAttack(async ({ kit }) => {
    const peer = await kit.connect();
    const bytes = cat(build.publish({ version: 5, topic: 'p', payload: bin('x'), qos: 1, packetId: 7 }), build.pingreq());
    for (const byte of bytes) peer.send(u8(byte));
    await peer.awaitPacket('PUBACK', { packetId: 7 });
    await peer.awaitPacket('PINGRESP');
  }));
});
