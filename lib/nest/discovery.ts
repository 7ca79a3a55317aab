/**
 * Finds decorated providers in all modules. A provider's class says what it is for; its instance is
 * read when it is needed, so that overriding it in a test works.
 */
import type { ModulesContainer } from '@nestjs/core';
import {
  AUTHENTICATOR, AUTHORIZER, INTERCEPTOR, LISTENERS,
} from './decorators/hosted.decorator.js';
import type { EventListenerMapping, HostedRole } from './decorators/hosted.decorator.js';
import { handlerOptionsOf } from './decorators/on-topic.decorator.js';

/** What is used of Nest's InstanceWrapper. */
export interface Wrapper {
  readonly name: unknown;
  readonly token: unknown;
  readonly metatype: unknown;
  readonly instance: unknown;
  readonly inject?: readonly unknown[] | null;
  readonly isNotMetatype: boolean;
  readonly isTransient: boolean;
  /** False when an instance is made for every request. */
  isDependencyTreeStatic(): boolean;
}

export interface FoundListener {
  readonly event: EventListenerMapping['event'];
  readonly wrapper: Wrapper;
  readonly method: string;
}

/** All providers and controllers of the application, each once. */
export function allWrappers(modules: ModulesContainer): Wrapper[] {
  const found = new Set<Wrapper>();
  for (const module of modules.values()) {
    for (const wrapper of module.providers.values()) found.add(wrapper as Wrapper);
    for (const wrapper of module.controllers.values()) found.add(wrapper as Wrapper);
    for (const wrapper of module.injectables.values()) found.add(wrapper as Wrapper);
  }
  return [...found];
}

/**
 * What a provider may have been decorated as: its token, which stands for what a test puts in its
 * place, and the class of what is there for a token of another kind (a name, an abstract class).
 */
function classesOf(wrapper: Wrapper): (abstract new () => object)[] {
  return [wrapper.token, wrapper.metatype, classOfValue(wrapper)].filter(
    (candidate) => typeof candidate === 'function' && candidate.prototype !== undefined,
  ) as (abstract new () => object)[];
}

/** Of `useValue`; what a factory makes is not there yet. */
function classOfValue({ isNotMetatype, instance }: Wrapper): unknown {
  if (!isNotMetatype || typeof instance !== 'object' || instance === null) return undefined;
  return (Object.getPrototypeOf(instance) as object | null)?.constructor;
}

/** The class that has the decorator `key`, and what the decorator says. */
export function decorated<Metadata>(
  wrapper: Wrapper, key: symbol,
): { readonly type: abstract new () => object; readonly metadata: Metadata } | undefined {
  for (const type of classesOf(wrapper)) {
    const metadata = Reflect.getMetadata(key, type) as Metadata | undefined;
    if (metadata !== undefined) return { type, metadata };
  }
  return undefined;
}

/** The class of a provider; of one that a test has overridden, the class that it stands for. */
export function classOf(wrapper: Wrapper): (abstract new () => object) | undefined {
  return classesOf(wrapper)[0];
}

/** Authenticators or authorizers of a broker, in their order. */
export function rolesOf(
  modules: ModulesContainer,
  role: typeof AUTHENTICATOR | typeof AUTHORIZER | typeof INTERCEPTOR,
  broker: string,
): Wrapper[] {
  const found: { readonly wrapper: Wrapper; readonly order: number }[] = [];
  const seen = new Set<unknown>();
  for (const wrapper of allWrappers(modules)) {
    if (seen.has(wrapper.token)) continue;
    const metadata = decorated<HostedRole>(wrapper, role)?.metadata;
    if (metadata?.broker !== broker) continue;
    seen.add(wrapper.token);
    found.push({ wrapper, order: metadata.order });
  }
  return found.sort((one, other) => one.order - other.order).map(({ wrapper }) => wrapper);
}

/** Methods that want to hear of events of a broker. */
export function listenersOf(modules: ModulesContainer, broker: string): FoundListener[] {
  const found: FoundListener[] = [];
  for (const wrapper of allWrappers(modules)) {
    const type = classesOf(wrapper).find(hasListeners);
    if (type === undefined) continue;
    for (const method of methodsOf(type.prototype as object)) {
      for (const mapping of mappingsOf(type, method)) {
        if (mapping.broker === broker) found.push({ event: mapping.event, wrapper, method });
      }
    }
  }
  return found;
}

/** Whose decorator says which broker it is for. */
export interface NamedBroker {
  /** `Class` or `Class.method`. */
  readonly who: string;
  readonly kind: 'handler' | 'hosted';
  /** Undefined when it was left out, which means the default. */
  readonly broker: string | undefined;
}

/** What all decorators of handlers, guards and listeners say of their broker. */
export function namedBrokersOf(modules: ModulesContainer): NamedBroker[] {
  return [...handlerBrokers(modules), ...hostedBrokers(modules)];
}

