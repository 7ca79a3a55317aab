/**
 * Sessions that were found in the store and that nobody has asked for since: after a start nearly
 * all of them. An object with its strings and its timer for each is a third of a start and half of
 * what a session takes, so their records stay as the store has them, one behind the other, until
 * a client, a message or their end wakes them.
 *
 *     addresses  [ . , . , . , ...    of the packed records, by the slot of the handle
 *     index      [ . 3 . . 1 . ...    slots, by a hash of mount point and Client Identifier
 *
 * They have one deadline together, which is this entry's.
 */
import { slotOf } from '../core/by-handle.js';
import type { ProtocolVersion, SessionHandle } from '../core/contract.js';
import { bufferOf } from '../core/views.js';
import type { FoundSession } from '../engine/index.js';
import { PackedSessions } from '../engine/index.js';
import type { Clock } from './clock.js';
import type { Identity } from './hooks.js';
import { UNMOUNTED, sessionKey, splitSessionKey } from './mount-point.js';
import { Session, expiryDueOf } from './records.js';
import type { SessionOwner } from './records.js';
import { TimerEntry } from './timer-wheel.js';

/** Cells of the index for each session, at least. */
const CELLS_EACH = 2;
/** Slot 0 is given to nobody. */
const EMPTY_CELL = 0;
const NOWHERE = -1;
const FNV_PRIME = 0x0100_0193;

export class SleepingSessions extends TimerEntry {
  readonly #clock: Clock;
  readonly #hashSeed: number;
  /** Both clocks when the first was found. */
  #now = 0;
  #wallNow = 0;
  /** Each with its handle. */
  #packed = new PackedSessions();
  /** Of the record of each slot; NOWHERE: nobody sleeps there. */
  #addresses: number[] = [];
  #index: Int32Array | undefined = undefined;
  #firstEnd = Infinity;
  #size = 0;

  /** `hashSeed`: 32 bits that nobody outside knows. */
  constructor(clock: Clock, hashSeed: number) {
    super();
    this.#clock = clock;
    this.#hashSeed = hashSeed;
  }

