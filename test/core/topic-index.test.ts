import { beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectSame, expectSameMembers } from '../support/expect-same.js';
import { naiveMatch } from '../support/naive-matcher.js';
import { compileIndex, IndexHost, MEMORY_INDEX, SHARED } from './topic-index-host.js';
import { step, topicFilter, TOPICS, Twin } from './topic-index-twin.js';

/** For properties, on a machine that is busy with other things. */
const SLOW_MS = 90_000;

let module: WebAssembly.Module;
beforeAll(() => {
  module = compileIndex();
}, 120_000);

describe('a match', () => {
  it('agrees with the naive matcher, whatever was subscribed and unsubscribed before', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const twin = new Twin(new IndexHost(module));
      for (const one of steps) twin.take(one);
      twin.audit();
    }), { seed: 20_261, numRuns: 150 });
  }, SLOW_MS);

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
  }, SLOW_MS);

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

/** An empty index keeps its root, one cached topic, the slots, and up to three small tables. */
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
  }, SLOW_MS);

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
      }), { seed: 20_264, numRuns: 100 });
  }, SLOW_MS);

  it('that runs out half way through a filter is given back', () => {
    const host = new IndexHost(module);
    const session = host.session();
    host.subscribe(session, 'first/+');
    const used = host.used(MEMORY_INDEX);
    let refused = 0;
    for (let room = 0; room < 400; room += 16) {
      host.call.setBudget(MEMORY_INDEX, used + room);
      const pointer = host.subscribe(session, 'a/b/+/c/#', { shareName: 'group' });
      if (pointer === 0) refused++;
      else host.call.unsubscribe(pointer);
      expect(host.used(MEMORY_INDEX)).toBe(used);
    }
    expect(refused).toBeGreaterThan(5);
    expect(refused).toBeLessThan(25);
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
      const serial = entry === 0 ? 0 : host.view.getUint32(entry + 24, true);
      const found = entry === 0 ? undefined : host.receiversOf(entry);
      if (found !== undefined) expect(found).toHaveLength(2000);
      if (entry !== 0) {
        expect(host.intern('a/b')).toBe(entry);
        expect(host.view.getUint32(entry + 24, true)).toBe(serial);
      }
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
    expect(host.call.internedTopics()).toBe(4 + 1);
  });

  it('in use (pinned) does not count against the maximum of the cache', () => {
    const host = new IndexHost(module);
    host.call.setTopicCacheMax(2);
    const pinned = Array.from({ length: 50 }, (_, i) => {
      const entry = host.intern(`alias/${i}`);
      host.call.pinTopic(entry);
      return entry;
    });
    for (let i = 0; i < 100; i++) expect(host.intern(`t/${i}`)).not.toBe(0);
    expect(host.call.internedTopics()).toBe(50 + 2);
    for (const entry of pinned) host.call.unpinTopic(entry);
    expect(host.intern('one more')).not.toBe(0);
    expect(host.call.internedTopics()).toBe(2);
  });

  it('is refused when every other is pinned and the index has no memory for one more', () => {
    const host = new IndexHost(module);
    host.call.setTopicCacheMax(2);
    host.call.setBudget(MEMORY_INDEX, 1 << 16);
    const pinned: number[] = [];
    for (let entry = host.intern('t/0'); entry !== 0; entry = host.intern(`t/${pinned.length}`)) {
      host.call.pinTopic(entry);
      pinned.push(entry);
    }
    expect(pinned.length).toBeGreaterThan(100);
    expect(host.used(MEMORY_INDEX)).toBeLessThanOrEqual(1 << 16);
    host.call.unpinTopic(pinned[0]!);
    expect(host.intern('u')).not.toBe(0);
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

  it('takes no result from 2^32 changes of wildcard filters ago for a valid one', () => {
    const host = new IndexHost(module);
    const [first, second] = [host.session(), host.session()];
    host.subscribe(first, 'a/+');
    host.call.matchEpoch.value = 1;
    const entry = host.intern('a/b');
    expect(host.receiversOf(entry)).toHaveLength(1);
    host.call.matchEpoch.value = 0xffff_ffff;
    host.subscribe(second, 'a/#');
    expect(host.receiversOf(entry)).toHaveLength(2);
  });
});

describe('equal hashes', () => {
  /** With the key known, a word whose low half cancels the key makes every high half hash alike. */
  function colliding(host: IndexHost, count: number): Uint8Array[] {
    const key = BigInt.asUintN(64, host.call.hashKey.value);
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

  it('keeps every other member, in whatever order members leave', () => {
    const host = new IndexHost(module);
    const pointers = Array.from({ length: 40 }, () =>
      host.subscribe(host.session(), 'a/+', { shareName: 'g' }));
    const [{ subscription: group }] = host.match('a/b') ?? [];
    for (let i = 0; pointers.length > 1; i += 7) {
      host.call.unsubscribe(pointers.splice(i % pointers.length, 1)[0]);
      expect(host.membersOf(group).sort()).toEqual([...pointers].sort());
    }
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
          if (added) expectSame(host.addRule(matcher, filter, id), 0);
          else host.removeRule(matcher, filter, id);
          if (added) known.set(`${id} ${filter}`, [filter, id]);
          else known.delete(`${id} ${filter}`);
        }
        for (const topic of TOPICS) {
          const expected = [...known.values()].filter(([filter]) => naiveMatch(filter, topic));
          expectSameMembers(host.matchRules(matcher, topic), expected.map(([, id]) => id));
        }
        host.call.matcherFree(matcher);
        host.call.matcherFree(other);
        expect(host.used(MEMORY_INDEX)).toBeLessThanOrEqual(used + 512);
      },
    ), { seed: 20_265, numRuns: 100 });
  }, SLOW_MS);

  it('says how many rules match when there is room for fewer', () => {
    const host = new IndexHost(module);
    const matcher = host.call.matcherCreate();
    for (let id = 1; id <= 10; id++) host.addRule(matcher, '#', id);
    expect(host.matchRules(matcher, 'a', 3)).toHaveLength(3);
    expect(host.matchRules(matcher, 'a')).toHaveLength(10);
  });
});
