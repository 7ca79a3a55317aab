/** `nidomq pub` and `nidomq sub` as scripts use them, alone and with mosquitto's own tools. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, jest } from '@jest/globals';
import { clientLimits } from '../../lib/client/index.js';
import { Recording } from '../client/support/recorded-line.js';
import { Stage, freePort, hasMosquitto, until } from '../client/support/servers.js';
import { COMMAND } from './child.js';
import { CommandLines, nidomqProcess, run as runFor } from './nidomq-process.js';
import type { Result } from './nidomq-process.js';

jest.setTimeout(180_000);

const stage = new Stage();
afterEach(() => stage.stop());

const run = (command: string, words: readonly string[], input?: Buffer | string): Promise<Result> =>
  runFor(stage, command, words, input);
/** In a process of its own: for what has to do with stdin, stdout, and how a process ends. */
const alone = (words: readonly string[], input?: Buffer | string): Promise<Result> =>
  nidomqProcess(stage, words, input);

const commandLines = new CommandLines();
afterAll(() => commandLines.stop());
const nidomq = (words: readonly string[]): Promise<Result> => commandLines.run(words);

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
        subscriber: () => alone(['sub', ...at, '-t', 'bin/+', '-q', qos, '-C', '1', '-N']),
        publish: () => alone(['pub', ...at, '-t', 'bin/x', '-q', qos, '-s'], BINARY),
      });
      expect({ status, out }).toEqual({ status: 0, out: BINARY });
    }
  });

  const onFull = existsSync('/dev/full') ? it : it.skip;
  onFull('end sub with words where stdout takes no more (skipped without /dev/full)', async () => {
    const { port } = await stage.ours();
    await alone(['pub', '-p', `${port}`, '-t', 'a', '-m', 'x', '-r', '-q', '1']);
    const words = ['sub', '-p', `${port}`, '-t', 'a', '-C', '1'];
    const { status, err } = await run('sh', [
      '-c', '"$@" > /dev/full', 'sh', process.execPath, COMMAND, ...words,
    ]);
    expect(status).toBe(1);
    expect(err).toMatch(/^nidomq: standard output takes no more: ENOSPC.*\n$/);
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
        await alone(['pub', ...at, '-t', 'from/lines', '-l'], 'one\n\ntwo\nlast');
        await nidomq(['pub', ...at, '-t', 'from/file', '-f', file]);
        await nidomq(['pub', ...at, '-t', 'from/words', '-m', '-5', '--repeat', '3']);
        await nidomq(['pub', '-L', `mqtt://127.0.0.1:${port}/from/url`, '-q', '1', '-n']);
      },
    });
    expect(out.toString()).toBe('from/lines one\nfrom/lines (null)\nfrom/lines two\nfrom/lines last\n'
      + 'from/file from a file\nfrom/words -5\nfrom/words -5\nfrom/words -5\nfrom/url (null)\n');
  });

  it('go to the topic of -L, whatever it holds: it is no path', async () => {
    const { broker, port } = await stage.ours();
    const url = `mqtt://127.0.0.1:${port}`;
    for (const [filter, topic] of [['url/#', 'url/x'], ['a/+/c', 'a/../c'], ['x?y', 'x?y'],
      ['100%', '100%'], ['%41', '%41'], ['/a//b', '/a//b'], ['ñ o', 'ñ o']]) {
      const { status, out } = await heard({
        broker,
        subscriber: () => nidomq(['sub', '-L', `${url}/${filter}`, '-C', '1', '-F', '%t']),
        publish: () => nidomq(['pub', '-L', `${url}/${topic}`, '-q', '1', '-m', 'x']),
      });
      expect({ status, out: out.toString() }).toEqual({ status: 0, out: `${topic}\n` });
    }
  });

  it('keep to the last of two flags, as with scripts that add to what they have', async () => {
    const { broker, port } = await stage.ours();
    const { out } = await heard({
      broker,
      subscriber: () => nidomq(['sub', '-p', '1', '-p', `${port}`, '-t', 'last', '-q', '0', '-q', '1',
        '-C', '9', '-C', '1', '-F', '%q %p']),
      publish: () => nidomq(['pub', '-p', '1', '-p', `${port}`, '-t', 'first', '-t', 'last',
        '-q', '0', '-q', '1', '-m', 'x']),
    });
    expect(out.toString()).toBe('1 x\n');
  });

  it('keep their order by the thousand with -l, at every QoS', async () => {
    const { broker, port } = await stage.ours({ limits: { queueMessagesMax: 100_000 } });
    const at = ['-p', `${port}`];
    const lines = Array.from({ length: 3_000 }, (_, number) => `line ${number}`).join('\n');
    for (const qos of ['0', '1', '2']) {
      const { status, out } = await heard({
        broker,
        subscriber: () => alone(['sub', ...at, '-t', 'lines', '-q', qos, '-C', '3000']),
        publish: () => alone(['pub', ...at, '-t', 'lines', '-q', qos, '-l'], lines),
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

  it('are no more than -C wants: the next run begins behind them, and none waits', async () => {
    const { port } = await stage.ours();
    const at = ['-p', `${port}`, '-q', '1'];
    const stays = [...at, '-c', '-i', 'counts', '-t', 'n/#'];
    await nidomq(['sub', ...stays, '-E']);
    await alone(['pub', ...at, '-t', 'n/x', '-l'], '1\n2\n3\n4\n5\n');
    const printed: string[] = [];
    for (const wanted of ['1', '2', '1', '1']) {
      const begun = performance.now();
      const { status, out } = await nidomq(['sub', ...stays, '-C', wanted]);
      expect(status).toBe(0);
      expect(performance.now() - begun).toBeLessThan(clientLimits.endDeadlineMs);
      printed.push(out.toString());
    }
    expect(printed).toEqual(['1\n', '2\n3\n', '4\n', '5\n']);
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
    expect(await alone(['pub', ...at, '-t', 'tls', '-m', 'x', '-r', '-q', '1']))
      .toMatchObject({ status: 0, err: '' });
    const { out } = await alone(['sub', ...at, '-t', 'tls', '-C', '1']);
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
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '-m', 'c'], /-m was given twice/],
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '-i', 'x', '-I', 'y'], /-i and -I .*together/],
      [2, ['sub', ...at, '-t', 'a', '-R', '--retained-only'], /-R and --retained-only .*together/],
      [2, ['sub', ...at, '-t', 'a', '-T', '#/a'], /-T: Topic Filter/],
      [2, ['sub', '-L', 'mqtt://a:100%@localhost/x'], /password holds a %/],
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '-q', '3'], /from 0 to 2/],
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '--bogus'], /no such flag/],
      [2, ['sub', ...at, '-t', 'a', '-F', '%z'], /%z/],
      [2, ['pub', ...at, '-V', '311', '-t', 'a', '-m', 'b', '-D', 'publish', 'content-type', 'x'],
        /no properties/],
      [2, ['pub', ...at, '-t', 'a', '-m', 'b', '-D', 'publish', 'content-typ', 'x'], /must be one/],
      [2, ['sub', ...at, '-t', 'a', '-D', 'disconnect', 'content-type', 'x'], /belongs to publish/],
      [2, ['sub', ...at, '-t', 'a', '-D', 'unsubscribe', 'session-expiry-interval', '1'],
        /belongs to connect, disconnect/],
      [2, ['sub', ...at, '-t', 'a', '-D', 'disconnect', 'session-expiry-interval', '1'],
        /a session that stays/],
    ];
    const seen = new Set<number>();
    for (const [status, words, said] of cases) {
      // A process ends with it: each is seen once. The rest is what the command line says.
      const result = await (seen.has(status) ? nidomq : alone)(words);
      seen.add(status);
      expect({ words, status: result.status }).toEqual({ words, status });
      expect(result.err).toMatch(said);
    }
  });

  it.each(['--capath', '--proxy', '--tls-engine', '--keyform', '-o'])(
    'says what to do instead of mosquitto\'s %s', async (flag) => {
      const { status, err } = await nidomq(['sub', '-t', 'a', flag, 'x']);
      expect(status).toBe(2);
      expect(err).toContain(`${flag} of mosquitto is not there: `);
    });

  it('carry the code with which the server refused: as CONNACK of the version has it', async () => {
    const { port } = await stage.ours({ allowAnonymous: false });
    const words = ['pub', '-p', `${port}`, '-t', 'a', '-m', 'b'];
    const v5 = await alone([...words, '-V', '5']);
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

const HAS_TOOLS = hasMosquitto && existsSync('/usr/bin/mosquitto_pub');
const withTools = HAS_TOOLS ? it : it.skip;

describe('with the tools of mosquitto (skipped where they are not installed)', () => {
  const sent = ['-V', '5', '-q', '1', '-t', 'both/a', '-D', 'publish', 'content-type', 'text',
    '-D', 'publish', 'user-property', 'k', 'v', '-D', 'publish', 'response-topic', 'r',
    '-D', 'publish', 'payload-format-indicator', '1', '-m', 'é "x"'];

  const WIDTHS = '[%A|%5A|%05A][%C|%20C|%-20C|%.3C|%20.3C][%D][%E|%6E|%06E|%-6E][%F|%3F|%03F]'
    + '[%l|%5l|%05l|%-5l][%m|%5m|%05m][%p|%10p|%-10p|%020p|%3p|%03p][%P][%q][%R|%5R|%-9R|%.1R][%r]'
    + '[%S|%5S|%05S][%t|%30t|%-30t|%.4t|%.3t|%030t|%3.2t|%.0t]'
    + '[%x|%4x|%7x|%20x|%-20x|%020x|%.2x][%X|%2X|%07X][%%@@\\\\\\n\\t\\e]@Y';
  const JSON_PAYLOAD = '{"z":1e21, "1":0.1,"1":123456789012345678,"e":{ },"l":[],"y":1e5,"q":1e15,'
    + '"n":[[1],{"a":[{"b":true}]}],"x":-0.00001234,"s":0.30000000000000004,"u":"\\u00e9\\/\\n"}';
  const SENT: readonly (readonly [words: readonly string[], input?: Buffer | string])[] = [
    [sent],
    [['-V', '5', '-q', '2', '-t', 'both/ü', '-D', 'publish', 'correlation-data', 'c0rr', '-D',
      'publish', 'user-property', 'k', '1', '-D', 'publish', 'user-property', 'k', '2', '-n']],
    [['-V', '5', '-t', 'both/binary', '-s'], BINARY],
    [['-V', '5', '-t', 'both/control', '-m', 'a\tb\nc\x01\x7f"\\/ \u{1f600}']],
    [['-q', '1', '-t', 'both/json', '-m', JSON_PAYLOAD]],
    [['-q', '1', '-t', 'both/number', '-m', '12.50']],
    [['-q', '1', '-t', 'both/list', '-m', ' [1, "x" ]  ']],
  ];
  /** The time has milliseconds here and microseconds there. */
  const timeless = (out: Buffer): string =>
    out.toString('latin1').replaceAll(/"tst":(\s*)"[^"]+"/g, '"tst":$1""');

  withTools.each([
    ['-v'], ['-N', '-v'], [], ['-F', WIDTHS], ['-F', '%j'], ['-F', '%J'], ['-F', '%j', '--pretty'],
    ['-F', '%J', '--pretty'], ['-V', 'mqttv311', '-F', WIDTHS],
    ['-F', '[%S|%5S]', '-D', 'subscribe', 'subscription-identifier', '42'],
  ].map((words) => [words]))('sub prints what mosquitto_sub prints, byte for byte: %j',
    async (how) => {
      const { broker, port } = await stage.ours();
      const at = ['-p', `${port}`];
      const version = how.includes('-V') ? [] : ['-V', 'mqttv5'];
      const words = [...at, ...version, '-t', 'both/#', '-q', '2', '-C', `${SENT.length}`, ...how];
      const publish = async (): Promise<void> => {
        await until(() => broker.stats().subscriptions === 2, 'both', 90_000);
        for (const [message, input] of SENT) await run('mosquitto_pub', [...at, ...message], input);
      };
      const [theirs, ours] = await Promise.all([
        run('mosquitto_sub', words), nidomq(['sub', ...words]), publish(),
      ]);
      expect(timeless(ours.out)).toBe(timeless(theirs.out));
      expect(ours.err).toBe(theirs.err);
      expect([ours.status, theirs.status]).toEqual([0, 0]);
    });

  withTools('pub has a pre-shared key where mosquitto_pub has one', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nidomq-psk-'));
    stage.onStop(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'keys');
    writeFileSync(file, 'device:0123456789abcdef\n');
    const { port } = await stage.mosquitto(['psk_hint nidomq', `psk_file ${file}`]);
    const words = ['-p', `${port}`, '-q', '1', '-t', 'a', '-m', 'b', '--psk-identity', 'device'];
    for (const [key, status] of [['0123456789abcdef', 0], ['fedcba9876543210', 1]] as const) {
      const [theirs, ours] = await Promise.all([
        run('mosquitto_pub', [...words, '--psk', key]), nidomq(['pub', ...words, '--psk', key]),
      ]);
      expect(ours.status).toBe(status);
      expect(theirs.status === 0).toBe(status === 0); // it says now 1, now 8
    }
  });

  const goodbye = ['-D', 'disconnect', 'session-expiry-interval', '5',
    '-D', 'disconnect', 'user-property', 'k', '1', '-D', 'disconnect', 'user-property', 'k', '2',
    '-D', 'disconnect', 'reason-string', 'bye'];
  const unsubscribe = ['-t', 'a', '-U', 'z', '-D', 'unsubscribe', 'user-property', 'k', 'v'];

  withTools.each<[when: string, tool: 'pub' | 'sub', words: readonly string[]]>([
    ['at once (-E)', 'sub', ['-c', '-i', 'me', '-t', 'z', '-E', ...goodbye]],
    ['having unsubscribed', 'sub', ['-c', '-i', 'me', '-E', ...unsubscribe, ...goodbye]],
    ['when its time is over', 'sub', ['-c', '-i', 'me', '-t', 'z', '-W', '1', ...goodbye]],
    ['having published', 'pub', ['-x', '9', '-i', 'me', '-t', 'a', '-m', 'b', '-q', '1', ...goodbye]],
  ])('goodbye is said with the properties with which mosquitto says it: %s', async (
    _, tool, words,
  ) => {
    const { port } = await stage.mosquitto();
    const said: { readonly status: number | null; readonly packets: unknown[] }[] = [];
    for (const who of ['mosquitto', 'nidomq']) {
      // There is something to unsubscribe.
      await run('mosquitto_sub', ['-p', `${port}`, '-V', '5', '-c', '-i', 'me', '-t', 'z', '-E']);
      const recording = new Recording();
      const proxy = await stage.proxy(port, { recording });
      const given = ['-V', '5', '-p', new URL(proxy.url).port, ...words];
      const { status } = who === 'nidomq'
        ? await nidomq([tool, ...given]) : await run(`mosquitto_${tool}`, given);
      // The end of a process is told sooner than what it wrote last is read.
      await until(() => proxy.open === 0, 'the end of its connection');
      const packets = recording.of('me').flatMap(({ from, packet }) =>
        from === 'client' && (packet.cmd === 'unsubscribe' || packet.cmd === 'disconnect')
          ? [[packet.cmd, packet.properties]] : []);
      said.push({ status, packets });
    }
    const byeUser = { k: ['1', '2'] };
    const bye = ['disconnect', {
      sessionExpiryInterval: 5, userProperties: byeUser, reasonString: 'bye',
    }];
    const packets = words.includes('-U')
      ? [['unsubscribe', { userProperties: { k: 'v' } }], bye] : [bye];
    const status = words.includes('-W') ? 27 : 0;
    const [theirs, ours] = said;
    expect(ours).toEqual({ status, packets });
    // Having unsubscribed as well, mosquitto_sub -E now and then leaves without DISCONNECT.
    const isCutShort = words.includes('-U') && theirs.packets.length === 1;
    expect(theirs).toEqual({ status, packets: isCutShort ? packets.slice(0, 1) : packets });
  });

  withTools('pub sends what mosquitto_pub sends, to mosquitto', async () => {
    const { port } = await stage.mosquitto();
    const server = ['-p', `${port}`];
    const stays = [...server, '-V', '5', '-c', '-i', 'judge', '-q', '2', '-t', 'both/#'];
    await run('mosquitto_sub', [...stays, '-E']);
    await run('mosquitto_pub', [...server, ...sent]);
    await nidomq(['pub', ...server, ...sent]);
    for (const input of ['1\n2\n', BINARY]) {
      await run('mosquitto_pub', [...server, '-q', '1', '-t', 'both/b', '-s'], input);
      await alone(['pub', ...server, '-q', '1', '-t', 'both/b', '-s'], input);
    }
    const format = '%t|%q|%r|%l|%C|%F|%P|%R|%x';
    const { out } = await run('mosquitto_sub', [...stays, '-C', '6', '-F', format]);
    const printed = out.toString().trim().split('\n');
    expect(printed).toHaveLength(6);
    for (const at of [0, 2, 4]) expect(printed[at + 1]).toBe(printed[at]);
    expect(printed[0]).toBe(`both/a|1|0|6|text|1|k:v|r|${Buffer.from('é "x"').toString('hex')}`);
  });
});
