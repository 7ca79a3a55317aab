/**
 * Bytes in. One call takes one chunk of one connection, frames and checks every packet in it, and
 * acts on it: PUBLISH and the acknowledgements within the core, everything else as a row for the
 * control plane.
 *
 * ```
 *            headroom (64 KiB)            RX window (256 KiB)
 *   ........+------------------------+------------------------------------+
 *           |        carried tail -> | chunk as the socket gave it        |
 *   ........+------------------------+------------------------------------+
 *                  ^ windowAt                                  ^ windowEnd
 * ```
 * A packet that was split over two chunks becomes whole by copying its first part below the new
 * chunk. Packets larger than the headroom are collected in a block of their own, which grows as
 * bytes arrive.
 *
 * A row that needs an answer stops the connection (`waiting`): the host answers and calls `resume`,
 * or calls `park`, and `ingestCarry` when the answer has come.
 */
import { MEMORY_CARRY } from '../shared/memory-class';
import {
  COUNT_BYTES_RECEIVED, COUNT_PACKETS_RECEIVED, DETAIL_ACKNOWLEDGEMENT, DETAIL_FIRST_PACKET,
  DETAIL_MALFORMED, DETAIL_MEMORY, DETAIL_PACKET_TOO_LARGE, DETAIL_SECOND_CONNECT,
  DETAIL_UNEXPECTED_PACKET, DETAIL_VERSION, INGEST_DONE, INGEST_FAILED, INGEST_LATER,
  INGEST_STOPPED,
  LIMIT_PACKET_BYTES, LIMIT_SLAB_BYTES, LIMIT_UNAUTHENTICATED_BYTES,
  LIMIT_USER_PROPERTIES, ROLE_CLIENT, ROW_NOTICE,
  ROW_PACKET,
} from '../shared/abi';
import {
  AUTH, CONNACK, CONNECT, DISCONNECT, FRAME_MALFORMED, FRAME_MORE, PINGREQ, PINGRESP, PUBACK,
  PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE,
} from '../shared/control-packet';
import {
  MALFORMED_PACKET, PACKET_IDENTIFIER_NOT_FOUND, PACKET_TOO_LARGE, PROTOCOL_ERROR, QUOTA_EXCEEDED,
  SUCCESS, UNSUPPORTED_PROTOCOL_VERSION,
} from '../shared/reason-code';
import { release } from '../memory/blocks';
import { ackPacketIdentifier, ackReasonCode, parseAcknowledgement } from '../codec/acknowledgement';
import { parseAuth } from '../codec/auth';
import { parseConnack } from '../codec/connack';
import { connect, connectVersionUnsupported, parseConnect } from '../codec/connect';
import { parseDisconnect, parseDisconnectFromServer } from '../codec/disconnect';
import { frameBodyAt, frameHeader, frameRemaining, readFixedHeader } from '../codec/fixed-header';
import { properties, setUserPropertiesMax } from '../codec/properties';
import { parseSuback, parseUnsuback } from '../codec/suback';
import { parseSubscribe } from '../codec/subscribe';
import { parseUnsubscribe } from '../codec/unsubscribe';
import {
  Connection, STATE_ASKED, STATE_CLOSED, STATE_OPEN, STATE_OPENING, WAITING_ANSWER,
  WAITING_SUBACK, carryBytes, connectionAt, takeCarry,
} from '../session/connection';
import { failConnection } from '../session/failure';
import { sendAck } from '../session/holds';
import { clock, count, limitIn } from '../session/limits';
import { receivePuback, receivePubcomp, receivePubrec } from '../session/receiver-answers';
import { removeInbound, sessionAt } from '../session/session';
import { reserve } from '../session/slab';
import { beginWork, isSpent } from './budget';
import { addRow, rowsAreMany, setColumn, tellPubrel } from './events';
import { endInterception } from './interception';
import { PUBLISH_ASK, receivePublish } from './receive-publish';

