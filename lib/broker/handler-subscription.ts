/** A subscription of this process, and the runs of its handler. */
import type {
  Delivery, DeliverySink, MessageProperties, Qos, SessionHandle,
} from '../core/contract.js';
import type { StagedHandler } from '../core/staged-handler.js';
import type { Handlers } from './handlers.js';
import type { Identity } from './hooks.js';
import { TimerEntry } from './timer-wheel.js';

/** A message as a handler gets it. It is the handler's to keep. */
export interface ReceivedMessage {
  readonly topicName: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  /** Sent because of a new subscription, not because somebody published just now. */
  readonly retain: boolean;
  readonly dup: boolean;
  readonly properties: MessageProperties;
  readonly subscriptionIdentifiers: readonly number[];
  /** Who published it; undefined for messages of this process and of sessions that have ended. */
  readonly publisher: Identity | undefined;
}

/**
 * Called once for every message that matches. What it returns or awaits is the work; a handler that
 * throws has failed, and an MQTT 5 publisher of QoS 1 or 2 is told so: by `error.reasonCode` when
 * PUBACK knows that code, else 0x80.
 */
export type MessageHandler = (message: ReceivedMessage) => unknown;

export interface SubscribeHandlerOptions {
  /** Highest QoS. Default 2: every message with the QoS it was published with. */
  readonly qos?: Qos;
  /** Leaves out what this process publishes with `broker.publish`. Default false. */
  readonly noLocal?: boolean;
  /**
   * Name of a shared subscription: each message goes to one of its members. Same as
   * `$share/<name>/<filter>`.
   */
  readonly share?: string;
  /**
   * Retained messages: 0 now, 1 now if the subscription is new (here always), 2 none. Default 0.
   */
  readonly retainHandling?: 0 | 1 | 2;
  /** Keeps the RETAIN flag of the publisher on live messages. Default false. */
  readonly retainAsPublished?: boolean;
  /** Messages at work at the same time. Default `limits.handlerConcurrency`. */
  readonly concurrency?: number;
  /** Messages that wait for the handler. Default `limits.queueMessagesMax`. */
  readonly queueMessagesMax?: number;
  /**
   * `after-handler` (default): the publisher's PUBACK or PUBREC waits for the handler.
   * `on-receipt`: it does not, and a message whose handler fails is lost.
   */
  readonly ack?: 'after-handler' | 'on-receipt';
  /**
   * After this time the message counts as failed. 0 = no limit. Default `limits.handlerTimeoutMs`.
   */
  readonly handlerTimeoutMs?: number;
}

/** A subscription of this process. */
export interface Subscription {
  readonly topicFilter: string;
  /** Handlers at work now. */
  readonly running: number;
  /** Takes no new messages, and resolves when those that wait and those at work are done. */
  close(): Promise<void>;
}

/** `timerDue` is the earliest time at which one of its runs may have had its time. */
export class HandlerSubscription extends TimerEntry implements DeliverySink, Subscription {
  session: SessionHandle = 0;
  running = 0;
  ending: 'no' | 'draining' | 'ended' = 'no';
  readonly whenEnded: (() => void)[] = [];
  readonly staged: StagedHandler<ReceivedMessage>;
  readonly reads: 'text' | 'bytes';
  /** `yes`: it has places of QoS 0 messages to give back by the end of the turn. */
  isOwing: 'yes' | 'no' = 'no';
  owed = 0;
  /** Every run that was ever needed at the same time, and those of them that are free. */
  runs: HandlerRun[] = [];
  idle: HandlerRun[] = [];

  constructor(
    public owner: Handlers,
    readonly topicFilter: string,
    readonly handler: MessageHandler,
    readonly options: SubscribeHandlerOptions,
    readonly concurrency: number,
    readonly timeoutMs: number,
  ) {
    super();
    this.staged = handler;
    this.reads = this.staged.reads ?? 'bytes';
  }

  deliver(delivery: Delivery): void {
    this.owner.deliver(this, delivery);
  }

  close(): Promise<void> {
    return this.owner.close(this);
  }

  /** The core has failed, and what it told with it. */
  forget(): void {
    this.running = 0;
    this.owed = 0;
    this.runs = [];
    this.idle = [];
  }
}

/** A handler at work that has not answered at once. It is used again for another message. */
export class HandlerRun {
  message!: ReceivedMessage;
  token = 0;
  startedAt = 0;
  state: 'free' | 'working' | 'timed-out' = 'free';
  readonly fulfilled: (value: unknown) => void;
  readonly rejected: (error: unknown) => void;
  readonly concluded: () => void;
  readonly broken: (error: unknown) => void;

  constructor(
    readonly owner: Handlers,
    readonly subscription: HandlerSubscription,
  ) {
    this.fulfilled = (value) => owner.fulfilled(this, value);
    this.rejected = (error) => owner.rejected(this, error);
    this.concluded = () => owner.concluded(this);
    this.broken = (error) => owner.broken(this, error);
  }
}
