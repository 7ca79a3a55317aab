/** What DISCONNECT says beside its Reason Code (MQTT 5). */
import type { ReasonFields } from '../core/contract.js';
import { NidoClientError } from './errors.js';
import { pairsProblem, userPairs } from './message-properties.js';
import type { UserPropertiesInput } from './options.js';
import { checkNumber } from './resolve-options.js';
import type { ResolvedOptions } from './resolve-options.js';
import { textProblem } from './wire-text.js';

export interface EndOptions {
  /** How long messages and handlers may take to finish. 0 = leave at once. */
  readonly deadlineMs?: number;
  /** Of DISCONNECT (MQTT 5). */
  readonly properties?: {
    /** In seconds; instead of what CONNECT said. Only 0 when that was 0. */
    readonly sessionExpiryInterval?: number;
    readonly reasonString?: string;
    readonly userProperties?: UserPropertiesInput;
  };
}

const SESSION_FOR_EVER = 0xffff_ffff;

/** Throws what is wrong with it. */
export function goodbyeOf(
  { properties }: EndOptions, options: ResolvedOptions,
): ReasonFields | undefined {
  if (properties === undefined || Object.keys(properties).length === 0) return undefined;
  const { sessionExpiryInterval, reasonString } = properties;
  const name = 'end: properties.sessionExpiryInterval';
  // A session that was to end with the connection cannot be kept after all (5.0, 3.14.2.2.2).
  const longest = options.sessionExpiryInterval === 0 ? 0 : SESSION_FOR_EVER;
  checkNumber(name, sessionExpiryInterval, 0, longest);
  const userProperties = userPairs(properties.userProperties);
  const problem = pairsProblem(userProperties)
    ?? (reasonString === undefined ? undefined : textProblem(reasonString));
  if (problem !== undefined) {
    throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID', `end: properties: ${problem}`);
  }
  return { sessionExpiryInterval, reasonString, userProperties };
}
