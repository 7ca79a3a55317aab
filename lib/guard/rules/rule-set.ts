/**
 * Rules compiled into an index. The index says which filters match; which of their rules are about
 * this client, this action and these names is decided here, and the first of them in the order of
 * writing decides.
 */
import { randomUUID } from 'node:crypto';

import type { Identity } from '../../broker/hooks.js';
import type { FilterSet, FilterSetFactory } from './filter-set.js';
import type { RuleEntry, RuleOrigin } from './rule.js';
import {
  compileRuleFilter, fillLevel, filterProblem, filtersOverlap, hasWildcard, representatives,
} from './topic-levels.js';
import type { RuleFilter } from './topic-levels.js';

export type AccessQuestion =
  | {
      readonly kind: 'publish'; readonly topicName: string; readonly qos: number;
      readonly retain: boolean;
    }
  | { readonly kind: 'subscribe'; readonly topicFilter: string; readonly qos: number }
  | { readonly kind: 'receive'; readonly topicName: string };

export interface Decision {
  /**
   * `none`: no rule is about this; whoever asks goes on to the next rules, and denies at the end.
   */
  readonly verdict: 'allow' | 'deny' | 'none';
  readonly rule?: RuleOrigin;
  /** Why, where no single rule says it. */
  readonly reason?: string;
}

/** Anything that can answer a question about access. */
export interface AccessRules {
  decide(who: Identity, question: AccessQuestion): Decision;
  /**
   * May any topic of this filter be received? Asked before a subscription wider than the rules is
   * let through.
   */
  mayReceiveSome(who: Identity, topicFilter: string): boolean;
}

interface CompiledRule {
  readonly order: number;
  readonly entry: RuleEntry;
  readonly filter: RuleFilter;
}

/**
 * All rules with one filter. Rules of named users are found by name: a thousand users cost no more
 * than one.
 */
interface FilterRules {
  readonly everybody: CompiledRule[];
  readonly byUser: Map<string, CompiledRule[]>;
}

/**
 * Rules from `fromOrder` on are not for clients whose names hold `+` or `#`: mosquitto refuses them
 * there.
 */
export interface NameBarrier {
  readonly fromOrder: number;
  readonly origin: RuleOrigin;
}

const none: Decision = { verdict: 'none' };

export class RuleSet implements AccessRules {
  private readonly filters: FilterSet;
  private readonly byId = new Map<number, FilterRules>();
  private readonly byFilter = new Map<string, FilterRules>();
  private readonly strangers: { level: string; depth: number };
  /** Rules that have to be compared with a subscription's filter one by one. */
  private readonly receiveRules: CompiledRule[] = [];

  constructor(
    createFilterSet: FilterSetFactory, entries: readonly RuleEntry[],
    private readonly barrier?: NameBarrier,
  ) {
    this.filters = createFilterSet();
    let depth = 0;
    entries.forEach((entry, order) => {
      const filter = compileRuleFilter(entry);
      depth = Math.max(depth, filter.levels.length);
      this.add({ order, entry, filter });
    });
    this.strangers = { level: randomUUID(), depth };
  }

  decide(who: Identity, question: AccessQuestion): Decision {
    const topic = question.kind === 'subscribe' ? question.topicFilter : question.topicName;
    if (filterProblem(topic)) return { verdict: 'deny', reason: 'it is not a well-formed topic' };
    if (!hasWildcard(topic)) return this.answer(who, this.first(who, question, [topic]));
    if (question.kind !== 'subscribe') {
      return { verdict: 'deny', reason: 'a Topic Name has no wildcards' };
    }
    return this.decideFilter(who, question);
  }

  mayReceiveSome(who: Identity, topicFilter: string): boolean {
    const question: AccessQuestion = { kind: 'receive', topicName: topicFilter };
    if (!hasWildcard(topicFilter)) return this.decide(who, question).verdict === 'allow';
    const levels = topicFilter.split('/');
    return this.receiveRules.some((rule) => rule.entry.effect === 'allow' && !this.barred(who, rule)
      && this.overlaps(rule, who, levels));
  }

  free(): void {
    this.filters.free?.();
  }

  private add(rule: CompiledRule): void {
    let rules = this.byFilter.get(rule.filter.indexed);
    if (!rules) {
      rules = { everybody: [], byUser: new Map() };
      this.byFilter.set(rule.filter.indexed, rules);
      this.byId.set(this.filters.add(rule.filter.indexed), rules);
    }
    const { users } = rule.entry;
    if (users === undefined || users === 'anonymous') {
      rules.everybody.push(rule);
    } else {
      for (const user of users) {
        const list = rules.byUser.get(user);
        if (list) list.push(rule);
        else rules.byUser.set(user, [rule]);
      }
    }
    if (rule.entry.receive) this.receiveRules.push(rule);
  }

