/** The sessions that sleep beside a naive map of them, over random lives. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Clock } from '../../lib/broker/clock.js';
import { splitSessionKey } from '../../lib/broker/mount-point.js';
import { SleepingSessions } from '../../lib/broker/sleeping-sessions.js';
import type { FoundSession, SessionRecord } from '../../lib/engine/index.js';
import { KEY_SESSION } from '../../lib/engine/keys.js';
import { OperationLog } from '../../lib/engine/operation-log.js';
import { readSession, writeSession } from '../../lib/engine/records.js';
import { session } from '../engine/contract.js';

const NEVER = 0xffff_ffff;

describe('SleepingSessions', () => {
  const NOW = 5_000;
  const WALL = 1_800_000_000_000;
  const clock: Clock = {
    now: () => NOW, wall: () => WALL, schedule: () => ({ cancel: () => undefined }),
  };
  const GENERATION = 2 ** 20;

  /** As a store has it. */
  function foundOf(record: SessionRecord): FoundSession {
    const log = new OperationLog();
    log.beginKey(KEY_SESSION);
    log.number(record.sessionId);
    log.beginValue();
    writeSession(log, record);
    const end = log.bytes - 9;
    log.endPut();
    const found: FoundSession[] = [];
    log.replay({
      put: (key, value) => found.push(readSession(key, value, end)), delete: () => undefined,
    });
    return found[0];
  }

  interface Sleeper {
    readonly handle: number;
    readonly record: SessionRecord;
    readonly end: number;
  }
  function endOf({ detachedAt, sessionExpiryInterval }: SessionRecord): number {
    if (sessionExpiryInterval === 0) return -Infinity;
    if (sessionExpiryInterval === NEVER) return Infinity;
    const ago = detachedAt === 0 ? 0 : Math.max(0, WALL - detachedAt);
    return NOW - ago + sessionExpiryInterval * 1_000;
  }

  const slot = fc.integer({ min: 1, max: 24 });
  const generation = fc.constantFrom(0, 1, 2, 4_095);
  const handle = fc.tuple(slot, generation).map(([at, nth]) => nth * GENERATION + at);
  const key = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(
      '', 'a', 'b', 'ab', 'ä', '漢字', 'm/\0a', 'm/\0', 'é/\0🌍',
    ) },
    { weight: 1, arbitrary: fc.constantFrom('x'.repeat(65_535), 'ü'.repeat(32_767)) },
    { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 5 }) },
    // A mount point of no characters is none.
  ).filter((name) => !name.startsWith('\0'));
  const time = fc.integer({ min: -4, max: 12 }).map((seconds) => NOW + seconds * 1_000);
  const fields = fc.record({
    epoch: fc.nat(), protocolVersion: fc.constantFrom(3, 4, 5),
    sessionExpiryInterval: fc.oneof(fc.constantFrom(0, NEVER), fc.integer({ min: 1, max: 9 })),
    detachedAt: fc.oneof(
      fc.constant(0), fc.integer({ min: -9, max: 9 }).map((seconds) => WALL + seconds * 1_000),
    ),
    username: fc.option(fc.constantFrom('', 'ada', 'ü'.repeat(32_767)), { nil: undefined }),
    roles: fc.option(fc.constantFrom([], ['r'], ['z'.repeat(300_000)]), { nil: undefined }),
  });
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.tuple(fc.constant('add' as const), handle, key, fields) },
    { weight: 3, arbitrary: fc.tuple(fc.constant('find' as const), key) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('wake' as const), handle) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('wake one' as const), fc.nat()) },
    {
      weight: 2,
      arbitrary: fc.tuple(fc.constant('end' as const), time, fc.integer({ min: 1, max: 5 })),
    },
    { weight: 1, arbitrary: fc.tuple(fc.constant('first end' as const)) },
  );

  class Twin {
    readonly real: SleepingSessions;
    readonly sleepers = new Map<string, Sleeper>();
    #storeId = 0;

    constructor(hashSeed: number) {
      this.real = new SleepingSessions(clock, hashSeed);
    }
    take(one: typeof step extends fc.Arbitrary<infer Step> ? Step : never): void {
      const { real, sleepers } = this;
      if (one[0] === 'add') this.add(one[1], one[2], one[3]);
      else if (one[0] === 'find') this.find(one[1]);
      else if (one[0] === 'wake') this.wake(one[1]);
      else if (one[0] === 'wake one')
        this.wake([...sleepers.values()][one[1] % sleepers.size]?.handle);
      else if (one[0] === 'end') this.endingBefore(one[1], one[2]);
      else {
        real.findFirstEnd();
        expect(real.firstEnd).toBe(this.firstEnd());
      }
      this.look();
    }
    firstEnd(): number {
      return Math.min(Infinity, ...Array.from(this.sleepers.values(), ({ end }) => end));
    }
    look(): void {
      const handles = Array.from(this.sleepers.values(), (one) => one.handle);
      expect(this.real.size).toBe(handles.length);
      expect(this.real.handles().sort()).toEqual(handles.sort());
      // Who woke may have been the first.
      expect(this.real.firstEnd).toBeLessThanOrEqual(this.firstEnd());
    }
    /** The core gives a slot, and the store a name, to one at a time. */
    add(
      given: number, clientIdentifier: string, { roles, ...others }: (typeof fields) extends
      fc.Arbitrary<infer Fields> ? Fields : never,
    ): void {
      const { real, sleepers } = this;
      const isTaken = [...sleepers.values()].some((one) => (one.handle - given) % GENERATION === 0);
      if (isTaken || sleepers.has(clientIdentifier)) return;
      const attributes = Buffer.from(roles === undefined ? '' : JSON.stringify({ roles }));
      const record = session(++this.#storeId, { clientIdentifier, attributes, ...others });
      const found = foundOf(record);
      const end = endOf(record);
      real.add(given, found);
      expect(real.endOf(found)).toBe(end);
      sleepers.set(clientIdentifier, { handle: given, record, end });
    }
    find(name: string): void {
      expect(this.real.find(splitSessionKey(name))).toBe(this.sleepers.get(name)?.handle);
    }
    wake(given: number | undefined): void {
      if (given === undefined) return;
      const asleep = [...this.sleepers].find(([, one]) => one.handle === given);
      expect(this.real.has(given)).toBe(asleep !== undefined);
      const woken = this.real.wake(given);
      if (asleep === undefined) {
        expect(woken).toBeUndefined();
        return;
      }
      const [name, { record }] = asleep;
      this.sleepers.delete(name);
      const { sessionId, epoch, protocolVersion, sessionExpiryInterval, username } = record;
      expect(woken).toMatchObject({
        ...splitSessionKey(name), handle: given, storeId: sessionId, epoch, protocolVersion,
        expirySeconds: sessionExpiryInterval,
      });
      expect(woken!.key).toBe(name);
      expect(woken!.identity.username).toBe(username);
      const { roles } = woken!.identity;
      expect(roles === undefined ? '' : JSON.stringify({ roles }))
        .toBe(Buffer.from(record.attributes).toString());
      this.find(name);
    }
    endingBefore(before: number, max: number): void {
      const ending = this.real.endingBefore(before, max);
      const all = [...this.sleepers.values()].filter(({ end }) => end < before);
      expect(ending).toHaveLength(Math.min(max, all.length));
      expect(new Set(ending).size).toBe(ending.length);
      const handles = all.map((one) => one.handle);
      for (const one of ending) expect(handles).toContain(one);
    }
  }

  it('is a map of names to sessions that knows when they end', () => {
    fc.assert(fc.property(
      fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.array(step, { maxLength: 80 }),
      (hashSeed, steps) => {
        const twin = new Twin(hashSeed);
        for (const one of steps) twin.take(one);
        for (const name of [...twin.sleepers.keys()]) twin.find(name);
        for (const { handle: one } of [...twin.sleepers.values()]) twin.wake(one);
        expect([twin.real.size, twin.real.firstEnd]).toEqual([0, Infinity]);
      },
    ), { numRuns: 300 });
  });
});
