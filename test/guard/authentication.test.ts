import { chmodSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it, jest } from '@jest/globals';
import type { AuthenticationResult, Authenticator } from '../../lib/broker/hooks.js';
import {
  AnonymousAuthenticator, CertificateAuthenticator, ChainAuthenticator, PasswordFileAuthenticator,
  UsersAuthenticator, argon2Available, hashPassword, parsePasswordHash, verifyPassword,
} from '../../lib/guard/index.js';
import type { PasswordFormat } from '../../lib/guard/index.js';
import { WorkQueue } from '../../lib/guard/secret/work-queue.js';
import { temporaryFolder } from './mosquitto.js';
import { connectRequest } from './requests.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());

// Made by mosquitto_passwd 2.0.11.
const alice = '$7$101$cCqX55Ys6hGpxwv3$5IRVeTKm1jKcnQa1iBBm3slZrvsZXELIdyUqGplatfXKsmHazqOXqJK/j39VFd4dU/lXev/XD4DSITz0NF9Nhw==';
const bob = '$6$kgEurZQ5AFO2d0E1$ljRx/FZ2FVm5QB2uv1vYirMjuy2KU9u9oO+LDjOhm65S7gMa76Sm7GlcsgZ8Ga60kSAa0irPhvePdKhtP6Iytg==';

const says = (answer: AuthenticationResult | (() => never)): Authenticator => ({
  authenticate: () => (typeof answer === 'function' ? answer() : answer),
});
const later = (answer: AuthenticationResult): Authenticator => ({
  authenticate: () => new Promise((resolve) => setImmediate(resolve, answer)),
});
const fails = (): never => { throw new Error('password=hunter2&token=x broken'); };

