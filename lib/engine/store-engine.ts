/**
 * The engine over any ordered store. Exactly one write is under way at any time, and after one that
 * failed there is none until the store was opened anew: LevelDB would append behind a torn record,
 * and everything behind it would be gone at the next start although it was acknowledged.
 */
import { BodyReferences, EngineBatch } from './batch.js';
import { CHECKSUM_BYTES, isIntact } from './checksum.js';
import { examine, lossesBelow } from './check.js';
import type {
  CheckReport, Durability, Engine, LoadLimits, LoadReport, LoadVisitor, Loss, QueueEntry,
  FoundMessage, QueueReadLimits, QueueSlice, SnapshotReport,
} from './engine.js';
import { messageNumberOf } from './engine.js';
import { EngineError } from './errors.js';
import type { Identity } from './identity.js';
import { establishIdentity } from './identity.js';
import { KEY_QUEUE, describeKey, numberKey } from './keys.js';
import { Ledger } from './ledger.js';
import { Loader, readBodies } from './loader.js';
import { OperationLog } from './operation-log.js';
import { readQueueEntry } from './records.js';
import type { OrderedStore, StoreEntry } from './store.js';
import type { Remains } from './sweeper.js';
import { Sweeper } from './sweeper.js';
import type { Testimony, Witness } from './witness.js';
import { compareWith } from './witness.js';

export interface StoreEngineOptions {
  readonly name: Engine['name'];
  readonly durability: Durability;
  readonly store: OrderedStore;
  /** For messages: the directory. */
  readonly place: string;
  /** What the logs of the store can hold. */
  readonly windowBytes: number;
  /**
   * `refuse`: a store that lost something promised is not opened. `report`: it is, and the loss is
   * in the report.
   */
  readonly onLoss: 'refuse' | 'report';
  readonly snapshot: (store: OrderedStore, directory: string) => Promise<SnapshotReport>;
  readonly witness?: Witness;
}
/** What has been read of a queue; `bytes` as they stand in the store. */
interface Found {
  readonly entries: QueueEntry[];
  /** undefined: it stands elsewhere. */
  readonly messages: (FoundMessage | undefined)[];
  bytes: number;
}
const READ_AHEAD_ENTRIES = 256;
/** Bodies that are read before it is known how large they are. */
const FIRST_BODIES = 16;
/** What an entry is, beside its message. */
const ENTRY_BYTES = 32;
const LOSSES_NAMED = 5;
/** After a load of so many records the store is opened anew. */
const REOPEN_RECORDS = 50_000;

export class StoreEngine implements Engine {
  readonly name: Engine['name'];
  readonly durability: Durability;
  readonly references = new BodyReferences();
  #options: StoreEngineOptions;
  #store: OrderedStore;
  #ledger: Ledger;
  #sweeper: Sweeper;
  #losses: Loss[] = [];
  #identity: Identity | undefined;
  #head = new OperationLog();
  #tail = new OperationLog();
  #state: 'closed' | 'open' | 'broken' = 'closed';
  /** The write that is under way; the next one stands behind it. */
  #writing: Promise<unknown> = Promise.resolve();
  #reads = new Set<Promise<unknown>>();
  #recovering: Promise<void> | undefined;

  constructor(options: StoreEngineOptions) {
    this.#options = options;
    this.name = options.name;
    this.durability = options.durability;
    this.#store = options.store;
    this.#ledger = new Ledger(options.windowBytes);
    this.#sweeper = new Sweeper(this.#store);
  }

