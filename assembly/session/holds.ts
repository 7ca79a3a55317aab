/**
 * Holds: acknowledgements that wait. A publisher's PUBACK or PUBREC leaves when everybody it must
 * wait for has agreed: receivers at their bound, handlers that have not settled. Acknowledgements
 * of one connection leave in the order in which the messages came, so
 * a ready one waits behind one that is not.
 *
 * A hold outlives its connection (as an *orphan* of the publisher's session) while somebody is
 * still at work on the message: a DUP that arrives after a resume joins it instead of being routed
 * again.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { allocateUrgent, release } from '../memory/blocks';
import { LIMIT_HELD_BYTES, PAUSE_OFF, PAUSE_ON, ROW_PAUSE } from '../shared/abi';
import { PUBREC } from '../shared/control-packet';
import { addRow, setColumn, tellPublished } from '../switch/events';
import { closeGateOfHold } from '../switch/gate';
import { writeAcknowledgement } from '../codec/acknowledgement';
import { Connection, STATE_OPEN, connectionAt } from './connection';
import { clock, limitIn } from './limits';
import { addOrphan, findOrphan, removeOrphan } from './orphans';
import { removeInbound, sessionAt } from './session';
import { allowHoldingWithinBound, releaseReceiverHolds } from './withholding';
import { failConnection } from './failure';
import { reserve } from './slab';
import { DETAIL_MEMORY } from '../shared/abi';
import { QUOTA_EXCEEDED } from '../shared/reason-code';

/** Reason Codes from here on say that something failed. */
export const REASON_FAILURE: u32 = 0x80;
const ACKNOWLEDGEMENT_BYTES_MAX: u32 = 8;
/** What a hold counts besides the bytes of its message. */
const HOLD_BYTES: u32 = 48;

/**
 * ```
 *  0      4            8         12        16      20      24    26     27       28       32
 *  +------+------------+---------+---------+-------+-------+-----+------+--------+--------+-------+
 *  | next | connection | session | waiting | bytes | token | pid | kind | reason | stores | since |
 *  +------+------------+---------+---------+-------+-------+-----+------+--------+--------+-------+
 * ```
 */
@unmanaged
export class Hold {
  next: u32; // in the connection's row of acknowledgements
  connection: u32; // 0 = gone
  session: u32; // the publisher's; 0 = none or ended
  waiting: u32; // how many are still to agree
  bytes: u32; // counted against heldBytesMax
  token: u32; // the host's name for a message of its own; 0 = `kind` answers a peer
  packetIdentifier: u16;
  kind: u8; // packet type of the answer: PUBACK or PUBREC
  reason: u8; // the worst that was said so far
  stores: u32; // 1 = client role, QoS 2: the identifier is stored before the answer leaves
  since: f64;
}

@inline
export function holdAt(pointer: u32): Hold {
  return changetype<Hold>(pointer);
}

/**
 * A hold that waits for nobody yet. It counts `bytes` against its publisher. 0 when memory is
 * exhausted.
 */
function createHold(): u32 {
  const pointer = allocateUrgent(MEMORY_RECORD, offsetof<Hold>());
  if (pointer == 0) return 0;
  memory.fill(pointer, 0, offsetof<Hold>());
  holdAt(pointer).since = clock;
  return pointer;
}

/** For a message of the host itself: `tellPublished(token)` when all have agreed. */
export function createTokenHold(token: u32): u32 {
  const pointer = createHold();
  if (pointer != 0) holdAt(pointer).token = token;
  return pointer;
}

/** For a PUBLISH of a peer; takes its place in the connection's row of acknowledgements. */
export function createPeerHold(connection: Connection, kind: u32, packetIdentifier: u32): u32 {
  const pointer = createHold();
  if (pointer == 0) return 0;
  const hold = holdAt(pointer);
  hold.session = connection.session;
  hold.kind = <u8>kind;
  hold.packetIdentifier = <u16>packetIdentifier;
  enqueueHold(connection, pointer);
  return pointer;
}

function enqueueHold(connection: Connection, pointer: u32): void {
  const hold = holdAt(pointer);
  hold.connection = changetype<u32>(connection);
  hold.next = 0;
  if (connection.ackTail != 0) holdAt(connection.ackTail).next = pointer;
  else connection.ackHead = pointer;
  connection.ackTail = pointer;
}

