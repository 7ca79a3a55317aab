/** Abuse gate 31 to 40: exhaustion of resources. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { truncateSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { TopicMatcher } from '../../lib/core/topic-matcher.js';
import { HttpAuthenticator, buildGuard } from '../../lib/guard/index.js';
import type { Authorizer } from '../../lib/broker/hooks.js';
import { temporaryFolder } from '../guard/mosquitto.js';
import { cat } from '../conformance/wire/bytes.js';
import * as build from '../conformance/wire/packets.js';
import { memoryInUse, underAttack, until } from './abuse-kit.js';

const { property } = build;

describe('resources', () => {
  /** 60,000 messages of 500 bytes whose exchange the client never completes. */
  const never = function* (): Generator<Buffer> {
    for (let at = 0; at < 60; at += 1) {
      yield cat(...Array.from({ length: 1000 }, (_, index) => build.publish(
        { version: 5, topic: 'q', qos: 2, packetId: 1 + at * 1000 + index, payload: 'x'.repeat(500) },
      )));
    }
  };

  it('abuse 31: QoS 2 identifiers that are never released end at Receive Maximum', () => underAttack(async ({ kit }) => {
    const before = memoryInUse();
    const peer = await kit.connect();
    for (const bytes of never()) peer.send(bytes);
    const replies = await kit.expectRefused(peer, [0x93]);
    expect(replies.length).toBeLessThanOrEqual(1100);
    expect(memoryInUse() - before).toBeLessThan(60_000_000);
  }, { limits: { receiveMaximum: 1000 } }));

  it('abuse 31: below it they cost a bit each, not a message', () => underAttack(async ({ kit, broker }) => {
    const used = (): number => Object.values(broker.stats().memoryUsedBytes).reduce((sum, bytes) => sum + bytes);
    const peer = await kit.connect();
    const before = used();
    for (const bytes of never()) peer.send(bytes);
    await peer.awaitPacket('PUBREC', { packetId: 60_000 }, 20_000);
    expect(used() - before).toBeLessThan(1_000_000);
  }), 30_000);

  it('abuse 31: the same identifier again and again is one message', () => underAttack(async ({ kit }) => {
    const receiver = await kit.connect();
    await kit.subscribed(receiver, 'q', 1);
    const peer = await kit.connect();
    for (let count = 0; count < 200; count += 1) {
      peer.send(build.publish({ version: 5, topic: 'q', qos: 2, packetId: 5, dup: count > 0, payload: 'x' }));
    }
    for (let count = 0; count < 200; count += 1) await peer.expectPacket('PUBREC', { packetId: 5 });
    peer.send(build.pubrel(5));
    await peer.expectPacket('PUBCOMP', { packetId: 5 });
    await kit.receive(receiver, { topic: 'q' });
    await receiver.expectNothing();
  }));

  it('abuse 31: identifiers of before a clean start are forgotten', () => underAttack(async ({ kit }) => {
    const who = { clientId: 'again', properties: [property.sessionExpiry(60)] };
    const first = await kit.connect(who);
    first.send(build.publish({ version: 5, topic: 'q', qos: 2, packetId: 9, payload: 'old' }));
    await first.awaitPacket('PUBREC');
    await kit.cut(first);
    const receiver = await kit.connect();
    await kit.subscribed(receiver, 'q', 2);
    const second = await kit.connect(who);
    await kit.publish(second, 'q', 'new', { qos: 2, packetId: 9 });
    await kit.receive(receiver, { payload: 'new' });
  }));

  it('abuse 32: an offline queue is bounded, and what is dropped is told', () => underAttack(async ({ kit, broker }) => {
    let dropped = 0;
    broker.on('messageDropped' as never, (() => { dropped += 1; }) as never);
    const who = { clientId: 'asleep', cleanStart: false, properties: [property.sessionExpiry(600)] };
    const sleeper = await kit.connect(who);
    await kit.subscribed(sleeper, 'flood', 1);
    await kit.cut(sleeper);
    const sender = await kit.connect();
    for (let at = 1; at <= 500; at += 1) {
      sender.send(build.publish({ version: 5, topic: 'flood', qos: 1, packetId: at, payload: `${at}` }));
    }
    for (let at = 1; at <= 500; at += 1) await sender.awaitPacket('PUBACK', { packetId: at });
    await kit.fence(sender);
    expect(dropped).toBeGreaterThan(0);
    const back = await kit.connect(who);
    const got: string[] = [];
    for (let at = 0; at < 100; at += 1) got.push((await kit.receive(back)).payload.toString());
    await back.expectNothing();
    expect(new Set(got).size).toBe(100);
  }, { limits: { queueMessagesMax: 100 } }));

  it('abuse 33: a frozen reader leaves five healthy ones with 400 of 400 messages', () => underAttack(async ({ kit }) => {
    const frozen = await kit.connect();
    await kit.subscribed(frozen, 'wide/#', 1);
    frozen.socket.pause();
    const healthy = [];
    for (let count = 0; count < 5; count += 1) {
      const peer = await kit.connect();
      await kit.subscribed(peer, 'wide/#', 1);
      healthy.push(peer);
    }
    const sender = await kit.connect();
    const body = Buffer.alloc(20_000, 97);
    const receive = Promise.all(healthy.map(async (peer) => {
      for (let count = 0; count < 400; count += 1) await kit.receive(peer);
    }));
    for (let at = 1; at <= 400; at += 1) {
      sender.send(build.publish({ version: 5, topic: `wide/${at}`, qos: 1, packetId: at, payload: body }));
      if (at % 20 === 0) await sender.awaitPacket('PUBACK', { packetId: at }, 15_000);
    }
    await receive;
    frozen.cut();
  }), 60_000);

  it('abuse 34: subscriptions and retained messages end at their limits', () => underAttack(async ({ kit }) => {
    const peer = await kit.connect();
    const codes: number[] = [];
    for (let at = 0; at < 12; at += 1) {
      const filters = Array.from({ length: 100 }, (_, index) => [`s/${at}/${index}/+/#`, 0] as const);
      codes.push(...(await kit.subscribe(peer, filters)).reasonCodes);
    }
    expect(codes.filter((code) => code < 0x80)).toHaveLength(1000);
    expect(codes.at(-1)).toBe(0x97);
    const sender = await kit.connect();
    const answers: number[] = [];
    for (let at = 1; at <= 120; at += 1) {
      sender.send(build.publish({ version: 5, topic: `r/${at}`, qos: 1, packetId: at, retain: true, payload: 'x' }));
      answers.push((await sender.awaitPacket('PUBACK', { packetId: at })).reasonCode);
    }
    expect(answers.filter((code) => code < 0x80).length).toBeLessThanOrEqual(100);
    expect(answers.at(-1)).toBe(0x97);
  }, { limits: { subscriptionsPerSessionMax: 1000, retainedMessagesMax: 100 } }));

  it('abuse 34: subscribing and unsubscribing without end leaks nothing', () => underAttack(async ({ kit, broker }) => {
    const peer = await kit.connect();
    const round = async (): Promise<void> => {
      const filters = Array.from({ length: 200 }, (_, at) => [`churn/${Math.floor(at / 3)}/+/${at}`, 1] as const);
      await kit.subscribed(peer, filters);
      await kit.unsubscribe(peer, ...filters.map(([filter]) => filter));
    };
    await round();
    const used = (): number => broker.stats().memoryUsedBytes.index + broker.stats().memoryUsedBytes.record;
    await until('the first replays', () => used() < 10_000);
    const before = used();
    for (let count = 0; count < 100; count += 1) await round();
    // Replays of retained messages end a little later than the subscriptions that asked for them.
    await until('the memory', () => used() - before < 10_000, 15_000);
    expect(broker.stats().subscriptions).toBe(1);
  }), 40_000);

  it('abuse 35: sessions that never end, with delayed wills, stop at a limit', () => underAttack(async ({ kit }) => {
    const answers: number[] = [];
    for (let at = 0; at < 60; at += 1) {
      const peer = await kit.connecting({
        properties: [property.sessionExpiry(0xffffffff)],
        will: { topic: 'w', payload: 'x', properties: [property.willDelay(0xffffffff)] },
      });
      answers.push((await peer.next()).reasonCode);
      peer.cut();
    }
    expect(answers.filter((code) => code === 0)).toHaveLength(48);
    expect(answers.at(-1)).toBeGreaterThanOrEqual(0x80);
  }, { limits: { sessionsMax: 50 } }));

  it('abuse 36: a keep alive of 18 hours is shortened to what the broker allows', () => underAttack(async ({ kit }) => {
    const peer = await kit.connect({ keepAlive: 65_535 });
    expect(peer.connack.properties.some((one) => one.id === 0x13 && one.value === 60)).toBe(true);
  }, { mqtt: { keepAliveSecondsMax: 60 } }));

  it('abuse 37: a client that leaves while its subscription is being authorised leaves nothing behind', async () => {
    const waiting: ((verdict: boolean) => void)[] = [];
    const slow: Authorizer = {
      canSubscribe: (_, filter) => (filter === 'good/pair' ? true : new Promise((done) => waiting.push(done))),
    };
    await underAttack(async ({ kit, broker }) => {
      for (let count = 0; count < 20; count += 1) {
        const peer = await kit.connect();
        peer.send(build.subscribe(5, 1, [['ghost/#', 1]]));
        await until('the question', () => waiting.length === count + 1);
        await kit.cut(peer);
      }
      for (const answer of waiting) answer(true);
      await broker.publish('ghost/x', 'boo', { qos: 1 });
      expect(broker.stats().subscriptions).toBe(1);
    }, { authorization: [slow] });
  });

  it('abuse 38: hooks, listeners and handlers that throw harm only themselves', async () => {
    const broken: Authorizer = {
      canPublish: (_, topic) => { if (topic === 'boom') throw new Error('broken'); return true; },
      canSubscribe: (_, filter) => (filter === 'boom' ? Promise.reject(new Error('broken')) : true),
    };
    await underAttack(async ({ kit, broker }) => {
      broker.on('clientConnected', () => { throw new Error('listener'); });
      await broker.subscribe('handled', () => { throw new Error('handler'); });
      const peer = await kit.connect();
      expect((await kit.subscribe(peer, 'boom')).reasonCodes[0]).toBeGreaterThanOrEqual(0x80);
      peer.send(build.publish({ version: 5, topic: 'boom', qos: 1, packetId: 1 }), build.publish({ version: 5, topic: 'handled', qos: 1, packetId: 2 }));
      expect((await peer.awaitPacket('PUBACK', { packetId: 1 })).reasonCode).toBeGreaterThanOrEqual(0x80);
      await peer.awaitPacket('PUBACK', { packetId: 2 });
    }, { authorization: [broken] });
  });

  it('abuse 39: an authentication service that does not answer costs only its own logins', async () => {
    const service = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(service, 'listening');
    const url = `http://127.0.0.1:${(service.address() as AddressInfo).port}/`;
    const http = new HttpAuthenticator({ url, limits: { httpTimeoutMs: 3_000, httpConcurrencyMax: 50 } });
    const known = {
      authenticate: (request: { username?: string }) => (request.username === 'pair' ? { ok: true as const } : { ok: 'pass' as const }),
    };
    try {
      await underAttack(async ({ kit, broker, pairLives }) => {
        const peers = await Promise.all(Array.from({ length: 50 }, (_, at) => kit.connecting({ username: `u${at}`, password: 'x' })));
        await pairLives();
        const quick = await kit.connect({ username: 'pair' });
        await kit.fence(quick);
        // The others still wait for the service.
        expect(broker.stats().connectionsRefused).toBe(0);
        // By the time limit of the service: that of the connection is far away.
        await Promise.all(peers.map((peer) => kit.expectRefused(peer, [0x88, 0x89])));
      }, { authentication: [known, http], limits: { connectTimeoutSeconds: 120 } }, { username: 'pair' });
    } finally {
      service.closeAllConnections();
      service.close();
    }
  });

  it('abuse 40: files that are pipes, devices, folders or far too large stop the start, not the process', () => {
    const folder = temporaryFolder();
    const pipe = join(folder.path, 'pipe');
    expect(spawnSync('mkfifo', [pipe]).status).toBe(0);
    const huge = folder.file('huge', '');
    truncateSync(huge, 2 ** 31);
    // Opening the pipe as usual would never end.
    for (const path of [pipe, '/dev/zero', folder.path, huge]) {
      expect(() => buildGuard({ authorization: { aclFile: path } }, { createFilterSet: () => new TopicMatcher() }))
        .toThrow(expect.objectContaining({ code: 'NIDO_GUARD_FILE' }));
    }
    folder.remove();
  });

  it('abuse 19 and 34: a client that comes and goes without end is kept out for a while, others are not', async () => {
    const guard = buildGuard({ limits: { flappingDisconnectsMax: 20 } }, { createFilterSet: () => new TopicMatcher() });
    await underAttack(async ({ kit, broker }) => {
      const codes: number[] = [];
      for (let count = 0; count < 40; count += 1) {
        const peer = await kit.connecting({ clientId: 'flapping' });
        codes.push((await peer.next()).reasonCode);
        peer.cut();
        await until('the end of it', () => broker.client('flapping') === undefined);
      }
      expect(codes.filter((code) => code === 0)).toHaveLength(21);
      expect(codes.at(-1)).toBe(0x8a);
      await kit.connect({ clientId: 'another' });
    }, { gate: guard.gate });
    guard.close();
  });

  it('abuse 34: connections of one address and of one user end at their limits, and places come back', async () => {
    const limits = { connectionsPerAddressMax: 12, connectionsPerUserMax: 4 };
    const guard = buildGuard({ limits }, { createFilterSet: () => new TopicMatcher() });
    await underAttack(async ({ kit }) => {
      const mine = [];
      for (let count = 0; count < 4; count += 1) mine.push(await kit.connect({ username: 'anna' }));
      const fifth = await kit.connecting({ username: 'anna' });
      await kit.expectRefused(fifth, [0x97]);
      await kit.disconnect(mine[0]);
      await until('two places', () => guard.gate.counts.connections === 5);
      await kit.connect({ username: 'anna' });
      const more = [];
      for (let count = 0; count < 6; count += 1) more.push(await kit.connect());
      await kit.expectRefused(await kit.connecting());
      await kit.disconnect(more[0]);
      await until('a place', () => guard.gate.counts.connections === 11);
      await kit.connect();
    }, { gate: guard.gate });
    await until('nobody', () => guard.gate.counts.connections === 0);
    expect(guard.gate.counts).toEqual({ connections: 0, addresses: 0, users: 0 });
    guard.close();
  });
});
