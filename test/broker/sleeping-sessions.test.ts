/**
 * Sessions that a start finds and that nobody has asked for: they end, wake and count as any other.
 * Time stands still but where a test moves it; what a process leaves behind is written by hand
 * where no client could bring it about at will.
 */
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Identity } from '../../lib/broker/hooks.js';
import { splitSessionKey } from '../../lib/broker/mount-point.js';
import { SleepingSessions } from '../../lib/broker/sleeping-sessions.js';
import { Core } from '../../lib/core/core.js';
import { createFileEngine, createMemoryEngine } from '../../lib/engine/index.js';
import type { Engine, EngineBatch, SessionRecord } from '../../lib/engine/index.js';
import { Broker } from '../../lib/index.js';
import { TestBroker, VirtualClock } from '../../lib/testing/index.js';
import type { TestBrokerOptions, TestClientOptions } from '../../lib/testing/index.js';
import { Recorder, loaded, message, session } from '../engine/contract.js';
import { until } from './support/clients.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const NEVER = 0xffff_ffff;
/** More than are told to the store, or woken, at a time. */
const MANY = 1_300;
const TOLD_AT_ONCE = 500;
const brokers: Broker[] = [];
const directories: string[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 500 });
  for (const path of directories.splice(0)) await rm(path, { recursive: true, force: true });
});

