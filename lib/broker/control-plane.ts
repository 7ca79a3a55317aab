/**
 * The control plane: what the core tells (CoreEvents) goes to the part that decides it, and time
 * goes round.
 *
 *     core --> ControlPlane --> ConnectFlow, SubscribeFlow, Connections, Handlers, Publisher
 *     clock -> pulse -> TimerWheel -> the entry's owner; and core.tick
 *
 * Events come while the core works on a chunk. Everything here may call the core back from within
 * an event.
 */
import type {
  AuthPacket,
  ConnackFields,
  ConnectionHandle,
  ConnectPacket,
  CoreControl,
  CoreEvents,
  CoreOptions,
  Delivery,
  DisconnectPacket,
  DropReason,
  Qos,
  ReasonFields,
  SessionHandle,
  SubscribePacket,
  UnsubscribePacket,
} from '../core/contract.js';
import type { Engine, EngineError, EngineState, LoadReport } from '../engine/index.js';
import { Authentication } from './authentication.js';
import { Authorization } from './authorization.js';
import type { BrokerLog } from './broker-log.js';
import type { ResolvedBrokerOptions } from './broker-options.js';
import type { Clock, ScheduledTask } from './clock.js';
import { ConnectFlow } from './connect-flow.js';
import { Connections } from './connections.js';
import { UNMOUNTED, named } from './mount-point.js';
import { emptyCounters, reportProblem } from './context.js';
import type { BrokerContext, ControlCounters, EventTeller } from './context.js';
import { whenDecided } from './decision.js';
import { Durability } from './durability.js';
import { DurabilityRules } from './durability-rules.js';
import { HandlerSubscription } from './handler-subscription.js';
import { Handlers } from './handlers.js';
import { IdentityReview } from './identity-review.js';
import { InterceptFlow } from './intercept-flow.js';
import { Publisher } from './publisher.js';
import { NOT_AUTHORIZED, QUOTA_EXCEEDED, SUCCESS } from './reason-codes.js';
import { ClientConnection, IdentityExpiry, Session } from './records.js';
import { ReceiveFlow } from './receive-flow.js';
import { Restorer } from './restore.js';
import type { RestoreProgress } from './restore-progress.js';
import { SessionRegistry } from './session-registry.js';
import { NOTHING_STORED } from './session-store.js';
import { SleepingSessions } from './sleeping-sessions.js';
import { SubscribeFlow, SubscriptionReview } from './subscribe-flow.js';
import { SysTopics } from './sys-topics.js';
import { TimerWheel } from './timer-wheel.js';
import type { TimerEntry, TimerWheelOwner } from './timer-wheel.js';

/** What the core needs of its surroundings. */
export interface CoreSurroundings {
  readonly now: () => number;
  readonly later: (fn: () => void, delayMs: number) => unknown;
  /** The core has trapped: nothing of it works any more. */
  readonly broken: (error: unknown) => void;
}
export type CoreFactory = (
  options: CoreOptions,
  events: CoreEvents,
  surroundings: CoreSurroundings,
) => CoreControl;

export interface ControlPlaneParts {
  readonly options: ResolvedBrokerOptions;
  readonly clock: Clock;
  readonly log: BrokerLog;
  readonly events: EventTeller;
  readonly createCore: CoreFactory;
  readonly hashSeed: bigint;
  /** Where what must survive is kept; undefined = nowhere. */
  readonly engine?: Engine;
  /** The core has failed; this control plane is of no more use. */
  readonly broken: () => void;
}

const MS_PER_SECOND = 1_000;
/** The core wants to be called at least this often. */
const PULSE_MS_MAX = 1_000;
const HANDLER_SESSIONS = 10_000;
/** Handles have room for this many slots. */
const SLOTS_MAX = 1_048_575;
/** Of the core's memory, for what waits in queues at the start. */
const QUEUED_SHARE = 0.25;
const CACHED = { cache: 'yes' } as const;

