/**
 * WebSocket doors: who may come in, what frames may hold, and sharing an HTTP server with others.
 */
import { createServer } from 'node:http';
import type { Server as HttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { WebSocket, WebSocketServer } from 'ws';
import type { ClientOptions } from 'ws';
import { createListener, openTransport } from '../../lib/listener/index.js';
import type {
  Listener, ListenerOptions, Transport, WebSocketListenerOptions,
} from '../../lib/listener/index.js';
import { Certificates } from './support/certificates.js';
import { Reception, Recorder, randomBytesOf, rejection, stopAll, until } from './support/peers.js';

const host = '127.0.0.1';
let certificates: Certificates;
let reception = new Reception();
const listeners: Listener[] = [];
const servers: HttpServer[] = [];
const sockets: { terminate?(): void; destroy?(): void }[] = [];

beforeAll(() => { certificates = new Certificates(); });
afterAll(() => { certificates.remove(); });
afterEach(async () => {
  for (const socket of sockets.splice(0)) (socket.terminate ?? socket.destroy)?.call(socket);
  for (const transport of reception.transports) transport.destroy();
  await stopAll(listeners.splice(0));
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => { server.close(resolve); });
  }
  reception = new Reception();
});

async function open(
  ws: string | WebSocketListenerOptions = '/mqtt', more: ListenerOptions = {},
): Promise<Listener> {
  const place = typeof ws === 'object' && ws.server !== undefined ? {} : { port: 0, host };
  const listener = createListener({ ...place, ws, ...more }, reception.observer);
  listeners.push(listener);
  await listener.start(reception.accept);
  return listener;
}

/**
 * The `ws` client as a stranger would use it. Answers the status with which it was turned away, or
 * the socket.
 */
async function dial(
  url: string, options: ClientOptions = {}, protocols: string[] = ['mqtt'],
): Promise<WebSocket | number> {
  const socket = new WebSocket(url, protocols, options);
  sockets.push(socket);
  socket.on('error', () => {});
  return new Promise((resolve) => {
    socket.once('open', () => resolve(socket));
    socket.once('unexpected-response', (_, response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
  });
}

async function inside(url: string, options?: ClientOptions): Promise<WebSocket> {
  const socket = await dial(url, options);
  if (typeof socket === 'number') throw new Error(`turned away with ${socket}`);
  return socket;
}

function closeOf(socket: WebSocket): Promise<number> {
  return new Promise((resolve) => { socket.once('close', resolve); });
}

async function listening(server: HttpServer): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => { server.listen(0, host, resolve); });
  return (server.address() as AddressInfo).port;
}

describe('who may come in', () => {
  it('takes the subprotocols mqtt and mqttv3.1, mqtt first', async () => {
    const { port } = await open();
    const url = `ws://${host}:${port}/mqtt`;
    const chosen: string[] = [];
    for (const offer of [['mqtt'], ['mqttv3.1'], ['other', 'mqttv3.1', 'mqtt']]) {
      chosen.push((await dial(url, {}, offer) as WebSocket).protocol);
    }
    expect(chosen).toEqual(['mqtt', 'mqttv3.1', 'mqtt']);
    expect(await dial(url, {}, ['chat'])).toBe(400);
    expect(await dial(url, {}, [])).toBe(400);
    expect((await reception.refused(2)).reason).toBe('websocket-protocol');
  });

  it('serves one path, with any query', async () => {
    const { port } = await open({ path: '/broker' });
    expect(await dial(`ws://${host}:${port}/mqtt`)).toBe(404);
    expect(await dial(`ws://${host}:${port}/broker/x`)).toBe(404);
    await inside(`ws://${host}:${port}/broker?token=1`);
    expect(reception.refusals[0]).toMatchObject({
      reason: 'websocket-path', remoteAddress: host, detail: 'MQTT is served at /broker',
    });
  });

  it('lets in pages of the allow-list, and programs without an origin', async () => {
    const { port } = await open({ origins: ['https://casa.example'] });
    const url = `ws://${host}:${port}/mqtt`;
    await inside(url, { origin: 'https://casa.example' });
    await inside(url);
    expect(await dial(url, { origin: 'https://evil.example' })).toBe(403);
    expect(await dial(url, { origin: 'https://casa.example.evil.example' })).toBe(403);
    expect(await dial(url, { origin: 'null' })).toBe(403);
    expect(reception.refusals.map(({ reason }) => reason))
      .toEqual(['websocket-origin', 'websocket-origin', 'websocket-origin']);
  });

  it('does not compress, whatever the client offers', async () => {
    const { port } = await open();
    const socket = await inside(`ws://${host}:${port}/mqtt`, { perMessageDeflate: true });
    expect(socket.extensions).toBe('');
  });

  it('answers browsers that come to look', async () => {
    const { port } = await open();
    const here = await fetch(`http://${host}:${port}/mqtt`);
    expect([here.status, here.headers.get('upgrade')]).toEqual([426, 'websocket']);
    expect(await here.text()).toContain('subprotocol mqtt');
    const elsewhere = await fetch(`http://${host}:${port}/`);
    expect(elsewhere.status).toBe(404);
    await elsewhere.text();
  });

  it.each([
    ['no request at all', ''],
    ['half a request', 'GET /mqtt HTTP/1.1\r\nHost: x\r\n'],
  ])('cuts who is slow: %s', async (_, text) => {
    const { port } = await open('/mqtt', { handshakeDeadlineMs: 100 });
    const socket = raw(port, text);
    await until('cut', () => socket.closed);
    expect((await reception.refused()).reason).toBe('http-request');
  });

  it.each([
    ['an MQTT packet', Buffer.from('101000044d5154540402003c000461626364', 'hex')],
    ['a header that is too long', `GET /mqtt HTTP/1.1\r\nX: ${'a'.repeat(40_000)}\r\n\r\n`],
    ['an upgrade without its key', 'GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n'
      + 'Upgrade: websocket\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n'],
  ])('turns away %s', async (_, text) => {
    const { port } = await open();
    const socket = raw(port, text);
    await until('closed', () => socket.closed);
    await reception.refused();
    expect(reception.transports).toHaveLength(0);
  });
});

