/**
 * Subscribers in this process: functions of the application that receive messages without a socket.
 * Each subscription is a session of its own in the core, which bounds how many of its messages are
 * at work at the same time; the rest waits there.
 */
import type { Delivery, MessageProperties, Qos, SessionHandle } from '../core/contract.js';
import type { BrokerContext } from './context.js';
import { isLater } from './decision.js';
import { BrokerError, messageOf } from './errors.js';
import type { Identity } from './hooks.js';
import { SUCCESS, UNSPECIFIED_ERROR, pubackFailure } from './reason-codes.js';
import type { SessionRegistry } from './session-registry.js';
import { TimerEntry } from './timer-wheel.js';
import { joinShare, parseTopicFilter } from './topic-text.js';

/** A message as a handler gets it. It is the handler's to keep. */
export interface ReceivedMessage {
  readonly topicName: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  /** Sent because of a new subscription, not because somebody published just now. */
  readonly retain: boolean;
  readonly dup: boolean;
  readonly properties: MessageProperties;
  readonly subscriptionIdentifiers: readonly number[];
  /** Who published it; undefined for messages of this process and of sessions that have ended. */
  readonly publisher: Identity | undefined;
}

/**
 * Called once for every message that matches. What it returns or awaits is the work; a handler that
 * throws has failed, and an MQTT 5 publisher of QoS 1 or 2 is told so: by `error.reasonCode` when
 * PUBACK knows that code, else 0x80.
 */
export type MessageHandler = (message: ReceivedMessage) => unknown;

export interface SubscribeHandlerOptions {
  /** Highest QoS. Default 2: every message with the QoS it was published with. */
  readonly qos?: Qos;
  /** Leaves out what this process publishes with `broker.publish`. Default false. */
  readonly noLocal?: boolean;
  /**
   * Name of a shared subscription: each message goes to one of its members. Same as
   * `$share/<name>/<filter>`.
   */
  readonly share?: string;
  /**
   * Retained messages: 0 now, 1 now if the subscription is new (here always), 2 none. Default 0.
   */
  readonly retainHandling?: 0 | 1 | 2;
  /** Keeps the RETAIN flag of the publisher on live messages. Default false. */
  readonly retainAsPublished?: boolean;
  /** Messages at work at the same time. Default `limits.handlerConcurrency`. */
  readonly concurrency?: number;
  /** Messages that wait for the handler. Default `limits.queueMessagesMax`. */
  readonly queueMessagesMax?: number;
  /**
   * `after-handler` (default): the publisher's PUBACK or PUBREC waits for the handler.
   * `on-receipt`: it does not, and a message whose handler fails is lost.
   */
  readonly ack?: 'after-handler' | 'on-receipt';
  /**
   * After this time the message counts as failed. 0 = no limit. Default `limits.handlerTimeoutMs`.
   */
  readonly handlerTimeoutMs?: number;
}

/** A subscription of this process. */
export interface Subscription {
  readonly topicFilter: string;
  /** Handlers at work now. */
  readonly running: number;
  /** Takes no new messages, and resolves when those that wait and those at work are done. */
  close(): Promise<void>;
}

class HandlerSubscription implements Subscription {
  session: SessionHandle = 0;
  running = 0;
  ending: 'no' | 'draining' | 'ended' = 'no';
  readonly whenEnded: (() => void)[] = [];

  constructor(
    public owner: Handlers,
    readonly topicFilter: string,
    readonly handler: MessageHandler,
    readonly options: SubscribeHandlerOptions,
    readonly timeoutMs: number,
  ) {}

  close(): Promise<void> {
    return this.owner.close(this);
  }
}

/** A handler at work that has not answered at once. */
export class HandlerRun extends TimerEntry {
  done: 'yes' | 'no' = 'no';

  constructor(
    readonly subscription: HandlerSubscription,
    readonly topicName: string,
    readonly token: number,
  ) {
    super();
  }
}

export class Handlers {
  readonly #context: BrokerContext;
  readonly #sessions: SessionRegistry;
  readonly #bySession = new Map<SessionHandle, HandlerSubscription>();
  #running = 0;
  #core: 'works' | 'failed' = 'works';
  readonly #whenIdle: (() => void)[] = [];

  constructor(context: BrokerContext, sessions: SessionRegistry) {
    this.#context = context;
    this.#sessions = sessions;
  }

  get size(): number {
    return this.#bySession.size;
  }

  get running(): number {
    return this.#running;
  }

