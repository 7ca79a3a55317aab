/**
 * Messages on their way to the server. They wait in the core's queue, so that nothing here is made
 * for each but the promise that somebody asked for.
 */
import { isUint8Array } from 'node:util/types';
import { PUBLISHED_EXPIRED, PUBLISHED_NO_ROOM, PUBLISH_LATER } from '../core/core.js';
import type { Core } from '../core/core.js';
import type { MessageProperties, Qos, SessionHandle } from '../core/contract.js';
import type { ClientErrorCode } from './errors.js';
import { NidoClientError } from './errors.js';
import { messageProperties, propertiesProblem } from './message-properties.js';
import type { PublishOptions, PublishResult } from './options.js';
import {
  FAILURE, PACKET_TOO_LARGE, QOS_NOT_SUPPORTED, QUOTA_EXCEEDED, RETAIN_NOT_SUPPORTED, SUCCESS,
} from './reason-names.js';
import type { ResolvedOptions } from './resolve-options.js';
import type { Uplink } from './uplink.js';

interface Waiting {
  readonly topicName: string;
  readonly until: PublishOptions['until'];
  isStored: boolean;
  readonly resolve: (result: PublishResult) => void;
  readonly reject: (error: NidoClientError) => void;
}

const DONE: Promise<PublishResult> = Promise.resolve(Object.freeze({ reasonCode: SUCCESS }));
const NO_OPTIONS: PublishOptions = Object.freeze({});
const TOPIC_BYTES_MAX = 65_535;
/** Below this many UTF-16 units a string cannot be longer than that many bytes. */
const TOPIC_UNITS_SAFE = 21_845;
const FORBIDDEN = /[+#\0]|\p{Surrogate}/u;

export class Outgoing {
  /** By token - 1; freed places are used again, last first. */
  readonly #waiting: (Waiting | undefined)[] = [];
  readonly #free: number[] = [];
  #open = 0;
  #whenEmpty: (() => void)[] = [];
  #ended: NidoClientError | undefined;

  constructor(
    private readonly core: Core,
    private readonly session: SessionHandle,
    private readonly uplink: Uplink,
    private readonly options: ResolvedOptions,
    /** Told of a message whose promise was kept when it was stored, and that ends badly. */
    private readonly lost: (error: NidoClientError) => void,
  ) {}

  /** Messages whose promise is still open. */
  get pending(): number {
    return this.#open;
  }

  publish(
    topicName: string, payload: Uint8Array | string, options: PublishOptions = NO_OPTIONS,
  ): Promise<PublishResult> {
    const problem = this.#problem(topicName, payload, options);
    if (problem !== undefined) return Promise.reject(problem);
    const properties = messageProperties(options.properties);
    const now = this.#leave(topicName, payload, options, properties);
    if (now === SUCCESS) return DONE;
    if (now !== PUBLISH_LATER) return Promise.reject(this.#error(topicName, now));
    return new Promise((resolve, reject) => {
      const { until } = options;
      const token = this.#token({ topicName, until, isStored: false, resolve, reject });
      const reason = this.#give(topicName, payload, options, properties, token);
      if (reason !== SUCCESS) this.published(token, reason);
    });
  }

  /** No promise, no error: false when it was not taken. */
  publishAndForget(
    topicName: string, payload: Uint8Array | string, options: PublishOptions = NO_OPTIONS,
  ): boolean {
    if (this.#problem(topicName, payload, options) !== undefined) return false;
    const properties = messageProperties(options.properties);
    const now = this.#leave(topicName, payload, options, properties);
    if (now !== PUBLISH_LATER) return now === SUCCESS;
    return this.#give(topicName, payload, options, properties, 0) === SUCCESS;
  }

  /** The exchange of a message is over. */
  published(token: number, reasonCode: number): void {
    const waiting = this.#waiting[token - 1];
    if (waiting === undefined) return;
    this.#waiting[token - 1] = undefined;
    this.#free.push(token);
    this.#open -= 1;
    if (reasonCode < FAILURE) waiting.resolve({ reasonCode });
    else this.#fail(waiting, this.#error(waiting.topicName, reasonCode));
    if (this.#open === 0) for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }

  /** Its promise is kept already when it was about the store: then an event says so. */
  #fail(waiting: Waiting, error: NidoClientError): void {
    if (waiting.isStored) this.lost(error);
    waiting.reject(error);
  }

  /** Whether `stored` keeps the promise of this message. */
  wantsStored(token: number): boolean {
    return this.#waiting[token - 1]?.until === 'stored';
  }
  /** The message is in the store; its exchange is still to come. */
  stored(token: number): void {
    const waiting = this.#waiting[token - 1];
    if (waiting === undefined) return;
    waiting.isStored = true;
    waiting.resolve({ reasonCode: SUCCESS });
  }

  /** Resolves when every message has been answered. */
  async whenEmpty(): Promise<void> {
    if (this.#open > 0) await new Promise<void>((resolve) => this.#whenEmpty.push(resolve));
  }

  /** Nothing more is taken. */
  refuseNew(error: NidoClientError): void {
    this.#ended ??= error;
  }

  /** Whoever still waits is told that it will not happen. */
  abandon(error: NidoClientError): void {
    this.refuseNew(error);
    this.#waiting.forEach((waiting, at) => {
      this.#waiting[at] = undefined;
      waiting?.reject(error);
    });
    this.#open = 0;
    for (const resolve of this.#whenEmpty.splice(0)) resolve();
  }

  // --- one message -----------------------------------------------------------------------------

  #problem(
    topicName: string, payload: unknown, options: PublishOptions,
  ): NidoClientError | undefined {
    if (this.#ended !== undefined) return this.#ended;
    const wrong = topicProblem(topicName);
    if (wrong !== undefined) {
      return new NidoClientError('NIDO_CLIENT_PUBLISH_INVALID',
        `Topic Name ${JSON.stringify(topicName)} ${wrong}`);
    }
    if (typeof payload !== 'string' && !isUint8Array(payload)) {
      return new NidoClientError('NIDO_CLIENT_PUBLISH_INVALID',
        `publish ${topicName}: the payload is neither a string nor a Uint8Array (Buffer)`);
    }
    const { qos = 0 } = options;
    if (qos !== 0 && qos !== 1 && qos !== 2) {
      return new NidoClientError('NIDO_CLIENT_PUBLISH_INVALID',
        `publish ${topicName}: qos ${String(qos)} is not 0, 1 or 2`);
    }
    const wrongProperty = propertiesProblem(messageProperties(options.properties));
    if (wrongProperty !== undefined) {
      return new NidoClientError('NIDO_CLIENT_PUBLISH_INVALID',
        `publish ${topicName}: ${wrongProperty}`);
    }
    if (options.until === 'stored' && (qos === 0 || this.options.engine === undefined)) {
      return new NidoClientError('NIDO_CLIENT_PUBLISH_INVALID', `publish ${topicName}: `
        + 'until: \'stored\' needs QoS 1 or 2 and the option engine: { file: { path } }');
    }
    const { server } = this.uplink;
    if (qos > server.maximumQos) return this.#error(topicName, QOS_NOT_SUPPORTED);
    if (options.retain === true && !server.retainAvailable) {
      return this.#error(topicName, RETAIN_NOT_SUPPORTED);
    }
    return undefined;
  }

  /** QoS 0, when nothing waits before it: almost every one of them. */
  #leave(
    topicName: string, payload: Uint8Array | string, options: PublishOptions,
    properties: MessageProperties | undefined,
  ): number {
    if ((options.qos ?? 0) !== 0) return PUBLISH_LATER;
    return this.core.publishNow(this.session, topicName, payload, options, properties);
  }

  #give(
    topicName: string, payload: Uint8Array | string, options: PublishOptions,
    properties: MessageProperties | undefined, token: number,
  ): number {
    const qos: Qos = options.qos ?? 0;
    if (qos === 0 && this.options.queueQoSZero === false && this.uplink.connection === 0) {
      return QUOTA_EXCEEDED;
    }
    const message = { topicName, payload, qos, retain: options.retain === true, properties };
    const sheds = this.options.queueOverflow === 'drop-oldest'
      && payload.length <= this.options.limits.queueBytesMax; // nothing makes room for more
    let reason = this.core.publishTo(this.session, message, token);
    while (reason === QUOTA_EXCEEDED && sheds && this.core.shedOldest(this.session)) {
      reason = this.core.publishTo(this.session, message, token);
    }
    return reason === QUOTA_EXCEEDED ? PUBLISHED_NO_ROOM : reason;
  }

  #token(waiting: Waiting): number {
    this.#open += 1;
    const freed = this.#free.pop();
    if (freed === undefined) return this.#waiting.push(waiting);
    this.#waiting[freed - 1] = waiting;
    return freed;
  }

  #error(topicName: string, reasonCode: number): NidoClientError {
    if (reasonCode === PUBLISHED_EXPIRED) {
      return new NidoClientError('NIDO_CLIENT_MESSAGE_EXPIRED',
        `publish ${topicName}: the message expired before it could be sent`);
    }
    const [code, why] = this.#explain(reasonCode);
    return new NidoClientError(code, `publish ${topicName}: ${why}`,
      { reasonCode: reasonCode === PUBLISHED_NO_ROOM ? QUOTA_EXCEEDED : reasonCode });
  }

  #explain(reasonCode: number): readonly [ClientErrorCode, string] {
    const { queueMessagesMax, queueBytesMax, memoryBytes } = this.options.limits;
    if (reasonCode === PACKET_TOO_LARGE) {
      return ['NIDO_CLIENT_PUBLISH_REFUSED', 'larger than the server\'s Maximum Packet Size of '
        + `${this.uplink.server.maximumPacketSize} bytes`];
    }
    const isOurs = reasonCode === PUBLISHED_NO_ROOM
      || reasonCode === QUOTA_EXCEEDED && this.uplink.connection === 0;
    return isOurs
      ? ['NIDO_CLIENT_QUEUE_FULL', 'the queue is full, or has no room for a message of this '
        + `size (queueMessagesMax ${queueMessagesMax}, queueBytesMax ${queueBytesMax}, `
        + `memoryBytes ${memoryBytes}, queueOverflow, queueQoSZero)`]
      : ['NIDO_CLIENT_PUBLISH_REFUSED', 'refused'];
  }
}

/** Short, ASCII and without wildcards or U+0000: nothing more to look at. */
function isPlainName(topicName: string): boolean {
  if (topicName.length > TOPIC_UNITS_SAFE) return false;
  for (let i = 0; i < topicName.length; i += 1) {
    const code = topicName.charCodeAt(i);
    if (code > 0x7f || code === 0 || code === 0x23 || code === 0x2b) return false;
  }
  return true;
}

/** Why this is no Topic Name; undefined when it is one. */
export function topicProblem(topicName: unknown): string | undefined {
  if (typeof topicName !== 'string') return 'is not a string';
  if (topicName === '') return 'is empty';
  if (isPlainName(topicName)) return undefined;
  if (FORBIDDEN.test(topicName)) { // [MQTT-3.3.2-2]
    return 'holds a wildcard, U+0000 or a lone surrogate';
  }
  if (topicName.length > TOPIC_UNITS_SAFE && Buffer.byteLength(topicName) > TOPIC_BYTES_MAX) {
    return `is longer than ${TOPIC_BYTES_MAX} bytes`;
  }
  return undefined;
}
