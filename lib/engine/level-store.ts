/**
 * LevelDB by way of classic-level, which is loaded only when a directory is opened. It is an
 * optional dependency: where it has no binary, `open` says so, and nothing silently degrades.
 */
import { readdir, realpath, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ChainedBatch, ClassicLevel, Iterator as LevelIterator } from 'classic-level';
import { WITNESS_FILE, makeDurably } from './durable-file.js';
import { EngineError, codeOf, wordsOf } from './errors.js';
import type { KeyRange } from './keys.js';
import { classRange, isOneClass } from './keys.js';
import { TEXT, TEXT_CLASSES, entryOf, isText, isTextRange } from './level-text.js';
import type { OperationLog, OperationSink } from './operation-log.js';
import type { OrderedStore, StoreCursor, StoreEntry, StoreView } from './store.js';
import { damageOfTables, fileNumber } from './table-check.js';

type Level = ClassicLevel<Buffer, Buffer>;
type Batch = ChainedBatch<Level, Buffer, Buffer>;
type Snapshot = ReturnType<Level['snapshot']>;

export interface LevelStoreOptions {
  readonly path: string;
  /** Bytes that LevelDB gathers in memory, and twice that in its logs; 4 MiB when left out. */
  readonly writeBufferBytes?: number;
  /** Bytes of blocks that stay in memory; 8 MiB when left out. */
  readonly cacheBytes?: number;
  readonly createIfMissing: 'yes' | 'no';
  /**
   * `any`: what an earlier version wrote is found, too, though nothing is changed; `newest`, when
   * left out: it has been converted.
   */
  readonly forms?: 'any' | 'newest';
}
export const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
const CACHE_BYTES = 8 * 1024 * 1024;
/** Bytes that one cursor reads ahead. */
const CURSOR_BYTES = 1024 * 1024;
/** Records in one batch of a conversion. */
const CONVERTED_MAX = 1_000;
/** How often is looked whether the directory is still there. */
const LOOK_MS = 100;
const LEVEL_FILE = /^(LOCK|LOG|LOG\.old|CURRENT|MANIFEST-\d+|\d+\.(log|ldb|sst|dbtmp))$/;
/** What else may stand there. */
const OTHER_FILE = /^(lost\+found|nidomq-store\.json(\.new)?|nidomq\.sock)$/;
const LEVEL_DATA = /^\d+\.(log|ldb|sst)$/;
const LEVEL_LOG = /^\d+\.log$/;
/** What LevelDB makes before its first log has anything in it. */
const LEVEL_BEGINNING = /^(CURRENT|MANIFEST-\d+|\d+\.(log|dbtmp))$/;

async function loadClassicLevel(): Promise<typeof ClassicLevel> {
  try {
    const { ClassicLevel: constructor } = await import('classic-level');
    return constructor;
  } catch (error) {
    throw new EngineError('NIDO_ENGINE_UNAVAILABLE',
      `The file engine needs the package classic-level, which cannot be loaded on `
      + `${process.platform}-${process.arch} (Node ${process.version}): ${wordsOf(error)}. `
      + `Install it with 'npm install classic-level'; where it has no binary for the platform `
      + `(Alpine on ARM, Windows on ARM) npm builds it and needs Python, make and a C++ compiler. `
      + `Or choose the memory engine (--engine memory), which keeps nothing.`, { cause: error });
  }
}

/**
 * Directories that this process has open. LevelDB's own check opens and closes its LOCK file, and
 * with that close the system forgets the lock of the first opening: another process would be let
 * in.
 */
const directoriesOpen = new Set<string>();

function lockedError(path: string, cause?: unknown): EngineError {
  return new EngineError('NIDO_ENGINE_LOCKED', `${path} is in use by another process, or twice by `
    + 'this one. Stop the other broker, or give this one a directory of its own.', { cause });
}

/** What LevelDB says, in our words. */
export function translate(error: unknown, path: string): EngineError {
  if (error instanceof EngineError) return error;
  const words = wordsOf(error);
  const code = codeOf(error);
  if (code === 'LEVEL_LOCKED') {
    return lockedError(path, error);
  }
  if (code === 'LEVEL_CORRUPTION') {
    return new EngineError('NIDO_ENGINE_CORRUPT',
      `${path} is damaged and was not opened: ${words}. `
      + `Run 'nidomq check --data ${path}', then restore a snapshot; the damaged directory is left `
      + 'as it is.', { cause: error });
  }
  return new EngineError('NIDO_ENGINE_IO', `${path}: the disk refused: ${words}`, { cause: error });
}

class LevelCursor implements StoreCursor {
  constructor(
    private readonly iterator: LevelIterator<Level, Buffer, Buffer>, private readonly path: string,
  ) {}
  async next(limit: number): Promise<StoreEntry[]> {
    try {
      return await this.iterator.nextv(limit) as StoreEntry[];
    } catch (error) {
      throw translate(error, this.path);
    }
  }
  close(): Promise<void> {
    return this.iterator.close();
  }
}
/**
 * Over several classes of keys: in LevelDB's order, in which those that are text stand elsewhere.
 */
