/** MQTT through every door: with mosquitto's clients, MQTT.js and haproxy, and cut in every way. */
import { execFile, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import mqtt from 'mqtt';
import type { IClientOptions, MqttClient } from 'mqtt';
import { Broker } from '../../lib/broker/broker.js';
import type { BrokerOptions, ListenerSettings } from '../../lib/broker/broker-options.js';
import type { ClientConnectedEvent } from '../../lib/broker/events.js';
import { openTransport } from '../../lib/listener/index.js';
import type {
  OpenTransportOptions, Transport, TransportIdentity,
} from '../../lib/listener/index.js';
import { Certificates } from './support/certificates.js';
import type { Pair } from './support/certificates.js';
import { cuttingStream } from './support/cutting-stream.js';
import type { Cut } from './support/cutting-stream.js';
import { DOOR_KINDS } from './support/doors.js';
import type { DoorKind } from './support/doors.js';
import { until } from './support/peers.js';

const host = '127.0.0.1';
const KEY = '00112233445566778899aabbccddeeff';
let certificates: Certificates;
let server: Pair;
let device: Pair;
let folder = '';
let broker: Broker | undefined;
let connected: ClientConnectedEvent[] = [];
let identities: (TransportIdentity | undefined)[] = [];
let subscribed = 0;
const children: ChildProcess[] = [];
const clients: MqttClient[] = [];

beforeAll(() => {
  certificates = new Certificates();
  server = certificates.server();
  device = certificates.issue('device', '/CN=sala-1', 'DNS:sala.casa');
  folder = mkdtempSync(join(tmpdir(), 'nidomq-doors-'));
});
afterAll(() => {
  certificates.remove();
  rmSync(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const client of clients.splice(0)) await client.endAsync(true);
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await broker?.close({ deadlineMs: 1_000 });
  broker = undefined;
});

/** Answers the port. Everybody may come in, and the test sees who it was. */
async function open(listener: ListenerSettings, more: BrokerOptions = {}): Promise<number> {
  connected = [];
  identities = [];
  subscribed = 0;
  const place = listener.path === undefined ? { port: 0, host } : {};
  broker = new Broker({
    listeners: [{ ...place, ...listener }],
    logger: false,
    authentication: [{
      authenticate: (request) => {
        identities.push(request.identity);
        return { ok: true };
      },
    }],
    ...more,
  });
  broker.on('clientConnected', (event) => { connected.push(event); });
  broker.on('subscribed', () => { subscribed += 1; });
  await broker.listen();
  return broker.listeners[0].port ?? 0;
}

function run(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(command, args, { timeout: 15_000 }, (error, out, err) => {
      if (error === null) resolve(out);
      else reject(new Error(`${command}: ${error.message} ${err}`));
    });
    children.push(child);
  });
}

/** mosquitto's two clients: one subscribes, the other publishes. */
async function mosquittoTalks(args: readonly string[]): Promise<void> {
  const listen = ['-t', 'casa/#', '-q', '2', '-C', '2', '-W', '10', '-v'];
  const heard = run('mosquitto_sub', [...args, ...listen]);
  await Promise.race([until('subscribed', () => subscribed === 1), heard]);
  await run('mosquitto_pub', [...args, '-t', 'casa/sala', '-m', 'uno', '-q', '1']);
  await run('mosquitto_pub', [...args, '-t', 'casa/sala', '-m', 'dos', '-q', '2']);
  expect(await heard).toBe('casa/sala uno\ncasa/sala dos\n');
}

async function dial(url: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, ...options });
  clients.push(client);
  return client;
}

