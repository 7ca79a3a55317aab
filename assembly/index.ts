/**
 * The border: everything that the host may call, and nothing else. Arguments and results are numbers; a handle that is
 * void makes a call do nothing. The core has no imports, no clock and no randomness: time and the hash seed are arguments.
 */
import {
  ABI_VERSION, INGEST_DONE, LIMIT_QUEUE_MESSAGES, LIMIT_SLAB_BYTES, LIMIT_WITHHOLD_MS, PAUSE_OFF,
  ROLE_CLIENT, ROW_WITHHELD,
} from './shared/abi';
import { MEMORY_CLASSES, MEMORY_MESSAGE } from './shared/memory-class';
import {
  NO_MATCHING_SUBSCRIBERS, QUOTA_EXCEEDED, SUCCESS,
} from './shared/reason-code';
import { PUBCOMP, PUBREL } from './shared/control-packet';
import { SUBSCRIPTION_IDENTIFIER } from './shared/property';
import { vbiSize, writeVbi } from './codec/variable-byte-integer';
import { setUserPropertiesMax } from './codec/properties';
import { parseTopicFilter } from './topic/topic-filter';
import { isTopicName } from './topic/topic-name';
import {
  allocate, freePoolBytes, initialiseBlocks, setBudget, usedOf,
} from './memory/blocks';
import {
  matcherAdd, matcherCreate, matcherFree, matcherMatch, matcherRemove,
} from './index/matcher';
import { initialiseRetained, retainedCount } from './index/retained-index';
import { Subscription } from './index/subscription';
import {
  findSubscription, initialiseIndex, subscribe as indexSubscribe, subscribeExisted,
  subscriptionCount, unsubscribe as indexUnsubscribe, writeTopicFilter,
} from './index/subscription-index';
import { internTopic, setTopicCacheMax } from './index/topic-intern';
import {
  STATE_ASKED, STATE_CLOSED, STATE_OPEN, connectionAt, connectionOf, createConnection,
  initialiseConnections,
} from './session/connection';
import {
  attach, completeSent, firstHoldingSession, holdingSince, offerEntry, offerStored, pump,
  releaseReceiverHolds,
} from './session/delivery';
import {
  advanceEndings, closeConnection, endSession, leave, restartExchanges,
} from './session/ending';
import { takeStarved } from './session/handler-delivery';
import { sendAck } from './session/holds';
import { clock, counterTable, limitOf, setClock, setLimitValue } from './session/limits';
import {
  createMessage, messageAt, releaseMessage, topicOf,
} from './session/message-block';
import {
  frameBytes, setFrameAlias, setFrameIdentifiers, setSourceFromMessage, writeFrame,
} from './session/publish-writer';
import {
  ENTRY_RELEASED, ENTRY_RERELEASE, ENTRY_RESEND, ENTRY_SENT, FLAG_DUP, FLAG_IDENTIFIERS, FLAG_RETAIN,
  appendReleased, createEntry, entryAt, setReleasedNumber,
} from './session/queue-entry';
import { advanceReplays, startReplay } from './session/replay';
import {
  addInbound, bindIdentifier, createSession, entryInSlot, initialiseSessions, sessionAt, sessionOf,
} from './session/session';
import { collectFlush, giveChunk, isDirty, reserve, slabLimit } from './session/slab';
import { clearTemplates } from './session/templates';
import { invalidateVerdicts as dropVerdicts } from './session/verdicts';
import { addRow, clearRows, initialiseRows, rowCount, rowTable } from './switch/events';
import {
  forgetCurrent, ingestCarried, ingestChunk, initialiseIngest, parkChunk, resumeChunk, windowAddress,
} from './switch/ingest';
import {
  abortGate, closeGate, firstOfGate, isDurable, numberGate, openGate, retainedBits, setGateClosed,
  tellRetained,
} from './switch/gate';
import { beginHostPublish, endPublish, makeHold } from './switch/publisher';
import { answerPublish as answerForPublish } from './switch/receive-publish';
import { bytesRetained, storeRetained } from './switch/retain';
import {
  releaseRouted, route, routedMatched, routedTaken, setRouted,
} from './switch/route';

