/**
 * The client role: an application that joins a server. Packets, matching and exchanges are the
 * core's; this class puts the parts together and hears what the core tells.
 */
import { Core } from '../core/core.js';
import type {
  AuthPacket, ConnackFields, ConnectionHandle, CoreEvents, DisconnectPacket, DropReason, Qos,
  ReasonFields, SessionHandle,
} from '../core/contract.js';
import { ClientEmitter } from './client-emitter.js';
import { ClientStore, storeError } from './client-store.js';
import type { ClientEventListener, ClientEventName } from './client-emitter.js';
import { coreOptions } from './core-options.js';
import { NidoClientError, messageOf } from './errors.js';
import { goodbyeOf } from './goodbye.js';
import type { EndOptions } from './goodbye.js';
import type { IncomingMessage, MessageHandler } from './handler-subscription.js';
import type {
  ClientOptions, PublishOptions, PublishResult, RequestOptions, SubscribeOptions,
  UnsubscribeOptions,
} from './options.js';
import { Outgoing } from './outgoing.js';
import { Requests } from './requests.js';
import { resolveOptions } from './resolve-options.js';
import type { ResolvedOptions } from './resolve-options.js';
import type { ServerFeatures, SessionAtServer } from './server-features.js';
import { Subscriptions } from './subscriptions.js';
import type { Subscription } from './subscriptions.js';
import { Uplink } from './uplink.js';
import type { ClientStatus } from './uplink.js';

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: NidoClientError) => void;
}

/** Begins to connect at once (unless `manualConnect`); what is asked meanwhile waits. */
export function connect(url: string, options?: ClientOptions): NidoClient;
export function connect(options: ClientOptions): NidoClient;
export function connect(first: string | ClientOptions, second?: ClientOptions): NidoClient {
  const client = new NidoClient(first, second);
  if (client.options.manualConnect !== true) client.start();
  return client;
}

export class NidoClient {
  readonly options: ResolvedOptions;
  readonly #core: Core;
  readonly #session: SessionHandle;
  readonly #emitter: ClientEmitter;
  readonly #uplink: Uplink;
  readonly #outgoing: Outgoing;
  readonly #subscriptions: Subscriptions;
  readonly #requests: Requests;
  readonly #store: ClientStore | undefined;
  #storeClosed: Promise<void> | undefined;
  #waiters: Waiter[] = [];
  #ending: Promise<void> | undefined;
  #finalError: NidoClientError | undefined;

