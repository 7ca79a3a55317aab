/**
 * Variable Byte Integers: seven bits a byte, least significant first, at most four bytes, never
 * more than needed.
 */

/** Value that the last readVbi found. */
export let vbiValue: u32 = 0;

/** Bytes that `value` takes: 1 to 4. */
@inline
export function vbiSize(value: u32): u32 {
  return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

/** Writes `value` in the fewest bytes and answers the position after it. */
export function writeVbi(at: u32, value: u32): u32 { // [MQTT-1.5.5-1]
  while (value >= 128) {
    store<u8>(at, <u8>(value | 128));
    value >>= 7;
    at++;
  }
  store<u8>(at, <u8>value);
  return at + 1;
}

/**
 * Reads into `vbiValue` and answers the position after the integer; 0 when it runs past `end`, has
 * a fifth byte or is longer than its value needs. Inside a packet each of the three is a malformed
 * packet.
 */
export function readVbi(at: u32, end: u32): u32 {
  if (at >= end) return 0;
  let byte = <u32>load<u8>(at++);
  vbiValue = byte & 127;
  if (byte < 128) return at;
  for (let shift: u32 = 7; shift < 28; shift += 7) {
    if (at >= end) return 0;
    byte = load<u8>(at++);
    vbiValue |= (byte & 127) << shift;
    if (byte < 128) return byte == 0 ? 0 : at; // [MQTT-1.5.5-1]
  }
  return 0;
}