export class ControlPlane implements CoreEvents, TimerWheelOwner {
  readonly core: CoreControl;
  readonly connections: Connections;
  readonly sessions: SessionRegistry;
  readonly handlers: Handlers;
  readonly publisher: Publisher;
  readonly connectFlow: ConnectFlow;
  readonly counters: ControlCounters = emptyCounters();
  /** undefined with the memory engine: nothing is kept. */
  readonly durability: Durability | undefined;
  readonly sys: SysTopics;
  readonly #context: BrokerContext;
  readonly #authentication: Authentication;
  readonly #authorization: Authorization;
  readonly #subscribeFlow: SubscribeFlow;
  readonly #review: SubscriptionReview;
  readonly #identityReview: IdentityReview;
  readonly #interception: InterceptFlow;
  readonly #receive: ReceiveFlow;
  readonly #wheel: TimerWheel;
  readonly #parts: ControlPlaneParts;
  readonly #rules: DurabilityRules;
  #pulse: ScheduledTask | undefined = undefined;
  #pulseAt = Infinity;
  /** Grows when the rules of an authorizer change. */
  #rulesChanges = 0;
  #phase: 'running' | 'in pulse' | 'stopped' = 'running';

  constructor(parts: ControlPlaneParts) {
    const { options, clock, log, events } = parts;
    this.#parts = parts;
    this.#rules = rulesOf(parts);
    this.#wheel = new TimerWheel(this, clock.now());
    this.core = parts.createCore(coreOptions(options, parts.hashSeed), this, {
      now: () => clock.now(),
      later: (fn, delayMs) => clock.schedule(fn, delayMs),
      broken: (error) => this.#broken(error),
    });
    const { engine } = parts;
    this.durability = engine === undefined ? undefined : this.#keepIn(engine);
    const context: BrokerContext = {
      core: this.core,
      store: this.durability ?? NOTHING_STORED,
      options,
      clock,
      log,
      events,
      wheel: this.#wheel,
      counters: this.counters,
    };
    this.#context = context;
    this.#authentication = new Authentication(context);
    this.#authorization = new Authorization(context, () => this.rulesChanged());
    this.#interception = new InterceptFlow(context);
    this.sessions = new SessionRegistry(context, this.#authorization, this.#interception);
    this.connections = new Connections(context, this.sessions);
    this.#identityReview = new IdentityReview(context, this.connections);
    this.handlers = new Handlers(context, this.sessions);
    this.publisher = new Publisher(context, this.#interception);
    this.#subscribeFlow = new SubscribeFlow(context, this.#authorization);
    this.#review = new SubscriptionReview(context, this.#authorization, this.sessions);
    this.#receive = new ReceiveFlow(context, {
      authorization: this.#authorization,
      sessions: this.sessions,
      review: this.#review,
    });
    this.connectFlow = new ConnectFlow(context, {
      receive: this.#receive,
      connections: this.connections,
      sessions: this.sessions,
      authorization: this.#authorization,
      authentication: this.#authentication,
    });
    options.gate?.onBan?.((isBanned) => {
      if (!this.#stopped()) this.connections.putOut(isBanned);
    });
    this.sys = new SysTopics(context);
    this.#schedule(clock.now() + PULSE_MS_MAX);
  }

  /** There are more authenticators and authorizers than there were. */
  guardsChanged(options: ResolvedBrokerOptions): void {
    this.#authentication.guardsChanged(options);
    this.#identityReview.guardsChanged(options);
    this.#interception.guardsChanged(options);
    this.#authorization.guardsChanged(options);
    const { publishPolicy } = this.#authorization;
    for (const { handle, state } of this.connections.all()) {
      if (state === 'connected') this.core.setPublishPolicy(handle, publishPolicy);
    }
    this.rulesChanged();
  }

  /** Forgets every cached verdict and looks at every subscription again. */
  rulesChanged(): void {
    this.#rulesChanges += 1;
    this.core.invalidateVerdicts();
    this.#receive.rulesChanged();
    this.#review.begin();
  }

  #keepIn(engine: Engine): Durability {
    const { limits } = this.#parts.options;
    const durability = new Durability(engine, {
      clock: this.#parts.clock,
      sessionByHandle: (handle) => this.sessions.byHandle(handle),
      engineState: (state, error) => this.#engineState(state, error),
      cannotStore: (publisher, reason) => this.#cannotStore(publisher, reason),
      queueIsFull: (session, message, qos) => {
        this.core.countDropped('queue-full');
        this.dropped(session, message.topicName.toString(), qos as Qos, 'queue-full');
      },
      rules: this.#rules,
      unstoredBytesMax: limits.unstoredBytesMax,
      spillLimits: {
        messagesMax: limits.queueMemoryMessagesMax,
        bytesMax: limits.queueMemoryBytesMax,
        queueMessagesMax: limits.queueMessagesMax,
      },
      problem: (where, error) => reportProblem(this.#context, where, error),
    });
    durability.bind(this.core.closeGate?.(durability));
    return durability;
  }

  /** Takes over what the open engine keeps. Before the first client. */
  async restore(progress: RestoreProgress): Promise<LoadReport | undefined> {
    const { engine, options, clock, log } = this.#parts;
    const durable = this.durability?.core;
    if (engine === undefined || durable === undefined) return undefined;
    const restorer = new Restorer({
      durable, rules: this.#rules, spilled: this.durability!.spilled,
      sessions: this.sessions, clock, progress,
      inflightMax: inflightMaxOf(options),
    });
    const report = await engine.load(restorer, {
      queueBytesMax: options.limits.memoryBytes * QUEUED_SHARE,
      queueMessagesPerSessionMax: options.limits.queueMemoryMessagesMax,
    });
    restorer.finish();
    this.durability!.loaded(restorer.outdated);
    for (const loss of report.losses) log.error('lost', { detail: loss.detail });
    if (restorer.unrestored > 0) {
      log.error('limits.memoryBytes is too small for what is stored; the rest stays on disk', {
        messages: restorer.unrestored,
      });
    }
    return report;
  }

  #engineState(state: EngineState, error: EngineError | undefined): void {
    const { log, events } = this.#context;
    if (state === 'ok') log.warn('the engine takes writes again');
    else log.error(`engine ${state}: nothing is acknowledged`, { reason: error?.message });
    events.tell('engineState', { state, error });
  }

