import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { TestBroker } from '../../lib/testing/index.js';

let broker: TestBroker;
beforeEach(async () => {
  broker = await TestBroker.start();
});
afterEach(async () => {
  await broker.close();
});

describe('a test broker', () => {
  it.each([3, 4, 5] as const)('serves clients without sockets, version %s', async (version) => {
    const one = await broker.connect({ clientId: 'one', protocolVersion: version });
    const other = await broker.connect({ clientId: 'other', protocolVersion: version });
    const inbox = await other.collect('casa/+/luz');
    await one.publish('casa/sala/luz', 'on', { qos: 2, retain: true });
    const message = await inbox.expect('casa/sala/luz', { payload: 'on', qos: 2 });
    expect(message.topicName).toBe('casa/sala/luz');
    expect(broker.clients().map(({ transport }) => transport)).toEqual(['memory', 'memory']);
  });

  it('says what was published when something else was expected', async () => {
    const device = await broker.connect();
    await device.publish('casa/a', '{"c":20}', { qos: 1 });
    await broker.expectPublished('casa/+', { payload: { c: 20 } });
    await expect(broker.expectPublished('casa/b', { timeoutMs: 20 }))
      .rejects.toThrow(/no message to casa\/b within 20 ms. Seen:\n {2}casa\/a "{\\"c\\":20}" qos 1/);
  });

  it('waits for a message that comes later', async () => {
    const device = await broker.connect();
    const expected = broker.expectPublished('later', { payload: (bytes) => bytes.length === 3 });
    await device.publish('later', 'no');
    await device.publish('later', 'yes');
    expect((await expected).payload.toString()).toBe('yes');
  });

  it('expires sessions when its clock says so', async () => {
    const device = await broker.connect({
      clientId: 'sleeper', properties: { sessionExpiryInterval: 3_600 },
    });
    await device.subscribe('casa/#', () => undefined, { qos: 1 });
    device.cut();
    await broker.quiet();
    await broker.advance(3_599_000);
    expect(broker.session('sleeper')).toBeDefined();
    await broker.advance(2_000);
    expect(broker.session('sleeper')).toBeUndefined();
  });

  it('publishes a will when the wire is cut, and after its delay', async () => {
    const will = { topic: 'casa/will', payload: 'lost', qos: 1 } as const;
    const now = await broker.connect({ clientId: 'now', will });
    now.cut();
    await broker.expectPublished('casa/will', { payload: 'lost' });
    broker.published.clear();

    const delayed = { ...will, properties: { willDelayInterval: 30 } };
    const later = await broker.connect({
      clientId: 'later', will: delayed, properties: { sessionExpiryInterval: 600 },
    });
    later.cut();
    await broker.quiet();
    await broker.advance(29_000);
    expect(broker.published.of('casa/will')).toEqual([]);
    await broker.advance(2_000);
    expect(broker.published.of('casa/will')).toHaveLength(1);
  });

  it('ends connections whose keep alive has passed', async () => {
    const device = await broker.connect({ clientId: 'silent', keepalive: 60 });
    await broker.advance(80_000);
    expect(broker.client('silent')).toBeDefined();
    await broker.advance(20_000);
    expect(broker.client('silent')).toBeUndefined();
    await device.end({ deadlineMs: 0 });
  });

  it('keeps messages for a frozen client until it thaws', async () => {
    const frozen = await broker.connect({ clientId: 'frozen' });
    const inbox = await frozen.collect('casa/#');
    frozen.freeze();
    await broker.publish('casa/x', '1', { qos: 1 });
    await broker.quiet();
    expect(inbox.messages).toEqual([]);
    frozen.thaw();
    await inbox.expect('casa/x', { payload: '1' });
  });

  it('starts anew after it was killed', async () => {
    const device = await broker.connect({ clientId: 'd' });
    let closed = 0;
    device.on('close', () => (closed += 1));
    await broker.kill();
    broker = await broker.recover();
    expect(broker.clients()).toEqual([]);
    const again = await broker.connect({ clientId: 'd' });
    await again.publish('casa/again', '1', { qos: 1 });
    await broker.expectPublished('casa/again');
    expect(closed).toBe(1);
  });

  it('recovers what it had acknowledged, and publishes wills that it could not', async () => {
    await broker.close();
    broker = await TestBroker.start({ state: 'survives-kill' });
    const kept = { properties: { sessionExpiryInterval: 3_600 }, clean: false };
    const will = { topic: 'casa/will', payload: 'lost', qos: 1 } as const;
    const reader = await broker.connect({ clientId: 'reader', ...kept });
    await reader.subscribe('casa/#', () => undefined, { qos: 1 });
    const writer = await broker.connect({ clientId: 'writer', will, ...kept });
    await writer.publish('casa/kept', 'retained', { qos: 1, retain: true });
    await broker.quiet();
    reader.cut();
    await broker.quiet();
    await writer.publish('casa/a', '1', { qos: 1 });
    const before = broker;
    await broker.kill();
    expect(before.published.of('casa/will')).toEqual([]);
    broker = await broker.recover();
    await broker.expectPublished('casa/will', { payload: 'lost' });
    await broker.quiet();
    // casa/a, and the will
    expect(broker.session('reader')).toMatchObject({ queuedMessages: 2 });
    const other = await broker.connect({ clientId: 'other' });
    const inbox = await other.collect('casa/kept');
    await inbox.expect('casa/kept', { retain: true, payload: 'retained' });
  });

  it('loses what it had not acknowledged when it is killed', async () => {
    const device = await broker.connect({ clientId: 'd', clean: false });
    await broker.kill();
    await expect(device.publish('a', '1', { qos: 1, timeoutMs: 50 } as never)).rejects.toThrow();
    broker = await broker.recover();
    expect(broker.session('d')).toBeUndefined();
    expect(broker.published.messages).toEqual([]);
  });

  it('moves its time over several deadlines, each at its time', async () => {
    const seen: string[] = [];
    broker.on('sessionEnded', ({ clientId }) => seen.push(`${clientId} ${broker.clock.now()}`));
    for (const [clientId, sessionExpiryInterval] of [['b', 20], ['a', 10]] as const) {
      const device = await broker.connect({ clientId, properties: { sessionExpiryInterval } });
      device.cut();
    }
    await broker.quiet();
    await broker.advance(30_000);
    expect(seen.map((one) => one.split(' ')[0])).toEqual(['a', 'b']);
    const [first, second] = seen.map((one) => Number(one.split(' ')[1]));
    expect(first).toBeLessThan(11_000);
    expect(second).toBeGreaterThanOrEqual(20_000);
  });

  it('is refused nothing by the network: what a frozen client does not read waits', async () => {
    const slow = await broker.connect({ clientId: 'slow' });
    const quick = await broker.connect({ clientId: 'quick' });
    const inbox = await quick.collect('x');
    await slow.collect('x');
    slow.freeze();
    for (let at = 0; at < 100; at += 1) await broker.publish('x', String(at), { qos: 1 });
    await inbox.expect('x', { payload: '99' });
    expect(inbox.messages).toHaveLength(100);
  });

  it('hands a message on with the expiry interval that it came with, at any time', async () => {
    // (time + 60,000) - time is more than 60,000 here: a second more for the receiver, once.
    const time = 60000.369;
    expect(time + 60_000 - time).toBeGreaterThan(60_000);
    await broker.clock.advance(time);
    const reader = await broker.connect({ clientId: 'reader' });
    const inbox = await reader.collect('a');
    await broker.publish('a', 'x', { qos: 1, properties: { messageExpiryInterval: 60 } });
    const { properties } = await inbox.expect('a');
    expect(properties.messageExpiryInterval).toBe(60);
  });
});

describe.each(['lost', 'survives-kill'] as const)('publish of this process, state %s', (state) => {
  it('waits for handlers, or for nobody but the store', async () => {
    const broker = await TestBroker.start({ state });
    const lamp = await broker.connect({
      clientId: 'lamp', properties: { sessionExpiryInterval: 60 },
    });
    const inbox = await lamp.collect('t');
    const order: string[] = [];
    let finish = (): void => undefined;
    await broker.subscribe('t', async () => {
      await new Promise<void>((resolve) => { finish = resolve; });
      order.push('handled');
    }, { concurrency: 1 });
    await broker.publish('t', '1', { qos: 1, awaits: 'nobody' });
    await inbox.expect('t', { payload: '1' });
    expect(order).toEqual([]);
    const waiting = broker.publish('t', '2', { qos: 1 }).then(() => order.push('published'));
    finish();
    await broker.quiet();
    finish();
    await waiting;
    expect(order).toEqual(['handled', 'handled', 'published']);
    await expect(broker.publish('t', '', { awaits: 'all' as never })).rejects.toThrow(
      /awaits is all; allowed: 'handlers', 'nobody'/);
    await broker.close();
  });
});
