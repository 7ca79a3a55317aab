/**
 * A Link is what strategy and clients talk through: the broker of this process (host) or a
 * connection to another one (join). Nothing above it knows which.
 */
import type { MessageProperties, Qos } from '../../core/contract.js';
import type { StagedHandler } from '../../core/staged-handler.js';
import type { ScheduledTask } from '../../broker/clock.js';
import type { Identity } from '../../broker/hooks.js';
import type { Observable } from 'rxjs';

export type NidoMode = 'host' | 'join';
/** The words of Nest's MqttStatus, and `listening` for a hosted broker whose doors are open. */
export type NidoStatus = 'listening' | 'connected' | 'reconnecting' | 'disconnected' | 'closed';

/** A message as a link delivers it. */
export interface IncomingMessage {
  readonly topicName: string;
  readonly payload: Buffer;
  /** The payload as UTF-8 text; undefined when it is not UTF-8, or was not asked for. */
  readonly text?: string | undefined;
  /** @internal Of who handles it. */
  attachment?: unknown;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly dup: boolean;
  readonly properties: MessageProperties;
  readonly subscriptionIdentifiers: readonly number[];
  /** Hosted only: who published it. */
  readonly publisher?: Identity | undefined;
}

/** What it returns or awaits is the work; the acknowledgement waits for it when asked to. */
export type LinkHandler =
  ((message: IncomingMessage) => unknown) | StagedHandler<IncomingMessage>;

export interface LinkSubscribeOptions {
  readonly qos: Qos;
  readonly share?: string;
  readonly noLocal?: boolean;
  readonly retainAsPublished?: boolean;
  readonly retainHandling?: 0 | 1 | 2;
  readonly concurrency: number;
  readonly ack: 'after-handler' | 'on-receipt';
  /** 0 = no limit. */
  readonly handlerTimeoutMs: number;
}

export interface LinkSubscription {
  /** Takes no new messages, and resolves when the handlers at work are done. */
  close(): Promise<void>;
  /**
   * The same before the application ends: where the session is kept, so is the subscription, and
   * what comes meanwhile is there when the application is back.
   */
  drain(): Promise<void>;
}

export interface LinkPublishOptions {
  readonly qos?: Qos;
  readonly retain?: boolean;
  readonly properties?: MessageProperties;
}

export interface Link {
  readonly mode: NidoMode;
  /** `default`, or the name of the broker. */
  readonly name: string;
  /** For good: nothing comes back by itself. */
  readonly isClosed: boolean;
  /** Whether requests may use Response Topic and Correlation Data. */
  readonly hasProperties: 'yes' | 'no';
  /** QoS that handlers ask for when nothing is said. */
  readonly defaultQos: Qos;
  readonly status: Observable<NidoStatus>;
  /**
   * Host: opens the doors. Join: connects, and rejects when that fails for good. May be called more
   * than once.
   */
  open(): Promise<void>;
  /** Whether a client may be used: hosted brokers route messages before their doors open. */
  connect(): Promise<void>;
  subscribe(
    topicFilter: string,
    handler: LinkHandler,
    options: LinkSubscribeOptions,
  ): Promise<LinkSubscription>;
  publish(
    topicName: string,
    payload: Uint8Array | string,
    options: LinkPublishOptions,
  ): Promise<void>;
  /** Runs `task` once, `ms` from now; a test's broker has a clock that the test moves. */
  schedule(task: () => void, ms: number): ScheduledTask;
  /** Waits for `work`, at most `ms` by the clock of `schedule`. Never rejects. */
  settled(work: Promise<unknown>, ms: number): Promise<void>;
  on(event: string, listener: (...args: never[]) => unknown): void;
  /** The Broker or the client; throws before there is one. */
  native(): unknown;
  close(options: { readonly deadlineMs: number }): Promise<void>;
}
