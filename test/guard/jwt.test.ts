import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import type { JsonWebKey, KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from '@jest/globals';
import { JwtAuthenticator } from '../../lib/guard/index.js';
import type { JwtAlgorithm, JwtOptions } from '../../lib/guard/index.js';
import { temporaryFolder } from './mosquitto.js';
import { connectRequest } from './requests.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());

const NOW = 1_800_000_000_000;
const inOneHour = NOW / 1000 + 3600;
const secret = 'a secret of at least thirty-two bytes, and sixty-four for HS512..';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed = generateKeyPairSync('ed25519');

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Signed with node:crypto, so that the library under the authenticator is not tested with itself. */
function token(alg: string, claims: object, key: KeyObject | string, kid = 'k'): string {
  const body = `${part({ alg, typ: 'JWT', kid })}.${part(claims)}`;
  return `${body}.${signature(alg, body, key).toString('base64url')}`;
}

function signature(alg: string, body: string, key: KeyObject | string): Buffer {
  const digest = `sha${alg.slice(2)}`;
  if (alg === 'none') return Buffer.alloc(0);
  if (alg.startsWith('HS')) return createHmac(digest, key as string).update(body).digest();
  if (alg === 'EdDSA') return sign(null, Buffer.from(body), key as KeyObject);
  if (alg.startsWith('ES')) return sign(digest, Buffer.from(body), { key: key as KeyObject, dsaEncoding: 'ieee-p1363' });
  return sign(digest, Buffer.from(body), key as KeyObject);
}

const jwk = (key: KeyObject, kid: string): JsonWebKey => ({ ...key.export({ format: 'jwk' }), kid });
const keySet = (...keys: JsonWebKey[]): string => JSON.stringify({ keys });

function jwt(options: Partial<JwtOptions> = {}): JwtAuthenticator {
  return new JwtAuthenticator({ keys: { secret }, algorithms: ['HS256'], now: () => NOW, ...options });
}
const ask = async (authenticator: JwtAuthenticator, password: string, username?: string, clientId = 'dev1') =>
  authenticator.authenticate(connectRequest({ password, username, clientId }));

describe('tokens', () => {
  it.each<[JwtAlgorithm, KeyObject | string, KeyObject | undefined]>([
    ['HS256', secret, undefined], ['HS512', secret, undefined], ['RS256', rsa.privateKey, rsa.publicKey],
    ['ES256', p256.privateKey, p256.publicKey], ['EdDSA', ed.privateKey, ed.publicKey],
  ])('signed with %s come in, with user, roles, claims and the time they end', async (alg, key, publicKey) => {
    const keys = publicKey
      ? { jwksFile: folder.file(`${alg}.json`, keySet(jwk(publicKey, 'k'))) } : { secret };
    const authenticator = jwt({ keys, algorithms: [alg] });
    const claims = { sub: 'anna', exp: inOneHour, roles: ['reader', 7] };
    const answer = await ask(authenticator, token(alg, claims, key));
    authenticator.close();
    expect(answer).toMatchObject({ ok: true, username: 'anna', roles: ['reader'], expiresAt: inOneHour * 1000 });
  });

  it.each([
    ['expired', token('HS256', { sub: 'anna', exp: NOW / 1000 - 60 }, secret)],
    ['not valid yet', token('HS256', { sub: 'anna', exp: inOneHour, nbf: NOW / 1000 + 60 }, secret)],
    ['without an end', token('HS256', { sub: 'anna' }, secret)],
    ['without a user', token('HS256', { exp: inOneHour }, secret)],
    ['with a user that is no text', token('HS256', { sub: 7, exp: inOneHour }, secret)],
    ['signed with another secret', token('HS256', { sub: 'anna', exp: inOneHour }, `${secret}!`)],
    ['signed with another algorithm', token('HS512', { sub: 'anna', exp: inOneHour }, secret)],
    ['not signed', token('none', { sub: 'anna', exp: inOneHour }, '')],
    ['not signed, in capitals', token('none', { sub: 'anna', exp: inOneHour }, '').replace(part({ alg: 'none', typ: 'JWT', kid: 'k' }), part({ alg: 'NONE' }))],
    ['changed after signing', token('HS256', { sub: 'anna', exp: inOneHour }, secret).replace(/\.[^.]+\./, `.${part({ sub: 'root', exp: inOneHour })}.`)],
    ['with rubbish inside', 'eyJ.eyJ.x'],
  ])('%s stay out', async (_, password) => {
    expect(await ask(jwt(), password)).toMatchObject({ ok: false });
  });

  it('signed with the public key as a secret stay out', async () => {
    const path = folder.file('confusion.json', keySet(jwk(rsa.publicKey, 'k')));
    const authenticator = jwt({ keys: { jwksFile: path }, algorithms: ['RS256'] });
    const pem = rsa.publicKey.export({ format: 'pem', type: 'spki' }).toString();
    expect(await ask(authenticator, token('HS256', { sub: 'anna', exp: inOneHour }, pem))).toMatchObject({ ok: false });
    authenticator.close();
  });

  it('are bound to user name and client id', async () => {
    const password = token('HS256', { sub: 'anna', cid: 'dev1', exp: inOneHour }, secret);
    const authenticator = jwt({ clientIdClaim: 'cid' });
    expect(await ask(authenticator, password, 'anna')).toMatchObject({ ok: true });
    expect(await ask(authenticator, password, 'bruno')).toMatchObject({ ok: false });
    expect(await ask(authenticator, password, 'anna', 'dev2')).toMatchObject({ ok: false });
  });

  it('that were revoked stay out, also when nobody can say whether they were', async () => {
    const password = token('HS256', { sub: 'anna', jti: '7', exp: inOneHour }, secret);
    expect(await ask(jwt({ isRevoked: (claims) => claims.jti === '7' }), password)).toMatchObject({ ok: false });
    const broken = jwt({ isRevoked: () => Promise.reject(new Error('no database')) });
    await expect(ask(broken, password)).rejects.toThrow('no database');
  });

  it('of others, and passwords that are none, are left to the next authenticator', async () => {
    const authenticator = jwt({ issuer: 'here', audience: 'broker' });
    const foreign = { sub: 'anna', exp: inOneHour, iss: 'elsewhere', aud: 'broker' };
    expect(await ask(authenticator, token('HS256', foreign, secret))).toEqual({ ok: 'pass' });
    expect(await ask(authenticator, 'a password')).toEqual({ ok: 'pass' });
    const notForUs = { sub: 'anna', exp: inOneHour, iss: 'here', aud: 'shop' };
    expect(await ask(authenticator, token('HS256', notForUs, secret))).toMatchObject({ ok: false });
    expect(await ask(authenticator, token('HS256', { sub: 'anna', exp: inOneHour }, secret))).toMatchObject({ ok: false });
  });

  it('of a key that left the JWK Set stay out at once, and a broken set changes nothing', async () => {
    const path = folder.file('rotating.json', keySet(jwk(ed.publicKey, 'old')));
    const errors: string[] = [];
    const logger = { error: (line: string) => void errors.push(line), warn: () => undefined };
    const authenticator = jwt({ keys: { jwksFile: path }, algorithms: ['EdDSA', 'ES256'], logger });
    const old = token('EdDSA', { sub: 'anna', exp: inOneHour }, ed.privateKey, 'old');
    expect(await ask(authenticator, old)).toMatchObject({ ok: true });
    writeFileSync(path, '{ "keys": [] }');
    expect(authenticator.reload()).toBe(false);
    expect(await ask(authenticator, old)).toMatchObject({ ok: true });
    writeFileSync(path, keySet(jwk(p256.publicKey, 'new')));
    expect(authenticator.reload()).toBe(true);
    expect(await ask(authenticator, old)).toMatchObject({ ok: false });
    const fresh = token('ES256', { sub: 'anna', exp: inOneHour }, p256.privateKey, 'new');
    expect(await ask(authenticator, fresh)).toMatchObject({ ok: true });
    expect(errors.join()).toContain('rotating.json');
    authenticator.close();
  });

  it('are checked with keys from a URL, and refused with 0x88 while it does not answer', async () => {
    let answer = 200;
    const server = createServer((_, response) => {
      response.writeHead(answer, { 'content-type': 'application/json' });
      response.end(keySet(jwk(ed.publicKey, 'k')));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
    const password = token('EdDSA', { sub: 'anna', exp: inOneHour }, ed.privateKey);
    const options = { keys: { jwksUrl }, algorithms: ['EdDSA'] as const };
    expect(await ask(jwt(options), password)).toMatchObject({ ok: true });
    answer = 500;
    expect(await ask(jwt(options), password)).toMatchObject({ ok: false, reasonCode: 0x88 });
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  it.each<[string, Partial<JwtOptions>]>([
    ['no algorithm', { algorithms: [] }],
    ['the algorithm "none"', { algorithms: ['none' as JwtAlgorithm] }],
    ['a short secret', { keys: { secret: 'short' } }],
    ['a secret for RS256', { algorithms: ['RS256'] }],
    ['HS256 with a JWK Set', { keys: { jwksUrl: 'https://keys.invalid/' }, algorithms: ['HS256'] }],
    ['keys over plain http', { keys: { jwksUrl: 'http://keys.invalid/' }, algorithms: ['EdDSA'] }],
  ])('refuse to start with %s', (_, options) => {
    expect(() => jwt(options)).toThrow(expect.objectContaining({ code: 'NIDO_JWT_OPTIONS' }));
  });
});
