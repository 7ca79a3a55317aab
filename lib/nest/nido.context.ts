/** What a handler gets as `@Ctx()`: Nest's MqttContext, and what it does not have. */
import { MqttContext } from '@nestjs/microservices';
import type { Identity } from '../broker/hooks.js';
import type { Qos } from '../core/contract.js';
import type { NidoClient } from './nido.client.js';
import type { IncomingMessage } from './link/link.js';
import type { UserPropertyRecord } from './packet.js';
import { PublishPacket, toUserPropertyRecord } from './packet.js';
import { paramsOf } from './topic-template.js';

export interface NackOptions {
  /** Run the handler again after so many milliseconds, instead of failing. */
  readonly requeueAfter?: number;
  /** Reason Code for the publisher. Default 0x80. */
  readonly reasonCode?: number;
  readonly reason?: string;
}

/** What a handler has said about its message. */
export type Verdict = { readonly kind: 'ack' } | ({ readonly kind: 'nack' } & NackOptions);

/** What a context needs to know of who runs the handler. */
export interface ContextOwner {
  readonly topicLevels: ReadonlyMap<string, number>;
  /** Publishes on the same broker or connection. */
  client(): NidoClient;
}

/** What the arguments of a context are made of on demand: most handlers never ask. */
const NO_ARGUMENTS = Object.freeze([]) as unknown as [string, PublishPacket];

export class NidoContext extends MqttContext {
  /** The message as it came. */
  readonly message: IncomingMessage;
  /** 1 for the first run of the handler, more for retries. */
  readonly attempt: number;
  /** @internal */
  verdict: Verdict | undefined = undefined;
  /** @internal Set while somebody waits for the verdict. */
  onVerdict: (() => void) | undefined = undefined;
  private readonly owner: ContextOwner;
  private packet: PublishPacket | undefined = undefined;

  constructor(message: IncomingMessage, owner: ContextOwner, attempt: number) {
    super(NO_ARGUMENTS);
    this.message = message;
    this.attempt = attempt;
    this.owner = owner;
  }

  override getArgs(): [string, PublishPacket] {
    return [this.getTopic(), this.getPacket()];
  }

  override getArgByIndex(index: number): string | PublishPacket {
    return this.getArgs()[index];
  }

  override getTopic(): string {
    return this.message.topicName;
  }

  /** The packet in the shape of mqtt-packet, as stock handlers know it. */
  override getPacket(): PublishPacket {
    return (this.packet ??= new PublishPacket(this.message));
  }

  /** Parameters of the topic, by the names in `@OnTopic(':room/temperature')`. */
  get params(): Record<string, string> {
    return paramsOf(this.message.topicName, this.owner.topicLevels);
  }

  /** Hosted: who published the message; undefined for this application and when joined. */
  get identity(): Identity | undefined {
    return this.message.publisher;
  }

  get qos(): Qos {
    return this.message.qos;
  }

  get userProperties(): UserPropertyRecord {
    return toUserPropertyRecord(this.message.properties.userProperties ?? []);
  }

  /** A client of the same broker or connection. */
  get client(): NidoClient {
    return this.owner.client();
  }

  /** The message is done with, whatever happens to the handler from now on. */
  ack(): void {
    this.#decide({ kind: 'ack' });
  }

  /** The message has failed, or is to be handled again later. */
  nack(options: NackOptions = {}): void {
    this.#decide({ kind: 'nack', ...options });
  }

  #decide(verdict: Verdict): void {
    if (this.verdict !== undefined) return;
    this.verdict = verdict;
    this.onVerdict?.();
  }
}
