/**
 * The host side of the core: feeds it bytes and time, turns its event rows into calls, and hands
 * its slabs to the transports.
 *
 * Re-entrancy. Rows point into memory that the next chunk overwrites, so while rows are being read
 * (`drain`) no chunk is fed: what arrives then waits in `deferred`. A handler that publishes while
 * rows are read appends rows behind those being read; the outermost `drain` reads them too. A trap
 * inside the core is our bug: the instance is never called again (`broken`).
 */
import {
  COUNTERS, FLUSH_WORDS, INGEST_LATER, INGEST_STOPPED, ROW_WORDS,
} from '../../assembly/shared/abi.js';
import type { Transport } from '../listener/transport.js';
import type { ConnectionHandle, CoreEvents, CoreOptions, Pace } from './contract.js';
import { viewOf } from './views.js';
import { DurableSide } from './durable.js';
import type { DurableEvents } from './durable.js';
import { CoreError } from './errors.js';
import { guardExports } from './guarded.js';
import { instantiate } from './instance.js';
import type { CoreExports } from './instance.js';
import { applyLimits } from './limits.js';
import { Port, PORT_CLOSED, PORT_ENDED, PORT_ENDING, PORT_OPEN } from './port.js';
import type { PortOwner } from './port.js';
import { RowReader } from './rows.js';

const SLOT_MASK = 0xfffff;
const WINDOW_BYTES = 262_144;
const END_DEADLINE_MS = 5000;
/** Flush rows of one round; as in assembly/abi/bytes.ts. */
const FLUSH_ROWS = 256;
/** Rounds of one flush: a receiver that drains as fast as it is filled must not keep the loop. */
const FLUSH_ROUNDS_MAX = 32;
/** Time of one flush: a message for very many receivers must not keep the loop either. */
const FLUSH_MS_MAX = 8;
/** Event rows that are read before their places are used again. */
const ROWS_READ_MAX = 4096;
/** Event rows that are read between two looks at the clock. */
const ROWS_PER_CLOCK = 256;

/** Monotonic milliseconds. */
export type Now = () => number;

export interface CoreHost {
  /** Defaults to `performance.now`. */
  readonly now?: Now;
  /** Runs `fn` once the current turn has done its work. Defaults to `setImmediate`. */
  readonly defer?: (fn: () => void) => void;
  /** Runs `fn` after so many milliseconds. Defaults to an unreferenced `setTimeout`. */
  readonly later?: (fn: () => void, delayMs: number) => unknown;
  /** Called once when the core has trapped: nothing works any more, every connection is closed. */
  readonly broken?: (error: unknown) => void;
  /** A method of CoreEvents threw. Defaults to a warning of the process. */
  readonly listenerFailed?: (error: unknown) => void;
}

export abstract class CoreRuntime implements PortOwner {
  protected readonly x: CoreExports;
  protected readonly heap: Buffer;
  private readonly memory: ArrayBufferLike;
  protected readonly counters: Float64Array;
  private readonly flushRows: Uint32Array;
  protected readonly rows: RowReader;
  protected readonly ports: (Port | undefined)[] = [];
  private readonly rxWindow: number;
  protected readonly now: Now;
  private readonly deferTurn: (fn: () => void) => void;
  private readonly later: (fn: () => void, delayMs: number) => unknown;
  private readonly pieceBytes: number;
  private readonly runFlush = () => this.flushTurn();
  private ending: Port[] = [];
  private deferred: (() => void)[] = [];
  protected flushScheduled = false;
  private draining = false;
  /** The last look at the clock of this turn. */
  private lookedAt = 0;
  protected failure: unknown;

