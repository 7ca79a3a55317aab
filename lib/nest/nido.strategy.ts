/**
 * The transport strategy: Nest's handlers on an MQTT broker that this application hosts, or on one
 * that it joins.
 *
 *     app.connectMicroservice({ strategy: new NidoStrategy({ host: { listeners: [{}] } }) });
 *     app.connectMicroservice({ strategy: new NidoStrategy({ join: { url } }) });
 */
import { Logger } from '@nestjs/common';
import { Server } from '@nestjs/microservices';
import type { MessageHandler, MsPattern, Transport, WritePacket } from '@nestjs/microservices';
import type { Observable } from 'rxjs';
import { NidoNestError } from './errors.js';
import { HandlerRegistry } from './handler-registry.js';
import type { HandlerEntry, PatternExtras } from './handler-registry.js';
import { HandlerRunner } from './handler-runner.js';
import type { RunnerOwner } from './handler-runner.js';
import type { Link, LinkSubscription, NidoStatus } from './link/link.js';
import { makeLink } from './link/make-link.js';
import { NidoClient } from './nido.client.js';
import type { NidoContext } from './nido.context.js';
import { checkOptionNames } from './option-checks.js';
import { DEFAULT_NAME, defaultTransportIdOf, resolveSettings } from './options.js';
import type { NidoOptions, Settings } from './options.js';
import { ReadinessGate } from './readiness.js';

type AnyListener = (...args: never[]) => unknown;
/** Events of the broker (host) or of the client (join). */
export type NidoEvents = Record<string, AnyListener>;

/** How NidoModule makes a strategy: on the link that its clients use, too. */
export interface StrategyParts {
  readonly link: Link;
  readonly gate: ReadinessGate;
  readonly beforeListen: () => void;
}

type StartHook = (
  transportId: Transport | symbol,
  context: unknown,
  done: () => Promise<unknown>,
) => void;
type EndHook = (transportId: Transport | symbol, context: unknown) => void;

/** For goodbyes, when the handlers have used up their time. */
const LATE_CLOSE_MS = 1_000;

/**
 * Names of the strategies that were made without NidoModule, by transport id: of this process,
 * since nothing says to which application they belong.
 */
export const bareStrategies = new Map<Transport | symbol, string>();

let warnedOfBareStrategy: 'yes' | 'no' = 'no';

export class NidoStrategy extends Server<NidoEvents, NidoStatus> {
  /** Failures are observed here: Nest need not log them, too. */
  override readonly propagatesEventHandlerErrors = true;
  protected override readonly logger = new Logger(NidoStrategy.name);
  readonly #settings: Settings;
  readonly #link: Link;
  readonly #gate: ReadinessGate;
  readonly #beforeListen: (() => void) | undefined;
  readonly #ownsLink: 'yes' | 'no';
  readonly #registry: HandlerRegistry;
  readonly #subscriptions: LinkSubscription[] = [];
  readonly #runners: HandlerRunner[] = [];
  #phase: 'new' | 'starting' | 'listening' | 'closed' = 'new';
  #instrumented: 'yes' | 'no' = 'no';
  #startHook: StartHook | undefined;
  #endHook: EndHook | undefined;
  #client: NidoClient | undefined;
  #draining: Promise<void> | undefined;
  #lateHandlers: 'yes' | 'no' = 'no';

