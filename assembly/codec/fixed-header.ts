/**
 * The fixed header: cuts a stream into Control Packets.
 * ```
 *   0              1                        2..5
 *   +------+-------+------------------------+------------------------------+
 *   | type | flags | remaining length (1-4) | body: remainingLength bytes  |
 *   +------+-------+------------------------+------------------------------+
 * ```
 * "Wait" and "close" are different answers: FRAME_MORE means that the bytes so far may be the start
 * of a packet, FRAME_MALFORMED that no byte that follows can make them one, and it is given as soon
 * as that is certain.
 */
import {
  AUTH, DISCONNECT, FRAME_MALFORMED, FRAME_MORE, FRAME_OK, PINGREQ, PINGRESP, PUBLISH, PUBLISH_DUP,
  PUBLISH_QOS_MASK, PUBREL, SUBSCRIBE, UNSUBSCRIBE, VERSION_3_1, VERSION_5,
} from '../shared/control-packet';

/** First byte of the packet: type and flags. */
export let frameHeader: u32 = 0;
/** Where the body starts. */
export let frameBodyAt: u32 = 0;
/**
 * Remaining Length: bytes of the body. Set before the body has arrived, so that a limit can refuse
 * it early.
 */
export let frameRemaining: u32 = 0;

/**
 * Reads the fixed header of the packet at `at`; `end` is where the bytes that have arrived end.
 * `version` is the protocol level of the connection, which before CONNECT is taken for 5. FRAME_OK
 * says that the header is complete, not that the body is: compare frameRemaining with what has
 * arrived.
 */
export function readFixedHeader(at: u32, end: u32, version: u32 = VERSION_5): i32 {
  if (at >= end) return FRAME_MORE;
  frameHeader = load<u8>(at);
  if (!isFirstByte(frameHeader, version)) return FRAME_MALFORMED;
  if (end - at < 2) return FRAME_MORE;
  const first = <u32>load<u8>(at, 1);
  frameRemaining = first;
  frameBodyAt = at + 2;
  if (first >= 128) {
    const state = readLongLength(at + 1, end);
    if (state != FRAME_OK) return state;
  }
  const type = frameHeader >> 4;
  if ((type == PINGREQ || type == PINGRESP) && frameRemaining != 0) return FRAME_MALFORMED;
  if (type == DISCONNECT && version < VERSION_5 && frameRemaining != 0) return FRAME_MALFORMED;
  return FRAME_OK;
}

function readLongLength(at: u32, end: u32): i32 {
  let value: u32 = 0;
  for (let shift: u32 = 0; shift < 28; shift += 7) {
    if (at >= end) return FRAME_MORE;
    const byte = <u32>load<u8>(at++);
    value |= (byte & 127) << shift;
    if (byte < 128) {
      if (byte == 0) return FRAME_MALFORMED; // fewer bytes would have done [MQTT-1.5.5-1]
      frameRemaining = value;
      frameBodyAt = at;
      return FRAME_OK;
    }
  }
  return FRAME_MALFORMED;
}

/**
 * Whether a packet may begin with `header`.
 * 3.1.1 [MQTT-2.2.2-1] [MQTT-2.2.2-2], 5.0 [MQTT-2.1.3-1]
 */
@inline
function isFirstByte(header: u32, version: u32): bool {
  const type = header >> 4;
  if (type == PUBLISH) {
    const qos = header & PUBLISH_QOS_MASK;
    if (qos == PUBLISH_QOS_MASK) return false; // [MQTT-3.3.1-4]
    return qos != 0 || (header & PUBLISH_DUP) == 0; // [MQTT-3.3.1-2]
  }
  if (type == 0 || (type == AUTH && version < VERSION_5)) return false;
  // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]; AUTH [MQTT-3.15.1-1], DISCONNECT [MQTT-3.14.1-1]
  // and the rest: 0
  const flags: u32 = type == PUBREL || type == SUBSCRIBE || type == UNSUBSCRIBE ? 2 : 0;
  // MQTT 3.1 has no reserved bits here: DUP marks a repeated SUBSCRIBE, RETAIN is "not used".
  if (version == VERSION_3_1) return (header & PUBLISH_QOS_MASK) == flags;
  return (header & 15) == flags;
}
