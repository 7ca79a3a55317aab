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

  it('starts anew as after a crash', async () => {
    const device = await broker.connect({ clientId: 'd' });
    let closed = 0;
    device.on('close', () => (closed += 1));
    broker = await broker.restart();
    expect(broker.clients()).toEqual([]);
    const again = await broker.connect({ clientId: 'd' });
    await again.publish('casa/again', '1', { qos: 1 });
    await broker.expectPublished('casa/again');
    expect(closed).toBe(1);
  });
});
