import type { Clock, ScheduledTask } from '../../../lib/broker/clock.js';

/** Time that moves only when a test moves it. */
export class VirtualClock implements Clock {
  #now = 1_000;
  readonly #tasks: { at: number; task: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  wall(): number {
    return 1_700_000_000_000 + this.#now;
  }

  schedule(task: () => void, ms: number): ScheduledTask {
    const entry = { at: this.#now + ms, task };
    this.#tasks.push(entry);
    return {
      cancel: () => {
        const position = this.#tasks.indexOf(entry);
        if (position >= 0) this.#tasks.splice(position, 1);
      },
    };
  }

  /** Runs everything that falls due, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = this.#tasks
        .filter(({ at }) => at <= end)
        .sort((left, right) => left.at - right.at)[0];
      if (due === undefined) break;
      this.#tasks.splice(this.#tasks.indexOf(due), 1);
      this.#now = Math.max(this.#now, due.at);
      due.task();
    }
    this.#now = end;
  }
}
