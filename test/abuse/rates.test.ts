/** What the guards do to who comes too fast, publishes too fast, is banned, or changes its name. */
import { describe, expect, it } from '@jest/globals';
import { createGuard, hashPassword } from '../../lib/index.js';
import type { Authenticator, GuardConfig } from '../../lib/index.js';
import type { Reply } from '../conformance/wire/reader.js';
import { PROPERTY } from '../conformance/kit.js';
import * as build from '../conformance/wire/packets.js';
import { clientFinal } from '../guard/scram-client.js';
import { underAttack, until } from './abuse-kit.js';
import type { Peer, Victim } from './abuse-kit.js';

const { property } = build;

async function guarded(
  config: GuardConfig, attack: (victim: Victim, guard: ReturnType<typeof createGuard>) => Promise<void>,
  pair: Parameters<typeof underAttack>[2] = {},
): Promise<void> {
  const guard = createGuard(config);
  try {
    await underAttack((victim) => attack(victim, guard), { ...guard.brokerOptions, allowAnonymous: true }, pair);
  } finally {
    guard.close();
  }
}

describe('rates', () => {
  it('lets connections that come too fast wait, loses none, and holds up nobody inside', () => guarded(
    { limits: { connectsPerSecond: 5, connectsBurst: 2 } },
    async ({ kit, broker, pairLives }) => {
      const started = Date.now();
      const peers = await Promise.all(Array.from({ length: 12 }, () => kit.connecting()));
      await pairLives();
      // The good pair was through before they were in.
      expect(broker.stats().clientsConnected).toBeLessThan(2 + peers.length);
      await Promise.all(peers.map((peer) => peer.expectPacket('CONNACK', { reasonCode: 0 })));
      expect(Date.now() - started).toBeGreaterThan(400);
    },
  ));

  it.each([
    ['messages', { publishesPerSecond: 200, publishesBurst: 50 }, 10],
    ['bytes', { publishBytesPerSecond: 200_000, publishBytesBurst: 50_000 }, 1000],
  ])('reads who publishes too many %s later: nothing is dropped, nobody else waits', (_, limits, bytes) => guarded(
    { limits },
    async ({ kit, broker, pairLives }) => {
      let count = 0;
      await broker.subscribe('flood/#', () => void (count += 1));
      const peer = await kit.connect();
      const started = Date.now();
      for (let at = 1; at <= 400; at += 1) {
        peer.send(build.publish({ version: 5, topic: 'flood/x', qos: 1, packetId: at, payload: 'x'.repeat(bytes) }));
        if (at % 40 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await pairLives();
      expect(count).toBeLessThan(400); // the good pair did not wait for these
      for (let at = 1; at <= 400; at += 1) await peer.awaitPacket('PUBACK', { packetId: at });
      peer.send(build.pingreq());
      await peer.awaitPacket('PINGRESP');
      // The kernel hands over large chunks; what they owe is paid before the next one is read.
      expect(Date.now() - started).toBeGreaterThan(500);
      expect(count).toBe(400);
    },
  ), 30_000);

  it('does not let a client run out of its keep alive because it was read late', () => guarded(
    { limits: { publishesPerSecond: 20, publishesBurst: 1, rateDelayMsMax: 3000 } },
    async ({ kit }) => {
      const peer = await kit.connect({ keepAlive: 1 });
      const burst = Array.from({ length: 60 }, () => build.publish({ version: 5, topic: 'x', payload: 'x' }));
      peer.send(Buffer.concat([...burst]));
      const started = Date.now();
      await new Promise((resolve) => setImmediate(resolve));
      const ping = setInterval(() => peer.send(build.pingreq()), 300);
      await peer.awaitPacket('PINGRESP').finally(() => clearInterval(ping));
      expect(Date.now() - started).toBeGreaterThan(1700);
    },
  ));
});

describe('bans', () => {
  it.each([
    ['client id', { kind: 'clientId', value: 'mallory' }],
    ['user', { kind: 'username', value: 'mallory' }],
  ] as const)('put out who is inside, by %s, and keep it out', (_, ban) => guarded(
    {},
    async ({ kit }, guard) => {
      const mallory = await kit.connect({ clientId: 'mallory', username: 'mallory' });
      const bystander = await kit.connect({ clientId: 'mallory2', username: 'alice' });
      guard.bans.add(ban, Date.now());
      await kit.expectRefused(mallory, [0x98]);
      await kit.expectRefused(await kit.connecting({ clientId: 'mallory', username: 'mallory' }), [0x8a]);
      await kit.fence(bystander);
      guard.bans.remove(ban.kind, ban.value);
      await kit.connect({ clientId: 'mallory', username: 'mallory' });
    },
  ));

  it('of a network end every connection from it, also those that have not said who they are', async () => {
    const guard = createGuard({});
    const { startVictim } = await import('./abuse-kit.js');
    const victim = await startVictim({ ...guard.brokerOptions });
    try {
      const stranger = await victim.kit.open();
      const inside = await victim.kit.connect();
      guard.bans.add({ kind: 'address', value: '127.0.0.0/8', until: Date.now() + 60_000 }, Date.now());
      await victim.kit.expectRefused(inside, [0x98]);
      await victim.kit.expectRefused(stranger);
      await victim.kit.expectRefused(await victim.kit.open());
      await until('nobody to be left', () => victim.broker.clients().length === 0);
    } finally {
      await victim.stop();
      guard.close();
    }
  });
});

describe('authenticators that are wrong', () => {
  const answers: [string, unknown][] = [
    ['nothing', undefined], ['null', null], ['true', true], ['a promise of nothing', Promise.resolve(undefined)],
    ['ok without a value', {}], ['a string', 'yes'],
  ];
  it.each(answers)('that answer %s deny', (_, answer) => {
    const wrong = {
      authenticate: (request: { username?: string }) => (request.username === 'pair' ? { ok: true } : answer),
    } as Authenticator;
    return underAttack(async ({ kit }) => {
      await kit.expectRefused(await kit.connecting({ username: 'eve' }), [0x88]);
    }, { authentication: [wrong] }, { username: 'pair' });
  });
});

describe('SCRAM-SHA-256 through MQTT', () => {
  const method = property.authenticationMethod('SCRAM-SHA-256');
  const dataOf = (reply: Reply): string => {
    const found = reply.properties.find(({ id }) => id === PROPERTY.authenticationData);
    return Buffer.from(found?.value as Uint8Array).toString();
  };
  const users = async () => Promise.all(['anna', 'bruno'].map(async (username) => ({
    username,
    password: await hashPassword(Buffer.from(username), { format: 'scram-sha-256', iterations: 4096 }),
  })));

  /** The first message, and the answer to the server's. */
  function exchange(user: string): { first: string; bare: string } {
    const bare = `n=${user},r=nonce${Math.trunc(performance.now())}`;
    return { first: `n,,${bare}`, bare };
  }
  async function login(victim: Victim, user: string, password: string): Promise<{ peer: Peer; last: Reply }> {
    const { first, bare } = exchange(user);
    const peer = await victim.kit.connecting({ properties: [method, property.authenticationData(first)] });
    const challenge = await peer.expectPacket('AUTH', { reasonCode: 0x18 });
    const { final } = clientFinal(password, bare, dataOf(challenge));
    peer.send(build.auth(0x18, [method, property.authenticationData(final)]));
    return { peer, last: await peer.next() };
  }
  async function again(peer: Peer, user: string): Promise<Reply> {
    const { first, bare } = exchange(user);
    peer.send(build.auth(0x19, [method, property.authenticationData(first)]));
    const challenge = await peer.next();
    if (challenge.name !== 'AUTH') return challenge;
    const { final } = clientFinal(user, bare, dataOf(challenge));
    peer.send(build.auth(0x18, [method, property.authenticationData(final)]));
    return peer.next();
  }

  it('lets in by password, re-authenticates the same user, and nobody else', async () => guarded(
    { authentication: [{ kind: 'scram', users: await users() }] },
    async (victim) => {
      const { peer, last } = await login(victim, 'anna', 'anna');
      expect(last).toMatchObject({ name: 'CONNACK', reasonCode: 0 });
      peer.nextIdentifier = 1;
      expect(victim.broker.clients().some(({ username }) => username === 'anna')).toBe(true);
      expect(await again(peer, 'anna')).toMatchObject({ name: 'AUTH', reasonCode: 0 });
      await victim.kit.fence(peer);
      expect(await again(peer, 'bruno')).toMatchObject({ name: 'DISCONNECT', reasonCode: 0x87 });
      expect((await login(victim, 'anna', 'bruno')).last).toMatchObject({ name: 'CONNACK', reasonCode: 0x87 });
    },
  ));
});
