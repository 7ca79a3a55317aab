/** Where a server is: from URLs and options to what opens a Transport. */
import type { OpenTransportOptions, TlsConnectOptions } from '../listener/index.js';
import { NidoClientError } from './errors.js';
import type { ClientOptions, ClientProtocol, ServerAddress } from './options.js';

export interface ServerTarget {
  /** `mqtts://broker:8883`, for people. */
  readonly name: string;
  readonly address: ServerAddress;
  readonly transport: OpenTransportOptions;
}

const PROTOCOLS = new Set<string>([
  'mqtt', 'mqtts', 'tcp', 'ssl', 'tls', 'ws', 'wss', 'unix', 'mqtt+unix',
]);
const SECURE = new Set<string>(['mqtts', 'ssl', 'tls', 'wss']);
const UNIX = new Set<string>(['unix', 'mqtt+unix']);
const PORTS: Readonly<Record<string, number>> = {
  mqtt: 1883, tcp: 1883, mqtts: 8883, ssl: 8883, tls: 8883, ws: 80, wss: 443,
};
const HOST = 'localhost';
const PORT_MAX = 65_535;

/** What a URL says; everything else stays undefined. */
export interface UrlParts extends Partial<ServerAddress> {
  readonly username?: string;
  readonly password?: string;
  readonly clientId?: string;
}

export function parseUrl(text: string): UrlParts {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
      'url: this is not a URL such as mqtt://localhost:1883', { cause });
  }
  const protocol = checkProtocol(url.protocol.slice(0, -1));
  const clientId = url.searchParams.get('clientId') ?? undefined;
  url.searchParams.delete('clientId');
  const path = decoded('path', url.pathname) + url.search;
  return {
    protocol,
    host: url.hostname === '' ? undefined : url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? undefined : Number(url.port),
    path: path === '' || path === '/' ? undefined : path,
    username: url.username === '' ? undefined : decoded('user name', url.username),
    password: url.password === '' ? undefined : decoded('password', url.password),
    clientId,
  };
}

/** What it was given is not repeated: it may be a password. */
function decoded(part: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
      `url: the ${part} holds a % that is not written as %25`, { cause });
  }
}

export function checkProtocol(protocol: string): ClientProtocol {
  if (PROTOCOLS.has(protocol)) return protocol as ClientProtocol;
  throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
    `protocol: ${JSON.stringify(protocol)} is not one of ${[...PROTOCOLS].join(', ')}`);
}

export function makeTarget(address: ServerAddress, options: ClientOptions): ServerTarget {
  const protocol = checkProtocol(address.protocol ?? 'mqtt');
  const connectDeadlineMs = options.connectTimeout;
  if (UNIX.has(protocol)) {
    const path = address.path ?? '';
    if (path === '') {
      throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID', 'path: a unix socket needs one');
    }
    return { name: `unix:${path}`, address, transport: { path, connectDeadlineMs } };
  }
  const { host = HOST } = address;
  const port = checkPort(address.port ?? PORTS[protocol]);
  const isWebSocket = protocol === 'ws' || protocol === 'wss';
  const { family, localAddress } = options;
  const shownHost = host.includes(':') ? `[${host}]` : host;
  return {
    name: `${protocol}://${shownHost}:${port}`,
    address: { ...address, protocol, host, port },
    transport: {
      host, port, family, localAddress, connectDeadlineMs,
      ...SECURE.has(protocol) ? { tls: tlsOptions(options) } : {},
      ...isWebSocket ? { ws: webSocketOptions(address, options) } : {},
    },
  };
}

/** Digits in a string are as good, as for Node's sockets. */
function checkPort(given: unknown): number {
  const port = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given;
  if (typeof port === 'number' && Number.isInteger(port) && port > 0 && port <= PORT_MAX) {
    return port;
  }
  throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
    `port: ${String(given)} is not a whole number from 1 to ${PORT_MAX}`);
}

function webSocketOptions(
  address: ServerAddress, options: ClientOptions,
): OpenTransportOptions['ws'] {
  const given = options.wsOptions ?? {};
  let path = given.path ?? address.path;
  if (options.query !== undefined) {
    const query = new URLSearchParams({ ...options.query }).toString();
    path = `${path ?? '/mqtt'}${path?.includes('?') === true ? '&' : '?'}${query}`;
  }
  return { ...given, path };
}

const TLS_KEYS = [
  'ca', 'cert', 'key', 'pfx', 'passphrase', 'ciphers', 'minVersion', 'maxVersion', 'crl', 'caFile',
  'certFile', 'keyFile', 'pfxFile', 'servername', 'ALPNProtocols', 'rejectUnauthorized',
  'checkServerIdentity', 'psk', 'secureOptions', 'ecdhCurve', 'sigalgs',
] as const;

function tlsOptions(options: ClientOptions): TlsConnectOptions {
  const tls: Record<string, unknown> = {};
  for (const key of TLS_KEYS) {
    if (options[key] !== undefined) tls[key] = options[key];
  }
  return tls;
}

/**
 * Server Reference: `host`, `host:port`, `[v6]:port`, several of them with spaces between, or URLs.
 */
export function parseServerReference(text: string, from: ServerAddress): ServerAddress[] {
  const found: ServerAddress[] = [];
  for (const word of text.split(/\s+/)) {
    const match = /^(?:([a-z+]+):\/\/)?(\[[0-9a-f:.]+\]|[^:/\s]+)(?::(\d{1,5}))?/i.exec(word);
    if (match === null) continue;
    const protocol = match[1]?.toLowerCase() ?? from.protocol;
    if (protocol !== undefined && !PROTOCOLS.has(protocol)) continue;
    const port = match[3] === undefined ? undefined : Number(match[3]);
    if (port === 0 || (port ?? 1) > PORT_MAX) continue;
    found.push({
      protocol: protocol as ClientProtocol | undefined,
      host: match[2].replace(/^\[|\]$/g, ''),
      port,
      path: from.path,
    });
  }
  return found;
}
