/**
 * The header of the PROXY protocol, versions 1 (one line of text) and 2 (binary), as
 * https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt defines it. Pure: bytes in, a verdict
 * out.
 *
 *     version 2   | 12 bytes signature | ver,cmd | family | length u16 | addresses | TLVs ... |
 *     TLV         | type | length u16 | value |
 */
import { SocketAddress, isIPv4, isIPv6 } from 'node:net';
import { plainAddress } from './peer.js';
import type { ProxiedPeer } from './peer.js';
import type { TransportIdentity } from './transport.js';

export type ProxyHeader =
  /** More bytes are needed. */
  | { readonly kind: 'incomplete' }
  | { readonly kind: 'bad'; readonly why: string }
  /**
   * `peer` is absent when the proxy speaks for itself (health checks): then the socket's own
   * address is true.
   */
  | { readonly kind: 'complete'; readonly length: number; readonly peer?: ProxiedPeer };

const SIGNATURE_V1 = Buffer.from('PROXY ', 'latin1');
const SIGNATURE_V2 = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V1_BYTES_MAX = 107;
const V2_FIXED_BYTES = 16;
const V2_LENGTH_AT = 14;
const COMMAND_LOCAL = 0x20;
const COMMAND_PROXY = 0x21;
const FAMILY_UNSPECIFIED = 0x00;
const FAMILY_TCP4 = 0x11;
const FAMILY_TCP6 = 0x21;
const FAMILY_UNIX_STREAM = 0x31;
const TCP4_BYTES = 12;
const TCP6_BYTES = 36;
const UNIX_BYTES = 216;
const TLV_HEADER_BYTES = 3;
const TLV_SSL = 0x20;
const TLV_SSL_COMMON_NAME = 0x22;
/** `client` u8, `verify` u32, then TLVs. */
const SSL_FIXED_BYTES = 5;
const SSL_CLIENT_CERTIFICATE_MASK = 0x02 | 0x04;

const V1_LINE = /^PROXY (TCP4|TCP6) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})$/;
const PORT_MAX = 65_535;
const INCOMPLETE: ProxyHeader = { kind: 'incomplete' };

function bad(why: string): ProxyHeader {
  return { kind: 'bad', why };
}

export function parseProxyHeader(bytes: Buffer, bytesMax: number): ProxyHeader {
  if (startsLike(bytes, SIGNATURE_V1)) {
    return parseVersion1(bytes, Math.min(bytesMax, V1_BYTES_MAX));
  }
  if (startsLike(bytes, SIGNATURE_V2)) return parseVersion2(bytes, bytesMax);
  return bad('no PROXY protocol header at the start');
}

/** Whether `bytes` are the beginning of `signature`, or begin with it. */
function startsLike(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length);
  return bytes.compare(signature, 0, length, 0, length) === 0;
}

function parseVersion1(bytes: Buffer, bytesMax: number): ProxyHeader {
  const end = bytes.subarray(0, bytesMax).indexOf('\r\n', 0, 'latin1');
  if (end < 0) {
    return bytes.length < bytesMax ? INCOMPLETE
      : bad(`version 1 header without end of line in its first ${bytesMax} bytes`);
  }
  const line = bytes.toString('latin1', 0, end);
  const length = end + 2;
  if (line === 'PROXY UNKNOWN' || line.startsWith('PROXY UNKNOWN '
    + '')) return { kind: 'complete', length };
  const fields = V1_LINE.exec(line);
  if (fields === null) return bad('version 1 header that is not as the specification says');
  const [, family, source, destination, sourcePort, destinationPort] = fields;
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6;
  if (!isAddress(source) || !isAddress(destination)) {
    return bad(`version 1 header whose addresses are not ${family}`);
  }
  if (Number(sourcePort) > PORT_MAX || Number(destinationPort) > PORT_MAX) {
    return bad('version 1 header with a port beyond 65535');
  }
  const peer = { address: plainAddress(source), port: Number(sourcePort) };
  return { kind: 'complete', length, peer };
}

