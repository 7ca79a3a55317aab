/**
 * One hashed wheel for every deadline of the control plane: connect timeout, keep alive, session
 * expiry, will delay, handler timeout. Setting, moving and cancelling cost a few pointer writes
 * whatever the number of timers, and a timer costs no object of its own: what has a deadline
 * extends TimerEntry.
 *
 *     slot   0     1     2   ...   SLOTS-1
 *            |           |
 *            entry       entry - entry
 *
 * An entry stands in the slot of its due tick modulo the number of slots; one that is due in a
 * later turn of the wheel is looked at and put behind the others. An entry never fires early. It
 * fires at most one tick late, unless very many are due: a turn of the event loop takes a piece of
 * them, in the order of their ticks and, within one, in that in which they were set.
 */

export const TICK_MS = 100;
const SLOTS = 1_024;
const IDLE = -1;
/**
 * A hundred thousand sessions may expire at the same moment, and each takes some microseconds, with
 * its will more: connections have their turn in between.
 */
export const FIRED_PER_TURN_MAX = 256;
/** A slot may hold as many that are due in a later turn of the wheel. */
export const LOOKED_AT_PER_TURN_MAX = 4_096;

export abstract class TimerEntry {
  /** @internal Where this entry stands; -1 when no deadline is set. */
  timerSlot = IDLE;
  /**
   * Deadline, in milliseconds of the monotonic clock. Not 0 at first: a field that turns from an
   * integer into a fraction has V8 build every object anew that has it.
   */
  timerDue = Infinity;
  /** @internal */
  timerNext: TimerEntry | undefined = undefined;
  /** @internal */
  timerPrevious: TimerEntry | undefined = undefined;
}

export interface TimerWheelOwner {
  /** The deadline of `entry` has passed. It is not on the wheel any more; it may be set again. */
  timerFired(entry: TimerEntry, now: number): void;
  /** A deadline was set: be sure to call `advance` at that time. */
  timerSet(due: number): void;
}

export class TimerWheel {
  readonly #owner: TimerWheelOwner;
  readonly #heads: (TimerEntry | undefined)[] = new Array<undefined>(SLOTS).fill(undefined);
  readonly #tails: (TimerEntry | undefined)[] = new Array<undefined>(SLOTS).fill(undefined);
  /** The last tick whose slot has been looked at, or is being. */
  #tick: number;
  #slotIs: 'done' | 'being looked at' = 'done';
  /** The first entry of that slot that was put behind the others: all before it are still to do. */
  #firstKept: TimerEntry | undefined = undefined;
  #size = 0;

  constructor(owner: TimerWheelOwner, now: number) {
    this.#owner = owner;
    this.#tick = Math.floor(now / TICK_MS);
  }

  /** Entries that wait. */
  get size(): number {
    return this.#size;
  }

  /** Sets or moves the deadline. `Infinity` cancels. */
  set(entry: TimerEntry, due: number): void {
    if (entry.timerSlot !== IDLE) this.#unlink(entry);
    if (due === Infinity) return;
    entry.timerDue = due;
    const tick = Math.max(Math.ceil(due / TICK_MS), this.#tick + 1);
    this.#link(entry, tick % SLOTS);
    this.#owner.timerSet(tick * TICK_MS);
  }

  cancel(entry: TimerEntry): void {
    if (entry.timerSlot !== IDLE) this.#unlink(entry);
  }

  /** Fires what is due, or a piece of it: then `nextAt` is a time that has come already. */
  advance(now: number): void {
    const target = Math.floor(now / TICK_MS);
    if (target - this.#tick > SLOTS) this.#begin(target - SLOTS + 1);
    let fired = 0;
    for (let looked = 0; looked < LOOKED_AT_PER_TURN_MAX && fired < FIRED_PER_TURN_MAX;) {
      const entry = this.#next(target);
      if (entry === undefined) return;
      looked += 1;
      const slot = entry.timerSlot;
      this.#unlink(entry);
      if (entry.timerDue <= now) {
        fired += 1;
        this.#owner.timerFired(entry, now);
      } else {
        this.#link(entry, slot);
        this.#firstKept ??= entry;
      }
    }
  }

  /** The next entry to look at, up to the slot of the tick `target`. */
  #next(target: number): TimerEntry | undefined {
    for (;;) {
      const entry = this.#heads[this.#tick % SLOTS];
      const isLeft = entry !== undefined && entry !== this.#firstKept;
      if (this.#slotIs === 'being looked at' && isLeft) return entry;
      this.#slotIs = 'done';
      if (this.#tick >= target) return undefined;
      this.#begin(this.#tick + 1);
    }
  }

  #begin(tick: number): void {
    this.#tick = tick;
    this.#slotIs = 'being looked at';
    this.#firstKept = undefined;
  }

  /**
   * The earliest time at which `advance` may have something to do; `Infinity` when nothing waits.
   */
  nextAt(): number {
    if (this.#size === 0) return Infinity;
    if (this.#slotIs === 'being looked at') return this.#tick * TICK_MS;
    for (let tick = this.#tick + 1; tick <= this.#tick + SLOTS; tick += 1) {
      if (this.#heads[tick % SLOTS] !== undefined) return tick * TICK_MS;
    }
    return (this.#tick + 1) * TICK_MS;
  }

  #link(entry: TimerEntry, slot: number): void {
    const tail = this.#tails[slot];
    entry.timerSlot = slot;
    entry.timerNext = undefined;
    entry.timerPrevious = tail;
    if (tail === undefined) this.#heads[slot] = entry;
    else tail.timerNext = entry;
    this.#tails[slot] = entry;
    this.#size += 1;
  }

  #unlink(entry: TimerEntry): void {
    const { timerNext, timerPrevious } = entry;
    if (entry === this.#firstKept) this.#firstKept = timerNext;
    if (timerPrevious === undefined) this.#heads[entry.timerSlot] = timerNext;
    else timerPrevious.timerNext = timerNext;
    if (timerNext === undefined) this.#tails[entry.timerSlot] = timerPrevious;
    else timerNext.timerPrevious = timerPrevious;
    entry.timerNext = undefined;
    entry.timerPrevious = undefined;
    entry.timerSlot = IDLE;
    this.#size -= 1;
  }
}
