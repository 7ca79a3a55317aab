/**
 * A client with a store: its process is killed, the next one goes on. Nothing that was stored is
 * missing, QoS 2 arrives exactly once, everything in its order.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, NidoClient } from '../../lib/client/index.js';
import { createFileEngine } from '../../lib/engine/index.js';
import type { Child } from '../cli/child.js';
import { killChildren, startCommand, startNidomq } from '../cli/child.js';
import type { Sent } from '../conformance/client/client-reader.js';
import { publish, pubcomp, pubrec, pubrel } from '../conformance/wire/packets.js';
import { Stage, freePort, hasMosquitto, until } from './support/servers.js';
import { Script, StoredProcess, startScript, storeFolder } from './support/stored-process.js';

const stage = new Stage();
afterEach(() => stage.stop());
afterAll(() => killChildren());

const PUBLISHER = join(process.cwd(), 'test/client/support/stored-publisher.mjs');
const ENDLESS = 1_000_000;
/** `NIDOMQ_KILLS=20` for a long run. */
const KILLS = Number(process.env.NIDOMQ_KILLS ?? 3);
const LIMIT_MS = 240_000;
const VERSIONS = [4, 5] as const;

const folder = (): string => storeFolder(stage);

interface Numbered {
  readonly run: number;
  readonly number: number;
}

/** `run qos number` of each message that a publisher said to be stored. */
function storedBy(child: Child, qos: number): Numbered[] {
  return [...child.said.matchAll(/^(\d+) (\d) (\d+)$/gm)]
    .filter((match) => Number(match[2]) === qos)
    .map((match) => ({ run: Number(match[1]), number: Number(match[3]) }));
}

/** Publishers that are killed one after the other, and a last one that sends what is left. */
async function killPublishers(
  url: string, version: number, between: () => Promise<void> = async () => undefined,
): Promise<Child[]> {
  const path = folder();
  const children: Child[] = [];
  for (let run = 1; run <= KILLS; run += 1) {
    const child = startScript(stage, PUBLISHER, url, path, run, ENDLESS, 'os', version);
    children.push(child);
    // A place that is another one each time; stored and sent are what they are by then.
    const places = run * 200;
    await until(() => child.said.length > places * 8, `${places} messages stored`);
    child.signal('SIGKILL');
    await child.ended;
    await between();
  }
  const last = startScript(stage, PUBLISHER, url, path, KILLS + 1, 0, 'os', version);
  await last.says(/^empty$/m);
  expect(await last.ended).toEqual({ status: 0, signal: null });
  return children;
}

const RECEIVER = ['-i', 'receiver', '-c', '-q', '2', '-t', 'stored/#', '-v'];

/** A real client, which has neither our codec nor our session. It comes back by itself. */
function receiver(port: number): Child {
  const words = [...RECEIVER, '-p', String(port)];
  execFileSync('mosquitto_sub', [...words, '-E']); // it has subscribed
  const got = startCommand('mosquitto_sub', words);
  stage.onStop(() => got.signal('SIGTERM'));
  return got;
}

function receivedIn(said: string, qos: number): Numbered[] {
  return [...said.matchAll(/^stored\/(\d) (\d+) (\d+)$/gm)]
    .filter((match) => Number(match[1]) === qos)
    .map((match) => ({ run: Number(match[2]), number: Number(match[3]) }));
}

const keyOf = ({ run, number }: Numbered): string => `${run} ${number}`;

/** Complete, in order (unless the server is one that does not keep it), of QoS 2 nothing twice. */
async function expectComplete(
  children: readonly Child[], got: Child, order: 'kept' | 'any' = 'kept',
): Promise<void> {
  for (const qos of [1, 2]) {
    const stored = new Set(children.flatMap((child) => storedBy(child, qos)).map(keyOf));
    let at = 0;
    const hasAll = (): boolean => {
      const end = got.said.lastIndexOf('\n') + 1;
      for (const one of receivedIn(got.said.slice(at, end), qos)) stored.delete(keyOf(one));
      at = end;
      return stored.size === 0;
    };
    await until(hasAll, `all ${stored.size} messages of QoS ${qos}`);
    const arrived = receivedIn(got.said, qos);
    const firsts = [...new Map(arrived.map((one) => [keyOf(one), one])).values()];
    const sorted = [...firsts].sort((a, b) => a.run - b.run || a.number - b.number);
    if (order === 'kept') expect(firsts).toEqual(sorted);
    if (qos === 2) expect(arrived).toHaveLength(firsts.length);
  }
}

