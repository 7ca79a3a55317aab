/**
 * Between the core's durable gate, the control plane and the engine: what must outlive the process
 * is written into the group commit here, and when a batch is committed the core and the control
 * plane are told. Nothing here waits for anything, and nothing costs a promise per message.
 *
 *     core  --append, done, release, pubrel-->  Durability  --operations-->  GroupCommit --> engine
 *           <--commit (deliver, acknowledge)--              <--tokens--
 */
import type { ConnectionHandle, SessionHandle, SubscribeOptions } from '../core/contract.js';
import { NOT_STORED } from '../core/durable.js';
import type {
  Append, DurableEntry, DurableEvents, DurableMessage, DurableSide,
} from '../core/durable.js';
import type {
  Durability as Promised, Engine, EngineBatch, EngineState, GroupCommitStats, SessionRecord,
  StoredMessage,
} from '../engine/index.js';
import { EngineError, GroupCommit, USERNAME_BYTES_MAX, messageNumberOf } from '../engine/index.js';
import { encodeForwarded } from '../core/packet-writer.js';
import type { Clock } from './clock.js';
import { stricterOf } from './durability-rules.js';
import type { DurabilityRules } from './durability-rules.js';
import type { Identity } from './hooks.js';
import type { Session } from './records.js';
import { RetainedBehind } from './retained-behind.js';
import { SpilledQueues } from './spilled-queues.js';
import type { SpillLimits } from './spilled-queues.js';
import type { SessionStore } from './session-store.js';

/** What a token of the group commit stands for: its kind in the lowest bits, see `token`. */
const TOKEN_GATE = 0;
const TOKEN_RELEASE = 1;
const TOKEN_PUBREL = 2;
const TOKEN_KINDS = 4;
const IDENTIFIERS = 65_536;
const TOKENS_PER_TURN = 1_024;
const NOTHING = new Uint8Array(0);
const SYS = Buffer.from('$SYS/');
const LONG_AGO = 0.001;
const RETAIN_HANDLING_SHIFT = 4;

export interface DurabilityOwner {
  readonly clock: Clock;
  sessionByHandle(handle: SessionHandle): Session | undefined;
  engineState(state: EngineState, error: EngineError | undefined): void;
  /**
   * A message cannot be stored. A publisher whose version has no Reason Code for that must be cut
   * off: it would take the acknowledgement for a promise.
   */
  cannotStore(publisher: SessionHandle, reason: string): void;
  /** The queue of this session is as long as it may be, in memory and store together. */
  queueIsFull(session: SessionHandle, message: DurableMessage, qos: number): void;
  readonly rules: DurabilityRules;
  /** Bytes that wait for the disk before publishers are refused. */
  readonly unstoredBytesMax: number;
  readonly spillLimits: SpillLimits;
  problem(where: string, error: unknown): void;
}

