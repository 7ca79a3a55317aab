/**
 * What the core (WebAssembly) and the control plane say to each other. The class `Core` (core.ts)
 * implements `CoreControl`; the broker and the client implement `CoreEvents`. No pointer crosses
 * this seam: packets that need a decision arrive as plain objects, and connections and sessions are
 * handles (numbers with a generation inside, so that an answer for one that is gone is ignored,
 * never misapplied).
 *
 * Order: events are told while `receive`, `publish`, `tick` or a method that frees room runs, in
 * the order in which they happened. An event that says "waits" stops its connection (its later
 * bytes are kept) until it is answered; the answer may come within the call or at any later time.
 * Time is passed in: milliseconds, monotonic unless it says otherwise.
 */
import type { DurableEvents, DurableSide } from './durable.js';
import type { Transport } from '../listener/transport.js';

export type ConnectionHandle = number;
export type SessionHandle = number;
export type LimitsHandle = number;
export type Qos = 0 | 1 | 2;
export type ProtocolVersion = 3 | 4 | 5;
export type UserProperties = readonly (readonly [string, string])[];

/**
 * Properties of an Application Message that travel from publisher to receiver unaltered, plus its
 * expiry.
 */
export interface MessageProperties {
  readonly payloadFormatIndicator?: 0 | 1;
  readonly messageExpiryInterval?: number;
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: Uint8Array;
  readonly userProperties?: UserProperties;
}

export interface WillMessage {
  readonly topicName: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly willDelayIntervalSeconds: number;
  readonly properties: MessageProperties;
}

export interface ConnectPacket {
  readonly protocolVersion: ProtocolVersion;
  /** A 3.x client that says it is a bridge, as mosquitto's do. */
  readonly fromBridge?: boolean;
  readonly clientIdentifier: string;
  readonly cleanStart: boolean;
  readonly keepAliveSeconds: number;
  readonly username?: string;
  readonly password?: Uint8Array;
  readonly will?: WillMessage;
  /** MQTT 5; undefined when absent. */
  readonly sessionExpiryInterval?: number;
  readonly receiveMaximum?: number;
  readonly maximumPacketSize?: number;
  readonly topicAliasMaximum?: number;
  readonly requestResponseInformation: boolean;
  readonly requestProblemInformation: boolean;
  readonly userProperties: UserProperties;
  readonly authenticationMethod?: string;
  readonly authenticationData?: Uint8Array;
}

export interface SubscriptionRequest {
  /** As sent, with `$share/<name>/` when shared. */
  readonly topicFilter: string;
  /** Without the share prefix. */
  readonly filter: string;
  readonly shareName?: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
}
export interface SubscribePacket {
  readonly packetIdentifier: number;
  readonly subscriptions: readonly SubscriptionRequest[];
  readonly subscriptionIdentifier?: number;
  readonly userProperties: UserProperties;
}
export interface UnsubscribePacket {
  readonly packetIdentifier: number;
  readonly topicFilters: readonly string[];
  readonly userProperties: UserProperties;
}
export interface DisconnectPacket {
  readonly reasonCode: number;
  readonly sessionExpiryInterval?: number;
  readonly reasonString?: string;
  readonly serverReference?: string;
  readonly userProperties: UserProperties;
}
export interface AuthPacket {
  readonly reasonCode: number;
  readonly authenticationMethod?: string;
  readonly authenticationData?: Uint8Array;
  readonly reasonString?: string;
  readonly userProperties: UserProperties;
}

/** Everything a CONNACK may carry; the core leaves out what a version does not know. */
export interface ConnackFields {
  readonly reasonCode: number;
  readonly sessionPresent: boolean;
  readonly sessionExpiryInterval?: number;
  readonly receiveMaximum?: number;
  readonly maximumQos?: Qos;
  readonly retainAvailable?: boolean;
  readonly maximumPacketSize?: number;
  readonly assignedClientIdentifier?: string;
  readonly topicAliasMaximum?: number;
  readonly reasonString?: string;
  readonly userProperties?: UserProperties;
  readonly wildcardSubscriptionAvailable?: boolean;
  readonly subscriptionIdentifiersAvailable?: boolean;
  readonly sharedSubscriptionAvailable?: boolean;
  readonly serverKeepAlive?: number;
  readonly responseInformation?: string;
  readonly serverReference?: string;
  readonly authenticationMethod?: string;
  readonly authenticationData?: Uint8Array;
}
export interface ReasonFields {
  readonly reasonString?: string;
  readonly serverReference?: string;
  readonly sessionExpiryInterval?: number;
  readonly userProperties?: UserProperties;
}

