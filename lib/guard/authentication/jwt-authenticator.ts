/**
 * JSON Web Tokens in the password field. Signatures and JWK Sets are the business of `jose` (5.x,
 * the last line of versions that can also be required from CommonJS), which is loaded when the
 * first token arrives and never before.
 */
import type * as Jose from 'jose';

import type { AuthenticationResult, Authenticator, ConnectRequest } from '../../broker/hooks.js';
import type { BrokerLogger } from '../../broker/logger.js';
import { fileProblem, GuardError } from '../errors.js';
import { guardLimitDefaults } from '../guard-limits.js';
import { BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED, SERVER_UNAVAILABLE } from '../reason-codes.js';
import { WatchedFile } from '../watched-file.js';

/** Signature algorithms that can be asked for; there is no "none". */
export const jwtAlgorithms = [
  'HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512',
  'ES256', 'ES384', 'ES512', 'EdDSA',
] as const;
export type JwtAlgorithm = typeof jwtAlgorithms[number];

/** Where the keys come from. Exactly one. */
export type JwtKeys =
  /** Shared secret for HS256, HS384 and HS512, at least as long as the hash. */
  | { readonly secret: string | Uint8Array }
  /** A JSON Web Key Set in a file, read again when it changes. */
  | { readonly jwksFile: string }
  /** A JSON Web Key Set behind https (or http on this machine). */
  | { readonly jwksUrl: string };

export interface JwtOptions {
  readonly keys: JwtKeys;
  /** What may have signed a token. Never taken from the token itself. */
  readonly algorithms: readonly JwtAlgorithm[];
  readonly issuer?: string | readonly string[];
  readonly audience?: string | readonly string[];
  /** Tolerated difference between clocks. */
  readonly clockToleranceSeconds?: number;
  /** Claim that names the user. Default `sub`. */
  readonly usernameClaim?: string;
  /** Claim that lists roles. Default `roles`. */
  readonly rolesClaim?: string;
  /** When given, this claim must be the Client Identifier of the connection. */
  readonly clientIdClaim?: string;
  /**
   * What holds when CONNECT also carries a User Name: it must be the same (default), or it is not
   * looked at.
   */
  readonly connectUsername?: 'must-match' | 'ignore';
  /** Tokens without `exp` are refused unless this says `never-expires`. */
  readonly withoutExpiry?: 'refuse' | 'never-expires';
  /** Says that a token was taken back. One that throws refuses. */
  readonly isRevoked?: (claims: Readonly<Record<string, unknown>>) => boolean | Promise<boolean>;
  readonly logger?: BrokerLogger;
  /** The time in milliseconds since the epoch. */
  readonly now?: () => number;
}

const pass: AuthenticationResult = { ok: 'pass' };
const compactToken = /^[\w-]+\.[\w-]+\.[\w-]*$/;
const DEFAULT_TOLERANCE_SECONDS = 5;
// Codes of jose about the token itself; everything else is trouble with fetching keys.
const tokenErrors = /^ERR_(JWT|JWS|JOSE_ALG|JOSE_NOT_SUPPORTED|JWKS_(NO|MULTIPLE)_MATCHING)/;

function deny(
  reason: string, reasonCode: number = BAD_USER_NAME_OR_PASSWORD,
): AuthenticationResult {
  return { ok: false, reason, reasonCode };
}

/** A password that is no token, or a token of another issuer, is left to the next authenticator. */
export class JwtAuthenticator implements Authenticator {
  private readonly jwksFile: WatchedFile<Jose.JSONWebKeySet> | undefined;
  private readonly reviews: (() => void)[] = [];
  private keySource: { jose: typeof Jose; key: Jose.JWTVerifyGetKey } | undefined;

  constructor(private readonly options: JwtOptions) {
    checkJwtOptions(options);
    if ('jwksFile' in options.keys) {
      this.jwksFile = new WatchedFile(
        { path: options.keys.jwksFile, logger: options.logger }, parseKeySet,
      );
      // A key that left the file must stop to work at once, so the next token builds the set anew.
      this.jwksFile.onReload(() => {
        this.keySource = undefined;
        this.review();
      });
      this.jwksFile.watch();
    }
  }