/** Something that stands for a disk, with what a process has written there. */
async function engineWith(
  write: (batch: EngineBatch, nextNumber: () => number) => void,
  engine: Engine = createMemoryEngine({ durability: 'disk' }),
): Promise<Engine> {
  await engine.open();
  await loaded(engine);
  const batch = engine.createBatch();
  write(batch, () => engine.nextNumber());
  await engine.commit(batch);
  await engine.close();
  return engine;
}
/** Sessions of these clients, each with a subscription to its own name below `to/`. */
function engineOf(
  clientIds: readonly string[], fields: Partial<SessionRecord> = {}, engine?: Engine,
): Promise<Engine> {
  return engineWith((batch, nextNumber) => {
    for (const clientIdentifier of clientIds) {
      const sessionId = nextNumber();
      batch.putSession(session(sessionId, { clientIdentifier, ...fields }));
      batch.putSubscription({
        sessionId, topicFilter: `to/${clientIdentifier}`, options: 1, subscriptionIdentifier: 0,
      });
    }
  }, engine);
}
/** What another process would find. The broker that had it is gone. */
async function foundIn(engine: Engine): Promise<SessionRecord[]> {
  await engine.open();
  const recorder = new Recorder();
  await engine.load(recorder);
  await engine.close();
  return [...recorder.sessions.values()];
}
function brokerOver(
  engine: Engine, clock: VirtualClock, options: TestBrokerOptions = {},
): TestBroker {
  const broker = new TestBroker({ state: 'survives-kill', ...options }, { clock, engine });
  brokers.push(broker);
  return broker;
}
function connect(broker: TestBroker, clientId: string, options: TestClientOptions = {}) {
  return broker.connect({
    clientId, clean: false, properties: { sessionExpiryInterval: 3_600 }, ...options,
  });
}
const numbered = (count: number): string[] => Array.from({ length: count }, (_, at) => `c${at}`);

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

  it('ends when its time has come, once, however many end with it', async () => {
    const clock = new VirtualClock();
    const detachedAt = clock.wall() - HOUR_MS;
    const ends: readonly (readonly [string, number])[] = [
      ['with its connection', 0], ['long ago', 60], ['just now', 3_600], ['soon', 3_601],
      ['in an hour', 7_200], ['never', NEVER],
      ...numbered(MANY).map((name) => [name, 3_600 + 600] as const),
    ];
    const engine = await engineWith((batch, nextNumber) => {
      for (const [clientIdentifier, sessionExpiryInterval] of ends) {
        batch.putSession(session(nextNumber(), {
          clientIdentifier, sessionExpiryInterval, detachedAt,
        }));
      }
    });
    const broker = brokerOver(engine, clock);
    const ended: string[] = [];
    broker.on('sessionEnded', ({ clientId, reason }) => ended.push(`${clientId}: ${reason}`));
    await broker.listen();
    expect(ended.splice(0)).toEqual([
      'with its connection: connection-closed', 'long ago: expired', 'just now: expired',
    ]);
    await broker.advance(999);
    expect(ended).toEqual([]);
    await broker.advance(1);
    expect(ended.splice(0)).toEqual(['soon: expired']);
    await broker.advance(10 * MINUTE_MS - 1_001);
    expect(ended).toEqual([]);
    expect(sessionsOf(broker)).toBe(MANY + 2);
    await broker.advance(1_000); // of so many, a piece at a time
    expect(ended.splice(0).sort()).toEqual(numbered(MANY).map((name) => `${name}: expired`).sort());
    await broker.advance(HOUR_MS);
    expect(ended.splice(0)).toEqual(['in an hour: expired']);
    expect(sessionsOf(broker)).toBe(1);
    expect(broker.stats().sessionsExpired).toBe(MANY + 4);
    await broker.kill();
    const left = await foundIn(engine);
    expect(left.map(({ clientIdentifier }) => clientIdentifier)).toEqual(['never']);
  });

  it('ends when its time has come after somebody only looked at it', async () => {
    const clock = new VirtualClock();
    const broker = brokerOver(await engineOf(['a', 'b'], { detachedAt: clock.wall() }), clock);
    await broker.listen();
    expect(broker.session('b')).toBeDefined();
    await broker.advance(HOUR_MS - 1);
    expect(sessionsOf(broker)).toBe(2);
    await broker.advance(1);
    expect(sessionsOf(broker)).toBe(0);
    expect(broker.session('b')).toBeUndefined();
  });

  it('is not there for the application before all of it is', async () => {
    const clock = new VirtualClock();
    const broker = brokerOver(await engineOf(['a'], { detachedAt: clock.wall() }), clock);
    const add = jest.spyOn(SleepingSessions.prototype, 'add');
    const listening = broker.listen().then(() => 'listens', String);
    while (add.mock.calls.length === 0) await Promise.resolve();
    expect(broker.stats().subscriptions).toBe(1);
    const whileTold = broker.disconnectClient('a', { session: 'end' });
    expect([await listening, whileTold]).toEqual(['listens', false]);
    expect(broker.session('a')).toMatchObject({ subscriptions: 1 });
  });

  it('is found once when listen() failed and is called again', async () => {
    const occupant = createServer();
    await new Promise<void>((resolve) => { occupant.listen(0, '127.0.0.1', resolve); });
    const { port } = occupant.address() as AddressInfo;
    const engine = await engineOf(numbered(MANY));
    const broker = new Broker(
      { listeners: [{ host: '127.0.0.1', port }], logger: false }, { engine },
    );
    brokers.push(broker);
    const troubles: unknown[] = [];
    broker.on('problem', (problem) => troubles.push(problem));
    broker.on('engineState', (state) => troubles.push(state));
    const heard: string[] = [];
    await broker.subscribe('#', ({ topicName }) => { heard.push(topicName); });
    await expect(broker.listen()).rejects.toThrow();
    await expect(broker.publish('to/c3', '')).rejects.toMatchObject({ code: 'NIDO_BROKER_STATE' });
    await new Promise((resolve) => { occupant.close(resolve); });
    await broker.listen();
    expect(broker.stats().sessions).toBe(1 + MANY);
    await broker.publish('to/c3', '', { qos: 1 });
    await until(() => broker.session('c3')?.queuedMessages === 1, 'the message');
    expect([heard, troubles]).toEqual([['to/c3'], []]);
  });

  it('ends no later because the clock was set back', async () => {
    const clock = new VirtualClock();
    const detachedAt = clock.wall() + 24 * HOUR_MS;
    const broker = brokerOver(await engineOf(['a'], { detachedAt }), clock);
    await broker.listen();
    await broker.advance(HOUR_MS - 1);
    expect(sessionsOf(broker)).toBe(1);
    await broker.advance(1);
    expect(sessionsOf(broker)).toBe(0);
  });

  it('counts against limits.sessionsMax, and its own client comes in all the same', async () => {
    const clock = new VirtualClock();
    const engine = await engineOf(['a', 'b', 'c'], { detachedAt: clock.wall() });
    const broker = brokerOver(engine, clock, { limits: { sessionsMax: 3 } });
    await broker.listen();
    const refused: number[] = [];
    broker.on('connectionRefused', ({ reasonCode }) => refused.push(reasonCode));
    await expect(connect(broker, 'd')).rejects.toThrow();
    expect(refused).toEqual([0x97]);
    const present: boolean[] = [];
    broker.on('clientConnected', ({ sessionPresent }) => present.push(sessionPresent));
    await connect(broker, 'b');
    broker.disconnectClient('a', { session: 'end' });
    await connect(broker, 'd');
    expect(present).toEqual([true, false]);
  });

  it('is ended by a clean start and by the application, in the store too', async () => {
    const clock = new VirtualClock();
    const engine = await engineOf(['a', 'b', 'c'], { detachedAt: clock.wall() });
    const broker = brokerOver(engine, clock);
    await broker.listen();
    const ended: string[] = [];
    broker.on('sessionEnded', ({ clientId, reason }) => ended.push(`${clientId}: ${reason}`));
    expect(broker.disconnectClient('a')).toBe(false);
    expect(broker.disconnectClient('a', { session: 'end' })).toBe(true);
    expect(broker.disconnectClient('a', { session: 'end' })).toBe(false);
    await connect(broker, 'b', { clean: true });
    expect(ended).toEqual(['a: administrative', 'b: clean-start']);
    expect(broker.session('b')?.subscriptions).toBe(0);
    await broker.kill();
    const left = await foundIn(engine);
    expect(left.map(({ clientIdentifier, epoch }) => [clientIdentifier, epoch]).sort())
      .toEqual([['b', 1], ['c', 1]]);
  });

  it('gets what is published, for the process after the next', async () => {
    const clock = new VirtualClock();
    const engine = await engineOf(['a', 'b'], { detachedAt: clock.wall() });
    const broker = brokerOver(engine, clock);
    await broker.listen();
    await broker.publish('to/a', 'kept', { qos: 1 });
    const next = await broker.recover();
    brokers.push(next);
    await broker.quiet();
    expect(next.session('a')?.queuedMessages).toBe(1);
    await next.advance(HOUR_MS); // it ends as if nothing had come
    expect(sessionsOf(next)).toBe(0);
  });

  it('is looked at when rules change: it loses its subscription', async () => {
    const clock = new VirtualClock();
    const names = numbered(MANY);
    const attributes = Buffer.from(JSON.stringify({ roles: ['r'] }));
    const engine = await engineOf(names, { detachedAt: clock.wall(), username: 'ada', attributes });
    const broker = brokerOver(engine, clock);
    await broker.listen();
    await broker.publish('to/c7', 'waits', { qos: 1 });
    const asked: Identity[] = [];
    broker.addGuards({
      authorization: [{
        canSubscribe: (who, filter) => {
          asked.push(who);
          return filter !== 'to/c7';
        },
      }],
    });
    await broker.advance(MINUTE_MS);
    expect(asked).toHaveLength(MANY);
    expect(asked).toContainEqual({ clientId: 'c7', username: 'ada', roles: ['r'] });
    expect(broker.session('c7')?.subscriptions).toBe(0);
    expect(broker.session('c8')?.subscriptions).toBe(1);
    await connect(broker, 'c7');
    await broker.quiet();
    expect(broker.session('c7')?.queuedMessages).toBe(0);
    expect(broker.stats().dropped['not-authorized']).toBe(1);
  });
});

