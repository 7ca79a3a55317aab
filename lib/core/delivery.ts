/**
 * A message on its way to a handler: what the row said, copied out; strings and properties are made
 * when asked for. A receiver that asks for the text at once, while the payload is still in linear
 * memory, saves the copy of the bytes: they are made of the text again when they are wanted.
 */
import { isUtf8 } from 'node:buffer';
import { DELIVER_ALIAS_SHIFT, EXPIRY_NONE } from '../../assembly/shared/abi.js';
import type { Delivery, MessageProperties, Qos, SessionHandle } from './contract.js';
import { readMessageProperties } from './packet-reader.js';

const NONE: MessageProperties = Object.freeze({});
const NO_IDENTIFIERS: readonly number[] = Object.freeze([]);
const PACKET_IDENTIFIER_MASK = 0xffff;
const REPLACEMENT = '\ufffd';

/** Where the payload of the row that is being told can be read. */
export interface PayloadSource {
  payloadText(): string;
  payloadBytes(): Buffer;
}

export class HandlerDelivery implements Delivery {
  attachment: unknown = undefined;
  publisher: unknown = undefined;
  private parsed: MessageProperties | undefined = undefined;
  private bytes: Buffer | undefined = undefined;
  /** The payload as text; null when it is none, undefined when nobody has looked. */
  private decoded: string | null | undefined = undefined;

  constructor(
    readonly topicName: string,
    private source: PayloadSource | undefined,
    private readonly flags: number,
    /** The encoded properties that travel unaltered; undefined when there are none. */
    private readonly encoded: Buffer | undefined,
    private readonly expirySeconds: number,
    private readonly identifier: number,
    readonly publisherSession: SessionHandle,
    readonly token: number,
  ) {}

  get payload(): Buffer {
    return (this.bytes ??= this.source?.payloadBytes() ?? Buffer.from(this.decoded!));
  }
  get text(): string | undefined {
    if (this.decoded === undefined) this.decoded = this.decode();
    return this.decoded ?? undefined;
  }
  get qos(): Qos {
    return (this.flags & 3) as Qos;
  }
  get retain(): boolean {
    return (this.flags & 4) !== 0;
  }
  get dup(): boolean {
    return (this.flags & 8) !== 0;
  }
  get subscriptionIdentifiers(): readonly number[] {
    return this.identifier === 0 ? NO_IDENTIFIERS : [this.identifier];
  }
  get packetIdentifier(): number {
    return this.publisherSession & PACKET_IDENTIFIER_MASK;
  }
  get topicAlias(): number {
    return this.publisherSession >>> DELIVER_ALIAS_SHIFT;
  }
  get properties(): MessageProperties {
    return (this.parsed ??= this.parse());
  }

  /** The row is over: what nobody asked for yet is copied. */
  leaveRow(): void {
    if (typeof this.decoded !== 'string') this.bytes ??= this.source!.payloadBytes();
    this.source = undefined;
  }

  private decode(): string | null {
    const text = this.source?.payloadText() ?? this.bytes!.toString();
    // Only a decoder's replacement character can hide broken bytes: the check is seldom needed.
    return !text.includes(REPLACEMENT) || isUtf8(this.payload) ? text : null;
  }

  private parse(): MessageProperties {
    const properties = this.encoded === undefined ? NONE : readMessageProperties(this.encoded);
    if (this.expirySeconds === EXPIRY_NONE) return properties;
    return { messageExpiryInterval: this.expirySeconds, ...properties };
  }
}
