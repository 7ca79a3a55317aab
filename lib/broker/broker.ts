/** The MQTT broker: what an application makes, asks and listens to. */
import { randomBytes } from 'node:crypto';
import { Core } from '../core/core.js';
import type { CoreStats, SessionInfo } from '../core/contract.js';
import type { CheckReport, Engine, EngineState, SnapshotReport } from '../engine/index.js';
import { createFileEngine } from '../engine/index.js';
import type { Listener, Transport } from '../listener/index.js';
import { BrokerEmitter } from './broker-emitter.js';
import type { EventListener, EventName } from './broker-emitter.js';
import { BrokerLog } from './broker-log.js';
import type { BrokerOptions, GuardOptions, ResolvedBrokerOptions } from './broker-options.js';
import { SystemClock } from './clock.js';
import type { Clock, ScheduledTask } from './clock.js';
import { describeClient } from './connections.js';
import type { ControlCounters } from './context.js';
import { ControlPlane } from './control-plane.js';
import type { CoreFactory } from './control-plane.js';
import { Doors, anonymousRule } from './doors.js';
import { DurabilityRules } from './durability-rules.js';
import { UNMOUNTED } from './mount-point.js';
import { BrokerError, messageOf } from './errors.js';
import type { ClientDescription } from './events.js';
import type { MessageHandler, SubscribeHandlerOptions, Subscription } from './handlers.js';
import { resolveGuards, resolveOptions } from './options.js';
import type { PublishOptions } from './publisher.js';
import { ADMINISTRATIVE_ACTION, SERVER_SHUTTING_DOWN, isDisconnectCode } from './reason-codes.js';
import type { ClientConnection, Door } from './records.js';
import { RestoreProgress } from './restore-progress.js';

/** What a test replaces. */
export interface BrokerInternals {
  readonly clock?: Clock;
  readonly createCore?: CoreFactory;
  /** Instead of the one that the options name. Not opened yet. */
  readonly engine?: Engine;
  /** Default random: hash tables must not be predictable from outside. */
  readonly hashSeed?: bigint;
}

/** A client that is connected now. */
export interface ClientInfo extends ClientDescription {
  /** Milliseconds since 1970. */
  readonly connectedAt: number;
  readonly keepAliveSeconds: number;
  readonly sessionExpirySeconds: number;
}

export interface BrokerStats extends CoreStats, Readonly<ControlCounters> {
  readonly handlersRunning: number;
}

export interface CloseOptions {
  /** Handlers and clients get this long. Default `limits.closeDeadlineMs`. */
  readonly deadlineMs?: number;
  /** Of the DISCONNECT that MQTT 5 clients are sent. Default 0x8B (Server shutting down). */
  readonly reasonCode?: number;
}

export interface DisconnectClientOptions {
  /** A DISCONNECT Reason Code. Default 0x98 (Administrative action). */
  readonly reasonCode?: number;
  readonly reason?: string;
  /** Default `keep`: the client may come back to it. */
  readonly session?: 'keep' | 'end';
  /** Of the client's listener, where that has one. */
  readonly mountPoint?: string;
}

/** What comes in by `accept` is of this process: as good as a door on loopback. */
const ATTACHED = { host: 'localhost' } as const;

type Phase = 'new' | 'listening' | 'closing' | 'closed';

/**
 * An MQTT 3.1, 3.1.1 and 5.0 broker. It conforms as a server, and as a client where it joins
 * another broker [MQTT-7.0.0-1]; it needs nothing of its peers that the standard does not say
 * [MQTT-7.0.0-2].
 */
export class Broker {
  #options: ResolvedBrokerOptions;
  readonly #clock: Clock;
  readonly #log: BrokerLog;
  readonly #emitter: BrokerEmitter;
  #plane: ControlPlane;
  readonly #internals: BrokerInternals;
  readonly #engine: Engine | undefined;
  readonly #doors: Doors;
  readonly #attached: Door;
  #phase: Phase = 'new';
  /** What the engine keeps has been taken over; true at once without one. */
  #isRestored: boolean;
  #closing: Promise<void> | undefined = undefined;
  /** After a core that failed. */
  #restoring: Promise<void> | undefined = undefined;

