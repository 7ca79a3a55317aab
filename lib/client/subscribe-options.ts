/** What may be asked of a subscription. */
import { NidoClientError } from './errors.js';
import type { MessageHandler } from './handler-subscription.js';
import type { SubscribeOptions } from './options.js';
import { topicProblem } from './outgoing.js';
import { checkNumber } from './resolve-options.js';
import type { ParsedFilter } from './topic-filter.js';

const TIMER_MS_MAX = 0x7fff_ffff;
const SUBSCRIPTION_IDENTIFIER_MAX = 268_435_455;

export function checkOptions(
  topicFilter: string, parsed: ParsedFilter, handler: MessageHandler, options: SubscribeOptions,
): void {
  if (typeof handler !== 'function') {
    throw new NidoClientError('NIDO_CLIENT_SUBSCRIBE_INVALID',
      `subscribe ${topicFilter}: the handler is not a function`);
  }
  if (options.nl === true && parsed.shareName !== undefined) { // 5.0 [MQTT-3.8.3-4]
    throw new NidoClientError('NIDO_CLIENT_SUBSCRIBE_INVALID',
      `subscribe ${topicFilter}: nl cannot be shared`);
  }
  checkNumber('qos', options.qos, 0, 2);
  checkNumber('rh', options.rh, 0, 2);
  checkNumber('properties.subscriptionIdentifier',
    options.properties?.subscriptionIdentifier, 1, SUBSCRIPTION_IDENTIFIER_MAX);
  checkNumber('concurrency', options.concurrency, 1, 65_535);
  checkNumber('handlerTimeoutMs', options.handlerTimeoutMs, 0, TIMER_MS_MAX);
  checkNumber('retries.attempts', options.retries?.attempts, 0, 1_000_000);
  checkNumber('retries.delayMs', options.retries?.delayMs, 0, TIMER_MS_MAX);
  checkNumber('retries.delayMsMax', options.retries?.delayMsMax, 0, TIMER_MS_MAX);
  const wrong = options.deadLetterTopic === undefined
    ? undefined : topicProblem(options.deadLetterTopic);
  if (wrong !== undefined) { // found when a message fails it would cost that message
    throw new NidoClientError('NIDO_CLIENT_SUBSCRIBE_INVALID',
      `subscribe ${topicFilter}: deadLetterTopic ${wrong}`);
  }
}
