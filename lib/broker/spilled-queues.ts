/**
 * Queues that are longer than memory is given for. Such a session is *spilled*: what it gets is
 * stored and not delivered, until its queue in memory has run low and the store has been read up to
 * its end. The order stays that of the numbers.
 *
 *     store   [.......... in memory ..........][...... only stored ......][ being stored ]
 *                                             ^ after                    ^ last
 */
import type { SessionHandle } from '../core/contract.js';
import type { DurableSide } from '../core/durable.js';
import type { Engine, QueueSlice } from '../engine/index.js';
import type { Clock } from './clock.js';
import type { Session } from './records.js';

const SLICE_MESSAGES = 1_000;
const SLICE_BYTES = 1024 * 1024;
const RETRY_MS = 1_000;

export interface SpillLimits {
  /** Messages and bytes of one session that are held in memory. */
  readonly messagesMax: number;
  readonly bytesMax: number;
  /** Messages of one session, in memory or not. */
  readonly queueMessagesMax: number;
}
export interface SpillOwner {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly limits: SpillLimits;
  core(): DurableSide | undefined;
  /** Calls back when what is being stored now is stored and reported. */
  afterCommit(callback: () => void): void;
  problem(where: string, error: unknown): void;
  /** From the store's time to the core's. */
  coreTime(expiresAt: number): number;
}

interface Spill {
  readonly session: Session;
  /** The last number that memory has had. */
  after: number;
  /** The last number that was stored, or is being stored. */
  last: number;
  /** Messages between the two. */
  messages: number;
  state: 'resting' | 'reading' | 'waiting';
  isLookedAfter: boolean;
  /** Of other members of a group, behind `after`, but in memory. */
  readonly moved: Set<number>;
}

export class SpilledQueues {
  readonly #owner: SpillOwner;
  readonly #spills = new Map<SessionHandle, Spill>();

  constructor(owner: SpillOwner) {
    this.#owner = owner;
  }

  /** Messages that wait in the store only. */
  messagesOf(session: SessionHandle): number {
    return this.#spills.get(session)?.messages ?? 0;
  }

