/**
 * SUBSCRIBE and UNSUBSCRIBE of clients. Each Topic Filter is decided by itself, in order; when an
 * authorizer takes its time the packet waits as a whole, and an answer for a connection that has
 * gone meanwhile subscribes nobody.
 */
import type {
  ProtocolVersion,
  Qos,
  SessionHandle,
  SubscribeOptions,
  SubscribePacket,
  SubscriptionRequest,
  UnsubscribePacket,
} from '../core/contract.js';
import type { Authorization } from './authorization.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { isLater, whenDecided } from './decision.js';
import type { Soon } from './decision.js';
import { messageOf } from './errors.js';
import type { Identity } from './hooks.js';
import {
  NOT_AUTHORIZED,
  NO_SUBSCRIPTION_EXISTED,
  QUOTA_EXCEEDED,
  SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
  SUBACK_FAILURE,
  SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
  SUCCESS,
  TOPIC_FILTER_INVALID,
  UNSPECIFIED_ERROR,
  WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
} from './reason-codes.js';
import type { ClientConnection, Door, Session } from './records.js';
import type { SessionRegistry } from './session-registry.js';
import { UNMOUNTED, isTooLong, mounted, mountedRequest, named } from './mount-point.js';
import { hasWildcard, joinShare, splitShare } from './topic-text.js';

const FAILURE = 0x80;
const RETAINED_NONE = 2;

export class SubscribeFlow {
  readonly #context: BrokerContext;
  readonly #authorization: Authorization;
  /** Filters of the packet in hand that there was no room for, and why: one line in the log. */
  #refused = 0;
  #refusal = '';

  constructor(context: BrokerContext, authorization: Authorization) {
    this.#context = context;
    this.#authorization = authorization;
  }

  subscribe(connection: ClientConnection, sent: SubscribePacket): void {
    const { identity, mountPoint, door } = connection;
    if (identity === undefined) return;
    const mounted = mountedPacket(mountPoint, sent);
    const packet = connection.isBridge ? asFromBridge(mounted) : mounted;
    const decisions = packet.subscriptions.map((request, position) => {
      const { filter } = sent.subscriptions[position];
      // The levels are counted as the client sees them.
      if (filter.split('/').length > door.limits.topicLevelsMax) return TOPIC_FILTER_INVALID;
      return this.#decide(door, identity, request, packet);
    });
    const codes = decisions.some(isLater) ? all(decisions) : (decisions as number[]);
    whenDecided(
      codes,
      (decided) => this.#apply(connection, packet, decided),
      (error) => {
        reportProblem(this.#context, 'subscribe', error);
        this.#apply(
          connection,
          packet,
          packet.subscriptions.map(() => UNSPECIFIED_ERROR),
        );
      },
    );
  }

  unsubscribe(connection: ClientConnection, packet: UnsubscribePacket): void {
    const { core, events, store } = this.#context;
    const { session } = connection;
    if (session === undefined) return;
    const topicFilters = packet.topicFilters.map((topicFilter) =>
      mountedFilter(session.mountPoint, topicFilter),
    );
    const codes = topicFilters.map((topicFilter) => {
      store.unsubscribed(session, topicFilter);
      const { filter, shareName } = splitShare(topicFilter);
      // [MQTT-3.10.4-1]
      return core.unsubscribe(session.handle, filter, shareName)
        ? SUCCESS
        : NO_SUBSCRIPTION_EXISTED;
    });
    store.after(session, () => {
      core.answerUnsubscribe(connection.handle, packet.packetIdentifier, codes); // [MQTT-3.10.4-4]
    });
    if (!events.hears('unsubscribed')) return;
    topicFilters.forEach((topicFilter, position) => {
      if (codes[position] === SUCCESS)
        events.tell('unsubscribed', { ...named(session), topicFilter, qos: 0 });
    });
  }

