/** What strategy, module and client take, and the defaults of it. */
import { Transport } from '@nestjs/microservices';
import type { BrokerOptions } from '../broker/broker-options.js';
import type { Qos } from '../core/contract.js';
import type { Codec } from './codec.js';
import { auto } from './codec.js';
import type { JoinOptions, PacketDeserializer, PacketSerializer } from './link/join-options.js';
import type { IncomingMessage } from './link/link.js';
import { checkSharedOptions } from './option-checks.js';

/**
 * When a message is acknowledged. `after-handler` (default): when the handler is done;
 * `on-receipt`: before it begins; `manual`: when it calls `context.ack()` or `context.nack()`.
 */
export type AckPolicy = 'after-handler' | 'on-receipt' | 'manual';

/** What happens to a message whose handler has failed for good. */
export type FinalFailure =
  /** The publisher gets a Reason Code: 0x80, or that of a MqttReasonException. The default. */
  | 'reason-code'
  /** It is logged and acknowledged. */
  | 'ignore'
  /** It is published to this topic, with user properties that say why, and acknowledged. */
  | { readonly deadLetter: string | ((message: IncomingMessage) => string) };

export interface RetryPolicy {
  readonly retry: {
    /** Runs of the handler in all, the first one included. */
    readonly attempts: number;
    /** Before the second run. Default 100. */
    readonly delayMs?: number;
    /** `exponential` (default) doubles the delay each time. */
    readonly backoff?: 'exponential' | 'fixed';
    /** Default 10,000, or `delayMs` if that is more. */
    readonly delayMsMax?: number;
  };
  /** After the last run. Default `reason-code`. */
  readonly then?: FinalFailure;
}

export type FailurePolicy = FinalFailure | RetryPolicy;

/** Options of one handler: the extras of `@EventPattern` and friends. */
export interface HandlerOptions {
  /** Highest QoS of the deliveries. Default: hosted 2 (as published), joined 1. */
  readonly qos?: Qos;
  /** Name of a share group: of all subscribers in it one gets each message. */
  readonly share?: string;
  /** Leaves out what this application itself publishes. Default false. */
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  /** 0 (default): retained messages come at once, 1: only to a new subscription, 2: never. */
  readonly retainHandling?: 0 | 1 | 2;
  /** Messages that the handler works on at the same time. Default 64. */
  readonly concurrency?: number;
  /** `topic`: messages of one topic are handled one after the other. Default `none`. */
  readonly order?: 'none' | 'topic';
  readonly codec?: Codec;
  readonly ack?: AckPolicy;
  /** Time for the handler, in all its runs a fresh one. Default 30,000; 0 = no limit. */
  readonly timeoutMs?: number;
  readonly onError?: FailurePolicy;
}

/** As MQTT.js calls them; the stock transport has them under `subscribeOptions`. */
export interface StockSubscribeOptions {
  readonly qos?: Qos;
  readonly nl?: boolean;
  readonly rap?: boolean;
  readonly rh?: 0 | 1 | 2 | number;
}

/** Options of a hosted broker: those of `new Broker(...)`, and who may host it. */
export interface HostOptions extends BrokerOptions {
  /** Default `refuse`: in a cluster, every worker would host a broker of its own. */
  readonly inClusterWorker?: 'refuse' | 'allow';
}

/** What host and join have in common. Everything has a default. */
export interface SharedOptions extends Pick<
  HandlerOptions,
  'ack' | 'codec' | 'concurrency' | 'onError' | 'qos' | 'share' | 'timeoutMs'
> {
  /**
   * What `emit` and `send` put on the wire. `nest`: the stock transport's `{pattern, data, id}`
   * (default of a bare strategy or client). `auto`: the payload alone, replies by MQTT 5's
   * Response Topic (default of NidoModule). Incoming envelopes are understood in both.
   */
  readonly envelope?: 'auto' | 'nest';
  /** Milliseconds that `send` and `request` wait for a reply. Default 5,000; 0 = for ever. */
  readonly requestTimeout?: number;
  /** Milliseconds that handlers at work get when the application closes. Default 10,000. */
  readonly drainMs?: number;
  /**
   * Replies to this application come to `<replyPrefix>/<random>`. Default `$replies`: the `$` keeps
   * them away from everybody who subscribes to `#`. Some brokers reserve such topics.
   */
  readonly replyPrefix?: string;
  readonly subscribeOptions?: StockSubscribeOptions;
  readonly serializer?: PacketSerializer;
  readonly deserializer?: PacketDeserializer;
  /** Default `Transport.MQTT`, or `Symbol.for('nidomq:<name>')` for a named broker. */
  readonly transportId?: Transport | symbol;
  /** Default `default`. */
  readonly name?: string;
}

export interface NidoHostOptions extends SharedOptions {
  readonly host: HostOptions;
  readonly join?: undefined;
}
export interface NidoJoinOptions extends SharedOptions {
  readonly join: JoinOptions;
  readonly host?: undefined;
}
/** Host a broker or join one: nothing else differs. */
export type NidoOptions = NidoHostOptions | NidoJoinOptions;

export const DEFAULT_NAME = 'default';
const CONCURRENCY = 64;
const HANDLER_TIMEOUT_MS = 30_000;
const REQUEST_TIMEOUT_MS = 5_000;
const DRAIN_MS = 10_000;

/** Shared options with every default filled in. */
export interface Settings {
  readonly name: string;
  readonly envelope: 'auto' | 'nest';
  readonly requestTimeoutMs: number;
  readonly drainMs: number;
  readonly replyPrefix: string;
  readonly codec: Codec;
  readonly handler: HandlerOptions;
  readonly serializer: PacketSerializer | undefined;
  readonly deserializer: PacketDeserializer | undefined;
}

export function resolveSettings(
  given: SharedOptions,
  defaults: { readonly envelope: 'auto' | 'nest' },
): Settings {
  checkSharedOptions(given, `broker ${given.name ?? DEFAULT_NAME}`);
  const { subscribeOptions: stock = {} } = given;
  const codec = given.codec ?? auto();
  return {
    name: given.name ?? DEFAULT_NAME,
    envelope: given.envelope ?? defaults.envelope,
    requestTimeoutMs: given.requestTimeout ?? REQUEST_TIMEOUT_MS,
    drainMs: given.drainMs ?? DRAIN_MS,
    replyPrefix: given.replyPrefix ?? '$replies',
    codec,
    serializer: given.serializer,
    deserializer: given.deserializer,
    handler: {
      qos: given.qos ?? stock.qos,
      noLocal: stock.nl,
      retainAsPublished: stock.rap,
      retainHandling: stock.rh as 0 | 1 | 2 | undefined,
      share: given.share,
      concurrency: given.concurrency ?? CONCURRENCY,
      ack: given.ack ?? 'after-handler',
      timeoutMs: given.timeoutMs ?? HANDLER_TIMEOUT_MS,
      onError: given.onError ?? 'reason-code',
      codec,
    },
  };
}

/** A broker's own transport id, so that several can live in one application. */
export function transportIdOf(name: string): symbol {
  return Symbol.for(`nidomq:${name}`);
}

/** Without the option `transportId`; handlers of `@OnTopic` and `@OnRequest` have this one. */
export function defaultTransportIdOf(name: string): Transport | symbol {
  return name === DEFAULT_NAME ? Transport.MQTT : transportIdOf(name);
}
