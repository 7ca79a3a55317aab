import { beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { naiveMatch } from '../support/naive-matcher.js';
import type { ReceiverRecord } from './topic-index-host.js';
import {
  compileIndex, IndexHost, MEMORY_INDEX, MIXED_NO_LOCAL, NO_LOCAL, RETAIN_AS_PUBLISHED, SHARED,
} from './topic-index-host.js';

let module: WebAssembly.Module;
beforeAll(() => {
  module = compileIndex();
}, 120_000);

// Few names, so that filters share nodes and leave them to each other.
const level = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('a', 'b') },
  { weight: 2, arbitrary: fc.constantFrom('', '$SYS', 'eightbyt', 'a-level-of-more-than-16', 'é') },
);
const topicName = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
  .filter((name) => name !== '');
const topicFilter = fc.tuple(
  fc.array(fc.oneof({ weight: 2, arbitrary: level }, { weight: 1, arbitrary: fc.constant('+') }),
    { maxLength: 4 }),
  fc.boolean(),
).map(([levels, multi]) => [...levels, ...(multi ? ['#'] : [])].join('/'))
  .filter((filter) => filter !== '');
const options = fc.constantFrom(0, 1, 2, 4, 5, 8, 10, 14, 0x21);
const identifier = fc.constantFrom(0, 0, 1, 127, 128, 16_384, 2_097_152, 268_435_455);
const shareName = fc.constantFrom('', '', '', 'g', 'a-name-of-a-group');
const sessionNumber = fc.nat({ max: 5 });

type Step =
  | readonly ['subscribe', number, string, string, number, number]
  | readonly ['unsubscribe', number]
  | readonly ['match', string];
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(fc.constant('subscribe' as const), sessionNumber, topicFilter, shareName, options,
    identifier),
  fc.tuple(fc.constant('unsubscribe' as const), fc.nat({ max: 1000 })),
  fc.tuple(fc.constant('match' as const), topicName),
);

interface Known {
  readonly session: number;
  readonly filter: string;
  readonly shareName: string;
  options: number;
  identifier: number;
  pointer: number;
}

/** What the index should know, beside the index. */
class Twin {
  readonly known = new Map<string, Known>();
  readonly sessions: number[];

  constructor(readonly host: IndexHost) {
    this.sessions = Array.from({ length: 6 }, () => host.session());
  }

  /** Takes one step on both sides. A subscribe that has no memory must change nothing. */
  take(one: Step): void {
    if (one[0] === 'subscribe') this.subscribe(one);
    else if (one[0] === 'unsubscribe') this.unsubscribe(one[1]);
    else this.compare(one[1]);
  }

  private subscribe(one: Extract<Step, readonly ['subscribe', ...unknown[]]>): void {
    const [, number, filter, name, bits, identifier] = one;
    const session = this.sessions[number];
    const key = `${session} ${name} ${filter}`;
    const before = this.known.get(key);
    const more = { shareName: name, options: bits, identifier };
    const pointer = this.host.subscribe(session, filter, more);
    if (pointer === 0) {
      expect(this.host.find(session, filter, name)).toBe(before?.pointer ?? 0);
      return;
    }
    expect(Boolean(this.host.call.subscribeExisted.value)).toBe(before !== undefined);
    if (before !== undefined) expect(pointer).toBe(before.pointer);
    this.known.set(key, { session, filter, shareName: name, options: bits, identifier, pointer });
    expect(this.host.find(session, filter, name)).toBe(pointer);
    expect(this.host.filterOf(pointer)).toBe(name === '' ? filter : `$share/${name}/${filter}`);
    expect(this.host.call.subscriptionCount()).toBe(this.known.size);
  }

  unsubscribe(which: number): void {
    if (this.known.size === 0) return;
    const [key, known] = [...this.known][which % this.known.size];
    this.host.call.unsubscribe(known.pointer);
    this.known.delete(key);
    expect(this.host.find(known.session, known.filter, known.shareName)).toBe(0);
  }

  /** Everything that should be known is found, and every one of TOPICS has its receivers. */
  audit(): void {
    expect(this.host.call.subscriptionCount()).toBe(this.known.size);
    for (const one of this.known.values()) {
      expect(this.host.find(one.session, one.filter, one.shareName)).toBe(one.pointer);
    }
    for (const topic of TOPICS) expect(this.compare(topic)).toBe(true);
  }

  /** Unsubscribes everything, in an order that is not that of subscribing. */
  empty(): void {
    for (let i = 7; this.known.size > 0; i += 13) {
      this.unsubscribe(i);
      this.audit();
    }
  }

