/**
 * What ended sessions left behind, a slice at a time, so that the end of a large one stops nobody.
 *
 * It is read here and deleted in the stream of everything else (group-commit.ts): whether a body
 * has other entries is known in the order in which batches are written, and a deletion that
 * overtook one of them would take the body from an entry that is still there.
 */
import type { EngineBatch } from './batch.js';
import { openValue } from './checksum.js';
import {
  KEY_ENDED, KEY_INBOUND, KEY_QUEUE, KEY_RELEASED, KEY_SUBSCRIPTION, KEY_WILL, numberKey,
  sessionRange,
} from './keys.js';
import type { OrderedStore, StoreEntry } from './store.js';

/** Entries and sessions of one slice. */
const SLICE_MAX = 512;
const SWEPT_CLASSES = [KEY_QUEUE, KEY_RELEASED, KEY_INBOUND, KEY_SUBSCRIPTION, KEY_WILL];

/** Where the next slice begins. */
interface Place {
  readonly sessionId: number;
  /** Of SWEPT_CLASSES. */
  readonly classAt: number;
  /** The last key that was taken: what stood before it is never read again. */
  readonly after: Buffer | undefined;
}

/** A slice that was read. */
export interface Remains {
  /** Deletes it, in a batch that is committed after every other one written so far. */
  writeTo(batch: EngineBatch): void;
}

export class Sweeper {
  /** Sessions that have ended and may have left something. */
  readonly ended = new Set<number>();
  #place: Place | undefined;

  constructor(private readonly store: OrderedStore) {}

  /** undefined: nothing is left. Not again before what was answered has been written. */
  async read(): Promise<Remains | undefined> {
    const entries: StoreEntry[] = [];
    const done: number[] = [];
    let place = this.#place;
    for (const sessionId of this.ended) {
      place = await this.#readSession(place?.sessionId === sessionId ? place : {
        sessionId, classAt: 0, after: undefined,
      }, entries, SLICE_MAX - done.length);
      if (place !== undefined) break;
      done.push(sessionId);
      if (entries.length + done.length >= SLICE_MAX) break;
    }
    if (entries.length + done.length === 0) return undefined;
    return {
      writeTo: (batch) => {
        for (const [key, value] of entries) {
          if (key[0] === KEY_QUEUE) batch.sweepQueueEntry(key, openValue(key, value));
          else batch.deleteKey(key);
        }
        for (const sessionId of done) {
          batch.deleteKey(numberKey(KEY_ENDED, sessionId));
          this.ended.delete(sessionId);
        }
        this.#place = place;
      },
    };
  }

  /** Where it stopped because there are enough; undefined at the end of the session. */
  async #readSession(
    from: Place, entries: StoreEntry[], entriesMax: number,
  ): Promise<Place | undefined> {
    let { after } = from;
    for (let { classAt } = from; classAt < SWEPT_CLASSES.length; classAt++) {
      const range = sessionRange(SWEPT_CLASSES[classAt], from.sessionId);
      const start = after === undefined ? range.from : Buffer.concat([after, Buffer.alloc(1)]);
      const cursor = this.store.scan({ from: start, before: range.before });
      try {
        while (entries.length < entriesMax) {
          const found = await cursor.next(entriesMax - entries.length);
          if (found.length === 0) break;
          entries.push(...found);
          after = found[found.length - 1][0];
        }
      } finally {
        await cursor.close();
      }
      if (entries.length >= entriesMax) return { sessionId: from.sessionId, classAt, after };
      after = undefined;
    }
    return undefined;
  }
}
