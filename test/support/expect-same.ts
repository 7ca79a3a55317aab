/**
 * What `expect` says, where it is asked a hundred thousand times: making the object that `expect`
 * answers takes longer than the code under test.
 */
import { expect } from '@jest/globals';

export function expectSame<T>(actual: T, expected: T): void {
  if (!Object.is(actual, expected)) expect(actual).toBe(expected);
}

export function expectAtMost(actual: number, most: number): void {
  if (!(actual <= most)) expect(actual).toBeLessThanOrEqual(most);
}

/** The same, as often, in whatever order. */
export function expectSameMembers<T extends string | number>(
  actual: readonly T[], expected: readonly T[],
): void {
  const [one, other] = [[...actual].sort(), [...expected].sort()];
  const differ = one.length !== other.length || one.some((each, at) => each !== other[at]);
  if (differ) expect(one).toEqual(other);
}
