/** A broker under attack, and a pair of good clients that must not notice. */
import { expect } from '@jest/globals';
import { Broker } from '../../lib/index.js';
import type { BrokerOptions } from '../../lib/broker/broker-options.js';
import { Kit } from '../conformance/kit.js';
import type { Peer } from '../conformance/kit.js';
import type { Version } from '../conformance/wire/packets.js';

export interface Victim {
  readonly broker: Broker;
  readonly port: number;
  readonly kit: Kit;
  /** Everything that was logged. */
  readonly log: string[];
  /** A message of the good pair arrives, at every QoS. Throws when it does not. */
  pairLives(): Promise<void>;
  stop(): Promise<void>;
}

const loud = (log: string[]) => {
  const write = (message: string, ...details: unknown[]): void => {
    log.push([message, ...details.map((detail) => String(detail))].join(' '));
  };
  return { error: write, warn: write, info: write, log: write, debug: write };
};

/** Starts a broker with a good pair connected. `pair` names its credentials where they are needed. */
export async function startVictim(
  options: BrokerOptions = {},
  pair: { readonly username?: string; readonly password?: string; readonly version?: Version } = {},
): Promise<Victim> {
  const log: string[] = [];
  const broker = new Broker({
    listeners: [{ host: '127.0.0.1', port: 0 }], logger: loud(log), ...options,
  });
  await broker.listen();
  const port = broker.listeners[0].port as number;
  const kit = new Kit({ host: '127.0.0.1', port }, pair.version ?? 5);
  const { username, password } = pair;
  const receiver = await kit.connect({ clientId: 'good-receiver', username, password });
  const sender = await kit.connect({ clientId: 'good-sender', username, password });
  await kit.subscribed(receiver, 'good/pair', 2);
  let count = 0;
  return {
    broker, port, kit, log,
    pairLives: async () => {
      for (const qos of [0, 1, 2]) {
        count += 1;
        const payload = `message ${count}`;
        await kit.publish(sender, 'good/pair', payload, { qos });
        await kit.receive(receiver, { topic: 'good/pair', payload, qos });
      }
    },
    stop: async () => {
      kit.close();
      await broker.close({ deadlineMs: 200 });
    },
  };
}

/** Runs one attack on a broker of its own; afterwards the good pair must live and nobody may be left over. */
export async function underAttack(
  attack: (victim: Victim) => Promise<void>, options: BrokerOptions = {},
  pair: Parameters<typeof startVictim>[1] = {},
): Promise<void> {
  const victim = await startVictim(options, pair);
  try {
    await attack(victim);
    await victim.pairLives();
    expect(victim.log.filter((line) => /assert|trap|unreachable|out of bounds/i.test(line))).toEqual([]);
  } catch (error) {
    (error as Error).message += `\n${victim.kit.transcript().slice(-4000)}`;
    throw error;
  } finally {
    await victim.stop();
  }
}

/** Waits for a condition, with a time limit. */
export async function until(what: string, condition: () => boolean, ms = 15_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`no sign of "${what}" within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Bytes of memory that this process holds outside of the garbage collector's reach plus its heap. */
export function memoryInUse(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

export type { Peer };
