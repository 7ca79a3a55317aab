/**
 * May this session still receive what waits for it? A message that was queued, retained, or sent
 * and not acknowledged leaves only with a right that holds now (ADR 0013).
 *
 * Sessions are looked at when there is a reason to: an authorizer filters deliveries
 * (`canReceive`), the rules have changed while the session was there, or a client has come back to
 * it. All others cost nothing.
 */
import { isDeepStrictEqual } from 'node:util';
import type { SessionHandle } from '../core/contract.js';
import type { Authorization } from './authorization.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { whenDecided } from './decision.js';
import type { Identity } from './hooks.js';
import type { Session } from './records.js';
import type { SessionRegistry } from './session-registry.js';
import type { SubscriptionReview } from './subscribe-flow.js';
import { splitShare } from './topic-text.js';

export interface AskedReceive {
  readonly serial: number;
  readonly rules: number;
}

export class ReceiveFlow {
  readonly #context: BrokerContext;
  readonly #authorization: Authorization;
  readonly #sessions: SessionRegistry;
  readonly #review: SubscriptionReview;

  constructor(
    context: BrokerContext,
    parts: {
      readonly authorization: Authorization;
      readonly sessions: SessionRegistry;
      readonly review: SubscriptionReview;
    },
  ) {
    this.#context = context;
    this.#authorization = parts.authorization;
    this.#sessions = parts.sessions;
    this.#review = parts.review;
  }

  /** A client is about to be accepted: nothing has left for it yet. */
  connected(session: Session, found: 'new' | 'resumed'): void {
    const { filtersDeliveries, asksForSubscriptions } = this.#authorization;
    if (filtersDeliveries || (found === 'resumed' && asksForSubscriptions))
      this.#watch(session.handle);
  }

  /** The client behind a session has proved anew who it is, perhaps with other rights. */
  identityChanged(session: Session, before: Identity): void {
    if (!this.#authorization.asksForSubscriptions) return;
    if (isDeepStrictEqual(before, session.identity)) return;
    this.#watch(session.handle);
    this.#review.look(session);
  }

  rulesChanged(): void {
    if (!this.#authorization.asksForSubscriptions) return;
    for (const handle of this.#sessions.handles()) this.#watch(handle);
  }

  /** The core holds a message of this topic until it is answered. */
  asked(handle: SessionHandle, topicName: string, asked: AskedReceive): void {
    const session = this.#sessions.byHandle(handle);
    if (session === undefined) return;
    const { identity } = session;
    whenDecided(
      this.#authorization.canReceive(identity, topicName, () => this.#filtersOf(session)),
      (granted) => {
        // Somebody else may be behind the session by now: the question is another one then.
        if (session.identity !== identity) this.asked(handle, topicName, asked);
        else this.#answer(session, topicName, asked, granted ? 'allowed' : 'denied');
      },
      (error) => {
        reportProblem(this.#context, 'authorizer', error);
        this.#answer(session, topicName, asked, 'denied');
      },
    );
  }

  #watch(handle: SessionHandle): void {
    this.#context.core.setReceivePolicy(handle, 'ask');
  }

  #filtersOf(session: Session): string[] {
    const held = this.#context.core.subscriptionsOf(session.handle);
    return held.map(({ topicFilter }) => splitShare(topicFilter).filter);
  }

  #answer(
    session: Session, topicName: string, asked: AskedReceive, verdict: 'allowed' | 'denied',
  ): void {
    if (verdict === 'denied') {
      const { clientId } = session;
      this.#context.log.debug('delivery refused', { client: clientId, topic: topicName });
    }
    this.#context.core.answerReceive(session.handle, asked, verdict);
  }
}