  /** False: the index had no memory for the answer. */
  compare(topic: string): boolean {
    const entry = this.host.intern(topic);
    const found = entry === 0 ? undefined : this.host.receiversOf(entry);
    if (found === undefined) return false;
    const plain = found.filter((receiver) => (receiver.flags & SHARED) === 0);
    const matching = [...this.known.values()].filter((one) => naiveMatch(one.filter, topic));
    const bySession = groupBy(matching.filter((one) => one.shareName === ''), (one) => one.session);
    expect(new Set(plain.map((one) => one.session))).toEqual(new Set(bySession.keys()));
    expect(plain).toHaveLength(bySession.size);
    for (const receiver of plain) {
      expectMerged(receiver, bySession.get(receiver.session) ?? []);
      this.compareLocal(entry, receiver, bySession.get(receiver.session) ?? []);
    }
    this.compareGroups(found, matching);
    return true;
  }

  private compareLocal(entry: number, receiver: ReceiverRecord, all: Known[]): void {
    const local = this.host.local(entry, receiver.session);
    const remaining = all.filter((one) => (one.options & 4) === 0);
    if (remaining.length === 0) expect(local).toBeUndefined();
    else if (local === undefined) throw new Error(`no local receiver of ${receiver.session}`);
    else expectMerged(local, remaining);
  }

  private compareGroups(found: ReceiverRecord[], matching: Known[]): void {
    const shared = matching.filter((one) => one.shareName !== '');
    const expected = [...groupBy(shared, (one) => `${one.shareName} ${one.filter}`).values()]
      .map((members) => members.map((one) => one.pointer).sort().join());
    const groups = found.filter((receiver) => (receiver.flags & SHARED) !== 0);
    for (const group of groups) expect(group.session).toBe(0);
    expect(groups.map((group) => this.host.membersOf(group.subscription).sort().join()).sort())
      .toEqual(expected.sort());
  }
}

function groupBy<K, T>(items: readonly T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return groups;
}

function expectMerged(receiver: ReceiverRecord, all: readonly Known[]): void {
  const qos = Math.max(...all.map((one) => one.options & 3));
  const noLocal = all.filter((one) => (one.options & 4) !== 0).length;
  const best = all.find((one) => one.pointer === receiver.subscription);
  const flags = (all.some((one) => (one.options & 8) !== 0) ? RETAIN_AS_PUBLISHED : 0)
    | (noLocal === all.length ? NO_LOCAL : 0)
    | (noLocal !== 0 && noLocal !== all.length ? MIXED_NO_LOCAL : 0);
  expect(receiver.qos).toBe(qos);
  expect((best?.options ?? -1) & 3).toBe(qos);
  expect(receiver.flags).toBe(flags);
  const expected = all.map((one) => one.identifier).filter((one) => one !== 0);
  expect([...receiver.identifiers].sort()).toEqual(expected.sort());
}

const TOPICS = [
  'a', 'a/', '/', '/a', 'a//b', '//', '$SYS', '$SYS/a', 'a/b', 'b/a', 'a/a/b', 'a/b/a/b', 'b/b/a',
  'a/b/a-level-of-more-than-16',
];

