/**
 * From the engine into an empty core and registry, before the first client comes. Deadlines have
 * gone on while the broker was down; whoever was connected when the process died counts as gone
 * since now.
 */
import type {
  MessageProperties, Qos, SessionHandle, WillMessage,
} from '../core/contract.js';
import type { DurableSide } from '../core/durable.js';
import { CoreError } from '../core/errors.js';
import { readMessageProperties } from '../core/packet-reader.js';
import { bufferOf } from '../core/views.js';
import type {
  FoundMessage, FoundSession, FoundSubscription, LoadVisitor, QueueEntry, SpilledPart, WillRecord,
} from '../engine/index.js';
import { messageNumberOf } from '../engine/index.js';
import type { Clock } from './clock.js';
import type { DurabilityRules } from './durability-rules.js';
import type { RestoreProgress } from './restore-progress.js';
import type { RestoredWill, SessionRegistry } from './session-registry.js';
import type { SpilledQueues } from './spilled-queues.js';

const MS_PER_SECOND = 1_000;
const IDENTIFIERS = 65_535;
/** Of a message that expired while the broker was down: any time that has passed. */
const LONG_AGO = 0.001;

export interface RestoreParts {
  readonly durable: DurableSide;
  readonly rules: DurabilityRules;
  readonly spilled: SpilledQueues;
  readonly sessions: SessionRegistry;
  readonly clock: Clock;
  readonly progress: RestoreProgress;
  /** No session has more messages under way than this. */
  readonly inflightMax: number;
}

export class Restorer implements LoadVisitor {
  /** What memory had no room for. It stays in the store. */
  unrestored = 0;
  /**
   * Topics of retained messages that have expired, or are from a time when they were promised more:
   * newer ones were not stored.
   */
  readonly outdated: Uint8Array[] = [];
  readonly #parts: RestoreParts;
  /** In the order of their numbers, in which the engine tells everything else of them too. */
  readonly #storeIds: number[] = [];
  readonly #handles: SessionHandle[] = [];
  /** Of whom was spoken last. */
  #at = 0;
  /** Sessions whose connection has gone with the last process. */
  readonly #left: SessionHandle[] = [];
  /** Sessions that have to be woken; nobody is before everything is told. */
  readonly #over: SessionHandle[] = [];
  readonly #wills = new Map<SessionHandle, RestoredWill>();
  readonly #spilled = new Map<SessionHandle, SpilledPart>();
  /** Up to this number, queue entries may have been sent before. */
  readonly #sentThrough: number[] = [];
  #queue: RestoredQueue = { handle: 0, entries: 0, lastIdentifier: 0 };
  readonly #blocks = new Map<number, number>();
  readonly #now: number;
  readonly #wallNow: number;

  constructor(parts: RestoreParts) {
    this.#parts = parts;
    this.#now = parts.clock.now();
    this.#wallNow = parts.clock.wall();
  }

