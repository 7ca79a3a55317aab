/**
 * Everything that is asked when a connection comes and goes, in one object that the broker holds.
 * Two steps: at the door only the address is known; after authentication also who it is.
 */
import { BoundedMap } from '../bounded-map.js';
import type { GuardLimits } from '../guard-limits.js';
import { BANNED, CONNECTION_RATE_EXCEEDED, QUOTA_EXCEEDED } from '../reason-codes.js';
import { addressKey } from './address.js';
import { isMeant } from './ban-list.js';
import type { BanList } from './ban-list.js';
import { FlappingDetector } from './flapping-detector.js';
import { PublishRate } from './publish-rate.js';
import { TokenBucket } from './token-bucket.js';

export type DoorAnswer =
  /** Take it in; with `delayMs` above 0, take nobody from this address (or at all) in before. */
  | { readonly kind: 'admit'; readonly delayMs: number }
  | { readonly kind: 'refuse'; readonly reasonCode: number; readonly reason: string };

export type AdmissionAnswer =
  | { readonly kind: 'admit' }
  | { readonly kind: 'refuse'; readonly reasonCode: number; readonly reason: string };

/** A client that has said who it is. */
export interface Admitted {
  readonly clientId: string;
  readonly username?: string;
  readonly remoteAddress: string;
}

const admitted: AdmissionAnswer = { kind: 'admit' };

const refuse = (
  reasonCode: number, reason: string,
): { readonly kind: 'refuse'; readonly reasonCode: number; readonly reason: string } =>
  ({ kind: 'refuse', reasonCode, reason });

export class ConnectionGate {
  private readonly all: TokenBucket;
  private readonly byAddress: BoundedMap<string, TokenBucket>;
  private readonly ofAddress = new Map<string, number>();
  private readonly ofUser = new Map<string, number>();
  private readonly flapping: FlappingDetector;

  constructor(
    private readonly limits: GuardLimits, private readonly bans: BanList, now: number,
  ) {
    const { connectsPerSecond, connectsBurst, addressKeysMax } = limits;
    this.all = new TokenBucket({ perSecond: connectsPerSecond, burst: connectsBurst }, now);
    this.byAddress = new BoundedMap(addressKeysMax);
    this.flapping = new FlappingDetector(limits);
  }

  /**
   * A peer is at the door. An admitted one must be reported with `closed`, whatever becomes of it.
   * `now` is monotonic, `wallNow` is the time that bans end by.
   */
  opened(remoteAddress: string, now: number, wallNow: number): DoorAnswer {
    if (this.bans.find({ remoteAddress }, wallNow)) return refuse(BANNED, 'the address is banned');
    const key = addressKey(remoteAddress);
    const count = this.ofAddress.get(key) ?? 0;
    if (key !== '' && count >= this.limits.connectionsPerAddressMax) {
      return refuse(QUOTA_EXCEEDED, 'connectionsPerAddressMax');
    }
    const own = key === '' ? undefined : this.bucketOf(key, now);
    const ownDelay = own?.take(1, now) ?? 0;
    // An address far over its own rate does not also use up everybody's.
    if (ownDelay > this.limits.rateDelayMsMax) {
      own?.giveBack(1);
      return refuse(CONNECTION_RATE_EXCEEDED, 'connectsPerAddressPerSecond');
    }
    this.ofAddress.set(key, count + 1);
    return { kind: 'admit', delayMs: Math.max(ownDelay, this.all.take(1, now)) };
  }

  /** The connection is gone. */
  closed(remoteAddress: string): void {
    countDown(this.ofAddress, addressKey(remoteAddress));
  }

  /** A client was authenticated. One that is admitted must be reported with `left`. */
  enter(who: Admitted, now: number, wallNow: number): AdmissionAnswer {
    if (this.bans.find(who, wallNow)) return refuse(BANNED, 'banned');
    if (this.flapping.isBanned(who.clientId, who.remoteAddress, now)) {
      return refuse(BANNED, 'it connects and disconnects too often');
    }
    if (who.username === undefined) return admitted;
    const count = this.ofUser.get(who.username) ?? 0;
    if (count >= this.limits.connectionsPerUserMax) {
      return refuse(QUOTA_EXCEEDED, 'connectionsPerUserMax');
    }
    this.ofUser.set(who.username, count + 1);
    return admitted;
  }

  /** An admitted client left. `true` when it has come and gone so often that it is banned now. */
  left(who: Admitted, now: number): boolean {
    if (who.username !== undefined) countDown(this.ofUser, who.username);
    return this.flapping.disconnected(who.clientId, who.remoteAddress, now);
  }

  /** The publish rate of one connection; undefined while neither of its limits is set. */
  pace(now: number): PublishRate | undefined {
    return PublishRate.isUnlimited(this.limits) ? undefined : new PublishRate(this.limits, now);
  }

  /** Calls `putOut` for every new ban, with the question who is meant by it. */
  onBan(putOut: (isBanned: (who: Admitted) => boolean) => void): void {
    this.bans.onBan((ban) => putOut((who) => isMeant(ban, who)));
  }

  /** Connections that are counted now, for tests and metrics. */
  get counts(): {
    readonly connections: number; readonly addresses: number; readonly users: number;
  } {
    let connections = 0;
    for (const count of this.ofAddress.values()) connections += count;
    return { connections, addresses: this.ofAddress.size, users: this.ofUser.size };
  }

  private bucketOf(key: string, now: number): TokenBucket {
    const known = this.byAddress.get(key);
    if (known) return known;
    const { connectsPerAddressPerSecond, connectsPerAddressBurst } = this.limits;
    const bucket = new TokenBucket(
      { perSecond: connectsPerAddressPerSecond, burst: connectsPerAddressBurst }, now,
    );
    this.byAddress.set(key, bucket);
    return bucket;
  }
}

function countDown(counts: Map<string, number>, key: string): void {
  const count = (counts.get(key) ?? 0) - 1;
  // A key at zero goes, so that the table is as large as what is connected and no larger.
  if (count > 0) counts.set(key, count);
  else counts.delete(key);
}
