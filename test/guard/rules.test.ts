import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import type { Identity } from '../../lib/broker/hooks.js';
import {
  AclFileRules, ClaimRules, ConfiguredRules, RulesAuthorizer, RulesFile,
} from '../../lib/guard/index.js';
import type { AccessRule, FilterSet, LiveRules } from '../../lib/guard/index.js';
import { filtersOverlap } from '../../lib/guard/rules/topic-levels.js';
import { createFilterSet } from './core-filter-set.js';
import { NaiveFilterSet, matches } from './naive-filter-set.js';
import { temporaryFolder } from './mosquitto.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());

const plain = { qos: 0, retain: false } as const;
const anna: Identity = { clientId: 'dev1', username: 'anna' };

function authorizer(
  rules: readonly AccessRule[], widerSubscriptions: 'refuse' | 'filter' = 'refuse',
): RulesAuthorizer {
  return new RulesAuthorizer({ rules: [new ConfiguredRules(createFilterSet, rules)], widerSubscriptions });
}
const publishes = (rules: RulesAuthorizer, topic: string, who: Identity = anna): boolean =>
  rules.canPublish(who, topic, plain);
const subscribes = (rules: RulesAuthorizer, filter: string, who: Identity = anna): boolean =>
  rules.canSubscribe(who, filter, { qos: 0 });

