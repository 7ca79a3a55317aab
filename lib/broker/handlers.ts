/**
 * Subscribers in this process: functions of the application that receive messages without a socket.
 * Each subscription is a session of its own in the core, which bounds how many of its messages are
 * at work at the same time; the rest waits there.
 */
import type { Delivery, SessionHandle } from '../core/contract.js';
import { workOf } from '../core/staged-handler.js';
import type { BrokerContext } from './context.js';
import { BrokerError, messageOf } from './errors.js';
import { HandlerRun, HandlerSubscription } from './handler-subscription.js';
import type {
  MessageHandler, ReceivedMessage, SubscribeHandlerOptions, Subscription,
} from './handler-subscription.js';
import type { Identity } from './hooks.js';
import { SUCCESS, UNSPECIFIED_ERROR, pubackFailure } from './reason-codes.js';
import type { SessionRegistry } from './session-registry.js';
import { joinShare, parseTopicFilter } from './topic-text.js';

export type {
  MessageHandler, ReceivedMessage, SubscribeHandlerOptions, Subscription,
} from './handler-subscription.js';

const NO_TURN = -1;
/** A free run keeps no message alive. */
const NO_MESSAGE = undefined as unknown as ReceivedMessage;

export class Handlers {
  readonly #context: BrokerContext;
  readonly #sessions: SessionRegistry;
  readonly #bySession = new Map<SessionHandle, HandlerSubscription>();
  #running = 0;
  #core: 'works' | 'failed' = 'works';
  readonly #whenIdle: (() => void)[] = [];
  #turnStartedAt = NO_TURN;
  readonly #owing: HandlerSubscription[] = [];

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
    const subscription = new HandlerSubscription(
      this, whole, handler, options,
      options.concurrency ?? limits.handlerConcurrency,
      options.handlerTimeoutMs ?? limits.handlerTimeoutMs,
    );
    this.#begin(subscription);
    return subscription;
  }

  /** Takes over the subscriptions of a control plane whose core has failed. */
  restore(from: Handlers): void {
    for (const subscription of from.abandon()) {
      subscription.owner = this;
      subscription.forget();
      this.#begin(subscription);
    }
  }

  /** The core has failed: handlers at work may finish, but nobody is told. */
  abandon(): HandlerSubscription[] {
    this.#core = 'failed';
    const subscriptions = [...this.#bySession.values()];
    for (const subscription of subscriptions) {
      this.#context.wheel.cancel(subscription);
      if (subscription.ending === 'draining') this.#ended(subscription);
    }
    return subscriptions.filter(({ ending }) => ending === 'no');
  }

  #begin(subscription: HandlerSubscription): void {
    const { core } = this.#context;
    const { topicFilter, options, concurrency } = subscription;
    const { filter, shareName } = parseTopicFilter(topicFilter);
    const session = core.createHandlerSession({
      concurrency,
      acknowledgeAfterSettle: options.ack === 'on-receipt' ? 'no' : 'yes',
      queueMessagesMax: options.queueMessagesMax,
    }, subscription);
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

  /** A message of the core for one of our subscriptions. */
  deliver(subscription: HandlerSubscription, delivery: Delivery): void {
    if (subscription.options.noLocal === true && delivery.publisherSession === 0) {
      this.#settle(subscription, delivery.token, SUCCESS);
      this.#endWhenDrained(subscription);
      return;
    }
    const { handler, staged } = subscription;
    const { token } = delivery;
    delivery.publisher = this.#identityOf(delivery.publisherSession);
    const message =
      staged.answered === undefined ? plainMessage(delivery) : (delivery as ReceivedMessage);
    this.#context.counters.handlerRuns += 1;
    this.#running += 1;
    subscription.running += 1;
    let result: unknown;
    let work: Promise<unknown> | undefined;
    try {
      result = handler(message);
      work = workOf(result);
    } catch (error) {
      if (staged.failed === undefined) this.#failed(subscription, message, token, error);
      else this.#conclude(this.#run(subscription, message, token), staged.failed(error, message));
      return;
    }
    if (work !== undefined) {
      const run = this.#run(subscription, message, token);
      work.then(run.fulfilled, run.rejected);
      return;
    }
    const more = workOf(staged.answered?.(result, message));
    if (more === undefined) this.#finished(subscription, token, SUCCESS);
    else this.#conclude(this.#run(subscription, message, token), more);
  }

  /** The handler's own promise, and what a stage after it has to say. */
  fulfilled(run: HandlerRun, value: unknown): void {
    if (run.state !== 'working') return;
    const more = workOf(run.subscription.staged.answered?.(value, run.message));
    if (more === undefined) this.concluded(run);
    else this.#conclude(run, more);
  }

  rejected(run: HandlerRun, error: unknown): void {
    if (run.state !== 'working') return;
    const { staged } = run.subscription;
    if (staged.failed === undefined) this.broken(run, error);
    else this.#conclude(run, staged.failed(error, run.message));
  }

  concluded(run: HandlerRun): void {
    if (run.state !== 'working') return;
    const { subscription, token } = run;
    this.#free(run);
    this.#finished(subscription, token, SUCCESS);
  }

  broken(run: HandlerRun, error: unknown): void {
    if (run.state !== 'working') return;
    const { subscription, message, token } = run;
    this.#free(run);
    this.#failed(subscription, message, token, error);
  }

  #conclude(run: HandlerRun, work: Promise<unknown>): void {
    work.then(run.concluded, run.broken);
  }

  #run(subscription: HandlerSubscription, message: ReceivedMessage, token: number): HandlerRun {
    let run = subscription.idle.pop();
    if (run === undefined) {
      run = new HandlerRun(this, subscription);
      subscription.runs.push(run);
    }
    run.message = message;
    run.token = token;
    run.state = 'working';
    run.startedAt = this.#turn();
    const { timeoutMs } = subscription;
    // One deadline serves all runs: that of the first, and then that of the first still at work.
    if (timeoutMs > 0 && subscription.timerSlot < 0) {
      this.#context.wheel.set(subscription, run.startedAt + timeoutMs);
    }
    return run;
  }

  #free(run: HandlerRun): void {
    run.state = 'free';
    run.message = NO_MESSAGE;
    if (run.subscription.owner === this) run.subscription.idle.push(run);
  }

  /** Some run may have had its time; whatever its handler still answers is ignored. */
  timerFired(subscription: HandlerSubscription, now: number): void {
    const { timeoutMs, topicFilter } = subscription;
    let earliest = Infinity;
    for (const run of [...subscription.runs]) {
      if (run.state !== 'working') continue;
      if (run.startedAt + timeoutMs > now) {
        earliest = Math.min(earliest, run.startedAt + timeoutMs);
        continue;
      }
      run.state = 'timed-out';
      subscription.runs.splice(subscription.runs.indexOf(run), 1);
      const error = new BrokerError(
        'NIDO_HANDLER_TIMEOUT',
        `the handler of ${topicFilter} took longer than handlerTimeoutMs (${timeoutMs})`,
      );
      this.#failed(subscription, run.message, run.token, error);
    }
    if (subscription.timerSlot < 0) this.#context.wheel.set(subscription, earliest);
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

  #identityOf(publisher: SessionHandle): Identity | undefined {
    return publisher === 0 ? undefined : this.#sessions.byHandle(publisher)?.identity;
  }

  #failed(
    subscription: HandlerSubscription,
    { topicName }: ReceivedMessage,
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
    if (subscription.owner === this) {
      subscription.running -= 1;
      this.#settle(subscription, token, reasonCode);
      if (subscription.ending === 'draining') this.#endWhenDrained(subscription);
    }
    if (this.#running > 0 || this.#whenIdle.length === 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #settle(subscription: HandlerSubscription, token: number, reasonCode: number): void {
    if (subscription.ending === 'ended' || this.#core === 'failed') return;
    if (token !== 0) {
      this.#context.core.settle(subscription.session, token, reasonCode);
      return;
    }
    subscription.owed += 1;
    if (subscription.owed * 2 > subscription.concurrency) {
      this.#grant(subscription);
    } else if (subscription.isOwing === 'no') {
      subscription.isOwing = 'yes';
      this.#owing.push(subscription);
      this.#turn();
    }
  }

  /** Places of QoS 0 messages go back together. */
  #grant(subscription: HandlerSubscription): void {
    const { owed } = subscription;
    if (owed === 0 || subscription.ending === 'ended' || this.#core === 'failed') return;
    subscription.owed = 0;
    this.#context.core.grant(subscription.session, owed);
  }

  /** The time of this turn of the event loop, looked at once; its end gives back what is owed. */
  #turn(): number {
    if (this.#turnStartedAt === NO_TURN) {
      this.#turnStartedAt = this.#context.clock.now();
      setImmediate(() => this.#endTurn());
    }
    return this.#turnStartedAt;
  }

  #endTurn(): void {
    this.#turnStartedAt = NO_TURN;
    for (const subscription of this.#owing.splice(0)) {
      subscription.isOwing = 'no';
      this.#grant(subscription);
      if (subscription.ending === 'draining') this.#endWhenDrained(subscription);
    }
  }

  #endWhenDrained(subscription: HandlerSubscription): void {
    // The freed places may bring messages that waited, to be handled before it ends.
    if (subscription.running === 0) this.#grant(subscription);
    if (subscription.ending !== 'draining' || subscription.running > 0) return;
    if (this.#core === 'failed') return;
    const { core } = this.#context;
    if ((core.sessionInfo(subscription.session)?.queuedMessages ?? 0) > 0) return;
    core.endSession(subscription.session);
    this.#ended(subscription);
  }

  #ended(subscription: HandlerSubscription): void {
    subscription.ending = 'ended';
    this.#context.wheel.cancel(subscription);
    this.#bySession.delete(subscription.session);
    for (const resolve of subscription.whenEnded.splice(0)) resolve();
  }
}

/** The application's to keep, so it is an object as any other. */
function plainMessage(delivery: Delivery): ReceivedMessage {
  const { topicName, payload, qos, retain, dup, properties, subscriptionIdentifiers } = delivery;
  const publisher = delivery.publisher as Identity | undefined;
  return { topicName, payload, qos, retain, dup, properties, subscriptionIdentifiers, publisher };
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
