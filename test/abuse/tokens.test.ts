/** JSON Web Tokens at the running broker: who is let in, what the claims allow, and when it is over. */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { createGuard } from '../../lib/index.js';
import type { GuardConfig } from '../../lib/index.js';
import * as build from '../conformance/wire/packets.js';
import { startVictim, underAttack, until } from './abuse-kit.js';
import type { Victim } from './abuse-kit.js';

const secret = 'a secret of at least thirty-two bytes, as HS256 wants it';
const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const inSeconds = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

function token(claims: object, { alg = 'HS256', key = secret } = {}): string {
  const text = `${base64({ alg, typ: 'JWT' })}.${base64(claims)}`;
  return `${text}.${alg === 'none' ? '' : createHmac('sha256', key).update(text).digest('base64url')}`;
}

const revoked = new Set<unknown>();
const pairToken = (): string => token({ sub: 'pair', exp: inSeconds(3_600), acl: { all: ['good/#'] } });
const config: GuardConfig = {
  authentication: [{
    kind: 'jwt', keys: { secret }, algorithms: ['HS256'], isRevoked: ({ jti }) => revoked.has(jti),
  }],
  authorization: { claims: 'use' },
};

async function withTokens(run: (victim: Victim, guard: ReturnType<typeof createGuard>) => Promise<void>): Promise<void> {
  const guard = createGuard(config);
  const victim = await startVictim({ ...guard.brokerOptions }, { username: 'pair', password: pairToken() });
  try {
    await run(victim, guard);
    await victim.pairLives();
    // Nothing of any token is in the log.
    expect(victim.log.filter((line) => /eyJ|[\w-]{20,}\.[\w-]{20,}/.test(line))).toEqual([]);
  } finally {
    await victim.stop();
    guard.close();
  }
}

describe('tokens at the running broker', () => {
  it.each<[string, () => string]>([
    ['that has expired', () => token({ sub: 'anna', exp: inSeconds(-60) })],
    ['that is signed with another key', () => token({ sub: 'anna', exp: inSeconds(60) }, { key: `${secret}!` })],
    ['that is not signed', () => token({ sub: 'anna', exp: inSeconds(60) }, { alg: 'none' })],
    ['that names another algorithm', () => token({ sub: 'anna', exp: inSeconds(60) }, { alg: 'HS512' })],
    ['whose claims were changed', () => token({ sub: 'anna', exp: inSeconds(60) })
      .replace(/\.[^.]+\./, `.${base64({ sub: 'root', exp: inSeconds(60) })}.`)],
    ['that never expires', () => token({ sub: 'anna' })],
    ['of another user', () => token({ sub: 'bruno', exp: inSeconds(60) })],
    ['that was revoked', () => { revoked.add('r1'); return token({ sub: 'anna', jti: 'r1', exp: inSeconds(60) }); }],
  ])('keep a token out %s', (_, make) => withTokens(async ({ kit }) => {
    await kit.expectRefused(await kit.connecting({ username: 'anna', password: make() }), [0x86, 0x87]);
  }));

  it('allow what the claims allow, and nothing else', () => withTokens(async ({ kit }) => {
    const password = token({ sub: 'anna', exp: inSeconds(600), acl: { pub: ['casa/%u/out'], sub: ['casa/%u/in/#'] } });
    const peer = await kit.connect({ username: 'anna', password });
    expect((await kit.subscribe(peer, [
      ['casa/anna/in/#', 1], ['casa/bruno/in/#', 1], ['casa/#', 1], ['$share/g/casa/anna/in/x', 1], ['good/#', 1],
    ])).reasonCodes).toEqual([1, 0x87, 0x87, 1, 0x87]);
    for (const [topic, code] of [['casa/anna/out', 0x10], ['casa/bruno/out', 0x87], ['casa/anna/in/x', 0x87]] as const) {
      const packetId = kit.send(peer, topic, 'x', { qos: 1 });
      await peer.awaitPacket('PUBACK', { packetId, reasonCode: code });
    }
    const will = { topic: 'casa/bruno/out', payload: 'x' };
    await kit.expectRefused(await kit.connecting({ username: 'anna', password, will }), [0x87]);
  }));

  it('end the connection at their expiry, with 0xA0', () => withTokens(async ({ kit, broker }) => {
    const exp = inSeconds(4);
    const peer = await kit.connect({ username: 'anna', password: token({ sub: 'anna', exp, acl: { all: ['a/#'] } }) });
    await kit.subscribed(peer, 'a/b');
    await kit.expectRefused(peer, [0xa0]);
    expect(Date.now()).toBeGreaterThanOrEqual(exp * 1_000 - 50);
    await until('it to be gone', () => broker.clients().every(({ username }) => username !== 'anna'));
  }));

  it('end for who is inside when they are taken back and the guard reads anew', () => withTokens(async ({ kit }, guard) => {
    const claims = { exp: inSeconds(600), acl: { all: ['a/#'] } };
    const peer = await kit.connect({ username: 'anna', password: token({ ...claims, sub: 'anna', jti: 'r2' }) });
    const other = await kit.connect({ username: 'bruno', password: token({ ...claims, sub: 'bruno', jti: 'r3' }) });
    revoked.add('r2');
    guard.reload();
    await kit.expectRefused(peer, [0x87]);
    await kit.fence(other);
  }));

  it('end for who is inside when their key leaves the file of keys', async () => {
    const path = join(mkdtempSync(join(tmpdir(), 'nidomq-keys-')), 'jwks.json');
    const pairs = ['old', 'new'].map((kid) => ({ kid, ...generateKeyPairSync('ec', { namedCurve: 'P-256' }) }));
    const keys = pairs.map(({ kid, publicKey }) => ({ ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256' }));
    const write = (list: readonly object[]): void => writeFileSync(path, JSON.stringify({ keys: list }));
    const signed = ({ kid, privateKey }: (typeof pairs)[number]): string => {
      const text = `${base64({ alg: 'ES256', kid })}.${base64({ sub: kid, exp: inSeconds(600) })}`;
      const signature = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' });
      return `${text}.${signature.toString('base64url')}`;
    };
    write(keys);
    const guard = createGuard({ authentication: [
      { kind: 'jwt', keys: { jwksFile: path }, algorithms: ['ES256'] }, { kind: 'anonymous' },
    ] });
    await underAttack(async ({ kit }) => {
      const [old, fresh] = await Promise.all(pairs.map((pair) => kit.connect({
        username: pair.kid, password: signed(pair),
      })));
      write(keys.slice(1));
      expect(guard.reload()).toBe(true);
      await kit.expectRefused(old, [0x87]);
      await kit.fence(fresh);
    }, guard.brokerOptions);
    guard.close();
  });

  it('end at once for who is inside when their user is banned', () => withTokens(async ({ kit }, guard) => {
    const password = token({ sub: 'anna', exp: inSeconds(600), acl: { all: ['a/#'] } });
    const peer = await kit.connect({ username: 'anna', password });
    guard.bans.add({ kind: 'username', value: 'anna' }, Date.now());
    await kit.expectRefused(peer, [0x98]);
    await kit.expectRefused(await kit.connecting({ username: 'anna', password }), [0x8a]);
    const packetId = 1;
    const other = await kit.connect({ username: 'bruno', password: token({ sub: 'bruno', exp: inSeconds(60), acl: {} }) });
    other.send(build.publish({ version: 5, topic: 'a/b', qos: 1, packetId }));
    await other.awaitPacket('PUBACK', { packetId, reasonCode: 0x87 });
  }));
});
