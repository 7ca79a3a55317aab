import type { GuardLimits } from '../guard-limits.js';
import { TokenBucket } from './token-bucket.js';

/** Messages and bytes a second of one connection. */
export class PublishRate {
  private readonly messages: TokenBucket;
  private readonly bytes: TokenBucket;
  private readonly delayMsMax: number;

  constructor(limits: GuardLimits, now: number) {
    const { publishesPerSecond, publishesBurst, publishBytesPerSecond, publishBytesBurst } = limits;
    this.messages = new TokenBucket({ perSecond: publishesPerSecond, burst: publishesBurst }, now);
    this.bytes = new TokenBucket(
      { perSecond: publishBytesPerSecond, burst: publishBytesBurst }, now,
    );
    this.delayMsMax = limits.rateDelayMsMax;
  }

  /** `true` when neither rate has a limit, so that nobody needs to count. */
  static isUnlimited(limits: GuardLimits): boolean {
    return limits.publishesPerSecond === 0 && limits.publishBytesPerSecond === 0;
  }

  /**
   * Says for how many milliseconds not to read from this connection. A pause is bounded; what is
   * still owed then is part of the next one.
   */
  take(amount: { readonly messages: number; readonly bytes: number }, now: number): number {
    const delay = Math.max(
      this.messages.take(amount.messages, now), this.bytes.take(amount.bytes, now),
    );
    return Math.min(delay, this.delayMsMax);
  }
}
