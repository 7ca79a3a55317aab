/** The broker of this process as a Link: handlers are fed straight from the core. */
import cluster from 'node:cluster';
import { Logger } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { ReplaySubject, distinctUntilChanged } from 'rxjs';
import type { Broker } from '../../broker/broker.js';
import type { ScheduledTask } from '../../broker/clock.js';
import type { EventListener, EventName } from '../../broker/broker-emitter.js';
import type { BrokerLogger } from '../../broker/logger.js';
import { NidoNestError, messageOf } from '../errors.js';
import type {
  Link,
  LinkHandler,
  LinkPublishOptions,
  LinkSubscribeOptions,
  LinkSubscription,
  NidoStatus,
} from './link.js';

const STATUS_HISTORY = 1;
/** Events of MQTT.js clients, in the words of a broker. */
const STOCK_EVENTS: ReadonlyMap<string, EventName> = new Map([
  ['connect', 'listening'],
  ['close', 'closed'],
  ['end', 'closed'],
  ['error', 'problem'],
]);
const NO_SUCH_EVENTS = new Set([
  'reconnect', 'disconnect', 'offline', 'packetreceive', 'packetsend',
]);

export interface HostLinkOptions {
  readonly name: string;
  readonly inClusterWorker: 'refuse' | 'allow';
}

export class HostLink implements Link {
  readonly mode = 'host';
  readonly name: string;
  readonly hasProperties = 'yes';
  readonly defaultQos = 2;
  readonly status: Observable<NidoStatus>;
  readonly #status = new ReplaySubject<NidoStatus>(STATUS_HISTORY);
  readonly #broker: Broker;
  readonly #options: HostLinkOptions;
  #opening: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(broker: Broker, options: HostLinkOptions) {
    this.name = options.name;
    this.#broker = broker;
    this.#options = options;
    this.status = this.#status.pipe(distinctUntilChanged());
    const log = new Logger('NidoStrategy');
    broker.on('handlerFailed', ({ topicName, error }) => {
      if ((error as { code?: unknown } | undefined)?.code !== 'NIDO_HANDLER_TIMEOUT') return;
      log.error(`${messageOf(error)}, for ${JSON.stringify(topicName)} (option timeoutMs)`);
    });
  }

  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  open(): Promise<void> {
    this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  connect(): Promise<void> {
    return Promise.resolve();
  }

  async subscribe(
    topicFilter: string,
    handler: LinkHandler,
    options: LinkSubscribeOptions,
  ): Promise<LinkSubscription> {
    const subscription = await this.#broker.subscribe(topicFilter, handler, options);
    const close = (): Promise<void> => subscription.close();
    return { close, drain: close };
  }

  publish(
    topicName: string,
    payload: Uint8Array | string,
    options: LinkPublishOptions,
  ): Promise<void> {
    // As a joined client does: it may be a handler that publishes to handlers like itself.
    return this.#broker.publish(topicName, payload, { ...options, awaits: 'nobody' });
  }

  schedule(task: () => void, ms: number): ScheduledTask {
    return this.#broker.schedule(task, ms);
  }

  settled(work: Promise<unknown>, ms: number): Promise<void> {
    return this.#broker.settled(work, ms);
  }

  on(event: string, listener: (...args: never[]) => unknown): void {
    if (NO_SUCH_EVENTS.has(event)) return;
    const name = STOCK_EVENTS.get(event) ?? (event as EventName);
    this.#broker.on(name, listener as EventListener<EventName>);
  }

  native(): Broker {
    return this.#broker;
  }

  close(options: { readonly deadlineMs: number }): Promise<void> {
    this.#closing ??= this.#broker.close(options).then(() => {
      this.#status.next('closed');
    });
    return this.#closing;
  }

  async #open(): Promise<void> {
    if (cluster.isWorker && this.#options.inClusterWorker === 'refuse') {
      throw new NidoNestError(
        'NIDO_NEST_HOST_IN_CLUSTER',
        'this is a cluster worker, and every worker would host a broker of its own: a message to ' +
          'one of them does not reach the clients of the others. Let one process host the broker ' +
          'and the workers join it (option join), or say host.inClusterWorker: "allow"',
      );
    }
    // An application may have opened the doors itself, and a test's broker has none.
    if (this.#broker.listeners.length === 0) await this.#broker.listen();
    this.#status.next('listening');
  }
}

/**
 * Nest's logger for a broker. Failures of handlers are left out: strategy and link say more.
 */
export class NestBrokerLogger implements BrokerLogger {
  readonly #logger = new Logger('NidoBroker');

  error(message: string): void {
    this.#logger.error(message);
  }
  warn(message: string): void {
    if (!message.startsWith('handler failed ')) this.#logger.warn(message);
  }
  log(message: string): void {
    this.#logger.log(message);
  }
  debug(message: string): void {
    this.#logger.debug(message);
  }
}
