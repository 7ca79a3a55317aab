/**
 * The limits of the guards as options of the server command: `limits.connectionsPerUserMax`. Their
 * defaults are the guards' own; here are only those that take effect when they are changed.
 */
import { OptionError } from '../broker/errors.js';
import { ofListener } from '../broker/listener-option-table.js';
import { OPTION_TABLE, optionSpec } from '../broker/options.js';
import type { OptionSpec } from '../broker/options.js';
import { guardLimitDefaults } from '../guard/guard-limits.js';
import type { GuardLimits } from '../guard/guard-limits.js';

const COUNT_MAX = 1_000_000_000;
const GROUP = 'limits.';

function limit(
  name: keyof GuardLimits, unit: string, description: string, min = 1,
): OptionSpec {
  return {
    path: GROUP + name,
    type: 'integer',
    default: guardLimitDefaults[name],
    unit,
    description,
    min,
    max: COUNT_MAX,
    source: 'any',
  };
}

const LIMITS: readonly OptionSpec[] = [
  limit('connectionsPerAddressMax', 'connections', 'Connections of one address (IPv6: of a /64)'),
  limit('connectionsPerUserMax', 'connections', 'Connections of one user, all addresses together'),
  limit('connectsPerSecond', 'connections', 'New connections a second; what is faster waits'),
  limit('connectsBurst', 'connections', 'New connections at once before that rate holds'),
  limit('connectsPerAddressPerSecond', 'connections', 'New connections a second of one address'),
  limit('connectsPerAddressBurst', 'connections', 'Of one address at once before its rate holds'),
  limit('publishesPerSecond', 'messages', 'Of one connection; 0 = no limit', 0),
  limit('publishesBurst', 'messages', 'Of one connection at once before that rate holds'),
  limit('publishBytesPerSecond', 'bytes', 'Of one connection; 0 = no limit', 0),
  limit('publishBytesBurst', 'bytes', 'Of one connection at once before that rate holds'),
  limit('rateDelayMsMax', 'ms', 'Longest wait for a rate; an address further ahead is refused'),
  limit('flappingDisconnectsMax', 'disconnects', 'Of one client in a window before it is banned'),
  limit('flappingWindowMs', 'ms', 'Window in which disconnects of one client are counted'),
  limit('flappingBanMs', 'ms', 'How long a client that comes and goes too often is kept out'),
  limit('flappingKeysMax', 'clients', 'Clients whose disconnects are remembered'),
  limit('addressKeysMax', 'addresses', 'Addresses whose connection rates are remembered'),
  limit('bansMax', 'bans', 'Entries of the ban list'),
  limit('httpTimeoutMs', 'ms', 'Time for an answer of the HTTP authenticator\'s service'),
  limit('httpConcurrencyMax', 'requests', 'To that service at the same time'),
  limit('httpQueueMax', 'requests', 'That wait for it; one more client is refused with 0x89'),
  limit('httpAnswerBytesMax', 'bytes', 'Of one of its answers'),
  limit('httpCacheEntriesMax', 'answers', 'Answers that are remembered'),
  limit('httpCacheAllowMs', 'ms', 'How long a yes is remembered'),
  limit('httpCacheDenyMs', 'ms', 'How long a no is remembered'),
  limit('httpCircuitFailuresMax', 'failures', 'In a row before the service is left alone'),
  limit('httpCircuitOpenMs', 'ms', 'How long it is left alone'),
];

/** Those that a listener may have of its own; it is counted by itself then. */
const OF_A_LISTENER: ReadonlySet<string> = new Set<keyof GuardLimits>([
  'connectionsPerAddressMax', 'connectionsPerUserMax', 'connectsPerSecond', 'connectsBurst',
  'connectsPerAddressPerSecond', 'connectsPerAddressBurst', 'publishesPerSecond',
  'publishesBurst', 'publishBytesPerSecond', 'publishBytesBurst',
]);

export const GUARD_OPTION_TABLE: readonly OptionSpec[] = [
  ...LIMITS.filter(({ path }) => OF_A_LISTENER.has(path.slice(GROUP.length))).map(ofListener),
  ...LIMITS,
];

const BY_PATH = new Map(GUARD_OPTION_TABLE.map((spec) => [spec.path, spec]));

function specOf(path: string): OptionSpec | undefined {
  return BY_PATH.get(path.replace(/\[\d+\]|\.\d+(?=\.)/g, '[]'));
}

export function isGuardLimit(path: string): boolean {
  return specOf(path) !== undefined;
}

export function parseGuardLimit(path: string, text: string): number {
  return checked(path, /^\d+$/.test(text) ? Number(text) : text);
}

/**
 * Takes the guards' limits out of a configuration's `limits`, which stand at `path`; the rest is
 * the broker's.
 */
export function splitLimits(
  limits: Readonly<Record<string, unknown>>, path = GROUP,
): { broker: Record<string, unknown>; guard: Partial<GuardLimits> } {
  const broker: Record<string, unknown> = {};
  const guard: Record<string, number> = {};
  for (const [name, value] of Object.entries(limits)) {
    const at = path + name;
    if (isGuardLimit(at)) guard[name] = checked(at, value);
    else if (optionSpec(at) === undefined) throw noSuchLimit(at);
    else broker[name] = value;
  }
  return { broker, guard: guard as Partial<GuardLimits> };
}

/** Both tables are one to whoever writes a configuration. */
function noSuchLimit(path: string): OptionError {
  const all = [...OPTION_TABLE, ...GUARD_OPTION_TABLE].map((spec) => spec.path);
  const group = path.slice(0, path.lastIndexOf('.') + 1).replace(/\[\d+\]/, '[]');
  const limits = all.filter((name) => name.startsWith(group));
  return new OptionError(path, limits.join(', '), 'there is no such option');
}

function checked(path: string, value: unknown): number {
  const { min = 0, max = COUNT_MAX } = specOf(path) ?? {};
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) {
    return value as number;
  }
  const shown = typeof value === 'object' ? 'not a number' : JSON.stringify(value);
  throw new OptionError(path, `a whole number from ${min} to ${max}`, `is ${shown}`);
}