describe('a publisher that is killed under load', () => {
  for (const version of VERSIONS) {
    (hasMosquitto ? it : it.skip)(`towards mosquitto, version ${version} (skipped where it is not `
      + 'installed)', async () => {
      // It reorders also what its own publisher sends to its own subscriber.
      const { port, url } = await stage.mosquitto();
      const got = receiver(port);
      await expectComplete(await killPublishers(url, version), got, 'any');
    }, LIMIT_MS);
  }

  (hasMosquitto ? it : it.skip)('towards nidomq, which is killed as well (skipped where there is no '
    + 'mosquitto_sub)', async () => {
    const data = folder();
    const port = await freePort();
    const startServer = async (): Promise<Child> => {
      const child = startNidomq('start', '--host', '127.0.0.1', '--port', String(port),
        '--engine', 'file', '--data', data, '--durability', 'os', '--allow-anonymous');
      await child.says(/is ready/);
      return child;
    };
    let server = await startServer();
    stage.onStop(() => server.signal('SIGKILL'));
    const got = receiver(port);
    const children = await killPublishers(`mqtt://127.0.0.1:${port}`, 5, async () => {
      server.signal('SIGKILL');
      await server.ended;
      server = await startServer();
    });
    await expectComplete(children, got);
  }, LIMIT_MS);
});

describe.each(VERSIONS)('exchanges of a process that was killed, version %i', (version) => {
  it('go on with PUBLISH and DUP, the same identifier', async () => {
    const stored = new StoredProcess(stage, version);
    const { peer, connect: hello } = await stored.begin('publish');
    expect(hello.connect?.cleanStart).toBe(false);
    const sent = await peer.expectPacket('PUBLISH');
    expect(sent).toMatchObject({ qos: 2, dup: false });
    const again = await stored.again('resume', 'present');
    const { packetId, dup } = await again.peer.expectPacket('PUBLISH');
    expect({ packetId, dup }).toEqual({ packetId: sent.packetId, dup: true });
  }, LIMIT_MS);

  it('go on with PUBREL when PUBREC had come', async () => {
    const stored = new StoredProcess(stage, version);
    const { peer } = await stored.begin('publish');
    const { packetId } = await peer.expectPacket('PUBLISH');
    peer.send(pubrec(packetId));
    await peer.expectPacket('PUBREL', { packetId });
    const again = await stored.again('resume', 'present');
    await again.peer.expectPacket('PUBREL', { packetId });
    again.peer.send(pubcomp(packetId));
  }, LIMIT_MS);

  it('begin anew when the server has lost the session: without DUP', async () => {
    const stored = new StoredProcess(stage, version);
    const { peer } = await stored.begin('publish');
    await peer.expectPacket('PUBLISH');
    const again = await stored.again('resume', 'new');
    expect(await again.peer.expectPacket('PUBLISH')).toMatchObject({ qos: 2, dup: false });
  }, LIMIT_MS);

  it('are over once PUBCOMP has come', async () => {
    const stored = new StoredProcess(stage, version);
    const { peer, child } = await stored.begin('publish');
    const { packetId } = await peer.expectPacket('PUBLISH');
    peer.send(pubrec(packetId));
    await peer.expectPacket('PUBREL', { packetId });
    peer.send(pubcomp(packetId));
    await child.says(/stored/);
    const again = await stored.again('hang', 'present');
    await again.child.says(/connected true/);
    // What was to be sent again would come before the SUBSCRIBE of a handler, or right behind it.
    const next = await again.peer.next();
    expect(['SUBSCRIBE', 'PUBREL']).toContain(next.name);
  }, LIMIT_MS);

  it('do not hand a message of QoS 2 to a handler that is done with it', async () => {
    const stored = new StoredProcess(stage, version);
    const { peer } = await stored.begin('handle');
    await stored.subscribed(peer);
    peer.send(publish({ version, topic: 'in', payload: 'one', qos: 2, packetId: 7 }));
    await peer.expectPacket('PUBREC', { packetId: 7 });
    const again = await stored.again('handle', 'present');
    again.peer.send(publish({ version, topic: 'in', payload: 'one', qos: 2, packetId: 7, dup: true }));
    await again.peer.awaitPacket('PUBREC', { packetId: 7 });
    again.peer.send(pubrel(7));
    await again.peer.awaitPacket('PUBCOMP', { packetId: 7 });
    // From here on the identifier means a new message.
    again.peer.send(publish({ version, topic: 'in', payload: 'two', qos: 2, packetId: 7 }));
    await again.child.says(/handling two/);
    expect(again.child.said).not.toContain('handling one');
  }, LIMIT_MS);

  it('hand it to the handler again when that was still at work', async () => {
    const stored = new StoredProcess(stage, version);
    const { peer, child } = await stored.begin('hang');
    await stored.subscribed(peer);
    peer.send(publish({ version, topic: 'in', payload: 'one', qos: 2, packetId: 7 }));
    await child.says(/handling one/);
    const again = await stored.again('handle', 'present');
    again.peer.send(publish({ version, topic: 'in', payload: 'one', qos: 2, packetId: 7, dup: true }));
    await again.child.says(/handling one/);
    await again.peer.awaitPacket('PUBREC', { packetId: 7 });
  }, LIMIT_MS);

  it('of a session that is new at the server are forgotten', async () => {
    const stored = new StoredProcess(stage, version);
    const { peer } = await stored.begin('handle');
    await stored.subscribed(peer);
    peer.send(publish({ version, topic: 'in', payload: 'one', qos: 2, packetId: 7 }));
    await peer.expectPacket('PUBREC', { packetId: 7 });
    const again = await stored.again('handle', 'new');
    again.peer.send(publish({ version, topic: 'in', payload: 'two', qos: 2, packetId: 7 }));
    await again.child.says(/handling two/);
  }, LIMIT_MS);

  it('are not mixed with those of a session that the store knows nothing of', async () => {
    const stored = new StoredProcess(stage, version);
    const { peer, child } = await stored.begin('resume', 'present'); // [MQTT-3.2.2-4]
    await peer.expectClosed();
    await child.says(/NIDO_CLIENT_SESSION_UNKNOWN/);
    await child.ended;
    // Not the second time, either.
    const again = await stored.again('resume', 'present');
    await again.peer.expectClosed();
    await again.child.says(/NIDO_CLIENT_SESSION_UNKNOWN/);
  }, LIMIT_MS);
});

