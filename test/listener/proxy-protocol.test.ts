/** The PROXY protocol: the header itself, and doors behind a proxy. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { WebSocket } from 'ws';
import { createListener, openTransport } from '../../lib/listener/index.js';
import type { Listener, ListenerOptions } from '../../lib/listener/index.js';
import { parseProxyHeader } from '../../lib/listener/proxy-header.js';
import { Certificates } from './support/certificates.js';
import { Echo, Reception, Recorder, rejection, stopAll, until } from './support/peers.js';

const host = '127.0.0.1';
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const BYTES_MAX = 4_096;

/** A version 2 header. */
function version2(command: number, family: number, body: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(body.length);
  return Buffer.concat([SIGNATURE, Buffer.of(command, family), length, body]);
}

function tlv(type: number, value: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(type, value.length >> 8, value.length & 0xff), value]);
}

const TCP4 = Buffer.from('cb007109' + 'c0000201' + 'd431' + '075b', 'hex');
const TCP6 = Buffer.from('20010db8000000000000000000000009' + '20010db8000000000000000000000001'
  + 'd431' + '075b', 'hex');
const V1 = 'PROXY TCP4 203.0.113.9 192.0.2.1 54321 1883\r\n';

function parse(bytes: string | Buffer): ReturnType<typeof parseProxyHeader> {
  return parseProxyHeader(Buffer.from(bytes as string), BYTES_MAX);
}

describe('the header, version 1', () => {
  it('names the client', () => {
    expect(parse(`${V1}rest`)).toEqual({
      kind: 'complete', length: V1.length, peer: { address: '203.0.113.9', port: 54_321 },
    });
    expect(parse('PROXY TCP6 2001:db8::9 2001:db8::1 1 2\r\n'))
      .toMatchObject({ peer: { address: '2001:db8::9', port: 1 } });
    expect(parse('PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n'))
      .toMatchObject({ peer: { address: '203.0.113.9' } });
  });

  it('may say that it does not know', () => {
    expect(parse('PROXY UNKNOWN\r\n')).toEqual({ kind: 'complete', length: 15 });
    expect(parse('PROXY UNKNOWN ff:: ff:: 1 2\r\n')).toEqual({ kind: 'complete', length: 29 });
  });

  it('is incomplete at every cut', () => {
    for (let length = 1; length < V1.length; length += 1) {
      expect(parse(V1.slice(0, length))).toEqual({ kind: 'incomplete' });
    }
  });

  it.each([
    'PROXY TCP4 203.0.113.9 192.0.2.1 54321\r\n',
    'PROXY TCP4 203.0.113.999 192.0.2.1 54321 1883\r\n',
    'PROXY TCP4 2001:db8::9 2001:db8::1 1 2\r\n',
    'PROXY TCP6 203.0.113.9 192.0.2.1 1 2\r\n',
    'PROXY TCP4 203.0.113.9 192.0.2.1 70000 1883\r\n',
    'PROXY TCP4 203.0.113.9 192.0.2.1 01 1883\r\n',
    'PROXY TCP4  203.0.113.9 192.0.2.1 1 2\r\n',
    'PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n',
    'PROXY TCP4 203.0.113.9 192.0.2.1 1 2 3\r\n',
    `PROXY UNKNOWN ${'x'.repeat(100)}\r\n`,
    `PROXY TCP4 ${'1'.repeat(100)}`,
    'proxy TCP4 203.0.113.9 192.0.2.1 1 2\r\n',
    '\x10\x0c\x00\x04MQTT',
  ])('refuses %j', (text) => {
    expect(parse(text).kind).toBe('bad');
  });
});

