/**
 * The core as the broker and the client see it: sessions, subscriptions, messages, time, figures.
 */
import {
  AWAIT_HANDLERS, AWAIT_NOBODY, COUNT_BYTES_RECEIVED, COUNT_BYTES_SENT, COUNT_CONNECTIONS,
  COUNT_DROPPED, COUNT_PUBLISH_RECEIVED, COUNT_PUBLISH_SENT, COUNT_QUEUED, COUNT_SESSIONS,
  LIMIT_MAXIMUM_QOS, LIMIT_RETAIN_AVAILABLE, PUBLISHED_EXPIRED as EXPIRED,
  PUBLISHED_NO_ROOM as NO_ROOM, PUBLISH_LATER as LATER, SESSION_HANDLER,
  SESSION_HOLDS, SESSION_SOCKET,
} from '../../assembly/shared/abi.js';
import type {
  ConnectionHandle, CoreControl, CoreEvents, CoreOptions, CoreStats, DeliverySink, DropReason,
  HandlerSessionOptions, MessageProperties, OutgoingMessage, Qos, SessionHandle, SessionInfo,
  SubscribeOptions,
} from './contract.js';
import { writeAscii } from './copies.js';
import { CoreError } from './errors.js';
import { DROP_REASONS, memoryByClass } from './limits.js';
import { encodeForwarded } from './packet-writer.js';
import { Subscriptions } from './subscriptions.js';
import { ControlPackets } from './control-packets.js';
import type { CoreHost } from './core-runtime.js';

export type { CoreHost, Now } from './core-runtime.js';

/** What `publishNow` answers beside Reason Codes: the message has to wait. */
export const PUBLISH_LATER: number = LATER;
/** What `published` tells beside Reason Codes: the message expired before it was sent. */
export const PUBLISHED_EXPIRED: number = EXPIRED;
/** The same: memory has no room for it. */
export const PUBLISHED_NO_ROOM: number = NO_ROOM;

const QUOTA_EXCEEDED = 0x97;
/** Of one UTF-16 unit, at most. */
const UTF8_BYTES_MAX = 3;

/** What a server may say in CONNACK that it does not take. */
export interface ServerPromises {
  readonly maximumQos: Qos;
  readonly retainAvailable: boolean;
}

export class Core extends ControlPackets implements CoreControl {
  private readonly filters: Subscriptions;
  private readonly exchange: number;
  private readonly exchangeBytes: number;

  constructor(options: CoreOptions, events: CoreEvents, host: CoreHost = {}) {
    super(options, events, host);
    this.filters = new Subscriptions(this.x, this.heap);
    this.exchange = this.x.exchangeAt() >>> 0;
    this.exchangeBytes = this.x.exchangeBytes() >>> 0;
  }

  // --- sessions --------------------------------------------------------------------------------

  /** The mount point ends in `/` and holds no wildcard: who calls has checked that. */
  createSession(mountPoint = ''): SessionHandle {
    if (mountPoint === '') return this.newSession(SESSION_SOCKET, 0, 0, 0);
    const length = this.filters.put(mountPoint);
    return someSession(this.x.openMountedSession(SESSION_SOCKET, length));
  }
  createHandlerSession(
    options: HandlerSessionOptions, sink: DeliverySink, uplink: SessionHandle = 0,
  ): SessionHandle {
    const kind = SESSION_HANDLER | (options.acknowledgeAfterSettle === 'yes' ? SESSION_HOLDS : 0);
    const { concurrency, queueMessagesMax = 0 } = options;
    const session = this.newSession(kind, concurrency, queueMessagesMax, uplink);
    this.rows.addSink(session, sink);
    return session;
  }
  /**
   * Client role: the session towards a server. `published` tells how each of its messages ended.
   */
  createUplinkSession(queueMessagesMax: number): SessionHandle {
    return this.newSession(SESSION_HOLDS, 0, queueMessagesMax, 0);
  }
  private newSession(
    kind: number, credit: number, queueMessagesMax: number, owner: number,
  ): SessionHandle {
    return someSession(this.x.openSession(kind, credit, queueMessagesMax, owner));
  }

