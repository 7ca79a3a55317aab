/**
 * A message on its way to a handler: what the row said, copied out; properties are parsed when
 * asked for. Its payload comes as bytes or as text, whichever the receiver reads, and the other is
 * made of that when it is wanted: a receiver of text saves the copy of the bytes.
 */
import { isUtf8 } from 'node:buffer';
import { DELIVER_ALIAS_SHIFT, EXPIRY_NONE } from '../../assembly/shared/abi.js';
import type { Delivery, MessageProperties, Qos, SessionHandle } from './contract.js';
import { readMessageProperties } from './packet-reader.js';

const NONE: MessageProperties = Object.freeze({});
const NO_IDENTIFIERS: readonly number[] = Object.freeze([]);
const PACKET_IDENTIFIER_MASK = 0xffff;
/** What a decoder puts where bytes are not UTF-8. */
export const REPLACEMENT = '\ufffd';

/** What few messages have. */
export interface DeliveryExtras {
  /** The encoded properties that travel unaltered; undefined when there are none. */
  readonly encoded: Buffer | undefined;
  /** EXPIRY_NONE = none. */
  readonly expirySeconds: number;
}

/**
 * One for every message of every handler: its fields are few, and they are written once. Declared,
 * because a field that is defined is written twice.
 */
export class HandlerDelivery implements Delivery {
  declare readonly topicName: string;
  declare readonly publisherSession: SessionHandle;
  declare readonly token: number;
  declare attachment: unknown;
  declare publisher: unknown;
  private declare readonly flags: number;
  private declare readonly identifier: number;
  /** Properties that were asked for, or what they are read from; undefined when there are none. */
  private declare extras: DeliveryExtras | { readonly parsed: MessageProperties } | undefined;
  /** One of the two is there from the beginning. */
  private declare bytes: Buffer | undefined;
  /** The payload as text; null when it is none, undefined when nobody has looked. */
  private declare decoded: string | null | undefined;

  constructor(
    topicName: string, bytes: Buffer | undefined, text: string | undefined, flags: number,
    identifier: number, publisherSession: SessionHandle, token: number,
    extras: DeliveryExtras | undefined,
  ) {
    this.topicName = topicName;
    this.publisherSession = publisherSession;
    this.token = token;
    this.attachment = undefined;
    this.publisher = undefined;
    this.flags = flags;
    this.identifier = identifier;
    this.extras = extras;
    this.bytes = bytes;
    this.decoded = text;
  }

  get payload(): Buffer {
    return (this.bytes ??= Buffer.from(this.decoded!));
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
    const { extras } = this;
    if (extras === undefined) return NONE;
    if ('parsed' in extras) return extras.parsed;
    const parsed = parse(extras);
    this.extras = { parsed };
    return parsed;
  }

  private decode(): string | null {
    const text = this.payload.toString();
    return !text.includes(REPLACEMENT) || isUtf8(this.payload) ? text : null;
  }
}

function parse({ encoded, expirySeconds }: DeliveryExtras): MessageProperties {
  const properties = encoded === undefined ? NONE : readMessageProperties(encoded);
  if (expirySeconds === EXPIRY_NONE) return properties;
  return { messageExpiryInterval: expirySeconds, ...properties };
}
