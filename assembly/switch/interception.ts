/**
 * Interceptors: hooks of the broker's owner that look at a PUBLISH before it is stored or routed,
 * and let it pass, replace it or drop it. The filters that they name stand in a matcher; a topic
 * that none of them wants is told by a word of its entry, and without interceptors nothing is
 * looked at.
 *
 * The packet is read again after the answer, as after the question whether it is allowed. What was
 * answered stands with the connection until the packet is done with:
 *
 *     read -> allowed? -> ASKED ... PASSED   -> allowed? -> routed
 *                               ... REPLACED -> its own topic allowed? -> routed, not asked again
 *                               ... DROPPED  -> acknowledged with its Reason Code
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import {
  DELIVER_EXPIRY, DELIVER_FLAGS, DELIVER_PAYLOAD_AT, DELIVER_PAYLOAD_LENGTH,
  DELIVER_PROPERTIES_AT, DELIVER_PROPERTIES_LENGTH, DELIVER_TOPIC_AT, DELIVER_TOPIC_LENGTH,
  DELIVER_TOPIC_SERIAL, EXPIRY_NONE, ROW_INTERCEPT,
} from '../shared/abi';
import { QUOTA_EXCEEDED } from '../shared/reason-code';
import { allocateZeroed, release } from '../memory/blocks';
import {
  publishExpiry, publishForwardAt, publishForwardLength, publishPayloadAt, publishPayloadLength,
} from '../codec/publish';
import { matcherFree, matcherMatch } from '../index/matcher';
import { TopicEntry, pinTopic } from '../index/topic-intern';
import { Connection } from '../session/connection';
import { clock } from '../session/limits';
import { releaseMessage } from '../session/message-block';
import { addRow, setColumn } from './events';

const ASKED: u8 = 0;
const PASSED: u8 = 1;
const REPLACED: u8 = 2;
const DROPPED: u8 = 3;

/**
 * ```
 *  0            8         12      13           16
 *  +------------+---------+-------+------------+
 *  | receivedAt | message | state | reasonCode |
 *  +------------+---------+-------+------------+
 * ```
 */
@unmanaged
class Interception {
  receivedAt: f64; // from here on the message ages [MQTT-3.3.2-6]
  message: u32; // the block that is routed instead; 0 = as it came
  state: u8;
  reasonCode: u8; // DROPPED: for the publisher
}

/** What `intercept` answers. */
export const INTERCEPT_GO: u32 = 0;
export const INTERCEPT_ASK: u32 = 1;
export const INTERCEPT_DROP: u32 = 2;
/** Reason Code of INTERCEPT_DROP. */
export let interceptReason: u32 = 0;

/** The matcher with the filters of all interceptors; 0 = there is none. */
let filters: u32 = 0;
/** Of the filters; what a topic entry says of others is void. */
let generation: u32 = 0;

/** From here on these filters say what is wanted. Takes the matcher over. */
export function setInterceptionFilters(matcher: u32): void {
  if (filters != 0) matcherFree(filters);
  filters = matcher;
  generation++;
}
@inline
export function somebodyIntercepts(): bool {
  return filters != 0;
}

@inline
function interceptionOf(connection: Connection): Interception {
  return changetype<Interception>(connection.interception);
}

function isWanted(topic: u32): bool {
  const entry = changetype<TopicEntry>(topic);
  if (entry.intercepted >> 1 != generation) {
    const isMatch: u32 = matcherMatch(filters, entry.bytes, entry.length, 0, 0) == 0 ? 0 : 1;
    entry.intercepted = (generation << 1) | isMatch;
  }
  return (entry.intercepted & 1) != 0;
}

/** The PUBLISH parsed last, which is allowed. `flags` is QoS and RETAIN as in DELIVER_FLAGS. */
export function intercept(connection: Connection, topic: u32, flags: u32): u32 {
  if (connection.interception == 0) {
    return isWanted(topic) ? ask(connection, topic, flags) : INTERCEPT_GO;
  }
  const interception = interceptionOf(connection);
  if (interception.state != DROPPED) return INTERCEPT_GO;
  interceptReason = interception.reasonCode;
  return INTERCEPT_DROP;
}

function ask(connection: Connection, topic: u32, flags: u32): u32 {
  interceptReason = QUOTA_EXCEEDED;
  const pointer = allocateZeroed(MEMORY_RECORD, offsetof<Interception>());
  if (pointer == 0) return INTERCEPT_DROP;
  const row = addRow(ROW_INTERCEPT, connection.handle);
  if (row == 0) {
    release(MEMORY_RECORD, pointer);
    return INTERCEPT_DROP;
  }
  changetype<Interception>(pointer).receivedAt = clock;
  connection.interception = pointer;
  const entry = changetype<TopicEntry>(topic);
  pinTopic(topic); // until the host has read the row
  setColumn(row, DELIVER_TOPIC_SERIAL, entry.serial);
  setColumn(row, DELIVER_TOPIC_AT, entry.bytes);
  setColumn(row, DELIVER_TOPIC_LENGTH, entry.length);
  setColumn(row, DELIVER_PAYLOAD_AT, publishPayloadAt);
  setColumn(row, DELIVER_PAYLOAD_LENGTH, publishPayloadLength);
  setColumn(row, DELIVER_PROPERTIES_AT, publishForwardAt);
  setColumn(row, DELIVER_PROPERTIES_LENGTH, publishForwardLength);
  setColumn(row, DELIVER_FLAGS, flags);
  setColumn(row, DELIVER_EXPIRY, publishExpiry < 0 ? EXPIRY_NONE : <u32>publishExpiry);
  return INTERCEPT_ASK;
}

/** When the PUBLISH in hand came: before now when it waited for an interceptor. */
export function receivedAt(connection: Connection): f64 {
  return connection.interception == 0 ? clock : interceptionOf(connection).receivedAt;
}

/** The message that is routed instead of the PUBLISH in hand; 0 = as it came. */
@inline
export function replacementFor(connection: Connection): u32 {
  return connection.interception == 0 ? 0 : interceptionOf(connection).message;
}
/** As `replacementFor`; its reference is the caller's from here on. */
export function takeReplacement(connection: Connection): u32 {
  const message = replacementFor(connection);
  if (message != 0) interceptionOf(connection).message = 0;
  return message;
}

/** The packet is done with, or its connection is gone. */
export function endInterception(connection: Connection): void {
  const pointer = connection.interception;
  if (pointer == 0) return;
  const message = takeReplacement(connection);
  if (message != 0) releaseMessage(message);
  connection.interception = 0;
  release(MEMORY_RECORD, pointer);
}

// --- answers of the host -----------------------------------------------------------------------

/** False: nothing is asked of this connection. */
export function isIntercepted(connection: Connection): bool {
  return connection.waiting != 0 && connection.interception != 0 &&
    interceptionOf(connection).state == ASKED;
}
export function passPublish(connection: Connection): void {
  interceptionOf(connection).state = PASSED;
}
/** Takes the block over. */
export function replacePublish(connection: Connection, message: u32): void {
  const interception = interceptionOf(connection);
  interception.state = REPLACED;
  interception.message = message;
}
export function dropPublish(connection: Connection, reasonCode: u32): void {
  const interception = interceptionOf(connection);
  interception.state = DROPPED;
  interception.reasonCode = <u8>reasonCode;
}
