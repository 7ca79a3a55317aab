/** `nidomq pub` and `nidomq sub` as scripts use them, alone and with mosquitto's own tools. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Stage, freePort, hasMosquitto, until } from '../client/support/servers.js';
import { COMMAND } from './child.js';

jest.setTimeout(180_000);

const stage = new Stage();
afterEach(() => stage.stop());

interface Result {
  readonly status: number | null;
  readonly out: Buffer;
  readonly err: string;
}

function run(command: string, words: readonly string[], input?: Buffer | string): Promise<Result> {
  const child = spawn(command, words, { stdio: ['pipe', 'pipe', 'pipe'] });
  stage.onStop(() => child.kill('SIGKILL'));
  const out: Buffer[] = [];
  let err = '';
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  return new Promise((resolve) => child.on('close', (status) =>
    resolve({ status, out: Buffer.concat(out), err })));
}

function nidomq(words: readonly string[], input?: Buffer | string): Promise<Result> {
  if (!existsSync(COMMAND)) throw new Error('dist/ is missing: run `npm run build`');
  return run(process.execPath, [COMMAND, ...words], input);
}

/** Starts a subscriber, waits until the broker has its subscriptions, publishes, and waits. */
async function heard(
  { broker, subscriber, publish }: {
    broker: { stats(): { subscriptions: number } };
    subscriber: () => Promise<Result>;
    publish: () => Promise<unknown>;
  },
): Promise<Result> {
  const before = broker.stats().subscriptions;
  const result = subscriber();
  await until(() => broker.stats().subscriptions > before, 'the subscription', 90_000);
  await publish();
  return result;
}

const BINARY = Buffer.from([0, 255, 10, 13, 0x80, 65]);

