/** One raw Network Connection to the broker under test, with expectations that end in time. */
import { connect as connectSocket } from 'node:net';
import type { Socket } from 'node:net';
import { show } from './bytes.js';
import type { Version } from './packets.js';
import { readPacket, WireFault } from './reader.js';
import type { Reply } from './reader.js';

/** How long a good broker may take before silence counts as failure. */
export const REPLY_MS = 15_000;
/** How long silence must last before it counts as silence. */
export const SILENCE_MS = 150;

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

export type Match = Partial<
  Pick<Reply, 'packetId' | 'qos' | 'dup' | 'retain' | 'topic' | 'sessionPresent' | 'reasonCode'>
> & { readonly payload?: string; readonly reasonCodes?: readonly number[] };

interface Waiter {
  readonly check: () => boolean;
  readonly settle: (error?: Error) => void;
}

export class ExpectationError extends Error {
  override readonly name = 'ExpectationError';
}

function describe(reply: Reply): string {
  return `${reply.name} [${show(reply.raw)}]`;
}

export function differs(reply: Reply, match: Match): string | undefined {
  for (const [field, wanted] of Object.entries(match)) {
    const value = reply[field as keyof Reply];
    const got = Buffer.isBuffer(value) ? value.toString() : value;
    if (JSON.stringify(got) !== JSON.stringify(wanted)) {
      return `${field} is ${JSON.stringify(got)}, expected ${JSON.stringify(wanted)}`;
    }
  }
  return undefined;
}

export class WirePeer {
  readonly transcript: string[] = [];
  closed = false;
  /** Set from CONNECT: whatever is longer may not arrive. [MQTT-3.1.2-24] */
  maximumPacketSize = Infinity;
  private pending: Buffer = Buffer.alloc(0);
  private readonly queue: Reply[] = [];
  private readonly waiters = new Set<Waiter>();
  private fault?: Error;
  private seen = 0;

  private constructor(
    readonly socket: Socket, readonly version: Version, private readonly read = readPacket,
  ) {
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.receive(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.closed = true;
      this.transcript.push('<closed>');
      this.wake();
    });
  }

  static async open(endpoint: Endpoint, version: Version): Promise<WirePeer> {
    const socket = connectSocket(endpoint.port, endpoint.host);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new WirePeer(socket, version);
  }

  /** Bytes over a pipe that is opened elsewhere (WebSocket tests feed frames by hand). */
  static over(socket: Socket, version: Version, read = readPacket): WirePeer {
    return new WirePeer(socket, version, read);
  }

  send(...parts: Buffer[]): this {
    const bytes = Buffer.concat(parts);
    this.transcript.push(`> ${show(bytes)}`);
    if (!this.closed) this.socket.write(bytes);
    return this;
  }

  /** The next packet, whatever was sent before it is looked at first. */
  async next(ms = REPLY_MS): Promise<Reply> {
    await this.until(() => this.queue.length > 0 || this.closed, ms, 'a packet');
    const reply = this.queue.shift();
    if (!reply) throw new ExpectationError('expected a packet, but the connection was closed');
    return reply;
  }

  /** The very next packet must be this one. */
  async expectPacket(name: string, match: Match = {}, ms = REPLY_MS): Promise<Reply> {
    const reply = await this.next(ms).catch((error: Error) => {
      throw new ExpectationError(`waiting for ${name} ${JSON.stringify(match)}: ${error.message}`);
    });
    if (reply.name !== name) {
      throw new ExpectationError(`expected ${name}, got ${describe(reply)}`);
    }
    const difference = differs(reply, match);
    if (difference) throw new ExpectationError(`${describe(reply)}: ${difference}`);
    return reply;
  }

  /** The first packet that fits; others keep their places in the queue. */
  async awaitPacket(name: string, match: Match = {}, ms = REPLY_MS): Promise<Reply> {
    const find = (): number =>
      this.queue.findIndex((reply) => reply.name === name && !differs(reply, match));
    const wanted = `${name} ${JSON.stringify(match)}`;
    await this.until(() => find() >= 0 || this.closed, ms, wanted);
    const at = find();
    if (at < 0) throw new ExpectationError(`expected ${wanted}, but the connection was closed`);
    return this.queue.splice(at, 1)[0] as Reply;
  }

  /** The peer closes. Packets that came before are the result. */
  async expectClosed(ms = REPLY_MS): Promise<Reply[]> {
    await this.until(() => this.closed, ms, 'the connection to be closed');
    return this.queue.splice(0);
  }

  /** No packet and no close for `ms`. A predicate narrows what counts. */
  async expectNothing(
    ms = SILENCE_MS, counts: (reply: Reply) => boolean = () => true,
  ): Promise<void> {
    const found = (): Reply | undefined => this.queue.find(counts);
    const end = Date.now() + ms;
    while (!found() && !this.closed && Date.now() < end) {
      await this.pause(Math.max(1, end - Date.now()));
    }
    const reply = found();
    if (reply) throw new ExpectationError(`expected nothing, got ${describe(reply)}`);
    if (this.closed) throw new ExpectationError('expected nothing, but the connection was closed');
    if (this.fault) throw this.fault;
  }

  /** Cuts the Network Connection as a failing network would. */
  cut(): void {
    this.socket.destroy();
  }

  /** Bytes of packets that arrived so far. */
  get packetsSeen(): number {
    return this.seen;
  }

  private receive(chunk: Buffer): void {
    this.transcript.push(`< ${show(chunk)}`);
    this.pending = this.pending.length > 0 ? Buffer.concat([this.pending, chunk]) : chunk;
    try {
      for (;;) {
        const reply = this.read(this.pending, this.version);
        if (!reply) break;
        this.pending = this.pending.subarray(reply.raw.length);
        if (reply.raw.length > this.maximumPacketSize) {
          throw new WireFault(`${reply.name} exceeds Maximum Packet Size [MQTT-3.1.2-24]`);
        }
        this.seen++;
        this.queue.push(reply);
      }
    } catch (error) {
      this.fault ??= error as Error;
    }
    this.wake();
  }

  private wake(): void {
    for (const waiter of this.waiters) {
      if (this.fault) waiter.settle(this.fault);
      else if (waiter.check()) waiter.settle();
    }
  }

  /** Waits for `ms` or for the next thing to happen on this connection. */
  private pause(ms: number): Promise<void> {
    const before = this.transcript.length;
    return this.until(() => this.transcript.length !== before, ms, '').catch(() => undefined);
  }

  private until(check: () => boolean, ms: number, what: string): Promise<void> {
    if (this.fault) return Promise.reject(this.fault);
    if (check()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (error?: Error): void => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        if (error) reject(error);
        else resolve();
      };
      const late = (): void => settle(new ExpectationError(`no sign of ${what} within ${ms} ms`));
      const timer = setTimeout(late, ms);
      const waiter: Waiter = { check, settle };
      this.waiters.add(waiter);
    });
  }
}
