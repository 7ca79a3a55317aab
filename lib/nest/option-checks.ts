/** Wrong options are refused at start, with their path and what is allowed. */
import { NidoNestError } from './errors.js';
import type { HandlerOptions, SharedOptions } from './options.js';

/** Undefined when the value is right, else what would be. */
type Check = (value: unknown) => string | undefined;

const CONCURRENCY_MAX = 65_535;
/** Beyond it a timer of Node runs at once. */
const TIMER_MS_MAX = 0x7fff_ffff;

const QOS = oneOf([0, 1, 2]);
const BOOLEAN = oneOf([true, false]);
const MILLISECONDS = whole(0, TIMER_MS_MAX);
const RECORD: Check = (value) =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? undefined : 'an object';

const HANDLER_CHECKS: { readonly [Name in keyof HandlerOptions]-?: Check } = {
  qos: QOS,
  share: (value) =>
    typeof value === 'string' && /^[^/+#]+$/.test(value)
      ? undefined
      : 'a name without /, + and #',
  noLocal: BOOLEAN,
  retainAsPublished: BOOLEAN,
  retainHandling: oneOf([0, 1, 2]),
  concurrency: whole(1, CONCURRENCY_MAX),
  order: oneOf(['none', 'topic']),
  codec: (value) =>
    hasMethods(value, ['encode', 'decode']) ? undefined : 'json(), text(), buffer() or a Codec',
  ack: oneOf(['after-handler', 'on-receipt', 'manual']),
  timeoutMs: MILLISECONDS,
  onError: (value) => (isFailurePolicy(value) ? undefined : FAILURE_POLICIES),
};

const FAILURE_POLICIES =
  '\'reason-code\', \'ignore\', { deadLetter: topic } or ' +
  '{ retry: { attempts, delayMs, backoff, delayMsMax }, then }, attempts from 1';

type OwnShared = Exclude<keyof SharedOptions, keyof HandlerOptions>;
const SUBSCRIBE_CHECKS = {
  qos: QOS, nl: BOOLEAN, rap: BOOLEAN, rh: HANDLER_CHECKS.retainHandling, properties: RECORD,
};
const SUBSCRIBE_OPTIONS = '{ qos: 0 to 2, nl: true or false, rap: true or false, rh: 0 to 2 }';
const SHARED_CHECKS: { readonly [Name in OwnShared]-?: Check } = {
  envelope: oneOf(['auto', 'nest']),
  requestTimeout: MILLISECONDS,
  drainMs: MILLISECONDS,
  replyPrefix: (value) =>
    typeof value === 'string' && /^[^+#\0]+$/.test(value) ? undefined : 'a topic without + and #',
  subscribeOptions: (value) => (isSubscribeOptions(value) ? undefined : SUBSCRIBE_OPTIONS),
  serializer: (value) => (hasMethods(value, ['serialize']) ? undefined : 'a Serializer of Nest'),
  deserializer: (value) =>
    hasMethods(value, ['deserialize']) ? undefined : 'a Deserializer of Nest',
  transportId: (value) =>
    typeof value === 'symbol' || typeof value === 'number' ? undefined : 'a Transport or a symbol',
  name: (value) => (typeof value === 'string' && value !== '' ? undefined : 'a name'),
};
const PLACES = ['host', 'join'];
const HOST_CHECKS = { inClusterWorker: oneOf(['refuse', 'allow']) };
const JOIN_CHECKS = {
  maxConnectionAttempts: whole(-1, Number.MAX_SAFE_INTEGER),
  userProperties: (value: unknown): string | undefined =>
    isUserProperties(value) ? undefined : 'an object whose values are strings or lists of strings',
  share: HANDLER_CHECKS.share,
  subscribeOptions: SHARED_CHECKS.subscribeOptions,
};
const CLIENT_CHECKS = {
  prefix: (value: unknown): string | undefined =>
    typeof value === 'string' && /^[^+#\0]*$/.test(value) ? undefined : 'a topic without + and #',
};
const FEATURE_NAMES = ['name', 'prefix', 'broker', 'codec', 'envelope', 'requestTimeout'];

/** Extras of a pattern; keys that are not ours belong to somebody else. */
export function checkHandlerOptions(options: HandlerOptions, where: string): void {
  check(HANDLER_CHECKS, options, where);
}

export function checkSharedOptions(options: SharedOptions, where: string): void {
  check(HANDLER_CHECKS, options, where);
  check(SHARED_CHECKS, options, where);
}

/** Where the broker is: here or elsewhere, and what of that is Nest's. */
export function checkPlace(options: object | undefined, where: string): void {
  const { host, join } = (options ?? {}) as { readonly host?: object; readonly join?: object };
  if ((host === undefined) === (join === undefined)) {
    throw invalid(
      `${where}: give either host (this application hosts the broker) or join (it connects to ` +
        `one); ${host === undefined ? 'neither is there' : 'both are there'}`,
    );
  }
  check({ host: RECORD, join: RECORD }, { host, join }, where);
  check(HOST_CHECKS, host ?? {}, `${where}: host`);
  check(JOIN_CHECKS, join ?? {}, `${where}: join`);
}

/** Of a client; `join` when its options are not the flat ones. */
export function checkClientOptions(options: { readonly join?: object }, where: string): void {
  check(CLIENT_CHECKS, options, where);
  if (options.join !== undefined) checkOptionNames(options, where, Object.keys(CLIENT_CHECKS));
}

/** Milliseconds that one request may take. */
export function checkTimeout(timeout: number, where: string): void {
  check({ timeout: MILLISECONDS }, { timeout }, where);
}

export function checkFeature(feature: object): void {
  const { name } = feature as { readonly name?: unknown };
  const where = `NidoModule.forFeature, client ${String(name)}`;
  checkNames(feature, where, FEATURE_NAMES);
  check({ name: SHARED_CHECKS.name, broker: SHARED_CHECKS.name }, { name: '', ...feature }, where);
  check(CLIENT_CHECKS, feature, where);
  checkSharedOptions(feature, where);
}

/** Of a strategy or module, whose options are all ours: a name that is none was misspelt. */
export function checkOptionNames(
  options: object, where: string, more: readonly string[] = [],
): void {
  const shared = [...Object.keys(SHARED_CHECKS), ...Object.keys(HANDLER_CHECKS)];
  checkNames(options, where, [...PLACES, ...shared, ...more]);
}

function checkNames(options: object, where: string, known: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || known.includes(name)) continue;
    throw invalid(`${where}: there is no option ${name}; those that exist: ${known.join(', ')}`);
  }
}

function check(
  checks: Readonly<Record<string, Check>>, options: object, where: string,
): void {
  for (const [name, expected] of Object.entries(checks)) {
    const value = (options as Record<string, unknown>)[name];
    const allowed = value === undefined ? undefined : expected(value);
    if (allowed === undefined) continue;
    throw invalid(`${where}: ${name} is ${shown(value)}; allowed: ${allowed}`);
  }
}

function invalid(message: string): NidoNestError {
  return new NidoNestError('NIDO_NEST_OPTION_INVALID', message);
}

function shown(value: unknown): string {
  if (typeof value === 'object' && value !== null) return JSON.stringify(value);
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

function oneOf(allowed: readonly unknown[]): Check {
  return (value) => (allowed.includes(value) ? undefined : allowed.map(shown).join(', '));
}

function whole(min: number, max: number): Check {
  return (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `whole numbers from ${min} to ${max}`;
}

function hasMethods(value: unknown, names: readonly string[]): boolean {
  return names.every(
    (name) => typeof (value as Record<string, unknown> | null)?.[name] === 'function',
  );
}

function isSubscribeOptions(value: unknown): boolean {
  if (RECORD(value) !== undefined) return false;
  return Object.entries(value as object).every(([name, one]) => {
    const expected = (SUBSCRIBE_CHECKS as Readonly<Record<string, Check | undefined>>)[name];
    return one === undefined || (expected !== undefined && expected(one) === undefined);
  });
}

function isUserProperties(value: unknown): boolean {
  if (RECORD(value) !== undefined) return false;
  const isText = (one: unknown): boolean => typeof one === 'string';
  return Object.values(value as object).every(
    (one) => isText(one) || (Array.isArray(one) && one.every(isText)),
  );
}

function isFinalFailure(value: unknown): boolean {
  if (value === 'reason-code' || value === 'ignore') return true;
  const topic = (value as { deadLetter?: unknown } | null)?.deadLetter;
  return typeof topic === 'function' || (typeof topic === 'string' && topic !== '');
}

function isFailurePolicy(value: unknown): boolean {
  if (isFinalFailure(value)) return true;
  const { retry, then } = (value ?? {}) as { retry?: Record<string, unknown>; then?: unknown };
  if (typeof retry !== 'object' || retry === null) return false;
  const { attempts, delayMs = 0, delayMsMax = 0, backoff = 'fixed' } = retry;
  const times = [delayMs, delayMsMax].every((ms) => MILLISECONDS(ms) === undefined);
  const isCounted = Number.isSafeInteger(attempts) && (attempts as number) >= 1;
  const isKnown = backoff === 'fixed' || backoff === 'exponential';
  return isCounted && times && isKnown && (then === undefined || isFinalFailure(then));
}
