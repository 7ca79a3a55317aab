/**
 * The end of an entry: taken out of its queue, with all who waited for it told.
 */
import { releaseHold } from './holds';
import { messageAt, topicOf } from './message-block';
import { FLAG_COMPLETION, entryAt, freeEntry, storedNumber, unlinkEntry } from './queue-entry';
import { Session } from './session';
import { relax, stopHolding } from './withholding';
import { tellDone, tellDropped } from '../switch/events';

/** Ends an entry that never left: expired, too large. Its publisher need not wait for it. */
export function finishEntry(
  session: Session, pointer: u32, reasonCode: u32, dropReason: u32,
): void {
  const entry = entryAt(pointer);
  const message = entry.message;
  tellDropped(
    session.handle, dropReason, entry.qos, topicOf(message), messageAt(message).topicLength,
  );
  removeEntry(session, pointer, reasonCode);
}

/** Takes an entry out of the queue and frees it; whoever waited for it is told. */
export function removeEntry(session: Session, pointer: u32, reasonCode: u32): void {
  const entry = entryAt(pointer);
  if (entry.hold != 0) {
    if (entry.flags & FLAG_COMPLETION) releaseHold(entry.hold, reasonCode);
    else stopHolding(session, pointer);
    entry.hold = 0;
  }
  if (session.durable && session.handle != 0) {
    const number = storedNumber(session, entry);
    if (number != 0) tellDone(session.handle, number, entry.message == 0 ? 1 : 0);
  }
  unlinkEntry(session, pointer);
  freeEntry(session, pointer);
  relax(session);
}
