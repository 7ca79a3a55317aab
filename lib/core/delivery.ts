/**
 * A message on its way to a handler: what the row said, copied out; strings and properties are made
 * when asked for.
 */
import { EXPIRY_NONE } from '../../assembly/shared/abi.js';
import type { Delivery, MessageProperties, Qos, SessionHandle } from './contract.js';
import { readMessageProperties } from './packet-reader.js';

const NONE: MessageProperties = Object.freeze({});
const NO_IDENTIFIERS: readonly number[] = Object.freeze([]);

export class HandlerDelivery implements Delivery {
  private parsed: MessageProperties | undefined;

  constructor(
    readonly topicName: string,
    readonly payload: Buffer,
    private readonly flags: number,
    /** The encoded properties that travel unaltered; undefined when there are none. */
    private readonly encoded: Buffer | undefined,
    private readonly expirySeconds: number,
    private readonly identifier: number,
    readonly publisher: SessionHandle,
    readonly token: number,
  ) {}

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
  get properties(): MessageProperties {
    return (this.parsed ??= this.parse());
  }

  private parse(): MessageProperties {
    const properties = this.encoded === undefined ? NONE : readMessageProperties(this.encoded);
    if (this.expirySeconds === EXPIRY_NONE) return properties;
    return { ...properties, messageExpiryInterval: this.expirySeconds };
  }
}
