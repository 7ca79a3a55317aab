/** Every limit is reached by a test that carries its name; the last test compares with the table. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Broker } from '../../lib/broker/broker.js';
import type { BrokerOptions, LimitSettings } from '../../lib/broker/broker-options.js';
import type { MessageDroppedEvent } from '../../lib/broker/events.js';
import { OPTION_TABLE } from '../../lib/broker/options.js';
import type { Client } from './support/clients.js';
import { RawPeer, Stage, until, within } from './support/clients.js';

const reached = new Set<string>();
let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.stop());

function limit(name: keyof LimitSettings, does: string, test: () => Promise<void>): void {
  it(`limits.${name}: ${does}`, async () => {
    reached.add(`limits.${name}`);
    await test();
  });
}

const withLimits = (
  limits: Partial<LimitSettings>, options: BrokerOptions = {},
): Promise<Broker> => stage.broker({ ...options, limits });
const persistent = { clean: true, properties: { sessionExpiryInterval: 100 } };

/** CONNECT of MQTT 5 with an identifier of three characters, Keep Alive 0. */
const connectBytes = (id: string): string =>
  `10 10 0004 4d515454 05 02 0000 00 0003 ${Buffer.from(id).toString('hex')}`;

async function rawClient(id: string): Promise<RawPeer> {
  const peer = await stage.socket();
  peer.send(connectBytes(id));
  await until(() => peer.bytes.length > 0 && peer.bytes.length >= 2 + peer.bytes[1], 'CONNACK');
  expect(peer.bytes.subarray(0, 4).toString('hex')).toMatch(/^20..0000$/);
  peer.bytes = peer.bytes.subarray(2 + peer.bytes[1]);
  return peer;
}

/** PUBLISH of MQTT 5 to a topic of one character. */
function publishBytes(topic: string, given: { id?: number; payload?: number }): string {
  const { id, payload = 4 } = given;
  const body = Buffer.alloc(3 + (id === undefined ? 0 : 2) + 1 + payload, 0x78);
  body.writeUInt16BE(1, 0);
  body.write(topic, 2);
  if (id !== undefined) body.writeUInt16BE(id, 3);
  body[id === undefined ? 3 : 5] = 0;
  const length = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  return Buffer.from([id === undefined ? 0x30 : 0x32, ...length, ...body]).toString('hex');
}

/** A client whose session waits for messages on `filter` while it is away. */
async function awayOn(filter: string): Promise<Client> {
  const away = await stage.client({ clientId: 'away', ...persistent });
  await away.mqtt.subscribeAsync(filter, { qos: 1 });
  await away.end();
  return away;
}

function drops(broker: Broker): MessageDroppedEvent[] {
  const seen: MessageDroppedEvent[] = [];
  broker.on('messageDropped', (event) => seen.push(event));
  return seen;
}

