/** Handlers: how many run, what happens when they fail, and how they end. */
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, HandlerFailedEvent, NidoClient } from '../../lib/client/index.js';
import { ClientKit, within } from '../conformance/client/client-kit.js';
import type { Sent } from '../conformance/client/client-reader.js';
import { serverProperty, suback } from '../conformance/client/server-packets.js';
import { Stage, until } from './support/servers.js';

jest.setTimeout(180_000);

const stage = new Stage();
afterEach(() => stage.stop());

function join(url: string, options: ClientOptions = {}): NidoClient {
  const client = connect(url, { logger: false, ...options });
  stage.onStop(() => client.end({ deadlineMs: 0 }));
  return client;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a slow handler', () => {
  it.each([[0], [1], [2]] as const)('of QoS %i never runs more often than its limit, and hears 1,000 '
    + 'messages in their order', async (qos) => {
    const { url } = await stage.ours();
    const [sender, receiver] = [join(url), join(url)];
    let running = 0;
    let most = 0;
    const got: number[] = [];
    const subscription = await receiver.subscribe('slow/+', async ({ payload }) => {
      running += 1;
      most = Math.max(most, running, subscription?.running ?? 0);
      got.push(Number(payload.toString()));
      await turn();
      await turn();
      running -= 1;
    }, { qos, concurrency: 7 });
    const sent = Array.from({ length: 1000 }, (_, number) =>
      sender.publish('slow/x', `${number}`, { qos }));
    await Promise.all(sent);
    await until(() => got.length === 1000, '1,000 messages');
    expect(most).toBe(7);
    expect(got).toEqual(Array.from({ length: 1000 }, (_, number) => number));
  });
});

describe('a handler that fails', () => {
  it('is tried again with growing delays, and then its message is a dead letter', async () => {
    const { url } = await stage.ours();
    const client = join(url);
    const outcomes: string[] = [];
    client.on('handlerFailed', ({ outcome }: HandlerFailedEvent) => outcomes.push(outcome));
    const calls: number[] = [];
    const dead = new Promise<Record<string, string>>((resolve) => {
      void client.subscribe('dead', ({ payload, properties }) => resolve({
        payload: payload.toString(), ...Object.fromEntries(properties.userProperties ?? []),
      }), { qos: 1 });
    });
    await client.subscribe('work/+', () => {
      calls.push(performance.now());
      throw new Error('broken');
    }, { qos: 1, retries: { attempts: 3, delayMs: 40 }, deadLetterTopic: 'dead' });
    const { reasonCode } = await client.publish('work/a', 'x', { qos: 1 });
    expect(reasonCode).toBe(0);
    expect(await dead).toEqual({
      payload: 'x', 'nido-dead-letter-topic': 'work/a', 'nido-dead-letter-filter': 'work/+',
      'nido-dead-letter-error': 'broken',
    });
    expect(outcomes.slice(0, 3)).toEqual(['retried', 'retried', 'retried']);
    await until(() => outcomes.length === 4, 'the last outcome');
    expect(outcomes[3]).toBe('dead-lettered');
    const pauses = calls.slice(1).map((at, index) => at - calls[index]);
    for (const [index, least] of [40, 80, 160].entries()) {
      expect(pauses[index]).toBeGreaterThan(least - 2); // timers may be a little early
    }
  });

  it.each<[string, () => unknown, string]>([
    ['U+0000, as of JSON.parse', () => JSON.parse('\0'), '\ufffd'],
    ['half a character', () => { throw new Error('a\ud800'); }, 'a\ufffd'],
    ['very much text', () => { throw new Error('ñ'.repeat(70_000)); }, 'ñ'.repeat(1000)],
  ])('with an error that holds %s makes a dead letter all the same', async (_, fails, said) => {
    const { url } = await stage.ours();
    const client = join(url);
    const told: string[] = [];
    await client.subscribe('dead', ({ properties }) => {
      told.push(new Map(properties.userProperties).get('nido-dead-letter-error') ?? '');
    });
    await client.subscribe('job', fails, { qos: 1, deadLetterTopic: 'dead' });
    await client.publish('job', 'x', { qos: 1 });
    await until(() => told.length > 0, 'the dead letter');
    expect(told[0]).toContain(said);
  });

  it.each<[string, object]>([
    ['deadLetterTopic', { deadLetterTopic: 'a/#' }], ['deadLetterTopic', { deadLetterTopic: '' }],
    ['retries.delayMs', { retries: { attempts: 1, delayMs: NaN } }],
    ['retries.delayMsMax', { retries: { attempts: 1, delayMsMax: -1 } }],
  ])('has a %s that can be used, which is known when it subscribes: %j', async (name, options) => {
    const client = join('mqtt://127.0.0.1', { manualConnect: true });
    await expect(client.subscribe('a', () => {}, options)).rejects
      .toMatchObject({ message: expect.stringContaining(name) });
  });

  it.each<[string, object]>([
    ['is a promise that throws', { then: () => { throw new Error('broken'); } }],
    ['cannot be looked at',
      Object.defineProperty({}, 'then', { get: () => { throw new Error('broken'); } })],
  ])('because what it returned %s has failed', async (_, returned) => {
    const { url } = await stage.ours();
    const client = join(url);
    const outcomes: string[] = [];
    client.on('handlerFailed', ({ outcome, error }) =>
      outcomes.push(`${outcome} ${(error as Error).message}`));
    await client.subscribe('a', () => returned, { qos: 1 });
    await client.publish('a', 'x', { qos: 1 });
    await until(() => outcomes.length > 0, 'the failure');
    expect(outcomes).toEqual(['refused broken']);
  });

  it('that succeeds the second time is no failure', async () => {
    const { url } = await stage.ours();
    const client = join(url);
    const outcomes: string[] = [];
    client.on('handlerFailed', ({ outcome }) => outcomes.push(outcome));
    let calls = 0;
    await client.subscribe('work', async () => {
      await turn();
      calls += 1;
      if (calls === 1) throw new Error('not yet');
    }, { qos: 2, retries: { attempts: 5, delayMs: 1 } });
    await client.publish('work', 'x', { qos: 2 });
    await until(() => calls === 2, 'the second call');
    await client.publish('work', 'y', { qos: 2 });
    await until(() => calls === 3, 'the next message');
    expect(outcomes).toEqual(['retried']);
  });

  it('does not hold the others up for longer than handlerTimeoutMs', async () => {
    const { url } = await stage.ours();
    const client = join(url);
    const failed: HandlerFailedEvent[] = [];
    client.on('handlerFailed', (event) => failed.push(event));
    const got: string[] = [];
    await client.subscribe('stuck', ({ payload }) => {
      got.push(payload.toString());
      return payload.toString() === '0' ? new Promise(() => {}) : undefined;
    }, { qos: 1, concurrency: 1, handlerTimeoutMs: 50 });
    for (const number of ['0', '1', '2']) await client.publish('stuck', number, { qos: 1 });
    await until(() => got.length === 3, 'the messages behind the stuck one');
    expect(failed).toEqual([expect.objectContaining({
      outcome: 'refused', error: expect.objectContaining({ code: 'NIDO_CLIENT_HANDLER_TIMEOUT' }),
    })]);
    const { queuedMessages } = client;
    expect(queuedMessages).toBe(0);
  });
});