  session(found: FoundSession): void {
    const { sessions, durable } = this.#parts;
    const { sessionId, detachedAt, sentThrough } = found;
    const handle = sessions.found(found);
    this.#parts.progress.count('sessions');
    durable.keep(handle);
    this.#setIdentifier(handle, found.lastPacketIdentifier);
    this.#storeIds.push(sessionId);
    this.#handles.push(handle);
    this.#sentThrough.push(detachedAt === 0 ? Infinity : sentThrough);
    if (detachedAt === 0) this.#left.push(handle);
    if (sessions.isOver(found, this.#now)) this.#over.push(handle);
  }
  /** Ids behind the last stored one may have been used for what was not stored. */
  #setIdentifier(handle: SessionHandle, lastStored: number): void {
    const { durable, inflightMax } = this.#parts;
    durable.setLastIdentifier(handle, ((lastStored + inflightMax - 1) % IDENTIFIERS) + 1);
  }
  /** The engine tells of no session that it has not told. */
  #of(sessionId: number): SessionHandle {
    const storeIds = this.#storeIds;
    if (storeIds[this.#at] > sessionId) this.#at = 0; // the next kind has begun
    while (storeIds[this.#at] < sessionId) this.#at++;
    return this.#handles[this.#at];
  }
  #monotonic(wall: number): number {
    return this.#now + (wall - this.#wallNow);
  }

  subscription(record: FoundSubscription): void {
    const { sessionId, topicFilter, options, subscriptionIdentifier } = record;
    const handle = this.#of(sessionId);
    const { durable, progress } = this.#parts;
    progress.count('subscriptions');
    if (durable.restoreSubscription(handle, topicFilter, options, subscriptionIdentifier)) return;
    throw new CoreError('NIDO_CORE_MEMORY',
      'limits.memoryBytes is too small for the subscriptions that are stored');
  }

  will(record: WillRecord): void {
    const latest = this.#now + record.willDelayIntervalSeconds * MS_PER_SECOND;
    const due = record.dueAt === 0 ? latest : Math.min(latest, this.#monotonic(record.dueAt));
    this.#wills.set(this.#of(record.sessionId), { will: willOf(record), due });
  }

  inbound(sessionId: number, packetIdentifier: number): void {
    const handle = this.#of(sessionId);
    this.#count(this.#parts.durable.restoreInbound(handle, packetIdentifier));
  }
  released(sessionId: number, number: number, packetIdentifier: number): void {
    const handle = this.#of(sessionId);
    this.#count(this.#parts.durable.restoreReleased(handle, packetIdentifier, number));
  }
  retained(message: FoundMessage): void {
    this.#parts.progress.count('retainedMessages');
    const { expiresAt } = message;
    const isOver = expiresAt !== 0 && expiresAt <= this.#wallNow;
    if (isOver || this.#parts.rules.of(bufferOf(message.topicName)) === 'memory') {
      this.outdated.push(message.topicName);
      return;
    }
    const block = this.#block(message);
    this.#count(block !== 0 && this.#parts.durable.restoreRetained(block));
  }

  message(message: FoundMessage): void {
    this.#blocks.set(message.number, this.#block(message));
  }
  /** The engine tells one queue after the other. */
  queueEntry(entry: QueueEntry): void {
    const handle = this.#of(entry.sessionId);
    this.#parts.progress.count('queuedMessages');
    if (handle !== this.#queue.handle) this.#beginQueue(handle);
    const queue = this.#queue;
    const block = this.#blocks.get(messageNumberOf(entry.number)) ?? 0;
    queue.lastIdentifier = entry.packetIdentifier;
    queue.entries++;
    const wasSent = queue.entries <= this.#parts.inflightMax
      && entry.number <= this.#sentThrough[this.#at];
    this.#count(block !== 0 && this.#parts.durable.restoreEntry(
      handle, block, entry, entry.number - messageNumberOf(entry.number),
      wasSent ? 'maybe-sent' : 'pending',
    ));
  }
  #beginQueue(handle: SessionHandle): void {
    const { handle: before, lastIdentifier } = this.#queue;
    if (before !== 0) this.#setIdentifier(before, lastIdentifier);
    this.#queue = { handle, entries: 0, lastIdentifier: 0 };
  }
  spilled(sessionId: number, part: SpilledPart): void {
    this.#spilled.set(this.#of(sessionId), part);
  }

  /** Everything was told: deadlines run from here. */
  finish(): void {
    const { durable, sessions, spilled } = this.#parts;
    for (const block of this.#blocks.values()) if (block !== 0) durable.letGo(block);
    this.#blocks.clear();
    this.#beginQueue(0);
    for (const [handle, { head, tail: last, messages }] of this.#spilled) {
      const session = sessions.byHandle(handle);
      if (session !== undefined) spilled.restore(session, { after: head - 1, last, messages });
    }
    for (const [handle, will] of this.#wills) sessions.willFound(handle, will);
    sessions.allFound();
    const left = new Set(this.#left);
    // Only now: wills that fell due are published to sessions that came later.
    for (const handle of new Set([...this.#over, ...this.#wills.keys(), ...this.#spilled.keys()])) {
      sessions.restored(handle, left.delete(handle) ? 'connected' : 'offline');
    }
    sessions.left([...left]);
  }

  #block(message: FoundMessage): number {
    const { expiresAt } = message;
    return this.#parts.durable.restoreMessage(
      message, expiresAt === 0 ? 0 : Math.max(LONG_AGO, this.#monotonic(expiresAt)),
    );
  }
  #count(isRestored: unknown): void {
    if (isRestored !== true) this.unrestored++;
  }
}

interface RestoredQueue {
  readonly handle: SessionHandle;
  entries: number;
  lastIdentifier: number;
}

function willOf(record: WillRecord): WillMessage {
  const { topicName, payload, properties, qos, retain, expiresAt } = record.message;
  const others: MessageProperties = properties.length === 0
    ? {} : readMessageProperties(bufferOf(properties));
  return {
    topicName: bufferOf(topicName).toString(),
    payload,
    qos: qos as Qos,
    retain,
    willDelayIntervalSeconds: record.willDelayIntervalSeconds,
    properties: expiresAt === 0 ? others : { ...others, messageExpiryInterval: expiresAt - 1 },
  };
}
