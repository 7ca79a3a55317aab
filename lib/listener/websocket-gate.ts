/** Decides which HTTP requests become WebSockets, and turns the others away in words. */
import { STATUS_CODES } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { WebSocket, WebSocketServer } from 'ws';
import { WEBSOCKET_MAX_PAYLOAD } from './listener-limits.js';
import { WEBSOCKET_PATH } from './listener-options.js';
import type { WebSocketListenerOptions } from './listener-options.js';
import type { PeerSocket } from './peer.js';
import type { RefusalReason } from './transport.js';

/**
 * The first that the client also offers is taken [MQTT-6.0.0-4]. `mqttv3.1` is what old libraries
 * say.
 */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1'] as const;

export interface WebSocketGateOwner {
  webSocketOpened(webSocket: WebSocket, socket: PeerSocket): void;
  webSocketRefused(socket: PeerSocket, reason: RefusalReason, detail: string): void;
}

interface Denial {
  readonly status: number;
  readonly reason: RefusalReason;
  readonly text: string;
}

export class WebSocketGate {
  readonly path: string;
  readonly #origins?: ReadonlySet<string>;
  readonly #maxPayload: number;
  #server?: WebSocketServer;

  constructor(options: WebSocketListenerOptions, private readonly owner: WebSocketGateOwner) {
    this.path = options.path ?? WEBSOCKET_PATH;
    this.#origins = options.origins === undefined ? undefined : new Set(options.origins);
    this.#maxPayload = options.maxPayload ?? WEBSOCKET_MAX_PAYLOAD;
  }

  /** Before the first `upgrade`. Most processes have no such door, and do not load `ws` for it. */
  async load(): Promise<void> {
    const { WebSocketServer } = await import('ws');
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      // Answered in websocket-transport.ts, with a bound and without a closure per connection.
      autoPong: false,
      maxPayload: this.#maxPayload,
      handleProtocols: (offered) => SUBPROTOCOLS.find((name) => offered.has(name)) ?? false,
    });
    this.#server.on('wsClientError', (error, socket) => {
      this.#deny(socket as PeerSocket, {
        status: 400, reason: 'websocket-handshake', text: error.message,
      });
    });
  }

  isMine(request: IncomingMessage): boolean {
    const url = request.url ?? '';
    const end = url.indexOf('?');
    return (end < 0 ? url : url.slice(0, end)) === this.path;
  }

  /** The listener of the HTTP server's 'upgrade'. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', ignoreError);
    const denial = this.#check(request);
    if (denial === undefined) this.#server!.handleUpgrade(request, socket, head, this.#opened);
    else this.#deny(socket as PeerSocket, denial);
  }

  /** The listener of the HTTP server's 'request': a browser that came to look. */
  answer(request: IncomingMessage, response: ServerResponse): void {
    const here = this.isMine(request);
    response.writeHead(here ? 426 : 404, {
      'Content-Type': 'text/plain', Connection: 'close', ...here ? { Upgrade: 'websocket' } : {},
    });
    response.end(here ? 'This is an MQTT broker: connect with WebSocket and the subprotocol '
      + 'mqtt.\n' : 'Not found.\n');
    this.owner.webSocketRefused(request.socket, 'http-request', `${request.method ?? ''} without `
      + `upgrade`);
  }

  readonly #opened = (webSocket: WebSocket, request: IncomingMessage): void => {
    this.owner.webSocketOpened(webSocket, request.socket);
  };

  #check(request: IncomingMessage): Denial | undefined {
    if (!this.isMine(request)) {
      return { status: 404, reason: 'websocket-path', text: `MQTT is served at ${this.path}` };
    }
    const origin = request.headers.origin;
    if (this.#origins !== undefined && origin !== undefined && !this.#origins.has(origin)) {
      return {
        status: 403, reason: 'websocket-origin', text: `origin ${JSON.stringify(origin)} is not `
          + `in the allow-list`,
      };
    }
    const offer = request.headers['sec-websocket-protocol'] ?? '';
    const offered = offer.split(',').map((name) => name.trim());
    if (!SUBPROTOCOLS.some((name) => offered.includes(name))) { // [MQTT-6.0.0-3]
      return { status: 400, reason: 'websocket-protocol', text: 'the client must offer the '
        + 'subprotocol mqtt' };
    }
    return undefined;
  }

  #deny(socket: PeerSocket, denial: Denial): void {
    const body = `${denial.text}\n`;
    socket.once('finish', () => socket.destroy());
    socket.end(`HTTP/1.1 ${denial.status} ${STATUS_CODES[denial.status] ?? ''}\r\nConnection: `
      + `close\r\n`
      + `Content-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
    this.owner.webSocketRefused(socket, denial.reason, denial.text);
  }
}

function ignoreError(): void {}
