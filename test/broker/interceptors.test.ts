/** Interceptors through the public door: what they see, and what becomes of it. */
import { afterEach, describe, expect, it } from '@jest/globals';
import type { Broker, InterceptedMessage } from '../../lib/index.js';
import { PROPERTY } from '../conformance/kit.js';
import { valueOf } from '../conformance/wire/reader.js';
import { property, pubrel } from '../conformance/wire/packets.js';
import type { Version } from '../conformance/wire/packets.js';
import {
  Later, PASS, droppedOf, endAll, kitOf, on, receiver, start, texts, until,
} from './support/interceptors.js';
import type { Intercept } from './support/interceptors.js';

afterEach(endAll);

describe.each<Version>([4, 5])('interceptors, MQTT version %d', (version) => {
  it.each([0, 1, 2])('see only what their filters name, and let it pass, at QoS %d', async (qos) => {
    const seen: InterceptedMessage[] = [];
    const broker = await start(on('a/+', (message) => {
      seen.push(message);
      return PASS;
    }));
    const kit = kitOf(broker, version);
    const to = await receiver(kit);
    const from = await kit.connect({ clientId: 'from', username: 'ana' });
    await kit.publish(from, 'b/1', 'not wanted', { qos });
    await kit.publish(from, 'a/1', 'wanted', { qos });
    await kit.publish(from, 'a/1/2', 'not wanted', { qos });
    for (const topic of ['b/1', 'a/1', 'a/1/2']) await kit.receive(to, { topic, qos });
    expect(texts(seen)).toEqual(['a/1 wanted']);
    const { origin, clientId, identity, retain } = seen[0];
    expect({ origin, clientId, username: identity?.username, qos: seen[0].qos, retain }).toEqual({
      origin: 'client', clientId: 'from', username: 'ana', qos, retain: false,
    });
  });

  it.each([0, 1, 2])('replace topic, payload and properties at QoS %d', async (qos) => {
    const broker = await start(on('raw/#', ({ topicName, payload, properties }) => ({
      kind: 'replace',
      topicName: topicName.replace('raw', 'clean'),
      payload: `${payload.length} bytes`,
      properties: { ...properties, userProperties: [['seen', 'yes']] },
    })));
    const kit = kitOf(broker, version);
    const to = await receiver(kitOf(broker, 5));
    const from = await kit.connect();
    await kit.publish(from, 'raw/1', 'xxxx', { qos });
    const message = await kit.receive(to, { topic: 'clean/1', payload: '4 bytes', qos });
    expect(valueOf(message, PROPERTY.user)).toEqual(['seen', 'yes']);
    await kit.fence(to);
  });

  it.each([1, 2])('drop at QoS %d with a Reason Code, and tell', async (qos) => {
    const broker = await start(on('x/#', ({ topicName }) => ({
      kind: 'drop', reason: 'no x today',
      ...(topicName === 'x/quota' ? { reasonCode: 0x97 } : {}),
      ...(topicName === 'x/silent' ? { reasonCode: 0 } : {}),
    })));
    const dropped = droppedOf(broker);
    const kit = kitOf(broker, version);
    const to = await receiver(kit);
    const from = await kit.connect({ clientId: 'from' });
    for (const [topic, code] of [['x/1', 0x83], ['x/quota', 0x97], ['x/silent', 0]] as const) {
      const packetId = kit.send(from, topic, 'gone', { qos });
      const answer = await from.expectPacket(qos === 1 ? 'PUBACK' : 'PUBREC', { packetId });
      expect(answer.reasonCode).toBe(version === 5 ? code : 0);
      if (qos === 2 && answer.reasonCode < 0x80) {
        from.send(pubrel(packetId));
        const released = await from.expectPacket('PUBCOMP', { packetId });
        expect(released.reasonCode).toBe(0);
      }
      // The identifier is free again: another message with it is another message.
      await kit.publish(from, 'y', topic, { qos, packetId });
      await kit.receive(to, { topic: 'y', payload: topic });
    }
    await until(() => dropped.length === 3);
    expect(dropped[0]).toEqual({
      clientId: 'from', topicName: 'x/1', qos, reason: 'intercepted', detail: 'no x today',
    });
    expect(broker.stats().dropped.intercepted).toBe(3);
    await kit.fence(to);
  });

  it.each([0, 1, 2])('that answer later make their client wait, in order, at QoS %d', async (qos) => {
    const later = new Later();
    const broker = await start(on('slow', later.intercept));
    const kit = kitOf(broker, version);
    const to = await receiver(kit);
    const from = await kit.connect();
    const other = await kit.connect();
    kit.send(from, 'fast', 'before', { qos });
    kit.send(from, 'slow', 'one', { qos });
    kit.send(from, 'fast', 'behind', { qos });
    kit.send(from, 'slow', 'two', { qos });
    await kit.receive(to, { payload: 'before' });
    const first = await later.next();
    await kit.publish(other, 'fast', 'of another client', { qos });
    await kit.receive(to, { payload: 'of another client' });
    expect(later.asked).toHaveLength(0);
    first.answer({ kind: 'replace', payload: 'ONE' });
    await kit.receive(to, { topic: 'slow', payload: 'ONE' });
    await kit.receive(to, { payload: 'behind' });
    (await later.next()).answer(PASS);
    await kit.receive(to, { payload: 'two' });
    if (qos === 1) {
      for (const packetId of [1, 2, 3, 4]) await from.expectPacket('PUBACK', { packetId });
    }
  });
});

