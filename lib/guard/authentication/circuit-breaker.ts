/**
 * Stops asking a service that does not answer, and tries it again with one question after a while.
 */
export class CircuitBreaker {
  private failures = 0;
  private openUntil = 0;
  private probing = false;

  constructor(private readonly limits: { readonly failuresMax: number; readonly openMs: number }) {}

  /**
   * May this question be asked? After `openMs`, one may, and its outcome decides for the others.
   */
  allows(now: number): boolean {
    if (this.failures < this.limits.failuresMax) return true;
    if (now < this.openUntil || this.probing) return false;
    this.probing = true;
    return true;
  }

  succeeded(): void {
    this.failures = 0;
    this.probing = false;
  }

  /** Answers `true` when this failure opened the circuit. */
  failed(now: number): boolean {
    this.probing = false;
    this.failures += 1;
    if (this.failures < this.limits.failuresMax) return false;
    this.openUntil = now + this.limits.openMs;
    return this.failures === this.limits.failuresMax;
  }
}
