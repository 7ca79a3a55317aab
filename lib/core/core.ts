/**
 * The host side of the core: feeds it bytes and time, turns its event rows into calls, and hands its slabs to the transports.
 *
 * Re-entrancy. Rows point into memory that the next chunk overwrites, so while rows are being read (`drain`) no chunk is fed:
 * what arrives then waits in `deferred`. A handler that publishes while rows are read appends rows behind those being read;
 * the outermost `drain` reads them too. A trap inside the core is our bug: the instance is never called again (`broken`).
 */
import {
  COUNT_BYTES_RECEIVED, COUNT_BYTES_SENT, COUNT_CONNECTIONS, COUNT_DROPPED, COUNT_PUBLISH_RECEIVED,
  COUNT_PUBLISH_SENT, COUNT_QUEUED, COUNT_SESSIONS, COUNTERS, FLUSH_WORDS, INGEST_STOPPED, POLICY_ALLOW,
  POLICY_ASK, POLICY_DENY, ROLE_CLIENT, ROLE_SERVER, ROW_WORDS, SESSION_HANDLER, SESSION_HOLDS,
  SESSION_SOCKET,
} from '../../assembly/shared/abi.js';
import {
  AUTH, CONNACK, CONNECT, DISCONNECT, PINGREQ, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE,
} from '../../assembly/shared/control-packet.js';
import type { Transport } from '../listener/transport.js';
import type {
  AcceptOptions, AuthPacket, ConnackFields, ConnectionHandle, ConnectPacket, CoreControl, CoreEvents, CoreOptions,
  CoreStats, HandlerSessionOptions, OutgoingMessage, ProtocolVersion, ReasonFields, SessionHandle, SessionInfo,
  SubscribeOptions, SubscriptionRequest, UserProperties,
} from './contract.js';
import { CoreError } from './errors.js';
import { instantiate, type CoreExports } from './instance.js';
import { applyLimits, DROP_REASONS, memoryByClass } from './limits.js';
import {
  authBody, codesBody, connackBody, connectBody, disconnectBody, encodeForwarded, subscribeBody, unsubscribeBody,
} from './packet-writer.js';
import { Port, PORT_CLOSED, PORT_ENDED, PORT_ENDING, PORT_OPEN, type PortOwner } from './port.js';
import { RowReader } from './rows.js';
import { Subscriptions } from './subscriptions.js';

const SLOT_MASK = 0xfffff;
const WINDOW_BYTES = 262_144;
const END_DEADLINE_MS = 5000;
/** Rounds of one flush: a receiver that drains as fast as it is filled must not keep the loop. */
const FLUSH_ROUNDS_MAX = 32;
const QUOTA_EXCEEDED = 0x97;
const POLICIES = { allow: POLICY_ALLOW, deny: POLICY_DENY, ask: POLICY_ASK } as const;

/** Monotonic milliseconds. */
export type Now = () => number;

export interface CoreHost {
  /** Defaults to `performance.now`. */
  readonly now?: Now;
  /** Runs `fn` once the current turn has done its work. Defaults to `setImmediate`. */
  readonly defer?: (fn: () => void) => void;
  /** Called once when the core has trapped: nothing works any more, every connection is closed. */
  readonly broken?: (error: unknown) => void;
}

export class Core implements CoreControl, PortOwner {
  private readonly x: CoreExports;
  private readonly heap: Buffer;
  private readonly counters: Float64Array;
  private readonly flushRows: Uint32Array;
  private readonly rows: RowReader;
  private readonly filters: Subscriptions;
  private readonly ports: (Port | undefined)[] = [];
  private readonly rxWindow: number;
  private readonly now: Now;
  private readonly deferTurn: (fn: () => void) => void;
  private readonly runFlush = () => this.flushTurn();
  private ending: Port[] = [];
  private deferred: (() => void)[] = [];
  private flushScheduled = false;
  private draining = false;
  private failure: unknown;

