/**
 * What a client keeps beyond its process: messages of QoS 1 and 2 on their way to the server, its
 * exchanges in both directions, and whether it has a session there. It stands between the core's
 * durable gate and the engine, which is loaded when the store is opened.
 *
 *     publish -> core: the gate -> append -> group commit -> committed -> core: the queue -> server
 *     server -> PUBLISH QoS 2 -> handlers are done -> append -> committed -> PUBREC
 *
 * Nothing here waits for anything, and nothing costs a promise per message.
 */
import type { Core } from '../core/core.js';
import type { ConnectionHandle, Qos, SessionHandle } from '../core/contract.js';
import { STORED_LATER } from '../core/durable.js';
import type { Append, DurableEvents, DurableMessage, DurableSide } from '../core/durable.js';
import type {
  Engine, EngineError, EngineState, GroupCommit, StoredMessage,
} from '../engine/index.js';
import { NidoClientError, messageOf } from './errors.js';
import type { ResolvedOptions } from './resolve-options.js';
import { ClientStoreReader, attributesOf, momentOf, wallOf } from './client-store-reader.js';
import type { ServerSession } from './client-store-reader.js';
import type { SessionAtServer } from './server-features.js';

/** What a token of the group commit stands for, in its lowest bits. */
const TOKEN_GATE = 0;
const TOKEN_RELEASE = 1;
const TOKEN_PUBREL = 2;
const TOKEN_KINDS = 4;
const IDENTIFIERS = 65_536;
/** Answers of `append` that are the number of no message. */
const REFUSED = 0;
const NO_MESSAGE = 1;
const NOTHING = new Uint8Array(0);

export interface ClientStoreOwner {
  /** Whether `stored` is to tell that this message is stored. */
  wantsStored(token: number): boolean;
  stored(token: number): void;
  /** Nobody waits for this message, and it cannot be stored. */
  refused(topicName: string, qos: Qos): void;
  /** The disk refuses. `failed`: it will not take anything any more. */
  trouble(error: NidoClientError, state: EngineState): void;
}

export class ClientStore implements DurableEvents {
  readonly #durable: DurableSide;
  #opening: Promise<void> | undefined;
  #engine: Engine | undefined;
  #group: GroupCommit | undefined;
  /** Published before the store was open. */
  #early: Pick<Append, 'gate' | 'token'>[] = [];
  /** Gates whose message somebody wants to know stored. */
  readonly #wanted = new Map<number, number>();
  /** Incoming QoS 2 identifiers that stand in the store. */
  readonly #inbound = new Set<number>();
  #sessionId = 0;
  #serverSession: ServerSession = 'none';
  /** The record was made by this process. */
  #isNew = false;
  clientIdentifier: string;

  constructor(
    core: Core,
    private readonly session: SessionHandle,
    private readonly options: ResolvedOptions,
    private readonly owner: ClientStoreOwner,
  ) {
    this.#durable = core.closeGate(this);
    this.#durable.keep(session);
    this.clientIdentifier = options.clientIdentifier;
  }

