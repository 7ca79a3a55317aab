import { isIPv4, isIPv6 } from 'node:net';

/**
 * The bits of an address, most significant first. An IPv4 address inside IPv6 is the IPv4 address.
 */
function addressBytes(text: string): readonly number[] | undefined {
  const address = text.replace(/%.*$/, '');
  if (isIPv4(address)) return address.split('.').map(Number);
  if (!isIPv6(address)) return undefined;
  const bytes = ipv6Bytes(address);
  const isMapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255
    && bytes[11] === 255;
  return isMapped ? bytes.slice(12) : bytes;
}

function ipv6Bytes(address: string): number[] {
  const dotted = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  const text = dotted ? dotted[1] + hexOf(dotted[2]) : address;
  const [head, tail] = text.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const missing = tail === undefined ? 0 : 8 - head.length - tail.length;
  const groups = [...head, ...Array<string>(missing).fill('0'), ...(tail ?? [])];
  return groups.flatMap((group) => {
    const value = parseInt(group, 16);
    return [value >> 8, value & 255];
  });
}

function hexOf(dotted: string): string {
  const [a, b, c, d] = dotted.split('.').map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

const IPV6_NETWORK_BYTES = 8;

/**
 * The key that limits per address count by. IPv6 counts by /64, because that is what one customer
 * gets; two spellings of one address have one key.
 */
export function addressKey(address: string): string {
  const bytes = addressBytes(address);
  if (!bytes) return address;
  if (bytes.length === 4) return bytes.join('.');
  return `${Buffer.from(bytes.slice(0, IPV6_NETWORK_BYTES)).toString('hex')}/64`;
}

/** An address or a network in CIDR notation, ready to be compared. */
export interface AddressRange {
  readonly bytes: readonly number[];
  readonly prefixLength: number;
}

/** Reads `10.0.0.7`, `10.0.0.0/8` or `2001:db8::/32`; undefined when it is none of these. */
export function parseAddressRange(text: string): AddressRange | undefined {
  const [address, prefixText, ...more] = text.split('/');
  const bytes = addressBytes(address);
  if (!bytes || more.length > 0) return undefined;
  const bits = bytes.length * 8;
  if (prefixText === undefined) return { bytes, prefixLength: bits };
  const prefixLength = /^\d{1,3}$/.test(prefixText) ? Number(prefixText) : bits + 1;
  return prefixLength <= bits ? { bytes, prefixLength } : undefined;
}

export function isInRange(address: string, range: AddressRange): boolean {
  const bytes = addressBytes(address);
  if (!bytes || bytes.length !== range.bytes.length) return false;
  const whole = range.prefixLength >> 3;
  for (let at = 0; at < whole; at += 1) {
    if (bytes[at] !== range.bytes[at]) return false;
  }
  const rest = range.prefixLength & 7;
  if (rest === 0) return true;
  const mask = 0xff00 >> rest & 0xff;
  return (bytes[whole] & mask) === (range.bytes[whole] & mask);
}
