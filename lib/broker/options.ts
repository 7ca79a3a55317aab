/**
 * From what an owner wrote to complete, checked options. The table is the only source of names,
 * defaults and bounds.
 */
import type {
  BrokerOptions,
  EngineOption,
  GuardOptions,
  LimitSettings,
  ListenerSettings,
  MqttSettings,
  ResolvedBrokerOptions,
  SysSettings,
} from './broker-options.js';
import type { ConnectionGatekeeper, MessageInterceptor } from './hooks.js';
import { mountPointProblem, namesUser } from './mount-point.js';
import { OPTION_TABLE } from './option-table.js';
import type { OptionSpec } from './option-table.js';
import { BrokerError, OptionError, messageOf } from './errors.js';
import { parseTopicFilter } from './topic-text.js';

export { OPTION_TABLE } from './option-table.js';
export type { OptionSpec, OptionType } from './option-table.js';

const GATE_METHODS = ['opened', 'closed', 'enter', 'left'] as const;
const AUTHENTICATOR_METHODS = ['authenticate'] as const;
const AUTHORIZER_METHODS = ['canPublish', 'canSubscribe', 'canReceive'] as const;
const ELEMENT = '[]';
const BY_PATH = new Map(OPTION_TABLE.map((spec) => [spec.path, spec]));
/** `limits`, `mqtt`, `sys`: names that hold options and are none. */
const GROUPS = new Set(
  OPTION_TABLE.filter((spec) => isGroupMember(spec.path)).map((spec) => groupOf(spec.path)),
);

const GROUPS_OF_A_LISTENER = new Set(['limits', 'mqtt']);
const IN_GROUP_OF_A_LISTENER = /^listeners(?:\[\d+\]|\.\d+)\.(limits|mqtt)\./;

function isGroupMember(path: string): boolean {
  return path.includes('.') && !path.includes(ELEMENT);
}

function groupOf(path: string): string {
  return path.slice(0, path.indexOf('.'));
}

/**
 * The table's entry for a path as a person writes it: `listeners[0].port` and `listeners.0.port`
 * are `listeners[].port`.
 */
export function optionSpec(path: string): OptionSpec | undefined {
  return BY_PATH.get(path.replace(/\[\d+\]|\.\d+(?=\.|$)/g, ELEMENT));
}

/** What `path` may be, in words. */
export function allowedValues(spec: OptionSpec): string {
  if (spec.allowed !== undefined) return spec.allowed.join(', ');
  switch (spec.type) {
    case 'integer':
      return `a whole number from ${spec.min} to ${spec.max}${unitOf(spec)}`;
    case 'boolean':
      return 'true, false';
    case 'string':
      return 'a string';
    case 'list':
      return 'a list';
    case 'object':
      return 'an object';
    default:
      return spec.description;
  }
}

function unitOf(spec: OptionSpec): string {
  return spec.unit === '' || spec.unit === 'port' ? '' : ` (${spec.unit})`;
}

/**
 * Checks `input` and fills in the defaults. Throws OptionError (`NIDO_OPTION_INVALID`) with the
 * path and the allowed values for the first option that does not exist or is wrong.
 */
export function resolveOptions(input: BrokerOptions = {}): ResolvedBrokerOptions {
  checkObject('', input);
  const given = new Map<string, unknown>();
  collect('', input as Record<string, unknown>, given);
  const value = (path: string): unknown => given.get(path) ?? BY_PATH.get(path)!.default;
  const hooks = <Hook>(path: string, methods: readonly string[]): Hook[] =>
    hookList(value(path) as unknown[], path, methods);
  const resolved: ResolvedBrokerOptions = {
    listeners: listeners(value('listeners')),
    engine: engine(value('engine')),
    allowAnonymous: value('allowAnonymous') as boolean | undefined,
    authentication: hooks('authentication', AUTHENTICATOR_METHODS),
    enhancedAuthentication: hooks('enhancedAuthentication', ['begin']),
    authorization: hooks('authorization', AUTHORIZER_METHODS),
    gate: gate(value('gate')),
    interceptors: interceptors(hooks('interceptors', ['intercept'])),
    logger: logger(value('logger')),
    limits: group('limits', value) as unknown as LimitSettings,
    mqtt: group('mqtt', value) as unknown as MqttSettings,
    sys: group('sys', value) as unknown as SysSettings,
  };
  checkTogether(resolved);
  return resolved;
}

