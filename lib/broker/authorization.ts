/**
 * May this identity publish or subscribe? Every authorizer that has an opinion must consent. One
 * that throws or rejects refuses, and what it threw is logged: a broken guard keeps people out, it
 * does not let them in.
 */
import type { Qos } from '../core/contract.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { isLater } from './decision.js';
import type { Soon } from './decision.js';
import type { Authorizer, Identity, Verdict } from './hooks.js';

type Question = (authorizer: Authorizer) => Soon<Verdict>;

export class Authorization {
  readonly #context: BrokerContext;
  readonly #publishers: readonly Authorizer[];
  readonly #subscribers: readonly Authorizer[];

  constructor(context: BrokerContext, changed: () => void) {
    this.#context = context;
    const all = context.options.authorization;
    this.#publishers = all.filter((authorizer) => authorizer.canPublish !== undefined);
    this.#subscribers = all.filter((authorizer) => authorizer.canSubscribe !== undefined);
    for (const authorizer of all) authorizer.onChange?.(changed);
  }

  /** How the core treats publishes: without an authorizer it need not ask at all. */
  get publishPolicy(): 'allow' | 'ask' {
    return this.#publishers.length === 0 ? 'allow' : 'ask';
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