  endSession(session: SessionHandle): void {
    this.rows.dropSink(session);
    this.x.closeSession(session, this.now());
    this.afterwards();
    if (!this.flushScheduled) this.scheduleFlush(); // the rest of the work is done a piece per turn
  }
  /**
   * Client role: the server has no session any more; what was not acknowledged is published anew.
   */
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
      gatedMessages: this.x.gatedEntries(session) >>> 0,
      queuedBytes: this.x.queuedBytes(session) >>> 0,
      inflight: this.x.inflightMessages(session) >>> 0,
      subscriptions: this.x.subscriptionsOf(session) >>> 0,
    };
  }

  subscribe(
    session: SessionHandle, filter: string, options: SubscribeOptions,
  ): { readonly existed: boolean } {
    const existed = this.filters.subscribe(session, filter, options);
    if (this.filters.wantsRetained(options, { existed })) {
      this.filters.replay(session, filter, options);
    }
    if (!this.flushScheduled) this.scheduleFlush();
    return { existed };
  }
  unsubscribe(session: SessionHandle, filter: string, shareName?: string): boolean {
    return this.filters.unsubscribe(session, filter, shareName);
  }
  isSubscribed(session: SessionHandle, filter: string, shareName?: string): boolean {
    return this.filters.has(session, filter, shareName);
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

  // --- messages --------------------------------------------------------------------------------

  /** Writes a message block; 0 when there is no memory. */
  private messageFrom(message: Omit<OutgoingMessage, 'qos'>): number {
    const { topicName, payload: given } = message;
    const payload = typeof given === 'string' ? Buffer.from(given) : given;
    const forwarded = encodeForwarded(message.properties);
    const { x, heap } = this;
    // Almost every Topic Name is ASCII, and then as long as its string.
    let topicLength = topicName.length;
    let block = x.allocateMessage(topicLength, forwarded.length, payload.length) >>> 0;
    if (block === 0) return 0;
    let at = x.messageBody(block) >>> 0;
    if (!writeAscii(heap, topicName, at)) {
      x.freeMessage(block);
      topicLength = Buffer.byteLength(topicName);
      block = x.allocateMessage(topicLength, forwarded.length, payload.length) >>> 0;
      if (block === 0) return 0;
      at = x.messageBody(block) >>> 0;
      heap.write(topicName, at, topicLength, 'utf8');
    }
    at += topicLength;
    if (forwarded.length !== 0) heap.set(forwarded, at);
    heap.set(payload, at + forwarded.length);
    return block;
  }

  publish(message: OutgoingMessage, token = 0): number {
    const block = this.messageFrom(message);
    if (block === 0) return QUOTA_EXCEEDED;
    const expiry = message.properties?.messageExpiryInterval ?? -1;
    const reason = this.x.publish(
      block, message.qos, Number(message.retain), expiry, message.publisher ?? 0, token,
      message.awaits === 'nobody' ? AWAIT_NOBODY : AWAIT_HANDLERS, this.now(),
    );
    this.afterwards();
    return reason;
  }

  /**
   * Client role: publishes to the server of this session. QoS 1 and 2 end with `published(token,
   * reasonCode)`.
   */
  publishTo(session: SessionHandle, message: OutgoingMessage, token: number): number {
    const block = this.messageFrom(message);
    if (block === 0) return QUOTA_EXCEEDED;
    const expiry = message.properties?.messageExpiryInterval ?? -1;
    const now = expiry < 0 ? this.turnTime() : this.now();
    const reason = this.x.publishTo(
      session, block, message.qos, message.retain ? 1 : 0, expiry, token, now,
    );
    this.afterwards();
    return reason;
  }

  /**
   * Client role: a QoS 0 message that leaves with this turn, written without a block of its own.
   * Answers a Reason Code, or PUBLISH_LATER when it has to wait for the server, or is too long for
   * this way: `publishTo` takes it then.
   */
  publishNow(
    session: SessionHandle, topicName: string, payload: Uint8Array | string,
    options: { readonly retain?: boolean }, properties: MessageProperties | undefined,
  ): number {
    const forwarded = encodeForwarded(properties);
    const units = topicName.length + payload.length;
    const { heap, exchange, exchangeBytes } = this;
    if (units * UTF8_BYTES_MAX + forwarded.length > exchangeBytes) return PUBLISH_LATER;
    const topicLength = writeAscii(heap, topicName, exchange)
      ? topicName.length : heap.write(topicName, exchange, 'utf8');
    let at = exchange + topicLength;
    if (forwarded.length !== 0) heap.set(forwarded, at);
    at += forwarded.length;
    let payloadLength = payload.length;
    if (typeof payload === 'string') payloadLength = heap.write(payload, at, 'utf8');
    else heap.set(payload, at);
    const reason = this.x.publishNow(
      session, topicLength, forwarded.length, payloadLength, options.retain === true ? 1 : 0,
      properties?.messageExpiryInterval ?? -1,
    );
    this.afterwards();
    return reason;
  }
  /** Client role: drops the oldest message that was never sent; false when there is none. */
  shedOldest(session: SessionHandle): boolean {
    const shed = this.x.shedOldest(session) !== 0;
    this.afterwards();
    return shed;
  }
  /** Client role: a Packet Identifier for SUBSCRIBE or UNSUBSCRIBE, given back with its answer. */
  reserveIdentifier(session: SessionHandle): number {
    const packetIdentifier = this.x.reserveIdentifier(session) >>> 0;
    if (packetIdentifier !== 0) return packetIdentifier;
    throw new CoreError('NIDO_CORE_IDENTIFIERS', 'no memory for, or no, free Packet Identifier');
  }
  giveIdentifier(session: SessionHandle, packetIdentifier: number): void {
    this.x.giveIdentifier(session, packetIdentifier);
  }
  /** Client role: what CONNACK said that may not be published. */
  setServerPromises(server: ServerPromises): void {
    this.x.setLimit(LIMIT_MAXIMUM_QOS, server.maximumQos);
    this.x.setLimit(LIMIT_RETAIN_AVAILABLE, server.retainAvailable ? 1 : 0);
  }

  setInterceptors(topicFilters: readonly string[]): void {
    if (topicFilters.length === 0) return;
    const { x, heap } = this;
    const matcher = x.createMatcher() >>> 0;
    topicFilters.forEach((topicFilter, at) => {
      const length = heap.write(topicFilter, this.exchange, 'utf8');
      if (matcher !== 0 && x.addToMatcher(matcher, length, at) === 0) return;
      throw new CoreError('NIDO_CORE_MEMORY', 'no memory for the filters of the interceptors');
    });
    x.setInterceptors(matcher);
  }
  passIntercepted(connection: ConnectionHandle): void {
    this.x.passIntercepted(connection);
    this.answered(connection);
  }
  replaceIntercepted(connection: ConnectionHandle, message: Omit<OutgoingMessage, 'qos'>): void {
    const block = this.messageFrom(message);
    if (block === 0) {
      this.countDropped('memory');
      this.dropIntercepted(connection, QUOTA_EXCEEDED);
      return;
    }
    const expiry = message.properties?.messageExpiryInterval ?? -1;
    this.x.replaceIntercepted(connection, block, Number(message.retain), expiry, this.now());
    this.answered(connection);
  }
  dropIntercepted(connection: ConnectionHandle, reasonCode: number): void {
    this.x.dropIntercepted(connection, reasonCode);
    this.answered(connection);
  }

  settle(session: SessionHandle, token: number, reasonCode: number): void {
    this.x.settle(session, token, reasonCode, this.turnTime());
    this.afterwards();
  }
  grant(session: SessionHandle, deliveries = 1): void {
    this.x.grant(session, deliveries, this.turnTime());
    this.afterwards();
  }

  // --- time and figures ------------------------------------------------------------------------

  tick(now: number, _wallClockMs: number): number {
    if (this.failure !== undefined) return Infinity;
    this.x.tick(now);
    this.afterwards();
    return Math.min(1000, this.options.withholdMsMax / 4);
  }
  lastReceived(connection: ConnectionHandle, now: number): number {
    const port = this.portOf(connection);
    if (port !== undefined && (port.parked || port.held || port.slowed)) return now;
    return this.x.lastReceivedAt(connection);
  }
  bytesIn(connection: ConnectionHandle): number {
    return this.x.bytesReceived(connection);
  }

  countDropped(reason: DropReason): void {
    this.counters[COUNT_DROPPED + DROP_REASONS.indexOf(reason)] += 1;
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

function someSession(answer: number): SessionHandle {
  const handle = answer >>> 0;
  if (handle !== 0) return handle;
  throw new CoreError('NIDO_CORE_SESSIONS', 'no memory or no slot for another session');
}