function raw(port: number | undefined, text: string | Uint8Array): Socket {
  const socket = connect(port as number, host);
  sockets.push(socket);
  socket.on('error', () => {}).resume();
  if (text.length > 0) socket.write(text);
  return socket;
}

describe('frames', () => {
  it('are bytes and nothing more: glued, cut and fragmented', async () => {
    const { port } = await open();
    const socket = await inside(`ws://${host}:${port}/mqtt`);
    const bytes = randomBytesOf(1, 70_000);
    socket.send(bytes.subarray(0, 1));
    socket.send(bytes.subarray(1, 60_000));
    for (let at = 60_000; at < 69_000; at += 1_000) {
      socket.send(bytes.subarray(at, at + 1_000), { fin: at === 68_000 });
    }
    socket.send(bytes.subarray(69_000));
    await until('all', () => reception.recorders[0]?.bytes === bytes.length);
    expect(reception.recorders[0].content.equals(bytes)).toBe(true);
    expect(reception.recorders[0].violations).toEqual([]);
  });

  it('of text close the connection [MQTT-6.0.0-1]', async () => {
    const { port } = await open();
    const socket = await inside(`ws://${host}:${port}/mqtt`);
    socket.send('text');
    socket.send(Buffer.from('never delivered'));
    expect(await closeOf(socket)).toBe(1003);
    const recorder = reception.recorders[0];
    await until('closed', () => recorder.closed === 1);
    expect([recorder.bytes, (recorder.error as { code?: string }).code])
      .toEqual([0, 'NIDO_TRANSPORT_TEXT_FRAME']);
  });

  it('beyond maxPayload close the connection', async () => {
    const { port } = await open({ maxPayload: 1_000 });
    const socket = await inside(`ws://${host}:${port}/mqtt`);
    socket.send(Buffer.alloc(1_000));
    socket.send(Buffer.alloc(1_001));
    expect(await closeOf(socket)).toBe(1009);
    await until('closed', () => reception.recorders[0].closed === 1);
    expect(reception.recorders[0].bytes).toBe(1_000);
    expect(reception.recorders[0].error?.message).toContain('Max payload size exceeded');
  });

  it('that break the protocol close the connection', async () => {
    const { port } = await open();
    const socket = await inside(`ws://${host}:${port}/mqtt`);
    const { _socket: below } = socket as unknown as { _socket: Socket };
    below.write(Buffer.from([0x82, 0x01, 0x00])); // not masked
    expect(await closeOf(socket)).toBe(1002);
    await until('closed', () => reception.recorders[0].closed === 1);
    expect(reception.recorders[0].error).toBeDefined();
  });

  it('of a long write leave in pieces that any peer takes', async () => {
    const { port } = await open();
    const socket = await inside(`ws://${host}:${port}/mqtt`, { maxPayload: 300_000 });
    let bytes = 0;
    socket.on('message', (data: Buffer) => { bytes += data.length; });
    let done = 0;
    (await reception.next()).write(Buffer.alloc(3_000_000), () => { done += 1; });
    await until('all', () => bytes === 3_000_000);
    expect(done).toBe(1);
  });

  it('that ping are answered, but do not fill our memory when nobody reads', async () => {
    const { port } = await open();
    const socket = await inside(`ws://${host}:${port}/mqtt`);
    const pong = new Promise((resolve) => {
      socket.once('pong', (data) => resolve(String(data)));
    });
    socket.ping('are you there');
    expect(await pong).toBe('are you there');
    const { _socket: below } = socket as unknown as { _socket: Socket };
    below.pause();
    const server = await reception.next();
    for (let round = 0; round < 400; round += 1) {
      for (let index = 0; index < 500; index += 1) socket.ping(Buffer.alloc(125));
      await new Promise((resolve) => { below.write('', resolve); });
    }
    expect(server.bytesInFlight).toBeLessThan(32_768);
  });

  it('that come while the owner pauses wait for it, also when the peer has gone', async () => {
    const { port } = await open();
    const listenerRecorder: Recorder[] = [];
    const listener = createListener({ port: 0, host, ws: '/mqtt' });
    listeners.push(listener);
    let served: Transport | undefined;
    await listener.start((transport) => {
      served = transport;
      listenerRecorder.push(Recorder.open(transport, () => { transport.pause(); }));
    });
    expect(port).not.toBe(listener.port);
    const socket = await inside(`ws://${host}:${listener.port}/mqtt`);
    const { _socket: below } = socket as unknown as { _socket: Socket };
    below.cork();
    for (let index = 0; index < 5; index += 1) socket.send(Buffer.of(index));
    socket.close();
    below.uncork();
    await until('the first', () => listenerRecorder[0]?.bytes === 1);
    for (let count = 2; count <= 5; count += 1) {
      for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
      expect(listenerRecorder[0]).toMatchObject({ bytes: count - 1, closed: 0 });
      served?.resume();
      await until(`number ${count}`, () => listenerRecorder[0].bytes === count);
    }
    served?.resume();
    await until('closed', () => listenerRecorder[0].closed === 1);
    expect([...listenerRecorder[0].content]).toEqual([0, 1, 2, 3, 4]);
    expect(listenerRecorder[0].violations).toEqual([]);
  });
});