describe('filters that overlap', () => {
  it('each handler runs once for a message, also with several filters that match', async () => {
    const { url } = await stage.ours();
    const client = join(url);
    const got: string[] = [];
    for (const filter of ['o/#', 'o/+', 'o/a', '#']) {
      await client.subscribe(filter, () => { got.push(filter); }, { qos: 1 });
    }
    await client.subscribe('o/a', () => { got.push('o/a again'); }, { qos: 1 });
    await client.publish('o/a', 'x', { qos: 1 });
    await client.publish('end', 'x', { qos: 1 });
    await until(() => got.length === 6, 'every handler');
    expect(got.sort()).toEqual(['#', '#', 'o/#', 'o/+', 'o/a', 'o/a again']);
  });
});

describe('a filter that the server cannot serve', () => {
  it('is refused and never sent, also when it was asked for before the server was known', async () => {
    const kit = new ClientKit(5);
    await kit.listen();
    stage.onStop(() => kit.close());
    const client = kit.client();
    const early = ['a/#', '+/b', '$share/g/a'].map((filter) => client.subscribe(filter, () => {}));
    const answers = Promise.allSettled(early);
    const plain = client.subscribe('a', () => {});
    const { peer } = await kit.greet({
      properties: [serverProperty.wildcardAvailable(0), serverProperty.sharedAvailable(0)],
    });
    const sent = await peer.expectPacket('SUBSCRIBE') as Sent;
    expect(sent.filters).toMatchObject([{ filter: 'a' }]);
    peer.send(suback(5, sent.packetId, [0]));
    await within(plain, 'the subscription that it can serve');
    const codes = (await within(answers, 'the refusals')).map((answer) =>
      (answer as { reason?: { reasonCode?: number } }).reason?.reasonCode);
    expect(codes).toEqual([0xa2, 0xa2, 0x9e]);
    await expect(client.subscribe('c/#', () => {})).rejects.toMatchObject({ reasonCode: 0xa2 });
  });
});

describe('end', () => {
  it('lets handlers finish and their publishes leave; nothing new is taken', async () => {
    const { url } = await stage.ours();
    const [sender, worker, listener] = [join(url), join(url), join(url)];
    const results: string[] = [];
    await listener.subscribe('result', ({ payload }) => { results.push(payload.toString()); },
      { qos: 1 });
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => { release = resolve; });
    let started = 0;
    await worker.subscribe('job', async ({ payload }) => {
      started += 1;
      await gate;
      await worker.publish('result', payload, { qos: 1 });
    }, { qos: 1 });
    await sender.publish('job', 'a', { qos: 1 });
    await until(() => started === 1, 'the handler');
    const ended = worker.end({ deadlineMs: 60_000 });
    await expect(worker.subscribe('late', () => undefined)).rejects
      .toMatchObject({ code: 'NIDO_CLIENT_ENDED' });
    release();
    await ended;
    await until(() => results.length === 1, 'the result');
    expect(worker.status).toBe('closed');
    await expect(worker.publish('late', '')).rejects.toMatchObject({ code: 'NIDO_CLIENT_ENDED' });
  });

  it('leaves no timer of a handler that was to be tried again', async () => {
    const timers = (): number =>
      process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = timers();
    const { broker, url } = await stage.ours();
    const client = join(url);
    let failed = false;
    client.on('handlerFailed', () => { failed = true; });
    await client.subscribe('job', () => { throw new Error('no'); }, {
      qos: 1, retries: { attempts: 1, delayMs: 3_600_000, delayMsMax: 3_600_000 },
    });
    await client.publish('job', '', { qos: 1 });
    await until(() => failed, 'the failure');
    await client.end({ deadlineMs: 20 });
    await broker.close();
    expect(timers()).toBeLessThanOrEqual(before);
  });

  it('does not wait beyond its deadline', async () => {
    const { url } = await stage.ours();
    const client = join(url);
    let started = 0;
    await client.subscribe('job', () => { started += 1; return new Promise(() => {}); }, { qos: 1 });
    await client.publish('job', '', { qos: 0 });
    await until(() => started === 1, 'the handler');
    await client.end({ deadlineMs: 20 });
    expect(client.status).toBe('closed');
  });
});
