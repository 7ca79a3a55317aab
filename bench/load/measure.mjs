// One scenario against one fresh broker, many of them in turn, and the table of medians.
import { spawn } from 'node:child_process';
import { cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { pinned, startBroker } from './brokers.mjs';

const MAIN = join(import.meta.dirname, 'main.mjs');
const RUN_DEADLINE_MS = 150_000;

async function runLoad(target, scenario) {
  const job = JSON.stringify({ target, scenario });
  const [command, ...args] = pinned(1, [process.execPath, MAIN, job]);
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let complaint = '';
  child.stdout.on('data', (bytes) => { out += bytes; });
  child.stderr.on('data', (bytes) => { complaint = `${complaint}${bytes}`.slice(-600); });
  const deadline = setTimeout(() => child.kill('SIGKILL'), RUN_DEADLINE_MS);
  const status = await new Promise((resolve) => child.once('close', resolve));
  clearTimeout(deadline);
  if (status !== 0) throw new Error(`the load generator ended with ${status}: ${complaint}`);
  return JSON.parse(out);
}

export async function runOnce(broker, scenario, options) {
  const { door = 'tcp', certificate, profileFolder, version, seconds, warmUpSeconds } = options;
  const server = await startBroker(broker, { door, certificate, profileFolder });
  try {
    const target = { port: server.port, brokerPid: server.pid, door, version };
    return await runLoad({ ...target, seconds, warmUpSeconds }, scenario);
  } finally {
    await server.stop();
  }
}

/** Rounds over scenarios over brokers; every other round goes through the brokers backwards. */
export async function runRounds({ brokers, scenarios, rounds, options, onSample }) {
  const samples = [];
  for (let round = 0; round < rounds; round++) {
    for (const scenario of scenarios) {
      const inTurn = round % 2 === 0 ? brokers : brokers.toReversed();
      for (const broker of inTurn) {
        const settings = { ...options, ...scenario.settings };
        const result = await runOnce(broker, scenario, settings).catch(
          (error) => ({ failed: error.message }));
        const sample = { round, scenario: scenario.name, broker, ...result };
        samples.push(sample);
        onSample?.(sample);
      }
    }
  }
  return samples;
}

export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1
    ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted.at(-1) };
}

/** One row for each scenario and broker: the spread of everything that was measured. */
export function summarise(samples, scenarios, brokers) {
  return scenarios.flatMap((scenario) => brokers.map((broker) => {
    const own = samples.filter((one) => one.scenario === scenario.name && one.broker === broker);
    const good = own.filter((one) => one.failed === undefined);
    const names = Object.keys(good[0] ?? {}).filter((name) =>
      typeof good[0][name] === 'number' && !['round', 'faults'].includes(name));
    const wrong = own.find((one) => one.failed !== undefined || one.faults > 0);
    return {
      scenario: scenario.name, broker, figure: scenario.figure,
      figures: Object.fromEntries(names.map((name) =>
        [name, spread(good.map((one) => one[name]))])),
      ...(wrong === undefined ? {} : { wrong: wrong.failed ?? wrong.firstFault }),
    };
  }));
}

export function machine() {
  return {
    cpu: cpus()[0]?.model.trim(), cores: cpus().length, memoryBytes: totalmem(),
    kernel: release(), node: process.version,
  };
}

/** Three digits that say something. */
export function tidy(value) {
  if (value === undefined) return '-';
  return value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
}

export function spreadText(figure) {
  if (figure === undefined) return 'failed';
  return `${tidy(figure.median)} (${tidy(figure.min)}..${tidy(figure.max)})`;
}
