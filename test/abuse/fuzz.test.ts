/** Abuse gate 15: crafted packets of every type by the thousand against the running broker. */
import { describe, expect, it } from '@jest/globals';
import { Broker } from '../../lib/index.js';
import { PROPERTY_ROWS } from '../support/twin-parser.js';
import { until } from './abuse-kit.js';
import { Fuzzer, GoodPair } from './fuzzer.js';
import { STALL_CPU_MS_MAX, STALL_ROUNDS_MAX } from './witness.js';

// `npm run fuzz [cases] [seed]` runs many more.
const CASES = Number(process.env.NIDOMQ_FUZZ_CASES ?? 3_000);
const SEED = Number(process.env.NIDOMQ_FUZZ_SEED ?? Date.now() % 4_294_967_296);
const TIME_LIMIT_MS = 60_000 + CASES * 100;
const LEFT_BYTES_MAX = 4_000_000;

describe('abuse 15: a fuzzer of every packet type and property', () => {
  it(`does no harm with ${CASES} cases (seed ${SEED})`, async () => {
    const problems: string[] = [];
    const broker = new Broker({
      listeners: [{ host: '127.0.0.1', port: 0 }, { host: '127.0.0.1', port: 0, ws: { path: '/mqtt' } }],
      logger: false, mqtt: { sessionExpirySecondsMax: 1, sessionExpirySecondsMaxV3: 1 },
    });
    broker.on('problem', ({ where, error }) => problems.push(`${where}: ${String(error)}`));
    await broker.listen();
    const [port, webSocketPort] = broker.listeners.map((listener) => listener.port as number);
    const pair = new GoodPair(port);
    try {
      await pair.start();
      const fuzzer = new Fuzzer({ broker, port, webSocketPort }, SEED);
      await fuzzer.run(CASES);
      await until('everybody else to be gone', () => broker.stats().sessions === 2, 60_000);
      await pair.stop();
      expect(`seed ${SEED}: ${fuzzer.report.complaints.slice(0, 3).join('\n')}`).toBe(`seed ${SEED}: `);
      expect(problems).toEqual([]);
      expect(pair.messages).toBeGreaterThan(CASES / 100);
      expect(pair.slowest.cpuMs).toBeLessThan(STALL_CPU_MS_MAX);
      expect(pair.slowest.rounds).toBeLessThan(STALL_ROUNDS_MAX);
      covered(fuzzer);
      await until('its memory to be given back', () => leftBytes(broker) < LEFT_BYTES_MAX, 60_000);
      if (process.env.NIDOMQ_FUZZ_CASES !== undefined) {
        process.stdout.write(`${summary(fuzzer, pair, broker)}\n`);
      }
    } finally {
      await pair.stop().catch(() => undefined);
      await broker.close({ deadlineMs: 500 });
    }
  }, TIME_LIMIT_MS);
});

/** A fuzz that never sends something, or never fails, proves nothing about it. */
function covered({ report }: Fuzzer): void {
  for (let type = 1; type <= 15; type += 1) expect([type, report.types[type] > CASES / 200]).toEqual([type, true]);
  for (const { id } of PROPERTY_ROWS) expect([id, report.properties.has(id)]).toEqual([id, true]);
  for (const code of [0x81, 0x82]) expect(report.codes.get(code) ?? 0).toBeGreaterThan(0);
  expect(report.compared).toBeGreaterThan(CASES / 5);
  expect(report.webSocket).toBeGreaterThan(CASES / 6);
}

function leftBytes(broker: Broker): number {
  const { record, slab, message, carry } = broker.stats().memoryUsedBytes;
  return record + slab + message + carry;
}

function summary({ report }: Fuzzer, pair: GoodPair, broker: Broker): string {
  const { cases, packets, webSocket, compared, codes } = report;
  return JSON.stringify({
    cases, packets, webSocket, compared, codes: Object.fromEntries(codes),
    pairMessages: pair.messages, slowestMs: Math.round(pair.slowestMs), slowest: pair.slowest, leftBytes: leftBytes(broker),
    rssBytes: process.memoryUsage().rss,
  });
}