  get size(): number {
    return this.#size;
  }
  has(handle: SessionHandle): boolean {
    const slot = slotOf(handle);
    return this.#isTaken(slot) && this.#handleIn(slot) === handle;
  }
  handles(): SessionHandle[] {
    return Array.from(this.#slots(), (slot) => this.#handleIn(slot));
  }

  add(handle: SessionHandle, found: FoundSession): void {
    if (this.#size === 0) {
      this.#now = this.#clock.now();
      this.#wallNow = this.#clock.wall();
    }
    while (this.#addresses.length < slotOf(handle)) this.#addresses.push(NOWHERE);
    this.#addresses[slotOf(handle)] = this.#packed.add(found, handle);
    this.#index = undefined;
    this.#size++;
    this.#firstEnd = Math.min(this.#firstEnd, this.endOf(found));
  }
  #isTaken(slot: number): boolean {
    const address = this.#addresses[slot];
    return address !== undefined && address !== NOWHERE;
  }
  /** Of those who sleep. */
  * #slots(): Generator<number> {
    for (let slot = 0; slot < this.#addresses.length; slot++) {
      if (this.#isTaken(slot)) yield slot;
    }
  }
  #handleIn(slot: number): SessionHandle {
    return this.#packed.tagAt(this.#addresses[slot]);
  }
  #recordIn(slot: number): FoundSession {
    return this.#packed.recordAt(this.#addresses[slot]);
  }

  /** The session as whoever asks for it knows it; undefined when it does not sleep. */
  wake(handle: SessionHandle): Session | undefined {
    if (!this.has(handle)) return undefined;
    const slot = slotOf(handle);
    const record = this.#recordIn(slot);
    const owner = splitSessionKey(record.clientIdentifier);
    const session = new Session(owner, handle, identityOf(owner, record));
    session.storeId = record.sessionId;
    session.epoch = record.epoch;
    session.protocolVersion = record.protocolVersion as ProtocolVersion;
    session.expirySeconds = record.sessionExpiryInterval;
    session.offlineAt = this.#offlineSince(record);
    this.#addresses[slot] = NOWHERE;
    if (--this.#size === 0) this.#forgetAll();
    return session;
  }
  #forgetAll(): void {
    this.#packed = new PackedSessions();
    this.#addresses = [];
    this.#index = undefined;
    this.#firstEnd = Infinity;
  }
  /**
   * Whoever was connected when the last process ended counts as gone since this one began. A clock
   * that was set back meanwhile prolongs nothing: no connection ended later than that either.
   */
  #offlineSince({ detachedAt }: FoundSession): number {
    return detachedAt === 0
      ? this.#now : Math.min(this.#now, this.#now + (detachedAt - this.#wallNow));
  }

  /** Who sleeps under this name; undefined: nobody. */
  find(owner: SessionOwner): SessionHandle | undefined {
    if (this.#size === 0) return undefined;
    const index = this.#index ??= this.#makeIndex();
    const name = sessionKey(owner.mountPoint, owner.clientId);
    const key = Buffer.from(name);
    let cell = this.#cellOf(key, index);
    while (index[cell] !== EMPTY_CELL) {
      const slot = index[cell];
      if (this.#isTaken(slot) && key.equals(this.#recordIn(slot).key)) {
        // Lone surrogates of an application become the bytes of another name.
        return this.#recordIn(slot).clientIdentifier === name ? this.#handleIn(slot) : undefined;
      }
      cell = next(cell, index);
    }
    return undefined;
  }
  /**
   * Made when everybody is known, and never added to: who wakes leaves a cell that leads nowhere.
   */
  #makeIndex(): Int32Array {
    const index = new Int32Array(2 ** Math.ceil(Math.log2(this.#size * CELLS_EACH)));
    for (const slot of this.#slots()) {
      let cell = this.#cellOf(this.#recordIn(slot).key, index);
      while (index[cell] !== EMPTY_CELL) cell = next(cell, index);
      index[cell] = slot;
    }
    return index;
  }
  /** FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/), from a start of our own. */
  #cellOf(key: Uint8Array, index: Int32Array): number {
    let hash = this.#hashSeed;
    for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key[at], FNV_PRIME);
    hash ^= hash >>> 15;
    return hash & (index.length - 1);
  }

  /** When this session ends if nobody comes; one that ends with its connection has ended. */
  endOf(found: FoundSession): number {
    const { sessionExpiryInterval } = found;
    return sessionExpiryInterval === 0
      ? -Infinity : expiryDueOf(this.#offlineSince(found), sessionExpiryInterval);
  }
  /** Those that end before this time, or some of them. */
  endingBefore(time: number, max: number): SessionHandle[] {
    const ending: SessionHandle[] = [];
    for (const slot of this.#slots()) {
      if (this.endOf(this.#recordIn(slot)) < time) ending.push(this.#handleIn(slot));
      if (ending.length === max) break;
    }
    return ending;
  }
  /** No session ends earlier; Infinity: none ever does. */
  get firstEnd(): number {
    return this.#firstEnd;
  }
  /** After the first of them were woken. */
  findFirstEnd(): void {
    this.#firstEnd = Infinity;
    for (const slot of this.#slots()) {
      this.#firstEnd = Math.min(this.#firstEnd, this.endOf(this.#recordIn(slot)));
    }
  }
}

function next(cell: number, index: Int32Array): number {
  return (cell + 1) & (index.length - 1);
}

function identityOf({ mountPoint, clientId }: SessionOwner, record: FoundSession): Identity {
  const { attributes } = record;
  const { roles, username = record.username } = attributes.length === 0
    ? NO_ATTRIBUTES : JSON.parse(bufferOf(attributes).toString()) as Attributes;
  return mountPoint === UNMOUNTED ? { clientId, username, roles }
    : { clientId, mountPoint, username, roles };
}
/** `username`: one that is too long for its field. */
type Attributes = Pick<Identity, 'username' | 'roles'>;
const NO_ATTRIBUTES: Attributes = {};
