/** What a server keeps, and `nidomq check`, `snapshot` and `restore` while it runs and after. */
import { readdir, rm, stat, writeFile } from 'node:fs/promises';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import mqtt from 'mqtt';
import type { MqttClient } from 'mqtt';
import { COMMAND, killChildren, startChild, startNidomqIn } from './child.js';
import type { Child } from './child.js';
import { say } from './recorder.js';

// For a machine that has much else to do.
jest.setTimeout(90_000);
let folder: string;
let data: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nidomq-data-'));
  data = join(folder, 'nidomq-data');
});
afterEach(async () => {
  await killChildren();
  await rm(folder, { recursive: true, force: true });
});

async function start(...words: string[]): Promise<{ server: Child; port: string }> {
  const server = startNidomqIn(folder, 'start', '--port', '0', ...words);
  const [, port] = await server.says(/is ready on tcp:\/\/127\.0\.0\.1:(\d+) \(engine file/);
  return { server, port };
}
function connect(port: string): Promise<MqttClient> {
  return mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0 });
}
async function retain(port: string, topic: string, payload: string): Promise<void> {
  const client = await connect(port);
  await client.publishAsync(topic, payload, { qos: 1, retain: true });
  await client.endAsync();
}
async function retained(port: string, topic: string): Promise<string> {
  const client = await connect(port);
  const heard = new Promise<string>((resolve) => {
    client.once('message', (_topic, payload) => resolve(payload.toString()));
  });
  await client.subscribeAsync(topic);
  const payload = await heard;
  await client.endAsync();
  return payload;
}

describe('a server that was told nothing of an engine', () => {
  it('keeps what it acknowledged in ./nidomq-data, killed or not', async () => {
    const first = await start();
    await first.server.says(/engine file \.\/nidomq-data, durability disk/);
    await retain(first.port, 'kept', 'yes');
    first.server.signal('SIGKILL');
    await first.server.ended;
    const second = await start();
    expect(await retained(second.port, 'kept')).toBe('yes');
    expect((await stat(join(data, 'nidomq.sock'))).mode & 0o077).toBe(0);
  });

  it('refuses a directory that another server has, and says what to do', async () => {
    await start();
    const second = startNidomqIn(folder, 'start', '--port', '0');
    expect((await second.ended).status).toBe(1);
    expect(second.said).toContain('NIDO_ENGINE_LOCKED');
    expect(second.said).toContain('directory of its own');
  });

  it('refuses to start without classic-level instead of keeping nothing', async () => {
    const hooks = `export const resolve = (name, context, next) => {
      if (name === 'classic-level') throw new Error('no binary for this platform');
      return next(name, context);
    };`;
    const url = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`;
    const register = `import { register } from 'node:module'; register(${JSON.stringify(url(hooks))});`;
    const server = startChild(['--import', url(register), COMMAND, 'start', '--port', '0'], folder);
    expect((await server.ended).status).toBe(1);
    expect(server.said).toContain('NIDO_ENGINE_UNAVAILABLE');
    expect(server.said).toContain('npm install classic-level');
    expect(server.said).toContain('--engine memory');
    expect(server.said).not.toContain('is ready');
  });
});

describe('nidomq check, snapshot and restore', () => {
  it('copy a server that goes on, and start another from the copy', async () => {
    const { port } = await start();
    await retain(port, 'r', 'before');
    const copy = join(folder, 'copy');
    const taken = await say('snapshot', copy, '--data', data);
    expect(taken).toMatchObject({ status: 0, errors: '' });
    expect(taken.lines).toMatch(/is complete: \d+ records/);
    await retain(port, 'r', 'after');
    const running = await say('check', '--data', data);
    expect(running).toMatchObject({ status: 0, errors: '' });
    expect(running.lines).toContain('everything can be trusted');
    const restored = join(folder, 'restored');
    expect((await say('restore', copy, '--data', restored)).status).toBe(0);
    const other = await start('--data', restored);
    expect(await retained(other.port, 'r')).toBe('before');
    expect(await retained(port, 'r')).toBe('after');
  });

  it('work on a directory that no server has open', async () => {
    const { server, port } = await start();
    await retain(port, 'r', 'kept');
    server.signal('SIGTERM');
    expect((await server.ended).status).toBe(0);
    const report = await say('check', '--data', data, '--json');
    expect(JSON.parse(report.lines)).toMatchObject({ losses: [], records: { 'retained message': 1 } });
    expect((await say('snapshot', join(folder, 'copy'), '--data', data)).status).toBe(0);
    const onto = await say('restore', join(folder, 'copy'), '--data', data);
    expect(onto).toMatchObject({ status: 1 });
    expect(onto.errors).toContain('NIDO_ENGINE_TARGET_NOT_EMPTY');
  });

  it('say what is lost, and end with 1', async () => {
    const { server, port } = await start();
    for (let i = 0; i < 20; i++) await retain(port, `r/${i}`, 'x'.repeat(5_000));
    server.signal('SIGKILL');
    await server.ended;
    const log = (await readdir(data)).find((name) => name.endsWith('.log'))!;
    const { readFile } = await import('node:fs/promises');
    const bytes = await readFile(join(data, log));
    bytes[40_000] ^= 1;
    await writeFile(join(data, log), bytes);
    const report = await say('check', '--data', data);
    expect(report.status).toBe(1);
    expect(report.lines).toMatch(/LOST: .*missing/);
    const refused = startNidomqIn(folder, 'start', '--port', '0');
    expect((await refused.ended).status).toBe(1);
    expect(refused.said).toContain('NIDO_ENGINE_CORRUPT');
    await rm(join(data, 'CURRENT'));
    const unreadable = await say('check', '--data', data);
    expect(unreadable).toMatchObject({ status: 1 });
    expect(unreadable.lines).toContain('LOST');
  });

  it('say that there is nothing where nothing is', async () => {
    const { status, errors } = await say('check', '--data', join(folder, 'none'));
    expect(status).toBe(1);
    expect(errors).toContain('holds no store');
  });
});