  constructor(
    protected readonly options: CoreOptions,
    private readonly events: CoreEvents,
    private readonly host: CoreHost = {},
  ) {
    this.now = host.now ?? (() => performance.now());
    this.deferTurn = host.defer ?? ((fn) => void setImmediate(fn));
    this.later = host.later ?? ((fn, delayMs) => setTimeout(fn, delayMs).unref());
    this.pieceBytes = Math.min(options.pieceBytesMax ?? WINDOW_BYTES, WINDOW_BYTES);
    const exports = instantiate({
      memoryBytes: options.memoryBytes,
      hashSeed: options.hashSeed,
      connectionsMax: options.connectionsMax ?? 131_072,
      sessionsMax: options.sessionsMax ?? 262_144,
    });
    this.x = guardExports(exports, (error) => this.trap(error));
    applyLimits(this.x, options);
    const memory = this.x.memory.buffer;
    this.memory = memory;
    this.heap = Buffer.from(memory);
    this.counters = new Float64Array(memory, this.x.countersAt(), COUNTERS);
    this.flushRows = new Uint32Array(memory, this.x.flushAt(), FLUSH_ROWS * FLUSH_WORDS);
    this.rxWindow = this.x.rxWindowAt() >>> 0;
    const rowWords = new Uint32Array(memory, this.x.rowsAt(), 16_384 * ROW_WORDS);
    this.rows = new RowReader(this.x, this.heap, rowWords, events, this);
  }

  /**
   * From here on what durable sessions get is stored first (see durable.ts). Before anything else.
   */
  closeGate(events: DurableEvents): DurableSide {
    const words = new Uint32Array(this.x.memory.buffer, this.x.rowsAt(), 16_384 * ROW_WORDS);
    const host = { now: () => this.now(), afterwards: () => this.afterwards() };
    this.rows.durable = new DurableSide(this.x, this.heap, words, events, host);
    return this.rows.durable;
  }

  // --- transports ------------------------------------------------------------------------------

  protected bind(
    transport: Transport, handle: ConnectionHandle, pace?: Pace,
  ): ConnectionHandle {
    if (handle === 0) {
      throw new CoreError('NIDO_CORE_CONNECTIONS', 'no memory or no slot for another connection');
    }
    const port = new Port(this, handle, transport);
    this.ports[handle & SLOT_MASK] = port;
    port.pace = pace;
    transport.open(port);
    return handle;
  }

  protected portOf(handle: ConnectionHandle): Port | undefined {
    const port = this.ports[handle & SLOT_MASK];
    return port !== undefined && port.handle === handle ? port : undefined;
  }

  transportOf(handle: ConnectionHandle): Transport | undefined {
    return this.portOf(handle)?.transport;
  }

  portData(port: Port, chunk: Uint8Array): void {
    if (this.draining) {
      const kept = Uint8Array.prototype.slice.call(chunk);
      this.deferred.push(() => this.feed(port, kept));
      return;
    }
    this.feed(port, chunk);
  }

  /** PAUSE_OFF: what a publisher sent before it was paused is read now. */
  private readOn(port: Port): void {
    if (port.held || port.parked || port.state !== PORT_OPEN || this.failure !== undefined) return;
    this.rows.arrived(0, 0); // what was carried stands elsewhere
    this.follow(port, this.x.ingestCarry(port.handle, this.now()));
    const { late } = port;
    port.late = undefined;
    if (late !== undefined) for (const chunk of late) this.feed(port, chunk);
    port.resumeReading();
    this.afterwards();
  }

  private feed(port: Port, chunk: Uint8Array): void {
    if (this.failure !== undefined) return;
    const { pieceBytes } = this;
    for (let at = 0; at < chunk.length && port.state === PORT_OPEN; at += pieceBytes) {
      const piece = chunk.length > pieceBytes ? chunk.subarray(at, at + pieceBytes) : chunk;
      if (port.held || port.behind) {
        (port.late ??= []).push(Uint8Array.prototype.slice.call(piece));
        continue;
      }
      this.heap.set(piece, this.rxWindow);
      this.rows.arrived(this.rxWindow, piece.length);
      this.follow(port, this.x.ingest(port.handle, piece.length, this.now()));
    }
    if (port.pace !== undefined) this.keepPace(port, port.pace, chunk.length);
    this.afterwards();
  }