describe('the name of a session that was found', () => {
  const long = 'é'.repeat(32_767);
  const names = [
    'plain', 'Zähler/7', '漢字', '🌍', '\ufeffmark', '\ufffd', ' ', long, `${long.slice(1)}xx`,
    'site/\0plain', 'sité/\0plain', 'site/\0漢字',
  ];

  it.each(['memory', 'file'] as const)('finds it and no other, engine %s', async (kind) => {
    const path = await mkdtemp(join(tmpdir(), 'nidomq-sleeping-'));
    directories.push(path);
    const store = (): Engine => kind === 'file'
      ? createFileEngine({ path: join(path, 'data') }) : createMemoryEngine({ durability: 'disk' });
    const clock = new VirtualClock();
    const roles = [`role ${'x'.repeat(150_000)}`];
    const written = await engineWith((batch, nextNumber) => {
      names.forEach((clientIdentifier, at) => {
        const sessionId = nextNumber();
        // Records of all sizes, up to some that are larger than what they are kept in.
        batch.putSession(session(sessionId, {
          clientIdentifier, username: 'u'.repeat(at * 5_900), detachedAt: clock.wall(),
          attributes: Buffer.from(JSON.stringify({ roles: at % 2 === 0 ? [] : roles })),
        }));
        for (let one = 0; one <= at; one++) {
          batch.putSubscription({
            sessionId, topicFilter: `${one}`, options: 0, subscriptionIdentifier: 0,
          });
        }
      });
    }, store());
    const broker = brokerOver(kind === 'file' ? store() : written, clock);
    await broker.listen();
    expect(broker.stats().subscriptions).toBe(1 + names.length * (names.length + 1) / 2);
    for (const stranger of ['', 'Plain', 'plain\0', '\ud800', 'site/', long.slice(1)]) {
      expect(broker.session(stranger)).toBeUndefined();
      expect(broker.session('plain', `${stranger}/`)).toBeUndefined();
    }
    const counts = names.map((key) => {
      const { clientId, mountPoint } = splitSessionKey(key);
      return broker.session(clientId, mountPoint)?.subscriptions;
    });
    expect(counts).toEqual(names.map((_, at) => at + 1));
    const asked: Identity[] = [];
    broker.addGuards({
      authorization: [{ canSubscribe: (who) => asked.push(who) > 0 }],
    });
    await broker.advance(1_000);
    names.forEach((key, at) => {
      const { clientId, mountPoint } = splitSessionKey(key);
      expect(asked).toContainEqual({
        clientId, username: 'u'.repeat(at * 5_900), roles: at % 2 === 0 ? [] : roles,
        ...(mountPoint === '' ? {} : { mountPoint }),
      });
    });
  });
});

