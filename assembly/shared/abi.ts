/**
 * The border between the core and its host: layouts of the rows that the core writes and the host
 * reads, and the numbers that both know. Compiled by asc (the core) and by tsc (lib/core): one
 * source, no drift.
 */
export const ABI_VERSION: u32 = 2;

/**
 * Event row: 16 words. What a column means depends on `ROW_KIND`; every row starts alike.
 * ```
 *  word 0     1        2        3 ...
 *  +------+--------+--------+----------------------------+
 *  | kind | handle | handle | columns of the kind        |
 *  +------+--------+--------+----------------------------+
 * ```
 */
export const ROW_WORDS: u32 = 16;
export const ROW_KIND: u32 = 0;
/** Connection of the event; for a delivery the session. */
export const ROW_HANDLE: u32 = 1;

/**
 * A control packet was checked; its body lies at [3], [4] bytes long. [2] is the first byte of the
 * packet. Waits.
 */
export const ROW_PACKET: u32 = 1;
/** [2] QoS, [3] retain, [4] [5] topic name. Waits. */
export const ROW_AUTHORIZE: u32 = 2;
/** A message for a handler session: see DELIVER_* for the columns. */
export const ROW_DELIVER: u32 = 3;
/** [2] token, [3] reason code. */
export const ROW_PUBLISHED: u32 = 4;
/** [2] reason code, [3] detail. The connection reads nothing more. */
export const ROW_FAILED: u32 = 5;
/**
 * [2] reason, [3] QoS, [4] [5] topic name, [6] message to release. ROW_HANDLE is the session, 0
 * when there is none.
 */
export const ROW_DROPPED: u32 = 6;
/** This connection has kept publishers waiting for too long. */
export const ROW_WITHHELD: u32 = 7;
/** [2] is PAUSE_ON or PAUSE_OFF: too many bytes of this publisher are held. */
export const ROW_PAUSE: u32 = 8;
/**
 * Client role: [2] first byte of a packet that needs no answer (CONNACK, SUBACK ...), body at [3],
 * [4] bytes long.
 */
export const ROW_NOTICE: u32 = 9;


// Rows of the durable gate: only when `setDurable` was called.
/**
 * A message must be stored before it is delivered. ROW_HANDLE: the publisher's session, [2] gate,
 * [3] message, [4] queue entries,
 * [5] GATE_* bits, [6] incoming QoS 2 identifier to store with it or 0. Answer with `commitGate` or
 * `abortGate`.
 */
export const ROW_APPEND: u32 = 10;
/**
 * A retained message of QoS 0 changed: [2] message, 0 = deleted; [4] [5] topic name; [6] message
 * that the row holds.
 */
export const ROW_RETAINED: u32 = 11;
/**
 * A stored entry is done with. ROW_HANDLE: session; [2] 1 = it was released (QoS 2); number as f64
 * at [4].
 */
export const ROW_DONE: u32 = 12;
/**
 * PUBREC came. ROW_HANDLE: session; [2] packet identifier; number as f64 at [4]. Answer with
 * `commitRelease`.
 */
export const ROW_RELEASE: u32 = 13;
/**
 * PUBREL came. ROW_HANDLE: connection; [2] packet identifier; [3] session. Answer with
 * `commitPubrel`.
 */
export const ROW_PUBREL: u32 = 14;
/**
 * An entry moved to another member of its group. ROW_HANDLE: its new session (0 = not stored); [2]
 * the old; [3] FACT_* bits; number at [4]; [6] message that the row holds; [7] Subscription
 * Identifier; [8] group that the row holds.
 */
export const ROW_MOVED: u32 = 15;
/**
 * May this session receive messages of this topic? ROW_HANDLE: session; [2] serial number of the
 * topic; [3] rules; [4] [5] topic name; [6] message that the row holds. Answer with
 * `answerReceive`.
 */
export const ROW_RECEIVE: u32 = 16;
/** ROW_HANDLE: a stored session that was ended; the last of its queue has moved or is let go. */
export const ROW_ENDED: u32 = 17;
/**
 * An interceptor wants this PUBLISH: DELIVER_* columns up to DELIVER_FLAGS, and DELIVER_EXPIRY.
 * ROW_HANDLE is the connection. Waits. Answer with `passIntercepted`, `replaceIntercepted` or
 * `dropIntercepted`.
 */
export const ROW_INTERCEPT: u32 = 18;
/**
 * Interned topics have new serial numbers in all rows behind this one: what was remembered by the
 * old ones is void.
 */
