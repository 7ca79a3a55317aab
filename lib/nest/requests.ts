/**
 * Requests on their way: each has Correlation Data of its own, and all replies come to one topic
 * that nobody else knows. Stock services answer to `<topic>/reply`, with the id of the envelope.
 */
import { randomUUID } from 'node:crypto';
import type { WritePacket } from '@nestjs/microservices';
import type { Codec } from './codec.js';
import { REPLY_END, REPLY_ERROR, REPLY_MARK, REPLY_MORE, replyTopicOf } from './envelope.js';
import { NidoNestError, NidoTimeoutError, messageOf } from './errors.js';
import type { IncomingMessage, Link, LinkPublishOptions, LinkSubscription } from './link/link.js';
import type { Settings } from './options.js';

export interface RawRequest {
  readonly topicName: string;
  readonly payload: Uint8Array | string;
  readonly options: LinkPublishOptions;
  readonly codec: Codec;
  readonly timeoutMs: number;
}
export interface EnvelopedRequest extends RawRequest {
  readonly id: string;
}

export interface RequestsOptions {
  readonly link: Link;
  readonly settings: Settings;
  /** Of the client: what came back, as `{err, response, isDisposed, id}`. */
  readonly deserialize: (value: unknown) => unknown;
}

type ReplyCallback = (packet: WritePacket) => void;

interface Waiting {
  readonly topicName: string;
  readonly codec: Codec;
  readonly callback: ReplyCallback;
  readonly timeoutMs: number;
  timer: NodeJS.Timeout | undefined;
}

const SUBSCRIBE_OPTIONS = {
  qos: 1, concurrency: 1_024, ack: 'on-receipt', handlerTimeoutMs: 0,
} as const;
/** Reply topics of stock services that stay subscribed between requests. */
const REPLY_TOPICS_MAX = 1_024;
const CONNECTION_CLOSED = 'Connection closed';

export class Requests {
  readonly #link: Link;
  readonly #options: RequestsOptions;
  readonly #waiting = new Map<string, Waiting>();
  readonly #replyTopic: string;
  #own: Promise<LinkSubscription> | undefined;
  readonly #stock = new Map<string, Promise<LinkSubscription>>();
  #last = 0;

  constructor(options: RequestsOptions) {
    this.#options = options;
    this.#link = options.link;
    this.#replyTopic = `${options.settings.replyPrefix}/${randomUUID()}`;
  }