  /**
   * Throws OptionError for a wrong option and BrokerError for a listener that would be open to
   * everybody.
   */
  constructor(options: BrokerOptions = {}, internals: BrokerInternals = {}) {
    this.#options = resolveOptions(options);
    this.#clock = internals.clock ?? new SystemClock();
    this.#log = new BrokerLog(this.options.logger);
    this.#doors = new Doors(this.options, this.#log);
    this.#attached = {
      name: 'attached',
      anonymous: anonymousRule(ATTACHED, this.options),
      mountPoint: UNMOUNTED,
      limits: this.options.limits,
      mqtt: this.options.mqtt,
    };
    this.#emitter = new BrokerEmitter((name, error) => this.#listenerThrew(name, error));
    this.#internals = internals;
    this.#engine = internals.engine ?? engineOf(this.options);
    this.#isRestored = this.#engine === undefined;
    this.#plane = this.#makePlane();
  }

  /** What was asked for, with every default filled in. */
  get options(): ResolvedBrokerOptions {
    return this.#options;
  }

  /**
   * The open doors, in the order of the options; `listeners[0].port` is the real port when 0 was
   * asked for.
   */
  get listeners(): readonly Listener[] {
    return this.#doors.listeners;
  }

  /**
   * Opens the doors. When it resolves, clients can connect; when one door fails, none is open and
   * it rejects.
   */
  async listen(): Promise<void> {
    if (this.#phase !== 'new') {
      throw new BrokerError(
        'NIDO_BROKER_STATE',
        `listen() of a broker that is ${this.#phase}: call it once`,
      );
    }
    this.#phase = 'listening';
    try {
      await this.#restore();
      await this.#doors.open(
        (transport, door) => this.#plane.connections.open(transport, door),
        (door, listener) => this.#opened(door, listener),
      );
    } catch (error) {
      if (this.#phase === 'listening') await this.#beginAgain();
      else await this.#engine?.close();
      throw error;
    }
    if (this.#phase === 'listening') this.#plane.sys.start();
  }

  /**
   * Takes a byte pipe that did not come through a door: an in-memory one, or one that the
   * application accepted.
   */
  accept(transport: Transport): void {
    const isOpen = this.#phase === 'new' || this.#phase === 'listening';
    if (isOpen && this.#isRestored) this.#plane.connections.open(transport, this.#attached);
    else transport.destroy();
  }

  /**
   * Publishes a message of this process.
   *
   * When the promise resolves, the message has been routed: it stands in the Session State of every
   * receiver at QoS 1 and 2, has been handed to every connected one at QoS 0, and, for QoS 1 and 2,
   * the handlers of this process that acknowledge after their work are done with it. Nobody having
   * subscribed is no error. Rejects with PublishError when it was refused (`reasonCode`), with
   * BrokerError when it is not a message.
   *
   *     await broker.publish('casa/sala/luz', 'on', { qos: 1, retain: true });
   */
  publish(
    topicName: string,
    payload: Uint8Array | string = '',
    options: PublishOptions = {},
  ): Promise<void> {
    if (this.#phase === 'closed') return Promise.reject(closedError());
    if (!this.#isRestored) return Promise.reject(notYetError());
    return this.#plane.publisher.publish(topicName, payload, options);
  }

  /**
   * Calls `handler` for every message that matches `topicFilter`, at most `concurrency` at the same
   * time. When the promise resolves, messages published from now on reach the handler.
   *
   *     await broker.subscribe('casa/+/luz', ({ topicName, payload }) => keep(topicName, payload));
   */
  async subscribe(
    topicFilter: string,
    handler: MessageHandler,
    options: SubscribeHandlerOptions = {},
  ): Promise<Subscription> {
    if (this.#phase === 'closed') throw closedError();
    return this.#plane.handlers.subscribe(topicFilter, handler, options);
  }

  on<Name extends EventName>(name: Name, listener: EventListener<Name>): this {
    this.#emitter.on(name, listener);
    return this;
  }

  once<Name extends EventName>(name: Name, listener: EventListener<Name>): this {
    this.#emitter.once(name, listener);
    return this;
  }

  off<Name extends EventName>(name: Name, listener: EventListener<Name>): this {
    this.#emitter.off(name, listener);
    return this;
  }

  /** All clients that are connected now. */
  clients(): ClientInfo[] {
    const clients: ClientInfo[] = [];
    for (const connection of this.#plane.connections.all()) {
      if (connection.state === 'connected') clients.push(this.#clientInfo(connection));
    }
    return clients;
  }

  /** `mountPoint`: of its listener, where that has one. */
  client(clientId: string, mountPoint = UNMOUNTED): ClientInfo | undefined {
    const connection = this.#plane.sessions.get({ clientId, mountPoint })?.connection;
    return connection === undefined ? undefined : this.#clientInfo(connection);
  }

  /** What waits for a session, connected or not; undefined when there is none. */
  session(clientId: string, mountPoint = UNMOUNTED): SessionInfo | undefined {
    const session = this.#plane.sessions.get({ clientId, mountPoint });
    return session === undefined ? undefined : this.#plane.core.sessionInfo(session.handle);
  }

  /** Disconnects a client; answers whether there was one, or a session of it to end. */
  disconnectClient(clientId: string, options: DisconnectClientOptions = {}): boolean {
    const { reasonCode = ADMINISTRATIVE_ACTION, reason = 'disconnected by the broker' } = options;
    checkDisconnectCode(reasonCode);
    const owner = { clientId, mountPoint: options.mountPoint ?? UNMOUNTED };
    const session = this.#plane.sessions.get(owner);
    if (session === undefined) return false;
    const { connection } = session;
    if (connection !== undefined) this.#plane.connections.cutOff(connection, reasonCode, reason);
    const left = this.#plane.sessions.get(owner);
    if (options.session === 'end' && left !== undefined)
      this.#plane.sessions.end(left, 'administrative');
    return connection !== undefined || options.session === 'end';
  }

  /**
   * Adds authenticators, authorizers and interceptors behind those of the options. Authenticators
   * decide about whoever connects from now on, and doors that were open to everybody for want of
   * one are not any more; authorizers decide about clients that are connected, too; interceptors
   * see what is published from now on.
   */
  addGuards(
    { authentication = [], authorization = [], interceptors = [] }: GuardOptions,
  ): void {
    const added = { authentication, authorization, interceptors };
    this.#options = resolveGuards(this.#options, added);
    this.#doors.guardsChanged(this.#options);
    this.#attached.anonymous = anonymousRule(ATTACHED, this.#options);
    this.#plane.guardsChanged(this.#options);
  }

  /**
   * The rules of an authorizer have changed: cached verdicts are forgotten, subscriptions that lost
   * their right end.
   */
  rulesChanged(): void {
    this.#plane.rulesChanged();
  }

  /** Reads certificates and keys of the doors again; open connections stay. */
  reload(): Promise<void> {
    return this.#doors.reload();
  }

  /** `ok` unless the disk refuses writes: then nothing is acknowledged that was promised to it. */
  get engineState(): EngineState {
    return this.#plane.durability?.state ?? 'ok';
  }

  /** Writes a consistent copy of what the engine keeps into a directory of its own. */
  async snapshot(directory: string): Promise<SnapshotReport> {
    if (this.#engine === undefined || !this.#isRestored) throw notYetError();
    return this.#engine.snapshot(directory);
  }

  /** Reads everything that the engine keeps and reports what cannot be trusted. */
  async check(): Promise<CheckReport> {
    if (this.#engine === undefined || !this.#isRestored) throw notYetError();
    return this.#engine.check();
  }

  /** Runs `task` once, `ms` from now by the broker's clock: a test moves that by hand. */
  schedule(task: () => void, ms: number): ScheduledTask {
    return this.#clock.schedule(task, ms);
  }

  /** @internal Waits for `work`, at most `ms` by the broker's clock. Never rejects. */
  async settled(work: Promise<unknown>, ms: number): Promise<void> {
    const ended = work.then(() => undefined, () => undefined);
    await this.#until(ended, this.#clock.now() + ms);
  }

  stats(): BrokerStats {
    return {
      ...this.#plane.core.stats(),
      ...this.#plane.counters,
      handlersRunning: this.#plane.handlers.running,
    };
  }

  /**
   * Closes the broker: doors shut, handlers at work finish, clients get DISCONNECT. When it
   * resolves nothing of the broker is left, at the latest a moment after `deadlineMs`. May be
   * called more than once.
   */
  close(options: CloseOptions = {}): Promise<void> {
    this.#closing ??= this.#close(options);
    return this.#closing;
  }

  async #close(options: CloseOptions): Promise<void> {
    const { deadlineMs = this.options.limits.closeDeadlineMs, reasonCode = SERVER_SHUTTING_DOWN } =
      options;
    checkDisconnectCode(reasonCode);
    this.#phase = 'closing';
    const { connections, handlers, connectFlow, sys } = this.#plane;
    connectFlow.closing = true;
    sys.stop();
    const deadline = this.#clock.now() + deadlineMs;
    const shut = this.#doors.shut(deadlineMs);
    await this.#until(handlers.whenIdle(), deadline);
    for (const connection of [...connections.all()]) {
      connections.cutOff(connection, reasonCode, 'the broker is shutting down');
    }
    await this.#until(connections.whenEmpty(), deadline);
    for (const connection of [...connections.all()]) this.#plane.core.destroy(connection.handle);
    await this.#until(shut, deadline);
    await this.#restoring; // else it would open the engine again
    await this.#closeEngine(Math.max(0, deadline - this.#clock.now()));
    this.#phase = 'closed';
    this.#plane.stop();
    this.#log.info('broker closed');
    this.#emitter.tell('closed');
  }

  /** Opens the engine and takes over what it keeps. Nobody is let in before. */
  async #restore(): Promise<void> {
    if (this.#engine === undefined) return;
    const progress = new RestoreProgress(this.#clock, (event) => {
      this.#log.info('restoring', { ...event });
      this.#emitter.tell('restoring', event);
    });
    await this.#engine.open((records) => progress.converted(records));
    const report = await this.#plane.restore(progress);
    this.#isRestored = true;
    if (report === undefined) return;
    const { sessions, subscriptions, retainedMessages, queuedMessages, milliseconds } = report;
    this.#log.info('restored', {
      sessions, subscriptions, retainedMessages, queuedMessages, ms: Math.round(milliseconds),
    });
  }

  /** listen() failed. Should it be called again, everything that the engine keeps is told anew. */
  async #beginAgain(): Promise<void> {
    if (this.#engine !== undefined) {
      await this.#closeEngine(this.options.limits.closeDeadlineMs);
      await this.#engine.close();
      const failed = this.#plane;
      failed.stop();
      this.#isRestored = false;
      this.#plane = this.#makePlane();
      this.#plane.handlers.restore(failed.handlers);
    }
    if (this.#phase === 'listening') this.#phase = 'new';
  }

  /** What could not be written by then was not acknowledged either. */
  async #closeEngine(deadlineMs: number): Promise<void> {
    if (this.#engine === undefined || !this.#isRestored) return;
    this.#plane.sessions.tellLeft();
    try {
      await this.#plane.durability?.close(deadlineMs);
    } catch (error) {
      this.#log.error('engine', { error: messageOf(error) });
    }
    this.#plane.durability?.bind(undefined);
    await this.#engine.close();
  }

  /** Waits for `event`, but not beyond `deadline`. */
  async #until(event: Promise<void>, deadline: number): Promise<void> {
    let timer: { cancel(): void } | undefined;
    const passed = new Promise<void>((resolve) => {
      timer = this.#clock.schedule(resolve, Math.max(0, deadline - this.#clock.now()));
    });
    await Promise.race([event, passed]);
    timer?.cancel();
  }

  #makePlane(): ControlPlane {
    const { createCore, hashSeed } = this.#internals;
    return new ControlPlane({
      options: this.options,
      clock: this.#clock,
      log: this.#log,
      events: this.#emitter,
      createCore: createCore ?? ((core, events, around) => new Core(core, events, around)),
      hashSeed: hashSeed ?? randomBytes(8).readBigUInt64LE(),
      engine: this.#engine,
      broken: () => this.#revive(),
    });
  }

  /** The core has trapped, which is a bug of ours. Doors stay open; a new core serves who comes. */
  #revive(): void {
    if (this.#phase === 'closing' || this.#phase === 'closed') return;
    const failed = this.#plane;
    this.#plane = this.#makePlane();
    this.#plane.handlers.restore(failed.handlers);
    if (this.#engine !== undefined) this.#restoring = this.#restoreAgain(failed);
    if (this.#phase === 'listening') this.#plane.sys.start();
  }

  /** Clients are refused until the new core has what the engine keeps. */
  async #restoreAgain(failed: ControlPlane): Promise<void> {
    const plane = this.#plane;
    plane.connectFlow.closing = true;
    this.#isRestored = false;
    try {
      await failed.durability?.close(this.options.limits.closeDeadlineMs);
      await this.#engine?.close();
      if (this.#closing !== undefined) return;
      await this.#restore();
      plane.connectFlow.closing = this.#closing !== undefined;
    } catch (error) {
      this.#log.error('engine', { error: messageOf(error) });
      this.#emitter.tell('problem', { where: 'engine', error });
    }
  }

  #opened(door: Door, listener: Listener): void {
    this.#log.info('listening', { listener: door.name, address: listener.address });
    this.#emitter.tell('listening', {
      name: door.name,
      address: listener.address,
      port: listener.port,
    });
  }

  #clientInfo(connection: ClientConnection): ClientInfo {
    return {
      ...describeClient(connection),
      connectedAt: Math.round(this.#clock.wall() - (this.#clock.now() - connection.connectedAt)),
      keepAliveSeconds: connection.keepAliveSeconds,
      sessionExpirySeconds: connection.session?.expirySeconds ?? 0,
    };
  }

  #listenerThrew(name: EventName, error: unknown): void {
    this.#log.error('event listener threw', { event: name, error: messageOf(error) });
    if (name !== 'problem') this.#emitter.tell('problem', { where: `listener of ${name}`, error });
  }
}

function engineOf(options: ResolvedBrokerOptions): Engine | undefined {
  const { strictest } = new DurabilityRules(options);
  // Durability `memory` keeps nothing: then there is no directory to open either.
  if (options.engine === 'memory' || strictest === 'memory') return undefined;
  return createFileEngine({ ...options.engine.file, durability: strictest });
}

function notYetError(): BrokerError {
  return new BrokerError(
    'NIDO_BROKER_STATE',
    'what the engine keeps is not there yet: call listen() first',
  );
}

function closedError(): BrokerError {
  return new BrokerError('NIDO_BROKER_CLOSED', 'the broker is closed: make a new one');
}

function checkDisconnectCode(reasonCode: number): void {
  if (isDisconnectCode(reasonCode)) return;
  throw new BrokerError(
    'NIDO_BROKER_STATE',
    `${reasonCode} is no Reason Code that a server may send in DISCONNECT`,
  );
}
