/** All cases, in the order of the standard. */
import { announcedCases } from './cases/announced.js';
import { connectCases } from './cases/connect.js';
import { controlCases } from './cases/control.js';
import { encodingCases } from './cases/encoding.js';
import { propertyCases } from './cases/properties.js';
import { publishCases } from './cases/publish.js';
import { scenarioCases } from './cases/scenarios.js';
import { sessionCases } from './cases/session.js';
import { subscribeCases } from './cases/subscribe.js';
import { topicCases } from './cases/topics.js';
import { willCases } from './cases/will.js';
import type { ConformanceCase } from './case.js';

export const CASES: readonly ConformanceCase[] = [
  ...encodingCases, ...connectCases, ...sessionCases, ...willCases, ...publishCases,
  ...propertyCases, ...subscribeCases, ...topicCases, ...controlCases, ...announcedCases,
  ...scenarioCases,
];