  /** 3.x has no word for it: without the end of its connection the publisher would be lied to. */
  #cannotStore(publisher: SessionHandle, reason: string): void {
    const connection = this.sessions.byHandle(publisher)?.connection;
    if (connection === undefined || connection.protocolVersion === 5) return;
    this.connections.cutOff(connection, QUOTA_EXCEEDED, reason);
  }

  stop(): void {
    this.#phase = 'stopped';
    this.durability?.bind(undefined);
    this.sessions.forgetLeft();
    this.#pulse?.cancel();
    this.publisher.abandon();
    this.#interception.close();
    this.core.close();
  }

  // --- CoreEvents

  connect(handle: ConnectionHandle, packet: ConnectPacket): void {
    this.#with(handle, (connection) => this.connectFlow.connect(connection, packet));
  }

  subscribe(handle: ConnectionHandle, packet: SubscribePacket): void {
    this.#with(handle, (connection) => this.#subscribeFlow.subscribe(connection, packet));
  }

  unsubscribe(handle: ConnectionHandle, packet: UnsubscribePacket): void {
    this.#with(handle, (connection) => this.#subscribeFlow.unsubscribe(connection, packet));
  }

  disconnect(handle: ConnectionHandle, packet: DisconnectPacket): void {
    this.#with(handle, (connection) => this.connections.disconnected(connection, packet));
  }

  auth(handle: ConnectionHandle, packet: AuthPacket): void {
    this.#with(handle, (connection) => this.connectFlow.auth(connection, packet));
  }

  authorizePublish(
    handle: ConnectionHandle,
    topicName: string,
    qos: Qos,
    retain: RetainFlag,
  ): void {
    const identity = this.connections.get(handle)?.identity;
    if (identity === undefined) return;
    const asked = this.#rulesChanges;
    // The core ignores an answer for a connection that has gone: its handle is void.
    whenDecided(
      this.#authorization.canPublish(identity, topicName, { qos, retain }),
      (granted) => {
        // Other rules hold by now, or somebody proved anew who it is: this answer is void.
        if (asked !== this.#rulesChanges || this.connections.get(handle)?.identity !== identity) {
          this.authorizePublish(handle, topicName, qos, retain);
          return;
        }
        this.#answerPublish(handle, granted ? SUCCESS : NOT_AUTHORIZED, topicName);
      },
      (error) => reportProblem(this.#context, 'authorizer', error),
    );
  }

  intercept(handle: ConnectionHandle, message: Delivery): void {
    this.#with(handle, (connection) => this.#interception.asked(connection, message));
  }

  authorizeReceive(
    session: SessionHandle, topicName: string, serial: number, rules: number,
  ): void {
    this.#receive.asked(session, topicName, { serial, rules });
  }

  published(token: number, reasonCode: number): void {
    this.publisher.published(token, reasonCode);
  }

  failed(handle: ConnectionHandle, reasonCode: number, detail: string): void {
    this.#with(handle, (connection) => this.connections.failed(connection, reasonCode, detail));
  }

  dropped(session: SessionHandle, topicName: string, qos: Qos, reason: DropReason): void {
    const { log, events } = this.#context;
    const owner = this.sessions.byHandle(session) ?? NOBODY;
    log.debug('message dropped', { client: owner.clientId, topic: topicName, qos, reason });
    if (!events.hears('messageDropped')) return;
    events.tell('messageDropped', { ...named(owner), topicName, qos, reason });
  }

  withheldTooLong(handle: ConnectionHandle): void {
    const reason = 'made publishers wait longer than limits.withholdSecondsMax';
    this.#with(handle, (connection) => {
      this.connections.cutOff(connection, QUOTA_EXCEEDED, reason);
    });
  }

  closed(handle: ConnectionHandle, error?: Error): void {
    this.#with(handle, (connection) => this.connections.closed(connection, error));
  }

  // A broker has no client role: the core never tells these.
  connack(_handle: ConnectionHandle, _packet: ConnackFields): void {}
  suback(_handle: ConnectionHandle, _id: number, _codes: Uint8Array, _fields: ReasonFields): void {}
  unsuback(
    _handle: ConnectionHandle,
    _id: number,
    _codes: Uint8Array,
    _fields: ReasonFields,
  ): void {}
  pingresp(_handle: ConnectionHandle): void {}

  // --- Time

  timerFired(entry: TimerEntry, now: number): void {
    try {
      if (entry instanceof ClientConnection) this.connections.timerFired(entry, now);
      else if (entry instanceof Session) this.sessions.timerFired(entry, now);
      else if (entry instanceof SleepingSessions) this.sessions.sleepersDue(now);
      else if (entry instanceof HandlerSubscription) this.handlers.timerFired(entry, now);
      else if (entry instanceof IdentityExpiry) this.connections.identityExpired(entry);
      else if (entry instanceof SysTopics) entry.publish();
    } catch (error) {
      // one bad entry must not stop the others
      reportProblem(this.#context, 'timer', error);
    }
  }

  timerSet(due: number): void {
    if (this.#phase === 'running' && due < this.#pulseAt) this.#schedule(due);
  }

  #beat(): void {
    if (this.#phase !== 'running') return;
    this.#phase = 'in pulse';
    this.#pulseAt = Infinity;
    const { clock } = this.#context;
    const now = clock.now();
    let coreWants = PULSE_MS_MAX;
    try {
      this.#wheel.advance(now);
      coreWants = this.core.tick(now, clock.wall());
    } catch (error) {
      reportProblem(this.#context, 'tick', error);
    }
    if (this.#stopped()) return;
    this.#phase = 'running';
    const wanted = Number.isFinite(coreWants) ? Math.max(coreWants, 1) : PULSE_MS_MAX;
    this.#schedule(Math.min(this.#wheel.nextAt(), now + Math.min(wanted, PULSE_MS_MAX)));
  }

  #stopped(): boolean {
    return this.#phase === 'stopped';
  }

  #schedule(at: number): void {
    const { clock } = this.#context;
    this.#pulse?.cancel();
    this.#pulseAt = at;
    this.#pulse = clock.schedule(() => this.#beat(), Math.max(0, at - clock.now()));
  }

  /** What goes wrong with one connection ends that connection, and never reaches the core. */
  #with(handle: ConnectionHandle, decide: (connection: ClientConnection) => void): void {
    if (this.#stopped()) return;
    const connection = this.connections.get(handle);
    if (connection === undefined) return;
    try {
      decide(connection);
    } catch (error) {
      reportProblem(this.#context, 'connection', error);
      this.connections.abort(connection);
    }
  }

  #broken(error: unknown): void {
    this.#phase = 'stopped';
    this.durability?.bind(undefined);
    this.sessions.forgetLeft();
    this.#pulse?.cancel();
    reportProblem(this.#context, 'core', error);
    this.#context.log.error('the core has failed: sessions, queues and retained messages are lost');
    this.publisher.abandon();
    this.#interception.close();
    this.#parts.broken();
  }

  #answerPublish(handle: ConnectionHandle, reasonCode: number, topicName: string): void {
    if (reasonCode !== SUCCESS) {
      const client = this.connections.get(handle)?.clientId;
      this.#context.log.debug('publish refused', { client, topic: topicName, code: reasonCode });
    }
    this.core.answerPublish(handle, reasonCode, CACHED);
  }
}

/** A test that brings an engine of its own has said nothing of it in the options. */
function rulesOf({ options, engine }: ControlPlaneParts): DurabilityRules {
  if (options.engine !== 'memory' || engine === undefined) return new DurabilityRules(options);
  const file = { path: '', durability: engine.durability };
  return new DurabilityRules({ ...options, engine: { file } });
}

/** Whose a message is that no client in particular loses. */
const NOBODY = { clientId: '', mountPoint: UNMOUNTED } as const;
/** Of any listener: what a session may have had under way. */
function inflightMaxOf({ limits, listeners }: ResolvedBrokerOptions): number {
  return Math.max(limits.inflightMax, ...listeners.map((one) => one.limits?.inflightMax ?? 0));
}
/** The flag of the packet. */
type RetainFlag = boolean;

function coreOptions(options: ResolvedBrokerOptions, hashSeed: bigint): CoreOptions {
  const { limits, mqtt } = options;
  return {
    memoryBytes: limits.memoryBytes,
    connectionsMax: limits.connectionsMax + 1,
    // Every handler of this process has a session too.
    sessionsMax: Math.min(limits.sessionsMax + HANDLER_SESSIONS, SLOTS_MAX),
    maximumQos: mqtt.maximumQos,
    retainAvailable: mqtt.retainAvailable ? 'yes' : 'no',
    hashSeed,
    packetBytesMax: limits.packetBytesMax,
    receiveMaximum: limits.receiveMaximum,
    topicAliasMaximum: limits.topicAliasMaximum,
    topicLevelsMax: limits.topicLevelsMax,
    userPropertiesMax: limits.userPropertiesMax,
    unauthenticatedBytesMax: limits.unauthenticatedBytesMax,
    queueMessagesMax: limits.queueMessagesMax,
    queueBytesMax: limits.queueBytesMax,
    slabBytesMax: limits.slabBytesMax,
    slabWatermarkBytes: limits.slabWatermarkBytes,
    heldBytesMax: limits.heldBytesMax,
    withholdMsMax: limits.withholdSecondsMax * MS_PER_SECOND,
    retainedMessagesMax: limits.retainedMessagesMax,
    retainedBytesMax: limits.retainedBytesMax,
    subscriptionsPerSessionMax: limits.subscriptionsPerSessionMax,
    sharedStrategy: mqtt.sharedStrategy,
    validatePayloadFormat: mqtt.validatePayloadFormat ? 'yes' : 'no',
    topicCacheMax: limits.topicCacheMax,
    dropEventsPerTurnMax: limits.dropEventsPerTurnMax,
  };
}