const WASM_PAGE_BYTES: u32 = 65536;
const FLUSH_ROWS: u32 = 4096;
const FLUSH_ROW_BYTES: u32 = 16;
/** Where the host writes strings that it names in a call, and reads what a call writes for it. */
const EXCHANGE_BYTES: u32 = 1048576;
/** Copies read up to this far beyond the last block. */
const END_SLACK: u32 = 64;

let flushTable: u32 = 0;
let exchangeArea: u32 = 0;

export function abiVersion(): u32 {
  return ABI_VERSION;
}

/**
 * Takes `memoryBytes` of linear memory, once and for all. False when the engine does not give it.
 * ```
 *  | static data | handle tables | event rows | flush rows | exchange | headroom + RX window | blocks ... |
 * ```
 */
export function initialise(
  memoryBytes: u32, seedHigh: u32, seedLow: u32, connectionsMax: u32, sessionsMax: u32,
): bool {
  const pages = memoryBytes / WASM_PAGE_BYTES;
  const more = <i32>pages - memory.size();
  if (more > 0 && memory.grow(more) < 0) return false;
  let at = (<u32>__heap_base + 63) & ~63;
  at = initialiseConnections(at, connectionsMax);
  at = initialiseSessions(at, sessionsMax);
  at = initialiseRows((at + 63) & ~63);
  flushTable = at;
  at += FLUSH_ROWS * FLUSH_ROW_BYTES;
  exchangeArea = at;
  at += EXCHANGE_BYTES;
  at = initialiseIngest((at + 63) & ~63);
  const end = <u32>(<u64>pages * WASM_PAGE_BYTES - END_SLACK);
  if (at >= end) return false;
  initialiseBlocks(at, end);
  if (!initialiseIndex((<u64>seedHigh << 32) | seedLow)) return false;
  initialiseRetained();
  return true;
}

// --- settings and figures ------------------------------------------------------------------------------------------

export function setLimit(id: u32, value: u32): void {
  setLimitValue(id, value);
}
export function setMemoryBudget(memoryClass: u32, bytes: u32): void {
  if (memoryClass < MEMORY_CLASSES) setBudget(memoryClass, bytes);
}
export function setTopicCache(entries: u32): void {
  setTopicCacheMax(entries);
}
export function setUserProperties(maximum: u32): void {
  setUserPropertiesMax(maximum);
}
export function countersAt(): u32 {
  return counterTable();
}
export function memoryUsed(memoryClass: u32): u32 {
  return usedOf(memoryClass);
}
export function memoryFree(): u32 {
  return freePoolBytes();
}
export function subscriptions(): u32 {
  return subscriptionCount();
}
export function retainedMessages(): u32 {
  return retainedCount();
}
export function retainedByteCount(): f64 {
  return bytesRetained();
}

// --- bytes in ------------------------------------------------------------------------------------------------------

export function rxWindowAt(): u32 {
  return windowAddress();
}
export function exchangeAt(): u32 {
  return exchangeArea;
}
export function exchangeBytes(): u32 {
  return EXCHANGE_BYTES;
}
export function rowsAt(): u32 {
  return rowTable();
}
export function rows(): u32 {
  return rowCount;
}

/** The host has read all rows. Handlers that found the table full are served now: look at `rows` again. */
export function releaseRows(): u32 {
  clearRows();
  for (let pointer = takeStarved(); pointer != 0; pointer = takeStarved()) pump(sessionAt(pointer));
  return rowCount;
}

/** `length` bytes of this connection stand in the RX window. */
export function ingest(handle: u32, length: u32, now: f64): u32 {
  setClock(now);
  const pointer = connectionOf(handle);
  return pointer == 0 ? INGEST_DONE : ingestChunk(pointer, length);
}
export function resume(now: f64): u32 {
  setClock(now);
  return resumeChunk();
}
export function park(): void {
  parkChunk();
}
export function ingestCarry(handle: u32, now: f64): u32 {
  setClock(now);
  const pointer = connectionOf(handle);
  return pointer == 0 ? INGEST_DONE : ingestCarried(pointer);
}

