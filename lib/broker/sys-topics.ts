/**
 * `$SYS/broker/...`: figures of the broker as retained messages, under the names that mosquitto's
 * users know. Only what has changed is published. Nothing here tells who the clients are.
 */
import type { CoreStats } from '../core/contract.js';
import type { BrokerContext } from './context.js';
import { TimerEntry } from './timer-wheel.js';

const PREFIX = '$SYS/broker/';
const MS_PER_SECOND = 1_000;
/** Must change with package.json; a test compares them. */
export const BROKER_VERSION = '0.1.0';

export class SysTopics extends TimerEntry {
  readonly #context: BrokerContext;
  readonly #startedAt: number;
  readonly #last = new Map<string, string>();

  constructor(context: BrokerContext) {
    super();
    this.#context = context;
    this.#startedAt = context.clock.now();
  }

  start(): void {
    if (this.#context.options.sys.intervalSeconds > 0) this.publish();
  }

  stop(): void {
    this.#context.wheel.cancel(this);
  }

  /** Publishes what changed, and again after `sys.intervalSeconds`. */
  publish(): void {
    const { core, clock, wheel, options } = this.#context;
    const now = clock.now();
    for (const [name, value] of this.#figures(core.stats(), now)) {
      const payload = String(value);
      if (this.#last.get(name) === payload) continue;
      this.#last.set(name, payload);
      core.publish({ topicName: PREFIX + name, payload, qos: 0, retain: true });
    }
    wheel.set(this, now + options.sys.intervalSeconds * MS_PER_SECOND);
  }

  #figures(stats: CoreStats, now: number): [string, string | number][] {
    const { counters } = this.#context;
    const dropped = Object.values(stats.dropped).reduce((sum, count) => sum + count, 0);
    return [
      ['version', `nidomq ${BROKER_VERSION}`],
      ['uptime', `${Math.floor((now - this.#startedAt) / MS_PER_SECOND)} seconds`],
      ['clients/connected', counters.clientsConnected],
      ['clients/maximum', counters.clientsMaximum],
      ['clients/total', stats.sessions],
      ['clients/disconnected', Math.max(0, stats.sessions - counters.clientsConnected)],
      ['clients/expired', counters.sessionsExpired],
      ['connections/accepted', counters.connectionsAccepted],
      ['connections/refused', counters.connectionsRefused],
      ['subscriptions/count', stats.subscriptions],
      ['retained messages/count', stats.retainedMessages],
      ['messages/stored', stats.queuedMessages],
      ['publish/messages/received', stats.publishReceived],
      ['publish/messages/sent', stats.publishSent],
      ['publish/messages/dropped', dropped],
      ['bytes/received', stats.bytesReceived],
      ['bytes/sent', stats.bytesSent],
      ['memory/total', stats.memoryBytes],
      ...Object.entries(stats.memoryUsedBytes).map(([name, used]): [string, number] => [
        `memory/${name}`,
        used,
      ]),
    ];
  }
}
