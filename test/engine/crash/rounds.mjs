// Crash rounds: start the workload, let it write, take its life (or its power), look at what is left.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Model, compare, inspect, random } from './model.mjs';
import { cutPower, readRecord } from './power-loss.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const WORKLOAD = join(HERE, 'workload.mjs');

/** The library that stands between a process and its disk, or undefined with a printed reason. */
export function diskLibrary() {
  const library = join(HERE, '..', '..', '..', 'build', `disk-${process.pid}.so`);
  mkdirSync(dirname(library), { recursive: true });
  try {
    if (process.platform !== 'linux') throw new Error('LD_PRELOAD is for Linux');
    execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, join(HERE, '..', 'native', 'disk.c'), '-ldl', '-lpthread'], { stdio: 'pipe' });
    return library;
  } catch (error) {
    console.log(`skipped: no library between process and disk (${error.message.split('\n')[0]})`);
    return undefined;
  }
}

function scratch() {
  return mkdtempSync(join(tmpdir(), 'nidomq-crash-'));
}

/** Runs a workload for some time after it has said a word, then kills it. Answers its lines. */
export async function runAndKill({ args, milliseconds, env = {}, word = 'ready' }) {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = [];
  const exited = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));
  const reader = createInterface({ input: child.stdout });
  let timer;
  reader.on('line', (line) => {
    lines.push(line);
    if (line.includes(`"${word}"`)) timer ??= setTimeout(() => child.kill('SIGKILL'), milliseconds);
  });
  const { code, signal } = await exited;
  if (signal !== 'SIGKILL') throw new Error(`the workload ended by itself: code ${code}, ${lines.at(-1)}`);
  return lines;
}
/** A line may have been cut by the kill. */
function whole(lines) {
  return lines.filter((line) => line.endsWith('}'));
}
function failIf(faults, what) {
  if (faults.length === 0) return;
  throw new Error(`${what}: ${faults.length} faults\n  ${faults.slice(0, 20).join('\n  ')}`);
}

export async function killRounds({ api, index, rounds, seed, durability = 'disk', env = {}, print = () => {} }) {
  const path = scratch();
  const next = random(seed);
  const model = new Model();
  let stalls = 0;
  try {
    for (let round = 1; round <= rounds; round++) {
      const milliseconds = 100 + next(400);
      if (env.DISK_FULL !== undefined) rmSync(env.DISK_FULL, { force: true });
      const lines = whole(await runAndKill({
        args: [WORKLOAD, index, path, String(seed + round), durability], milliseconds, env,
        // A busy machine may take its time: the disk has been full once before the end.
        word: env.DISK_FULL === undefined ? 'ready' : 'stalled',
      }));
      for (const line of lines) model.read(line);
      stalls += lines.filter((line) => line.includes('"stalled"')).length;
      const state = await inspect(api, path);
      failIf(compare(model, state), `round ${round} (seed ${seed})`);
      model.settle(state.found);
      print(`round ${round}: ${model.acknowledged} units acknowledged so far, ${state.found.size} things found, ${stalls} stalls`);
    }
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
  return { rounds, acknowledged: model.acknowledged, stalls };
}

export async function fullDiskRounds({ library, ...rest }) {
  const flags = scratch();
  const env = { LD_PRELOAD: library, DISK_DIRECTORY: join(tmpdir(), 'nidomq-crash-'), DISK_FULL: join(flags, 'full') };
  // Its own directory must not look like the engine's.
  env.DISK_FULL = join(tmpdir(), `nidomq-full-${process.pid}`);
  try {
    return await killRounds({ ...rest, env });
  } finally {
    rmSync(flags, { recursive: true, force: true });
    rmSync(env.DISK_FULL, { force: true });
  }
}

/** One recorded run gives `cuts` power cuts. */
export async function powerRounds({ api, index, library, rounds, cuts = 10, seed, durability = 'disk', print = () => {} }) {
  const next = random(seed);
  let acknowledged = 0;
  for (let round = 0; round < rounds;) {
    const path = scratch();
    const record = `${path}.record`;
    const env = { LD_PRELOAD: library, DISK_DIRECTORY: `${path}/`, DISK_RECORD: record };
    try {
      const args = [WORKLOAD, index, path, String(seed + round), durability];
      await runAndKill({ args, milliseconds: 300 + next(900), env });
      const events = readRecord(readFileSync(record));
      for (let cut = 0; cut < cuts && round < rounds; cut++, round++) {
        const image = scratch();
        try {
          const model = new Model();
          const { lines, how } = cutPower({ events, from: path, to: image, next });
          for (const line of whole(lines)) model.read(line);
          if (existsSync(join(image, 'CURRENT'))) {
            failIf(compare(model, await inspect(api, image)), `power cut ${round + 1} (seed ${seed}, ${how})`);
          } else if (model.acknowledged > 0) {
            throw new Error(`power cut ${round + 1} (seed ${seed}, ${how}): there is no store`);
          }
          acknowledged += model.acknowledged;
          print(`power cut ${round + 1}: ${how}; ${model.acknowledged} units were acknowledged, all there`);
        } finally {
          rmSync(image, { recursive: true, force: true });
        }
      }
    } finally {
      rmSync(path, { recursive: true, force: true });
      rmSync(record, { force: true });
    }
  }
  return { rounds, acknowledged };
}