describe('interceptors', () => {
  it('see topic aliases resolved and all properties; what they leave out stays', async () => {
    const seen: InterceptedMessage[] = [];
    const broker = await start(on('t', (message) => {
      seen.push(message);
      return { kind: 'replace', payload: 'new' };
    }));
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const from = await kit.connect();
    const list = [
      property.user('a', '1'), property.user('a', '2'), property.contentType('text/plain'),
      property.responseTopic('r'), property.correlationData('c'),
    ];
    await kit.publish(from, 't', 'by name', { properties: [property.topicAlias(3), ...list] });
    await kit.publish(from, '', 'by alias', { properties: [property.topicAlias(3)] });
    expect(texts(seen)).toEqual(['t by name', 't by alias']);
    expect(seen[0].properties).toMatchObject({
      userProperties: [['a', '1'], ['a', '2']], contentType: 'text/plain', responseTopic: 'r',
    });
    const message = await kit.receive(to, { topic: 't', payload: 'new' });
    expect(valueOf(message, PROPERTY.contentType)).toBe('text/plain');
    expect(valueOf(message, PROPERTY.responseTopic)).toBe('r');
    await kit.receive(to, { topic: 't', payload: 'new' });
  });

  it('are asked in their order, each with what those before made of it', async () => {
    const order: string[] = [];
    const step = (name: string, answer: Intercept): Intercept => (message) => {
      order.push(`${name}: ${message.topicName} ${Buffer.from(message.payload).toString()}`);
      return answer(message);
    };
    const add = (mark: string): Intercept => ({ payload }) =>
      ({ kind: 'replace', payload: `${Buffer.from(payload).toString()}${mark}` });
    const broker = await start([
      on('in/#', step('1', add('a'))),
      on('other', step('-', add('-'))),
      on(['in/+', 'in/1'], step('2', async () => ({ kind: 'replace', topicName: 'other' }))),
      on('#', step('3', add('c'))),
    ]);
    const kit = kitOf(broker);
    const to = await receiver(kit);
    await kit.publish(await kit.connect(), 'in/1', '', { qos: 1 });
    await kit.receive(to, { topic: 'other', payload: 'ac' });
    // What was renamed is not asked about again, and goes through those that wanted it as it came.
    expect(order).toEqual(['1: in/1 ', '2: in/1 a', '3: other a']);
  });

  it('change what is retained, or keep it from being retained', async () => {
    const broker = await start(on('#', ({ topicName, payload }) => {
      if (topicName === 'drop') return { kind: 'drop', reason: 'not kept' };
      if (topicName === 'plain') return { kind: 'replace', retain: false };
      if (topicName === 'keep') return { kind: 'replace', retain: true };
      return { kind: 'replace', topicName: `r/${topicName}`, payload: `<${Buffer.from(payload)}>` };
    }));
    const kit = kitOf(broker);
    const from = await kit.connect();
    for (const topic of ['a', 'drop', 'plain']) {
      await kit.publish(from, topic, 'v', { qos: 1, retain: true });
    }
    await kit.publish(from, 'keep', 'k', { qos: 1 });
    const to = await receiver(kit);
    const got = [await kit.receive(to), await kit.receive(to)].map((m) => `${m.topic} ${m.payload}`);
    expect(got.sort()).toEqual(['keep k', 'r/a <v>']);
    await kit.fence(to);
  });

  it('see wills, and what they make of them must be allowed to the client', async () => {
    const seen: string[] = [];
    const broker = await start(on('will/#', ({ origin, clientId, topicName }) => {
      seen.push(`${origin} ${clientId} ${topicName}`);
      if (topicName === 'will/drop') return { kind: 'drop', reason: 'no' };
      return Promise.resolve({
        kind: 'replace', topicName: topicName === 'will/steal' ? 'secret' : 'bye', payload: 'changed',
      });
    }), { authorization: [{ canPublish: (_, topicName) => topicName !== 'secret' }] });
    const kit = kitOf(broker);
    const to = await receiver(kit);
    for (const topic of ['will/steal', 'will/drop', 'will/1']) {
      await kit.cut(await kit.connect({ clientId: topic, will: { topic, payload: 'w', qos: 1 } }));
    }
    await kit.receive(to, { topic: 'bye', payload: 'changed', qos: 1 });
    expect(seen).toEqual([
      'will will/steal will/steal', 'will will/drop will/drop', 'will will/1 will/1',
    ]);
    await kit.fence(to);
  });

  it('see what this process publishes, in order for each topic', async () => {
    const later = new Later();
    const broker = await start(on('p/#', later.intercept));
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const done: string[] = [];
    const say = (topic: string, payload: string, qos: 0 | 1): Promise<unknown> =>
      broker.publish(topic, payload, { qos }).then(
        () => done.push(payload), (error: Error) => done.push(`${payload}: ${error.message}`));
    const all = [say('p/1', 'one', 1), say('p/1', 'two', 0), say('q', 'free', 1)];
    await kit.receive(to, { payload: 'free' });
    const first = await later.next();
    expect(first.message).toMatchObject({ origin: 'broker', clientId: '', topicName: 'p/1', qos: 1 });
    expect(later.asked).toHaveLength(0);
    first.answer({ kind: 'replace', payload: 'ONE' });
    await kit.receive(to, { payload: 'ONE', qos: 1 });
    (await later.next()).answer({ kind: 'drop', reason: 'not two' });
    await Promise.all(all);
    expect(done).toEqual(['free', 'one', 'two: "p/1": it was refused (0x83)']);
    await kit.fence(to);
  });

  it('may not give a message a topic that its publisher may not use', async () => {
    const asked: string[] = [];
    const broker = await start(
      on('in/+', ({ topicName }) => ({ kind: 'replace', topicName: topicName.slice(3) })),
      { authorization: [{ canPublish: (_, topicName) => {
        asked.push(topicName);
        return topicName !== 'secret';
      } }] },
    );
    const dropped = droppedOf(broker);
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const from = await kit.connect();
    for (const [topic, code] of [['in/secret', 0x87], ['in/free', 0], ['secret', 0x87]] as const) {
      const packetId = kit.send(from, topic, 'v', { qos: 1 });
      expect((await from.expectPacket('PUBACK', { packetId })).reasonCode).toBe(code);
    }
    await kit.receive(to, { topic: 'free' });
    expect(asked).toEqual(['in/secret', 'secret', 'in/free', 'free']);
    expect(dropped.map(({ reason, topicName }) => [reason, topicName])).toEqual([
      ['not-authorized', 'secret'], ['not-authorized', 'secret'],
    ]);
    await kit.fence(to);
  });

  it('are asked only about what its publisher may publish, and nobody gets $SYS by them', async () => {
    const seen: InterceptedMessage[] = [];
    const broker = await start(
      on(['#'], (message) => {
        seen.push(message);
        return { kind: 'replace', topicName: '$SYS/fake' };
      }),
      { authorization: [{ canPublish: (_, topicName) => topicName !== 'denied' }] },
    );
    const kit = kitOf(broker);
    const from = await kit.connect();
    for (const topic of ['denied', 'open']) {
      const packetId = kit.send(from, topic, 'v', { qos: 1 });
      expect((await from.expectPacket('PUBACK', { packetId })).reasonCode).toBe(0x87);
    }
    expect(texts(seen)).toEqual(['open v']);
  });

  it('may publish themselves', async () => {
    const broker: Broker = await start(on('in', async ({ payload }) => {
      await broker.publish('copy', payload, { qos: 1 });
      return PASS;
    }));
    const kit = kitOf(broker);
    const to = await receiver(kit);
    await kit.publish(await kit.connect(), 'in', 'v', { qos: 1 });
    await kit.receive(to, { topic: 'copy', payload: 'v' });
    await kit.receive(to, { topic: 'in', payload: 'v' });
  });

  it('leave handlers of this process what they made of it', async () => {
    const broker = await start(on('in', () => ({ kind: 'replace', topicName: 'out', payload: 'new' })));
    const got: string[] = [];
    await broker.subscribe('#', ({ topicName, payload }) => {
      got.push(`${topicName} ${Buffer.from(payload).toString()}`);
    });
    const kit = kitOf(broker);
    const from = await kit.connect();
    for (const qos of [0, 1, 2]) await kit.publish(from, 'in', 'old', { qos });
    await until(() => got.length === 3);
    expect(got).toEqual(['out new', 'out new', 'out new']);
  });

  it('take large messages and make larger ones', async () => {
    const broker = await start(on('big', ({ payload }) =>
      Promise.resolve({ kind: 'replace', payload: Buffer.concat([payload, payload]) })));
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const big = Buffer.alloc(700_000, 'x');
    await kit.publish(await kit.connect(), 'big', big, { qos: 1 });
    const { payload } = await kit.receive(to, { topic: 'big' });
    expect(payload.length).toBe(1_400_000);
  });

  it('are added to a broker that has met its topics already', async () => {
    const mark = (text: string): Intercept => ({ payload }) =>
      ({ kind: 'replace', payload: `${Buffer.from(payload).toString()}${text}` });
    const broker = await start([]);
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const from = await kit.connect();
    const arrives = async (topic: string, payload: string): Promise<void> => {
      await kit.publish(from, topic, 'v', { qos: 1 });
      await kit.receive(to, { topic, payload });
    };
    await arrives('a', 'v');
    broker.addGuards({ interceptors: [on('a', mark('1'))] });
    await arrives('a', 'v1');
    await arrives('b', 'v');
    broker.addGuards({ interceptors: [on('+', mark('2'))] });
    await arrives('a', 'v12');
    await arrives('b', 'v2');
    await broker.publish('b', 'w');
    await kit.receive(to, { payload: 'w2' });
    expect(() => broker.addGuards({ interceptors: [on('$SYS/#', mark('3'))] })).toThrow(/\$SYS/);
  });

  it('see the whole name of what comes from behind a mount point, and answer with whole names', async () => {
    const seen: InterceptedMessage[] = [];
    const broker = await start(on('tenant/in', (message) => {
      seen.push(message);
      return { kind: 'replace', topicName: 'tenant/out' };
    }), { listeners: [
      { host: '127.0.0.1', port: 0 }, { host: '127.0.0.1', port: 0, mountPoint: 'tenant/' },
    ] });
    const staff = await receiver(kitOf(broker));
    const kit = kitOf(broker, 5, 1);
    const to = await receiver(kit);
    await kit.publish(await kit.connect(), 'in', 'v', { qos: 1, properties: [property.responseTopic('answers')] });
    const message = await kit.receive(to, { topic: 'out', payload: 'v' });
    expect(valueOf(message, PROPERTY.responseTopic)).toBe('answers');
    await kit.receive(staff, { topic: 'tenant/out', payload: 'v' });
    expect(texts(seen)).toEqual(['tenant/in v']);
    expect(seen[0].properties.responseTopic).toBe('tenant/answers');
  });
});
