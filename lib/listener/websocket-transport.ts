/**
 * The byte pipe over a WebSocket. A frame may hold part of a packet, one, or many: only the bytes
 * count. Handlers are shared by all sockets, as in socket-transport.ts.
 */
import type { WebSocket } from 'ws';
import { TransportError } from './listener-error.js';
import {
  HALF_OPEN_DEADLINE_MS, PONG_BACKLOG_BYTES_MAX, REFUSED_FRAME_DEADLINE_MS,
  WEBSOCKET_FRAME_BYTES_MAX,
} from './listener-limits.js';
import { PROXIED_PEER, peerAddress, peerPort } from './peer.js';
import type { PeerSocket } from './peer.js';
import type { Transport, TransportIdentity, TransportKind, TransportOwner } from './transport.js';

const TRANSPORT = Symbol('nidomq.transport');
/** `ws.OPEN`, here so that no instance is asked. */
const READY_STATE_OPEN = 1;
const CLOSE_NORMAL = 1_000;
const CLOSE_UNSUPPORTED_DATA = 1_003;
const BINARY_FRAME = { binary: true, compress: false } as const;

interface CarryingWebSocket extends WebSocket {
  [TRANSPORT]?: WebSocketTransport;
}
interface CarryingSocket extends PeerSocket {
  [TRANSPORT]?: WebSocketTransport;
}
/** What `ws` calls `isBinary`. */
type FrameIsBinary = boolean;
type Flow = 'flowing' | 'paused' | 'ending' | 'closed';

export interface WebSocketCarrier {
  readonly webSocket: WebSocket;
  /** The socket below, for its addresses. */
  readonly socket: PeerSocket;
  readonly kind: 'ws' | 'wss';
  readonly identity?: TransportIdentity;
}

export class WebSocketTransport implements Transport {
  readonly kind: TransportKind;
  readonly #webSocket: CarryingWebSocket;
  readonly #socket: CarryingSocket;
  readonly #identity?: TransportIdentity;
  #owner?: TransportOwner;
  #flow: Flow = 'flowing';
  /** Messages of the chunk in which the owner paused; `ws` has no way to give them back. */
  #backlog?: Uint8Array[];
  #failure?: Error;
  #deadline?: NodeJS.Timeout;

  constructor(carrier: WebSocketCarrier) {
    this.kind = carrier.kind;
    this.#webSocket = carrier.webSocket;
    this.#socket = carrier.socket;
    this.#identity = carrier.identity;
    this.#webSocket[TRANSPORT] = this;
    this.#socket[TRANSPORT] = this;
    // Between the hand-over and `open` nothing may be lost: no data flows, and errors have a
    // listener.
    this.#webSocket.pause();
    this.#webSocket.on('error', onError);
  }

