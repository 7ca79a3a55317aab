/**
 * Stored passwords: what a line of a password file says, and whether a password fits it.
 *
 * Formats: `$7$iterations$salt$hash` (PBKDF2-SHA512) and `$6$salt$hash` (SHA512) are mosquitto's
 * own; `$scrypt$ln=..,r=..,p=..$salt$hash` is the PHC string of scrypt;
 * `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` is PostgreSQL's; `$argon2id$v=19$...` is
 * verified where node:crypto has argon2 (Node 24.7).
 */
import * as crypto from 'node:crypto';
import { promisify } from 'node:util';

import { GuardError } from '../errors.js';
import { guardLimitDefaults } from '../guard-limits.js';
import { preparePassword } from './saslprep.js';

export type PasswordHash =
  | { readonly kind: 'sha512'; readonly salt: Buffer; readonly hash: Buffer }
  | {
      readonly kind: 'pbkdf2-sha512'; readonly iterations: number;
      readonly salt: Buffer; readonly hash: Buffer;
    }
  | {
      readonly kind: 'scrypt'; readonly logCost: number; readonly blockSize: number;
      readonly parallelization: number; readonly salt: Buffer; readonly hash: Buffer;
    }
  | {
      readonly kind: 'argon2id'; readonly memoryKiB: number; readonly passes: number;
      readonly parallelism: number; readonly salt: Buffer; readonly hash: Buffer;
    }
  | ScramCredential;

/** What RFC 5802 stores for one user: enough to check a proof, not enough to log in with. */
export interface ScramCredential {
  readonly kind: 'scram-sha-256';
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

/** Kinds that `hashPassword` makes. */
export type PasswordFormat = 'pbkdf2-sha512' | 'sha512' | 'scrypt' | 'scram-sha-256';

type Argon2 = (
  algorithm: 'argon2id',
  parameters: {
    message: Uint8Array; nonce: Uint8Array; parallelism: number; tagLength: number;
    memory: number; passes: number;
  },
  done: (error: Error | null, key: Buffer) => void,
) => void;
// Not in the types of Node 20: node:crypto has it from 24.7 on.
const argon2 = (crypto as unknown as { argon2?: Argon2 }).argon2;

/** `true` where this Node can check `$argon2id$` hashes. */
export const argon2Available: boolean = typeof argon2 === 'function';

const pbkdf2 = promisify(crypto.pbkdf2);
const scrypt = promisify<
  crypto.BinaryLike, crypto.BinaryLike, number, crypto.ScryptOptions, Buffer
>(crypto.scrypt);

const SALT_BYTES = 12;
const SALT_BYTES_MIN = 8;
const HASH_BYTES_MIN = 16;
const FIELD_BYTES_MAX = 128;
const MOSQUITTO_HASH_BYTES = 64;
const SHA256_BYTES = 32;
const SCRYPT_LOG_COST = 15;
const SCRYPT_BLOCK_SIZE = 8;
// mosquitto_passwd of 2.0 says 101, which is no work at all today; any count is readable by
// mosquitto.
const PBKDF2_ITERATIONS = 50_000;

/** Reads a stored hash; throws a GuardError that never repeats the text. */
export function parsePasswordHash(text: string): PasswordHash {
  const parts = text.split('$');
  if (text.startsWith('$6$') && parts.length === 4) {
    return { kind: 'sha512', salt: salt(parts[2]), hash: bytes(parts[3], MOSQUITTO_HASH_BYTES) };
  }
  if (text.startsWith('$7$') && parts.length === 5) {
    return {
      kind: 'pbkdf2-sha512', iterations: count(parts[2], guardLimitDefaults.kdfIterationsMax),
      salt: salt(parts[3]), hash: bytes(parts[4], MOSQUITTO_HASH_BYTES),
    };
  }
  if (text.startsWith('$scrypt$') && parts.length === 5) return parseScrypt(parts);
  if (text.startsWith('$argon2id$') && parts.length === 6) return parseArgon2(parts);
  if (text.startsWith('SCRAM-SHA-256$') && parts.length === 3) return parseScram(parts);
  throw malformed('it is not $7$, $6$, $scrypt$, $argon2id$ or SCRAM-SHA-256$');
}

function parseScrypt(parts: string[]): PasswordHash {
  const [logCost, blockSize, parallelization] = parameters(parts[2], ['ln', 'r', 'p']);
  if (logCost > 30 || 128 * blockSize * 2 ** logCost > guardLimitDefaults.kdfMemoryBytesMax) {
    throw malformed(
      `scrypt would take more memory than ${guardLimitDefaults.kdfMemoryBytesMax} bytes`,
    );
  }
  return {
    kind: 'scrypt', logCost, blockSize, parallelization, salt: salt(parts[3]), hash: bytes(
      parts[4],
    ),
  };
}

function parseArgon2(parts: string[]): PasswordHash {
  if (parts[2] !== 'v=19') throw malformed('only version 19 of argon2id is known');
  if (!argon2Available) {
    throw new GuardError(
      'NIDO_HASH_UNSUPPORTED',
      'argon2id needs a Node whose node:crypto has argon2 (24.7 or later); use $7$ or $scrypt$',
    );
  }
  const [memoryKiB, passes, parallelism] = parameters(parts[3], ['m', 't', 'p']);
  if (memoryKiB * 1024 > guardLimitDefaults.kdfMemoryBytesMax) {
    throw malformed(
      `argon2id would take more memory than ${guardLimitDefaults.kdfMemoryBytesMax} bytes`,
    );
  }
  return {
    kind: 'argon2id', memoryKiB, passes, parallelism, salt: salt(parts[4]), hash: bytes(parts[5]),
  };
}

function parseScram(parts: string[]): ScramCredential {
  const [iterations, saltText, ...more] = parts[1].split(':');
  const [stored, server, ...rest] = parts[2].split(':');
  if (saltText === undefined || server === undefined || more.length + rest.length > 0) {
    throw malformed('a SCRAM credential is SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey');
  }
  return {
    kind: 'scram-sha-256', iterations: count(iterations, guardLimitDefaults.kdfIterationsMax),
    salt: salt(saltText), storedKey: bytes(stored, SHA256_BYTES), serverKey: bytes(
      server, SHA256_BYTES,
    ),
  };
}

function malformed(what: string): GuardError {
  return new GuardError('NIDO_HASH_MALFORMED', `the password hash cannot be read: ${what}`);
}

function count(text: string, max: number): number {
  const value = /^[1-9]\d{0,9}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > max) throw malformed(`its work factor is not a number from 1 to ${max}`);
  return value;
}

