/** Abuse gate 16 to 30: identity, and authorisation by side doors. */
import { writeFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { TopicMatcher } from '../../lib/core/topic-matcher.js';
import {
  AnonymousAuthenticator, ConfiguredRules, PasswordFileAuthenticator, RulesAuthorizer, RulesFile, UsersAuthenticator,
  buildGuard, passwordLine,
} from '../../lib/guard/index.js';
import type { AccessRule } from '../../lib/guard/index.js';
import type { Authorizer } from '../../lib/broker/hooks.js';
import type { BrokerOptions } from '../../lib/broker/broker-options.js';
import { temporaryFolder } from '../guard/mosquitto.js';
import * as build from '../conformance/wire/packets.js';
import { startVictim, underAttack, until } from './abuse-kit.js';

const { property } = build;
const createFilterSet = () => new TopicMatcher();
const pairRule: AccessRule = { effect: 'allow', topics: ['good/pair'], users: ['pair'] };
const everybodyMayPair: AccessRule = { effect: 'allow', topics: ['good/pair'] };
const rulesOf = (...rules: AccessRule[]): BrokerOptions => ({
  authorization: [new RulesAuthorizer({ rules: [new ConfiguredRules(createFilterSet, [everybodyMayPair, ...rules])] })],
});
const names = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'prototype', '__defineGetter__'];

/** SUBACK's first code. */
async function subscribeCode(victim: Awaited<ReturnType<typeof startVictim>>, filter: string, who: object = {}): Promise<number> {
  const peer = await victim.kit.connect(who);
  return (await victim.kit.subscribe(peer, filter)).reasonCodes[0];
}
/** PUBACK's code. */
async function publishCode(victim: Awaited<ReturnType<typeof startVictim>>, topic: string, who: object = {}): Promise<number> {
  const peer = await victim.kit.connect(who);
  peer.send(build.publish({ version: 5, topic, payload: 'x', qos: 1, packetId: 1 }));
  return (await peer.awaitPacket('PUBACK')).reasonCode;
}
const isRefused = (code: number): boolean => code >= 0x80;

describe('identity', () => {
  it('abuse 16: clients, topics and properties called like parts of JavaScript', () => underAttack(async ({ kit, broker }) => {
    for (const name of names) {
      const peer = await kit.connect({ clientId: name, username: name });
      await kit.subscribed(peer, [[name, 1], [`${name}/#`, 1], [`$share/${name}/s/${name}`, 1]]);
      await kit.publish(peer, name, name, { qos: 1, retain: true, properties: [property.user(name, name)] });
      await kit.receive(peer, { topic: name, payload: name });
      expect(broker.client(name)?.clientId).toBe(name);
      await kit.disconnect(peer);
    }
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(({} as Record<string, unknown>).clientId).toBeUndefined();
    expect(broker.client('valueOf')).toBeUndefined();
  }));

  it('abuse 17: wildcards and separators in names never widen a rule', () => underAttack(async (victim) => {
    for (const name of ['+', '#', 'a/b', '+/+', '.*', '%c', '%u']) {
      const who = { clientId: name, username: name };
      for (const topic of ['c/x/t', 'c/a/b/t', 'u/x']) expect(isRefused(await publishCode(victim, topic, who))).toBe(true);
      for (const filter of ['c/+/t', 'u/#', '#']) expect(isRefused(await subscribeCode(victim, filter, who))).toBe(true);
    }
    expect(await publishCode(victim, 'c/honest/t', { clientId: 'honest' })).toBeLessThan(0x80);
  }, rulesOf({ effect: 'allow', topics: ['c/%c/t', 'u/%u/#'] })));

  it('abuse 18: nobody is not called "undefined", "null" or nothing', () => underAttack(async (victim) => {
    for (const topic of ['u/undefined', 'u/null', 'u/', 'u/%u']) expect(isRefused(await publishCode(victim, topic))).toBe(true);
  }, rulesOf({ effect: 'allow', topics: ['u/%u'] })));

  it('abuse 19: takeover storms under one client id', () => underAttack(async ({ kit, broker }) => {
    const storm = Array.from({ length: 200 }, async (_, at) => {
      const peer = await kit.connecting({ clientId: 'wanted', cleanStart: at % 3 === 0, properties: [property.sessionExpiry(at % 2 ? 60 : 0)] });
      peer.send(build.subscribe(5, 1, [[`jitter/${at % 7}`, 1]]), build.publish({ version: 5, topic: `jitter/${at % 7}`, payload: 'x', qos: 1, packetId: 2 }));
    });
    await Promise.all(storm);
    const last = await kit.connect({ clientId: 'wanted' });
    await kit.fence(last);
    expect(broker.clients().filter((client) => client.clientId === 'wanted')).toHaveLength(1);
  }));

  it('abuse 19: another user does not get the session, its messages or its place', async () => {
    const users = await Promise.all(['pair', 'anna', 'eve'].map(async (username) => ({
      username, password: await passwordLine({ password: username }, { format: 'sha512' }),
    })));
    await underAttack(async ({ kit }) => {
      const anna = { clientId: 'shared', username: 'anna', password: 'anna', cleanStart: false, properties: [property.sessionExpiry(600)] };
      const first = await kit.connect(anna);
      await kit.subscribed(first, 'secrets', 1);
      await kit.cut(first);
      const sender = await kit.connect({ username: 'anna', password: 'anna' });
      await kit.publish(sender, 'secrets', 'for anna', { qos: 1 });
      const eve = await kit.connecting({ ...anna, username: 'eve', password: 'eve' });
      const connack = await eve.next();
      expect(connack.name === 'CONNACK' && connack.reasonCode < 0x80 && connack.sessionPresent).toBe(false);
      if (connack.reasonCode < 0x80) await eve.expectNothing();
      const back = await kit.connect(anna);
      await kit.receive(back, { topic: 'secrets', payload: 'for anna' });
    }, { authentication: [new UsersAuthenticator(users), new AnonymousAuthenticator()] }, { username: 'pair', password: 'pair' });
  });

  it('abuse 20: client ids that could be keys of something else', () => underAttack(async ({ kit, broker }) => {
    const ids = ['a', 'a/b', 'q/a/1', 's/a', 'a\u0001', 'A', 'ä', 'a\u0308'];
    const peers = [];
    for (const clientId of ids) {
      const peer = await kit.connect({ clientId, properties: [property.sessionExpiry(60)] });
      await kit.subscribed(peer, `only/${ids.indexOf(clientId)}`, 1);
      peers.push(peer);
    }
    const sender = await kit.connect();
    for (const [at, peer] of peers.entries()) {
      await kit.publish(sender, `only/${at}`, `${at}`, { qos: 1 });
      await kit.receive(peer, { payload: `${at}` });
      await peer.expectNothing(20);
    }
    expect(ids.every((id) => broker.client(id) !== undefined)).toBe(true);
  }));
});