/**
 * A message for a subscriber in this process. Valid until the callback returns; take what you keep
 * (`payload` is a copy).
 */
export interface Delivery {
  readonly topicName: string;
  readonly payload: Buffer;
  /** The payload as UTF-8 text, made on first use; undefined when it is not UTF-8. */
  readonly text: string | undefined;
  /** The receiver's: whatever it wants to find again with the message. */
  attachment: unknown;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup: boolean;
  /** Parsed on first use. */
  readonly properties: MessageProperties;
  readonly subscriptionIdentifiers: readonly number[];
  /** Session of the publisher, 0 when the broker itself published. */
  readonly publisherSession: SessionHandle;
  /** Client role, instead of that: as the server numbered the packet; 0 = QoS 0, and no alias. */
  readonly packetIdentifier: number;
  readonly topicAlias: number;
  /** Who that is, filled in by a broker that knows. */
  publisher: unknown;
  /**
   * 0 for QoS 0. Else name it in `settle`; until then the publisher's acknowledgement waits (when
   * the session asked for that).
   */
  readonly token: number;
}

/**
 * Why a message did not reach a receiver, or a publisher was refused. Counters and events carry the
 * same names.
 */
export type DropReason =
  | 'queue-full' | 'slab-full' | 'memory' | 'expired' | 'packet-too-large' | 'not-authorized'
  | 'no-receiver-room'
  | 'session-ended' | 'retained-full' | 'refused-by-receiver' | 'intercepted'
  | 'interceptor-failed';

/** What the core tells. */
export interface CoreEvents {
  /**
   * Waits. Answer with `accept` or `refuse` (or `sendAuth` in an enhanced exchange, whose next
   * packet is `auth`).
   */
  connect(connection: ConnectionHandle, packet: ConnectPacket): void;
  /** Waits. Answer with `answerSubscribe`. */
  subscribe(connection: ConnectionHandle, packet: SubscribePacket): void;
  /** Waits. Answer with `answerUnsubscribe`. */
  unsubscribe(connection: ConnectionHandle, packet: UnsubscribePacket): void;
  /** The peer said goodbye. Nothing of it is read any more; call `closeAfterFlush`. */
  disconnect(connection: ConnectionHandle, packet: DisconnectPacket): void;
  /** Waits. Answer with `sendAuth`, `accept`, `reauthenticated` or `disconnect`. */
  auth(connection: ConnectionHandle, packet: AuthPacket): void;
  /**
   * Waits. The verdict for this connection and topic is not cached: answer with `answerPublish`.
   */
  authorizePublish(
    connection: ConnectionHandle, topicName: string, qos: Qos, retain: boolean,
  ): void;
  /**
   * Waits. One of the filters of `setInterceptors` wants this PUBLISH, which is allowed and not yet
   * routed: answer with `passIntercepted`, `replaceIntercepted` or `dropIntercepted`.
   */
  intercept?(connection: ConnectionHandle, message: Delivery): void;
  /**
   * A session whose receive policy is `ask` has a message of this topic: it waits. Answer with
   * `answerReceive`, naming `serial` and `rules`.
   */
  authorizeReceive?(session: SessionHandle, topicName: string, serial: number, rules: number): void;
  /** The exchange of a message given to `publish` with a token is complete. */
  published(token: number, reasonCode: number): void;
  /**
   * The peer broke the protocol or a limit. The core has already written the DISCONNECT or CONNACK
   * that MQTT asks for and reads nothing more; call `closeAfterFlush`. `detail` says in words what
   * was wrong.
   */
  failed(connection: ConnectionHandle, reasonCode: number, detail: string): void;
  /** Counted always; told at most `dropEventsPerTurnMax` times a turn. */
  dropped(session: SessionHandle, topicName: string, qos: Qos, reason: DropReason): void;
  /**
   * This receiver has made publishers wait for `withholdSecondsMax`: disconnect it (its session
   * keeps its queue).
   */
  withheldTooLong(connection: ConnectionHandle): void;
  /**
   * The Transport is gone. The handle is void after this call; the session (if any) is detached.
   */
  closed(connection: ConnectionHandle, error?: Error): void;
  // Client role only:
  connack(connection: ConnectionHandle, packet: ConnackFields): void;
  suback(
    connection: ConnectionHandle, packetIdentifier: number, reasonCodes: Uint8Array,
    fields: ReasonFields,
  ): void;
  unsuback(
    connection: ConnectionHandle, packetIdentifier: number, reasonCodes: Uint8Array,
    fields: ReasonFields,
  ): void;
  pingresp(connection: ConnectionHandle): void;
}

