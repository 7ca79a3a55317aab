/** What a store says about itself: the version of its format and who it is. */
import { randomBytes } from 'node:crypto';
import { openValue } from './checksum.js';
import { EngineError } from './errors.js';
import { KEY_STORE, storeKey } from './keys.js';
import { OperationLog } from './operation-log.js';
import type { OrderedStore, Readable } from './store.js';
import { readOne } from './store.js';

/**
 * The format that this version writes. Every change of keys.ts or records.ts raises it and adds a
 * migration.
 */
export const FORMAT_VERSION = 4;
const NODE_ID_BYTES = 16;
const IDENTITY_KEY = storeKey('identity');

export interface Identity {
  readonly formatVersion: number;
  readonly nodeId: string;
}

/**
 * Brings a store from the version it is filed under to the next one. Has to bear being run again
 * after a crash.
 */
export type Migration = (
  store: OrderedStore, converted?: (records: number) => void,
) => Promise<void>;
export const MIGRATIONS: ReadonlyMap<number, Migration> = new Map<number, Migration>([
  // Queue entries can name the group that they came by. Those that are there name none: they stay
  // with their sessions, as they always did.
  [1, () => Promise.resolve()],
  // Says 3 before anything is converted: what reads up to 2 would take a session that has been for
  // one that is not there, and delete all that it has.
  [2, () => Promise.resolve()],
  // Sessions and subscriptions stand in LevelDB as text (level-text.ts).
  [3, (store, converted) => store.convert(converted)],
]);

export async function readIdentity(store: Readable): Promise<Identity | undefined> {
  const value = await readOne(store, IDENTITY_KEY);
  if (value === undefined) return undefined;
  const body = openValue(IDENTITY_KEY, value);
  if (body === undefined || body.length < 4 + NODE_ID_BYTES) {
    throw new EngineError('NIDO_ENGINE_CORRUPT',
      'The identity record of the store is damaged: nothing in '
      + 'it is trusted. Restore a snapshot.');
  }
  return {
    formatVersion: body.readUInt32BE(0),
    nodeId: body.toString('hex', 4, 4 + NODE_ID_BYTES),
  };
}

async function writeIdentity(store: OrderedStore, identity: Identity): Promise<void> {
  const log = new OperationLog();
  log.beginKey(KEY_STORE);
  log.text('identity');
  log.beginValue();
  log.uint32(identity.formatVersion);
  log.raw(Buffer.from(identity.nodeId, 'hex'));
  log.endPut();
  await store.write([log], { sync: 'yes' });
}

/**
 * The identity of an open store; an empty one gets its own. Older formats are migrated step by
 * step.
 */
export async function establishIdentity(
  store: OrderedStore, options: {
    readonly migrations?: ReadonlyMap<number, Migration>;
    readonly converted?: ((records: number) => void) | undefined;
  } = {},
): Promise<Identity> {
  const { migrations = MIGRATIONS, converted } = options;
  let identity = await readIdentity(store);
  if (identity === undefined) {
    await refuseStranger(store);
    identity = {
      formatVersion: FORMAT_VERSION, nodeId: randomBytes(NODE_ID_BYTES).toString('hex'),
    };
    await writeIdentity(store, identity);
    return identity;
  }
  refuseNewer(identity.formatVersion);
  while (identity.formatVersion < FORMAT_VERSION) {
    const migration = migrations.get(identity.formatVersion);
    if (migration === undefined) {
      throw new EngineError('NIDO_ENGINE_FOREIGN',
        `The store has format ${identity.formatVersion}, from `
        + `which nothing leads to ${FORMAT_VERSION}. Open it once with an older nidomq.`);
    }
    await migration(store, converted);
    identity = { ...identity, formatVersion: identity.formatVersion + 1 };
    await writeIdentity(store, identity);
  }
  return identity;
}
export function refuseNewer(formatVersion: number): void {
  if (formatVersion <= FORMAT_VERSION) return;
  throw new EngineError('NIDO_ENGINE_FORMAT_NEWER',
    `The store has format ${formatVersion}; this nidomq `
    + `reads up to ${FORMAT_VERSION}. Update nidomq; the store was not changed.`);
}

async function refuseStranger(store: OrderedStore): Promise<void> {
  const cursor = store.scan({ from: Buffer.alloc(0), before: Buffer.from([0xff]) });
  const found = await cursor.next(1);
  await cursor.close();
  if (found.length === 0) return;
  throw new EngineError('NIDO_ENGINE_FOREIGN',
    'The directory holds a LevelDB store that was not written by '
    + 'nidomq, or one that has lost its identity record. Name another directory.');
}
