/**
 * Retained messages that changed while too much waited for the disk. Nobody waits for them, so
 * nothing would end their growth: only their Topic Names are kept, and what is retained under them
 * is stored when the disk has caught up.
 */
import type { DurableMessage } from '../core/durable.js';

/** Bytes of names; beyond that a change may be found as it was before by the next process. */
const NAME_BYTES_MAX = 16 * 1024 * 1024;
const NAMES_PER_TURN = 256;

export interface RetainedStore {
  /** What is retained now; undefined = nothing. */
  retainedOf(topicName: Buffer): DurableMessage | undefined;
  write(topicName: Buffer, message: DurableMessage | undefined): void;
  isFull(): boolean;
  /** Calls back when what waits for the disk by now is stored. */
  afterCommit(callback: () => void): void;
  /** A change that will not be stored. */
  forgotten(topicName: Buffer): void;
}

export class RetainedBehind {
  readonly #store: RetainedStore;
  readonly #names = new Set<string>();
  #bytes = 0;

  constructor(store: RetainedStore) {
    this.#store = store;
  }

  /** A change that is to be stored later, or one behind it: of one topic the last one counts. */
  takes(topicName: Buffer): boolean {
    const { isFull, forgotten } = this.#store;
    if (this.#names.size === 0 && !isFull()) return false;
    const name = topicName.toString('latin1');
    if (this.#names.has(name)) return true;
    if (!isFull()) return false;
    if (this.#bytes + name.length > NAME_BYTES_MAX) {
      forgotten(topicName);
      return true;
    }
    if (this.#names.size === 0) this.#store.afterCommit(() => this.#catchUp());
    this.#names.add(name);
    this.#bytes += name.length;
    return true;
  }

  /** The disk has taken what waited: some of this may follow. */
  #catchUp(): void {
    let left = NAMES_PER_TURN;
    for (const name of this.#names) {
      if (left-- === 0 || this.#store.isFull()) break;
      this.#names.delete(name);
      this.#bytes -= name.length;
      const topicName = Buffer.from(name, 'latin1');
      this.#store.write(topicName, this.#store.retainedOf(topicName));
    }
    if (this.#names.size > 0) this.#store.afterCommit(() => this.#catchUp());
  }
}