  authenticate(request: ConnectRequest): AuthenticationResult | Promise<AuthenticationResult> {
    const { password } = request;
    if (!password || password.length > guardLimitDefaults.passwordBytesMax) return pass;
    const token = Buffer.from(password.buffer, password.byteOffset, password.length).toString(
      'latin1',
    );
    return compactToken.test(token) ? this.check(token, request) : pass;
  }

  /** Reads the key set again, and asks `isRevoked` about everybody who is inside. */
  reload(): boolean {
    if (this.jwksFile !== undefined) return this.jwksFile.reload();
    this.review();
    return true;
  }

  onChange(review: () => void): void {
    this.reviews.push(review);
  }

  private review(): void {
    for (const review of this.reviews) review();
  }

  close(): void {
    this.jwksFile?.close();
  }

  private async check(token: string, request: ConnectRequest): Promise<AuthenticationResult> {
    const { jose, key } = await this.source();
    if (!this.isMine(jose, token)) return pass;
    let claims: Jose.JWTPayload;
    try {
      const verified = await jose.jwtVerify(token, key, {
        algorithms: [...this.options.algorithms],
        issuer: list(this.options.issuer),
        audience: list(this.options.audience),
        clockTolerance: this.options.clockToleranceSeconds ?? DEFAULT_TOLERANCE_SECONDS,
        currentDate: new Date(this.now()),
      });
      claims = verified.payload;
    } catch (error) {
      return this.refused(error);
    }
    const result = await this.accept(claims, request);
    return result.ok === true ? { ...result, stillHolds: this.proofOf(token, request) } : result;
  }

  /** Of a key set behind a URL nobody says when it has changed: the token ends with its expiry. */
  private proofOf(token: string, request: ConnectRequest): (() => Promise<boolean>) | undefined {
    if (this.jwksFile === undefined && this.options.isRevoked === undefined) return undefined;
    return async () => {
      const result = await this.check(token, request);
      // That the keys cannot be had just now takes nobody's token back.
      return result.ok === true
        || (result.ok === false && result.reasonCode === SERVER_UNAVAILABLE);
    };
  }

  private async accept(
    claims: Jose.JWTPayload, request: ConnectRequest,
  ): Promise<AuthenticationResult> {
    const { options } = this;
    if (claims.exp === undefined && options.withoutExpiry !== 'never-expires') {
      return deny('the token has no expiry time', NOT_AUTHORIZED);
    }
    const username = claims[options.usernameClaim ?? 'sub'];
    if (typeof username !== 'string' || username === '') {
      return deny('the token names no user', NOT_AUTHORIZED);
    }
    const mustMatch = (options.connectUsername ?? 'must-match') === 'must-match';
    if (mustMatch && request.username && request.username !== username) {
      return deny('User Name is not the user of the token', NOT_AUTHORIZED);
    }
    if (options.clientIdClaim !== undefined && claims[options.clientIdClaim] !== request.clientId) {
      return deny('the token is for another Client Identifier', NOT_AUTHORIZED);
    }
    if (options.isRevoked && await options.isRevoked(claims)) {
      return deny('the token was revoked', NOT_AUTHORIZED);
    }
    const expiresAt = claims.exp === undefined ? undefined : claims.exp * 1000;
    return { ok: true, username, roles: this.rolesOf(claims), claims, expiresAt };
  }

  private rolesOf(claims: Jose.JWTPayload): readonly string[] | undefined {
    const roles = claims[this.options.rolesClaim ?? 'roles'];
    if (!Array.isArray(roles)) return undefined;
    return roles.filter((role): role is string => typeof role === 'string');
  }

  private isMine(jose: typeof Jose, token: string): boolean {
    const issuers = list(this.options.issuer);
    if (!issuers) return true;
    try {
      const { iss } = jose.decodeJwt(token);
      return typeof iss !== 'string' || issuers.includes(iss);
    } catch {
      return true;
    }
  }

  private refused(error: unknown): AuthenticationResult {
    const { code, message } = error as { code?: string; message: string };
    if (tokenErrors.test(code ?? '')) return deny(`the token was refused (${code})`);
    this.options.logger?.error(`Keys for tokens cannot be had: ${message}`);
    return deny('keys for tokens cannot be had', SERVER_UNAVAILABLE);
  }