  subscribe(
    topicFilter: string,
    handler: MessageHandler,
    options: SubscribeHandlerOptions,
  ): Subscription {
    const { limits } = this.#context.options;
    const asked = parseTopicFilter(topicFilter);
    if (options.share?.includes('/') === true) {
      throw new BrokerError('NIDO_SUBSCRIBE_INVALID', `subscribe ${topicFilter}: share holds a /`);
    }
    const parsed = { filter: asked.filter, shareName: options.share ?? asked.shareName };
    const whole = joinShare(parsed);
    parseTopicFilter(whole);
    checkHandlerOptions(whole, handler, options);
    const timeoutMs = options.handlerTimeoutMs ?? limits.handlerTimeoutMs;
    const subscription = new HandlerSubscription(this, whole, handler, options, timeoutMs);
    this.#begin(subscription);
    return subscription;
  }

  /** Takes over the subscriptions of a control plane whose core has failed. */
  restore(from: Handlers): void {
    for (const subscription of from.abandon()) {
      subscription.owner = this;
      this.#begin(subscription);
    }
  }

  /** The core has failed: handlers at work may finish, but nobody is told. */
  abandon(): HandlerSubscription[] {
    this.#core = 'failed';
    const subscriptions = [...this.#bySession.values()];
    for (const subscription of subscriptions) {
      if (subscription.ending === 'draining') this.#ended(subscription);
    }
    return subscriptions.filter(({ ending }) => ending === 'no');
  }

  #begin(subscription: HandlerSubscription): void {
    const {
      core,
      options: { limits },
    } = this.#context;
    const { topicFilter, options } = subscription;
    const { filter, shareName } = parseTopicFilter(topicFilter);
    const session = core.createHandlerSession({
      concurrency: options.concurrency ?? limits.handlerConcurrency,
      acknowledgeAfterSettle: options.ack === 'on-receipt' ? 'no' : 'yes',
      queueMessagesMax: options.queueMessagesMax,
    });
    subscription.session = session;
    this.#bySession.set(session, subscription);
    try {
      core.subscribe(session, filter, {
        qos: options.qos ?? 2,
        shareName,
        retainHandling: options.retainHandling ?? 0,
        retainAsPublished: options.retainAsPublished ?? false,
      });
    } catch (error) {
      this.#bySession.delete(session);
      core.endSession(session);
      const why = `${topicFilter}: ${messageOf(error)}`;
      throw new BrokerError('NIDO_SUBSCRIBE_REFUSED', why, { cause: error });
    }
  }

  /** A message of the core for one of our sessions. */
  deliver(session: SessionHandle, delivery: Delivery): void {
    const subscription = this.#bySession.get(session);
    if (subscription === undefined) return;
    if (subscription.options.noLocal === true && delivery.publisher === 0) {
      this.#settle(subscription, delivery.token, SUCCESS);
      this.#endWhenDrained(subscription);
      return;
    }
    this.#context.counters.handlerRuns += 1;
    this.#running += 1;
    subscription.running += 1;
    const { topicName, token } = delivery;
    let result: unknown;
    try {
      result = subscription.handler(this.#message(delivery));
    } catch (error) {
      this.#failed(subscription, topicName, token, error);
      return;
    }
    if (isLater(result)) this.#wait(new HandlerRun(subscription, topicName, token), result);
    else this.#finished(subscription, token, SUCCESS);
  }

  /** `handlerTimeoutMs` has passed; whatever the handler still answers is ignored. */
  timerFired(run: HandlerRun): void {
    if (run.done === 'yes') return;
    run.done = 'yes';
    const { subscription } = run;
    const error = new BrokerError(
      'NIDO_HANDLER_TIMEOUT',
      `the handler of ${subscription.topicFilter} took longer than handlerTimeoutMs ` +
        `(${subscription.timeoutMs})`,
    );
    this.#failed(subscription, run.topicName, run.token, error);
  }

  close(subscription: HandlerSubscription): Promise<void> {
    if (subscription.ending === 'no') {
      const { filter, shareName } = parseTopicFilter(subscription.topicFilter);
      subscription.ending = 'draining';
      this.#context.core.unsubscribe(subscription.session, filter, shareName);
    }
    this.#endWhenDrained(subscription);
    if (subscription.ending === 'ended') return Promise.resolve();
    return new Promise((resolve) => {
      subscription.whenEnded.push(resolve);
    });
  }

  /** Resolves as soon as no handler is at work. */
  whenIdle(): Promise<void> {
    if (this.#running === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle.push(resolve);
    });
  }

