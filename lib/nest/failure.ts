/** What a failed handler means for its message. */
import type { Logger } from '@nestjs/common';
import { mqttText } from '../client/wire-text.js';
import type { MessageProperties, UserProperties } from '../core/contract.js';
import { messageOf } from './errors.js';
import type { IncomingMessage, Link } from './link/link.js';
import type { FailurePolicy, FinalFailure } from './options.js';

export interface FailureContext {
  readonly error: unknown;
  readonly message: IncomingMessage;
  readonly attempt: number;
  readonly link: Link;
  readonly log: Pick<Logger, 'error' | 'warn'>;
  /** One sentence for the log. */
  readonly what: string;
  readonly pattern: string;
}

const DELAY_MS = 100;
const DELAY_MS_MAX = 10_000;
const UNSPECIFIED_ERROR = 0x80;
const REASON_CHARACTERS_MAX = 256;

/** What the link is told: the publisher's PUBACK or PUBREC carries `reasonCode`. */
export class HandlerFailure extends Error {
  override readonly name = 'HandlerFailure';
  constructor(
    readonly reasonCode: number,
    message: string,
    options: { cause: unknown },
  ) {
    super(message, options);
  }
}

export function finalOf(policy: FailurePolicy): FinalFailure {
  if (typeof policy === 'object' && 'retry' in policy) return policy.then ?? 'reason-code';
  return policy;
}

/** Milliseconds until the next run, undefined when that was the last one. */
export function retryDelayMs(policy: FailurePolicy, attempt: number): number | undefined {
  if (typeof policy !== 'object' || !('retry' in policy)) return undefined;
  const { attempts, delayMs = DELAY_MS, backoff = 'exponential' } = policy.retry;
  const { delayMsMax = Math.max(delayMs, DELAY_MS_MAX) } = policy.retry;
  if (attempt >= attempts) return undefined;
  return backoff === 'fixed' ? delayMs : Math.min(delayMs * 2 ** (attempt - 1), delayMsMax);
}

/** Resolves when the message counts as handled, rejects when its publisher is to hear of it. */
export async function applyFinalFailure(
  failure: FailureContext,
  policy: FinalFailure,
): Promise<void> {
  const { error, log, what } = failure;
  if (policy === 'ignore') {
    log.error(`${what}; the message is acknowledged and dropped`);
    return;
  }
  if (policy === 'reason-code') {
    log.error(what);
    throw new HandlerFailure(reasonCodeOf(error), messageOf(error), { cause: error });
  }
  const { deadLetter } = policy;
  let topicName: string;
  try {
    topicName = typeof deadLetter === 'string' ? deadLetter : deadLetter(failure.message);
    await publishDeadLetter(failure, topicName);
  } catch (trouble) {
    log.error(`${what}; its dead letter could not be published: ${messageOf(trouble)}`);
    throw new HandlerFailure(reasonCodeOf(error), messageOf(error), { cause: trouble });
  }
  log.error(`${what}; the message went to ${topicName}`);
}

async function publishDeadLetter(failure: FailureContext, topicName: string): Promise<void> {
  const { message, link, error, pattern, attempt } = failure;
  const why: UserProperties = [
    ['nido-topic', message.topicName],
    ['nido-pattern', pattern],
    ['nido-attempts', String(attempt)],
    ['nido-error', mqttText(messageOf(error), REASON_CHARACTERS_MAX)],
  ];
  // A dead letter is no request: nobody is to answer it.
  const kept: { -readonly [Name in keyof MessageProperties]: MessageProperties[Name] } = {
    ...message.properties,
  };
  delete kept.responseTopic;
  delete kept.correlationData;
  await link.publish(topicName, message.payload, {
    qos: message.qos === 0 ? 0 : 1,
    properties: { ...kept, userProperties: [...(kept.userProperties ?? []), ...why] },
  });
}

function reasonCodeOf(error: unknown): number {
  const code = (error as { reasonCode?: unknown } | null | undefined)?.reasonCode;
  return typeof code === 'number' && code >= UNSPECIFIED_ERROR && code <= 0xff
    ? code
    : UNSPECIFIED_ERROR;
}
