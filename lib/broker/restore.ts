/**
 * From the engine into an empty core and registry, before the first client comes. Deadlines have
 * gone on while the broker was down; whoever was connected when the process died counts as gone
 * since now.
 */
import type { MessageProperties, Qos, WillMessage } from '../core/contract.js';
import type { DurableSide } from '../core/durable.js';
import { CoreError } from '../core/errors.js';
import { readMessageProperties } from '../core/packet-reader.js';
import { bufferOf } from '../core/views.js';
import type {
  FoundMessage, FoundSubscription, LoadVisitor, QueueEntry, SessionRecord, SpilledPart, WillRecord,
} from '../engine/index.js';
import { messageNumberOf } from '../engine/index.js';
import type { Clock } from './clock.js';
import type { DurabilityRules } from './durability-rules.js';
import type { Identity } from './hooks.js';
import { UNMOUNTED, splitSessionKey } from './mount-point.js';
import type { Session, SessionOwner } from './records.js';
import type { SessionRegistry } from './session-registry.js';
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
  readonly #sessions: Restored[] = [];
  /** Of whom was spoken last. */
  #at = 0;
  readonly #blocks = new Map<number, number>();
  readonly #now: number;
  readonly #wallNow: number;

  constructor(parts: RestoreParts) {
    this.#parts = parts;
    this.#now = parts.clock.now();
    this.#wallNow = parts.clock.wall();
  }

  session(record: SessionRecord): void {
    const { sessions, durable } = this.#parts;
    const owner = splitSessionKey(record.clientIdentifier);
    const session = sessions.create(owner, identityOf(owner, record));
    session.storeId = record.sessionId;
    session.epoch = record.epoch;
    session.protocolVersion = record.protocolVersion as Session['protocolVersion'];
    session.expirySeconds = record.sessionExpiryInterval;
    // A clock that was set back meanwhile prolongs nothing: no connection ended later than now.
    session.offlineAt = record.detachedAt === 0
      ? this.#now : Math.min(this.#now, this.#monotonic(record.detachedAt));
    durable.keep(session.handle);
    const { detachedAt, sentThrough, lastPacketIdentifier: lastIdentifier } = record;
    this.#sessions.push({ session, detachedAt, sentThrough, lastIdentifier, entries: 0 });
  }
  /** The engine tells of no session that it has not told. */
  #of(sessionId: number): Restored {
    const sessions = this.#sessions;
    if (sessions[this.#at].session.storeId > sessionId) this.#at = 0; // the next kind has begun
    while (sessions[this.#at].session.storeId < sessionId) this.#at++;
    return sessions[this.#at];
  }
  #monotonic(wall: number): number {
    return this.#now + (wall - this.#wallNow);
  }

  subscription(record: FoundSubscription): void {
    const { sessionId, topicFilter, options, subscriptionIdentifier } = record;
    const { handle } = this.#of(sessionId).session;
    const { durable } = this.#parts;
    if (durable.restoreSubscription(handle, topicFilter, options, subscriptionIdentifier)) return;
    throw new CoreError('NIDO_CORE_MEMORY',
      'limits.memoryBytes is too small for the subscriptions that are stored');
  }

  will(record: WillRecord): void {
    const { session } = this.#of(record.sessionId);
    session.will = willOf(record);
    const latest = this.#now + record.willDelayIntervalSeconds * MS_PER_SECOND;
    session.willDue = record.dueAt === 0
      ? latest : Math.min(latest, this.#monotonic(record.dueAt));
  }

  inbound(sessionId: number, packetIdentifier: number): void {
    const { handle } = this.#of(sessionId).session;
    this.#count(this.#parts.durable.restoreInbound(handle, packetIdentifier));
  }
  released(sessionId: number, number: number, packetIdentifier: number): void {
    const { handle } = this.#of(sessionId).session;
    this.#count(this.#parts.durable.restoreReleased(handle, packetIdentifier, number));
  }
  retained(message: FoundMessage): void {
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
  queueEntry(entry: QueueEntry): void {
    const restored = this.#of(entry.sessionId);
    const block = this.#blocks.get(messageNumberOf(entry.number)) ?? 0;
    restored.lastIdentifier = entry.packetIdentifier;
    restored.entries++;
    const { detachedAt, sentThrough } = restored;
    const wasSent = restored.entries <= this.#parts.inflightMax
      && (detachedAt === 0 || entry.number <= sentThrough);
    this.#count(block !== 0 && this.#parts.durable.restoreEntry(
      restored.session.handle, block, entry, entry.number - messageNumberOf(entry.number),
      wasSent ? 'maybe-sent' : 'pending',
    ));
  }
  spilled(sessionId: number, part: SpilledPart): void {
    const { session } = this.#of(sessionId);
    const { head, tail: last, messages } = part;
    this.#parts.spilled.restore(session, { after: head - 1, last, messages });
  }

  /** Everything was told: deadlines run from here. */
  finish(): void {
    const { durable, sessions, inflightMax } = this.#parts;
    for (const block of this.#blocks.values()) if (block !== 0) durable.letGo(block);
    this.#blocks.clear();
    for (const { session, lastIdentifier } of this.#sessions) {
      // Ids behind the last stored one may have been used for what was not stored.
      const last = ((lastIdentifier + inflightMax - 1) % IDENTIFIERS) + 1;
      durable.setLastIdentifier(session.handle, last);
    }
    // Only then: wills that fell due are published to sessions that come later here.
    for (const { session, detachedAt } of this.#sessions) {
      sessions.restored(session, detachedAt === 0 ? 'connected' : 'offline');
    }
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

interface Restored {
  readonly session: Session;
  readonly detachedAt: number;
  readonly sentThrough: number;
  lastIdentifier: number;
  entries: number;
}

/** Field by field: there may be very many, and a spread costs more than all else of a session. */
function identityOf({ mountPoint, clientId }: SessionOwner, record: SessionRecord): Identity {
  const { attributes } = record;
  const { roles, username = record.username } = attributes.length === 0
    ? NO_ATTRIBUTES : JSON.parse(bufferOf(attributes).toString()) as Attributes;
  return mountPoint === UNMOUNTED ? { clientId, username, roles }
    : { clientId, mountPoint, username, roles };
}
/** `username`: one that is too long for its field. */
type Attributes = Pick<Identity, 'username' | 'roles'>;
const NO_ATTRIBUTES: Attributes = {};
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
