/** A directory with a store of the file engine, for one test. */
import { afterEach, beforeEach } from '@jest/globals';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Engine, FileEngineOptions } from '../../lib/engine/index.js';
import { createFileEngine } from '../../lib/engine/index.js';
import { LevelStore } from '../../lib/engine/level-store.js';
import { OperationLog } from '../../lib/engine/operation-log.js';
import { enqueue, loaded, message, session } from './contract.js';

/** Made anew for each test. */
export let root: string;
/** Where the store is; in `root`. */
export let path: string;
export function moveTo(place: string): void {
  path = place;
}
const opened: Engine[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nidomq-file-'));
  path = join(root, 'data');
});
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
  await rm(root, { recursive: true, force: true });
});

export async function start(options: Partial<FileEngineOptions> = {}): Promise<Engine> {
  const engine = createFileEngine({ path, ...options });
  opened.push(engine);
  await engine.open();
  return engine;
}
export async function startLoaded(options: Partial<FileEngineOptions> = {}): Promise<Engine> {
  const engine = await start(options);
  await loaded(engine);
  return engine;
}
/** Some batches of one session each with a queue of ten. */
export async function fill(engine: Engine, batches: number, durability: 'disk' | 'os' = 'disk'): Promise<void> {
  for (let i = 0; i < batches; i++) {
    const batch = engine.createBatch();
    batch.require(durability);
    const sessionId = engine.nextNumber();
    batch.putSession(session(sessionId));
    for (let j = 0; j < 10; j++) enqueue(batch, message(engine.nextNumber()), [sessionId]);
    await engine.commit(batch);
  }
}
export async function until(condition: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 15_000;
  while (!await condition()) {
    if (Date.now() > limit) throw new Error('the condition did not come about in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
/** Changes the closed store behind the engine's back. */
export async function tamper(change: (log: OperationLog) => void): Promise<void> {
  const store = new LevelStore({ path, createIfMissing: 'no' });
  await store.open();
  const log = new OperationLog();
  change(log);
  await store.write([log], { sync: 'yes' });
  await store.close();
}
export async function flipByte(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[at] ^= 0x40;
  await writeFile(file, bytes);
}
export async function filesEnding(ending: string): Promise<string[]> {
  return (await readdir(path)).filter((name) => name.endsWith(ending)).map((name) => join(path, name));
}