function parameters(text: string, names: readonly string[]): number[] {
  const given = text.split(',').map((part) => part.split('='));
  if (given.length !== names.length || given.some(([name], at) => name !== names[at])) {
    throw malformed(`its parameters are not ${names.join('=..,')}=..`);
  }
  return given.map(([, value]) => count(value ?? '', 2 ** 31));
}

function bytes(text: string, length?: number): Buffer {
  // PHC strings leave the padding out, mosquitto does not.
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw malformed('a part of it is not Base64');
  const decoded = Buffer.from(text, 'base64');
  const fits = length === undefined
    ? decoded.length >= HASH_BYTES_MIN && decoded.length <= FIELD_BYTES_MAX
    : decoded.length === length;
  if (!fits) throw malformed('a part of it has the wrong length');
  return decoded;
}

function salt(text: string): Buffer {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw malformed('its salt is not Base64');
  const decoded = Buffer.from(text, 'base64');
  if (decoded.length < SALT_BYTES_MIN || decoded.length > FIELD_BYTES_MAX) {
    throw malformed(
      `its salt has fewer than ${SALT_BYTES_MIN} or more than ${FIELD_BYTES_MAX} bytes`,
    );
  }
  return decoded;
}

/**
 * `true` when `password` is the one that `stored` was made of. Takes the same time wherever they
 * differ.
 */
export async function verifyPassword(stored: PasswordHash, password: Uint8Array): Promise<boolean> {
  const expected = stored.kind === 'scram-sha-256' ? stored.storedKey : stored.hash;
  return crypto.timingSafeEqual(await derive(stored, password, expected.length), expected);
}

