/**
 * Listeners with limits of their own are counted by themselves: what comes in elsewhere neither
 * uses up theirs nor the other way round. Bans hold everywhere.
 */
import { GuardError } from '../errors.js';
import { guardLimits } from '../guard-limits.js';
import type { GuardLimits } from '../guard-limits.js';
import type { BanList } from './ban-list.js';
import { ConnectionGate } from './connection-gate.js';
import type { AdmissionAnswer, Admitted, DoorAnswer } from './connection-gate.js';
import type { PublishRate } from './publish-rate.js';

/** Limits by name of the listener; what is left out is as for all. */
export type ListenerGuardLimits = Readonly<Record<string, Partial<GuardLimits>>>;
type AtListener = Admitted & { readonly listener: string };

export class ListenerGates {
  private readonly own = new Map<string, ConnectionGate>();

  constructor(
    private readonly general: ConnectionGate, limits: GuardLimits, listeners: ListenerGuardLimits,
    bans: BanList, now: number,
  ) {
    for (const [name, limitsThere] of Object.entries(listeners)) {
      if (typeof limitsThere !== 'object' || limitsThere === null) {
        throw new GuardError('NIDO_GUARD_OPTIONS', `listenerLimits.${name}: give limits by name`);
      }
      const there = guardLimits({ ...limits, ...limitsThere });
      this.own.set(name, new ConnectionGate(there, bans, now));
    }
  }

  opened(remoteAddress: string, now: number, wallNow: number, listener: string): DoorAnswer {
    return this.of(listener).opened(remoteAddress, now, wallNow);
  }
  closed(remoteAddress: string, listener: string): void {
    this.of(listener).closed(remoteAddress);
  }
  enter(who: AtListener, now: number, wallNow: number): AdmissionAnswer {
    return this.of(who.listener).enter(who, now, wallNow);
  }
  left(who: AtListener, now: number): boolean {
    return this.of(who.listener).left(who, now);
  }
  pace(now: number, listener: string): PublishRate | undefined {
    return this.of(listener).pace(now);
  }
  onBan(putOut: (isBanned: (who: Admitted) => boolean) => void): void {
    this.general.onBan(putOut); // one list of bans is behind all of them
  }

  private of(listener: string): ConnectionGate {
    return this.own.get(listener) ?? this.general;
  }
}
