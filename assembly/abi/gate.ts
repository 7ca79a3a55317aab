/** The durable gate (switch/gate.ts), and restoring what was stored. */
import { writeVbi } from '../codec/variable-byte-integer';
import { retainedFind } from '../index/retained-index';
import { pinGroup } from '../index/shared-group';
import { findGroupOf, writeGroupFilter } from '../index/subscription-index';
import { connectionAt, connectionOf } from '../session/connection';
import { pump } from '../session/delivery';
import { hasShared } from '../session/ending';
import { sendAck } from '../session/holds';
import { setClock } from '../session/limits';
import { messageAt, setMessageFacts, topicOf } from '../session/message-block';
import { setSourceFromMessage } from '../session/publish-writer';
import {
  ENTRY_RELEASED, ENTRY_RERELEASE, ENTRY_RESEND, FLAG_DUP, FLAG_IDENTIFIERS, FLAG_RELEASING,
  FLAG_RETAIN, FLAG_STORED, appendReleased, createEntry, entryAt, factsOf, freeEntry,
  keepIdentifiers, keptIdentifiersAt,
  keptIdentifiersLength, setReleasedNumber, storedNumber,
} from '../session/queue-entry';
import { offerStored } from '../session/resume';
import { addInbound, bindIdentifier, entryInSlot, sessionAt, sessionOf } from '../session/session';
import {
  FACT_COPY_MASK, FACT_COPY_SHIFT, FACT_IDENTIFIER_SHIFT, FACT_QOS_MASK, FACT_RETAIN,
} from '../shared/abi';
import { PUBCOMP, PUBREL } from '../shared/control-packet';
import { SUBSCRIPTION_IDENTIFIER } from '../shared/property';
import { SUCCESS } from '../shared/reason-code';
import {
  abortGate, firstOfGate, letPass, messageOfGate, numberGate, openGate, renumberGate, setGateClosed,
} from '../switch/gate';
import { storeRetained } from '../switch/retain';
import { releaseRouted, setRouted } from '../switch/routed';
import { exchangeArea } from './exchange';

/**
 * From here on messages for durable sessions wait for `commitGate`. Before the first connection.
 */
export function setDurable(): void {
  setGateClosed();
}
/** This session is kept by the engine: KEPT or KEPT_SPILLED (gate.ts). */
export function markDurable(handle: u32, kept: u32): void {
  const pointer = sessionOf(handle);
  if (pointer != 0) sessionAt(pointer).durable = kept;
}
/** Entries of this session that wait for their commit. */
export function gatedEntries(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).gated;
}
/** Those of them whose row the host has read: it stores them. */
export function storingEntries(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).storing;
}
/** The highest number of a stored entry in the queue of this session; 0 = there is none. */
export function lastQueued(handle: u32): f64 {
  const pointer = sessionOf(handle);
  if (pointer == 0) return 0;
  const session = sessionAt(pointer);
  let last: f64 = 0;
  for (let at = session.queueHead; at != 0; at = entryAt(at).next) {
    last = max(last, storedNumber(session, entryAt(at)));
  }
  return last;
}
export function setGateNumber(gate: u32, number: f64): void {
  numberGate(gate, number);
}
export function giveGateIdentifiers(gate: u32): void {
  renumberGate(gate);
}
export function commitGate(gate: u32, now: f64): void {
  setClock(now);
  openGate(gate);
}
export function refuseGate(gate: u32, reasonCode: u32, now: f64): void {
  setClock(now);
  abortGate(gate, reasonCode);
}
/** Nothing of this has to be stored. */
export function passGate(gate: u32, now: f64): void {
  setClock(now);
  letPass(gate);
}
/** The message of a gate; 0 = none. */
export function gateMessage(gate: u32): u32 {
  return messageOfGate(gate);
}
/** The first frozen entry of a gate, and the one after; 0 = none. */
export function gateEntry(gate: u32): u32 {
  return firstOfGate(gate);
}
export function nextGateEntry(entry: u32): u32 {
  return entryAt(entry).next;
}
/** Session of a frozen entry. */
export function entrySession(entry: u32): u32 {
  return entryAt(entry).prev;
}
/** FACT_* bits. */
export function entryFacts(entry: u32): u32 {
  return factsOf(entryAt(entry));
}
/** The group of an entry with FACT_GROUP. */
export function entryGroup(entry: u32): u32 {
  return entryAt(entry).group;
}
/**
 * The Topic Filter of a group, `$share/name/` included, written to the exchange area; answers its
 * length, 0 when the group has no members any more.
 */
export function groupFilter(group: u32): u32 {
  return writeGroupFilter(group, exchangeArea);
}
/** The retained message of the topic at the exchange area, or 0. */
export function findRetained(topicLength: u32): u32 {
  return retainedFind(exchangeArea, topicLength);
}
/** Whether the queue of a session holds what another member of a group could take. */
export function sharedEntries(handle: u32): bool {
  const pointer = sessionOf(handle);
  return pointer != 0 && hasShared(sessionAt(pointer));
}
/**
 * Encoded Subscription Identifier properties of an entry, written to the exchange area; answers
 * their length.
 */