  async open(converted?: (records: number) => void): Promise<void> {
    if (this.#state !== 'closed') return;
    await this.#store.open();
    this.#sweeper = new Sweeper(this.#store);
    try {
      const before = await this.#options.witness?.read();
      this.#losses = lossesBelow(await this.#store.damage());
      this.#refuseLosses(); // before a migration writes to what is damaged
      const identity = await establishIdentity(this.#store, { converted });
      this.#ledger = new Ledger(this.#options.windowBytes);
      this.#losses.push(...await this.#ledger.read(this.#store));
      this.#losses.push(...compareWith(before, identity, this.#ledger.lastBatch));
      this.#refuseLosses();
      this.#identity = identity;
      await this.#forgetLosses();
      await this.#testify();
    } catch (error) {
      await this.#store.close();
      throw error;
    }
    this.#state = 'open';
  }
  /** They are in the report of `load`; that is where they were told. */
  async #forgetLosses(): Promise<void> {
    if (this.#losses.length === 0) return;
    const log = new OperationLog();
    this.#ledger.forget(log);
    await this.#store.write([log], { sync: 'yes' });
  }
  async #testify(): Promise<void> {
    if (this.#identity !== undefined) await this.#options.witness?.write(this.#testimony());
  }
  #testimony(): Testimony {
    const { lastBatch, lastDiskBatch } = this.#ledger;
    return { ...this.#identity as Identity, lastBatch, lastDiskBatch };
  }
  #refuseLosses(): void {
    const promised = this.#losses.filter((loss) => loss.promised);
    if (promised.length === 0 || this.#options.onLoss === 'report') return;
    throw corrupt(this.#options.place, promised);
  }

  async load(visitor: LoadVisitor, limits: LoadLimits = {}): Promise<LoadReport> {
    this.#mustBeOpen();
    this.references.clear();
    const report = await new Loader({
      store: this.#store, references: this.references, ended: this.#sweeper.ended,
      losses: this.#losses,
    }, visitor, limits).run();
    this.#refuseLosses();
    await this.#forgetPages(report);
    return report;
  }

  /**
   * LevelDB keeps every table that was read mapped: all that was loaded would be in memory twice.
   */
  async #forgetPages(report: LoadReport): Promise<void> {
    const { sessions, subscriptions, retainedMessages, queuedMessages, spilledMessages } = report;
    const read = sessions + subscriptions + retainedMessages + queuedMessages + spilledMessages;
    if (read < REOPEN_RECORDS) return;
    await this.#store.close();
    try {
      await this.#store.open();
    } catch (error) {
      this.#state = 'closed';
      throw error;
    }
  }

  nextNumber(): number {
    return this.#ledger.nextNumber();
  }
  createBatch(): EngineBatch {
    return new EngineBatch(this.references);
  }

  commit(batch: EngineBatch): Promise<void> {
    const written = this.#writing.then(() => this.#writeNow(batch));
    this.#writing = written.catch(() => undefined);
    return written;
  }
  async #writeNow(batch: EngineBatch): Promise<void> {
    this.#mustBeOpen();
    const { durability, log } = batch;
    this.#ledger.frame(log, durability, this.#head, this.#tail);
    try {
      const sync = durability === 'disk' ? 'yes' : 'no';
      await this.#store.write([this.#head, log, this.#tail], { sync });
    } catch (error) {
      if (this.#state === 'open') this.#state = 'broken';
      throw error;
    }
    this.#ledger.committed(log, durability);
    this.#options.witness?.saw(this.#testimony());
    for (const sessionId of batch.ended) this.#sweeper.ended.add(sessionId);
  }

  get hasRemains(): boolean {
    return this.#sweeper.ended.size > 0;
  }
  readRemains(): Promise<Remains | undefined> {
    return this.#reading(() => this.#sweeper.read());
  }

  recover(): Promise<void> {
    if (this.#state !== 'broken') return Promise.resolve();
    this.#recovering ??= this.#reopen().finally(() => {
      this.#recovering = undefined;
    });
    return this.#recovering;
  }
  async #reopen(): Promise<void> {
    await this.#writing;
    await Promise.allSettled(this.#reads);
    await this.#store.close();
    await this.#store.open();
    const found = new Ledger(this.#options.windowBytes);
    const losses = (await found.read(this.#store)).filter((loss) => loss.promised);
    if (found.lastBatch < this.#ledger.lastBatch) {
      const detail = `batch ${found.lastBatch} is the last that the store still has, but `
        + `${this.#ledger.lastBatch} was acknowledged`;
      losses.push({ kind: 'batch', promised: true, detail });
    }
    if (losses.length > 0 && this.#options.onLoss === 'refuse') {
      throw corrupt(this.#options.place, losses);
    }
    this.#state = 'open';
  }

  async readQueue(
    sessionId: number, afterNumber: number, limits: QueueReadLimits,
  ): Promise<QueueSlice> {
    return this.#reading(() => this.#readQueue(sessionId, afterNumber, limits));
  }
  /** The store is not closed while something is read. */
  async #reading<Found>(start: () => Promise<Found>): Promise<Found> {
    await this.#recovering?.catch(() => undefined);
    if (this.#state === 'closed') this.#mustBeOpen();
    const read = start();
    this.#reads.add(read);
    try {
      return await read;
    } finally {
      this.#reads.delete(read);
    }
  }
  async #readQueue(
    sessionId: number, afterNumber: number, limits: QueueReadLimits,
  ): Promise<QueueSlice> {
    const from = numberKey(KEY_QUEUE, sessionId, afterNumber + 1);
    const cursor = this.#store.scan({ from, before: numberKey(KEY_QUEUE, sessionId + 1) });
    const found: Found = { entries: [], messages: [], bytes: 0 };
    let end = false;
    try {
      while (!end && found.entries.length < limits.messagesMax && found.bytes < limits.bytesMax) {
        const wanted = Math.min(READ_AHEAD_ENTRIES, limits.messagesMax - found.entries.length);
        const records = await cursor.next(wanted);
        end = records.length === 0;
        if (!end) this.#read(records, found, limits.bytesMax);
      }
    } finally {
      await cursor.close();
    }
    const { entries, messages } = found;
    const count = entries.length;
    if (messages.includes(undefined)) await this.#findBodies(entries, messages, limits.bytesMax);
    end &&= entries.length === count;
    return { entries, messages: messages as FoundMessage[], end };
  }
  #read(records: readonly StoreEntry[], found: Found, bytesMax: number): void {
    for (let i = 0; i < records.length && found.bytes < bytesMax; i++) {
      const record = records[i];
      const key = record[0];
      const value = record[1];
      if (!isIntact(key, value)) this.#damaged(key);
      const { entry, inline } = readQueueEntry(key, value, value.length - CHECKSUM_BYTES);
      found.entries.push(entry);
      found.messages.push(inline);
      found.bytes += value.length;
    }
  }
  /** Of entries whose messages stand elsewhere; cut where those are too many bytes. */
  async #findBodies(
    entries: QueueEntry[], messages: (FoundMessage | undefined)[], bytesMax: number,
  ): Promise<void> {
    let bytes = 0;
    let at = 0;
    let before = FIRST_BODIES;
    while (at < entries.length && bytes < bytesMax) {
      before = Math.min(before, entries.length);
      const wanted = new Set<number>();
      for (let i = at; i < before; i++) {
        if (messages[i] === undefined) wanted.add(messageNumberOf(entries[i].number));
      }
      const bodies = await readBodies(this.#store, wanted, (detail) => {
        throw corrupt(this.#options.place, [{ kind: 'message-body', promised: true, detail }]);
      });
      for (; at < before; at++) {
        const message = messages[at] ??= bodies.get(messageNumberOf(entries[at].number))!;
        bytes += message.bodyLength + ENTRY_BYTES;
      }
      // Those to come are taken to be as large.
      before += Math.max(1, Math.floor((bytesMax - bytes) * at / bytes));
    }
    entries.length = at;
    messages.length = at;
  }
  #damaged(key: Buffer): never {
    const detail = `${describeKey(key)} is damaged`;
    throw corrupt(this.#options.place, [{ kind: 'record', promised: true, detail }]);
  }

  async check(): Promise<CheckReport> {
    this.#mustBeOpen();
    const view = this.#store.freeze();
    try {
      const damage = await this.#store.damage();
      return await examine(view, new Ledger(this.#options.windowBytes), damage);
    } finally {
      await view.close();
    }
  }
  snapshot(directory: string): Promise<SnapshotReport> {
    this.#mustBeOpen();
    return this.#options.snapshot(this.#store, directory);
  }

  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    await this.#writing;
    await Promise.allSettled(this.#reads);
    await this.#store.close();
    await this.#testify().catch(() => undefined); // it only sharpens the next start
  }

  #mustBeOpen(): void {
    if (this.#state === 'open') return;
    if (this.#state === 'broken') {
      throw new EngineError('NIDO_ENGINE_IO',
        `${this.#options.place}: an earlier write failed and the `
        + 'store has not recovered yet');
    }
    throw new EngineError('NIDO_ENGINE_CLOSED', `${this.#options.place} is not open`);
  }
}

function corrupt(place: string, losses: readonly Loss[]): EngineError {
  const named = losses.slice(0, LOSSES_NAMED).map((loss) => loss.detail).join('; ');
  const more = losses.length > LOSSES_NAMED ? `; and ${losses.length - LOSSES_NAMED} more` : '';
  return new EngineError('NIDO_ENGINE_CORRUPT',
    `${place} has lost what was acknowledged: ${named}${more}. `
    + `'nidomq check --data ${place}' tells everything. Restore a snapshot, or open it with `
    + 'onLoss: \'report\' (--set engine.file.onLoss=report) to go on without what is lost; that '
    + 'does not help where a table has no end, which LevelDB cannot read at all.');
}