  constructor(
    private readonly options: CoreOptions,
    private readonly events: CoreEvents,
    private readonly host: CoreHost = {},
  ) {
    this.now = host.now ?? (() => performance.now());
    this.deferTurn = host.defer ?? ((fn) => void setImmediate(fn));
    this.x = instantiate({
      memoryBytes: options.memoryBytes,
      hashSeed: options.hashSeed,
      connectionsMax: options.connectionsMax ?? 131_072,
      sessionsMax: options.sessionsMax ?? 262_144,
    });
    applyLimits(this.x, options);
    const memory = this.x.memory.buffer;
    this.heap = Buffer.from(memory);
    this.counters = new Float64Array(memory, this.x.countersAt(), COUNTERS);
    this.flushRows = new Uint32Array(memory, this.x.flushAt(), 4096 * FLUSH_WORDS);
    this.rxWindow = this.x.rxWindowAt() >>> 0;
    const rowWords = new Uint32Array(memory, this.x.rowsAt(), 16_384 * ROW_WORDS);
    this.rows = new RowReader(this.x, this.heap, rowWords, events, this);
    this.filters = new Subscriptions(this.x, this.heap);
  }

  // --- transports --------------------------------------------------------------------------------------------------

  open(transport: Transport, now = this.now()): ConnectionHandle {
    return this.bind(transport, this.x.openConnection(ROLE_SERVER, 0, now) >>> 0);
  }

  /** Client role: binds a Transport to a connection that starts with CONNECT. */
  openUplink(transport: Transport, packet: ConnectPacket): ConnectionHandle {
    const handle = this.x.openConnection(ROLE_CLIENT, packet.protocolVersion, this.now()) >>> 0;
    this.bind(transport, handle);
    this.send(handle, (CONNECT << 4), connectBody(packet));
    return handle;
  }

  private bind(transport: Transport, handle: ConnectionHandle): ConnectionHandle {
    if (handle === 0) {
      throw new CoreError('NIDO_CORE_CONNECTIONS', 'no memory or no slot for another connection');
    }
    const port = new Port(this, handle, transport);
    this.ports[handle & SLOT_MASK] = port;
    transport.open(port);
    return handle;
  }

  private portOf(handle: ConnectionHandle): Port | undefined {
    const port = this.ports[handle & SLOT_MASK];
    return port !== undefined && port.handle === handle ? port : undefined;
  }

  transportOf(handle: ConnectionHandle): Transport | undefined {
    return this.portOf(handle)?.transport;
  }

  portData(port: Port, chunk: Uint8Array): void {
    if (this.draining) {
      const kept = Uint8Array.prototype.slice.call(chunk);
      this.deferred.push(() => this.feed(port, kept));
      return;
    }
    this.feed(port, chunk);
  }

  private feed(port: Port, chunk: Uint8Array): void {
    if (this.failure !== undefined) return;
    try {
      for (let at = 0; at < chunk.length && port.state === PORT_OPEN; at += WINDOW_BYTES) {
        const piece = chunk.length > WINDOW_BYTES ? chunk.subarray(at, at + WINDOW_BYTES) : chunk;
        this.heap.set(piece, this.rxWindow);
        this.follow(port, this.x.ingest(port.handle, piece.length, this.now()));
      }
    } catch (error) {
      this.trap(error);
    }
    this.afterwards();
  }

  /** Reads rows and goes on until the core has read the chunk, or waits for an answer that is not there. */
  private follow(port: Port, first: number): void {
    let status = first;
    for (;;) {
      this.drain();
      if (status !== INGEST_STOPPED || port.state === PORT_CLOSED) return;
      if (this.x.isWaiting(port.handle)) {
        this.x.park();
        port.parked = true;
        port.pauseReading();
        return;
      }
      status = this.x.resume(this.now());
    }
  }

  /** An answer has come. Within the events of a chunk `follow` goes on by itself. */
  private answered(handle: ConnectionHandle): void {
    this.x.clearWaiting(handle);
    const port = this.portOf(handle);
    if (port === undefined || !port.parked) {
      this.afterwards();
      return;
    }
    if (this.draining) this.deferred.push(() => this.unpark(port));
    else this.unpark(port);
  }

  private unpark(port: Port): void {
    if (!port.parked || port.state === PORT_CLOSED) return;
    port.parked = false;
    try {
      this.follow(port, this.x.ingestCarry(port.handle, this.now()));
    } catch (error) {
      this.trap(error);
    }
    port.resumeReading();
    this.afterwards();
  }

