/**
 * May this session receive messages of this topic? Asked only of sessions whose policy is
 * POLICY_ASK, before a message leaves: so a right that was withdrawn while the message waited in
 * the queue, was retained, or was sent and not acknowledged, counts. An unknown verdict lets the
 * message wait at the head of its queue until the control plane has answered.
 *
 * The verdicts are forgotten when another connection takes the session over.
 */
import { TopicEntry, internTopic, pinTopic, unpinTopic } from '../index/topic-intern';
import { tellReceive } from '../switch/events';
import { messageAt, topicOf } from './message-block';
import { Session } from './session';
import { starve } from './starving';
import {
  VERDICT_UNKNOWN, forgetVerdicts, keepVerdict, rulesInForce, verdictIn, verdictTable,
} from './verdict-table';

/** There is only one question about a topic here. */
const MAY_RECEIVE: u32 = 1;

/** The newest answer, for a session that there is no memory for a table for. */
let lastSession: u32 = 0;
let lastSerial: u32 = 0;
let lastRules: u32 = 0;
let lastVerdict: u32 = VERDICT_UNKNOWN;

/** The verdict for an interned topic. */
export function receiveVerdict(session: Session, topic: u32): u32 {
  const serial = changetype<TopicEntry>(topic).serial;
  const kept = verdictIn(session.receiveVerdicts, serial, MAY_RECEIVE);
  if (kept != VERDICT_UNKNOWN) return kept;
  if (lastSession == session.handle && lastSerial == serial && lastRules == rulesInForce()) {
    return lastVerdict;
  }
  return VERDICT_UNKNOWN;
}

/** The verdict for a queued message. Unknown: the control plane has been asked. */
export function verdictForMessage(session: Session, message: u32): u32 {
  const topic = internTopic(topicOf(message), messageAt(message).topicLength);
  if (topic == 0) return VERDICT_UNKNOWN; // no memory: tried again when the session is pumped next
  const verdict = receiveVerdict(session, topic);
  if (verdict == VERDICT_UNKNOWN) ask(session, topic, message);
  return verdict;
}

/**
 * The topic stays interned until the answer: under another serial number the answer would be about
 * nothing, and sessions whose topics push each other out of the cache would ask for ever.
 */
function ask(session: Session, topic: u32, message: u32): void {
  const serial = changetype<TopicEntry>(topic).serial;
  if (session.asking == serial) return;
  if (!tellReceive(session.handle, serial, rulesInForce(), message)) {
    starve(session); // pumped again when the host has read the rows
    return;
  }
  stopAsking(session);
  session.asking = serial;
  session.askedTopic = topic;
  pinTopic(topic);
}

function stopAsking(session: Session): void {
  session.asking = 0;
  if (session.askedTopic != 0) unpinTopic(session.askedTopic);
  session.askedTopic = 0;
}

/** Keeps an answer. False when it answers nothing that is asked now. */
export function rememberReceive(session: Session, serial: u32, rules: u32, verdict: u32): bool {
  if (session.asking != serial) return false;
  stopAsking(session);
  if (rules != rulesInForce()) return true; // void already: it will be asked again
  lastSession = session.handle;
  lastSerial = serial;
  lastRules = rules;
  lastVerdict = verdict;
  keepVerdict(session.receiveVerdicts, serial, MAY_RECEIVE, verdict);
  session.receiveVerdicts = verdictTable;
  return true;
}

/** Somebody else may be behind this session now, or the same with other rights. */
export function forgetReceive(session: Session): void {
  stopAsking(session);
  forgetReceiveVerdicts(session);
}

/** A question that is asked now stays asked: the host answers it with the rights that hold then. */
export function forgetReceiveVerdicts(session: Session): void {
  if (lastSession == session.handle) lastSession = 0;
  forgetVerdicts(session.receiveVerdicts);
}
