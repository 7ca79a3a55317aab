/**
 * The client: Nest's ClientProxy (`send`, `emit`), and what MQTT has beyond it (`publish`,
 * `request`, `observe`).
 *
 *     ClientsModule.register([{ name: 'CASA', customClass: NidoClient, options: { url } }])
 *     constructor(@InjectNido('CASA') private readonly casa: NidoClient) {}
 */
import { ClientProxy, MqttRecord } from '@nestjs/microservices';
import type { ReadPacket, WritePacket } from '@nestjs/microservices';
import type { Observable } from 'rxjs';
import type { MessageProperties, Qos, UserProperties } from '../core/contract.js';
import type { Codec } from './codec.js';
import { within } from './deadline.js';
import { NidoNestError } from './errors.js';
import type { IncomingMessage, Link, LinkPublishOptions } from './link/link.js';
import type { JoinOptions } from './link/join-options.js';
import { makeLink } from './link/make-link.js';
import { Observations } from './observations.js';
import { checkClientOptions, checkTimeout } from './option-checks.js';
import { DEFAULT_NAME, resolveSettings } from './options.js';
import type { HostOptions, NidoOptions, Settings, SharedOptions } from './options.js';
import { fromPacketProperties, toUserProperties } from './packet.js';
import { Requests } from './requests.js';
import { joinTopic } from './topic-template.js';

/** `ClientsModule.register([{ customClass: NidoClient, options }])`: flat, as the stock client. */
export interface NidoClientOptions
  extends Omit<SharedOptions, 'share'>, Omit<JoinOptions, 'host' | 'userProperties'> {
  readonly host?: string | HostOptions;
  readonly userProperties?: Readonly<Record<string, string | string[]>>;
  readonly join?: JoinOptions;
  /** In front of every topic of this client, for example `casa/`. */
  readonly prefix?: string;
}

/** For a server that is asked to forget subscriptions, and does not answer. */
const GOODBYE_MS = 1_000;

type AnyListener = (...args: never[]) => unknown;

/** How NidoModule and NidoStrategy make a client: on a link that is theirs. */
export interface ClientParts {
  readonly link: Link;
}

export interface SendOptions {
  /** Default 0. */
  readonly qos?: Qos;
  /** Default false. */
  readonly retain?: boolean;
  /** Seconds after which a message that was not delivered is dropped. */
  readonly expiry?: number;
  readonly contentType?: string;
  readonly userProperties?: Readonly<Record<string, string | readonly string[]>>;
  readonly codec?: Codec;
}

export interface RequestOptions extends Omit<SendOptions, 'retain'> {
  /** Milliseconds. Default `requestTimeout`. */
  readonly timeout?: number;
}

export interface ObserveOptions {
  readonly qos?: Qos;
  readonly codec?: Codec;
}

/** A message that `observeMessages` emits. */
export interface ObservedMessage<Data> extends IncomingMessage {
  readonly data: Data;
  readonly params: Record<string, string>;
}

/** A plain `ClientProxy` to the compiler, so that it goes where Nest asks for `customClass`. */
export class NidoClient extends ClientProxy {
  readonly #options: NidoClientOptions;
  readonly #settings: Settings;
  readonly #ownsLink: 'yes' | 'no';
  readonly #prefix: string;
  readonly #defaultUserProperties: UserProperties;
  readonly #listeners: (readonly [string, AnyListener])[] = [];
  #link: Link;
  #requests: Requests;
  #observations: Observations;

  constructor(options: NidoClientOptions = {}, parts?: ClientParts) {
    super();
    this.#options = options;
    const shared = options as SharedOptions;
    checkClientOptions(options, `NidoClient, broker ${options.name ?? DEFAULT_NAME}`);
    this.#settings = resolveSettings(shared, { envelope: parts === undefined ? 'nest' : 'auto' });
    this.#link = parts?.link ?? makeLink(linkOptions(options));
    this.#ownsLink = parts === undefined ? 'yes' : 'no';
    this.#prefix = options.prefix ?? '';
    const join = options.join ?? options;
    this.#defaultUserProperties = toUserProperties(join.userProperties);
    this.initializeSerializer(options as never);
    this.initializeDeserializer(options as never);
    this.#requests = this.#makeRequests();
    this.#observations = new Observations(this.#link, this.#settings.codec);
    this.#link.status.subscribe((status) => this._status$.next(status));
  }

