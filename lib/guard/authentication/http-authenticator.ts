/**
 * Asks an HTTP service. The URL is fixed by the configuration and never built from what a client
 * says; redirects are refused; a slow or broken service costs only the logins that need it.
 */
import { createHmac, randomBytes } from 'node:crypto';

import type { AuthenticationResult, Authenticator, ConnectRequest } from '../../broker/hooks.js';
import type { BrokerLogger } from '../../broker/logger.js';
import { BoundedMap } from '../bounded-map.js';
import { GuardError } from '../errors.js';
import { guardLimits } from '../guard-limits.js';
import type { GuardLimits } from '../guard-limits.js';
import { BAD_USER_NAME_OR_PASSWORD, SERVER_BUSY, SERVER_UNAVAILABLE } from '../reason-codes.js';
import { redactText } from '../redact.js';
import { WorkQueue } from '../secret/work-queue.js';
import { CircuitBreaker } from './circuit-breaker.js';

export interface HttpAuthenticatorOptions {
  readonly url: string;
  /** For example an `authorization` header that the service asks for. Never logged. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly limits?: Partial<GuardLimits>;
  readonly logger?: BrokerLogger;
  /**
   * Monotonic or wall time in milliseconds; cached answers and the circuit are measured with it.
   */
  readonly now?: () => number;
}

interface CachedAnswer {
  readonly answer: AuthenticationResult;
  readonly validUntil: number;
}

/**
 * The service gets `POST` with JSON `{ clientId, username, password, protocolVersion,
 * remoteAddress, listener, transport, certificateName }` (`password` as text, or `passwordBase64`
 * when it is not UTF-8) and answers 200 with `{ "result": "allow" | "deny" | "pass", "username"?,
 * "roles"?, "claims"?, "expiresAt"? (milliseconds), "cacheSeconds"? }`. 401 and 403 deny;
 * everything else is trouble, and trouble denies with 0x88 (Server unavailable).
 */
export class HttpAuthenticator implements Authenticator {
  private readonly limits: GuardLimits;
  private readonly queue: WorkQueue;
  private readonly circuit: CircuitBreaker;
  private readonly cache: BoundedMap<string, CachedAnswer>;
  private readonly asking = new Map<string, Promise<AuthenticationResult>>();
  // Cached answers are found by a keyed hash: no password is kept in memory, nor one that could be
  // tried offline.
  private readonly cacheKey = randomBytes(32);

  constructor(private readonly options: HttpAuthenticatorOptions) {
    const url = URL.canParse(options.url) ? new URL(options.url) : undefined;
    if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
      throw new GuardError(
        'NIDO_HTTP_AUTH_URL', 'http: "url" must be an absolute http or https URL',
      );
    }
    if (url.username || url.password) {
      throw new GuardError(
        'NIDO_HTTP_AUTH_URL', 'http: put credentials into "headers", not into "url"',
      );
    }
    this.limits = guardLimits(options.limits);
    this.queue = new WorkQueue({
      concurrencyMax: this.limits.httpConcurrencyMax, queueMax: this.limits.httpQueueMax,
    });
    this.circuit = new CircuitBreaker({
      failuresMax: this.limits.httpCircuitFailuresMax, openMs: this.limits.httpCircuitOpenMs,
    });
    this.cache = new BoundedMap(this.limits.httpCacheEntriesMax);
  }

  authenticate(request: ConnectRequest): AuthenticationResult | Promise<AuthenticationResult> {
    const { password } = request;
    if (password && password.length > this.limits.passwordBytesMax) {
      return {
        ok: false, reasonCode: BAD_USER_NAME_OR_PASSWORD, reason: 'the password is too long',
      };
    }
    const body = JSON.stringify(questionAbout(request));
    const key = createHmac('sha256', this.cacheKey).update(body).digest('base64');
    const cached = this.cache.get(key);
    if (cached && cached.validUntil > this.now()) return cached.answer;
    const asked = this.asking.get(key);
    if (asked) return asked;
    const question = this.queue.tryRun(() => this.ask(body, key));
    if (!question) return { ok: false, reasonCode: SERVER_BUSY, reason: 'too many logins at once' };
    const answer = question.finally(() => this.asking.delete(key));
    this.asking.set(key, answer);
    return answer;
  }

  /** Forgets every cached answer. */
  invalidate(): void {
    this.cache.clear();
  }

  private async ask(body: string, key: string): Promise<AuthenticationResult> {
    // Looked at when the turn has come: a queue in front of a dead service empties at once.
    if (!this.circuit.allows(this.now())) return unavailable('the circuit is open');
    let reply: Reply;
    try {
      reply = await this.post(body);
    } catch (error) {
      return this.trouble(error);
    }
    this.circuit.succeeded();
    this.remember(key, reply);
    return reply.answer;
  }

  private async post(body: string): Promise<Reply> {
    const response = await fetch(this.options.url, {
      method: 'POST', body, redirect: 'error',
      headers: { ...this.options.headers, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(this.limits.httpTimeoutMs),
    });
    if (response.status === 401 || response.status === 403) {
      await response.body?.cancel();
      return { answer: deniedByService };
    }
    if (response.status !== 200) {
      await response.body?.cancel();
      throw new Error(`status ${response.status}`);
    }
    return readReply(await boundedText(response, this.limits.httpAnswerBytesMax));
  }

  private remember(key: string, reply: Reply): void {
    const { answer, cacheMs } = reply;
    if (answer.ok === 'pass') return;
    const usual = answer.ok ? this.limits.httpCacheAllowMs : this.limits.httpCacheDenyMs;
    let validUntil = this.now() + (cacheMs ?? usual);
    if (answer.ok && answer.expiresAt !== undefined) {
      validUntil = Math.min(validUntil, this.now() + answer.expiresAt - Date.now());
    }
    if (validUntil > this.now()) this.cache.set(key, { answer, validUntil });
  }

  private trouble(error: unknown): AuthenticationResult {
    const { message, cause } = error as { message: string; cause?: { message?: string } };
    const why = redactText(cause?.message ? `${message} (${cause.message})` : message);
    if (this.circuit.failed(this.now())) {
      this.options.logger?.error(
        `Authentication service does not answer, not asked for a while: ${why}`,
      );
    } else {
      this.options.logger?.warn(`Authentication service failed: ${why}`);
    }
    return unavailable('the authentication service failed');
  }

  private now(): number {
    return this.options.now?.() ?? Date.now();
  }
}

