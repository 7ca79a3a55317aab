import { beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectAtMost, expectSame } from '../support/expect-same.js';
import { naiveMatch } from '../support/naive-matcher.js';
import { compileIndex, IndexHost, MEMORY_INDEX, MEMORY_RETAINED } from './topic-index-host.js';

/** For properties, on a machine that is busy with other things. */
const SLOW_MS = 90_000;

let module: WebAssembly.Module;
beforeAll(() => {
  module = compileIndex();
}, 120_000);

const level = fc.constantFrom('a', 'b', 'c', '', '$SYS', 'a-level-of-more-than-16');
const topicName = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
  .filter((name) => name !== '');
const topicFilter = fc.tuple(
  fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 4 }), fc.boolean(),
).map(([levels, multi]) => [...levels, ...(multi ? ['#'] : [])].join('/'))
  .filter((filter) => filter !== '');

type Step =
  | readonly ['put', string]
  | readonly ['remove', string]
  | readonly ['walk', string]
  | readonly ['step', number, number];
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant('put' as const), topicName) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('remove' as const), topicName) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('walk' as const), topicFilter) },
  {
    weight: 6,
    arbitrary: fc.tuple(
      fc.constant('step' as const), fc.nat({ max: 100 }), fc.integer({ min: 1, max: 5 }),
    ),
  },
);

interface Going {
  readonly handle: number;
  readonly filter: string;
  readonly order: number;
  /** Topics that were there at the start and have kept their message. */
  readonly steady: Map<string, number>;
  readonly answered: number[];
}

class Twin {
  readonly known = new Map<string, number>();
  readonly topicOf: string[] = [''];
  walks: Going[] = [];
  order = 0;

  constructor(readonly host: IndexHost) {}

  take(one: Step): void {
    if (one[0] === 'put') this.put(one[1]);
    else if (one[0] === 'remove') this.remove(one[1]);
    else if (one[0] === 'walk') this.walk(one[1]);
    else if (this.walks.length > 0) this.step(this.walks[one[1] % this.walks.length], one[2]);
    expectSame(this.host.call.retainedCount(), this.known.size);
  }

  private put(topic: string): void {
    const message = this.topicOf.length;
    if (this.host.retain(topic, message, this.order++) !== 0) {
      expectSame(this.host.retained(topic), this.known.get(topic) ?? 0);
      return;
    }
    expectSame(this.host.call.retainedReplaced.value, this.known.get(topic) ?? 0);
    this.topicOf.push(topic);
    this.known.set(topic, message);
    for (const walk of this.walks) walk.steady.delete(topic);
    expectSame(this.host.retained(topic), message);
  }

  remove(topic: string): void {
    expectSame(this.host.unretain(topic), this.known.get(topic) ?? 0);
    this.known.delete(topic);
    for (const walk of this.walks) walk.steady.delete(topic);
    expectSame(this.host.retained(topic), 0);
  }

  private walk(filter: string): void {
    const handle = this.host.walk(filter, this.order - 1);
    if (handle === 0) return;
    const steady = new Map([...this.known].filter(([topic]) => naiveMatch(filter, topic)));
    this.walks.push({ handle, filter, order: this.order, steady, answered: [] });
  }

  /** One call; an answer is checked against what is retained at this moment. */
  step(walk: Going, budget: number): void {
    const message = this.host.call.walkNext(walk.handle, budget);
    expectAtMost(this.host.call.walkSpent.value, budget);
    if (message !== 0) {
      const topic = this.topicOf[message];
      expectSame(this.known.get(topic), message);
      expectSame(naiveMatch(walk.filter, topic), true);
      expectAtMost(message, walk.order);
      walk.answered.push(message);
    } else if (this.host.call.walkDone.value) {
      this.end(walk);
    }
  }

  end(walk: Going): void {
    const answered = new Set(walk.answered);
    expect(walk.answered).toHaveLength(answered.size);
    for (const message of walk.steady.values()) expectSame(answered.has(message), true);
    this.host.call.walkEnd(walk.handle);
    this.walks = this.walks.filter((other) => other !== walk);
  }

  finish(): void {
    while (this.walks.length > 0) this.step(this.walks[0], 3);
  }
}

function walkAll(host: IndexHost, filter: string, budget = 1000): number[] {
  return host.finish(host.walk(filter, Number.MAX_SAFE_INTEGER), budget);
}

