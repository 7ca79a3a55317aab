/**
 * The byte pipe over a Node socket: TCP, unix, and TLS.
 *
 * A connection that says nothing must cost next to nothing: handlers are functions of this file,
 * shared by all sockets, and find their transport through a symbol on the socket.
 *
 *     write(bytes)   nothing waits, not corked ->  socket.write(bytes)
 *                       kernel took all  ------->  true: the memory is free
 *                       kernel took part ------->  an empty write behind it carries `done`
 *                    something waits, corked, or TLS -> socket.write(bytes, done)
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { TransportError } from './listener-error.js';
import { HALF_OPEN_DEADLINE_MS } from './listener-limits.js';
import { PROXIED_PEER, peerAddress, peerPort } from './peer.js';
import type { PeerSocket } from './peer.js';
import { ignoreReads, readIntoReused } from './reused-reads.js';
import type { Transport, TransportIdentity, TransportKind, TransportOwner } from './transport.js';

const TRANSPORT = Symbol('nidomq.transport');
const NOTHING = new Uint8Array(0);

interface CarryingSocket extends PeerSocket {
  [TRANSPORT]?: SocketTransport;
}

abstract class SocketTransport implements Transport {
  abstract readonly kind: TransportKind;
  protected readonly socket: CarryingSocket;
  owner?: TransportOwner;
  deadline?: NodeJS.Timeout;

  constructor(socket: Socket) {
    this.socket = socket;
    this.owner = undefined;
    this.deadline = undefined;
    this.socket[TRANSPORT] = this;
    socket.on('error', ignoreError);
  }

  get remoteAddress(): string {
    return peerAddress(this.socket);
  }

  get remotePort(): number {
    return peerPort(this.socket);
  }

  get identity(): TransportIdentity | undefined {
    return this.socket[PROXIED_PEER]?.identity;
  }

  get bytesInFlight(): number {
    return this.socket.closed ? 0 : this.socket.writableLength;
  }

  open(owner: TransportOwner): void {
    const socket = this.socket;
    this.owner = owner;
    socket.on('close', onClose);
    if (socket.closed) process.nextTick(tellClosed, socket);
    else this.read(socket.on('end', onEnd));
  }

  /** Starts the flow of data. */
  protected read(socket: CarryingSocket): void {
    socket.on('data', onData);
  }

  abstract write(bytes: Uint8Array, done: () => void): boolean;

  cork(): void {
    this.socket.cork();
  }

  uncork(): void {
    this.socket.uncork();
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(deadlineMs: number): void {
    const socket = this.socket;
    if (socket.destroyed) return;
    // Data that nobody reads would make the kernel answer our FIN with RST, and RST takes away what
    // was just sent.
    socket.removeListener('data', onData);
    ignoreReads(socket);
    socket.resume();
    socket.end();
    clearTimeout(this.deadline);
    this.deadline = setTimeout(endDeadlinePassed, deadlineMs, socket, deadlineMs);
  }

  destroy(): void {
    this.socket.destroy();
  }
}

abstract class PlainTransport extends SocketTransport {
  protected override read(socket: CarryingSocket): void {
    if (socket.readableFlowing !== null || !readIntoReused(socket, takeBytes)) super.read(socket);
    else socket.resume();
  }

  write(bytes: Uint8Array, done: () => void): boolean {
    const socket = this.socket;
    if (bytes.length === 0 || !socket.writable) return true;
    if (socket.writableLength !== 0 || socket.writableCorked !== 0) {
      socket.write(bytes, done);
      return false;
    }
    // Without a callback Node allocates nothing for a write that the kernel takes at once, which is
    // nearly every write.
    socket.write(bytes);
    if (socket.writableLength === 0) return true;
    socket.write(NOTHING, done);
    return false;
  }
}

export class TcpTransport extends PlainTransport {
  get kind(): TransportKind {
    return 'tcp';
  }
}

export class UnixTransport extends PlainTransport {
  get kind(): TransportKind {
    return 'unix';
  }
}

export class TlsTransport extends SocketTransport {
  readonly #identity?: TransportIdentity;

  constructor(socket: TLSSocket, identity?: TransportIdentity) {
    super(socket);
    this.#identity = identity;
  }

  get kind(): TransportKind {
    return 'tls';
  }

  override get identity(): TransportIdentity | undefined {
    return this.#identity ?? super.identity;
  }

  /**
   * OpenSSL may keep the buffer until the record is out: only the callback says that it is free.
   */
  write(bytes: Uint8Array, done: () => void): boolean {
    if (bytes.length === 0 || !this.socket.writable) return true;
    this.socket.write(bytes, done);
    return false;
  }
}

function onData(this: CarryingSocket, chunk: Uint8Array): void {
  (this[TRANSPORT] as SocketTransport).owner?.transportData(chunk);
}

function takeBytes(socket: CarryingSocket, chunk: Uint8Array): void {
  (socket[TRANSPORT] as SocketTransport).owner?.transportData(chunk);
}

/**
 * The peer sends no more. Node ends our half when everything is out; a peer that does not read must
 * not hold us.
 */
function onEnd(this: CarryingSocket): void {
  const transport = this[TRANSPORT] as SocketTransport;
  transport.deadline ??= setTimeout(halfOpenDeadlinePassed, HALF_OPEN_DEADLINE_MS, this);
}

function onClose(this: CarryingSocket): void {
  tellClosed(this);
}

function tellClosed(socket: CarryingSocket): void {
  const transport = socket[TRANSPORT] as SocketTransport;
  const owner = transport.owner;
  clearTimeout(transport.deadline);
  transport.owner = undefined;
  owner?.transportClosed(socket.errored ?? undefined);
}

/** Errors are told with `close`: Node keeps the error in `socket.errored`. */
function ignoreError(): void {}

function endDeadlinePassed(socket: Socket, deadlineMs: number): void {
  socket.destroy(new TransportError('NIDO_TRANSPORT_END_DEADLINE',
    `the peer did not close within ${deadlineMs} ms after we did: closed by force`));
}

function halfOpenDeadlinePassed(socket: Socket): void {
  socket.destroy(new TransportError('NIDO_TRANSPORT_HALF_OPEN_DEADLINE',
    `the peer closed its half and did not take the rest within ${HALF_OPEN_DEADLINE_MS} ms: closed `
      + 'by force'));
}
