/**
 * The durability seam: what the broker asks of whatever keeps its state, and the words in which it
 * asks.
 *
 * Writing is batched. Operations are written into an `EngineBatch`, a batch is committed as a whole
 * or not at all, and one promise tells about all of it: nothing here costs a promise per message.
 * `GroupCommit` (group-commit.ts) turns a stream of operations into batches; the broker talks to
 * that and never calls `commit` itself.
 *
 * Names of things: a *session* is known by `sessionId`, a number that is never given twice. A
 * *message number* orders all messages that were ever stored; it is a multiple of NUMBER_STEP, and
 * the numbers from it up to the next multiple are those of its queue entries: a queue entry is one
 * message on its way to one session, which can get the same message several times (by a
 * subscription of its own and as a member of shared groups). All numbers come from `nextNumber` and
 * never repeat, crashes included.
 */
import type { EngineBatch } from './batch.js';
import type { Remains } from './sweeper.js';

export const NUMBER_STEP = 16;
/** The message that a queue entry carries. */
export function messageNumberOf(entryNumber: number): number {
  return entryNumber - (entryNumber % NUMBER_STEP);
}

/**
 * `disk` survives power loss, `os` survives kill -9, `memory` survives nothing: such operations are
 * not written at all.
 */
export type Durability = 'disk' | 'os' | 'memory';
/** What a batch can be committed to. */
export type WriteDurability = Exclude<Durability, 'memory'>;

/** Times are wall clock milliseconds; 0 means never. Byte fields are read during the call only. */
export interface StoredMessage {
  readonly number: number;
  readonly topicName: Uint8Array;
  /** Encoded MQTT 5 properties that are forwarded unaltered, without their length. */
  readonly properties: Uint8Array;
  readonly payload: Uint8Array;
  readonly qos: number;
  readonly retain: boolean;
  readonly expiresAt: number;
  /** `sessionId` of the publisher; 0 = the broker itself or a session that is not stored. */
  readonly publisher: number;
}
/** As it was found in the store: its three parts stand behind each other. */
export interface FoundMessage extends StoredMessage {
  /** Topic Name, properties and payload. */
  readonly body: Uint8Array;
  readonly bodyLength: number;
  readonly topicLength: number;
  readonly propertiesLength: number;
}
export interface QueueEntry {
  readonly sessionId: number;
  /** `messageNumberOf(number)` is the message's. */
  readonly number: number;
  /** Of this delivery: the lower one of message and subscription. */
  readonly qos: number;
  /** RETAIN as it will be sent. */
  readonly retain: boolean;
  /**
   * Fixed when the entry is stored, so that a crash cannot give a second one to the same message.
   */
  readonly packetIdentifier: number;
  /** Encoded Subscription Identifier properties; empty for none. */
  readonly subscriptionIdentifiers: Uint8Array;
  /**
   * The Topic Filter, with `$share/<name>/`, of the shared subscription that it came by: another
   * member gets it when this one ends. Empty for none.
   */
  readonly group: Uint8Array;
}
/** Of `SessionRecord.username`; a longer one has to stand in the attributes. */
export const USERNAME_BYTES_MAX = 0xfffe;
export interface SessionRecord {
  readonly sessionId: number;
  /** Names the session: two records never have the same. */
  readonly clientIdentifier: string;
  readonly username?: string | undefined;
  /** Grows with each connection of this client. */
  readonly epoch: number;
  readonly protocolVersion: number;
  readonly sessionExpiryInterval: number;
  /** When the connection ended; 0 while there is one (after a crash: there was one). */
  readonly detachedAt: number;
  /** Queue entries up to this number may have been sent before: sent again, they carry DUP. */
  readonly sentThrough: number;
  /** The Packet Identifier that a queue entry was given last. */
  readonly lastPacketIdentifier: number;
  /** Whatever else the broker wants to find again; not looked into. */
  readonly attributes: Uint8Array;
}
/**
 * As it is told at the start, when there may be very many: what it is is read out of the record for
 * whoever asks, and is valid until it was told. Who wants more of it later packs it.
 */
export interface FoundSession extends SessionRecord {
  /** The Client Identifier as UTF-8. */
  readonly key: Uint8Array;
  /** What `pack` takes. */
  readonly packedBytes: number;
  /** Writes it to where `unpackSession` finds it again. */
  pack(into: Buffer, at: number): void;
}
export interface SubscriptionRecord {
  readonly sessionId: number;
  /** As sent, with `$share/<name>/`. */
  readonly topicFilter: string;
  /** As in the SUBSCRIBE packet of MQTT 5: QoS, No Local, Retain As Published, Retain Handling. */
  readonly options: number;
  /** 0 = none. */
  readonly subscriptionIdentifier: number;
}
/** As it is told at the start: the filter as UTF-8, for nobody needs it as a string. */
export interface FoundSubscription extends Omit<SubscriptionRecord, 'topicFilter'> {
  readonly topicFilter: Uint8Array;
}
export interface WillRecord {
  readonly sessionId: number;
  readonly message: StoredMessage;
  readonly willDelayIntervalSeconds: number;
  /**
   * When it is to be published; 0 while the connection lives (after a crash: the delay starts at
   * the restart).
   */
  readonly dueAt: number;
}