  /**
   * Connects; `send`, `emit`, `publish`, `request` and `observe` do so by themselves. Rejects when
   * the first attempt fails; further ones go on behind it, and the next call finds them.
   */
  override async connect(): Promise<void> {
    if (this.#ownsLink === 'yes' && this.#link.isClosed) this.#begin();
    await this.#link.connect();
    await this.#settings.codec.load?.();
  }

  /** Requests without a reply fail with 'Connection closed'. */
  override async close(): Promise<void> {
    const goodbyes = [this.#requests.close(), this.#observations.close()];
    await within(GOODBYE_MS, Promise.all(goodbyes));
    if (this.#ownsLink === 'yes') {
      await this.#link.close({ deadlineMs: this.#settings.drainMs });
    }
  }

  /** @internal The application closes: completes what is observed. */
  async endObserved(): Promise<void> {
    await within(GOODBYE_MS, this.#observations.close());
  }

  override on(event: string, callback: AnyListener): void {
    this.#listeners.push([event, callback]);
    this.#link.on(event, callback);
  }

  override unwrap<T>(): T {
    return this.#link.native() as T;
  }

  /**
   * Publishes the payload as the codec writes it, never in an envelope. Resolves when the message
   * is routed and, with a durable engine, stored (hosted), or acknowledged (joined, QoS 1 and 2).
   * In neither mode it waits for handlers of this application.
   */
  publish(topicName: string, data: unknown, options?: SendOptions): Promise<void>;
  /** @internal What `send` of ClientProxy calls. */
  publish(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void;
  publish(
    first: string | ReadPacket,
    second: unknown,
    options: SendOptions = {},
  ): Promise<void> | (() => void) {
    if (typeof first === 'string') return this.#publish(first, second, options);
    return this.#send(first, second as (packet: WritePacket) => void);
  }

  /**
   * Asks, and resolves with the first reply: Response Topic and Correlation Data of MQTT 5. Rejects
   * with what the handler threw, or with NidoTimeoutError.
   */
  async request<Reply = unknown>(
    topicName: string,
    data: unknown,
    options: RequestOptions = {},
  ): Promise<Reply> {
    const { timeout: timeoutMs = this.#settings.requestTimeoutMs } = options;
    checkTimeout(timeoutMs, `request to ${JSON.stringify(topicName)}`);
    await this.connect();
    const codec = await this.#codec(options.codec);
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        finish();
        // The reply may come before there is anything to cancel.
        queueMicrotask(() => cancel());
      };
      const cancel = this.#requests.raw(
        {
          topicName: joinTopic(this.#prefix, topicName),
          payload: codec.encode(data),
          options: this.#linkOptions(options),
          codec,
          timeoutMs,
        },
        ({ err, response }) => {
          settle(() => (err === undefined ? resolve(response as Reply) : reject(asError(err))));
        },
      );
    });
  }

  /** Payloads of all messages that match; one subscription for all who observe the filter. */
  observe<Data = unknown>(topicFilter: string, options: ObserveOptions = {}): Observable<Data> {
    return this.#observations.data<Data>(joinTopic(this.#prefix, topicFilter), options);
  }

  /** As `observe`, with topic, parameters and properties. */
  observeMessages<Data = unknown>(
    topicFilter: string,
    options: ObserveOptions = {},
  ): Observable<ObservedMessage<Data>> {
    return this.#observations.messages<Data>(joinTopic(this.#prefix, topicFilter), options);
  }

  /** After `close`, as the stock client does. */
  #begin(): void {
    this.#link = makeLink(linkOptions(this.#options));
    this.#requests = this.#makeRequests();
    this.#observations = new Observations(this.#link, this.#settings.codec);
    this.#link.status.subscribe((status) => this._status$.next(status));
    for (const [event, listener] of this.#listeners) this.#link.on(event, listener);
  }

  #makeRequests(): Requests {
    return new Requests({
      link: this.#link,
      settings: this.#settings,
      deserialize: (value) => this.deserializer.deserialize(value),
    });
  }

  async #publish(topicName: string, data: unknown, options: SendOptions): Promise<void> {
    await this.connect();
    const codec = await this.#codec(options.codec);
    const payload = codec.encode(data);
    await this.#link.publish(
      joinTopic(this.#prefix, topicName), payload, this.#linkOptions(options),
    );
  }