  /** Who publishes faster than it may is read later: nothing is dropped, nobody else waits. */
  private keepPace(port: Port, pace: Pace, bytes: number): void {
    if (port.state !== PORT_OPEN || this.failure !== undefined) return;
    const publishes = this.x.publishesReceived(port.handle);
    const messages = publishes - port.publishes;
    port.publishes = publishes;
    if (messages === 0) return;
    const delayMs = pace.take({ messages, bytes }, this.now());
    if (delayMs > 0) this.slow(port, delayMs);
  }

  slowDown(connection: ConnectionHandle, delayMs: number): void {
    const port = this.portOf(connection);
    if (port !== undefined) this.slow(port, delayMs);
  }
  private slow(port: Port, delayMs: number): void {
    if (port.slowed) return;
    port.slowed = true;
    port.pauseReading();
    this.later(() => {
      port.slowed = false;
      port.resumeReading();
    }, delayMs);
  }

  /**
   * Reads rows and goes on until the core has read the chunk, or waits for an answer that is not
   * there.
   */
  private follow(port: Port, first: number): void {
    let status = first;
    for (;;) {
      this.drain();
      if (status === INGEST_LATER) this.readLater(port);
      if (status !== INGEST_STOPPED || port.state === PORT_CLOSED) return;
      if (this.x.isWaiting(port.handle)) {
        this.x.park();
        port.parked = true;
        port.pauseReading();
        return;
      }
      status = this.x.resume(this.now());
    }
  }

  private readLater(port: Port): void {
    port.behind = true;
    port.parked = true;
    port.pauseReading();
    this.deferTurn(() => this.unpark(port));
  }

  /** An answer has come. Within the events of a chunk `follow` goes on by itself. */
  protected answered(handle: ConnectionHandle): void {
    this.x.clearWaiting(handle);
    const port = this.portOf(handle);
    if (port === undefined || !port.parked) {
      this.afterwards();
      return;
    }
    if (this.draining) this.deferred.push(() => this.unpark(port));
    else this.unpark(port);
  }

  private unpark(port: Port): void {
    if (!port.parked || port.state === PORT_CLOSED) return;
    port.parked = false;
    port.behind = false;
    this.readOn(port);
    this.afterwards();
  }

  portClosed(port: Port, error?: Error): void {
    if (this.draining) {
      this.deferred.push(() => this.portClosed(port, error));
      return;
    }
    if (port.state === PORT_CLOSED) return;
    port.state = PORT_CLOSED;
    this.x.dropConnection(port.handle, this.now());
    this.drain();
    if (this.ports[port.handle & SLOT_MASK] === port) {
      this.ports[port.handle & SLOT_MASK] = undefined;
    }
    this.events.closed(port.handle, error);
    this.afterwards();
  }

  portWritten(port: Port, chunk: number): void {
    if (this.failure !== undefined) return;
    this.x.written(port.handle, chunk, this.now());
    this.afterwards();
  }

  // --- rows ------------------------------------------------------------------------------------

  private drain(): void {
    if (this.draining) return;
    let count = this.x.rows();
    if (count === 0) return;
    this.draining = true;
    const { rows } = this;
    do {
      rows.next = 0;
      for (; rows.next < count; count = this.x.rows()) {
        this.lookedAt = this.now();
        this.tellUntil(Math.min(count, rows.next + ROWS_PER_CLOCK));
        // Who hears of a row may cause more of them: those that were read make room.
        if (rows.next >= ROWS_READ_MAX) {
          this.x.releaseFirstRows(rows.next);
          rows.next = 0;
        }
      }
      count = this.x.releaseRows();
    } while (count !== 0);
    this.draining = false;
  }

  /** The time, for what may be as old as this turn: one look at the clock serves many calls. */
  protected turnTime(): number {
    if (!this.draining && !this.flushScheduled) this.lookedAt = this.now();
    return this.lookedAt;
  }

  /** A listener that throws is a bug outside the core: the rows behind it are read all the same. */
  private tellUntil(end: number): void {
    try {
      this.rows.tellUntil(end);
    } catch (error) {
      if (this.host.listenerFailed !== undefined) this.host.listenerFailed(error);
      else process.emitWarning(error instanceof Error ? error : String(error));
    }
  }

