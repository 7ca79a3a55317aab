/**
 * What a message is promised: the first rule whose Topic Filter matches decides, then the listener
 * that it came through, then the engine. It depends on nothing else, so that the messages of one
 * client and topic stay in their order.
 */
import { TopicMatcher } from '../core/topic-matcher.js';
import type { Durability } from '../engine/index.js';
import type { ResolvedBrokerOptions, TopicDurability } from './broker-options.js';

const STRICTNESS: readonly Durability[] = ['memory', 'os', 'disk'];

export function stricterOf(one: Durability, other: Durability): Durability {
  return STRICTNESS.indexOf(one) < STRICTNESS.indexOf(other) ? other : one;
}

export class DurabilityRules {
  /** The strictest that anything asks for: what sessions and subscriptions are kept with. */
  readonly strictest: Durability;
  readonly #usual: Durability;
  readonly #topics: readonly TopicDurability[];
  #matcher: TopicMatcher | undefined = undefined;

  constructor({ engine, listeners }: Pick<ResolvedBrokerOptions, 'engine' | 'listeners'>) {
    const file = engine === 'memory' ? undefined : engine.file;
    this.#usual = file === undefined ? 'memory' : file.durability ?? 'disk';
    this.#topics = file?.topics ?? [];
    const all = [
      this.#usual,
      ...this.#topics.map(({ durability }) => durability),
      ...(file === undefined ? [] : listeners.map(({ durability }) => durability ?? 'memory')),
    ];
    this.strictest = STRICTNESS[Math.max(...all.map((one) => STRICTNESS.indexOf(one)))];
  }

  /** `listener`: what the door of the publisher says, if there is one and it says anything. */
  of(topicName: Buffer, listener?: Durability): Durability {
    return this.ofTopic(topicName) ?? listener ?? this.#usual;
  }
  /** undefined when no rule is about this topic. */
  ofTopic(topicName: Buffer): Durability | undefined {
    if (this.#topics.length === 0) return undefined;
    // Ids are given from 1 on, in the order of the rules.
    const first = Math.min(...this.#compiled().match(topicName.toString()));
    return Number.isFinite(first) ? this.#topics[first - 1].durability : undefined;
  }
  #compiled(): TopicMatcher {
    if (this.#matcher !== undefined) return this.#matcher;
    this.#matcher = new TopicMatcher();
    for (const { topicFilter } of this.#topics) this.#matcher.add(topicFilter);
    return this.#matcher;
  }
}
