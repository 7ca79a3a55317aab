/**
 * The server goes away under load and comes back with what it knew: QoS 1 arrives complete, QoS 2
 * exactly once, each topic in its order. `NIDOMQ_RESTARTS=20` for a long run.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, afterEach, describe, it } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, NidoClient } from '../../lib/client/index.js';
import { killChildren, startNidomq } from '../cli/child.js';
import type { Child } from '../cli/child.js';
import { Recording } from './support/recorded-line.js';
import { Stage, freePort, hasMosquitto, until } from './support/servers.js';
import type { ProxyOptions } from './support/servers.js';
import { WAIT_MS, expectBothClientsInOrder, expectInOrder, stream } from './support/stream.js';
import type { Arrived } from './support/stream.js';

const stage = new Stage();
afterEach(() => stage.stop());
afterAll(() => killChildren());

const RESTARTS = Number(process.env.NIDOMQ_RESTARTS ?? 2);
/** For each QoS. */
const MESSAGES_EACH = 60;
const MESSAGES = MESSAGES_EACH * (RESTARTS + 1);
/** Takes seconds on a quiet machine; nothing here is about speed. */
const LIMIT_MS = 240_000 + RESTARTS * 10_000;

interface Restarted {
  readonly port: number;
  readonly tls?: ProxyOptions['tls'];
  restart(): Promise<void>;
}

/** Each restart meets a stream under way, of two clients that are connected. */
async function streamThrough(
  server: Restarted, options: ClientOptions, recording: Recording,
): Promise<Arrived> {
  const { port, tls } = server;
  const { url } = await stage.proxy(port, { tls, recording });
  const [sender, receiver] = ['sender', 'receiver'].map((clientId) => {
    const client = connect(url, {
      logger: false, clean: false, reconnectPeriod: 20, reconnectPeriodMax: 100, clientId,
      ca: tls?.ca, ...options,
    });
    stage.onStop(() => client.end({ deadlineMs: 0 }));
    return client;
  });
  const isConnected = ({ status }: NidoClient): boolean => status === 'connected';
  // aedes has a session only for who has subscriptions: Session Present is 0 for everybody else.
  await sender.subscribe('unused', () => undefined, { qos: 1 });
  return stream({
    sender,
    receiver,
    messages: MESSAGES,
    interrupt: async (published) => {
      if (published === 0 || published % MESSAGES_EACH !== 0) return;
      await until(() => [sender, receiver].every(isConnected), 'both clients', WAIT_MS);
      await server.restart();
    },
  });
}

function expectAsWritten(arrived: Arrived, recording: Recording): void {
  const { messages, again } = expectBothClientsInOrder(arrived, MESSAGES, recording);
  if (process.env.NIDOMQ_RESTARTS === undefined) return;
  const { repeated, overtaken } = arrived.disorder();
  process.stdout.write(`${RESTARTS} restarts: ${messages} messages, written again ${again} times; `
    + `${overtaken} topics out of order, ${repeated} times told again with QoS 2\n`);
}

/** Killed with SIGKILL: what it has acknowledged is in its files. */
async function nidomq(door: 'TCP' | 'TLS'): Promise<Restarted> {
  const data = mkdtempSync(join(tmpdir(), 'nidomq-client-data-'));
  stage.onStop(() => rmSync(data, { recursive: true, force: true }));
  const port = await freePort();
  const { pair, tls } = stage.certificates();
  const config = join(data, '..', `${basename(data)}.json`);
  stage.onStop(() => rmSync(config, { force: true }));
  writeFileSync(config, JSON.stringify({
    listeners: [{ host: '127.0.0.1', port, ...door === 'TLS' ? { tls: pair } : {} }],
    engine: { file: { path: data, durability: 'os' } },
    allowAnonymous: true,
  }));
  const start = async (): Promise<Child> => {
    const child = startNidomq('start', '--config', config);
    await child.says(/is ready/);
    return child;
  };
  let child = await start();
  stage.onStop(() => child.signal('SIGKILL'));
  return {
    port,
    tls: door === 'TLS' ? tls : undefined,
    restart: async () => {
      child.signal('SIGKILL');
      await child.ended;
      child = await start();
    },
  };
}

for (const protocolVersion of [3, 4, 5] as const) {
  describe(`a server that is ended and started again under load, version ${protocolVersion}`, () => {
    for (const door of protocolVersion === 3 ? ['TLS'] as const : ['TCP', 'TLS'] as const) {
      it(`nidomq with the file engine, killed with SIGKILL, over ${door}`, async () => {
        const recording = new Recording();
        const arrived = await streamThrough(await nidomq(door), { protocolVersion }, recording);
        expectInOrder(arrived, MESSAGES);
        expectAsWritten(arrived, recording);
      }, LIMIT_MS);

      // It writes its state when it is asked to end (SIGTERM), and is not durable otherwise. Like
      // aedes it has been seen to send PUBLISH again after PUBREL when it comes back, and to change
      // the order (see interruptions.test.ts): the clients are held to what they were sent.
      (hasMosquitto ? it : it.skip)(`mosquitto, ended with SIGTERM, over ${door} (skipped where it `
        + 'is not installed)', async () => {
        const server = door === 'TLS' ? await stage.mosquittoTls() : await stage.mosquitto();
        const recording = new Recording();
        const arrived = await streamThrough(server, { protocolVersion }, recording);
        expectAsWritten(arrived, recording);
      }, LIMIT_MS);

      // What it knows is in memory: the Aedes lives on, its server and every connection do not.
      (protocolVersion === 5 ? it.skip : it)(`aedes, its server closed, over ${door} `
        + '(skipped in version 5, which it does not speak)', async () => {
        const server = door === 'TLS' ? await stage.aedesTls() : await stage.aedes();
        const recording = new Recording();
        const arrived = await streamThrough(server, { protocolVersion }, recording);
        expectAsWritten(arrived, recording);
      }, LIMIT_MS);
    }
  });
}
