/**
 * Session State: what the server keeps for a client beyond its Network Connection.
 * Subscriptions, messages that wait or are not yet acknowledged, Packet Identifiers of both
 * directions.
 *
 * A *handler session* is a subscriber in this process: it has no connection, its deliveries become
 * rows for the host.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { allocateZeroed, release } from '../memory/blocks';
import { COUNT_SESSIONS } from '../shared/abi';
import { unpinTopic } from '../index/topic-intern';
import { count } from './limits';
import {
  HANDLE_TABLE_BYTES, HandleTable, giveHandle, handleTableBytes, resolveHandle, startHandles,
  takeHandle,
} from './handles';
import { freeVerdicts } from './verdict-table';

/**
 * The queue is one doubly linked list of entries (queue-entry.ts), oldest first:
 * ```
 *   queueHead                       pendingHead                        queueTail
 *      |                                |                                  |
 *      v                                v                                  v
 *   [sent] <-> [sent] <-> [released] <-> [pending] <-> [pending, holding] <->
 *      \______ inflightCount ______/                        ^
 *                                                        holdingHead: from here on, publishers wait
 * ```
 */
@unmanaged
export class Session {
  firstSubscription: u32; // list head, owned by the index: must stay the first word
  handle: u32;
  connection: u32; // 0 = offline
  kind: u32; // SESSION_* bits
  queuedQos0: u32; // entries of QoS 0: what comes behind them waits, too
  // What routing asks of every receiver stands together.
  mount: u32; // mount-point.ts; 0 = it sees all topics
  // client role: the session of the uplink whose messages this handler gets; 0 = the broker's
  owner: u32;
  // POLICY_ASK: every topic is asked about before it leaves (receive-verdicts.ts)
  receivePolicy: u32;
  queueHead: u32;
  queueTail: u32;
  pendingHead: u32;
  queueCount: u32;
  queueBytes: u32;
  inflightCount: u32; // entries that were sent on this connection and are not acknowledged
  queueMessagesMax: u32;

  holdingHead: u32; // first entry that keeps a publisher waiting
  holdingCount: u32;
  holdingBytes: u32;
  holdingNext: u32; // list of sessions with holding entries
  holdingPrev: u32;
  noHold: u32; // 1 = this receiver may not make publishers wait (paused, or had its time)

  identifiers: u32; // table: Packet Identifier -> entry, see packet-identifiers.ts
  identifierMask: u32; // its size - 1
  identifierNext: u32;
  inbound: u32; // directory of QoS 2 identifiers received and not released, see inbound.ts
  inboundCount: u32;
  // table: acknowledgements that still wait while their connection is gone, see orphans.ts
  orphans: u32;

  replayHead: u32; // retained replays that are under way, see replay.ts
  replayTail: u32;
  replayNext: u32; // list of sessions whose replay can go on
  replayListed: u32;
  credit: u32; // handler session: deliveries it may still take
  endNext: u32; // list of sessions whose end is under way
  starved: u32; // 1 = stands in the list of starving.ts
  starvedNext: u32;
  subscriptions: u32;
  durable: u32; // 1 = kept by the durable engine: what it gets passes the gate (gate.ts)
  gated: u32; // entries that wait for their commit
  storing: u32; // those of them that the host has been told about
  endedHandle: u32; // what `handle` was before the end of a durable session
  receiveVerdicts: u32; // table: see verdict-table.ts
  asking: u32; // serial number of the topic that the control plane was asked about, 0 = none
  askedTopic: u32; // its entry, pinned until the answer, 0 = none
}

const sessionTable: HandleTable = changetype<HandleTable>(memory.data(HANDLE_TABLE_BYTES));

export function initialiseSessions(at: u32, capacity: u32): u32 {
  startHandles(sessionTable, at, capacity);
  return at + handleTableBytes(capacity);
}

@inline
export function sessionAt(pointer: u32): Session {
  return changetype<Session>(pointer);
}
@inline
export function sessionOf(handle: u32): u32 {
  return resolveHandle(sessionTable, handle);
}