describe('stored passwords', () => {
  it('of mosquitto_passwd are read', async () => {
    expect(await verifyPassword(parsePasswordHash(alice), Buffer.from('secret'))).toBe(true);
    expect(await verifyPassword(parsePasswordHash(alice), Buffer.from('Secret'))).toBe(false);
    expect(await verifyPassword(parsePasswordHash(bob), Buffer.from('geheim'))).toBe(true);
    expect(await verifyPassword(parsePasswordHash(bob), Buffer.from('geheim '))).toBe(false);
  });

  it('of scrypt are read as RFC 7914 computes them', async () => {
    const hash = Buffer.from(
      '7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2'
      + 'd5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887', 'hex',
    ).toString('base64').replace(/=+$/, '');
    const salt = Buffer.from('SodiumChloride').toString('base64').replace(/=+$/, '');
    const stored = parsePasswordHash(`$scrypt$ln=14,r=8,p=1$${salt}$${hash}`);
    expect(await verifyPassword(stored, Buffer.from('pleaseletmein'))).toBe(true);
    expect(await verifyPassword(stored, Buffer.from('pleaseletmeout'))).toBe(false);
  });

  it.each<PasswordFormat>(['pbkdf2-sha512', 'sha512', 'scrypt', 'scram-sha-256'])('made as %s are recognised', async (format) => {
    const stored = parsePasswordHash(await hashPassword(Buffer.from('p:ä$'), { format }));
    expect(await verifyPassword(stored, Buffer.from('p:ä$'))).toBe(true);
    expect(await verifyPassword(stored, Buffer.from('p:a$'))).toBe(false);
  });

  it.each([
    '', 'plain text', '$7$', '$7$0$c2FsdHNhbHQ=$aGFzaA==', '$7$99999999999$c2FsdHNhbHQ=$aGFzaA==', '$6$short$x',
    alice.slice(0, -4), `${alice}$`, alice.replace('101', '1e1'), '$scrypt$ln=31,r=8,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA',
    '$scrypt$ln=1,r=99999999,p=1$c2FsdHNhbHQ$c2FsdHNhbHRzYWx0c2FsdA', 'SCRAM-SHA-256$4096:eA==$eA==:eA==', '$5$a$b',
  ])('that say %j are refused without repeating them', (text) => {
    let message = '';
    try {
      parsePasswordHash(text);
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toContain('cannot be read');
    if (text.length > 8) expect(message).not.toContain(text);
  });

  it('of argon2id are checked where node:crypto can, and refused with a way out where it cannot', async () => {
    const text = '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4';
    if (argon2Available) {
      expect(await verifyPassword(parsePasswordHash(text), Buffer.from('password'))).toBe(true);
    } else {
      expect(() => parsePasswordHash(text)).toThrow(expect.objectContaining({ code: 'NIDO_HASH_UNSUPPORTED' }));
    }
  });
});

describe('a password file', () => {
  const open = (text: string): PasswordFileAuthenticator =>
    new PasswordFileAuthenticator({ path: folder.file('users', text) });

  it('lets its users in, keeps wrong passwords out, and leaves others to the next authenticator', async () => {
    const file = open(`# made by mosquitto_passwd\n\nalice:${alice}\r\nbob:${bob}\n`);
    const ask = async (username?: string, password?: string) =>
      file.authenticate(connectRequest({ username, password }));
    expect(await ask('alice', 'secret')).toMatchObject({ ok: true, username: 'alice' });
    expect(await ask('alice', 'geheim')).toMatchObject({ ok: false, reasonCode: 0x86 });
    expect(await ask('alice')).toMatchObject({ ok: false });
    expect(await ask('Alice', 'secret')).toEqual({ ok: 'pass' });
    expect(await ask('__proto__', 'secret')).toEqual({ ok: 'pass' });
    expect(await ask()).toEqual({ ok: 'pass' });
    expect(await ask('alice', 'x'.repeat(10_000))).toMatchObject({ ok: false });
    file.close();
  });

  it.each([
    ['nothing', '', 'NIDO_PASSWORD_FILE_EMPTY'], ['comments only', '# nobody\n\n', 'NIDO_PASSWORD_FILE_EMPTY'],
    ['a line without a colon', 'alice\n', 'NIDO_PASSWORD_FILE_MALFORMED'],
    ['a line without a user', `:${alice}\n`, 'NIDO_PASSWORD_FILE_MALFORMED'],
    ['a plain password', 'alice:secret\n', 'NIDO_HASH_MALFORMED'],
    ['a user twice', `alice:${alice}\nalice:${bob}\n`, 'NIDO_PASSWORD_FILE_MALFORMED'],
  ])('with %s refuses to start', (_, text, code) => {
    expect(() => open(text)).toThrow(expect.objectContaining({ code }));
  });

  it('that is missing, a folder or no text refuses to start', () => {
    const code = 'NIDO_GUARD_FILE';
    expect(() => new PasswordFileAuthenticator({ path: `${folder.path}/none` })).toThrow(expect.objectContaining({ code }));
    expect(() => new PasswordFileAuthenticator({ path: folder.path })).toThrow(expect.objectContaining({ code }));
    const path = folder.file('latin', '');
    writeFileSync(path, Buffer.from([0x61, 0xe4, 0x3a]));
    expect(() => new PasswordFileAuthenticator({ path })).toThrow(expect.objectContaining({ code }));
  });

  it('that breaks later keeps the old users, and a good one replaces them', async () => {
    const path = folder.file('changing', `alice:${alice}\n`);
    const error = jest.fn();
    const file = new PasswordFileAuthenticator({ path, logger: { error, warn: jest.fn() } });
    const ask = async (username: string, password: string) =>
      file.authenticate(connectRequest({ username, password }));
    for (const broken of ['', 'rubbish\n', `alice:${alice}\nbob:plain\n`]) {
      writeFileSync(path, broken);
      expect(file.reload()).toBe(false);
      expect(await ask('alice', 'secret')).toMatchObject({ ok: true });
    }
    expect(error).toHaveBeenCalledTimes(3);
    writeFileSync(path, `bob:${bob}\n`);
    expect(file.reload()).toBe(true);
    expect(await ask('alice', 'secret')).toEqual({ ok: 'pass' });
    expect(await ask('bob', 'geheim')).toMatchObject({ ok: true });
    file.close();
  });

  it('is read again by itself when it changes', async () => {
    const path = folder.file('watched', `alice:${alice}\n`);
    const info = jest.fn();
    const file = new PasswordFileAuthenticator({
      path, fileCheckMs: 20, logger: { error: jest.fn(), warn: jest.fn(), info },
    });
    chmodSync(path, 0o600);
    writeFileSync(path, `bob:${bob}\n`);
    const deadline = Date.now() + 5000;
    while (file.find('bob') === undefined && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(file.find('bob')).toBeDefined();
    file.close();
  });
});

describe('users of the configuration', () => {
  it('come in with their roles', async () => {
    const users = new UsersAuthenticator([{ username: 'bob', password: bob, roles: ['admin'] }]);
    const answer = await users.authenticate(connectRequest({ username: 'bob', password: 'geheim' }));
    expect(answer).toEqual({ ok: true, username: 'bob', roles: ['admin'] });
  });

  it('that are none, have no hash or come twice refuse to start', () => {
    const user = { username: 'bob', password: bob };
    expect(() => new UsersAuthenticator([])).toThrow(expect.objectContaining({ code: 'NIDO_USERS_EMPTY' }));
    expect(() => new UsersAuthenticator([user, user])).toThrow('users[1]');
    expect(() => new UsersAuthenticator([{ ...user, password: 'hunter2' }])).toThrow('users[0].password');
  });
});

describe('certificates and nobody', () => {
  const identity = {
    via: 'certificate' as const, name: 'sensor-7', alternativeNames: ['DNS:sala.casa', 'email:a@b', 'URI:urn:x:7'],
  };

  it('name the user where the configuration says', () => {
    const ask = (options: ConstructorParameters<typeof CertificateAuthenticator>[0], username?: string) =>
      new CertificateAuthenticator(options).authenticate(connectRequest({ identity, username }));
    expect(ask({})).toMatchObject({ ok: true, username: 'sensor-7' });
    expect(ask({ usernameFrom: 'dns' })).toMatchObject({ ok: true, username: 'sala.casa' });
    expect(ask({ usernameFrom: 'uri' })).toMatchObject({ ok: true, username: 'urn:x:7' });
    expect(ask({}, 'sensor-8')).toMatchObject({ ok: false });
    expect(ask({ connectUsername: 'ignore' }, 'sensor-8')).toMatchObject({ ok: true, username: 'sensor-7' });
  });

  it('without the name that is asked for stay out, and connections without a certificate pass', () => {
    const noNames = { ...identity, name: '', alternativeNames: [] };
    const certificate = new CertificateAuthenticator();
    expect(certificate.authenticate(connectRequest({ identity: noNames }))).toMatchObject({ ok: false });
    expect(certificate.authenticate(connectRequest())).toEqual({ ok: 'pass' });
    const psk = { ...identity, via: 'psk' as const };
    expect(certificate.authenticate(connectRequest({ identity: psk }))).toEqual({ ok: 'pass' });
  });

  it('lets in nobody who tries to be somebody', () => {
    const anonymous = new AnonymousAuthenticator({ roles: ['guest'] });
    expect(anonymous.authenticate(connectRequest())).toEqual({ ok: true, roles: ['guest'] });
    expect(anonymous.authenticate(connectRequest({ username: 'anna' }))).toEqual({ ok: 'pass' });
    expect(anonymous.authenticate(connectRequest({ password: 'x' }))).toEqual({ ok: 'pass' });
  });
});

describe('a chain of authenticators', () => {
  const yes: AuthenticationResult = { ok: true, username: 'yes' };
  const no: AuthenticationResult = { ok: false, reasonCode: 0x87 };
  const pass: AuthenticationResult = { ok: 'pass' };

  it.each([
    ['the first yes', [says(yes), says(no)], true], ['the first no', [says(no), says(yes)], false],
    ['a yes after a pass', [says(pass), later(pass), says(yes), says(no)], true],
    ['a later no', [later(no), says(yes)], false], ['nobody', [says(pass), later(pass)], false],
    ['an empty chain', [], false], ['one that throws', [says(fails), says(yes)], false],
    ['one that throws later', [later(pass), says(fails), says(yes)], false],
    ['one that answers nonsense', [says({ ok: 'yes' } as unknown as AuthenticationResult), says(yes)], false],
    ['one that answers nothing', [later(undefined as unknown as AuthenticationResult), says(yes)], false],
  ])('decides by %s', async (_, links, expected) => {
    const answer = await new ChainAuthenticator(links).authenticate(connectRequest());
    expect(answer.ok).toBe(expected);
  });

  it('answers at once when all do, and logs failures without secrets', () => {
    const error = jest.fn<(line: string) => void>();
    const chain = new ChainAuthenticator([says(pass), says(fails)], { logger: { error, warn: jest.fn() } });
    expect(chain.authenticate(connectRequest({ clientId: 'a\nb', password: 'hunter2' }))).toMatchObject({ ok: false });
    expect(error).toHaveBeenCalledTimes(1);
    expect(error.mock.calls[0][0]).toContain('a\\u{a}b');
    expect(error.mock.calls[0][0]).not.toContain('hunter2');
  });

  it('answers 0x89 when too many passwords wait to be hashed, and the others still get their answer', async () => {
    const queue = new WorkQueue({ concurrencyMax: 1, queueMax: 2 });
    const chain = new ChainAuthenticator([new UsersAuthenticator([{ username: 'alice', password: alice }], { queue })]);
    const logins = Array.from({ length: 5 }, async () =>
      chain.authenticate(connectRequest({ username: 'alice', password: 'secret' })));
    const answers = await Promise.all(logins);
    expect(answers.filter((answer) => answer.ok === true)).toHaveLength(3);
    expect(answers.filter((answer) => answer.ok === false && answer.reasonCode === 0x89)).toHaveLength(2);
    expect(queue.queued).toBe(0);
  });
});