  /** A plain payload with Response Topic and Correlation Data. Answers how to give up. */
  raw(request: RawRequest, callback: ReplyCallback): () => void {
    if (this.#link.hasProperties === 'no') {
      callback({
        err: new NidoNestError(
          'NIDO_NEST_REQUEST_NEEDS_MQTT5',
          `a request to ${JSON.stringify(request.topicName)} needs a Response Topic, which MQTT ` +
            '3.1.1 does not have: join with protocolVersion 5, or use send() with envelope "nest"',
        ),
      });
      return () => undefined;
    }
    const id = String((this.#last += 1));
    return this.#begin(id, request, callback, this.#listen());
  }

  /** The stock envelope. Our own services answer in private, stock ones to `<topic>/reply`. */
  enveloped(request: EnvelopedRequest, callback: ReplyCallback): () => void {
    const places = [this.#listenTo(replyTopicOf(request.topicName))];
    if (this.#link.hasProperties === 'yes') places.push(this.#listen());
    return this.#begin(request.id, request, callback, Promise.all(places));
  }

  /** Whoever waits is told; resolves when the server knows that no reply is wanted any more. */
  async close(): Promise<void> {
    const error = new Error(CONNECTION_CLOSED);
    for (const id of [...this.#waiting.keys()]) this.#fail(id, error);
    const open = [this.#own, ...this.#stock.values()];
    this.#own = undefined;
    this.#stock.clear();
    const forget = async (one: Promise<LinkSubscription> | undefined): Promise<void> => {
      await (await one)?.close();
    };
    await Promise.allSettled(open.map(forget));
  }

  #begin(
    id: string,
    request: RawRequest,
    callback: ReplyCallback,
    ready: Promise<unknown>,
  ): () => void {
    const { topicName, codec, timeoutMs } = request;
    const waiting: Waiting = { topicName, codec, callback, timeoutMs, timer: undefined };
    this.#waiting.set(id, waiting);
    this.#arm(id, waiting);
    this.#publish(id, request, ready).catch((error: unknown) => this.#fail(id, error));
    return () => this.#forget(id);
  }

  async #publish(id: string, request: RawRequest, ready: Promise<unknown>): Promise<void> {
    await ready;
    if (!this.#waiting.has(id)) return;
    const { topicName, payload, options } = request;
    const answers =
      this.#link.hasProperties === 'yes'
        ? { responseTopic: this.#replyTopic, correlationData: Buffer.from(id) }
        : {};
    await this.#link.publish(topicName, payload, {
      ...options,
      properties: { ...options.properties, ...answers },
    });
  }

  #listen(): Promise<LinkSubscription> {
    this.#own ??= this.#subscribe(this.#replyTopic, (message) => this.#replied(message));
    return this.#own;
  }

  #listenTo(replyTopic: string): Promise<LinkSubscription> {
    const known = this.#stock.get(replyTopic);
    if (known !== undefined) return known;
    const subscribing = this.#subscribe(replyTopic, (message) => this.#stockReplied(message));
    this.#stock.set(replyTopic, subscribing);
    // A refused subscription is an error of this request; the next one tries again.
    subscribing.catch(() => this.#stock.delete(replyTopic));
    if (this.#stock.size > REPLY_TOPICS_MAX) this.#dropOldest();
    return subscribing;
  }

  async #subscribe(
    topicFilter: string,
    handler: (message: IncomingMessage) => void,
  ): Promise<LinkSubscription> {
    try {
      return await this.#link.subscribe(topicFilter, handler, SUBSCRIBE_OPTIONS);
    } catch (error) {
      if (topicFilter === this.#replyTopic) this.#own = undefined;
      throw error;
    }
  }

  #dropOldest(): void {
    const [oldest] = this.#stock;
    this.#stock.delete(oldest[0]);
    oldest[1].then((one) => one.close()).catch(() => undefined);
  }

  /** At our own topic: a plain payload, or the envelope when the request was one. */
  #replied(message: IncomingMessage): void {
    const { correlationData, userProperties } = message.properties;
    const id = correlationData === undefined ? '' : Buffer.from(correlationData).toString();
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    if (this.#options.settings.envelope === 'nest' && !isCount(id)) {
      this.#stockReplied(message);
      return;
    }
    const mark = userProperties?.find(([name]) => name === REPLY_MARK)?.[1];
    try {
      this.#answer(id, waiting, packetOf(message.payload, waiting.codec, mark));
    } catch (error) {
      this.#fail(id, error);
    }
  }

  #stockReplied(message: IncomingMessage): void {
    void this.#readStock(message).catch(() => undefined);
  }

  async #readStock(message: IncomingMessage): Promise<void> {
    let value: unknown;
    try {
      value = JSON.parse(message.payload.toString());
    } catch {
      // Somebody else's message on the reply topic.
      return;
    }
    const packet = (await this.#options.deserialize(value)) as WritePacket & { id?: string };
    const waiting = this.#waiting.get(packet.id ?? '');
    if (waiting === undefined) return;
    const { err, response, isDisposed } = packet;
    const isLast = isDisposed === true || (err !== undefined && err !== null);
    this.#answer(packet.id!, waiting, { err: err as unknown, response, isDisposed: isLast });
  }

  #answer(id: string, waiting: Waiting, packet: WritePacket): void {
    if (packet.isDisposed === true) this.#forget(id);
    else this.#arm(id, waiting);
    waiting.callback(packet);
  }

  #arm(id: string, waiting: Waiting): void {
    clearTimeout(waiting.timer);
    const { timeoutMs, topicName } = waiting;
    if (timeoutMs === 0) return;
    waiting.timer = setTimeout(
      () => this.#fail(id, new NidoTimeoutError(topicName, timeoutMs)),
      timeoutMs,
    );
  }

  #fail(id: string, error: unknown): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#forget(id);
    waiting.callback({ err: error instanceof Error ? error : new Error(messageOf(error)) });
  }

  #forget(id: string): void {
    clearTimeout(this.#waiting.get(id)?.timer);
    this.#waiting.delete(id);
  }
}

/** Ids of plain requests are counted, those of envelopes are Nest's random strings. */
function isCount(id: string): boolean {
  return /^\d{1,15}$/.test(id);
}

function packetOf(payload: Buffer, codec: Codec, mark: string | undefined): WritePacket {
  if (mark === REPLY_ERROR) {
    return { err: JSON.parse(payload.toString()) as unknown, isDisposed: true };
  }
  if (mark === REPLY_END) return { isDisposed: true };
  if (payload.length === 0) return { response: undefined, isDisposed: mark !== REPLY_MORE };
  return { response: codec.decode(payload), isDisposed: mark !== REPLY_MORE };
}
