import { GuardError } from '../errors.js';

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

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.running >= this.limits.concurrencyMax) {
      if (this.waiting.length >= this.limits.queueMax) {
        throw new GuardError('NIDO_GUARD_BUSY', 'too many logins are waiting for their check');
      }
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    } else {
      this.running += 1;
    }
    try {
      return await work();
    } finally {
      // The slot is handed over rather than freed, so that a newcomer cannot slip in before the
      // queue.
      const next = this.waiting.shift();
      if (next) next();
      else this.running -= 1;
    }
  }
}

/** `true` when `error` says that a WorkQueue was full. */
export function isBusy(error: unknown): boolean {
  return error instanceof GuardError && error.code === 'NIDO_GUARD_BUSY';
}