  /** Resolves when all that was kept is in the core, and the store knows about this client. */
  async open(): Promise<void> {
    try {
      this.#opening = this.#open();
      await this.#opening;
      await this.#group?.settled();
    } catch (error) {
      throw error instanceof NidoClientError ? error : storeError(error);
    }
  }
  async #open(): Promise<void> {
    const { GroupCommit: Group, createFileEngine } = await import('../engine/index.js');
    const { limits } = this.options;
    const engine = createFileEngine(this.options.engine!.file);
    await engine.open();
    const reader = new ClientStoreReader(this.#durable, this.session, this.options);
    try {
      const everything = {
        queueBytesMax: Infinity, queueMessagesPerSessionMax: Infinity,
      };
      await engine.load(reader, everything);
      reader.finish();
    } catch (error) {
      await engine.close();
      throw error;
    }
    this.#engine = engine;
    this.#group = new Group(engine, {
      committed: (tokens) => this.#committed(tokens),
      state: (state, error) => this.#state(state, error),
      fault: (error) => this.owner.trouble(storeError(error), 'ok'),
    }, { pendingBytesMax: limits.queueBytesMax });
    this.#begin(reader);
  }
  #begin(reader: ClientStoreReader): void {
    this.#isNew = reader.sessionId === 0;
    this.#sessionId = this.#isNew ? this.#engine!.nextNumber() : reader.sessionId;
    this.#serverSession = this.#isNew ? 'attempted' : reader.serverSession;
    this.clientIdentifier = reader.clientIdentifier ?? this.clientIdentifier;
    for (const packetIdentifier of reader.inboundIdentifiers) this.#inbound.add(packetIdentifier);
    if (this.#isNew) this.#putSession();
    const early = this.#early;
    this.#early = [];
    for (const append of early) this.#durable.appendAgain(append);
    this.#durable.settle();
  }

  /** Commits what is there. A store that cannot be closed in time is left to its process. */
  async close(deadlineMs: number): Promise<void> {
    if (this.#opening === undefined) return;
    await this.#opening.catch(() => undefined);
    const engine = this.#engine;
    this.#engine = undefined;
    if (engine === undefined) return;
    try {
      await this.#group?.close({ deadlineMs });
    } finally {
      await engine.close();
    }
  }

  // --- with the server --------------------------------------------------------------------------

  /**
   * CONNACK has come. Answers what is wrong with it, or a promise when something has to be stored
   * before the connection is used.
   */
  prepare(
    session: SessionAtServer, clientIdentifier: string,
  ): NidoClientError | Promise<void> {
    if (session === 'present' && this.#isStrange) { // 5.0 [MQTT-3.2.2-4]
      this.#serverSession = 'refused';
      this.#putSession();
      return new NidoClientError('NIDO_CLIENT_SESSION_UNKNOWN',
        `the server has a session of ${JSON.stringify(clientIdentifier)} that the store `
        + `${this.options.engine!.file.path} knows nothing of. Restore the store, or begin a new `
        + 'session: start once with `clean: true`, or take another clientId');
    }
    const isKnown = this.#serverSession === 'established'
      && this.clientIdentifier === clientIdentifier;
    this.clientIdentifier = clientIdentifier;
    this.#serverSession = 'established';
    if (session !== 'absent' && isKnown) return Promise.resolve();
    if (session === 'absent') this.#forgetInbound();
    this.#putSession();
    return this.#group!.settled();
  }
  get #isStrange(): boolean {
    return this.#serverSession === 'refused'
      || (this.#serverSession === 'attempted' && this.#isNew);
  }
  /** What a session of the server that is gone had sent is nothing to the next one. */
  #forgetInbound(): void {
    const batch = this.#group!.unit();
    for (const identifier of this.#inbound) batch.deleteInbound(this.#sessionId, identifier);
    this.#inbound.clear();
  }
  #putSession(): void {
    const { protocolVersion, sessionExpiryInterval } = this.options;
    this.#group!.unit().putSession({
      sessionId: this.#sessionId, clientIdentifier: this.clientIdentifier, epoch: 0,
      protocolVersion, sessionExpiryInterval, detachedAt: 0, sentThrough: 0,
      lastPacketIdentifier: this.#durable.lastIdentifier(this.session),
      attributes: attributesOf(this.#serverSession),
    });
  }

  // --- from the core ----------------------------------------------------------------------------

  append(append: Append): number {
    const { gate, token, message, inboundIdentifier } = append;
    const group = this.#group;
    if (group === undefined) {
      this.#early.push({ gate, token });
      return STORED_LATER;
    }
    if (message === undefined) {
      // However far behind the disk is: the server's Receive Maximum bounds these.
      group.unit().putInbound(this.#sessionId, inboundIdentifier);
      this.#inbound.add(inboundIdentifier);
      group.wait(tokenOf(TOKEN_GATE, gate));
      return NO_MESSAGE;
    }
    if (group.isFull || this.#engine === undefined) {
      if (token === 0) this.owner.refused(message.topicName.toString(), message.qos as Qos);
      return REFUSED;
    }
    const number = this.#engine.nextNumber();
    const batch = group.unit();
    batch.putMessage(stored(message, number), 1);
    const [{ packetIdentifier, qos, retain }] = append.entries;
    batch.putQueueEntry({
      sessionId: this.#sessionId, number, qos, retain, packetIdentifier,
      subscriptionIdentifiers: NOTHING, group: NOTHING,
    });
    if (token !== 0 && this.owner.wantsStored(token)) this.#wanted.set(gate, token);
    group.wait(tokenOf(TOKEN_GATE, gate));
    return number;
  }
  done(_session: SessionHandle, number: number, was: 'queued' | 'released'): void {
    // A lost removal is a message that is sent again, with DUP and its identifier.
    const batch = this.#group!.unit('os');
    if (was === 'released') batch.deleteReleased(this.#sessionId, number);
    else batch.deleteQueueEntry(this.#sessionId, number);
  }
  release(_session: SessionHandle, packetIdentifier: number, number: number): void {
    this.#group!.unit().releaseQueueEntry(this.#sessionId, number, packetIdentifier);
    this.#group!.wait(tokenOf(TOKEN_RELEASE, 0, packetIdentifier));
  }
  pubrel(connection: ConnectionHandle, _session: SessionHandle, packetIdentifier: number): void {
    this.#group!.unit().deleteInbound(this.#sessionId, packetIdentifier);
    this.#inbound.delete(packetIdentifier);
    this.#group!.wait(tokenOf(TOKEN_PUBREL, connection, packetIdentifier));
  }
  /** A client retains nothing and has no shared groups of others. */
  retained(): void {}
  moved(): void {}
  ended(): void {}

  // --- to the core ------------------------------------------------------------------------------

  #committed(tokens: readonly number[]): void {
    const durable = this.#durable;
    for (const named of tokens) {
      const kind = named % TOKEN_KINDS;
      const rest = (named - kind) / TOKEN_KINDS;
      const packetIdentifier = rest % IDENTIFIERS;
      const handle = (rest - packetIdentifier) / IDENTIFIERS;
      if (kind === TOKEN_GATE) this.#openGate(handle);
      else if (kind === TOKEN_RELEASE) durable.commitRelease(this.session, packetIdentifier);
      else durable.commitPubrel(handle, packetIdentifier);
    }
    durable.settle();
  }
  #openGate(gate: number): void {
    const token = this.#wanted.get(gate);
    this.#durable.commit(gate);
    if (token === undefined) return;
    this.#wanted.delete(gate);
    this.owner.stored(token);
  }
  #state(state: EngineState, error: EngineError | undefined): void {
    if (error !== undefined) this.owner.trouble(storeError(error), state);
  }
}

function stored(message: DurableMessage, number: number): StoredMessage {
  const { topicName, properties, payload, qos, retain, expiresAt } = message;
  return {
    number, topicName, properties, payload, qos, retain, publisher: 0,
    expiresAt: wallOf(expiresAt, momentOf()),
  };
}

/** Kind, handle or gate, and Packet Identifier in 50 bits: exact in a number. */
function tokenOf(kind: number, handle: number, packetIdentifier = 0): number {
  return kind + TOKEN_KINDS * (handle * IDENTIFIERS + packetIdentifier);
}

/** Whatever the engine threw, as an error of the client. */
export function storeError(cause: unknown): NidoClientError {
  return new NidoClientError('NIDO_CLIENT_STORE', `engine.file: ${messageOf(cause)}`, { cause });
}
