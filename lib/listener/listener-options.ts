/** What a door can be told. Names are Node's where Node has one. */
import type { Server as HttpServer } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { ListenOptions } from 'node:net';
import { ListenerError } from './listener-error.js';
import { UNIX_PATH_BYTES_MAX } from './listener-limits.js';
import type { PreSharedKeys } from './pre-shared-keys.js';
import type { ProxyProtocolOptions } from './proxy-reader.js';
import { hasCertificate } from './tls-material.js';
import type { TlsMaterialOptions } from './tls-material.js';
import type { TransportKind } from './transport.js';

/** A certificate for other server names. What it leaves out comes from the door's own options. */
export interface SniContextOptions extends TlsMaterialOptions {
  /** `broker.casa`, or `*.casa` for one level below. */
  readonly serverName: string;
}

/** Node's TLS server options, and files in their place. */
export interface TlsListenerOptions extends TlsMaterialOptions {
  /** Ask clients for a certificate (mutual TLS). Needs `ca` or `caFile`. */
  readonly requestCert?: boolean;
  /**
   * With `requestCert`: `false` lets clients without a good certificate in, without an identity.
   * Default `true`.
   */
  readonly rejectUnauthorized?: boolean;
  /** Default `['mqtt']`, for a WebSocket door `['http/1.1']`. */
  readonly ALPNProtocols?: readonly string[];
  /** Milliseconds. */
  readonly handshakeTimeout?: number;
  readonly sni?: readonly SniContextOptions[];
  /** Pre-shared keys. They hold the door at TLS 1.2, see PSK_CIPHERS. */
  readonly psk?: PreSharedKeys;
  /** Lines of `identity:hexkey`. */
  readonly pskFile?: string;
  readonly pskIdentityHint?: string;
}

/** Options of a WebSocket door, with the names of `ws`. */
export interface WebSocketListenerOptions {
  /** Default `/mqtt`. */
  readonly path?: string;
  /**
   * An HTTP server that exists already (Nest: `app.getHttpServer()`): the door opens in it, and
   * never closes it.
   */
  readonly server?: HttpServer | HttpsServer;
  /**
   * Pages that may connect, for example `https://casa.example`. Left out: all. Only browsers send
   * an origin; a request without one is let in.
   */
  readonly origins?: readonly string[];
  /** Bytes of one WebSocket message. */
  readonly maxPayload?: number;
}

export interface ListenerOptions extends Pick<ListenOptions,
  'backlog' | 'exclusive' | 'host' | 'ipv6Only' | 'path' | 'port' | 'readableAll' | 'writableAll'> {
  /** For logs and rules. Default: the address. */
  readonly name?: string;
  readonly tls?: TlsListenerOptions;
  /** A path, or options. */
  readonly ws?: string | WebSocketListenerOptions;
  readonly proxyProtocol?: ProxyProtocolOptions;
  readonly connectionsMax?: number;
  /** Milliseconds. */
  readonly handshakeDeadlineMs?: number;
  /** TCP keep-alive, as in Node. Default on. */
  readonly keepAlive?: boolean;
  readonly keepAliveInitialDelay?: number;
}

export const WEBSOCKET_PATH = '/mqtt';
const PORT_MAX = 65_535;

export function websocketOptions(options: ListenerOptions): WebSocketListenerOptions | undefined {
  return typeof options.ws === 'string' ? { path: options.ws } : options.ws;
}

export function listenerKind(options: ListenerOptions): Exclude<TransportKind, 'memory'> {
  if (options.ws !== undefined) return options.tls === undefined ? 'ws' : 'wss';
  if (options.tls !== undefined) return 'tls';
  return options.path === undefined ? 'tcp' : 'unix';
}

/**
 * `tcp://127.0.0.1:1883`, `wss://[::]:443/mqtt`, `unix:/run/broker.sock`,
 * `tls+unix:/run/broker.sock`.
 */
export function describeAddress(
  kind: TransportKind, at: { host?: string; port?: number; path?: string }, websocketPath = '',
): string {
  if (at.path !== undefined) return `${kind === 'unix' ? '' : `${kind}+`}unix:${at.path}`;
  const host = at.host === undefined || at.host === '' ? '*' : at.host;
  return `${kind}://${host.includes(':') ? `[${host}]` : host}:${at.port ?? '?'}${websocketPath}`;
}

function bad(message: string): ListenerError {
  return new ListenerError('NIDO_LISTENER_OPTION_BAD', message);
}

/**
 * Throws a ListenerError for options that contradict each other. Says nothing about files: `start`
 * reads them.
 */
export function checkListenerOptions(options: ListenerOptions): void {
  const ws = websocketOptions(options);
  if (ws?.path !== undefined && !/^\/[^?#\s]*$/.test(ws.path)) {
    throw bad(`ws.path is ${JSON.stringify(ws.path)}: it must start with / and hold no ?, # or `
      + 'space.');
  }
  if (ws?.server !== undefined) checkAttached(options);
  else checkPlace(options);
  checkTls(options);
  if (options.connectionsMax !== undefined && !(options.connectionsMax >= 1)) {
    throw bad(`connectionsMax is ${options.connectionsMax}: at least 1.`);
  }
}

function checkAttached(options: ListenerOptions): void {
  const foreign = ['port', 'host', 'path', 'tls', 'proxyProtocol'] as const;
  const given = foreign.filter((name) => options[name] !== undefined);
  if (given.length > 0) {
    throw bad(`ws.server opens the door in an HTTP server that exists; ${given.join(', ')} belong `
      + 'to that server. Leave them out, or leave ws.server out.');
  }
}

function checkPlace(options: ListenerOptions): void {
  const { port, path } = options;
  if ((port === undefined) === (path === undefined)) {
    throw bad('a listener needs either `port` (0 picks a free one) or `path` (a unix socket).');
  }
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= PORT_MAX)) {
    throw bad(`port is ${JSON.stringify(port)}: a whole number from 0 to ${PORT_MAX}.`);
  }
  if (path !== undefined && (path === '' || Buffer.byteLength(path) > UNIX_PATH_BYTES_MAX)) {
    throw new ListenerError('NIDO_LISTENER_PATH_UNUSABLE', `path ${path} has `
      + `${Buffer.byteLength(path)} bytes; the system takes 1 to ${UNIX_PATH_BYTES_MAX} for a unix `
      + 'socket. Choose a shorter folder.');
  }
}

function checkTls(options: ListenerOptions): void {
  const tls = options.tls;
  if (tls === undefined) return;
  if (options.path !== undefined && options.proxyProtocol !== undefined) {
    throw bad('TLS on a unix socket behind the PROXY protocol is not possible: let the proxy end '
      + 'TLS, or use a port.');
  }
  const hasKeys = tls.psk !== undefined || tls.pskFile !== undefined;
  if (!hasCertificate(tls) && !hasKeys) {
    throw new ListenerError('NIDO_LISTENER_TLS_CERTIFICATE_MISSING',
      'tls needs certFile and keyFile (or cert and key, pfx, pskFile, psk): a door without them '
        + 'can greet nobody.');
  }
  if (tls.requestCert === true && tls.ca === undefined && tls.caFile === undefined) {
    throw new ListenerError('NIDO_LISTENER_TLS_CA_MISSING', 'tls.requestCert needs caFile (or ca): '
      + 'without it every certificate of every public authority would be let in.');
  }
  if (tls.minVersion !== undefined && hasKeys && tls.minVersion === 'TLSv1.3') {
    throw bad('tls.minVersion TLSv1.3 and pre-shared keys exclude each other: keys are served with '
      + 'TLS 1.2. Open a second listener for the keys.');
  }
}