// --- connections ---------------------------------------------------------------------------------------------------

/** A handle, 0 when memory or the table is exhausted. In the client role `version` is what CONNECT will say. */
export function openConnection(role: u32, version: u32, now: f64): u32 {
  setClock(now);
  const pointer = createConnection(role);
  if (pointer == 0) return 0;
  const connection = connectionAt(pointer);
  if (role == ROLE_CLIENT) {
    connection.version = <u8>version;
    connection.state = STATE_ASKED;
  }
  return connection.handle;
}

/** The transport is gone and holds no memory of this connection any more. */
export function dropConnection(handle: u32, now: f64): void {
  setClock(now);
  const pointer = connectionOf(handle);
  if (pointer == 0) return;
  forgetCurrent(pointer);
  closeConnection(connectionAt(pointer));
}

/** The peer is in: the connection serves `session` from here on. CONNACK is the next thing that the host writes. */
export function acceptConnection(
  handle: u32, session: u32, sendQuota: u32, maximumPacketSize: u32, aliasOutMax: u32, aliasInMax: u32,
  policy: u32,
): bool {
  const pointer = connectionOf(handle);
  const tenant = sessionOf(session);
  if (pointer == 0 || tenant == 0) return false;
  const connection = connectionAt(pointer);
  connection.sendQuota = sendQuota;
  connection.maximumPacketSize = maximumPacketSize;
  connection.aliasOutMax = <u16>aliasOutMax;
  connection.aliasInMax = <u16>aliasInMax;
  connection.policy = <u8>policy;
  connection.state = STATE_OPEN;
  attach(sessionAt(tenant), connection);
  return true;
}
/** Sends what the session has for its connection. */
export function pumpSession(session: u32): void {
  const pointer = sessionOf(session);
  if (pointer != 0) pump(sessionAt(pointer));
}

/** The packet that the connection waited for is answered. */
export function clearWaiting(handle: u32): void {
  const pointer = connectionOf(handle);
  if (pointer != 0) connectionAt(pointer).waiting = 0;
}
export function isWaiting(handle: u32): u32 {
  const pointer = connectionOf(handle);
  return pointer == 0 ? 0 : connectionAt(pointer).waiting;
}
export function hasCarry(handle: u32): u32 {
  const pointer = connectionOf(handle);
  return pointer == 0 ? 0 : connectionAt(pointer).carryLength;
}
/** Nothing more is read from this peer. */
export function closeForReading(handle: u32): void {
  const pointer = connectionOf(handle);
  if (pointer != 0) connectionAt(pointer).state = STATE_CLOSED;
}
export function versionOf(handle: u32): u32 {
  const pointer = connectionOf(handle);
  return pointer == 0 ? 0 : connectionAt(pointer).version;
}
export function lastReceivedAt(handle: u32): f64 {
  const pointer = connectionOf(handle);
  return pointer == 0 ? NaN : connectionAt(pointer).lastReceived;
}
export function bytesReceived(handle: u32): f64 {
  const pointer = connectionOf(handle);
  return pointer == 0 ? NaN : connectionAt(pointer).bytesIn;
}
export function isPaused(handle: u32): u32 {
  const pointer = connectionOf(handle);
  return pointer == 0 ? PAUSE_OFF : connectionAt(pointer).paused;
}
export function sessionOfConnection(handle: u32): u32 {
  const pointer = connectionOf(handle);
  if (pointer == 0 || connectionAt(pointer).session == 0) return 0;
  return sessionAt(connectionAt(pointer).session).handle;
}
export function setPolicy(handle: u32, policy: u32): void {
  const pointer = connectionOf(handle);
  if (pointer != 0) connectionAt(pointer).policy = <u8>policy;
}
export function answerPublish(handle: u32, reasonCode: u32, keep: u32): void {
  const pointer = connectionOf(handle);
  if (pointer == 0) return;
  answerForPublish(connectionAt(pointer), reasonCode, keep);
  connectionAt(pointer).waiting = 0;
}
export function invalidateVerdicts(): void {
  dropVerdicts();
}

