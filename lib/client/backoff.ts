/** How long to wait before trying again. */

const DOUBLINGS_MAX = 20;

/**
 * Doubles from `period` up to `longest`; half of it is left to chance, so that a thousand clients
 * do not come back in the same moment.
 */
export function backoffMs(attempt: number, period: number, longest: number): number {
  const full = Math.min(longest, period * 2 ** Math.min(attempt - 1, DOUBLINGS_MAX));
  return full / 2 + Math.random() * (full / 2);
}