export interface AcceptOptions {
  readonly keepAliveMs: number; // what the control plane enforces; kept for stats
  /** The client's Receive Maximum (65,535 when absent), already capped by `inflightMax`. */
  readonly receiveMaximum: number;
  /** The client's Maximum Packet Size; 0 = none. */
  readonly maximumPacketSize: number;
  /** The client's Topic Alias Maximum, capped by ours. */
  readonly topicAliasMaximum: number;
  /** How its publishes are authorised: all, none, or asked with a cached verdict. */
  readonly publishPolicy: 'allow' | 'deny' | 'ask';
  readonly connack: ConnackFields;
}
export interface SubscribeOptions {
  readonly qos: Qos;
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  readonly retainHandling?: 0 | 1 | 2;
  readonly shareName?: string;
  readonly subscriptionIdentifier?: number;
}
export interface OutgoingMessage {
  readonly topicName: string;
  readonly payload: Uint8Array | string;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly properties?: MessageProperties;
  /** For No Local and for `Delivery.publisherSession`; 0 = the broker. */
  readonly publisher?: SessionHandle;
  /** QoS 1 and 2: whether `published` waits for handlers, besides the store. Default `handlers`. */
  readonly awaits?: 'handlers' | 'nobody';
}
/** Who takes the messages of a session of `createHandlerSession`. */
export interface DeliverySink {
  /** What is made of a payload in linear memory; the other is made of that when asked for. */
  readonly reads: 'text' | 'bytes';
  deliver(delivery: Delivery): void;
}
export interface HandlerSessionOptions {
  /** Deliveries handed over and not yet settled or granted back. */
  readonly concurrency: number;
  /** QoS 1 and 2: the publisher's acknowledgement waits for `settle`. */
  readonly acknowledgeAfterSettle: 'yes' | 'no';
  readonly queueMessagesMax?: number;
}
export interface SessionInfo {
  readonly queuedMessages: number;
  /** Messages that are being stored, and join the queue after that. */
  readonly gatedMessages: number;
  readonly queuedBytes: number;
  readonly inflight: number;
  readonly subscriptions: number;
}

/** How fast a peer may publish; see `PublishPace` in the broker's hooks. */
export interface Pace {
  take(amount: { readonly messages: number; readonly bytes: number }, now: number): number;
}
export interface OpenOptions {
  /** Of `createLimits`. Left out: those of CoreOptions. */
  readonly limits?: LimitsHandle;
  /** Left out: as fast as it can. */
  readonly pace?: Pace;
}

/** What the control plane may ask of the core. */
export interface CoreControl {
  /**
   * Limits for some connections instead of those of CoreOptions, for as long as the core lives.
   * Throws CoreMemoryError.
   */
  createLimits(limits: ConnectionLimits): LimitsHandle;
  /** Binds a Transport to a new connection in the server role; reading starts. */
  open(transport: Transport, now: number, options?: OpenOptions): ConnectionHandle;
  /** Sends what is written, then ends the Transport; `closed` follows. */
  closeAfterFlush(connection: ConnectionHandle): void;
  /** Destroys the Transport at once; `closed` follows. */
  destroy(connection: ConnectionHandle): void;
  /**
   * Time of the last whole Control Packet from the peer; NaN when the handle is void. Paused
   * connections answer `now`.
   */
  lastReceived(connection: ConnectionHandle, now: number): number;
  bytesIn(connection: ConnectionHandle): number;

