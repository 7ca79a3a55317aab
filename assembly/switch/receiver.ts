/**
 * The receiver in hand: which session gets the message that is being routed, and how.
 */
import { SUBSCRIPTION_IDENTIFIER } from '../shared/property';
import { writeVbi } from '../codec/variable-byte-integer';
import {
  RECEIVER_MIXED_NO_LOCAL, RECEIVER_NO_LOCAL, RECEIVER_RETAIN_AS_PUBLISHED, Receiver,
  localReceiver,
} from '../index/match-cache';
import { OPTION_QOS, OPTION_RETAIN_AS_PUBLISHED, Subscription } from '../index/subscription';
import { TopicEntry } from '../index/topic-intern';
import { isBelowMount } from '../session/mount-point';
import { Session, sessionAt } from '../session/session';
import {
  isWanted, routedOwner, routedPublisher, routedQos, routedRetain, routedTopic,
} from './routed';

export let toSession: u32 = 0;
export let toQos: u32 = 0;
export let toRetain: u32 = 0;
export let toIdentifiersAt: u32 = 0;
export let toIdentifiersLength: u32 = 0;
export let toIdentifier: u32 = 0;
export let toGroup: u32 = 0; // 0 = the subscription is not shared

const localScratch: usize = memory.data(16, 16);
const identifierScratch: usize = memory.data(8);

/**
 * Sets the `to...` globals for a receiver that is no group. False when it does not get this
 * message.
 */
export function resolve(found: Receiver): bool {
  let receiver = found;
  if (routedPublisher != 0 && receiver.session == routedPublisher) {
    if (receiver.flags & RECEIVER_NO_LOCAL) return false; // 5.0 [MQTT-3.8.3-3]
    if (receiver.flags & RECEIVER_MIXED_NO_LOCAL) {
      if (!localReceiver(routedTopic, routedPublisher, <u32>localScratch)) return false;
      receiver = changetype<Receiver>(<u32>localScratch);
    }
  }
  const session = sessionAt(receiver.session);
  if (session.owner != routedOwner) return false;
  if (session.mount != 0 && !isSeen(session)) return false;
  const subscription = changetype<Subscription>(receiver.subscription);
  if (!isWanted(subscription.identifier)) return false;
  toSession = receiver.session;
  toQos = min<u32>(receiver.qos, routedQos); // [MQTT-3.8.4-8]
  // 3.1.1 [MQTT-3.3.1-9], 5.0 [MQTT-3.3.1-12] [MQTT-3.3.1-13]
  toRetain = receiver.flags & RECEIVER_RETAIN_AS_PUBLISHED ? routedRetain : 0;
  toIdentifiersAt = receiver.identifiers;
  toIdentifiersLength = receiver.identifiersLength;
  toIdentifier = subscription.identifier;
  toGroup = 0;
  return true;
}

/** The filter `#` of a client behind a mount point also matches what is right above that. */
function isSeen(session: Session): bool {
  const name = changetype<TopicEntry>(routedTopic);
  return isBelowMount(session.mount, name.bytes, name.length);
}

/** The same for the chosen member of a group. */
export function resolveMember(group: u32, member: u32): bool {
  if (member == 0) return false;
  const subscription = changetype<Subscription>(member);
  const session = sessionAt(subscription.session);
  if (session.owner != routedOwner) return false;
  if (session.mount != 0 && !isSeen(session)) return false;
  if (!isWanted(subscription.identifier)) return false;
  toSession = subscription.session;
  // [MQTT-4.8.2-3]
  toQos = min<u32>(subscription.options & OPTION_QOS, routedQos);
  toRetain = subscription.options & OPTION_RETAIN_AS_PUBLISHED ? routedRetain : 0;
  toIdentifier = subscription.identifier;
  toIdentifiersLength = 0;
  toGroup = group;
  if (toIdentifier != 0) setSingleIdentifier(toIdentifier);
  return true;
}

function setSingleIdentifier(identifier: u32): void {
  const at = <u32>identifierScratch;
  store<u8>(at, <u8>SUBSCRIPTION_IDENTIFIER);
  toIdentifiersAt = at;
  toIdentifiersLength = writeVbi(at + 1, identifier) - at;
}
