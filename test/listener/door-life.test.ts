/** The life of a door: it opens, says where, closes, and says clearly why it cannot open. */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync, spawn } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { ListenerError, createListener, openTransport } from '../../lib/listener/index.js';
import type { Listener, ListenerOptions } from '../../lib/listener/index.js';
import { HALF_OPEN_DEADLINE_MS } from '../../lib/listener/listener-limits.js';
import { Reception, Recorder, rejection, stopAll, until } from './support/peers.js';

const host = '127.0.0.1';
/** What follows the first two lines. */
const WEBSOCKET_REQUEST = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
  + 'Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n'
  + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
const listeners: Listener[] = [];
const sockets: Socket[] = [];
let reception = new Reception();
let folder = '';

beforeAll(() => { folder = mkdtempSync(join(tmpdir(), 'nidomq-life-')); });
afterAll(() => { rmSync(folder, { recursive: true, force: true }); });
afterEach(async () => {
  for (const transport of reception.transports) transport.destroy();
  for (const socket of sockets.splice(0)) socket.destroy();
  await stopAll(listeners.splice(0));
  reception = new Reception();
});

function door(options: ListenerOptions): Listener {
  const listener = createListener(options, reception.observer);
  listeners.push(listener);
  return listener;
}

function raw(port: number | undefined): Socket {
  const socket = connect(port as number, host);
  socket.on('error', () => {});
  sockets.push(socket);
  return socket;
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(ListenerError);
    return (error as ListenerError).code;
  }
  return 'no error';
}

describe('a door that opens', () => {
  it('shows the real port when 0 was asked, and keeps its name', async () => {
    const listener = door({ port: 0, host });
    expect(listener.name).toBe('tcp://127.0.0.1:0');
    expect(listener.port).toBeUndefined();
    await listener.start(reception.accept);
    expect(listener.port).toBeGreaterThan(0);
    expect(listener.address).toBe(`tcp://127.0.0.1:${listener.port}`);
    expect(listener.name).toBe('tcp://127.0.0.1:0');
  });

  it('can be named, and names every kind of address', () => {
    expect(createListener({ port: 1, name: 'inside' }).name).toBe('inside');
    expect(createListener({ port: 1883 }).address).toBe('tcp://*:1883');
    expect(createListener({ port: 8083, host: '::1', ws: '/mqtt' }).address)
      .toBe('ws://[::1]:8083/mqtt');
    expect(createListener({ path: '/tmp/a.sock' }).address).toBe('unix:/tmp/a.sock');
  });

  it('cannot be started twice, but again after stop, at the same port', async () => {
    const listener = door({ port: 0, host });
    await listener.start(reception.accept);
    expect((await rejection(listener.start(reception.accept))).code)
      .toBe('NIDO_LISTENER_ALREADY_STARTED');
    await listener.stop(1_000);
    await listener.start(reception.accept);
    expect(listener.port).toBeGreaterThan(0);
  });

  it('writes IPv4 peers of a dual-stack socket as IPv4', async () => {
    const listener = door({ port: 0, host: '::' });
    await listener.start(reception.accept);
    raw(listener.port);
    expect((await reception.next()).remoteAddress).toBe('127.0.0.1');
  });

  it('reports an owner that throws, closes that peer and stays open', async () => {
    const listener = door({ port: 0, host });
    let broken = true;
    await listener.start((transport, from) => {
      expect(from).toBe(listener);
      if (broken) throw new Error('owner is broken');
      reception.accept(transport);
    });
    const first = raw(listener.port);
    await until('the peer is closed', () => first.closed);
    expect(reception.failures[0].message).toBe('owner is broken');
    broken = false;
    raw(listener.port);
    await reception.next();
  });

  it('turns away what is beyond connectionsMax, and says so', async () => {
    const listener = door({ port: 0, host, connectionsMax: 2 });
    await listener.start(reception.accept);
    raw(listener.port);
    raw(listener.port);
    await reception.next(2);
    raw(listener.port);
    const refusal = await reception.refused();
    expect(refusal.reason).toBe('connections-max');
    expect(refusal.remoteAddress).toBe(host);
    expect(reception.transports).toHaveLength(2);
  });
});