  private async source(): Promise<{ jose: typeof Jose; key: Jose.JWTVerifyGetKey }> {
    if (this.keySource) return this.keySource;
    const jose = await loadJose();
    this.keySource = { jose, key: this.keysFrom(jose) };
    return this.keySource;
  }

  private keysFrom(jose: typeof Jose): Jose.JWTVerifyGetKey {
    const { keys } = this.options;
    if ('secret' in keys) {
      const { secret: given } = keys;
      const secret = typeof given === 'string' ? Buffer.from(given, 'utf8') : given;
      return () => Promise.resolve(secret);
    }
    if (this.jwksFile) return jose.createLocalJWKSet(this.jwksFile.current);
    return jose.createRemoteJWKSet(new URL((keys as { jwksUrl: string }).jwksUrl), {
      timeoutDuration: guardLimitDefaults.jwksTimeoutMs,
      cooldownDuration: guardLimitDefaults.jwksCooldownMs,
      cacheMaxAge: guardLimitDefaults.jwksCacheMs,
    });
  }

  private now(): number {
    return this.options.now?.() ?? Date.now();
  }
}

async function loadJose(): Promise<typeof Jose> {
  try {
    return await import('jose');
  } catch (cause) {
    throw new GuardError(
      'NIDO_JOSE_MISSING', 'tokens need the package "jose"; npm install jose@5', { cause },
    );
  }
}

function list(value: string | readonly string[] | undefined): string[] | undefined {
  if (value === undefined) return undefined;
  return typeof value === 'string' ? [value] : [...value];
}

/** Refuses options that would let anybody in. */
function checkJwtOptions(options: JwtOptions): void {
  const wrong = (message: string): GuardError => new GuardError(
    'NIDO_JWT_OPTIONS', `jwt: ${message}`,
  );
  const { algorithms, keys } = options;
  if (!Array.isArray(algorithms) || algorithms.length === 0) {
    throw wrong('name the algorithms that may sign');
  }
  const unknown = algorithms.find((name) => !jwtAlgorithms.includes(name));
  if (unknown !== undefined) {
    throw wrong(`there is no algorithm ${JSON.stringify(unknown)} for tokens`);
  }
  const shared = algorithms.filter((name) => name.startsWith('HS'));
  if ('secret' in keys) {
    if (shared.length !== algorithms.length) {
      throw wrong('a secret signs with HS256, HS384 or HS512 only');
    }
    const bytesMin = Math.max(...shared.map((name) => Number(name.slice(2)) / 8));
    if (Buffer.byteLength(keys.secret) < bytesMin) {
      throw wrong(
        `the secret is shorter than ${bytesMin} bytes; a short one can be guessed from one token`,
      );
    }
    return;
  }
  // With public keys, HS256 would accept tokens that are signed with the public key as the secret.
  if (shared.length > 0) throw wrong('HS256, HS384 and HS512 need keys.secret, not a JWK Set');
  if ('jwksUrl' in keys) checkKeySetUrl(keys.jwksUrl, wrong);
}

function checkKeySetUrl(text: string, wrong: (message: string) => GuardError): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const loopback = url !== undefined && ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);
  if (url?.protocol === 'https:' || (url?.protocol === 'http:' && loopback)) return;
  throw wrong('keys.jwksUrl must be https (http only to this machine)');
}

function parseKeySet(text: string, path: string): Jose.JSONWebKeySet {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may be a private key.
    throw fileProblem('NIDO_JWKS_MALFORMED', { path }, 'it is not JSON');
  }
  const keys = (value as { keys?: unknown } | null)?.keys;
  if (!Array.isArray(keys) || keys.length === 0) {
    throw fileProblem(
      'NIDO_JWKS_MALFORMED', { path }, 'it has no "keys", or an empty list of them',
    );
  }
  for (const [at, key] of keys.entries()) {
    if (typeof (key as { kty?: unknown } | null)?.kty !== 'string') {
      throw fileProblem(
        'NIDO_JWKS_MALFORMED', { path }, `keys[${at}] is no JSON Web Key: it has no "kty"`,
      );
    }
    if ((key as { kty: string }).kty === 'oct') {
      throw fileProblem(
        'NIDO_JWKS_MALFORMED', { path }, `keys[${at}] is a shared secret; use keys.secret`,
      );
    }
  }
  return value as Jose.JSONWebKeySet;
}