class MixedCursor implements StoreCursor {
  constructor(private readonly cursor: LevelCursor) {}
  async next(limit: number): Promise<StoreEntry[]> {
    return (await this.cursor.next(limit)).map(entryOf);
  }
  close(): Promise<void> {
    return this.cursor.close();
  }
}
/** One behind the other. */
class ChainedCursor implements StoreCursor {
  constructor(private readonly first: StoreCursor, private readonly second: StoreCursor) {}
  async next(limit: number): Promise<StoreEntry[]> {
    const entries = await this.first.next(limit);
    return entries.length > 0 ? entries : this.second.next(limit);
  }
  async close(): Promise<void> {
    await this.first.close();
    await this.second.close();
  }
}

class BatchSink implements OperationSink {
  constructor(private readonly batch: Batch) {}
  put(key: Buffer, value: Buffer): void {
    if (isText(key)) this.batch.put(key, value, TEXT);
    else this.batch.put(key, value);
  }
  delete(key: Buffer): void {
    if (isText(key)) this.batch.del(key, TEXT);
    else this.batch.del(key);
  }
}

/** Where the store was when it was opened. */
interface Place {
  /** Which file its LOCK is. */
  readonly lock: number | undefined;
  /** The number of the log that was begun then: LevelDB had finished every table below it. */
  readonly log: number;
  /** When it was last seen there. */
  lookedAt: number;
}
async function newestLog(path: string): Promise<number> {
  const logs = (await namesIn(path)).filter((name) => LEVEL_LOG.test(name));
  return Math.max(0, ...logs.map(fileNumber));
}
async function lockOf(path: string): Promise<number | undefined> {
  return (await stat(join(path, 'LOCK')).catch(() => undefined))?.ino;
}
function goneError(path: string): EngineError {
  return new EngineError('NIDO_ENGINE_IO', `${path} is not where it was opened: it was removed or `
    + 'renamed. What is written now nobody would find; put it back, or stop the broker.');
}
/** LevelDB would make a directory, and an empty store in it. */
async function refuseGone(path: string): Promise<void> {
  if (!(await namesIn(path)).includes('CURRENT')) throw goneError(path);
}

export class LevelStore implements OrderedStore {
  #level: Level | undefined;
  #directory: string | undefined;
  #place: Place | undefined;
  constructor(readonly options: LevelStoreOptions) {}

