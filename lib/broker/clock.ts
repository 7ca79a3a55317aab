/** Where the broker gets its time from. A test passes a clock that it moves by hand. */

export interface ScheduledTask {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds that never go back; the zero point means nothing. */
  now(): number;
  /** Milliseconds since 1970, for people and for what survives a restart. */
  wall(): number;
  /** Runs `task` once, `ms` from now, never within this call. */
  schedule(task: () => void, ms: number): ScheduledTask;
}

class NodeTask implements ScheduledTask {
  readonly #timeout: NodeJS.Timeout;

  constructor(task: () => void, ms: number) {
    this.#timeout = setTimeout(task, ms);
    // Listeners keep the process alive, not the housekeeping.
    this.#timeout.unref();
  }

  cancel(): void {
    clearTimeout(this.#timeout);
  }
}

export class SystemClock implements Clock {
  now(): number {
    return performance.now();
  }

  wall(): number {
    return Date.now();
  }

  schedule(task: () => void, ms: number): ScheduledTask {
    return new NodeTask(task, ms);
  }
}