  /**
   * What every call from outside ends with: rows are read, deferred work is done, a flush is
   * planned.
   */
  protected afterwards(): void {
    if (this.draining) return;
    this.drain();
    while (this.deferred.length !== 0) {
      const work = this.deferred;
      this.deferred = [];
      for (const fn of work) fn();
    }
    if (!this.flushScheduled && (this.x.needsFlush() || this.ending.length !== 0)) {
      this.scheduleFlush();
    }
  }

  /** ROW_PAUSE: too many bytes of this publisher are held, or no longer. */
  setHeld(handle: ConnectionHandle, held: 'held' | 'free'): void {
    const port = this.portOf(handle);
    if (port === undefined) return;
    port.held = held === 'held';
    if (port.held) port.pauseReading();
    else this.deferred.push(() => this.readOn(port)); // rows are told while they are drained
  }

  // --- flush -----------------------------------------------------------------------------------

  protected scheduleFlush(): void {
    this.flushScheduled = true;
    if (!this.draining) this.lookedAt = this.now();
    this.deferTurn(this.runFlush);
  }

  private flushTurn(): void {
    this.flushScheduled = false;
    if (this.failure !== undefined) return;
    const now = this.now();
    const more = this.x.advance(now) !== 0;
    this.drain();
    let rounds = 0;
    let isCut = false;
    for (let rows = this.x.flush(); rows !== 0; rows = this.x.flush()) {
      for (let row = 0; row < rows; row++) this.writeRow(row * FLUSH_WORDS, now);
      isCut = ++rounds === FLUSH_ROUNDS_MAX ||
        (rows === FLUSH_ROWS && this.now() - now >= FLUSH_MS_MAX);
      if (isCut) break;
    }
    this.endPorts();
    this.afterwards();
    if (!this.flushScheduled && (more || isCut)) this.scheduleFlush();
  }

  private writeRow(word: number, now: number): void {
    const rows = this.flushRows;
    const handle = rows[word];
    const at = rows[word + 1];
    const chunk = rows[word + 3];
    const port = this.ports[handle & SLOT_MASK];
    if (port === undefined || port.handle !== handle || port.state >= PORT_ENDED) return;
    if (port.transport.write(viewOf(this.memory, at, rows[word + 2]), port.done)) {
      this.x.written(handle, chunk, now);
    } else {
      port.stillReads(chunk);
    }
  }

  private endPorts(): void {
    if (this.ending.length === 0) return;
    const ports = this.ending;
    this.ending = [];
    for (const port of ports) {
      if (port.state !== PORT_ENDING) continue;
      if (this.x.hasUnflushed(port.handle)) { // the flush was cut before its turn
        this.ending.push(port);
        continue;
      }
      port.state = PORT_ENDED;
      port.transport.end(END_DEADLINE_MS);
    }
  }

  closeAfterFlush(connection: ConnectionHandle): void {
    const port = this.portOf(connection);
    if (port === undefined || port.state !== PORT_OPEN) return;
    port.state = PORT_ENDING;
    this.x.closeForReading(connection);
    this.ending.push(port);
    this.afterwards();
  }

  destroy(connection: ConnectionHandle): void {
    const port = this.portOf(connection);
    if (port === undefined || port.state === PORT_CLOSED) return;
    this.x.closeForReading(connection);
    port.transport.destroy();
  }

  /**
   * The core has trapped: it is never called again. Its connections are closed; the process goes
   * on.
   */
  private trap(error: unknown): void {
    if (this.failure !== undefined) return;
    this.failure = error ?? new CoreError('NIDO_CORE_TRAP', 'the core has trapped');
    // After the call that trapped: its callers find a core that answers nothing any more.
    const goodbye = () => {
      for (const port of this.ports) port?.transport.destroy();
      this.host.broken?.(error);
    };
    this.deferred.push(goodbye);
    this.deferTurn(() => this.afterwards());
  }
}