/** Resolved options with guards added behind those that are there. */
export function resolveGuards(
  options: ResolvedBrokerOptions, added: Required<GuardOptions>,
): ResolvedBrokerOptions {
  const authentication: unknown[] = [...options.authentication, ...added.authentication];
  const authorization: unknown[] = [...options.authorization, ...added.authorization];
  const intercepting: unknown[] = [...options.interceptors, ...added.interceptors];
  return {
    ...options,
    authentication: hookList(authentication, 'authentication', AUTHENTICATOR_METHODS),
    authorization: hookList(authorization, 'authorization', AUTHORIZER_METHODS),
    interceptors: interceptors(hookList(intercepting, 'interceptors', ['intercept'])),
  };
}

/** Reads the text of one option, as a command line or an environment variable gives it. */
export function parseOptionText(path: string, text: string): unknown {
  const spec = specOf(path);
  if (spec.source === 'code') {
    throw new OptionError(
      path,
      'an object, given to new Broker(...) in code',
      'cannot be written as text',
    );
  }
  const value = textValue(spec, text);
  checkValue(path, spec, value);
  return value;
}

function textValue(spec: OptionSpec, text: string): unknown {
  switch (spec.type) {
    case 'integer':
      return /^[+-]?\d+$/.test(text) ? Number(text) : text;
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'enum':
      return spec.allowed!.find((value) => String(value) === text) ?? text;
    case 'list':
    case 'object':
    case 'any':
      return jsonOr(text);
    default:
      return text;
  }
}

function jsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function specOf(path: string): OptionSpec {
  const spec = optionSpec(path);
  if (spec !== undefined) return spec;
  throw new OptionError(path, siblings(path), 'there is no such option');
}

function siblings(path: string): string {
  const own = IN_GROUP_OF_A_LISTENER.exec(path)?.[1];
  if (own !== undefined) {
    return [...BY_PATH.keys()].filter((name) => name.startsWith(`listeners[].${own}.`)).join(', ');
  }
  const group = isGroupMember(path) ? `${groupOf(path)}.` : '';
  const known = [...BY_PATH.keys()].filter(
    (name) =>
      (group !== '' && name.startsWith(group)) ||
      (path.startsWith('listeners') && name.startsWith('listeners[].')),
  );
  if (known.length > 0) return known.join(', ');
  return [...GROUPS]
    .map((name) => `${name}.*`)
    .concat([...BY_PATH.keys()].filter((name) => !name.includes('.')))
    .join(', ');
}

function collect(
  prefix: string,
  object: Record<string, unknown>,
  into: Map<string, unknown>,
): void {
  for (const [key, value] of Object.entries(object)) {
    const path = prefix + key;
    if (value === undefined) continue;
    if (prefix === '' && GROUPS.has(key)) {
      checkObject(path, value);
      collect(`${key}.`, value as Record<string, unknown>, into);
      continue;
    }
    checkValue(path, specOf(path), value);
    into.set(path, value);
  }
}

function checkObject(path: string, value: unknown): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return;
  throw new OptionError(
    path === '' ? 'options' : path,
    'an object of options',
    `is ${shown(value)}`,
  );
}

function checkValue(path: string, spec: OptionSpec, value: unknown): void {
  if (isRight(spec, value)) return;
  throw new OptionError(path, allowedValues(spec), `is ${shown(value)}`);
}

function isRight(spec: OptionSpec, value: unknown): boolean {
  switch (spec.type) {
    case 'integer':
      return (
        Number.isInteger(value) && (value as number) >= spec.min! && (value as number) <= spec.max!
      );
    case 'boolean':
      return typeof value === 'boolean';
    case 'string':
      return typeof value === 'string';
    case 'enum':
      return spec.allowed!.includes(value as string | number);
    case 'list':
      return Array.isArray(value);
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    default:
      return true;
  }
}

/** Only what cannot hold a secret is shown. */
function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean' || value === null)
    return String(value);
  if (typeof value === 'string')
    return value.length <= 40 ? JSON.stringify(value) : 'a string that is none of them';
  return Array.isArray(value) ? 'a list' : `of type ${typeof value}`;
}

