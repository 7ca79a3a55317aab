/**
 * The limits of the guards and their defaults, in one table. Limits that belong to the data plane
 * (packet size, topic levels, queues, in-flight) have their table beside the core; nothing here
 * repeats them.
 */
export const guardLimitDefaults = {
  /** Network Connections of one address (IPv6: of one /64 network). */
  connectionsPerAddressMax: 10_000,
  /**
   * Network Connections of one user, summed over its addresses. Anonymous clients are not counted.
   */
  connectionsPerUserMax: 50_000,

  /** New connections a second, all addresses together; what comes faster is accepted later. */
  connectsPerSecond: 5_000,
  /** New connections at once before `connectsPerSecond` holds. */
  connectsBurst: 20_000,
  /** New connections a second of one address. */
  connectsPerAddressPerSecond: 1_000,
  connectsPerAddressBurst: 10_000,

  /**
   * PUBLISH packets a second of one connection; 0 means without limit. Faster clients are read
   * later.
   */
  publishesPerSecond: 0,
  /** PUBLISH packets at once before `publishesPerSecond` holds. */
  publishesBurst: 10_000,
  /** Bytes a second of one connection; 0 means without limit. */
  publishBytesPerSecond: 0,
  publishBytesBurst: 16 * 1024 * 1024,
  /** The longest pause one chunk may cost, so that keep alive is never starved by our own delay. */
  rateDelayMsMax: 5_000,

  /** Connections one flapping key may lose within `flappingWindowMs` before it is banned. */
  flappingDisconnectsMax: 300,
  flappingWindowMs: 60_000,
  flappingBanMs: 60_000,
  /** Keys that the flapping detector remembers; the longest silent one is forgotten first. */
  flappingKeysMax: 100_000,
  /** Addresses that the connect-rate buckets remember. */
  addressKeysMax: 100_000,
  /** Entries of the ban list. */
  bansMax: 10_000,

  /**
   * Password hashes computed at the same time; Node's thread pool has four threads and the disk
   * needs some.
   */
  kdfConcurrencyMax: 2,
  /** Logins that wait for a hash; one more is refused with 0x89 (Server busy). */
  kdfQueueMax: 10_000,
  /** Bytes of a password or token that are looked at; longer ones are refused unread. */
  passwordBytesMax: 8_192,
  /**
   * Work factor above which a stored hash is refused, so that a typing error cannot stop the
   * broker.
   */
  kdfIterationsMax: 10_000_000,
  kdfMemoryBytesMax: 256 * 1024 * 1024,

  httpTimeoutMs: 3_000,
  /**
   * Requests to the authentication server at the same time; one more is refused with 0x89 (Server
   * busy).
   */
  httpConcurrencyMax: 64,
  httpQueueMax: 10_000,
  httpAnswerBytesMax: 64 * 1024,
  httpCacheEntriesMax: 10_000,
  httpCacheAllowMs: 60_000,
  httpCacheDenyMs: 5_000,
  /** Failures in a row that open the circuit, and how long it stays open. */
  httpCircuitFailuresMax: 5,
  httpCircuitOpenMs: 10_000,

  jwksTimeoutMs: 3_000,
  jwksCooldownMs: 30_000,
  jwksCacheMs: 600_000,
  tokenRulesMax: 256,
  /**
   * Compiled rule sets of tokens that are kept; an older one is compiled again when it is needed.
   */
  tokenRuleSetsMax: 1_000,

  scramIterations: 15_000,
  scramMessageBytesMax: 4_096,

  /** Bytes of a password, ACL or rules file. */
  guardFileBytesMax: 64 * 1024 * 1024,
  /** How often watched files are looked at. */
  fileCheckMs: 2_000,
} as const;

/** Any of the limits, by name; what is left out keeps its default. */
export type GuardLimits = { readonly [name in keyof typeof guardLimitDefaults]: number };

/**
 * The table of defaults with `overrides` laid over it. Refuses what is not a number or not a limit.
 */
export function guardLimits(overrides: Partial<GuardLimits> = {}): GuardLimits {
  const limits: Record<string, number> = { ...guardLimitDefaults };
  for (const [name, value] of Object.entries(overrides)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(guardLimitDefaults, name)) {
      throw new RangeError(`There is no limit named ${JSON.stringify(name)}.`);
    }
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) {
      throw new RangeError(`Limit ${name} must be a number from 0 on, not ${String(value)}.`);
    }
    limits[name] = value;
  }
  return limits as GuardLimits;
}