describe('sessions whose clients were connected when the process died', () => {
  const connected = { detachedAt: 0 };
  const isTold = ({ detachedAt }: SessionRecord): boolean => detachedAt !== 0;

  it('are told to the store in pieces, but for who came back or ended meanwhile', async () => {
    const clock = new VirtualClock();
    const engine = await engineOf(numbered(MANY), connected);
    const broker = brokerOver(engine, clock);
    await broker.listen();
    await connect(broker, 'c1299');
    const left = await connect(broker, 'c1298');
    await left.end();
    broker.disconnectClient('c1297', { session: 'end' });
    await broker.advance(1_000);
    await broker.kill();
    const records = await foundIn(engine);
    expect(records.filter((record) => !isTold(record)).map((one) => one.clientIdentifier))
      .toEqual(['c1299']);
    expect(records).toHaveLength(MANY - 1);
    expect(records.find((one) => one.clientIdentifier === 'c1297')).toBeUndefined();
  });

  it('are all told before the broker closes', async () => {
    const engine = await engineOf(numbered(MANY), connected);
    const broker = brokerOver(engine, new VirtualClock());
    await broker.listen();
    await broker.close();
    const records = await foundIn(engine);
    expect(records.filter(isTold)).toHaveLength(MANY);
  });

  it('are gone since the next start when the process dies before they were told', async () => {
    const clock = new VirtualClock();
    const engine = await engineOf(numbered(MANY), connected);
    const broker = brokerOver(engine, clock);
    await broker.listen();
    await broker.kill();
    await clock.advance(30 * MINUTE_MS);
    const next = await broker.recover();
    brokers.push(next);
    expect(sessionsOf(next)).toBe(MANY);
    await next.advance(30 * MINUTE_MS);
    expect(sessionsOf(next)).toBeGreaterThanOrEqual(MANY - TOLD_AT_ONCE);
    await next.advance(30 * MINUTE_MS);
    expect(sessionsOf(next)).toBe(0);
  });

  it('have their wills published once, though their process dies again', async () => {
    const clock = new VirtualClock();
    const engine = await engineWith((batch, nextNumber) => {
      for (const clientIdentifier of numbered(MANY)) {
        const sessionId = nextNumber();
        batch.putSession(session(sessionId, { clientIdentifier }));
        batch.putWill({
          sessionId, willDelayIntervalSeconds: 60, dueAt: 0,
          message: message(0, { topicName: Buffer.from(`will/${clientIdentifier}`) }),
        });
      }
    });
    const broker = brokerOver(engine, clock);
    await broker.listen();
    await connect(broker, 'c0');
    await broker.advance(30_000);
    expect(broker.published.messages).toEqual([]);
    const next = await broker.recover();
    brokers.push(next);
    await next.advance(29_000);
    expect(next.published.messages).toEqual([]);
    await next.advance(MINUTE_MS);
    expect(next.published.messages.map(({ topicName }) => topicName).sort())
      .toEqual(numbered(MANY).slice(1).map((name) => `will/${name}`).sort());
    const last = await next.recover();
    brokers.push(last);
    await last.advance(MINUTE_MS);
    expect(last.published.messages).toEqual([]);
  });

  it('are found by the core after one that failed meanwhile', async () => {
    const engine = await engineOf(numbered(MANY), connected);
    const fail: (() => void)[] = [];
    const broker = new Broker({ listeners: [], logger: false }, {
      engine,
      createCore(options, events, around) {
        fail.push(() => around.broken(new Error('unreachable')));
        return new Core(options, events, around);
      },
    });
    brokers.push(broker);
    const problems: string[] = [];
    broker.on('problem', ({ where }) => problems.push(where));
    await broker.listen();
    fail[0]();
    expect(broker.stats().sessions).toBe(0);
    await until(() => broker.stats().sessions === MANY, 'the sessions of the core that failed');
    await until(() => broker.session('c1299') !== undefined, 'the last of them');
    await broker.close();
    expect(problems).toEqual(['core']);
    const records = await foundIn(engine);
    expect(records.filter(isTold)).toHaveLength(MANY);
    // What a failed core knows is not written any more.
    expect(new Set(records.map((one) => one.lastPacketIdentifier)).size).toBe(1);
  });
});