describe('mosquitto_pub and mosquitto_sub', () => {
  it('talk over TLS', async () => {
    const port = await open({ tls: server });
    await mosquittoTalks(['-h', host, '-p', `${port}`, '--cafile', certificates.caFile]);
    expect(connected[0]).toMatchObject({ transport: 'tls', remoteAddress: host });
    expect(identities[0]).toBeUndefined();
  });

  it('talk over TLS 1.3 with ALPN', async () => {
    const port = await open({ tls: server });
    await mosquittoTalks(['-h', host, '-p', `${port}`, '--cafile', certificates.caFile,
      '--tls-version', 'tlsv1.3', '--tls-alpn', 'mqtt']);
  });

  it('talk over mutual TLS, and are known by their certificate', async () => {
    const port = await open({ tls: { ...server, caFile: certificates.caFile, requestCert: true } });
    const args = ['-h', host, '-p', `${port}`, '--cafile', certificates.caFile];
    await mosquittoTalks([...args, '--cert', device.certFile, '--key', device.keyFile]);
    expect(identities.map((identity) => identity?.name)).toEqual(['sala-1', 'sala-1', 'sala-1']);
    await expect(run('mosquitto_pub', [...args, '-t', 'a', '-m', 'b'])).rejects.toThrow();
  });

  it('talk with a pre-shared key, and are known by its identity', async () => {
    const pskFile = join(folder, 'keys.psk');
    writeFileSync(pskFile, `sala:${KEY}\n`);
    const port = await open({ tls: { pskFile } });
    const args = ['-h', host, '-p', `${port}`, '--psk-identity', 'sala'];
    await mosquittoTalks([...args, '--psk', KEY]);
    expect(identities[0]).toMatchObject({ via: 'psk', name: 'sala' });
    const wrong = [...args, '--psk', KEY.replace('00', '01'), '-t', 'a', '-m', 'b'];
    await expect(run('mosquitto_pub', wrong)).rejects.toThrow();
  });

  it('talk over a unix socket', async () => {
    const path = join(folder, 'mosquitto.sock');
    await open({ path });
    await mosquittoTalks(['--unix', path]);
    expect(connected[0]).toMatchObject({ transport: 'unix', remoteAddress: '' });
  });
});

describe('MQTT.js', () => {
  it.each<[string, ListenerSettings]>([['ws', {}], ['wss', { tls: {} }]])(
    'talks over %s', async (kind, settings) => {
      const tls = settings.tls === undefined ? {} : { tls: server };
      const port = await open({ ws: '/mqtt', ...tls });
      const url = `${kind}://localhost:${port}/mqtt`;
      const ca = readFileSync(certificates.caFile);
      const listener = await dial(url, { protocolVersion: 5, ca });
      const heard: string[] = [];
      listener.on('message', (topic, payload) => { heard.push(`${topic} ${payload.toString()}`); });
      await listener.subscribeAsync('casa/#', { qos: 2 });
      const speaker = await dial(url, { protocolVersion: 4, ca });
      for (const qos of [0, 1, 2] as const) {
        await speaker.publishAsync('casa/sala', `qos ${qos}`, { qos });
      }
      await speaker.publishAsync('casa/big', 'x'.repeat(700_000), { qos: 1 });
      await until('all four', () => heard.length === 4);
      expect(heard.slice(0, 3)).toEqual(['casa/sala qos 0', 'casa/sala qos 1', 'casa/sala qos 2']);
      expect(heard[3]).toHaveLength('casa/big '.length + 700_000);
      expect(connected[0].transport).toBe(kind);
    });
});

/** Windows by the half dozen, of four packets for each message, from either side. */
const MESSAGES: Readonly<Record<Cut, number>> = { 'single bytes': 1_000, '64 KiB pieces': 2_000 };
const CUTS: readonly Cut[] = ['single bytes', '64 KiB pieces'];

const PATTERNS = 3_000;
const PATTERN_BYTES = 8_000;
const WINDOW = 200;

/** MQTT.js does not heed the server's Receive Maximum: this does. */
class Window {
  #open = 0;