describe('a match', () => {
  it('agrees with the naive matcher, whatever was subscribed and unsubscribed before', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const twin = new Twin(new IndexHost(module));
      for (const one of steps) twin.take(one);
      twin.audit();
    }), { seed: 20_261, numRuns: 250 });
  });

  it('agrees when the cache of topics is too small for them', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 4 }),
      (steps, entries) => {
        const host = new IndexHost(module);
        host.call.setTopicCacheMax(entries);
        const twin = new Twin(host);
        for (const one of steps) twin.take(one);
        twin.audit();
        expect(host.call.internedTopics()).toBeLessThanOrEqual(entries);
      }), { seed: 20_262, numRuns: 100 });
  });

  it.each([
    ['a//b', 'a/+/b', true], ['a//b', 'a/b', false], ['/', '+/+', true], ['/', '/', true],
    ['/', '+', false], ['a/', 'a/+', true], ['a/', 'a', false], ['a', 'a/#', true],
    ['a', 'a/+', false], ['$SYS', '#', false], ['$SYS/x', '+/x', false], ['$SYS/x', '$SYS/+', true],
    ['$SYS', '$SYS/#', true], ['a/$SYS', 'a/+', true], ['A', 'a', false], ['/a', '/+', true],
  ])('of %j with %j is %j [MQTT-4.7.2-1] [MQTT-4.7.3-4]', (topic, filter, expected) => {
    const host = new IndexHost(module);
    host.subscribe(host.session(), filter);
    expect(host.match(topic)).toHaveLength(expected ? 1 : 0);
    expect(naiveMatch(filter, topic)).toBe(expected);
  });

  it('follows the longest topics and the deepest filters', () => {
    const host = new IndexHost(module);
    const slashes = '/'.repeat(65_535);
    const name = 'n'.repeat(65_535);
    const deep = Array.from({ length: 32_768 }, () => '+').join('/');
    const session = [host.session(), host.session(), host.session(), host.session()];
    const pointers = [
      host.subscribe(session[0], '#'), host.subscribe(session[1], deep),
      host.subscribe(session[2], slashes), host.subscribe(session[3], name),
    ];
    const sessionsOf = (topic: string): number[] =>
      (host.match(topic) ?? []).map((receiver) => session.indexOf(receiver.session)).sort();
    expect(sessionsOf(slashes)).toEqual([0, 2]);
    expect(sessionsOf(name)).toEqual([0, 3]);
    expect(sessionsOf('/'.repeat(32_767))).toEqual([0, 1]);
    expect(host.filterOf(pointers[1])).toBe(deep);
    expect(host.filterOf(pointers[2])).toBe(slashes);
    for (const pointer of pointers) host.call.unsubscribe(pointer);
    expect(sessionsOf(slashes)).toEqual([]);
  });

  it('is linear in the filters when every combination of wildcards is subscribed', () => {
    const host = new IndexHost(module, 1n, 2048);
    const session = host.session();
    for (let bits = 0; bits < 4096; bits++) {
      const levels = Array.from({ length: 12 }, (_, i) => ((bits >> i) & 1 ? '+' : 'x'));
      expect(host.subscribe(session, levels.join('/'), { identifier: bits + 1 })).not.toBe(0);
    }
    const [receiver, ...others] = host.match(Array(12).fill('x').join('/')) ?? [];
    expect(others).toEqual([]);
    expect(new Set(receiver.identifiers).size).toBe(4096);
  });

  it('merges thousands of overlapping sessions', () => {
    const host = new IndexHost(module, 1n, 1024);
    const sessions = Array.from({ length: 3000 }, () => host.session());
    for (const session of sessions) host.subscribe(session, 'a/b', { options: 0, identifier: 1 });
    for (const session of sessions) host.subscribe(session, 'a/+', { options: 1, identifier: 2 });
    for (const session of sessions) host.subscribe(session, '#', { options: 2, identifier: 3 });
    const found = host.match('a/b') ?? [];
    expect(new Set(found.map((receiver) => receiver.session))).toEqual(new Set(sessions));
    expect(found).toHaveLength(3000);
    for (const receiver of found) {
      expect(receiver.qos).toBe(2);
      expect([...receiver.identifiers].sort()).toEqual([1, 2, 3]);
    }
  });

  it('merges where each filter brings more sessions than the one before', () => {
    const host = new IndexHost(module, 1n, 1024);
    const sessions = Array.from({ length: 4000 }, () => host.session());
    const counts = [20, 200, 1000, 4000];
    const filters = ['a/b', 'a/+', '+/b', '#'];
    // The walk meets them in some order of its own: every order of sizes is tried.
    for (let shift = 0; shift < 4; shift++) {
      const pointers = filters.flatMap((filter, i) =>
        sessions.slice(0, counts[(i + shift) % 4]).map((one) => host.subscribe(one, filter)));
      const found = host.match('a/b') ?? [];
      expect(found).toHaveLength(4000);
      expect(new Set(found.map((receiver) => receiver.session)).size).toBe(4000);
      for (const pointer of pointers) host.call.unsubscribe(pointer);
    }
  });
});

/** An empty index keeps its root, one cached topic, the slots, and smallest tables, at most three. */
function expectEmpty(host: IndexHost): void {
  host.call.setTopicCacheMax(1);
  expect(host.match('z')).toEqual([]);
  const fixed = 32 + 48 + 256 + 512;
  expect([0, 512, 1024]).toContain(host.used(MEMORY_INDEX) - fixed);
}