describe('messages from pub to sub', () => {
  it('arrive byte for byte, whatever they hold', async () => {
    const { broker, port } = await stage.ours();
    const at = ['-p', `${port}`];
    for (const qos of ['0', '1', '2']) {
      const { status, out } = await heard({
        broker,
        subscriber: () => nidomq(['sub', ...at, '-t', 'bin/+', '-q', qos, '-C', '1', '-N']),
        publish: () => nidomq(['pub', ...at, '-t', 'bin/x', '-q', qos, '-s'], BINARY),
      });
      expect({ status, out }).toEqual({ status: 0, out: BINARY });
    }
  });

  it('come from lines, files, arguments and nothing', async () => {
    const { broker, port } = await stage.ours();
    const at = ['-p', `${port}`, '-q', '1'];
    const folder = mkdtempSync(join(tmpdir(), 'nidomq-pub-'));
    stage.onStop(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'payload');
    writeFileSync(file, 'from a file');
    const { out } = await heard({
      broker,
      subscriber: () => nidomq(['sub', ...at, '-t', 'from/#', '-C', '9', '-v']),
      publish: async () => {
        await nidomq(['pub', ...at, '-t', 'from/lines', '-l'], 'one\n\ntwo\nlast');
        await nidomq(['pub', ...at, '-t', 'from/file', '-f', file]);
        await nidomq(['pub', ...at, '-t', 'from/words', '-m', '-5', '--repeat', '3']);
        await nidomq(['pub', '-L', `mqtt://127.0.0.1:${port}/from/url`, '-q', '1', '-n']);
      },
    });
    expect(out.toString()).toBe('from/lines one\nfrom/lines \nfrom/lines two\nfrom/lines last\n'
      + 'from/file from a file\nfrom/words -5\nfrom/words -5\nfrom/words -5\nfrom/url \n');
  });

  it('keep their order by the ten thousand with -l, at every QoS', async () => {
    const { broker, port } = await stage.ours({ limits: { queueMessagesMax: 100_000 } });
    const at = ['-p', `${port}`];
    const lines = Array.from({ length: 10_000 }, (_, number) => `line ${number}`).join('\n');
    for (const qos of ['0', '1', '2']) {
      const { status, out } = await heard({
        broker,
        subscriber: () => nidomq(['sub', ...at, '-t', 'lines', '-q', qos, '-C', '10000']),
        publish: () => nidomq(['pub', ...at, '-t', 'lines', '-q', qos, '-l'], lines),
      });
      expect(status).toBe(0);
      expect(out.toString() === `${lines}\n`).toBe(true);
    }
  });

  it('carry properties, and are printed in formats', async () => {
    const { broker, port } = await stage.ours();
    const at = ['-p', `${port}`];
    const { out } = await heard({
      broker,
      subscriber: () => nidomq(['sub', ...at, '-t', 'p/#', '-q', '1', '-C', '1', '-F',
        '%t|%6t|%-6t|%.2t|%p|%x|%X|%l|%04l|%q|%r|%C|%D|%R|%P|%F|%%|@@|\\t|\\\\']),
      publish: () => nidomq(['pub', ...at, '-t', 'p/q', '-q', '1', '-m', 'Zz',
        '-D', 'publish', 'content-type', 'text', '-D', 'publish', 'correlation-data', 'c d',
        '-D', 'publish', 'response-topic', 'r/t', '-D', 'publish', 'user-property', 'a', '-b',
        '-D', 'publish', 'user-property', 'a', 'c', '-D', 'publish', 'payload-format-indicator',
        '1']),
    });
    expect(out.toString())
      .toBe('p/q|   p/q|p/q   |p/|Zz|5a7a|5A7A|2|0002|1|0|text|c d|r/t|a:-b a:c|1|%|@|\t|\\\n');
  });

  it('are chosen: filtered out, retained, not retained, and counted', async () => {
    const { port } = await stage.ours();
    const at = ['-p', `${port}`];
    for (const name of ['a', 'b', 'c']) {
      await nidomq(['pub', ...at, '-t', `kept/${name}`, '-m', name, '-r', '-q', '1']);
    }
    const filtered = await nidomq(['sub', ...at, '-t', 'kept/#', '-T', 'kept/b', '-C', '2', '-v']);
    expect(filtered.out.toString().trim().split('\n').sort()).toEqual(['kept/a a', 'kept/c c']);
    const none = await nidomq(['sub', ...at, '-t', 'kept/#', '-R', '-W', '1']);
    expect({ status: none.status, out: none.out.length }).toEqual({ status: 27, out: 0 });
    const removed = await nidomq(
      ['sub', ...at, '-t', 'kept/#', '--retained-only', '--remove-retained', '-C', '3']);
    expect(removed.status).toBe(0);
    const gone = await nidomq(['sub', ...at, '-t', 'kept/#', '-W', '1']);
    expect({ status: gone.status, out: gone.out.length }).toEqual({ status: 27, out: 0 });
  });

  it('wait in a session that stays (-c), until -U unsubscribes', async () => {
    const { port } = await stage.ours();
    const at = ['-p', `${port}`, '-q', '1'];
    const stays = [...at, '-c', '-i', 'stays'];
    expect((await nidomq(['sub', ...stays, '-t', 'w/#', '-E'])).status).toBe(0);
    await nidomq(['pub', ...at, '-t', 'w/x', '-m', 'waited']);
    const { out } = await nidomq(['sub', ...stays, '-t', 'w/#', '-C', '1']);
    expect(out.toString()).toBe('waited\n');
    expect((await nidomq(['sub', ...stays, '-U', 'w/#'])).status).toBe(0);
    await nidomq(['pub', ...at, '-t', 'w/x', '-m', 'nobody waits']);
    const nothing = await nidomq(['sub', ...stays, '-t', 'other', '-W', '1']);
    expect({ status: nothing.status, out: nothing.out.length }).toEqual({ status: 27, out: 0 });
  });

  it('may be a Will Message, of a subscriber that is killed', async () => {
    const { broker, port } = await stage.ours();
    const at = ['-p', `${port}`];
    const { out } = await heard({
      broker,
      subscriber: () => nidomq(['sub', ...at, '-t', 'will/+', '-C', '1', '-v']),
      publish: async () => {
        const child = spawn(process.execPath, [COMMAND, 'sub', ...at, '-t', 'other',
          '--will-topic', 'will/x', '--will-payload', 'gone', '--will-qos', '1'],
        { stdio: 'ignore' });
        await until(() => broker.stats().subscriptions > 1, 'the one with a will', 90_000);
        child.kill('SIGKILL');
      },
    });
    expect(out.toString()).toBe('will/x gone\n');
  });

  it('go over TLS', async () => {
    const { url, ca } = await stage.oursTls();
    const folder = mkdtempSync(join(tmpdir(), 'nidomq-pub-'));
    stage.onStop(() => rmSync(folder, { recursive: true, force: true }));
    const caFile = join(folder, 'ca.pem');
    writeFileSync(caFile, ca);
    const at = ['-p', new URL(url).port, '--cafile', caFile];
    expect(await nidomq(['pub', ...at, '-t', 'tls', '-m', 'x', '-r', '-q', '1']))
      .toMatchObject({ status: 0, err: '' });
    const { out } = await nidomq(['sub', ...at, '-t', 'tls', '-C', '1']);
    expect(out.toString()).toBe('x\n');
    const { status, err } = await nidomq(['pub', '-p', new URL(url).port, '--tls-use-os-certs',
      '-t', 'tls', '-m', 'x']);
    expect(status).toBe(1);
    expect(err).toMatch(/certificate/i);
  });
});

