/** Messages that this process publishes. */
import type { MessageProperties, OutgoingMessage, Qos } from '../core/contract.js';
import type { BrokerContext } from './context.js';
import { BrokerError, PublishError } from './errors.js';
import { checkMessageProperties, invalidMessage } from './message-properties.js';
import type { InterceptFlow } from './intercept-flow.js';
import { QUOTA_EXCEEDED, hexCode } from './reason-codes.js';
import { checkTopicName } from './topic-text.js';

export interface PublishOptions {
  /** Default 0. */
  readonly qos?: Qos;
  /** Default false. With an empty payload: removes the retained message. */
  readonly retain?: boolean;
  readonly properties?: MessageProperties;
  /**
   * What QoS 1 and 2 wait for, besides the store. `handlers` (default): for those of this process
   * that acknowledge after their work. `nobody`: a handler that publishes to topics of its own, or
   * of others that do so, must not wait for them: when all are at work, none would ever be done.
   */
  readonly awaits?: 'handlers' | 'nobody';
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly topicName: string;
}

const FAILURE = 0x80;

export class Publisher {
  readonly #context: BrokerContext;
  readonly #interception: InterceptFlow;
  /** QoS 1 and 2: by token, until every receiver that must be waited for has taken the message. */
  readonly #waiting = new Map<number, Waiting>();
  #lastToken = 0;
  #isAbandoned = false;

  constructor(context: BrokerContext, interception: InterceptFlow) {
    this.#context = context;
    this.#interception = interception;
  }

  publish(topicName: string, payload: Uint8Array | string, options: PublishOptions): Promise<void> {
    let message: OutgoingMessage;
    try {
      message = checked(topicName, payload, options);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    return this.#interception.isInUse ? this.#ask(message) : this.#route(message);
  }

  #ask(message: OutgoingMessage): Promise<void> {
    const { topicName, payload, qos, retain, properties = {} } = message;
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
    return new Promise((resolve, reject) => {
      const isAsked = this.#interception.ask(
        { origin: 'broker', clientId: '', topicName, payload: bytes, qos, retain, properties },
        (outcome) => {
          if (this.#isAbandoned) reject(closedError());
          else if (outcome.kind === 'pass') this.#route(message).then(resolve, reject);
          else if (outcome.kind === 'replace') {
            this.#route({ ...message, ...outcome.message }).then(resolve, reject);
          } else if (outcome.reasonCode < FAILURE) resolve();
          else reject(refused(topicName, outcome.reasonCode));
        },
      );
      if (!isAsked) reject(refused(topicName, QUOTA_EXCEEDED));
    });
  }

  #route(message: OutgoingMessage): Promise<void> {
    const { topicName } = message;
    if (message.qos === 0) {
      const reasonCode = this.#context.core.publish(message);
      return reasonCode < FAILURE
        ? Promise.resolve()
        : Promise.reject(refused(topicName, reasonCode));
    }
    const token = tokenAfter(this.#lastToken);
    this.#lastToken = token;
    return new Promise((resolve, reject) => {
      this.#waiting.set(token, { resolve, reject, topicName });
      const reasonCode = this.#context.core.publish(message, token);
      if (reasonCode >= FAILURE) this.published(token, reasonCode);
    });
  }

  /** The core has done what the promise waits for. */
  published(token: number, reasonCode: number): void {
    const waiting = this.#waiting.get(token);
    if (waiting === undefined) return;
    this.#waiting.delete(token);
    if (reasonCode < FAILURE) waiting.resolve();
    else waiting.reject(refused(waiting.topicName, reasonCode));
  }

  /** Nobody will answer any more. */
  abandon(): void {
    this.#isAbandoned = true;
    const error = closedError();
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

function closedError(): BrokerError {
  return new BrokerError(
    'NIDO_BROKER_CLOSED',
    'the broker was closed before the message was taken',
  );
}

/** Tokens cross into the core as 32 bits, where 0 means that nobody asks. */
export function tokenAfter(token: number): number {
  return token === TOKEN_MAX ? 1 : token + 1;
}
const TOKEN_MAX = 0xffff_ffff;

function refused(topicName: string, reasonCode: number): PublishError {
  const why = reasonCode === QUOTA_EXCEEDED ? 'no receiver has room for it' : 'it was refused';
  return new PublishError(
    reasonCode,
    `${JSON.stringify(topicName)}: ${why} (${hexCode(reasonCode)})`,
  );
}

function checked(
  topicName: string,
  payload: Uint8Array | string,
  options: PublishOptions,
): OutgoingMessage {
  checkTopicName(topicName);
  const { qos = 0, retain = false, properties, awaits = 'handlers' } = options;
  if (qos !== 0 && qos !== 1 && qos !== 2)
    throw invalidMessage(topicName, `qos is ${String(qos)}; allowed: 0, 1, 2`);
  if (typeof payload !== 'string' && !ArrayBuffer.isView(payload)) {
    throw invalidMessage(topicName, 'the payload is neither a string nor bytes');
  }
  if (awaits !== 'handlers' && awaits !== 'nobody') {
    throw invalidMessage(
      topicName, `awaits is ${String(awaits)}; allowed: 'handlers', 'nobody'`);
  }
  checkMessageProperties(topicName, properties);
  return { topicName, payload, qos, retain, properties, awaits };
}