describe('memory', () => {
  it('all comes back when everything was unsubscribed, and what remains is found meanwhile', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const host = new IndexHost(module);
      host.call.setTopicCacheMax(8);
      const twin = new Twin(host);
      for (const one of steps) twin.take(one);
      twin.empty();
      expectEmpty(host);
    }), { seed: 20_263, numRuns: 60 });
  });

  it('that is short refuses subscriptions and leaves the index as it was', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 0, max: 12_000 }),
      (steps, room) => {
        const host = new IndexHost(module);
        const twin = new Twin(host);
        host.call.setBudget(MEMORY_INDEX, host.used(MEMORY_INDEX) + room);
        for (const one of steps) twin.take(one);
        host.call.setBudget(MEMORY_INDEX, 1 << 24);
        twin.audit();
        while (twin.known.size > 0) twin.unsubscribe(0);
        expectEmpty(host);
      }), { seed: 20_264, numRuns: 200 });
  });

  it('that runs out while a result is made does not take the entry of that result', () => {
    const host = new IndexHost(module, 1n, 1024);
    const sessions = Array.from({ length: 2000 }, () => host.session());
    for (const session of sessions) host.subscribe(session, 'a/+');
    for (const session of sessions) host.subscribe(session, '#');
    // Room for the draft, the seats and the result, or not quite: all of it is tried.
    for (let room = 0; room < 260_000; room += 4096) {
      host.call.setTopicCacheMax(1);
      host.call.setBudget(MEMORY_INDEX, host.used(MEMORY_INDEX) + room);
      const entry = host.intern('a/b');
      const found = entry === 0 ? undefined : host.receiversOf(entry);
      if (found !== undefined) expect(found).toHaveLength(2000);
      if (entry !== 0) expect(host.intern('a/b')).toBe(entry);
      host.call.setBudget(MEMORY_INDEX, 1 << 25);
      expect(host.match(`x/${room}`)).toHaveLength(2000);
    }
  });

  it('that is short is taken from cached topics before a subscription is refused', () => {
    const host = new IndexHost(module);
    const session = host.session();
    host.subscribe(session, '#');
    host.call.setBudget(MEMORY_INDEX, 1 << 16);
    for (let i = 0; i < 5000; i++) expect(host.match(`topic/${i}`)).toHaveLength(1);
    for (let i = 0; i < 200; i++) expect(host.subscribe(session, `some/${i}/+`)).not.toBe(0);
    expect(host.match('some/7/x')).toHaveLength(1);
  });
});

describe('an interned topic', () => {
  it('stays when it is pinned, and is the same entry again', () => {
    const host = new IndexHost(module);
    host.call.setTopicCacheMax(4);
    const kept = host.intern('kept');
    host.call.pinTopic(kept);
    for (let i = 0; i < 100; i++) expect(host.intern(`t/${i}`)).not.toBe(0);
    expect(host.intern('kept')).toBe(kept);
    expect(host.call.internedTopics()).toBe(4);
  });

  it('is refused only when every entry is pinned', () => {
    const host = new IndexHost(module);
    host.call.setTopicCacheMax(2);
    const pinned = ['a', 'b'].map((topic) => host.intern(topic));
    for (const entry of pinned) host.call.pinTopic(entry);
    expect(host.intern('c')).toBe(0);
    host.call.unpinTopic(pinned[0]);
    expect(host.intern('c')).not.toBe(0);
  });

  it('has a dense slot and a serial that nobody had before', () => {
    const host = new IndexHost(module);
    host.call.setTopicCacheMax(8);
    const serials = new Set<number>();
    for (let i = 0; i < 200; i++) {
      const entry = host.intern(`t/${i}`);
      expect(host.view.getUint32(entry + 20, true)).toBeLessThan(8);
      serials.add(host.view.getUint32(entry + 24, true));
    }
    expect(serials.size).toBe(200);
  });

  it('keeps its cached receivers while other exact filters change', () => {
    const host = new IndexHost(module);
    const session = host.session();
    host.subscribe(session, 'a/b');
    const entry = host.intern('a/b');
    const cached = host.call.receiversOf(entry);
    host.subscribe(session, 'c/d');
    expect(host.view.getUint32(entry + 32, true)).toBe(cached >>> 0);
    expect(host.call.receiversOf(entry)).toBe(cached);
    host.subscribe(host.session(), 'a/b');
    expect(host.receiversOf(entry)).toHaveLength(2);
  });
});

