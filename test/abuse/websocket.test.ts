/** Abuse gate 2 and 29: what a WebSocket door must not let through. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { WebSocket, createWebSocketStream } from 'ws';
import type { ClientOptions } from 'ws';
import type { Broker } from '../../lib/index.js';
import { cat, hex, str, vbi } from '../conformance/wire/bytes.js';
import * as build from '../conformance/wire/packets.js';
import { WirePeer } from '../conformance/wire/peer.js';
import { Certificates } from '../listener/support/certificates.js';
import { underAttack } from './abuse-kit.js';
import type { Victim } from './abuse-kit.js';

const host = '127.0.0.1';
let certificates: Certificates;
beforeAll(() => { certificates = new Certificates(); });
afterAll(() => certificates.remove());

/** A victim with a plain door for the good pair and the attacked door behind it. */
const attacked = (attack: (victim: Victim, port: number) => Promise<void>, door: object = { ws: '/mqtt' }) => () =>
  underAttack((victim) => attack(victim, portOf(victim.broker)), {
    listeners: [{ host, port: 0 }, { host, port: 0, ...door }],
    limits: { connectTimeoutSeconds: 2 },
  });
const portOf = (broker: Broker): number => broker.listeners[1].port as number;

async function dial(url: string, options: ClientOptions = {}, protocols = ['mqtt']): Promise<WebSocket> {
  const socket = new WebSocket(url, protocols, options);
  try {
    await once(socket, 'open');
  } catch (error) {
    socket.on('error', () => undefined).terminate();
    throw error;
  }
  return socket.on('error', () => undefined);
}

/** An MQTT 5 client whose every `send` is a frame. */
async function enter(port: number, clientId: string): Promise<{ peer: WirePeer; socket: WebSocket }> {
  const socket = await dial(`ws://${host}:${port}/mqtt`);
  const duplex = createWebSocketStream(socket);
  const pipe = Object.assign(duplex, { setNoDelay: () => undefined }) as unknown as Socket;
  const peer = WirePeer.over(pipe, 5);
  peer.send(build.connect({ version: 5, clientId }));
  await peer.expectPacket('CONNACK', { reasonCode: 0 });
  return { peer, socket };
}
const closeCode = async (socket: WebSocket): Promise<number> => (await once(socket, 'close'))[0] as number;

/** What a server says to bytes that are no HTTP, or to a request, until it closes. */
async function said(socket: Socket, bytes: Buffer | string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => undefined);
  const closed = once(socket, 'close');
  socket.write(bytes);
  await closed;
  return Buffer.concat(chunks);
}

describe('frames that lie', () => {
  it('abuse 2: a Remaining Length larger than its WebSocket frame takes what the next frames bring, and no byte else',
    attacked(async ({ kit, broker }, port) => {
      const { peer } = await enter(port, 'larger');
      const reader = await kit.connect();
      await kit.subscribed(reader, 'frames');
      const payload = Buffer.alloc(5_000, 'ab');
      const whole = build.publish({ version: 5, topic: 'frames', payload, qos: 1, packetId: 1 });
      for (const [from, to] of [[0, 3], [3, 12], [12, 13], [13, 4_000], [4_000, whole.length]]) {
        peer.send(whole.subarray(from, to));
        // Each is a frame of its own, and has been read before the next one leaves.
        await kit.publish(reader, 'elsewhere', 'x', { qos: 1 });
      }
      await peer.expectPacket('PUBACK', { packetId: 1 });
      expect((await kit.receive(reader)).payload.equals(payload)).toBe(true);
      // And one whose rest never comes costs its own connection alone.
      peer.send(cat(hex('30'), vbi(100_000), str('frames'), hex('00'), Buffer.alloc(10)));
      peer.cut();
      await reader.expectNothing();
      expect(broker.stats().memoryUsedBytes.carry).toBeLessThan(200_000);
    }));

  it('abuse 2: a Remaining Length larger than the frame in CONNECT ends with the time for it',
    attacked(async (_, port) => {
      const socket = await dial(`ws://${host}:${port}/mqtt`);
      const closed = closeCode(socket);
      socket.send(cat(hex('10'), vbi(60_000), str('MQTT'), hex('05 02 00 3c 00')));
      await closed;
    }));

  it('abuse 2: a Remaining Length shorter than the frame is two packets, and the second is judged',
    attacked(async (_, port) => {
      const { peer } = await enter(port, 'shorter');
      const cut = build.publish({ version: 5, topic: 'frames', payload: 'x', qos: 1, packetId: 1 });
      cut[1] -= 1; // the last byte of the payload is now the first of the next packet
      peer.send(cut);
      const reply = await peer.next();
      // Either the PUBACK comes first, or the rest is refused before: nothing is read past the frame.
      expect(['PUBACK', 'DISCONNECT']).toContain(reply.name);
      peer.cut();
    }));

  it.each<[string, Buffer]>([
    ['claims 2^63 bytes', hex('82 ff 7f ff ff ff ff ff ff ff 00 00 00 00')],
    ['claims more than a packet may have', hex('82 ff 00 00 00 00 10 00 00 00 00 00 00 00')],
    ['is not masked', hex('82 02 c0 00')],
    ['has reserved bits', hex('f2 80 00 00 00 00')],
    ['continues nothing', hex('80 80 00 00 00 00')],
    ['is a control frame of 126 bytes', hex('89 fe 00 7e 00 00 00 00')],
  ])('abuse 2: a frame that %s ends its connection', (_, frame) => attacked(async ({ kit }, port) => {
    const socket = connect(port, host);
    const request = [
      'GET /mqtt HTTP/1.1', `host: ${host}`, 'upgrade: websocket', 'connection: upgrade', 'sec-websocket-version: 13',
      'sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-protocol: mqtt', '', '',
    ].join('\r\n');
    expect((await said(socket, cat(Buffer.from(request), frame))).toString()).toMatch(/^HTTP\/1\.1 101 /);
    await kit.connect();
  })());

  it('abuse 2: a text frame is refused', attacked(async (_, port) => { // [MQTT-6.0.0-1]
    const { socket } = await enter(port, 'text');
    const closed = closeCode(socket);
    socket.send('MQTT');
    expect(await closed).toBe(1003);
  }));

  it('abuse 2: fragments without end are bounded by the largest packet', () => underAttack(async ({ broker }) => {
    const { socket } = await enter(portOf(broker), 'fragments');
    const closed = closeCode(socket);
    for (let count = 0; count < 40 && socket.readyState === WebSocket.OPEN; count += 1) {
      await new Promise((resolve) => { socket.send(Buffer.alloc(100_000), { fin: false }, resolve); });
    }
    expect(await closed).not.toBe(1000);
  }, { listeners: [{ host, port: 0 }, { host, port: 0, ws: { path: '/mqtt', maxPayload: 1_000_000 } }] }));
});

