/**
 * Templates: one encoding of a message per layout, shared by all receivers that need nothing of
 * their own but the Packet Identifier and the flags of the first byte. A packet that arrived in the
 * layout that leaves is its own template.
 *
 * Four layouts: 3.x or 5.0, without or with a Packet Identifier. A template is made when the first
 * receiver needs it. There are two sets of four: for receivers that see all names, and for those
 * behind the mount point that was looked through last.
 */
import { copyWithSlack, storeTwoBytes } from '../memory/bytes';
import { PUBLISH } from '../shared/control-packet';
import { Connection } from './connection';
import {
  frameBytes, frameIdentifierOffset, lookThrough, setFrameAlias, setFrameIdentifiers,
  sourceForwardLength, sourcePayloadAt, sourcePayloadLength, sourceTopicLength, viewMount,
  writeFrameHead,
} from './publish-writer';
import { reserveForPublish } from './slab';

const LAYOUTS: u32 = 4;
/**
 * Heads longer than this are written for each receiver; there is nothing to gain from sharing them.
 */
const HEAD_BYTES_MAX: u32 = 1024;
/** Up to here head and payload stand in one piece and are copied in one go. */
const WHOLE_BYTES_MAX: u32 = 2048;
const HEAD_OVERHEAD_BYTES: u32 = 32; // fixed header, lengths, identifier, expiry: generous
const TEMPLATE_STRIDE: u32 = 3072 + 64;

const scratch: usize = memory.data(25088, 16);
if (2 * LAYOUTS * TEMPLATE_STRIDE > 25088) ERROR('layout drift: templates');

/**
 * Per layout: `at` (0 = not made), `length` (of the part in one piece), `identifierOffset`, `tail`
 * (payload bytes that follow).
 */
const table: usize = memory.data(128);
const SET_BYTES: u32 = 64;
/** Whose templates the second set has; 0 = it is empty. */
let mountOfSet: u32 = 0;

@inline
export function layoutOf(version: u32, qos: u32): u32 {
  return (version == 5 ? 2 : 0) | (qos != 0 ? 1 : 0);
}
@inline
function rowOf(layout: u32): u32 {
  return <u32>table + (viewMount == 0 ? 0 : SET_BYTES) + (layout << 4);
}

/** Forgets the templates of the last message. */
@inline
export function clearTemplates(): void {
  clearSet(<u32>table);
  mountOfSet = 0;
}
@inline
function clearSet(at: u32): void {
  v128.store(at, i64x2.splat(0), 0);
  v128.store(at, i64x2.splat(0), 16);
  v128.store(at, i64x2.splat(0), 32);
  v128.store(at, i64x2.splat(0), 48);
}

/** Templates are for receivers behind `mount` from here on. */
export function lookThroughTemplates(mount: u32): void {
  lookThrough(mount);
  if (mount == 0 || mount == mountOfSet) return;
  clearSet(<u32>table + SET_BYTES);
  mountOfSet = mount;
}

/**
 * The packet as it arrived is the template of its own layout. `identifierOffset` is counted from
 * its first byte.
 */
export function adoptTemplate(layout: u32, at: u32, length: u32, identifierOffset: u32): void {
  const row = rowOf(layout);
  store<u32>(row, at);
  store<u32>(row, length, 4);
  store<u32>(row, identifierOffset, 8);
  store<u32>(row, 0, 12);
}

/** Makes the template of a layout; false when the head is too long to be shared. */
function makeTemplate(layout: u32): bool {
  if (sourceTopicLength + sourceForwardLength + HEAD_OVERHEAD_BYTES > HEAD_BYTES_MAX) return false;
  const version: u32 = layout & 2 ? 5 : 4;
  const qos = layout & 1; // stands for any QoS above 0; the first byte is set per receiver
  setFrameAlias(0, 0);
  setFrameIdentifiers(0, 0);
  const place = viewMount == 0 ? layout : LAYOUTS + layout;
  const at = <u32>scratch + place * TEMPLATE_STRIDE;
  const end = writeFrameHead(at, version, 0, qos, 0);
  let length = end - at;
  let tail = sourcePayloadLength;
  if (tail <= WHOLE_BYTES_MAX) {
    copyWithSlack(end, sourcePayloadAt, tail);
    length += tail;
    tail = 0;
  }
  const row = rowOf(layout);
  store<u32>(row, at);
  store<u32>(row, length, 4);
  store<u32>(row, frameIdentifierOffset, 8);
  store<u32>(row, tail, 12);
  return true;
}

/** Bytes of the packet in this layout. */
@inline
export function templateBytes(layout: u32): u32 {
  const row = rowOf(layout);
  if (load<u32>(row) != 0) return load<u32>(row, 4) + load<u32>(row, 12);
  setFrameAlias(0, 0);
  setFrameIdentifiers(0, 0);
  return frameBytes(layout & 2 ? 5 : 4, layout & 1);
}

/** True when the layout has a template now. */
@inline
export function hasTemplate(layout: u32): bool {
  return load<u32>(rowOf(layout)) != 0 || makeTemplate(layout);
}

/**
 * Appends the template to a slab: flags and identifier are the receiver's own. False when memory is
 * exhausted.
 */
@inline
export function appendTemplate(
  connection: Connection, layout: u32, flags: u32, qos: u32, packetIdentifier: u32,
): bool {
  const row = rowOf(layout);
  const length = load<u32>(row, 4);
  const tail = load<u32>(row, 12);
  const at = reserveForPublish(connection, length + tail);
  if (at == 0) return false;
  copyWithSlack(at, load<u32>(row), length);
  if (tail != 0) memory.copy(at + length, sourcePayloadAt, tail);
  // [MQTT-3.3.1-3] 5.0 [MQTT-4.3.2-2] [MQTT-4.3.3-2]: DUP is our own, 0 the first time
  store<u8>(at, <u8>((PUBLISH << 4) | flags | (qos << 1)));
  if (qos != 0) storeTwoBytes(at + load<u32>(row, 8), packetIdentifier);
  return true;
}