function parseVersion2(bytes: Buffer, bytesMax: number): ProxyHeader {
  if (bytes.length < V2_FIXED_BYTES) return INCOMPLETE;
  const end = V2_FIXED_BYTES + bytes.readUInt16BE(V2_LENGTH_AT);
  if (end > bytesMax) return bad(`version 2 header of ${end} bytes, the limit is ${bytesMax}`);
  const command = bytes[12];
  if (command !== COMMAND_LOCAL && command !== COMMAND_PROXY) {
    return bad(`version 2 header with version and command 0x${command.toString(16)}`);
  }
  if (bytes.length < end) return INCOMPLETE;
  if (command === COMMAND_LOCAL) return { kind: 'complete', length: end };
  return parseAddresses(bytes.subarray(0, end));
}

function parseAddresses(header: Buffer): ProxyHeader {
  const length = header.length;
  const family = header[13];
  const room = length - V2_FIXED_BYTES;
  const at = V2_FIXED_BYTES;
  if (family === FAMILY_UNSPECIFIED) return { kind: 'complete', length };
  if (family === FAMILY_TCP4 && room >= TCP4_BYTES) {
    const address = header.subarray(at, at + 4).join('.');
    return withTlvs(header, at + TCP4_BYTES, { address, port: header.readUInt16BE(at + 8) });
  }
  if (family === FAMILY_TCP6 && room >= TCP6_BYTES) {
    const address = ipv6Text(header.subarray(at, at + 16));
    return withTlvs(header, at + TCP6_BYTES, { address, port: header.readUInt16BE(at + 32) });
  }
  if (family === FAMILY_UNIX_STREAM && room >= UNIX_BYTES) {
    return withTlvs(header, at + UNIX_BYTES, { address: '', port: 0 });
  }
  return bad(`version 2 header of family 0x${family.toString(16)} with ${room} bytes of addresses`);
}

function ipv6Text(bytes: Buffer): string {
  const groups: string[] = [];
  for (let at = 0; at < bytes.length; at += 2) groups.push(bytes.readUInt16BE(at).toString(16));
  return plainAddress(new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address);
}

function withTlvs(header: Buffer, at: number, peer: ProxiedPeer): ProxyHeader {
  const ssl = findTlv(header, at, TLV_SSL);
  if (ssl === 'bad') return bad('version 2 header whose TLVs go beyond its end');
  const length = header.length;
  if (ssl === undefined) return { kind: 'complete', length, peer };
  const identity = certificateIdentity(ssl);
  return identity === 'bad' ? bad('version 2 header whose SSL TLV goes beyond its end')
    : { kind: 'complete', length, peer: identity === undefined ? peer : { ...peer, identity } };
}

/**
 * The Common Name counts only when the proxy says that the peer showed a certificate, and that it
 * verified it.
 */
function certificateIdentity(ssl: Buffer): TransportIdentity | 'bad' | undefined {
  if (ssl.length < SSL_FIXED_BYTES) return 'bad';
  const commonName = findTlv(ssl, SSL_FIXED_BYTES, TLV_SSL_COMMON_NAME);
  if (commonName === 'bad') return 'bad';
  const verified = (ssl[0] & SSL_CLIENT_CERTIFICATE_MASK) !== 0 && ssl.readUInt32BE(1) === 0;
  if (!verified || commonName === undefined || commonName.length === 0) return undefined;
  return { via: 'certificate', name: commonName.toString('utf8'), alternativeNames: [] };
}

/**
 * Value of the first TLV of this type. Every TLV is walked, so that one that lies about its length
 * is found.
 */
function findTlv(bytes: Buffer, from: number, type: number): Buffer | 'bad' | undefined {
  let found: Buffer | undefined;
  for (let at = from; at < bytes.length;) {
    if (at + TLV_HEADER_BYTES > bytes.length) return 'bad';
    const end = at + TLV_HEADER_BYTES + bytes.readUInt16BE(at + 1);
    if (end > bytes.length) return 'bad';
    if (bytes[at] === type) found ??= bytes.subarray(at + TLV_HEADER_BYTES, end);
    at = end;
  }
  return found;
}
