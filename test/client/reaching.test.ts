/** Reaching a server: several in turn, where it sends us, how long between, and asking it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, NidoClient } from '../../lib/client/index.js';
import { ClientKit, within } from '../conformance/client/client-kit.js';
import type { Sent } from '../conformance/client/client-reader.js';
import { connack, serverProperty } from '../conformance/client/server-packets.js';
import { disconnect } from '../conformance/wire/packets.js';
import { Stage, freePort, until } from './support/servers.js';

jest.setTimeout(180_000);

const stage = new Stage();
afterEach(() => stage.stop());

function join(url: string | ClientOptions, options: ClientOptions = {}): NidoClient {
  const all = { logger: false as const, reconnectPeriod: 5, ...options };
  const client = typeof url === 'string' ? connect(url, all) : connect({ ...all, ...url });
  stage.onStop(() => client.end({ deadlineMs: 0 }));
  client.connected().catch(() => undefined);
  return client;
}

async function scripted(): Promise<ClientKit> {
  const kit = new ClientKit(5);
  await kit.listen();
  stage.onStop(() => kit.close());
  return kit;
}

describe('several servers', () => {
  it('are tried in turn, at once; only a round without success waits', async () => {
    const { port } = await stage.ours();
    const closed = [await freePort(), await freePort()];
    const client = join({ servers: [...closed, port].map((one) => ({ host: '127.0.0.1', port: one })),
      reconnectPeriod: 3_600_000, reconnectPeriodMax: 3_600_000 });
    await client.connected();
    expect(client.server.name).toBe(`mqtt://127.0.0.1:${port}`);
  });
});

describe('Server Reference', () => {
  it.each([['CONNACK, use another server', 0x9c], ['CONNACK, server moved', 0x9d]])(
    'in %s, is followed', async (_, reasonCode) => {
      const [first, second] = [await scripted(), await scripted()];
      const client = join(`mqtt://127.0.0.1:${first.port}`, { protocolVersion: 5 });
      await first.greet({
        reasonCode, properties: [serverProperty.serverReference(`127.0.0.1:${second.port}`)],
      });
      await second.greet();
      await within(client.connected(), 'the client at the second server');
      expect(client.server.name).toBe(`mqtt://127.0.0.1:${second.port}`);
    });

  it('in DISCONNECT is followed, and not with serverReference ignore', async () => {
    const [first, second] = [await scripted(), await scripted()];
    const goodbye = disconnect(5, 0x9c, [serverProperty.serverReference(`127.0.0.1:${second.port}`)]);
    const follows = join(`mqtt://127.0.0.1:${first.port}`, { protocolVersion: 5 });
    const { peer } = await first.greet();
    await within(follows.connected(), 'the client at the first server');
    peer.send(goodbye);
    await second.greet();
    await until(() => follows.server.name.endsWith(`:${second.port}`), 'the second server');
    await follows.end({ deadlineMs: 0 });

    const stays = join(`mqtt://127.0.0.1:${first.port}`,
      { protocolVersion: 5, serverReference: 'ignore' });
    const again = await first.greet();
    await within(stays.connected(), 'the client at the first server');
    again.peer.send(goodbye);
    await first.greet();
  });
});

describe('connectTimeout', () => {
  it.each<[string, ClientOptions]>([
    ['createSocket', { createSocket: () => new Promise(() => {}) }],
    ['enhancedAuthentication.start', {
      protocolVersion: 5,
      enhancedAuthentication: {
        method: 'a', start: () => new Promise(() => {}), continue: () => undefined,
      },
    }],
  ])('also ends an attempt whose %s never answers', async (name, options) => {
    const client = join('mqtt://127.0.0.1:1', { ...options, connectTimeout: 50 });
    const said: string[] = [];
    client.on('error', ({ code, message }) => void said.push(`${code} ${message}`));
    await until(() => said.length > 1, 'a second attempt');
    expect(said[0]).toMatch(
      new RegExp(`^NIDO_CLIENT_CONNECT_FAILED .*${name} was not done within 50 ms`));
  });
});

describe('between two attempts', () => {
  it('the pauses grow to reconnectPeriodMax, and are not all alike', async () => {
    const port = await freePort();
    const at: number[] = [];
    const client = connect(`mqtt://127.0.0.1:${port}`, {
      logger: false, reconnectPeriod: 16, reconnectPeriodMax: 64,
    });
    stage.onStop(() => client.end({ deadlineMs: 0 }));
    client.connected().catch(() => undefined);
    client.on('error', () => at.push(performance.now()));
    await until(() => at.length > 8, 'nine attempts');
    const pauses = at.slice(1).map((time, index) => time - at[index]);
    expect(Math.min(...pauses.slice(3))).toBeGreaterThan(16);
    expect(new Set(pauses.slice(3).map((pause) => Math.round(pause * 10))).size).toBeGreaterThan(1);
  });
});

describe('a refusal', () => {
  it('is told with its code and words, and ends the client when it would come again', async () => {
    const { port } = await stage.ours({ allowAnonymous: false });
    const client = connect(`mqtt://127.0.0.1:${port}`, { logger: false });
    stage.onStop(() => client.end({ deadlineMs: 0 }));
    await expect(client.connected()).rejects.toMatchObject({
      code: 'NIDO_CLIENT_REFUSED', reasonCode: 0x87,
      message: expect.stringContaining(`127.0.0.1:${port} refused the connection`),
    });
    expect(client.status).toBe('closed');
  });

  it('that may pass is tried again', async () => {
    const kit = await scripted();
    const client = join(`mqtt://127.0.0.1:${kit.port}`, { protocolVersion: 5 });
    const { peer } = await kit.greet({ reasonCode: 0x88 }); // Server unavailable
    await peer.expectClosed();
    const again = await kit.accept();
    await again.expectPacket('CONNECT');
    again.send(connack(5));
    await within(client.connected(), 'the client to be connected');
  });
});

describe('request', () => {
  it('resolves with the answer to this request', async () => {
    const { url } = await stage.ours();
    const [asks, answers] = [join(url), join(url)];
    await answers.subscribe('double', (message) =>
      answers.reply(message, `${Number(message.payload.toString()) * 2}`), { qos: 1 });
    const results = await Promise.all([1, 2, 3].map((number) => asks.request('double', `${number}`)));
    expect(results.map(({ payload }) => payload.toString())).toEqual(['2', '4', '6']);
  });

  it.each([[0], [Infinity], [2 ** 31]])('has no timeoutMs of %p: no timer has', async (timeoutMs) => {
    const client = join('mqtt://127.0.0.1', { manualConnect: true });
    await expect(client.request('q', '', { timeoutMs })).rejects.toMatchObject({
      code: 'NIDO_CLIENT_OPTION_INVALID', message: expect.stringContaining('timeoutMs'),
    });
  });

  it('made before the connection goes by the Response Information of CONNACK', async () => {
    const kit = await scripted();
    const client = kit.client({ properties: { requestResponseInformation: true } });
    const answer = client.request('q', 'x', { timeoutMs: 60_000 });
    const ended = expect(answer).rejects.toMatchObject({ code: 'NIDO_CLIENT_ENDED' });
    const { peer } = await kit.greet({ properties: [serverProperty.responseInformation('to/me')] });
    const { filters } = await peer.expectPacket('SUBSCRIBE') as Sent;
    expect(filters).toMatchObject([{ filter: expect.stringMatching(/^to\/me\/[\da-f]{32}$/) }]);
    await client.end({ deadlineMs: 0 });
    await ended;
  });

  it('is given up after its time, and when it is cancelled', async () => {
    const { url } = await stage.ours();
    const client = join(url);
    await expect(client.request('nobody', '', { timeoutMs: 30 })).rejects
      .toMatchObject({ code: 'NIDO_CLIENT_REQUEST_TIMEOUT' });
    const controller = new AbortController();
    const request = client.request('nobody', '', { signal: controller.signal });
    controller.abort(new Error('changed my mind'));
    await expect(request).rejects.toMatchObject({
      code: 'NIDO_CLIENT_ABORTED', cause: expect.objectContaining({ message: 'changed my mind' }),
    });
    await expect(client.request('nobody', '', { signal: controller.signal })).rejects
      .toMatchObject({ code: 'NIDO_CLIENT_ABORTED' });
  });
});

describe('a unix socket', () => {
  it('is as good as any other', async () => {
    const folder = mkdtempSync(joinPath(tmpdir(), 'nidomq-unix-'));
    stage.onStop(() => rmSync(folder, { recursive: true, force: true }));
    const path = joinPath(folder, 'broker.sock');
    const { broker } = await stage.ours({ listeners: [{ host: '127.0.0.1', port: 0 }, { path }] });
    expect(broker.listeners).toHaveLength(2);
    const client = join({ protocol: 'unix', path });
    const got = new Promise<string>((resolve) => {
      void client.subscribe('u', ({ payload }) => resolve(payload.toString()), { qos: 1 });
    });
    await client.publish('u', 'over unix', { qos: 1 });
    expect(await got).toBe('over unix');
  });
});
