/**
 * Runs expensive work a few at a time. What does not fit waits in order; what does not fit in the
 * queue either is refused at once, because a login that comes ten seconds late is answered to
 * nobody.
 */
export class WorkQueue {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly limits: { readonly concurrencyMax: number; readonly queueMax: number },
  ) {}

  get queued(): number {
    return this.waiting.length;
  }

  /** The outcome of the work, or undefined at once when there is no room for it. */
  tryRun<T>(work: () => Promise<T>): Promise<T> | undefined {
    if (this.running < this.limits.concurrencyMax) {
      this.running += 1;
      return this.perform(work);
    }
    if (this.waiting.length >= this.limits.queueMax) return undefined;
    const turn = new Promise<void>((resolve) => this.waiting.push(resolve));
    return turn.then(() => this.perform(work));
  }

  private async perform<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } finally {
      // The slot is handed over rather than freed, so that a newcomer cannot slip in before.
      const next = this.waiting.shift();
      if (next) next();
      else this.running -= 1;
    }
  }
}
