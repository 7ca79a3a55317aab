/**
 * All sessions, by Client Identifier and mount point: who serves them, when they end, their wills.
 *
 * A session that is offline has one deadline on the wheel, the earlier of its will and its expiry:
 *
 *     online --connection ends--> offline --will due--> offline --expiry due--> ended
 *        ^                           |                     |
 *        +------------ resumed ------+---------------------+
 *
 * One that was found in the store sleeps (sleeping-sessions.ts) until somebody asks for it.
 */
import { randomInt } from 'node:crypto';
import { ByHandle } from '../core/by-handle.js';
import type { SessionHandle, WillMessage } from '../core/contract.js';
import type { FoundSession } from '../engine/index.js';
import type { Authorization } from './authorization.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { whenDecided } from './decision.js';
import type { SessionEndedEvent } from './events.js';
import type { Identity } from './hooks.js';
import type { InterceptFlow } from './intercept-flow.js';
import { mountPointIn, named, sessionKey } from './mount-point.js';
import { Session, expiryDueOf } from './records.js';
import type { SessionOwner } from './records.js';
import { SleepingSessions } from './sleeping-sessions.js';

const MS_PER_SECOND = 1_000;
/** Sessions that are woken, or told to the store, in one turn of the event loop. */
const SESSIONS_PER_TURN = 500;
/**
 * So long before they end sleeping sessions are woken, to have deadlines of their own: a hundred
 * thousand that end at the same moment are by then. With the first, those that end soon after it:
 * each time all of them are looked at.
 */
const WOKEN_AHEAD_MS = 60_000;
const WOKEN_TOGETHER_MS = 60_000;
const HASH_SEEDS = 2 ** 32;

type PublishedWill = Omit<WillMessage, 'willDelayIntervalSeconds'>;

/** A will that was found in the engine, and when it is due (monotonic). */
export interface RestoredWill {
  readonly will: WillMessage;
  readonly due: number;
}

export class SessionRegistry {
  readonly #context: BrokerContext;
  readonly #authorization: Authorization;
  readonly #interception: InterceptFlow;
  /** Of those that are awake. */
  readonly #byKey = new Map<string, Session>();
  readonly #byHandle = new ByHandle<Session>();
  readonly #sleeping: SleepingSessions;
  /**
   * Who was woken while the engine tells: nothing ends, and nobody is found by name, before
   * everything was told.
   */
  #wokenEarly: Session[] | undefined = undefined;
  /** Sessions whose connection went with the last process, which the store has yet to be told. */
  #left: SessionHandle[] = [];

  constructor(
    context: BrokerContext, authorization: Authorization, interception: InterceptFlow,
  ) {
    this.#context = context;
    this.#authorization = authorization;
    this.#interception = interception;
    this.#sleeping = new SleepingSessions(context.clock, randomInt(HASH_SEEDS));
  }

  get size(): number {
    return this.#byKey.size + this.#sleeping.size;
  }

