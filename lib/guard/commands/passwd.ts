/** The work of `nidomq passwd`, without the talking. */
import { randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';

import { nameOfLine, parsePasswordFile } from '../authentication/password-file.js';
import { fileProblem, GuardError } from '../errors.js';
import { guardLimitDefaults } from '../guard-limits.js';
import { hashPassword } from '../secret/password-hash.js';
import type { PasswordFormat } from '../secret/password-hash.js';
import { readGuardFile } from '../watched-file.js';

export interface PasswdOptions {
  readonly format?: PasswordFormat;
  readonly iterations?: number;
}

/** A line of a password file, `user:hash`; without a user, the hash alone for a configuration. */
export async function passwordLine(
  user: { readonly username?: string; readonly password: string }, options: PasswdOptions = {},
): Promise<string> {
  const { username, password } = user;
  if (username !== undefined) checkUsername(username);
  const bytes = Buffer.from(password, 'utf8');
  if (bytes.length === 0 || bytes.length > guardLimitDefaults.passwordBytesMax) {
    const max = guardLimitDefaults.passwordBytesMax;
    throw new GuardError('NIDO_PASSWORD_LENGTH', `a password has 1 to ${max} bytes`);
  }
  const hash = await hashPassword(bytes, options);
  return username === undefined ? hash : `${username}:${hash}`;
}

/**
 * Adds a user or changes its password; makes the file when there is none, readable by its owner
 * only.
 */
export async function setPassword(
  path: string, user: { readonly username: string; readonly password: string },
  options: PasswdOptions = {},
): Promise<'added' | 'changed'> {
  const line = await passwordLine(user, options);
  const lines = existingLines(path);
  const at = lines.findIndex((candidate) => nameOfLine(candidate) === user.username);
  if (at < 0) lines.push(line);
  else lines[at] = line;
  replaceFile(path, lines);
  return at < 0 ? 'added' : 'changed';
}

/** Takes a user out of the file. `false` when it was not there. */
export function removeUser(path: string, username: string): boolean {
  checkUsername(username);
  const lines = existingLines(path);
  const rest = lines.filter((line) => nameOfLine(line) !== username);
  if (rest.length === lines.length) return false;
  replaceFile(path, rest);
  return true;
}

function checkUsername(username: string): void {
  // mosquitto reads up to the first colon and cuts long names; control characters would break
  // lines.
  if (username.trim() !== username || username === '' || username.startsWith('#')
    || /[:\p{Cc}]/u.test(username)
    || Buffer.byteLength(username) > 65_535) {
    throw new GuardError(
      'NIDO_USERNAME',
      'a user name is not empty, has no colon or control character, no # in front and no blank at '
      + 'its ends',
    );
  }
}

function existingLines(path: string): string[] {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return [];
  // Replacing a link would leave the file it points to with the old password.
  if (stat.isSymbolicLink()) {
    throw fileProblem(
      'NIDO_PASSWORD_FILE_LINK', { path }, 'it is a symbolic link; name the file itself',
    );
  }
  const text = readGuardFile(path);
  if (text.trim() !== '') parsePasswordFile(text, path);
  return text.split('\n').filter((line) => line !== '');
}

/** Writes beside and renames, so that a reader never sees half a file. */
function replaceFile(path: string, lines: readonly string[]): void {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`;
  const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0o600;
  try {
    writeFileSync(
      temporary, lines.map((line) => `${line}\n`).join(''), { flag: 'wx', mode: 0o600 },
    );
    chmodSync(temporary, mode & 0o777);
    renameSync(temporary, path);
  } catch (error) {
    try {
      unlinkSync(temporary);
    } catch {
      // It was never made.
    }
    throw fileProblem(
      'NIDO_PASSWORD_FILE', { path }, `cannot be written: ${(error as Error).message}`,
    );
  }
}
