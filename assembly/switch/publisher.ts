/**
 * The publisher of the message that is being routed: who is told when all receivers have agreed. A
 * hold is made only when somebody asks to be waited for; it counts the router itself until the
 * fan-out is complete, so that it cannot end before.
 */
import { connectionAt } from '../session/connection';
import {
  acknowledge, chargeHold, createPeerHold, createTokenHold, holdAt, releaseHold,
} from '../session/holds';
import { AWAIT_HANDLERS } from '../shared/abi';
import { tellPublished } from './events';

let connection: u32 = 0; // pointer; 0 = the host publishes
let kind: u32 = 0; // PUBACK or PUBREC
let packetIdentifier: u32 = 0;
let token: u32 = 0;
let awaits: u32 = AWAIT_HANDLERS;
let hold: u32 = 0;
let ownWaits: bool = false; // the publisher itself receives the message, behind its answer

/**
 * Whether what `session` is given must wait for `takeOwnWaits`: it is the publisher's own, and a
 * client that hears itself is sent PUBACK or PUBREC first, as it is by other servers.
 */
@inline
export function leavesBehindAnswer(session: u32): bool {
  if (connection == 0 || connectionAt(connection).session != session) return false;
  ownWaits = true;
  return true;
}

/** After `endPublish`: whether the publisher's session must be pumped. */
export function takeOwnWaits(): bool {
  const waits = ownWaits;
  ownWaits = false;
  return waits;
}

/** A PUBLISH with QoS 1 or 2 of a peer is being routed. */
export function beginPeerPublish(from: u32, answer: u32, identifier: u32): void {
  connection = from;
  kind = answer;
  packetIdentifier = identifier;
  token = 0;
  awaits = AWAIT_HANDLERS;
  hold = 0;
}

/**
 * A message of the host is being routed; `name` 0 = it does not want to know, `whom` it waits for.
 * QoS 0 publishes come this way too.
 */
export function beginHostPublish(name: u32, whom: u32): void {
  connection = 0;
  token = name;
  awaits = whom;
  hold = 0;
}

/** The hold of this message; 0 when nobody waits for an answer, or memory is exhausted. */
export function makeHold(): u32 {
  if (hold != 0) return hold;
  if (connection != 0) hold = createPeerHold(connectionAt(connection), kind, packetIdentifier);
  else if (token != 0) hold = createTokenHold(token);
  if (hold != 0) holdAt(hold).waiting = 1;
  return hold;
}

/** True when the answer waits for the handlers that get the message. */
export function awaitsHandlers(): bool {
  return awaits == AWAIT_HANDLERS;
}

/** True when an answer is owed. */
export function somebodyWaits(): bool {
  return connection != 0 || token != 0;
}

/**
 * The fan-out is complete. The answer leaves now, or when the last of those that must be waited for
 * agrees.
 */
export function endPublish(reasonCode: u32, bytes: u32): void {
  const made = hold;
  const from = connection;
  const name = token;
  // What is offered outside a publish (a replay) is nobody's: no hold may be made for it.
  hold = 0;
  connection = 0;
  token = 0;
  if (made == 0) {
    if (from != 0) acknowledge(connectionAt(from), kind, packetIdentifier, reasonCode);
    else if (name != 0) tellPublished(name, reasonCode);
    return;
  }
  if (from != 0 && holdAt(made).waiting > 1) chargeHold(connectionAt(from), made, bytes);
  releaseHold(made, reasonCode);
}

