/**
 * What the receiver says to what was sent: PUBACK, PUBREC and PUBCOMP, and the end of an exchange.
 */
import { DROP_REFUSED_BY_RECEIVER, SESSION_HOLDS } from '../shared/abi';
import { PUBREL } from '../shared/control-packet';
import { MEMORY_MESSAGE } from '../shared/memory-class';
import { PACKET_IDENTIFIER_NOT_FOUND, SUCCESS } from '../shared/reason-code';
import { release } from '../memory/blocks';
import { unpinGroup } from '../index/shared-group';
import { Connection } from './connection';
import { pump } from './delivery';
import { REASON_FAILURE, sendAck } from './holds';
import { messageAt, topicOf } from './message-block';
import { removeEntry } from './queue-end';
import {
  ENTRY_PENDING, ENTRY_RELEASED, ENTRY_RESEND, ENTRY_SENT, FLAG_COMPLETION, FLAG_IDENTIFIERS,
  FLAG_RELEASING, FLAG_UNHEARD,
  QueueEntry, entryAt, releaseEntryMessage, setReleasedNumber, storedNumber, successOf,
} from './queue-entry';
import { Session, entryInSlot } from './session';
import { relax, stopHolding } from './withholding';
import { tellDropped, tellRelease } from '../switch/events';

/** The entry that was sent with this identifier and is in one of the states; 0 = none. */
function sentEntry(session: Session, packetIdentifier: u32): u32 {
  const pointer = entryInSlot(session, packetIdentifier);
  if (pointer == 0 || <u32>entryAt(pointer).packetIdentifier != packetIdentifier) return 0;
  return pointer;
}

/**
 * PUBACK [MQTT-4.3.2-4]. False when it is no answer to what was sent with this identifier: a
 * protocol error. An unknown identifier is left alone: the exchange may have ended with an earlier
 * connection.
 */
export function receivePuback(session: Session, packetIdentifier: u32, reasonCode: u32): bool {
  const pointer = sentEntry(session, packetIdentifier);
  if (pointer == 0) return true;
  const entry = entryAt(pointer);
  if (isUnsent(entry)) return true;
  if (entry.qos != 1) return false;
  completeSent(session, pointer, reasonCode);
  return true;
}

/**
 * PUBREC: answered with PUBREL [MQTT-4.3.3-4], or the end of the exchange when it refuses
 * [MQTT-4.3.3-3]. False when a QoS 1 message was sent with this identifier: a protocol error.
 */
export function receivePubrec(
  session: Session, connection: Connection, packetIdentifier: u32, reasonCode: u32,
): bool {
  const pointer = sentEntry(session, packetIdentifier);
  if (pointer == 0 || isUnsent(entryAt(pointer))) {
    if (reasonCode < REASON_FAILURE) {
      sendAck(connection, PUBREL, packetIdentifier, PACKET_IDENTIFIER_NOT_FOUND);
    }
    return true;
  }
  const entry = entryAt(pointer);
  if (entry.qos != 2) return false;
  // [MQTT-4.4.0-2] [MQTT-4.8.2-6]: refused is acknowledged; no other member is asked
  if (reasonCode >= REASON_FAILURE) {
    completeSent(session, pointer, reasonCode);
    return true;
  }
  if (entry.state == ENTRY_SENT) {
    // [MQTT-4.3.3-6]: nor can it be, its message is let go
    entry.state = ENTRY_RELEASED; // [MQTT-4.3.3-5]: the PUBLISH is never sent again
    if (reasonCode != SUCCESS) entry.flags |= FLAG_UNHEARD;
    // It has arrived: its publisher need not wait for room in this queue.
    if (entry.hold != 0 && !(entry.flags & FLAG_COMPLETION)) stopHolding(session, pointer);
    const number = releaseStored(session, pointer);
    relax(session);
    if (number != 0) {
      entry.flags |= FLAG_RELEASING;
      tellRelease(session.handle, packetIdentifier, number); // PUBREL leaves when that is on disk
      return true;
    }
  }
  if (entry.flags & FLAG_RELEASING) return true; // a second PUBREC: PUBREL will come
  // [MQTT-4.6.0-4] 3.1.1 [MQTT-4.3.3-1]: in the order in which the PUBRECs came
  sendAck(connection, PUBREL, packetIdentifier, SUCCESS);
  return true;
}

/** Lets the message go; a stored entry keeps its number, which is answered (0 = not stored). */
function releaseStored(session: Session, pointer: u32): f64 {
  const entry = entryAt(pointer);
  const number = storedNumber(session, entry);
  releaseEntryMessage(session, entry);
  if (entry.flags & FLAG_IDENTIFIERS) release(MEMORY_MESSAGE, entry.identifiers);
  if (entry.group != 0) unpinGroup(entry.group);
  entry.flags &= ~FLAG_IDENTIFIERS;
  setReleasedNumber(entry, number);
  return number;
}

/** PUBCOMP ends the exchange. False when PUBREC or PUBACK is due first: a protocol error. */
export function receivePubcomp(session: Session, packetIdentifier: u32, reasonCode: u32): bool {
  const pointer = sentEntry(session, packetIdentifier);
  if (pointer == 0 || isUnsent(entryAt(pointer))) return true;
  const entry = entryAt(pointer);
  if (entry.state != ENTRY_RELEASED) return false;
  // 0x92 here only says that the peer had released it already: the message arrived.
  const arrived = reasonCode == SUCCESS || reasonCode == PACKET_IDENTIFIER_NOT_FOUND;
  completeSent(session, pointer, arrived ? successOf(entry) : reasonCode);
  return true;
}

@inline
function isUnsent(entry: QueueEntry): bool {
  return entry.state == ENTRY_PENDING || entry.state == ENTRY_RESEND;
}

/**
 * An exchange is over: identifier and quota are free again [MQTT-4.9.0-1], and the next message may
 * go.
 */
export function completeSent(session: Session, pointer: u32, reasonCode: u32): void {
  const entry = entryAt(pointer);
  session.inflightCount--;
  // Towards a server somebody waits for the answer, or is told like this.
  const isTold = session.kind == SESSION_HOLDS ? entry.hold == 0 : !(session.kind & SESSION_HOLDS);
  if (reasonCode >= REASON_FAILURE && entry.message != 0 && isTold) {
    const message = entry.message;
    tellDropped(
      session.handle, DROP_REFUSED_BY_RECEIVER, entry.qos, topicOf(message),
      messageAt(message).topicLength,
    );
  }
  removeEntry(session, pointer, reasonCode);
  pump(session);
}
