/** Every limit of the client, with its default and unit. */
export const clientLimits = {
  /** Linear memory of the core, taken once. Pages cost nothing until they are used. */
  memoryBytes: 32 * 1024 * 1024,
  /** Largest Control Packet that is taken from a server; MQTT 5 servers are told. */
  packetBytesMax: 4 * 1024 * 1024,
  /** Messages that wait for the server, offline or faster than it reads. */
  queueMessagesMax: 10_000,
  queueBytesMax: 16 * 1024 * 1024,
  /** Unacknowledged QoS 1 and 2 messages that a server may send. */
  receiveMaximum: 1024,
  /** QoS 1 and 2 messages under way to a server; its Receive Maximum may allow less. */
  inflightMax: 65_535,
  /**
   * The same in MQTT 3.x, which has no word for what a server can take: mosquitto takes 20
   * (`max_inflight_messages`) and drops what exceeds it behind a PUBACK or PUBREC.
   */
  inflightMaxWithoutReceiveMaximum: 20,
  /** Topic Aliases of the server that are remembered. */
  topicAliasMaximum: 0,
  /** Topic Aliases that we make use of, however many the server allows. */
  topicAliasesUsedMax: 256,
  topicLevelsMax: 128,
  userPropertiesMax: 128,
  /** Handlers of one subscription that work at the same time. */
  handlerConcurrency: 16,
  handlerTimeoutMs: 30_000,
  /** Messages of one subscription that wait in JavaScript for their turn. */
  handlerPrefetch: 512,
  requestTimeoutMs: 10_000,
  endDeadlineMs: 5000,
  connectTimeout: 30_000,
  keepaliveSeconds: 60,
  reconnectPeriod: 1000,
  reconnectPeriodMax: 30_000,
  /** Bytes on their way to the socket beyond which messages wait in the queue. */
  slabBytesMax: 4 * 1024 * 1024,
  slabWatermarkBytes: 512 * 1024,
  /** Messages of the server whose acknowledgement waits; beyond, reading stops. */
  heldBytesMax: 8 * 1024 * 1024,
} as const;

/** Before CONNACK nothing larger than this is read. */
export const UNAUTHENTICATED_BYTES_MAX = 65_536;
/** Slots of the core's tables: one connection at a time, one session for each handler. */
export const CONNECTIONS_MAX = 64;
export const SESSIONS_MAX = 65_535;
export const SUBSCRIPTIONS_PER_SESSION_MAX = 16;
export const TOPIC_CACHE_MAX = 65_536;
/** Bytes that are read before handlers run: few messages are more than `handlerPrefetch`. */
export const PIECE_BYTES_MAX = 16_384;
export const DROP_EVENTS_PER_TURN_MAX = 100;
/** Receivers here keep their publisher, the server, waiting for as long as they need. */
export const WITHHOLD_MS_MAX = 0x7fff_ffff;