function group(name: string, value: (path: string) => unknown): Record<string, unknown> {
  const prefix = `${name}.`;
  const result: Record<string, unknown> = {};
  for (const path of BY_PATH.keys()) {
    if (path.startsWith(prefix)) result[path.slice(prefix.length)] = value(path);
  }
  return result;
}

function listeners(value: unknown): ListenerSettings[] {
  return (value as unknown[]).map((listener, position) => {
    const path = `listeners[${position}]`;
    checkObject(path, listener);
    for (const [key, setting] of Object.entries(listener as object)) {
      if (setting === undefined) continue;
      const at = `${path}.${key}`;
      if (GROUPS_OF_A_LISTENER.has(key)) checkGroup(at, setting);
      else checkValue(at, specOf(at), setting);
    }
    return { ...(listener as ListenerSettings) };
  });
}

/** `limits` and `mqtt` of a listener. */
function checkGroup(path: string, group: unknown): void {
  checkObject(path, group);
  for (const [name, value] of Object.entries(group as object)) {
    if (value !== undefined) checkValue(`${path}.${name}`, specOf(`${path}.${name}`), value);
  }
}

/**
 * A hook that could never be called is a mistake, and with guards a dangerous one: said at once,
 * not at the first client.
 */
function hookList<Hook>(
  list: readonly unknown[],
  path: string,
  methods: readonly string[],
): Hook[] {
  list.forEach((hook, position) => {
    const has =
      typeof hook === 'object' &&
      hook !== null &&
      methods.some((method) => typeof (hook as Record<string, unknown>)[method] === 'function');
    if (has) return;
    throw new BrokerError(
      'NIDO_HOOK_INVALID',
      `${path}[${position}] has none of the methods ${methods.join(', ')}: give one that has`,
    );
  });
  return [...list] as Hook[];
}

const ENGINE_FORMS = "'memory' or { file: { path, durability, onLoss, topics } }";
const FILE_OPTIONS = ['path', 'durability', 'onLoss', 'topics', 'writeBufferBytes', 'cacheBytes'];
const FILE_CHOICES: Readonly<Record<string, readonly string[]>> = {
  durability: ['disk', 'os', 'memory'],
  onLoss: ['refuse', 'report'],
};

function engine(value: unknown): EngineOption {
  if (value === 'memory') return value;
  const keys = typeof value === 'object' && value !== null ? Object.keys(value) : [];
  if (keys.length !== 1 || keys[0] !== 'file') {
    throw new OptionError('engine', ENGINE_FORMS, `is ${shown(value)}`);
  }
  const { file } = value as { file: unknown };
  checkObject('engine.file', file);
  for (const [key, setting] of Object.entries(file as object)) {
    const path = `engine.file.${key}`;
    if (!FILE_OPTIONS.includes(key)) {
      throw new OptionError(path, FILE_OPTIONS.join(', '), 'there is no such option');
    }
    const choices = FILE_CHOICES[key];
    if (setting !== undefined && choices !== undefined && !choices.includes(setting as string)) {
      throw new OptionError(path, choices.join(', '), `is ${shown(setting)}`);
    }
  }
  if (typeof (file as { path?: unknown }).path !== 'string') {
    throw new OptionError('engine.file.path', 'the name of a directory', 'is missing');
  }
  topicDurabilities((file as { topics?: unknown }).topics ?? []);
  return value as EngineOption;
}

function topicDurabilities(value: unknown): void {
  const path = 'engine.file.topics';
  if (!Array.isArray(value)) throw new OptionError(path, 'a list', `is ${shown(value)}`);
  value.forEach((rule: unknown, position) => {
    const at = `${path}[${position}]`;
    checkObject(at, rule);
    const { topicFilter, durability } = rule as { topicFilter?: unknown; durability?: unknown };
    const choices = FILE_CHOICES.durability;
    if (!choices.includes(durability as string)) {
      throw new OptionError(`${at}.durability`, choices.join(', '), `is ${shown(durability)}`);
    }
    checkRuleFilter(`${at}.topicFilter`, topicFilter);
  });
}

