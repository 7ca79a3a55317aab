/**
 * What this client has subscribed to. The server knows Topic Filters, the core knows handlers; a
 * filter with several handlers is one subscription of the server.
 *
 * Every filter has a Subscription Identifier of its own (MQTT 5), so that a message reaches exactly
 * the handlers of the filters for which the server sent this copy. MQTT 3.1.1 has no such word:
 * there every copy goes to all handlers that match, and a server that sends a copy for each of
 * several overlapping filters (nidomq and aedes do not, mosquitto when it is told to) makes
 * them run once for each copy.
 */
import type { Core } from '../core/core.js';
import type {
  ConnectionHandle, Qos, ReasonFields, SessionHandle, UserProperties,
} from '../core/contract.js';
import { NidoClientError, messageOf } from './errors.js';
import { HandlerSubscription, wantedByAll } from './handler-subscription.js';
import type { HandlerHost, MessageHandler } from './handler-subscription.js';
import { pairsProblem, userPairs } from './message-properties.js';
import type { SubscribeOptions, UnsubscribeOptions } from './options.js';
import {
  FAILURE, PACKET_TOO_LARGE, SHARED_SUBSCRIPTIONS_NOT_SUPPORTED, UNSPECIFIED_ERROR,
  WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
} from './reason-names.js';
import type { ResolvedOptions } from './resolve-options.js';
import type { SessionAtServer } from './server-features.js';
import { checkOptions } from './subscribe-options.js';
import { hasWildcard, identifierFor, parseTopicFilter } from './topic-filter.js';
import type { ParsedFilter } from './topic-filter.js';
import type { Uplink } from './uplink.js';

/** A subscription of this client. */
export interface Subscription {
  readonly topicFilter: string;
  /** What the server granted. */
  readonly qos: Qos;
  /** Handlers at work now. */
  readonly running: number;
  /**
   * Unsubscribes (when no other handler has the same filter), and resolves when the handlers at
   * work are done.
   */
  close(): Promise<void>;
  /**
   * Starts no more handlers, and resolves when those at work are done. The server keeps the
   * subscription; what it sends stays unacknowledged, so that a session that is kept has it for the
   * next connection.
   */
  stop(): Promise<void>;
}

interface Waiter {
  readonly handler: HandlerSubscription;
  readonly resolve: (subscription: Subscription) => void;
  readonly reject: (error: NidoClientError) => void;
}

interface FilterEntry {
  readonly topicFilter: string;
  readonly parsed: ParsedFilter;
  readonly identifier: number;
  readonly handlers: Set<HandlerSubscription>;
  options: SubscribeOptions;
  state: 'wanted' | 'asked' | 'granted';
  grantedQos: Qos;
  /** Who waits for a SUBACK of a SUBSCRIBE that has not left. */
  waiters: Waiter[];
}

/** A SUBSCRIBE or UNSUBSCRIBE that is not answered. */
interface Request {
  readonly entry: FilterEntry;
  readonly waiters: readonly Waiter[];
  readonly unsubscribed?: (error?: NidoClientError) => void;
}

export class Subscriptions {
  readonly #entries = new Map<string, FilterEntry>();
  readonly #identifiers = new Map<number, FilterEntry>();
  readonly #bySession = new Map<SessionHandle, HandlerSubscription>();
  readonly #requests = new Map<number, Request>();
  /** Filters that a lasting session may still have and nobody wants. */
  readonly #unwanted = new Map<string, Request['unsubscribed']>();
  /** What their next UNSUBSCRIBE is to say. */
  readonly #unsubscribing = new Map<string, UserProperties>();
  #ended: NidoClientError | undefined;

  constructor(
    private readonly core: Core,
    private readonly session: SessionHandle,
    private readonly uplink: Uplink,
    private readonly options: ResolvedOptions,
    private readonly host: HandlerHost,
  ) {}

