import type { Authorizer, Identity } from '../../broker/hooks.js';
import type { BrokerLogger } from '../../broker/logger.js';
import { BoundedMap } from '../bounded-map.js';
import { guardLimitDefaults } from '../guard-limits.js';
import { connectionLine } from '../redact.js';
import { WatchedFile } from '../watched-file.js';
import { parseAclFile } from './acl-file.js';
import type { FilterSetFactory } from './filter-set.js';
import { parseRulesFile, readRules } from './rule.js';
import { RuleSet } from './rule-set.js';
import type { AccessQuestion, AccessRules, Decision } from './rule-set.js';

/** Rules that may change while the broker runs. */
export interface LiveRules extends AccessRules {
  onChange?(changed: () => void): void;
  reload?(): boolean;
  close?(): void;
}

export interface RulesAuthorizerOptions {
  /** Asked in this order; the first that decides, decides. What nobody decides is denied. */
  readonly rules: readonly LiveRules[];
  /**
   * What happens to a subscription that is wider than the rules, such as `#`: `refuse` it, or take
   * it and `filter` every delivery, as mosquitto does. Default `refuse`.
   */
  readonly widerSubscriptions?: 'refuse' | 'filter';
}

/** The rules as the broker's Authorizer. Fails closed: what no rule allows is denied. */
export class RulesAuthorizer implements Authorizer {
  /** Only there when deliveries have to be filtered, because the broker asks it for every one. */
  readonly canReceive?: (who: Identity, topicName: string) => boolean;

  constructor(private readonly options: RulesAuthorizerOptions) {
    if (options.widerSubscriptions === 'filter') {
      this.canReceive = (who, topicName) => this.allows(who, { kind: 'receive', topicName });
    }
  }

  canPublish(
    who: Identity, topicName: string, how: { readonly qos: 0 | 1 | 2; readonly retain: boolean },
  ): boolean {
    return this.allows(who, { kind: 'publish', topicName, qos: how.qos, retain: how.retain });
  }

  canSubscribe(who: Identity, topicFilter: string, how: { readonly qos: 0 | 1 | 2 }): boolean {
    if (this.allows(who, { kind: 'subscribe', topicFilter, qos: how.qos })) return true;
    if (!this.canReceive) return false;
    return this.options.rules.some((rules) => rules.mayReceiveSome(who, topicFilter));
  }

  onChange(invalidate: () => void): void {
    for (const rules of this.options.rules) rules.onChange?.(invalidate);
  }

  /** The verdict with the rule that made it. */
  explain(who: Identity, question: AccessQuestion): Decision {
    let last: Decision | undefined;
    for (const rules of this.options.rules) {
      last = rules.decide(who, question);
      if (last.verdict !== 'none') return last;
    }
    return { verdict: 'deny', reason: last?.reason ?? 'no rule allows it' };
  }

  reload(): boolean {
    return this.options.rules.map((rules) => rules.reload?.() ?? true).every(Boolean);
  }

  close(): void {
    for (const rules of this.options.rules) rules.close?.();
  }

  private allows(who: Identity, question: AccessQuestion): boolean {
    return this.explain(who, question).verdict === 'allow';
  }
}

interface RuleFileOptions {
  readonly path: string;
  readonly createFilterSet: FilterSetFactory;
  readonly fileCheckMs?: number;
  readonly logger?: BrokerLogger;
}

/** Rules out of a file, compiled again when it changes. */
class FileRules implements LiveRules {
  private readonly file: WatchedFile<RuleSet>;
  private inForce: RuleSet;

  constructor(options: RuleFileOptions, compile: (text: string, path: string) => RuleSet) {
    this.file = new WatchedFile(options, compile);
    this.inForce = this.file.current;
    this.file.onReload((rules) => {
      this.inForce.free();
      this.inForce = rules;
    });
    this.file.watch();
  }

  decide(who: Identity, question: AccessQuestion): Decision {
    return this.inForce.decide(who, question);
  }

  mayReceiveSome(who: Identity, topicFilter: string): boolean {
    return this.inForce.mayReceiveSome(who, topicFilter);
  }

  onChange(changed: () => void): void {
    this.file.onReload(changed);
  }

  reload(): boolean {
    return this.file.reload();
  }

  close(): void {
    this.file.close();
    this.inForce.free();
  }
}