describe('the header, version 2', () => {
  it('names the client', () => {
    expect(parse(Buffer.concat([version2(0x21, 0x11, TCP4), Buffer.from('rest')]))).toEqual({
      kind: 'complete', length: 28, peer: { address: '203.0.113.9', port: 54_321 },
    });
    expect(parse(version2(0x21, 0x21, TCP6))).toMatchObject({
      length: 52, peer: { address: '2001:db8::9', port: 54_321 },
    });
    expect(parse(version2(0x21, 0x31, Buffer.alloc(216)))).toMatchObject({
      peer: { address: '', port: 0 },
    });
  });

  it('may speak for the proxy itself, or not know', () => {
    expect(parse(version2(0x20, 0x00, Buffer.alloc(7)))).toEqual({ kind: 'complete', length: 23 });
    expect(parse(version2(0x20, 0x11, TCP4))).toEqual({ kind: 'complete', length: 28 });
    expect(parse(version2(0x21, 0x00, Buffer.alloc(0)))).toEqual({ kind: 'complete', length: 16 });
  });

  it('carries the verified common name of the client certificate', () => {
    const name = tlv(0x22, Buffer.from('sala-1'));
    const ssl = (client: number, verify: number): Buffer => version2(0x21, 0x11, Buffer.concat([
      TCP4, tlv(0x04, Buffer.alloc(3)),
      tlv(0x20, Buffer.concat([
        Buffer.of(client, 0, 0, 0, verify), tlv(0x21, Buffer.from('TLSv1.3')), name,
      ])),
    ]));
    expect(parse(ssl(0x07, 0))).toMatchObject({
      peer: { identity: { via: 'certificate', name: 'sala-1', alternativeNames: [] } },
    });
    expect(parse(ssl(0x07, 1))).not.toHaveProperty('peer.identity');
    expect(parse(ssl(0x01, 0))).not.toHaveProperty('peer.identity');
  });

  it('is incomplete at every cut', () => {
    const whole = version2(0x21, 0x11, TCP4);
    for (let length = 1; length < whole.length; length += 1) {
      expect(parse(whole.subarray(0, length))).toEqual({ kind: 'incomplete' });
    }
  });

  it.each([
    ['a version that does not exist', version2(0x31, 0x11, TCP4)],
    ['a command that does not exist', version2(0x22, 0x11, TCP4)],
    ['datagrams', version2(0x21, 0x12, TCP4)],
    ['addresses that are too short', version2(0x21, 0x11, TCP4.subarray(1))],
    ['more than the limit', version2(0x21, 0x11, Buffer.alloc(5_000))],
    ['a TLV that goes beyond the end',
      version2(0x21, 0x11, Buffer.concat([TCP4, Buffer.of(4, 0, 9)]))],
    ['half a TLV', version2(0x21, 0x11, Buffer.concat([TCP4, Buffer.of(4)]))],
    ['an SSL TLV that is too short',
      version2(0x21, 0x11, Buffer.concat([TCP4, tlv(0x20, Buffer.of(1))]))],
    ['an SSL TLV that lies', version2(0x21, 0x11,
      Buffer.concat([TCP4, tlv(0x20, Buffer.of(7, 0, 0, 0, 0, 0x22, 0, 99))]))],
    ['a broken signature', Buffer.from('0d0a0d0a000d0a515549540b', 'hex')],
  ])('refuses %s', (_, bytes) => {
    expect(parse(bytes).kind).toBe('bad');
  });
});

let reception = new Reception();
const listeners: Listener[] = [];
const sockets: Socket[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const transport of reception.transports) transport.destroy();
  await stopAll(listeners.splice(0));
  reception = new Reception();
});

async function open(options: ListenerOptions): Promise<Listener> {
  const listener = createListener({ port: 0, host, ...options }, reception.observer);
  listeners.push(listener);
  await listener.start(reception.accept);
  return listener;
}

function dial(listener: Listener, ...writes: (string | Uint8Array)[]): Socket {
  const socket = connect({ port: listener.port as number, host });
  sockets.push(socket);
  socket.on('error', () => {}).resume();
  for (const bytes of writes) socket.write(bytes);
  return socket;
}