  get running(): number {
    let running = 0;
    for (const handler of this.#bySession.values()) running += handler.running;
    return running;
  }

  subscribe(
    topicFilter: string, handler: MessageHandler, options: SubscribeOptions,
  ): Promise<Subscription> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    let entry: FilterEntry;
    let added: HandlerSubscription;
    try {
      const parsed = parseTopicFilter(topicFilter);
      checkOptions(topicFilter, parsed, handler, options);
      this.#checkServer(topicFilter, parsed);
      entry = this.#entryFor(topicFilter, parsed, options);
      added = this.#addHandler(entry, handler, options);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    return new Promise((resolve, reject) => {
      entry.waiters.push({ handler: added, resolve, reject });
      if (this.uplink.connection === 0) entry.state = 'wanted';
      else this.#ask(this.uplink.connection, entry);
    });
  }

  async unsubscribe(topicFilter: string, options: UnsubscribeOptions): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    parseTopicFilter(topicFilter);
    const pairs = userPairs(options.properties?.userProperties);
    const wrong = pairsProblem(pairs);
    if (wrong !== undefined) {
      throw new NidoClientError('NIDO_CLIENT_SUBSCRIBE_INVALID',
        `unsubscribe ${topicFilter}: ${wrong}`);
    }
    if (pairs.length > 0) this.#unsubscribing.set(topicFilter, pairs);
    else this.#unsubscribing.delete(topicFilter);
    const entry = this.#entries.get(topicFilter);
    if (entry !== undefined && entry.handlers.size > 0) {
      await Promise.all([...entry.handlers].map((handler) => this.close(entry, handler)));
      return;
    }
    const { connection } = this.uplink;
    await new Promise<void>((resolve, reject) => {
      const done = (error?: NidoClientError): void => {
        if (error === undefined) resolve();
        else reject(error);
      };
      if (connection !== 0) this.#askToForget(connection, topicFilter, undefined, done);
      else this.#unwanted.set(topicFilter, done);
    });
  }

  // --- with the server --------------------------------------------------------------------------

  /** CONNACK has come: what the server does not know is asked for before anything else leaves. */
  accepting(connection: ConnectionHandle, session: SessionAtServer): void {
    this.#forgetRequests();
    const again = session !== 'present' && this.options.resubscribe !== false;
    for (const entry of this.#entries.values()) {
      if (entry.state === 'wanted' || again) this.#ask(connection, entry);
    }
    for (const [topicFilter, done] of this.#unwanted) {
      if (session !== 'absent' && !this.#entries.has(topicFilter)) {
        this.#askToForget(connection, topicFilter, undefined, done);
      } else {
        this.#unsubscribing.delete(topicFilter);
        done?.();
      }
    }
    this.#unwanted.clear();
  }

  suback(packetIdentifier: number, reasonCodes: Uint8Array, fields: ReasonFields): void {
    const asked = this.#requests.get(packetIdentifier);
    if (asked !== undefined && (asked.unsubscribed !== undefined || reasonCodes.length !== 1)) {
      this.uplink.brokenBy(`SUBACK with ${reasonCodes.length} codes for ${describe(asked)}`);
      return;
    }
    const request = this.#answered(packetIdentifier);
    if (request === undefined) return;
    const { entry } = request;
    const reasonCode = reasonCodes[0] ?? UNSPECIFIED_ERROR;
    if (reasonCode >= FAILURE) {
      this.#refused(request, reasonCode, fields);
      return;
    }
    entry.state = 'granted';
    entry.grantedQos = reasonCode as Qos;
    for (const { handler, resolve } of request.waiters) {
      resolve(new ClientSubscription(this, entry, handler));
    }
  }

  #refused({ entry, waiters }: Request, reasonCode: number, fields: ReasonFields): void {
    const said = fields.reasonString === undefined ? '' : `: ${fields.reasonString}`;
    const error = new NidoClientError('NIDO_CLIENT_SUBSCRIBE_REFUSED',
      `${this.uplink.serverName} refused the subscription ${entry.topicFilter}${said}`,
      { reasonCode });
    for (const { handler, reject } of waiters) {
      this.#removeHandler(entry, handler);
      handler.end();
      reject(error);
    }
    if (entry.handlers.size === 0) this.#removeEntry(entry);
    else if (waiters.length === 0) {
      entry.state = 'wanted'; // asked for again on the next connection
      this.host.emitter.tell('error', error);
    }
  }

  unsuback(packetIdentifier: number, reasonCodes: Uint8Array, fields: ReasonFields): void {
    const asked = this.#requests.get(packetIdentifier);
    if (asked !== undefined && (asked.unsubscribed === undefined || reasonCodes.length > 1)) {
      this.uplink.brokenBy(`UNSUBACK with ${reasonCodes.length} codes for ${describe(asked)}`);
      return;
    }
    const request = this.#answered(packetIdentifier);
    if (request === undefined) return;
    this.#unsubscribing.delete(request.entry.topicFilter);
    const reasonCode = reasonCodes[0] ?? 0;
    if (reasonCode < FAILURE) {
      request.unsubscribed?.();
      return;
    }
    const said = fields.reasonString === undefined ? '' : `: ${fields.reasonString}`;
    request.unsubscribed?.(new NidoClientError('NIDO_CLIENT_UNSUBSCRIBE_REFUSED',
      `${this.uplink.serverName} did not unsubscribe ${request.entry.topicFilter}${said}`,
      { reasonCode }));
  }

  #answered(packetIdentifier: number): Request | undefined {
    const request = this.#requests.get(packetIdentifier);
    if (request === undefined) return undefined;
    this.#requests.delete(packetIdentifier);
    this.core.giveIdentifier(this.session, packetIdentifier);
    return request;
  }

  /** The connection is gone: what was asked on it is asked again, or is as good as done. */
  #forgetRequests(): void {
    for (const [packetIdentifier, { entry, waiters, unsubscribed }] of this.#requests) {
      this.core.giveIdentifier(this.session, packetIdentifier);
      if (unsubscribed === undefined) {
        entry.state = 'wanted';
        entry.waiters.push(...waiters);
      } else {
        this.#unwanted.set(entry.topicFilter, undefined);
        unsubscribed();
      }
    }
    this.#requests.clear();
  }

  lost(): void {
    this.#forgetRequests();
  }

  #ask(connection: ConnectionHandle, entry: FilterEntry): void {
    const cannot = this.#reasonOfServer(entry.parsed); // it was asked before the server was known
    if (cannot !== undefined) {
      this.#refused({ entry, waiters: entry.waiters.splice(0) }, cannot, {});
      return;
    }
    const packetIdentifier = this.core.reserveIdentifier(this.session);
    const waiters = entry.waiters;
    entry.waiters = [];
    if (entry.state !== 'granted') entry.state = 'asked';
    this.#requests.set(packetIdentifier, { entry, waiters });
    const options = wantedByAll(entry.options, entry.handlers);
    const { maximumPacketSize, subscriptionIdentifiers } = this.uplink.server;
    const outcome = this.core.sendSubscribe(connection, packetIdentifier, [{
      topicFilter: entry.topicFilter,
      ...entry.parsed,
      qos: options.qos ?? 0,
      noLocal: options.nl ?? false,
      retainAsPublished: options.rap ?? false,
      retainHandling: options.rh ?? 0,
    }], {
      subscriptionIdentifier: subscriptionIdentifiers ? entry.identifier : undefined,
      userProperties: userPairs(options.properties?.userProperties),
      maximumPacketSize,
    });
    const request = outcome === 'too-large' ? this.#answered(packetIdentifier) : undefined;
    if (request !== undefined) this.#refused(request, PACKET_TOO_LARGE, {}); // [MQTT-3.2.2-15]
  }

  #askToForget(
    connection: ConnectionHandle, topicFilter: string, entry?: FilterEntry,
    unsubscribed: Request['unsubscribed'] = () => {},
  ): void {
    const packetIdentifier = this.core.reserveIdentifier(this.session);
    const named = entry ?? newEntry(topicFilter, { filter: topicFilter }, 0, {});
    this.#requests.set(packetIdentifier, { entry: named, waiters: [], unsubscribed });
    const { maximumPacketSize } = this.uplink.server;
    const userProperties = this.#unsubscribing.get(topicFilter);
    const outcome = this.core.sendUnsubscribe(
      connection, packetIdentifier, [topicFilter], { maximumPacketSize, userProperties });
    // The server cannot be told: what it still sends is acknowledged and goes nowhere.
    if (outcome === 'too-large') this.#answered(packetIdentifier)?.unsubscribed?.();
  }

  // --- filters and handlers ---------------------------------------------------------------------

  /** What the server has said that it cannot do is not asked for. */
  #checkServer(topicFilter: string, parsed: ParsedFilter): void {
    const reasonCode = this.#reasonOfServer(parsed);
    if (reasonCode === undefined) return;
    throw new NidoClientError('NIDO_CLIENT_SUBSCRIBE_REFUSED',
      `${this.uplink.serverName} cannot serve the subscription ${topicFilter}`, { reasonCode });
  }
  #reasonOfServer(parsed: ParsedFilter): number | undefined {
    const { server } = this.uplink;
    if (parsed.shareName !== undefined && !server.sharedSubscriptions) { // 5.0, 3.2.2.3.13
      return SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
    }
    if (hasWildcard(parsed.filter) && !server.wildcardSubscriptions) { // 5.0, 3.2.2.3.11
      return WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
    }
    return undefined;
  }

  #entryFor(topicFilter: string, parsed: ParsedFilter, options: SubscribeOptions): FilterEntry {
    let entry = this.#entries.get(topicFilter);
    if (entry === undefined) {
      const identifier = options.properties?.subscriptionIdentifier
        ?? identifierFor(topicFilter, (id) => this.#identifiers.has(id));
      entry = newEntry(topicFilter, parsed, identifier, options);
      this.#entries.set(topicFilter, entry);
      this.#identifiers.set(identifier, entry);
    }
    // The server knows one QoS for the filter; every handler gets at most what it asked for.
    const qos = Math.max(entry.options.qos ?? 0, options.qos ?? 0) as Qos;
    entry.options = { ...options, qos };
    return entry;
  }

  #addHandler(
    entry: FilterEntry, handler: MessageHandler, options: SubscribeOptions,
  ): HandlerSubscription {
    const added = new HandlerSubscription(
      this.host, entry.topicFilter, handler, options, this.session);
    try {
      this.core.subscribe(added.session, entry.parsed.filter, {
        qos: options.qos ?? 0,
        // The server sends one copy to this client: one of its handlers in the group gets it.
        shareName: entry.parsed.shareName,
        retainAsPublished: true, // the server has decided about the RETAIN flag
        retainHandling: 2,
        subscriptionIdentifier: entry.identifier,
      });
    } catch (error) {
      added.end();
      if (entry.handlers.size === 0) this.#removeEntry(entry);
      throw new NidoClientError('NIDO_CLIENT_SUBSCRIBE_REFUSED',
        `${entry.topicFilter}: ${messageOf(error)}`, { cause: error });
    }
    entry.handlers.add(added);
    this.#bySession.set(added.session, added);
    return added;
  }

  #removeHandler(entry: FilterEntry, handler: HandlerSubscription): void {
    entry.handlers.delete(handler);
    this.core.unsubscribe(handler.session, entry.parsed.filter, entry.parsed.shareName);
    this.#bySession.delete(handler.session);
  }

  #removeEntry(entry: FilterEntry): void {
    if (this.#entries.get(entry.topicFilter) === entry) this.#entries.delete(entry.topicFilter);
    if (this.#identifiers.get(entry.identifier) === entry) {
      this.#identifiers.delete(entry.identifier);
    }
  }

  async close(entry: FilterEntry, handler: HandlerSubscription): Promise<void> {
    if (!entry.handlers.has(handler) || this.#ended !== undefined) return;
    const { connection } = this.uplink;
    if (entry.handlers.size === 1) {
      this.#removeEntry(entry);
      if (connection === 0) {
        this.#unwanted.set(entry.topicFilter, undefined);
      } else {
        // Until UNSUBACK messages may still come, and are handled.
        await new Promise<void>((resolve, reject) =>
          this.#askToForget(connection, entry.topicFilter, entry, (error) => {
            if (error === undefined) resolve();
            else reject(error);
          }));
      }
    }
    entry.handlers.delete(handler);
    this.core.unsubscribe(handler.session, entry.parsed.filter, entry.parsed.shareName);
    await handler.whenIdle();
    this.#bySession.delete(handler.session);
    handler.end();
  }

  async stop(handler: HandlerSubscription): Promise<void> {
    handler.stop();
    await handler.whenIdle();
  }

  // --- the end ----------------------------------------------------------------------------------

  refuseNew(error: NidoClientError): void {
    this.#ended ??= error;
  }

  /** No handler is started any more; resolves when those at work are done. */
  async drain(): Promise<void> {
    const handlers = [...this.#bySession.values()];
    for (const handler of handlers) handler.stop();
    await Promise.all(handlers.map((handler) => handler.whenIdle()));
  }

  abandon(error: NidoClientError): void {
    this.refuseNew(error);
    for (const { waiters, unsubscribed } of this.#requests.values()) {
      for (const { reject } of waiters) reject(error);
      unsubscribed?.();
    }
    this.#requests.clear();
    for (const done of this.#unwanted.values()) done?.(error);
    this.#unwanted.clear();
    this.#unsubscribing.clear();
    for (const { waiters } of this.#entries.values()) {
      for (const { reject } of waiters) reject(error);
    }
    this.#entries.clear();
    for (const handler of this.#bySession.values()) handler.end();
    this.#bySession.clear();
  }
}

class ClientSubscription implements Subscription {
  constructor(
    private readonly owner: Subscriptions,
    private readonly entry: FilterEntry,
    private readonly handler: HandlerSubscription,
  ) {}

  get topicFilter(): string {
    return this.entry.topicFilter;
  }
  get qos(): Qos {
    return this.entry.grantedQos;
  }
  get running(): number {
    return this.handler.running;
  }
  close(): Promise<void> {
    return this.owner.close(this.entry, this.handler);
  }
  stop(): Promise<void> {
    return this.owner.stop(this.handler);
  }
}

function describe({ entry, unsubscribed }: Request): string {
  return `the ${unsubscribed === undefined ? 'SUBSCRIBE' : 'UNSUBSCRIBE'} of ${entry.topicFilter}`;
}

function newEntry(
  topicFilter: string, parsed: ParsedFilter, identifier: number, options: SubscribeOptions,
): FilterEntry {
  return {
    topicFilter, parsed, identifier, options,
    handlers: new Set(), state: 'wanted', grantedQos: 0, waiters: [],
  };
}
