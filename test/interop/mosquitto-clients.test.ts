/** mosquitto_pub and mosquitto_sub against the broker, as a person at a terminal uses them. */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import type { ChildProcess } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Endpoint } from '../conformance/wire/peer.js';
import { interopTarget } from './interop-target.js';

const installed = !spawnSync('mosquitto_pub', ['--version']).error;
const target = interopTarget();
let endpoint: Endpoint;
const running = new Set<ChildProcess>();

const topic = (): string => `cli/${randomBytes(5).toString('hex')}`;
const WAIT_MS = 8000;

interface Output {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(command: string, args: readonly string[]) {
  const { host, port } = endpoint;
  const child = spawn(command, ['-h', host, '-p', `${port}`, ...args]);
  running.add(child);
  const seen = { out: '', err: '' };
  let heard: () => void = () => undefined;
  child.stdout.on('data', (chunk: Buffer) => {
    seen.out += chunk.toString();
    heard();
  });
  child.stderr.on('data', (chunk: Buffer) => (seen.err += chunk.toString()));
  const done = new Promise<Output>((resolve) => child.on('close', (code) => {
    running.delete(child);
    resolve({ code, ...seen });
  }));
  /** Resolves when `text` was printed. */
  const printed = async (text: string): Promise<void> => {
    const end = Date.now() + WAIT_MS;
    while (!seen.out.includes(text)) {
      if (Date.now() > end) throw new Error(`"${text}" not printed in ${WAIT_MS} ms: ${seen.out}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 50);
        heard = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  };
  return { child, done, printed };
}

const pub = (...args: string[]): Promise<Output> => start('mosquitto_pub', args).done;

const MARKER = 'subscribed-now';

/**
 * A subscriber that is certainly subscribed: a retained message on a topic of its own says so,
 * because
 * what `-d` prints stays in the buffer of the pipe. `count` (-C) is that of the other messages.
 */
async function sub(count: number | undefined, ...args: string[]) {
  const ready = topic();
  await pub('-t', ready, '-q', '1', '-r', '-m', MARKER);
  const limit = count === undefined ? [] : ['-C', `${count + 1}`];
  const subscriber = start('mosquitto_sub', [...args, '-t', ready, ...limit]);
  await subscriber.printed(MARKER);
  return subscriber;
}
const payloads = (output: Output): string[] =>
  output.out.split('\n').filter((line) => line !== '' && !line.includes(MARKER));

beforeAll(async () => {
  const started = await target.endpoint('default');
  if (!started) throw new Error('no broker');
  endpoint = started;
});
afterEach(() => running.forEach((child) => child.kill('SIGKILL')));
afterAll(() => target.close());

const VERSIONS = [['3.1', 'mqttv31'], ['3.1.1', 'mqttv311'], ['5.0', 'mqttv5']] as const;
const suite = installed ? describe : describe.skip;
if (!installed) process.stderr.write('skipped: mosquitto_pub/mosquitto_sub are not installed\n');

suite.each(VERSIONS)('mosquitto_pub and mosquitto_sub in MQTT %s', (_version, flag) => {
  it('publish and receive at QoS 0, 1 and 2', async () => {
    const name = topic();
    const subscriber = await sub(3, '-V', flag, '-t', `${name}/+`, '-q', '2', '-F', '%q %p');
    for (const qos of ['0', '1', '2']) {
      const { code } = await pub('-V', flag, '-t', `${name}/${qos}`, '-q', qos, '-m', `m${qos}`);
      expect(code).toBe(0);
    }
    expect(payloads(await subscriber.done)).toEqual(['0 m0', '1 m1', '2 m2']);
  });

  it('retained message, its flag, and removal', async () => {
    const name = topic();
    await pub('-V', flag, '-t', name, '-q', '1', '-r', '-m', 'kept');
    const args = ['-V', flag, '-t', name, '-C', '1', '-F', '%r %p'];
    const subscriber = start('mosquitto_sub', args);
    expect(payloads(await subscriber.done)).toEqual(['1 kept']);
    await pub('-V', flag, '-t', name, '-q', '1', '-r', '-n');
    const late = start('mosquitto_sub', ['-V', flag, '-t', name, '-W', '1']);
    expect((await late.done).out).toBe('');
  });

  it('will of a client that is killed', async () => {
    const name = topic();
    const witness = await sub(1, '-V', flag, '-t', `${name}/will`, '-F', '%p');
    const victim = await sub(undefined, '-V', flag, '-t', name, '--will-topic', `${name}/will`,
      '--will-payload', 'killed', '--will-qos', '1');
    victim.child.kill('SIGKILL');
    expect(payloads(await witness.done)).toEqual(['killed']);
  });

  it('session resume with -c', async () => {
    const name = topic();
    const session = ['-V', flag, '-t', name, '-q', '1', '-c', '-i', name.replace('cli/', 'cli'),
      ...(flag === 'mqttv5' ? ['-x', '300'] : [])];
    const first = await sub(undefined, ...session);
    first.child.kill('SIGTERM');
    await first.done;
    for (const text of ['one', 'two']) await pub('-V', flag, '-t', name, '-q', '1', '-m', text);
    const second = start('mosquitto_sub', [...session, '-C', '2']);
    expect(payloads(await second.done)).toEqual(['one', 'two']);
  });

  it('shared subscription: each message once', async () => {
    const name = topic();
    const members = await Promise.all([1, 2].map(() =>
      sub(undefined, '-V', flag, '-t', `$share/g${name.slice(4)}/${name}`, '-q', '1', '-W', '2')));
    const lines = Array.from({ length: 6 }, (_, at) => `${at}`);
    const publisher = start('mosquitto_pub', ['-V', flag, '-t', name, '-q', '1', '-l']);
    publisher.child.stdin?.end(`${lines.join('\n')}\n`);
    expect((await publisher.done).code).toBe(0);
    const outputs = await Promise.all(members.map((member) => member.done));
    expect(outputs.flatMap(payloads).sort()).toEqual(lines);
  });
});

suite('mosquitto clients in MQTT 5.0', () => {
  it('properties there and back', async () => {
    const name = topic();
    const subscriber = await sub(1, '-V', 'mqttv5', '-t', name, '-F', '%C|%R|%D|%P|%p');
    await pub('-V', 'mqttv5', '-t', name, '-m', 'x',
      '-D', 'publish', 'content-type', 'text/plain', '-D', 'publish', 'response-topic', 'a/b',
      '-D', 'publish', 'correlation-data', 'c0', '-D', 'publish', 'user-property', 'k', 'v');
    expect(payloads(await subscriber.done)).toEqual(['text/plain|a/b|c0|k:v|x']);
  });

  const noRequester = Boolean(spawnSync('mosquitto_rr', ['--help']).error);
  if (noRequester) process.stderr.write('skipped: mosquitto_rr is not installed\n');
  (noRequester ? it.skip : it)('request and response with mosquitto_rr', async () => {
    const name = topic();
    const server = await sub(1, '-V', 'mqttv5', '-t', name, '-F', '%R|%p');
    const requester = start('mosquitto_rr', ['-V', 'mqttv5', '-t', name, '-e', `${name}/reply`,
      '-m', 'ping', '-W', '8']);
    expect(payloads(await server.done)).toEqual([`${name}/reply|ping`]);
    await pub('-V', 'mqttv5', '-t', `${name}/reply`, '-m', 'pong');
    expect((await requester.done).out).toContain('pong');
  });
});
