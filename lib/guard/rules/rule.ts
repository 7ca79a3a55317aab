import { GuardError } from '../errors.js';
import { filterProblem } from './topic-levels.js';

/** One rule as it is written in a configuration, a rules file or a token. */
export interface AccessRule {
  readonly effect: 'allow' | 'deny';
  /** Default `both`. `subscribe` is also what lets a message be received. */
  readonly action?: 'publish' | 'subscribe' | 'both';
  /**
   * Topic Filters; `%c` stands for the Client Identifier and `%u` for the user name, never wider
   * than one level.
   */
  readonly topics: readonly string[];
  /** Whom the rule is about. What is left out, leaves everybody in; what is named, must all fit. */
  readonly users?: readonly string[];
  readonly clients?: readonly string[];
  readonly roles?: readonly string[];
  /** Only publishes or subscriptions with one of these QoS levels. */
  readonly qos?: readonly (0 | 1 | 2)[];
  /** Only publishes whose RETAIN flag is this. */
  readonly retain?: boolean;
  /** For `nidomq acl test` and logs. */
  readonly name?: string;
}

/** Where a rule stands, to be told to whoever asks which one decided. */
export interface RuleOrigin {
  readonly text: string;
  readonly path?: string;
  readonly line?: number;
}

/** One filter of one rule, ready to be compiled. */
export interface RuleEntry {
  readonly effect: 'allow' | 'deny';
  readonly publish: boolean;
  readonly receive: boolean;
  readonly topicFilter: string;
  /** `literal`: %c and %u are letters like any other, as in `topic` lines of an acl_file. */
  readonly placeholders?: 'literal';
  /** `anonymous` means: only clients without a user name. */
  readonly users?: readonly string[] | 'anonymous';
  readonly clients?: readonly string[];
  readonly roles?: readonly string[];
  readonly qos?: readonly number[];
  readonly retain?: boolean;
  readonly origin: RuleOrigin;
}

const ruleKeys = new Set([
  'effect', 'action', 'topics', 'users', 'clients', 'roles', 'qos', 'retain', 'name',
]);

/**
 * Checks one rule and takes it apart, a filter each. A key that is not known is an error, never
 * ignored.
 */
export function readRule(value: unknown, where: { path?: string; at: string }): RuleEntry[] {
  const wrong = (message: string): GuardError => new GuardError(
    'NIDO_RULES_MALFORMED', `${where.path ? `${where.path}: ` : ''}${where.at}: ${message}`,
  );
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong('a rule is an object');
  }
  const unknown = Object.keys(value).find((key) => !ruleKeys.has(key));
  if (unknown !== undefined) throw wrong(`there is no ${JSON.stringify(unknown)} in a rule`);
  const rule = value as Partial<Record<keyof AccessRule, unknown>>;
  const effect = oneOf(rule.effect, ['allow', 'deny'] as const);
  const action = oneOf(rule.action ?? 'both', ['publish', 'subscribe', 'both'] as const);
  if (!effect) throw wrong('"effect" must be "allow" or "deny"');
  if (!action) throw wrong('"action" must be "publish", "subscribe" or "both"');
  const topics = strings(rule.topics);
  if (!topics) throw wrong('"topics" must be a list with at least one Topic Filter');
  for (const topic of topics) {
    const problem = filterProblem(topic);
    if (problem) throw wrong(`Topic Filter ${JSON.stringify(topic)}: ${problem}`);
  }
  for (const key of ['users', 'clients', 'roles'] as const) {
    // An empty list would fit nobody as a condition and everybody as a mistake.
    if (rule[key] !== undefined && !strings(rule[key])) {
      throw wrong(`"${key}" must be a list with at least one name`);
    }
  }
  const qos = qosList(rule.qos);
  if (rule.qos !== undefined && !qos) throw wrong('"qos" must be a list of 0, 1 and 2');
  if (rule.retain !== undefined && typeof rule.retain !== 'boolean') {
    throw wrong('"retain" must be true or false');
  }
  if (rule.name !== undefined && typeof rule.name !== 'string') {
    throw wrong('"name" must be a text');
  }
  const title = rule.name === undefined ? where.at : `${where.at} (${rule.name})`;
  return topics.map((topicFilter) => ({
    effect, topicFilter, publish: action !== 'subscribe', receive: action !== 'publish', qos,
    users: strings(rule.users), clients: strings(rule.clients), roles: strings(rule.roles),
    retain: rule.retain as boolean | undefined,
    origin: { path: where.path, text: `${title}: ${effect} ${action} ${topicFilter}` },
  }));
}

function oneOf<T extends string>(value: unknown, known: readonly T[]): T | undefined {
  return known.find((item) => item === value);
}

function strings(value: unknown): string[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const fits = value.every((item) => typeof item === 'string' && item !== '');
  return fits ? [...value] as string[] : undefined;
}

function qosList(value: unknown): number[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  const fits = value.every((item) => item === 0 || item === 1 || item === 2);
  return fits ? [...value] as number[] : undefined;
}

/**
 * Checks a list of rules. An empty one is refused: it would look like "no rules" and mean "nobody
 * may do anything".
 */
export function readRules(value: unknown, where: { path?: string; at: string }): RuleEntry[] {
  const list = Array.isArray(value) ? value : (value as { rules?: unknown } | null)?.rules;
  if (!Array.isArray(list) || list.length === 0) {
    throw new GuardError(
      'NIDO_RULES_EMPTY',
      `${where.path ? `${where.path}: ` : ''}${where.at}: there is no rule; write at least one`,
    );
  }
  return list.flatMap((rule, at) => readRule(rule, { path: where.path, at: `${where.at}[${at}]` }));
}

/** Reads a rules file: JSON, `{ "rules": [...] }` or the list alone. */
export function parseRulesFile(text: string, path: string): RuleEntry[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new GuardError(
      'NIDO_RULES_MALFORMED', `${path}: it is not JSON: ${(error as Error).message}`,
    );
  }
  return readRules(value, { path, at: 'rules' });
}