/** Starts to count a held message against its publisher, who stops being read at `heldBytesMax`. */
export function chargeHold(connection: Connection, pointer: u32, bytes: u32): void {
  holdAt(pointer).bytes = bytes + HOLD_BYTES; // the smallest messages cost something, too
  connection.heldBytes += bytes + HOLD_BYTES;
  if (!connection.paused && connection.heldBytes > limitIn(connection.limits, LIMIT_HELD_BYTES)) {
    connection.paused = 1;
    tellPause(connection, PAUSE_ON);
    // A paused connection never makes another publisher wait: its own acknowledgements could not be
    // read.
    if (connection.session != 0) releaseReceiverHolds(sessionAt(connection.session));
  }
}

function discharge(connection: Connection, hold: Hold): void {
  connection.heldBytes -= hold.bytes;
  hold.bytes = 0;
  const heldBytesMax = limitIn(connection.limits, LIMIT_HELD_BYTES);
  if (connection.paused && connection.heldBytes <= heldBytesMax >> 1) {
    connection.paused = 0;
    if (connection.session != 0) allowHoldingWithinBound(sessionAt(connection.session));
    tellPause(connection, PAUSE_OFF);
  }
}

function tellPause(connection: Connection, what: u32): void {
  const row = addRow(ROW_PAUSE, connection.handle);
  if (row != 0) setColumn(row, 2, what);
}

/** One of those that a hold waits for has agreed. The worst Reason Code wins. */
export function releaseHold(pointer: u32, reasonCode: u32): void {
  const hold = holdAt(pointer);
  if (reasonCode > <u32>hold.reason) hold.reason = <u8>reasonCode;
  if (--hold.waiting != 0) return;
  if (hold.token != 0) {
    tellPublished(hold.token, hold.reason);
    release(MEMORY_RECORD, pointer);
    return;
  }
  if (hold.stores && isStoring(pointer)) return;
  if (hold.connection != 0) {
    sendReadyAcknowledgements(connectionAt(hold.connection));
    return;
  }
  if (hold.session != 0) {
    removeOrphan(sessionAt(hold.session), pointer);
    forgetUntaken(hold);
  }
  release(MEMORY_RECORD, pointer);
}

/** Whether the host stores the identifier now; the hold is released again when that is done. */
function isStoring(pointer: u32): bool {
  const hold = holdAt(pointer);
  hold.stores = 0;
  if (hold.session == 0) return false;
  const isV5 = hold.connection != 0 && connectionAt(hold.connection).version == 5;
  // 5.0 [MQTT-4.3.3-9]: refused, the identifier means a new message.
  if (<u32>hold.reason >= REASON_FAILURE && (isV5 || <u32>hold.reason == QUOTA_EXCEEDED)) {
    return false;
  }
  if (closeGateOfHold(sessionAt(hold.session), pointer)) return true;
  hold.reason = <u8>QUOTA_EXCEEDED;
  if (hold.connection != 0) {
    failConnection(connectionAt(hold.connection), QUOTA_EXCEEDED, DETAIL_MEMORY);
  }
  return false;
}

/**
 * 0x97 says that nobody has the message. An answer that cannot leave any more takes the QoS 2
 * identifier with it: the DUP that will come is to be routed, not answered.
 */
function forgetUntaken(hold: Hold): void {
  if (<u32>hold.kind == PUBREC && <u32>hold.reason == QUOTA_EXCEEDED) {
    removeInbound(sessionAt(hold.session), hold.packetIdentifier);
  }
}

/** A hold that nobody joined: its acknowledgement may leave when its turn comes. */
function sendReadyAcknowledgements(connection: Connection): void {
  while (connection.ackHead != 0) {
    const pointer = connection.ackHead;
    const hold = holdAt(pointer);
    if (hold.waiting != 0) return;
    connection.ackHead = hold.next;
    if (hold.next == 0) connection.ackTail = 0;
    discharge(connection, hold);
    sendAcknowledgement(connection, hold.kind, hold.packetIdentifier, hold.reason);
    release(MEMORY_RECORD, pointer);
  }
}