describe('a door behind a proxy', () => {
  const trusting: ListenerOptions = { proxyProtocol: { trusted: ['127.0.0.0/8', '::1'] } };

  it.each([
    ['version 1', Buffer.from(V1), '203.0.113.9', 54_321],
    ['version 2', version2(0x21, 0x21, TCP6), '2001:db8::9', 54_321],
  ])('shows the true address: %s', async (_, header, address, port) => {
    const listener = await open(trusting);
    dial(listener, Buffer.concat([header, Buffer.from('and data')]));
    const transport = await reception.next();
    expect([transport.kind, transport.remoteAddress, transport.remotePort])
      .toEqual(['tcp', address, port]);
    await until('the data', () => reception.recorders[0].content.toString() === 'and data');
  });

  it('waits for a header that comes byte by byte', async () => {
    const listener = await open(trusting);
    const socket = dial(listener);
    socket.setNoDelay(true);
    for (const byte of Buffer.concat([version2(0x21, 0x11, TCP4), Buffer.from('x')])) {
      socket.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    expect((await reception.next()).remoteAddress).toBe('203.0.113.9');
    await until('the data', () => reception.recorders[0].content.toString() === 'x');
  });

  it('shows the proxy itself when it does not speak for others', async () => {
    const listener = await open(trusting);
    dial(listener, version2(0x20, 0, Buffer.alloc(0)));
    expect((await reception.next()).remoteAddress).toBe(host);
  });

  it('gives the identity that the proxy verified', async () => {
    const listener = await open(trusting);
    const name = tlv(0x22, Buffer.from('sala-1'));
    const ssl = tlv(0x20, Buffer.concat([Buffer.of(7, 0, 0, 0, 0), name]));
    dial(listener, version2(0x21, 0x11, Buffer.concat([TCP4, ssl])));
    expect((await reception.next()).identity?.name).toBe('sala-1');
  });

  it('refuses a missing header, one that is too long, and one that is too slow', async () => {
    const listener = await open({
      proxyProtocol: { trusted: [host], headerBytesMax: 64, headerDeadlineMs: 60 },
    });
    const closed = [
      dial(listener, Buffer.from('100c00044d515454', 'hex')),
      dial(listener, version2(0x21, 0x11, Buffer.concat([TCP4, Buffer.alloc(60)]))),
      dial(listener, 'PROXY TCP4 203'),
      dial(listener),
    ];
    await until('all closed', () => closed.every((socket) => socket.closed));
    const refusals = reception.refusals.map(({ reason, detail }) => `${reason}: ${detail}`).sort();
    expect(refusals).toEqual([
      'proxy-header: no PROXY protocol header at the start',
      'proxy-header: no complete header within 60 ms',
      'proxy-header: no complete header within 60 ms',
      'proxy-header: version 2 header of 88 bytes, the limit is 64',
    ]);
    expect(reception.transports).toHaveLength(0);
  });

  it('refuses everybody who is not trusted, header or not', async () => {
    const listener = await open({ proxyProtocol: { trusted: ['10.0.0.5'] } });
    const liar = dial(listener, V1);
    await until('closed', () => liar.closed);
    expect(reception.refusals[0]).toMatchObject({ reason: 'proxy-untrusted', remoteAddress: host });
    expect(reception.transports).toHaveLength(0);
  });

  it('never believes the header of somebody it lets in directly', async () => {
    const listener = await open({ proxyProtocol: { trusted: ['10.0.0.5'], untrusted: 'direct' } });
    dial(listener, V1);
    const transport = await reception.next();
    expect(transport.remoteAddress).toBe(host);
    await until('the header is data', () => reception.recorders[0].content.toString() === V1);
  });

  it('does not speak the protocol where it was not asked to', async () => {
    const listener = await open({});
    dial(listener, V1);
    expect((await reception.next()).remoteAddress).toBe(host);
    await until('the header is data', () => reception.recorders[0].content.toString() === V1);
  });

  it('trusts the peers of a unix socket when told so', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'nidomq-proxy-'));
    const path = join(folder, 'proxy.sock');
    const proxyProtocol = { trusted: ['unix'] };
    const listener = createListener({ path, proxyProtocol }, reception.observer);
    listeners.push(listener);
    await listener.start(reception.accept);
    const socket = connect(path);
    sockets.push(socket);
    socket.write(V1);
    const transport = await reception.next();
    expect([transport.kind, transport.remoteAddress]).toEqual(['unix', '203.0.113.9']);
    rmSync(folder, { recursive: true, force: true });
  });
});