/**
 * Called once for each thing that is found, in this order of kinds; those of one kind in the order
 * of their sessions. Byte fields may be kept.
 */
export interface LoadVisitor {
  session(found: FoundSession): void;
  subscription(record: FoundSubscription): void;
  will(record: WillRecord): void;
  /** An incoming QoS 2 Packet Identifier that waits for PUBREL. */
  inbound(sessionId: number, packetIdentifier: number): void;
  /** An outgoing QoS 2 exchange that waits for PUBCOMP: PUBREL is to be sent again. */
  released(sessionId: number, number: number, packetIdentifier: number): void;
  retained(message: FoundMessage): void;
  /** Told once, before the first of its queue entries. */
  message(message: FoundMessage): void;
  /** Oldest first for each session. */
  queueEntry(entry: QueueEntry): void;
  /** This part of a queue stays in the store: read it with `readQueue`. */
  spilled(sessionId: number, part: SpilledPart): void;
}
export interface SpilledPart {
  readonly head: number;
  readonly tail: number;
  readonly messages: number;
}
export interface LoadLimits {
  /** Bytes of queued messages that are told, all sessions together; 64 MiB when left out. */
  readonly queueBytesMax?: number;
  /** Queue entries of one session that are told; 10,000 when left out. */
  readonly queueMessagesPerSessionMax?: number;
}
export interface LoadReport {
  readonly sessions: number;
  readonly subscriptions: number;
  readonly retainedMessages: number;
  readonly queuedMessages: number;
  readonly spilledMessages: number;
  readonly milliseconds: number;
  /** Empty unless `onLoss` is `report`. */
  readonly losses: readonly Loss[];
}

/** Something that was acknowledged and is not there, or cannot be trusted. */
export interface Loss {
  readonly kind: 'batch' | 'record' | 'message-body' | 'unreadable';
  /** False: it was committed with durability `os`, and only power loss can have taken it. */
  readonly promised: boolean;
  /** What and how much, in words. */
  readonly detail: string;
}
export interface CheckReport {
  readonly formatVersion: number;
  readonly nodeId: string;
  readonly lastBatch: number;
  readonly records: Readonly<Record<string, number>>;
  readonly losses: readonly Loss[];
}
export interface SnapshotReport {
  readonly directory: string;
  readonly records: number;
  readonly bytes: number;
  readonly milliseconds: number;
}

export interface QueueSlice {
  readonly messages: readonly FoundMessage[];
  /** `entries[i]` carries `messages[i]`. */
  readonly entries: readonly QueueEntry[];
  /** Nothing of this queue stands in the store behind the last entry. */
  readonly end: boolean;
}
export interface QueueReadLimits {
  readonly messagesMax: number;
  readonly bytesMax: number;
}

/**
 * `stalled`: nothing is acknowledged until the disk takes writes again. `failed`: it never will in
 * this process.
 */
export type EngineState = 'ok' | 'stalled' | 'failed';

export interface Engine {
  readonly name: 'memory' | 'file';
  /**
   * What it promises unless an operation asks for less. `memory`: the broker need not write at all.
   */
  readonly durability: Durability;
  /**
   * What an earlier version wrote is brought into the form of this one, which may take long:
   * `converted` hears now and then how many records have been.
   */
  open(converted?: (records: number) => void): Promise<void>;
  /** Tells everything that is needed at start. Once, after `open` and before the first `commit`. */
  load(visitor: LoadVisitor, limits?: LoadLimits): Promise<LoadReport>;
  /** The next number for a session or a message: a multiple of NUMBER_STEP. */
  nextNumber(): number;
  createBatch(): EngineBatch;
  /**
   * Atomic; one at a time. Rejects when the batch may not be durable: then nothing else is written
   * before `recover`, and the same batch is given again.
   */
  commit(batch: EngineBatch): Promise<void>;
  /** Whether ended sessions have left something behind that is not deleted yet. */
  readonly hasRemains: boolean;
  /**
   * Reads a slice of it, to be written into a batch of the one stream in which all batches are
   * committed; undefined when nothing is left. The next slice after that batch is committed.
   */
  readRemains(): Promise<Remains | undefined>;
  /** After a failed commit: opens the store anew. Rejects while the disk still refuses. */
  recover(): Promise<void>;
  /**
   * Entries of one queue with numbers greater than `afterNumber`, oldest first, read from the head
   * on.
   */
  readQueue(sessionId: number, afterNumber: number, limits: QueueReadLimits): Promise<QueueSlice>;
  /** Reads everything that is stored and reports what cannot be trusted. */
  check(): Promise<CheckReport>;
  /** Writes a consistent copy of this moment into a directory that does not exist or is empty. */
  snapshot(directory: string): Promise<SnapshotReport>;
  close(): Promise<void>;
}
