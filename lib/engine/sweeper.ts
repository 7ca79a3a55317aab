/**
 * Removes what ended sessions left behind, a slice at a time, so that the end of a large one stops
 * nobody.
 */
import type { EngineBatch } from './batch.js';
import { openValue } from './checksum.js';
import {
  KEY_ENDED, KEY_INBOUND, KEY_QUEUE, KEY_RELEASED, KEY_SUBSCRIPTION, KEY_WILL, numberKey,
  sessionRange,
} from './keys.js';
import type { OrderedStore } from './store.js';

const SLICE_ENTRIES = 512;
const SWEPT_CLASSES = [KEY_QUEUE, KEY_RELEASED, KEY_INBOUND, KEY_SUBSCRIPTION, KEY_WILL];

export interface SweepHost {
  createBatch(): EngineBatch;
  commitSweep(batch: EngineBatch): Promise<void>;
}

export class Sweeper {
  /** Sessions that have ended and may have left something. */
  readonly ended = new Set<number>();
  #running: Promise<void> | undefined;
  #isStopping = false;
  /**
   * A batch whose commit failed. References were dropped when it was written, so it is committed as
   * it is, never anew.
   */
  #unfinished: EngineBatch | undefined;

  constructor(private readonly store: OrderedStore, private readonly host: SweepHost) {}

  /** Does nothing while it is at work. What fails is tried again at the next call. */
  start(): void {
    if (this.#running !== undefined || this.ended.size === 0 || this.#isStopping) return;
    this.#running = this.#run().catch(() => undefined).finally(() => {
      this.#running = undefined;
    });
  }
  /** Stops after the slice under way. */
  async idle(): Promise<void> {
    this.#isStopping = true;
    await this.#running;
    this.#isStopping = false;
  }

  async #run(): Promise<void> {
    if (this.#unfinished !== undefined) await this.#commit(this.#unfinished);
    const batch = this.host.createBatch();
    for (const sessionId of this.ended) {
      for (const keyClass of SWEPT_CLASSES) {
        if (!await this.#sweepClass(batch, sessionId, keyClass)) return;
      }
      batch.reset();
      batch.deleteKey(numberKey(KEY_ENDED, sessionId));
      await this.#commit(batch);
      this.ended.delete(sessionId);
    }
  }
  async #commit(batch: EngineBatch): Promise<void> {
    this.#unfinished = batch;
    await this.host.commitSweep(batch);
    this.#unfinished = undefined;
  }
  async #sweepClass(batch: EngineBatch, sessionId: number, keyClass: number): Promise<boolean> {
    const cursor = this.store.scan(sessionRange(keyClass, sessionId));
    try {
      for (;;) {
        if (this.#isStopping) return false;
        const entries = await cursor.next(SLICE_ENTRIES);
        if (entries.length === 0) return true;
        batch.reset();
        for (const [key, value] of entries) {
          if (keyClass === KEY_QUEUE) batch.sweepQueueEntry(key, openValue(key, value));
          else batch.deleteKey(key);
        }
        await this.#commit(batch);
      }
    } finally {
      await cursor.close();
    }
  }
}