describe('ways around the door', () => {
  const mqtt = build.connect({ version: 5, clientId: 'around' });

  it('abuse 29: another path, no subprotocol or no upgrade reaches no MQTT code', attacked(async ({ broker }, port) => {
    const { connections } = broker.stats();
    for (const path of ['/', '/mqtt/', '/MQTT', '//mqtt', '/mqtt%2f', '/.well-known']) {
      await expect(dial(`ws://${host}:${port}${path}`)).rejects.toThrow(/Unexpected server response: 4/);
    }
    await expect(dial(`ws://${host}:${port}/mqtt`, {}, ['chat'])).rejects.toThrow(/4\d\d/);
    await expect(dial(`ws://${host}:${port}/mqtt`, {}, [])).rejects.toThrow(/4\d\d/);
    const plain = await said(connect(port, host), `GET /mqtt HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`);
    expect(plain.toString()).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(broker.stats().connections).toBe(connections);
  }));

  it('abuse 29: MQTT without WebSocket is answered with no MQTT', attacked(async ({ broker }, port) => {
    const { connectionsAccepted } = broker.stats();
    const answer = await said(connect(port, host), mqtt);
    expect(answer.subarray(0, 4).toString()).toMatch(/^(HTTP|)$/);
    expect(broker.stats().connectionsAccepted).toBe(connectionsAccepted);
  }));

  it('abuse 29: pages of other origins are turned away', attacked(async (_, port) => {
    const url = `ws://${host}:${port}/mqtt`;
    await expect(dial(url, { origin: 'https://evil.example' })).rejects.toThrow(/403/);
    await expect(dial(url, { origin: 'https://casa.example.evil.example' })).rejects.toThrow(/403/);
    (await dial(url, { origin: 'https://casa.example' })).terminate();
  }, { ws: { path: '/mqtt', origins: ['https://casa.example'] } }));

  it('abuse 29: a wss door that asks for certificates verifies them', async () => {
    const strangers = new Certificates('Another Authority');
    try {
      const server = certificates.server();
      const device = certificates.issue('device', '/CN=sala', 'DNS:sala.casa');
      const foreign = strangers.issue('device', '/CN=sala', 'DNS:sala.casa');
      const self = strangers.selfSigned('self', 'sala');
      const ca = readFileSync(certificates.caFile);
      const of = ({ certFile, keyFile }: { certFile: string; keyFile: string }): ClientOptions =>
        ({ ca, cert: readFileSync(certFile), key: readFileSync(keyFile) });
      await attacked(async ({ broker }, port) => {
        const { connectionsAccepted } = broker.stats();
        const url = `wss://${host}:${port}/mqtt`;
        for (const options of [{ ca }, of(foreign), of(self)]) await expect(dial(url, options)).rejects.toThrow();
        expect(broker.stats().connectionsAccepted).toBe(connectionsAccepted);
        (await dial(url, of(device))).terminate();
        // Neither does plain ws, nor TLS without HTTP, get past it.
        await expect(dial(`ws://${host}:${port}/mqtt`)).rejects.toThrow();
        const bare = connectTls({ port, host, ...of(device) as object, servername: 'localhost' });
        await once(bare, 'secureConnect');
        expect((await said(bare, mqtt)).subarray(0, 4).toString()).toMatch(/^(HTTP|)$/);
      }, { tls: { ...server, caFile: certificates.caFile, requestCert: true }, ws: '/mqtt' })();
    } finally {
      strangers.remove();
    }
  });
});