describe('exchanges of a process that was killed, version 3', () => {
  it('go on, although MQTT 3.1 does not say whether the session is there', async () => {
    const stored = new StoredProcess(stage, 3);
    const { peer } = await stored.begin('publish');
    const { packetId } = await peer.expectPacket('PUBLISH');
    const second = await stored.again('resume', 'new');
    await second.peer.expectPacket('PUBLISH', { packetId, dup: true });
    second.peer.send(pubrec(packetId));
    await second.peer.expectPacket('PUBREL', { packetId });
    const third = await stored.again('resume', 'new');
    await third.peer.expectPacket('PUBREL', { packetId });
    third.peer.send(pubcomp(packetId));
  }, LIMIT_MS);
});

describe('the store of a client', () => {
  function client(url: string, options: ClientOptions): NidoClient {
    const made = connect(url, { logger: false, reconnectPeriod: 20, ...options });
    stage.onStop(() => made.end({ deadlineMs: 0 }));
    made.connected().catch(() => undefined);
    return made;
  }
  const failure = async (made: NidoClient): Promise<{ code?: string; message: string }> =>
    made.connected().then(() => ({ message: 'it connected' }), (error: Error) => error);

  it('keeps what is published while no server is there, and the identifier', async () => {
    const file = { path: folder(), durability: 'os' } as const;
    const nobody = `mqtt://127.0.0.1:${await freePort()}`;
    const early = client(nobody, { engine: { file } });
    const topics = ['a', 'b', 'c'];
    await Promise.all(topics.map((topic, at) =>
      early.publish(topic, `${at}`, { qos: at === 1 ? 2 : 1, until: 'stored' })));
    expect(early.queuedMessages).toBe(3);
    await early.end({ deadlineMs: 0 });
    const { broker, url } = await stage.ours();
    const arrived: string[] = [];
    await broker.subscribe('#', ({ topicName }) => void arrived.push(topicName), { qos: 2 });
    const later = client(url, { engine: { file } });
    await later.connected();
    await until(() => arrived.length === 3 && later.queuedMessages === 0, 'three messages');
    expect(arrived).toEqual(topics);
    expect(later.clientIdentifier).toBe(early.clientIdentifier);
  });

  it('gives what is published before it is open an identifier that nothing stored has', async () => {
    const file = { path: folder(), durability: 'os' } as const;
    const former = client(`mqtt://127.0.0.1:${await freePort()}`, { engine: { file } });
    for (const topic of ['a', 'b', 'c']) {
      await former.publish(topic, 'x', { qos: 2, until: 'stored' });
    }
    await former.end({ deadlineMs: 0 });
    const script = await new Script(stage, 5).listen();
    const later = client(script.url, { engine: { file } });
    for (const topic of ['d', 'e', 'f']) later.publish(topic, 'x', { qos: 2 }).catch(() => undefined);
    const { peer } = await script.greet('new');
    const sent: Sent[] = [];
    while (sent.length < 6) sent.push(await peer.expectPacket('PUBLISH') as Sent);
    expect(sent.map(({ topic }) => topic)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    expect(new Set(sent.map(({ packetId }) => packetId)).size).toBe(6);
  });

  it('tells of a stored message that the server refuses', async () => {
    const { url } = await stage.ours({
      authorization: [{ canPublish: (_, topicName) => topicName !== 'forbidden' }],
    });
    const file = { path: folder(), durability: 'os' } as const;
    const made = client(url, { engine: { file } });
    const told: string[] = [];
    made.on('error', ({ code }) => void told.push(code));
    await made.connected();
    await made.publish('forbidden', 'x', { qos: 1, until: 'stored' });
    await until(() => told.length > 0, 'the refusal');
    expect(told).toEqual(['NIDO_CLIENT_PUBLISH_REFUSED']);
  });

  it('has a bound, and says so', async () => {
    const file = { path: folder(), durability: 'os' } as const;
    const made = client(`mqtt://127.0.0.1:${await freePort()}`, {
      engine: { file }, queueMessagesMax: 2,
    });
    const publishes = [1, 2, 3].map(() => made.publish('a', 'x', { qos: 1, until: 'stored' }));
    const outcomes = await Promise.allSettled(publishes);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(outcomes[2]).toMatchObject({ reason: { code: 'NIDO_CLIENT_QUEUE_FULL' } });
  });

  it('is asked for by `until: stored`, which nothing else can promise', async () => {
    const made = client(`mqtt://127.0.0.1:${await freePort()}`, {});
    await expect(made.publish('a', 'x', { qos: 1, until: 'stored' })).rejects
      .toMatchObject({ code: 'NIDO_CLIENT_PUBLISH_INVALID' });
    const kept = client(`mqtt://127.0.0.1:${await freePort()}`, {
      engine: { file: { path: folder() } },
    });
    await expect(kept.publish('a', 'x', { until: 'stored' })).rejects
      .toMatchObject({ code: 'NIDO_CLIENT_PUBLISH_INVALID' });
  });

  it('belongs to one client at a time', async () => {
    const { url } = await stage.ours();
    const file = { path: folder() };
    await client(url, { engine: { file } }).connected();
    const error = await failure(client(url, { engine: { file } }));
    expect(error).toMatchObject({ code: 'NIDO_CLIENT_STORE' });
    expect(error.message).toContain('in use');
  });

  it('belongs to one Client Identifier', async () => {
    const { url } = await stage.ours();
    const file = { path: folder() };
    const first = client(url, { clientId: 'one', engine: { file } });
    await first.connected();
    await first.end();
    const error = await failure(client(url, { clientId: 'two', engine: { file } }));
    expect(error).toMatchObject({ code: 'NIDO_CLIENT_OPTION_INVALID' });
    expect(error.message).toContain('"one"');
  });

  it('is not a broker\'s', async () => {
    const path = folder();
    const { broker, url } = await stage.ours({
      engine: { file: { path, durability: 'os' } },
    });
    const guest = client(url, { clean: false, clientId: 'guest' });
    await guest.subscribe('a', () => undefined, { qos: 1 });
    await guest.end();
    await broker.close();
    const error = await failure(client(url, { engine: { file: { path } } }));
    expect(error).toMatchObject({ code: 'NIDO_CLIENT_STORE' });
    expect(error.message).toContain('broker');
  });

  it('cannot be where no directory can be', async () => {
    const error = await failure(client('mqtt://127.0.0.1:1', {
      engine: { file: { path: '/dev/null/store' } },
    }));
    expect(error).toMatchObject({ code: 'NIDO_CLIENT_STORE' });
  });

  it('is left as it is when memory is too small for it', async () => {
    const file = { path: folder(), durability: 'os' } as const;
    const nobody = `mqtt://127.0.0.1:${await freePort()}`;
    const large = client(nobody, { engine: { file } });
    const payload = Buffer.alloc(1024 * 1024);
    await Promise.all(Array.from({ length: 12 }, () =>
      large.publish('a', payload, { qos: 1, until: 'stored' })));
    await large.end({ deadlineMs: 0 });
    const small = client(nobody, { engine: { file }, memoryBytes: 8 * 1024 * 1024 });
    expect(await failure(small)).toMatchObject({ code: 'NIDO_CLIENT_STORE' });
    await small.end();
    const engine = createFileEngine(file);
    await engine.open();
    const report = await engine.check();
    await engine.close();
    expect(report.records).toMatchObject({ 'queue entry': 12 });
  });

  it.each([
    [{ file: { path: '' } }, 'engine.file.path'],
    [{ file: { path: 'a', durability: 'memory' } }, 'engine.file.durability'],
    [{ file: { path: 'a', topics: [] } }, 'engine.file.topics'],
    ['disk', 'engine'], [{ level: {} }, 'engine'],
  ])('refuses the option %j', (engine, path) => {
    expect(() => connect({ manualConnect: true, engine: engine as never })).toThrow(
      expect.objectContaining({
        code: 'NIDO_CLIENT_OPTION_INVALID', message: expect.stringMatching(`^${path}: `),
      }));
  });
});
