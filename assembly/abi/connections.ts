/** Connections, and the answers of the control plane for them. */
import { vbiSize, writeVbi } from '../codec/variable-byte-integer';
import {
  STATE_ASKED, STATE_CLOSED, STATE_OPEN, WAITING_SUBACK, connectionAt, connectionOf,
  createConnection,
} from '../session/connection';
import { pump } from '../session/delivery';
import { closeConnection, leave } from '../session/ending';
import { setClock } from '../session/limits';
import { messageAt, releaseMessage, setMessageFacts } from '../session/message-block';
import { beginReplays } from '../session/replay';
import { attach } from '../session/resume';
import { sessionAt, sessionOf } from '../session/session';
import { reserve } from '../session/slab';
import { forgetVerdicts, invalidateVerdicts as dropVerdicts } from '../session/verdict-table';
import { releaseReceiverHolds } from '../session/withholding';
import { PAUSE_OFF, ROLE_CLIENT } from '../shared/abi';
import { forgetCurrent } from '../switch/ingest';
import {
  dropPublish, isIntercepted, passPublish, receivedAt, replacePublish, setInterceptionFilters,
} from '../switch/interception';
import { answerPublish as answerForPublish } from '../switch/receive-publish';
import { expiryFrom } from '../switch/routed';

/**
 * A handle, 0 when memory or the table is exhausted. In the client role `version` is what CONNECT
 * will say.
 */
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

/** Before its first byte: the limits of this connection are those of a table (`createLimits`). */
export function useLimits(handle: u32, table: u32): void {
  const pointer = connectionOf(handle);
  if (pointer != 0) connectionAt(pointer).limits = table;
}

/** The transport is gone and holds no memory of this connection any more. */
export function dropConnection(handle: u32, now: f64): void {
  setClock(now);
  const pointer = connectionOf(handle);
  if (pointer == 0) return;
  forgetCurrent(pointer);
  closeConnection(connectionAt(pointer));
}

/**
 * The peer is in: the connection serves `session` from here on. CONNACK is the next thing that the
 * host writes.
 */
export function acceptConnection(
  handle: u32, session: u32, sendQuota: u32, maximumPacketSize: u32, aliasOutMax: u32,
  aliasInMax: u32,
  policy: u32,
): bool {
  const pointer = connectionOf(handle);
  const tenant = sessionOf(session);
  if (pointer == 0 || tenant == 0) return false;
  const connection = connectionAt(pointer);
  // Closed while the answer was under way, or in already.
  if (connection.state == STATE_CLOSED || connection.session != 0) return false;
  leave(sessionAt(tenant)); // no session has two connections
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
  if (pointer == 0) return;
  const connection = connectionAt(pointer);
  const before = connection.waiting;
  connection.waiting = 0;
  if (before == WAITING_SUBACK && connection.session != 0) {
    beginReplays(sessionAt(connection.session));
  }
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
  if (pointer == 0) return;
  const connection = connectionAt(pointer);
  connection.state = STATE_CLOSED;
  // It acknowledges nothing any more: nobody waits for it while its last bytes leave.
  if (connection.session != 0) releaseReceiverHolds(sessionAt(connection.session));
}
/** Maximum Packet Size of the peer; 0 = none. */
export function maximumPacketSizeOf(handle: u32): u32 {
  const pointer = connectionOf(handle);
  return pointer == 0 ? 0 : connectionAt(pointer).maximumPacketSize;
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
export function publishesReceived(handle: u32): f64 {
  const pointer = connectionOf(handle);
  return pointer == 0 ? NaN : connectionAt(pointer).publishes;
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
/** What was decided about this connection before is forgotten. */
export function setPolicy(handle: u32, policy: u32): void {
  const pointer = connectionOf(handle);
  if (pointer == 0) return;
  connectionAt(pointer).policy = <u8>policy;
  forgetVerdicts(connectionAt(pointer).verdicts);
}
export function answerPublish(handle: u32, reasonCode: u32, keep: u32): void {
  const pointer = connectionOf(handle);
  if (pointer == 0) return;
  if (!connectionAt(pointer).waiting) return; // answers nothing that is asked now
  answerForPublish(connectionAt(pointer), reasonCode, keep);
  connectionAt(pointer).waiting = 0;
}
/** Filters whose messages are shown to the host before they are routed; takes the matcher over. */
export function setInterceptors(matcher: u32): void {
  setInterceptionFilters(matcher);
}
/** The PUBLISH that waits goes on as it came. */
export function passIntercepted(handle: u32): void {
  const pointer = connectionOf(handle);
  if (pointer == 0 || !isIntercepted(connectionAt(pointer))) return;
  passPublish(connectionAt(pointer));
  connectionAt(pointer).waiting = 0;
}
/** This block is routed instead of it, which it takes over. */
export function replaceIntercepted(
  handle: u32, message: u32, retain: u32, expirySeconds: f64, now: f64,
): void {
  setClock(now);
  const pointer = connectionOf(handle);
  if (pointer == 0 || !isIntercepted(connectionAt(pointer))) {
    releaseMessage(message);
    return;
  }
  const connection = connectionAt(pointer);
  const block = messageAt(message);
  setMessageFacts(message, 0, retain); // its QoS is that of the packet
  block.expiresAt = expiryFrom(receivedAt(connection), expirySeconds);
  replacePublish(connection, message);
  connection.waiting = 0;
}
/** It is acknowledged with this Reason Code and goes to nobody. */
export function dropIntercepted(handle: u32, reasonCode: u32): void {
  const pointer = connectionOf(handle);
  if (pointer == 0 || !isIntercepted(connectionAt(pointer))) return;
  dropPublish(connectionAt(pointer), reasonCode);
  connectionAt(pointer).waiting = 0;
}
export function invalidateVerdicts(): void {
  dropVerdicts();
}

/**
 * Appends a packet: writes its fixed header, answers where the host writes the `length` bytes of
 * its body.
 */
export function beginPacket(handle: u32, firstByte: u32, length: u32): u32 {
  const pointer = connectionOf(handle);
  if (pointer == 0) return 0;
  const at = reserve(connectionAt(pointer), 1 + vbiSize(length) + length);
  if (at == 0) return 0;
  store<u8>(at, <u8>firstByte);
  return writeVbi(at + 1, length);
}