export class Durability implements DurableEvents, SessionStore {
  readonly #engine: Engine;
  readonly #owner: DurabilityOwner;
  readonly #group: GroupCommit;
  /** Sessions that have ended and whose queues are being given to others, with their store ids. */
  readonly #ending = new Map<SessionHandle, number>();
  #core: DurableSide | undefined = undefined;
  readonly #behind = new RetainedBehind({
    retainedOf: (topicName) => this.#core?.retainedOf(topicName),
    write: (topicName, message) => this.#writeRetained(topicName, message),
    isFull: () => this.#group.isFull,
    afterCommit: (callback) => this.#group.after(callback),
    forgotten: (topicName) => this.#owner.problem('engine', new EngineError('NIDO_ENGINE_IO',
      `The disk is too far behind: what is retained for '${topicName.toString()}' is not stored`)),
  });
  readonly spilled: SpilledQueues;

  constructor(engine: Engine, owner: DurabilityOwner) {
    this.#engine = engine;
    this.#owner = owner;
    this.#group = new GroupCommit(engine, {
      committed: (tokens) => this.#committed(tokens),
      state: (state, error) => owner.engineState(state, error),
      fault: (error) => owner.problem('engine', error),
    }, { pendingBytesMax: owner.unstoredBytesMax });
    this.spilled = new SpilledQueues({
      engine, clock: owner.clock, limits: owner.spillLimits,
      core: () => this.#core,
      afterCommit: (callback) => this.#group.after(callback),
      problem: (where, error) => owner.problem(where, error),
      coreTime: (expiresAt) => this.#coreTime(expiresAt),
    });
  }

  isFull(): boolean {
    return this.#group.isFull;
  }
  get state(): EngineState {
    return this.#group.state;
  }
  get stats(): GroupCommitStats {
    return this.#group.stats;
  }
  get core(): DurableSide | undefined {
    return this.#core;
  }
  /** The core that answers go to. A core that has failed is answered no more. */
  bind(core: DurableSide | undefined): void {
    this.#core = core;
  }
  close(deadlineMs: number): Promise<void> {
    return this.#group.close({ deadlineMs });
  }

  // --- from the core ---------------------------------------------------------------------------

  append(append: Append): number {
    const durability = this.#durabilityOf(append);
    if (durability === 'memory') return NOT_STORED;
    if (this.#group.isFull) {
      // It is retained already: what the next process finds should not be older for ever.
      if (append.retained !== 'unchanged') this.#behind.takes(append.message!.topicName);
      this.#owner.cannotStore(append.publisher, 'the disk is too far behind');
      return 0;
    }
    const number = this.#engine.nextNumber();
    const entries = this.#admitted(append, number);
    if (entries === undefined) {
      this.#owner.cannotStore(append.publisher, 'no receiver has room');
      return 0;
    }
    const batch = this.#group.unit(durability);
    this.#writeMessage(batch, append, entries, number);
    const publisher = this.#owner.sessionByHandle(append.publisher)?.storeId ?? 0;
    if (append.inboundIdentifier !== 0 && publisher !== 0) {
      batch.putInbound(publisher, append.inboundIdentifier);
    }
    this.#group.wait(token(TOKEN_GATE, append.gate));
    return number;
  }
  /**
   * `memory` only where nothing has to be known after a crash: a Packet Identifier that a receiver
   * of QoS 2 remembers and we do not would swallow a later message, and a retained message that a
   * listener lets go would leave an older one in its place.
   */
  #durabilityOf({ message, publisher, entries, retained }: Append): Promised {
    const { rules } = this.#owner;
    if (message === undefined) return this.#engine.durability;
    const door = this.#owner.sessionByHandle(publisher)?.connection?.door;
    const byRule = rules.of(message.topicName, door?.durability);
    const durability = retained === 'unchanged'
      ? byRule : stricterOf(byRule, rules.of(message.topicName));
    return durability === 'memory' && entries.some(({ qos }) => qos === 2) ? 'os' : durability;
  }
  #writeMessage(
    batch: EngineBatch, append: Append, entries: readonly DurableEntry[], number: number,
  ): void {
    if (append.message === undefined) return;
    const publisher = this.#owner.sessionByHandle(append.publisher)?.storeId ?? 0;
    const stored = this.#stored(append.message, number, publisher);
    batch.putMessage(stored, entries.length);
    for (const entry of entries) this.#writeEntry(batch, entry, number);
    if (append.retained === 'stored') batch.putRetained(stored);
    else if (append.retained === 'deleted') batch.deleteRetained(append.message.topicName);
  }
  /** undefined: all who want it are at their bound, and nobody has it or keeps it. */
  #admitted(append: Append, number: number): readonly DurableEntry[] | undefined {
    const { message, entries, retained, others } = append;
    if (message === undefined) return [];
    let dropped = 0;
    const admitted = entries.filter((entry) => {
      const session = this.#owner.sessionByHandle(entry.session);
      if (session === undefined || session.storeId === 0) return false;
      const verdict = this.spilled.admit(session, number + entry.copy, message.payload.length);
      if (verdict === 'store') return true;
      this.#owner.queueIsFull(entry.session, message, entry.qos);
      dropped++;
      return false;
    });
    const isOwed = others === 'some' || retained !== 'unchanged' || admitted.length > 0;
    return isOwed || dropped === 0 ? admitted : undefined;
  }
  #writeEntry(batch: EngineBatch, entry: DurableEntry, messageNumber: number): void {
    const { qos, retain, packetIdentifier, subscriptionIdentifiers, group } = entry;
    batch.putQueueEntry({
      sessionId: this.#storeIdOf(entry.session), number: messageNumber + entry.copy,
      qos, retain, packetIdentifier, subscriptionIdentifiers, group,
    });
  }
  #storeIdOf(handle: SessionHandle): number {
    return this.#owner.sessionByHandle(handle)?.storeId ?? 0;
  }
  #stored(message: DurableMessage, number: number, publisher: number): StoredMessage {
    // Field by field: spreading the message took a tenth of the main thread's time.
    const { topicName, properties, payload, qos, retain } = message;
    const expiresAt = this.#wallOf(message.expiresAt);
    return { number, topicName, properties, payload, qos, retain, expiresAt, publisher };
  }
  /** The core's clock starts anew with each process; what is stored has to outlive it. */
  #wallOf(expiresAt: number): number {
    const { clock } = this.#owner;
    return expiresAt === 0 ? 0 : clock.wall() + (expiresAt - clock.now());
  }

  /** And back: a time that has passed stays one. */
  #coreTime(expiresAt: number): number {
    const { clock } = this.#owner;
    if (expiresAt === 0) return 0;
    return Math.max(LONG_AGO, clock.now() + (expiresAt - clock.wall()));
  }

  retained(topicName: Buffer, message: DurableMessage | undefined): void {
    if (isOfThisProcess(topicName)) return;
    const durability = this.#owner.rules.of(topicName);
    if (durability === 'memory' || this.#behind.takes(topicName)) return;
    this.#writeRetained(topicName, message);
  }
  #writeRetained(topicName: Buffer, message: DurableMessage | undefined): void {
    const batch = this.#group.unit(this.#owner.rules.of(topicName));
    if (message === undefined) batch.deleteRetained(topicName);
    else batch.putRetained(this.#stored(message, this.#engine.nextNumber(), 0));
  }
  /** The engine has told what it has; `outdated` is retained and not to be found again. */
  loaded(outdated: readonly Uint8Array[]): void {
    for (const topicName of outdated) this.#group.unit('os').deleteRetained(topicName);
    this.#group.sweep();
  }
  done(handle: SessionHandle, number: number, was: 'queued' | 'released'): void {
    const session = this.#owner.sessionByHandle(handle);
    if (session === undefined || session.storeId === 0) return;
    const { storeId } = session;
    if (number > session.lastDone) session.lastDone = number;
    this.spilled.advance(handle);
    const batch = this.#group.unit('os'); // a lost removal is a message that comes again, with DUP
    if (was === 'released') batch.deleteReleased(storeId, number);
    else batch.deleteQueueEntry(storeId, number);
  }
  release(session: SessionHandle, packetIdentifier: number, number: number): void {
    const storeId = this.#storeIdOf(session);
    if (storeId === 0) return;
    this.#group.unit().releaseQueueEntry(storeId, number, packetIdentifier);
    this.#group.wait(token(TOKEN_RELEASE, session, packetIdentifier));
  }
  pubrel(connection: ConnectionHandle, session: SessionHandle, packetIdentifier: number): void {
    const storeId = this.#storeIdOf(session);
    if (storeId !== 0) this.#group.unit().deleteInbound(storeId, packetIdentifier);
    this.#group.wait(token(TOKEN_PUBREL, connection, packetIdentifier));
  }
  moved(
    from: SessionHandle, number: number, message: DurableMessage, entry: DurableEntry | undefined,
  ): void {
    const fromId = this.#ending.get(from) ?? this.#storeIdOf(from);
    const toId = entry === undefined ? 0 : this.#storeIdOf(entry.session);
    const batch = this.#group.unit();
    if (entry !== undefined && toId !== 0) {
      const messageNumber = messageNumberOf(number);
      const { qos, retain, packetIdentifier, subscriptionIdentifiers, group } = entry;
      batch.moveQueueEntry(this.#stored(message, messageNumber, 0), {
        sessionId: toId, number: messageNumber + entry.copy, qos, retain, packetIdentifier,
        subscriptionIdentifiers, group,
      });
      this.spilled.moved(entry.session, messageNumber + entry.copy);
    }
    if (fromId !== 0) batch.deleteQueueEntry(fromId, number);
  }
  ended(handle: SessionHandle): void {
    const storeId = this.#ending.get(handle);
    if (storeId === undefined) return;
    this.#ending.delete(handle);
    this.#group.unit().deleteSession(storeId);
  }

  // --- to the core -----------------------------------------------------------------------------

  #committed(tokens: readonly number[]): void {
    const core = this.#core;
    if (core === undefined) return;
    let told = 0;
    for (const named of tokens) {
      // The rows that the core makes of them have to be read before there are too many.
      if (++told % TOKENS_PER_TURN === 0) core.settle();
      const kind = named % TOKEN_KINDS;
      const rest = (named - kind) / TOKEN_KINDS;
      const packetIdentifier = rest % IDENTIFIERS;
      const handle = (rest - packetIdentifier) / IDENTIFIERS;
      if (kind === TOKEN_GATE) core.commit(handle);
      else if (kind === TOKEN_RELEASE) core.commitRelease(handle, packetIdentifier);
      else core.commitPubrel(handle, packetIdentifier);
    }
    core.settle();
  }

  // --- from the control plane ------------------------------------------------------------------

  connected(session: Session): void {
    if (session.storeId === 0) {
      if (session.expirySeconds === 0) return;
      session.storeId = this.#engine.nextNumber();
      this.#core?.keep(session.handle);
    }
    session.epoch += 1;
    this.#putSession(session, 0);
    if (session.will === undefined) this.#group.unit().deleteWill(session.storeId);
    else this.#putWill(session, 0);
  }
  opened(session: Session): void {
    this.spilled.advance(session.handle);
  }
  detached(session: Session): void {
    if (session.storeId === 0) return;
    this.#putSession(session, this.#owner.clock.wall());
    if (session.will === undefined) {
      if (session.willsLeaving === 0) this.willGone(session);
      return;
    }
    const { clock } = this.#owner;
    const inMs = session.willDue - clock.now();
    this.#putWill(session, Number.isFinite(inMs) ? clock.wall() + inMs : 0);
  }
  /**
   * What others are to have of it is moved first. Should the process die in between, the session is
   * found as one that is over, and ends anew.
   */
  sessionEnded(session: Session): void {
    const { storeId, handle } = session;
    if (storeId === 0) return;
    this.spilled.forget(session);
    if (this.#core?.hasShared(handle) === true) {
      session.expirySeconds = 0;
      this.#putSession(session, this.#owner.clock.wall());
      this.#ending.set(handle, storeId);
    } else {
      this.#group.unit().deleteSession(storeId);
    }
    session.storeId = 0;
  }
  willGone(session: Session): void {
    if (session.storeId !== 0) this.#group.unit('os').deleteWill(session.storeId);
  }
  subscribed(session: Session, topicFilter: string, options: SubscribeOptions): void {
    if (session.storeId === 0) return;
    this.#group.unit().putSubscription({
      sessionId: session.storeId, topicFilter, options: optionsByte(options),
      subscriptionIdentifier: options.subscriptionIdentifier ?? 0,
    });
  }
  unsubscribed(session: Session, topicFilter: string): void {
    if (session.storeId !== 0) this.#group.unit().deleteSubscription(session.storeId, topicFilter);
  }
  after(session: Session, callback: () => void): void {
    if (session.storeId === 0) callback();
    else this.#group.after(callback);
  }
  afterAll(callback: () => void): void {
    this.#group.after(callback);
  }

  #putSession(session: Session, detachedAt: number): void {
    this.#group.unit().putSession({
      sessionId: session.storeId,
      clientIdentifier: session.key,
      ...storedIdentity(session.identity),
      epoch: session.epoch,
      protocolVersion: session.protocolVersion,
      sessionExpiryInterval: session.expirySeconds,
      detachedAt,
      // Whatever has a number by now may have been sent.
      sentThrough: detachedAt === 0 ? 0 : this.#engine.nextNumber(),
      lastPacketIdentifier: this.#core?.lastIdentifier(session.handle) ?? 0,
    });
  }
  #putWill(session: Session, dueAt: number): void {
    const will = session.will!;
    const { topicName, payload, qos, retain, properties } = will;
    const interval = properties.messageExpiryInterval;
    const others = { ...properties, messageExpiryInterval: undefined };
    this.#group.unit().putWill({
      sessionId: session.storeId, dueAt, willDelayIntervalSeconds: will.willDelayIntervalSeconds,
      message: {
        number: 0, topicName: Buffer.from(topicName), properties: encodeForwarded(others), payload,
        qos, retain, publisher: session.storeId,
        // A will's expiry counts from its publication: the interval itself is kept.
        expiresAt: interval === undefined ? 0 : interval + 1,
      },
    });
  }
}

/** $SYS tells of this process; other topics that begin with $ are those of applications. */
function isOfThisProcess(topicName: Buffer): boolean {
  return topicName[0] === SYS[0] && SYS.equals(topicName.subarray(0, SYS.length));
}
function storedIdentity(
  { username, roles }: Identity,
): Pick<SessionRecord, 'username' | 'attributes'> {
  const isLong = username !== undefined && Buffer.byteLength(username) > USERNAME_BYTES_MAX;
  const others = { roles, ...(isLong ? { username } : {}) };
  return {
    ...(username === undefined || isLong ? {} : { username }),
    attributes: roles === undefined && !isLong ? NOTHING : Buffer.from(JSON.stringify(others)),
  };
}
/** Kind, handle or gate, and Packet Identifier in 50 bits: exact in a number. */
function token(kind: number, handle: number, packetIdentifier = 0): number {
  return kind + TOKEN_KINDS * (handle * IDENTIFIERS + packetIdentifier);
}
function optionsByte(options: SubscribeOptions): number {
  return options.qos | (options.noLocal ? 4 : 0) | (options.retainAsPublished ? 8 : 0)
    | ((options.retainHandling ?? 0) << RETAIN_HANDLING_SHIFT);
}