  async open(): Promise<void> {
    const { path } = this.options;
    if (this.#place !== undefined) {
      await refuseGone(path);
    } else if (this.options.createIfMissing === 'yes') {
      await refuseForeign(path);
      await makeDirectory(path);
    }
    const constructor = await loadClassicLevel();
    await this.#enter();
    try {
      this.#level = await this.#openLevel(constructor);
      this.#place = { lock: await lockOf(path), log: await newestLog(path), lookedAt: 0 };
    } catch (error) {
      this.#leave();
      throw error;
    }
  }
  async #openLevel(constructor: typeof ClassicLevel): Promise<Level> {
    const { path, createIfMissing } = this.options;
    const open = async (): Promise<Level> => {
      const level = new constructor<Buffer, Buffer>(path, {
        keyEncoding: 'buffer', valueEncoding: 'buffer',
        createIfMissing: createIfMissing === 'yes',
        writeBufferSize: this.options.writeBufferBytes ?? WRITE_BUFFER_BYTES,
        cacheSize: this.options.cacheBytes ?? CACHE_BYTES,
      });
      try {
        await level.open();
      } catch (error) {
        throw translate(error, path);
      }
      return level;
    };
    try {
      return await open();
    } catch (error) {
      const isDamaged = (error as EngineError).code === 'NIDO_ENGINE_CORRUPT';
      if (!isDamaged || createIfMissing === 'no' || !await isBeginning(path)) throw error;
      await removeBeginning(path);
      return open();
    }
  }
  async #enter(): Promise<void> {
    const { path } = this.options;
    const directory = await realpath(path).catch(() => path);
    if (directoriesOpen.has(directory)) throw lockedError(path);
    directoriesOpen.add(directory);
    this.#directory = directory;
  }
  #leave(): void {
    if (this.#directory !== undefined) directoriesOpen.delete(this.#directory);
    this.#directory = undefined;
  }

  async write(
    operations: readonly OperationLog[], options: { readonly sync: 'yes' | 'no' },
  ): Promise<void> {
    try {
      const batch: Batch = this.#opened().batch();
      const sink = new BatchSink(batch);
      for (const log of operations) log.replay(sink);
      // Meanwhile: behind the write, one commit in forty would take as long again.
      const looking = this.#look();
      looking.catch(() => undefined); // thrown when the write has ended
      await batch.write({ sync: options.sync === 'yes' });
      await looking;
    } catch (error) {
      throw translate(error, this.options.path);
    }
  }
  /** The files that are open can be written to when nobody will ever find them again. */
  async #look(): Promise<void> {
    const place = this.#place;
    if (place === undefined || performance.now() - place.lookedAt < LOOK_MS) return;
    if (await lockOf(this.options.path) !== place.lock) throw goneError(this.options.path);
    place.lookedAt = performance.now();
  }
  /** All of them are text, or none is. */
  async getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    const isAsText = keys.length > 0 && isText(keys[0]);
    try {
      return await this.#opened().getMany(keys, isAsText ? TEXT : {});
    } catch (error) {
      throw translate(error, this.options.path);
    }
  }
  scan(range: KeyRange): StoreCursor {
    return this.#scan(range, {});
  }
  #scan(range: KeyRange, of: { readonly snapshot?: Snapshot }): StoreCursor {
    const level = this.#opened();
    const { path, forms } = this.options;
    const open = (encodings: typeof TEXT | undefined): LevelCursor => new LevelCursor(
      level.iterator({ ...bounds(range), ...encodings, ...of, highWaterMarkBytes: CURSOR_BYTES }),
      path,
    );
    if (!isTextRange(range)) {
      return isOneClass(range) ? open(undefined) : new MixedCursor(open(undefined));
    }
    return forms === 'any' ? new ChainedCursor(open(undefined), open(TEXT)) : open(TEXT);
  }
  async convert(converted?: (records: number) => void): Promise<void> {
    let records = 0;
    const more = (count: number): void => {
      records += count;
      converted?.(records);
    };
    for (const keyClass of TEXT_CLASSES) await this.#convert(classRange(keyClass), more);
  }
  /**
   * Each batch is synced: what LevelDB has not synced of an earlier log can be lost when what is
   * behind it is not, and the version that is written behind all of this says that it is there.
   */
  async #convert(range: KeyRange, converted: (more: number) => void): Promise<void> {
    const level = this.#opened();
    const cursor = new LevelCursor(
      level.iterator({ ...bounds(range), highWaterMarkBytes: CURSOR_BYTES }),
      this.options.path,
    );
    try {
      for (;;) {
        const entries = await cursor.next(CONVERTED_MAX);
        if (entries.length === 0) return;
        const batch: Batch = level.batch();
        for (const [key, value] of entries) batch.put(key, value, TEXT).del(key);
        await batch.write({ sync: true });
        converted(entries.length);
      }
    } catch (error) {
      throw translate(error, this.options.path);
    } finally {
      await cursor.close();
    }
  }
  async damage(): Promise<readonly string[]> {
    const { path } = this.options;
    return damageOfTables(path, await namesIn(path), this.#place?.log ?? 0);
  }
  freeze(): StoreView {
    const level = this.#opened();
    const snapshot = level.snapshot();
    return {
      scan: (range) => this.#scan(range, { snapshot }),
      close: () => snapshot.close(),
    };
  }
  async close(): Promise<void> {
    const level = this.#level;
    this.#level = undefined;
    try {
      await level?.close();
    } finally {
      this.#leave();
    }
  }
  #opened(): Level {
    if (this.#level !== undefined) return this.#level;
    throw new EngineError('NIDO_ENGINE_CLOSED', `${this.options.path} is not open`);
  }
}

function bounds(range: KeyRange): { gte: Buffer; lt: Buffer } {
  return { gte: range.from, lt: range.before };
}

/**
 * LevelDB would put its files between those of others, and start empty where CURRENT is missing.
 */
async function refuseForeign(path: string): Promise<void> {
  const names = await namesIn(path);
  const foreign = names.find((name) => !LEVEL_FILE.test(name) && !OTHER_FILE.test(name));
  if (foreign !== undefined) {
    throw new EngineError('NIDO_ENGINE_FOREIGN',
      `${path} holds '${foreign}', which is not a file of the `
      + 'file engine. Name an empty directory, or one that does not exist.');
  }
  const holdsData = names.some((name) => LEVEL_DATA.test(name)) && !await isBeginning(path);
  if (!names.includes('CURRENT') && holdsData) {
    throw new EngineError('NIDO_ENGINE_CORRUPT',
      `${path} holds data but its file CURRENT is missing; `
      + 'opening it would erase the data. Restore a snapshot, or the missing file.');
  }
}

/**
 * Whether the power went, or the process, while LevelDB made its first files: it does not sync the
 * first of them, and could not open what is left. Nothing was ever acknowledged.
 */
async function isBeginning(path: string): Promise<boolean> {
  const names = await namesIn(path);
  if (names.includes(WITNESS_FILE)) return false;
  for (const name of names) {
    if (!LEVEL_DATA.test(name)) continue;
    if (!LEVEL_LOG.test(name) || (await stat(join(path, name))).size > 0) return false;
  }
  return true;
}
async function removeBeginning(path: string): Promise<void> {
  for (const name of await namesIn(path)) {
    if (LEVEL_BEGINNING.test(name)) await rm(join(path, name), { force: true });
  }
}

/** Before it is locked, so that its real path is known. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await makeDurably(path);
  } catch (error) {
    throw new EngineError('NIDO_ENGINE_IO',
      `${path} cannot be made: ${wordsOf(error)}`, { cause: error });
  }
}
export async function namesIn(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new EngineError('NIDO_ENGINE_IO',
      `${path} cannot be read: ${wordsOf(error)}`, { cause: error });
  }
}