const HEADROOM_BYTES: u32 = 65536;
export const WINDOW_BYTES: u32 = 262144;
const WINDOW_SLACK: u32 = 64;
const INGEST_BYTES: u32 = HEADROOM_BYTES + WINDOW_BYTES + WINDOW_SLACK;
/**
 * A peer that sends and never reads is closed when its answers alone fill a slab this far beyond
 * the limit.
 */
const ANSWERS_BYTES_MAX: u32 = 1048576;
const PINGRESP_BYTES: u16 = 0x00d0; // D0 00

let rxWindow: u32 = 0;
/** The connection whose bytes are in hand. */
let current: u32 = 0;
let windowAt: u32 = 0;
let windowEnd: u32 = 0;
/** What follows in the RX window while a packet from a carry block is in hand. */
let restAt: u32 = 0;
let restEnd: u32 = 0;
/** A carry block that the rows of this turn still point into. */
let retired: u32 = 0;

export function initialiseIngest(at: u32): u32 {
  rxWindow = at + HEADROOM_BYTES;
  return at + INGEST_BYTES;
}
export function windowAddress(): u32 {
  return rxWindow;
}

function begin(pointer: u32): void {
  if (retired != 0) release(MEMORY_CARRY, retired);
  retired = 0;
  beginWork();
  current = pointer;
  windowAt = 0;
  windowEnd = 0;
  restAt = 0;
  restEnd = 0;
  setUserPropertiesMax(limitIn(connectionAt(pointer).limits, LIMIT_USER_PROPERTIES));
}

/** The connection in hand is gone: what is left of its bytes is of no interest. */
export function forgetCurrent(pointer: u32): void {
  if (current != pointer) return;
  current = 0;
  windowAt = windowEnd;
  restAt = restEnd;
}

/** `length` bytes of this connection stand at the RX window. */
export function ingestChunk(pointer: u32, length: u32): u32 {
  begin(pointer);
  const connection = connectionAt(pointer);
  connection.bytesIn += length;
  count(COUNT_BYTES_RECEIVED, length);
  if (connection.state == STATE_CLOSED) return INGEST_FAILED;
  if (connection.waiting) return keep(connection, rxWindow, rxWindow + length);
  windowAt = rxWindow;
  windowEnd = rxWindow + length;
  const carried = connection.carryLength;
  if (carried != 0) {
    if (carried <= HEADROOM_BYTES) {
      windowAt = rxWindow - carried;
      memory.copy(windowAt, connection.carry, carried);
      release(MEMORY_CARRY, takeCarry(connection));
    } else if (!joinLargePacket(connection)) {
      return connection.state == STATE_CLOSED ? INGEST_FAILED : INGEST_DONE;
    }
  }
  return run(connection);
}

/** Appends the chunk to a packet that is being collected; true when it is whole and in hand. */
function joinLargePacket(connection: Connection): bool {
  const start = connection.carry;
  readFixedHeader(start, start + connection.carryLength, connection.version);
  const total = frameBodyAt - start + frameRemaining;
  if (total <= connection.carryLength) return joinCarried(connection);
  const taken = min(total - connection.carryLength, windowEnd - windowAt);
  if (!carryBytes(connection, windowAt, taken)) {
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return false;
  }
  if (connection.carryLength < total) return false;
  restAt = windowAt + taken;
  restEnd = windowEnd;
  retired = takeCarry(connection);
  windowAt = retired;
  windowEnd = retired + total;
  return true;
}

/** What was carried is more than a part of one packet: all of it is read from one block. */
function joinCarried(connection: Connection): bool {
  if (!carryBytes(connection, windowAt, windowEnd - windowAt)) {
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return false;
  }
  const length = connection.carryLength;
  retired = takeCarry(connection);
  windowAt = retired;
  windowEnd = retired + length;
  return true;
}