  portClosed(port: Port, error?: Error): void {
    if (this.draining) {
      this.deferred.push(() => this.portClosed(port, error));
      return;
    }
    if (port.state === PORT_CLOSED) return;
    port.state = PORT_CLOSED;
    if (this.failure === undefined) {
      this.x.dropConnection(port.handle, this.now());
      this.drain();
    }
    if (this.ports[port.handle & SLOT_MASK] === port) this.ports[port.handle & SLOT_MASK] = undefined;
    this.events.closed(port.handle, error);
    this.afterwards();
  }

  portWritten(port: Port, chunk: number): void {
    if (this.failure !== undefined) return;
    this.x.written(port.handle, chunk, this.now());
    this.afterwards();
  }

  // --- rows --------------------------------------------------------------------------------------------------------

  private drain(): void {
    if (this.draining || this.x.rows() === 0) return;
    this.draining = true;
    try {
      do {
        for (let row = 0; row < this.x.rows(); row++) this.rows.tell(row);
      } while (this.x.releaseRows() !== 0);
    } finally {
      this.draining = false;
    }
  }

  /** What every call from outside ends with: rows are read, deferred work is done, a flush is planned. */
  private afterwards(): void {
    if (this.draining || this.failure !== undefined) return;
    this.drain();
    while (this.deferred.length !== 0) {
      const work = this.deferred;
      this.deferred = [];
      for (const fn of work) fn();
    }
    if (!this.flushScheduled && (this.x.needsFlush() || this.ending.length !== 0)) this.scheduleFlush();
  }

  /** ROW_PAUSE: too many bytes of this publisher are held, or no longer. */
  setHeld(handle: ConnectionHandle, held: 'held' | 'free'): void {
    const port = this.portOf(handle);
    if (port === undefined) return;
    port.held = held === 'held';
    if (port.held) port.pauseReading();
    else port.resumeReading();
  }

  // --- flush -------------------------------------------------------------------------------------------------------

  private scheduleFlush(): void {
    this.flushScheduled = true;
    this.deferTurn(this.runFlush);
  }

  private flushTurn(): void {
    this.flushScheduled = false;
    if (this.failure !== undefined) return;
    const now = this.now();
    const more = this.x.advance(now) !== 0;
    this.drain();
    let rounds = 0;
    for (let rows = this.x.flush(); rows !== 0; rows = this.x.flush()) {
      for (let row = 0; row < rows; row++) this.writeRow(row * FLUSH_WORDS, now);
      if (++rounds === FLUSH_ROUNDS_MAX) break;
    }
    this.endPorts();
    this.afterwards();
    if (!this.flushScheduled && (more || rounds === FLUSH_ROUNDS_MAX)) this.scheduleFlush();
  }

  private writeRow(word: number, now: number): void {
    const rows = this.flushRows;
    const handle = rows[word];
    const at = rows[word + 1];
    const chunk = rows[word + 3];
    const port = this.ports[handle & SLOT_MASK];
    if (port === undefined || port.handle !== handle || port.state >= PORT_ENDED) return;
    if (port.transport.write(this.heap.subarray(at, at + rows[word + 2]), port.done)) {
      this.x.written(handle, chunk, now);
    } else {
      port.stillReads(chunk);
    }
  }

  private endPorts(): void {
    if (this.ending.length === 0) return;
    const ports = this.ending;
    this.ending = [];
    for (const port of ports) {
      if (port.state !== PORT_ENDING) continue;
      port.state = PORT_ENDED;
      port.transport.end(END_DEADLINE_MS);
    }
  }

  closeAfterFlush(connection: ConnectionHandle): void {
    const port = this.portOf(connection);
    if (port === undefined || port.state !== PORT_OPEN) return;
    port.state = PORT_ENDING;
    this.x.closeForReading(connection);
    this.ending.push(port);
    this.afterwards();
  }

  destroy(connection: ConnectionHandle): void {
    const port = this.portOf(connection);
    if (port === undefined || port.state === PORT_CLOSED) return;
    this.x.closeForReading(connection);
    port.transport.destroy();
  }

  /** The core has trapped: it is never called again. Its connections are closed; the process goes on. */
  private trap(error: unknown): void {
    if (this.failure !== undefined) return;
    this.failure = error;
    for (const port of this.ports) port?.transport.destroy();
    this.host.broken?.(error);
  }

