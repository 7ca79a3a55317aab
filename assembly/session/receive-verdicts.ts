/**
 * May this session receive messages of this topic? Asked only of sessions whose policy is
 * POLICY_ASK, before a message leaves: so a right that was withdrawn while the message waited in
 * the queue, was retained, or was sent and not acknowledged, counts. An unknown verdict lets the
 * message wait at the head of its queue until the control plane has answered.
 *
 * A direct-mapped table of 64 slots, 8 bytes each: serial number of the topic, rules it was decided
 * by (low 16 bits), verdict. It is emptied when another connection takes the session over.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { allocateZeroed } from '../memory/blocks';
import { TopicEntry, internTopic } from '../index/topic-intern';
import { tellReceive } from '../switch/events';
import { messageAt, topicOf } from './message-block';
import { Session } from './session';
import { starve } from './starving';
import { VERDICT_UNKNOWN, rulesInForce } from './verdicts';

const SLOTS: u32 = 64;
const TABLE_BYTES: u32 = SLOTS << 3;

/** The newest answer, for a session that there is no memory for a table for. */
let lastSession: u32 = 0;
let lastSerial: u32 = 0;
let lastRules: u32 = 0;
let lastVerdict: u32 = VERDICT_UNKNOWN;

@inline
function slotFor(session: Session, serial: u32): u32 {
  return session.receiveVerdicts + ((serial & (SLOTS - 1)) << 3);
}

/** The verdict for an interned topic. */
export function receiveVerdict(session: Session, topic: u32): u32 {
  const serial = changetype<TopicEntry>(topic).serial;
  const rules = <u32>rulesInForce();
  if (session.receiveVerdicts != 0) {
    const slot = slotFor(session, serial);
    if (load<u32>(slot) == serial && <u32>load<u16>(slot, 4) == rules) return load<u8>(slot, 6);
  }
  if (lastSession == session.handle && lastSerial == serial && lastRules == rules) {
    return lastVerdict;
  }
  return VERDICT_UNKNOWN;
}

/** The verdict for a queued message. Unknown: the control plane has been asked. */
export function verdictForMessage(session: Session, message: u32): u32 {
  const topic = internTopic(topicOf(message), messageAt(message).topicLength);
  if (topic == 0) return VERDICT_UNKNOWN; // no memory: tried again when the session is pumped next
  const verdict = receiveVerdict(session, topic);
  if (verdict == VERDICT_UNKNOWN) ask(session, changetype<TopicEntry>(topic).serial, message);
  return verdict;
}

function ask(session: Session, serial: u32, message: u32): void {
  if (session.asking == serial) return;
  if (tellReceive(session.handle, serial, rulesInForce(), message)) session.asking = serial;
  else starve(session); // pumped again when the host has read the rows
}

/** Keeps an answer. False when it answers nothing that is asked now. */
export function rememberReceive(session: Session, serial: u32, rules: u32, verdict: u32): bool {
  if (session.asking != serial) return false;
  session.asking = 0;
  if (rules != <u32>rulesInForce()) return true; // void already: it will be asked again
  lastSession = session.handle;
  lastSerial = serial;
  lastRules = rules;
  lastVerdict = verdict;
  if (session.receiveVerdicts == 0) {
    session.receiveVerdicts = allocateZeroed(MEMORY_RECORD, TABLE_BYTES);
    if (session.receiveVerdicts == 0) return true;
  }
  const slot = slotFor(session, serial);
  store<u32>(slot, serial);
  store<u16>(slot, <u16>rules, 4);
  store<u8>(slot, <u8>verdict, 6);
  return true;
}

/** Somebody else may be behind this session now, or the same with other rights. */
export function forgetReceive(session: Session): void {
  session.asking = 0;
  if (lastSession == session.handle) lastSession = 0;
  if (session.receiveVerdicts != 0) memory.fill(session.receiveVerdicts, 0, TABLE_BYTES);
}