async function derive(stored: PasswordHash, password: Uint8Array, length: number): Promise<Buffer> {
  switch (stored.kind) {
    case 'sha512':
      return crypto.createHash('sha512').update(password).update(stored.salt).digest();
    case 'pbkdf2-sha512':
      return pbkdf2(password, stored.salt, stored.iterations, length, 'sha512');
    case 'scrypt':
      return scrypt(password, stored.salt, length, {
        N: 2 ** stored.logCost, r: stored.blockSize, p: stored.parallelization,
        maxmem: 2 * guardLimitDefaults.kdfMemoryBytesMax,
      });
    case 'argon2id':
      return deriveArgon2(stored, password, length);
    case 'scram-sha-256':
      return (await scramKeys(password, stored.salt, stored.iterations)).storedKey;
  }
}

function deriveArgon2(
  stored: Extract<PasswordHash, { kind: 'argon2id' }>, password: Uint8Array, length: number,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (!argon2) {
      reject(new GuardError('NIDO_HASH_UNSUPPORTED', 'this Node has no argon2'));
      return;
    }
    argon2('argon2id', {
      message: password, nonce: stored.salt, parallelism: stored.parallelism, tagLength: length,
      memory: stored.memoryKiB, passes: stored.passes,
    }, (error, key) => (error ? reject(error) : resolve(key)));
  });
}

/** RFC 5802: StoredKey and ServerKey of a password. */
export async function scramKeys(
  password: Uint8Array, saltBytes: Uint8Array, iterations: number,
): Promise<{ storedKey: Buffer; serverKey: Buffer; clientKey: Buffer }> {
  const prepared = preparePassword(password);
  const salted = await pbkdf2(prepared, saltBytes, iterations, SHA256_BYTES, 'sha256');
  const clientKey = crypto.createHmac('sha256', salted).update('Client Key').digest();
  return {
    clientKey,
    storedKey: crypto.createHash('sha256').update(clientKey).digest(),
    serverKey: crypto.createHmac('sha256', salted).update('Server Key').digest(),
  };
}

/** Makes a stored hash of a password, in the format that is asked for. */
export async function hashPassword(
  password: Uint8Array,
  options: { readonly format?: PasswordFormat; readonly iterations?: number } = {},
): Promise<string> {
  const saltBytes = crypto.randomBytes(SALT_BYTES);
  const saltText = saltBytes.toString('base64');
  switch (options.format ?? 'pbkdf2-sha512') {
    case 'sha512': {
      const hash = await derive({ kind: 'sha512', salt: saltBytes, hash: saltBytes }, password, 0);
      return `$6$${saltText}$${hash.toString('base64')}`;
    }
    case 'pbkdf2-sha512': {
      const iterations = options.iterations ?? PBKDF2_ITERATIONS;
      const hash = await pbkdf2(password, saltBytes, iterations, MOSQUITTO_HASH_BYTES, 'sha512');
      return `$7$${iterations}$${saltText}$${hash.toString('base64')}`;
    }
    case 'scrypt': {
      const cost = `ln=${SCRYPT_LOG_COST},r=${SCRYPT_BLOCK_SIZE},p=1`;
      const hash = await scrypt(password, saltBytes, SHA256_BYTES, {
        N: 2 ** SCRYPT_LOG_COST, r: SCRYPT_BLOCK_SIZE, p: 1,
        maxmem: 2 * guardLimitDefaults.kdfMemoryBytesMax,
      });
      const unpadded = (value: Buffer): string => value.toString('base64').replace(/=+$/, '');
      return `$scrypt$${cost}$${unpadded(saltBytes)}$${unpadded(hash)}`;
    }
    case 'scram-sha-256': {
      const iterations = options.iterations ?? guardLimitDefaults.scramIterations;
      const keys = await scramKeys(password, saltBytes, iterations);
      const [stored, server] = [keys.storedKey, keys.serverKey].map(
        (key) => key.toString('base64'),
      );
      return `SCRAM-SHA-256$${iterations}:${saltText}$${stored}:${server}`;
    }
  }
}