export const ROW_RENUMBERED: u32 = 19;
export const GATE_RETAINED: u32 = 1; // the message is the retained one of its topic now
export const GATE_RETAINED_DELETED: u32 = 2;
export const GATE_TAKEN: u32 = 4; // somebody who is not stored has it already

/**
 * The facts of a queue entry, and of a message, in one word:
 * ```
 *  31                16 15     8   7     6    3   2     1 0
 *  +-------------------+--------+-------+------+--------+-----+
 *  | Packet Identifier |   -    | group | copy | RETAIN | QoS |
 *  +-------------------+--------+-------+------+--------+-----+
 * ```
 */
export const FACT_QOS_MASK: u32 = 3;
export const FACT_RETAIN: u32 = 4;
export const FACT_RETAIN_SHIFT: u32 = 2;
export const FACT_COPY_SHIFT: u32 = 3;
export const FACT_COPY_MASK: u32 = 15;
/** It came by a shared subscription. */
export const FACT_GROUP: u32 = 128;
export const FACT_IDENTIFIER_SHIFT: u32 = 16;

export const PAUSE_OFF: u32 = 0;
export const PAUSE_ON: u32 = 1;

export const DELIVER_TOPIC_SERIAL: u32 = 2;
export const DELIVER_TOPIC_AT: u32 = 4;
export const DELIVER_TOPIC_LENGTH: u32 = 5;
export const DELIVER_PAYLOAD_AT: u32 = 6;
export const DELIVER_PAYLOAD_LENGTH: u32 = 7;
export const DELIVER_PROPERTIES_AT: u32 = 8;
export const DELIVER_PROPERTIES_LENGTH: u32 = 9;
/** QoS in bits 0-1, retain in bit 2, dup in bit 3. */
export const DELIVER_FLAGS: u32 = 10;
export const DELIVER_TOKEN: u32 = 11;
export const DELIVER_PUBLISHER: u32 = 12;
/** Client role: Packet Identifier of the PUBLISH below, its Topic Alias above. */
export const DELIVER_ALIAS_SHIFT: u32 = 16;
/** Message block that the row holds; released by `releaseRows`. */
export const DELIVER_MESSAGE: u32 = 13;
export const DELIVER_IDENTIFIER: u32 = 14;
/** Remaining Message Expiry Interval in seconds, EXPIRY_NONE when there is none. */
export const DELIVER_EXPIRY: u32 = 15;
export const EXPIRY_NONE: u32 = 0xffff_ffff;

/**
 * Flush row: 4 words: connection handle, address of the bytes, their number, the chunk to give
 * back.
 */
export const FLUSH_WORDS: u32 = 4;

/** What `ingest`, `resume` and `ingestCarry` answer. */
export const INGEST_DONE: u32 = 0;
/**
 * A packet waits for an answer, or the rows must be read first; then call `resume` (or `park` when
 * the answer is not there).
 */
export const INGEST_STOPPED: u32 = 1;
/** The peer is to be closed. */
export const INGEST_FAILED: u32 = 2;
/** It was much work: `ingestCarry` reads the rest when others had their turn. */
export const INGEST_LATER: u32 = 3;

export const ROLE_SERVER: u32 = 0; // the peer is a client
export const ROLE_CLIENT: u32 = 1; // the peer is a server

export const POLICY_ALLOW: u32 = 0;
export const POLICY_DENY: u32 = 1;
export const POLICY_ASK: u32 = 2;

export const SESSION_SOCKET: u32 = 0;
export const SESSION_HANDLER: u32 = 1;
/**
 * The publisher's acknowledgement waits until the receiver has settled (handlers) or acknowledged
 * (an uplink).
 */
export const SESSION_HOLDS: u32 = 2;

/** What a publish of the host waits for besides the store: handlers at work on it, or nobody. */
export const AWAIT_HANDLERS: u32 = 0;
export const AWAIT_NOBODY: u32 = 1;

/** Of `publishNow`, beside the Reason Codes: it has to wait. */
export const PUBLISH_LATER: u32 = 256;

