/** A clock that a test moves by hand. Nothing happens until it does. */
import type { Clock, ScheduledTask } from '../broker/clock.js';

interface Task {
  readonly due: number;
  readonly run: () => void;
  readonly number: number;
}

/** 2026-01-01, so that wall times in a test are the same every day. */
const WALL_START = Date.UTC(2026, 0, 1);

export class VirtualClock implements Clock {
  #now = 0;
  readonly #wallStart: number;
  readonly #tasks = new Set<Task>();
  #last = 0;

  constructor(options: { readonly wallStart?: number } = {}) {
    this.#wallStart = options.wallStart ?? WALL_START;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#wallStart + this.#now;
  }

  schedule(run: () => void, ms: number): ScheduledTask {
    const task: Task = { due: this.#now + Math.max(0, ms), run, number: (this.#last += 1) };
    this.#tasks.add(task);
    return { cancel: () => this.#tasks.delete(task) };
  }

  /**
   * Moves the time on by `ms`: what becomes due on the way runs in its order and at its time, and
   * whatever it starts has a turn of the event loop before the time goes on.
   */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (let task = this.#next(end); task !== undefined; task = this.#next(end)) {
      this.#tasks.delete(task);
      this.#now = Math.max(this.#now, task.due);
      task.run();
      await turn();
    }
    this.#now = end;
    await turn();
  }

  #next(end: number): Task | undefined {
    let next: Task | undefined;
    for (const task of this.#tasks) {
      if (task.due > end) continue;
      const isEarlier =
        next === undefined ||
        task.due < next.due ||
        (task.due === next.due && task.number < next.number);
      if (isEarlier) next = task;
    }
    return next;
  }
}

/** The time of one process on a clock that outlives it: nothing of a dead process runs any more. */
export class ProcessClock implements Clock {
  #state: 'alive' | 'dead' = 'alive';

  constructor(private readonly clock: Clock) {}

  now(): number {
    return this.clock.now();
  }

  wall(): number {
    return this.clock.wall();
  }

  schedule(run: () => void, ms: number): ScheduledTask {
    return this.clock.schedule(() => {
      if (this.#state === 'alive') run();
    }, ms);
  }

  stop(): void {
    this.#state = 'dead';
  }
}

/** One turn of the event loop: what was written meanwhile is on its way. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
