/**
 * Copies. Packets are small and many: the call of a bulk copy costs more than the copy itself, so
 * short ones are done 16 bytes at a time and may write up to 15 bytes beyond their end (slabs keep
 * slack for that).
 */
const SHORT_COPY_MAX: u32 = 256;

@inline
export function copyWithSlack(to: u32, from: u32, length: u32): void {
  if (length > SHORT_COPY_MAX) {
    memory.copy(to, from, length);
    return;
  }
  for (let i: u32 = 0; i < length; i += 16) v128.store(to + i, v128.load(from + i));
}

/** A big-endian Two Byte Integer, as MQTT writes it. */
@inline
export function storeTwoBytes(at: u32, value: u32): void {
  store<u16>(at, bswap<u16>(<u16>value));
}
@inline
export function loadTwoBytes(at: u32): u32 {
  return <u32>bswap<u16>(load<u16>(at));
}
@inline
export function storeFourBytes(at: u32, value: u32): void {
  store<u32>(at, bswap<u32>(value));
}
