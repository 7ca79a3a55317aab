/**
 * Retained messages whose Message Expiry Interval has passed are deleted [MQTT-3.3.2-5]: nobody
 * gets them any more, and what they take would count among the bounds for ever. A walk goes round
 * the index, a piece with each tick; there is none while no retained message expires.
 */
import { walkDone, walkEnd, walkNext, walkSpent, walkStart } from '../index/retained-index';
import { isExpired, messageAt, topicOf } from '../session/message-block';
import { isDurable, tellRetainedGone } from './gate';
import { deleteRetained, retainedExpiring } from './retain';

/** Nodes that one tick looks at: a million topics are gone round in about a minute. */
const STEPS_PER_TICK: u32 = 16384;
const EVERY_TOPIC: u32 = 0; // the length of no filter

let walk: u32 = 0;

export function deleteExpiredRetained(): void {
  if (walk == 0 && retainedExpiring() != 0) walk = walkStart(0, EVERY_TOPIC, Infinity);
  if (walk == 0) return; // nothing expires, or no memory: again with the next tick
  let left = STEPS_PER_TICK;
  while (left != 0) {
    const message = walkNext(walk, left);
    if (message == 0) break;
    left -= min(left, walkSpent);
    if (!isExpired(message)) continue;
    // With no place for a row the store would keep it: it is found again on the next round.
    if (isDurable() && !tellRetainedGone(message)) break;
    deleteRetained(topicOf(message), messageAt(message).topicLength);
  }
  if (!walkDone) return;
  walkEnd(walk);
  walk = 0;
}
