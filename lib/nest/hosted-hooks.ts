/** Providers as the hooks of the hosted broker. */
import type { ModulesContainer } from '@nestjs/core';
import type { Broker } from '../broker/broker.js';
import type {
  AuthenticationResult,
  Authenticator,
  Authorizer,
  ConnectRequest,
  Identity,
  InterceptedMessage,
  MessageInterceptor,
  Verdict,
} from '../broker/hooks.js';
import { AUTHENTICATOR, AUTHORIZER, INTERCEPTOR } from './decorators/hosted.decorator.js';
import type { InterceptorRole } from './decorators/hosted.decorator.js';
import type { Wrapper } from './discovery.js';
import { decorated, rolesOf } from './discovery.js';
import type { HostOptions } from './options.js';

/** The name that the sketch of the design gives them; the same as the broker's own hooks. */
export type NidoAuthenticator = Authenticator;
export type NidoAuthorizer = Authorizer;
/** What a provider with `@MqttInterceptor` has; the decorator names the filters. */
export type NidoInterceptor = Pick<MessageInterceptor, 'intercept'>;
export type ConnectInfo = ConnectRequest;
export type AuthResult = AuthenticationResult;

/**
 * The decorated providers of all modules. Which there are is known before any of them is made;
 * their instances are asked when a client comes.
 */
export interface ProvidedGuards {
  readonly authentication: readonly Authenticator[];
  readonly authorization: readonly Authorizer[];
  readonly interceptors: readonly MessageInterceptor[];
}

export function guardsOf(modules: ModulesContainer, broker: string): ProvidedGuards {
  return {
    authentication: rolesOf(modules, AUTHENTICATOR, broker).map(asAuthenticator),
    authorization: rolesOf(modules, AUTHORIZER, broker).map(asAuthorizer),
    interceptors: rolesOf(modules, INTERCEPTOR, broker).map(asInterceptor),
  };
}

/** Options for a broker that they decide about. */
export function withGuards(host: HostOptions, guards: ProvidedGuards): HostOptions {
  const { authentication = [], authorization = [], interceptors = [] } = host;
  return {
    ...host,
    authentication: [...authentication, ...guards.authentication],
    authorization: [...authorization, ...guards.authorization],
    interceptors: [...interceptors, ...guards.interceptors],
  };
}

/** A broker that was made elsewhere, such as that of a test, does not know them. */
export function guard(broker: Broker, guards: ProvidedGuards): void {
  const { authentication, authorization, interceptors } = broker.options;
  const added = {
    authentication: guards.authentication.filter((one) => !authentication.includes(one)),
    authorization: guards.authorization.filter((one) => !authorization.includes(one)),
    interceptors: guards.interceptors.filter((one) => !interceptors.includes(one)),
  };
  if (Object.values(added).some((list) => list.length > 0)) broker.addGuards(added);
}

function asInterceptor(wrapper: Wrapper): MessageInterceptor {
  const { topicFilters } = decorated<InterceptorRole>(wrapper, INTERCEPTOR)!.metadata;
  return {
    topicFilters,
    intercept: (message: InterceptedMessage) =>
      (wrapper.instance as NidoInterceptor).intercept(message),
  };
}

function asAuthenticator(wrapper: Wrapper): Authenticator {
  return {
    authenticate: (request: ConnectRequest) =>
      (wrapper.instance as Authenticator).authenticate(request),
  };
}

/** What the provider does not decide is allowed, as with an authorizer of the broker. */
function asAuthorizer(wrapper: Wrapper): Authorizer {
  const target = (): Authorizer => wrapper.instance as Authorizer;
  return {
    canPublish: (who: Identity, topicName, how): Verdict | Promise<Verdict> =>
      target().canPublish?.(who, topicName, how) ?? true,
    canSubscribe: (who: Identity, topicFilter, how): Verdict | Promise<Verdict> =>
      target().canSubscribe?.(who, topicFilter, how) ?? true,
    ...receiver(wrapper),
  };
}

/** Asked for every delivery, so only when the class has it. */
function receiver(wrapper: Wrapper): Pick<Authorizer, 'canReceive'> {
  const { prototype } = decorated(wrapper, AUTHORIZER)!.type;
  if (typeof (prototype as Partial<Authorizer>).canReceive !== 'function') return {};
  return {
    canReceive: (who, topicName) =>
      (wrapper.instance as Authorizer).canReceive?.(who, topicName) ?? true,
  };
}