/** Appends a packet: writes its fixed header, answers where the host writes the `length` bytes of its body. */
export function beginPacket(handle: u32, firstByte: u32, length: u32): u32 {
  const pointer = connectionOf(handle);
  if (pointer == 0) return 0;
  const at = reserve(connectionAt(pointer), 1 + vbiSize(length) + length);
  if (at == 0) return 0;
  store<u8>(at, <u8>firstByte);
  return writeVbi(at + 1, length);
}

// --- bytes out -----------------------------------------------------------------------------------------------------

export function flushAt(): u32 {
  return flushTable;
}
/** Writes flush rows; call until it answers 0. */
export function flush(): u32 {
  return collectFlush(flushTable, FLUSH_ROWS);
}
/** The transport no longer needs the memory of this chunk. Whoever waited for room goes on. */
export function written(handle: u32, chunk: u32, now: f64): void {
  setClock(now);
  const pointer = connectionOf(handle);
  if (pointer == 0) return;
  const connection = connectionAt(pointer);
  giveChunk(connection, chunk);
  if (connection.session != 0) {
    const session = sessionAt(connection.session);
    if (session.pendingHead != 0) pump(session);
  }
}
/** Long work goes on a piece: replays, endings. True when there is more to do at once. */
export function advance(now: f64): bool {
  setClock(now);
  const replays = advanceReplays();
  const endings = advanceEndings();
  return replays || endings;
}
export function needsFlush(): bool {
  return isDirty();
}

// --- sessions ------------------------------------------------------------------------------------------------------

/** A handle, 0 when memory or the table is exhausted. */
export function openSession(kind: u32, credit: u32, queueMessagesMax: u32, owner: u32): u32 {
  const bound = queueMessagesMax == 0 ? limitOf(LIMIT_QUEUE_MESSAGES) : queueMessagesMax;
  const pointer = createSession(kind, credit, bound);
  if (pointer == 0) return 0;
  const session = sessionAt(pointer);
  if (owner != 0) session.owner = sessionOf(owner);
  return session.handle;
}
export function closeSession(handle: u32, now: f64): void {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer != 0) endSession(sessionAt(pointer));
}
export function detachSession(handle: u32): void {
  const pointer = sessionOf(handle);
  if (pointer != 0) leave(sessionAt(pointer));
}
export function restartSession(handle: u32): void {
  const pointer = sessionOf(handle);
  if (pointer != 0) restartExchanges(sessionAt(pointer));
}
export function connectionOfSession(handle: u32): u32 {
  const pointer = sessionOf(handle);
  if (pointer == 0 || sessionAt(pointer).connection == 0) return 0;
  return connectionAt(sessionAt(pointer).connection).handle;
}
export function queuedMessages(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).queueCount;
}
export function queuedBytes(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).queueBytes;
}
export function inflightMessages(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).inflightCount;
}
export function sessionExists(handle: u32): bool {
  return sessionOf(handle) != 0;
}

// --- subscriptions: filters are written to the exchange area by the host -------------------------------------------

export const SUBSCRIBED_NEW: u32 = 0;
export const SUBSCRIBED_AGAIN: u32 = 1;
export const SUBSCRIBE_NO_MEMORY: u32 = 2;
export const SUBSCRIBE_NO_SESSION: u32 = 3;

