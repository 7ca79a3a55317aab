/** Doors among others: nginx in front, certificates replaced under MQTT load, a Nest application's HTTP server. */
import 'reflect-metadata';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import mqtt from 'mqtt';
import type { MqttClient } from 'mqtt';
import { Broker } from '../../lib/index.js';
import type { ClientDescription, ListenerSettings } from '../../lib/index.js';
import { Certificates } from './support/certificates.js';
import { until } from './support/peers.js';

const host = '127.0.0.1';
const WAIT_MS = 60_000;
let folder = '';
let certificates: Certificates;
const clients: MqttClient[] = [];
const brokers: Broker[] = [];

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nidomq-surroundings-'));
  certificates = new Certificates();
});
afterAll(() => {
  certificates.remove();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.endAsync(true);
  for (const broker of brokers.splice(0)) await broker.close({ deadlineMs: 500 });
});

async function open(listener: ListenerSettings): Promise<{ broker: Broker; connected: ClientDescription[]; log: string[] }> {
  const log: string[] = [];
  const write = (line: string): void => void log.push(line);
  const broker = new Broker({
    listeners: [listener], allowAnonymous: true, logger: { error: write, warn: write, info: write },
  });
  brokers.push(broker);
  const connected: ClientDescription[] = [];
  broker.on('clientConnected', (event) => connected.push(event));
  await broker.listen();
  return { broker, connected, log };
}

const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';
const hasNginx = spawnSync('nginx', ['-v']).status === 0 && existsSync(STREAM_MODULE);
if (!hasNginx) process.stderr.write('skipped: nginx or its stream module (libnginx-mod-stream) is not installed\n');

(hasNginx ? describe : describe.skip)('nginx in front', () => {
  let child: ChildProcess | undefined;
  afterEach(() => { child?.kill('SIGTERM'); });

  async function freePort(): Promise<number> {
    const probe = createServer();
    await new Promise<void>((resolve) => { probe.listen(0, host, resolve); });
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => { probe.close(resolve); });
    return port;
  }

  it.each<[string, ListenerSettings, string]>([
    ['tcp', {}, 'mqtt'], ['ws', { ws: '/mqtt' }, 'ws'],
  ])('with PROXY protocol: the true address is known, over %s', async (_, door, scheme) => {
    const { broker, connected, log } = await open({ host, port: 0, proxyProtocol: { trusted: [host] }, ...door });
    const front = await freePort();
    const config = join(folder, `nginx-${scheme}.conf`);
    writeFileSync(config, [
      `load_module ${STREAM_MODULE};`, 'daemon off;', 'master_process off;', `pid ${join(folder, 'nginx.pid')};`,
      'error_log stderr;', 'events {}', 'stream {', `  server { listen ${host}:${front};`,
      `    proxy_pass ${host}:${broker.listeners[0].port}; proxy_protocol on; }`, '}', '',
    ].join('\n'));
    child = spawn('nginx', ['-e', 'stderr', '-c', config], { stdio: 'ignore' });
    // Loopback has many addresses: the client takes one that is not the proxy's.
    const localAddress = '127.0.0.78';
    const client = (scheme === 'ws'
      ? mqtt.connect(`ws://${host}:${front}/mqtt`, { reconnectPeriod: 50, wsOptions: { localAddress } })
      : new mqtt.MqttClient(() => connect({ host, port: front, localAddress }), { reconnectPeriod: 50 })
    ).on('error', () => undefined);
    clients.push(client);
    await until('somebody to be connected', () => connected.length === 1, WAIT_MS);
    expect(connected[0].remoteAddress).toBe('127.0.0.78');
    expect(log.some((line) => line.startsWith('client connected') && line.includes('127.0.0.78:'))).toBe(true);
    await client.subscribeAsync('front');
    const heard = new Promise((resolve) => { client.once('message', (__, payload) => resolve(payload.toString())); });
    await client.publishAsync('front', 'through', { qos: 1 });
    expect(await heard).toBe('through');
  }, WAIT_MS);
});

