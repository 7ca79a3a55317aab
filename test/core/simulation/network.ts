/**
 * A lying network in virtual time. It splits what it carries at any byte, is slow, stands still,
 * cuts. It keeps the promises of a Transport and checks one of the core: memory that was given to
 * `write` is not touched until `done`.
 */
import type { Transport, TransportOwner } from '../../../lib/listener/transport.js';

/** Events in the order of their time; the same seed gives the same order. */
export class Schedule {
  now = 0;
  private readonly heap: { at: number; order: number; fn: () => void }[] = [];
  private order = 0;

  constructor(readonly random: () => number, private readonly show?: (line: string) => void) {}

  /** Shows a line with its time; undefined when nobody looks. */
  get trace(): ((text: string) => void) | undefined {
    const { show } = this;
    return show && ((text) => show(`${String(this.now).padStart(6)} ${text}`));
  }

  below(limit: number): number {
    return Math.floor(this.random() * limit);
  }
  chance(probability: number): boolean {
    return this.random() < probability;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  after(delayMs: number, fn: () => void): void {
    const { heap } = this;
    heap.push({ at: this.now + delayMs, order: this.order++, fn });
    let at = heap.length - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!this.isBefore(at, up)) break;
      this.swap(at, up);
      at = up;
    }
  }
  private isBefore(a: number, b: number): boolean {
    const [one, two] = [this.heap[a]!, this.heap[b]!];
    return one.at < two.at || (one.at === two.at && one.order < two.order);
  }
  private swap(a: number, b: number): void {
    [this.heap[a], this.heap[b]] = [this.heap[b]!, this.heap[a]!];
  }
  private take(): { at: number; fn: () => void } | undefined {
    const { heap } = this;
    if (heap.length === 0) return undefined;
    this.swap(0, heap.length - 1);
    const first = heap.pop()!;
    for (let at = 0; ;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < heap.length && this.isBefore(child, least)) least = child;
      }
      if (least === at) return first;
      this.swap(at, least);
      at = least;
    }
  }

  /** Runs what is due until `until`. */
  run(until: number): void {
    while (this.heap.length !== 0 && this.heap[0]!.at <= until) {
      const event = this.take()!;
      this.now = Math.max(this.now, event.at);
      event.fn();
    }
    this.now = Math.max(this.now, until);
  }
}

export interface WirePeer {
  wireData(bytes: Buffer): void;
  wireClosed(): void;
}

interface Write {
  readonly view: Uint8Array;
  readonly copy: Buffer;
  readonly done: () => void;
}

/** One connection: the core holds it as a Transport, a simulated client as a socket. */
export class Wire implements Transport {
  readonly kind = 'memory';
  readonly remoteAddress = 'simulated';
  readonly remotePort = 1;
  /** The client takes nothing from the network: what the core writes stays in its memory. */
  frozen = false;
  /** The client is gone without a word: nothing arrives any more in either direction. */
  mute = false;
  isOpen = true;
  private owner: TransportOwner | undefined;
  private readonly toCore: Buffer[] = [];
  private readonly writes: Write[] = [];
  private paused = false;
  private ending = false;
  private carrying = false;
  private completing = false;
  /** What was sent first arrives first. */
  private lastArrival = 0;

  constructor(
    private readonly schedule: Schedule, private readonly peer: WirePeer,
    /** `instant`: the kernel takes everything at once. */
    private style: 'instant' | 'slow' | 'bytewise',
  ) {}

  get bytesInFlight(): number {
    return this.writes.reduce((sum, write) => sum + write.view.length, 0);
  }

  // --- the client's end
  send(bytes: Buffer): void {
    if (!this.isOpen || this.mute || bytes.length === 0) return;
    this.toCore.push(bytes);
    this.carry();
  }
  /** From here on a good network. */
  hurry(): void {
    this.style = 'instant';
    this.thaw();
  }
  thaw(): void {
    this.frozen = false;
    this.complete();
  }
  /** The network breaks: what was under way is lost. */
  cut(): void {
    this.close(new Error('cut'));
  }

  // --- the core's end
  open(owner: TransportOwner): void {
    this.owner = owner;
  }
  write(bytes: Uint8Array, done: () => void): boolean {
    if (!this.isOpen) return true;
    const copy = Buffer.from(bytes);
    if (this.writes.length === 0 && !this.frozen && this.style === 'instant') {
      this.deliver(copy);
      return true;
    }
    this.writes.push({ view: bytes, copy, done });
    this.complete();
    return false;
  }
  cork(): void {}
  uncork(): void {}
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
    this.carry();
  }
  end(deadlineMs: number): void {
    this.ending = true;
    this.schedule.after(deadlineMs, () => this.close());
    this.complete();
    if (this.writes.length === 0) this.schedule.after(0, () => this.close());
  }
  destroy(): void {
    this.close();
  }

  // --- the network
  private delay(): number {
    return this.schedule.chance(0.8) ? this.schedule.below(5) : this.schedule.below(60);
  }

  private carry(): void {
    if (this.carrying || this.paused || this.toCore.length === 0) return;
    this.carrying = true;
    this.schedule.after(this.delay(), () => {
      this.carrying = false;
      if (!this.isOpen || this.paused || this.ending) return;
      const all = Buffer.concat(this.toCore.splice(0));
      const length = this.pieceOf(all.length);
      if (length < all.length) this.toCore.push(all.subarray(length));
      // A copy that is overwritten afterwards: the core may not keep the chunk.
      const chunk = Buffer.from(all.subarray(0, length));
      this.owner?.transportData(chunk);
      chunk.fill(0xee);
      this.carry();
    });
  }
  private pieceOf(length: number): number {
    if (this.style === 'bytewise') return Math.min(length, 1 + this.schedule.below(3));
    if (this.style === 'instant' || this.schedule.chance(0.5)) return length;
    return 1 + this.schedule.below(length);
  }

  private complete(): void {
    if (this.completing || this.frozen || this.mute || this.writes.length === 0) return;
    this.completing = true;
    this.schedule.after(this.delay(), () => {
      this.completing = false;
      if (!this.isOpen || this.frozen || this.mute) return;
      const write = this.writes.shift();
      if (write !== undefined) {
        this.check(write);
        this.deliver(write.copy);
        write.done();
      }
      this.complete();
      if (this.ending && this.writes.length === 0) this.close();
    });
  }
  private check(write: Write): void {
    if (!write.copy.equals(write.view)) {
      throw new Error('the core wrote to memory that it had given to the transport');
    }
  }
  private deliver(bytes: Buffer): void {
    if (this.mute) return;
    const { now } = this.schedule;
    this.lastArrival = Math.max(this.lastArrival, now + this.schedule.below(3));
    this.schedule.after(this.lastArrival - now, () => {
      if (!this.mute) this.peer.wireData(bytes);
    });
  }

  private close(error?: Error): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    for (const write of this.writes.splice(0)) {
      this.check(write);
      write.done();
    }
    this.owner?.transportClosed(error);
    const wait = Math.max(this.lastArrival - this.schedule.now, this.schedule.below(10));
    this.schedule.after(wait, () => this.peer.wireClosed());
  }
}
