/**
 * Who is this? The authenticators are asked in order; the first that does not pass has decided, and
 * the end of the chain denies unless anonymous clients are allowed at that door. One that throws
 * denies (fail closed).
 */
import type { ResolvedBrokerOptions } from './broker-options.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { isLater } from './decision.js';
import type { Soon } from './decision.js';
import type {
  AuthenticationResult,
  Authenticator,
  ConnectRequest,
  EnhancedAuthenticator,
  EnhancedExchange,
  EnhancedStep,
} from './hooks.js';
import { BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, SERVER_UNAVAILABLE } from './reason-codes.js';
import type { Door } from './records.js';

export type Decided = Exclude<AuthenticationResult, { ok: 'pass' }>;

const PASS: AuthenticationResult = { ok: 'pass' };
/**
 * Somebody whom nobody knows and who is let in all the same. The User Name it gave proves nothing.
 */
const ANONYMOUS: Decided = { ok: true };
const FAILED_HOOK: Decided = {
  ok: false,
  reasonCode: SERVER_UNAVAILABLE,
  reason: 'authentication failed for an internal reason',
};
const FAILED_STEP: EnhancedStep = {
  kind: 'failure',
  reasonCode: SERVER_UNAVAILABLE,
  reason: 'authentication failed for an internal reason',
};

export class Authentication {
  readonly #context: BrokerContext;
  #authenticators: readonly Authenticator[];
  /** By Authentication Method. */
  readonly #enhanced: ReadonlyMap<string, EnhancedAuthenticator>;

  constructor(context: BrokerContext) {
    this.#context = context;
    this.#authenticators = context.options.authentication;
    this.#enhanced = new Map(
      context.options.enhancedAuthentication.map((one) => [one.method, one]),
    );
  }

  guardsChanged({ authentication }: ResolvedBrokerOptions): void {
    this.#authenticators = authentication;
  }

  /** Whether names of users have been proved, so that they mean something. */
  get isInUse(): boolean {
    return this.#authenticators.length > 0 || this.#enhanced.size > 0;
  }

  ask(request: ConnectRequest, door: Door): Soon<Decided> {
    const answer = this.#chain(request, 0);
    if (isLater(answer)) return answer.then((result) => this.#end(result, request, door));
    return this.#end(answer, request, door);
  }

  enhanced(method: string): EnhancedAuthenticator | undefined {
    return this.#enhanced.get(method);
  }

  /** One step of an exchange; what it throws is a failure. */
  step(exchange: EnhancedExchange, data: Uint8Array | undefined): Soon<EnhancedStep> {
    try {
      const step = exchange.step(data);
      return isLater(step) ? step.catch((error: unknown) => this.#failedStep(error)) : step;
    } catch (error) {
      return this.#failedStep(error);
    }
  }

  #chain(request: ConnectRequest, from: number): Soon<AuthenticationResult> {
    for (let position = from; position < this.#authenticators.length; position += 1) {
      const answer = this.#one(this.#authenticators[position], request);
      if (isLater(answer)) {
        return answer.then(
          (result) => (result.ok === 'pass' ? this.#chain(request, position + 1) : result),
          (error: unknown) => this.#failedHook(error),
        );
      }
      if (answer.ok !== 'pass') return answer;
    }
    return PASS;
  }

  #one(authenticator: Authenticator, request: ConnectRequest): Soon<AuthenticationResult> {
    try {
      const answer = authenticator.authenticate(request);
      return isLater(answer) ? answer.then(checkedResult) : checkedResult(answer);
    } catch (error) {
      return this.#failedHook(error);
    }
  }

  #end(result: AuthenticationResult, request: ConnectRequest, door: Door): Decided {
    if (result.ok === true || result.ok === false) return result;
    if (door.anonymous === 'refused') return denied(request);
    // With authenticators about, credentials that none of them knows are wrong, not anonymous: a
    // User Name that nobody proved must not pass for one that somebody did.
    const claims = request.username !== undefined || request.password !== undefined;
    return claims && this.isInUse ? denied(request) : ANONYMOUS;
  }

  #failedHook(error: unknown): Decided {
    reportProblem(this.#context, 'authenticator', error);
    return FAILED_HOOK;
  }

  #failedStep(error: unknown): EnhancedStep {
    reportProblem(this.#context, 'enhanced authenticator', error);
    return FAILED_STEP;
  }
}

/** An authenticator in JavaScript may forget to answer: that is a failure, and denies. */
function checkedResult(result: AuthenticationResult | undefined | null): AuthenticationResult {
  const ok = result?.ok;
  if (result !== undefined && result !== null && (ok === true || ok === false || ok === 'pass')) {
    return result;
  }
  throw new TypeError('an authenticator answered neither { ok: true }, false nor "pass"');
}

function denied(request: ConnectRequest): Decided {
  return request.username === undefined
    ? { ok: false, reasonCode: NOT_AUTHORIZED, reason: 'anonymous clients are not allowed' }
    : { ok: false, reasonCode: BAD_USER_NAME_OR_PASSWORD };
}