/** After the rows were read and the answer given: goes on where it stopped. */
export function resumeChunk(): u32 {
  if (current == 0) return INGEST_DONE;
  const connection = connectionAt(current);
  if (connection.state == STATE_CLOSED) return INGEST_FAILED;
  return run(connection);
}

/** The answer will come later: what has not been read is carried. */
export function parkChunk(): void {
  if (current == 0) return;
  const connection = connectionAt(current);
  if (connection.state == STATE_CLOSED) return;
  keepRest(connection);
  current = 0;
}

/**
 * Nothing more is read for now. A publisher that is paused in the middle of a chunk stops there:
 * what follows would find its own queue closed to it, and be refused.
 */
function keepRest(connection: Connection): u32 {
  const kept = keep(connection, windowAt, windowEnd);
  windowAt = windowEnd;
  if (kept != INGEST_DONE) return kept;
  const keptRest = keep(connection, restAt, restEnd);
  restAt = restEnd;
  return keptRest;
}

/** The answer has come: what was carried is read. */
export function ingestCarried(pointer: u32): u32 {
  begin(pointer);
  const connection = connectionAt(pointer);
  if (connection.state == STATE_CLOSED) return INGEST_FAILED;
  if (connection.waiting || connection.carryLength == 0) return INGEST_DONE;
  const length = connection.carryLength;
  retired = takeCarry(connection);
  windowAt = retired;
  windowEnd = retired + length;
  return run(connection);
}

function keepForLater(connection: Connection): u32 {
  const kept = keepRest(connection);
  return kept == INGEST_DONE && connection.carryLength != 0 ? INGEST_LATER : kept;
}

function keep(connection: Connection, from: u32, to: u32): u32 {
  if (from == to) return INGEST_DONE;
  const limit = connection.state == STATE_OPEN
    ? limitIn(connection.limits, LIMIT_PACKET_BYTES) + WINDOW_BYTES
    : limitIn(connection.limits, LIMIT_UNAUTHENTICATED_BYTES);
  if (connection.carryLength + (to - from) > limit) {
    failConnection(connection, PACKET_TOO_LARGE, DETAIL_PACKET_TOO_LARGE);
    return INGEST_FAILED;
  }
  if (carryBytes(connection, from, to - from)) return INGEST_DONE;
  failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
  return INGEST_FAILED;
}

/** Reads packets until the bytes end, the host is needed, or the peer is at fault. */
function run(connection: Connection): u32 {
  while (true) {
    if (connection.paused) return keepRest(connection);
    if (windowAt == windowEnd) {
      if (restAt == restEnd) break;
      windowAt = restAt;
      windowEnd = restEnd;
      restAt = restEnd;
    }
    const state = readFixedHeader(windowAt, windowEnd, connection.version);
    if (state == FRAME_MALFORMED) {
      failConnection(connection, MALFORMED_PACKET, DETAIL_MALFORMED);
      return INGEST_FAILED;
    }
    if (state == FRAME_MORE && windowEnd - windowAt < 1) break;
    if (!isWelcome(connection, load<u8>(windowAt) >> 4)) return INGEST_FAILED;
    if (state == FRAME_MORE) break;
    const packetAt = windowAt;
    const bodyAt = frameBodyAt;
    if (isTooLarge(connection, bodyAt - packetAt + frameRemaining)) return INGEST_FAILED;
    if (frameRemaining > windowEnd - bodyAt) break;
    const end = bodyAt + frameRemaining;
    if (!receivePacket(connection, frameHeader, packetAt, bodyAt, end)) return INGEST_STOPPED;
    windowAt = end;
    if (connection.state == STATE_CLOSED) return INGEST_FAILED;
    if (connection.waiting || rowsAreMany()) return INGEST_STOPPED;
    if (isSpent()) return keepForLater(connection);
  }
  const kept = keep(connection, windowAt, windowEnd);
  windowAt = windowEnd;
  if (kept != INGEST_DONE) return kept;
  if (connection.txBytes > limitIn(connection.limits, LIMIT_SLAB_BYTES) + ANSWERS_BYTES_MAX) {
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return INGEST_FAILED;
  }
  return INGEST_DONE;
}

