/**
 * Runs one handler: decodes the message, calls Nest, waits for what comes back, and decides what a
 * failure means. The way of an event, which every message of a device takes, makes no Observable
 * and one promise of its own.
 *
 *     gate -> order -> decode -> Nest's pipeline -> acknowledged
 *                ^         |            |
 *                |         +--- error --+--> retry | reason code | dead letter | ignore
 *                +------ later ---------------+
 */
import type { Logger } from '@nestjs/common';
import type { Observable, Subscription } from 'rxjs';
import { isObservable } from 'rxjs';
import type { WritePacket } from '@nestjs/microservices';
import type { StagedHandler } from '../core/staged-handler.js';
import { isEnvelope, isReply, replyTopicOf } from './envelope.js';
import { MqttReasonException, NidoNestError, messageOf } from './errors.js';
import type { FailureContext } from './failure.js';
import { applyFinalFailure, finalOf, retryDelayMs } from './failure.js';
import type { HandlerEntry, HandlerRegistry } from './handler-registry.js';
import type { IncomingMessage, Link } from './link/link.js';
import type { NidoClient } from './nido.client.js';
import { NidoContext } from './nido.context.js';
import type { ContextOwner } from './nido.context.js';
import type { Settings } from './options.js';
import type { ReadinessGate } from './readiness.js';
import { Echoes, Replier } from './replies.js';
import { RequestRun } from './request-run.js';
import { TopicOrder } from './topic-order.js';

/** What a runner needs of the strategy. */
export interface RunnerOwner {
  readonly link: Link;
  readonly settings: Settings;
  readonly registry: HandlerRegistry;
  readonly gate: ReadinessGate;
  readonly log: Pick<Logger, 'error' | 'warn'>;
  /** True when somebody observes processing: then every run is told. */
  readonly isInstrumented: boolean;
  around(context: NidoContext, work: () => Promise<unknown>): Promise<unknown>;
  toObservable(result: unknown): Observable<unknown>;
  stream(
    values: Observable<unknown>, respond: (packet: WritePacket) => Promise<void>,
  ): Subscription;
  client(): NidoClient;
}

interface Decoded {
  readonly data: unknown;
  /** Of the envelope of a request. */
  readonly id: string | undefined;
}

/** The first run of a handler for a message. */
const FIRST = 1;
/** `ack: 'manual'`, and the handler has ended without a verdict: the message waits on. */
const UNDECIDED_MARK = Symbol('undecided');
const UNDECIDED: Promise<unknown> = Promise.resolve(UNDECIDED_MARK);
/** Of a message that the end of the application has overtaken: whoever sent it sends it again. */
const UNSETTLED = new Promise<never>(() => undefined);
const NO_MESSAGE_HANDLER = 'There is no matching message handler defined in the remote service.';

export class HandlerRunner implements ContextOwner {
  readonly topicLevels: ReadonlyMap<string, number>;
  readonly #entry: HandlerEntry;
  readonly #owner: RunnerOwner;
  readonly #echoes = new Echoes();
  readonly #order: TopicOrder | undefined;
  readonly #isGrouped: boolean;
  readonly #requests = new Set<RequestRun>();
  /** Observables of event handlers. */
  readonly #streams = new Set<Subscription>();
  #state: 'running' | 'stopped' = 'running';
  /** Events whose handler needs nothing but its data: their messages take the short way. */
  readonly #isPlain: boolean;
  /** What the link calls. */
  readonly handler: StagedHandler<IncomingMessage>;

