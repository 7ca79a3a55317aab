import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { ChainAuthenticator, HttpAuthenticator } from '../../lib/guard/index.js';
import type { GuardLimits } from '../../lib/guard/index.js';
import { connectRequest } from './requests.js';

type Handler = (body: Record<string, unknown>, response: ServerResponse) => void;
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  }
});

async function service(handler: Handler): Promise<{ url: string; bodies: Record<string, unknown>[] }> {
  const bodies: Record<string, unknown>[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString() || '{}') as Record<string, unknown>;
    bodies.push(body);
    handler(body, response);
  };
  const server = createServer((request, response) => void answer(request, response));
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/auth`, bodies };
}

const json = (response: ServerResponse, value: unknown): void => void response.end(JSON.stringify(value));
const anna = connectRequest({ username: 'anna', password: 'segreta' });

function authenticatorFor(url: string, limits: Partial<GuardLimits> = {}) {
  const clock = { now: 1_000_000 };
  return { clock, authenticator: new HttpAuthenticator({ url, limits, now: () => clock.now }) };
}

describe('the HTTP hook', () => {
  it('asks the service and takes over what it says', async () => {
    const { url, bodies } = await service((_, response) =>
      json(response, { result: 'allow', username: 'Anna', roles: ['r'], claims: { a: 1 }, expiresAt: 9e15 }));
    const answer = await authenticatorFor(url).authenticator.authenticate(anna);
    expect(answer).toEqual({ ok: true, username: 'Anna', roles: ['r'], claims: { a: 1 }, expiresAt: 9e15 });
    expect(bodies[0]).toMatchObject({ clientId: 'client', username: 'anna', password: 'segreta' });
  });

  it('passes bytes that are no text as Base64', async () => {
    const { url, bodies } = await service((_, response) => json(response, { result: 'deny' }));
    const request = { ...anna, password: Buffer.from([0xff, 0x00]) };
    expect(await authenticatorFor(url).authenticator.authenticate(request)).toMatchObject({ ok: false });
    expect(bodies[0]).toMatchObject({ passwordBase64: '/wA=' });
    expect(bodies[0].password).toBeUndefined();
  });

  it.each<[string, Handler]>([
    ['500', (_, response) => void response.writeHead(500).end('{"result":"allow"}')],
    ['204', (_, response) => void response.writeHead(204).end()],
    ['a redirect', (_, response) => void response.writeHead(307, { location: '/other' }).end()],
    ['no JSON', (_, response) => void response.end('allow')],
    ['JSON null', (_, response) => json(response, null)],
    ['another result', (_, response) => json(response, { result: true })],
    ['roles that are no list', (_, response) => json(response, { result: 'allow', roles: 'all' })],
    ['a broken connection', (_, response) => void response.destroy()],
    ['an endless answer', (_, response) => void response.end(`"${'x'.repeat(100_000)}"`)],
  ])('denies with 0x88 on %s', async (_, handler) => {
    const { url } = await service(handler);
    const answer = await authenticatorFor(url).authenticator.authenticate(anna);
    expect(answer).toMatchObject({ ok: false, reasonCode: 0x88 });
  });

  it('denies after its time limit when nobody answers', async () => {
    const { url } = await service(() => undefined);
    const { authenticator } = authenticatorFor(url, { httpTimeoutMs: 50 });
    expect(await authenticator.authenticate(anna)).toMatchObject({ ok: false, reasonCode: 0x88 });
  });

  it('asks once for many equal logins at the same time, and again when the answer is old', async () => {
    const { url, bodies } = await service((_, response) => json(response, { result: 'allow' }));
    const { authenticator, clock } = authenticatorFor(url, { httpCacheAllowMs: 1000 });
    await Promise.all(Array.from({ length: 20 }, async () => authenticator.authenticate(anna)));
    await authenticator.authenticate(anna);
    expect(bodies).toHaveLength(1);
    await authenticator.authenticate({ ...anna, password: Buffer.from('other') });
    expect(bodies).toHaveLength(2);
    clock.now += 1001;
    await authenticator.authenticate(anna);
    expect(bodies).toHaveLength(3);
  });

  it('remembers a no for httpCacheDenyMs, and httpCacheEntriesMax answers', async () => {
    const { url, bodies } = await service((_, response) => json(response, { result: 'deny' }));
    const limits = { httpCacheDenyMs: 1000, httpCacheEntriesMax: 2 };
    const { authenticator, clock } = authenticatorFor(url, limits);
    const login = async (username: string) =>
      authenticator.authenticate(connectRequest({ username, password: 'x' }));
    for (const username of ['a', 'a', 'b', 'a', 'b']) await login(username);
    expect(bodies).toHaveLength(2);
    await login('c'); // `a` was not asked for the longest time
    await login('b');
    expect(bodies).toHaveLength(3);
    await login('a');
    expect(bodies).toHaveLength(4);
    clock.now += 1001;
    await login('a');
    expect(bodies).toHaveLength(5);
  });

  it('reads httpAnswerBytesMax of an answer, and no more', async () => {
    const text = JSON.stringify({ result: 'allow' });
    const { url } = await service((_, response) => void response.end(text));
    const login = async (httpAnswerBytesMax: number) =>
      authenticatorFor(url, { httpAnswerBytesMax }).authenticator.authenticate(anna);
    expect(await login(text.length)).toMatchObject({ ok: true });
    expect(await login(text.length - 1)).toMatchObject({ ok: false, reasonCode: 0x88 });
  });

  it('never caches trouble nor "pass", and forgets all on demand', async () => {
    let result: unknown = { result: 'pass' };
    const { url, bodies } = await service((_, response) => json(response, result));
    const { authenticator } = authenticatorFor(url);
    expect(await authenticator.authenticate(anna)).toEqual({ ok: 'pass' });
    result = { result: 'allow' };
    expect(await authenticator.authenticate(anna)).toMatchObject({ ok: true });
    result = { result: 'deny' };
    expect(await authenticator.authenticate(anna)).toMatchObject({ ok: true });
    authenticator.invalidate();
    expect(await authenticator.authenticate(anna)).toMatchObject({ ok: false, reasonCode: 0x86 });
    expect(bodies).toHaveLength(3);
  });

  it('stops asking a broken service, tries it with one question later, and recovers', async () => {
    let isBroken = true;
    const { url, bodies } = await service((_, response) =>
      (isBroken ? void response.writeHead(503).end() : json(response, { result: 'allow' })));
    const { authenticator, clock } = authenticatorFor(url, { httpCircuitFailuresMax: 3, httpCircuitOpenMs: 5000 });
    const login = async (at: number) =>
      authenticator.authenticate(connectRequest({ username: `user${at}`, password: 'x' }));
    for (let at = 0; at < 10; at += 1) expect(await login(at)).toMatchObject({ reasonCode: 0x88 });
    expect(bodies).toHaveLength(3);
    clock.now += 5000;
    await Promise.all([login(10), login(11), login(12)]);
    expect(bodies).toHaveLength(4);
    isBroken = false;
    clock.now += 5000;
    expect(await login(13)).toMatchObject({ ok: true });
    expect(await login(14)).toMatchObject({ ok: true });
  });

  it('refuses one login more than its queue holds, with 0x89', async () => {
    const open: ServerResponse[] = [];
    const { url } = await service((_, response) => void open.push(response));
    const { authenticator } = authenticatorFor(url, { httpConcurrencyMax: 1, httpQueueMax: 1, httpTimeoutMs: 200 });
    const chain = new ChainAuthenticator([authenticator]);
    const [first, second, third] = ['a', 'b', 'c'].map((username) =>
      chain.authenticate(connectRequest({ username, password: 'x' })));
    expect(await third).toMatchObject({ ok: false, reasonCode: 0x89 });
    expect(await first).toMatchObject({ ok: false, reasonCode: 0x88 });
    expect(await second).toMatchObject({ ok: false, reasonCode: 0x88 });
  });

  it.each(['file:///etc/passwd', '/relative', 'http://user:word@host/'])('refuses to start with %s', (url) => {
    expect(() => new HttpAuthenticator({ url })).toThrow(expect.objectContaining({ code: 'NIDO_HTTP_AUTH_URL' }));
  });
});
