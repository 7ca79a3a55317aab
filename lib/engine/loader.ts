/** Reads a store at start and tells a visitor, in the order that engine.ts promises. */
import type { BodyReferences } from './batch.js';
import { CHECKSUM_BYTES, isIntact, openValue } from './checksum.js';
import type { LoadLimits, LoadReport, LoadVisitor, Loss, FoundMessage } from './engine.js';
import { messageNumberOf } from './engine.js';
import {
  KEY_ENDED, KEY_INBOUND, KEY_MESSAGE, KEY_QUEUE, KEY_RELEASED, KEY_RETAINED, KEY_SESSION,
  KEY_SUBSCRIPTION, KEY_WILL, classRange, describeKey, numberKey, readNumber, readUint16,
} from './keys.js';
import {
  readMessage, readQueueEntry, readSession, readSubscription, readWill, referenceOf,
} from './records.js';
import type { OrderedStore, StoreEntry } from './store.js';
import { chunksOf, scanAll } from './store.js';

const QUEUE_BYTES_MAX = 64 * 1024 * 1024;
const QUEUE_MESSAGES_PER_SESSION_MAX = 10_000;
/** What an entry costs in memory beside its message. */
const ENTRY_OVERHEAD_BYTES = 64;
/** Losses that are described one by one; more are only counted. */
const LOSSES_MAX = 1_000;

interface QueueTally {
  readonly sessionId: number;
  told: number;
  spilledHead: number;
  tail: number;
  spilled: number;
}

export interface LoaderParts {
  readonly store: OrderedStore;
  readonly references: BodyReferences;
  /** Sessions whose remains are to be swept. */
  readonly ended: Set<number>;
  readonly losses: Loss[];
}

export class Loader {
  /** In the order of the store, which is that of everything below them. */
  #sessions: number[] = [];
  /** Where in `#sessions` the scan under way stands. */
  #at = 0;
  #told = new Set<number>();
  #queueBytes = 0;
  #queue: QueueTally | undefined;
  #counts = { subscriptions: 0, retainedMessages: 0, queuedMessages: 0, spilledMessages: 0 };
  readonly #bytesMax: number;
  readonly #perSessionMax: number;

  constructor(
    private readonly parts: LoaderParts, private readonly visitor: LoadVisitor, limits: LoadLimits,
  ) {
    this.#bytesMax = limits.queueBytesMax ?? QUEUE_BYTES_MAX;
    this.#perSessionMax = limits.queueMessagesPerSessionMax ?? QUEUE_MESSAGES_PER_SESSION_MAX;
  }

