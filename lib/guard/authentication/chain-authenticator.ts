import type { AuthenticationResult, Authenticator, ConnectRequest } from '../../broker/hooks.js';
import type { BrokerLogger } from '../../broker/logger.js';
import { BAD_USER_NAME_OR_PASSWORD } from '../reason-codes.js';
import { connectionLine, redactText } from '../redact.js';

const denied: AuthenticationResult = {
  ok: false, reasonCode: BAD_USER_NAME_OR_PASSWORD, reason: 'no authenticator knows this client',
};

/**
 * Asks several authenticators in order. The first that decides, decides; one that throws, denies;
 * whom nobody knows is denied. Answers at once as long as every authenticator that is asked does.
 */
export class ChainAuthenticator implements Authenticator {
  constructor(
    private readonly links: readonly Authenticator[],
    private readonly options: { readonly logger?: BrokerLogger } = {},
  ) {}

  authenticate(request: ConnectRequest): AuthenticationResult | Promise<AuthenticationResult> {
    for (let at = 0; at < this.links.length; at += 1) {
      try {
        const answer = this.links[at].authenticate(request);
        if (isThenable(answer)) return this.goOn(request, answer, at);
        const decision = decided(answer);
        if (decision) return decision;
      } catch (error) {
        return this.failed(request, error);
      }
    }
    return denied;
  }

  onChange(review: () => void): void {
    for (const link of this.links) link.onChange?.(review);
  }

  private async goOn(
    request: ConnectRequest, first: Promise<AuthenticationResult>, from: number,
  ): Promise<AuthenticationResult> {
    try {
      let decision = decided(await first);
      for (let at = from + 1; !decision && at < this.links.length; at += 1) {
        decision = decided(await this.links[at].authenticate(request));
      }
      return decision ?? denied;
    } catch (error) {
      return this.failed(request, error);
    }
  }

  private failed(request: ConnectRequest, error: unknown): AuthenticationResult {
    const why = redactText(String((error as Error | undefined)?.message ?? error));
    this.options.logger?.error(connectionLine('authenticator failed, denied', {
      clientId: request.clientId, remoteAddress: request.remoteAddress, username: request.username,
      reason: why,
    }));
    return { ok: false, reasonCode: BAD_USER_NAME_OR_PASSWORD, reason: 'an authenticator failed' };
  }
}

function isThenable<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof (value as { then?: unknown } | undefined)?.then === 'function';
}

/** What counts as a decision. Anything that is neither a clear yes nor a clear pass is a no. */
function decided(answer: AuthenticationResult): AuthenticationResult | undefined {
  if (answer?.ok === 'pass') return undefined;
  if (answer?.ok === true || answer?.ok === false) return answer;
  throw new TypeError('an authenticator answered neither ok: true, ok: false nor ok: "pass"');
}
