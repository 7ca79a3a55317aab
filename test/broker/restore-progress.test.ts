/** A start that takes long says how far it is; one that does not says nothing. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Broker } from '../../lib/broker/broker.js';
import { SystemClock } from '../../lib/broker/clock.js';
import type { RestoringEvent } from '../../lib/broker/events.js';
import { createMemoryEngine } from '../../lib/engine/index.js';
import type { Engine } from '../../lib/engine/index.js';
import { entry, loaded, message, session } from '../engine/contract.js';

const SESSIONS = 3_000;
const RETAINED = 4_000;
const QUEUED = 2_000;
const brokers: Broker[] = [];

afterEach(async () => {
  for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 500 });
});

/** Every look at it takes its time. */
class SlowClock extends SystemClock {
  #more = 0;
  constructor(private readonly stepMs: number) {
    super();
  }
  override now(): number {
    this.#more += this.stepMs;
    return super.now() + this.#more;
  }
}

async function filled(): Promise<Engine> {
  const engine = createMemoryEngine({ durability: 'disk' });
  await engine.open();
  await loaded(engine);
  const batch = engine.createBatch();
  const sessionIds = Array.from({ length: SESSIONS }, () => engine.nextNumber());
  for (const sessionId of sessionIds) {
    batch.putSession(session(sessionId));
    batch.putSubscription({
      sessionId, topicFilter: `to/${sessionId}`, options: 1, subscriptionIdentifier: 0,
    });
  }
  for (let i = 0; i < RETAINED; i++) {
    batch.putRetained(message(engine.nextNumber(), { topicName: Buffer.from(`kept/${i}`) }));
  }
  for (let i = 0; i < QUEUED; i++) {
    const number = engine.nextNumber();
    batch.putMessage(message(number), 1);
    batch.putQueueEntry(entry(sessionIds[0], number));
  }
  await engine.commit(batch);
  await engine.close();
  return engine;
}
async function startOver(engine: Engine, stepMs: number): Promise<RestoringEvent[]> {
  const broker = new Broker(
    { listeners: [{ host: '127.0.0.1', port: 0 }], logger: false },
    { engine, clock: new SlowClock(stepMs) },
  );
  brokers.push(broker);
  const told: RestoringEvent[] = [];
  broker.on('restoring', (event) => told.push(event));
  await broker.listen();
  return told;
}
const totalOf = (event: RestoringEvent): number =>
  Object.values(event).reduce((sum: number, count: number) => sum + count, 0);

describe('the event restoring', () => {
  it('tells what has been taken over so far, and only ever more', async () => {
    const told = await startOver(await filled(), 500);
    expect(told.length).toBeGreaterThan(1);
    const totals = told.map(totalOf);
    expect(totals).toEqual([...totals].sort((a, b) => a - b));
    expect(new Set(totals).size).toBe(totals.length);
    const last = told.at(-1)!;
    expect(last).toMatchObject({ converted: 0, sessions: SESSIONS, subscriptions: SESSIONS });
    expect(last.retainedMessages).toBeLessThanOrEqual(RETAINED);
    expect(last.queuedMessages).toBeLessThanOrEqual(QUEUED);
  });

  it('is not told by a start that is quick', async () => {
    expect(await startOver(await filled(), 0)).toEqual([]);
  });

  it('counts the records of an earlier version that are written anew', async () => {
    const engine = await filled();
    const old = new Proxy(engine, {
      get(target, name) {
        if (name === 'open') {
          return async (converted?: (records: number) => void): Promise<void> => {
            for (const records of [1_000, 2_000, 2_500]) converted?.(records);
            await target.open();
          };
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    const told = await startOver(old, 1_000);
    expect(told[0]).toEqual({
      converted: 2_000, sessions: 0, subscriptions: 0, retainedMessages: 0, queuedMessages: 0,
    });
    expect(told.at(-1)).toMatchObject({ converted: 2_500, sessions: SESSIONS });
  });
});
