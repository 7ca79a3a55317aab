/**
 * The connection or the server goes away under load: QoS 1 arrives complete, QoS 2 exactly once,
 * each topic in its order.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, NidoClient } from '../../lib/client/index.js';
import { killChildren, startNidomq } from '../cli/child.js';
import type { Child } from '../cli/child.js';
import { Stage, freePort, hasMosquitto, until, untilListening } from './support/servers.js';

const stage = new Stage();
afterEach(() => stage.stop());
afterAll(() => killChildren());

const TOPICS = 5;
const MESSAGES = 600;
/** Takes seconds on a quiet machine; nothing here is about speed. */
const LIMIT_MS = 240_000;
/** What a test waits for; less than LIMIT_MS, so that a failure says what it was. */
const WAIT_MS = 90_000;

function join(url: string, options: ClientOptions = {}): NidoClient {
  const client = connect(url, {
    logger: false, clean: false, reconnectPeriod: 20, reconnectPeriodMax: 100, ...options,
  });
  stage.onStop(() => client.end({ deadlineMs: 0 }));
  return client;
}

/** What arrived, per QoS and topic. */
class Record {
  readonly numbers = new Map<string, number[]>();
  count = 0;

  take(topicName: string, payload: Buffer): void {
    const list = this.numbers.get(topicName) ?? [];
    list.push(Number(payload.toString()));
    this.numbers.set(topicName, list);
    this.count += 1;
  }
  /** Numbers without repetitions, in the order of their first arrival. */
  firsts(topicName: string): number[] {
    return [...new Set(this.numbers.get(topicName))];
  }
}

interface Interruption {
  readonly messages: number;
  /** `any`: of a server that changes the order itself. */
  readonly order?: 'kept' | 'any';
  /** Called with the number of messages published so far. */
  interrupt(published: number): Promise<void> | void;
}

async function stream(
  sender: NidoClient, receiver: NidoClient,
  { messages, interrupt, order = 'kept' }: Interruption,
): Promise<void> {
  const record = new Record();
  for (const qos of [1, 2] as const) {
    await receiver.subscribe(`stream/${qos}/+`, (message) => {
      record.take(message.topicName, message.payload);
    }, { qos });
  }
  const published: Promise<unknown>[] = [];
  for (let number = 0; number < messages; number += 1) {
    for (const qos of [1, 2] as const) {
      const topic = `stream/${qos}/${number % TOPICS}`;
      published.push(sender.publish(topic, String(number), { qos }));
    }
    if (number % 10 === 0) await interrupt(number);
  }
  await Promise.all(published);
  const expected = Array.from({ length: messages }, (_, number) => number);
  const complete = (): boolean => [1, 2].every((qos) =>
    expected.every((number) => record.firsts(`stream/${qos}/${number % TOPICS}`).length
      >= Math.ceil((messages - (number % TOPICS)) / TOPICS)));
  await until(complete, 'all messages', WAIT_MS);
  for (let topic = 0; topic < TOPICS; topic += 1) {
    const wanted = expected.filter((number) => number % TOPICS === topic);
    const inOrder = (numbers: number[]): number[] =>
      order === 'kept' ? numbers : [...numbers].sort((a, b) => a - b);
    expect(inOrder(record.firsts(`stream/1/${topic}`))).toEqual(wanted);
    expect(inOrder(record.numbers.get(`stream/2/${topic}`)!)).toEqual(wanted); // exactly once
  }
}

/** Cuts the line every now and then, and lets it come back. */
function cutting(proxy: { cut(): void; open: number }, clients: NidoClient[]): Interruption {
  return {
    messages: MESSAGES,
    interrupt: async (published) => {
      await new Promise((resolve) => setImmediate(resolve));
      if (published % 50 !== 20) return;
      const both = (): boolean => clients.every(({ status }) => status === 'connected');
      await until(both, 'both clients to be connected', WAIT_MS);
      proxy.cut();
    },
  };
}

describe('connections that are cut under load', () => {
  for (const protocolVersion of [4, 5] as const) {
    it(`nidomq, version ${protocolVersion}`, async () => {
      const { port } = await stage.ours({ limits: { queueMessagesMax: 100_000 } });
      const proxy = await stage.proxy(port);
      const [sender, receiver] = ['sender', 'receiver'].map((clientId) =>
        join(proxy.url, { clientId, protocolVersion }));
      await stream(sender, receiver, cutting(proxy, [sender, receiver]));
      expect(proxy.cuts).toBe(12);
    }, LIMIT_MS);

    (hasMosquitto ? it : it.skip)(`mosquitto, version ${protocolVersion} (skipped where it is not `
      + 'installed)', async () => {
      const { port } = await stage.mosquitto();
      const proxy = await stage.proxy(port);
      const [sender, receiver] = ['sender', 'receiver'].map((clientId) =>
        join(proxy.url, { clientId, protocolVersion }));
      // With mosquitto 2.0.11 newer messages of QoS 1 now and then come before those that waited
      // for a receiver that was away; with nidomq as the server, above, they never did.
      const cuts = cutting(proxy, [sender, receiver]);
      await stream(sender, receiver, { ...cuts, order: 'any' });
    }, LIMIT_MS);
  }
});

describe('a server that is killed and started again under load', () => {
  it('nidomq with the file engine, killed with SIGKILL', async () => {
    const data = mkdtempSync(joinPath(tmpdir(), 'nidomq-client-data-'));
    stage.onStop(() => rmSync(data, { recursive: true, force: true }));
    const port = await freePort();
    const start = async (): Promise<Child> => {
      const child = startNidomq('start', '--host', '127.0.0.1', '--port', String(port),
        '--engine', 'file', '--data', data, '--durability', 'os', '--allow-anonymous');
      await child.says(/is ready/);
      return child;
    };
    let child = await start();
    stage.onStop(() => child.signal('SIGKILL'));
    const url = `mqtt://127.0.0.1:${port}`;
    const [sender, receiver] = ['sender', 'receiver'].map((clientId) => join(url, { clientId }));
    await stream(sender, receiver, {
      messages: MESSAGES,
      interrupt: async (published) => {
        await new Promise((resolve) => setImmediate(resolve));
        if (published !== 150 && published !== 400) return;
        child.signal('SIGKILL');
        await child.ended;
        child = await start();
      },
    });
  }, LIMIT_MS);

  (hasMosquitto ? it : it.skip)('mosquitto, ended with SIGTERM (skipped where it is not installed)',
    async () => {
      const mosquitto = await stage.mosquitto();
      const [sender, receiver] = ['sender', 'receiver'].map((clientId) =>
        join(mosquitto.url, { clientId }));
      await stream(sender, receiver, {
        messages: MESSAGES,
        interrupt: async (published) => {
          await new Promise((resolve) => setImmediate(resolve));
          if (published !== 150 && published !== 400) return;
          await mosquitto.stop();
          await mosquitto.start();
          await untilListening(mosquitto.port);
        },
      });
    }, LIMIT_MS);
});