describe('retained messages', () => {
  it('that match and are there throughout are answered exactly once, whatever else changes', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      const host = new IndexHost(module);
      const twin = new Twin(host);
      for (const one of steps) twin.take(one);
      twin.finish();
      for (const topic of [...twin.known.keys()]) twin.remove(topic);
      // One table of the smallest size is what an empty index keeps.
      expect(host.used(MEMORY_RETAINED)).toBeLessThanOrEqual(512);
    }), { seed: 20_266, numRuns: 250 });
  }, SLOW_MS);

  it('survive a walk that is given up anywhere, and so does the memory', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const host = new IndexHost(module);
      const twin = new Twin(host);
      for (const one of steps) twin.take(one);
      for (const topic of [...twin.known.keys()]) twin.remove(topic);
      for (const walk of twin.walks) host.call.walkEnd(walk.handle);
      expect(host.used(MEMORY_RETAINED)).toBeLessThanOrEqual(512);
      expect(host.used(MEMORY_INDEX)).toBe(32);
    }), { seed: 20_267, numRuns: 100 });
  }, SLOW_MS);

  it('are refused when memory is short, and the index stays as it was', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 150 }), fc.integer({ min: 0, max: 3000 }),
      (steps, room) => {
        const host = new IndexHost(module);
        host.call.setBudget(MEMORY_RETAINED, room);
        const twin = new Twin(host);
        for (const one of steps) twin.take(one);
        twin.finish();
        for (const [topic, message] of twin.known) expect(host.retained(topic)).toBe(message);
      }), { seed: 20_268, numRuns: 200 });
  }, SLOW_MS);

  it.each([
    ['#', ['a', 'a/', '/', 'a/b/c', 'x//c']], ['+', ['a']], ['a/#', ['a', 'a/', 'a/b/c']],
    ['+/+', ['a/', '/']], ['x/+/c', ['x//c']], ['/', ['/']], ['$SYS/#', ['$SYS', '$SYS/b/c']],
    ['+/b/c', ['a/b/c']], ['nothing/#', []], ['+/+/+/+', []],
  ])('of %j are %j [MQTT-4.7.2-1]', (filter, expected) => {
    const host = new IndexHost(module);
    const topics = ['a', 'a/', '/', 'a/b/c', 'x//c', '$SYS', '$SYS/b/c'];
    topics.forEach((topic, i) => expect(host.retain(topic, i + 1, i)).toBe(0));
    expect(walkAll(host, filter, 1).map((message) => topics[message - 1]).sort())
      .toEqual([...expected].sort());
  });

  it('of every topic, `$` included, are answered to the empty filter', () => {
    const host = new IndexHost(module);
    ['a', '$SYS/a', '/'].forEach((topic, i) => host.retain(topic, i + 1, i));
    expect(walkAll(host, '').sort()).toEqual([1, 2, 3]);
  });

  it('that are younger than the walk are left to the live path', () => {
    const host = new IndexHost(module);
    host.retain('a', 1, 10);
    host.retain('b', 2, 11);
    const walk = host.walk('#', 10);
    host.retain('c', 3, 12);
    expect(host.finish(walk, 100)).toEqual([1]);
  });

  it('keep their place when the topic under the cursor goes and comes back', () => {
    const host = new IndexHost(module);
    ['a', 'b', 'c'].forEach((topic, i) => host.retain(topic, i + 1, i));
    const walk = host.walk('#', 100);
    const first = host.call.walkNext(walk, 100);
    const topic = 'abc'[first - 1];
    expect(host.unretain(topic)).toBe(first);
    expect(host.retained(topic)).toBe(0);
    host.retain(topic, 9, 5);
    const rest = host.finish(walk, 100);
    expect([first, ...rest].filter((message) => message !== 9).sort()).toEqual([1, 2, 3]);
  });

  it('of the longest topics are found, walked and removed', () => {
    const host = new IndexHost(module, 1n, 1024);
    const topics = ['/'.repeat(65_535), 'n'.repeat(65_535), `${'d/'.repeat(32_767)}d`];
    topics.forEach((topic, i) => expect(host.retain(topic, i + 1, i)).toBe(0));
    topics.forEach((topic, i) => expect(host.retained(topic)).toBe(i + 1));
    expect(walkAll(host, '#').sort()).toEqual([1, 2, 3]);
    expect(walkAll(host, topics[0])).toEqual([1]);
    expect(walkAll(host, '+/'.repeat(32_767) + '+')).toEqual([3]);
    topics.forEach((topic, i) => expect(host.unretain(topic)).toBe(i + 1));
    expect(host.used(MEMORY_RETAINED)).toBeLessThanOrEqual(512);
  });

  it('are walked at once by as many as RETAINED_WALKS_MAX, and refused to one more', () => {
    const host = new IndexHost(module, 1n, 1024);
    host.retain('a', 1, 1);
    const walks = Array.from({ length: 65_535 }, () => host.walk('#', 1));
    expect(walks.includes(0)).toBe(false);
    expect(host.walk('#', 1)).toBe(0);
    for (const walk of walks) host.call.walkEnd(walk);
    expect(walkAll(host, '#')).toEqual([1]);
  });
});