  #message(delivery: Delivery): ReceivedMessage {
    const { topicName, payload, qos, retain, dup, properties, subscriptionIdentifiers } = delivery;
    const publisher =
      delivery.publisher === 0 ? undefined : this.#sessions.byHandle(delivery.publisher)?.identity;
    return { topicName, payload, qos, retain, dup, properties, subscriptionIdentifiers, publisher };
  }

  #wait(run: HandlerRun, result: Promise<unknown>): void {
    const { subscription } = run;
    const { wheel, clock } = this.#context;
    if (subscription.timeoutMs > 0) wheel.set(run, clock.now() + subscription.timeoutMs);
    result.then(
      () => this.#answered(run),
      (error: unknown) => this.#answered(run, { error }),
    );
  }

  #answered(run: HandlerRun, failure?: { readonly error: unknown }): void {
    if (run.done === 'yes') return;
    run.done = 'yes';
    this.#context.wheel.cancel(run);
    if (failure === undefined) this.#finished(run.subscription, run.token, SUCCESS);
    else this.#failed(run.subscription, run.topicName, run.token, failure.error);
  }

  #failed(
    subscription: HandlerSubscription,
    topicName: string,
    token: number,
    error: unknown,
  ): void {
    const { events, log, counters } = this.#context;
    const asked = (error as { reasonCode?: unknown } | null | undefined)?.reasonCode;
    const reasonCode = asked === undefined ? UNSPECIFIED_ERROR : pubackFailure(asked);
    counters.handlerFailures += 1;
    log.warn('handler failed', {
      filter: subscription.topicFilter,
      topic: topicName,
      code: reasonCode,
      error: messageOf(error),
    });
    if (events.hears('handlerFailed')) {
      events.tell('handlerFailed', {
        topicFilter: subscription.topicFilter,
        topicName,
        reasonCode,
        error,
      });
    }
    this.#finished(subscription, token, reasonCode);
  }

  #finished(subscription: HandlerSubscription, token: number, reasonCode: number): void {
    this.#running -= 1;
    subscription.running -= 1;
    this.#settle(subscription, token, reasonCode);
    this.#endWhenDrained(subscription);
    if (this.#running > 0 || this.#whenIdle.length === 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #settle(subscription: HandlerSubscription, token: number, reasonCode: number): void {
    if (subscription.ending === 'ended' || this.#core === 'failed') return;
    if (token === 0) this.#context.core.grant(subscription.session);
    else this.#context.core.settle(subscription.session, token, reasonCode);
  }

  #endWhenDrained(subscription: HandlerSubscription): void {
    const { core } = this.#context;
    if (subscription.ending !== 'draining' || subscription.running > 0) return;
    if (this.#core === 'failed') return;
    if ((core.sessionInfo(subscription.session)?.queuedMessages ?? 0) > 0) return;
    core.endSession(subscription.session);
    this.#ended(subscription);
  }

  #ended(subscription: HandlerSubscription): void {
    subscription.ending = 'ended';
    this.#bySession.delete(subscription.session);
    for (const resolve of subscription.whenEnded.splice(0)) resolve();
  }
}

function checkHandlerOptions(
  topicFilter: string,
  handler: MessageHandler,
  options: SubscribeHandlerOptions,
): void {
  const wrong =
    typeof handler !== 'function'
      ? 'the handler is not a function'
      : (wrongNumber('qos', options.qos, 0, 2) ??
        wrongNumber('concurrency', options.concurrency, 1, 65_535) ??
        wrongNumber('retainHandling', options.retainHandling, 0, 2) ??
        wrongNumber('handlerTimeoutMs', options.handlerTimeoutMs, 0, Number.MAX_SAFE_INTEGER));
  if (wrong !== undefined)
    throw new BrokerError('NIDO_SUBSCRIBE_INVALID', `subscribe ${topicFilter}: ${wrong}`);
  if (options.noLocal === true && topicFilter.startsWith('$share/')) {
    // [MQTT-3.8.3-4]
    throw new BrokerError(
      'NIDO_SUBSCRIBE_INVALID',
      `subscribe ${topicFilter}: noLocal cannot be shared`,
    );
  }
}

function wrongNumber(
  name: string,
  value: number | undefined,
  min: number,
  max: number,
): string | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max))
    return undefined;
  return `${name} is ${value}; allowed: ${min} to ${max}`;
}