describe('packets', () => {
  limit('packetBytesMax', 'a larger packet ends the connection with 0x95', async () => {
    await withLimits({ packetBytesMax: 1_024 });
    const peer = await rawClient('big');
    peer.send(publishBytes('t', { payload: 1_000 }));
    peer.send('c0 00');
    await peer.answer('d0 00');
    peer.send(publishBytes('t', { payload: 2_000 }));
    await peer.answer('e0 01 95');
    await within(peer.whenClosed, 'the end');
  });

  limit('topicAliasMaximum', 'a higher alias ends the connection with 0x94', async () => {
    await withLimits({ topicAliasMaximum: 3 });
    const peer = await rawClient('als');
    peer.send('30 07 0001 74 03 23 0003');
    peer.send('30 07 0001 74 03 23 0004');
    await peer.answer('e0 01 94');
  });

  limit('topicLevelsMax', 'a Topic Name of more levels ends the connection with 0x90', async () => {
    await withLimits({ topicLevelsMax: 4 });
    const client = await stage.client({ clientId: 'deep' });
    await client.mqtt.publishAsync('a/b/c/d', '', { qos: 1 });
    client.mqtt.publish('a/b/c/d/e', '', { qos: 1 });
    await within(client.whenClosed, 'the end');
    expect(client.disconnects).toEqual([0x90]);
  });

  limit('userPropertiesMax', 'more User Properties end the connection', async () => {
    await withLimits({ userPropertiesMax: 2 });
    const client = await stage.client({ clientId: 'many' });
    const properties = (count: number) => ({ userProperties: { k: Array<string>(count).fill('v') } });
    await client.mqtt.publishAsync('t', '', { qos: 1, properties: properties(2) });
    client.mqtt.publish('t', '', { qos: 1, properties: properties(3) });
    await within(client.whenClosed, 'the end');
    expect(client.disconnects[0]).toBeGreaterThanOrEqual(0x80);
  });

  limit('unauthenticatedBytesMax', 'a larger CONNECT is refused before it is complete', async () => {
    const broker = await withLimits({ unauthenticatedBytesMax: 128 });
    const peer = await stage.socket();
    peer.send('10 ff 7f 0004 4d515454 05 c2 003c 00 0001 61');
    peer.send('78'.repeat(200));
    await within(peer.whenClosed, 'the end');
    expect(broker.stats().connectionsRefused).toBe(1);
  });

  limit('receiveMaximum', 'more unacknowledged messages end the connection with 0x93', async () => {
    const broker = await withLimits({ receiveMaximum: 2 });
    await broker.subscribe('t', () => new Promise(() => {}), { handlerTimeoutMs: 0 });
    const peer = await rawClient('rcv');
    for (const id of [1, 2, 3]) peer.send(publishBytes('t', { id }));
    await peer.answer('e0 01 93');
  });
});

describe('connections and sessions', () => {
  limit('connectTimeoutSeconds', 'who has not sent CONNECT by then is closed', async () => {
    await withLimits({ connectTimeoutSeconds: 1 });
    const peer = await stage.socket();
    await within(peer.whenClosed, 'the end');
  });

  limit('clientIdBytesMax', 'a longer Client Identifier is refused with 0x85', async () => {
    await withLimits({ clientIdBytesMax: 23 });
    await stage.client({ clientId: 'x'.repeat(23) });
    const refused = stage.client({ clientId: 'x'.repeat(24) });
    await expect(refused).rejects.toMatchObject({ code: 0x85 });
  });

  limit('connectionsMax', 'one more connection is closed at once', async () => {
    await withLimits({ connectionsMax: 1 });
    const first = await stage.client({ clientId: 'first' });
    const second = await stage.socket();
    await within(second.whenClosed, 'the end of the second');
    await first.mqtt.publishAsync('t', '', { qos: 1 });
  });

  limit('sessionsMax', 'one more session is refused with 0x97', async () => {
    await withLimits({ sessionsMax: 1 });
    const first = await stage.client({ clientId: 'first', ...persistent });
    await first.end();
    await expect(stage.client({ clientId: 'second' })).rejects.toMatchObject({ code: 0x97 });
    await stage.client({ clientId: 'first' });
  });

  limit('subscriptionsPerSessionMax', 'one more is refused with 0x97, not a repeated one', async () => {
    await withLimits({ subscriptionsPerSessionMax: 2 });
    const peer = await rawClient('sub');
    const subscribe = (filter: string) =>
      peer.send(`82 07 0001 00 0001 ${Buffer.from(filter).toString('hex')} 01`);
    subscribe('a');
    await peer.answer('90 04 0001 00 01');
    subscribe('b');
    await peer.answer('90 04 0001 00 01');
    subscribe('c');
    await peer.answer('90 04 0001 00 97');
    subscribe('b');
    await peer.answer('90 04 0001 00 01');
  });

  it('one packet with very many filters beyond it is one line in the log', async () => {
    const filters = 20_000;
    const lines: string[] = [];
    const log = (level: string) => (...said: unknown[]) => {
      lines.push(`${level} ${said.map(String).join(' ')}`);
    };
    await stage.broker({
      limits: { subscriptionsPerSessionMax: 10 },
      logger: { error: log('error'), warn: log('warn'), log: log('log') },
    });
    const peer = await rawClient('sub');
    const list = Array.from({ length: filters }, (_, n) => Buffer.from(`${10_000 + n}`));
    const body = Buffer.concat([
      Buffer.from('000100', 'hex'),
      ...list.map((filter) => Buffer.concat([Buffer.from([0, 5]), filter, Buffer.from([1])])),
    ]);
    const length = [(body.length & 127) | 128, ((body.length >> 7) & 127) | 128, body.length >> 14];
    const codes = `${'01'.repeat(10)}${'97'.repeat(filters - 10)}`;
    peer.send(`82${Buffer.from(length).toString('hex')}${body.toString('hex')}`);
    await peer.answer(`90 a39c01 0001 00 ${codes}`);
    const told = lines.filter((line) => line.includes('refused'));
    expect(told).toHaveLength(1);
    expect(told[0]).toContain('19990');
  });
});