  constructor(first: string | ClientOptions, second?: ClientOptions) {
    const options = resolveOptions(first, second);
    this.options = options;
    this.#emitter = new ClientEmitter((name, error) =>
      options.logger.error(`nidomq client: a listener of "${name}" threw: ${messageOf(error)}`));
    this.#core = new Core(coreOptions(options), this.#coreEvents(), {
      broken: (error) => this.#broken(error),
    });
    this.#session = this.#core.createUplinkSession(options.limits.queueMessagesMax);
    this.#store = options.engine === undefined ? undefined : this.#makeStore();
    this.#uplink = new Uplink(this.#core, this.#session, options, this.#emitter, {
      prepare: (session, clientIdentifier) => this.#prepare(session, clientIdentifier),
      accepting: (connection, session) => this.#accepting(connection, session),
      connected: () => this.#connected(),
      finished: (error) => this.#finished(error),
    });
    this.#outgoing = new Outgoing(
      this.#core, this.#session, this.#uplink, options,
      (error) => this.#emitter.tell('error', error));
    this.#subscriptions = new Subscriptions(
      this.#core, this.#session, this.#uplink, options, {
        core: this.#core,
        emitter: this.#emitter,
        handlerTimeoutMs: options.limits.handlerTimeoutMs,
        handlerConcurrency: options.limits.handlerConcurrency,
        publish: (topicName, payload, how) => this.#outgoing.publish(topicName, payload, how),
      });
    this.#requests = new Requests({
      uplink: this.#uplink,
      requestTimeoutMs: options.limits.requestTimeoutMs,
      asksWhere: options.properties?.requestResponseInformation === true,
      connected: () => this.connected(),
      publish: (topicName, payload, how) => this.publish(topicName, payload, how),
      subscribe: (topicFilter, handler, how) => this.subscribe(topicFilter, handler, how),
    });
  }

  #makeStore(): ClientStore {
    return new ClientStore(this.#core, this.#session, this.options, {
      wantsStored: (token) => this.#outgoing.wantsStored(token),
      stored: (token) => this.#outgoing.stored(token),
      refused: (topicName, qos) =>
        this.#emitter.tell('dropped', { topicName, qos, reason: 'queue-full' }),
      trouble: (error, state) => {
        this.#emitter.tell('error', error);
        if (state === 'failed') this.#uplink.giveUp(error);
      },
    });
  }

  // --- state -----------------------------------------------------------------------------------

  get status(): ClientStatus {
    return this.#uplink.status;
  }
  /** The identifier in force; the server may have assigned it. */
  get clientIdentifier(): string {
    return this.#uplink.clientIdentifier;
  }
  get protocolVersion(): 3 | 4 | 5 {
    return this.#uplink.protocolVersion;
  }
  /** What the server of the current or last connection can do. */
  get server(): ServerFeatures & { readonly name: string } {
    return { ...this.#uplink.server, name: this.#uplink.serverName };
  }
  /** Messages that the server has not acknowledged, or that wait to be sent. */
  get queuedMessages(): number {
    const info = this.#core.sessionInfo(this.#session);
    return info === undefined ? 0 : info.queuedMessages + info.gatedMessages;
  }

  /** Resolves when connected; rejects when the client has given up or ended. */
  connected(): Promise<void> {
    if (this.status === 'connected') return Promise.resolve();
    if (this.status === 'closed' || this.#ending !== undefined) {
      return Promise.reject(this.#finalError ?? ended());
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  on<Name extends ClientEventName>(name: Name, listener: ClientEventListener<Name>): this {
    this.#emitter.on(name, listener);
    return this;
  }
  once<Name extends ClientEventName>(name: Name, listener: ClientEventListener<Name>): this {
    this.#emitter.once(name, listener);
    return this;
  }
  off<Name extends ClientEventName>(name: Name, listener: ClientEventListener<Name>): this {
    this.#emitter.off(name, listener);
    return this;
  }

  // --- what it does -----------------------------------------------------------------------------

  /** Begins to connect; only needed with `manualConnect`. */
  start(): void {
    const store = this.#store;
    this.#uplink.start(store === undefined ? undefined : async () => {
      await store.open();
      this.#uplink.clientIdentifier = store.clientIdentifier;
    });
  }

  /**
   * Resolves when the exchange is complete (QoS 0: when it is on its way to the socket). Rejects
   * with a NidoClientError that has the server's Reason Code. Waits while offline.
   *
   * With `engine: { file }` a message of QoS 1 or 2 is stored before it is sent, so it survives the
   * end of the process as soon as it is stored: `until: 'stored'` resolves then. From that moment
   * it will be sent, by this process or a later one with the same directory, in its order; with QoS
   * 1 at least once, with QoS 2 exactly once as long as the server keeps the session. It is gone
   * only when it expires, or the server refuses it (an event says so). A promise that is rejected
   * with NIDO_CLIENT_ENDED says nothing about the message: stored, it is sent by the next process.
   */
  publish(
    topicName: string, payload: Uint8Array | string, options?: PublishOptions,
  ): Promise<PublishResult> {
    return this.#outgoing.publish(topicName, payload, options);
  }

  /** Nobody waits for it: no promise is made. False when the message was not taken. */
  publishAndForget(
    topicName: string, payload: Uint8Array | string, options?: PublishOptions,
  ): boolean {
    return this.#outgoing.publishAndForget(topicName, payload, options);
  }

  /**
   * The handler hears of messages as soon as this returns; the promise resolves with SUBACK. Every
   * handler whose filter matches runs once for a message.
   */
  subscribe(
    topicFilter: string, handler: MessageHandler, options: SubscribeOptions = {},
  ): Promise<Subscription> {
    return this.#subscriptions.subscribe(topicFilter, handler, options);
  }

  /**
   * Unsubscribes, whoever subscribed: this client or an earlier one of the same session. Handlers
   * of the filter hear no more of it. Resolves with UNSUBACK; while offline when the client is
   * connected again.
   */
  unsubscribe(topicFilter: string, options: UnsubscribeOptions = {}): Promise<void> {
    return this.#subscriptions.unsubscribe(topicFilter, options);
  }

  /** Publishes with a Response Topic and resolves with the answer (MQTT 5). */
  request(
    topicName: string, payload: Uint8Array | string, options?: RequestOptions,
  ): Promise<IncomingMessage> {
    return this.#requests.request(topicName, payload, options);
  }

  /** Answers a request. Rejects when the message has no Response Topic. */
  reply(
    request: IncomingMessage, payload: Uint8Array | string, options: PublishOptions = {},
  ): Promise<PublishResult> {
    const { responseTopic, correlationData } = request.properties;
    if (responseTopic === undefined) {
      return Promise.reject(new NidoClientError('NIDO_CLIENT_PUBLISH_INVALID',
        `reply to ${request.topicName}: the message has no Response Topic`));
    }
    const properties = { ...options.properties, correlationData };
    return this.publish(responseTopic, payload, { qos: request.qos, ...options, properties });
  }

  /** Repeats the enhanced authentication on the open connection. */
  reauthenticate(): Promise<void> {
    return this.#uplink.reauthenticate();
  }

  /**
   * Takes nothing new, lets messages and handlers finish, says goodbye. What is not finished at the
   * deadline is rejected with NIDO_CLIENT_ENDED; unacknowledged messages stay with the server.
   * Rejects, and does not end, when `properties` are none of a DISCONNECT.
   */
  end(options: EndOptions = {}): Promise<void> {
    if (this.#ending !== undefined) return this.#ending;
    try {
      const goodbye = goodbyeOf(options, this.options);
      this.#ending = this.#end(options.deadlineMs ?? this.options.limits.endDeadlineMs, goodbye);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    return this.#ending;
  }

  async #end(deadlineMs: number, goodbye: ReasonFields | undefined): Promise<void> {
    if (this.status !== 'closed') await this.#leave(deadlineMs, goodbye);
    await this.#storeClosed;
  }

  async #leave(deadlineMs: number, goodbye: ReasonFields | undefined): Promise<void> {
    const error = ended();
    this.#subscriptions.refuseNew(error);
    if (deadlineMs > 0 && this.status !== 'idle') {
      await within(deadlineMs, this.#drain(error));
    }
    this.#outgoing.refuseNew(error);
    await this.#uplink.stop(goodbye);
  }

  async #drain(error: NidoClientError): Promise<void> {
    const handled = this.#subscriptions.drain(); // no handler begins any more
    await this.#outgoing.whenEmpty();
    await handled;
    // Handlers may have published, for example dead letters.
    this.#outgoing.refuseNew(error);
    await this.#outgoing.whenEmpty();
  }

  // --- what the parts tell ----------------------------------------------------------------------

  #prepare(
    session: SessionAtServer, clientIdentifier: string,
  ): NidoClientError | Promise<void> | undefined {
    if (this.#store === undefined) return undefined;
    if (session === 'absent') this.#core.restartSession(this.#session);
    return this.#store.prepare(session, clientIdentifier);
  }

  #accepting(connection: ConnectionHandle, session: SessionAtServer): void {
    if (session === 'absent') this.#core.restartSession(this.#session); // 5.0 [MQTT-3.2.2-5]
    this.#subscriptions.accepting(connection, session);
  }

  #connected(): void {
    for (const { resolve } of this.#waiters.splice(0)) resolve();
  }

  #finished(error?: NidoClientError): void {
    this.#finalError = error;
    const why = error ?? ended();
    for (const { reject } of this.#waiters.splice(0)) reject(why);
    this.#requests.abandon(why);
    this.#outgoing.abandon(why);
    this.#subscriptions.abandon(why);
    this.#core.endSession(this.#session);
    this.#storeClosed = this.#store?.close(this.options.limits.endDeadlineMs)
      .catch((cause: unknown) => this.#emitter.tell('error', storeError(cause)));
  }

  #broken(cause: unknown): void {
    this.#emitter.tell('error', new NidoClientError('NIDO_CLIENT_CORE',
      'the WebAssembly core has failed: this is a bug of nidomq. Make a new client', { cause }));
    void this.#uplink.stop();
  }

  #coreEvents(): CoreEvents {
    return {
      connack: (connection: ConnectionHandle, packet: ConnackFields) =>
        this.#uplink.connack(connection, packet),
      auth: (connection: ConnectionHandle, packet: AuthPacket) =>
        this.#uplink.auth(connection, packet),
      disconnect: (connection: ConnectionHandle, packet: DisconnectPacket) =>
        this.#uplink.disconnect(connection, packet),
      failed: (connection: ConnectionHandle, reasonCode: number, detail: string) =>
        this.#uplink.failed(connection, reasonCode, detail),
      closed: (connection: ConnectionHandle, error?: Error) => {
        if (connection === this.#uplink.connection) this.#subscriptions.lost();
        this.#uplink.closed(connection, error);
      },
      suback: (_: ConnectionHandle, identifier: number, codes: Uint8Array, fields: ReasonFields) =>
        this.#subscriptions.suback(identifier, codes, fields),
      unsuback: (
        _: ConnectionHandle, identifier: number, codes: Uint8Array, fields: ReasonFields,
      ) => this.#subscriptions.unsuback(identifier, codes, fields),
      published: (token: number, reasonCode: number) => this.#outgoing.published(token, reasonCode),
      dropped: (_: SessionHandle, topicName: string, qos: Qos, reason: DropReason) => {
        // What is stored goes on in the next process.
        if (this.#store !== undefined && qos > 0 && reason === 'session-ended') return;
        this.#emitter.tell('dropped', { topicName, qos, reason });
      },
      pingresp: () => {},
      // Told to servers only.
      connect: () => {},
      subscribe: () => {},
      unsubscribe: () => {},
      authorizePublish: () => {},
      withheldTooLong: () => {},
    };
  }
}

function ended(): NidoClientError {
  return new NidoClientError('NIDO_CLIENT_ENDED', 'the client has ended');
}

async function within(deadlineMs: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, deadlineMs); });
  await Promise.race([work, late]);
  clearTimeout(timer);
}