/** mosquitto's `acl_file`. What it does not allow it denies, so it belongs at the end of a list. */
export class AclFileRules extends FileRules {
  constructor(options: RuleFileOptions) {
    super(options, (text, path) => {
      const { topics, patterns } = parseAclFile(text, path);
      const barrier = patterns.length === 0 ? undefined : {
        fromOrder: topics.length,
        origin: { path, text: 'names with + or # get nothing by patterns' },
      };
      return new RuleSet(options.createFilterSet, [...topics, ...patterns], barrier);
    });
  }
}

/** Our own rules in a JSON file. */
export class RulesFile extends FileRules {
  constructor(options: RuleFileOptions) {
    super(
      options, (text, path) => new RuleSet(options.createFilterSet, parseRulesFile(text, path)),
    );
  }
}

/** Rules written into the configuration. */
export class ConfiguredRules extends RuleSet {
  constructor(createFilterSet: FilterSetFactory, rules: unknown) {
    super(createFilterSet, readRules(rules, { at: 'rules' }));
  }

  close(): void {
    this.free();
  }
}

export interface ClaimRulesOptions {
  readonly createFilterSet: FilterSetFactory;
  /**
   * Claim with a list of rules, or with `{ "pub": [...], "sub": [...], "all": [...] }`. Default
   * `acl`.
   */
  readonly claim?: string;
  readonly ruleSetsMax?: number;
  readonly logger?: BrokerLogger;
}

/**
 * Rules that came with a token. Whoever has none is left to the next rules; whose are malformed
 * gets nothing.
 */
export class ClaimRules implements LiveRules {
  private readonly sets: BoundedMap<Identity, RuleSet | 'malformed'>;

  constructor(private readonly options: ClaimRulesOptions) {
    const max = options.ruleSetsMax ?? guardLimitDefaults.tokenRuleSetsMax;
    this.sets = new BoundedMap(max, (rules) => {
      if (rules !== 'malformed') rules.free();
    });
  }

  decide(who: Identity, question: AccessQuestion): Decision {
    const rules = this.rulesOf(who);
    if (rules === 'malformed') {
      return { verdict: 'deny', reason: 'the rules in the token are malformed' };
    }
    return rules?.decide(who, question) ?? { verdict: 'none' };
  }

  mayReceiveSome(who: Identity, topicFilter: string): boolean {
    const rules = this.rulesOf(who);
    return rules !== undefined && rules !== 'malformed' && rules.mayReceiveSome(who, topicFilter);
  }

  close(): void {
    this.sets.clear();
  }

  private rulesOf(who: Identity): RuleSet | 'malformed' | undefined {
    const name = this.options.claim ?? 'acl';
    if (!who.claims || !Object.hasOwn(who.claims, name)) return undefined;
    const known = this.sets.get(who);
    if (known) return known;
    const compiled = this.compile(who, who.claims[name]);
    this.sets.set(who, compiled);
    return compiled;
  }

  private compile(who: Identity, claim: unknown): RuleSet | 'malformed' {
    try {
      const list = Array.isArray(claim) ? claim : listsToRules(claim);
      const entries = list.length === 0 ? [] : readRules(list, { at: 'claim' });
      if (entries.length > guardLimitDefaults.tokenRulesMax) {
        throw new RangeError(`a token has at most ${guardLimitDefaults.tokenRulesMax} rules`);
      }
      return new RuleSet(this.options.createFilterSet, entries);
    } catch (error) {
      this.options.logger?.warn(connectionLine('rules of a token refused', {
        clientId: who.clientId, username: who.username, reason: (error as Error).message,
      }));
      return 'malformed';
    }
  }
}

const listActions = new Map([['pub', 'publish'], ['sub', 'subscribe'], ['all', 'both']]);

function listsToRules(claim: unknown): unknown[] {
  if (typeof claim !== 'object' || claim === null) {
    throw new TypeError('the claim is neither list nor object');
  }
  return Object.entries(claim).flatMap(([key, topics]: [string, unknown]) => {
    const action = listActions.get(key);
    if (!action) throw new TypeError(`there is no ${JSON.stringify(key)} in the claim`);
    const isEmpty = Array.isArray(topics) && topics.length === 0;
    return isEmpty ? [] : [{ effect: 'allow', action, topics }];
  });
}
