/** A connection to another broker as a Link: the client role. */
import { Logger } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { ReplaySubject, distinctUntilChanged } from 'rxjs';
import { NidoClient, NidoClientError } from '../../client/index.js';
import type { ClientEventListener, ClientEventName, ClientOptions } from '../../client/index.js';
import { NidoNestError, messageOf } from '../errors.js';
import type { JoinOptions } from './join-options.js';
import type {
  Link,
  LinkHandler,
  LinkPublishOptions,
  LinkSubscribeOptions,
  LinkSubscription,
  NidoStatus,
} from './link.js';

const STATUS_HISTORY = 1;
const ATTEMPTS_MAX = 10;
const FOR_EVER = -1;
const HANDLER_TIMEOUT = 'NIDO_CLIENT_HANDLER_TIMEOUT';
const DEFAULT_URL = 'mqtt://localhost:1883';
/** What is not an option of the connection; more of them come with the flat options of a client. */
const NOT_OF_THE_CONNECTION = new Set([
  'url', 'maxConnectionAttempts', 'userProperties', 'subscribeOptions', 'serializer',
  'deserializer', 'share', 'name', 'prefix', 'join', 'envelope', 'requestTimeout', 'drainMs',
  'codec', 'concurrency', 'ack', 'onError', 'qos', 'timeoutMs', 'transportId', 'replyPrefix',
]);

export class JoinLink implements Link {
  readonly mode = 'join';
  readonly name: string;
  readonly defaultQos = 1;
  readonly status: Observable<NidoStatus>;
  readonly #status = new ReplaySubject<NidoStatus>(STATUS_HISTORY);
  readonly #log = new Logger('NidoJoin');
  readonly #options: JoinOptions;
  readonly #client: NidoClient;
  #opening: Promise<void> | undefined;
  #failed = 0;

  constructor(options: JoinOptions, { name }: { readonly name: string }) {
    this.name = name;
    this.#options = options;
    this.#client = makeClient(options);
    this.status = this.#status.pipe(distinctUntilChanged());
    this.#client
      .on('connect', () => this.#status.next('connected'))
      .on('reconnect', () => this.#status.next('reconnecting'))
      .on('offline', () => this.#status.next('disconnected'))
      .on('end', () => this.#status.next('closed'))
      .on('handlerFailed', ({ topicName, error }) => {
        if ((error as { code?: unknown } | undefined)?.code !== HANDLER_TIMEOUT) return;
        this.#log.error(
          `${messageOf(error)}, for ${JSON.stringify(topicName)} (option timeoutMs)`);
      })
      .on('error', (error) => {
        this.#failed += 1;
        this.#log.error(error.message);
      });
  }

  get hasProperties(): 'yes' | 'no' {
    return this.#client.protocolVersion === 5 ? 'yes' : 'no';
  }

  open(): Promise<void> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  connect(): Promise<void> {
    return this.open();
  }

  async subscribe(
    topicFilter: string,
    handler: LinkHandler,
    options: LinkSubscribeOptions,
  ): Promise<LinkSubscription> {
    const { qos, share, noLocal, retainAsPublished, retainHandling } = options;
    const { concurrency, ack, handlerTimeoutMs } = options;
    const whole = share === undefined ? topicFilter : `$share/${share}/${topicFilter}`;
    try {
      return await this.#client.subscribe(whole, handler, {
        qos, concurrency, ack, handlerTimeoutMs,
        nl: noLocal, rap: retainAsPublished, rh: retainHandling,
      });
    } catch (error) {
      if ((error as NidoClientError).code !== 'NIDO_CLIENT_SUBSCRIBE_REFUSED') throw error;
      throw new NidoNestError(
        'NIDO_NEST_SUBSCRIPTION_REFUSED',
        `${this.#client.server.name} refused the subscription to ${JSON.stringify(whole)}: ` +
          `${(error as Error).message}. Check what the broker's access rules allow to this user`,
        { cause: error },
      );
    }
  }

  async publish(
    topicName: string,
    payload: Uint8Array | string,
    options: LinkPublishOptions,
  ): Promise<void> {
    await this.#client.publish(topicName, payload, options);
  }

  on(event: string, listener: (...args: never[]) => unknown): void {
    const name = event as ClientEventName;
    this.#client.on(name, listener as ClientEventListener<ClientEventName>);
  }

  native(): NidoClient {
    return this.#client;
  }

  async close({ deadlineMs }: { readonly deadlineMs: number }): Promise<void> {
    await this.#client.end({ deadlineMs });
    this.#status.next('closed');
  }

  /** The first connection; later ones come back by themselves. */
  async #open(): Promise<void> {
    const { maxConnectionAttempts: attemptsMax = ATTEMPTS_MAX } = this.#options;
    const client = this.#client;
    const gaveUp = new Promise<never>((_resolve, reject) => {
      client.on('error', (error) => {
        if (attemptsMax !== FOR_EVER && this.#failed >= attemptsMax) reject(error);
      });
    });
    const connected = client.connected();
    client.start();
    try {
      await Promise.race([connected, gaveUp]);
      gaveUp.catch(() => undefined);
    } catch (error) {
      connected.catch(() => undefined);
      await client.end({ deadlineMs: 0 });
      throw this.#unreachable(error as Error);
    }
  }

  #unreachable(error: Error): NidoNestError {
    const times = this.#failed === 1 ? 'one attempt' : `${this.#failed} attempts`;
    return new NidoNestError(
      'NIDO_NEST_UNREACHABLE',
      `cannot join the broker at ${this.#options.url ?? this.#client.server.name} ` +
        `after ${times}: ${error.message.replace(/[.?]$/, '')}. Is it running, and are url and ` +
        'credentials right? (option maxConnectionAttempts, -1 = try for ever)',
      { cause: error },
    );
  }
}

function makeClient(options: JoinOptions): NidoClient {
  const own = Object.entries(options).filter(([name]) => !NOT_OF_THE_CONNECTION.has(name));
  const connection: ClientOptions = { ...Object.fromEntries(own), manualConnect: true };
  const { url, servers, host, hostname } = options;
  const named = servers !== undefined || host !== undefined || hostname !== undefined;
  if (url === undefined && named) return new NidoClient(connection);
  return new NidoClient(url ?? DEFAULT_URL, connection);
}