  get({ mountPoint, clientId }: SessionOwner): Session | undefined {
    const awake = this.#byKey.get(sessionKey(mountPoint, clientId)); // [MQTT-3.1.3-2]
    if (awake !== undefined) return awake;
    // Whom the application ended now would have the rest of it told afterwards.
    if (this.#wokenEarly !== undefined) return undefined;
    const handle = this.#sleeping.find({ mountPoint, clientId });
    return handle === undefined ? undefined : this.#wake(handle);
  }

  byHandle(handle: SessionHandle): Session | undefined {
    return this.#byHandle.get(handle) ?? this.#wake(handle);
  }

  /** Of all sessions, whether they sleep or not. */
  handles(): SessionHandle[] {
    const awake = Array.from(this.#byKey.values(), ({ handle }) => handle);
    return [...awake, ...this.#sleeping.handles()];
  }

  create(owner: SessionOwner, identity: Identity): Session {
    // 5.0 [MQTT-3.1.2-6]
    const handle = this.#context.core.createSession(owner.mountPoint);
    const session = new Session(owner, handle, identity);
    this.#byKey.set(session.key, session);
    this.#byHandle.add(session);
    return session;
  }

  /**
   * Its connection has ended, by DISCONNECT, failure or takeover. With a Session Expiry Interval of
   * 0 the session ends too; else its will and its expiry begin to run.
   */
  goOffline(session: Session): void {
    if (this.get(session) !== session) return;
    const now = this.#context.clock.now();
    session.connection = undefined;
    session.offlineAt = now;
    if (session.expirySeconds === 0) { // else its state is kept [MQTT-4.1.0-1]
      this.end(session, 'connection-closed');
      return;
    }
    if (session.will !== undefined) {
      const delayMs = session.will.willDelayIntervalSeconds * MS_PER_SECOND;
      if (delayMs === 0)
        this.#publishWill(session); // [MQTT-3.1.2-8]
      else session.willDue = now + delayMs;
    }
    // 5.0 [MQTT-3.1.2-23]: its state stays until then
    this.#context.store.detached(session);
    this.#arm(session);
  }

  /** It was found in the engine, and sleeps. Deadlines wait until `allFound`. */
  found(record: FoundSession): SessionHandle {
    const handle = this.#context.core.createSession(mountPointIn(record.key));
    this.#wokenEarly ??= [];
    this.#sleeping.add(handle, record);
    return handle;
  }
  /** Whether a session that was found has ended meanwhile, or ends at once. */
  isOver(record: FoundSession, now: number): boolean {
    return this.#sleeping.endOf(record) <= now;
  }
  /** Before `allFound`: a session may end as soon as others do. */
  willFound(handle: SessionHandle, { will, due }: RestoredWill): void {
    const session = this.byHandle(handle);
    if (session === undefined) return;
    session.will = will;
    session.willDue = due;
  }
  /** Its connection, if it had one, has gone with the last process. */
  restored(handle: SessionHandle, was: 'connected' | 'offline'): void {
    const session = this.byHandle(handle);
    if (session === undefined) return;
    if (session.expirySeconds === 0) {
      this.end(session, 'connection-closed');
      return;
    }
    const { clock, store } = this.#context;
    this.#settle(session, clock.now()); // time has passed while the broker was down
    if (was === 'connected' && this.get(session) === session) store.detached(session);
  }
  allFound(): void {
    for (const session of this.#wokenEarly ?? []) {
      if (this.#byHandle.get(session.handle) === session) this.#arm(session);
    }
    this.#wokenEarly = undefined;
    this.#armSleeping();
  }
  /** The end of sleeping sessions is near. */
  sleepersDue(now: number): void {
    const end = now + WOKEN_AHEAD_MS + WOKEN_TOGETHER_MS;
    const ending = this.#sleeping.endingBefore(end, SESSIONS_PER_TURN);
    for (const handle of ending) this.#wake(handle);
    // Else there are more: again at once.
    if (ending.length < SESSIONS_PER_TURN) this.#sleeping.findFirstEnd();
    this.#armSleeping();
  }
  #armSleeping(): void {
    this.#context.wheel.set(this.#sleeping, this.#sleeping.firstEnd - WOKEN_AHEAD_MS);
  }
  #wake(handle: SessionHandle): Session | undefined {
    const session = this.#sleeping.wake(handle);
    if (session === undefined) return undefined;
    // A process that died while a clean start ended the session before it leaves two of a name.
    const named = this.#byKey.get(session.key);
    if (named === undefined || named.storeId < session.storeId)
      this.#byKey.set(session.key, session);
    this.#byHandle.add(session);
    if (this.#wokenEarly === undefined) this.#arm(session);
    else this.#wokenEarly.push(session);
    return session;
  }

  /** The store has to be told of these, whose connection went with the last process. */
  left(handles: SessionHandle[]): void {
    this.#left = handles;
    this.#tellSome();
  }
  #tellSome(): void {
    this.tellLeft(SESSIONS_PER_TURN);
    if (this.#left.length > 0) this.#context.clock.schedule(() => this.#tellSome(), 0);
  }
  /** The store is read anew, where they still have their connections. */
  forgetLeft(): void {
    this.#left = [];
  }
  /** Tells the store now of all that are left, or of so many. */
  tellLeft(max = this.#left.length): void {
    for (const handle of this.#left.splice(0, max)) {
      const session = this.byHandle(handle);
      if (session !== undefined && session.connection === undefined)
        this.#context.store.detached(session);
    }
  }

  /** A client has come back in time: nothing is due any more. 5.0 [MQTT-3.1.3-9] */
  resume(session: Session): void {
    session.will = undefined;
    session.willDue = Infinity;
    this.#context.wheel.cancel(session);
  }

  /** The deadline of an offline session has passed. */
  timerFired(session: Session, now: number): void {
    // 3.1.1 [MQTT-4.1.0-2], 5.0 [MQTT-4.1.0-1]
    if (session.connection === undefined) this.#settle(session, now);
  }

  #settle(session: Session, now: number): void {
    if (now >= expiryDue(session)) {
      this.#context.counters.sessionsExpired += 1;
      this.end(session, 'expired'); // 5.0 [MQTT-4.1.0-2]
      return;
    }
    if (now >= session.willDue) this.#publishWill(session);
    this.#arm(session);
  }

  /**
   * Ends Session State. A will that still waits is published: its session is over [MQTT-3.1.2-8].
   */
  end(session: Session, reason: SessionEndedEvent['reason']): void {
    const { core, wheel, events } = this.#context;
    if (session.will !== undefined) this.#publishWill(session); // 3.1.1 [MQTT-3.1.2-12]
    wheel.cancel(session);
    // A client may have begun a new session while what is left of this one is given to others.
    if (this.get(session) === session) this.#byKey.delete(session.key);
    this.#byHandle.delete(session.handle);
    this.#context.store.sessionEnded(session);
    core.endSession(session.handle);
    if (events.hears('sessionEnded'))
      events.tell('sessionEnded', { ...named(session), reason });
  }

  #arm(session: Session): void {
    this.#context.wheel.set(session, Math.min(session.willDue, expiryDue(session)));
  }

  /** Asked again although CONNECT was asked: rights may have been withdrawn since. */
  #publishWill(session: Session): void {
    const will = session.will!;
    session.will = undefined; // [MQTT-3.1.2-10]
    session.willDue = Infinity;
    session.willsLeaving += 1;
    const { identity } = session;
    const over = (): void => this.#willGone(session);
    const route = (message: PublishedWill): void => {
      this.#routeWill(session, message);
      over();
    };
    this.#whenGranted(identity, will, over, () => {
      if (this.#interception.isInUse) this.#interceptWill(identity, will, route, over);
      else route(will);
    });
  }

  /** `over`: it is refused. */
  #whenGranted(
    identity: Identity, will: PublishedWill, over: () => void, granted: () => void,
  ): void {
    whenDecided(
      this.#authorization.canPublish(identity, will.topicName, will),
      (verdict) => {
        if (verdict) {
          granted();
          return;
        }
        this.#refuseWill(identity.clientId, will.topicName);
        over();
      },
      (error) => {
        reportProblem(this.#context, 'will', error);
        over();
      },
    );
  }
  /** Behind its publication: a crash in between publishes it again rather than never. */
  #willGone(session: Session): void {
    session.willsLeaving -= 1;
    // The client may have come back with another one meanwhile.
    if (session.willsLeaving === 0 && session.will === undefined)
      this.#context.store.willGone(session);
  }

  #refuseWill(clientId: string, topicName: string): void {
    this.#context.log.warn('will refused', { client: clientId, topic: topicName });
  }

  /** What an interceptor makes of it must be allowed, too. */
  #interceptWill(
    identity: Identity, will: PublishedWill, route: (message: PublishedWill) => void,
    over: () => void,
  ): void {
    const { clientId } = identity;
    const { topicName, payload, qos, retain, properties } = will;
    const isAsked = this.#interception.ask(
      { origin: 'will', clientId, identity, topicName, payload, qos, retain, properties },
      (outcome) => {
        if (outcome.kind === 'pass') {
          route(will);
        } else if (outcome.kind === 'replace') {
          const message = { ...outcome.message, qos };
          this.#whenGranted(identity, message, over, () => route(message));
        } else {
          over();
        }
      },
    );
    if (isAsked) return;
    this.#refuseWill(clientId, topicName);
    over();
  }

  #routeWill(session: Session, will: PublishedWill): void {
    const { core, events, counters, log } = this.#context;
    const { topicName, payload, qos, retain, properties } = will;
    const reasonCode = core.publish({
      topicName,
      payload,
      qos,
      retain, // 3.1.1 [MQTT-3.1.2-16] [MQTT-3.1.2-17], 5.0 [MQTT-3.1.2-14] [MQTT-3.1.2-15]
      properties,
      publisher: session.handle,
    });
    counters.willsPublished += 1;
    const { clientId } = session;
    log.debug('will published', { client: clientId, topic: topicName, code: reasonCode });
    if (events.hears('willPublished'))
      events.tell('willPublished', { ...named(session), topicName, qos, retain });
  }
}

function expiryDue({ offlineAt, expirySeconds }: Session): number {
  return expiryDueOf(offlineAt, expirySeconds);
}