  async #codec(given: Codec | undefined): Promise<Codec> {
    const codec = given ?? this.#settings.codec;
    await codec.load?.();
    return codec;
  }

  #linkOptions(options: SendOptions): LinkPublishOptions {
    const { qos = 0, retain = false, expiry, contentType } = options;
    const userProperties = [
      ...this.#defaultUserProperties, ...toUserProperties(options.userProperties),
    ];
    return {
      qos,
      retain,
      properties: {
        ...(expiry === undefined ? {} : { messageExpiryInterval: expiry }),
        ...(contentType === undefined ? {} : { contentType }),
        ...(userProperties.length === 0 ? {} : { userProperties }),
      },
    };
  }

  /** `emit`: in the stock envelope or the payload alone, by the option `envelope`. */
  protected override async dispatchEvent<T = unknown>(packet: ReadPacket): Promise<T> {
    const { topicName, data, options } = this.#outgoing(packet);
    const payload =
      this.#settings.envelope === 'nest'
        ? this.#serialize({ pattern: packet.pattern as unknown, data })
        : (await this.#codec(undefined)).encode(data);
    await this.#link.publish(topicName, payload, options);
    return undefined as T;
  }

  /** `send`: the same, with a reply. */
  #send(packet: ReadPacket, callback: (packet: WritePacket) => void): () => void {
    try {
      const { topicName, data, options } = this.#outgoing(packet);
      const timeoutMs = this.#settings.requestTimeoutMs;
      const { codec } = this.#settings;
      if (this.#settings.envelope === 'auto') {
        const payload = codec.encode(data);
        return this.#requests.raw({ topicName, payload, options, codec, timeoutMs }, callback);
      }
      const { id } = this.assignPacketId({ pattern: packet.pattern as unknown, data });
      const payload = this.#serialize({ pattern: packet.pattern as unknown, data, id });
      const request = { topicName, payload, options, id, codec, timeoutMs };
      return this.#requests.enveloped(request, callback);
    } catch (error) {
      callback({ err: error });
      return () => undefined;
    }
  }

  /** The packet taken apart. What the caller gave is read, never changed. */
  #outgoing(packet: ReadPacket): {
    readonly topicName: string;
    readonly data: unknown;
    readonly options: LinkPublishOptions;
  } {
    const topicName = joinTopic(this.#prefix, this.normalizePattern(packet.pattern as string));
    const given: unknown = packet.data;
    const record = given instanceof MqttRecord ? given : undefined;
    const { qos = 0, retain = false, properties } = record?.options ?? {};
    const own = fromPacketProperties(properties as Record<string, unknown> | undefined);
    const userProperties = [
      ...this.#defaultUserProperties.filter(([name]) => !hasName(own.userProperties, name)),
      ...(own.userProperties ?? []),
      ...metadataOf(packet),
    ];
    const all: MessageProperties =
      userProperties.length === 0 ? own : { ...own, userProperties };
    // A record may have no data; the envelope has to have some.
    const data = record === undefined ? given : ((record.data as unknown) ?? null);
    return { topicName, data, options: { qos: qos as Qos, retain, properties: all } };
  }

  #serialize(packet: { pattern: unknown; data: unknown; id?: string }): Uint8Array | string {
    const { serializer } = this.#settings;
    if (serializer === undefined) return JSON.stringify(packet);
    return serializer.serialize(packet as never) as Uint8Array | string;
  }
}

function hasName(pairs: UserProperties | undefined, name: string): boolean {
  return pairs?.some(([one]) => one === name) === true;
}

/** What instrumentation attached in `setOnDispatchHook` travels as user properties. */
function metadataOf(packet: ReadPacket): [string, string][] {
  const { metadata } = packet as { metadata?: Readonly<Record<string, unknown>> };
  if (metadata === undefined || metadata === null) return [];
  return Object.entries(metadata).flatMap(([name, value]) =>
    typeof value === 'string' ? [[name, value] as [string, string]] : [],
  );
}

function linkOptions(options: NidoClientOptions): NidoOptions {
  const { host, join, name } = options;
  if (typeof host === 'object') return { host, name };
  return { join: join ?? (options as JoinOptions), name };
}

function asError(error: unknown): Error {
  if (error instanceof Error) return error;
  const message = (error as { message?: unknown } | null)?.message;
  const words = typeof message === 'string' ? message : JSON.stringify(error);
  return new NidoNestError('NIDO_NEST_REPLY_FAILED', words, { cause: error });
}
