/** Topic Filters cross into the core through its exchange area. */
import type { SessionHandle, SubscribeOptions } from './contract.js';
import type { Qos } from './contract.js';
import { CoreError } from './errors.js';
import type { CoreExports } from './instance.js';
import { splitShare } from './packet-reader.js';

const SUBSCRIBED_AGAIN = 1;
const SUBSCRIBE_NO_MEMORY = 2;
const STRING_BYTES_MAX = 65_535;

export class Subscriptions {
  private readonly exchange: number;

  constructor(private readonly x: CoreExports, private readonly heap: Buffer) {
    this.exchange = x.exchangeAt() >>> 0;
  }

  /**
   * Writes a string to the exchange area; answers its length, -1 when it is longer than MQTT can
   * say.
   */
  put(text: string, offset = 0): number {
    const length = Buffer.byteLength(text);
    if (length > STRING_BYTES_MAX) return -1;
    this.heap.write(text, this.exchange + offset, length, 'utf8');
    return length;
  }

  subscribe(session: SessionHandle, filter: string, options: SubscribeOptions): boolean {
    const length = this.put(filter);
    const shareLength = options.shareName === undefined ? 0 : this.put(options.shareName, length);
    const made = this.x.subscribe(
      session, length, shareLength, optionsByte(options), options.subscriptionIdentifier ?? 0,
    );
    if (made === SUBSCRIBE_NO_MEMORY) {
      throw new CoreError(
        'NIDO_CORE_MEMORY', 'no memory for another subscription (option memoryBytes)',
      );
    }
    return made === SUBSCRIBED_AGAIN;
  }

  /** A shared subscription is sent none. */
  wantsRetained(
    options: SubscribeOptions, { existed }: { readonly existed: boolean },
  ): boolean {
    if (options.shareName !== undefined) return false;
    const handling = options.retainHandling ?? 0;
    // 3.1.1 [MQTT-3.3.1-6] [MQTT-3.8.4-3]
    // 5.0 [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]
    return handling === 0 || (handling === 1 && !existed);
  }

  replay(session: SessionHandle, filter: string, options: SubscribeOptions): void {
    const length = this.put(filter);
    const started = this.x.replayRetained(session, length, options.qos);
    if (!started) throw new CoreError('NIDO_CORE_MEMORY', 'no memory to replay retained messages');
  }

  unsubscribe(session: SessionHandle, filter: string, shareName?: string): boolean {
    const length = this.put(filter);
    if (length < 0) return false;
    const shareLength = shareName === undefined ? 0 : this.put(shareName, length);
    return this.x.unsubscribe(session, length, shareLength) !== 0;
  }

  has(session: SessionHandle, filter: string, shareName?: string): boolean {
    const length = this.put(filter);
    const shareLength = shareName === undefined ? 0 : this.put(shareName, length);
    return this.x.isSubscribed(session, length, shareLength) !== 0;
  }

  list(session: SessionHandle): { topicFilter: string; options: SubscribeOptions }[] {
    const found: { topicFilter: string; options: SubscribeOptions }[] = [];
    let at = 0;
    while ((at = this.x.nextSubscription(session, at)) !== 0) {
      const length = this.x.describeSubscription(at);
      const topicFilter = this.heap.toString('utf8', this.exchange, this.exchange + length);
      const bits = this.x.subscriptionOptions(at);
      found.push({
        topicFilter,
        options: {
          qos: (bits & 3) as Qos,
          noLocal: (bits & 4) !== 0,
          retainAsPublished: (bits & 8) !== 0,
          retainHandling: ((bits >> 4) & 3) as 0 | 1 | 2,
          shareName: splitShare(topicFilter).shareName,
          subscriptionIdentifier: this.x.subscriptionIdentifier(at) || undefined,
        },
      });
    }
    return found;
  }

  checkFilter(topicFilter: string): number {
    const length = this.put(topicFilter);
    return length < 0 ? TOPIC_FILTER_INVALID : this.x.checkTopicFilter(length);
  }
  isTopicName(topicName: string): boolean {
    const length = this.put(topicName);
    return length >= 0 && this.x.checkTopicName(length) !== 0;
  }
}
const TOPIC_FILTER_INVALID = 0x8f;

function optionsByte(options: SubscribeOptions): number {
  return options.qos | (options.noLocal ? 4 : 0) | (options.retainAsPublished ? 8 : 0) |
    ((options.retainHandling ?? 0) << 4);
}
