import { describe, it, expect } from '@jest/globals';
import type { MessageHandler, SubscribeHandlerOptions } from '../../lib/broker/handlers.js';
import { plane } from './support/plane.js';

function handlers() {
  const { control, core, clock, events } = plane();
  const subscribe = (handler: MessageHandler, options: SubscribeHandlerOptions = {}) => {
    const subscription = control.handlers.subscribe('casa/+/luz', handler, options);
    const session = [...core.sessions.keys()].at(-1)!;
    const deliver = (token: number, publisher = 0) =>
      core.sinks.get(session)!.deliver({
        topicName: 'casa/sala/luz',
        payload: Buffer.from('on'),
        text: 'on',
        attachment: undefined,
        qos: token === 0 ? 0 : 1,
        retain: false,
        dup: false,
        properties: {},
        subscriptionIdentifiers: [],
        publisherSession: publisher,
        packetIdentifier: 0,
        topicAlias: 0,
        publisher: undefined,
        token,
      });
    return { subscription, session, deliver };
  };
  return { control, core, clock, events, subscribe };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a handler in this process', () => {
  it('acknowledges when it returns, and grants a place at QoS 0 by the end of the turn', async () => {
    const { core, subscribe } = handlers();
    const topics: string[] = [];
    const { deliver } = subscribe(({ topicName }) => topics.push(topicName));
    deliver(11);
    deliver(0);
    await turn();
    expect(core.calls).toEqual(['settle 11 00', 'grant']);
    expect(topics).toEqual(['casa/sala/luz', 'casa/sala/luz']);
  });

  it('acknowledges when its promise is fulfilled, not before', async () => {
    const { core, subscribe } = handlers();
    let finish!: () => void;
    const { deliver, subscription } = subscribe(
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
    );
    deliver(11);
    await turn();
    expect(core.calls).toEqual([]);
    expect(subscription.running).toBe(1);
    finish();
    await turn();
    expect(core.calls).toEqual(['settle 11 00']);
  });

  it('answers a failure with 0x80, or with the Reason Code of the error if PUBACK knows it', async () => {
    const { core, subscribe, events } = handlers();
    const failures: number[] = [];
    events.on('handlerFailed', ({ reasonCode }) => failures.push(reasonCode));
    const errors = [
      new Error('x'),
      Object.assign(new Error('x'), { reasonCode: 0x87 }),
      Object.assign(new Error('x'), { reasonCode: 0x8e }),
      undefined,
    ];
    const { deliver } = subscribe(() => {
      throw errors.shift() as Error;
    });
    for (const token of [1, 2, 3, 4]) deliver(token);
    const rejecting = subscribe(async () => {
      throw Object.assign(new Error('x'), { reasonCode: 0x97 });
    });
    rejecting.deliver(5);
    await turn();
    expect(core.calls).toEqual(
      [1, 2, 3, 4, 5].map(
        (token) => `settle ${token} ${['80', '87', '80', '80', '97'][token - 1]}`,
      ),
    );
    expect(failures).toEqual([0x80, 0x87, 0x80, 0x80, 0x97]);
  });

  it('fails when what it returned throws instead of being a promise, and the next one goes on', async () => {
    const { core, subscribe } = handlers();
    const broken: object[] = [
      { then: () => { throw new Error('then'); } },
      Object.defineProperty({}, 'then', { get: () => { throw new Error('get then'); } }),
      { then: (_: unknown, reject: (error: Error) => void) => reject(new Error('rejects')) },
      { then: 'no function' },
    ];
    const { deliver } = subscribe(() => broken.shift());
    for (const token of [1, 2, 3, 4]) deliver(token);
    await turn();
    expect([...core.calls].sort()).toEqual([
      'settle 1 80', 'settle 2 80', 'settle 3 80', 'settle 4 00',
    ]);
  });

  it('fails when it takes longer than it may, and what it answers later is ignored', async () => {
    const { core, subscribe, clock } = handlers();
    let finish!: () => void;
    const { deliver } = subscribe(
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
      { handlerTimeoutMs: 5_000 },
    );
    deliver(11);
    clock.advance(4_900);
    expect(core.calls).toEqual([]);
    clock.advance(300);
    expect(core.calls).toEqual(['settle 11 80']);
    finish();
    await turn();
    expect(core.calls).toEqual(['settle 11 80']);
  });

  it('does not see messages of this process when it asked so', () => {
    const { core, subscribe } = handlers();
    let calls = 0;
    const { deliver } = subscribe(() => (calls += 1), { noLocal: true });
    deliver(1, 0);
    deliver(2, 77);
    expect(calls).toBe(1);
    expect(core.calls).toEqual(['settle 1 00', 'settle 2 00']);
  });

  it('finishes what it works on when it is closed', async () => {
    const { core, subscribe } = handlers();
    let finish!: () => void;
    const { deliver, subscription, session } = subscribe(
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
    );
    deliver(11);
    let closed = false;
    const closing = subscription.close().then(() => {
      closed = true;
    });
    await turn();
    expect(closed).toBe(false);
    finish();
    await closing;
    expect(core.calls).toEqual(['settle 11 00', `end ${session}`]);
    await subscription.close();
  });

  it('refuses filters and options that are none', () => {
    const { control } = handlers();
    const subscribe =
      (filter: string, options: object = {}) =>
      () =>
        control.handlers.subscribe(filter, () => {}, options);
    for (const filter of ['', 'a/#/b', 'a+', '$share/g', '$share//a', '$share/+/a', 'a\0']) {
      expect(subscribe(filter)).toThrow(/Topic Filter/);
    }
    expect(subscribe('a', { qos: 3 })).toThrow('qos is 3');
    expect(subscribe('a', { concurrency: 0 })).toThrow('concurrency');
    expect(subscribe('a', { share: 'g', noLocal: true })).toThrow('noLocal');
    expect(subscribe('a', { share: 'g/h' })).toThrow('share holds a /');
  });
});