describe('queues', () => {
  limit('queueMessagesMax', 'an offline session loses what is beyond, and it is told', async () => {
    const broker = await withLimits({ queueMessagesMax: 5 });
    const lost = drops(broker);
    await awayOn('t');
    for (let n = 0; n < 8; n += 1) await broker.publish('t', `${n}`, { qos: 1 }).catch(() => {});
    const dropped = { clientId: 'away', topicName: 't', qos: 1, reason: 'queue-full' };
    expect(lost).toEqual([dropped, dropped, dropped]);
    const back = await stage.client({ clientId: 'away', ...persistent, clean: false });
    expect((await back.next(5)).map(({ payload }) => payload)).toEqual(['0', '1', '2', '3', '4']);
  });

  limit('queueBytesMax', 'an offline session loses what is beyond', async () => {
    const broker = await withLimits({ queueBytesMax: 5_000 });
    const lost = drops(broker);
    await awayOn('t');
    for (let n = 0; n < 10; n += 1) {
      await broker.publish('t', 'x'.repeat(1_000), { qos: 1 }).catch(() => {});
    }
    expect(lost.length).toBeGreaterThanOrEqual(5);
    expect(broker.session('away')!.queuedBytes).toBeLessThanOrEqual(5_000);
    expect(broker.session('away')!.queuedMessages + lost.length).toBe(10);
  });

  limit('inflightMax', 'no more messages wait for the acknowledgement of one client', async () => {
    const broker = await withLimits({ inflightMax: 2 });
    const peer = await rawClient('inf');
    peer.send('82 07 0001 00 0001 74 01');
    await peer.answer('90 04 0001 00 01');
    for (let n = 0; n < 5; n += 1) await broker.publish('t', `${n}`, { qos: 1 });
    await peer.answer('32 07 0001 74 0001 00 30  32 07 0001 74 0002 00 31');
    expect(broker.session('inf')).toMatchObject({ inflight: 2 });
    peer.send('40 02 0001');
    await peer.answer('32 07 0001 74 0003 00 32');
  });

  limit('slabWatermarkBytes', 'QoS 0 for a client that does not read is dropped above it', async () => {
    const broker = await withLimits({ slabWatermarkBytes: 65_536 });
    const lost = drops(broker);
    const peer = await rawClient('slw');
    peer.send('82 07 0001 00 0001 74 00');
    await peer.answer('90 04 0001 00 00');
    peer.socket.pause();
    const payload = Buffer.alloc(50_000);
    await until(() => {
      for (let n = 0; n < 20; n += 1) void broker.publish('t', payload);
      return lost.length > 0;
    }, 'a dropped message');
    expect(lost[0]).toMatchObject({ clientId: 'slw', topicName: 't', qos: 0, reason: 'slab-full' });
  });

  limit('slabBytesMax', 'no client has more on its way than that', async () => {
    const broker = await withLimits({ slabBytesMax: 131_072, slabWatermarkBytes: 131_072 });
    const lost = drops(broker);
    const peer = await rawClient('slb');
    peer.send('82 07 0001 00 0001 74 00');
    await peer.answer('90 04 0001 00 00');
    peer.socket.pause();
    await until(() => {
      for (let n = 0; n < 20; n += 1) void broker.publish('t', Buffer.alloc(50_000));
      return lost.length > 100;
    }, 'dropped messages');
    expect(broker.stats().memoryUsedBytes.slab).toBeLessThan(8 * 131_072);
  });

  limit('withholdSecondsMax', 'a frozen receiver makes publishers wait so long, then it goes', async () => {
    const broker = await withLimits({ withholdSecondsMax: 1, queueMessagesMax: 10, inflightMax: 5 });
    const frozen = await rawClient('frz');
    frozen.send('82 07 0001 00 0001 74 01');
    await frozen.answer('90 04 0001 00 01');
    const gone = stage.event('clientDisconnected');
    const client = await stage.client({ clientId: 'publisher' });
    const publishing = Array.from({ length: 30 }, () =>
      client.mqtt.publishAsync('t', 'x', { qos: 1 }).catch(() => {}));
    expect(await gone).toMatchObject({ clientId: 'frz', by: 'broker', reasonCode: 0x97 });
    await within(Promise.all(publishing), 'all acknowledgements');
    expect(broker.client('publisher')).toBeDefined();
  });

  limit('heldBytesMax', 'a publisher that waits is not read beyond it', async () => {
    const broker = await withLimits({ heldBytesMax: 65_536, handlerConcurrency: 1 });
    const finish: (() => void)[] = [];
    await broker.subscribe('t', () => new Promise<void>((resolve) => finish.push(resolve)), {
      handlerTimeoutMs: 0,
    });
    const peer = await rawClient('hld');
    for (let id = 1; id <= 400; id += 1) peer.send(publishBytes('t', { id, payload: 4_000 }));
    await until(() => finish.length > 0, 'the handler');
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    expect(broker.stats().publishReceived).toBeLessThan(400);
    const acknowledged = until(() => {
      finish.splice(0).forEach((end) => end());
      return peer.bytes.length === 400 * 4;
    }, 'all acknowledgements');
    await acknowledged;
  });

  limit('dropEventsPerTurnMax', 'more drops of a turn are counted and not told', async () => {
    const broker = await withLimits({ queueMessagesMax: 1, dropEventsPerTurnMax: 2 });
    const lost = drops(broker);
    await awayOn('t');
    const peer = await rawClient('drp');
    const ids = Array.from({ length: 11 }, (_, n) => n + 1);
    peer.send(ids.map((id) => publishBytes('t', { id })).join(''));
    await until(() => broker.stats().dropped['queue-full'] === 10, 'ten drops');
    expect(lost).toHaveLength(2);
  });
});