describe('TLS and WebSocket behind a proxy', () => {
  let certificates: Certificates;
  beforeAll(() => { certificates = new Certificates(); });
  afterAll(() => { certificates.remove(); });

  it.each([
    ['header first', 'apart'],
    ['header and handshake in one piece', 'glued'],
  ])('TLS: %s', async (_, how) => {
    const listener = await open({
      tls: certificates.server(), proxyProtocol: { trusted: [host] },
    });
    // A proxy of our own, so that header and ClientHello can be glued.
    const proxy = createServer((inner) => {
      const outer = dial(listener);
      sockets.push(inner);
      inner.once('data', (hello) => {
        if (how === 'glued') outer.write(Buffer.concat([Buffer.from(V1), hello]));
        else outer.write(V1, () => { outer.write(hello); });
        inner.pipe(outer).pipe(inner);
      });
    });
    await new Promise<void>((resolve) => { proxy.listen(0, host, resolve); });
    const { port } = proxy.address() as AddressInfo;
    const client = await openTransport({ host, port, tls: { caFile: certificates.caFile } });
    const recorder = Recorder.open(client);
    const transport = await reception.next();
    expect([transport.kind, transport.remoteAddress]).toEqual(['tls', '203.0.113.9']);
    transport.write(Buffer.alloc(200_000, 1), () => {});
    await until('data', () => recorder.bytes === 200_000);
    client.destroy();
    proxy.close();
  });

  it('TLS without header is refused, and the address of a failed handshake is the '
    + 'client\'s', async () => {
    const listener = await open({ tls: certificates.server(), proxyProtocol: { trusted: [host] } });
    const naked = connectTls({ port: listener.port as number, host });
    sockets.push(naked);
    await rejection(new Promise((_, reject) => { naked.on('error', reject); }));
    expect((await reception.refused()).reason).toBe('proxy-header');
    dial(listener, V1, 'this is no TLS');
    expect(await reception.refused(2)).toMatchObject({
      reason: 'tls-handshake', remoteAddress: '203.0.113.9', remotePort: 54_321,
    });
  });

  it.each(['ws', 'wss'])('%s', async (kind) => {
    const listener = await open({
      ws: '/mqtt',
      proxyProtocol: { trusted: [host] },
      ...kind === 'wss' ? { tls: certificates.server() } : {},
    });
    const socket = dial(listener, version2(0x21, 0x11, TCP4));
    await until('connected', () => socket.bytesWritten > 0);
    const below = kind === 'ws' ? socket : connectTls({ socket, rejectUnauthorized: false });
    if (kind === 'wss') await new Promise((resolve) => { below.once('secureConnect', resolve); });
    const webSocket = new WebSocket(`ws://${host}/mqtt`, ['mqtt'], {
      createConnection: () => below,
    });
    await new Promise((resolve, reject) => {
      webSocket.once('open', resolve).once('error', reject);
    });
    webSocket.send(Buffer.from('hello'));
    const transport = await reception.next();
    expect([transport.kind, transport.remoteAddress]).toEqual([kind, '203.0.113.9']);
    await until('hello', () => reception.recorders[0].content.toString() === 'hello');
    webSocket.terminate();
  });

  it('an HTTP request in one piece with the header', async () => {
    const listener = await open({ ws: '/mqtt', proxyProtocol: { trusted: [host] } });
    let answer = '';
    dial(listener, `${V1}GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n`
      + 'Upgrade: websocket\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n'
      + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
      .on('data', (chunk) => { answer += String(chunk); });
    expect((await reception.next()).remoteAddress).toBe('203.0.113.9');
    await until('the answer', () => answer.includes('101 Switching Protocols'));
  });
});

const haproxy = spawnSync('haproxy', ['-v']).status === 0;
if (!haproxy) process.stderr.write('skipped: haproxy is not installed\n');
(haproxy ? describe : describe.skip)('haproxy in front', () => {
  let child: ChildProcess | undefined;
  const folder = mkdtempSync(join(tmpdir(), 'nidomq-haproxy-'));
  afterEach(async () => {
    child?.kill('SIGKILL');
    if (child?.exitCode === null) await new Promise((resolve) => { child?.once('exit', resolve); });
  });
  afterAll(() => { rmSync(folder, { recursive: true, force: true }); });

  async function freePort(): Promise<number> {
    const server = createServer();
    await new Promise<void>((resolve) => { server.listen(0, host, resolve); });
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => { server.close(resolve); });
    return port;
  }

  it.each(['send-proxy', 'send-proxy-v2'])('with %s: the true address and both '
    + 'directions', async (how) => {
    const listener = createListener({ port: 0, host, proxyProtocol: { trusted: [host] } });
    listeners.push(listener);
    const addresses: string[] = [];
    const ports: number[] = [];
    await listener.start((transport) => {
      addresses.push(transport.remoteAddress);
      ports.push(transport.remotePort);
      transport.open(new Echo(transport));
    });
    const front = await freePort();
    const config = join(folder, `${how}.cfg`);
    writeFileSync(config, [
      'defaults', '  mode tcp', '  timeout connect 5s', '  timeout client 30s', '  timeout '
        + 'server 30s',
      `listen mqtt`, `  bind ${host}:${front}`, `  server broker ${host}:${listener.port} `
        + `${how}`, '',
    ].join('\n'));
    execFileSync('haproxy', ['-c', '-f', config], { stdio: 'ignore' });
    child = spawn('haproxy', ['-db', '-f', config], { stdio: 'ignore' });
    // Loopback has many addresses: the client takes one that is not the proxy's.
    const client = await connectWhenUp({ host, port: front, localAddress: '127.0.0.77' });
    const recorder = Recorder.open(client);
    client.write(Buffer.alloc(100_000, 7), () => {});
    await until('the echo', () => recorder.bytes === 100_000);
    expect(addresses).toEqual(['127.0.0.77']);
    expect(ports[0]).toBeGreaterThan(0);
    client.destroy();
  });

  async function connectWhenUp(
    options: Parameters<typeof openTransport>[0],
  ): ReturnType<typeof openTransport> {
    for (const end = Date.now() + 5_000; ;) {
      try {
        return await openTransport(options);
      } catch (error) {
        if (Date.now() > end) throw error;
        await new Promise((resolve) => { setTimeout(resolve, 20); });
      }
    }
  }
});