/** Why a message was dropped; the order is that of DROP_REASONS in lib/core. */
export const DROP_QUEUE_FULL: u32 = 0;
export const DROP_SLAB_FULL: u32 = 1;
export const DROP_MEMORY: u32 = 2;
export const DROP_EXPIRED: u32 = 3;
export const DROP_PACKET_TOO_LARGE: u32 = 4;
export const DROP_NOT_AUTHORIZED: u32 = 5;
export const DROP_NO_RECEIVER_ROOM: u32 = 6;
export const DROP_SESSION_ENDED: u32 = 7;
export const DROP_RETAINED_FULL: u32 = 8;
export const DROP_REFUSED_BY_RECEIVER: u32 = 9;
export const DROP_INTERCEPTED: u32 = 10; // counted by the host
export const DROP_INTERCEPTOR_FAILED: u32 = 11; // counted by the host
export const DROP_REASONS: u32 = 12;

/** `published` tells this when a message expired in the queue of an uplink: MQTT has no code. */
export const PUBLISHED_EXPIRED: u32 = 0xfe;
/** The same: memory has no room for its packet. */
export const PUBLISHED_NO_ROOM: u32 = 0xfd;

/** Words behind a FAILED row, for people; the Reason Code is for the peer. */
export const DETAIL_MALFORMED: u32 = 0;
export const DETAIL_FIRST_PACKET: u32 = 1;
export const DETAIL_SECOND_CONNECT: u32 = 2;
export const DETAIL_PACKET_TOO_LARGE: u32 = 3;
export const DETAIL_UNEXPECTED_PACKET: u32 = 4;
export const DETAIL_TOPIC_ALIAS: u32 = 5;
export const DETAIL_RECEIVE_MAXIMUM: u32 = 6;
export const DETAIL_QUOTA: u32 = 7;
export const DETAIL_MEMORY: u32 = 8;
export const DETAIL_QOS: u32 = 9;
export const DETAIL_RETAIN: u32 = 10;
export const DETAIL_TOPIC_LEVELS: u32 = 11;
export const DETAIL_PAYLOAD_FORMAT: u32 = 12;
export const DETAIL_ACKNOWLEDGEMENT: u32 = 13;
export const DETAIL_VERSION: u32 = 14;
export const DETAIL_TOPIC_LENGTH: u32 = 15;

/** Limits and settings of the core: `setLimit(id, value)`. */
export const LIMIT_PACKET_BYTES: u32 = 0;
export const LIMIT_RECEIVE_MAXIMUM: u32 = 1;
export const LIMIT_TOPIC_ALIAS: u32 = 2;
export const LIMIT_TOPIC_LEVELS: u32 = 3;
export const LIMIT_UNAUTHENTICATED_BYTES: u32 = 4;
export const LIMIT_QUEUE_MESSAGES: u32 = 5;
export const LIMIT_QUEUE_BYTES: u32 = 6;
export const LIMIT_SLAB_BYTES: u32 = 7;
export const LIMIT_SLAB_WATERMARK: u32 = 8;
export const LIMIT_HELD_BYTES: u32 = 9;
export const LIMIT_WITHHOLD_MS: u32 = 10;
export const LIMIT_RETAINED_MESSAGES: u32 = 11;
export const LIMIT_RETAINED_BYTES: u32 = 12;
export const LIMIT_MAXIMUM_QOS: u32 = 13;
export const LIMIT_RETAIN_AVAILABLE: u32 = 14;
export const LIMIT_VALIDATE_PAYLOAD: u32 = 15;
export const LIMIT_SHARED_STRATEGY: u32 = 16;
export const LIMIT_DROP_ROWS: u32 = 17;
export const LIMIT_USER_PROPERTIES: u32 = 18;
export const LIMIT_COUNT: u32 = 19;

export const STRATEGY_ROUND_ROBIN: u32 = 0;
export const STRATEGY_STICKY: u32 = 1;
export const STRATEGY_HASH_CLIENT: u32 = 2;
export const STRATEGY_HASH_TOPIC: u32 = 3;

/** Counters: f64 each, at `countersAt()`. */
export const COUNT_PUBLISH_RECEIVED: u32 = 0;
export const COUNT_PUBLISH_SENT: u32 = 1;
export const COUNT_BYTES_RECEIVED: u32 = 2;
export const COUNT_BYTES_SENT: u32 = 3;
export const COUNT_QUEUED: u32 = 4;
export const COUNT_PACKETS_RECEIVED: u32 = 5;
export const COUNT_CONNECTIONS: u32 = 6;
export const COUNT_SESSIONS: u32 = 7;
export const COUNT_DROPPED: u32 = 8; // DROP_REASONS of them
export const COUNTERS: u32 = 20;