describe('authorisation by side doors', () => {
  const allowOnly = rulesOf({ effect: 'allow', topics: ['open/#'] });

  it('abuse 21: a will that its client may not publish', () => underAttack(async ({ kit, broker }) => {
    const heard: string[] = [];
    await broker.subscribe('#', ({ topicName }) => void heard.push(topicName));
    await kit.expectRefused(await kit.connecting({ will: { topic: 'closed/x', payload: 'will' } }), [0x87]);
    const good = await kit.connect({ will: { topic: 'open/x', payload: 'will' } });
    await kit.cut(good);
    await until('the allowed will', () => heard.includes('open/x'));
    expect(heard).not.toContain('closed/x');
  }, allowOnly));

  it('abuse 21: a will whose right was withdrawn after CONNECT', async () => {
    const closed = new Set<string>();
    const authorizer: Authorizer = { canPublish: (_, topicName) => !closed.has(topicName) };
    await underAttack(async ({ kit, broker }) => {
      const heard: string[] = [];
      await broker.subscribe('#', ({ topicName }) => void heard.push(topicName));
      const evil = await kit.connect({ will: { topic: 'room/evil', payload: 'will' } });
      const good = await kit.connect({ will: { topic: 'room/good', payload: 'will' } });
      closed.add('room/evil');
      broker.rulesChanged();
      await kit.cut(evil);
      await kit.cut(good);
      await until('the allowed will', () => heard.includes('room/good'));
      expect(heard).not.toContain('room/evil');
    }, { authorization: [authorizer] });
  });

  /** Subscribes, withdraws the right, and answers what arrives at whom afterwards. */
  async function afterWithdrawal(queuedBefore: readonly string[]): Promise<{ online: string[]; offline: string[] }> {
    const folder = temporaryFolder();
    const text = (topics: string[]): string => JSON.stringify([{ effect: 'allow', topics: ['good/pair', ...topics] }]);
    const path = folder.file('rules.json', text(['news/#']));
    const rules = new RulesFile({ path, createFilterSet });
    const authorizer = new RulesAuthorizer({ rules: [rules] });
    const arrived: { online: string[]; offline: string[] } = { online: [], offline: [] };
    await underAttack(async (victim) => {
      const { kit, broker } = victim;
      const online = await kit.connect();
      await kit.subscribed(online, 'news/#', 1);
      const lasting = { clientId: 'offline', cleanStart: false, properties: [property.sessionExpiry(600)] };
      const offline = await kit.connect(lasting);
      await kit.subscribed(offline, 'news/#', 1);
      await kit.cut(offline);
      for (const payload of queuedBefore) {
        await broker.publish('news/queued', payload, { qos: 1 });
        await kit.receive(online, { payload });
      }
      writeFileSync(path, text([]));
      expect(authorizer.reload()).toBe(true);
      await until('the review of subscriptions', () => broker.stats().subscriptions === 1);
      await broker.publish('news/x', 'after', { qos: 1 });
      const back = await kit.connect(lasting);
      expect(isRefused(await publishCode(victim, 'news/x'))).toBe(true);
      for (const [peer, list] of [[online, arrived.online], [back, arrived.offline]] as const) {
        peer.send(build.pingreq());
        for (let reply = await peer.next(); reply.name !== 'PINGRESP'; reply = await peer.next()) {
          list.push(reply.payload.toString());
        }
      }
    }, { authorization: [authorizer] }).finally(() => {
      authorizer.close();
      folder.remove();
    });
    return arrived;
  }

  it('abuse 23: subscriptions whose right was withdrawn end, connected or not', async () => {
    expect(await afterWithdrawal([])).toEqual({ online: [], offline: [] });
  });

  it('abuse 23: what was queued before a right was withdrawn is not delivered', async () => {
    expect(await afterWithdrawal(['before'])).toEqual({ online: [], offline: [] });
  });

  it('abuse 24: nobody publishes into $SYS, and what is in it holds no secret', () => underAttack(async (victim) => {
    const { kit } = victim;
    const watcher = await kit.connect();
    await kit.subscribe(watcher, '$SYS/#');
    const codes = [];
    for (const topic of ['$SYS/broker/version', '$SYS/fake']) codes.push(await publishCode(victim, topic));
    expect(codes.every(isRefused)).toBe(true);
    await watcher.expectNothing(100, (reply) => reply.payload.toString() === 'x');
  }));

  it('abuse 25: a shared subscription does not get around a denial', () => underAttack(async (victim) => {
    for (const filter of ['$share/g/closed/x', '$share/g/#', '$share/g/+/x', '$share/closed/closed/#']) {
      expect(isRefused(await subscribeCode(victim, filter))).toBe(true);
    }
    expect(await subscribeCode(victim, '$share/g/open/#')).toBeLessThan(3);
  }, allowOnly));

  it('abuse 25: a subscription wider than the rules is refused, also past a denial within it', () => underAttack(async (victim) => {
    for (const filter of ['#', '+/#', 'open/#', 'open/secret', 'open/+']) expect(isRefused(await subscribeCode(victim, filter))).toBe(true);
    expect(await subscribeCode(victim, 'open/news/#')).toBeLessThan(3);
  }, rulesOf({ effect: 'deny', topics: ['open/secret'] }, { effect: 'allow', topics: ['open/#'] })));

  it('abuse 26: empty, malformed or missing files stop the start', () => {
    const folder = temporaryFolder();
    const needs = { createFilterSet };
    const files = [folder.file('empty', ''), folder.file('comments', '# all\n'), folder.file('rubbish', 'everything\n'), `${folder.path}/none`];
    for (const path of files) {
      expect(() => buildGuard({ authorization: { aclFile: path } }, needs)).toThrow(path);
      expect(() => buildGuard({ authorization: { rulesFile: path } }, needs)).toThrow(path);
      expect(() => buildGuard({ authentication: [{ kind: 'password-file', path }] }, needs)).toThrow(path);
    }
    folder.remove();
  });

  it('abuse 27 and 28: passwords are compared exactly, and are nowhere in the log or in $SYS', async () => {
    const folder = temporaryFolder();
    const hash = await passwordLine({ password: 'Hunter2!' });
    const path = folder.file('users', `pair:${hash}\nanna:${hash}\n`);
    const authenticator = new PasswordFileAuthenticator({ path });
    await underAttack(async ({ kit, broker, log }) => {
      const seen: string[] = [];
      await broker.subscribe('$SYS/#', ({ topicName, payload }) => void seen.push(`${topicName} ${payload.toString()}`));
      for (const password of ['hunter2!', 'HUNTER2!', 'Hunter2', 'Hunter2!!', '', 'Hunter2!\u0000']) {
        const peer = await kit.connecting({ username: 'anna', password });
        await kit.expectRefused(peer, [0x86, 0x87]);
      }
      await kit.connect({ username: 'anna', password: 'Hunter2!' });
      expect([...log, ...seen].filter((line) => /hunter2/i.test(line) || line.includes(hash))).toEqual([]);
      expect(JSON.stringify(broker.clients())).not.toMatch(/hunter2/i);
    }, { authentication: [authenticator], sys: { intervalSeconds: 1 } }, { username: 'pair', password: 'Hunter2!' });
    authenticator.close();
    folder.remove();
  });

  it('abuse 30: a Response Topic makes the broker publish nothing', () => underAttack(async ({ kit, broker }) => {
    const heard: string[] = [];
    await broker.subscribe('#', ({ topicName }) => void heard.push(topicName));
    const evil = await kit.connect();
    await kit.publish(evil, 'open/x', 'x', { qos: 1, properties: [property.responseTopic('closed/reply')] });
    await until('the message', () => heard.includes('open/x'));
    expect(heard).not.toContain('closed/reply');
  }, allowOnly));

  it('abuse 22: what was retained is not replayed to who may not read it', () => underAttack(async (victim) => {
    await victim.broker.publish('closed/kept', 'secret', { qos: 1, retain: true });
    for (const filter of ['closed/kept', '#', 'closed/#']) {
      const peer = await victim.kit.connect({ username: 'pair2' });
      await victim.kit.subscribe(peer, filter);
      await peer.expectNothing(50);
    }
  }, rulesOf(pairRule, { effect: 'allow', topics: ['open/#'] })));
});