  async run(): Promise<LoadReport> {
    const begun = performance.now();
    await this.#sessionsAndTheirs();
    await this.#scanIntact(KEY_RETAINED, (_key, value) => {
      this.#counts.retainedMessages++;
      const end = value.length - CHECKSUM_BYTES;
      this.visitor.retained(readMessage(readNumber(value, 0), value, 8, end));
    });
    await this.#queues();
    return {
      sessions: this.#sessions.length, ...this.#counts,
      milliseconds: performance.now() - begun, losses: this.parts.losses,
    };
  }

  async #sessionsAndTheirs(): Promise<void> {
    const { visitor } = this;
    await this.#scan(KEY_ENDED, (key) => {
      this.parts.ended.add(readNumber(key, 1));
    });
    // There are very many of these two, as of retained messages: read where they stand.
    await this.#scanIntact(KEY_SESSION, (key, value) => {
      const record = readSession(key, value, value.length - CHECKSUM_BYTES);
      this.#sessions.push(record.sessionId);
      visitor.session(record);
    });
    await this.#scanIntact(KEY_SUBSCRIPTION, (key, value) => {
      if (!this.#isKnown(key)) return;
      this.#counts.subscriptions++;
      visitor.subscription(readSubscription(key, value));
    });
    await this.#scan(KEY_WILL, (key, body) => {
      if (this.#isKnown(key)) visitor.will(readWill(key, body));
    });
    await this.#scan(KEY_INBOUND, (key) => {
      if (this.#isKnown(key)) visitor.inbound(readNumber(key, 1), readUint16(key, 9));
    });
    await this.#scan(KEY_RELEASED, (key, body) => {
      if (!this.#isKnown(key)) return;
      visitor.released(readNumber(key, 1), readNumber(key, 9), readUint16(body, 0));
    });
  }

  /** What belongs to a session that does not exist any more is swept, never told. */
  #isKnown(key: Buffer): boolean {
    const sessionId = readNumber(key, 1);
    const sessions = this.#sessions;
    while (sessions[this.#at] < sessionId) this.#at++;
    if (sessions[this.#at] === sessionId) return true;
    this.parts.ended.add(sessionId);
    return false;
  }
  async #scan(keyClass: number, visit: (key: Buffer, body: Buffer) => void): Promise<void> {
    await this.#scanIntact(keyClass, (key, value) => {
      visit(key, value.subarray(0, value.length - CHECKSUM_BYTES));
    });
  }
  /** As `#scan`; values still end with their checksum. */
  async #scanIntact(keyClass: number, visit: (key: Buffer, value: Buffer) => void): Promise<void> {
    this.#at = 0;
    await scanAll(this.parts.store, classRange(keyClass), (key, value) => {
      if (isIntact(key, value)) visit(key, value);
      else this.#lost('record', `${describeKey(key)} is damaged`);
    });
  }
  #lost(kind: Loss['kind'], detail: string): void {
    const { losses } = this.parts;
    if (losses.length < LOSSES_MAX) losses.push({ kind, promised: true, detail });
  }

  /**
   * One pass over all queue entries: shared bodies are counted, and as much is told as memory is
   * given for.
   */
  async #queues(): Promise<void> {
    this.#at = 0;
    for await (const entries of chunksOf(this.parts.store.scan(classRange(KEY_QUEUE)))) {
      await this.#queueChunk(entries);
    }
    this.#endQueue();
  }
  async #queueChunk(entries: readonly StoreEntry[]): Promise<void> {
    const opened: { key: Buffer; body: Buffer }[] = [];
    for (const entry of entries) {
      const key = entry[0];
      const value = entry[1];
      const body = openValue(key, value);
      if (body === undefined) {
        this.#lost('record', `${describeKey(key)} is damaged`);
        continue;
      }
      const reference = referenceOf(key, body);
      if (reference !== 0) this.parts.references.add(reference, 1);
      if (this.#isKnown(key)) opened.push({ key, body });
    }
    const bodies = await this.#bodiesOf(opened);
    for (const { key, body } of opened) this.#queueEntry(key, body, bodies);
  }
  async #bodiesOf(
    opened: readonly { key: Buffer; body: Buffer }[],
  ): Promise<Map<number, FoundMessage>> {
    const bodies = new Map<number, FoundMessage>();
    if (this.#queueBytes >= this.#bytesMax) return bodies;
    const wanted = new Set<number>();
    for (const { key, body } of opened) {
      const reference = referenceOf(key, body);
      if (reference !== 0 && !this.#told.has(reference)) wanted.add(reference);
    }
    return readBodies(this.parts.store, wanted, (detail) => this.#lost('message-body', detail));
  }

  #queueEntry(key: Buffer, body: Buffer, bodies: ReadonlyMap<number, FoundMessage>): void {
    const { entry, inline } = readQueueEntry(key, body, body.length);
    const queue = this.#queueOf(entry.sessionId);
    queue.tail = entry.number;
    const isFull = queue.spilled > 0 || queue.told >= this.#perSessionMax
      || this.#queueBytes >= this.#bytesMax;
    if (isFull) {
      if (queue.spilled++ === 0) queue.spilledHead = entry.number;
      this.#counts.spilledMessages++;
      return;
    }
    const messageNumber = messageNumberOf(entry.number);
    const message = inline ?? bodies.get(messageNumber);
    if (!this.#told.has(messageNumber)) {
      if (message === undefined) return; // reported as a loss when it was looked for
      this.#told.add(messageNumber);
      this.#queueBytes += message.bodyLength;
      this.visitor.message(message);
    }
    this.#queueBytes += ENTRY_OVERHEAD_BYTES;
    queue.told++;
    this.#counts.queuedMessages++;
    this.visitor.queueEntry(entry);
  }
  #queueOf(sessionId: number): QueueTally {
    if (this.#queue?.sessionId === sessionId) return this.#queue;
    this.#endQueue();
    this.#queue = { sessionId, told: 0, spilledHead: 0, tail: 0, spilled: 0 };
    return this.#queue;
  }
  #endQueue(): void {
    const queue = this.#queue;
    if (queue === undefined || queue.spilled === 0) return;
    const part = { head: queue.spilledHead, tail: queue.tail, messages: queue.spilled };
    this.visitor.spilled(queue.sessionId, part);
  }
}

/** Bodies that several queue entries refer to. What is missing or damaged is told and left out. */
export async function readBodies(
  store: OrderedStore, numbers: ReadonlySet<number>, lost: (detail: string) => void,
): Promise<Map<number, FoundMessage>> {
  const bodies = new Map<number, FoundMessage>();
  if (numbers.size === 0) return bodies;
  const keys = [...numbers].map((number) => numberKey(KEY_MESSAGE, number));
  const values = await store.getMany(keys);
  for (let i = 0; i < keys.length; i++) {
    const value = values[i];
    const body = value === undefined ? undefined : openValue(keys[i], value);
    if (body === undefined) {
      lost(`${describeKey(keys[i])} is ${value === undefined ? 'missing' : 'damaged'}`);
      continue;
    }
    const number = readNumber(keys[i], 1);
    bodies.set(number, readMessage(number, body, 0, body.length));
  }
  return bodies;
}
