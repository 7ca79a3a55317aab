/** `nidomq passwd`, `nidomq acl test` and `nidomq check-config`. */
import { PassThrough } from 'node:stream';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { afterAll, describe, expect, it } from '@jest/globals';
import { readPassword } from '../../lib/cli/read-password.js';
import { temporaryFolder } from '../guard/mosquitto.js';
import { COMMAND } from './child.js';
import { say } from './recorder.js';

const folder = temporaryFolder();
afterAll(() => folder.remove());
const ACL = 'user anna\ntopic read news/#\ntopic deny news/secret\npattern write u/%u/#\n';
const quiet = { line: () => undefined, errorLine: () => undefined };

function passwd(input: string, ...words: string[]): { status: number | null; said: string } {
  if (!existsSync(COMMAND)) throw new Error('dist/ is missing: run `npm run build`');
  const { status, stdout, stderr } = spawnSync(
    process.execPath, [COMMAND, 'passwd', ...words], { input, encoding: 'utf8' },
  );
  return { status, said: stdout + stderr };
}

describe('nidomq passwd', () => {
  it('adds, changes and removes a user, and mosquitto reads the result', () => {
    const path = `${folder.path}/passwords`;
    expect(passwd('geheim\n', path, 'anna').said).toContain('anna was added');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const before = readFileSync(path, 'utf8');
    expect(before).toMatch(/^anna:\$7\$\d+\$/);
    expect(before).not.toContain('geheim');
    expect(passwd('anders\n', path, 'anna').said).toContain('has a new password');
    expect(readFileSync(path, 'utf8')).not.toBe(before);
    expect(passwd('', path, 'anna', '--delete').status).toBe(0);
    expect(passwd('', path, 'anna', '--delete')).toMatchObject({ status: 2 });
    expect(readFileSync(path, 'utf8')).toBe('');
  });

  it('prints a hash for the users of a configuration, and touches no file', () => {
    const { status, said } = passwd('geheim\n', '--print');
    expect(status).toBe(0);
    expect(said.trim()).toMatch(/^\$7\$\d+\$\S+$/m);
    expect(passwd('geheim\n', '--print', `${folder.path}/none`).said).toContain('NIDO_CLI_FLAG_INVALID');
    expect(passwd('geheim\n', `${folder.path}/none`).said).toContain('NIDO_CLI_FLAG_INVALID');
    expect(existsSync(`${folder.path}/none`)).toBe(false);
  });

  it('refuses an empty password, a wrong name and a wrong format', () => {
    const path = `${folder.path}/other`;
    expect(passwd('\n', path, 'anna').said).toContain('NIDO_PASSWORD_LENGTH');
    expect(passwd('', path, 'anna').said).toContain('NIDO_CLI_PASSWORD');
    expect(passwd('x\n', path, 'an:na').said).toContain('NIDO_USERNAME');
    expect(passwd('x\n', path, 'anna', '--format', 'md5').status).toBe(2);
    expect(existsSync(path)).toBe(false);
  });

  it('takes what a person types twice, shows nothing, and knows the way back', async () => {
    const terminal = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => undefined });
    const asked = readPassword(terminal, quiet);
    terminal.write('geheimm\u007f\r');
    await new Promise((resolve) => setImmediate(resolve));
    terminal.write('geheim\r');
    expect(await asked).toBe('geheim');
    const again = readPassword(terminal, quiet);
    terminal.write('\u0003');
    await expect(again).rejects.toMatchObject({ code: 'NIDO_CLI_PASSWORD' });
  });
});

describe('nidomq acl test', () => {
  const aclFile = folder.file('acl', ACL);
  const ask = (...words: string[]) => say('acl', 'test', ...words, '--acl-file', aclFile);

  it('says which rule decided, with file and line', async () => {
    expect(await ask('c', 'anna', 'subscribe', 'news/x')).toMatchObject({
      status: 0, lines: expect.stringContaining(`allow: ${aclFile}:2`) as unknown as string,
    });
    expect(await ask('c', 'anna', 'publish', 'u/anna/x')).toMatchObject({
      status: 0, lines: expect.stringContaining(`${aclFile}:4`) as unknown as string,
    });
  });

  it('ends with 1 when the answer is no', async () => {
    expect((await ask('c', 'anna', 'receive', 'news/secret')).status).toBe(1);
    expect(await ask('c', '-', 'publish', 'news/x')).toMatchObject({
      status: 1, lines: expect.stringMatching(/^deny: /) as unknown as string,
    });
  });

  it('refuses questions that are none, and a configuration without rules', async () => {
    expect((await ask('c', 'anna', 'read', 'x')).errors).toContain('publish, subscribe, receive');
    expect((await ask('c', 'anna', 'publish', 'x', '--qos', '3')).status).toBe(2);
    expect((await say('acl', 'test', 'c', 'u', 'publish', 'x')).errors).toContain('no rules');
  });
});

