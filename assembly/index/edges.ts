/**
 * Edges of a trie: the nodes of all levels stand in one table, keyed by their parent and the hash
 * of their level. `Node` is a record with `parent` and `length`, whose level stands behind it.
 * ```
 *  0                       nodeBytes      nodeBytes + length
 *  +-----------------------+--------------+
 *  | parent, length, ...   | the level    |
 *  +-----------------------+--------------+
 * ```
 */
import { bytesEqual, hashPair } from '../topic/hash';
import { PointerTable, firstSlot, pointerAt, slotAfter, tagAt } from './pointer-table';

/** The child of `parent` for the literal level, or 0. */
@inline
export function findEdge<Node>(
  table: PointerTable, nodeBytes: u32, parent: u32, at: u32, length: u32, hash: u64,
): u32 {
  const tag = hashPair(parent, hash);
  let slot = firstSlot(table, tag);
  let found = pointerAt(slot);
  while (found != 0) {
    if (tagAt(slot) == tag) {
      const node = changetype<Node>(found);
      // Byte by byte, nothing normalised [MQTT-4.7.3-4].
      if (
        node.parent == parent && <u32>node.length == length
        && bytesEqual(found + nodeBytes, at, length)
      ) return found;
    }
    slot = slotAfter(table, slot);
    found = pointerAt(slot);
  }
  return 0;
}
