/**
 * Sessions that could not go on for want of memory or of a free row. Nobody of theirs will wake
 * them (nothing is on its way that would be acknowledged), so they are served when the host has
 * read its rows, and with every tick.
 */
import { pump } from './delivery';
import { Session, sessionAt } from './session';

let starvedHead: u32 = 0;

export function starve(session: Session): void {
  if (session.starved) return;
  session.starved = 1;
  session.starvedNext = starvedHead;
  starvedHead = changetype<u32>(session);
}

/** Each of them once; who starves again waits for the next time. */
export function serveStarved(): void {
  let pointer = starvedHead;
  starvedHead = 0;
  while (pointer != 0) {
    const session = sessionAt(pointer);
    const next = session.starvedNext;
    session.starved = 0;
    pump(session);
    pointer = next;
  }
}

export function forgetStarved(session: Session): void {
  if (!session.starved) return;
  const pointer = changetype<u32>(session);
  let before: u32 = 0;
  let at = starvedHead;
  while (at != 0 && at != pointer) {
    before = at;
    at = sessionAt(at).starvedNext;
  }
  if (before == 0) starvedHead = session.starvedNext;
  else sessionAt(before).starvedNext = session.starvedNext;
  session.starved = 0;
}
