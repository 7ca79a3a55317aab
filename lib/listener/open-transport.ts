/** The connecting side: the same doors from without. Used by the client role. */
import type { Agent as HttpAgent } from 'node:http';
import { connect as connectSocket, isIP } from 'node:net';
import type { Socket, TcpNetConnectOpts } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { ClientOptions, WebSocket } from 'ws';
import { ListenerError, TransportError, reasonOf, systemCode } from './listener-error.js';
import {
  CONNECT_DEADLINE_MS, KEEP_ALIVE_INITIAL_DELAY_MS, WEBSOCKET_MAX_PAYLOAD,
} from './listener-limits.js';
import { WEBSOCKET_PATH, describeAddress } from './listener-options.js';
import type { PeerSocket } from './peer.js';
import { PSK_CIPHERS, PSK_TLS_VERSION_MAX } from './pre-shared-keys.js';
import { proveReusedReads } from './reused-reads.js';
import { TcpTransport, TlsTransport, UnixTransport } from './socket-transport.js';
import { tlsIdentity } from './tls-identity.js';
import { loadTlsMaterial } from './tls-material.js';
import type { TlsMaterialOptions } from './tls-material.js';
import type { Transport, TransportKind } from './transport.js';
import { WebSocketTransport } from './websocket-transport.js';

/** Node's TLS options of a client, and files in their place. */
export interface TlsConnectOptions extends TlsMaterialOptions,
  Pick<ConnectionOptions, 'checkServerIdentity' | 'rejectUnauthorized' | 'session'> {
  /** Server name (SNI), also what the certificate must be made for. Default: the host. */
  readonly servername?: string;
  /** Default `['mqtt']`, over WebSocket none. */
  readonly ALPNProtocols?: readonly string[];
  readonly psk?: { readonly identity: string; readonly key: Uint8Array };
}

export interface WebSocketConnectOptions {
  /** Default `/mqtt`. May hold a query. */
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** For proxies, for example one of `https-proxy-agent`. */
  readonly agent?: HttpAgent;
  readonly origin?: string;
  /** Default `['mqtt']`. */
  readonly protocols?: readonly string[];
  readonly maxPayload?: number;
}

export interface OpenTransportOptions
  extends Pick<TcpNetConnectOpts, 'family' | 'localAddress' | 'localPort' | 'lookup'> {
  readonly host?: string;
  readonly port?: number;
  /** A unix socket, instead of host and port. */
  readonly path?: string;
  /** Use TLS; `{}` for the defaults. */
  readonly tls?: TlsConnectOptions;
  /** Use WebSocket: a path, or options. */
  readonly ws?: string | WebSocketConnectOptions;
  /** A socket that is connected already, for example through a SOCKS proxy. For TCP and TLS. */
  readonly socket?: Socket;
  /** For everything until the Transport is there. */
  readonly connectDeadlineMs?: number;
  readonly signal?: AbortSignal;
}

const HOST = 'localhost';
const PORTS: Readonly<Record<string, number>> = { tcp: 1883, tls: 8883, ws: 80, wss: 443 };

interface Attempt {
  readonly options: OpenTransportOptions;
  readonly kind: TransportKind;
  readonly address: string;
  readonly host: string;
  readonly port: number;
  readonly tls?: ConnectionOptions;
  /** The class of `ws`, which is loaded when it is needed first. */
  readonly webSocket?: typeof WebSocket;
}

/** What is being connected: how to hear of it, and how to give it up. */
interface Opening {
  /** Throws away what is half open. */
  abandon(): void;
  readonly opened: Promise<Transport>;
}

/**
 * Connects. Rejects with a TransportError; the caller calls `open` on the Transport when it has it.
 */
