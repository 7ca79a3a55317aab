/**
 * A snapshot is a directory with a store of its own and a manifest that is written last: without it
 * the copy is not complete and nobody restores it. A broker that runs goes on running while its
 * snapshot is made.
 */
import { cp, readFile, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { openValue } from './checksum.js';
import { makeDurably, syncDirectory, syncFiles, writeDurably } from './durable-file.js';
import type { SnapshotReport } from './engine.js';
import { EngineError, wordsOf } from './errors.js';
import { readIdentity, refuseNewer } from './identity.js';
import type { KeyRange } from './keys.js';
import { describeKey } from './keys.js';
import { LevelStore, namesIn } from './level-store.js';
import { OperationLog } from './operation-log.js';
import type { OrderedStore, StoreView } from './store.js';
import { SCAN_ENTRIES } from './store.js';

const MANIFEST = 'nidomq-snapshot.json';
const STORE = 'store';
const WRITE_BYTES = 1024 * 1024;
const EVERYTHING: KeyRange = { from: Buffer.alloc(0), before: Buffer.from([0xff]) };

interface Manifest {
  readonly formatVersion: number;
  readonly nodeId: string;
  readonly records: number;
  readonly bytes: number;
  readonly digest: number;
  readonly createdAt: string;
}

export async function refuseOccupied(directory: string, verb: string): Promise<void> {
  const names = await namesIn(directory);
  if (names.length === 0) return;
  throw new EngineError('NIDO_ENGINE_TARGET_NOT_EMPTY', `${directory} is not empty (it holds `
    + `'${names[0]}'): nothing was ${verb}. Name a directory that is empty or does not exist.`);
}

/** A store with something else in its directory is not opened again. */
export async function refuseWithin(store: string, directory: string): Promise<void> {
  const [outer, inner] = await Promise.all([realOf(store), realOf(resolve(directory))]);
  if (!`${inner}${sep}`.startsWith(`${outer}${sep}`)) return;
  throw new EngineError('NIDO_ENGINE_TARGET_NOT_EMPTY', `${directory} stands in ${store}, which is `
    + 'for the store alone: nothing was written. Name a directory outside of it.');
}
async function realOf(path: string): Promise<string> {
  if (dirname(path) === path) return path;
  return realpath(path).catch(async () => join(await realOf(dirname(path)), basename(path)));
}

interface Tally {
  records: number;
  bytes: number;
  digest: number;
}
/** Reads everything, value by value verified; refuses to pass on damage. */
async function walk(
  view: Pick<StoreView, 'scan'>, each: (key: Buffer, value: Buffer) => Promise<void> | undefined,
): Promise<Tally> {
  const tally = { records: 0, bytes: 0, digest: 0 };
  const cursor = view.scan(EVERYTHING);
  try {
    for (;;) {
      const entries = await cursor.next(SCAN_ENTRIES);
      if (entries.length === 0) return tally;
      for (const [key, value] of entries) {
        if (openValue(key, value) === undefined) {
          throw new EngineError('NIDO_ENGINE_CORRUPT',
            `${describeKey(key)} is damaged: a copy would pass `
            + 'it on. Run \'nidomq check\' for everything that is damaged.');
        }
        tally.records++;
        tally.bytes += key.length + value.length;
        const checksum = value.readUInt32LE(value.length - 4);
        tally.digest = (Math.imul(tally.digest ^ checksum, 0x0100_0193) + tally.records) >>> 0;
        const waits = each(key, value);
        if (waits !== undefined) await waits;
      }
    }
  } finally {
    await cursor.close();
  }
}

export async function writeSnapshot(
  store: OrderedStore, directory: string,
): Promise<SnapshotReport> {
  const begun = performance.now();
  await refuseOccupied(directory, 'written');
  const view = store.freeze();
  const target = new LevelStore({ path: join(directory, STORE), createIfMissing: 'yes' });
  try {
    await makeDurably(resolve(directory));
    await target.open();
    const log = new OperationLog();
    const flush = async () => {
      await target.write([log], { sync: 'yes' });
      log.reset();
    };
    const tally = await walk(view, (key, value) => {
      log.copyPut(key, value);
      return log.bytes >= WRITE_BYTES ? flush() : undefined;
    });
    if (log.operations > 0) await flush();
    const identity = await readIdentity(target);
    await target.close();
    const manifest: Manifest = {
      formatVersion: identity?.formatVersion ?? 0, nodeId: identity?.nodeId ?? '',
      ...tally, createdAt: new Date().toISOString(),
    };
    await writeDurably(join(directory, MANIFEST), `${JSON.stringify(manifest, undefined, 2)}\n`);
    return {
      directory, records: tally.records, bytes: tally.bytes,
      milliseconds: performance.now() - begun,
    };
  } finally {
    await target.close();
    await view.close();
  }
}

async function readManifest(directory: string): Promise<Manifest> {
  try {
    return JSON.parse(await readFile(join(directory, MANIFEST), 'utf8')) as Manifest;
  } catch (error) {
    throw new EngineError('NIDO_ENGINE_FOREIGN', `${directory} is not a complete snapshot: its `
      + `${MANIFEST} cannot be read (${wordsOf(error)}). Nothing was restored.`, { cause: error });
  }
}

/**
 * Copies a snapshot into an empty directory and verifies every value of the copy before anybody
 * uses it.
 */
export async function restoreSnapshot(from: string, target: string): Promise<SnapshotReport> {
  const begun = performance.now();
  const to = resolve(target);
  const manifest = await readManifest(from);
  refuseNewer(manifest.formatVersion);
  await refuseOccupied(to, 'restored');
  const staged = `${to}.restoring`;
  await rm(staged, { recursive: true, force: true });
  await makeDurably(dirname(to));
  await cp(join(from, STORE), staged, { recursive: true });
  const store = new LevelStore({ path: staged, createIfMissing: 'no' });
  try {
    await store.open();
    const tally = await walk(store, () => undefined);
    if (tally.records !== manifest.records || tally.digest !== manifest.digest) {
      throw new EngineError('NIDO_ENGINE_CORRUPT',
        `${from} is damaged: ${manifest.records} records were `
        + `written, ${tally.records} were found, or they differ. Nothing was restored.`);
    }
    await store.close();
    await syncFiles(staged); // a broker that goes on from here takes all of it for stored
    await rm(to, { recursive: true, force: true });
    await rename(staged, to);
    await syncDirectory(dirname(to));
    return {
      directory: to, records: tally.records, bytes: tally.bytes,
      milliseconds: performance.now() - begun,
    };
  } finally {
    await store.close();
    await rm(staged, { recursive: true, force: true });
  }
}
