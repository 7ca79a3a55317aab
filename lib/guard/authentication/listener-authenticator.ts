/** Authenticators that are there for some listeners only, by their names. */
import type {
  AuthenticationResult, Authenticator, ConnectRequest, EnhancedAuthenticator, EnhancedExchange,
} from '../../broker/hooks.js';
import { GuardError } from '../errors.js';
import { BAD_AUTHENTICATION_METHOD } from '../reason-codes.js';

/** `names` as a configuration gives them; `where` is the place in it. */
export function listenerNames(names: unknown, where: string): ReadonlySet<string> {
  const fits = Array.isArray(names) && names.length > 0
    && names.every((name) => typeof name === 'string' && name !== '');
  if (fits) return new Set(names as string[]);
  throw new GuardError(
    'NIDO_AUTHENTICATION_LISTENERS',
    `${where}.listeners: must be a list of names of listeners; leave it out for all of them`,
  );
}

/** Passes whoever comes through another listener. */
export class ListenerAuthenticator implements Authenticator {
  constructor(
    private readonly authenticator: Authenticator, private readonly listeners: ReadonlySet<string>,
  ) {}

  authenticate(request: ConnectRequest): AuthenticationResult | Promise<AuthenticationResult> {
    if (!this.listeners.has(request.listener)) return { ok: 'pass' };
    return this.authenticator.authenticate(request);
  }

  onChange(review: () => void): void {
    this.authenticator.onChange?.(review);
  }
}

const elsewhere: EnhancedExchange = {
  step: () => ({
    kind: 'failure', reasonCode: BAD_AUTHENTICATION_METHOD,
    reason: 'this Authentication Method is not supported here',
  }),
};

/** Refuses whoever comes through another listener. */
export class ListenerEnhancedAuthenticator implements EnhancedAuthenticator {
  readonly method: string;

  constructor(
    private readonly authenticator: EnhancedAuthenticator,
    private readonly listeners: ReadonlySet<string>,
  ) {
    this.method = authenticator.method;
  }

  begin(request: ConnectRequest): EnhancedExchange {
    return this.listeners.has(request.listener) ? this.authenticator.begin(request) : elsewhere;
  }

  onChange(review: () => void): void {
    this.authenticator.onChange?.(review);
  }
}