interface Reply {
  readonly answer: AuthenticationResult;
  readonly cacheMs?: number;
}

function unavailable(reason: string): AuthenticationResult {
  return { ok: false, reasonCode: SERVER_UNAVAILABLE, reason };
}

function questionAbout(request: ConnectRequest): Record<string, unknown> {
  const { password } = request;
  return {
    clientId: request.clientId,
    username: request.username,
    ...(password && passwordFields(password)),
    protocolVersion: request.protocolVersion,
    remoteAddress: request.remoteAddress,
    listener: request.listener,
    transport: request.transport,
    certificateName: request.identity?.name,
  };
}

function passwordFields(password: Uint8Array): Record<string, string> {
  try {
    return {
      password: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(password),
    };
  } catch {
    return { passwordBase64: Buffer.from(password).toString('base64') };
  }
}

async function boundedText(response: Response, bytesMax: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += (chunk as Uint8Array).length;
    if (length > bytesMax) throw new Error(`the answer is longer than ${bytesMax} bytes`);
    chunks.push(chunk as Uint8Array);
  }
  return Buffer.concat(chunks).toString('utf8');
}

const deniedByService: AuthenticationResult = {
  ok: false, reasonCode: BAD_USER_NAME_OR_PASSWORD, reason: 'denied by the service',
};

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

/** Reads the answer strictly: whatever is not understood is trouble, and trouble denies. */
function readReply(text: string): Reply {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw new Error('the answer is not JSON');
  }
  const { result, username, roles, claims, expiresAt, cacheSeconds } = value ?? {};
  const cacheMs = typeof cacheSeconds === 'number' ? cacheSeconds * 1000 : undefined;
  if (result === 'pass') return { answer: { ok: 'pass' } };
  if (result === 'deny') {
    return { cacheMs, answer: deniedByService };
  }
  const understood = result === 'allow'
    && (username === undefined || typeof username === 'string')
    && (roles === undefined || isTextList(roles))
    && (claims === undefined || (typeof claims === 'object' && claims !== null))
    && (expiresAt === undefined || (typeof expiresAt === 'number' && Number.isFinite(expiresAt)));
  if (!understood) {
    throw new Error('the answer is not { "result": "allow" | "deny" | "pass", ... }');
  }
  return {
    cacheMs,
    answer: {
      ok: true, username: username as string | undefined, roles: roles as string[] | undefined,
      claims: claims as Record<string, unknown> | undefined,
      expiresAt: expiresAt as number | undefined,
    },
  };
}
