/**
 * Group commit: one batch is being written, everything that arrives meanwhile joins the next. A
 * slow disk therefore costs latency, not throughput, and nobody gets a promise per message: whoever
 * waits leaves a token, and all tokens of a batch are told at once.
 *
 * A batch that cannot be written is tried again, never dropped and never reordered. Until it is
 * written nothing behind it is acknowledged: publishers feel backpressure, `isFull` says when even
 * that is not enough. A failing disk is a state, not the end of the process.
 */
import type { EngineBatch } from './batch.js';
import type { Durability, Engine, EngineState } from './engine.js';
import { EngineError } from './errors.js';

export interface GroupCommitOptions {
  /** A batch that has grown beyond this takes no further unit; 512 KiB when left out. */
  readonly batchBytesMax?: number;
  /** Bytes that wait for the disk beyond which `isFull` answers true; 64 MiB when left out. */
  readonly pendingBytesMax?: number;
  /**
   * First pause before a failed batch is tried again, doubled up to `retryMsMax`; 100 ms and 5 s
   * when left out.
   */
  readonly retryMs?: number;
  readonly retryMsMax?: number;
  /** A write that takes longer than this is reported as a stall; 10 s when left out. */
  readonly stallMs?: number;
}
export interface GroupCommitEvents {
  /** These are durable. In the order in which they were left. */
  committed(tokens: readonly number[]): void;
  state(state: EngineState, error?: EngineError): void;
  /** A callback of ours threw: a bug of whoever gave it. Commits go on. */
  fault(error: unknown): void;
}
export interface GroupCommitStats {
  readonly batches: number;
  readonly operations: number;
  readonly bytes: number;
  readonly retries: number;
  readonly pendingBytes: number;
}

interface Unit {
  readonly batch: EngineBatch;
  tokens: number[];
  callbacks: (() => void)[];
}
const MIB = 1024 * 1024;
/** Batches that are kept for use again. */
const SPARE_MAX = 4;

export class GroupCommit {
  #engine: Engine;
  #events: GroupCommitEvents;
  #options: Required<GroupCommitOptions>;
  #current: Unit;
  #sealed: Unit[] = [];
  #spare: Unit[] = [];
  #sealedBytes = 0;
  #flightBytes = 0;
  #state: EngineState = 'ok';
  #isScheduled = false;
  #isRunning = false;
  #sweeping: 'no' | 'yes' | 'given-up' = 'no';
  #isClosing = false;
  #stop: EngineError | undefined;
  #wake: (() => void) | undefined;
  #counts = { batches: 0, operations: 0, bytes: 0, retries: 0 };

