/** All cases of the client role. */
import type { ClientCase } from './client-case.js';
import { authenticationCases } from './authentication.js';
import { cornerCases } from './corners.js';
import { greetingCases } from './greeting.js';
import { publishingCases } from './publishing.js';
import { receivingCases } from './receiving.js';
import { refusingCases } from './refusing.js';
import { resumingCases } from './resuming.js';
import { subscribingCases } from './subscribing.js';
import { webSocketCases } from './web-socket.js';

export const CLIENT_CASES: readonly ClientCase[] = [
  ...greetingCases, ...publishingCases, ...resumingCases, ...receivingCases, ...subscribingCases,
  ...refusingCases, ...authenticationCases, ...webSocketCases, ...cornerCases,
];
