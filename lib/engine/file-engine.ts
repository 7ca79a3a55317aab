/**
 * The engine on a directory, and what can be done with the directory while no broker has it open.
 */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { examine } from './check.js';
import type { CheckReport, Durability, Engine } from './engine.js';
import { EngineError } from './errors.js';
import { refuseNewer, readIdentity } from './identity.js';
import { Ledger } from './ledger.js';
import { LevelStore, WRITE_BUFFER_BYTES, namesIn } from './level-store.js';
import { writeDurably, writeSnapshot } from './snapshot.js';
import type { Testimony, Witness } from './store-engine.js';
import { StoreEngine } from './store-engine.js';

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
const WITNESS = 'nidomq-store.json';
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
    snapshot: writeSnapshot,
    witness: fileWitness(path),
  });
}

function fileWitness(path: string): Witness {
  const file = join(path, WITNESS);
  return {
    async read() {
      try {
        return JSON.parse(await readFile(file, 'utf8')) as Testimony;
      } catch {
        return undefined; // a store without its witness is no worse than one that never had any
      }
    },
    write: (testimony) => writeDurably(file, `${JSON.stringify(testimony)}\n`),
  };
}

/** `nidomq check`: examines a directory that no broker has open. */
export async function checkDirectory(path: string): Promise<CheckReport> {
  const names = await namesIn(path);
  if (!names.includes('CURRENT')) {
    throw new EngineError('NIDO_ENGINE_FOREIGN', `${path} holds no store of the file engine`);
  }
  const store = new LevelStore({ path, createIfMissing: 'no' });
  await store.open();
  try {
    const identity = await readIdentity(store);
    if (identity === undefined) {
      throw new EngineError('NIDO_ENGINE_FOREIGN', `${path} was not written by nidomq`);
    }
    refuseNewer(identity.formatVersion);
    return await examine(store, new Ledger(LOGS * WRITE_BUFFER_BYTES));
  } finally {
    await store.close();
  }
}

export { restoreSnapshot } from './snapshot.js';
