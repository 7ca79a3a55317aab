import { fileProblem } from '../errors.js';
import type { GuardError } from '../errors.js';
import { parsePasswordHash } from '../secret/password-hash.js';
import type { PasswordHash } from '../secret/password-hash.js';

export interface StoredUser {
  readonly username: string;
  readonly hash: PasswordHash;
  readonly roles?: readonly string[];
}

/** The user of a line, without blanks around it: mosquitto takes them off. */
export function nameOfLine(line: string): string {
  return line.slice(0, Math.max(0, line.indexOf(':'))).replace(BLANKS, '');
}
const BLANKS = /^[ \t\v\f\r]+|[ \t\v\f\r]+$/g;

/**
 * Reads a password file in mosquitto's format: `user:hash` a line; empty lines and lines that begin
 * with `#` are comments. Where mosquitto removes an unreadable entry and goes on, this refuses the
 * file: nobody should find out by being locked out.
 */
export function parsePasswordFile(text: string, path: string): ReadonlyMap<string, StoredUser> {
  const users = new Map<string, StoredUser>();
  text.split('\n').forEach((raw, at) => {
    const line = raw.trimEnd();
    if (line === '' || line.startsWith('#')) return;
    const where = { path, line: at + 1 };
    const colon = line.indexOf(':');
    const username = nameOfLine(line);
    if (colon < 1 || username === '') {
      throw fileProblem(
        'NIDO_PASSWORD_FILE_MALFORMED', where, 'a line is user:hash, as mosquitto_passwd writes it',
      );
    }
    if (users.has(username)) {
      throw fileProblem('NIDO_PASSWORD_FILE_MALFORMED', where, 'this user is already in the file');
    }
    try {
      users.set(username, { username, hash: parsePasswordHash(line.slice(colon + 1).trim()) });
    } catch (error) {
      throw fileProblem((error as GuardError).code, where, (error as Error).message);
    }
  });
  if (users.size === 0) {
    throw fileProblem(
      'NIDO_PASSWORD_FILE_EMPTY', { path }, 'there is no user in it; add one with: nidomq passwd',
    );
  }
  return users;
}
