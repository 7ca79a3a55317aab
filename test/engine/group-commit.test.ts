import { describe, expect, it } from '@jest/globals';
import type {
  Engine, EngineBatch, EngineState, GroupCommitOptions,
} from '../../lib/engine/index.js';
import { EngineError, GroupCommit, createMemoryEngine } from '../../lib/engine/index.js';
import { enqueue, loaded, message, nth, session, until } from './contract.js';

/** The memory engine with a disk in front of it that obeys the test. */
async function obedient() {
  const engine = createMemoryEngine({ durability: 'disk' });
  await engine.open();
  await loaded(engine);
  const disk = {
    /** What `commit` does instead of writing: nothing, or throws, or waits. */
    behave: undefined as undefined | (() => Promise<void>),
    batches: [] as { operations: number; durability: string }[],
    attempts: 0,
    recoveries: 0,
  };
  const obeying: Engine = new Proxy(engine, {
    get(target, name) {
      if (name === 'commit') {
        return async (batch: EngineBatch) => {
          disk.attempts++;
          await disk.behave?.();
          await target.commit(batch);
          disk.batches.push({ operations: batch.operations, durability: batch.durability });
        };
      }
      if (name === 'recover') {
        return () => {
          disk.recoveries++;
          return target.recover();
        };
      }
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
  return { engine: obeying, disk };
}

function grouped(engine: Engine, options: GroupCommitOptions = {}) {
  const told: number[] = [];
  const states: [EngineState, string | undefined][] = [];
  const faults: unknown[] = [];
  const group = new GroupCommit(engine, {
    committed: (tokens) => told.push(...tokens),
    state: (state, error) => states.push([state, error?.code]),
    fault: (error) => faults.push(error),
  }, { retryMs: 1, retryMsMax: 2, ...options });
  return { group, told, states, faults };
}
const full = () => Promise.reject(new EngineError('NIDO_ENGINE_IO', 'no space left on device'));

describe('group commit', () => {
  it('puts what arrives in one turn into one batch, and what arrives meanwhile into the next', async () => {
    const { engine, disk } = await obedient();
    const { group, told } = grouped(engine);
    for (let i = 1; i <= 5; i++) {
      group.unit().putSession(session(i));
      group.wait(i);
    }
    let release!: () => void;
    disk.behave = () => new Promise<void>((resolve) => {
      release = resolve;
    });
    await until(async () => disk.attempts === 1);
    for (let i = 6; i <= 8; i++) {
      enqueue(group.unit(), message(nth(i)), [1]);
      group.wait(i);
    }
    expect(told).toEqual([]);
    disk.behave = undefined;
    release();
    await group.settled();
    expect(disk.batches.map((batch) => batch.operations)).toEqual([5, 3]);
    expect(told).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('acknowledges nothing while writes fail, then everything in order', async () => {
    const { engine, disk } = await obedient();
    const { group, told, states } = grouped(engine);
    disk.behave = full;
    for (let i = 1; i <= 3; i++) {
      group.unit().putSession(session(i));
      group.wait(i);
    }
    await until(async () => disk.attempts > 3);
    group.unit().putSession(session(4));
    group.wait(4);
    expect(told).toEqual([]);
    expect(group.state).toBe('stalled');
    disk.behave = undefined;
    await group.settled();
    expect(told).toEqual([1, 2, 3, 4]);
    expect(states).toEqual([['stalled', 'NIDO_ENGINE_IO'], ['ok', undefined]]);
    expect(disk.recoveries).toBeGreaterThan(3);
    expect([...(await loaded(engine)).sessions.keys()]).toEqual([1, 2, 3, 4]);
  });

  it('stops for good, and says so, when the store turns out to be corrupt', async () => {
    const { engine, disk } = await obedient();
    const { group, told, states } = grouped(engine);
    disk.behave = () => Promise.reject(new EngineError('NIDO_ENGINE_CORRUPT', 'batch 3 is missing'));
    group.unit().putSession(session(1));
    group.wait(1);
    await until(async () => group.state === 'failed');
    group.wait(2);
    await expect(group.close({ deadlineMs: 20 })).rejects.toMatchObject({ code: 'NIDO_ENGINE_IO' });
    expect(disk.attempts).toBe(1);
    expect(told).toEqual([]);
    expect(states).toEqual([['failed', 'NIDO_ENGINE_CORRUPT']]);
    expect(group.isFull).toBe(true);
  });

  it('ends a batch that has grown too large between two units, never within one', async () => {
    const { engine, disk } = await obedient();
    const { group } = grouped(engine, { batchBytesMax: 2_000 });
    const payload = Buffer.alloc(900);
    for (let i = 1; i <= 7; i++) enqueue(group.unit(), message(nth(i), { payload }), [1, 2, 3]);
    await group.settled();
    expect(disk.batches.length).toBeGreaterThan(1);
    for (const batch of disk.batches) expect(batch.operations % 4).toBe(0);
  });

  it('tells when too much waits for the disk', async () => {
    const { engine, disk } = await obedient();
    const { group } = grouped(engine, { pendingBytesMax: 10_000 });
    disk.behave = full;
    expect(group.isFull).toBe(false);
    for (let i = 1; i <= 12; i++) enqueue(group.unit(), message(nth(i), { payload: Buffer.alloc(1_000) }), [1]);
    expect(group.isFull).toBe(true);
    disk.behave = undefined;
    await group.settled();
    expect(group.isFull).toBe(false);
    expect(group.pendingBytes).toBe(0);
  });

  it('asks for the strictest durability that one of its units needs', async () => {
    const { engine, disk } = await obedient();
    const { group } = grouped(engine);
    group.unit('os').putSession(session(1));
    await group.settled();
    group.unit('os').putSession(session(2));
    group.unit('disk').putSession(session(3));
    await group.settled();
    expect(disk.batches.map((batch) => batch.durability)).toEqual(['os', 'disk']);
  });

  it('reports a disk that hangs, and goes on when it answers', async () => {
    const { engine, disk } = await obedient();
    const { group, states } = grouped(engine, { stallMs: 5 });
    let release!: () => void;
    disk.behave = () => new Promise<void>((resolve) => {
      release = resolve;
    });
    group.unit().putSession(session(1));
    await until(async () => group.state === 'stalled');
    release();
    await group.settled();
    expect(states.map(([state]) => state)).toEqual(['stalled', 'ok']);
  });

  it('goes on when a callback throws, and hands the error to whoever watches', async () => {
    const { engine } = await obedient();
    const { group, faults } = grouped(engine);
    group.after(() => {
      throw new Error('ours');
    });
    group.unit().putSession(session(1));
    await group.settled();
    expect(faults).toEqual([new Error('ours')]);
  });

  it('does not close over a disk that takes nothing', async () => {
    const { engine, disk } = await obedient();
    const { group, told } = grouped(engine);
    disk.behave = full;
    group.unit().putSession(session(1));
    group.wait(1);
    await expect(group.close({ deadlineMs: 20 })).rejects.toMatchObject({ code: 'NIDO_ENGINE_IO' });
    expect(told).toEqual([]);
  });
});

describe('what ended sessions leave behind', () => {
  /** Seven sessions, one of which ends now and then, and messages for several of them at once. */
  async function lives(seed: number, check: () => Promise<void>, engine: Engine, group: GroupCommit): Promise<void> {
    const next = randomFrom(seed);
    const queues = new Map<number, number[]>();
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    for (let step = 0; step < 150; step++) {
      if (queues.size < 4) {
        const sessionId = engine.nextNumber();
        queues.set(sessionId, []);
        group.unit().putSession(session(sessionId));
      }
      const all = [...queues.keys()];
      const one = all[next(all.length)];
      const choice = next(10);
      if (choice < 5) {
        const receivers = all.filter(() => next(2) === 0);
        const number = engine.nextNumber();
        if (receivers.length > 0) enqueue(group.unit(), message(number), receivers);
        for (const receiver of receivers) queues.get(receiver)!.push(number);
      } else if (choice < 9) {
        const number = queues.get(one)!.shift();
        if (number !== undefined) group.unit().deleteQueueEntry(one, number);
      } else {
        queues.delete(one);
        group.unit().deleteSession(one);
      }
      for (let turns = next(4); turns > 0; turns--) await turn();
      await check();
    }
  }

  it('takes no body from an entry that is still there, whatever is committed next', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { engine, disk } = await obedient();
      const { group } = grouped(engine);
      const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
      disk.behave = async () => {
        for (let turns = 0; turns < 3; turns++) await turn();
      };
      await lives(seed, async () => {
        expect({ seed, losses: (await engine.check()).losses }).toEqual({ seed, losses: [] });
      }, engine, group);
      await group.settled();
      await until(async () => (await engine.check()).records['ended session'] === 0);
      expect((await engine.check()).losses).toEqual([]);
    }
  });
});

/** A linear congruential generator: the same numbers for the same seed. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