describe('equal hashes', () => {
  /** With the key known, a word whose low half cancels the key makes every high half hash alike. */
  function colliding(host: IndexHost, count: number): Uint8Array[] {
    const key = BigInt.asUintN(64, host.call.hashKey.value as bigint);
    const low = Number((0x1_0000_0000n - (key & 0xffff_ffffn)) & 0xffff_ffffn);
    return Array.from({ length: count }, (_, i) => {
      const bytes = Buffer.alloc(8);
      bytes.writeUInt32LE(low, 0);
      bytes.write((1000 + i).toString(), 4);
      return bytes;
    });
  }

  it('are told apart by the bytes: topics, exact filters and levels', () => {
    let seed = 1n;
    let host = new IndexHost(module, seed);
    while (/[+#/]/.test(Buffer.from(colliding(host, 1)[0]).toString('latin1').slice(0, 4))) {
      seed++;
      host = new IndexHost(module, seed);
    }
    const topics = colliding(host, 300);
    const sessions = topics.map(() => host.session());
    const deep = (topic: Uint8Array, last: string): Buffer =>
      Buffer.concat([topic, Buffer.from(`/${last}`)]);
    topics.forEach((topic, i) => {
      expect(host.subscribe(sessions[i], topic)).not.toBe(0);
      expect(host.subscribe(sessions[i], deep(topic, '+'))).not.toBe(0);
    });
    expect(new Set(topics.map((topic) => host.intern(topic))).size).toBe(300);
    topics.forEach((topic, i) => {
      expect(host.match(topic)?.map((one) => one.session)).toEqual([sessions[i]]);
      expect(host.match(deep(topic, 'x'))?.map((one) => one.session)).toEqual([sessions[i]]);
    });
  });
});

describe('a shared group', () => {
  it('outlives its last member while it is pinned', () => {
    const host = new IndexHost(module);
    const member = host.subscribe(host.session(), 'a/+', { shareName: 'g' });
    const [receiver] = host.match('a/b') ?? [];
    expect(receiver.flags).toBe(SHARED);
    host.call.pinGroup(receiver.subscription);
    const used = host.used(MEMORY_INDEX);
    host.call.unsubscribe(member);
    expect(host.membersOf(receiver.subscription)).toEqual([]);
    expect(host.match('a/b')).toEqual([]);
    host.subscribe(host.session(), 'a/+', { shareName: 'g' });
    expect(host.match('a/b')?.[0].subscription).not.toBe(receiver.subscription);
    host.call.unpinGroup(receiver.subscription);
    expect(host.used(MEMORY_INDEX)).toBeLessThanOrEqual(used);
  });

  it('finds a member among thousands, in thousands of steps at most', () => {
    const host = new IndexHost(module);
    const sessions = Array.from({ length: 5000 }, () => host.session());
    const pointers = sessions.map((one) => host.subscribe(one, 'a/+', { shareName: 'g' }));
    sessions.forEach((one, i) => expect(host.find(one, 'a/+', 'g')).toBe(pointers[i]));
    for (const pointer of pointers) host.call.unsubscribe(pointer);
    expect(host.match('a/b')).toEqual([]);
  });
});

describe('a matcher', () => {
  it('answers its own rules as the naive matcher does, and nobody else’s', () => {
    fc.assert(fc.property(
      fc.array(fc.tuple(topicFilter, fc.nat({ max: 30 }), fc.boolean()), { maxLength: 60 }),
      (rules) => {
        const host = new IndexHost(module);
        host.subscribe(host.session(), '#');
        const used = host.used(MEMORY_INDEX);
        const [matcher, other] = [host.call.matcherCreate(), host.call.matcherCreate()];
        host.addRule(other, '#', 99);
        const known = new Map<string, readonly [string, number]>();
        for (const [filter, id, added] of rules) {
          if (added) expect(host.addRule(matcher, filter, id)).toBe(0);
          else host.removeRule(matcher, filter, id);
          if (added) known.set(`${id} ${filter}`, [filter, id]);
          else known.delete(`${id} ${filter}`);
        }
        for (const topic of TOPICS) {
          const expected = [...known.values()].filter(([filter]) => naiveMatch(filter, topic));
          expect(host.matchRules(matcher, topic).sort()).toEqual(expected.map(([, id]) => id).sort());
        }
        host.call.matcherFree(matcher);
        host.call.matcherFree(other);
        expect(host.used(MEMORY_INDEX)).toBeLessThanOrEqual(used + 512);
      },
    ), { seed: 20_265, numRuns: 100 });
  });

  it('says how many rules match when there is room for fewer', () => {
    const host = new IndexHost(module);
    const matcher = host.call.matcherCreate();
    for (let id = 1; id <= 10; id++) host.addRule(matcher, '#', id);
    expect(host.matchRules(matcher, 'a', 3)).toHaveLength(3);
    expect(host.matchRules(matcher, 'a')).toHaveLength(10);
  });
});
