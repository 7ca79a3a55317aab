/** A server that says what no server may say, or nothing: an error says so, and nothing hangs. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { NidoClient } from '../../lib/client/index.js';
import { Stage, until } from './support/servers.js';

const stage = new Stage();
afterEach(() => stage.stop());

const LIMIT_MS = 60_000;
const ACCEPTED = Buffer.from([0x20, 3, 0, 0, 0]);
const PINGRESP = Buffer.from([0xd0, 0]);
const SUBSCRIBE = 0x82;
const PINGREQ = 0xc0;
const FLOOD = 50_000;

interface Server {
  readonly first: (socket: Socket) => void;
  readonly then?: (socket: Socket, bytes: Buffer) => void;
}

/** A client of MQTT 5 that tries once, with a subscription and a message under way. */
async function meet(server: Server): Promise<{ client: NidoClient; errors: string[] }> {
  const listener = createServer((socket) => {
    stage.onStop(() => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.once('data', () => {
      server.first(socket);
      socket.on('data', (bytes) => server.then?.(socket, bytes));
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  stage.onStop(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  const client = connect(`mqtt://127.0.0.1:${port}`, {
    protocolVersion: 5, logger: false, reconnectPeriod: 0, connectTimeout: 500, keepalive: 1,
  });
  stage.onStop(() => client.end({ deadlineMs: 0 }));
  const errors: string[] = [];
  client.on('error', ({ code, message }) => void errors.push(`${code} ${message}`));
  return { client, errors };
}

const says = (...bytes: number[]) => (socket: Socket): void => void socket.write(Buffer.from(bytes));

describe('instead of a CONNACK', () => {
  it.each<[string, Server['first'], RegExp]>([
    ['nothing', () => undefined, /CONNACK_TIMEOUT .*no CONNACK within 500 ms/],
    ['half of one', says(0x20, 3, 0), /CONNACK_TIMEOUT/],
    ['the end', (socket) => void socket.destroy(), /DISCONNECTED .*closed the connection/],
    ['another protocol', (socket) => void socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
      /PROTOCOL .*malformed/],
    ['a reserved flag', says(0x20, 3, 2, 0, 0), /PROTOCOL .*malformed/],
    ['one that is too short', says(0x20, 1, 0), /PROTOCOL .*malformed/],
    ['a property that does not exist', says(0x20, 5, 0, 0, 2, 0x99, 1), /PROTOCOL .*malformed/],
    ['a Receive Maximum of 0', says(0x20, 6, 0, 0, 3, 0x21, 0, 0), /PROTOCOL/],
    ['a code that does not exist', says(0x20, 3, 0, 0xee, 0), /PROTOCOL/],
    ['256 MiB', says(0x20, 0xff, 0xff, 0xff, 0x7f), /PROTOCOL .*larger than the limit/],
    ['a length of five bytes', says(0x20, 0xff, 0xff, 0xff, 0xff, 1), /PROTOCOL .*malformed/],
    ['SUBACK', says(0x90, 4, 0, 1, 0, 0), /PROTOCOL .*not expected here/],
  ])('%s', async (_, first, said) => {
    const { client, errors } = await meet({ first });
    const work = await Promise.allSettled([
      client.connected(), client.subscribe('a', () => undefined), client.publish('b', 'x', { qos: 1 }),
    ]);
    expect(work.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(errors).toEqual([expect.stringMatching(said)]);
    expect(client.status).toBe('closed');
  }, LIMIT_MS);
});

describe('after a CONNACK', () => {
  it.each<[string, number[], RegExp]>([
    ['nothing at all', [], /KEEP_ALIVE .*has not answered a PINGREQ/],
    ['half a packet', [0x30, 50, 0, 1], /KEEP_ALIVE/],
    ['another CONNACK', [...ACCEPTED], /PROTOCOL .*not expected here/],
    ['an alias that was never given', [0x30, 6, 0, 0, 3, 0x23, 0, 1], /PROTOCOL .*Topic Alias/],
    ['alias 0', [0x30, 7, 0, 1, 0x61, 3, 0x23, 0, 0], /PROTOCOL .*Topic Alias/],
    ['QoS 3', [0x36, 6, 0, 1, 0x61, 0, 1, 0], /PROTOCOL .*malformed/],
    ['Packet Identifier 0', [0x32, 6, 0, 1, 0x61, 0, 0, 0], /PROTOCOL/],
    ['a wildcard', [0x30, 4, 0, 1, 0x23, 0], /PROTOCOL/],
    ['256 MiB', [0x30, 0xff, 0xff, 0xff, 0x7f], /PROTOCOL .*larger than the limit/],
    ['PINGREQ', [0xc0, 0], /PROTOCOL .*not expected here/],
    ['AUTH that nobody asked for', [0xf0, 0], /PROTOCOL .*not asked for/],
  ])('%s', async (_, bytes, said) => {
    const { client, errors } = await meet({
      first: (socket) => void socket.write(Buffer.concat([ACCEPTED, Buffer.from(bytes)])),
    });
    await until(() => client.status === 'closed', 'the end');
    expect(errors).toEqual([expect.stringMatching(said)]);
  }, LIMIT_MS);

  it.each<[string, (identifier: Buffer) => Buffer]>([
    ['SUBACK with two codes', (id) => Buffer.from([0x90, 5, ...id, 0, 0, 0])],
    ['SUBACK without a code', (id) => Buffer.from([0x90, 3, ...id, 0])],
    ['SUBACK with a code that does not exist', (id) => Buffer.from([0x90, 4, ...id, 0, 0x33])],
    ['UNSUBACK', (id) => Buffer.from([0xb0, 4, ...id, 0, 0])],
  ])('%s for a SUBSCRIBE', async (_, answer) => {
    const { client, errors } = await meet({
      first: (socket) => void socket.write(ACCEPTED),
      then: (socket, bytes) => {
        if (bytes[0] === SUBSCRIBE) socket.write(answer(bytes.subarray(2, 4)));
      },
    });
    await client.connected();
    await expect(client.subscribe('a', () => undefined)).rejects
      .toMatchObject({ code: 'NIDO_CLIENT_PROTOCOL' });
    expect(errors).toHaveLength(1);
  }, LIMIT_MS);

  it.each([['PUBACK', 0x40], ['PUBREC', 0x50], ['PUBREL', 0x62], ['PUBCOMP', 0x70]])(
    'fifty thousand of %s that answer nothing do no harm', async (_, type) => {
      const flood = Buffer.concat(Array.from({ length: FLOOD }, () => Buffer.from([type, 2, 0, 9])));
      let pings = 0;
      const { client, errors } = await meet({
        first: (socket) => void socket.write(Buffer.concat([ACCEPTED, flood])),
        then: (socket, bytes) => {
          if (!bytes.includes(Buffer.from([PINGREQ, 0]))) return;
          pings += 1;
          socket.write(PINGRESP);
        },
      });
      await until(() => pings > 1, 'a connection that lasts');
      expect(client.status).toBe('connected');
      expect(errors).toEqual([]);
    }, LIMIT_MS);
});
