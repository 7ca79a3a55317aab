/**
 * One handler of one Topic Filter: runs it within its concurrency, tries again, and settles every
 * message in the core when it is done with.
 */
import type { Core } from '../core/core.js';
import type { Delivery, MessageProperties, Qos, SessionHandle } from '../core/contract.js';
import type { ClientEmitter, HandlerFailedEvent } from './client-emitter.js';
import { clientLimits } from './client-limits.js';
import { NidoClientError, messageOf } from './errors.js';
import type { PublishOptions, SubscribeOptions } from './options.js';
import { SUCCESS, pubackFailure } from './reason-names.js';

/** A message as a handler gets it. It is the handler's to keep. */
export interface IncomingMessage {
  readonly topicName: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  /** Sent because of a new subscription, not because somebody published just now. */
  readonly retain: boolean;
  readonly dup: boolean;
  readonly properties: MessageProperties;
  readonly subscriptionIdentifiers: readonly number[];
}

/** What it returns or awaits is the work; when it throws the message has failed. */
export type MessageHandler = (message: IncomingMessage) => unknown;

/** What a handler needs of its client. */
export interface HandlerHost {
  readonly core: Core;
  readonly emitter: ClientEmitter;
  readonly handlerTimeoutMs: number;
  readonly handlerConcurrency: number;
  publish(topicName: string, payload: Uint8Array, options: PublishOptions): Promise<unknown>;
}

/** A message whose handler has not answered at once. */
interface Run {
  readonly delivery: Delivery;
  /** Of the call under way; Infinity between two calls. */
  deadline: number;
  /** Calls that have failed. */
  failures: number;
  state: 'at-work' | 'done';
}

const RETRY_DELAY_MS = 100;
const RETRY_DELAY_MS_MAX = 10_000;

export class HandlerSubscription {
  readonly session: SessionHandle;
  readonly #runs = new Set<Run>();
  /** Messages beyond the concurrency, oldest first. */
  #backlog: Delivery[] = [];
  #backlogAt = 0;
  readonly #concurrency: number;
  readonly #timeoutMs: number;
  #timer: NodeJS.Timeout | undefined;
  #state: 'open' | 'stopped' | 'ended' = 'open';
  #whenIdle: (() => void)[] = [];

