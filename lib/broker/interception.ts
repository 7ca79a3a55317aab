/**
 * Asks the interceptors that want a message, in the order of the option. Each sees what those
 * before it made of it; the first that drops it has decided. Which of them want it is decided by
 * the topic under which it came: one that renames a message does not hide it from those behind.
 */
import type { MessageProperties } from '../core/contract.js';
import { TopicMatcher } from '../core/topic-matcher.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { isLater } from './decision.js';
import type { Soon } from './decision.js';
import type { InterceptedMessage, Interception, MessageInterceptor } from './hooks.js';
import { checkMessageProperties } from './message-properties.js';
import {
  IMPLEMENTATION_SPECIFIC_ERROR, SUCCESS, UNSPECIFIED_ERROR, pubackFailure,
} from './reason-codes.js';
import { checkTopicName } from './topic-text.js';

/** A message as it goes on. */
export interface PassingMessage {
  readonly topicName: string;
  readonly payload: Uint8Array;
  readonly retain: boolean;
  readonly properties: MessageProperties;
}
export type Outcome =
  | { readonly kind: 'pass' }
  | { readonly kind: 'replace'; readonly message: PassingMessage }
  | { readonly kind: 'drop'; readonly reasonCode: number };

export const PASS: Outcome = { kind: 'pass' };
const FAILED: Outcome = { kind: 'drop', reasonCode: UNSPECIFIED_ERROR };

/** One message that is with the interceptors. */
interface Question {
  /** As it was published. */
  readonly came: InterceptedMessage;
  readonly wanting: readonly MessageInterceptor[];
  /** An answer that comes now is too late. */
  isOver: boolean;
}

export class Interceptors {
  /** Of all interceptors, for the core. */
  readonly topicFilters: readonly string[];
  readonly #context: BrokerContext;
  readonly #all: readonly MessageInterceptor[];
  readonly #matcher = new TopicMatcher();
  /** By the id of a filter in the matcher, the place of its interceptor in the list. */
  readonly #places = new Map<number, number>();
  #isClosed = false;

  constructor(context: BrokerContext, interceptors: readonly MessageInterceptor[]) {
    this.#context = context;
    this.#all = interceptors;
    this.topicFilters = this.#all.flatMap(({ topicFilters }) => topicFilters);
    this.#all.forEach(({ topicFilters }, place) => {
      for (const filter of topicFilters) this.#places.set(this.#matcher.add(filter), place);
    });
  }

  get size(): number {
    return this.#all.length;
  }

  /** Those that want messages of this topic, in the order of the option. */
  wanting(topicName: string): readonly MessageInterceptor[] {
    if (this.#isClosed) return [];
    const places = new Set(this.#matcher.match(topicName).map((id) => this.#places.get(id)!));
    return places.size === 0 ? [] : this.#all.filter((_, place) => places.has(place));
  }

  /** As `wanting`, of a topic that the core has found to be wanted. */
  wantingKnown(topicName: string): readonly MessageInterceptor[] {
    return this.#all.length === 1 ? this.#all : this.wanting(topicName);
  }

  /** What becomes of a message. Never rejects; what is dropped has been counted and told. */
  ask(came: InterceptedMessage, wanting: readonly MessageInterceptor[]): Soon<Outcome> {
    const question: Question = { came, wanting, isOver: false };
    const outcome = this.#chain(question, came, 0);
    return isLater(outcome) ? this.#inTime(question, outcome) : outcome;
  }

  close(): void {
    this.#isClosed = true;
    this.#matcher.free();
  }

  #chain(question: Question, from: InterceptedMessage, place: number): Soon<Outcome> {
    let message = from;
    for (let at = place; at < question.wanting.length; at += 1) {
      let answer: Soon<Interception>;
      try {
        answer = question.wanting[at].intercept(message);
      } catch (error) {
        return this.#failed(question, error);
      }
      if (isLater(answer)) return this.#later(question, message, at, answer);
      const next = this.#after(question, message, answer);
      if ('kind' in next) return next;
      message = next;
    }
    return message === question.came ? PASS : { kind: 'replace', message };
  }

  #later(
    question: Question, message: InterceptedMessage, at: number, answer: Promise<Interception>,
  ): Promise<Outcome> {
    return answer.then(
      (late) => {
        if (question.isOver) return FAILED;
        const next = this.#after(question, message, late);
        return 'kind' in next ? next : this.#chain(question, next, at + 1);
      },
      (error: unknown) => (question.isOver ? FAILED : this.#failed(question, error)),
    );
  }

  /** The message after this answer, or what has become of it. */
  #after(
    question: Question, message: InterceptedMessage, answer: Interception,
  ): InterceptedMessage | Outcome {
    try {
      switch (answer.kind) {
        case 'pass': return message;
        case 'replace': return this.#replaced(message, answer);
        case 'drop': return this.#dropped(question, answer);
        default: throw new TypeError('an interceptor answered neither pass, drop nor replace');
      }
    } catch (error) {
      return this.#failed(question, error);
    }
  }

  #replaced(
    message: InterceptedMessage, answer: Extract<Interception, { kind: 'replace' }>,
  ): InterceptedMessage {
    const { origin, clientId, identity, qos } = message;
    const {
      topicName = message.topicName, payload = message.payload, retain = message.retain,
      properties = message.properties,
    } = answer;
    checkTopicName(topicName);
    checkMessageProperties(topicName, properties);
    if (typeof payload !== 'string' && !ArrayBuffer.isView(payload)) {
      throw new TypeError('an interceptor answered a payload that is neither a string nor bytes');
    }
    if (retain !== false && !(retain === true && this.#context.options.mqtt.retainAvailable)) {
      throw new TypeError('an interceptor answered a RETAIN flag that the broker does not take');
    }
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
    return { origin, clientId, identity, topicName, payload: bytes, qos, retain, properties };
  }

  #dropped(question: Question, answer: Extract<Interception, { kind: 'drop' }>): Outcome {
    const { reason, reasonCode = IMPLEMENTATION_SPECIFIC_ERROR } = answer;
    this.#tellDropped(question.came, 'intercepted', String(reason));
    const isTaken = reasonCode === SUCCESS;
    return { kind: 'drop', reasonCode: isTaken ? SUCCESS : pubackFailure(reasonCode) };
  }

  #failed(question: Question, error: unknown): Outcome {
    question.isOver = true;
    reportProblem(this.#context, 'interceptor', error);
    this.#tellDropped(question.came, 'interceptor-failed', 'an interceptor failed');
    return FAILED;
  }

  #tellDropped(
    came: InterceptedMessage, reason: 'intercepted' | 'interceptor-failed', detail: string,
  ): void {
    const { core, log, events } = this.#context;
    const { clientId, topicName, qos } = came;
    core.countDropped(reason);
    log.debug('message dropped', { client: clientId, topic: topicName, qos, reason, detail });
    if (!events.hears('messageDropped')) return;
    events.tell('messageDropped', { clientId, topicName, qos, reason, detail });
  }

  /** An answer that does not come in time is a failure; when it comes after all it is void. */
  #inTime(question: Question, outcome: Promise<Outcome>): Promise<Outcome> {
    const { clock, options } = this.#context;
    const { interceptTimeoutMs } = options.limits;
    return new Promise((resolve) => {
      const timer = clock.schedule(() => {
        const message = `no answer within limits.interceptTimeoutMs (${interceptTimeoutMs} ms)`;
        resolve(this.#failed(question, new Error(message)));
      }, interceptTimeoutMs);
      void outcome.then((inTime) => {
        timer.cancel();
        resolve(inTime);
      });
    });
  }
}