  /** The QoS to grant, or the Reason Code of a refusal. */
  #decide(
    { mqtt }: Door, identity: Identity, request: SubscriptionRequest, packet: SubscribePacket,
  ): Soon<number> {
    const { filter, shareName } = request;
    if (isTooLong(filter)) return TOPIC_FILTER_INVALID;
    if (shareName !== undefined && !mqtt.sharedSubscriptionAvailable)
      return SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
    if (packet.subscriptionIdentifier !== undefined && !mqtt.subscriptionIdentifiersAvailable) {
      return SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED;
    }
    if (!mqtt.wildcardSubscriptionAvailable && hasWildcard(filter)) // 3.1.1 [MQTT-3.8.3-2]
      return WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
    const qos = Math.min(request.qos, mqtt.maximumQos); // [MQTT-3.2.2-10]
    if (!this.#authorization.asksForSubscriptions) return qos;
    const verdict = this.#authorization.canSubscribe(identity, filter, {
      qos: request.qos,
      shareName,
    });
    if (isLater(verdict)) return verdict.then((granted) => (granted ? qos : NOT_AUTHORIZED));
    return verdict ? qos : NOT_AUTHORIZED;
  }

  #apply(connection: ClientConnection, packet: SubscribePacket, decided: readonly number[]): void {
    const { core, store } = this.#context;
    const { session } = connection;
    if (session === undefined || connection.state !== 'connected') return;
    this.#refused = 0;
    const codes = packet.subscriptions.map((request, position) => {
      // [MQTT-3.8.4-5] [MQTT-3.9.3-1]
      const code = decided[position];
      return code < FAILURE ? this.#add(connection.door, session, request, packet, code) : code;
    });
    const { subscriptions, packetIdentifier } = packet;
    const sent = codes.map((code, position) =>
      sentCode(code, subscriptions[position], connection.protocolVersion),
    );
    // [MQTT-3.8.4-1] [MQTT-3.8.4-2]
    store.after(session, () => {
      core.answerSubscribe(connection.handle, packetIdentifier, sent);
    });
    this.#tell(session, subscriptions, codes);
  }

  /** Adds the subscription; answers what was granted [MQTT-3.8.4-7], or why it could not be. */
  #add(
    door: Door,
    session: Session,
    request: SubscriptionRequest,
    packet: SubscribePacket,
    granted: number,
  ): number {
    const { core } = this.#context;
    const { filter, shareName, noLocal, retainAsPublished } = request;
    if (this.#isFull(session, door) && !core.isSubscribed(session.handle, filter, shareName)) {
      return this.#refuse('limits.subscriptionsPerSessionMax is reached');
    }
    const wanted: SubscribeOptions = {
      qos: granted as Qos,
      noLocal,
      retainAsPublished,
      shareName,
      retainHandling: door.mqtt.retainAvailable ? request.retainHandling : RETAINED_NONE,
      subscriptionIdentifier: packet.subscriptionIdentifier,
    };
    if (session.storeId !== 0 && this.#context.store.isFull()) {
      return this.#refuse('the disk is too far behind');
    }
    try {
      core.subscribe(session.handle, filter, wanted);
      this.#context.store.subscribed(session, request.topicFilter, wanted);
      return granted;
    } catch (error) {
      return this.#refuse(messageOf(error));
    }
  }

  #refuse(reason: string): number {
    this.#refused += 1;
    this.#refusal = reason;
    return QUOTA_EXCEEDED;
  }

  #isFull(session: Session, { limits }: Door): boolean {
    const { core } = this.#context;
    const held = core.sessionInfo(session.handle)?.subscriptions ?? 0;
    return held >= limits.subscriptionsPerSessionMax;
  }

  #tell(
    session: Session,
    requests: readonly SubscriptionRequest[],
    codes: readonly number[],
  ): void {
    const { log, events } = this.#context;
    const { clientId } = session;
    if (this.#refused !== 0) {
      log.warn('subscriptions refused', {
        client: clientId,
        filters: this.#refused,
        reason: this.#refusal,
      });
    }
    requests.forEach(({ topicFilter }, position) => {
      const code = codes[position];
      log.debug(code < FAILURE ? 'subscribed' : 'subscription refused', {
        client: clientId,
        filter: topicFilter,
        code,
      });
      if (code < FAILURE && events.hears('subscribed')) {
        events.tell('subscribed', { ...named(session), topicFilter, qos: code as Qos });
      }
    });
  }
}

