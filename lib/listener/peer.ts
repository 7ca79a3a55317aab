/** Who is at the other end of a socket, and what a proxy in front said about it. */
import type { Socket } from 'node:net';
import type { TransportIdentity } from './transport.js';

/** The client behind a trusted proxy. */
export interface ProxiedPeer {
  readonly address: string;
  readonly port: number;
  /** Common Name of the client certificate that the proxy verified. */
  readonly identity?: TransportIdentity;
}

export const PROXIED_PEER = Symbol('nidomq.proxiedPeer');

export interface PeerSocket extends Socket {
  [PROXIED_PEER]?: ProxiedPeer;
}

const MAPPED_PREFIX = '::ffff:';

/**
 * An IPv4 address that a dual-stack socket shows as `::ffff:192.0.2.1` is written as the IPv4
 * address that it is.
 */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return '';
  return address.startsWith(MAPPED_PREFIX) && address.includes('.')
    ? address.slice(MAPPED_PREFIX.length) : address;
}

export function peerAddress(socket: PeerSocket): string {
  return socket[PROXIED_PEER]?.address ?? plainAddress(socket.remoteAddress);
}

export function peerPort(socket: PeerSocket): number {
  return socket[PROXIED_PEER]?.port ?? socket.remotePort ?? 0;
}

/**
 * Names one TCP connection of this process, the same for a raw socket and for the TLS socket around
 * it (Node has no public link from one to the other). Undefined for unix sockets and for
 * connections that are already gone.
 */
export function connectionKey(socket: Socket): string | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (remoteAddress === undefined) return undefined;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}