  get remoteAddress(): string {
    return peerAddress(this.#socket);
  }

  get remotePort(): number {
    return peerPort(this.#socket);
  }

  get identity(): TransportIdentity | undefined {
    return this.#identity ?? this.#socket[PROXIED_PEER]?.identity;
  }

  get bytesInFlight(): number {
    return this.#socket.closed ? 0 : this.#socket.writableLength;
  }

  open(owner: TransportOwner): void {
    this.#owner = owner;
    const webSocket = this.#webSocket;
    webSocket.on('close', onClose);
    if (webSocket.readyState > READY_STATE_OPEN) {
      if (this.#socket.closed) process.nextTick(closed, this);
      return;
    }
    webSocket.on('message', onMessage).on('ping', onPing);
    this.#socket.on('end', onSocketEnd);
    webSocket.resume();
  }

  /**
   * A client masks a copy, a server sends the buffer itself and may have to keep it: only the
   * callback counts.
   */
  write(bytes: Uint8Array, done: () => void): boolean {
    if (bytes.length === 0 || this.#webSocket.readyState !== READY_STATE_OPEN) return true;
    if (!this.#socket.writable) return true;
    // Binary frames only, and packets may be cut anywhere.
    if (bytes.length <= WEBSOCKET_FRAME_BYTES_MAX) this.#webSocket.send(bytes, BINARY_FRAME, done);
    else this.#sendInPieces(bytes, done);
    return false;
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  pause(): void {
    if (this.#flow !== 'flowing') return;
    this.#flow = 'paused';
    this.#webSocket.pause();
  }

  resume(): void {
    if (this.#flow !== 'paused') return;
    this.#flow = 'flowing';
    // Never at once: `resume` may be called from within `transportData`, and calls must not
    // overlap.
    if (this.#backlog !== undefined) process.nextTick(drainBacklog, this);
    else this.#webSocket.resume();
  }

  end(deadlineMs: number): void {
    this.#close({ code: CLOSE_NORMAL, reason: '', deadlineMs });
  }

  destroy(): void {
    if (this.#flow !== 'closed') this.#flow = 'ending';
    this.#backlog = undefined;
    this.#webSocket.terminate();
  }

  /** @internal */
  message(data: Uint8Array, isBinary: FrameIsBinary): void {
    if (this.#flow === 'ending' || this.#flow === 'closed') return;
    if (!isBinary) this.#refuseText(); // [MQTT-6.0.0-1]
    else if (this.#flow === 'paused' || this.#backlog !== undefined) {
      (this.#backlog ??= []).push(data);
    } else this.#owner?.transportData(data); // [MQTT-6.0.0-2]
  }

  /** @internal */
  drain(): void {
    const backlog = this.#backlog;
    while (backlog !== undefined && this.#flow === 'flowing' && this.#backlog === backlog) {
      const data = backlog.shift();
      if (data === undefined) {
        this.#backlog = undefined;
        if (this.#socket.closed) this.tellClosed();
        else this.#webSocket.resume();
        return;
      }
      this.#owner?.transportData(data);
    }
  }

  /** @internal */
  ping(data: Buffer): void {
    const webSocket = this.#webSocket;
    if (webSocket.readyState !== READY_STATE_OPEN) return;
    if (this.#socket.writableLength > PONG_BACKLOG_BYTES_MAX) return;
    webSocket.pong(data, undefined, ignoreError);
  }

  /**
   * @internal `ws` closes with the right code by itself; a peer that does not answer must not hold
   * us.
   */
  failed(error: Error): void {
    this.#failure ??= error;
    this.halfOpen();
  }

  /** @internal */
  halfOpen(): void {
    if (this.#flow === 'closed') return;
    this.#deadline ??= setTimeout(deadlinePassed, HALF_OPEN_DEADLINE_MS, this, undefined);
  }

  /** @internal Once everything that came before the end was delivered. */
  tellClosed(): void {
    if (this.#backlog !== undefined && this.#flow !== 'ending') return;
    this.#flow = 'closed';
    clearTimeout(this.#deadline);
    const owner = this.#owner;
    this.#owner = undefined;
    owner?.transportClosed(this.#failure ?? this.#socket.errored ?? undefined);
  }

  /** @internal */
  expire(deadlineMs: number | undefined): void {
    this.#failure ??= deadlineMs === undefined
      ? new TransportError('NIDO_TRANSPORT_HALF_OPEN_DEADLINE',
        `the peer ended and did not take the rest within ${HALF_OPEN_DEADLINE_MS} ms: closed by `
          + 'force')
      : new TransportError('NIDO_TRANSPORT_END_DEADLINE',
        `the peer did not close within ${deadlineMs} ms after we did: closed by force`);
    this.destroy();
  }

  /** A peer holds a frame in memory until all of it is there, and has a limit for it. */
  #sendInPieces(bytes: Uint8Array, done: () => void): void {
    this.#socket.cork();
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(at + WEBSOCKET_FRAME_BYTES_MAX, bytes.length);
      const told = end === bytes.length ? done : ignoreError;
      this.#webSocket.send(bytes.subarray(at, end), BINARY_FRAME, told);
      at = end;
    }
    this.#socket.uncork();
  }

  #refuseText(): void {
    this.#failure = new TransportError('NIDO_TRANSPORT_TEXT_FRAME',
      'the peer sent a WebSocket text frame; MQTT travels in binary frames only');
    this.#close({
      code: CLOSE_UNSUPPORTED_DATA,
      reason: 'MQTT needs binary frames',
      deadlineMs: REFUSED_FRAME_DEADLINE_MS,
    });
  }

  #close(how: { code: number; reason: string; deadlineMs: number }): void {
    if (this.#flow === 'closed') return;
    this.#flow = 'ending';
    this.#backlog = undefined;
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(deadlinePassed, how.deadlineMs, this, how.deadlineMs);
    const webSocket = this.#webSocket;
    webSocket.resume();
    webSocket.close(how.code, how.reason);
  }
}

function onMessage(this: CarryingWebSocket, data: unknown, isBinary: FrameIsBinary): void {
  (this[TRANSPORT] as WebSocketTransport).message(data as Uint8Array, isBinary);
}

function onPing(this: CarryingWebSocket, data: Buffer): void {
  (this[TRANSPORT] as WebSocketTransport).ping(data);
}

function onError(this: CarryingWebSocket, error: Error): void {
  (this[TRANSPORT] as WebSocketTransport).failed(error);
}

function onClose(this: CarryingWebSocket): void {
  (this[TRANSPORT] as WebSocketTransport).tellClosed();
}

function onSocketEnd(this: CarryingSocket): void {
  (this[TRANSPORT] as WebSocketTransport).halfOpen();
}

function closed(transport: WebSocketTransport): void {
  transport.tellClosed();
}

function drainBacklog(transport: WebSocketTransport): void {
  transport.drain();
}

function deadlinePassed(transport: WebSocketTransport, deadlineMs: number | undefined): void {
  transport.expire(deadlineMs);
}

function ignoreError(): void {}
