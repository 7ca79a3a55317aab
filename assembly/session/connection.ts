/**
 * A Network Connection as the core sees it: what arrived and is not yet whole, what is written and
 * not yet sent, the quotas and aliases that die with it. Everything that outlives it belongs to the
 * session (session.ts).
 */
import { MEMORY_CARRY, MEMORY_RECORD } from '../shared/memory-class';
import {
  allocate, allocateUrgent, allocateZeroed, blockBytes, release, roomOf,
} from '../memory/blocks';
import { COUNT_CONNECTIONS, POLICY_ALLOW } from '../shared/abi';
import { unpinTopic } from '../index/topic-intern';
import { GENERAL_LIMITS, clock, count } from './limits';
import {
  HANDLE_TABLE_BYTES, HandleTable, giveHandle, handleTableBytes, resolveHandle, startHandles,
  takeHandle,
} from './handles';
import { freeVerdicts } from './verdict-table';

/** States of a connection, in the only order in which they follow each other. */
export const STATE_OPENING: u8 = 0; // nothing whole arrived yet
// CONNECT is with the control plane (or, as a client, CONNACK is awaited)
export const STATE_ASKED: u8 = 1;
export const STATE_OPEN: u8 = 2;
export const STATE_CLOSED: u8 = 3; // nothing is read any more; what is written still leaves

export const WAITING_ANSWER: u8 = 1;
export const WAITING_SUBACK: u8 = 2;

/**
 * ```
 *  0        4         8       12      13     14        15       16
 *  +--------+---------+-------+-------+------+---------+--------+----------------------------
 *  | handle | session | state | role  | vers | policy  | flags  | quotas, carry, slab, acks ...
 *  +--------+---------+-------+-------+------+---------+--------+----------------------------
 * ```
 */
@unmanaged
export class Connection {
  handle: u32;
  session: u32;
  state: u8;
  role: u8;
  version: u8;
  policy: u8;
  waiting: u8; // WAITING_: a packet is with the control plane; nothing behind it is read
  dirty: u8; // stands in the list of connections with something to flush
  paused: u8; // the host was told to stop reading: too many bytes are held
  answered: u8; // `answerReason` is the verdict for the PUBLISH that is read next
  answerReason: u8;
  aliasInMax: u16; // ours, announced
  aliasOutMax: u16; // the peer's
  aliasOutUsed: u16;
  sendQuota: u32; // Receive Maximum of the peer
  inboundOpen: u32; // QoS 1 and 2 messages of the peer that we have not acknowledged [MQTT-4.9]
  maximumPacketSize: u32; // of the peer; 0 = none
  lastReceived: f64;
  bytesIn: f64;
  publishes: f64; // PUBLISH packets that came in

  carry: u32; // block with bytes that wait for the rest of their packet, or for an answer
  carryLength: u32;
  carryCapacity: u32;

  chunkHead: u32; // oldest chunk whose bytes the transport has not confirmed
  chunkTail: u32; // newest chunk
  chunkFlush: u32; // first chunk that the host has not been given
  txBytes: u32; // bytes in all chunks
  txHint: u32; // size of the next first chunk: what the last busy turn needed
  dirtyNext: u32;

  ackHead: u32; // acknowledgements that may not overtake each other
  ackTail: u32;
  heldBytes: u32; // of messages whose acknowledgement waits

  aliasIn: u32; // block: one TopicEntry per alias, made with the first alias
  aliasOut: u32; // block: see topic-alias.ts
  aliasEra: u32; // of the serial numbers in it
  verdicts: u32; // table: see verdict-table.ts
  interception: u32; // of the PUBLISH in hand: see switch/interception.ts
  mount: u32; // of its session: see mount-point.ts
  limits: u32; // table: see limits.ts
}

const connectionTable: HandleTable = changetype<HandleTable>(memory.data(HANDLE_TABLE_BYTES));

/**
 * Cuts the handle table out of memory that starts at `at`; answers where the next region may begin.
 */
