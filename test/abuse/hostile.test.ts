/** Abuse gate 15: a corpus with a codec of its own (Python), which knows nothing of ours. */
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { Broker } from '../../lib/index.js';
import { until } from './abuse-kit.js';
import { GoodPair } from './fuzzer.js';
import { STALL_CPU_MS_MAX, STALL_ROUNDS_MAX } from './witness.js';

const CONNECTIONS = Number(process.env.NIDOMQ_HOSTILE_CONNECTIONS ?? 1_500);
const SEED = Number(process.env.NIDOMQ_HOSTILE_SEED ?? Date.now() % 4_294_967_296);
const TIME_LIMIT_MS = 120_000 + CONNECTIONS * 50;
const FAULTS_MIN = 100;
const SCRIPT = join(process.cwd(), 'test', 'abuse', 'hostile.py');
const python = ['python3', 'python'].find((name) => spawnSync(name, ['-c', 'import random; random.randbytes']).status === 0);
if (python === undefined) process.stderr.write('skipped: there is no Python 3.9 or later\n');

interface Report {
  readonly faults: number;
  readonly wrong: readonly string[];
  readonly connections: number;
  readonly packets: number;
}

(python === undefined ? describe.skip : describe)('abuse 15: hostile packets of an independent codec', () => {
  it(`get the right Reason Code, and cost a good pair nothing (seed ${SEED})`, async () => {
    const problems: string[] = [];
    const broker = new Broker({
      listeners: [{ host: '127.0.0.1', port: 0 }, { host: '127.0.0.1', port: 0, ws: '/mqtt' }], logger: false,
      mqtt: { sessionExpirySecondsMax: 1, sessionExpirySecondsMaxV3: 1 },
    });
    broker.on('problem', ({ where, error }) => problems.push(`${where}: ${String(error)}`));
    await broker.listen();
    const [port, webSocketPort] = broker.listeners.map((listener) => listener.port as number);
    const pair = new GoodPair(port);
    try {
      await pair.start();
      const words = [SCRIPT, port, webSocketPort, CONNECTIONS, SEED].map(String);
      const { stdout } = await promisify(execFile)(python!, words, { maxBuffer: 1 << 24 });
      const report = JSON.parse(stdout) as Report;
      expect({ seed: SEED, wrong: report.wrong }).toEqual({ seed: SEED, wrong: [] });
      expect(report.faults).toBeGreaterThan(FAULTS_MIN);
      expect(report.packets).toBeGreaterThan(CONNECTIONS);
      await until('everybody else to be gone', () => broker.stats().sessions === 2, 60_000);
      await pair.stop();
      expect(pair.messages).toBeGreaterThan(20);
      expect(pair.slowest.cpuMs).toBeLessThan(STALL_CPU_MS_MAX);
      expect(pair.slowest.rounds).toBeLessThan(STALL_ROUNDS_MAX);
      expect(problems).toEqual([]);
    } finally {
      await pair.stop().catch(() => undefined);
      await broker.close({ deadlineMs: 500 });
    }
  }, TIME_LIMIT_MS);
});