describe('rules', () => {
  it('decide by the first that is about the question, and deny at the end', () => {
    const rules = authorizer([
      { effect: 'allow', action: 'publish', topics: ['a/open'] },
      { effect: 'deny', topics: ['a/#'] },
      { effect: 'allow', topics: ['#'] },
    ]);
    expect(publishes(rules, 'a/open')).toBe(true);
    expect(publishes(rules, 'a')).toBe(false);
    expect(publishes(rules, 'b')).toBe(true);
    expect(subscribes(rules, 'a/open')).toBe(false);
    expect(publishes(rules, '$SYS/x')).toBe(false);
    expect(publishes(rules, '')).toBe(false);
    expect(publishes(rules, 'b/#')).toBe(false);
  });

  it('are about users, clients, roles, qos and retain, all of them', () => {
    const rules = authorizer([
      { effect: 'allow', topics: ['u'], users: ['anna', 'bruno'] },
      { effect: 'allow', topics: ['c'], clients: ['dev1'] },
      { effect: 'allow', topics: ['r'], roles: ['admin', 'operator'] },
      { effect: 'allow', topics: ['q'], qos: [0, 1] },
      { effect: 'allow', topics: ['k'], retain: false },
      { effect: 'allow', topics: ['both'], users: ['anna'], roles: ['admin'] },
    ]);
    const eve: Identity = { clientId: 'dev9', username: 'eve', roles: ['operator'] };
    expect([publishes(rules, 'u'), publishes(rules, 'u', eve)]).toEqual([true, false]);
    expect([publishes(rules, 'c'), publishes(rules, 'c', eve)]).toEqual([true, false]);
    expect([publishes(rules, 'r'), publishes(rules, 'r', eve)]).toEqual([false, true]);
    expect(rules.canPublish(anna, 'q', { qos: 2, retain: false })).toBe(false);
    expect(rules.canSubscribe(anna, 'q', { qos: 1 })).toBe(true);
    expect(rules.canPublish(anna, 'k', { qos: 0, retain: true })).toBe(false);
    expect(publishes(rules, 'k')).toBe(true);
    expect(publishes(rules, 'both')).toBe(false);
    expect(publishes(rules, 'both', { ...anna, roles: ['admin'] })).toBe(true);
  });

  it('put names in for %c and %u, as part of a level too, exactly once', () => {
    const rules = authorizer([{ effect: 'allow', topics: ['d/%c/#', 'u/x-%u-%c'] }]);
    expect(publishes(rules, 'd/dev1/a/b')).toBe(true);
    expect(publishes(rules, 'd/dev2/a')).toBe(false);
    expect(publishes(rules, 'd/%c/a')).toBe(false);
    expect(publishes(rules, 'u/x-anna-dev1')).toBe(true);
    expect(publishes(rules, 'u/x-anna-dev2')).toBe(false);
    expect(publishes(rules, 'd/%u/a', { clientId: '%u', username: 'anna' })).toBe(true);
    expect(publishes(rules, 'd/anna/a', { clientId: '%u', username: 'anna' })).toBe(false);
    expect(subscribes(rules, 'd/dev1/#')).toBe(true);
    expect(subscribes(rules, 'd/+/#')).toBe(false);
  });

  it.each(['+', '#', 'a/b', '', 'x+', '\u0000'])('are never widened by a client called %j', (name) => {
    const who: Identity = { clientId: name, username: name };
    const rules = authorizer([{ effect: 'allow', topics: ['d/%c/t', 'u/%u/#'] }]);
    for (const topic of ['d/x/t', 'd/a/b/t', 'u/x', 'u/a/b/c', `d/${name}/t`, 'd//t']) {
      expect({ topic, allowed: publishes(rules, topic, who) }).toEqual({ topic, allowed: false });
    }
    for (const filter of ['d/+/t', 'u/#', 'u/+/#', `u/${name}/#`]) expect(subscribes(rules, filter, who)).toBe(false);
    const denied = authorizer([{ effect: 'deny', topics: ['d/%c/#'] }, { effect: 'allow', topics: ['#'] }]);
    expect(publishes(denied, 'd/x', who)).toBe(false);
    expect(publishes(denied, 'e/x', who)).toBe(true);
  });

  it('with %u are not for clients without a user name', () => {
    const rules = authorizer([{ effect: 'allow', topics: ['u/%u/#', 'undefined/#'] }]);
    for (const topic of ['u/undefined/x', 'u/null/x', 'u//x', 'u/%u/x']) {
      expect(publishes(rules, topic, { clientId: 'c' })).toBe(false);
    }
  });

  it('let nothing through that is called like a part of JavaScript', () => {
    const rules = authorizer([{ effect: 'allow', topics: ['x/#'], users: ['anna'] }]);
    for (const name of ['__proto__', 'constructor', 'toString']) {
      expect(publishes(rules, 'x/y', { clientId: name, username: name })).toBe(false);
      expect(publishes(rules, name)).toBe(false);
    }
  });

  it('refuse subscriptions that are wider than they are', () => {
    const rules = authorizer([
      { effect: 'deny', topics: ['a/secret/#'] }, { effect: 'allow', topics: ['a/#', 'b/+/c', '$S/#'] },
    ]);
    const allowed = ['a/open/#', 'a/+x', 'b/+/c', 'b/x/c', '$S/#', '$S/+', 'a/open/+/x'].filter((f) => f !== 'a/+x');
    for (const filter of allowed) expect({ filter, ok: subscribes(rules, filter) }).toEqual({ filter, ok: true });
    for (const filter of ['#', '+', 'a/#', 'a/+/x', 'a/secret', 'a/+', 'b/#', 'b/+/+', '+/x/c', '+/#', '$S', '/#']) {
      expect({ filter, ok: subscribes(rules, filter) }).toEqual({ filter, ok: filter === '$S' });
    }
  });

  it('take wider subscriptions and filter deliveries when asked to, but none of which nothing may be received', () => {
    const rules = authorizer([{ effect: 'deny', topics: ['a/secret/#'] }, { effect: 'allow', topics: ['a/#'] }], 'filter');
    for (const filter of ['#', 'a/#', '+/+', '+/#']) expect({ filter, ok: subscribes(rules, filter) }).toEqual({ filter, ok: true });
    for (const filter of ['b/#', 'b', 'a/secret', '$SYS/#']) expect({ filter, ok: subscribes(rules, filter) }).toEqual({ filter, ok: false });
    expect(rules.canReceive?.(anna, 'a/x')).toBe(true);
    expect(rules.canReceive?.(anna, 'a/secret/x')).toBe(false);
    expect(rules.canReceive?.(anna, 'b')).toBe(false);
  });

  it('that refuse wider subscriptions do not stand on the way of deliveries', () => {
    expect(authorizer([{ effect: 'allow', topics: ['#'] }]).canReceive).toBeUndefined();
  });

  it.each<[string, unknown]>([
    ['nothing', []], ['no list', {}], ['null', null], ['a text', 'allow all'], ['a rule that is a text', ['allow #']],
    ['no effect', [{ topics: ['#'] }]], ['another effect', [{ effect: 'ALLOW', topics: ['#'] }]],
    ['no topics', [{ effect: 'allow' }]], ['an empty list of topics', [{ effect: 'allow', topics: [] }]],
    ['a malformed filter', [{ effect: 'allow', topics: ['a/#/b'] }]], ['another one', [{ effect: 'allow', topics: ['a+'] }]],
    ['an empty list of users', [{ effect: 'allow', topics: ['#'], users: [] }]],
    ['a misspelt key', [{ effect: 'allow', topics: ['#'], user: ['anna'] }]],
    ['a QoS of 3', [{ effect: 'allow', topics: ['#'], qos: [3] }]], ['a retain that is a text', [{ effect: 'allow', topics: ['#'], retain: 'no' }]],
  ])('that are %s refuse to start', (_, rules) => {
    expect(() => new ConfiguredRules(createFilterSet, rules)).toThrow(expect.objectContaining({
      code: expect.stringMatching(/^NIDO_RULES_(EMPTY|MALFORMED)$/),
    }));
  });
});