/** The filter stands at the exchange area, the share name (length 0 = none) right behind it. */
export function subscribe(
  handle: u32, filterLength: u32, shareNameLength: u32, options: u32, identifier: u32,
): u32 {
  const pointer = sessionOf(handle);
  if (pointer == 0) return SUBSCRIBE_NO_SESSION;
  const made = indexSubscribe(
    exchangeArea, filterLength, exchangeArea + filterLength, shareNameLength, pointer, <u8>options,
    identifier, handle,
  );
  if (made == 0) return SUBSCRIBE_NO_MEMORY;
  if (!subscribeExisted) sessionAt(pointer).subscriptions++;
  return subscribeExisted ? SUBSCRIBED_AGAIN : SUBSCRIBED_NEW;
}
export function unsubscribe(handle: u32, filterLength: u32, shareNameLength: u32): bool {
  const pointer = sessionOf(handle);
  if (pointer == 0) return false;
  const found = findSubscription(
    exchangeArea, filterLength, exchangeArea + filterLength, shareNameLength, pointer,
  );
  if (found == 0) return false;
  indexUnsubscribe(found);
  sessionAt(pointer).subscriptions--;
  return true;
}
/** Starts the replay of retained messages under the filter at the exchange area. */
export function replayRetained(handle: u32, filterLength: u32, qos: u32, identifier: u32): bool {
  const pointer = sessionOf(handle);
  if (pointer == 0) return false;
  return startReplay(sessionAt(pointer), exchangeArea, filterLength, qos, identifier);
}
export function subscriptionsOf(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).subscriptions;
}
/** Walks a session's subscriptions: start with 0; answers the next one's address, 0 at the end. */
export function nextSubscription(handle: u32, after: u32): u32 {
  const pointer = sessionOf(handle);
  if (pointer == 0) return 0;
  return after == 0 ? load<u32>(pointer) : changetype<Subscription>(after).nextOfSession;
}
/** Writes the filter as it was sent to the exchange area; answers its length. */
export function describeSubscription(subscription: u32): u32 {
  return writeTopicFilter(subscription, exchangeArea);
}
export function subscriptionOptions(subscription: u32): u32 {
  return changetype<Subscription>(subscription).options;
}
export function subscriptionIdentifier(subscription: u32): u32 {
  return changetype<Subscription>(subscription).identifier;
}
/** Reason Code of the filter at the exchange area: 0 = valid. */
export function checkTopicFilter(length: u32): u32 {
  return parseTopicFilter(exchangeArea, length);
}
export function checkTopicName(length: u32): bool {
  return isTopicName(exchangeArea, length);
}

// --- messages of the host ------------------------------------------------------------------------------------------

/** A block for a message; the host writes topic, properties and payload to `messageBody` in this order. 0 = no memory. */
export function allocateMessage(topicLength: u32, propertiesLength: u32, payloadLength: u32): u32 {
  return createMessage(topicLength, propertiesLength, payloadLength);
}
export function messageBody(message: u32): u32 {
  return topicOf(message);
}
export function freeMessage(message: u32): void {
  releaseMessage(message);
}

function fillMessage(
  message: u32, qos: u32, retain: u32, expirySeconds: f64, publisher: u32,
): void {
  const block = messageAt(message);
  block.qos = <u8>qos;
  block.retain = <u8>retain;
  block.expiresAt = expirySeconds < 0 ? 0 : clock + expirySeconds * 1000;
  block.publisher = publisher;
}

/** Routes a message of the host and takes its block over. Answers a Reason Code; `token` is told when all have agreed. */
export function publish(
  message: u32, qos: u32, retain: u32, expirySeconds: f64, publisher: u32, token: u32, now: f64,
): u32 {
  setClock(now);
  fillMessage(message, qos, retain, expirySeconds, publisher);
  const topic = internTopic(topicOf(message), messageAt(message).topicLength);
  if (topic == 0) {
    releaseMessage(message);
    return QUOTA_EXCEEDED;
  }
  setSourceFromMessage(message);
  clearTemplates();
  setRouted(topic, sessionOf(publisher), publisher, qos, retain, messageAt(message).expiresAt, message);
  beginHostPublish(qos == 0 ? 0 : token);
  let reason = SUCCESS;
  if (retain && !storeRetained(topicOf(message), messageAt(message).topicLength)) reason = QUOTA_EXCEEDED;
  else if (!route()) reason = QUOTA_EXCEEDED;
  else if (routedMatched == 0) reason = NO_MATCHING_SUBSCRIBERS;
  else if (routedTaken == 0 && qos != 0) reason = QUOTA_EXCEEDED;
  if (isDurable() && reason != QUOTA_EXCEEDED) storeHostMessage(message, qos, retain);
  releaseRouted();
  if (qos != 0) endPublish(reason, 0);
  return reason;
}

