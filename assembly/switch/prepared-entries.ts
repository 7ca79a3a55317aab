/**
 * Queue entries for every receiver of a QoS 1 or 2 message, made before the first of them gets it:
 * exhaustion is a refusal and never half a fan-out (docs/adr/0009).
 */
import { vbiSize } from '../codec/variable-byte-integer';
import {
  RECEIVER_BYTES, RECEIVER_SHARED, RECEIVERS_AT, Receiver, Receivers,
} from '../index/match-cache';
import { Group } from '../index/shared-group';
import {
  QueueEntry, createEntry, entryAt, freeEntry, keepIdentifiers,
} from '../session/queue-entry';
import { Session } from '../session/session';
import {
  resolve, resolveMember, toIdentifier, toIdentifiersAt, toIdentifiersLength, toQos,
} from './receiver';
import { ensureMessage, routedPublisherHandle, routedTopic } from './routed';
import { chooseMember } from './shared-choice';

/**
 * Entries in the order in which `deliver` needs them, chained by `next`; a group's chosen member
 * stands in `hold`.
 */
let preparedHead: u32 = 0;
let preparedTail: u32 = 0;

/** Makes the entries of all who receive the message in hand; false when one cannot be had. */
export function prepareEntries(list: u32): bool {
  preparedHead = 0;
  preparedTail = 0;
  const receivers = changetype<Receivers>(list).count;
  let at = list + RECEIVERS_AT;
  for (let i: u32 = 0; i < receivers; i++) {
    if (!prepareEntry(changetype<Receiver>(at))) {
      discardPrepared();
      return false;
    }
    at += RECEIVER_BYTES;
  }
  return true;
}

function prepareEntry(receiver: Receiver): bool {
  let member: u32 = 0;
  if (receiver.flags & RECEIVER_SHARED) {
    const group = changetype<Group>(receiver.subscription);
    member = chooseMember(group, routedTopic, routedPublisherHandle);
    if (!resolveMember(receiver.subscription, member)) member = 0;
  } else if (!resolve(receiver) || toQos == 0) {
    return true;
  }
  if (ensureMessage() == 0) return false;
  const pointer = createEntry();
  if (pointer == 0) return false;
  const entry = entryAt(pointer);
  if (preparedTail != 0) entryAt(preparedTail).next = pointer;
  else preparedHead = pointer;
  preparedTail = pointer;
  entry.hold = member;
  return toIdentifiersLength == 0 || (receiver.flags & RECEIVER_SHARED) != 0 ||
    giveIdentifiers(entry);
}

/** One identifier stands in the entry itself; several need a block. */
function giveIdentifiers(entry: QueueEntry): bool {
  if (toIdentifier != 0 && toIdentifiersLength == vbiSize(toIdentifier) + 1) {
    entry.identifiers = toIdentifier;
    return true;
  }
  return keepIdentifiers(entry, toIdentifiersAt, toIdentifiersLength);
}

/** Nobody gets the message. */
export function discardPrepared(): void {
  while (preparedHead != 0) {
    const pointer = preparedHead;
    preparedHead = entryAt(pointer).next;
    freeEntry(changetype<Session>(0), pointer);
  }
}

/** The entry of the next receiver. */
export function takePrepared(): u32 {
  const pointer = preparedHead;
  preparedHead = entryAt(pointer).next;
  return pointer;
}
