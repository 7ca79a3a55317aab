/** The connecting side: what it sends, and what it says when it cannot connect. */
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { Agent, createServer as createHttpServer } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { WebSocketServer } from 'ws';
import { TransportError, createListener, openTransport } from '../../lib/listener/index.js';
import type { Listener, ListenerOptions, OpenTransportOptions } from '../../lib/listener/index.js';
import { Certificates } from './support/certificates.js';
import { Reception, Recorder, rejection, stopAll, until } from './support/peers.js';

const host = '127.0.0.1';
let certificates: Certificates;
let reception = new Reception();
const listeners: Listener[] = [];
const servers: Server[] = [];
const sockets: Socket[] = [];

beforeAll(() => { certificates = new Certificates(); });
afterAll(() => { certificates.remove(); });
afterEach(async () => {
  for (const transport of reception.transports) transport.destroy();
  for (const socket of sockets.splice(0)) socket.destroy();
  await stopAll(listeners.splice(0));
  for (const server of servers.splice(0)) server.close();
  reception = new Reception();
});

async function open(options: ListenerOptions): Promise<Listener> {
  const listener = createListener({ port: 0, host, ...options }, reception.observer);
  listeners.push(listener);
  await listener.start(reception.accept);
  return listener;
}

/** A server that takes connections and says nothing. */
async function mute(): Promise<number> {
  const server = createServer((socket) => { sockets.push(socket.on('error', () => {})); });
  servers.push(server);
  await new Promise<void>((resolve) => { server.listen(0, host, resolve); });
  return (server.address() as AddressInfo).port;
}

async function failure(options: OpenTransportOptions): Promise<TransportError> {
  const error = await rejection(openTransport(options));
  expect(error).toBeInstanceOf(TransportError);
  return error as TransportError;
}