describe.each(['mqtts', 'wss'])('certificates that are replaced under MQTT load, over %s', (scheme) => {
  const PAIRS = 5;
  const ROUNDS = 5;

  it('are shown to who comes next; nobody inside loses its connection or a message', async () => {
    const live = { certFile: certificates.path(`${scheme}.crt`), keyFile: certificates.path(`${scheme}.key`) };
    const replace = (round: number): string => {
      const next = certificates.server(`${scheme}-${round}`);
      copyFileSync(next.certFile, live.certFile);
      copyFileSync(next.keyFile, live.keyFile);
      return new X509Certificate(readFileSync(next.certFile)).fingerprint;
    };
    replace(0);
    const { broker, connected } = await open({ host, port: 0, tls: live, ...(scheme === 'wss' ? { ws: '/mqtt' } : {}) });
    const port = broker.listeners[0].port as number;
    const url = `${scheme}://localhost:${port}/mqtt`;
    const ca = readFileSync(certificates.caFile);
    let closed = 0;
    const heard = new Map<string, number[]>();
    const enter = async (): Promise<MqttClient> => {
      const client = await mqtt.connectAsync(url, { ca, reconnectPeriod: 0, protocolVersion: 5 });
      client.on('close', () => { closed += 1; });
      clients.push(client);
      return client;
    };
    const writers: MqttClient[] = [];
    for (let pair = 0; pair < PAIRS; pair += 1) {
      const reader = await enter();
      heard.set(`load/${pair}`, []);
      reader.on('message', (topic, payload) => heard.get(topic)!.push(Number(payload.toString())));
      await reader.subscribeAsync(`load/${pair}`, { qos: 1 });
      writers.push(await enter());
    }
    let state: 'loading' | 'done' = 'loading';
    const sent = Promise.all(writers.map(async (writer, pair) => {
      let count = 0;
      for (; state === 'loading'; count += 1) await writer.publishAsync(`load/${pair}`, `${count}`, { qos: 1 });
      return count;
    }));
    for (let round = 1; round <= ROUNDS; round += 1) {
      const expected = replace(round);
      await broker.reload();
      const socket = connectTls({ host, port, ca, servername: 'localhost', ALPNProtocols: [] });
      await new Promise((resolve, reject) => { socket.once('secureConnect', resolve).once('error', reject); });
      expect(new X509Certificate(socket.getPeerCertificate().raw).fingerprint).toBe(expected);
      socket.destroy();
    }
    state = 'done';
    const counts = await sent;
    for (const [pair, count] of counts.entries()) {
      const list = heard.get(`load/${pair}`)!;
      await until('every message', () => list.length === count, WAIT_MS);
      expect(list).toEqual(Array.from({ length: count }, (_, at) => at));
      expect(count).toBeGreaterThan(0);
    }
    expect(closed).toBe(0);
    expect(connected).toHaveLength(2 * PAIRS);
  }, WAIT_MS);
});

@Controller()
class Hello {
  @Get('hello')
  hello(): string {
    return 'hello';
  }
}
@Module({ controllers: [Hello] })
class HelloModule {}

describe('the HTTP server of a Nest application', () => {
  it('serves MQTT on one path and its own routes on the others, on one port', async () => {
    const app = await NestFactory.create(HelloModule, { logger: false });
    const { broker, connected } = await open({ ws: { path: '/mqtt', server: app.getHttpServer() as Server } });
    await app.listen(0, host);
    try {
      const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
      expect(broker.listeners[0].port).toBe(port);
      const client = await mqtt.connectAsync(`ws://${host}:${port}/mqtt`, { protocolVersion: 5, reconnectPeriod: 0 });
      clients.push(client);
      const heard = new Promise((resolve) => { client.once('message', (_, payload) => resolve(payload.toString())); });
      await client.subscribeAsync('casa/#', { qos: 1 });
      expect(await (await fetch(`http://${host}:${port}/hello`)).text()).toBe('hello');
      expect((await fetch(`http://${host}:${port}/elsewhere`)).status).toBe(404);
      await broker.publish('casa/sala', 'on', { qos: 1 });
      expect(await heard).toBe('on');
      expect(connected[0].transport).toBe('ws');
      // The broker leaves, the application stays.
      await broker.close({ deadlineMs: 500 });
      expect(await (await fetch(`http://${host}:${port}/hello`)).text()).toBe('hello');
    } finally {
      await app.close();
    }
  });
});