describe('a verdict on a subscription', () => {
  const level = fc.constantFrom('a', 'b', '+');
  const filter = fc.tuple(fc.array(level, { minLength: 1, maxLength: 3 }), fc.boolean())
    .map(([parts, isOpen]) => [...parts, ...(isOpen ? ['#'] : [])].join('/'));
  const topics = ['a', 'b', 'c'].flatMap((one) => [one, ...['a', 'b', 'c'].flatMap((two) =>
    [`${one}/${two}`, ...['a', 'b', 'c'].flatMap((three) =>
      [`${one}/${two}/${three}`, ...['a', 'c'].flatMap((four) => [`${one}/${two}/${three}/${four}`])])])]);
  const rule: fc.Arbitrary<AccessRule> = fc.record({
    effect: fc.constantFrom('allow' as const, 'deny' as const), topics: fc.array(filter, { minLength: 1, maxLength: 2 }),
  });

  it('never lets through what a verdict on a topic would refuse', () => {
    fc.assert(fc.property(fc.array(rule, { minLength: 1, maxLength: 5 }), filter, (rules, wanted) => {
      const asked = authorizer(rules, 'filter');
      const strict = authorizer(rules);
      const covered = topics.filter((topic) => matches(wanted, topic));
      if (subscribes(strict, wanted)) return covered.every((topic) => asked.canReceive?.(anna, topic));
      // A filter that one rule covers, with no denial anywhere, is never refused.
      const isCovered = rules.every((one) => one.effect === 'allow') && rules.some((one) =>
        one.topics.some((open) => open === '#' || open === wanted));
      return !isCovered;
    }), { numRuns: 2000, seed: 8 });
  });

  it('is the same with the core\'s index as with the naive one', () => {
    fc.assert(fc.property(fc.array(rule, { minLength: 1, maxLength: 8 }), filter, (rules, wanted) => {
      const naive = new RulesAuthorizer({ rules: [new ConfiguredRules(() => new NaiveFilterSet(), rules)] });
      const core = new ConfiguredRules(createFilterSet, rules);
      const same = subscribes(new RulesAuthorizer({ rules: [core] }), wanted) === subscribes(naive, wanted)
        && topics.every((topic) => publishes(new RulesAuthorizer({ rules: [core] }), topic) === publishes(naive, topic));
      core.free();
      return same;
    }), { numRuns: 300, seed: 10 });
  });

  it('sees every overlap of two filters, and no other', () => {
    fc.assert(fc.property(filter, filter, (one, other) =>
      filtersOverlap(one.split('/'), other.split('/'))
        === topics.some((topic) => matches(one, topic) && matches(other, topic)),
    ), { numRuns: 3000, seed: 9 });
  });
});

describe('rules of a token', () => {
  const claims = (acl: unknown): Identity => ({ ...anna, claims: { acl } });
  const ofToken = (): RulesAuthorizer => new RulesAuthorizer({
    rules: [new ClaimRules({ createFilterSet }), new ConfiguredRules(createFilterSet, [{ effect: 'allow', topics: ['all'] }])],
  });

  it('hold for its bearer only, in either form, before the common rules', () => {
    const lists = claims({ pub: ['p/%u'], sub: ['s/#'], all: [] });
    const rules = ofToken();
    expect(publishes(rules, 'p/anna', lists)).toBe(true);
    expect(publishes(rules, 's/x', lists)).toBe(false);
    expect(subscribes(rules, 's/x/#', lists)).toBe(true);
    expect(publishes(rules, 'p/anna', anna)).toBe(false);
    expect(publishes(rules, 'all', lists)).toBe(true);
    expect(publishes(rules, 'all', claims([{ effect: 'deny', topics: ['all'] }]))).toBe(false);
  });

  it.each<[unknown]>([
    ['#'], [null], [7], [[{ effect: 'allow' }]], [{ publish: ['#'] }], [{ pub: '#' }], [[['#']]],
    [Array.from({ length: 300 }, () => ({ effect: 'allow', topics: ['#'] }))],
  ])('that are malformed (%j) allow nothing at all', (acl) => {
    expect(publishes(ofToken(), 'all', claims(acl))).toBe(false);
    expect(subscribes(ofToken(), 'all', claims(acl))).toBe(false);
  });

  it('are compiled once for a connection, and give their memory back', () => {
    let open = 0;
    const counted = (): FilterSet => Object.assign(new NaiveFilterSet(), { free: () => { open -= 1; } }, { opened: open += 1 });
    const rules = new ClaimRules({ createFilterSet: counted, ruleSetsMax: 10 });
    const clients = Array.from({ length: 50 }, () => claims({ pub: ['a'] }));
    const ask = (who: Identity) => rules.decide(who, { kind: 'publish', topicName: 'a', ...plain }).verdict;
    expect(clients.map(ask).every((verdict) => verdict === 'allow')).toBe(true);
    expect(open).toBe(10);
    for (let count = 0; count < 5; count += 1) expect(ask(clients[49])).toBe('allow');
    expect(open).toBe(10);
    rules.close();
    expect(open).toBe(0);
  });
});