export function entryIdentifiers(entry: u32): u32 {
  const facts = entryAt(entry);
  if (facts.flags & FLAG_IDENTIFIERS) {
    const length = keptIdentifiersLength(facts);
    memory.copy(exchangeArea, keptIdentifiersAt(facts), length);
    return length;
  }
  return encodeIdentifier(facts.identifiers);
}
/** As `entryIdentifiers`, of one Subscription Identifier; 0 = none. */
export function encodeIdentifier(identifier: u32): u32 {
  if (identifier == 0) return 0;
  store<u8>(exchangeArea, SUBSCRIPTION_IDENTIFIER);
  return writeVbi(exchangeArea + 1, identifier) - exchangeArea;
}
export function messageTopicLength(message: u32): u32 {
  return messageAt(message).topicLength;
}
export function messageForwardLength(message: u32): u32 {
  return messageAt(message).forwardLength;
}
export function messagePayloadLength(message: u32): u32 {
  return messageAt(message).payloadLength;
}
/** FACT_* bits. */
export function messageFlags(message: u32): u32 {
  return messageAt(message).facts;
}
/** Milliseconds on the core's clock; 0 = never. */
export function messageExpiresAt(message: u32): f64 {
  return messageAt(message).expiresAt;
}
/** PUBREC is on disk: PUBREL leaves. */
export function commitRelease(handle: u32, packetIdentifier: u32, now: f64): void {
  setClock(now);
  const pointer = sessionOf(handle);
  if (pointer == 0) return;
  const session = sessionAt(pointer);
  const entry = entryInSlot(session, packetIdentifier);
  if (entry == 0 || <u32>entryAt(entry).packetIdentifier != packetIdentifier) return;
  entryAt(entry).flags &= ~FLAG_RELEASING;
  if (session.connection == 0) return;
  if (entryAt(entry).state == ENTRY_RELEASED) {
    sendAck(connectionAt(session.connection), PUBREL, packetIdentifier, SUCCESS);
  } else {
    pump(session); // the connection is a new one, and has waited for this
  }
}
/** PUBREL is on disk: PUBCOMP leaves. */
export function commitPubrel(handle: u32, packetIdentifier: u32, now: f64): void {
  setClock(now);
  const pointer = connectionOf(handle);
  if (pointer != 0) sendAck(connectionAt(pointer), PUBCOMP, packetIdentifier, SUCCESS);
}

/** Fills a message made with `allocateMessage`. `expiresAt` is on the core's clock, 0 = never. */
export function restoreMessage(
  message: u32, qos: u32, retain: u32, expiresAt: f64, number: f64,
): void {
  const block = messageAt(message);
  setMessageFacts(message, qos, retain);
  block.expiresAt = expiresAt;
  block.number = number;
}
/**
 * `facts` as in `entryFacts`; encoded Subscription Identifiers stand at the exchange area, behind
 * them the Topic Filter of the group (length 0 = none). False = no memory.
 */
export function restoreEntry(
  handle: u32, message: u32, facts: u32, sent: u32, identifiersLength: u32, groupLength: u32,
): bool {
  const pointer = sessionOf(handle);
  if (pointer == 0) return false;
  const made = createEntry();
  if (made == 0) return false;
  const entry = entryAt(made);
  entry.message = message;
  messageAt(message).references++;
  entry.qos = <u8>(facts & FACT_QOS_MASK);
  entry.copy = <u8>((facts >> FACT_COPY_SHIFT) & FACT_COPY_MASK);
  entry.packetIdentifier = <u16>(facts >> FACT_IDENTIFIER_SHIFT);
  entry.flags = facts & FACT_RETAIN ? FLAG_RETAIN | FLAG_STORED : FLAG_STORED;
  if (sent) {
    entry.state = ENTRY_RESEND;
    entry.flags |= FLAG_DUP;
  }
  if (identifiersLength != 0 && !keepIdentifiers(entry, exchangeArea, identifiersLength)) {
    freeEntry(sessionAt(pointer), made);
    return false;
  }
  const group = groupLength == 0 ? 0 : findGroupOf(exchangeArea + identifiersLength, groupLength);
  if (group != 0) {
    entry.group = group;
    pinGroup(group);
  }
  offerStored(sessionAt(pointer), made, 0);
  return true;
}
/** An outgoing QoS 2 exchange that waits for PUBCOMP. */
export function restoreReleased(handle: u32, packetIdentifier: u32, number: f64): bool {
  const pointer = sessionOf(handle);
  const made = pointer == 0 ? 0 : createEntry();
  if (made == 0) return false;
  const entry = entryAt(made);
  entry.qos = 2;
  entry.state = ENTRY_RERELEASE;
  entry.packetIdentifier = <u16>packetIdentifier;
  setReleasedNumber(entry, number);
  appendReleased(sessionAt(pointer), made);
  return bindIdentifier(sessionAt(pointer), made, packetIdentifier);
}
export function restoreInbound(handle: u32, packetIdentifier: u32): bool {
  const pointer = sessionOf(handle);
  return pointer != 0 && addInbound(sessionAt(pointer), packetIdentifier);
}
/** The identifier that the next stored entry of this session gets is the one after this. */
export function setLastIdentifier(handle: u32, packetIdentifier: u32): void {
  const pointer = sessionOf(handle);
  if (pointer != 0) sessionAt(pointer).identifierNext = packetIdentifier;
}
export function lastIdentifier(handle: u32): u32 {
  const pointer = sessionOf(handle);
  return pointer == 0 ? 0 : sessionAt(pointer).identifierNext;
}
export function restoreRetained(message: u32): bool {
  setSourceFromMessage(message);
  setRouted(0, 0, 0, 0, 1, 0, message);
  const stored = storeRetained(topicOf(message), messageAt(message).topicLength);
  releaseRouted();
  return stored;
}
