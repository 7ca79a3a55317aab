/**
 * Connections come and go, the queue stays: what is sent again to a client that comes back, and
 * what joins a queue from elsewhere (from another member of a group, from the store).
 */
import { SESSION_HOLDS } from '../shared/abi';
import { SUCCESS } from '../shared/reason-code';
import { Connection, connectionAt } from './connection';
import { releaseHold } from './holds';
import { messageBytes } from './message-block';
import {
  ENTRY_PENDING, ENTRY_RELEASED, ENTRY_RERELEASE, ENTRY_RESEND, ENTRY_SENT, FLAG_COMPLETION,
  FLAG_DUP, FLAG_MOVED, FLAG_STORED, appendEntry, entryAt, factsOf, replaceIdentifiers,
  storedNumber, unlinkEntry,
} from './queue-entry';
import { forgetReceive } from './receive-verdicts';
import { Session, entryInSlot, giveIdentifier, nextStoredIdentifier } from './session';
import { isAtBound, releaseReceiverHolds, startHolding } from './withholding';
import { tellMoved } from '../switch/events';

/**
 * The connection of a session is gone (or taken over). Everything unacknowledged will be sent
 * again, with its identifiers and in its order, when a connection comes back [MQTT-4.4.0-1]
 * [MQTT-4.6.0-1].
 */
export function rewind(session: Session): void {
  releaseReceiverHolds(session);
  let pointer = session.queueHead;
  while (pointer != 0 && pointer != session.pendingHead) {
    const entry = entryAt(pointer);
    if (entry.state == ENTRY_SENT) entry.state = ENTRY_RESEND;
    else if (entry.state == ENTRY_RELEASED) entry.state = ENTRY_RERELEASE;
    pointer = entry.next;
  }
  // Also those whose subscription has gone [MQTT-3.10.4-3].
  session.pendingHead = session.queueHead;
  session.inflightCount = 0;
}

/**
 * Binds a session to a connection that has been accepted. `pump` follows when CONNACK has been
 * written.
 */
export function attach(session: Session, connection: Connection): void {
  session.connection = changetype<u32>(connection);
  connection.session = changetype<u32>(session);
  connection.mount = session.mount;
  session.noHold = 0;
  forgetReceive(session);
}

export function detach(session: Session): void {
  if (session.connection == 0) return;
  connectionAt(session.connection).session = 0;
  connectionAt(session.connection).mount = 0;
  session.connection = 0;
  rewind(session);
}

/**
 * An entry of a shared group moves from the member that left to another: a new delivery, without
 * DUP.
 */
export function appendMoved(from: Session, to: Session, pointer: u32, identifier: u32): void {
  const entry = entryAt(pointer);
  const packetIdentifier = <u32>entry.packetIdentifier;
  if (packetIdentifier != 0 && entryInSlot(from, packetIdentifier) == pointer) {
    giveIdentifier(from, packetIdentifier);
  }
  const number = storedNumber(from, entry);
  unlinkEntry(from, pointer);
  joinMember(to, pointer, identifier, number, from.handle == 0 ? from.endedHandle : from.handle);
}

/**
 * An entry that is in no queue joins that of a member of its group. `number` is the one that it is
 * stored under for the session `from`; 0 = it is not stored.
 */
export function joinMember(
  to: Session, pointer: u32, identifier: u32, number: f64, from: u32,
): void {
  const entry = entryAt(pointer);
  entry.packetIdentifier = to.durable ? <u16>nextStoredIdentifier(to) : 0;
  replaceIdentifiers(entry, identifier);
  if (number != 0) {
    const toHandle = to.durable ? to.handle : 0;
    tellMoved(from, toHandle, number, factsOf(entry), entry.message, identifier, entry.group);
  }
  if (entry.flags & FLAG_COMPLETION && !(to.kind & SESSION_HOLDS)) {
    // This member does not settle: its queue has the message, and that is what is waited for.
    if (entry.hold != 0) releaseHold(entry.hold, SUCCESS);
    entry.hold = 0;
    entry.flags &= ~FLAG_COMPLETION;
  }
  entry.state = ENTRY_PENDING;
  entry.flags = (entry.flags & ~FLAG_DUP) | FLAG_MOVED;
  // From here on it is not stored, whoever gets it next.
  if (!to.durable) entry.flags &= ~FLAG_STORED;
  appendEntry(to, pointer);
  if (to.pendingHead == 0) to.pendingHead = pointer;
}

/**
 * A stored entry joins its session's queue. It is never dropped; at the bound it keeps its
 * publisher waiting.
 */
export function offerStored(session: Session, pointer: u32, hold: u32): void {
  const entry = entryAt(pointer);
  const full = isAtBound(session, messageBytes(entry.message));
  appendEntry(session, pointer);
  if (session.pendingHead == 0) session.pendingHead = pointer;
  if (full && hold != 0 && session.noHold == 0 && session.connection != 0) {
    startHolding(session, pointer, hold);
  }
}
