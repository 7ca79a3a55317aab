/**
 * The gate before durable sessions: what they get with QoS 1 or 2 is stored before it is delivered
 * and acknowledged.
 *
 * A message is matched once. Entries for durable sessions are frozen here, with their Packet
 * Identifiers (so that a crash cannot give one message two of them); a row tells the host what to
 * store; when the commit is reported the entries are delivered and the publisher's acknowledgement
 * may leave. Receivers that are not durable got theirs at once: they do not outlive a crash.
 *
 * Commits are reported in the order of the rows, so every durable session gets its messages in the
 * order of their routing.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import {
  GATE_RETAINED, GATE_RETAINED_DELETED, GATE_TAKEN, ROW_APPEND, ROW_RETAINED, SESSION_HOLDS,
} from '../shared/abi';
import { SUCCESS } from '../shared/reason-code';
import { allocate, release } from '../memory/blocks';
import { pump } from '../session/delivery';
import { inherit, passOn } from '../session/ending';
import { holdAt, releaseHold } from '../session/holds';
import { holdMessage, messageAt, releaseMessage, topicOf } from '../session/message-block';
import { FLAG_COMPLETION, FLAG_STORED, entryAt, freeEntry } from '../session/queue-entry';
import { offerStored } from '../session/resume';
import { Session, nextStoredIdentifier, sessionAt, sessionOf } from '../session/session';
import { addRow, setColumn } from './events';
import { makeHold, somebodyWaits } from './publisher';
import { routedTaken } from './routed';

/**
 * ```
 *  0         4      8       12        16
 *  +---------+------+-------+---------+-----------+
 *  | message | hold | first | entries | isStoring |
 *  +---------+------+-------+---------+-----------+
 * ```
 * Frozen entries are chained by `next`; `prev` has the handle of their session.
 */
@unmanaged
class Gate {
  message: u32; // counted reference
  hold: u32; // the publisher's acknowledgement; 0 = nobody waits
  first: u32;
  entries: u32;
  isStoring: u32; // 1 = the host was told, and stores them
}

/** Values of `Session.durable`. */
export const KEPT: u32 = 1;
const KEPT_SPILLED: u32 = 2; // the tail of its queue stands in the store only

let durable: bool = false;
export function isDurable(): bool {
  return durable;
}
export function setGateClosed(): void {
  durable = true;
}

// The gate of the message that is being routed.
let firstEntry: u32 = 0;
let lastEntry: u32 = 0;
let entryCount: u32 = 0;

/** Freezes an entry (filled, not in any queue) for its durable session. */
export function freezeEntry(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  entry.packetIdentifier = <u16>nextStoredIdentifier(session);
  entry.prev = session.handle;
  entry.next = 0;
  entry.flags |= FLAG_STORED;
  session.gated++;
  // A copy that came by a group may go to any member later, who may have one of its own.
  if (entry.group != 0) entry.copy = <u8>min<u32>(++groupedCount, COPY_MAX);
  if (lastEntry != 0) entryAt(lastEntry).next = pointer;
  else firstEntry = pointer;
  lastEntry = pointer;
  entryCount++;
}
/** The store has sixteen numbers for the copies of one message. */
const COPY_MAX: u32 = 15;
let groupedCount: u32 = 0;

/**
 * The fan-out is complete: closes the gate behind what was frozen, if anything is to be kept. False
 * when memory is exhausted: nothing will be stored, so the publisher must not be told that it was.
 */
