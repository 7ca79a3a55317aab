/** The server command as a person or a service manager meets it: a process, its words, signals. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it } from '@jest/globals';
import mqtt from 'mqtt';
import { setPassword } from '../../lib/guard/commands/passwd.js';
import { killChildren, startChild, startNidomq } from './child.js';

afterEach(killChildren);

/** Reason Code of DISCONNECT. */
const SERVER_SHUTTING_DOWN = 0x8b;
const SIGNALS = join(process.cwd(), 'dist/cli/signals.js');
const READY = /nidomq \S+ is ready on tcp:\/\/127\.0\.0\.1:(\d+) \(engine (file|memory)/;

describe('nidomq start', () => {
  it('prints one line when clients can come, and serves them', async () => {
    const server = startNidomq('start', '--port', '0', '--engine', 'memory');
    const [, port] = await server.says(READY);
    expect(server.said.trim().split('\n')).toHaveLength(1);
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5 });
    const arrived = new Promise((resolve) => client.once('message', resolve));
    await client.subscribeAsync('casa/#', { qos: 1 });
    await client.publishAsync('casa/sala', 'on', { qos: 1 });
    expect(await arrived).toBe('casa/sala');
    await client.endAsync();
    server.signal('SIGTERM');
    expect(await server.ended).toEqual({ status: 0, signal: null });
  });

  it('drains on SIGTERM with clients connected: they are told, it exits 0', async () => {
    const server = startNidomq('start', '--port', '0');
    const [, port] = await server.says(READY);
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, {
      protocolVersion: 5, reconnectPeriod: 0,
    });
    const told = new Promise<number | undefined>((resolve) => {
      client.once('disconnect', (packet) => resolve(packet.reasonCode));
    });
    server.signal('SIGTERM');
    expect(await told).toBe(SERVER_SHUTTING_DOWN);
    expect(await server.ended).toEqual({ status: 0, signal: null });
    await client.endAsync(true);
  });

  it('refuses an open door to other machines and prints both cures', async () => {
    const server = startNidomq('start', '--host', '0.0.0.0', '--port', '0');
    expect(await server.ended).toEqual({ status: 2, signal: null });
    expect(server.said).toContain('NIDO_LISTENER_OPEN');
    expect(server.said).toContain('--password-file');
    expect(server.said).toContain('--allow-anonymous');
    expect(server.said).not.toContain('    at ');
  });

  it('opens that door to those who know a password', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nidomq-start-'));
    const passwords = join(folder, 'passwords');
    await setPassword(passwords, { username: 'sala', password: 'secret' });
    const server = startNidomq(
      'start', '--host', '0.0.0.0', '--port', '0', '--password-file', passwords,
    );
    const [, port] = await server.says(/is ready on tcp:\/\/0\.0\.0\.0:(\d+)/);
    const url = `mqtt://127.0.0.1:${port}`;
    const who = { username: 'sala', reconnectPeriod: 0 };
    await expect(mqtt.connectAsync(url, { reconnectPeriod: 0 })).rejects.toThrow();
    await expect(mqtt.connectAsync(url, { ...who, password: 'wrong' })).rejects.toThrow();
    const client = await mqtt.connectAsync(url, { ...who, password: 'secret' });
    await client.endAsync();
    rmSync(folder, { recursive: true });
  });

  it('opens that door when it is told to', async () => {
    const server = startNidomq('start', '--host', '0.0.0.0', '--port', '0', '--allow-anonymous');
    await server.says(/is ready on tcp:\/\/0\.0\.0\.0:\d+/);
    server.signal('SIGTERM');
    expect((await server.ended).status).toBe(0);
  });

  it('refuses a wrong option with its path and what is allowed', async () => {
    const server = startNidomq('start', '--port', '0', '--set', 'mqtt.maximumQos=7');
    expect((await server.ended).status).toBe(2);
    expect(server.said).toMatch(/mqtt\.maximumQos.*Allowed: 0, 1, 2/);
  });

  it('says which port is taken, and ends with 1', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    const server = startNidomq('start', '--port', String(port));
    expect((await server.ended).status).toBe(1);
    expect(server.said).toContain(String(port));
    expect(server.said).not.toContain('    at ');
    other.close();
  });
});

describe('signals', () => {
  const script = `
    import { stopOnSignals } from '${pathToFileURL(SIGNALS).href}';
    setInterval(() => {}, 1000);
    stopOnSignals(() => new Promise(() => {}), { line: console.log, errorLine: console.log });
    console.log('running');`;

  it('SIGINT twice ends at once, even when the drain never does', async () => {
    const child = startChild(['--input-type=module', '-e', script]);
    await child.says(/running/);
    child.signal('SIGINT');
    await child.says(/once more to stop at once/);
    child.signal('SIGINT');
    expect(await child.ended).toEqual({ status: 130, signal: null });
  });

  it('SIGHUP reads files again and leaves clients connected', async () => {
    const server = startNidomq('start', '--port', '0');
    const [, port] = await server.says(READY);
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { reconnectPeriod: 0 });
    server.signal('SIGHUP');
    await server.says(/has read certificates, passwords and rules again/);
    await client.publishAsync('still', 'here', { qos: 1 });
    await client.endAsync();
  });
});