/** Nest takes handlers from controllers alone. */
function handlerBrokers(modules: ModulesContainer): NamedBroker[] {
  const found: NamedBroker[] = [];
  for (const module of modules.values()) {
    for (const wrapper of module.controllers.values()) {
      const type = classOf(wrapper as Wrapper);
      if (type === undefined) continue;
      const prototype = type.prototype as Record<string, object>;
      for (const method of methodsOf(prototype)) {
        const options = handlerOptionsOf(prototype[method]);
        if (options === undefined) continue;
        found.push({ who: `${type.name}.${method}`, kind: 'handler', broker: options.broker });
      }
    }
  }
  return found;
}

function hostedBrokers(modules: ModulesContainer): NamedBroker[] {
  const found: NamedBroker[] = [];
  for (const wrapper of allWrappers(modules)) {
    for (const role of [AUTHENTICATOR, AUTHORIZER, INTERCEPTOR]) {
      const { type, metadata } = decorated<HostedRole>(wrapper, role) ?? {};
      if (metadata === undefined) continue;
      found.push({ who: type!.name, kind: 'hosted', broker: metadata.broker });
    }
    const type = classesOf(wrapper).find(hasListeners);
    if (type === undefined) continue;
    for (const method of methodsOf(type.prototype as object)) {
      for (const { broker } of mappingsOf(type, method)) {
        found.push({ who: `${type.name}.${method}`, kind: 'hosted', broker });
      }
    }
  }
  return found;
}

function hasListeners(type: abstract new () => object): boolean {
  return methodsOf(type.prototype as object).some((method) => mappingsOf(type, method).length > 0);
}

function mappingsOf(
  type: abstract new () => object, method: string,
): readonly EventListenerMapping[] {
  const target = (type.prototype as Record<string, object>)[method];
  return (Reflect.getMetadata(LISTENERS, target) ?? []) as EventListenerMapping[];
}

function methodsOf(prototype: object): string[] {
  const names = new Set<string>();
  let at: object | null = prototype;
  while (at !== null && at !== Object.prototype) {
    for (const name of Object.getOwnPropertyNames(at)) {
      const { value } = Object.getOwnPropertyDescriptor(at, name)! as { value?: unknown };
      if (name !== 'constructor' && typeof value === 'function') names.add(name);
    }
    at = Object.getPrototypeOf(at) as object | null;
  }
  return [...names];
}

/** Whether there is one instance, which the broker may call. */
export function isSingleton(wrapper: Wrapper): boolean {
  return !wrapper.isTransient && wrapper.isDependencyTreeStatic();
}

const PARAM_TYPES = 'design:paramtypes';
const SELF_DECLARED = 'self:paramtypes';
const PROPERTY_DECLARED = 'self:properties_metadata';
const OPTIONAL = 'optional:paramtypes';
const OPTIONAL_PROPERTY = 'optional:properties_metadata';

/** Names of the providers that inject `token` and need it, those with a token of ours left out. */
export function injectorsOf(
  modules: ModulesContainer, token: unknown, ours: ReadonlySet<unknown>,
): string[] {
  const names: string[] = [];
  for (const wrapper of allWrappers(modules)) {
    if (ours.has(wrapper.token) || !tokensOf(wrapper).includes(token)) continue;
    const type = classOf(wrapper);
    names.push(type?.name ?? String(wrapper.name));
  }
  return names;
}

/** What a provider cannot do without. */
function tokensOf(wrapper: Wrapper): unknown[] {
  if (Array.isArray(wrapper.inject)) return wrapper.inject.filter(isNeeded).map(tokenOf);
  const { metatype } = wrapper;
  if (typeof metatype !== 'function' || wrapper.isNotMetatype) return [];
  const types = [...((Reflect.getMetadata(PARAM_TYPES, metatype) ?? []) as unknown[])];
  const declared = (Reflect.getMetadata(SELF_DECLARED, metatype) ?? []) as {
    readonly index: number;
    readonly param: unknown;
  }[];
  for (const { index, param } of declared) types[index] = param;
  const optional = (Reflect.getMetadata(OPTIONAL, metatype) ?? []) as number[];
  const needed = types.filter((_type, index) => !optional.includes(index));
  return [...needed, ...propertyTokens(metatype)].map(tokenOf);
}

function propertyTokens(metatype: object): unknown[] {
  const properties = (Reflect.getMetadata(PROPERTY_DECLARED, metatype) ?? []) as {
    readonly key: string;
    readonly type: unknown;
  }[];
  const optional = (Reflect.getMetadata(OPTIONAL_PROPERTY, metatype) ?? []) as string[];
  return properties.filter(({ key }) => !optional.includes(key)).map(({ type }) => type);
}

function isNeeded(dependency: unknown): boolean {
  return (dependency as { optional?: unknown } | null)?.optional !== true;
}

function tokenOf(dependency: unknown): unknown {
  const token = (dependency as { token?: unknown } | null)?.token ?? dependency;
  const reference = (token as { forwardRef?: unknown } | null)?.forwardRef;
  return typeof reference === 'function' ? (reference as () => unknown)() : token;
}
