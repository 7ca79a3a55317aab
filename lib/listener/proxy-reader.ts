/**
 * Reads the PROXY protocol header of fresh sockets: from trusted sources only, within a bound of
 * bytes and of time. What follows the header is given back to the socket, so that TLS, HTTP or MQTT
 * see a connection like any other.
 */
import { BlockList, isIP, isIPv6 } from 'node:net';
import type { Socket } from 'node:net';
import { ListenerError } from './listener-error.js';
import { PROXY_HEADER_BYTES_MAX, PROXY_HEADER_DEADLINE_MS } from './listener-limits.js';
import { PROXIED_PEER, plainAddress } from './peer.js';
import type { PeerSocket } from './peer.js';
import { parseProxyHeader } from './proxy-header.js';
import type { RefusalReason } from './transport.js';

export interface ProxyProtocolOptions {
  /**
   * Who may speak for others: addresses and CIDR blocks of the proxies, `unix` for peers of a unix
   * socket.
   */
  readonly trusted: readonly string[];
  /**
   * What happens to everybody else: `refuse` closes (default); `direct` takes them in as clients of
   * their own, for whom a PROXY header is just wrong bytes.
   */
  readonly untrusted?: 'refuse' | 'direct';
  readonly headerBytesMax?: number;
  readonly headerDeadlineMs?: number;
}

export interface ProxyReaderOwner {
  /** The header is read (or none was due): the socket is ready for what comes next. */
  proxyHeaderRead(socket: Socket): void;
  proxyHeaderRefused(socket: Socket, reason: RefusalReason, detail: string): void;
}

interface Reading {
  readonly reader: ProxyReader;
  readonly deadline: NodeJS.Timeout;
  bytes: Buffer | undefined;
}
const READING = Symbol('nidomq.proxyReading');
interface ReadingSocket extends PeerSocket {
  [READING]?: Reading;
}

const UNIX_PEERS = 'unix';

export class ProxyReader {
  readonly #trusted = new BlockList();
  readonly #trustsUnix: boolean;
  readonly #untrusted: 'refuse' | 'direct';
  readonly #bytesMax: number;
  readonly #deadlineMs: number;

  constructor(options: ProxyProtocolOptions, private readonly owner: ProxyReaderOwner) {
    if (!Array.isArray(options.trusted) || options.trusted.length === 0) {
      throw new ListenerError('NIDO_LISTENER_OPTION_BAD', 'proxyProtocol.trusted is empty: whoever '
        + 'may speak for others must be named, for example ["10.0.0.5", "10.1.0.0/16", "unix"].');
    }
    for (const source of options.trusted) this.#trust(source);
    this.#trustsUnix = options.trusted.includes(UNIX_PEERS);
    this.#untrusted = options.untrusted ?? 'refuse';
    this.#bytesMax = options.headerBytesMax ?? PROXY_HEADER_BYTES_MAX;
    this.#deadlineMs = options.headerDeadlineMs ?? PROXY_HEADER_DEADLINE_MS;
  }

  read(socket: ReadingSocket): void {
    if (!this.#trusts(socket)) {
      if (this.#untrusted === 'direct') this.owner.proxyHeaderRead(socket);
      else {
        this.owner.proxyHeaderRefused(socket, 'proxy-untrusted',
          'not in proxyProtocol.trusted, and this door takes connections from proxies only');
      }
      return;
    }
    const deadline = setTimeout(deadlinePassed, this.#deadlineMs, socket);
    socket[READING] = { reader: this, deadline, bytes: undefined };
    socket.on('error', ignoreError).on('close', onClose).on('readable', onReadable);
  }

  /** @internal */
  readable(socket: ReadingSocket, reading: Reading): void {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    const bytes = reading.bytes === undefined ? chunk : Buffer.concat([reading.bytes, chunk]);
    const header = parseProxyHeader(bytes, this.#bytesMax);
    if (header.kind === 'incomplete') {
      reading.bytes = bytes;
      return;
    }
    forget(socket, reading);
    if (header.kind === 'bad') {
      this.owner.proxyHeaderRefused(socket, 'proxy-header', header.why);
      return;
    }
    if (header.length < bytes.length) socket.unshift(bytes.subarray(header.length));
    if (header.peer !== undefined) socket[PROXIED_PEER] = header.peer;
    this.owner.proxyHeaderRead(socket);
  }

  /** @internal */
  expire(socket: ReadingSocket, reading: Reading): void {
    forget(socket, reading);
    this.owner.proxyHeaderRefused(socket, 'proxy-header',
      `no complete header within ${this.#deadlineMs} ms`);
  }

  #trusts(socket: Socket): boolean {
    const address = plainAddress(socket.remoteAddress);
    if (address === '') return this.#trustsUnix;
    return this.#trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  }

  #trust(source: string): void {
    if (source === UNIX_PEERS) return;
    const [address, prefix, ...rest] = String(source).split('/');
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    try {
      if (isIP(address) === 0 || rest.length > 0) throw new Error('not an address');
      if (prefix === undefined) this.#trusted.addAddress(address, family);
      else if (!/^\d{1,3}$/.test(prefix)) throw new Error('not a prefix length');
      else this.#trusted.addSubnet(address, Number(prefix), family);
    } catch (cause) {
      throw new ListenerError('NIDO_LISTENER_OPTION_BAD', 'proxyProtocol.trusted holds '
        + `"${source}", which is neither an address, nor a CIDR block such as 10.1.0.0/16, nor `
        + '"unix".', { cause });
    }
  }
}

function forget(socket: ReadingSocket, reading: Reading): void {
  clearTimeout(reading.deadline);
  socket[READING] = undefined;
  // The 'error' handler stays: until the next owner of the socket has its own, an error must not be
  // uncaught.
  socket.removeListener('readable', onReadable).removeListener('close', onClose);
}

function onReadable(this: ReadingSocket): void {
  const reading = this[READING];
  if (reading !== undefined) reading.reader.readable(this, reading);
}

function onClose(this: ReadingSocket): void {
  const reading = this[READING];
  if (reading !== undefined) forget(this, reading);
}

function deadlinePassed(socket: ReadingSocket): void {
  const reading = socket[READING];
  if (reading !== undefined) reading.reader.expire(socket, reading);
}

function ignoreError(): void {}