/** A new, empty session; 0 when memory or the table is exhausted. */
export function createSession(kind: u32, credit: u32, queueMessagesMax: u32): u32 {
  const pointer = allocateZeroed(MEMORY_RECORD, offsetof<Session>());
  if (pointer == 0) return 0;
  const handle = takeHandle(sessionTable, pointer);
  if (handle == 0) {
    release(MEMORY_RECORD, pointer);
    return 0;
  }
  const session = sessionAt(pointer);
  session.handle = handle;
  session.kind = kind;
  session.credit = credit;
  session.queueMessagesMax = queueMessagesMax;
  count(COUNT_SESSIONS, 1);
  return pointer;
}

/**
 * Voids the handle: from here on the host cannot reach the session. The record lives until its
 * queue is freed.
 */
export function voidSession(session: Session): void {
  giveHandle(sessionTable, session.handle);
  if (session.durable) session.endedHandle = session.handle;
  session.handle = 0;
  count(COUNT_SESSIONS, -1);
}

// --- Packet Identifiers of outgoing messages ---------------------------------------------------

const IDENTIFIERS_FIRST: u32 = 8;
const IDENTIFIERS_MAX: u32 = 65536;

/**
 * The table is a ring: the entry with Packet Identifier p stands at slot p & mask, so a look-up is
 * one load. An identifier whose slot is taken is skipped; the ring doubles before it is half full.
 */
@inline
function slotOf(session: Session, packetIdentifier: u32): u32 {
  return session.identifiers + ((packetIdentifier & session.identifierMask) << 2);
}

/**
 * The entry that was sent with this identifier, or 0. The caller compares the identifier itself.
 */
@inline
export function entryInSlot(session: Session, packetIdentifier: u32): u32 {
  return session.identifiers == 0 ? 0 : load<u32>(slotOf(session, packetIdentifier));
}

/**
 * An identifier that is not in use [MQTT-2.2.1-3], bound to `entry`; 0 when memory is exhausted or
 * all are in use.
 */
export function takeIdentifier(session: Session, entry: u32, inUse: u32): u32 {
  const size: u32 = session.identifiers == 0 ? 0 : session.identifierMask + 1;
  if (inUse << 1 >= size && size < IDENTIFIERS_MAX) {
    if (!growIdentifiers(session, size) && size == 0) return 0;
  }
  const mask = session.identifierMask;
  let next = session.identifierNext;
  for (let tries: u32 = 0; tries <= mask + 1; tries++) {
    next = (next + 1) & 0xffff;
    if (next == 0) next = 1; // [MQTT-2.2.1-3]: never zero
    const slot = slotOf(session, next);
    if (load<u32>(slot) == 0) { // 3.1.1 [MQTT-2.3.1-2], 5.0 [MQTT-2.2.1-3]: not in use
      store<u32>(slot, entry);
      session.identifierNext = next;
      return next;
    }
  }
  // SUBSCRIBE and UNSUBSCRIBE of the client role take identifiers that `inUse` does not count.
  if (mask + 1 == IDENTIFIERS_MAX || !growIdentifiers(session, mask + 1)) return 0;
  return takeIdentifier(session, entry, inUse);
}

/**
 * The identifier that the next stored entry will use. It is bound (`bindIdentifier`) when the entry
 * is sent.
 */
export function nextStoredIdentifier(session: Session): u32 {
  session.identifierNext = session.identifierNext >= 0xffff ? 1 : session.identifierNext + 1;
  return session.identifierNext;
}

/**
 * Binds an identifier that was fixed when the entry was stored. False while another exchange uses
 * it.
 */
export function bindIdentifier(session: Session, entry: u32, packetIdentifier: u32): bool {
  while (true) {
    const size: u32 = session.identifiers == 0 ? 0 : session.identifierMask + 1;
    if (size != 0) {
      const slot = slotOf(session, packetIdentifier);
      const holder = load<u32>(slot);
      if (holder == 0) store<u32>(slot, entry);
      if (holder == 0 || holder == entry) return true;
      if (<u32>load<u16>(holder, ENTRY_IDENTIFIER_OFFSET) == packetIdentifier) return false;
    }
    if (size == IDENTIFIERS_MAX || !growIdentifiers(session, size)) return false;
  }
}

@inline
export function giveIdentifier(session: Session, packetIdentifier: u32): void {
  store<u32>(slotOf(session, packetIdentifier), 0);
}

