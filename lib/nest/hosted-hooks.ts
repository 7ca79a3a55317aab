/** Providers as the hooks of the hosted broker. */
import type { ModulesContainer } from '@nestjs/core';
import type {
  AuthenticationResult,
  Authenticator,
  Authorizer,
  ConnectRequest,
  Identity,
  Verdict,
} from '../broker/hooks.js';
import { AUTHENTICATOR, AUTHORIZER } from './decorators/hosted.decorator.js';
import type { Wrapper } from './discovery.js';
import { rolesOf } from './discovery.js';
import type { HostOptions } from './options.js';

/** The name that the sketch of the design gives them; the same as the broker's own hooks. */
export type NidoAuthenticator = Authenticator;
export type NidoAuthorizer = Authorizer;
export type ConnectInfo = ConnectRequest;
export type AuthResult = AuthenticationResult;

/**
 * The options with the decorated providers of all modules added. Which there are is known before
 * any of them is made; their instances are asked when a client comes.
 */
export function withProviders(
  host: HostOptions,
  modules: ModulesContainer,
  broker: string,
): HostOptions {
  const authenticators = rolesOf(modules, AUTHENTICATOR, broker).map(asAuthenticator);
  const authorizers = rolesOf(modules, AUTHORIZER, broker).map(asAuthorizer);
  return {
    ...host,
    authentication: [...(host.authentication ?? []), ...authenticators],
    authorization: [...(host.authorization ?? []), ...authorizers],
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
  const type = wrapper.token;
  const has =
    typeof type === 'function' &&
    typeof (type.prototype as Partial<Authorizer> | undefined)?.canReceive === 'function';
  if (!has) return {};
  return {
    canReceive: (who, topicName) =>
      (wrapper.instance as Authorizer).canReceive?.(who, topicName) ?? true,
  };
}