  accept(connection: ConnectionHandle, session: SessionHandle, options: AcceptOptions): void;
  /**
   * CONNACK with a failure code (mapped for 3.x; none where 3.x has none), then the connection is
   * ended.
   */
  refuse(connection: ConnectionHandle, reasonCode: number, fields?: ReasonFields): void;
  /** DISCONNECT for MQTT 5 (nothing is sent to 3.x), then the connection is ended. */
  disconnect(connection: ConnectionHandle, reasonCode: number, fields?: ReasonFields): void;
  /** Not sent when it would exceed the peer's Maximum Packet Size. */
  sendAuth(
    connection: ConnectionHandle, packet: AuthPacket,
    options?: { readonly maximumPacketSize?: number },
  ): 'sent' | 'too-large';
  /**
   * After a successful re-authentication (AUTH 0x00 was sent by `sendAuth`): the connection goes
   * on.
   */
  reauthenticated(connection: ConnectionHandle): void;
  answerSubscribe(
    connection: ConnectionHandle, packetIdentifier: number, reasonCodes: readonly number[],
    fields?: ReasonFields,
  ): void;
  answerUnsubscribe(
    connection: ConnectionHandle, packetIdentifier: number, reasonCodes: readonly number[],
    fields?: ReasonFields,
  ): void;
  /**
   * `reasonCode` 0 = allowed; else QoS 1/2 of MQTT 5 gets it in PUBACK/PUBREC, QoS 0 is dropped,
   * 3.x is acknowledged and dropped.
   */
  answerPublish(
    connection: ConnectionHandle, reasonCode: number, options?: { readonly cache: 'yes' | 'no' },
  ): void;
  setPublishPolicy(connection: ConnectionHandle, policy: 'allow' | 'deny' | 'ask'): void;
  /**
   * `ask`: before a message leaves for this session its topic needs a verdict, which is kept until
   * the rules change or another connection takes the session over.
   */
  setReceivePolicy(session: SessionHandle, policy: 'allow' | 'ask'): void;
  /** Verdict for what `authorizeReceive` asked. Void when it was not the newest question. */
  answerReceive(
    session: SessionHandle, asked: { readonly serial: number; readonly rules: number },
    verdict: 'allowed' | 'denied',
  ): void;
  /** Nothing is read from this peer for so long; what it sends meanwhile waits in its socket. */
  slowDown(connection: ConnectionHandle, delayMs: number): void;
  /** Forgets every cached verdict. */
  invalidateVerdicts(): void;

  /** Topic Filters of what is shown to `intercept`, instead of those that were set before. */
  setInterceptors(topicFilters: readonly string[]): void;
  /** The PUBLISH that waits goes on as it came. */
  passIntercepted(connection: ConnectionHandle): void;
  /**
   * This is routed instead; its topic is authorised, and not intercepted again. QoS stays that of
   * the PUBLISH; `messageExpiryInterval` counts from when it came.
   */
  replaceIntercepted(connection: ConnectionHandle, message: Omit<OutgoingMessage, 'qos'>): void;
  /** Nobody gets it. `reasonCode` is for PUBACK or PUBREC, as in `answerPublish`. */
  dropIntercepted(connection: ConnectionHandle, reasonCode: number): void;

  /** Of a client that sees all topics, or, with a mount point, those below it. */
  createSession(mountPoint?: string): SessionHandle;
  createHandlerSession(options: HandlerSessionOptions, sink: DeliverySink): SessionHandle;
  /**
   * Ends Session State: subscriptions, queue, exchanges. Incremental; the handle is void at once.
   */
  endSession(session: SessionHandle): void;
  /** The session that a connection serves (0 = none) and the other way round (0 = offline). */
  sessionOf(connection: ConnectionHandle): SessionHandle;
  connectionOf(session: SessionHandle): ConnectionHandle;
  /** Cuts a session off its connection (takeover) without touching its state. */
  detach(session: SessionHandle): void;
  sessionInfo(session: SessionHandle): SessionInfo | undefined;

  /**
   * Adds or replaces a subscription of a session and starts the replay of retained messages that
   * `retainHandling` asks for. Throws CoreMemoryError.
   */
  subscribe(
    session: SessionHandle, filter: string, options: SubscribeOptions,
  ): { readonly existed: boolean };
  unsubscribe(session: SessionHandle, filter: string, shareName?: string): boolean;
  isSubscribed(session: SessionHandle, filter: string, shareName?: string): boolean;
  /** Filters as sent (with `$share/...`) and options. */
  subscriptionsOf(session: SessionHandle): { topicFilter: string; options: SubscribeOptions }[];