describe('a door that closes', () => {
  it('takes nobody new in, resolves at once, and leaves open transports alone', async () => {
    const listener = door({ port: 0, host });
    await listener.start(reception.accept);
    const client = await openTransport({ host, port: listener.port });
    const recorder = Recorder.open(client);
    const server = await reception.next();
    await listener.stop(60_000);
    const error = await rejection(openTransport({ host, port: listener.port }));
    expect(error.code).toBe('NIDO_TRANSPORT_CONNECT_REFUSED');
    server.write(Buffer.from('still here'), () => {});
    await until('data', () => recorder.content.toString() === 'still here');
    client.destroy();
  });

  it.each([
    ['tcp behind a proxy', { proxyProtocol: { trusted: [host] } }, 'PROXY ', 'UNKNOWN\r\n'],
    ['ws', { ws: '/mqtt' }, 'GET /mqtt HTTP/1.1\r\nHost: x\r\n', WEBSOCKET_REQUEST],
  ])('cuts peers that are still on their way in: %s', async (_, options, beginning, rest) => {
    const listener = door({ port: 0, host, ...options });
    await listener.start(reception.accept);
    const late = raw(listener.port);
    late.write(beginning);
    await until('connected', () => late.readyState === 'open');
    // Whoever comes second is taken in second: when this one is inside, the other waits inside too.
    raw(listener.port).write(beginning + rest);
    await reception.next();
    await listener.stop(60_000);
    await until('cut', () => late.closed);
    expect(reception.transports).toHaveLength(1);
  });

  it('waits for a start that is under way', async () => {
    const listener = door({ port: 0, host: 'localhost' });
    const started = listener.start(reception.accept);
    await listener.stop(1_000);
    await started;
    const error = await rejection(openTransport({ host, port: listener.port }));
    expect(error.code).toBe('NIDO_TRANSPORT_CONNECT_REFUSED');
  });

  it('is quiet when it was never open', async () => {
    await door({ port: 0, host }).stop(10);
  });
});

describe('a peer that closes its half', () => {
  it('gets what was on its way, and is gone then', async () => {
    const listener = door({ port: 0, host });
    await listener.start(reception.accept);
    const socket = connect({ port: listener.port as number, host, allowHalfOpen: true });
    sockets.push(socket);
    let bytes = 0;
    socket.on('data', (chunk) => { bytes += chunk.length; });
    const server = await reception.next();
    server.write(Buffer.alloc(6_000_000), () => {});
    socket.end();
    await until('closed on our side', () => reception.recorders[0].closed === 1);
    await until('all bytes', () => bytes === 6_000_000);
    expect(reception.recorders[0].error).toBeUndefined();
  });
});

describe('a peer that closes its half and does not read', () => {
  afterEach(() => { jest.useRealTimers(); });

  it.each<[string, ListenerOptions]>([
    ['tcp', {}], ['ws', { ws: '/mqtt' }],
  ])('does not hold its socket for ever: %s', async (_, options) => {
    const listener = door({ port: 0, host, ...options });
    await listener.start(reception.accept);
    const socket = connect({ port: listener.port as number, host, allowHalfOpen: true });
    sockets.push(socket);
    socket.on('error', () => {});
    if (options.ws !== undefined) {
      socket.write(`GET /mqtt HTTP/1.1\r\nHost: x\r\n${WEBSOCKET_REQUEST}`);
    }
    const server = await reception.next();
    server.write(Buffer.alloc(24_000_000), () => {});
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'Date'] });
    const before = jest.getTimerCount();
    socket.end();
    const turns = async (condition: () => boolean): Promise<void> => {
      for (const end = Date.now() + 5_000; !condition() && Date.now() < end;) {
        await new Promise(setImmediate);
      }
    };
    await turns(() => jest.getTimerCount() > before);
    expect(reception.recorders[0].closed).toBe(0);
    jest.advanceTimersByTime(HALF_OPEN_DEADLINE_MS);
    await turns(() => reception.recorders[0].closed === 1);
    expect(reception.recorders[0].error)
      .toMatchObject({ code: 'NIDO_TRANSPORT_HALF_OPEN_DEADLINE' });
  });
});

