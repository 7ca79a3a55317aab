/**
 * One handler of one Topic Filter: runs it within its concurrency, tries again, and settles every
 * message in the core when it is done with.
 */
import type { Core } from '../core/core.js';
import type {
  Delivery, DeliverySink, MessageProperties, Qos, SessionHandle,
} from '../core/contract.js';
import { workOf } from '../core/staged-handler.js';
import type { StagedHandler } from '../core/staged-handler.js';
import type { ClientEmitter, HandlerFailedEvent } from './client-emitter.js';
import { clientLimits } from './client-limits.js';
import { NidoClientError, messageOf } from './errors.js';
import type { PublishOptions, SubscribeOptions } from './options.js';
import { SUCCESS, pubackFailure } from './reason-names.js';
import { mqttText } from './wire-text.js';

/** A message as a handler gets it. It is the handler's to keep. */
export interface IncomingMessage {
  readonly topicName: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  /** Sent because of a new subscription, not because somebody published just now. */
  readonly retain: boolean;
  readonly dup: boolean;
  /** As the server numbered the packet; 0 with QoS 0. */
  readonly packetIdentifier: number;
  /** With which the server sent it; 0 = none. */
  readonly topicAlias: number;
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

/** A message whose handler has not answered at once. Done with, it is used for another one. */
class Run {
  delivery!: Delivery;
  /** Of the call under way; Infinity between two calls. */
  deadline = Infinity;
  /** Of the next call, between two of them. */
  retry: NodeJS.Timeout | undefined;
  /** Calls that have failed. */
  failures = 0;
  /** `failing`: it has failed for good, and whatever its handler still answers is ignored. */
  state: 'free' | 'at-work' | 'failing' | 'done' = 'free';
  readonly fulfilled: (value: unknown) => void;
  readonly rejected: (error: unknown) => void;
  readonly concluded: () => void;
  readonly broken: (error: unknown) => void;

  constructor(owner: RunOwner) {
    this.fulfilled = (value) => owner.fulfilled(this, value);
    this.rejected = (error) => owner.rejected(this, error);
    this.concluded = () => owner.concluded(this);
    this.broken = (error) => owner.broken(this, error);
  }
}

interface RunOwner {
  fulfilled(run: Run, value: unknown): void;
  rejected(run: Run, error: unknown): void;
  concluded(run: Run): void;
  broken(run: Run, error: unknown): void;
}

/** Messages taken from the front of the backlog before the list is made anew. */
const TAKEN_MAX = 1_024;
const NO_TURN = -1;
/** A free run keeps no message alive. */
const NO_DELIVERY = undefined as unknown as Delivery;
/** What a dead letter says of its error; it must not be too long for what a server takes. */
const ERROR_UNITS_MAX = 1024;
const RETRY_DELAY_MS = 100;
const RETRY_DELAY_MS_MAX = 10_000;

export class HandlerSubscription implements DeliverySink, RunOwner {
  readonly session: SessionHandle;
  readonly reads: 'text' | 'bytes';
  /** Every run that was ever needed at the same time, and those of them that are free. */
  #runs: Run[] = [];
  readonly #idle: Run[] = [];
  #running = 0;
  /** Places of QoS 0 messages, to be given back by the end of the turn. */
  #owed = 0;
  readonly #owedMax: number;
  #turnStartedAt = NO_TURN;
  readonly #staged: StagedHandler<IncomingMessage>;
  readonly #answered: StagedHandler<IncomingMessage>['answered'];
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
    this.#staged = handler;
    this.reads = this.#staged.reads ?? 'bytes';
    this.#answered = this.#staged.answered;
    const credit = Math.max(this.#concurrency, clientLimits.handlerPrefetch);
    this.#owedMax = credit >> 1;
    this.session = host.core.createHandlerSession({
      concurrency: credit,
      acknowledgeAfterSettle: options.ack === 'on-receipt' ? 'no' : 'yes',
    }, this, uplinkSession);
  }

  /** Messages at work now. */
  get running(): number {
    return this.#running;
  }

