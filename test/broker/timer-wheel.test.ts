import { describe, it, expect } from '@jest/globals';
import {
  FIRED_PER_TURN_MAX, LOOKED_AT_PER_TURN_MAX, TICK_MS, TimerEntry, TimerWheel,
} from '../../lib/broker/timer-wheel.js';

class Named extends TimerEntry {
  constructor(readonly name: string) {
    super();
  }
}

function wheelWithLog(then: (entry: Named, now: number) => void = () => {}) {
  const fired: string[] = [];
  const wakes: number[] = [];
  const wheel = new TimerWheel(
    {
      timerFired: (entry, now) => {
        fired.push((entry as Named).name);
        then(entry as Named, now);
      },
      timerSet: (due) => {
        wakes.push(due);
      },
    },
    0,
  );
  return { wheel, fired, wakes };
}

describe('timer wheel', () => {
  it('never fires early, and at most one tick late', () => {
    for (let due = 1; due < 5 * TICK_MS; due += 7) {
      const { wheel, fired } = wheelWithLog();
      wheel.set(new Named('x'), due);
      for (let now = 0; now < due; now += 1) wheel.advance(now);
      expect(fired).toEqual([]);
      for (let now = due; now < due + TICK_MS; now += 1) wheel.advance(now);
      expect(fired).toEqual(['x']);
    }
  });

  it('keeps deadlines that lie many turns ahead', () => {
    const { wheel, fired } = wheelWithLog();
    const aMonth = 30 * 24 * 3_600_000;
    wheel.set(new Named('month'), aMonth);
    for (let now = 0; now < aMonth; now += 3_600_000) wheel.advance(now);
    expect(fired).toEqual([]);
    wheel.advance(aMonth);
    expect(fired).toEqual(['month']);
    expect(wheel.size).toBe(0);
  });

  it('moves and cancels', () => {
    const { wheel, fired } = wheelWithLog();
    const moved = new Named('moved');
    const cancelled = new Named('cancelled');
    wheel.set(moved, 200);
    wheel.set(cancelled, 200);
    wheel.set(moved, 5_000);
    wheel.cancel(cancelled);
    wheel.cancel(cancelled);
    wheel.advance(4_900);
    expect(fired).toEqual([]);
    wheel.advance(5_000);
    expect(fired).toEqual(['moved']);
    wheel.set(moved, Infinity);
    expect(wheel.size).toBe(0);
  });

  it('lets an entry be set and others be cancelled while it fires', () => {
    const victim = new Named('victim');
    let again = 3;
    const { wheel, fired } = wheelWithLog((entry, now) => {
      wheel.cancel(victim);
      if (entry.name === 'again' && (again -= 1) > 0) wheel.set(entry, now);
    });
    wheel.set(new Named('again'), 100);
    wheel.set(victim, 100);
    for (let now = 0; now <= 1_000; now += 50) wheel.advance(now);
    expect(fired).toEqual(['again', 'again', 'again']);
  });

  it('fires very many in pieces, in their order, and asks to go on at once in between', () => {
    const { wheel, fired } = wheelWithLog();
    const names = Array.from({ length: FIRED_PER_TURN_MAX * 2 + 5 }, (_, n) => `${n}`);
    const half = FIRED_PER_TURN_MAX + 7;
    names.forEach((name, n) => wheel.set(new Named(name), n < half ? 200 : 300));
    wheel.set(new Named('later'), 5_000);
    const pieces: number[] = [];
    for (let before = 0; wheel.nextAt() <= 400; before = fired.length) {
      wheel.advance(400);
      pieces.push(fired.length - before);
    }
    expect(pieces).toEqual([FIRED_PER_TURN_MAX, FIRED_PER_TURN_MAX, 5]);
    expect(fired).toEqual(names);
    expect(wheel.nextAt()).toBe(5_000);
  });

  it('lets who is due and waits for its piece be moved or cancelled', () => {
    const { wheel, fired } = wheelWithLog();
    const entries = Array.from({ length: FIRED_PER_TURN_MAX + 3 }, (_, n) => new Named(`${n}`));
    for (const entry of entries) wheel.set(entry, 100);
    wheel.advance(100);
    wheel.set(entries.at(-1)!, 900);
    wheel.cancel(entries.at(-3)!);
    wheel.advance(200);
    expect(fired.slice(FIRED_PER_TURN_MAX)).toEqual([entries.at(-2)!.name]);
    wheel.advance(900);
    expect(fired.at(-1)).toBe(entries.at(-1)!.name);
    expect(wheel.size).toBe(0);
  });

  it('looks at very many that are not due in pieces, and at each once', () => {
    const { wheel, fired } = wheelWithLog();
    const aWheel = 1_024 * TICK_MS;
    const entries = Array.from({ length: LOOKED_AT_PER_TURN_MAX + 9 }, (_, n) => new Named(`${n}`));
    for (const entry of entries) wheel.set(entry, 100 + aWheel);
    wheel.set(new Named('due'), 100);
    wheel.advance(100);
    expect(fired).toEqual([]);
    wheel.cancel(entries[0]!);
    expect(wheel.nextAt()).toBe(100);
    wheel.advance(150);
    expect(fired).toEqual(['due']);
    expect(wheel.nextAt()).toBe(100 + aWheel);
    while (wheel.nextAt() <= 100 + aWheel) wheel.advance(100 + aWheel);
    expect(new Set(fired)).toEqual(new Set(['due', ...entries.slice(1).map(({ name }) => name)]));
    expect(wheel.size).toBe(0);
  });

  it('says when it wants to be advanced', () => {
    const { wheel, wakes } = wheelWithLog();
    expect(wheel.nextAt()).toBe(Infinity);
    wheel.set(new Named('x'), 1_234);
    expect(wakes).toEqual([1_300]);
    expect(wheel.nextAt()).toBe(1_300);
  });
});
