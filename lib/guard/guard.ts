/** Puts the guards together that a configuration names. */
import type {
  Authenticator, Authorizer, ConnectionGatekeeper, EnhancedAuthenticator,
} from '../broker/hooks.js';
import type { BrokerLogger } from '../broker/logger.js';
import {
  AnonymousAuthenticator, CertificateAuthenticator,
} from './authentication/certificate-authenticator.js';
import type { CertificateOptions } from './authentication/certificate-authenticator.js';
import { HttpAuthenticator } from './authentication/http-authenticator.js';
import type { HttpAuthenticatorOptions } from './authentication/http-authenticator.js';
import { JwtAuthenticator } from './authentication/jwt-authenticator.js';
import type { JwtOptions } from './authentication/jwt-authenticator.js';
import {
  ListenerAuthenticator, ListenerEnhancedAuthenticator, listenerNames,
} from './authentication/listener-authenticator.js';
import {
  PasswordFileAuthenticator, UsersAuthenticator,
} from './authentication/password-authenticator.js';
import type { ConfiguredUser } from './authentication/password-authenticator.js';
import type { StoredUser } from './authentication/password-file.js';
import { ScramAuthenticator } from './authentication/scram.js';
import type { ScramUser } from './authentication/scram.js';
import { checkAuthenticationShape, checkAuthorizationShape } from './config-shape.js';
import { GuardError } from './errors.js';
import { guardLimits } from './guard-limits.js';
import type { GuardLimits } from './guard-limits.js';
import { BanList } from './limits/ban-list.js';
import type { Ban } from './limits/ban-list.js';
import { ConnectionGate } from './limits/connection-gate.js';
import { ListenerGates } from './limits/listener-gates.js';
import type { ListenerGuardLimits } from './limits/listener-gates.js';
import { redactingLogger } from './redact.js';
import type { FilterSetFactory } from './rules/filter-set.js';
import type { AccessRule } from './rules/rule.js';
import {
  AclFileRules, ClaimRules, ConfiguredRules, RulesAuthorizer, RulesFile,
} from './rules/rules-authorizer.js';
import type { LiveRules } from './rules/rules-authorizer.js';

export type AuthenticationConfig = AuthenticationKind & {
  /** Names of the listeners that it is for. Left out: all. */
  readonly listeners?: readonly string[];
};

export type AuthenticationKind =
  | { readonly kind: 'password-file'; readonly path: string }
  | { readonly kind: 'users'; readonly users: readonly ConfiguredUser[] }
  | ({ readonly kind: 'jwt' } & JwtOptions)
  | ({ readonly kind: 'http' } & HttpAuthenticatorOptions)
  | ({ readonly kind: 'certificate' } & CertificateOptions)
  /** Users whose stored hash is a SCRAM credential, from a password file or the list. */
  | {
      readonly kind: 'scram'; readonly path?: string; readonly users?: readonly ConfiguredUser[];
    }
  | { readonly kind: 'anonymous'; readonly roles?: readonly string[] };

export interface AuthorizationConfig {
  /** Looked at in this order: rules of the token, `rules`, `rulesFile`, `aclFile`. */
  readonly claims?: 'use' | { readonly claim: string };
  readonly rules?: readonly AccessRule[];
  readonly rulesFile?: string;
  /** mosquitto's acl_file. */
  readonly aclFile?: string;
  /**
   * Default `refuse`. mosquitto takes every subscription and filters deliveries; that is `filter`,
   * which needs a broker that asks `canReceive`.
   */
  readonly widerSubscriptions?: 'refuse' | 'filter';
}

export interface GuardConfig {
  readonly authentication?: readonly AuthenticationConfig[];
  readonly authorization?: AuthorizationConfig;
  readonly limits?: Partial<GuardLimits>;
  /** By name of a listener: it is counted by itself then. Connections, rates, flapping. */
  readonly listenerLimits?: ListenerGuardLimits;
  readonly bans?: readonly Ban[];
}

export interface GuardNeeds {
  /** Makes an empty index: `() => new TopicMatcher()` of the core. */
  readonly createFilterSet: FilterSetFactory;
  readonly logger?: BrokerLogger;
  readonly now?: () => number;
}

/** The guards of one broker, ready for its options of the same names. */
export interface Guard {
  readonly authentication: readonly Authenticator[];
  readonly enhancedAuthentication: readonly EnhancedAuthenticator[];
  readonly authorization: readonly Authorizer[];
  readonly limits: GuardLimits;
  readonly bans: BanList;
  /** Bans, rates, counts and flapping at the doors without limits of their own. */
  readonly gate: ConnectionGate;
  /** These four, to be spread into the options of a broker. */
  readonly brokerOptions: Pick<
    Guard, 'authentication' | 'enhancedAuthentication' | 'authorization'
  > & { readonly gate: ConnectionGatekeeper };
  /** Reads every file again now. `false` when one was refused; its old content stays in force. */
  reload(): boolean;
  /** Stops to watch files. */
  close(): void;
}

interface Closable {
  reload?(): boolean;
  close?(): void;
}