export async function openTransport(options: OpenTransportOptions): Promise<Transport> {
  const attempt = await prepare(options);
  throwIfAborted(attempt);
  // 3.1.1 [MQTT-7.1.2-1], 5.0 [MQTT-4.2-1]: each of them is ordered and lossless
  const opening = attempt.webSocket === undefined
    ? openSocket(attempt) : openWebSocket(attempt, attempt.webSocket);
  let deadline: NodeJS.Timeout | undefined;
  let abort: (() => void) | undefined;
  const givenUp = new Promise<never>((_, reject) => {
    const deadlineMs = options.connectDeadlineMs ?? CONNECT_DEADLINE_MS;
    deadline = setTimeout(() => reject(new TransportError('NIDO_TRANSPORT_CONNECT_DEADLINE',
      `${attempt.address}: not connected within ${deadlineMs} ms. Is the address right, and does a `
      + 'firewall drop packets?')), deadlineMs);
    abort = (): void => reject(aborted(attempt));
    options.signal?.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([opening.opened, givenUp]);
  } catch (error) {
    opening.opened.catch(() => {});
    opening.abandon();
    throw explain(error, attempt);
  } finally {
    clearTimeout(deadline);
    if (abort !== undefined) options.signal?.removeEventListener('abort', abort);
  }
}

async function prepare(options: OpenTransportOptions): Promise<Attempt> {
  const { tls, ws, path } = options;
  const kind = kindOf(options);
  const websocketPath = ws === undefined ? '' : websocketOptions(options).path ?? WEBSOCKET_PATH;
  const host = options.host ?? HOST;
  const port = options.port ?? PORTS[kind] ?? 0;
  const place = path === undefined ? { host, port } : { path };
  const address = describeAddress(kind, place, websocketPath);
  const webSocket = ws === undefined ? undefined : (await import('ws')).WebSocket;
  const attempt: Attempt = { options, kind, address, host, port, webSocket };
  if (path !== undefined && ws !== undefined) {
    throw new TransportError('NIDO_TRANSPORT_OPTION_BAD', `${address}: WebSocket over a unix `
      + 'socket is not served.');
  }
  return tls === undefined ? attempt : { ...attempt, tls: await tlsOptions(tls, attempt) };
}

function kindOf(options: OpenTransportOptions): TransportKind {
  if (options.ws !== undefined) return options.tls === undefined ? 'ws' : 'wss';
  if (options.tls !== undefined) return 'tls';
  return options.path === undefined ? 'tcp' : 'unix';
}

function websocketOptions(options: OpenTransportOptions): WebSocketConnectOptions {
  return typeof options.ws === 'string' ? { path: options.ws } : options.ws ?? {};
}

async function tlsOptions(tls: TlsConnectOptions, attempt: Attempt): Promise<ConnectionOptions> {
  const {
    servername, ALPNProtocols, psk, checkServerIdentity, rejectUnauthorized, session, ...material
  } = tls;
  // With a pre-shared key only suites without certificates are offered, so nobody can answer with a
  // certificate.
  const given: TlsMaterialOptions = psk === undefined ? material
    : { ...material, ciphers: material.ciphers ?? PSK_CIPHERS, maxVersion: PSK_TLS_VERSION_MAX };
  const { options } = await loadTlsMaterial(given, attempt.address).catch((cause: unknown) => {
    throw cause instanceof ListenerError
      ? new TransportError('NIDO_TRANSPORT_OPTION_BAD', cause.message, { cause }) : cause;
  });
  const name = servername ?? (isIP(attempt.host) === 0 ? attempt.host : undefined);
  const protocols = ALPNProtocols ?? (attempt.options.ws === undefined ? ['mqtt'] : undefined);
  return {
    ...options,
    rejectUnauthorized: rejectUnauthorized ?? true,
    ...name === undefined ? {} : { servername: name },
    ...protocols === undefined ? {} : { ALPNProtocols: [...protocols] },
    ...session === undefined ? {} : { session },
    ...checkServerIdentity === undefined ? {} : { checkServerIdentity },
    ...psk === undefined ? {} : {
      pskCallback: () => ({ identity: psk.identity, psk: psk.key }),
      // There is no certificate to look at: the server proved that it knows the key.
      checkServerIdentity: () => undefined,
    },
  };
}

function openSocket(attempt: Attempt): Opening {
  const { options, tls, host, port } = attempt;
  const { family, localAddress, localPort, lookup, path } = options;
  const raw = options.socket ?? connectSocket(path !== undefined ? { path } : {
    host, port, family, localAddress, localPort, lookup,
    noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_INITIAL_DELAY_MS,
  });
  if (tls === undefined) {
    const connected = settled(raw, raw.connecting ? 'connect' : 'now');
    const opened = Promise.all([connected, proveReusedReads()])
      .then(() => (path === undefined ? new TcpTransport(raw) : new UnixTransport(raw)));
    return { opened, abandon: () => raw.destroy() };
  }
  // TLS takes errors of the raw socket over, but not before it is connected.
  raw.on('error', ignoreError);
  const secure = connectTls({ ...tls, socket: raw });
  const opened = settled(secure, 'secureConnect')
    .then(() => new TlsTransport(secure, tlsIdentity(secure)));
  return { opened, abandon: () => { secure.destroy(); raw.destroy(); } };
}

/** Resolves with the event; rejects with the error, or with the close that came without one. */
function settled(socket: Socket, event: 'connect' | 'secureConnect' | 'now'): Promise<void> {
  if (event === 'now') return Promise.resolve();
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => { reject(error); };
    const closed = (): void => { reject(new Error('the server closed the connection before it was '
      + 'open')); };
    socket.once('error', failed).once('close', closed).once(event, () => {
      socket.removeListener('close', closed);
      // The transport's own 'error' handler comes with the promise's turn; until then this one must
      // stay.
      setImmediate(() => socket.removeListener('error', failed));
      resolve();
    });
  });
}

