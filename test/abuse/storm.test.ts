/** Abuse gate 19: thousands of clients that connect, flood and reconnect under one identifier. */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { describe, expect, it } from '@jest/globals';
import { Broker, createGuard } from '../../lib/index.js';
import type { BrokerOptions } from '../../lib/index.js';
import * as build from '../conformance/wire/packets.js';
import { until } from './abuse-kit.js';
import { GoodPair } from './fuzzer.js';
import { STALL_CPU_MS_MAX, STALL_ROUNDS_MAX } from './witness.js';

// `npm run storm [clients]` runs ten thousand.
const CLIENTS = Number(process.env.NIDOMQ_STORM_CLIENTS ?? 600);
const AT_ONCE = 100;
const FLOOD = 30;
const BANNED = 0x8a;
const LEFT_BYTES_MAX = 4_000_000;
const { property } = build;

/** One client of the storm; it does not care what becomes of it. */
async function rage(port: number, at: number): Promise<void> {
  const socket: Socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined).on('data', () => undefined);
  const closed = once(socket, 'close');
  await Promise.race([once(socket, 'connect').catch(() => undefined), closed]);
  const expiry = property.sessionExpiry(at % 2 === 0 ? 0 : 60);
  socket.write(Buffer.concat([
    build.connect({
      version: 5, clientId: 'wanted', cleanStart: at % 3 === 0, properties: [expiry],
      ...(at % 5 === 0 ? { will: { topic: 'storm/will', payload: 'gone', qos: 1 } } : {}),
    }),
    build.subscribe(5, 1, [[`storm/${at % 7}`, at % 3], ['storm/#', 2]]),
    ...Array.from({ length: FLOOD }, (_, index) => build.publish({
      version: 5, topic: `storm/${index % 7}`, payload: Buffer.alloc(200, 97), qos: index % 3, packetId: 1 + index,
    })),
  ]));
  if (at % 4 === 0) socket.destroy();
  else if (at % 4 === 1) socket.end();
  const patience = setTimeout(() => socket.destroy(), 200);
  await closed;
  clearTimeout(patience);
}

async function storm(options: BrokerOptions): Promise<{ readonly broker: Broker; readonly banned: number }> {
  const problems: string[] = [];
  const broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }], logger: false, ...options });
  broker.on('problem', ({ where, error }) => problems.push(`${where}: ${String(error)}`));
  let banned = 0;
  broker.on('connectionRefused', ({ reasonCode }) => { banned += Number(reasonCode === BANNED); });
  await broker.listen();
  const port = broker.listeners[0].port as number;
  const pair = new GoodPair(port);
  try {
    await pair.start();
    for (let begun = 0; begun < CLIENTS; begun += AT_ONCE) {
      const size = Math.min(AT_ONCE, CLIENTS - begun);
      await Promise.all(Array.from({ length: size }, (_, at) => rage(port, begun + at)));
    }
    await until('the storm to be over', () => broker.stats().connections === 2, 60_000);
    expect(broker.clients()).toHaveLength(2);
    broker.disconnectClient('wanted', { session: 'end' });
    expect(broker.stats().sessions).toBe(2);
    await pair.stop();
    expect(problems).toEqual([]);
    expect(pair.messages).toBeGreaterThan(20);
    expect(pair.slowest.cpuMs).toBeLessThan(STALL_CPU_MS_MAX);
    expect(pair.slowest.rounds).toBeLessThan(STALL_ROUNDS_MAX);
    const left = (): number => {
      const { record, slab, message, carry } = broker.stats().memoryUsedBytes;
      return record + slab + message + carry;
    };
    await until('its memory to be given back', () => left() < LEFT_BYTES_MAX, 60_000);
    if (process.env.NIDOMQ_STORM_CLIENTS !== undefined) {
      const { publishReceived } = broker.stats();
      process.stdout.write(`${JSON.stringify({
        clients: CLIENTS, publishReceived, pairMessages: pair.messages,
        slowestMs: Math.round(pair.slowestMs), slowest: pair.slowest, leftBytes: left(), rssBytes: process.memoryUsage().rss,
      })}\n`);
    }
    return { broker, banned };
  } finally {
    await pair.stop().catch(() => undefined);
    await broker.close({ deadlineMs: 500 });
  }
}

describe(`abuse 19: ${CLIENTS} clients under one identifier`, () => {
  const timeLimitMs = 60_000 + CLIENTS * 100;

  it('leave a good pair unharmed, and nothing behind', async () => {
    await storm({});
  }, timeLimitMs);

  it('are kept out for a while by the gate, which leaves the pair alone', async () => {
    const guard = createGuard({ limits: { flappingDisconnectsMax: 100 } });
    try {
      const { broker, banned } = await storm(guard.brokerOptions);
      expect(broker.stats().clientsMaximum).toBeGreaterThan(2);
      expect(banned).toBeGreaterThan(CLIENTS / 4);
      expect(guard.gate.counts.connections).toBe(0);
    } finally {
      guard.close();
    }
  }, timeLimitMs);
});
