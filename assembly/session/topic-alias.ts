/**
 * Topic Aliases. Incoming ones are a row of interned topics per connection; outgoing ones a
 * direct-mapped table: the topic with serial number s owns slot s mod maximum, and takes it over
 * from another topic by sending its name again. A slot gets its alias when it is first used: 1, 2,
 * 3 and so on.
 * ```
 *   0        4       8
 *   +--------+-------+
 *   | serial | alias |  x maximum
 *   +--------+-------+
 * ```
 */
import { MEMORY_RECORD } from '../shared/memory-class';
import { allocateZeroed } from '../memory/blocks';
import {
  TopicEntry, internTopic, pinTopic, serialEra, unpinTopic,
} from '../index/topic-intern';
import { Connection } from './connection';
import { setFrameAlias } from './publish-writer';

const SLOT_SHIFT: u32 = 3;
const ALIAS_AT: usize = 4;

/** The topic that `alias` stands for, or 0. */
export function topicOfAlias(connection: Connection, alias: u32): u32 {
  return connection.aliasIn == 0 ? 0 : load<u32>(connection.aliasIn + ((alias - 1) << 2));
}

/**
 * Binds `alias` to a topic until it is bound anew or the connection ends. False when memory is
 * exhausted.
 */
export function bindAlias(connection: Connection, alias: u32, entry: u32): bool {
  if (connection.aliasIn == 0) {
    connection.aliasIn = allocateZeroed(MEMORY_RECORD, <u32>connection.aliasInMax << 2);
    if (connection.aliasIn == 0) return false;
  }
  const slot = connection.aliasIn + ((alias - 1) << 2);
  const before = load<u32>(slot);
  pinTopic(entry);
  if (before != 0) unpinTopic(before);
  store<u32>(slot, entry);
  return true;
}

/**
 * Chooses the alias of the next frame to this connection: known, new, or none. The alias counts as
 * known only after `aliasWasSent`, because a frame may still be refused. QoS 2 always carries its
 * Topic Name: MQTT.js keeps the packet until PUBREL and then hands on the name that stands in it.
 */
export function chooseAlias(
  connection: Connection, topicAt: u32, topicLength: u32, qos: u32,
): u32 {
  setFrameAlias(0, 0);
  const maximum = <u32>connection.aliasOutMax; // [MQTT-3.1.2-26]
  // [MQTT-3.1.2-27] [MQTT-3.3.2-11]
  if (maximum == 0) return 0;
  if (connection.aliasOut == 0) {
    connection.aliasOut = allocateZeroed(MEMORY_RECORD, maximum << SLOT_SHIFT);
    if (connection.aliasOut == 0) return 0;
  }
  const entry = internTopic(topicAt, topicLength);
  if (entry == 0) return 0;
  if (connection.aliasEra != serialEra) forgetSerials(connection);
  const serial = changetype<TopicEntry>(entry).serial;
  const slot = slotOf(connection, serial);
  const alias = load<u32>(slot, ALIAS_AT);
  const isKnown = load<u32>(slot) == serial && qos != 2;
  setFrameAlias(alias == 0 ? <u32>connection.aliasOutUsed + 1 : alias, isKnown ? 1 : 0);
  return serial;
}

/** The numbers began again: every alias is given with its name once more. */
function forgetSerials(connection: Connection): void {
  const end = connection.aliasOut + (<u32>connection.aliasOutMax << SLOT_SHIFT);
  for (let slot = connection.aliasOut; slot < end; slot += 1 << SLOT_SHIFT) store<u32>(slot, 0);
  connection.aliasEra = serialEra;
}

@inline
function slotOf(connection: Connection, serial: u32): u32 {
  return connection.aliasOut + ((serial % <u32>connection.aliasOutMax) << SLOT_SHIFT);
}

/** The frame with the chosen alias is in the slab: from here on the peer knows it. */
@inline
export function aliasWasSent(connection: Connection, serial: u32): void {
  if (serial == 0) return;
  const slot = slotOf(connection, serial);
  store<u32>(slot, serial);
  if (load<u32>(slot, ALIAS_AT) == 0) store<u32>(slot, <u32>++connection.aliasOutUsed, ALIAS_AT);
}
