/** All cases, in the order of the standard. */
import { connectCases } from './cases/connect.js';
import { encodingCases } from './cases/encoding.js';
import { sessionCases } from './cases/session.js';
import { willCases } from './cases/will.js';
import type { ConformanceCase } from './case.js';

export const CASES: readonly ConformanceCase[] = [
  ...encodingCases, ...connectCases, ...sessionCases, ...willCases,
];