function openWebSocket(attempt: Attempt, implementation: typeof WebSocket): Opening {
  const { options, tls, host, port, kind } = attempt;
  const ws = websocketOptions(options);
  const { family, localAddress, lookup } = options;
  const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const how: ClientOptions = {
    ...tls as ClientOptions | undefined,
    ...family === undefined ? {} : { family },
    ...localAddress === undefined ? {} : { localAddress },
    ...lookup === undefined ? {} : { lookup },
    ...ws.agent === undefined ? {} : { agent: ws.agent },
    ...ws.origin === undefined ? {} : { origin: ws.origin },
    headers: { ...ws.headers },
    perMessageDeflate: false,
    autoPong: false,
    followRedirects: false,
    maxPayload: ws.maxPayload ?? WEBSOCKET_MAX_PAYLOAD,
  };
  const webSocket = new implementation(`${kind}://${authority}${ws.path ?? WEBSOCKET_PATH}`,
    [...ws.protocols ?? ['mqtt']], how); // [MQTT-6.0.0-3]
  const opened = new Promise<Transport>((resolve, reject) => {
    let socket: PeerSocket | undefined;
    webSocket.once('upgrade', (response) => { socket = response.socket; });
    webSocket.once('error', reject);
    webSocket.once('open', () => {
      const carrier = socket as PeerSocket;
      const identity = kind === 'wss' ? tlsIdentity(carrier as TLSSocket) : undefined;
      webSocket.removeListener('error', reject);
      resolve(new WebSocketTransport({
        webSocket, socket: carrier, kind: kind as 'ws' | 'wss', identity,
      }));
    });
  });
  return {
    opened,
    abandon: () => {
      webSocket.on('error', ignoreError);
      webSocket.terminate();
    },
  };
}

function throwIfAborted(attempt: Attempt): void {
  if (attempt.options.signal?.aborted === true) throw aborted(attempt);
}

function aborted(attempt: Attempt): TransportError {
  return new TransportError('NIDO_TRANSPORT_ABORTED', `${attempt.address}: connecting was given up `
    + 'by its caller.',
    { cause: attempt.options.signal?.reason });
}

/** OpenSSL and certificate verification report with codes of their own, with no common mark. */
const TLS_TROUBLE = new RegExp('^(ERR_SSL|ERR_TLS|CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|'
  + 'HOSTNAME_MISMATCH|INVALID_CA|EPROTO)');

function explain(error: unknown, attempt: Attempt): TransportError {
  if (error instanceof TransportError) return error;
  const { address, host } = attempt;
  const code = systemCode(error);
  const cause = { cause: error };
  // Several addresses were tried: the first says as much as all of them.
  const inner = (error as { errors?: readonly unknown[] } | undefined)?.errors?.[0] ?? error;
  const reason = reasonOf(inner);
  if (code === 'ECONNREFUSED') {
    return new TransportError('NIDO_TRANSPORT_CONNECT_REFUSED',
      `${address}: nobody listens there (${reason}). Is the broker running, on this port?`, cause);
  }
  if (code === 'ENOENT' && attempt.kind === 'unix') {
    return new TransportError('NIDO_TRANSPORT_CONNECT_REFUSED',
      `${address}: there is no such unix socket. Is the broker running, with this path?`, cause);
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return new TransportError('NIDO_TRANSPORT_HOST_UNKNOWN', `${address}: host ${host} is not `
      + `known (${code}).`, cause);
  }
  if (TLS_TROUBLE.test(code)) {
    return new TransportError('NIDO_TRANSPORT_TLS_FAILED', `${address}: TLS failed: ${reason} `
      + `(${code}). Check ca, servername, and what the server demands (client certificate, `
      + 'pre-shared key).', cause);
  }
  if (/^(Unexpected server response|Server sent)/.test(reason)) {
    return new TransportError('NIDO_TRANSPORT_WEBSOCKET_REFUSED', `${address}: no MQTT over `
      + `WebSocket there: ${reason}. Check path, origin and headers.`, cause);
  }
  return new TransportError('NIDO_TRANSPORT_CONNECT_FAILED', `${address}: ${reason}.`, cause);
}

function ignoreError(): void {}