function growIdentifiers(session: Session, size: u32): bool {
  const larger = size == 0 ? IDENTIFIERS_FIRST : size << 1;
  const table = allocateZeroed(MEMORY_RECORD, larger << 2);
  if (table == 0) return false;
  for (let i: u32 = 0; i < size; i++) {
    const entry = load<u32>(session.identifiers + (i << 2));
    if (entry != 0) {
      const packetIdentifier = <u32>load<u16>(entry, ENTRY_IDENTIFIER_OFFSET);
      store<u32>(table + ((packetIdentifier & (larger - 1)) << 2), entry);
    }
  }
  if (session.identifiers != 0) release(MEMORY_RECORD, session.identifiers);
  session.identifiers = table;
  session.identifierMask = larger - 1;
  return true;
}
/** Where a queue entry keeps its Packet Identifier; checked in queue-entry.ts. */
export const ENTRY_IDENTIFIER_OFFSET: usize = 24;

// --- Packet Identifiers of incoming QoS 2 messages ---------------------------------------------

/**
 * A set of 65,536 bits in pages of 64 bytes, made when needed: 128 page pointers, one page for 512
 * identifiers. A peer that scatters its identifiers costs 8.5 KiB at most.
 */
const INBOUND_DIRECTORY_BYTES: u32 = 512;
const INBOUND_PAGE_BYTES: u32 = 64;

@inline
function inboundPageSlot(session: Session, packetIdentifier: u32): u32 {
  return session.inbound + ((packetIdentifier >> 9) << 2);
}

export function hasInbound(session: Session, packetIdentifier: u32): bool {
  if (session.inbound == 0) return false;
  const page = load<u32>(inboundPageSlot(session, packetIdentifier));
  if (page == 0) return false;
  const bit = packetIdentifier & 511;
  return (load<u8>(page + (bit >> 3)) & (<u8>1 << <u8>(bit & 7))) != 0;
}

/** Remembers an identifier until its PUBREL [MQTT-4.3.3-10]. False when memory is exhausted. */
export function addInbound(session: Session, packetIdentifier: u32): bool {
  if (session.inbound == 0) {
    session.inbound = allocateZeroed(MEMORY_RECORD, INBOUND_DIRECTORY_BYTES);
    if (session.inbound == 0) return false;
  }
  const slot = inboundPageSlot(session, packetIdentifier);
  let page = load<u32>(slot);
  if (page == 0) {
    page = allocateZeroed(MEMORY_RECORD, INBOUND_PAGE_BYTES);
    if (page == 0) return false;
    store<u32>(slot, page);
  }
  const bit = packetIdentifier & 511;
  const at = page + (bit >> 3);
  store<u8>(at, load<u8>(at) | <u8>(<u32>1 << (bit & 7)));
  session.inboundCount++;
  return true;
}

/** Forgets an identifier; false when it was not there. */
export function removeInbound(session: Session, packetIdentifier: u32): bool {
  if (!hasInbound(session, packetIdentifier)) return false;
  const slot = inboundPageSlot(session, packetIdentifier);
  const page = load<u32>(slot);
  const bit = packetIdentifier & 511;
  const at = page + (bit >> 3);
  store<u8>(at, load<u8>(at) & ~<u8>(<u32>1 << (bit & 7)));
  session.inboundCount--;
  if (session.inboundCount == 0) releaseInbound(session);
  return true;
}

export function releaseInbound(session: Session): void {
  const directory = session.inbound;
  if (directory == 0) return;
  for (let at: u32 = 0; at < INBOUND_DIRECTORY_BYTES; at += 4) {
    const page = load<u32>(directory + at);
    if (page != 0) release(MEMORY_RECORD, page);
  }
  release(MEMORY_RECORD, directory);
  session.inbound = 0;
  session.inboundCount = 0;
}

/** Frees the record and its tables. The queue is empty and the index has forgotten it. */
export function freeSession(session: Session): void {
  if (session.identifiers != 0) release(MEMORY_RECORD, session.identifiers);
  freeVerdicts(session.receiveVerdicts);
  if (session.mount != 0) unpinTopic(session.mount);
  if (session.askedTopic != 0) unpinTopic(session.askedTopic);
  releaseInbound(session);
  release(MEMORY_RECORD, changetype<u32>(session));
}