/** As the broker names its filters. */
function mountedPacket(mountPoint: string, packet: SubscribePacket): SubscribePacket {
  if (mountPoint === UNMOUNTED) return packet;
  const subscriptions = packet.subscriptions.map((one) => mountedRequest(mountPoint, one));
  return { ...packet, subscriptions };
}

function mountedFilter(mountPoint: string, topicFilter: string): string {
  if (mountPoint === UNMOUNTED) return topicFilter;
  const { filter, shareName } = splitShare(topicFilter);
  return joinShare({ filter: mounted(mountPoint, filter), shareName });
}

/**
 * A bridge passes messages on to another broker: it wants RETAIN as it was published, and not back
 * what it brought itself. 3.x has no Subscription Options to say so.
 */
function asFromBridge(packet: SubscribePacket): SubscribePacket {
  const subscriptions = packet.subscriptions.map((request) => ({
    ...request,
    retainAsPublished: true,
    noLocal: request.shareName === undefined,
  }));
  return { ...packet, subscriptions };
}

/**
 * 3.1.1 knows one failure; 3.1 knows none, and its clients are told what they asked for
 * [MQTT-3.9.2-2] v3.1.1.
 */
function sentCode(code: number, request: SubscriptionRequest, version: ProtocolVersion): number {
  if (code < FAILURE || version === 5) return code;
  return version === 4 ? SUBACK_FAILURE : request.qos;
}

/** Subscriptions that an authorizer would refuse today are taken away from their sessions. */
export class SubscriptionReview {
  readonly #context: BrokerContext;
  readonly #authorization: Authorization;
  readonly #sessions: SessionRegistry;
  #waiting: SessionHandle[] = [];
  #scheduled: 'yes' | 'no' = 'no';

  constructor(context: BrokerContext, authorization: Authorization, sessions: SessionRegistry) {
    this.#context = context;
    this.#authorization = authorization;
    this.#sessions = sessions;
  }

  /** The rules have changed: looks at every session again, some of them at a time. */
  begin(): void {
    if (!this.#authorization.asksForSubscriptions) return;
    this.#waiting = this.#sessions.handles();
    this.#continue();
  }

  /** Looks at one session now. */
  look(session: Session): void {
    this.#review(session);
  }

  #continue(): void {
    if (this.#scheduled === 'yes' || this.#waiting.length === 0) return;
    this.#scheduled = 'yes';
    this.#context.clock.schedule(() => {
      this.#scheduled = 'no';
      for (const handle of this.#waiting.splice(-SESSIONS_PER_TURN)) {
        const session = this.#sessions.byHandle(handle);
        if (session !== undefined) this.#review(session);
      }
      this.#continue();
    }, 0);
  }

  #review(session: Session): void {
    if (this.#sessions.get(session) !== session) return;
    for (const { topicFilter, options } of this.#context.core.subscriptionsOf(session.handle)) {
      const { filter, shareName } = splitShare(topicFilter);
      const verdict = this.#authorization.canSubscribe(session.identity, filter, {
        qos: options.qos,
        shareName,
      });
      whenDecided(
        verdict,
        (granted) => {
          if (!granted) this.#withdraw(session, topicFilter);
        },
        (error) => reportProblem(this.#context, 'authorizer', error),
      );
    }
  }

  #withdraw(session: Session, topicFilter: string): void {
    const { core, log, events } = this.#context;
    const { filter, shareName } = splitShare(topicFilter);
    if (!core.unsubscribe(session.handle, filter, shareName)) return;
    this.#context.store.unsubscribed(session, topicFilter);
    log.info('subscription withdrawn', { client: session.clientId, filter: topicFilter });
    if (events.hears('unsubscribed')) {
      events.tell('unsubscribed', { ...named(session), topicFilter, qos: 0 });
    }
  }
}

const SESSIONS_PER_TURN = 100;

function all(decisions: readonly Soon<number>[]): Promise<number[]> {
  return Promise.all(decisions.map((decision) => Promise.resolve(decision)));
}