describe('a door that cannot open', () => {
  it('says which port is taken and what to do', async () => {
    const other: Server = createServer();
    await new Promise<void>((resolve) => { other.listen(0, host, resolve); });
    const { port } = other.address() as AddressInfo;
    const error = await rejection(door({ port, host }).start(reception.accept));
    other.close();
    expect(error.code).toBe('NIDO_LISTENER_PORT_TAKEN');
    expect(error.message).toContain(`port ${port} is taken`);
    expect(error.message).toContain('0 picks a free one');
  });

  it('says which address this machine does not have', async () => {
    const error = await rejection(door({ port: 0, host: '192.0.2.1' }).start(reception.accept));
    expect(error.code).toBe('NIDO_LISTENER_ADDRESS_UNAVAILABLE');
    expect(error.message).toContain('192.0.2.1');
  });

  it('can be started again once the reason is gone', async () => {
    const other: Server = createServer();
    await new Promise<void>((resolve) => { other.listen(0, host, resolve); });
    const { port } = other.address() as AddressInfo;
    const listener = door({ port, host });
    await rejection(listener.start(reception.accept));
    await new Promise((resolve) => { other.close(resolve); });
    await listener.start(reception.accept);
    expect(listener.port).toBe(port);
  });

  it.each<[string, ListenerOptions, string]>([
    ['no place', {}, 'NIDO_LISTENER_OPTION_BAD'],
    ['two places', { port: 1, path: '/tmp/x' }, 'NIDO_LISTENER_OPTION_BAD'],
    ['a port that is none', { port: 70_000 }, 'NIDO_LISTENER_OPTION_BAD'],
    ['a long path', { path: `/tmp/${'x'.repeat(120)}` }, 'NIDO_LISTENER_PATH_UNUSABLE'],
    ['TLS without a certificate', { port: 0, tls: {} }, 'NIDO_LISTENER_TLS_CERTIFICATE_MISSING'],
    ['mutual TLS without authorities', {
      port: 0, tls: { certFile: 'a', keyFile: 'b', requestCert: true },
    }, 'NIDO_LISTENER_TLS_CA_MISSING'],
    ['keys with TLS 1.3 only', {
      port: 0, tls: { pskFile: 'a', minVersion: 'TLSv1.3' },
    }, 'NIDO_LISTENER_OPTION_BAD'],
    ['a WebSocket path that is none', { port: 0, ws: 'mqtt' }, 'NIDO_LISTENER_OPTION_BAD'],
    ['nobody trusted', { port: 0, proxyProtocol: { trusted: [] } }, 'NIDO_LISTENER_OPTION_BAD'],
    ['a bad block', { port: 0, proxyProtocol: { trusted: ['10.0.0.0/33'] } },
      'NIDO_LISTENER_OPTION_BAD'],
    ['a name for a block', { port: 0, proxyProtocol: { trusted: ['proxy.casa'] } },
      'NIDO_LISTENER_OPTION_BAD'],
    ['connectionsMax 0', { port: 0, connectionsMax: 0 }, 'NIDO_LISTENER_OPTION_BAD'],
  ])('refuses at once: %s', (_, options, code) => {
    expect(codeOf(() => createListener(options))).toBe(code);
  });
});

describe('a unix door', () => {
  it('opens, serves and takes its file away', async () => {
    const path = join(folder, 'plain.sock');
    const listener = door({ path });
    await listener.start(reception.accept);
    expect(statSync(path).isSocket()).toBe(true);
    const client = await openTransport({ path });
    const recorder = Recorder.open(client);
    (await reception.next()).write(Buffer.from('hello'), () => {});
    await until('hello', () => recorder.content.toString() === 'hello');
    client.destroy();
    await listener.stop(1_000);
    expect(existsSync(path)).toBe(false);
  });

  it('replaces the file of a process that died', async () => {
    const path = join(folder, 'stale.sock');
    const script = `require('net').createServer().listen(${JSON.stringify(path)},`
      + ' () => console.log("up"))';
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await new Promise((resolve) => { child.stdout.once('data', resolve); });
    child.kill('SIGKILL');
    await new Promise((resolve) => { child.once('exit', resolve); });
    expect(existsSync(path)).toBe(true);
    await door({ path }).start(reception.accept);
    (await openTransport({ path })).destroy();
  });

  it('leaves the file of a living process, and any other file, alone', async () => {
    const path = join(folder, 'taken.sock');
    await door({ path }).start(reception.accept);
    const error = await rejection(door({ path }).start(reception.accept));
    expect(error.code).toBe('NIDO_LISTENER_PATH_TAKEN');
    const file = join(folder, 'a-file');
    writeFileSync(file, 'precious');
    await rejection(door({ path: file }).start(reception.accept));
    expect(statSync(file).size).toBe(8);
  });

  it('says when the folder does not exist', async () => {
    const error = await rejection(door({ path: join(folder, 'no', 'x.sock') })
      .start(reception.accept));
    expect(error.code).toBe('NIDO_LISTENER_PATH_UNUSABLE');
  });
});

describe('sockets of a door', () => {
  it('have TCP keep-alive on, with the delay that was asked for', async () => {
    const listener = door({ port: 0, host, keepAliveInitialDelay: 77_000 });
    await listener.start(reception.accept);
    raw(listener.port);
    await reception.next();
    const lines = execFileSync('ss', ['-tnoeH', `sport = :${listener.port}`]).toString();
    expect(lines).toMatch(/timer:\(keepalive,1min1[67]sec/);
  });
});