function storeHostMessage(message: u32, qos: u32, retain: u32): void {
  const block = messageAt(message);
  if (qos != 0) {
    closeGate(block.publisher, message, retain ? retainedBits(block.payloadLength) : 0, 0);
  } else if (retain) {
    tellRetained(block.payloadLength == 0 ? 0 : message, topicOf(message), block.topicLength);
  }
}

/**
 * Client role: gives a message to the session of an uplink, to be published to its server. QoS 0 leaves now or not at all;
 * QoS 1 and 2 wait in the session's queue, and `token` is told how the exchange ended. Takes the block over.
 */
export function publishTo(
  handle: u32, message: u32, qos: u32, retain: u32, expirySeconds: f64, token: u32, now: f64,
): u32 {
  setClock(now);
  fillMessage(message, qos, retain, expirySeconds, 0);
  const pointer = sessionOf(handle);
  let reason = QUOTA_EXCEEDED;
  if (pointer != 0) {
    reason = qos == 0 ? publishNow(pointer, message, retain) : publishQueued(pointer, message, qos, retain, token);
  }
  releaseMessage(message);
  return reason;
}

function publishNow(pointer: u32, message: u32, retain: u32): u32 {
  const session = sessionAt(pointer);
  if (session.connection == 0) return QUOTA_EXCEEDED;
  const connection = connectionAt(session.connection);
  if (connection.state != STATE_OPEN || connection.txBytes > slabLimit(limitOf(LIMIT_SLAB_BYTES))) {
    return QUOTA_EXCEEDED;
  }
  setSourceFromMessage(message);
  setFrameAlias(0, 0);
  setFrameIdentifiers(0, 0);
  const at = reserve(connection, frameBytes(connection.version, 0));
  if (at == 0) return QUOTA_EXCEEDED;
  writeFrame(at, connection.version, retain, 0, 0);
  return SUCCESS;
}

function publishQueued(pointer: u32, message: u32, qos: u32, retain: u32, token: u32): u32 {
  const session = sessionAt(pointer);
  if (session.queueCount >= session.queueMessagesMax) return QUOTA_EXCEEDED;
  const made = createEntry();
  if (made == 0) return QUOTA_EXCEEDED;
  const entry = entryAt(made);
  entry.message = message;
  messageAt(message).references++;
  entry.qos = <u8>qos;
  if (retain) entry.flags = FLAG_RETAIN;
  beginHostPublish(token);
  makeHold();
  offerEntry(session, made);
  endPublish(SUCCESS, 0);
  pump(session);
  return SUCCESS;
}

// --- the durable gate (switch/gate.ts) ------------------------------------------------------------------------------

