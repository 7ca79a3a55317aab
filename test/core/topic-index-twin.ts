/**
 * What the topic index should know, kept beside it, and random steps for both: they have to agree
 * with the naive matcher at any time.
 */
import fc from 'fast-check';
import { expectSame, expectSameMembers } from '../support/expect-same.js';
import { naiveMatch } from '../support/naive-matcher.js';
import type { IndexHost, ReceiverRecord } from './topic-index-host.js';
import { MIXED_NO_LOCAL, NO_LOCAL, RETAIN_AS_PUBLISHED, SHARED } from './topic-index-host.js';

// Few names, so that filters share nodes and leave them to each other.
const level = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('a', 'b') },
  {
    weight: 2,
    arbitrary: fc.constantFrom('', '$SYS', 'eightbyt', 'a-level-of-more-than-16', 'é'),
  },
);
const topicName = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
  .filter((name) => name !== '');
export const topicFilter = fc.tuple(
  fc.array(fc.oneof({ weight: 2, arbitrary: level }, { weight: 1, arbitrary: fc.constant('+') }),
    { maxLength: 4 }),
  fc.boolean(),
).map(([levels, multi]) => [...levels, ...(multi ? ['#'] : [])].join('/'))
  .filter((filter) => filter !== '');
const options = fc.constantFrom(0, 1, 2, 4, 5, 8, 10, 14, 0x21);
const identifier = fc.constantFrom(0, 0, 1, 127, 128, 16_384, 2_097_152, 268_435_455);
const shareName = fc.constantFrom('', '', '', 'g', 'a-name-of-a-group');
const sessionNumber = fc.nat({ max: 5 });

export type Step =
  | readonly ['subscribe', number, string, string, number, number]
  | readonly ['unsubscribe', number]
  | readonly ['match', string];
export const step: fc.Arbitrary<Step> = fc.oneof(
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
export class Twin {
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
      expectSame(this.host.find(session, filter, name), before?.pointer ?? 0);
      return;
    }
    expectSame(Boolean(this.host.call.subscribeExisted.value), before !== undefined);
    if (before !== undefined) expectSame(pointer, before.pointer);
    this.known.set(key, { session, filter, shareName: name, options: bits, identifier, pointer });
    expectSame(this.host.find(session, filter, name), pointer);
    expectSame(this.host.filterOf(pointer), name === '' ? filter : `$share/${name}/${filter}`);
    expectSame(this.host.call.subscriptionCount(), this.known.size);
  }

  unsubscribe(which: number): void {
    if (this.known.size === 0) return;
    const [key, known] = [...this.known][which % this.known.size];
    this.host.call.unsubscribe(known.pointer);
    this.known.delete(key);
    expectSame(this.host.find(known.session, known.filter, known.shareName), 0);
  }

  /** Everything that should be known is found, and every one of TOPICS has its receivers. */
  audit(): void {
    expectSame(this.host.call.subscriptionCount(), this.known.size);
    for (const one of this.known.values()) {
      expectSame(this.host.find(one.session, one.filter, one.shareName), one.pointer);
    }
    for (const topic of TOPICS) expectSame(this.compare(topic), true);
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
    expectSameMembers(plain.map((one) => one.session), [...bySession.keys()]);
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
    if (remaining.length === 0) expectSame(local, undefined);
    else if (local === undefined) throw new Error(`no local receiver of ${receiver.session}`);
    else expectMerged(local, remaining);
  }

  private compareGroups(found: ReceiverRecord[], matching: Known[]): void {
    const shared = matching.filter((one) => one.shareName !== '');
    const expected = [...groupBy(shared, (one) => `${one.shareName} ${one.filter}`).values()]
      .map((members) => members.map((one) => one.pointer).sort().join());
    const groups = found.filter((receiver) => (receiver.flags & SHARED) !== 0);
    for (const group of groups) expectSame(group.session, 0);
    const members = groups.map((group) => this.host.membersOf(group.subscription).sort().join());
    expectSameMembers(members, expected);
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
  expectSame(receiver.qos, qos);
  expectSame((best?.options ?? -1) & 3, qos);
  expectSame(receiver.flags, flags);
  const expected = all.map((one) => one.identifier).filter((one) => one !== 0);
  expectSameMembers(receiver.identifiers, expected);
}

export const TOPICS = [
  'a', 'a/', '/', '/a', 'a//b', '//', '$SYS', '$SYS/a', 'a/b', 'b/a', 'a/a/b', 'a/b/a/b', 'b/b/a',
  'a/b/a-level-of-more-than-16',
];
