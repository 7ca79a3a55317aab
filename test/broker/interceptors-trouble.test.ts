/** Interceptors that fail, are late, or are waited for while something ends; and what they cost. */
import { mkdtemp, rm } from 'node:fs/promises';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Broker } from '../../lib/index.js';
import type { Interception } from '../../lib/index.js';
import { PROPERTY } from '../conformance/kit.js';
import { valueOf } from '../conformance/wire/reader.js';
import { property, publish, pubrel } from '../conformance/wire/packets.js';
import { hasProgram } from '../guard/mosquitto.js';
import {
  Later, PASS, droppedOf, endAll, kitOf, on, receiver, start, until,
} from './support/interceptors.js';
import type { Intercept } from './support/interceptors.js';

afterEach(endAll);

describe('interceptors', () => {
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
      await endAll();
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
