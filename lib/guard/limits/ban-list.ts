import { GuardError } from '../errors.js';
import { isInRange, parseAddressRange } from './address.js';
import type { AddressRange } from './address.js';

export type BanKind = 'clientId' | 'username' | 'address';

export interface Ban {
  readonly kind: BanKind;
  /** The client id or user name as it is, or an address or network (`10.0.0.0/8`). */
  readonly value: string;
  /** Milliseconds since the epoch; left out, the ban has no end. */
  readonly until?: number;
  readonly reason?: string;
}

export interface BanSubject {
  readonly clientId?: string;
  readonly username?: string;
  readonly remoteAddress?: string;
}

/** Who may not come in, for a while or for good. Time is passed in. */
export class BanList {
  private readonly bans = new Map<string, { ban: Ban; range?: AddressRange }>();
  private readonly networks = new Set<string>();
  private readonly listeners = new Set<(ban: Ban) => void>();

  constructor(private readonly limits: { readonly bansMax: number }) {}

  /** Adds or replaces a ban. Refuses one more than `bansMax` rather than forget another one. */
  add(ban: Ban, now: number): void {
    const key = keyOf(ban.kind, ban.value);
    const range = ban.kind === 'address' ? parseAddressRange(ban.value) : undefined;
    if (ban.kind === 'address' && !range) {
      throw new GuardError(
        'NIDO_BAN_ADDRESS', `${JSON.stringify(ban.value)} is no address or network`,
      );
    }
    if (!this.bans.has(key) && this.bans.size >= this.limits.bansMax) this.sweep(now);
    if (!this.bans.has(key) && this.bans.size >= this.limits.bansMax) {
      throw new GuardError(
        'NIDO_BANS_FULL', `there are already ${this.limits.bansMax} bans (bansMax)`,
      );
    }
    this.bans.set(key, { ban, range });
    if (range) this.networks.add(key);
    for (const listener of this.listeners) listener(ban);
  }

  remove(kind: BanKind, value: string): boolean {
    const key = keyOf(kind, value);
    this.networks.delete(key);
    return this.bans.delete(key);
  }

  /** The ban that holds for this client now, or undefined. */
  find(who: BanSubject, now: number): Ban | undefined {
    const exact = this.inForce(keyOf('clientId', who.clientId), now)
      ?? this.inForce(keyOf('username', who.username), now);
    if (exact || who.remoteAddress === undefined) return exact;
    for (const key of this.networks) {
      const ban = this.inForce(key, now);
      const range = this.bans.get(key)?.range;
      if (ban && range && isInRange(who.remoteAddress, range)) return ban;
    }
    return undefined;
  }

  /** Every ban that holds now. */
  list(now: number): Ban[] {
    this.sweep(now);
    return [...this.bans.values()].map((entry) => entry.ban);
  }

  /** Calls `listener` for every new ban, so that who is already inside can be put out. */
  onBan(listener: (ban: Ban) => void): void {
    this.listeners.add(listener);
  }

  private inForce(key: string | undefined, now: number): Ban | undefined {
    const ban = key === undefined ? undefined : this.bans.get(key)?.ban;
    if (!ban || key === undefined) return undefined;
    if (ban.until === undefined || ban.until > now) return ban;
    this.bans.delete(key);
    this.networks.delete(key);
    return undefined;
  }

  private sweep(now: number): void {
    for (const key of [...this.bans.keys()]) this.inForce(key, now);
  }
}

/** Whether this ban is about this client. */
export function isMeant(ban: Ban, who: BanSubject): boolean {
  if (ban.kind !== 'address') return who[ban.kind] === ban.value;
  const range = parseAddressRange(ban.value);
  return range !== undefined && who.remoteAddress !== undefined
    && isInRange(who.remoteAddress, range);
}

function keyOf(kind: BanKind, value: string): string;
function keyOf(kind: BanKind, value: string | undefined): string | undefined;
function keyOf(kind: BanKind, value: string | undefined): string | undefined {
  return value === undefined ? undefined : `${kind}\u0000${value}`;
}