/** Refused by its size before its bytes are waited for. */
function isTooLarge(connection: Connection, bytes: u32): bool {
  const limit = connection.state == STATE_OPEN
    ? limitIn(connection.limits, LIMIT_PACKET_BYTES) // [MQTT-3.2.2-15]
    : limitIn(connection.limits, LIMIT_UNAUTHENTICATED_BYTES);
  if (bytes <= limit) return false;
  failConnection(connection, PACKET_TOO_LARGE, DETAIL_PACKET_TOO_LARGE);
  return true;
}

/**
 * May a packet of this type come now? Known from its first byte, so nobody waits for the rest of a
 * wrong one.
 */
function isWelcome(connection: Connection, type: u32): bool {
  let detail: u32 = DETAIL_UNEXPECTED_PACKET;
  if (connection.role == ROLE_CLIENT) {
    const isV5 = connection.version == 5;
    if (connection.state == STATE_OPEN ? isFromServer(type, isV5) : isFirstFromServer(type, isV5)) {
      return true;
    }
  } else if (connection.state == STATE_OPENING) {
    if (type == CONNECT) return true; // [MQTT-3.1.0-1]
    detail = DETAIL_FIRST_PACKET;
  } else if (connection.state == STATE_ASKED) {
    if (type == AUTH || type == DISCONNECT) return true;
  } else if (type == CONNECT) { // [MQTT-3.1.0-2]
    detail = DETAIL_SECOND_CONNECT;
  } else if (isFromClient(type, connection.version)) {
    return true;
  }
  failConnection(connection, PROTOCOL_ERROR, detail);
  return false;
}

@inline
function isFromClient(type: u32, version: u32): bool {
  return (type >= PUBLISH && type <= SUBSCRIBE) || type == UNSUBSCRIBE || type == PINGREQ ||
    type == DISCONNECT || (type == AUTH && version == 5);
}
@inline
function isFromServer(type: u32, isV5: bool): bool {
  return (type >= PUBLISH && type <= PUBCOMP) || type == SUBACK || type == UNSUBACK ||
    type == PINGRESP || (isV5 && (type == DISCONNECT || type == AUTH));
}
@inline
function isFirstFromServer(type: u32, isV5: bool): bool {
  return type == CONNACK || (isV5 && (type == AUTH || type == DISCONNECT));
}

/** One whole packet. False when it must be read again after an answer. */
function receivePacket(
  connection: Connection, header: u32, packetAt: u32, bodyAt: u32, end: u32,
): bool {
  const type = header >> 4;
  if (type == PUBLISH) {
    if (receivePublish(connection, header, packetAt, bodyAt, end) == PUBLISH_ASK) {
      connection.waiting = WAITING_ANSWER;
      return false;
    }
    if (connection.interception != 0) endInterception(connection);
  } else if (type >= PUBACK && type <= PUBCOMP) {
    receiveAcknowledgement(connection, type, bodyAt, end);
  } else if (type == PINGREQ) {
    const at = reserve(connection, 2); // [MQTT-3.12.4-1]
    if (at != 0) store<u16>(at, PINGRESP_BYTES);
  } else {
    receiveControl(connection, header, bodyAt, end);
  }
  connection.lastReceived = clock;
  count(COUNT_PACKETS_RECEIVED, 1);
  return true;
}

