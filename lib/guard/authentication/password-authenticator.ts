import { isDeepStrictEqual } from 'node:util';

import type { AuthenticationResult, Authenticator, ConnectRequest } from '../../broker/hooks.js';
import type { BrokerLogger } from '../../broker/logger.js';
import { GuardError } from '../errors.js';
import { guardLimitDefaults } from '../guard-limits.js';
import { BAD_USER_NAME_OR_PASSWORD, SERVER_BUSY } from '../reason-codes.js';
import { parsePasswordHash, verifyPassword } from '../secret/password-hash.js';
import type { PasswordHash } from '../secret/password-hash.js';
import { WorkQueue } from '../secret/work-queue.js';
import { WatchedFile } from '../watched-file.js';
import { parsePasswordFile } from './password-file.js';
import type { StoredUser } from './password-file.js';

/**
 * Password checks of all authenticators of this process share one queue, as they share one thread
 * pool.
 */
const sharedQueue = new WorkQueue({
  concurrencyMax: guardLimitDefaults.kdfConcurrencyMax, queueMax: guardLimitDefaults.kdfQueueMax,
});

// Without a reason: it would tell the peer that the user exists.
const wrong: AuthenticationResult = { ok: false, reasonCode: BAD_USER_NAME_OR_PASSWORD };
const pass: AuthenticationResult = { ok: 'pass' };
const busy: AuthenticationResult = {
  ok: false, reasonCode: SERVER_BUSY, reason: 'too many logins at once',
};

const decoy = parsePasswordHash(
  `$7$101$${Buffer.alloc(12, 1).toString('base64')}$${Buffer.alloc(64, 1).toString('base64')}`,
);

/**
 * Users by name, from whatever source. A user it does not know is left to the next authenticator.
 */
export abstract class PasswordAuthenticator implements Authenticator {
  constructor(private readonly queue: WorkQueue = sharedQueue) {}

  /** The users that are in force now. */
  protected abstract users(): ReadonlyMap<string, StoredUser>;

  /** Says whether the user is still the same; undefined when none of them ever changes. */
  protected proofOf(_user: StoredUser): (() => boolean) | undefined {
    return undefined;
  }

  authenticate(request: ConnectRequest): AuthenticationResult | Promise<AuthenticationResult> {
    const { username, password } = request;
    if (username === undefined) return pass;
    if (password !== undefined && password.length > guardLimitDefaults.passwordBytesMax) {
      return wrong;
    }
    const user = this.users().get(username);
    if (!password) return user ? wrong : pass;
    // HMAC fills short keys up with zeros, so that PBKDF2 takes "word" and "word\0" for the same.
    if (password.at(-1) === 0) return user ? wrong : pass;
    // Somebody unknown is checked against the first user there is, so that it takes as long.
    const stored = user?.hash ?? this.users().values().next().value?.hash ?? decoy;
    const check = this.queue.tryRun(() => verifyPassword(stored, password));
    if (!check) return busy;
    return check.then((right): AuthenticationResult => {
      if (!user) return pass;
      if (!right || this.proofOf(user)?.() === false) return wrong;
      const { username: name, roles } = user;
      return { ok: true, username: name, roles, stillHolds: this.proofOf(user) };
    });
  }
}

/**
 * The password file of mosquitto, as it is. Watched: a changed file holds for the next login, and
 * whose user has left it or has another password now goes.
 */
export class PasswordFileAuthenticator extends PasswordAuthenticator {
  private readonly file: WatchedFile<ReadonlyMap<string, StoredUser>>;

  constructor(options: {
    readonly path: string; readonly fileCheckMs?: number; readonly logger?: BrokerLogger;
    readonly queue?: WorkQueue;
  }) {
    super(options.queue);
    this.file = new WatchedFile(options, parsePasswordFile).watch();
  }

  protected users(): ReadonlyMap<string, StoredUser> {
    return this.file.current;
  }

  protected override proofOf(user: StoredUser): () => boolean {
    return () => {
      const now = this.file.current.get(user.username);
      return now === user || (now !== undefined && isDeepStrictEqual(now.hash, user.hash));
    };
  }

  onChange(review: () => void): void {
    this.file.onReload(review);
  }

  /** The users that are in force, for SCRAM. */
  find(username: string): StoredUser | undefined {
    return this.file.current.get(username);
  }

  reload(): boolean {
    return this.file.reload();
  }

  close(): void {
    this.file.close();
  }
}

/**
 * One user of the configuration. `password` is a stored hash, made by `nidomq passwd`; never the
 * password.
 */
export interface ConfiguredUser {
  readonly username: string;
  readonly password: string;
  readonly roles?: readonly string[];
}

/** Users written into the configuration, with the same hashes as in a password file. */
export class UsersAuthenticator extends PasswordAuthenticator {
  private readonly byName = new Map<string, StoredUser>();

  constructor(users: readonly ConfiguredUser[], options: { readonly queue?: WorkQueue } = {}) {
    super(options.queue);
    if (users.length === 0) {
      throw new GuardError(
        'NIDO_USERS_EMPTY', 'the list of users is empty; name one or leave the list out',
      );
    }
    users.forEach((user, at) => this.add(user, at));
  }

  protected users(): ReadonlyMap<string, StoredUser> {
    return this.byName;
  }

  find(username: string): StoredUser | undefined {
    return this.byName.get(username);
  }

  private add(user: ConfiguredUser, at: number): void {
    const isNamed = typeof user.username === 'string' && user.username !== '';
    if (!isNamed || typeof user.password !== 'string') {
      throw new GuardError(
        'NIDO_USERS_MALFORMED', `users[${at}] needs a username and a password hash`,
      );
    }
    if (this.byName.has(user.username)) {
      throw new GuardError(
        'NIDO_USERS_MALFORMED', `users[${at}] has a username that is already there`,
      );
    }
    let hash: PasswordHash;
    try {
      hash = parsePasswordHash(user.password);
    } catch (error) {
      const { code, message } = error as GuardError;
      throw new GuardError(
        code, `users[${at}].password: ${message}; make it with: nidomq passwd --print`,
      );
    }
    this.byName.set(user.username, { username: user.username, hash, roles: user.roles });
  }
}
