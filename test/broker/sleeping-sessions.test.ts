/**
 * Sessions that a start finds and that nobody has asked for: they end, wake and count as any other.
 * Time stands still but where a test moves it; what a process leaves behind is written by hand
 * where no client could bring it about at will.
 */
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { SleepingSessions } from '../../lib/broker/sleeping-sessions.js';
import { createMemoryEngine } from '../../lib/engine/index.js';
import type { Engine, EngineBatch } from '../../lib/engine/index.js';
import { TestBroker, VirtualClock } from '../../lib/testing/index.js';
import type { TestBrokerOptions } from '../../lib/testing/index.js';
import { loaded, message, session } from '../engine/contract.js';

const MINUTE_MS = 60_000;
const brokers: TestBroker[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  for (const broker of brokers.splice(0)) await broker.close();
});

/** Something that stands for a disk, with what a process has written there. */
async function engineWith(write: (batch: EngineBatch, nextNumber: () => number) => void): Promise<Engine> {
  const engine = createMemoryEngine({ durability: 'disk' });
  await engine.open();
  await loaded(engine);
  const batch = engine.createBatch();
  write(batch, () => engine.nextNumber());
  await engine.commit(batch);
  await engine.close();
  return engine;
}
function brokerOver(engine: Engine, clock: VirtualClock, options: TestBrokerOptions = {}): TestBroker {
  const broker = new TestBroker({ state: 'survives-kill', ...options }, { clock, engine });
  brokers.push(broker);
  return broker;
}
/** Without the one of the broker's own handler. */
const sessionsOf = (broker: TestBroker): number => broker.stats().sessions - 1;

describe('a session that was found', () => {
  it('keeps its name when what was left of one before it ends at the start', async () => {
    const clock = new VirtualClock();
    const detachedAt = clock.wall();
    const engine = await engineWith((batch, nextNumber) => {
      const [dying, before, now] = [nextNumber(), nextNumber(), nextNumber()];
      batch.putSession(session(dying, {
        clientIdentifier: 'dying', sessionExpiryInterval: 0, detachedAt,
      }));
      batch.putWill({
        sessionId: dying, willDelayIntervalSeconds: 0, dueAt: 0,
        message: message(0, { topicName: Buffer.from('will') }),
      });
      // A process that died while a clean start gave away what the session before it held.
      batch.putSession(session(before, {
        clientIdentifier: 'a', sessionExpiryInterval: 0, detachedAt,
      }));
      batch.putSession(session(now, { clientIdentifier: 'a', detachedAt }));
      batch.putSubscription({
        sessionId: now, topicFilter: 'will', options: 1, subscriptionIdentifier: 0,
      });
    });
    const broker = brokerOver(engine, clock);
    await broker.listen();
    await broker.quiet();
    expect(broker.session('a')?.queuedMessages).toBe(1);
    expect(sessionsOf(broker)).toBe(1);
  });

  it('has its will published when somebody ends it while others end at the start', async () => {
    const clock = new VirtualClock();
    const engine = await engineWith((batch, nextNumber) => {
      for (const clientIdentifier of ['a', 'b']) {
        const sessionId = nextNumber();
        batch.putSession(session(sessionId, { clientIdentifier }));
        batch.putWill({
          sessionId, willDelayIntervalSeconds: clientIdentifier === 'a' ? 0 : 3_600, dueAt: 0,
          message: message(0, { topicName: Buffer.from(`will/${clientIdentifier}`) }),
        });
      }
    });
    const broker = brokerOver(engine, clock);
    broker.once('willPublished', () => broker.disconnectClient('b', { session: 'end' }));
    await broker.listen();
    await broker.quiet();
    expect(broker.published.messages.map(({ topicName }) => topicName).sort())
      .toEqual(['will/a', 'will/b']);
    expect(broker.session('b')).toBeUndefined();
  });

  it('is not looked at again and again while others end one after the other', async () => {
    const clock = new VirtualClock();
    const detachedAt = clock.wall();
    const engine = await engineWith((batch, nextNumber) => {
      for (let second = 1; second <= 600; second++) {
        batch.putSession(session(nextNumber(), {
          clientIdentifier: `${second}`, detachedAt, sessionExpiryInterval: 60 + second,
        }));
      }
    });
    const broker = brokerOver(engine, clock);
    await broker.listen();
    const looks = jest.spyOn(SleepingSessions.prototype, 'endingBefore');
    await broker.advance(5 * MINUTE_MS);
    expect(sessionsOf(broker)).toBe(600 - 4 * 60);
    expect(looks.mock.calls.length).toBeLessThan(10);
  });
});
