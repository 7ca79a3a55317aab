import type { AuthenticationResult, Authenticator, ConnectRequest } from '../../broker/hooks.js';
import { NOT_AUTHORIZED } from '../reason-codes.js';

export interface CertificateOptions {
  /**
   * Where the user's name stands: the Common Name, or the first alternative name of a type. Default
   * `commonName`.
   */
  readonly usernameFrom?: 'commonName' | 'dns' | 'email' | 'uri';
  /** Which proofs count. Default: certificates only. */
  readonly accept?: readonly ('certificate' | 'psk')[];
  /**
   * What holds when CONNECT also carries a User Name: it must be the same (default), or it is not
   * looked at.
   */
  readonly connectUsername?: 'must-match' | 'ignore';
  readonly roles?: readonly string[];
}

const prefixes = { dns: 'DNS:', email: 'email:', uri: 'URI:' } as const;

/**
 * Takes the name that the transport has proved: a verified client certificate, or a pre-shared key.
 */
export class CertificateAuthenticator implements Authenticator {
  constructor(private readonly options: CertificateOptions = {}) {}

  authenticate(request: ConnectRequest): AuthenticationResult {
    const { identity } = request;
    const accepted = this.options.accept ?? ['certificate'];
    if (!identity || !accepted.includes(identity.via)) return { ok: 'pass' };
    const username = this.nameOf(identity.name, identity.alternativeNames);
    if (!username) {
      return { ok: false, reasonCode: NOT_AUTHORIZED, reason: 'the certificate has no such name' };
    }
    const mustMatch = (this.options.connectUsername ?? 'must-match') === 'must-match';
    if (mustMatch && request.username !== undefined && request.username !== username) {
      return {
        ok: false, reasonCode: NOT_AUTHORIZED, reason: 'User Name is not that of the certificate',
      };
    }
    return { ok: true, username, roles: this.options.roles };
  }

  private nameOf(commonName: string, alternativeNames: readonly string[]): string | undefined {
    const from = this.options.usernameFrom ?? 'commonName';
    if (from === 'commonName') return commonName;
    const prefix = prefixes[from];
    return alternativeNames.find((name) => name.startsWith(prefix))?.slice(prefix.length);
  }
}

/**
 * Lets clients in that bring neither a User Name nor a password. Put it last, and only if you mean
 * it.
 */
export class AnonymousAuthenticator implements Authenticator {
  constructor(private readonly options: { readonly roles?: readonly string[] } = {}) {}

  authenticate(request: ConnectRequest): AuthenticationResult {
    if (request.username !== undefined || request.password !== undefined) return { ok: 'pass' };
    return { ok: true, roles: this.options.roles };
  }
}