  // --- packets of the control plane --------------------------------------------------------------------------------

  private versionOf(connection: ConnectionHandle): ProtocolVersion {
    return this.x.versionOf(connection) as ProtocolVersion;
  }

  /** Appends a packet to the slab. A connection that cannot even be answered is closed. */
  private send(connection: ConnectionHandle, firstByte: number, body: Buffer): void {
    if (this.failure !== undefined || this.portOf(connection) === undefined) return;
    const at = this.x.beginPacket(connection, firstByte, body.length) >>> 0;
    if (at === 0) this.destroy(connection);
    else this.heap.set(body, at);
    this.afterwards();
  }

  accept(connection: ConnectionHandle, session: SessionHandle, options: AcceptOptions): void {
    const version = this.versionOf(connection);
    if (this.portOf(connection) === undefined) return;
    const aliasIn = version === 5 ? this.options.topicAliasMaximum : 0;
    const taken = this.x.acceptConnection(
      connection, session, options.receiveMaximum, options.maximumPacketSize, options.topicAliasMaximum, aliasIn,
      POLICIES[options.publishPolicy],
    );
    if (!taken) return;
    this.send(connection, CONNACK << 4, connackBody(options.connack, version));
    this.x.pumpSession(session);
    this.answered(connection);
  }

  /** Client role: the server has accepted. What the session has for the server goes out. */
  acceptUplink(
    connection: ConnectionHandle, session: SessionHandle, options: Omit<AcceptOptions, 'connack' | 'keepAliveMs'>,
  ): void {
    const taken = this.x.acceptConnection(
      connection, session, options.receiveMaximum, options.maximumPacketSize, options.topicAliasMaximum,
      this.versionOf(connection) === 5 ? this.options.topicAliasMaximum : 0, POLICY_ALLOW,
    );
    if (!taken) return;
    this.x.pumpSession(session);
    this.answered(connection);
  }

  refuse(connection: ConnectionHandle, reasonCode: number, fields: ReasonFields = {}): void {
    const version = this.versionOf(connection);
    if (this.portOf(connection) === undefined) return;
    const connack: ConnackFields = { reasonCode, sessionPresent: false, ...fields };
    this.send(connection, CONNACK << 4, connackBody(connack, version));
    this.closeAfterFlush(connection);
  }

  disconnect(connection: ConnectionHandle, reasonCode: number, fields?: ReasonFields): void {
    if (this.versionOf(connection) === 5) {
      this.send(connection, DISCONNECT << 4, disconnectBody(reasonCode, fields));
    }
    this.closeAfterFlush(connection);
  }

  /** Client role: the goodbye of either version. */
  sayGoodbye(connection: ConnectionHandle, reasonCode: number, fields?: ReasonFields): void {
    const plain = this.versionOf(connection) < 5 || (reasonCode === 0 && fields === undefined);
    this.send(connection, DISCONNECT << 4, plain ? Buffer.alloc(0) : disconnectBody(reasonCode, fields));
    this.closeAfterFlush(connection);
  }

  sendAuth(connection: ConnectionHandle, packet: AuthPacket): void {
    this.send(connection, AUTH << 4, authBody(packet));
    this.answered(connection);
  }
  reauthenticated(connection: ConnectionHandle): void {
    this.answered(connection);
  }

  answerSubscribe(
    connection: ConnectionHandle, packetIdentifier: number, reasonCodes: readonly number[], fields?: ReasonFields,
  ): void {
    const version = this.versionOf(connection);
    if (this.portOf(connection) === undefined) return;
    this.send(connection, SUBACK << 4, codesBody(packetIdentifier, reasonCodes, version, fields));
    this.answered(connection);
  }
  answerUnsubscribe(
    connection: ConnectionHandle, packetIdentifier: number, reasonCodes: readonly number[], fields?: ReasonFields,
  ): void {
    const version = this.versionOf(connection);
    if (this.portOf(connection) === undefined) return;
    const codes = version === 5 ? reasonCodes : [];
    this.send(connection, UNSUBACK << 4, codesBody(packetIdentifier, codes, version, fields));
    this.answered(connection);
  }

