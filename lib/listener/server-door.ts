/**
 * A door with a server socket of its own: TCP, TLS, unix, WebSocket, secure WebSocket.
 *
 *     accept -> [PROXY header] -> [TLS handshake] -> [HTTP upgrade] -> Transport
 *
 * One Node server listens; its own 'connection' listeners (those of TLS and HTTP) are taken off and
 * called again once the PROXY header is read. What waits in between is known, so that `stop` can
 * cut it.
 */
import { createServer as createHttpServer } from 'node:http';
import type { Server as HttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer } from 'node:net';
import type { DropArgument, Server, ServerOpts, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { Server as TlsServer, TLSSocket } from 'node:tls';
import type { WebSocket } from 'ws';
import { listen } from './listen.js';
import { ListenerError, reasonOf } from './listener-error.js';
import {
  CONNECTIONS_MAX, HANDSHAKE_DEADLINE_MS, HTTP_HEADER_BYTES_MAX, KEEP_ALIVE_INITIAL_DELAY_MS,
} from './listener-limits.js';
import {
  checkListenerOptions, describeAddress, listenerKind, websocketOptions,
} from './listener-options.js';
import type { ListenerOptions, TlsListenerOptions } from './listener-options.js';
import { PROXIED_PEER, peerAddress, peerPort, plainAddress } from './peer.js';
import type { PeerSocket } from './peer.js';
import { PendingPeers } from './pending-peers.js';
import { claimedPskIdentity } from './pre-shared-keys.js';
import { ProxyReader } from './proxy-reader.js';
import { proveReusedReads } from './reused-reads.js';
import { TcpTransport, TlsTransport, UnixTransport } from './socket-transport.js';
import { TlsDoor } from './tls-door.js';
import { tlsIdentity } from './tls-identity.js';
import type {
  AcceptTransport, Listener, ListenerObserver, RefusalReason, Transport, TransportKind,
} from './transport.js';
import { WebSocketGate } from './websocket-gate.js';
import { WebSocketTransport } from './websocket-transport.js';

type ConnectionListener = (this: Server, socket: Socket) => void;
/** How often Node looks for HTTP requests that are overdue, as a part of their deadline. */
const HTTP_CHECKS_PER_DEADLINE = 4;

export class ServerDoor implements Listener {
  readonly name: string;
  readonly kind: TransportKind;
  readonly #tls?: TlsDoor;
  readonly #gate?: WebSocketGate;
  readonly #proxy?: ProxyReader;
  readonly #pending = new PendingPeers();
  #server?: Server;
  #accept?: AcceptTransport;
  /** Listeners that Node's TLS and HTTP servers put on 'connection'; empty for plain doors. */
  #inner: ConnectionListener[] = [];
  #starting?: Promise<void>;
  #address: string;
  #port?: number;

  constructor(
    private readonly options: ListenerOptions,
    private readonly observer: ListenerObserver = {},
  ) {
    checkListenerOptions(options);
    this.kind = listenerKind(options);
    const ws = websocketOptions(options);
    this.#gate = ws === undefined ? undefined : new WebSocketGate(ws, this);
    this.#address = describeAddress(this.kind, options, this.#gate?.path);
    this.name = options.name ?? this.#address;
    const tls = options.tls;
    if (tls !== undefined) {
      this.#tls = new TlsDoor(options as ListenerOptions & { tls: TlsListenerOptions }, this.name);
    }
    if (options.proxyProtocol !== undefined) {
      this.#proxy = new ProxyReader(options.proxyProtocol, this);
    }
  }

  get address(): string {
    return this.#address;
  }

  get port(): number | undefined {
    return this.#port;
  }

  start(accept: AcceptTransport): Promise<void> {
    if (this.#starting !== undefined) {
      return Promise.reject(new ListenerError('NIDO_LISTENER_ALREADY_STARTED',
        `${this.name} is open already. Stop it first.`));
    }
    this.#starting = this.#open(accept).catch((error: unknown) => {
      this.#server = undefined;
      this.#starting = undefined;
      throw error;
    });
    return this.#starting;
  }

  async stop(_deadlineMs: number): Promise<void> {
    const starting = this.#starting;
    if (starting === undefined) return;
    await starting.catch(() => {});
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    this.#starting = undefined;
    // Node's own 'close' waits for every open connection; the door is shut as soon as the kernel no
    // longer listens.
    server.close();
    this.#pending.destroyAll();
    if (this.#gate !== undefined) (server as HttpServer).closeAllConnections();
    // The handle closes on its own turn of the event loop, long before any deadline.
    await new Promise((resolve) => { setImmediate(resolve); });
  }

  async reload(): Promise<void> {
    const server = this.#server;
    if (this.#tls === undefined || server === undefined) return;
    await this.#tls.reload(server as TlsServer);
  }

  async #open(accept: AcceptTransport): Promise<void> {
    await this.#tls?.load();
    await this.#gate?.load();
    if (this.kind === 'tcp' || this.kind === 'unix') await proveReusedReads();
    // 3.1.1 [MQTT-7.1.1-1], 5.0 [MQTT-4.2-1]: TCP, ordered and lossless
    const server = this.#createServer();
    this.#accept = accept;
    this.#server = server;
    const at = await listen(server, this.options, this.#address);
    server.on('error', (error) => this.#failed(error));
    this.#port = at.port;
    this.#address = describeAddress(this.kind, { ...this.options, ...at }, this.#gate?.path);
  }

  /** @internal Called by the PROXY reader. */
  proxyHeaderRead(socket: Socket): void {
    if (this.#tls === undefined) this.#pending.remove(socket);
    this.#pass(socket);
  }

  /** @internal Called by the PROXY reader. */
  proxyHeaderRefused(socket: Socket, reason: RefusalReason, detail: string): void {
    this.#refuse(socket, reason, detail);
    socket.destroy();
  }

  /** @internal Called by the WebSocket gate. */
  webSocketOpened(webSocket: WebSocket, socket: PeerSocket): void {
    const kind = this.#tls === undefined ? 'ws' : 'wss';
    const identity = kind === 'wss' ? tlsIdentity(socket as TLSSocket) : undefined;
    this.#handOver(new WebSocketTransport({ webSocket, socket, kind, identity }));
  }

  /** @internal Called by the WebSocket gate. */
  webSocketRefused(socket: PeerSocket, reason: RefusalReason, detail: string): void {
    this.#refuse(socket, reason, detail);
  }

  #createServer(): Server {
    const server = this.#createNodeServer();
    server.maxConnections = this.options.connectionsMax ?? CONNECTIONS_MAX;
    this.#inner = server.listeners('connection') as ConnectionListener[];
    server.removeAllListeners('connection');
    server.on('connection', (socket: Socket) => this.#connected(socket));
    server.on('drop', (peer?: DropArgument) => this.#dropped(peer));
    if (this.#tls !== undefined) this.#watchTls(server as TlsServer);
    const gate = this.#gate;
    if (gate !== undefined) {
      server.on('upgrade', (request, socket, head) => gate.upgrade(request, socket, head));
      server.on('request', (request, response) => gate.answer(request, response));
      server.on('clientError', (error: Error, socket: PeerSocket) => {
        this.#httpFailed(error, socket);
      });
    }
    return server;
  }

  #createNodeServer(): Server {
    const { keepAlive, keepAliveInitialDelay, handshakeDeadlineMs } = this.options;
    const socketOptions: ServerOpts = {
      noDelay: true,
      keepAlive: keepAlive ?? true,
      keepAliveInitialDelay: keepAliveInitialDelay ?? KEEP_ALIVE_INITIAL_DELAY_MS,
    };
    const tlsOptions = this.#tls?.serverOptions();
    if (this.#gate === undefined) {
      return tlsOptions === undefined ? createServer(socketOptions)
        : createTlsServer({ ...socketOptions, ...tlsOptions });
    }
    const deadline = handshakeDeadlineMs ?? HANDSHAKE_DEADLINE_MS;
    const httpOptions = {
      ...socketOptions,
      maxHeaderSize: HTTP_HEADER_BYTES_MAX,
      headersTimeout: deadline,
      requestTimeout: deadline,
      connectionsCheckingInterval: Math.ceil(deadline / HTTP_CHECKS_PER_DEADLINE),
    };
    return tlsOptions === undefined ? createHttpServer(httpOptions)
      : createHttpsServer({ ...httpOptions, ...tlsOptions });
  }

  #watchTls(server: TlsServer): void {
    // First of all: the HTTP server of a secure WebSocket door listens to these events too.
    server.prependListener('secureConnection', (socket) => this.#secured(socket));
    server.prependListener('tlsClientError', (error, socket) => {
      const reason = `${reasonOf(error)}${claimedPskIdentity(socket)}`;
      const raw = this.#pending.take(socket);
      this.#refuse(raw ?? socket, 'tls-handshake', reason);
      socket.destroy();
    });
  }

  #connected(socket: Socket): void {
    if (this.#server === undefined) {
      this.#refuse(socket, 'door-closing', 'the door is closing');
      socket.destroy();
      return;
    }
    if (this.#tls !== undefined || this.#proxy !== undefined) this.#pending.add(socket);
    if (this.#proxy === undefined) this.#pass(socket);
    else this.#proxy.read(socket);
  }

  /** The socket speaks TLS, HTTP or MQTT from here on. */
  #pass(socket: Socket): void {
    if (this.#inner.length > 0) {
      for (const listener of this.#inner) listener.call(this.#server as Server, socket);
    } else {
      this.#handOver(this.kind === 'unix' ? new UnixTransport(socket) : new TcpTransport(socket));
    }
  }

  #secured(socket: TLSSocket & PeerSocket): void {
    const raw = this.#pending.take(socket) as PeerSocket | undefined;
    if (this.#proxy !== undefined) {
      // Without the raw socket nobody knows whom the proxy speaks for: the peer went away in the
      // meantime.
      if (raw === undefined) socket.destroy();
      else if (raw[PROXIED_PEER] !== undefined) socket[PROXIED_PEER] = raw[PROXIED_PEER];
    }
    if (this.#gate === undefined) this.#handOver(new TlsTransport(socket, tlsIdentity(socket)));
  }

  #handOver(transport: Transport): void {
    if (this.#server === undefined || this.#accept === undefined) {
      transport.destroy();
      return;
    }
    try {
      this.#accept(transport, this);
    } catch (error) {
      // Our own owner is at fault; the peer is let go, the door stays open.
      transport.destroy();
      this.observer.listenerFailed?.(error as Error, this);
    }
  }

  #httpFailed(error: Error, socket: PeerSocket): void {
    // Gone already: the peer left, or its TLS handshake failed and was told as such.
    if (socket.destroyed) return;
    this.#refuse(socket, 'http-request', reasonOf(error));
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
    socket.destroySoon();
  }

  #dropped(peer: DropArgument | undefined): void {
    this.observer.peerRefused?.({
      reason: 'connections-max',
      detail: `connectionsMax is ${this.options.connectionsMax ?? CONNECTIONS_MAX}`,
      remoteAddress: plainAddress(peer?.remoteAddress),
      remotePort: peer?.remotePort ?? 0,
    }, this);
  }

  #refuse(socket: PeerSocket, reason: RefusalReason, detail: string): void {
    this.observer.peerRefused?.({
      reason, detail, remoteAddress: peerAddress(socket), remotePort: peerPort(socket),
    }, this);
  }

  /** Errors of the open server, for example EMFILE on accept. */
  #failed(error: Error): void {
    this.observer.listenerFailed?.(new ListenerError('NIDO_LISTENER_FAILED',
      `${this.name}: ${reasonOf(error)}. The door stays open.`, { cause: error }), this);
  }
}
