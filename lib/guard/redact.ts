/**
 * Keeps secrets out of logs, `$SYS` and monitoring, and keeps what a peer chose (client ids,
 * topics) from forging log lines. Everything a guard logs goes through here.
 */
import { types } from 'node:util';

import type { BrokerLogger } from '../broker/logger.js';

const REDACTED = '[redacted]';
const DEPTH_MAX = 6;
const TEXT_LENGTH_MAX = 512;

const secretKey = new RegExp(
  'pass(word|phrase|wd)?$|secret|token|jwt|authorization|cookie|credential|private_?key|api_?key|'
  + '^auth(entication)?_?data$|^pwd$|storedkey|serverkey|^key$|^pfx$', 'i',
);
// A JSON Web Token; a stored hash; user information in a URL; a secret in a query string.
const jsonWebToken = /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;
const storedHash = /(?:\$(?:6|7|scrypt|argon2id?)\$|SCRAM-SHA-256\$)[^\s"']+/g;
const userInformation = /\b([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/@"']+@/gi;
const secretParameter = new RegExp(
  '\\b((?:password|passwd|pwd|secret|(?:access_?)?token|api_?key)["\']?\\s*[=:]\\s*)'
  + '(?:"[^"]*"|\'[^\']*\'|[^\\s&"\',;]+)', 'gi',
);
const bearer = /\b(Bearer|Basic)\s+[\w.~+/=-]+/gi;

/** `text` without anything that looks like a secret. */
export function redactText(text: string): string {
  return text
    .replace(jsonWebToken, REDACTED)
    .replace(storedHash, REDACTED)
    .replace(userInformation, `$1${REDACTED}@`)
    .replace(secretParameter, `$1${REDACTED}`)
    .replace(bearer, `$1 ${REDACTED}`);
}

/**
 * A peer's own words on one line: control and direction characters are escaped, length is bounded.
 */
export function printable(text: string, lengthMax: number = TEXT_LENGTH_MAX): string {
  const cut = text.length > lengthMax ? `${text.slice(0, lengthMax)}...(${text.length})` : text;
  return cut.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) =>
    `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}

/**
 * A copy of `value` for a log: secrets by name or by look are gone, bytes are counted, depth is
 * bounded.
 */
export function redact(value: unknown, depth: number = 0): unknown {
  if (typeof value === 'string') return redactText(value);
  if (value === null || typeof value !== 'object') return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= DEPTH_MAX) return '[...]';
  if (Array.isArray(value)) return value.map((item) => redact(item, depth + 1));
  if (types.isNativeError(value)) return redactError(value, depth);
  if (types.isMap(value)) return redact(Object.fromEntries(value), depth + 1);
  const copy = new Map<string, unknown>();
  for (const [key, item] of Object.entries(value)) {
    const hidden = secretKey.test(key) && item !== undefined && item !== null;
    copy.set(key, hidden ? REDACTED : redact(item, depth + 1));
  }
  // `fromEntries` defines own properties, so that a key `__proto__` stays a key.
  return Object.fromEntries(copy);
}

function redactError(error: Error, depth: number): Record<string, unknown> {
  const code = (error as { code?: unknown }).code;
  const answer: Record<string, unknown> = { name: error.name, message: redactText(error.message) };
  if (typeof code === 'string' || typeof code === 'number') answer.code = code;
  if (error.cause !== undefined) answer.cause = redact(error.cause, depth + 1);
  return answer;
}

/** `logger`, with everything that is written to it redacted first. */
export function redactingLogger(logger: BrokerLogger): BrokerLogger {
  const through = (write: ((message: string, ...details: unknown[]) => void) | undefined) =>
    write && ((message: string, ...details: unknown[]): void => {
      write.call(logger, redactText(message), ...details.map((detail) => redact(detail)));
    });
  return {
    error: through(logger.error) as BrokerLogger['error'],
    warn: through(logger.warn) as BrokerLogger['warn'],
    log: through(logger.log),
    info: through(logger.info),
    debug: through(logger.debug),
  };
}

/** One line for an event of one connection, ready for a log. */
export function connectionLine(
  event: string,
  who: {
    readonly clientId?: string; readonly remoteAddress?: string; readonly username?: string;
    readonly reasonCode?: number; readonly reason?: string;
  },
): string {
  const parts = [event];
  if (who.clientId !== undefined) parts.push(`client="${printable(who.clientId)}"`);
  if (who.remoteAddress) parts.push(`address=${printable(who.remoteAddress)}`);
  if (who.username !== undefined) parts.push(`user="${printable(who.username)}"`);
  if (who.reasonCode !== undefined) {
    parts.push(`code=0x${who.reasonCode.toString(16).padStart(2, '0')}`);
  }
  if (who.reason !== undefined) parts.push(`reason="${printable(redactText(who.reason))}"`);
  return parts.join(' ');
}
