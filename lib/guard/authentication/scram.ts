/** SCRAM-SHA-256 (RFC 5802, RFC 7677) as an Authentication Method of MQTT 5. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';

import type {
  ConnectRequest, EnhancedAuthenticator, EnhancedExchange, EnhancedStep,
} from '../../broker/hooks.js';
import { guardLimitDefaults } from '../guard-limits.js';
import { NOT_AUTHORIZED } from '../reason-codes.js';
import type { ScramCredential } from '../secret/password-hash.js';
import { saslprep } from '../secret/saslprep.js';

export interface ScramUser {
  readonly credential: ScramCredential;
  readonly roles?: readonly string[];
}

export interface ScramOptions {
  /** Finds the stored credential of a user; undefined when there is none. */
  readonly find: (username: string) => ScramUser | undefined | Promise<ScramUser | undefined>;
  /** Called with a function that looks at whoever is inside again; call it when users change. */
  readonly onChange?: (review: () => void) => void;
  /** Iterations that an unknown user is told, so that it looks like the others. */
  readonly iterations?: number;
  /** For tests: the server's part of the nonce, printable and without a comma. */
  readonly serverNonce?: () => string;
}

const NONCE_BYTES = 18;
const SALT_BYTES = 16;

/**
 * Serves `SCRAM-SHA-256`. The password never crosses the wire, and what is stored does not let
 * anybody log in.
 */
export class ScramAuthenticator implements EnhancedAuthenticator {
  readonly method = 'SCRAM-SHA-256';
  // Salts of users that do not exist must be the same at every try, and must not be predictable.
  private readonly decoyKey = randomBytes(32);

  constructor(private readonly options: ScramOptions) {}

  begin(request: ConnectRequest): EnhancedExchange {
    return new ScramExchange(request, {
      find: this.options.find,
      serverNonce: this.options.serverNonce ?? (() => randomBytes(NONCE_BYTES).toString('base64')),
      decoy: (username) => this.decoy(username),
    });
  }

  onChange(review: () => void): void {
    this.options.onChange?.(review);
  }

  private decoy(username: string): ScramCredential {
    const digest = createHmac('sha256', this.decoyKey).update(username).digest();
    const salt = digest.subarray(0, SALT_BYTES);
    const iterations = this.options.iterations ?? guardLimitDefaults.scramIterations;
    return {
      kind: 'scram-sha-256', iterations, salt,
      storedKey: randomBytes(32), serverKey: randomBytes(32),
    };
  }
}

interface ScramNeeds {
  readonly find: ScramOptions['find'];
  readonly serverNonce: () => string;
  readonly decoy: (username: string) => ScramCredential;
}

interface Challenge {
  readonly username: string;
  readonly user: ScramUser | undefined;
  readonly credential: ScramCredential;
  readonly channelBinding: string;
  readonly nonce: string;
  /** client-first-message-bare "," server-first-message */
  readonly transcript: string;
}

class ScramExchange implements EnhancedExchange {
  private challenge: Challenge | undefined;
  private state: 'first' | 'final' | 'over' = 'first';

  constructor(private readonly request: ConnectRequest, private readonly needs: ScramNeeds) {}

  async step(data: Uint8Array | undefined): Promise<EnhancedStep> {
    const state = this.state;
    this.state = 'over';
    if (!data || data.length > guardLimitDefaults.scramMessageBytesMax) {
      return failure('no SCRAM message');
    }
    const message = Buffer.from(data).toString('utf8');
    if (state === 'first') return this.first(message);
    if (state === 'final' && this.challenge) return this.final(message, this.challenge);
    return failure('the SCRAM exchange is over');
  }

  private async first(message: string): Promise<EnhancedStep> {
    // gs2-header: binding flag, authorization identity; then the bare message. Channel binding
    // ("p=") is not offered.
    const parts = /^([ny]),(?:a=([^,]*))?,(n=([^,]*),r=([\x21-\x2B\x2D-\x7E]+)(?:,.*)?)$/su.exec(
      message,
    );
    if (!parts) return failure('malformed client-first-message');
    const [, flag, authorizationText, bare, nameText, clientNonce] = parts;
    const username = decodeName(nameText);
    if (username === undefined) return failure('malformed user name');
    const other = authorizationText !== undefined && decodeName(authorizationText) !== username;
    const { username: connectUsername } = this.request;
    if (other || (connectUsername !== undefined && connectUsername !== username)) {
      return failure('another identity was asked for');
    }
    const user = await this.needs.find(username);
    const credential = user?.credential ?? this.needs.decoy(username);
    const nonce = clientNonce + this.needs.serverNonce();
    const reply = `r=${nonce},s=${credential.salt.toString('base64')},i=${credential.iterations}`;
    const header = `${flag},${authorizationText === undefined ? '' : `a=${authorizationText}`},`;
    this.challenge = {
      username, user, credential, nonce, transcript: `${bare},${reply}`,
      channelBinding: Buffer.from(header, 'utf8').toString('base64'),
    };
    this.state = 'final';
    return { kind: 'continue', data: Buffer.from(reply, 'utf8') };
  }

  private final(message: string, challenge: Challenge): EnhancedStep {
    const parts = /^(c=([^,]*),r=([^,]*)(?:,.*)?),p=([A-Za-z0-9+/]{43}=)$/su.exec(message);
    if (!parts) return failure('malformed client-final-message');
    const [, withoutProof, channelBinding, nonce, proofText] = parts;
    if (channelBinding !== challenge.channelBinding || nonce !== challenge.nonce) {
      return failure('channel binding or nonce differs');
    }
    const { storedKey, serverKey } = challenge.credential;
    const authMessage = `${challenge.transcript},${withoutProof}`;
    const signature = createHmac('sha256', storedKey).update(authMessage).digest();
    const proof = Buffer.from(proofText, 'base64');
    const clientKey = Buffer.from(proof.map((byte, at) => byte ^ signature[at]));
    const right = timingSafeEqual(createHash('sha256').update(clientKey).digest(), storedKey);
    if (!right || !challenge.user) return failure('wrong proof');
    const verifier = createHmac('sha256', serverKey).update(authMessage).digest('base64');
    return {
      kind: 'success', ok: true, username: challenge.username, roles: challenge.user.roles,
      stillHolds: () => this.isStored(challenge),
      data: Buffer.from(`v=${verifier}`, 'utf8'),
    };
  }

  private async isStored({ username, credential }: Challenge): Promise<boolean> {
    const user = await this.needs.find(username);
    return user !== undefined && isDeepStrictEqual(user.credential, credential);
  }
}

function failure(reason: string): EnhancedStep {
  return { kind: 'failure', reasonCode: NOT_AUTHORIZED, reason };
}

/** `=2C` and `=3D` are the only escapes of a saslname. */
function decodeName(text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text)) return undefined;
  const name = saslprep(text.replaceAll('=2C', ',').replaceAll('=3D', '='));
  return name === '' ? undefined : name;
}