  constructor(entry: HandlerEntry, owner: RunnerOwner) {
    this.#entry = entry;
    this.#owner = owner;
    this.topicLevels = entry.topicLevels;
    this.#order = entry.options.order === 'topic' ? new TopicOrder() : undefined;
    this.#isGrouped = entry.siblings.length > 1;
    const { deserializer } = owner.settings;
    this.#isPlain =
      entry.kind === 'event' && !this.#isGrouped && this.#order === undefined &&
      entry.options.ack !== 'manual' && deserializer === undefined && !this.timesItself;
    this.handler = Object.assign((message: IncomingMessage) => this.#handle(message), {
      reads: entry.options.codec.decodeText === undefined ? 'bytes' : 'text',
      answered: (value: unknown, message: IncomingMessage) => this.#settled(value, message),
      failed: (error: unknown, message: IncomingMessage) => this.#broken(error, message),
    } as const);
  }

  client(): NidoClient {
    return this.#owner.client();
  }

  /** The application closes: no message begins, those at work may end. */
  drain(): void {
    for (const run of this.#requests) run.drain();
  }

  /**
   * The application closes and waits no longer: nothing is run again, streams are let go. What was
   * not handled is not acknowledged.
   */
  stop(): void {
    this.#state = 'stopped';
    for (const run of [...this.#requests]) run.stop();
    for (const values of [...this.#streams]) values.unsubscribe();
  }

  /** A message of the link. What is returned is the work that the acknowledgement waits for. */
  #handle(message: IncomingMessage): unknown {
    if (this.#state === 'stopped') return UNSETTLED;
    const { gate, isInstrumented } = this.#owner;
    if (this.#isPlain && gate.isOpen && !isInstrumented) return this.#short(message);
    if (this.#entry.kind === 'request' && this.#echoes.take(message)) return undefined;
    if (this.#isGrouped && this.#owner.registry.comesEarlier(this.#entry, message.topicName)) {
      return undefined;
    }
    if (!gate.isOpen) return gate.whenOpen().then(() => this.#unlessStopped(message));
    return this.#enter(message);
  }

  /**
   * The short way: Nest's promise goes back to the link as it is, which says in `answered` and
   * `failed` how it ended. The message carries its context so that they find it.
   */
  #short(message: IncomingMessage): unknown {
    const context = new NidoContext(message, this, FIRST);
    let data: unknown;
    try {
      data = this.#value(message);
    } catch (error) {
      return this.#undecodable(error, context);
    }
    const { codec } = this.#entry.options;
    if (codec.envelope === 'possible' && isEnvelope(data)) {
      return this.#dispatch({ data: data.data, id: data.id }, context);
    }
    if (message.properties.responseTopic !== undefined) {
      return this.#dispatch({ data, id: undefined }, context);
    }
    message.attachment = context;
    return this.#entry.callback(data, context);
  }

  #settled(value: unknown, { attachment }: IncomingMessage): unknown {
    return attachment === undefined ? undefined : this.#answered(value, attachment as NidoContext);
  }

  #broken(error: unknown, { attachment }: IncomingMessage): Promise<unknown> {
    if (attachment === undefined) return Promise.reject(error as Error);
    return this.#failed(error, attachment as NidoContext);
  }

  #value(message: IncomingMessage): unknown {
    const { codec } = this.#entry.options;
    const text = codec.decodeText === undefined ? undefined : message.text;
    return text === undefined ? codec.decode(message.payload) : codec.decodeText!(text);
  }

  #unlessStopped(message: IncomingMessage): unknown {
    return this.#state === 'stopped' ? UNSETTLED : this.#enter(message);
  }

  #enter(message: IncomingMessage): unknown {
    if (this.#order === undefined) return this.#attempt(message, FIRST);
    return this.#order.run(message.topicName, () => this.#attempt(message, FIRST));
  }

  #attempt(message: IncomingMessage, attempt: number): unknown {
    const context = new NidoContext(message, this, attempt);
    let decoded: Decoded | Promise<Decoded>;
    try {
      decoded = this.#decode(message);
    } catch (error) {
      return this.#undecodable(error, context);
    }
    if (!(decoded instanceof Promise)) return this.#dispatch(decoded, context);
    return decoded.then(
      (value) => this.#dispatch(value, context),
      (error: unknown) => this.#undecodable(error, context),
    );
  }

  #decode(message: IncomingMessage): Decoded | Promise<Decoded> {
    const { codec } = this.#entry.options;
    const value = this.#value(message);
    const { deserializer } = this.#owner.settings;
    if (deserializer !== undefined) {
      const options = { channel: message.topicName };
      const packet = deserializer.deserialize(value as never, options as never);
      return packet instanceof Promise ? packet.then(decodedOf) : decodedOf(packet);
    }
    if (codec.envelope === 'possible' && isEnvelope(value)) {
      return { data: value.data, id: value.id };
    }
    return { data: value, id: undefined };
  }

  #dispatch({ data, id }: Decoded, context: NidoContext): unknown {
    const { message } = context;
    const { registry } = this.#owner;
    if (this.#entry.kind === 'request' && id === undefined && isReply(message.topicName, data)) {
      return undefined;
    }
    if (id !== undefined || message.properties.responseTopic !== undefined) {
      const replier = registry.replierOf(message.topicName);
      if (replier === this.#entry) return this.#request(data, id, context);
      if (id !== undefined && replier === undefined) this.#sayNoHandler(message, id);
    }
    if (this.#entry.options.ack === 'manual') return this.#manual(data, context);
    if (this.#owner.isInstrumented) {
      return this.#owner.around(context, () => Promise.resolve(this.#event(data, context)));
    }
    return this.#event(data, context);
  }

  #event(data: unknown, context: NidoContext): Promise<unknown> | undefined {
    let result: unknown;
    try {
      result = this.#entry.callback(data, context);
    } catch (error) {
      return this.#failed(error, context);
    }
    if (!isThenable(result)) return this.#answered(result, context);
    return this.#withTimeout(result, context).then(
      (value: unknown) => this.#answered(value, context),
      (error: unknown) => this.#failed(error, context),
    );
  }

  /** What the handler gave back: nothing to wait for, or a stream whose end is the answer. */
  #answered(value: unknown, context: NidoContext): Promise<unknown> | undefined {
    if (isObservable(value)) {
      return this.#withTimeout(this.#whenComplete(value), context).then(
        () => this.#ended(context),
        (error: unknown) => this.#failed(error, context),
      );
    }
    return this.#ended(context);
  }

  #ended(context: NidoContext): Promise<unknown> | undefined {
    if (this.#entry.options.ack === 'manual') return UNDECIDED;
    return context.verdict === undefined ? undefined : this.#concluded(context);
  }

  #concluded(context: NidoContext): Promise<unknown> | undefined {
    const { verdict } = context;
    if (verdict?.kind !== 'nack') return undefined;
    const reason = verdict.reason ?? 'the handler refused the message';
    if (verdict.requeueAfter !== undefined) return this.#again(context, verdict.requeueAfter);
    return this.#failed(new MqttReasonException(verdict.reasonCode ?? 0x80, reason), context);
  }

  /** `ack: 'manual'`: the verdict counts; the end of the handler does not, its failure does. */
  #manual(data: unknown, context: NidoContext): Promise<unknown> {
    return new Promise((resolve, reject) => {
      context.onVerdict = (): void => {
        Promise.resolve(this.#concluded(context)).then(resolve, reject);
      };
      const handled = (outcome: unknown): void => {
        if (outcome !== UNDECIDED_MARK) resolve(outcome);
        else if (context.verdict === undefined) this.#limitVerdict(context, resolve);
      };
      Promise.resolve(this.#event(data, context)).then(handled, reject);
    });
  }

  /** The handler has ended and said nothing: its time for that is limited as well. */
  #limitVerdict(context: NidoContext, resolve: (outcome: unknown) => void): void {
    const { timeoutMs } = this.#entry.options;
    if (timeoutMs === 0 || !this.timesItself) return;
    const limit = this.#owner.link.schedule(() => {
      context.onVerdict = undefined;
      resolve(this.#failed(this.#late(context), context));
    }, timeoutMs);
    const decided = context.onVerdict;
    context.onVerdict = (): void => {
      limit.cancel();
      decided?.();
    };
  }

  #replier(message: IncomingMessage, id: string | undefined): Replier {
    const { settings, link } = this.#owner;
    return new Replier(
      {
        link,
        codec: this.#entry.options.codec,
        serializer: settings.serializer,
        sending: (topicName, payload) => this.#sending(topicName, payload),
      },
      message,
      id,
    );
  }

  #unpublished(error: unknown, { topicName }: IncomingMessage): void {
    this.#owner.log.error(
      `${this.#entry.pattern}: the reply to ${JSON.stringify(topicName)} could not be ` +
        `published: ${messageOf(error)}`,
    );
  }

  #request(data: unknown, id: string | undefined, context: NidoContext): Promise<unknown> {
    const { link } = this.#owner;
    const { message } = context;
    const run = (): Promise<unknown> => {
      const request = new RequestRun({
        replier: this.#replier(message, id),
        values: this.#owner.toObservable(this.#callSafely(data, context)),
        stream: (values, respond) => this.#owner.stream(values, respond),
        timeoutMs: this.#entry.options.timeoutMs,
        schedule: (task, ms) => link.schedule(task, ms),
        late: () => this.#late(context),
        unpublished: (error) => this.#unpublished(error, message),
      });
      this.#requests.add(request);
      return request.done.finally(() => this.#requests.delete(request));
    };
    return this.#owner.isInstrumented ? this.#owner.around(context, run) : run();
  }

  #callSafely(data: unknown, context: NidoContext): unknown {
    try {
      return this.#entry.callback(data, context);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /** Stock services are told when a request reaches handlers of events only. */
  #sayNoHandler(message: IncomingMessage, id: string): void {
    const { registry, link, log } = this.#owner;
    if (registry.spokesmanOf(message.topicName) !== this.#entry) return;
    const reply = JSON.stringify({ id, status: 'error', err: NO_MESSAGE_HANDLER });
    const topicName = message.properties.responseTopic ?? replyTopicOf(message.topicName);
    const { correlationData } = message.properties;
    const properties = correlationData === undefined ? {} : { correlationData };
    link
      .publish(topicName, reply, { qos: message.qos, properties })
      .catch((error: unknown) => log.error(`${topicName}: ${messageOf(error)}`));
  }

  #sending(topicName: string, payload: Uint8Array | string): void {
    if (this.#entry.options.noLocal === true) return;
    const heard = this.#owner.registry.match(topicName).includes(this.#entry);
    if (heard) this.#echoes.expect(topicName, payload);
  }

  /** Subscribes, and lets go of a stream that has had its time. */
  #whenComplete(values: Observable<unknown>): Promise<void> {
    return new Promise((resolve, reject) => {
      const subscription = values.subscribe({ error: reject, complete: resolve });
      if (subscription.closed) return;
      this.#streams.add(subscription);
      const { timeoutMs } = this.#entry.options;
      const limit =
        timeoutMs === 0
          ? undefined
          : this.#owner.link.schedule(() => subscription.unsubscribe(), timeoutMs);
      subscription.add(() => {
        limit?.cancel();
        this.#streams.delete(subscription);
      });
    });
  }

  /** The link limits the time of a message; where there are retries each run has its own time. */
  #withTimeout<Value>(work: Promise<Value>, context: NidoContext): Promise<Value> {
    const { timeoutMs } = this.#entry.options;
    if (timeoutMs === 0 || !this.timesItself) return work;
    return new Promise((resolve, reject) => {
      const { link } = this.#owner;
      const timer = link.schedule(() => reject(this.#late(context)), timeoutMs);
      work.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  /** Whether this runner limits the time of each run: the link knows of one end only, failure. */
  get timesItself(): boolean {
    return this.#entry.kind === 'request' || this.#entry.options.onError !== 'reason-code';
  }

  #late(context: NidoContext): Error {
    return new NidoNestError(
      'NIDO_NEST_HANDLER_TIMEOUT',
      `the handler of ${this.#entry.pattern} took longer than timeoutMs ` +
        `(${this.#entry.options.timeoutMs}) for ${JSON.stringify(context.message.topicName)}`,
    );
  }

  /** Running it again would not help: the bytes stay the same. */
  #undecodable(error: unknown, context: NidoContext): Promise<unknown> {
    const { message } = context;
    const isAsked = message.properties.responseTopic !== undefined;
    if (isAsked && this.#owner.registry.replierOf(message.topicName) === this.#entry) {
      const told = this.#replier(message, undefined).fail(error);
      told.catch((trouble: unknown) => this.#unpublished(trouble, message));
    }
    return applyFinalFailure(this.#failure(error, context), finalOf(this.#entry.options.onError));
  }

  #failed(error: unknown, context: NidoContext): Promise<unknown> {
    const failure = this.#failure(error, context);
    if (context.verdict?.kind === 'ack') return applyFinalFailure(failure, 'ignore');
    const { onError } = this.#entry.options;
    const delayMs = retryDelayMs(onError, context.attempt);
    if (delayMs === undefined) return applyFinalFailure(failure, finalOf(onError));
    this.#owner.log.warn(`${failure.what}; it runs again in ${delayMs} ms`);
    return this.#again(context, delayMs);
  }

  async #again(context: NidoContext, delayMs: number): Promise<unknown> {
    await new Promise<void>((resolve) => this.#owner.link.schedule(resolve, delayMs));
    if (this.#state === 'stopped') return UNSETTLED;
    return this.#attempt(context.message, context.attempt + 1);
  }

  #failure(error: unknown, context: NidoContext): FailureContext {
    const { message, attempt } = context;
    const { link, log } = this.#owner;
    const what =
      `handler of ${this.#entry.pattern} failed for ${JSON.stringify(message.topicName)}` +
      `${attempt > 1 ? ` (run ${attempt})` : ''}: ${messageOf(error)}`;
    return { error, message, attempt, link, log, what, pattern: this.#entry.pattern };
  }
}

function decodedOf(packet: unknown): Decoded {
  const { data, id } = (packet ?? {}) as { data?: unknown; id?: string };
  return { data, id };
}

function isThenable(value: unknown): value is Promise<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}