function checkRuleFilter(path: string, topicFilter: unknown): void {
  const allowed = 'a Topic Filter without $share';
  if (typeof topicFilter !== 'string' || topicFilter.startsWith('$share/')) {
    throw new OptionError(path, allowed, `is ${shown(topicFilter)}`);
  }
  try {
    parseTopicFilter(topicFilter);
  } catch (error) {
    throw new OptionError(path, allowed, messageOf(error));
  }
}

/** One that names no filter would never be asked, and nobody would know why. */
function interceptors(list: MessageInterceptor[]): MessageInterceptor[] {
  list.forEach(({ topicFilters }: { topicFilters: unknown }, position) => {
    const path = `interceptors[${position}].topicFilters`;
    if (!Array.isArray(topicFilters) || topicFilters.length === 0) {
      throw new OptionError(path, 'a list of Topic Filters', `is ${shown(topicFilters)}`);
    }
    topicFilters.forEach((topicFilter: unknown, at) => {
      checkRuleFilter(`${path}[${at}]`, topicFilter);
      if (!/^\$SYS(\/|$)/.test(topicFilter as string)) return;
      throw new OptionError(`${path}[${at}]`, 'not $SYS: it is the broker\'s own', 'is refused');
    });
  });
  return list;
}

function gate(value: unknown): ConnectionGatekeeper | undefined {
  if (value === undefined) return undefined;
  const methods = value as Record<string, unknown>;
  const missing = GATE_METHODS.filter((name) => typeof methods[name] !== 'function');
  if (missing.length === 0) return value as ConnectionGatekeeper;
  throw new BrokerError('NIDO_HOOK_INVALID', `gate has no method ${missing.join(', ')}`);
}

function logger(value: unknown): ResolvedBrokerOptions['logger'] {
  if (value === undefined || value === false) return value;
  const methods = value as { error?: unknown; warn?: unknown } | null;
  if (typeof methods?.error === 'function' && typeof methods.warn === 'function') {
    return value as ResolvedBrokerOptions['logger'];
  }
  throw new OptionError(
    'logger',
    'false, or an object with error() and warn()',
    `is ${shown(value)}`,
  );
}

function checkMountPoints(options: ResolvedBrokerOptions): void {
  const provesNames = options.authentication.length + options.enhancedAuthentication.length > 0;
  options.listeners.forEach(({ mountPoint }, position) => {
    if (mountPoint === undefined) return;
    const path = `listeners[${position}].mountPoint`;
    const wrong = mountPointProblem(mountPoint);
    if (wrong !== undefined) throw new OptionError(path, MOUNT_POINT_FORM, wrong);
    if (!namesUser(mountPoint) || provesNames) return;
    throw new OptionError(
      path,
      'one without %u, or a broker with authentication',
      'depends on User Names that nobody has proved',
    );
  });
}

const MOUNT_POINT_FORM =
  'topic levels ending in / such as tenant-a/, without wildcards, $ in front, and more than one ' +
  'of %c and %u in a level';

function checkWatermark(path: string, limits: LimitSettings): void {
  if (limits.slabWatermarkBytes <= limits.slabBytesMax) return;
  throw new OptionError(
    `${path}.slabWatermarkBytes`,
    `at most ${path}.slabBytesMax (${limits.slabBytesMax})`,
    `is ${limits.slabWatermarkBytes}`,
  );
}

/** As they hold for clients of a listener: the broker's own object when it says nothing else. */
export function limitsOf(
  listener: ListenerSettings, options: ResolvedBrokerOptions,
): LimitSettings {
  return overlaid(options.limits, listener.limits);
}
export function mqttOf(listener: ListenerSettings, options: ResolvedBrokerOptions): MqttSettings {
  return overlaid(options.mqtt, listener.mqtt);
}

function overlaid<Settings extends object>(general: Settings, own: object | undefined): Settings {
  const said = Object.entries(own ?? {}).filter(([, value]) => value !== undefined);
  return said.length === 0 ? general : { ...general, ...Object.fromEntries(said) };
}

function checkTogether(options: ResolvedBrokerOptions): void {
  const { limits } = options;
  checkMountPoints(options);
  checkWatermark('limits', limits);
  options.listeners.forEach((listener, position) => {
    checkWatermark(`listeners[${position}].limits`, limitsOf(listener, options));
  });
}