/** Builds all guards or none: a part that cannot be built stops the start with a GuardError. */
export function buildGuard(config: GuardConfig, needs: GuardNeeds): Guard {
  const opened: Closable[] = [];
  const keep = <T extends object>(part: T): T => {
    opened.push(part as Closable);
    return part;
  };
  const quiet = { ...needs, logger: needs.logger && redactingLogger(needs.logger) };
  try {
    return assemble(config, quiet, keep, opened);
  } catch (error) {
    for (const part of opened) part.close?.();
    throw error;
  }
}

type Keep = <T extends object>(part: T) => T;

function assemble(
  config: GuardConfig, needs: GuardNeeds, keep: Keep, opened: readonly Closable[],
): Guard {
  const authentication: Authenticator[] = [];
  const enhancedAuthentication: EnhancedAuthenticator[] = [];
  for (const [at, part] of (config.authentication ?? []).entries()) {
    checkAuthenticationShape(part, at);
    const { listeners, ...kind } = part;
    const names = listeners && listenerNames(listeners, `authentication[${at}]`);
    if (kind.kind === 'scram') {
      const scram = buildScram(kind, needs, keep);
      enhancedAuthentication.push(names ? new ListenerEnhancedAuthenticator(scram, names) : scram);
    } else {
      const one = keep(buildAuthenticator(kind, { ...needs, limits: config.limits }));
      authentication.push(names ? new ListenerAuthenticator(one, names) : one);
    }
  }
  const limits = guardLimits(config.limits);
  const now = needs.now ?? Date.now;
  const bans = new BanList(limits);
  for (const ban of config.bans ?? []) bans.add(ban, now());
  const authorizer = config.authorization && keep(buildAuthorizer(config.authorization, needs));
  const started = performance.now();
  const gate = new ConnectionGate(limits, bans, started);
  const { listenerLimits } = config;
  const gates = listenerLimits && new ListenerGates(gate, limits, listenerLimits, bans, started);
  const authorization = authorizer ? [authorizer] : [];
  return {
    authentication, enhancedAuthentication, authorization, limits, bans, gate,
    brokerOptions: { authentication, enhancedAuthentication, authorization, gate: gates ?? gate },
    reload: () => opened.map((part) => part.reload?.() ?? true).every(Boolean),
    close: () => opened.forEach((part) => part.close?.()),
  };
}

function buildAuthenticator(
  part: Exclude<AuthenticationKind, { kind: 'scram' }>,
  needs: GuardNeeds & { readonly limits?: Partial<GuardLimits> },
): Authenticator {
  const { logger, now, limits } = needs;
  switch (part.kind) {
    case 'password-file': return new PasswordFileAuthenticator({ path: part.path, logger });
    case 'users': return new UsersAuthenticator(part.users);
    case 'jwt': return new JwtAuthenticator({ logger, now, ...part });
    case 'http': return new HttpAuthenticator({ logger, now, limits, ...part });
    case 'certificate': return new CertificateAuthenticator(part);
    case 'anonymous': return new AnonymousAuthenticator(part);
  }
}

function buildScram(
  part: Extract<AuthenticationKind, { kind: 'scram' }>, needs: GuardNeeds, keep: Keep,
): ScramAuthenticator {
  const sources: {
    find(username: string): StoredUser | undefined;
    onChange?(review: () => void): void;
  }[] = [];
  if (part.path !== undefined) {
    sources.push(keep(new PasswordFileAuthenticator({ path: part.path, logger: needs.logger })));
  }
  if (part.users !== undefined) sources.push(new UsersAuthenticator(part.users));
  if (sources.length === 0) {
    throw new GuardError('NIDO_SCRAM_OPTIONS', 'scram: give "path" of a password file, or "users"');
  }
  const find = (username: string): ScramUser | undefined => {
    for (const source of sources) {
      const user = source.find(username);
      if (user?.hash.kind === 'scram-sha-256') return { credential: user.hash, roles: user.roles };
    }
    return undefined;
  };
  const onChange = (review: () => void): void => {
    for (const source of sources) source.onChange?.(review);
  };
  return new ScramAuthenticator({ find, onChange });
}

/** The authorizer that a configuration describes. Also what `nidomq acl test` asks. */
export function buildAuthorizer(config: AuthorizationConfig, needs: GuardNeeds): RulesAuthorizer {
  checkAuthorizationShape(config);
  const { createFilterSet, logger } = needs;
  const rules: LiveRules[] = [];
  if (config.claims) {
    const claim = config.claims === 'use' ? undefined : config.claims.claim;
    rules.push(new ClaimRules({ createFilterSet, logger, claim }));
  }
  if (config.rules) rules.push(new ConfiguredRules(createFilterSet, config.rules));
  try {
    if (config.rulesFile !== undefined) {
      rules.push(new RulesFile({ path: config.rulesFile, createFilterSet, logger }));
    }
    if (config.aclFile !== undefined) {
      rules.push(new AclFileRules({ path: config.aclFile, createFilterSet, logger }));
    }
  } catch (error) {
    for (const part of rules) part.close?.();
    throw error;
  }
  if (rules.length === 0) {
    throw new GuardError(
      'NIDO_RULES_EMPTY',
      'authorization: name rules, rulesFile, aclFile or claims, or leave it out',
    );
  }
  return new RulesAuthorizer({ rules, widerSubscriptions: config.widerSubscriptions });
}