export function closeGate(
  publisher: u32, message: u32, retained: u32, inboundIdentifier: u32,
): bool {
  const first = firstEntry;
  const entries = entryCount;
  firstEntry = 0;
  lastEntry = 0;
  entryCount = 0;
  groupedCount = 0;
  if (entries == 0 && retained == 0 && inboundIdentifier == 0) return true;
  const hold = makeHold();
  const pointer = hold == 0 && somebodyWaits() ? 0 : allocate(MEMORY_RECORD, offsetof<Gate>());
  const row = pointer == 0 ? 0 : addRow(ROW_APPEND, publisher);
  if (row == 0) {
    if (pointer != 0) release(MEMORY_RECORD, pointer);
    discardEntries(first, 0);
    return false;
  }
  const gate = changetype<Gate>(pointer);
  gate.message = message;
  if (message != 0) holdMessage(message);
  gate.hold = hold;
  if (hold != 0) holdAt(hold).waiting++;
  gate.first = first;
  gate.entries = entries;
  gate.isStoring = 0;
  setColumn(row, 2, pointer);
  setColumn(row, 3, message);
  setColumn(row, 4, entries);
  setColumn(row, 5, routedTaken > entries ? retained | GATE_TAKEN : retained);
  setColumn(row, 6, inboundIdentifier);
  setColumn(row, 7, hold == 0 ? 0 : holdAt(hold).token);
  return true;
}

/**
 * Client role: everybody is done with a QoS 2 message. Its identifier is stored before PUBREC
 * leaves (and not earlier: a process that dies with the handler at work must get it again). The
 * hold waits for one more. False when memory is exhausted.
 */
export function closeGateOfHold(session: Session, pointer: u32): bool {
  const made = allocate(MEMORY_RECORD, offsetof<Gate>());
  const row = made == 0 ? 0 : addRow(ROW_APPEND, session.handle);
  if (row == 0) {
    if (made != 0) release(MEMORY_RECORD, made);
    return false;
  }
  const hold = holdAt(pointer);
  memory.fill(made, 0, offsetof<Gate>());
  changetype<Gate>(made).hold = pointer;
  hold.waiting = 1;
  setColumn(row, 2, made);
  setColumn(row, 3, 0);
  setColumn(row, 4, 0);
  setColumn(row, 5, 0);
  setColumn(row, 6, hold.packetIdentifier);
  setColumn(row, 7, 0);
  return true;
}

function discardEntries(first: u32, isStoring: u32): void {
  let pointer = first;
  while (pointer != 0) {
    const next = entryAt(pointer).next;
    const session = sessionOf(entryAt(pointer).prev);
    if (session != 0) ungate(sessionAt(session), isStoring);
    freeEntry(changetype<Session>(session), pointer);
    pointer = next;
  }
}

@inline
function ungate(session: Session, isStoring: u32): void {
  session.gated--;
  session.storing -= isStoring;
}

/** A retained message of QoS 0 changed: it is stored without anybody waiting for it. */
export function tellRetained(message: u32, topicAt: u32, topicLength: u32): void {
  addRetainedRow(message, message, topicAt, topicLength);
}

/** A retained message is deleted because it has expired. False when there is no place for a row. */
export function tellRetainedGone(message: u32): bool {
  return addRetainedRow(0, message, topicOf(message), messageAt(message).topicLength);
}
/** `held` is kept until the row has been read: what it points to must be there. */
function addRetainedRow(message: u32, held: u32, topicAt: u32, topicLength: u32): bool {
  const row = addRow(ROW_RETAINED, 0);
  if (row == 0) return false;
  if (held != 0) holdMessage(held);
  setColumn(row, 2, message);
  setColumn(row, 4, topicAt);
  setColumn(row, 5, topicLength);
  setColumn(row, 6, held);
  return true;
}

/** The number under which the host stores the message of a gate; its copies follow it. */
export function numberGate(pointer: u32, number: f64): void {
  const gate = changetype<Gate>(pointer);
  messageAt(gate.message).number = number;
  gate.isStoring = 1;
  for (let at = gate.first; at != 0; at = entryAt(at).next) {
    const session = sessionOf(entryAt(at).prev);
    if (session != 0) sessionAt(session).storing++;
  }
}
/**
 * Frozen before the store was read: the identifiers that were given then may be those of stored
 * entries.
 */