  async room(): Promise<void> {
    while (this.#open >= WINDOW) await new Promise(setImmediate);
  }

  /** Counts one more; answers what to call when it is acknowledged. */
  sent(): () => void {
    this.#open += 1;
    return () => { this.#open -= 1; };
  }
}

/** Different for every message, in length and content. */
function patternOf(index: number): Buffer {
  return Buffer.alloc(1 + (index * 7_919) % PATTERN_BYTES, `${index}|`);
}

function clientOver(
  transport: Transport, cut: Cut = '64 KiB pieces', clientId = 'reader',
): MqttClient {
  const client = new mqtt.MqttClient(() => cuttingStream(transport, cut) as never, {
    clientId, protocolVersion: 5, reconnectPeriod: 0, keepalive: 0, clean: true,
  } as IClientOptions);
  clients.push(client);
  return client;
}

function connectedTo(client: MqttClient): Promise<unknown> {
  if (client.connected) return Promise.resolve();
  return new Promise((resolve, reject) => {
    client.once('connect', resolve).once('error', reject);
  });
}

async function dialThrough(
  way: OpenTransportOptions, cut: Cut, clientId: string,
): Promise<MqttClient> {
  const client = clientOver(await openTransport(way), cut, clientId);
  await connectedTo(client);
  return client;
}

describe.each(DOOR_KINDS)('QoS 2 each way through %s', (kind) => {
  it.each(CUTS)('in %s loses nothing, repeats nothing and keeps the order', async (cut) => {
    const { listener, way } = doorOf(kind);
    const port = await open(listener);
    const whole: OpenTransportOptions = kind === 'unix' ? way : { ...way, port };
    const [one, two] = [await dialThrough(whole, cut, 'one'), await dialThrough(whole, cut, 'two')];
    const heard = new Map<MqttClient, number[]>([[one, []], [two, []]]);
    for (const client of [one, two]) {
      client.on('message', (_, payload) => {
        heard.get(client)?.push(Number(payload.toString()));
      });
    }
    await one.subscribeAsync('to/one', { qos: 2 });
    await two.subscribeAsync('to/two', { qos: 2 });
    const count = MESSAGES[cut];
    const speak = async (client: MqttClient, topicName: string): Promise<void> => {
      const window = new Window();
      for (let index = 0; index < count; index += 1) {
        await window.room();
        client.publish(topicName, String(index), { qos: 2 }, window.sent());
      }
    };
    await Promise.all([speak(one, 'to/two'), speak(two, 'to/one')]);
    await until('all', () => [one, two].every((each) => heard.get(each)?.length === count), 30_000);
    const expected = Array.from({ length: count }, (_, index) => index);
    expect(heard.get(one)).toEqual(expected);
    expect(heard.get(two)).toEqual(expected);
  }, 60_000);

  it('keeps memory that is on its way untouched while the reader is slow', async () => {
    const { listener, way } = doorOf(kind);
    const port = await open(listener);
    const whole: OpenTransportOptions = kind === 'unix' ? way : { ...way, port };
    const transport = await openTransport(whole);
    const reader = clientOver(transport);
    const writer = await dialThrough(whole, '64 KiB pieces', 'writer');
    let heard = 0;
    const wrong: number[] = [];
    reader.on('message', (_, payload) => {
      if (!payload.equals(patternOf(heard))) wrong.push(heard);
      heard += 1;
      // Reads in fits and starts: slabs wait in the door's queues while others are refilled.
      if (heard % 50 === 0) {
        transport.pause();
        setImmediate(() => setImmediate(() => { transport.resume(); }));
      }
    });
    await connectedTo(reader);
    await reader.subscribeAsync('pattern', { qos: 1 });
    const window = new Window();
    for (let index = 0; index < PATTERNS; index += 1) {
      await window.room();
      writer.publish('pattern', patternOf(index), { qos: 1 }, window.sent());
    }
    await until('all patterns', () => heard === PATTERNS, 30_000);
    expect(wrong).toEqual([]);
  }, 40_000);
});

const FROZEN_PATTERNS = 1_800;
const FROZEN_PATTERN_BYTES = 8_000;

describe.each(DOOR_KINDS)('a reader that stands still, on %s', (kind) => {
  it('finds what was meant for it, although others have been served meanwhile', async () => {
    const { listener, way } = doorOf(kind);
    const port = await open(listener);
    const whole: OpenTransportOptions = kind === 'unix' ? way : { ...way, port };
    const transport = await openTransport(whole);
    const frozen = clientOver(transport, '64 KiB pieces', 'frozen');
    await connectedTo(frozen);
    const found: Buffer[] = [];
    let isOver = false;
    frozen.on('message', (topicName, payload) => {
      if (topicName === 'over') isOver = true;
      else found.push(payload);
    });
    await frozen.subscribeAsync('pattern', { qos: 0 });
    await frozen.subscribeAsync('over', { qos: 1 });
    const quick = await dialThrough(whole, '64 KiB pieces', 'quick');
    let heard = 0;
    quick.on('message', () => { heard += 1; });
    await quick.subscribeAsync('#', { qos: 0 });
    const writer = await dialThrough(whole, '64 KiB pieces', 'writer');
    transport.pause();
    // 14 MB: more than the system's buffers take, and than a slab may hold. What the other receiver
    // has read is written over and over, with other bytes.
    const others = Buffer.alloc(FROZEN_PATTERN_BYTES, 0xff);
    for (let index = 0; index < FROZEN_PATTERNS; index += 1) {
      const pattern = Buffer.alloc(FROZEN_PATTERN_BYTES, `${index}|`);
      writer.publish('pattern', pattern, { qos: 0 });
      writer.publish('others', others, { qos: 0 });
      if (index % 50 === 49) await until('the quick one keeps up', () => heard === 2 * (index + 1));
    }
    await writer.publishAsync('over', '', { qos: 1 });
    transport.resume();
    await until('the end', () => isOver, 30_000);
    const numbers = found.map((payload) => Number(payload.toString('latin1', 0, payload.indexOf('|'))));
    const wrong = found.filter((payload, at) =>
      !payload.equals(Buffer.alloc(FROZEN_PATTERN_BYTES, `${numbers[at]}|`)));
    expect(wrong).toHaveLength(0);
    expect(numbers).toEqual([...new Set(numbers)].sort((one, two) => one - two));
    // Some of it waited in our memory: the system's buffers alone do not take so much and no more.
    expect(broker!.stats().dropped['slab-full']).toBe(FROZEN_PATTERNS - found.length);
    expect(found.length).toBeLessThan(FROZEN_PATTERNS);
  }, 60_000);
});

/** 30 MB: more than the system's buffers take and one connection may have queued. */
const FLOOD = 6_000;
const FLOOD_PAYLOAD = 5_000;

describe.each(DOOR_KINDS)('a subscriber that does not read, on %s', (kind) => {
  it('costs only itself', async () => {
    const { listener, way } = doorOf(kind);
    const port = await open(listener);
    const whole: OpenTransportOptions = kind === 'unix' ? way : { ...way, port };
    const frozen = await openTransport(whole);
    const slow = clientOver(frozen, '64 KiB pieces', 'slow');
    await connectedTo(slow);
    await slow.subscribeAsync('flood', { qos: 0 });
    const quick = await dialThrough(whole, '64 KiB pieces', 'quick');
    let heard = 0;
    quick.on('message', () => { heard += 1; });
    await quick.subscribeAsync('flood', { qos: 0 });
    const lost = new Map<string, number>();
    broker?.on('messageDropped', ({ clientId }) => {
      lost.set(clientId, (lost.get(clientId) ?? 0) + 1);
    });
    frozen.pause();
    const writer = await dialThrough(whole, '64 KiB pieces', 'writer');
    const payload = Buffer.alloc(FLOOD_PAYLOAD, 'x');
    for (let index = 0; index < FLOOD; index += 1) {
      writer.publish('flood', payload, { qos: 0 });
      if (index % WINDOW === WINDOW - 1) {
        await until('the quick one keeps up', () => heard === index + 1);
      }
    }
    expect(heard).toBe(FLOOD);
    // What the frozen one could not take was dropped, and said; nobody else lost anything.
    expect([...lost.keys()]).toEqual(['slow']);
    expect(lost.get('slow')).toBeGreaterThan(0);
  }, 40_000);
});

function doorOf(kind: DoorKind): { listener: ListenerSettings; way: OpenTransportOptions } {
  const path = join(folder, `${kind}.sock`);
  const secure = kind === 'tls' || kind === 'wss';
  const web = kind === 'ws' || kind === 'wss';
  return {
    listener: {
      ...kind === 'unix' ? { path } : {},
      ...secure ? { tls: server } : {},
      ...web ? { ws: '/mqtt' } : {},
    },
    way: {
      ...kind === 'unix' ? { path } : { host },
      ...secure ? { tls: { caFile: certificates.caFile } } : {},
      ...web ? { ws: '/mqtt' } : {},
    },
  };
}

const haproxy = spawnSync('haproxy', ['-v']).status === 0;
if (!haproxy) process.stderr.write('skipped: haproxy is not installed\n');
(haproxy ? describe : describe.skip)('haproxy in front', () => {
  async function freePort(): Promise<number> {
    const probe = createServer();
    await new Promise<void>((resolve) => { probe.listen(0, host, resolve); });
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => { probe.close(resolve); });
    return port;
  }

  it.each(['send-proxy', 'send-proxy-v2'])('%s: the true address is known', async (how) => {
    const port = await open({ proxyProtocol: { trusted: [host] } });
    const front = await freePort();
    const config = join(folder, `${how}.cfg`);
    writeFileSync(config, ['defaults', '  mode tcp', '  timeout connect 5s', '  timeout client 30s',
      '  timeout server 30s', 'listen mqtt', `  bind ${host}:${front}`,
      `  server broker ${host}:${port} ${how}`, ''].join('\n'));
    children.push(spawn('haproxy', ['-db', '-f', config], { stdio: 'ignore' }));
    const args = ['-h', host, '-p', `${front}`, '-A', '127.0.0.77', '-t', 'a', '-m', 'b'];
    let published = false;
    for (const end = Date.now() + 5_000; !published && Date.now() < end;) {
      published = await run('mosquitto_pub', args).then(() => true, () => false);
    }
    expect(published).toBe(true);
    expect(connected[0].remoteAddress).toBe('127.0.0.77');
  });
});