describe('nidomq check-config', () => {
  const check = (config: unknown) => say('check-config', folder.file('c.json', JSON.stringify(config)));

  it('says that a good one is good', async () => {
    expect(await check({ limits: { publishesPerSecond: 100 } })).toMatchObject({ status: 0 });
  });

  it('says all that is wrong', async () => {
    const { status, lines, errors } = await check({
      authentication: [{ kind: 'password-file', path: '/none' }, { kind: 'magic' }],
      authorization: { aclFile: folder.file('empty', '') },
      limits: { inflightMax: -1 },
    });
    expect(status).toBe(2);
    expect(lines).toContain('authentication[0]: /none');
    expect(lines).toContain('authentication[1]');
    expect(lines).toContain('authorization: ');
    expect(lines).toContain('limits.inflightMax');
    expect(errors).toContain('4 errors');
  });

  it('does not stop at the first wrong option of a kind', async () => {
    const { status, lines, errors } = await check({
      allowAnonymos: true,
      engine: 'memry',
      listeners: [{ port: 99_999 }, { prt: 1, tls: { certFile: '/none.crt', keyFile: '/none.key' } }],
      limits: { packetBytesMax: -1, connectionsPerUserMx: 3, flappingBanMs: 'x', bansMax: 'y' },
      authentication: [{ kind: 'magic' }],
    });
    expect(status).toBe(2);
    const found = ['allowAnonymos', 'engine', 'listeners[0].port', 'listeners[1].prt', 'listeners[1]: ',
      'limits.packetBytesMax', 'limits.connectionsPerUserMx', 'limits.flappingBanMs', 'limits.bansMax',
      'authentication[0]'];
    for (const path of found) expect(lines).toContain(path);
    // What there is instead: of the broker and of the guards.
    expect(lines).toMatch(/limits\.connectionsPerUserMx: .*limits\.inflightMax.*limits\.connectionsPerUserMax/);
    expect(errors).toContain(`${found.length} errors`);
  });

  it('ends where nothing can be left out', async () => {
    for (const config of [{ listeners: 7 }, { limits: 'many' }, { authentication: {} }, { listeners: [3] }]) {
      const { status, lines, errors } = await check(config);
      expect({ config, status, said: (lines + errors).length > 20 }).toEqual({ config, status: 2, said: true });
    }
  });

  it('reads the certificates of every door', async () => {
    const broken = folder.file('broken.crt', 'no certificate');
    const { status, lines } = await check({
      listeners: [
        { port: 0, tls: { certFile: '/none.crt', keyFile: '/none.key' } },
        { port: 0, tls: { certFile: broken, keyFile: broken } },
        { port: 0 },
      ],
    });
    expect(status).toBe(2);
    expect(lines).toMatch(/error: listeners\[0\]: .*\[NIDO_LISTENER_FILE_UNREADABLE\]/);
    expect(lines).toMatch(/error: listeners\[1\]: .*\[NIDO_LISTENER_TLS_CERTIFICATE_BAD\]/);
    expect(lines).not.toContain('listeners[2]');
  });

  it('warns of authenticators for listeners that there are not', async () => {
    const { status, lines } = await check({
      listeners: [{ port: 0, name: 'inside' }, { port: 0 }],
      authentication: [{ kind: 'anonymous', listeners: ['inside', '127.0.0.1:0', 'inner'] }],
    });
    expect(status).toBe(0);
    expect(lines.match(/NIDO_LISTENER_NAME/g)).toHaveLength(1);
    expect(lines).toContain('authentication[0].listeners: there is no listener "inner"');
  });

  it('refuses a door that everybody could use', async () => {
    const { status, lines } = await check({ listeners: [{ host: '0.0.0.0' }] });
    expect(status).toBe(2);
    expect(lines).toContain('NIDO_LISTENER_OPEN');
  });
});
