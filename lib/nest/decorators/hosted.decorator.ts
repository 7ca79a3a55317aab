/**
 * Decorators of providers that work with the hosted broker: who decides, and who is told. They are
 * found in every module, so that what they inject and how tests override them is as usual.
 */
import { DEFAULT_NAME } from '../options.js';
import type { EventName } from '../../broker/broker-emitter.js';

export const AUTHENTICATOR = Symbol.for('nidomq:authenticator');
export const AUTHORIZER = Symbol.for('nidomq:authorizer');
export const INTERCEPTOR = Symbol.for('nidomq:interceptor');
export const LISTENERS = Symbol.for('nidomq:listeners');

export interface HostedRole {
  readonly broker: string;
  /** Smaller is asked first. */
  readonly order: number;
}
export interface HostedRoleOptions {
  readonly broker?: string;
  /** Several are asked in this order. Default 0. */
  readonly order?: number;
}
/** Of an interceptor: which messages it sees. */
export interface InterceptorRole extends HostedRole {
  readonly topicFilters: readonly string[];
}
export interface EventListenerMapping {
  readonly event: EventName;
  readonly broker: string;
}

/** The provider's `authenticate(request)` decides who may connect. */
export function MqttAuthenticator(options: HostedRoleOptions = {}): ClassDecorator {
  return (target) => Reflect.defineMetadata(AUTHENTICATOR, roleOf(options), target);
}

/** The provider's `canPublish` and `canSubscribe` decide who may do what. */
export function MqttAuthorizer(options: HostedRoleOptions = {}): ClassDecorator {
  return (target) => Reflect.defineMetadata(AUTHORIZER, roleOf(options), target);
}

/**
 * The provider's `intercept(message)` sees messages of these Topic Filters before they are routed,
 * and lets them pass, replaces or drops them.
 */
export function MqttInterceptor(
  topicFilters: string | readonly string[], options: HostedRoleOptions = {},
): ClassDecorator {
  const role: InterceptorRole = { ...roleOf(options), topicFilters: [topicFilters].flat() };
  return (target) => Reflect.defineMetadata(INTERCEPTOR, role, target);
}

function roleOf({ broker = DEFAULT_NAME, order = 0 }: HostedRoleOptions): HostedRole {
  return { broker, order };
}

export interface OnBrokerEventOptions {
  readonly broker?: string;
}

/** Calls the method with every event of this name of the hosted broker. */
export function OnBrokerEvent(
  event: EventName,
  options: OnBrokerEventOptions = {},
): MethodDecorator {
  return (_target, _key, descriptor) => {
    const method = descriptor.value as object;
    const before = (Reflect.getMetadata(LISTENERS, method) ?? []) as EventListenerMapping[];
    const mapping = { event, broker: options.broker ?? DEFAULT_NAME };
    Reflect.defineMetadata(LISTENERS, [...before, mapping], method);
  };
}

/** A client has connected: the method gets a ClientConnectedEvent. */
export const OnClientConnected = eventDecorator('clientConnected');
/** A client is gone: ClientDisconnectedEvent. */
export const OnClientDisconnected = eventDecorator('clientDisconnected');
/** A client was turned away: ConnectionRefusedEvent. */
export const OnConnectionRefused = eventDecorator('connectionRefused');
/** A client has subscribed: SubscriptionEvent. */
export const OnSubscribed = eventDecorator('subscribed');
/** A client has unsubscribed: SubscriptionEvent. */
export const OnUnsubscribed = eventDecorator('unsubscribed');
/** A Will Message was published: WillEvent. */
export const OnWill = eventDecorator('willPublished');
/** A session has ended: SessionEndedEvent. */
export const OnSessionEnded = eventDecorator('sessionEnded');
/** A message was dropped: MessageDroppedEvent. */
export const OnDropped = eventDecorator('messageDropped');

function eventDecorator(event: EventName): (options?: OnBrokerEventOptions) => MethodDecorator {
  return (options) => OnBrokerEvent(event, options);
}