  /**
   * An entry is about to be stored. `drop` when the session's queue is as long as it may be;
   * whatever the answer, the core is told what becomes of the entry by the session's state.
   */
  admit(session: Session, number: number, bytes: number): 'store' | 'drop' {
    const { limits } = this.#owner;
    let spill = this.#spills.get(session.handle);
    if (spill === undefined) {
      if (!this.#isLong(session, bytes)) return 'store';
      spill = this.#begin(session, number);
      if (spill === undefined) return 'store';
    }
    const inMemory = this.#owner.core()?.queuedMessages(session.handle) ?? 0;
    if (inMemory + spill.messages >= limits.queueMessagesMax) return 'drop';
    spill.last = number;
    spill.messages += 1;
    return 'store';
  }
  /** With what is on its way to memory. */
  #isLong(session: Session, bytes: number): boolean {
    const { limits } = this.#owner;
    const core = this.#owner.core();
    if (core === undefined) return false;
    const gated = core.gatedEntries(session.handle) - 1;
    return core.queuedMessages(session.handle) + gated >= limits.messagesMax
      || core.queuedBytes(session.handle) + gated * bytes >= limits.bytesMax;
  }
  /** What is being stored now will be read from there: it comes behind `after`. */
  #begin(session: Session, number: number): Spill | undefined {
    const core = this.#owner.core();
    if (core === undefined) return undefined;
    // Whatever was delivered to memory is there or done with, and gates open in order.
    const after = Math.max(core.lastQueued(session.handle), session.lastDone);
    core.spill(session.handle);
    const spill: Spill = {
      // Entries of the same chunk that are gated behind this one are yet to be admitted.
      session, after, last: number, messages: core.storingEntries(session.handle),
      state: 'resting', isLookedAfter: false, moved: new Set(),
    };
    this.#spills.set(session.handle, spill);
    // Memory may have nothing of it, whose end would call for more.
    this.#owner.afterCommit(() => this.advance(session.handle));
    return spill;
  }

  /** At start: this part of a queue was left in the store. */
  restore(session: Session, part: { after: number; last: number; messages: number }): void {
    this.#owner.core()?.spill(session.handle);
    this.#spills.set(session.handle, {
      session, ...part, state: 'resting', isLookedAfter: false, moved: new Set(),
    });
  }
  /** An entry of another session came to this one's memory. */
  moved(handle: SessionHandle, number: number): void {
    const spill = this.#spills.get(handle);
    if (spill !== undefined && number > spill.after) spill.moved.add(number);
  }
  forget(session: Session): void {
    this.#spills.delete(session.handle);
  }

  /** Something of this session's queue is done with, or its client has come. */
  advance(handle: SessionHandle): void {
    const spill = this.#spills.get(handle);
    if (spill !== undefined && spill.state === 'resting') this.#goOn(spill);
  }
  #goOn(spill: Spill): void {
    if (spill.session.connection === undefined) return;
    if (!this.#isHalfEmpty(spill.session.handle)) {
      this.#lookLater(spill);
      return;
    }
    spill.state = 'reading';
    void this.#read(spill);
  }
  #isHalfEmpty(handle: SessionHandle): boolean {
    const { limits } = this.#owner;
    const core = this.#owner.core();
    return core === undefined || (core.queuedMessages(handle) * 2 <= limits.messagesMax
      && core.queuedBytes(handle) * 2 <= limits.bytesMax);
  }
  /** What fills memory may be stored nowhere: nobody is told when it is done with. */
  #lookLater(spill: Spill): void {
    if (spill.isLookedAfter) return;
    spill.isLookedAfter = true;
    this.#owner.clock.schedule(() => {
      spill.isLookedAfter = false;
      if (this.#spills.get(spill.session.handle) === spill) this.advance(spill.session.handle);
    }, RETRY_MS);
  }
  async #read(spill: Spill): Promise<void> {
    const { engine, problem, limits } = this.#owner;
    try {
      const slice = await engine.readQueue(spill.session.storeId, spill.after, {
        messagesMax: Math.min(SLICE_MESSAGES, limits.messagesMax),
        bytesMax: Math.min(SLICE_BYTES, limits.bytesMax),
      });
      if (this.#spills.get(spill.session.handle) === spill) this.#take(spill, slice);
    } catch (error) {
      problem('engine', error);
      this.#rest(spill);
    }
  }
  #take(spill: Spill, slice: QueueSlice): void {
    const core = this.#owner.core();
    if (core === undefined) return;
    const { handle } = spill.session;
    for (let i = 0; i < slice.entries.length; i++) {
      if (!this.#restoreOne(core, spill, slice, i)) {
        this.#rest(spill); // memory is full: again when it has had time to run empty
        return;
      }
    }
    core.pump(handle);
    spill.state = 'resting';
    // What is on its way to the store is behind what was read, or was read and not reported yet.
    if (slice.end && spill.after >= spill.last && core.gatedEntries(handle) === 0) {
      this.#spills.delete(handle);
      core.keep(handle);
    } else if (slice.entries.length === 0) {
      spill.state = 'waiting';
      this.#owner.afterCommit(() => {
        spill.state = 'resting';
        this.advance(handle);
      });
    } else {
      this.advance(handle);
    }
  }
  #restoreOne(core: DurableSide, spill: Spill, slice: QueueSlice, at: number): boolean {
    const entry = slice.entries[at];
    if (spill.moved.delete(entry.number)) {
      spill.after = entry.number;
      return true;
    }
    const message = slice.messages[at];
    const block = core.restoreMessage(message, this.#owner.coreTime(message.expiresAt));
    if (block === 0) return false;
    const copy = entry.number - message.number;
    const isTaken = core.restoreEntry(spill.session.handle, block, entry, copy, 'pending');
    core.letGo(block);
    if (!isTaken) return false;
    spill.after = entry.number;
    spill.messages = Math.max(0, spill.messages - 1);
    return true;
  }
  #rest(spill: Spill): void {
    spill.state = 'waiting';
    this.#owner.clock.schedule(() => {
      spill.state = 'resting';
      this.advance(spill.session.handle);
    }, RETRY_MS);
  }
}