  /**
   * Routes a message of the broker itself: `broker.publish`, wills, `$SYS`. Answers the Reason Code
   * (0, 0x10 no matching subscribers, 0x97 quota exceeded). With a token, `published(token, code)`
   * tells when every receiver that must be waited for has taken it.
   */
  publish(message: OutgoingMessage, token?: number): number;

  /** A durable engine is there: what its sessions get is stored first. Before anything else. */
  closeGate?(events: DurableEvents): DurableSide;
  /**
   * A handler is done with a QoS 1/2 delivery. `reasonCode` >= 0x80 reaches an MQTT 5 publisher;
   * the worst of several wins.
   */
  settle(session: SessionHandle, token: number, reasonCode: number): void;
  /** A handler is done with QoS 0 deliveries, default one: frees so many places. */
  grant(session: SessionHandle, deliveries?: number): void;

  /**
   * Sweeps: withheld acknowledgements, expired messages, incremental endings. Call at least every
   * second; answers when it wants to be called again (ms from now).
   */
  tick(now: number, wallClockMs: number): number;
  /** A message was dropped outside the core: on its way to the store. */
  countDropped(reason: DropReason): void;
  stats(): CoreStats;
  close(): void;
}
export interface CoreStats {
  readonly connections: number;
  readonly sessions: number;
  readonly subscriptions: number;
  readonly retainedMessages: number;
  readonly publishReceived: number;
  readonly publishSent: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly queuedMessages: number;
  readonly dropped: Readonly<Record<DropReason, number>>;
  readonly memoryBytes: number;
  readonly memoryUsedBytes: Readonly<
    Record<'record' | 'slab' | 'message' | 'retained' | 'index' | 'carry', number>
  >;
}

/**
 * Limits that the core enforces. The broker's table of options names, describes and defaults them.
 */
export interface CoreOptions {
  readonly memoryBytes: number;
  readonly hashSeed?: bigint;
  /** Slots of the connection table and of the session table. */
  readonly connectionsMax?: number;
  readonly sessionsMax?: number;
  readonly maximumQos?: Qos;
  readonly retainAvailable?: 'yes' | 'no';
  readonly packetBytesMax: number;
  /** Receive Maximum that we announce: unacknowledged QoS 1 and 2 from one client. */
  readonly receiveMaximum: number;
  readonly topicAliasMaximum: number;
  readonly topicLevelsMax: number;
  readonly userPropertiesMax: number;
  readonly unauthenticatedBytesMax: number;
  readonly queueMessagesMax: number;
  readonly queueBytesMax: number;
  /**
   * Bytes on their way to one socket beyond which QoS 0 is dropped and QoS 1/2 stays in the queue.
   */
  readonly slabBytesMax: number;
  readonly slabWatermarkBytes: number;
  readonly heldBytesMax: number;
  readonly withholdMsMax: number;
  readonly retainedMessagesMax: number;
  readonly retainedBytesMax: number;
  readonly subscriptionsPerSessionMax: number;
  readonly sharedStrategy: 'round-robin' | 'sticky' | 'hash-client' | 'hash-topic';
  readonly validatePayloadFormat: 'yes' | 'no';
  readonly topicCacheMax: number;
  /**
   * Bytes that are read before handlers run. Default: all that the socket gave, up to 256 KiB. Less
   * means that fewer messages wait in blocks for the credit of their handler.
   */
  readonly pieceBytesMax?: number;
  readonly dropEventsPerTurnMax: number;
}

/** Those of them that a connection may have of its own; what is left out is as for all. */
export type ConnectionLimits = Partial<Pick<
  CoreOptions,
  | 'packetBytesMax' | 'receiveMaximum' | 'topicLevelsMax' | 'userPropertiesMax'
  | 'unauthenticatedBytesMax' | 'slabBytesMax' | 'slabWatermarkBytes' | 'heldBytesMax'
  | 'maximumQos' | 'retainAvailable' | 'validatePayloadFormat'
>>;
