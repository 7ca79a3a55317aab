import { lstatSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import type { ConnectionGatekeeper } from '../../lib/broker/hooks.js';
import {
  PasswordFileAuthenticator, buildAuthorizer, buildGuard, checkGuardConfig, hashPassword, passwordLine, removeUser,
  setPassword, testAcl,
} from '../../lib/guard/index.js';
import type { AclQuestion, GuardConfig } from '../../lib/guard/index.js';
import { createFilterSet } from './core-filter-set.js';
import { TestClient, hasProgram, startMosquitto, temporaryFolder } from './mosquitto.js';
import { connectRequest } from './requests.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const needs = { createFilterSet };

describe('nidomq passwd', () => {
  it('makes, changes and empties a file that only its owner reads', async () => {
    const path = join(folder.path, 'users');
    expect(await setPassword(path, { username: 'anna', password: 'one' })).toBe('added');
    expect(await setPassword(path, { username: 'bruno', password: 'two' }, { format: 'scrypt' })).toBe('added');
    expect(await setPassword(path, { username: 'anna', password: 'three' }, { format: 'sha512' })).toBe('changed');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const file = new PasswordFileAuthenticator({ path });
    const ask = async (username: string, password: string) =>
      (await file.authenticate(connectRequest({ username, password }))).ok;
    expect([await ask('anna', 'three'), await ask('anna', 'one'), await ask('bruno', 'two')]).toEqual([true, false, true]);
    file.close();
    expect(removeUser(path, 'anna')).toBe(true);
    expect(removeUser(path, 'anna')).toBe(false);
    expect(readFileSync(path, 'utf8')).toMatch(/^bruno:\$scrypt\$[^\n]*\n$/);
    expect(readdirSync(folder.path).filter((name) => name.endsWith('.new'))).toEqual([]);
  });

  it('refuses names that would break a line, empty passwords, links and files of another kind', async () => {
    const path = join(folder.path, 'other');
    for (const username of ['', ' ', ' a', 'a ', 'a:b', 'a\nb', '#a', 'a\u0000']) {
      await expect(setPassword(path, { username, password: 'x' })).rejects.toMatchObject({ code: 'NIDO_USERNAME' });
    }
    await expect(passwordLine({ password: '' })).rejects.toMatchObject({ code: 'NIDO_PASSWORD_LENGTH' });
    const target = folder.file('target', '');
    symlinkSync(target, join(folder.path, 'link'));
    await expect(setPassword(join(folder.path, 'link'), { username: 'a', password: 'x' }))
      .rejects.toMatchObject({ code: 'NIDO_PASSWORD_FILE_LINK' });
    expect(lstatSync(join(folder.path, 'link')).isSymbolicLink()).toBe(true);
    const config = folder.file('config', 'listener 1883\n');
    await expect(setPassword(config, { username: 'a', password: 'x' }))
      .rejects.toMatchObject({ code: 'NIDO_PASSWORD_FILE_MALFORMED' });
    expect(readFileSync(config, 'utf8')).toBe('listener 1883\n');
  });

  const installed = hasProgram('mosquitto');
  if (!installed) process.stderr.write('SKIPPED: mosquitto is not installed, it does not read our file\n');
  (installed ? it : it.skip)('writes what mosquitto reads', async () => {
    const path = join(folder.path, 'for-mosquitto');
    await setPassword(path, { username: 'anna', password: 'päss' });
    await setPassword(path, { username: 'bruno', password: 'wörd' }, { format: 'sha512' });
    const mosquitto = await startMosquitto(['allow_anonymous false', `password_file ${path}`]);
    const login = async (username: string, password: string): Promise<number> => {
      const { client, reasonCode } = await TestClient.connect(mosquitto.port, { clientId: 'c', username, password });
      client.close();
      return reasonCode;
    };
    const codes = [await login('anna', 'päss'), await login('bruno', 'wörd'), await login('bruno', 'päss')];
    await mosquitto.stop();
    expect(codes.map((code) => code === 0)).toEqual([true, true, false]);
  });
});

describe('nidomq acl test', () => {
  const path = folder.file('acl', 'user anna\ntopic read a/#\ntopic deny a/secret\n\npattern readwrite dev/%c/#\n');

  it.each<[Partial<AclQuestion>, string, string]>([
    [{ action: 'receive', topic: 'a/x' }, 'allow', ':2 topic read a/#'],
    [{ action: 'receive', topic: 'a/secret' }, 'deny', ':3 topic deny a/secret'],
    [{ action: 'publish', topic: 'a/x' }, 'deny', 'no rule allows it'],
    [{ action: 'publish', topic: 'dev/c1/x' }, 'allow', ':5 pattern readwrite dev/%c/#'],
    [{ action: 'publish', topic: 'dev/c1/x', clientId: '+' }, 'deny', 'names with + or #'],
    [{ action: 'subscribe', topic: 'dev/c1/+' }, 'allow', ':5 pattern readwrite dev/%c/#'],
    [{ action: 'subscribe', topic: 'a/#' }, 'deny', ':3 topic deny a/secret'],
    [{ action: 'subscribe', topic: 'b/#' }, 'deny', 'no rule covers the whole subscription'],
  ])('says which rule decided about %j: %s by %s', (question, verdict, by) => {
    const authorizer = buildAuthorizer({ aclFile: path }, needs);
    const answer = testAcl(authorizer, { clientId: 'c1', username: 'anna', action: 'publish', topic: 'x', ...question });
    authorizer.close();
    expect(answer.verdict).toBe(verdict);
    expect(answer.decidedBy).toContain(by);
  });

  it('says when a subscription is taken and its deliveries are filtered', () => {
    const authorizer = buildAuthorizer({ aclFile: path, widerSubscriptions: 'filter' }, needs);
    const question = { clientId: 'c1', username: 'anna', action: 'subscribe' as const };
    expect(testAcl(authorizer, { ...question, topic: 'a/#' }).verdict).toBe('filtered');
    expect(testAcl(authorizer, { ...question, topic: 'b/#' }).verdict).toBe('deny');
    authorizer.close();
  });

  it('names rules of the configuration by their place and name', () => {
    const rules = [{ effect: 'allow' as const, action: 'publish' as const, topics: ['x'], name: 'door' }];
    const answer = testAcl(buildAuthorizer({ rules }, needs), { clientId: 'c', action: 'publish', topic: 'x' });
    expect(answer).toEqual({ verdict: 'allow', decidedBy: 'rules[0] (door): allow publish x' });
  });
});

describe('nidomq check-config', () => {
  it('is content with what a broker would start with', async () => {
    const hash = await hashPassword(Buffer.from('x'));
    const path = folder.file('good', `anna:${hash}\n`);
    spawnSync('chmod', ['600', path]);
    const config: GuardConfig = {
      authentication: [{ kind: 'password-file', path }, { kind: 'anonymous' }],
      authorization: { rules: [{ effect: 'allow', topics: ['#'] }] }, limits: { bansMax: 5 },
      bans: [{ kind: 'address', value: '10.0.0.0/8' }],
    };
    expect(checkGuardConfig(config, needs)).toEqual([]);
    const guard = buildGuard(config, needs);
    expect(guard.authentication).toHaveLength(2);
    expect(guard.bans.list(0)).toHaveLength(1);
    const gate: ConnectionGatekeeper = guard.gate;
    expect(gate.opened('10.1.1.1', 0, 0, 'door')).toMatchObject({ kind: 'refuse', reasonCode: 0x8a });
    expect(guard.reload()).toBe(true);
    guard.close();
  });

  it('says everything that is wrong, with its place, and no secret', () => {
    const path = folder.file('bad', 'anna:hunter2\n');
    const config = {
      authentication: [
        { kind: 'password-file', path }, { kind: 'magic' }, { kind: 'anonymous' },
        { kind: 'jwt', algorithms: ['HS256'], keys: { secret: 'hunter2' } }, { kind: 'scram' },
        { kind: 'http', url: 'http://auth.invalid/' },
      ],
      authorization: { aclFile: join(folder.path, 'missing') }, limits: { connections: 5 },
      bans: [{ kind: 'address', value: 'everybody' }], authorisation: {},
    } as unknown as GuardConfig;
    const problems = checkGuardConfig(config, needs);
    const told = problems.map((problem) => `${problem.severity} ${problem.path} ${problem.code}`);
    expect(told).toEqual([
      'error authorisation NIDO_GUARD_CONFIG',
      'error authentication[0] NIDO_HASH_MALFORMED',
      'warning authentication[0] NIDO_FILE_READABLE',
      'error authentication[1] NIDO_AUTHENTICATION_KIND',
      'warning authentication[2] NIDO_ANONYMOUS_ORDER',
      'error authentication[3] NIDO_JWT_OPTIONS',
      'error authentication[4] NIDO_SCRAM_OPTIONS',
      'warning authentication[5] NIDO_HTTP_AUTH_PLAIN',
      'error authorization NIDO_GUARD_FILE', 'error limits NIDO_GUARD_CONFIG', 'error bans NIDO_BAN_ADDRESS',
    ]);
    expect(JSON.stringify(problems)).not.toContain('hunter2');
  });

  it('warns when whoever comes in may do everything', async () => {
    const users = [{ username: 'a', password: await hashPassword(Buffer.from('x'), { format: 'sha512' }) }];
    const problems = checkGuardConfig({ authentication: [{ kind: 'users', users }] }, needs);
    expect(problems).toMatchObject([{ severity: 'warning', code: 'NIDO_NO_AUTHORIZATION' }]);
  });
});

describe('the guards of a configuration', () => {
  it('are all there or none: a broken part stops the start', () => {
    expect(() => buildGuard({ authorization: {} }, needs)).toThrow(expect.objectContaining({ code: 'NIDO_RULES_EMPTY' }));
    expect(() => buildGuard({ authorization: { rules: [] } }, needs)).toThrow(expect.objectContaining({ code: 'NIDO_RULES_EMPTY' }));
    const good = folder.file('rules', '[{"effect":"allow","topics":["#"]}]');
    const authorization = { rulesFile: good, aclFile: writeEmpty() };
    expect(() => buildGuard({ authorization }, needs)).toThrow(expect.objectContaining({ code: 'NIDO_ACL_FILE_EMPTY' }));
  });

  it.each([
    [{ kind: 'password-file', file: '/x' },
      'authentication[0] (password-file): there is no option "file"; it has kind, listeners, path'],
    [{ kind: 'password-file' }, 'authentication[0] (password-file): "path" is missing'],
    [{ kind: 'jwt', keys: {} }, 'authentication[0] (jwt): "algorithms" is missing'],
  ])('name the option that is wrong: %j', (part, message) => {
    const config = { authentication: [part] } as unknown as GuardConfig;
    expect(() => buildGuard(config, needs)).toThrow(message);
  });

  it('serve SCRAM from the same password file', async () => {
    const path = join(folder.path, 'scram');
    await setPassword(path, { username: 'anna', password: 'x' }, { format: 'scram-sha-256', iterations: 4096 });
    const guard = buildGuard({ authentication: [{ kind: 'scram', path }, { kind: 'password-file', path }] }, needs);
    const [scram] = guard.enhancedAuthentication;
    const step = await scram.begin(connectRequest()).step(Buffer.from('n,,n=anna,r=abc'));
    expect(step).toMatchObject({ kind: 'continue' });
    expect(Buffer.from((step as { data: Uint8Array }).data).toString()).toContain('i=4096');
    const plain = connectRequest({ username: 'anna', password: 'x' });
    expect(await guard.authentication[0].authenticate(plain)).toMatchObject({ ok: true });
    guard.close();
  });
});

function writeEmpty(): string {
  const path = join(folder.path, 'empty-acl');
  writeFileSync(path, '');
  return path;
}