describe('memory', () => {
  limit('retainedMessagesMax', 'one more retained message is refused', async () => {
    const broker = await withLimits({ retainedMessagesMax: 3 });
    for (const topic of ['a', 'b', 'c']) await broker.publish(topic, 'x', { qos: 1, retain: true });
    const client = await stage.client({ clientId: 'one-more' });
    const lost = drops(broker);
    await client.mqtt.publishAsync('d', 'x', { qos: 1, retain: true }).catch(() => {});
    expect(broker.stats()).toMatchObject({ retainedMessages: 3 });
    expect(lost).toMatchObject([{ topicName: 'd', reason: 'retained-full' }]);
    await broker.publish('a', 'replaced', { qos: 1, retain: true });
  });

  limit('retainedBytesMax', 'more bytes of retained messages are refused', async () => {
    const broker = await withLimits({ retainedBytesMax: 10_000 });
    const lost = drops(broker);
    for (let n = 0; n < 20; n += 1) {
      await broker.publish(`t/${n}`, 'x'.repeat(1_000), { qos: 1, retain: true }).catch(() => {});
    }
    expect(lost[0]).toMatchObject({ reason: 'retained-full' });
    expect(broker.stats().retainedMessages).toBeLessThanOrEqual(10);
  });

  limit('memoryBytes', 'a publisher is told 0x97, and what was there is still there', async () => {
    const broker = await withLimits({ memoryBytes: 16 * 1_048_576 });
    const client = await stage.client({ clientId: 'hungry' });
    let refused: { code?: number } | undefined;
    for (let n = 0; n < 2_000 && refused === undefined; n += 1) {
      await client.mqtt.publishAsync(`t/${n}`, Buffer.alloc(16_000), { qos: 1, retain: true })
        .catch((error: { code?: number }) => {
          refused = error;
        });
    }
    expect(refused).toMatchObject({ code: 0x97 });
    expect(broker.stats().retainedMessages).toBeGreaterThan(200);
    await client.mqtt.publishAsync('small', 'x', { qos: 1 });
  });

  limit('topicCacheMax', 'more Topic Names are served, if slower', async () => {
    const broker = await withLimits({ topicCacheMax: 64 });
    const seen = new Set<string>();
    await broker.subscribe('t/#', ({ topicName }) => seen.add(topicName));
    for (let n = 0; n < 2_000; n += 1) await broker.publish(`t/${n % 1_000}`, 'x', { qos: 1 });
    expect(seen.size).toBe(1_000);
  });
});