  constructor(
    private readonly host: HandlerHost,
    readonly topicFilter: string,
    private readonly handler: MessageHandler,
    readonly options: SubscribeOptions,
    uplinkSession: SessionHandle,
  ) {
    this.#concurrency = options.concurrency ?? host.handlerConcurrency;
    this.#timeoutMs = options.handlerTimeoutMs ?? host.handlerTimeoutMs;
    this.session = host.core.createHandlerSession({
      concurrency: Math.max(this.#concurrency, clientLimits.handlerPrefetch),
      acknowledgeAfterSettle: options.ack === 'on-receipt' ? 'no' : 'yes',
    }, uplinkSession);
  }

  /** Messages at work now. */
  get running(): number {
    return this.#runs.size;
  }

  deliver(delivery: Delivery): void {
    if (this.#state !== 'open') return; // not acknowledged: the server keeps it
    const isBusy = this.#runs.size >= this.#concurrency || this.#backlog.length !== 0;
    if (isBusy) this.#backlog.push(delivery);
    else this.#begin(delivery);
  }

  /** Starts no more handlers; what is at work goes on. Unstarted messages stay unacknowledged. */
  stop(): void {
    if (this.#state === 'open') this.#state = 'stopped';
    this.#backlog = [];
    this.#backlogAt = 0;
  }

  /** Resolves when no handler is at work and nothing waits. */
  async whenIdle(): Promise<void> {
    if (!this.#isIdle) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  /** The session in the core goes; nothing is settled any more. */
  end(): void {
    if (this.#state === 'ended') return;
    this.stop();
    this.#state = 'ended';
    clearTimeout(this.#timer);
    this.host.core.endSession(this.session);
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  get #isIdle(): boolean {
    return this.#runs.size === 0 && this.#backlogAt === this.#backlog.length;
  }

  // --- one message -----------------------------------------------------------------------------

  #begin(delivery: Delivery): void {
    let result: unknown;
    try {
      result = this.handler(delivery);
    } catch (error) {
      const run: Run = { delivery, deadline: Infinity, failures: 0, state: 'at-work' };
      this.#runs.add(run);
      this.#failed(run, error);
      return;
    }
    if (!isThenable(result)) {
      this.#settle(delivery, SUCCESS);
      return;
    }
    this.#await({ delivery, deadline: Infinity, failures: 0, state: 'at-work' }, result);
  }

  #await(run: Run, result: PromiseLike<unknown>): void {
    // Added last: the set is in the order of the deadlines.
    this.#runs.delete(run);
    this.#runs.add(run);
    if (this.#timeoutMs > 0) {
      run.deadline = performance.now() + this.#timeoutMs;
      this.#timer ??= setTimeout(() => this.#sweep(), this.#timeoutMs);
    }
    const call = run.failures;
    result.then(
      () => { if (run.failures === call) this.#done(run, SUCCESS); },
      (error: unknown) => { if (run.failures === call) this.#failed(run, error); },
    );
  }

  /** Handlers that had their time: their messages have failed, and are not tried again. */
  #sweep(): void {
    this.#timer = undefined;
    const now = performance.now();
    for (const run of this.#runs) {
      if (run.deadline === Infinity) continue;
      if (run.deadline > now) {
        this.#timer ??= setTimeout(() => this.#sweep(), run.deadline - now);
        return;
      }
      run.failures = Infinity;
      this.#failed(run, new NidoClientError('NIDO_CLIENT_HANDLER_TIMEOUT',
        `the handler of ${this.topicFilter} did not finish within ${this.#timeoutMs} ms `
        + '(handlerTimeoutMs)'));
    }
  }

  #failed(run: Run, error: unknown): void {
    if (run.state === 'done') return;
    const { retries } = this.options;
    run.deadline = Infinity;
    if (retries !== undefined && run.failures < retries.attempts) {
      if (this.#state !== 'open') {
        this.#done(run, undefined); // not acknowledged: another process may do better
        return;
      }
      const { delayMs = RETRY_DELAY_MS, delayMsMax = RETRY_DELAY_MS_MAX } = retries;
      const delay = Math.min(delayMsMax, delayMs * 2 ** run.failures);
      run.failures += 1;
      this.#tell(run, error, 'retried');
      setTimeout(() => this.#again(run), delay);
      return;
    }
    run.failures = Infinity;
    void this.#giveUp(run, error);
  }

  #again(run: Run): void {
    if (this.#state === 'ended') return;
    try {
      const result = this.handler(run.delivery);
      if (isThenable(result)) this.#await(run, result);
      else this.#done(run, SUCCESS);
    } catch (error) {
      this.#failed(run, error);
    }
  }

  /** The message has failed for good: into the dead letters, or back to the server as refused. */
  async #giveUp(run: Run, error: unknown): Promise<void> {
    const asked = this.options.failureReasonCode
      ?? (error as { reasonCode?: unknown } | null | undefined)?.reasonCode;
    let reasonCode = pubackFailure(asked);
    let outcome: HandlerFailedEvent['outcome'] = run.delivery.token === 0 ? 'dropped' : 'refused';
    if (this.options.deadLetterTopic !== undefined) {
      try {
        await this.#bury(run.delivery, error, this.options.deadLetterTopic);
        reasonCode = SUCCESS;
        outcome = 'dead-lettered';
      } catch (cause) {
        this.host.emitter.tell('error', cause instanceof NidoClientError ? cause
          : new NidoClientError('NIDO_CLIENT_PUBLISH_REFUSED', messageOf(cause), { cause }));
      }
    }
    this.#tell(run, error, outcome);
    this.#done(run, reasonCode);
  }

  #bury(delivery: Delivery, error: unknown, deadLetterTopic: string): Promise<unknown> {
    const { properties } = delivery;
    return this.host.publish(deadLetterTopic, delivery.payload, {
      qos: delivery.qos === 0 ? 1 : delivery.qos,
      properties: {
        ...properties,
        userProperties: [
          ...properties.userProperties ?? [],
          ['nido-dead-letter-topic', delivery.topicName],
          ['nido-dead-letter-filter', this.topicFilter],
          ['nido-dead-letter-error', messageOf(error)],
        ],
      },
    });
  }

  #tell(run: Run, error: unknown, outcome: HandlerFailedEvent['outcome']): void {
    const { topicFilter } = this;
    this.host.emitter.tell('handlerFailed', {
      topicFilter, topicName: run.delivery.topicName, error, outcome,
    });
  }

  #done(run: Run, reasonCode: number | undefined): void {
    if (run.state === 'done') return;
    run.state = 'done';
    this.#runs.delete(run);
    if (reasonCode !== undefined) this.#settle(run.delivery, reasonCode);
    while (this.#backlogAt < this.#backlog.length && this.#runs.size < this.#concurrency) {
      this.#begin(this.#takeNext());
    }
    if (this.#isIdle) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #takeNext(): Delivery {
    const next = this.#backlog[this.#backlogAt];
    this.#backlogAt += 1;
    if (this.#backlogAt === this.#backlog.length) {
      this.#backlog = [];
      this.#backlogAt = 0;
    }
    return next;
  }

  #settle(delivery: Delivery, reasonCode: number): void {
    if (this.#state === 'ended') return;
    if (delivery.token === 0) this.host.core.grant(this.session);
    else this.host.core.settle(this.session, delivery.token, reasonCode);
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null
    && typeof (value as { then?: unknown }).then === 'function';
}