describe('connecting fails with a reason', () => {
  it.each<[string, OpenTransportOptions]>([
    ['tcp', {}], ['tls', { tls: {} }], ['ws', { ws: '/mqtt' }], ['wss', { tls: {}, ws: '/mqtt' }],
  ])('nobody listens: %s', async (kind, options) => {
    const port = await mute();
    servers.splice(0).forEach((server) => { server.close(); });
    const error = await failure({ host, port, ...options });
    expect(error.code).toBe('NIDO_TRANSPORT_CONNECT_REFUSED');
    expect(error.message).toContain(`${kind}://${host}:${port}`);
  });

  it('no such unix socket, no such host', async () => {
    expect((await failure({ path: '/nowhere/x.sock' })).code)
      .toBe('NIDO_TRANSPORT_CONNECT_REFUSED');
    const lookup: OpenTransportOptions['lookup'] = (name, _, done) => {
      done(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' }), '', 4);
    };
    const error = await failure({ host: 'no.such.host', port: 1, lookup });
    expect(error.code).toBe('NIDO_TRANSPORT_HOST_UNKNOWN');
    expect(error.message).toContain('no.such.host');
  });

  it.each<[string, OpenTransportOptions]>([
    ['tls', { tls: {} }], ['ws', { ws: '/mqtt' }], ['wss', { tls: {}, ws: '/mqtt' }],
  ])('the server says nothing: %s', async (_, options) => {
    const port = await mute();
    const error = await failure({ host, port, connectDeadlineMs: 80, ...options });
    expect(error.code).toBe('NIDO_TRANSPORT_CONNECT_DEADLINE');
    await until('the socket is closed', () => sockets.length === 1 && sockets[0].readableEnded
      || sockets[0]?.resume().destroyed);
  });

  it('the caller gave up', async () => {
    const port = await mute();
    const controller = new AbortController();
    const pending = failure({ host, port, tls: {}, signal: controller.signal });
    await until('connected', () => sockets.length === 1);
    controller.abort();
    expect((await pending).code).toBe('NIDO_TRANSPORT_ABORTED');
    expect((await failure({ host, port, signal: controller.signal })).code)
      .toBe('NIDO_TRANSPORT_ABORTED');
  });

  it('the server is not who it should be', async () => {
    const { port } = await open({ tls: certificates.server('elsewhere', 'elsewhere.casa') });
    const unknown = await failure({ host, port, tls: {} });
    expect(unknown.code).toBe('NIDO_TRANSPORT_TLS_FAILED');
    const tls = { caFile: certificates.caFile, servername: 'broker.casa' };
    const wrong = await failure({ host, port, tls });
    expect(wrong.code).toBe('NIDO_TRANSPORT_TLS_FAILED');
    expect(wrong.message).toContain('elsewhere.casa');
    const transport = await openTransport({ host, port, tls: { rejectUnauthorized: false } });
    transport.destroy();
  });

  it('the server does not speak TLS, or not MQTT over WebSocket', async () => {
    const { port } = await open({});
    const pending = failure({ host, port, tls: {} });
    (await reception.next()).write(Buffer.from('plain text, no TLS'), () => {});
    expect((await pending).code).toBe('NIDO_TRANSPORT_TLS_FAILED');
    const door = await open({ ws: '/mqtt' });
    const error = await failure({ host, port: door.port, ws: '/other' });
    expect(error.code).toBe('NIDO_TRANSPORT_WEBSOCKET_REFUSED');
    expect(error.message).toContain('404');
  });

  it('the server chooses no subprotocol', async () => {
    const other = new WebSocketServer({ host, port: 0, handleProtocols: () => false });
    await new Promise((resolve) => { other.once('listening', resolve); });
    const { port } = other.address() as AddressInfo;
    expect((await failure({ host, port, ws: '/mqtt' })).code)
      .toBe('NIDO_TRANSPORT_WEBSOCKET_REFUSED');
    other.close();
  });

  it('a file of ours is wrong', async () => {
    const error = await failure({ host, port: 1, tls: { caFile: '/nowhere/ca.pem' } });
    expect(error.code).toBe('NIDO_TRANSPORT_OPTION_BAD');
    expect(error.message).toContain('/nowhere/ca.pem');
  });
});

describe('connecting', () => {
  it('sends headers, origin, query and subprotocols, through the agent that is given', async () => {
    const server = createHttpServer();
    servers.push(server);
    const seen: { url?: string; headers: IncomingHttpHeaders }[] = [];
    server.prependListener('upgrade', (request) => { seen.push(request); });
    const listener = createListener({ ws: { server } });
    await listener.start(reception.accept);
    await new Promise<void>((resolve) => { server.listen(0, host, resolve); });
    const { port } = server.address() as AddressInfo;
    let throughAgent = 0;
    class Tunnel extends Agent {
      override createConnection(): Socket {
        throughAgent += 1;
        return connect(port, host);
      }
    }
    const client = await openTransport({
      host: 'behind.the.proxy',
      port: 9,
      ws: {
        path: '/mqtt?token=1', headers: { Authorization: 'Bearer x' }, agent: new Tunnel(),
        origin: 'https://casa.example', protocols: ['mqttv3.1', 'mqtt'],
      },
    });
    expect(throughAgent).toBe(1);
    expect(seen[0].url).toBe('/mqtt?token=1');
    expect(seen[0].headers).toMatchObject({
      host: 'behind.the.proxy:9', authorization: 'Bearer x', origin: 'https://casa.example',
      'sec-websocket-protocol': 'mqttv3.1,mqtt',
    });
    expect(seen[0].headers).not.toHaveProperty('sec-websocket-extensions');
    client.destroy();
    await listener.stop(100);
  });

  it('goes over a socket that is there already, with TLS or without', async () => {
    const plain = await open({});
    const first = await openTransport({ socket: connect(plain.port as number, host) });
    expect([first.kind, (await reception.next()).kind]).toEqual(['tcp', 'tcp']);
    first.destroy();
    const secure = await open({ tls: certificates.server() });
    const second = await openTransport({
      socket: connect(secure.port as number, host),
      host: 'localhost',
      tls: { caFile: certificates.caFile },
    });
    expect([second.kind, (await reception.next(2)).kind]).toEqual(['tls', 'tls']);
    second.destroy();
  });

  it('knows who the server is', async () => {
    const listener = await open({ tls: certificates.server('named') });
    const client = await openTransport({
      host, port: listener.port, tls: { caFile: certificates.caFile },
    });
    expect(client.identity).toEqual({
      via: 'certificate', name: 'localhost', alternativeNames: ['DNS:localhost', 'IP '
        + 'Address:127.0.0.1'],
    });
    client.destroy();
  });

  it('loses nothing that the server says at once', async () => {
    const listener = createListener({ port: 0, host, ws: '/mqtt' });
    listeners.push(listener);
    await listener.start((transport) => {
      reception.accept(transport);
      transport.write(Buffer.from('welcome'), () => {});
      transport.end(1_000);
    });
    const client = await openTransport({ host, port: listener.port, ws: '/mqtt' });
    await until('all was sent', () => reception.transports[0]?.bytesInFlight === 0);
    const recorder = Recorder.open(client);
    await until('closed', () => recorder.closed === 1);
    expect(recorder.content.toString()).toBe('welcome');
  });

  it('tells an owner that comes too late', async () => {
    for (const ws of [undefined, '/mqtt']) {
      const listener = await open(ws === undefined ? {} : { ws });
      const client = await openTransport({ host, port: listener.port, ws });
      client.destroy();
      await until('the server saw it', () => reception.recorders.at(-1)?.closed === 1);
      const recorder = Recorder.open(client);
      expect(recorder.closed).toBe(0);
      await until('closed', () => recorder.closed === 1);
    }
  });
});