/** Answers a PUBLISH: at once when no earlier answer waits, else in its turn. */
export function acknowledge(
  connection: Connection, kind: u32, packetIdentifier: u32, reasonCode: u32,
): void {
  if (connection.ackHead == 0) { // no earlier one waits [MQTT-4.6.0-2] [MQTT-4.6.0-3]
    sendAcknowledgement(connection, kind, packetIdentifier, reasonCode);
    return;
  }
  const pointer = createPeerHold(connection, kind, packetIdentifier);
  if (pointer == 0) {
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return;
  }
  holdAt(pointer).reason = <u8>reasonCode;
  chargeHold(connection, pointer, 0);
}

/** Writes PUBACK or PUBREC and gives the publisher its quota back [MQTT-4.9.0-1]. */
function sendAcknowledgement(
  connection: Connection, kind: u32, packetIdentifier: u32, reasonCode: u32,
): void {
  const ended = kind != PUBREC || reasonCode >= REASON_FAILURE;
  if (ended && connection.inboundOpen != 0) connection.inboundOpen--;
  if (kind == PUBREC && reasonCode >= REASON_FAILURE && connection.session != 0) {
    // 5.0 [MQTT-4.3.3-9]: the identifier means a new message after this. 3.x hears no reason; 0x97
    // is not answered there but with the end of the connection, and comes again.
    const isNew = connection.version == 5 || reasonCode == QUOTA_EXCEEDED;
    if (isNew) removeInbound(sessionAt(connection.session), packetIdentifier);
  }
  sendAck(connection, kind, packetIdentifier, reasonCode);
}

/** Writes one of PUBACK, PUBREC, PUBREL, PUBCOMP. */
export function sendAck(
  connection: Connection, kind: u32, packetIdentifier: u32, reasonCode: u32,
): void {
  if (connection.state != STATE_OPEN) return;
  // 5.0 [MQTT-4.9.0-3] [MQTT-3.3.4-10]: no quota holds back anything but PUBLISH
  // Reserve what every version needs for plain success, more only for a Reason Code of MQTT 5.
  const length: u32 = connection.version == 5 && reasonCode != 0 ? ACK_WITH_REASON : ACK_PLAIN;
  const at = reserve(connection, length);
  if (at == 0) {
    failConnection(connection, QUOTA_EXCEEDED, DETAIL_MEMORY);
    return;
  }
  writeAcknowledgement(at, kind, packetIdentifier, reasonCode, connection.version);
}
const ACK_PLAIN: u32 = 4;
const ACK_WITH_REASON: u32 = 5;
if (ACK_WITH_REASON > ACKNOWLEDGEMENT_BYTES_MAX) ERROR('layout drift: acknowledgement');

// --- the end of a connection, and its return ---------------------------------------------------

/**
 * The connection is gone. What still waits for somebody becomes an orphan of the session; the rest
 * is forgotten.
 */
export function orphanHolds(connection: Connection): void {
  let pointer = connection.ackHead;
  while (pointer != 0) {
    const hold = holdAt(pointer);
    const next = hold.next;
    hold.connection = 0;
    hold.bytes = 0;
    if (hold.waiting == 0) {
      if (hold.session != 0) forgetUntaken(hold);
      release(MEMORY_RECORD, pointer);
    } else if (hold.session != 0 && !addOrphan(sessionAt(hold.session), pointer)) {
      forgetUnknown(hold);
    }
    pointer = next;
  }
  connection.ackHead = 0;
  connection.ackTail = 0;
  connection.heldBytes = 0;
}

/** No memory to know it by: the DUP that will come is routed again, which loses nothing. */
function forgetUnknown(hold: Hold): void {
  if (<u32>hold.kind == PUBREC) removeInbound(sessionAt(hold.session), hold.packetIdentifier);
  hold.session = 0;
}

/**
 * A PUBLISH with DUP whose first copy is still at work: its answer waits for that one. True when it
 * was so.
 */
export function adoptOrphan(connection: Connection, kind: u32, packetIdentifier: u32): bool {
  const session = sessionAt(connection.session);
  const pointer = findOrphan(session, kind, packetIdentifier);
  if (pointer == 0) return false;
  removeOrphan(session, pointer);
  enqueueHold(connection, pointer);
  return true;
}
