/**
 * Withheld acknowledgements: receivers at the bound of their queue make the publishers of QoS 1 and
 * 2 wait (docs/adr/0003). The message stands in the queue, beyond the bound; what waits is the
 * publisher's PUBACK or PUBREC, until the queue is within its bound again, the receiver is gone, or
 * it had its time.
 *
 * ```
 *   queueHead          bound        holdingHead                   queueTail
 *      |                 |               |                            |
 *      v                 v               v                            v
 *   [sent] <-> [pending] | [pending] <-> [holding] <-> [holding] <-> [holding]
 *                                            |             |             |
 *                                            v             v             v
 *                                        Hold: the acknowledgement of its publisher (holds.ts)
 * ```
 */
import { LIMIT_QUEUE_BYTES, SESSION_HANDLER } from '../shared/abi';
import { SUCCESS } from '../shared/reason-code';
import { STATE_OPEN, Connection, connectionAt } from './connection';
import { holdAt, releaseHold } from './holds';
import { clock, limitOf } from './limits';
import { messageBytes } from './message-block';
import { FLAG_COMPLETION, entryAt } from './queue-entry';
import { Session, sessionAt } from './session';

let holdingSessions: u32 = 0;

export function firstHoldingSession(): u32 {
  return holdingSessions;
}

function linkHolding(session: Session): void {
  session.holdingPrev = 0;
  session.holdingNext = holdingSessions;
  const pointer = changetype<u32>(session);
  if (holdingSessions != 0) sessionAt(holdingSessions).holdingPrev = pointer;
  holdingSessions = pointer;
}

function unlinkHolding(session: Session): void {
  if (session.holdingPrev != 0) sessionAt(session.holdingPrev).holdingNext = session.holdingNext;
  else holdingSessions = session.holdingNext;
  if (session.holdingNext != 0) sessionAt(session.holdingNext).holdingPrev = session.holdingPrev;
}

/** Since when the oldest held publisher of this session waits. */
export function holdingSince(session: Session): f64 {
  return session.holdingHead == 0 ? clock : holdAt(entryAt(session.holdingHead).hold).since;
}

/** True when one more message of `bytes` would pass the bound of the queue. */
@inline
export function isAtBound(session: Session, bytes: u32): bool {
  return session.queueCount + session.gated >= session.queueMessagesMax ||
    session.queueBytes + bytes > limitOf(LIMIT_QUEUE_BYTES);
}

export function startHolding(session: Session, pointer: u32, hold: u32): void {
  entryAt(pointer).hold = hold;
  holdAt(hold).waiting++;
  if (session.holdingCount == 0) {
    session.holdingHead = pointer;
    linkHolding(session);
  }
  session.holdingCount++;
  session.holdingBytes += messageBytes(entryAt(pointer).message);
}

/** `pointer` no longer keeps its publisher waiting. It is still in the queue. */
export function stopHolding(session: Session, pointer: u32): void {
  const entry = entryAt(pointer);
  const hold = entry.hold;
  entry.hold = 0;
  session.holdingCount--;
  if (entry.message != 0) session.holdingBytes -= messageBytes(entry.message);
  if (session.holdingHead == pointer) {
    let next = entry.next;
    while (next != 0 && (entryAt(next).hold == 0 || entryAt(next).flags & FLAG_COMPLETION)) {
      next = entryAt(next).next;
    }
    session.holdingHead = next;
  }
  if (session.holdingCount == 0) {
    session.holdingHead = 0;
    session.holdingBytes = 0;
    unlinkHolding(session);
  }
  releaseHold(hold, SUCCESS);
}

/**
 * The queue has shrunk: publishers whose message is within the bound now need not wait longer,
 * oldest first.
 */
export function relax(session: Session): void {
  while (
    session.holdingCount != 0 &&
    session.queueCount - session.holdingCount < session.queueMessagesMax &&
    session.queueBytes - session.holdingBytes <= limitOf(LIMIT_QUEUE_BYTES)
  ) stopHolding(session, session.holdingHead);
  allowHoldingWithinBound(session);
}

/**
 * What comes may make publishers wait again once the queue is within its bound. Not before: a ring
 * of clients would let each other's acknowledgements go for ever, and its queues grow without end.
 */
export function allowHoldingWithinBound(session: Session): void {
  if (session.noHold == 0 || isAtBound(session, 0)) return;
  const isHandler = (session.kind & SESSION_HANDLER) != 0;
  if (isHandler || (session.connection != 0 && mayHold(connectionAt(session.connection)))) {
    session.noHold = 0;
  }
}

/**
 * This receiver makes nobody wait any more: it is paused itself, offline, or had its time. Its
 * queue stays.
 */
export function releaseReceiverHolds(session: Session): void {
  session.noHold = 1;
  while (session.holdingCount != 0) stopHolding(session, session.holdingHead);
}

/** Only who is read can acknowledge, and only who can acknowledge may be waited for. */
@inline
function mayHold(connection: Connection): bool {
  return !connection.paused && connection.state == STATE_OPEN;
}
