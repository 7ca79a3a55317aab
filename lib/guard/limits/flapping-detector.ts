import { BoundedMap } from '../bounded-map.js';
import type { GuardLimits } from '../guard-limits.js';
import { addressKey } from './address.js';

interface Flapper {
  disconnects: number;
  windowEnd: number;
  bannedUntil: number;
}

/**
 * Notices clients that come and go without end and keeps them out for a while. The key is the
 * client id together with the address: banning a client id alone would let anybody lock out anybody
 * else by reconnecting under that id.
 */
export class FlappingDetector {
  private readonly flappers: BoundedMap<string, Flapper>;

  constructor(private readonly limits: GuardLimits) {
    this.flappers = new BoundedMap(limits.flappingKeysMax);
  }

  /** Counts a connection that ended. `true` when this one made the client banned. */
  disconnected(clientId: string, remoteAddress: string, now: number): boolean {
    const key = keyOf(clientId, remoteAddress);
    const flapper = this.flappers.get(key)
      ?? { disconnects: 0, windowEnd: now + this.limits.flappingWindowMs, bannedUntil: 0 };
    if (now >= flapper.windowEnd) {
      flapper.disconnects = 0;
      flapper.windowEnd = now + this.limits.flappingWindowMs;
    }
    flapper.disconnects += 1;
    const isNew = flapper.disconnects > this.limits.flappingDisconnectsMax
      && now >= flapper.bannedUntil;
    if (isNew) {
      flapper.bannedUntil = now + this.limits.flappingBanMs;
      flapper.disconnects = 0;
    }
    this.flappers.set(key, flapper);
    return isNew;
  }

  isBanned(clientId: string, remoteAddress: string, now: number): boolean {
    const flapper = this.flappers.get(keyOf(clientId, remoteAddress));
    return flapper !== undefined && now < flapper.bannedUntil;
  }
}

function keyOf(clientId: string, remoteAddress: string): string {
  return `${addressKey(remoteAddress)}\u0000${clientId}`;
}
