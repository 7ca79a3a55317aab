/**
 * The engine on a directory, and what can be done with the directory while no broker has it open.
 */
import { join, resolve } from 'node:path';
import { examine, lossesBelow } from './check.js';
import { WITNESS_FILE } from './durable-file.js';
import type { CheckReport, Durability, Engine, SnapshotReport } from './engine.js';
import { EngineError } from './errors.js';
import { refuseNewer, readIdentity } from './identity.js';
import { Ledger } from './ledger.js';
import { LevelStore, WRITE_BUFFER_BYTES, namesIn } from './level-store.js';
import { refuseWithin, writeSnapshot } from './snapshot.js';
import { StoreEngine } from './store-engine.js';
import { FileWitness, compareWith } from './witness.js';

export interface FileEngineOptions {
  /** The directory; made when it does not exist. */
  readonly path: string;
  /** `disk` when left out. */
  readonly durability?: Durability;
  /** What to do about a store that lost something it had promised; `refuse` when left out. */
  readonly onLoss?: 'refuse' | 'report';
  readonly writeBufferBytes?: number;
  readonly cacheBytes?: number;
}
const DURABILITIES: readonly Durability[] = ['disk', 'os', 'memory'];
/** Both logs of LevelDB, and the batch that overflowed each. */
const LOGS = 4;

export function createFileEngine(options: FileEngineOptions): Engine {
  if (typeof options.path !== 'string' || options.path === '') {
    throw new EngineError('NIDO_ENGINE_OPTION',
      'engine.file.path: the name of a directory is needed');
  }
  const durability = options.durability ?? 'disk';
  if (!DURABILITIES.includes(durability)) {
    throw new EngineError('NIDO_ENGINE_OPTION',
      `engine.file.durability: '${String(durability)}' is none of `
      + DURABILITIES.join(', '));
  }
  const path = resolve(options.path);
  const writeBufferBytes = options.writeBufferBytes ?? WRITE_BUFFER_BYTES;
  return new StoreEngine({
    name: 'file',
    durability,
    store: new LevelStore({
      path, writeBufferBytes, createIfMissing: 'yes',
      ...(options.cacheBytes === undefined ? {} : { cacheBytes: options.cacheBytes }),
    }),
    place: path,
    windowBytes: LOGS * writeBufferBytes,
    onLoss: options.onLoss ?? 'refuse',
    snapshot: async (store, directory) => {
      await refuseWithin(path, directory);
      return writeSnapshot(store, directory);
    },
    witness: new FileWitness(join(path, WITNESS_FILE)),
  });
}

/** `nidomq snapshot`: copies a directory that no broker has open. */
export async function snapshotDirectory(path: string, target: string): Promise<SnapshotReport> {
  await refuseAbsent(path);
  const engine = createFileEngine({ path });
  await engine.open();
  try {
    return await engine.snapshot(target);
  } finally {
    await engine.close();
  }
}

/** `nidomq check`: examines a directory that no broker has open. */
export async function checkDirectory(path: string): Promise<CheckReport> {
  const store = new LevelStore({ path, createIfMissing: 'no', forms: 'any' });
  try {
    await refuseAbsent(path);
    await store.open();
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== 'NIDO_ENGINE_CORRUPT') throw error;
    return unreadable(error);
  }
  let damage: readonly string[] = [];
  try {
    damage = await store.damage();
    return await checkOpened(path, store, damage);
  } catch (error) {
    // What has no end cannot be read past it; that it is so is known.
    if (damage.length === 0 || !(error instanceof EngineError)) throw error;
    const report = unreadable(error);
    return { ...report, losses: [...lossesBelow(damage), ...report.losses] };
  } finally {
    await store.close();
  }
}
async function checkOpened(
  path: string, store: LevelStore, damage: readonly string[],
): Promise<CheckReport> {
  const identity = await readIdentity(store);
  if (identity === undefined) {
    throw new EngineError('NIDO_ENGINE_FOREIGN', `${path} was not written by nidomq`);
  }
  refuseNewer(identity.formatVersion);
  const ledger = new Ledger(LOGS * WRITE_BUFFER_BYTES);
  const report = await examine(store, ledger, damage);
  const before = await new FileWitness(join(path, WITNESS_FILE)).read();
  const losses = [...report.losses, ...compareWith(before, identity, report.lastBatch)];
  return { ...report, losses };
}

async function refuseAbsent(path: string): Promise<void> {
  const names = await namesIn(path);
  if (names.includes('CURRENT')) return;
  if (names.includes(WITNESS_FILE)) {
    throw new EngineError('NIDO_ENGINE_CORRUPT',
      `${path} held a store of the file engine, but its file CURRENT is missing: nothing in it can `
      + 'be read. Restore a snapshot.');
  }
  throw new EngineError('NIDO_ENGINE_FOREIGN', `${path} holds no store of the file engine`);
}
/** LevelDB itself gives up on it. */
function unreadable({ message }: EngineError): CheckReport {
  const losses = [{ kind: 'unreadable', promised: true, detail: message }] as const;
  return { formatVersion: 0, nodeId: '', lastBatch: 0, records: {}, losses };
}

export { restoreSnapshot } from './snapshot.js';