export function renumberGate(pointer: u32): void {
  for (let at = changetype<Gate>(pointer).first; at != 0; at = entryAt(at).next) {
    const session = sessionOf(entryAt(at).prev);
    if (session == 0) continue;
    entryAt(at).packetIdentifier = <u16>nextStoredIdentifier(sessionAt(session));
  }
}
export function messageOfGate(pointer: u32): u32 {
  return changetype<Gate>(pointer).message;
}
export function firstOfGate(pointer: u32): u32 {
  return changetype<Gate>(pointer).first;
}

/**
 * It is stored: the frozen entries are delivered, in their order, and the publisher may be
 * answered.
 */
export function openGate(pointer: u32): void {
  const gate = changetype<Gate>(pointer);
  let at = gate.first;
  while (at != 0) {
    const entry = entryAt(at);
    const next = entry.next;
    const handle = entry.prev;
    const session = sessionOf(handle);
    entry.prev = 0;
    if (session == 0) {
      if (!inherit(at, handle)) freeEntry(changetype<Session>(0), at);
    } else if (sessionAt(session).durable == KEPT_SPILLED) {
      // Its queue is too long for memory: it is read from the store when there is room.
      ungate(sessionAt(session), gate.isStoring);
      freeEntry(changetype<Session>(0), at);
    } else {
      admit(gate, sessionAt(session), at);
      passOn(sessionAt(session), at);
    }
    at = next;
  }
  endGate(pointer, SUCCESS);
}

/** A frozen entry joins its queue. */
function admit(gate: Gate, session: Session, pointer: u32): void {
  ungate(session, gate.isStoring);
  if (session.kind & SESSION_HOLDS && gate.hold != 0) {
    // Client role: stored is not done; who waits, waits for the end of the exchange.
    const entry = entryAt(pointer);
    entry.hold = gate.hold;
    entry.flags |= FLAG_COMPLETION;
    holdAt(gate.hold).waiting++;
    offerStored(session, pointer, 0);
  } else {
    offerStored(session, pointer, gate.hold);
  }
  if (session.pendingHead != pointer) return;
  const self = changetype<u32>(session);
  // To the publisher itself it goes behind the answer, see leavesBehindAnswer.
  if (gate.hold != 0 && holdAt(gate.hold).session == self) ownSession = self;
  else pump(session);
}
let ownSession: u32 = 0;

/** It need not be stored: delivered as to sessions that are not kept. */
export function letPass(pointer: u32): void {
  const gate = changetype<Gate>(pointer);
  let at = gate.first;
  while (at != 0) {
    const entry = entryAt(at);
    const next = entry.next;
    const session = sessionOf(entry.prev);
    entry.prev = 0;
    entry.packetIdentifier = 0;
    entry.flags &= ~FLAG_STORED;
    if (session == 0) {
      freeEntry(changetype<Session>(0), at);
    } else {
      admit(gate, sessionAt(session), at);
    }
    at = next;
  }
  endGate(pointer, SUCCESS);
}

/** It cannot be stored: nobody gets it, and the publisher is told. */
export function abortGate(pointer: u32, reasonCode: u32): void {
  const gate = changetype<Gate>(pointer);
  discardEntries(gate.first, gate.isStoring);
  endGate(pointer, reasonCode);
}

function endGate(pointer: u32, reasonCode: u32): void {
  const gate = changetype<Gate>(pointer);
  if (gate.message != 0) releaseMessage(gate.message);
  const hold = gate.hold;
  release(MEMORY_RECORD, pointer);
  if (hold != 0) releaseHold(hold, reasonCode);
  const own = ownSession;
  ownSession = 0;
  if (own != 0) pump(sessionAt(own));
}

/** What of a retained message the gate must store. */
export function retainedBits(payloadLength: u32): u32 {
  return payloadLength == 0 ? GATE_RETAINED_DELETED : GATE_RETAINED;
}
