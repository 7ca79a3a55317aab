/** Retained messages: the last one of every topic that was published with RETAIN. */
import { DROP_RETAINED_FULL, LIMIT_RETAINED_BYTES, LIMIT_RETAINED_MESSAGES } from '../shared/abi';
import {
  retainedCount, retainedFind, retainedPut, retainedRemove, retainedReplaced,
} from '../index/retained-index';
import { limitOf } from '../session/limits';
import { holdMessage, messageAt, messageBytes, releaseMessage } from '../session/message-block';
import { sourceForwardLength, sourcePayloadLength } from '../session/publish-writer';
import { nextRetainedOrder } from '../session/replay';
import { tellDropped } from './events';
import { ensureMessage } from './routed';

let retainedBytes: f64 = 0;
export function bytesRetained(): f64 {
  return retainedBytes;
}
let expiring: u32 = 0;
/** Retained messages that have a Message Expiry Interval. */
export function retainedExpiring(): u32 {
  return expiring;
}

/**
 * Stores the message in hand, or deletes what is stored when it is empty. False when there is no
 * room.
 */
export function storeRetained(topicAt: u32, topicLength: u32): bool {
  // 3.1.1 [MQTT-3.3.1-10] [MQTT-3.3.1-11], 5.0 [MQTT-3.3.1-6] [MQTT-3.3.1-7]
  if (sourcePayloadLength == 0) {
    deleteRetained(topicAt, topicLength);
    return true;
  }
  const bytes = <f64>(topicLength + sourceForwardLength + sourcePayloadLength);
  const isFull = retainedBytes + bytes > <f64>limitOf(LIMIT_RETAINED_BYTES) ||
    (retainedCount() >= limitOf(LIMIT_RETAINED_MESSAGES) &&
      retainedFind(topicAt, topicLength) == 0);
  const message = isFull ? 0 : ensureMessage();
  // [MQTT-3.3.1-5]
  if (message == 0 || retainedPut(topicAt, topicLength, message, nextRetainedOrder()) != 0) {
    tellDropped(0, DROP_RETAINED_FULL, 0, topicAt, topicLength);
    return false;
  }
  holdMessage(message); // it outlives the session that published it: 3.1.1 [MQTT-3.1.2-7]
  retainedBytes += bytes;
  if (messageAt(message).expiresAt != 0) expiring++;
  forget(retainedReplaced);
  return true;
}

export function deleteRetained(topicAt: u32, topicLength: u32): void {
  forget(retainedRemove(topicAt, topicLength));
}

function forget(message: u32): void {
  if (message == 0) return;
  retainedBytes -= <f64>messageBytes(message);
  if (messageAt(message).expiresAt != 0) expiring--;
  releaseMessage(message);
}