  constructor(options: NidoOptions, parts?: StrategyParts) {
    super();
    checkOptionNames(options, `NidoStrategy, broker ${options.name ?? DEFAULT_NAME}`);
    // A bare strategy talks to stock services, as the transport does that it replaces.
    this.#settings = resolveSettings(withJoin(options), {
      envelope: parts === undefined ? 'nest' : 'auto',
    });
    this.#link = parts?.link ?? makeLink(options);
    this.#gate = parts?.gate ?? new ReadinessGate('open');
    this.#ownsLink = parts === undefined ? 'yes' : 'no';
    this.#registry = new HandlerRegistry(this.#settings);
    const { name } = this.#settings;
    this.transportId = options.transportId ?? defaultTransportIdOf(name);
    if (parts === undefined) bareStrategies.set(this.transportId, name);
    this.#beforeListen = parts?.beforeListen;
    this.#link.status.subscribe((status) => this._status$.next(status));
  }

  override addHandler(
    pattern: unknown,
    callback: MessageHandler,
    isEventHandler: boolean = false,
    extras: Record<string, unknown> = {},
  ): void {
    const filter = this.normalizePattern(pattern as MsPattern);
    callback.isEventHandler = isEventHandler;
    callback.extras = extras;
    if (!this.messageHandlers.has(filter)) this.messageHandlers.set(filter, callback);
    const kind = isEventHandler ? 'event' : 'request';
    this.#registry.add(filter, callback, kind, extras as PatternExtras);
  }

  /** The first handler for a pattern, or for a topic that it matches. */
  override getHandlerByPattern(pattern: string): MessageHandler | null {
    return (
      this.messageHandlers.get(pattern) ?? this.#registry.match(pattern)[0]?.callback ?? null
    );
  }

  override listen(callback: (error?: unknown, info?: unknown) => unknown): void {
    this.#listen().then(
      () => callback(null, this.#link.native()),
      (error: unknown) => callback(error),
    );
  }

  /**
   * Takes no new messages, lets the handlers at work finish within `drainMs`, then closes the
   * broker or the connection (which belong to NidoModule when there is one). May be called twice.
   */
  override async close(): Promise<void> {
    this.#phase = 'closed';
    await this.drain();
    await this.#client?.close();
    this.#registry.close();
    if (this.#ownsLink === 'yes') await this.#link.close({ deadlineMs: this.closeDeadlineMs });
  }

  /** @internal What is left for the link: handlers that had their `drainMs` get no more. */
  get closeDeadlineMs(): number {
    return this.#lateHandlers === 'yes' ? LATE_CLOSE_MS : this.#settings.drainMs;
  }

  /** Takes no new messages; resolves when no handler is at work, or after `deadlineMs`. */
  drain(deadlineMs: number = this.#settings.drainMs): Promise<void> {
    this.#draining ??= this.#drain(deadlineMs);
    return this.#draining;
  }

  override on<Event extends keyof NidoEvents>(event: Event, callback: NidoEvents[Event]): void {
    this.#link.on(String(event), callback);
  }

  /** The Broker when hosted, the MQTT client when joined. */
  override unwrap<T>(): T {
    if (this.#phase === 'new' || this.#phase === 'starting') {
      throw new NidoNestError(
        'NIDO_NEST_NOT_LISTENING',
        'not initialized: call "listen" or "startAllMicroservices" before "unwrap"',
      );
    }
    return this.#link.native() as T;
  }

  override setOnProcessingStartHook(hook: StartHook): void {
    super.setOnProcessingStartHook(hook);
    this.#startHook = hook;
    this.#instrumented = 'yes';
  }

  override setOnProcessingEndHook(hook: EndHook): void {
    super.setOnProcessingEndHook(hook);
    this.#endHook = hook;
    this.#instrumented = 'yes';
  }

  async #listen(): Promise<void> {
    if (this.#phase === 'listening') return;
    this.#phase = 'starting';
    this.#warnWhenBare();
    try {
      this.#beforeListen?.();
      await this.#start();
    } catch (error) {
      // Who calls listen again begins from the start.
      await Promise.all(this.#subscriptions.splice(0).map((one) => one.close()));
      this.#runners.length = 0;
      if (this.#phase === 'starting') this.#phase = 'new';
      throw error;
    }
    if (this.#phase === 'starting') this.#phase = 'listening';
    else throw new NidoNestError('NIDO_NEST_CLOSED', 'close() was called while listen() began');
  }

  async #start(): Promise<void> {
    await Promise.all(this.#registry.codecs().map(async (codec) => codec.load?.()));
    const owner = this.#runnerOwner();
    // Handlers are there before the doors open (host) and before a kept session goes on (join).
    const subscribing = Promise.all(
      this.#registry.entries.map((entry) => this.#subscribe(entry, owner)),
    );
    if (this.#link.mode === 'host') await subscribing;
    else subscribing.catch(() => undefined);
    await this.#link.open();
    await subscribing;
  }

  async #subscribe(entry: HandlerEntry, owner: RunnerOwner): Promise<void> {
    const { options, pattern } = entry;
    const runner = new HandlerRunner(entry, owner);
    this.#runners.push(runner);
    const qos = options.qos ?? this.#link.defaultQos;
    this.#subscriptions.push(
      await this.#link.subscribe(pattern, runner.handler, {
        qos,
        share: options.share,
        noLocal: options.noLocal,
        retainAsPublished: options.retainAsPublished,
        retainHandling: options.retainHandling,
        concurrency: options.concurrency,
        ack: options.ack === 'on-receipt' ? 'on-receipt' : 'after-handler',
        handlerTimeoutMs: runner.timesItself ? 0 : options.timeoutMs,
      }),
    );
    const share = options.share === undefined ? '' : `, share ${options.share}`;
    this.logger.log(
      `Mapped {${pattern}, ${entry.kind}} qos ${qos}${share}, ack ${options.ack}, ` +
        `concurrency ${options.concurrency}`,
    );
  }

  async #drain(deadlineMs: number): Promise<void> {
    const subscriptions = this.#subscriptions.splice(0);
    if (subscriptions.length === 0) return;
    let outcome = 'late';
    const done = Promise.allSettled(subscriptions.map((one) => one.drain())).then(() => {
      outcome = 'done';
    });
    for (const runner of this.#runners) runner.drain();
    // Before the application is bootstrapped no handler is at work: there is nothing to wait for.
    const waitMs = this.#gate.isOpen ? deadlineMs : 0;
    await this.#link.settled(done, waitMs);
    for (const runner of this.#runners) runner.stop();
    if (outcome === 'done') return;
    this.#lateHandlers = 'yes';
    if (!this.#gate.isOpen) return;
    this.logger.warn(`handlers were still at work after ${deadlineMs} ms (option drainMs)`);
  }

  #runnerOwner(): RunnerOwner {
    const isInstrumented = (): boolean => this.#instrumented === 'yes';
    return {
      link: this.#link,
      settings: this.#settings,
      registry: this.#registry,
      gate: this.#gate,
      log: this.logger,
      get isInstrumented() {
        return isInstrumented();
      },
      around: (context, work) => this.#around(context, work),
      toObservable: (result) => this.transformToObservable(result) as Observable<unknown>,
      stream: (values, respond) => this.send(values, (packet: WritePacket) => respond(packet)),
      client: () => this.#ownClient(),
    };
  }

  /** The hooks of instrumentation, around the whole work of one message. */
  #around(context: NidoContext, work: () => Promise<unknown>): Promise<unknown> {
    const transportId = this.transportId!;
    const { promise, resolve, reject } = deferred();
    const run = async (): Promise<void> => {
      try {
        resolve(await work());
      } catch (error) {
        reject(error);
      } finally {
        this.#endHook?.(transportId, context);
      }
    };
    if (this.#startHook === undefined) void run();
    else this.#startHook(transportId, context, run);
    return promise;
  }

  #ownClient(): NidoClient {
    this.#client ??= new NidoClient({ envelope: this.#settings.envelope }, { link: this.#link });
    return this.#client;
  }

  #warnWhenBare(): void {
    if (this.#ownsLink === 'no' || warnedOfBareStrategy === 'yes') return;
    warnedOfBareStrategy = 'yes';
    this.logger.warn(
      'a NidoStrategy without NidoModule cannot know when the application is bootstrapped: in a ' +
        'hybrid application handlers may run before onModuleInit. Import NidoModule.forRoot(...) ' +
        'and use app.get(NidoStrategy)',
    );
  }
}

/** The flat options of the stock transport hold some that are not of the connection. */
function withJoin(options: NidoOptions): NidoOptions {
  const { join } = options;
  if (join === undefined) return options;
  const { serializer, deserializer, subscribeOptions, share } = join;
  return { serializer, deserializer, subscribeOptions, share, ...defined(options) } as NidoOptions;
}

function defined<Value extends object>(value: Value): Partial<Value> {
  return Object.fromEntries(
    Object.entries(value).filter(([, one]) => one !== undefined),
  ) as Partial<Value>;
}

function deferred(): {
  readonly promise: Promise<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
} {
  let resolve!: (value: unknown) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<unknown>((done, failed) => {
    resolve = done;
    reject = failed;
  });
  return { promise, resolve, reject };
}