  constructor(engine: Engine, events: GroupCommitEvents, options: GroupCommitOptions = {}) {
    this.#engine = engine;
    this.#events = events;
    this.#options = {
      batchBytesMax: options.batchBytesMax ?? MIB / 2,
      pendingBytesMax: options.pendingBytesMax ?? 64 * MIB,
      retryMs: options.retryMs ?? 100,
      retryMsMax: options.retryMsMax ?? 5_000,
      stallMs: options.stallMs ?? 10_000,
    };
    this.#current = this.#newUnit();
  }

  get state(): EngineState {
    return this.#state;
  }
  get pendingBytes(): number {
    return this.#sealedBytes + this.#flightBytes + this.#current.batch.bytes;
  }
  /** Publishes should be refused (Quota exceeded): the disk is too far behind. */
  get isFull(): boolean {
    return this.#state === 'failed' || this.pendingBytes > this.#options.pendingBytesMax;
  }
  get stats(): GroupCommitStats {
    return { ...this.#counts, pendingBytes: this.pendingBytes };
  }

  /**
   * The batch to write one atomic unit into, at once and without waiting in between: all of it is
   * committed together, not before this turn of the event loop has ended. `memory` stands for no
   * demand of its own.
   */
  unit(durability: Durability = this.#engine.durability): EngineBatch {
    if (this.#current.batch.bytes >= this.#options.batchBytesMax) this.#seal();
    if (durability === 'disk') this.#current.batch.require('disk');
    this.#schedule();
    return this.#current.batch;
  }
  /**
   * `committed` tells this token once the unit that was just written, and everything before it, is
   * durable.
   */
  wait(token: number): void {
    this.#current.tokens.push(token);
    this.#schedule();
  }
  /**
   * For the control plane, which has few things to wait for: calls back once everything up to here
   * is durable.
   */
  after(callback: () => void): void {
    this.#current.callbacks.push(callback);
    this.#schedule();
  }
  settled(): Promise<void> {
    return new Promise((resolve) => this.after(resolve));
  }
  /** Begins to delete what ended sessions left behind; every commit of ours does that too. */
  sweep(): void {
    if (this.#sweeping !== 'no' || this.#isClosing || !this.#engine.hasRemains) return;
    this.#sweeping = 'yes';
    void this.#sweepOn().then(() => {
      this.#sweeping = 'no';
      this.sweep(); // a session may have ended after the last look
    }, (error: unknown) => this.#cannotSweep(asEngineError(error)));
  }
  /** While the store is opened anew nothing can be read: it is tried after the next commit. */
  #cannotSweep(error: EngineError): void {
    this.#sweeping = isFinal(error) ? 'given-up' : 'no';
    if (isFinal(error) && !this.#isClosing) this.#events.fault(error);
  }
  async #sweepOn(): Promise<void> {
    for (;;) {
      const remains = await this.#engine.readRemains();
      if (remains === undefined || this.#isClosing) return;
      remains.writeTo(this.unit('memory'));
      await this.settled();
    }
  }

  /**
   * Commits what is there, then stops. Rejects when the disk does not take it within `deadlineMs`:
   * what was not acknowledged until then is lost, as it may be.
   */
  async close(options: { readonly deadlineMs: number }): Promise<void> {
    this.#isClosing = true;
    const unwritten = () => new EngineError('NIDO_ENGINE_IO',
      `The disk did not take the last ${this.pendingBytes} bytes within ${options.deadlineMs} ms; `
      + 'nothing of them was acknowledged');
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.#stop = unwritten();
        this.#wake?.();
        reject(this.#stop);
      }, options.deadlineMs);
    });
    try {
      await Promise.race([this.settled(), deadline]);
    } finally {
      clearTimeout(timer);
    }
  }

  #newUnit(): Unit {
    return this.#spare.pop() ?? { batch: this.#engine.createBatch(), tokens: [], callbacks: [] };
  }
  #seal(): void {
    this.#sealed.push(this.#current);
    this.#sealedBytes += this.#current.batch.bytes;
    this.#current = this.#newUnit();
  }
  #schedule(): void {
    if (this.#isScheduled || this.#isRunning) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      void this.#run();
    });
  }
  #take(): Unit | undefined {
    const sealed = this.#sealed.shift();
    if (sealed !== undefined) {
      this.#sealedBytes -= sealed.batch.bytes;
      return sealed;
    }
    const unit = this.#current;
    if (unit.batch.operations + unit.tokens.length + unit.callbacks.length === 0) return undefined;
    this.#current = this.#newUnit();
    return unit;
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let unit = this.#take(); unit !== undefined; unit = this.#take()) {
      this.#flightBytes = unit.batch.bytes;
      // Failed for good: it stays running, so that nothing else starts.
      if (!await this.#write(unit.batch)) return;
      this.#flightBytes = 0;
      this.#tell(unit);
    }
    this.#isRunning = false;
  }

  /** False when it will never be written. */
  async #write(batch: EngineBatch): Promise<boolean> {
    if (batch.operations === 0) return true;
    let pause = this.#options.retryMs;
    for (;;) {
      if (this.#stop !== undefined) return false;
      const failure = await this.#attempt(batch);
      if (failure === undefined) break;
      this.#counts.retries++;
      if (isFinal(failure)) {
        this.#become('failed', failure);
        return false;
      }
      this.#become('stalled', failure);
      await this.#pause(pause);
      pause = Math.min(pause * 2, this.#options.retryMsMax);
    }
    this.#counts.batches++;
    this.#counts.operations += batch.operations;
    this.#counts.bytes += batch.bytes;
    this.#become('ok');
    return true;
  }
  async #attempt(batch: EngineBatch): Promise<EngineError | undefined> {
    const watchdog = setTimeout(() => {
      this.#become('stalled', new EngineError('NIDO_ENGINE_IO',
        `A write has been under way for ${this.#options.stallMs} ms: the disk hangs`));
    }, this.#options.stallMs);
    watchdog.unref();
    try {
      await this.#engine.recover();
      await this.#engine.commit(batch);
      return undefined;
    } catch (error) {
      return asEngineError(error);
    } finally {
      clearTimeout(watchdog);
    }
  }
  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
  #become(state: EngineState, error?: EngineError): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#guard(() => this.#events.state(state, error));
  }

  #tell(unit: Unit): void {
    const { tokens, callbacks } = unit;
    unit.batch.reset();
    unit.tokens = [];
    unit.callbacks = [];
    if (this.#spare.length < SPARE_MAX) this.#spare.push(unit);
    if (tokens.length > 0) this.#guard(() => this.#events.committed(tokens));
    for (const callback of callbacks) this.#guard(callback);
    this.sweep();
  }
  #guard(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#events.fault(error);
    }
  }
}

function isFinal(error: EngineError): boolean {
  return error.code !== 'NIDO_ENGINE_IO' && error.code !== 'NIDO_ENGINE_LOCKED';
}
function asEngineError(error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  return new EngineError('NIDO_ENGINE_IO', `The engine failed: ${String(error)}`, { cause: error });
}