  #postpone(delivery: Delivery): void {
    if (this.#state !== 'open') return; // not acknowledged: the server keeps it
    this.#backlog.push(delivery);
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
    for (const run of this.#runs) clearTimeout(run.retry); // they would keep the process
    this.host.core.endSession(this.session);
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  get #isIdle(): boolean {
    return this.#running === 0 && this.#backlogAt === this.#backlog.length;
  }

  // --- one message -----------------------------------------------------------------------------

  /**
   * A message of the core: begun at once, or in its turn. One function, as that which calls it (see
   * RowReader): every message comes through here.
   */
  deliver(delivery: Delivery, comes: 'new' | 'in-turn' = 'new'): void {
    if (comes === 'new' && (this.#running >= this.#concurrency
      || this.#backlogAt !== this.#backlog.length || this.#state !== 'open')) {
      this.#postpone(delivery);
      return;
    }
    let result: unknown;
    let work: Promise<unknown> | undefined;
    try {
      result = this.handler(delivery);
      work = workOf(result);
    } catch (error) {
      this.rejected(this.#run(delivery), error);
      return;
    }
    if (work !== undefined) {
      const run = this.#run(delivery);
      work.then(run.fulfilled, run.rejected);
      return;
    }
    if (this.#answered !== undefined) {
      const more = workOf(this.#staged.answered!(result, delivery));
      if (more !== undefined) {
        this.#conclude(this.#run(delivery), more);
        return;
      }
    }
    if (delivery.token !== 0) this.#settle(delivery, SUCCESS);
    else {
      // As in `#settle`, where what happens once a turn would be compiled into this.
      this.#owed += 1;
      if (this.#owed > this.#owedMax || this.#turnStartedAt === NO_TURN) this.#owe();
    }
  }

  #run(delivery: Delivery): Run {
    let run = this.#idle.pop();
    if (run === undefined) {
      run = new Run(this);
      this.#runs.push(run);
    }
    run.delivery = delivery;
    run.failures = 0;
    run.state = 'at-work';
    this.#running += 1;
    this.#limit(run);
    return run;
  }

  #limit(run: Run): void {
    if (this.#timeoutMs === 0) return;
    run.deadline = this.#turn() + this.#timeoutMs;
    this.#timer ??= setTimeout(() => this.#sweep(), this.#timeoutMs);
  }

  #conclude(run: Run, work: PromiseLike<unknown>): void {
    work.then(run.concluded, run.broken);
  }

  /** The handler's own promise, and what a stage after it has to say. */
  fulfilled(run: Run, value: unknown): void {
    if (run.state !== 'at-work') return;
    const more = workOf(this.#staged.answered?.(value, run.delivery));
    if (more === undefined) this.concluded(run);
    else this.#conclude(run, more);
  }

  rejected(run: Run, error: unknown): void {
    if (run.state !== 'at-work') return;
    const { failed } = this.#staged;
    if (failed === undefined) this.#failed(run, error);
    else this.#conclude(run, failed(error, run.delivery));
  }

  concluded(run: Run): void {
    this.#done(run, SUCCESS);
  }

  broken(run: Run, error: unknown): void {
    this.#failed(run, error);
  }

  /** The time of this turn of the event loop, looked at once; its end gives back what is owed. */
  #turn(): number {
    if (this.#turnStartedAt === NO_TURN) {
      this.#turnStartedAt = performance.now();
      setImmediate(() => {
        this.#turnStartedAt = NO_TURN;
        this.#grant();
      });
    }
    return this.#turnStartedAt;
  }

  /** Handlers that had their time: their messages have failed, and are not tried again. */
  #sweep(): void {
    this.#timer = undefined;
    const now = performance.now();
    let earliest = Infinity;
    for (const run of [...this.#runs]) {
      if (run.state !== 'at-work' || run.deadline === Infinity) continue;
      if (run.deadline > now) {
        earliest = Math.min(earliest, run.deadline);
        continue;
      }
      run.state = 'failing';
      void this.#giveUp(run, new NidoClientError('NIDO_CLIENT_HANDLER_TIMEOUT',
        `the handler of ${this.topicFilter} did not finish within ${this.#timeoutMs} ms `
        + '(handlerTimeoutMs)'));
    }
    if (earliest !== Infinity) {
      this.#timer ??= setTimeout(() => this.#sweep(), earliest - now);
    }
  }

  #failed(run: Run, error: unknown): void {
    if (run.state !== 'at-work') return;
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
      run.retry = setTimeout(() => this.#again(run), delay);
      return;
    }
    run.state = 'failing';
    void this.#giveUp(run, error);
  }

  #again(run: Run): void {
    try {
      const work = workOf(this.handler(run.delivery));
      this.#limit(run);
      if (work !== undefined) work.then(run.fulfilled, run.rejected);
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
          ['nido-dead-letter-error', mqttText(messageOf(error), ERROR_UNITS_MAX)],
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
    const { state, delivery } = run;
    if (state !== 'at-work' && state !== 'failing') return;
    this.#running -= 1;
    if (state === 'at-work') {
      run.state = 'free';
      run.delivery = NO_DELIVERY;
      this.#idle.push(run);
    } else {
      // Its handler may still answer: it serves no other message.
      run.state = 'done';
      this.#runs.splice(this.#runs.indexOf(run), 1);
    }
    if (reasonCode !== undefined) this.#settle(delivery, reasonCode);
    while (this.#backlogAt < this.#backlog.length && this.#running < this.#concurrency) {
      this.deliver(this.#takeNext(), 'in-turn');
    }
    if (this.#isIdle) for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  #takeNext(): Delivery {
    const next = this.#backlog[this.#backlogAt];
    this.#backlogAt += 1;
    if (this.#backlogAt === this.#backlog.length) {
      this.#backlog = [];
      this.#backlogAt = 0;
    } else if (this.#backlogAt === TAKEN_MAX) {
      this.#backlog = this.#backlog.slice(TAKEN_MAX);
      this.#backlogAt = 0;
    }
    return next;
  }

  #settle(delivery: Delivery, reasonCode: number): void {
    if (this.#state === 'ended') return;
    if (delivery.token !== 0) {
      this.host.core.settle(this.session, delivery.token, reasonCode);
      return;
    }
    this.#owed += 1;
    this.#owe();
  }

  /** A place of a QoS 0 message is owed: given back with others, soon. */
  #owe(): void {
    if (this.#owed > this.#owedMax) this.#grant();
    else this.#turn();
  }

  /** Places of QoS 0 messages go back together. */
  #grant(): void {
    const owed = this.#owed;
    if (owed === 0 || this.#state === 'ended') return;
    this.#owed = 0;
    this.host.core.grant(this.session, owed);
  }
}

/** One SUBSCRIBE for all handlers: rather a message too many than one that never comes. */
export function wantedByAll(
  latest: SubscribeOptions, handlers: Iterable<HandlerSubscription>,
): SubscribeOptions {
  const all = [...handlers].map((handler) => handler.options);
  const nl = all.every((one) => one.nl === true);
  const rap = all.some((one) => one.rap === true);
  return { ...latest, nl, rap, rh: Math.min(2, ...all.map(({ rh = 0 }) => rh)) as 0 | 1 | 2 };
}