describe('handlers of this process', () => {
  limit('handlerConcurrency', 'no more of them are at work at the same time', async () => {
    const broker = await withLimits({ handlerConcurrency: 2 });
    const finish: (() => void)[] = [];
    const work = (): Promise<void> => new Promise((resolve) => finish.push(resolve));
    const subscription = await broker.subscribe('t', work);
    const publishing = [1, 2, 3].map((n) => broker.publish('t', `${n}`, { qos: 1 }));
    expect([finish.length, subscription.running]).toEqual([2, 2]);
    finish[0]();
    await until(() => finish.length === 3, 'the third');
    finish.forEach((end) => end());
    await Promise.all(publishing);
  });

  limit('handlerTimeoutMs', 'a handler that takes longer has failed', async () => {
    const broker = await withLimits({ handlerTimeoutMs: 200 });
    await broker.subscribe('t', () => new Promise(() => {}));
    const publishing = broker.publish('t', 'x', { qos: 1 });
    await expect(within(publishing, 'the timeout')).rejects.toMatchObject({ reasonCode: 0x80 });
  });

  limit('interceptTimeoutMs', 'an interceptor that takes longer has failed', async () => {
    const intercept = (): Promise<never> => new Promise(() => {});
    const broker = await withLimits(
      { interceptTimeoutMs: 50 }, { interceptors: [{ topicFilters: ['t'], intercept }] });
    const publishing = broker.publish('t', 'x', { qos: 1 });
    await expect(within(publishing, 'the timeout')).rejects.toMatchObject({ reasonCode: 0x80 });
  });

  limit('interceptWaitingMax', 'no more messages of this process wait for them', async () => {
    const intercept = (): Promise<never> => new Promise(() => {});
    const broker = await withLimits(
      { interceptWaitingMax: 1, interceptTimeoutMs: 50 },
      { interceptors: [{ topicFilters: ['t'], intercept }] });
    const first = broker.publish('t', 'x');
    await expect(broker.publish('t', 'y')).rejects.toMatchObject({ reasonCode: 0x97 });
    await expect(within(first, 'the timeout')).rejects.toMatchObject({ reasonCode: 0x80 });
  });

  limit('closeDeadlineMs', 'close() waits no longer for them', async () => {
    const broker = await withLimits({ closeDeadlineMs: 100 });
    await broker.subscribe('t', () => new Promise(() => {}));
    const publishing = broker.publish('t', 'x', { qos: 1 });
    await within(broker.close(), 'close');
    await expect(publishing).rejects.toMatchObject({ code: 'NIDO_BROKER_CLOSED' });
  });
});

describe('the table', () => {
  it('has no limit that no test reaches', () => {
    // durable.test.ts reaches these: they mean something with the file engine only.
    reached.add('limits.queueMemoryMessagesMax').add('limits.queueMemoryBytesMax');
    reached.add('limits.unstoredBytesMax'); // engine-trouble.test.ts
    const named = OPTION_TABLE.map(({ path }) => path).filter((path) => path.startsWith('limits.'));
    expect(named.filter((path) => !reached.has(path))).toEqual([]);
  });
});
