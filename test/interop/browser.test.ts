/** MQTT.js in a page of headless Chromium, through our WebSocket doors. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Broker } from '../../lib/index.js';
import type { ClientDescription, ListenerSettings } from '../../lib/index.js';
import { Certificates } from '../listener/support/certificates.js';

const host = '127.0.0.1';
const TIME_LIMIT_MS = 120_000;
const MESSAGES = 200;
const chromium = ['chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => spawnSync(name, ['--version']).status === 0,
);
if (chromium === undefined) process.stderr.write('skipped: chromium is not installed\n');

/** What the page found out. */
interface Found {
  readonly error?: string;
  readonly heard?: readonly string[];
  readonly big?: number;
  readonly retained?: string;
}

/** Runs in the page: two clients, every QoS, something large, something retained. */
const script = (url: string): string => `
const heard = []; let big = 0; let retained;
const tell = (found) => fetch('/found', { method: 'POST', body: JSON.stringify(found) });
addEventListener('unhandledrejection', (event) => tell({ error: String(event.reason) }));
const knock = () => new Promise((resolve, reject) => {
  const socket = new WebSocket(${JSON.stringify(url)}, 'mqtt');
  socket.onopen = () => { socket.close(); resolve(); };
  socket.onerror = () => reject('turned away');
});
(async () => {
  await knock();
  const one = await mqtt.connectAsync(${JSON.stringify(url)}, { protocolVersion: 5, reconnectPeriod: 0 });
  const two = await mqtt.connectAsync(${JSON.stringify(url)}, { protocolVersion: 4, reconnectPeriod: 0 });
  one.on('message', (topic, payload) => {
    if (topic === 'page/big') big = payload.length;
    else if (topic === 'page/kept') retained = payload.toString();
    else heard.push(payload.toString());
  });
  await one.subscribeAsync('page/#', { qos: 2 });
  await two.publishAsync('page/kept', 'kept', { qos: 1, retain: true });
  await Promise.all(Array.from({ length: ${MESSAGES} }, (_, at) => two.publishAsync('page/at', String(at), { qos: 2 })));
  for (const qos of [0, 1]) await two.publishAsync('page/at', 'qos ' + qos, { qos });
  await two.publishAsync('page/big', 'x'.repeat(700000), { qos: 1 });
  while (big === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  await one.endAsync(); await two.endAsync();
  await tell({ heard, big, retained });
})().catch((error) => tell({ error: String(error) }));
`;

/** A web server with the page; resolves `found` with what the page tells. */
async function serve(): Promise<{ origin: string; found: Promise<Found>; show(url: string): void; close(): void }> {
  const library = readFileSync(join(process.cwd(), 'node_modules', 'mqtt', 'dist', 'mqtt.min.js'));
  let page = '';
  let tell!: (found: Found) => void;
  const found = new Promise<Found>((resolve) => { tell = resolve; });
  const server = createServer((request, response) => {
    if (request.url === '/mqtt.js') response.setHeader('content-type', 'text/javascript').end(library);
    else if (request.url === '/found') {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => {
        tell(JSON.parse(Buffer.concat(chunks).toString()) as Found);
        response.end();
      });
    } else response.setHeader('content-type', 'text/html').end(page);
  }).listen(0, host);
  await once(server, 'listening');
  const origin = `http://${host}:${(server.address() as AddressInfo).port}`;
  return {
    origin, found,
    show: (url) => { page = `<!doctype html><script src="/mqtt.js"></script><script>${script(url)}</script>`; },
    close: () => { server.closeAllConnections(); server.close(); },
  };
}

(chromium === undefined ? describe.skip : describe)('MQTT.js in a page of Chromium', () => {
  let certificates: Certificates;
  let profile = '';
  beforeAll(() => {
    certificates = new Certificates();
    profile = mkdtempSync(join(tmpdir(), 'nidomq-chromium-'));
  });
  afterAll(() => {
    certificates.remove();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  });

  async function browse(kind: 'ws' | 'wss', door: ListenerSettings, origins: (own: string) => string[]): Promise<{
    found: Found; connected: ClientDescription[];
  }> {
    const web = await serve();
    const broker = new Broker({
      listeners: [{ host, port: 0, ...door, ws: { path: '/mqtt', origins: origins(web.origin) } }], logger: false,
    });
    const connected: ClientDescription[] = [];
    broker.on('clientConnected', (event) => connected.push(event));
    await broker.listen();
    web.show(`${kind}://${host}:${broker.listeners[0].port}/mqtt`);
    const browser = spawn(chromium!, [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
      '--ignore-certificate-errors', `--user-data-dir=${join(profile, kind)}`, '--remote-debugging-port=0', web.origin,
    ], { stdio: 'ignore', detached: true });
    const ended = once(browser, 'exit');
    try {
      const early = ended.then((code): Found => ({ error: `chromium ended: ${String(code)}` }));
      return { found: await Promise.race([web.found, early]), connected };
    } finally {
      process.kill(-browser.pid!, 'SIGKILL'); // it has children
      await ended;
      web.close();
      await broker.close({ deadlineMs: 500 });
    }
  }

  it.each(['ws', 'wss'] as const)('talks over %s at every QoS, both ways', async (kind) => {
    const door = kind === 'wss' ? { tls: certificates.server() } : {};
    const { found, connected } = await browse(kind, door, (own) => [own]);
    expect(found.error).toBeUndefined();
    expect(found.heard).toEqual([...Array.from({ length: MESSAGES }, (_, at) => `${at}`), 'qos 0', 'qos 1']);
    expect(found).toMatchObject({ big: 700_000, retained: 'kept' });
    expect(connected.map(({ transport, protocolVersion }) => [transport, protocolVersion])).toEqual([[kind, 5], [kind, 4]]);
  }, TIME_LIMIT_MS);

  it('is turned away when its origin is not on the list', async () => {
    const { found, connected } = await browse('ws', {}, () => ['https://elsewhere.example']);
    expect(found.error).toBe('turned away');
    expect(connected).toEqual([]);
  }, TIME_LIMIT_MS);
});
