/**
 * Mount points. A session behind one lives in a part of the broker's tree of topics and takes it
 * for the whole: its names are *mounted* when they come in and *stripped* when they leave.
 * ```
 *   client                     broker, with the mount point `a/`
 *   sensor/1           <-->    a/sensor/1
 *   $aws/things        <-->    $a/$aws/things       what begins with $ is found by no wildcard in
 *                                                   the first level, here as there [MQTT-4.7.2-1]
 * ```
 * A mount point ends in `/` and holds no wildcard (the host checks that). It is a pinned interned
 * name: sessions with the same mount point have the same pointer.
 */
import { MEMORY_MESSAGE } from '../shared/memory-class';
import { allocate } from '../memory/blocks';
import { storeTwoBytes } from '../memory/bytes';
import { TopicEntry, internTopic, pinTopic } from '../index/topic-intern';
import { bytesEqual } from '../topic/hash';
import { KEPT_HEADER_BYTES } from '../switch/events';

const DOLLAR: u8 = 0x24; // $
const STRING_BYTES_MAX: u32 = 65_535;
/** Readers of a name may look up to 15 bytes beyond its end. */
const SLACK: u32 = 16;
const scratch: usize = memory.data(65_536 + 32);
if (STRING_BYTES_MAX + SLACK > 65_536 + 32) ERROR('layout drift: mount point scratch');

/** The mount point that stands at `[at, at + length)`; 0 when memory is exhausted. */
export function pinMountPoint(at: u32, length: u32): u32 {
  const mount = internTopic(at, length);
  if (mount != 0) pinTopic(mount);
  return mount;
}

@inline
function begins(at: u32, length: u32): bool {
  return length != 0 && load<u8>(at) == DOLLAR;
}

/** How many bytes longer the broker's name is than the client's; either may be asked about. */
export function mountedBytes(mount: u32, at: u32, length: u32): u32 {
  return <u32>changetype<TopicEntry>(mount).length + (begins(at, length) ? 1 : 0);
}

/** True when a client's name of `length` bytes is too long once it is mounted. */
export function isTooLongMounted(mount: u32, at: u32, length: u32): bool {
  return mountedBytes(mount, at, length) + length > STRING_BYTES_MAX;
}

/** Writes what stands before the client's name at `at`; answers where the name itself goes. */
function writePrefix(to: u32, mount: u32, at: u32, length: u32): u32 {
  const entry = changetype<TopicEntry>(mount);
  if (begins(at, length)) store<u8>(to++, DOLLAR);
  memory.copy(to, entry.bytes, entry.length);
  return to + entry.length;
}

/** The broker's interned name of a client's Topic Name; 0 when memory is exhausted. */
export function mountTopic(mount: u32, at: u32, length: u32): u32 {
  const end = writePrefix(<u32>scratch, mount, at, length);
  memory.copy(end, at, length);
  return internTopic(<u32>scratch, end - <u32>scratch + length);
}

/**
 * True when the broker's name is the mounted form of some name. `a` and `a/` are not below `a/`,
 * although the filter `#` of its clients matches them.
 */
export function isBelowMount(mount: u32, at: u32, length: u32): bool {
  const entry = changetype<TopicEntry>(mount);
  const prefix = <u32>entry.length;
  const dollar: u32 = begins(at, length) ? 1 : 0;
  if (length <= prefix + dollar || !bytesEqual(at + dollar, entry.bytes, prefix)) return false;
  // `$a/x` is nobody's: only a name with a $ of its own is mounted behind one.
  return (load<u8>(at + dollar + prefix) == DOLLAR) == (dollar != 0);
}

const PROPERTY_HEADER_BYTES: u32 = 3; // id and length

/**
 * A copy of `[at, at + length)`, forwarded properties, whose Response Topic at `responseAt` (its
 * name, `responseLength` bytes) is mounted: `mountedBytes` longer. Answers a block for
 * `releaseAfterRows`, 0 when memory is exhausted.
 */
export function mountResponseTopic(
  mount: u32, at: u32, length: u32, responseAt: u32, responseLength: u32,
): u32 {
  const more = mountedBytes(mount, responseAt, responseLength);
  const block = allocate(MEMORY_MESSAGE, KEPT_HEADER_BYTES + length + more + SLACK);
  if (block == 0) return 0;
  const before = responseAt - at;
  const to = block + KEPT_HEADER_BYTES;
  memory.copy(to, at, before);
  storeTwoBytes(to + before - PROPERTY_HEADER_BYTES + 1, responseLength + more);
  const end = writePrefix(to + before, mount, responseAt, responseLength);
  memory.copy(end, responseAt, length - before);
  return block;
}