  sendSubscribe(
    connection: ConnectionHandle, packetIdentifier: number, subscriptions: readonly SubscriptionRequest[],
    options?: { readonly subscriptionIdentifier?: number; readonly userProperties?: UserProperties },
  ): void {
    const body = subscribeBody(packetIdentifier, subscriptions, this.versionOf(connection), options);
    this.send(connection, (SUBSCRIBE << 4) | 2, body);
  }
  sendUnsubscribe(
    connection: ConnectionHandle, packetIdentifier: number, topicFilters: readonly string[],
    userProperties?: UserProperties,
  ): void {
    const body = unsubscribeBody(packetIdentifier, topicFilters, this.versionOf(connection), userProperties);
    this.send(connection, (UNSUBSCRIBE << 4) | 2, body);
  }
  sendPingreq(connection: ConnectionHandle): void {
    this.send(connection, PINGREQ << 4, Buffer.alloc(0));
  }

  answerPublish(
    connection: ConnectionHandle, reasonCode: number, options?: { readonly cache: 'yes' | 'no' },
  ): void {
    this.x.answerPublish(connection, reasonCode, options?.cache === 'no' ? 0 : 1);
    this.answered(connection);
  }
  setPublishPolicy(connection: ConnectionHandle, policy: 'allow' | 'deny' | 'ask'): void {
    this.x.setPolicy(connection, POLICIES[policy]);
  }
  invalidateVerdicts(): void {
    this.x.invalidateVerdicts();
  }

  // --- sessions ----------------------------------------------------------------------------------------------------

  createSession(): SessionHandle {
    return this.newSession(SESSION_SOCKET, 0, 0, 0);
  }
  createHandlerSession(options: HandlerSessionOptions, uplink: SessionHandle = 0): SessionHandle {
    const kind = SESSION_HANDLER | (options.acknowledgeAfterSettle === 'yes' ? SESSION_HOLDS : 0);
    return this.newSession(kind, options.concurrency, options.queueMessagesMax ?? 0, uplink);
  }
  /** Client role: the session towards a server. `published` tells how each of its messages ended. */
  createUplinkSession(queueMessagesMax: number): SessionHandle {
    return this.newSession(SESSION_HOLDS, 0, queueMessagesMax, 0);
  }
  private newSession(kind: number, credit: number, queueMessagesMax: number, owner: number): SessionHandle {
    const handle = this.x.openSession(kind, credit, queueMessagesMax, owner) >>> 0;
    if (handle === 0) throw new CoreError('NIDO_CORE_SESSIONS', 'no memory or no slot for another session');
    return handle;
  }

  endSession(session: SessionHandle): void {
    this.x.closeSession(session, this.now());
    this.afterwards();
    if (!this.flushScheduled) this.scheduleFlush(); // the rest of the work is done a piece per turn
  }
  /** Client role: the server has no session any more; what was not acknowledged is published anew. */
  restartSession(session: SessionHandle): void {
    this.x.restartSession(session);
    this.afterwards();
  }
  sessionOf(connection: ConnectionHandle): SessionHandle {
    return this.x.sessionOfConnection(connection) >>> 0;
  }
  connectionOf(session: SessionHandle): ConnectionHandle {
    return this.x.connectionOfSession(session) >>> 0;
  }
  detach(session: SessionHandle): void {
    this.x.detachSession(session);
    this.afterwards();
  }
  sessionInfo(session: SessionHandle): SessionInfo | undefined {
    if (!this.x.sessionExists(session)) return undefined;
    return {
      queuedMessages: this.x.queuedMessages(session) >>> 0,
      queuedBytes: this.x.queuedBytes(session) >>> 0,
      inflight: this.x.inflightMessages(session) >>> 0,
      subscriptions: this.x.subscriptionsOf(session) >>> 0,
    };
  }