describe('a door in an HTTP server that exists', () => {
  it('takes its own path and leaves requests and other paths to their owners', async () => {
    const server = createServer((_, response) => { response.end('the application'); });
    const other = new WebSocketServer({ noServer: true });
    server.on('upgrade', (request, socket, head) => {
      if (request.url === '/other') {
        other.handleUpgrade(request, socket, head, (webSocket) => { webSocket.send('the other'); });
      }
    });
    const listener = await open({ server, path: '/mqtt' });
    expect(listener.port).toBeUndefined();
    const port = await listening(server);
    expect([listener.port, listener.address]).toEqual([port, `ws://${host}:${port}/mqtt`]);
    const socket = await inside(`ws://${host}:${port}/mqtt`);
    socket.send(Buffer.from('to the broker'));
    await until('bytes', () => reception.recorders[0]?.content.toString() === 'to the broker');
    expect(await (await fetch(`http://${host}:${port}/mqtt`)).text()).toBe('the application');
    const foreign = new WebSocket(`ws://${host}:${port}/other`);
    sockets.push(foreign);
    const said = await new Promise((resolve) => {
      foreign.once('message', (data) => resolve(String(data)));
    });
    expect(said).toBe('the other');
    await listener.stop(100);
    expect(server.listenerCount('upgrade')).toBe(1);
    expect(server.listening).toBe(true);
    expect(socket.readyState).toBe(WebSocket.OPEN);
  });

  it('answers other paths when nobody else does', async () => {
    const server = createServer();
    await open({ server });
    const port = await listening(server);
    expect(await dial(`ws://${host}:${port}/elsewhere`)).toBe(404);
  });

  it('knows TLS, and the certificate of the client, from that server', async () => {
    const pair = certificates.server();
    const device = certificates.issue('device', '/CN=sala-1', 'DNS:sala.casa');
    const ca = readFileSync(certificates.caFile);
    const server = createHttpsServer({
      cert: readFileSync(pair.certFile), key: readFileSync(pair.keyFile), ca, requestCert: true,
    });
    const listener = await open({ server });
    const port = await listening(server);
    expect(listener.address).toBe(`wss://${host}:${port}/mqtt`);
    const client = await openTransport({
      host, port, ws: '/mqtt', tls: { caFile: certificates.caFile, ...device },
    });
    const transport = await reception.next();
    expect([transport.kind, transport.identity?.name]).toEqual(['wss', 'sala-1']);
    client.destroy();
  });

  it('does not go with options that belong to the server', () => {
    expect(() => createListener({ port: 1, ws: { server: createServer() } }))
      .toThrow('port belong to that server');
  });
});

describe('secure WebSocket with client certificates', () => {
  it('refuses who has none and names who has one', async () => {
    const device = certificates.issue('device-2', '/CN=sala-2', 'DNS:sala.casa');
    const listener = await open('/mqtt', {
      tls: { ...certificates.server(), caFile: certificates.caFile, requestCert: true },
    });
    const where = { host, port: listener.port, ws: '/mqtt' };
    const tls = { caFile: certificates.caFile, ...device };
    const client = await openTransport({ ...where, tls });
    const transport = await reception.next();
    expect(transport.identity).toMatchObject({ via: 'certificate', name: 'sala-2' });
    await rejection(openTransport({ ...where, tls: { caFile: certificates.caFile } }));
    expect((await reception.refused()).reason).toBe('tls-handshake');
    client.destroy();
  });
});
