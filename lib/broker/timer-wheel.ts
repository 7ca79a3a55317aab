/**
 * One hashed wheel for every deadline of the control plane: connect timeout, keep alive, session
 * expiry, will delay, handler timeout. Setting, moving and cancelling cost a few pointer writes
 * whatever the number of timers, and a timer costs no object of its own: what has a deadline
 * extends TimerEntry.
 *
 *     slot   0     1     2   ...   SLOTS-1  | matured
 *            |           |                  |
 *            entry       entry - entry      entries that `advance` is telling of
 *
 * An entry stands in the slot of its due tick modulo the number of slots; one that is due in a
 * later turn of the wheel is looked at and left. An entry never fires early, and at most one tick
 * late.
 */

export const TICK_MS = 100;
const SLOTS = 1_024;
const MATURED = SLOTS;
const IDLE = -1;

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
  readonly #heads: (TimerEntry | undefined)[] = new Array<undefined>(SLOTS + 1).fill(undefined);
  /** The last tick whose slot has been looked at. */
  #tick: number;
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

  /** Fires everything that is due, in no promised order within one tick. */
  advance(now: number): void {
    const target = Math.floor(now / TICK_MS);
    if (target <= this.#tick) return;
    const first = Math.max(this.#tick + 1, target - SLOTS + 1);
    this.#tick = target;
    for (let tick = first; tick <= target; tick += 1) this.#mature(tick % SLOTS, now);
    let entry = this.#heads[MATURED];
    while (entry !== undefined) {
      this.#unlink(entry);
      this.#owner.timerFired(entry, now);
      entry = this.#heads[MATURED];
    }
  }

  /**
   * The earliest time at which `advance` may have something to do; `Infinity` when nothing waits.
   */
  nextAt(): number {
    if (this.#size === 0) return Infinity;
    for (let tick = this.#tick + 1; tick <= this.#tick + SLOTS; tick += 1) {
      if (this.#heads[tick % SLOTS] !== undefined) return tick * TICK_MS;
    }
    return (this.#tick + 1) * TICK_MS;
  }

  #mature(slot: number, now: number): void {
    let entry = this.#heads[slot];
    while (entry !== undefined) {
      const next = entry.timerNext;
      if (entry.timerDue <= now) {
        this.#unlink(entry);
        this.#link(entry, MATURED);
      }
      entry = next;
    }
  }

  #link(entry: TimerEntry, slot: number): void {
    const head = this.#heads[slot];
    entry.timerSlot = slot;
    entry.timerNext = head;
    entry.timerPrevious = undefined;
    if (head !== undefined) head.timerPrevious = entry;
    this.#heads[slot] = entry;
    this.#size += 1;
  }

  #unlink(entry: TimerEntry): void {
    const { timerNext, timerPrevious } = entry;
    if (timerPrevious === undefined) this.#heads[entry.timerSlot] = timerNext;
    else timerPrevious.timerNext = timerNext;
    if (timerNext !== undefined) timerNext.timerPrevious = timerPrevious;
    entry.timerNext = undefined;
    entry.timerPrevious = undefined;
    entry.timerSlot = IDLE;
    this.#size -= 1;
  }
}