  subscribe(session: SessionHandle, filter: string, options: SubscribeOptions): { readonly existed: boolean } {
    const existed = this.filters.subscribe(session, filter, options);
    if (this.filters.wantsRetained(options, existed)) this.filters.replay(session, filter, options);
    if (!this.flushScheduled) this.scheduleFlush();
    return { existed };
  }
  unsubscribe(session: SessionHandle, filter: string, shareName?: string): boolean {
    return this.filters.unsubscribe(session, filter, shareName);
  }
  subscriptionsOf(session: SessionHandle): { topicFilter: string; options: SubscribeOptions }[] {
    return this.filters.list(session);
  }
  /** Reason Code of a Topic Filter (with `$share/...` where wanted); 0 = valid. */
  checkTopicFilter(topicFilter: string): number {
    return this.filters.checkFilter(topicFilter);
  }
  isTopicName(topicName: string): boolean {
    return this.filters.isTopicName(topicName);
  }

  // --- messages ----------------------------------------------------------------------------------------------------

  /** Writes a message block; 0 when there is no memory. */
  private messageFrom(message: OutgoingMessage): number {
    const payload = typeof message.payload === 'string' ? Buffer.from(message.payload) : message.payload;
    const forwarded = encodeForwarded(message.properties);
    const topicLength = Buffer.byteLength(message.topicName);
    const block = this.x.allocateMessage(topicLength, forwarded.length, payload.length) >>> 0;
    if (block === 0) return 0;
    let at = this.x.messageBody(block) >>> 0;
    this.heap.write(message.topicName, at, topicLength, 'utf8');
    at += topicLength;
    if (forwarded.length !== 0) this.heap.set(forwarded, at);
    this.heap.set(payload, at + forwarded.length);
    return block;
  }

  publish(message: OutgoingMessage, token = 0): number {
    const block = this.messageFrom(message);
    if (block === 0) return QUOTA_EXCEEDED;
    const expiry = message.properties?.messageExpiryInterval ?? -1;
    const reason = this.x.publish(
      block, message.qos, Number(message.retain), expiry, message.publisher ?? 0, token, this.now(),
    );
    this.afterwards();
    return reason;
  }

  /** Client role: publishes to the server of this session. QoS 1 and 2 end with `published(token, reasonCode)`. */
  publishTo(session: SessionHandle, message: OutgoingMessage, token: number): number {
    const block = this.messageFrom(message);
    if (block === 0) return QUOTA_EXCEEDED;
    const expiry = message.properties?.messageExpiryInterval ?? -1;
    const reason = this.x.publishTo(
      session, block, message.qos, Number(message.retain), expiry, token, this.now(),
    );
    this.afterwards();
    return reason;
  }

  settle(session: SessionHandle, token: number, reasonCode: number): void {
    this.x.settle(session, token, reasonCode, this.now());
    this.afterwards();
  }
  grant(session: SessionHandle): void {
    this.x.grant(session, this.now());
    this.afterwards();
  }

  // --- time and figures --------------------------------------------------------------------------------------------

  tick(now: number, _wallClockMs: number): number {
    if (this.failure !== undefined) return Infinity;
    this.x.tick(now);
    this.afterwards();
    return Math.min(1000, this.options.withholdMsMax / 4);
  }
  lastReceived(connection: ConnectionHandle, now: number): number {
    const port = this.portOf(connection);
    if (port !== undefined && (port.parked || port.held)) return now;
    return this.x.lastReceivedAt(connection);
  }
  bytesIn(connection: ConnectionHandle): number {
    return this.x.bytesReceived(connection);
  }

  stats(): CoreStats {
    const dropped = {} as Record<(typeof DROP_REASONS)[number], number>;
    DROP_REASONS.forEach((reason, at) => { dropped[reason] = this.counters[COUNT_DROPPED + at]; });
    return {
      connections: this.counters[COUNT_CONNECTIONS],
      sessions: this.counters[COUNT_SESSIONS],
      subscriptions: this.x.subscriptions() >>> 0,
      retainedMessages: this.x.retainedMessages() >>> 0,
      publishReceived: this.counters[COUNT_PUBLISH_RECEIVED],
      publishSent: this.counters[COUNT_PUBLISH_SENT],
      bytesReceived: this.counters[COUNT_BYTES_RECEIVED],
      bytesSent: this.counters[COUNT_BYTES_SENT],
      queuedMessages: this.counters[COUNT_QUEUED],
      dropped,
      memoryBytes: this.options.memoryBytes,
      memoryUsedBytes: memoryByClass(this.x),
    };
  }

  close(): void {
    for (const port of this.ports) port?.transport.destroy();
  }
}