  /** The first rule that matches every one of `topics` and is about this question. */
  private first(
    who: Identity, question: AccessQuestion, topics: readonly string[],
  ): CompiledRule | undefined {
    let found: CompiledRule | undefined;
    // Copied: the index may reuse its answer for the next topic.
    const [ids, ...others] = topics.map((topic) => Array.from(this.filters.match(topic)));
    const levels = topics[0].split('/');
    for (const id of ids) {
      if (!others.every((other) => other.includes(id))) continue;
      const rules = this.byId.get(id);
      if (!rules) continue;
      const mine = who.username === undefined ? undefined : rules.byUser.get(who.username);
      for (const list of mine ? [rules.everybody, mine] : [rules.everybody]) {
        const rule = list.find((candidate) => isAbout(candidate.entry, who, question)
          && namesFit(candidate, who, levels));
        if (rule && (!found || rule.order < found.order)) found = rule;
      }
    }
    return found;
  }

  /**
   * A subscription is allowed by a rule that covers it whole, unless a denial that comes before has
   * any topic in common with it. What several rules cover only together is not seen; such a
   * subscription is made of several filters.
   */
  private decideFilter(who: Identity, question: AccessQuestion & { kind: 'subscribe' }): Decision {
    const { topicFilter } = question;
    const levels = topicFilter.split('/');
    const covering = this.first(who, question, representatives(topicFilter, this.strangers));
    const denial = this.receiveRules.find((rule) => rule.entry.effect === 'deny'
      && isAbout(rule.entry, who, question) && this.overlaps(rule, who, levels));
    if (denial && (!covering || denial.order < covering.order)) return this.answer(who, denial);
    const decision = this.answer(who, covering);
    if (decision.verdict !== 'none') return decision;
    return { verdict: 'none', reason: 'no rule covers the whole subscription' };
  }

  private answer(who: Identity, rule: CompiledRule | undefined): Decision {
    if (this.barrier && (!rule || this.barred(who, rule)) && hasDangerousName(who)) {
      return { verdict: 'deny', rule: this.barrier.origin };
    }
    return rule ? { verdict: rule.entry.effect, rule: rule.entry.origin } : none;
  }

  private barred(who: Identity, rule: CompiledRule): boolean {
    return this.barrier !== undefined && rule.order >= this.barrier.fromOrder && hasDangerousName(
      who,
    );
  }

  private overlaps(rule: CompiledRule, who: Identity, levels: readonly string[]): boolean {
    const { users } = rule.entry;
    if (Array.isArray(users) && (who.username === undefined || !users.includes(who.username))) {
      return false;
    }
    if (!conditionsFit(rule.entry, who)) return false;
    const filled: string[] = [...rule.filter.levels];
    for (const at of rule.filter.placeholders) {
      const level = fillLevel(filled[at], who);
      if (level === 'absent' || (level === 'unfit' && rule.entry.effect === 'allow')) return false;
      filled[at] = level === 'unfit' ? '+' : level.text;
    }
    return filtersOverlap(filled, levels);
  }
}

function isAbout(entry: RuleEntry, who: Identity, question: AccessQuestion): boolean {
  if (!(question.kind === 'publish' ? entry.publish : entry.receive)) return false;
  if (question.kind !== 'receive' && entry.qos && !entry.qos.includes(question.qos)) return false;
  const { retain } = entry;
  if (question.kind === 'publish' && retain !== undefined && retain !== question.retain) {
    return false;
  }
  return conditionsFit(entry, who);
}

function conditionsFit(entry: RuleEntry, who: Identity): boolean {
  // mosquitto takes an empty User Name for none.
  if (entry.users === 'anonymous' && (who.username ?? '') !== '') return false;
  if (entry.clients && !entry.clients.includes(who.clientId)) return false;
  return !entry.roles || entry.roles.some((role) => who.roles?.includes(role) === true);
}

/** The index matched a placeholder like `+`; here its level must be the name. */
function namesFit(rule: CompiledRule, who: Identity, levels: readonly string[]): boolean {
  return rule.filter.placeholders.every((at) => {
    const level = fillLevel(rule.filter.levels[at], who);
    if (level === 'absent') return false;
    // A name that would change the filter gets nothing allowed by it, and everything denied by it.
    if (level === 'unfit') return rule.entry.effect === 'deny';
    return level.text === levels[at];
  });
}

function hasDangerousName(who: Identity): boolean {
  return /[+#]/.test(who.clientId) || /[+#]/.test(who.username ?? '');
}
