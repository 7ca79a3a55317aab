/** Where strings and results cross: the host writes here before a call, and reads here after it. */

/** Room for two strings of the largest length, and for results. */
export const EXCHANGE_BYTES: u32 = 1048576;

export let exchangeArea: u32 = 0;

/** Takes the area out of memory that starts at `at`; answers where the next region may begin. */
export function initialiseExchange(at: u32): u32 {
  exchangeArea = at;
  return at + EXCHANGE_BYTES;
}