/** From here on messages for durable sessions wait for `commitGate`. Before the first connection. */
export function setDurable(): void {
  setGateClosed();
}
/** This session is kept by the engine (1), or no longer (0). */
export function markDurable(handle: u32, kept: u32): void {
  const pointer = sessionOf(handle);
  if (pointer != 0) sessionAt(pointer).durable = kept;
}
export function setGateNumber(gate: u32, number: f64): void {
  numberGate(gate, number);
}
export function commitGate(gate: u32, now: f64): void {
  setClock(now);
  openGate(gate);
}
export function refuseGate(gate: u32, reasonCode: u32, now: f64): void {
  setClock(now);
  abortGate(gate, reasonCode);
}
/** The first frozen entry of a gate, and the one after; 0 = none. */
export function gateEntry(gate: u32): u32 {
  return firstOfGate(gate);
}
export function nextGateEntry(entry: u32): u32 {
  return entryAt(entry).next;
}
/** Session of a frozen entry. */
export function entrySession(entry: u32): u32 {
  return entryAt(entry).prev;
}
/** QoS in bits 0-1, retain in bit 2, copy in bit 3, Packet Identifier in the upper half. */
export function entryFacts(entry: u32): u32 {
  const facts = entryAt(entry);
  return <u32>facts.qos | (<u32>(facts.flags & FLAG_RETAIN) << 2) | (<u32>facts.copy << 3) |
    (<u32>facts.packetIdentifier << 16);
}
/** Encoded Subscription Identifier properties of an entry, written to the exchange area; answers their length. */
export function entryIdentifiers(entry: u32): u32 {
  const facts = entryAt(entry);
  if (facts.flags & FLAG_IDENTIFIERS) {
    const length = load<u32>(facts.identifiers);
    memory.copy(exchangeArea, facts.identifiers + 4, length);
    return length;
  }
  if (facts.identifiers == 0) return 0;
  store<u8>(exchangeArea, SUBSCRIPTION_IDENTIFIER);
  return writeVbi(exchangeArea + 1, facts.identifiers) - exchangeArea;
}
export function entryMessage(entry: u32): u32 {
  return entryAt(entry).message;
}
export function messageTopicLength(message: u32): u32 {
  return messageAt(message).topicLength;
}
export function messageForwardLength(message: u32): u32 {
  return messageAt(message).forwardLength;
}
export function messagePayloadLength(message: u32): u32 {
  return messageAt(message).payloadLength;
}
/** QoS in bits 0-1, retain in bit 2. */
export function messageFlags(message: u32): u32 {
  return <u32>messageAt(message).qos | (<u32>messageAt(message).retain << 2);
}
/** Milliseconds on the core's clock; 0 = never. */
export function messageExpiresAt(message: u32): f64 {
  return messageAt(message).expiresAt;
}
/** PUBREC is on disk: PUBREL leaves. */
export function commitRelease(handle: u32, packetIdentifier: u32, now: f64): void {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer == 0 || sessionAt(pointer).connection == 0) return;
  const entry = entryInSlot(sessionAt(pointer), packetIdentifier);
  if (entry == 0 || entryAt(entry).state != ENTRY_RELEASED) return;
  sendAck(connectionAt(sessionAt(pointer).connection), PUBREL, packetIdentifier, SUCCESS);
}
/** PUBREL is on disk: PUBCOMP leaves. */
export function commitPubrel(handle: u32, packetIdentifier: u32, now: f64): void {
  setClock(now);
  const pointer = connectionOf(handle);
  if (pointer != 0) sendAck(connectionAt(pointer), PUBCOMP, packetIdentifier, SUCCESS);
}

// --- restoring what was stored, before the first connection ----------------------------------------------------------

