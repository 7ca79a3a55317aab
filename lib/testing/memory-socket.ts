/**
 * A pair of connected sockets without a network. Bytes arrive in a later turn of the event loop and
 * in order, as they would through a kernel; a full or frozen receiver makes the sender wait.
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { TcpTransport } from '../listener/socket-transport.js';
import type { TransportKind } from '../listener/transport.js';

type WriteDone = (error?: Error | null) => void;

/** As much as a pair of kernel buffers on loopback would take. */
const INBOX_BYTES_MAX = 256 * 1_024;
let lastPort = 40_000;

export class MemorySocket extends Duplex {
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort: number;
  readonly connecting = false;
  peer!: MemorySocket;
  /** `frozen`: the program at this end reads nothing, as if it were stopped. */
  #reading: 'live' | 'frozen' = 'live';
  readonly #inbox: (Buffer | 'end')[] = [];
  #inboxBytes = 0;
  #deferred: WriteDone | undefined;
  #scheduled: 'yes' | 'no' = 'no';

  constructor() {
    super({ allowHalfOpen: false });
    this.remotePort = lastPort += 1;
  }

  /** Stops reading until `thaw`; what was sent waits. */
  freeze(): void {
    this.#reading = 'frozen';
  }

  thaw(): void {
    this.#reading = 'live';
    this.#schedule();
  }

  /** The program at this end is gone from one moment to the next, and hears of nothing any more. */
  kill(): void {
    this.removeAllListeners();
    this.on('error', () => undefined);
    this.destroy();
  }

  /** Bytes that were sent to this end and not read yet. */
  get waiting(): number {
    return this.#inboxBytes + this.readableLength;
  }

  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: WriteDone): void {
    // The writer may use its memory again as soon as it has been told.
    this.peer.receive(Buffer.from(chunk), done);
  }

  override _final(done: WriteDone): void {
    this.peer.receive('end', done);
  }

  override _read(): void {
    this.#schedule();
  }

  override _destroy(error: Error | null, done: WriteDone): void {
    this.#inbox.length = 0;
    setImmediate(() => this.peer.gone());
    done(error);
  }

  private receive(chunk: Buffer | 'end', done: WriteDone): void {
    if (this.destroyed) {
      done();
      return;
    }
    this.#inbox.push(chunk);
    if (chunk !== 'end') this.#inboxBytes += chunk.length;
    this.#schedule();
    if (this.#inboxBytes > INBOX_BYTES_MAX) this.#deferred = done;
    else done();
  }

  /** The other end is gone without a word. */
  private gone(): void {
    if (!this.destroyed) this.destroy();
  }

  #schedule(): void {
    if (this.#scheduled === 'yes' || this.#inbox.length === 0) return;
    this.#scheduled = 'yes';
    setImmediate(() => {
      this.#scheduled = 'no';
      this.#deliver();
    });
  }

  #deliver(): void {
    while (this.#inbox.length > 0 && this.#reading === 'live' && !this.destroyed) {
      const chunk = this.#inbox.shift()!;
      if (chunk === 'end') {
        this.push(null);
        return;
      }
      this.#inboxBytes -= chunk.length;
      if (!this.push(chunk)) break;
    }
    const done = this.#deferred;
    if (done === undefined || this.#inboxBytes > INBOX_BYTES_MAX) return;
    this.#deferred = undefined;
    done();
  }
}

/** Two ends that are connected to each other. */
export function memorySocketPair(): [MemorySocket, MemorySocket] {
  const pair: [MemorySocket, MemorySocket] = [new MemorySocket(), new MemorySocket()];
  [pair[0].peer, pair[1].peer] = [pair[1], pair[0]];
  return pair;
}

/** A memory socket where the program expects one of the network. */
export function asSocket(socket: MemorySocket): Socket {
  return socket as unknown as Socket;
}

export class MemoryTransport extends TcpTransport {
  constructor(socket: MemorySocket) {
    super(asSocket(socket));
  }

  override get kind(): TransportKind {
    return 'memory';
  }
}