describe('files of rules', () => {
  const aclOf = (text: string): AclFileRules => new AclFileRules({ path: folder.file('acl', text), createFilterSet });

  it.each([
    ['nothing', '', 'NIDO_ACL_FILE_EMPTY'], ['comments', '# topic #\n', 'NIDO_ACL_FILE_EMPTY'],
    ['a user without rules', 'user anna\n', 'NIDO_ACL_FILE_EMPTY'], ['a user without a name', 'user\ntopic #\n', 'NIDO_ACL_FILE_MALFORMED'],
    ['another word', 'topics read #\n', 'NIDO_ACL_FILE_MALFORMED'], ['another access', 'topic reed #\n', 'NIDO_ACL_FILE_MALFORMED'],
    ['a malformed filter', 'topic read a/#/b\n', 'NIDO_ACL_FILE_MALFORMED'], ['no topic', 'topic\n', 'NIDO_ACL_FILE_MALFORMED'],
  ])('in mosquitto\'s format with %s refuse to start', (_, text, code) => {
    expect(() => aclOf(text)).toThrow(expect.objectContaining({ code }));
  });

  it('say line and file of what is wrong', () => {
    expect(() => aclOf('topic #\n\nuser anna\ntopic raed x\n')).toThrow(/acl:4: "raed" is not read/);
  });

  it.each<[string, string, string, (path: string) => LiveRules]>([
    ['mosquitto\'s', 'user anna\ntopic a/#\n', 'user anna\ntopic b/#\n', (path) => new AclFileRules({ path, createFilterSet })],
    ['our own', '{"rules":[{"effect":"allow","topics":["a/#"]}]}', '[{"effect":"allow","topics":["b/#"]}]',
      (path) => new RulesFile({ path, createFilterSet })],
  ])('in %s format change while the broker runs; broken ones change nothing', (_, before, after, open) => {
    const path = folder.file('live', before);
    const file = open(path);
    const rules = new RulesAuthorizer({ rules: [file] });
    const invalidate = jest.fn();
    rules.onChange(invalidate);
    for (const broken of ['', '{"rules":[]}', 'allow everything', '# nothing']) {
      writeFileSync(path, broken);
      expect(rules.reload()).toBe(false);
      expect([publishes(rules, 'a/x'), publishes(rules, 'b/x')]).toEqual([true, false]);
    }
    expect(invalidate).not.toHaveBeenCalled();
    writeFileSync(path, after);
    expect(rules.reload()).toBe(true);
    expect(invalidate).toHaveBeenCalledTimes(1);
    expect([publishes(rules, 'a/x'), publishes(rules, 'b/x')]).toEqual([false, true]);
    rules.close();
  });

  it('decide a question about 1,000 rules with few comparisons', () => {
    const lines = Array.from({ length: 1000 }, (_, at) => `user u${at}\ntopic readwrite home/u${at}/#\ntopic read common/#`);
    const file = aclOf(`${lines.join('\n')}\npattern readwrite dev/%c/#\n`);
    const rules = new RulesAuthorizer({ rules: [file] });
    const who: Identity = { clientId: 'c', username: 'u500' };
    expect(publishes(rules, 'home/u500/x', who)).toBe(true);
    expect(publishes(rules, 'home/u501/x', who)).toBe(false);
    expect(subscribes(rules, 'common/#', who)).toBe(true);
    expect(publishes(rules, 'dev/c/x', who)).toBe(true);
    rules.close();
  });
});
