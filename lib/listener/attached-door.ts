/**
 * A WebSocket door inside an HTTP server that belongs to somebody else, for example a Nest
 * application. It takes the requests for its own path and leaves the others to their owners; the
 * server's life is not its business.
 */
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { WebSocket } from 'ws';
import { ListenerError } from './listener-error.js';
import { checkListenerOptions, describeAddress } from './listener-options.js';
import type { ListenerOptions, WebSocketListenerOptions } from './listener-options.js';
import { peerAddress, peerPort } from './peer.js';
import type { PeerSocket } from './peer.js';
import { tlsIdentity } from './tls-identity.js';
import type { AcceptTransport, Listener, ListenerObserver, RefusalReason } from './transport.js';
import { WebSocketGate } from './websocket-gate.js';
import { WebSocketTransport } from './websocket-transport.js';

/** A WebSocket door that was given a server. */
export interface AttachedOptions extends ListenerOptions {
  readonly ws: WebSocketListenerOptions & { readonly server: HttpServer };
}

export class AttachedDoor implements Listener {
  readonly name: string;
  readonly #server: HttpServer;
  readonly #gate: WebSocketGate;
  #accept?: AcceptTransport;

  constructor(
    options: AttachedOptions,
    private readonly observer: ListenerObserver = {},
  ) {
    checkListenerOptions(options);
    this.#server = options.ws.server;
    this.#gate = new WebSocketGate(options.ws, this);
    this.name = options.name ?? `ws:${this.#gate.path}`;
  }

  /** The HTTP server's, once it listens: Nest opens it after us. */
  get address(): string {
    const at = this.#server.address();
    const kind = 'setSecureContext' in this.#server ? 'wss' : 'ws';
    if (at === null) return describeAddress(kind, {}, this.#gate.path);
    if (typeof at === 'string') return describeAddress(kind, { path: at }, this.#gate.path);
    return describeAddress(kind, { host: at.address, port: at.port }, this.#gate.path);
  }

  get port(): number | undefined {
    const at = this.#server.address();
    return at === null || typeof at === 'string' ? undefined : at.port;
  }

  async start(accept: AcceptTransport): Promise<void> {
    if (this.#accept !== undefined) {
      throw new ListenerError('NIDO_LISTENER_ALREADY_STARTED', `${this.name} is open already. `
        + `Stop it first.`);
    }
    this.#accept = accept;
    await this.#gate.load();
    if (this.#accept === accept) this.#server.on('upgrade', this.#upgrade); // not stopped meanwhile
  }

  stop(_deadlineMs: number): Promise<void> {
    this.#accept = undefined;
    this.#server.removeListener('upgrade', this.#upgrade);
    return Promise.resolve();
  }

  /** Certificates are the HTTP server's. */
  reload(): Promise<void> {
    return Promise.resolve();
  }

  /** @internal Called by the WebSocket gate. */
  webSocketOpened(webSocket: WebSocket, socket: PeerSocket): void {
    const secure = (socket as Partial<TLSSocket>).encrypted === true;
    const transport = new WebSocketTransport({
      webSocket,
      socket,
      kind: secure ? 'wss' : 'ws',
      identity: secure ? tlsIdentity(socket as TLSSocket) : undefined,
    });
    try {
      this.#accept?.(transport, this);
    } catch (error) {
      transport.destroy();
      this.observer.listenerFailed?.(error as Error, this);
    }
  }

  /** @internal Called by the WebSocket gate. */
  webSocketRefused(socket: PeerSocket, reason: RefusalReason, detail: string): void {
    this.observer.peerRefused?.({
      reason, detail, remoteAddress: peerAddress(socket), remotePort: peerPort(socket),
    }, this);
  }

  /**
   * Other paths may belong to others (Socket.IO, a GraphQL gateway); only when nobody else listens
   * we say no.
   */
  readonly #upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const alone = this.#server.listenerCount('upgrade') === 1;
    if (alone || this.#gate.isMine(request)) this.#gate.upgrade(request, socket, head);
  };
}
