/** Messages that this process publishes. */
import type { MessageProperties, OutgoingMessage, Qos } from '../core/contract.js';
import type { BrokerContext } from './context.js';
import { BrokerError, PublishError } from './errors.js';
import { hexCode } from './reason-codes.js';
import { checkTopicName } from './topic-text.js';

export interface PublishOptions {
  /** Default 0. */
  readonly qos?: Qos;
  /** Default false. With an empty payload: removes the retained message. */
  readonly retain?: boolean;
  readonly properties?: MessageProperties;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  readonly topicName: string;
}

const FAILURE = 0x80;
const EXPIRY_SECONDS_MAX = 0xffff_ffff;

export class Publisher {
  readonly #context: BrokerContext;
  /** QoS 1 and 2: by token, until every receiver that must be waited for has taken the message. */
  readonly #waiting = new Map<number, Waiting>();
  #lastToken = 0;

  constructor(context: BrokerContext) {
    this.#context = context;
  }

  publish(topicName: string, payload: Uint8Array | string, options: PublishOptions): Promise<void> {
    let message: OutgoingMessage;
    try {
      message = checked(topicName, payload, options);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    if (message.qos === 0) {
      const reasonCode = this.#context.core.publish(message);
      return reasonCode < FAILURE
        ? Promise.resolve()
        : Promise.reject(refused(topicName, reasonCode));
    }
    const token = (this.#lastToken += 1);
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
    const error = new BrokerError(
      'NIDO_BROKER_CLOSED',
      'the broker was closed before the message was taken',
    );
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

function refused(topicName: string, reasonCode: number): PublishError {
  const why = reasonCode === 0x97 ? 'no receiver has room for it' : 'it was refused';
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
  const { qos = 0, retain = false, properties } = options;
  if (qos !== 0 && qos !== 1 && qos !== 2)
    throw invalid(topicName, `qos is ${String(qos)}; allowed: 0, 1, 2`);
  if (typeof payload !== 'string' && !ArrayBuffer.isView(payload)) {
    throw invalid(topicName, 'the payload is neither a string nor bytes');
  }
  if (properties !== undefined) checkProperties(topicName, properties);
  return { topicName, payload, qos, retain, properties };
}

function checkProperties(topicName: string, properties: MessageProperties): void {
  const { messageExpiryInterval: expiry, responseTopic } = properties;
  if (
    expiry !== undefined &&
    !(Number.isInteger(expiry) && expiry >= 0 && expiry <= EXPIRY_SECONDS_MAX)
  ) {
    throw invalid(
      topicName,
      `messageExpiryInterval is ${expiry}; allowed: whole seconds from 0 to 4294967295`,
    );
  }
  if (responseTopic !== undefined) checkTopicName(responseTopic); // [MQTT-3.3.2-14]
}

function invalid(topicName: string, what: string): BrokerError {
  return new BrokerError('NIDO_PUBLISH_INVALID', `publish ${JSON.stringify(topicName)}: ${what}`);
}