function receiveAcknowledgement(connection: Connection, type: u32, bodyAt: u32, end: u32): void {
  const reason = parseAcknowledgement(type, bodyAt, end, connection.version);
  if (reason != SUCCESS) {
    failConnection(connection, reason, DETAIL_MALFORMED);
    return;
  }
  if (connection.session == 0) return;
  const session = sessionAt(connection.session);
  const identifier = ackPacketIdentifier;
  if (type == PUBREL) {
    // [MQTT-4.3.3-12]: from here on the identifier means a new message. The answer leaves whatever
    // has become of the message [MQTT-4.3.3-13].
    const known = removeInbound(session, identifier);
    if (known && connection.inboundOpen != 0) connection.inboundOpen--;
    if (known && session.durable) {
      // PUBCOMP leaves when that is on disk.
      tellPubrel(connection.handle, identifier, session.handle);
      return;
    }
    // [MQTT-4.3.3-11]
    sendAck(connection, PUBCOMP, identifier, known ? SUCCESS : PACKET_IDENTIFIER_NOT_FOUND);
    return;
  }
  const fits = type == PUBACK ? receivePuback(session, identifier, ackReasonCode)
    : type == PUBREC ? receivePubrec(session, connection, identifier, ackReasonCode)
    : receivePubcomp(session, identifier, ackReasonCode);
  if (!fits) failConnection(connection, PROTOCOL_ERROR, DETAIL_ACKNOWLEDGEMENT);
}

/** Packets that the control plane answers, checked in full before it sees them. */
function receiveControl(connection: Connection, header: u32, bodyAt: u32, end: u32): void {
  const type = header >> 4;
  if (type == CONNACK) takeOldRefusal(connection, bodyAt, end);
  const reason = controlReason(connection, type, bodyAt, end);
  if (type == CONNECT) takeVersion(connection);
  if (reason != SUCCESS) {
    const unknown = reason == UNSUPPORTED_PROTOCOL_VERSION;
    failConnection(connection, reason, unknown ? DETAIL_VERSION : DETAIL_MALFORMED);
    return;
  }
  const answers = connection.role == ROLE_CLIENT
    ? type == SUBACK || type == UNSUBACK || type == PINGRESP
    : false;
  const row = addRow(answers ? ROW_NOTICE : ROW_PACKET, connection.handle);
  if (row == 0) {
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return;
  }
  setColumn(row, 2, header);
  setColumn(row, 3, bodyAt);
  setColumn(row, 4, end - bodyAt);
  if (type == DISCONNECT) connection.state = STATE_CLOSED; // [MQTT-3.14.4-3]
  else if (!answers) connection.waiting = type == SUBSCRIBE ? WAITING_SUBACK : WAITING_ANSWER;
  if (type == CONNECT) {
    connection.state = STATE_ASKED;
    connection.maximumPacketSize = properties.maximumPacketSize; // holds for CONNACK as well
  }
}

function controlReason(connection: Connection, type: u32, bodyAt: u32, end: u32): u32 {
  const version = connection.version;
  switch (type) {
    case CONNECT: return parseConnect(bodyAt, end);
    case SUBSCRIBE: return parseSubscribe(bodyAt, end, version);
    case UNSUBSCRIBE: return parseUnsubscribe(bodyAt, end, version);
    case AUTH: return parseAuth(bodyAt, end);
    case CONNACK: return parseConnack(bodyAt, end, version);
    case SUBACK: return parseSuback(bodyAt, end, version);
    case UNSUBACK: return parseUnsuback(bodyAt, end, version);
    case DISCONNECT:
      return connection.role == ROLE_CLIENT
        ? parseDisconnectFromServer(bodyAt, end, version)
        : parseDisconnect(bodyAt, end, version);
    default: return SUCCESS;
  }
}

/** Client role: a server that does not know MQTT 5 says so in the form of 3.1.1. */
function takeOldRefusal(connection: Connection, bodyAt: u32, end: u32): void {
  if (connection.version == 5 && end - bodyAt == 2 && load<u8>(bodyAt, 1) != 0) {
    connection.version = 4;
  }
}

/**
 * From CONNECT on the connection speaks this version; an unknown one is answered in the nearest
 * form.
 */
function takeVersion(connection: Connection): void {
  if (connect.version != 0) connection.version = <u8>connect.version;
  else if (connectVersionUnsupported > 5) connection.version = 5;
}
