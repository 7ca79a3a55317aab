/**
 * A token bucket that delays rather than refuses: what is taken beyond its content is owed, and the
 * answer is how long to wait until the debt is paid. Time is passed in.
 */
export class TokenBucket {
  private tokens: number;
  private at: number;

  /** `perSecond` 0 means without limit. */
  constructor(
    private readonly rate: { readonly perSecond: number; readonly burst: number }, now: number,
  ) {
    this.tokens = rate.burst;
    this.at = now;
  }

  /** Takes `count` and answers for how many milliseconds to take nothing more; 0 means go on. */
  take(count: number, now: number): number {
    const { perSecond } = this.rate;
    if (perSecond === 0) return 0;
    this.refill(now);
    this.tokens -= count;
    return this.tokens >= 0 ? 0 : Math.ceil((-this.tokens / perSecond) * 1000);
  }

  /**
   * Undoes a `take` that came to nothing, so that refusing somebody does not add to what it owes.
   */
  giveBack(count: number): void {
    this.tokens = Math.min(this.rate.burst, this.tokens + count);
  }

  private refill(now: number): void {
    // A clock that steps back adds nothing and takes nothing away.
    const passed = Math.max(0, now - this.at);
    this.at = Math.max(this.at, now);
    const filled = this.tokens + (passed / 1000) * this.rate.perSecond;
    this.tokens = Math.min(this.rate.burst, filled);
  }
}
