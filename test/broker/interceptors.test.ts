/** Interceptors through the public door: what they see, what becomes of it, and what it costs others. */
import { mkdtemp, rm } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Broker } from '../../lib/index.js';
import type {
  BrokerOptions, InterceptedMessage, Interception, MessageDroppedEvent, MessageInterceptor,
} from '../../lib/index.js';
import { Kit, PROPERTY } from '../conformance/kit.js';
import type { Peer } from '../conformance/kit.js';
import { valueOf } from '../conformance/wire/reader.js';
import { property, publish, pubrel } from '../conformance/wire/packets.js';
import type { Version } from '../conformance/wire/packets.js';
import { hasProgram } from '../guard/mosquitto.js';

const QUIET = { error: () => undefined, warn: () => undefined };
const PASS: Interception = { kind: 'pass' };

const brokers: Broker[] = [];
const kits: Kit[] = [];
afterEach(async () => {
  for (const kit of kits.splice(0)) kit.close();
  for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 200 });
});

type Intercept = MessageInterceptor['intercept'];

async function start(
  interceptors: MessageInterceptor | readonly MessageInterceptor[], options: BrokerOptions = {},
): Promise<Broker> {
  const broker = new Broker({
    listeners: [{ host: '127.0.0.1', port: 0 }], logger: QUIET, ...options,
    interceptors: [interceptors].flat(),
  });
  brokers.push(broker);
  await broker.listen();
  return broker;
}
const on = (filter: string | readonly string[], intercept: Intercept): MessageInterceptor => ({
  topicFilters: [filter].flat(), intercept,
});
function kitOf(broker: Broker, version: Version = 5): Kit {
  const kit = new Kit({ host: '127.0.0.1', port: broker.listeners[0].port as number }, version);
  kits.push(kit);
  return kit;
}
/** An answer that is given when the test wants it. */
class Later {
  readonly asked: { message: InterceptedMessage; answer: (answer: Interception) => void }[] = [];
  readonly intercept: Intercept = (message) =>
    new Promise((resolve) => { this.asked.push({ message, answer: resolve }); });
  async next(): Promise<(typeof this.asked)[number]> {
    await until(() => this.asked.length > 0);
    return this.asked.shift()!;
  }
}
async function until(condition: () => boolean, ms = 10_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const texts = (list: readonly InterceptedMessage[]): string[] =>
  list.map(({ topicName, payload }) => `${topicName} ${Buffer.from(payload).toString()}`);
function droppedOf(broker: Broker): MessageDroppedEvent[] {
  const events: MessageDroppedEvent[] = [];
  broker.on('messageDropped', (event) => events.push(event));
  return events;
}
async function receiver(kit: Kit, filter = '#', qos = 2): Promise<Peer> {
  const peer = await kit.connect();
  await kit.subscribed(peer, filter, qos);
  return peer;
}

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

  const failing: [string, Intercept][] = [
    ['throws', () => { throw new Error('broken'); }],
    ['rejects', () => Promise.reject(new Error('broken'))],
    ['answers nothing', () => undefined as never],
    ['answers nonsense', () => ({ kind: 'maybe' }) as never],
    ['answers nonsense later', () => Promise.resolve(null as never)],
    ['names a topic with a wildcard', () => ({ kind: 'replace', topicName: 'a/#' })],
    ['gives a payload that is none', () => ({ kind: 'replace', payload: 7 as never })],
    ['gives properties that are none', () =>
      ({ kind: 'replace', properties: { userProperties: [['a', 'b\0']] } })],
    ['never answers', () => new Promise(() => undefined)],
  ];
  it.each(failing)('one that %s refuses the message, and only that', async (_, intercept) => {
    const broker = await start(on('bad', intercept), { limits: { interceptTimeoutMs: 60 } });
    const dropped = droppedOf(broker);
    const problems: string[] = [];
    broker.on('problem', ({ where }) => problems.push(where));
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const from = await kit.connect({ clientId: 'from' });
    for (const qos of [1, 2]) {
      const packetId = kit.send(from, 'bad', 'v', { qos });
      const answer = await from.expectPacket(qos === 1 ? 'PUBACK' : 'PUBREC', { packetId });
      expect(answer.reasonCode).toBe(0x80);
    }
    await kit.publish(from, 'bad', 'v', { qos: 0 });
    await expect(broker.publish('bad', 'v', { qos: 1 })).rejects.toMatchObject({ reasonCode: 0x80 });
    await kit.publish(from, 'good', 'v', { qos: 2 });
    await kit.receive(to, { topic: 'good' });
    expect(dropped.map(({ clientId, reason }) => [clientId, reason])).toEqual([
      ...Array<string[]>(3).fill(['from', 'interceptor-failed']), ['', 'interceptor-failed'],
    ]);
    expect(problems).toEqual(Array(4).fill('interceptor'));
    expect(broker.stats().dropped['interceptor-failed']).toBe(4);
    await kit.fence(to);
  });

  it('whose answer comes too late are not heard', async () => {
    const later = new Later();
    const second: string[] = [];
    const broker = await start([
      on('slow', later.intercept),
      on('slow', ({ payload }) => {
        second.push(Buffer.from(payload).toString());
        return PASS;
      }),
    ], { limits: { interceptTimeoutMs: 50 } });
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const from = await kit.connect();
    const packetId = kit.send(from, 'slow', 'late', { qos: 1 });
    const { answer } = await later.next();
    expect((await from.expectPacket('PUBACK', { packetId })).reasonCode).toBe(0x80);
    kit.send(from, 'slow', 'next', { qos: 1 });
    const next = await later.next();
    answer({ kind: 'drop', reason: 'too late' });
    next.answer(PASS);
    await kit.receive(to, { payload: 'next' });
    expect(second).toEqual(['next']);
    expect(broker.stats().dropped).toMatchObject({ 'intercepted': 0, 'interceptor-failed': 1 });
  });

  it('answer for a client that has gone without harm to whoever has its place', async () => {
    const later = new Later();
    const broker = await start(on('slow', later.intercept));
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const gone = await kit.connect();
    kit.send(gone, 'slow', 'of the one that goes', { qos: 1 });
    const first = await later.next();
    broker.disconnectClient(gone.clientId);
    await until(() => broker.client(gone.clientId) === undefined);
    const from = await kit.connect();
    kit.send(from, 'slow', 'of the one that stays', { qos: 1 });
    const second = await later.next();
    first.answer({ kind: 'replace', payload: 'wrong' });
    await kit.fence(to);
    second.answer(PASS);
    await kit.receive(to, { payload: 'of the one that stays' });
    await kit.fence(to);
  });

  it('a QoS 2 message that comes again is one message to them', async () => {
    const later = new Later();
    const broker = await start(on('once', later.intercept));
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const from = await kit.connect({ clientId: 'again', ...kit.persistent() });
    kit.send(from, 'once', 'v', { qos: 2, packetId: 7 });
    (await later.next()).answer({ kind: 'replace', payload: 'V' });
    await from.expectPacket('PUBREC', { packetId: 7 });
    await kit.cut(from);
    const back = await kit.connect({ clientId: 'again', ...kit.persistent() });
    kit.send(back, 'once', 'v', { qos: 2, packetId: 7, dup: true });
    await back.expectPacket('PUBREC', { packetId: 7 });
    back.send(pubrel(7));
    await back.expectPacket('PUBCOMP', { packetId: 7 });
    await kit.receive(to, { payload: 'V' });
    expect(later.asked).toHaveLength(0);
    await kit.fence(to);
  });

  it('count the time of their answer against the expiry of a message', async () => {
    const later = new Later();
    const broker = await start(on('e/#', later.intercept));
    const dropped = droppedOf(broker);
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const from = await kit.connect();
    const cases: [string, number, Interception][] = [
      ['e/passed', 1, PASS], ['e/replaced', 1, { kind: 'replace', payload: 'x' }],
    ];
    for (const [topic, seconds, answer] of cases) {
      const packetId = kit.send(from, topic, 'v', {
        qos: 2, properties: [property.messageExpiry(seconds)],
      });
      const asked = await later.next();
      expect(asked.message.properties.messageExpiryInterval).toBe(1);
      const came = Date.now();
      await until(() => Date.now() > came + 1_050);
      asked.answer(answer);
      const answered = await from.expectPacket('PUBREC', { packetId });
      expect(answered.reasonCode).toBe(0);
      from.send(pubrel(packetId));
      expect((await from.expectPacket('PUBCOMP', { packetId })).reasonCode).toBe(0);
    }
    expect(dropped.map(({ reason }) => reason)).toEqual(['expired', 'expired']);
    kit.send(from, 'e/lives', 'v', { properties: [property.messageExpiry(100)] });
    (await later.next()).answer({ kind: 'replace', payload: 'w' });
    const message = await kit.receive(to, { topic: 'e/lives', payload: 'w' });
    expect(valueOf(message, PROPERTY.messageExpiry)).toBe(100);
  });

  it('keep the order of a flood whose answers come now or later, and leave nothing behind', async () => {
    let count = 0;
    const broker = await start(on('f', ({ payload }) => {
      const answer: Interception = { kind: 'replace', payload: `${Buffer.from(payload).toString()}!` };
      return (count += 1) % 3 === 0 ? Promise.resolve(answer) : answer;
    }));
    const kit = kitOf(broker);
    const to = await receiver(kit, 'f');
    const from = await kit.connect();
    const flood = async (): Promise<void> => {
      const packets = Array.from({ length: 1_000 }, (_, at) =>
        publish({ version: 5, topic: 'f', payload: `${at}`, qos: 1, packetId: at + 1 }));
      from.send(Buffer.concat(packets));
      for (let at = 0; at < 1_000; at += 1) await kit.receive(to, { payload: `${at}!` });
      for (let at = 0; at < 1_000; at += 1) await from.expectPacket('PUBACK', { packetId: at + 1 });
      await kit.fence(to);
    };
    await flood();
    const { record, message, carry } = broker.stats().memoryUsedBytes;
    await flood();
    expect(broker.stats().memoryUsedBytes).toMatchObject({ record, message, carry });
    expect(count).toBe(2_000);
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

  it('hold a bounded number of messages of this process', async () => {
    const later = new Later();
    const broker = await start(on('p', later.intercept), { limits: { interceptWaitingMax: 2 } });
    const first = [broker.publish('p', '1', { qos: 1 }), broker.publish('p', '2')];
    await expect(broker.publish('p', '3', { qos: 1 })).rejects.toMatchObject({ reasonCode: 0x97 });
    await broker.publish('q', 'not wanted');
    (await later.next()).answer(PASS);
    (await later.next()).answer(PASS);
    await Promise.all(first);
    const fourth = broker.publish('p', '4');
    (await later.next()).answer(PASS);
    await fourth;
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

  it('keep nobody from closing the broker', async () => {
    const later = new Later();
    const broker = await start(on('#', later.intercept));
    const kit = kitOf(broker);
    kit.send(await kit.connect(), 'x', 'v', { qos: 1 });
    const published = broker.publish('y', 'v', { qos: 1 });
    const [one, two] = [await later.next(), await later.next()];
    await broker.close({ deadlineMs: 50 });
    one.answer({ kind: 'replace', payload: 'w' });
    two.answer(PASS);
    await expect(published).rejects.toMatchObject({ code: 'NIDO_BROKER_CLOSED' });
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
    const kit = new Kit({ host: '127.0.0.1', port: broker.listeners[1].port as number }, 5);
    kits.push(kit);
    const to = await receiver(kit);
    await kit.publish(await kit.connect(), 'in', 'v', { qos: 1, properties: [property.responseTopic('answers')] });
    const message = await kit.receive(to, { topic: 'out', payload: 'v' });
    expect(valueOf(message, PROPERTY.responseTopic)).toBe('answers');
    await kit.receive(staff, { topic: 'tenant/out', payload: 'v' });
    expect(texts(seen)).toEqual(['tenant/in v']);
    expect(seen[0].properties.responseTopic).toBe('tenant/answers');
  });

  it('change what is kept on disk', async () => {
    const path = await mkdtemp(join(tmpdir(), 'nidomq-intercept-'));
    try {
      const engine = { file: { path } };
      const broker = await start(on('in/#', async ({ topicName }) => (topicName === 'in/drop'
        ? { kind: 'drop', reason: 'no' }
        : { kind: 'replace', topicName: 'kept', payload: 'K' })), { engine });
      const kit = kitOf(broker);
      const away = await kit.connect({ clientId: 'away', ...kit.persistent() });
      await kit.subscribed(away, '#', 2);
      await kit.cut(away);
      const from = await kit.connect({ clientId: 'from', ...kit.persistent() });
      for (const qos of [1, 2]) {
        await kit.publish(from, 'in/1', 'v', { qos, retain: true });
        const packetId = kit.send(from, 'in/drop', 'v', { qos, retain: true });
        const answer = await from.expectPacket(qos === 1 ? 'PUBACK' : 'PUBREC', { packetId });
        expect(answer.reasonCode).toBe(0x83);
      }
      await broker.close({ deadlineMs: 500 });
      const again = await start([], { engine });
      const later = kitOf(again);
      const back = await later.connect({ clientId: 'away', ...later.persistent() });
      await later.receive(back, { topic: 'kept', payload: 'K', qos: 1 });
      await later.receive(back, { topic: 'kept', payload: 'K', qos: 2 });
      await later.fence(back);
      const fresh = await receiver(later);
      await later.receive(fresh, { topic: 'kept', payload: 'K', retain: true });
      await later.fence(fresh);
    } finally {
      for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 200 });
      await rm(path, { recursive: true, force: true });
    }
  });

  const whenInstalled = hasProgram('mosquitto_pub') ? it : it.skip;
  if (!hasProgram('mosquitto_pub')) process.stderr.write('SKIPPED: mosquitto_pub is not installed\n');
  whenInstalled('lose nothing of a client that publishes and leaves at once', async () => {
    const later = new Later();
    const broker = await start(on('in', later.intercept));
    const kit = kitOf(broker);
    const to = await receiver(kit);
    const port = String(broker.listeners[0].port);
    const flags = ['-h', '127.0.0.1', '-p', port, '-t', 'in', '-m', 'v', '-q', '0'];
    const child = spawn('mosquitto_pub', flags);
    await new Promise((resolve) => child.once('exit', resolve));
    (await later.next()).answer({ kind: 'replace', payload: 'w' });
    await kit.receive(to, { topic: 'in', payload: 'w' });
  });

  it.each([
    [{ intercept: () => PASS }, /interceptors\[0\]\.topicFilters: is of type undefined/],
    [on([], () => PASS), /interceptors\[0\]\.topicFilters: is a list/],
    [on('a/#/b', () => PASS), /interceptors\[0\]\.topicFilters\[0\]/],
    [on('$share/g/a', () => PASS), /without \$share/],
    [on(['a', '$SYS/#'], () => PASS), /interceptors\[0\]\.topicFilters\[1\].*\$SYS/],
    [{ topicFilters: ['a'] }, /interceptors\[0\] has none of the methods intercept/],
  ])('that could never be asked are refused at the start: %#', (interceptor, message) => {
    const interceptors = [interceptor] as never;
    expect(() => new Broker({ interceptors })).toThrow(message);
  });
});
