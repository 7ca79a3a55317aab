/**
 * Orphans: acknowledgements that still wait for somebody while the publisher's connection is gone.
 * One session can have as many as there are Packet Identifiers, and all of them may end at once, so
 * they stand in a hash table by kind and identifier.
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { allocate, release } from '../memory/blocks';
import {
  POINTER_TABLE_BYTES, PointerTable, SLOT_BYTES, firstSlot, initialiseTable, insertPointer,
  pointerAt, releaseTable, removePointer, reserveSlot, slotAfter, tableEnd, tagAt,
} from '../index/pointer-table';
import { hashKey, hashPair } from '../topic/hash';
import { holdAt } from './holds';
import { Session } from './session';

@inline
function tableOf(session: Session): PointerTable {
  return changetype<PointerTable>(session.orphans);
}
@inline
function tagOf(kind: u32, packetIdentifier: u32): u32 {
  return hashPair((packetIdentifier << 8) | kind, hashKey);
}

/** The orphan that answers this PUBLISH, or 0. */
export function findOrphan(session: Session, kind: u32, packetIdentifier: u32): u32 {
  if (session.orphans == 0) return 0;
  const table = tableOf(session);
  const tag = tagOf(kind, packetIdentifier);
  let slot = firstSlot(table, tag);
  for (let found = pointerAt(slot); found != 0; found = pointerAt(slot)) {
    const hold = holdAt(found);
    const isSame = <u32>hold.packetIdentifier == packetIdentifier && <u32>hold.kind == kind;
    if (tagAt(slot) == tag && isSame) return found;
    slot = slotAfter(table, slot);
  }
  return 0;
}

/** Keeps a hold whose connection is gone. False when memory is exhausted. */
export function addOrphan(session: Session, pointer: u32): bool {
  const hold = holdAt(pointer);
  // Its identifier was used again: a DUP means the newer message.
  const older = findOrphan(session, hold.kind, hold.packetIdentifier);
  if (older != 0) {
    removeOrphan(session, older);
    holdAt(older).session = 0;
  }
  if (session.orphans == 0) {
    session.orphans = allocate(MEMORY_RECORD, POINTER_TABLE_BYTES);
    if (session.orphans == 0) return false;
    initialiseTable(tableOf(session), MEMORY_RECORD);
  }
  if (!reserveSlot(tableOf(session))) {
    releaseIfEmpty(session);
    return false;
  }
  insertPointer(tableOf(session), tagOf(hold.kind, hold.packetIdentifier), pointer);
  return true;
}

/** It has ended, or answers on another connection now. */
export function removeOrphan(session: Session, pointer: u32): void {
  if (session.orphans == 0) return;
  const hold = holdAt(pointer);
  removePointer(tableOf(session), tagOf(hold.kind, hold.packetIdentifier), pointer);
  releaseIfEmpty(session);
}

/** The session ends: its orphans answer to nobody. */
export function forgetOrphans(session: Session): void {
  if (session.orphans == 0) return;
  const table = tableOf(session);
  const end = tableEnd(table);
  for (let slot = table.slots; slot < end; slot += SLOT_BYTES) {
    if (pointerAt(slot) != 0) holdAt(pointerAt(slot)).session = 0;
  }
  table.count = 0;
  releaseIfEmpty(session);
}

function releaseIfEmpty(session: Session): void {
  if (tableOf(session).count != 0) return;
  releaseTable(tableOf(session));
  release(MEMORY_RECORD, session.orphans);
  session.orphans = 0;
}
