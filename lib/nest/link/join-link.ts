/** A connection to another broker as a Link: the client role. */
import { Logger } from '@nestjs/common';
import type { Observable } from 'rxjs';
import { ReplaySubject, distinctUntilChanged } from 'rxjs';
import { NidoClient, NidoClientError } from '../../client/index.js';
import type { ClientEventListener, ClientEventName, ClientOptions } from '../../client/index.js';
import { SystemClock } from '../../broker/clock.js';
import type { ScheduledTask } from '../../broker/clock.js';
import { within } from '../deadline.js';
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

type AnyListener = (...args: never[]) => unknown;

const STATUS_HISTORY = 1;
const ATTEMPTS_MAX = 10;
const ONE_ATTEMPT = 1;
const FOR_EVER = -1;
const JOINED = Promise.resolve();
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
  readonly #clock = new SystemClock();
  readonly #listeners: (readonly [ClientEventName, AnyListener])[] = [];
  #client: NidoClient;
  #state: 'new' | 'joined' | 'closed' = 'new';
  #opening: Promise<void> | undefined;
  #connecting: Promise<void> | undefined;
  #failed = 0;
  /** Why it closed when nobody asked for it. */
  #lastError: Error | undefined;

  constructor(options: JoinOptions, { name }: { readonly name: string }) {
    this.name = name;
    this.#options = options;
    this.status = this.#status.pipe(distinctUntilChanged());
    this.#client = this.#makeClient();
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  get hasProperties(): 'yes' | 'no' {
    return this.#client.protocolVersion === 5 ? 'yes' : 'no';
  }

  /** For handlers: tries as often as `maxConnectionAttempts` says. May be called again then. */
  open(): Promise<void> {
    const { maxConnectionAttempts = ATTEMPTS_MAX } = this.#options;
    this.#opening ??= this.#join(maxConnectionAttempts).catch(async (error: unknown) => {
      this.#opening = undefined;
      await this.#giveUp();
      throw error;
    });
    return this.#opening;
  }

  /**
   * For clients: rejects when the first attempt fails, as the stock client does. Further attempts
   * go on behind it. Once joined, what is published while the connection is lost waits for it.
   */
  connect(): Promise<void> {
    if (this.#state === 'joined') return JOINED;
    if (this.isClosed) return Promise.reject(closedError(this.name, this.#lastError));
    if (this.#opening !== undefined) return this.#opening;
    this.#connecting ??= this.#join(ONE_ATTEMPT).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async subscribe(
    topicFilter: string,
    handler: LinkHandler,
    options: LinkSubscribeOptions,
  ): Promise<LinkSubscription> {
    const { qos, share, noLocal, retainAsPublished, retainHandling } = options;
    const { concurrency, ack, handlerTimeoutMs } = options;
    const whole = share === undefined ? topicFilter : `$share/${share}/${topicFilter}`;
    const client = this.#client;
    try {
      const subscription = await client.subscribe(whole, handler, {
        qos, concurrency, ack, handlerTimeoutMs,
        nl: noLocal, rap: retainAsPublished, rh: retainHandling,
      });
      const isKept = client.options.sessionExpiryInterval > 0;
      const close = (): Promise<void> => subscription.close();
      return { close, drain: isKept ? () => subscription.stop() : close };
    } catch (error) {
      if ((error as NidoClientError).code !== 'NIDO_CLIENT_SUBSCRIBE_REFUSED') throw error;
      throw new NidoNestError(
        'NIDO_NEST_SUBSCRIPTION_REFUSED',
        `${client.server.name} refused the subscription to ${JSON.stringify(whole)}: ` +
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

  schedule(task: () => void, ms: number): ScheduledTask {
    return this.#clock.schedule(task, ms);
  }

  async settled(work: Promise<unknown>, ms: number): Promise<void> {
    await within(ms, work);
  }

  on(event: string, listener: AnyListener): void {
    const name = event as ClientEventName;
    this.#listeners.push([name, listener]);
    this.#client.on(name, listener as ClientEventListener<ClientEventName>);
  }

  native(): NidoClient {
    return this.#client;
  }

  async close({ deadlineMs }: { readonly deadlineMs: number }): Promise<void> {
    this.#state = 'closed';
    await this.#client.end({ deadlineMs });
    this.#status.next('closed');
  }

  /** The first connection; later ones come back by themselves. */
  async #join(attemptsMax: number): Promise<void> {
    const client = this.#client;
    const limit = attemptsMax === FOR_EVER ? Infinity : this.#failed + attemptsMax;
    let last: Error | undefined;
    let hear: (error: Error) => void = () => undefined;
    const failed = new Promise<never>((_resolve, reject) => {
      hear = (error) => {
        last = error;
        if (this.#failed >= limit) reject(error);
      };
    });
    client.on('error', hear);
    const connected = client.connected();
    client.start();
    try {
      await Promise.race([connected, failed]);
      this.#state = 'joined';
    } catch (error) {
      connected.catch(() => undefined);
      if (this.isClosed) throw closedError(this.name, this.#lastError);
      const unreachable = this.#unreachable(last ?? (error as Error));
      // The client itself has given up, for example because its password is wrong.
      if (client.status === 'closed') await this.#giveUp();
      throw unreachable;
    } finally {
      client.off('error', hear);
      failed.catch(() => undefined);
    }
  }

  /** Another one takes the place of the client, for whoever wants to try again. */
  async #giveUp(): Promise<void> {
    const client = this.#client;
    if (this.isClosed || client.status === 'idle') return;
    await client.end({ deadlineMs: 0 });
    this.#failed = 0;
    this.#client = this.#makeClient();
  }

  /** By us, or because the server wants no more of us: then nothing comes back by itself. */
  #ended(client: NidoClient): void {
    if (client !== this.#client) return;
    if (this.#state === 'joined') this.#state = 'closed';
    this.#status.next('closed');
  }

  #makeClient(): NidoClient {
    const client = makeClient(this.#options);
    client
      .on('connect', () => {
        this.#lastError = undefined;
        this.#status.next('connected');
      })
      .on('reconnect', () => this.#status.next('reconnecting'))
      .on('offline', () => this.#status.next('disconnected'))
      .on('end', () => this.#ended(client))
      .on('handlerFailed', ({ topicName, error }) => {
        if ((error as { code?: unknown } | undefined)?.code !== HANDLER_TIMEOUT) return;
        this.#log.error(
          `${messageOf(error)}, for ${JSON.stringify(topicName)} (option timeoutMs)`);
      })
      .on('error', (error) => {
        this.#failed += 1;
        this.#lastError = error;
        this.#log.error(error.message);
      });
    for (const [name, listener] of this.#listeners) {
      client.on(name, listener as ClientEventListener<ClientEventName>);
    }
    return client;
  }

  #unreachable(error: Error): NidoNestError {
    const times = this.#failed <= 1 ? 'one attempt' : `${this.#failed} attempts`;
    return new NidoNestError(
      'NIDO_NEST_UNREACHABLE',
      `cannot join the broker at ${this.#options.url ?? this.#client.server.name} ` +
        `after ${times}: ${error.message.replace(/[.?]$/, '')}. Is it running, and are url and ` +
        'credentials right? (option maxConnectionAttempts, -1 = try for ever)',
      { cause: error },
    );
  }
}

function closedError(name: string, cause: Error | undefined): NidoNestError {
  const why = cause === undefined ? '' : `: ${cause.message}`;
  return new NidoNestError(
    'NIDO_NEST_CLOSED', `the connection to broker ${name} was closed${why}`, { cause },
  );
}

function makeClient(options: JoinOptions): NidoClient {
  const own = Object.entries(options).filter(([name]) => !NOT_OF_THE_CONNECTION.has(name));
  const connection: ClientOptions = { ...Object.fromEntries(own), manualConnect: true };
  const { url, servers, host, hostname } = options;
  const named = servers !== undefined || host !== undefined || hostname !== undefined;
  if (url === undefined && named) return new NidoClient(connection);
  return new NidoClient(url ?? DEFAULT_URL, connection);
}
