/**
 * May this identity publish or subscribe? Every authorizer that has an opinion must consent. One
 * that throws or rejects refuses, and what it threw is logged: a broken guard keeps people out, it
 * does not let them in.
 */
import type { Qos } from '../core/contract.js';
import { filtersThatMatch } from '../core/topic-matcher.js';
import type { ResolvedBrokerOptions } from './broker-options.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { isLater } from './decision.js';
import type { Soon } from './decision.js';
import type { Authorizer, Identity, Verdict } from './hooks.js';
import { hasWildcard } from './topic-text.js';

type Question = (authorizer: Authorizer) => Soon<Verdict>;

export class Authorization {
  readonly #context: BrokerContext;
  readonly #changed: () => void;
  #authorizers: readonly Authorizer[] = [];
  #publishers: readonly Authorizer[] = [];
  #subscribers: readonly Authorizer[] = [];

  constructor(context: BrokerContext, changed: () => void) {
    this.#context = context;
    this.#changed = changed;
    this.guardsChanged(context.options);
  }

  guardsChanged({ authorization }: ResolvedBrokerOptions): void {
    const before = new Set(this.#authorizers);
    this.#authorizers = authorization;
    this.#publishers = authorization.filter(({ canPublish }) => canPublish !== undefined);
    this.#subscribers = authorization.filter(({ canSubscribe }) => canSubscribe !== undefined);
    for (const authorizer of authorization) {
      if (!before.has(authorizer)) authorizer.onChange?.(this.#changed);
    }
  }

  /** How the core treats publishes: without an authorizer it need not ask at all. */
  get publishPolicy(): 'allow' | 'ask' {
    return this.#publishers.length === 0 ? 'allow' : 'ask';
  }

  /** Some authorizer wants to see every delivery, not only those that may be late. */
  get filtersDeliveries(): boolean {
    return this.#authorizers.some(({ canReceive }) => canReceive !== undefined);
  }

  get asksForSubscriptions(): boolean {
    return this.#subscribers.length > 0;
  }

  canPublish(
    who: Identity,
    topicName: string,
    how: { readonly qos: Qos; readonly retain: boolean },
  ): Soon<Verdict> {
    return this.#all(this.#publishers, 0, (authorizer) =>
      authorizer.canPublish!(who, topicName, how),
    );
  }

  canSubscribe(
    who: Identity,
    filter: string,
    how: { readonly qos: Qos; readonly shareName?: string },
  ): Soon<Verdict> {
    return this.#all(this.#subscribers, 0, (authorizer) =>
      authorizer.canSubscribe!(who, filter, how),
    );
  }

  /**
   * An authorizer without `canReceive` is asked whether the client might subscribe today: to this
   * very topic, or with one of the filters that it holds.
   */
  canReceive(who: Identity, topicName: string, held: () => readonly string[]): Soon<Verdict> {
    return this.#all(this.#authorizers, 0, (authorizer) => {
      if (authorizer.canReceive !== undefined) return authorizer.canReceive(who, topicName);
      if (authorizer.canSubscribe === undefined) return true;
      return this.#mightSubscribe(authorizer, who, () => [
        topicName, ...filtersThatMatch(held().filter(hasWildcard), topicName),
      ]);
    });
  }

  #mightSubscribe(
    authorizer: Authorizer, who: Identity, filters: () => readonly string[],
  ): Soon<Verdict> {
    const rest = [...filters()];
    const next = (): Soon<Verdict> => {
      for (let filter = rest.shift(); filter !== undefined; filter = rest.shift()) {
        const verdict = authorizer.canSubscribe!(who, filter, { qos: 0 });
        if (isLater(verdict)) return verdict.then((granted) => granted === true || next());
        if (verdict === true) return true;
      }
      return false;
    };
    return next();
  }

  #all(authorizers: readonly Authorizer[], from: number, question: Question): Soon<Verdict> {
    for (let position = from; position < authorizers.length; position += 1) {
      const verdict = this.#ask(authorizers[position], question);
      if (isLater(verdict)) {
        return verdict.then(
          (granted) => granted === true && this.#all(authorizers, position + 1, question),
          (error: unknown) => this.#refuse(error),
        );
      }
      if (verdict !== true) return false;
    }
    return true;
  }

  #ask(authorizer: Authorizer, question: Question): Soon<Verdict> {
    try {
      return question(authorizer);
    } catch (error) {
      return this.#refuse(error);
    }
  }

  #refuse(error: unknown): Verdict {
    reportProblem(this.#context, 'authorizer', error);
    return false;
  }
}