/** Fills a message made with `allocateMessage`. `expiresAt` is on the core's clock, 0 = never. */
export function restoreMessage(
  message: u32, qos: u32, retain: u32, expiresAt: f64, number: f64,
): void {
  const block = messageAt(message);
  block.qos = <u8>qos;
  block.retain = <u8>retain;
  block.expiresAt = expiresAt;
  block.number = number;
}
/** `facts` as in `entryFacts`; encoded Subscription Identifiers stand at the exchange area. False = no memory. */
export function restoreEntry(
  handle: u32, message: u32, facts: u32, sent: u32, identifiersLength: u32,
): bool {
  const pointer = sessionOf(handle);
  if (pointer == 0) return false;
  const made = createEntry();
  if (made == 0) return false;
  const entry = entryAt(made);
  entry.message = message;
  messageAt(message).references++;
  entry.qos = <u8>(facts & 3);
  entry.copy = <u8>((facts >> 3) & 1);
  entry.packetIdentifier = <u16>(facts >> 16);
  entry.flags = facts & 4 ? FLAG_RETAIN : 0;
  if (sent) {
    entry.state = ENTRY_RESEND;
    entry.flags |= FLAG_DUP;
  }
  if (identifiersLength != 0 && !restoreIdentifiers(made, identifiersLength)) return false;
  offerStored(sessionAt(pointer), made, 0);
  return true;
}
function restoreIdentifiers(pointer: u32, length: u32): bool {
  const block = allocate(MEMORY_MESSAGE, length + 4 + IDENTIFIER_SLACK);
  if (block == 0) return false;
  store<u32>(block, length);
  memory.copy(block + 4, exchangeArea, length);
  entryAt(pointer).identifiers = block;
  entryAt(pointer).flags |= FLAG_IDENTIFIERS;
  return true;
}
const IDENTIFIER_SLACK: u32 = 16;
/** An outgoing QoS 2 exchange that waits for PUBCOMP. */
export function restoreReleased(handle: u32, packetIdentifier: u32, number: f64): bool {
  const pointer = sessionOf(handle);
  const made = pointer == 0 ? 0 : createEntry();
  if (made == 0) return false;
  const entry = entryAt(made);
  entry.qos = 2;
  entry.state = ENTRY_RERELEASE;
  entry.packetIdentifier = <u16>packetIdentifier;
  setReleasedNumber(entry, number);
  appendReleased(sessionAt(pointer), made);
  return bindIdentifier(sessionAt(pointer), made, packetIdentifier);
}
export function restoreInbound(handle: u32, packetIdentifier: u32): bool {
  const pointer = sessionOf(handle);
  return pointer != 0 && addInbound(sessionAt(pointer), packetIdentifier);
}
/** The identifier that the next stored entry of this session gets is the one after this. */
export function setLastIdentifier(handle: u32, packetIdentifier: u32): void {
  const pointer = sessionOf(handle);
  if (pointer != 0) sessionAt(pointer).identifierNext = packetIdentifier;
}
export function lastIdentifier(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).identifierNext;
}
export function restoreRetained(message: u32): bool {
  setSourceFromMessage(message);
  setRouted(0, 0, 0, 0, 1, 0, message);
  const stored = storeRetained(topicOf(message), messageAt(message).topicLength);
  releaseRouted();
  return stored;
}

// --- handlers ------------------------------------------------------------------------------------------------------

/** A handler is done with a QoS 1 or 2 delivery: its publisher may be answered, its place is free. */
export function settle(handle: u32, token: u32, reasonCode: u32, now: f64): bool {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer == 0) return false;
  const session = sessionAt(pointer);
  const entry = entryInSlot(session, token);
  if (entry == 0 || entryAt(entry).packetIdentifier != token || entryAt(entry).state != ENTRY_SENT) {
    return false;
  }
  session.credit++;
  completeSent(session, entry, reasonCode);
  return true;
}
/** A handler is done with a QoS 0 delivery. */
export function grant(handle: u32, now: f64): void {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer == 0) return;
  sessionAt(pointer).credit++;
  pump(sessionAt(pointer));
}

// --- time ----------------------------------------------------------------------------------------------------------

/** Receivers that have kept publishers waiting for too long are named in rows; they keep nobody waiting from here on. */
export function tick(now: f64): void {
  setClock(now);
  const longest = <f64>limitOf(LIMIT_WITHHOLD_MS);
  let pointer = firstHoldingSession();
  while (pointer != 0) {
    const session = sessionAt(pointer);
    const next = session.holdingNext;
    if (clock - holdingSince(session) >= longest) {
      if (session.connection != 0) addRow(ROW_WITHHELD, connectionAt(session.connection).handle);
      releaseReceiverHolds(session);
    }
    pointer = next;
  }
}

// --- the matcher, for rules ----------------------------------------------------------------------------------------

export function createMatcher(): u32 {
  return matcherCreate();
}
export function addToMatcher(matcher: u32, filterLength: u32, id: u32): u32 {
  return matcherAdd(matcher, exchangeArea, filterLength, id);
}
export function removeFromMatcher(matcher: u32, filterLength: u32, id: u32): void {
  matcherRemove(matcher, exchangeArea, filterLength, id);
}
/** Ids of the filters that match the topic at the exchange area; they are written behind it, at a multiple of 8. */
export function matchTopic(matcher: u32, topicLength: u32, maximum: u32): u32 {
  const out = exchangeArea + ((topicLength + 15) & ~7);
  return matcherMatch(matcher, exchangeArea, topicLength, out, maximum);
}
export function freeMatcher(matcher: u32): void {
  matcherFree(matcher);
}