describe('exit codes', () => {
  it('say what happened', async () => {
    const { port } = await stage.ours();
    const at = ['-p', `${port}`];
    const closed = `${await freePort()}`;
    const cases: readonly (readonly [number, readonly string[], RegExp])[] = [
      [0, ['pub', ...at, '-t', 'a', '-m', 'b', '-q', '2'], /^$/],
      [27, ['sub', ...at, '-t', 'a', '-W', '0.2'], /^$/],
      [1, ['pub', '-p', closed, '-t', 'a', '-m', 'b'], /ECONNREFUSED/],
      [1, ['sub', '-p', closed, '-t', 'a', '--quiet'], /^$/],
      [2, ['pub', ...at, '-t', 'a/#', '-m', 'b'], /wildcard/],
      [2, ['sub', ...at, '-t', '#/a'], /Topic Filter/],
      [2, ['pub', ...at, '-t', 'a'], /no message/],
      [2, ['pub', ...at, '-m', 'b'], /no topic/],
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '-n'], /together/],
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '-q', '3'], /from 0 to 2/],
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '--bogus'], /no such flag/],
      [2, ['sub', ...at, '-t', 'a', '-F', '%z'], /%z/],
      [2, ['pub', ...at, '-V', '311', '-t', 'a', '-m', 'b', '-D', 'publish', 'content-type', 'x'],
        /no properties/],
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '-D', 'publish', 'content-typ', 'x'], /must be one/],
    ];
    for (const [status, words, said] of cases) {
      const result = await nidomq(words);
      expect({ words, status: result.status }).toEqual({ words, status });
      expect(result.err).toMatch(said);
    }
  });

  it('carry the code with which the server refused: as CONNACK of the version has it', async () => {
    const { port } = await stage.ours({ allowAnonymous: false });
    const words = ['pub', '-p', `${port}`, '-t', 'a', '-m', 'b'];
    const v5 = await nidomq([...words, '-V', '5']);
    const v4 = await nidomq([...words, '-V', '311']);
    expect([v5.status, v4.status]).toEqual([0x87, 5]);
  });

  it('help is not an error', async () => {
    for (const command of ['pub', 'sub']) {
      const { status, out } = await nidomq([command, '--help']);
      expect(status).toBe(0);
      expect(out.toString()).toContain('Exit status');
    }
  });
});

const withTools = hasMosquitto && existsSync('/usr/bin/mosquitto_pub') ? it : it.skip;

describe('with the tools of mosquitto (skipped where they are not installed)', () => {
  const FORMAT = '%t|%q|%r|%l|%C|%E|%F|%P|%R|%x|%X|%8t|%-8t|%.3t|%06l|\\t\\e[0m|@Y|%p';
  const sent = ['-V', '5', '-q', '1', '-t', 'both/a', '-D', 'publish', 'content-type', 'text',
    '-D', 'publish', 'user-property', 'k', 'v', '-D', 'publish', 'response-topic', 'r',
    '-D', 'publish', 'payload-format-indicator', '1', '-m', 'é "x"'];

  for (const version of ['311', '5']) {
    withTools(`sub prints what mosquitto_sub prints, -V ${version}`, async () => {
      const { broker, port } = await stage.ours();
      const at = ['-p', `${port}`];
      const words = [...at, '-V', version === '311' ? 'mqttv311' : 'mqttv5', '-t', 'both/#',
        '-q', '2', '-C', '1', '-F', FORMAT];
      const [theirs, ours] = await Promise.all([
        run('mosquitto_sub', words), nidomq(['sub', ...words]),
        until(() => broker.stats().subscriptions === 2, 'both', 90_000)
          .then(() => run('mosquitto_pub', [...at, ...sent])),
      ]);
      expect(ours.out.toString()).toBe(theirs.out.toString());
      expect([ours.status, theirs.status]).toEqual([0, 0]);
    });
  }

  withTools('pub sends what mosquitto_pub sends, to mosquitto', async () => {
    const { port } = await stage.mosquitto();
    const server = ['-p', `${port}`];
    const stays = [...server, '-V', '5', '-c', '-i', 'judge', '-q', '2', '-t', 'both/#'];
    await run('mosquitto_sub', [...stays, '-E']);
    await run('mosquitto_pub', [...server, ...sent]);
    await nidomq(['pub', ...server, ...sent]);
    for (const input of ['1\n2\n', BINARY]) {
      await run('mosquitto_pub', [...server, '-q', '1', '-t', 'both/b', '-s'], input);
      await nidomq(['pub', ...server, '-q', '1', '-t', 'both/b', '-s'], input);
    }
    const format = '%t|%q|%r|%l|%C|%F|%P|%R|%x';
    const { out } = await run('mosquitto_sub', [...stays, '-C', '6', '-F', format]);
    const printed = out.toString().trim().split('\n');
    expect(printed).toHaveLength(6);
    for (const at of [0, 2, 4]) expect(printed[at + 1]).toBe(printed[at]);
    expect(printed[0]).toBe(`both/a|1|0|6|text|1|k:v|r|${Buffer.from('é "x"').toString('hex')}`);
  });
});
