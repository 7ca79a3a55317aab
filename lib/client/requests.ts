/**
 * Request and response (MQTT 5): a Response Topic that only this client knows, and Correlation Data
 * that name the request.
 */
import { randomBytes } from 'node:crypto';
import { NidoClientError } from './errors.js';
import type { IncomingMessage } from './handler-subscription.js';
import type { PublishOptions, PublishResult, RequestOptions } from './options.js';
import { checkNumber } from './resolve-options.js';
import type { Subscription } from './subscriptions.js';
import type { Uplink } from './uplink.js';

const REPLY_PREFIX = 'nidomq/reply';
const CORRELATION_BYTES = 8;
const TIMER_MS_MAX = 0x7fff_ffff;
/** Answers are taken as they come: nothing waits for their handler. */
const REPLY_CONCURRENCY = 1024;

interface Pending {
  readonly resolve: (message: IncomingMessage) => void;
}

/** What requests need of their client. */
export interface RequestHost {
  readonly uplink: Uplink;
  readonly requestTimeoutMs: number;
  /** CONNECT has asked for Response Information. */
  readonly asksWhere: boolean;
  connected(): Promise<void>;
  publish(
    topicName: string, payload: Uint8Array | string, options: PublishOptions,
  ): Promise<PublishResult>;
  subscribe(
    topicFilter: string, handler: (message: IncomingMessage) => unknown,
    options: { readonly qos: 1; readonly ack: 'on-receipt'; readonly concurrency: number },
  ): Promise<Subscription>;
}

export class Requests {
  readonly #pending = new Map<string, Pending>();
  #replies: Promise<Subscription> | undefined;
  #replyTopic = '';
  #next = 0n;
  #rejectAll = new Set<(error: NidoClientError) => void>();

  constructor(private readonly host: RequestHost) {}

  async request(
    topicName: string, payload: Uint8Array | string, options: RequestOptions = {},
  ): Promise<IncomingMessage> {
    checkNumber('timeoutMs', options.timeoutMs, 1, TIMER_MS_MAX);
    if (options.signal?.aborted === true) throw aborted(topicName, options.signal);
    const correlationData = Buffer.alloc(CORRELATION_BYTES);
    correlationData.writeBigUInt64BE(this.#next);
    this.#next += 1n;
    const key = correlationData.toString('latin1');
    let give: (() => void) | undefined;
    try {
      return await new Promise<IncomingMessage>((resolve, reject) => {
        give = this.#watch(topicName, options, reject);
        this.#pending.set(key, { resolve });
        this.#send(topicName, payload, options, correlationData).catch(reject);
      });
    } finally {
      give?.();
      this.#pending.delete(key);
    }
  }

  /** Time limit, cancellation and the end of the client; answers how to stop watching. */
  #watch(
    topicName: string, options: RequestOptions, reject: (error: NidoClientError) => void,
  ): () => void {
    const timeoutMs = options.timeoutMs ?? this.host.requestTimeoutMs;
    const timer = setTimeout(() => reject(new NidoClientError('NIDO_CLIENT_REQUEST_TIMEOUT',
      `request ${topicName}: no answer within ${timeoutMs} ms`)), timeoutMs);
    const { signal } = options;
    const abort = (): void => reject(aborted(topicName, signal));
    signal?.addEventListener('abort', abort, { once: true });
    this.#rejectAll.add(reject);
    return () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      this.#rejectAll.delete(reject);
    };
  }

  async #send(
    topicName: string, payload: Uint8Array | string, options: RequestOptions,
    correlationData: Buffer,
  ): Promise<void> {
    const { uplink } = this.host;
    // Where answers may go is what CONNACK says (5.0, 3.2.2.3.15).
    if (this.host.asksWhere && uplink.connection === 0) await this.host.connected();
    await this.#listen();
    if (uplink.protocolVersion !== 5) {
      throw new NidoClientError('NIDO_CLIENT_REQUEST_UNSUPPORTED',
        `request ${topicName}: MQTT 3.x has no Response Topic; connect with protocolVersion 5`);
    }
    // Cancelled or timed out while the subscription was made: nobody would hear the answer.
    if (!this.#pending.has(correlationData.toString('latin1'))) return;
    await this.host.publish(topicName, payload, {
      qos: options.qos ?? 1,
      properties: { ...options.properties, responseTopic: this.#replyTopic, correlationData },
    });
  }

  #listen(): Promise<Subscription> {
    this.#replies ??= this.#subscribe();
    return this.#replies;
  }

  async #subscribe(): Promise<Subscription> {
    const { uplink } = this.host;
    const prefix = uplink.server.responseInformation ?? REPLY_PREFIX;
    this.#replyTopic = `${prefix.replace(/\/$/, '')}/${randomBytes(16).toString('hex')}`;
    try {
      return await this.host.subscribe(this.#replyTopic, (message) => this.#answered(message),
        { qos: 1, ack: 'on-receipt', concurrency: REPLY_CONCURRENCY });
    } catch (error) {
      this.#replies = undefined;
      throw error;
    }
  }

  #answered(message: IncomingMessage): void {
    const { correlationData } = message.properties;
    if (correlationData === undefined) return;
    const key = Buffer.from(correlationData).toString('latin1');
    this.#pending.get(key)?.resolve(message);
  }

  abandon(error: NidoClientError): void {
    for (const reject of this.#rejectAll) reject(error);
    this.#rejectAll.clear();
    this.#pending.clear();
  }
}

function aborted(topicName: string, signal: AbortSignal | undefined): NidoClientError {
  return new NidoClientError('NIDO_CLIENT_ABORTED', `request ${topicName}: cancelled`,
    { cause: signal?.reason });
}