export function initialiseConnections(at: u32, capacity: u32): u32 {
  startHandles(connectionTable, at, capacity);
  return at + handleTableBytes(capacity);
}

@inline
export function connectionAt(pointer: u32): Connection {
  return changetype<Connection>(pointer);
}
@inline
export function connectionOf(handle: u32): u32 {
  return resolveHandle(connectionTable, handle);
}

/** A new connection; 0 when memory or the table is exhausted. */
export function createConnection(role: u32): u32 {
  const pointer = allocateZeroed(MEMORY_RECORD, offsetof<Connection>());
  if (pointer == 0) return 0;
  const handle = takeHandle(connectionTable, pointer);
  if (handle == 0) {
    release(MEMORY_RECORD, pointer);
    return 0;
  }
  const connection = connectionAt(pointer);
  connection.handle = handle;
  connection.role = <u8>role;
  connection.version = 4;
  connection.policy = <u8>POLICY_ALLOW;
  connection.sendQuota = 0xffff;
  connection.limits = GENERAL_LIMITS;
  connection.lastReceived = clock;
  count(COUNT_CONNECTIONS, 1);
  return pointer;
}

/**
 * Frees the record. Its acknowledgements and its session were taken from it before (see
 * ending.ts).
 */
export function freeConnection(connection: Connection): void {
  if (connection.carry != 0) release(MEMORY_CARRY, connection.carry);
  dropAliases(connection);
  freeVerdicts(connection.verdicts);
  giveHandle(connectionTable, connection.handle);
  count(COUNT_CONNECTIONS, -1);
  release(MEMORY_RECORD, changetype<u32>(connection));
}

/** Topic Aliases exist only within a Network Connection [MQTT-3.3.2-7]. */
function dropAliases(connection: Connection): void {
  const table = connection.aliasIn;
  if (table != 0) {
    for (let alias: u32 = 0; alias < <u32>connection.aliasInMax; alias++) {
      const entry = load<u32>(table + (alias << 2));
      if (entry != 0) unpinTopic(entry);
    }
    release(MEMORY_RECORD, table);
  }
  if (connection.aliasOut != 0) release(MEMORY_RECORD, connection.aliasOut);
}

/** Up to here a carry is never refused: what a split packet of ordinary size needs. */
const CARRY_BYTES_SMALL: u32 = 4096;

/**
 * A block for carried bytes; 0 when memory is exhausted. A large one may take half of what is still
 * free (as a slab, see slab.ts): whoever holds large packets back leaves room for others.
 */
function allocateCarry(need: u32, wanted: u32): u32 {
  const fair = roomOf(MEMORY_CARRY) >> 1;
  let block = wanted <= fair ? allocate(MEMORY_CARRY, wanted) : 0;
  if (block == 0 && (need <= fair || need <= CARRY_BYTES_SMALL)) {
    block = allocate(MEMORY_CARRY, need);
  }
  if (block != 0 || need > CARRY_BYTES_SMALL) return block;
  return allocateUrgent(MEMORY_CARRY, need);
}

/** Keeps `[at, at + length)` behind what is carried already. False when memory is exhausted. */
export function carryBytes(connection: Connection, at: u32, length: u32): bool {
  const need = connection.carryLength + length;
  if (need > connection.carryCapacity) {
    // Grown by what arrived, never by what a packet claims to be.
    const capacity = max(need, connection.carryCapacity << 1);
    const block = allocateCarry(need, capacity);
    if (block == 0) return false;
    if (connection.carryLength != 0) memory.copy(block, connection.carry, connection.carryLength);
    if (connection.carry != 0) release(MEMORY_CARRY, connection.carry);
    connection.carry = block;
    connection.carryCapacity = blockBytes(block);
  }
  memory.copy(connection.carry + connection.carryLength, at, length);
  connection.carryLength = need;
  return true;
}

/** Takes the carry block away from the connection: its new owner releases it. */
export function takeCarry(connection: Connection): u32 {
  const block = connection.carry;
  connection.carry = 0;
  connection.carryLength = 0;
  connection.carryCapacity = 0;
  return block;
}
