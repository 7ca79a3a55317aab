/** Pre-shared keys (TLS-PSK): where they come from, and who proved to have one. */
import { randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

/**
 * The key of an identity, or undefined for a stranger. Asked in the middle of a handshake: it must
 * answer at once.
 */
export type PreSharedKeyLookup = (identity: string) => Uint8Array | undefined;
export type PreSharedKeys = ReadonlyMap<string, Uint8Array> | PreSharedKeyLookup;

/**
 * Suites for doors and clients with pre-shared keys, those with forward secrecy first. All are TLS
 * 1.2: there the name of the suite says whether the key was proven. With TLS 1.3 Node does not tell
 * whether the handshake used the pre-shared key or fell back to the certificate, and then an
 * identity would be believed that nobody proved.
 */
export const PSK_CIPHERS = [
  'ECDHE-PSK-CHACHA20-POLY1305', 'ECDHE-PSK-AES256-CBC-SHA384', 'ECDHE-PSK-AES128-CBC-SHA256',
  'DHE-PSK-AES256-GCM-SHA384', 'DHE-PSK-AES128-GCM-SHA256', 'DHE-PSK-CHACHA20-POLY1305',
  'PSK-AES256-GCM-SHA384', 'PSK-AES128-GCM-SHA256', 'PSK-CHACHA20-POLY1305',
].join(':');
export const PSK_TLS_VERSION_MAX = 'TLSv1.2';

/** What a stranger is given, so that the alert does not say which identities exist. */
const STRANGER_KEY_BYTES = 32;
const IDENTITY = Symbol('nidomq.pskIdentity');

interface PskSocket extends TLSSocket {
  [IDENTITY]?: { readonly name: string; readonly known: 'known' | 'unknown' };
}

/** Node's `pskCallback` of the server side. */
export function answerPskIdentity(
  socket: PskSocket, name: string, lookup: PreSharedKeyLookup,
): Uint8Array {
  let key: Uint8Array | undefined;
  try {
    key = lookup(name);
  } catch {
    key = undefined;
  }
  const usable = key !== undefined && key.length > 0;
  socket[IDENTITY] = { name, known: usable ? 'known' : 'unknown' };
  return usable ? key as Uint8Array : randomBytes(STRANGER_KEY_BYTES);
}

/**
 * The identity whose key this connection proved to have. Only sound below TLS 1.3, see PSK_CIPHERS.
 */
export function provenPskIdentity(socket: PskSocket): string | undefined {
  const identity = socket[IDENTITY];
  if (identity?.known !== 'known' || socket.getProtocol() !== PSK_TLS_VERSION_MAX) return undefined;
  return socket.getCipher().name.includes('PSK') ? identity.name : undefined;
}

/** For the log of a failed handshake. */
export function claimedPskIdentity(socket: PskSocket): string {
  const identity = socket[IDENTITY];
  if (identity === undefined) return '';
  return ` (pre-shared key identity ${JSON.stringify(identity.name)}, ${identity.known})`;
}

export function lookupOf(keys: PreSharedKeys): PreSharedKeyLookup {
  return typeof keys === 'function' ? keys : (identity) => keys.get(identity);
}

export type PskFile =
  | { readonly ok: true; readonly keys: ReadonlyMap<string, Uint8Array> }
  | { readonly ok: false; readonly line: number; readonly why: string };

/**
 * Lines of `identity:key in hexadecimal`, the format of mosquitto's `psk_file`. `#` starts a
 * comment line.
 */
export function parsePskFile(text: string): PskFile {
  const keys = new Map<string, Uint8Array>();
  const lines = text.split(/\r?\n/);
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index];
    if (line.trim() === '' || line.startsWith('#')) continue;
    const colon = line.lastIndexOf(':');
    const hex = line.slice(colon + 1).trim();
    if (colon <= 0) return { ok: false, line: index + 1, why: 'not `identity:key`' };
    if (!/^([0-9a-f]{2})+$/i.test(hex)) {
      return { ok: false, line: index + 1, why: 'the key is not hexadecimal (two digits a byte)' };
    }
    const name = line.slice(0, colon);
    if (keys.has(name)) return { ok: false, line: index + 1, why: 'this identity came before' };
    keys.set(name, Buffer.from(hex, 'hex'));
  }
  return { ok: true, keys };
}
