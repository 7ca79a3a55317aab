/**
 * Ties a broker or connection to the life of the application:
 *
 *     all modules are initialised and bootstrapped -> handlers may run
 *     the application begins to close              -> handlers finish, none begins
 *     all modules are destroyed                    -> the broker or connection closes
 */
import { Logger } from '@nestjs/common';
import type {
  OnApplicationBootstrap,
  OnApplicationShutdown,
  OnModuleDestroy,
} from '@nestjs/common';
import type { ModulesContainer } from '@nestjs/core';
import type { Broker } from '../broker/broker.js';
import { AUTHENTICATOR, AUTHORIZER, INTERCEPTOR } from './decorators/hosted.decorator.js';
import { classOf, injectorsOf, isSingleton, listenersOf, rolesOf } from './discovery.js';
import type { FoundListener, Wrapper } from './discovery.js';
import { guard } from './hosted-hooks.js';
import type { ProvidedGuards } from './hosted-hooks.js';
import { NidoNestError, messageOf } from './errors.js';
import type { Link } from './link/link.js';
import type { NidoClient } from './nido.client.js';
import type { NidoStrategy } from './nido.strategy.js';
import type { ReadinessGate } from './readiness.js';
import { getBrokerToken, getLifecycleToken, getLinkToken } from './tokens.js';

export interface LifecycleParts {
  readonly modules: ModulesContainer;
  readonly name: string;
  readonly guards: ProvidedGuards;
  readonly broker: Broker | null;
  readonly link: Link;
  readonly gate: ReadinessGate;
  readonly strategy: NidoStrategy;
  readonly clients: ReadonlySet<NidoClient>;
  readonly NidoModule: unknown;
}

/** Events that are kept for their listeners until the application is bootstrapped. */
const EARLY_EVENTS_MAX = 1_000;
/** Nest sorts modules by distance: this one is bootstrapped last and destroyed first. */
const NEAREST = -1;

/** What the broker calls providers as. */
const ROLES = [AUTHENTICATOR, AUTHORIZER, INTERCEPTOR] as const;

export class NidoLifecycle
  implements OnApplicationBootstrap, OnModuleDestroy, OnApplicationShutdown
{
  readonly #parts: LifecycleParts;
  readonly #log = new Logger('NidoModule');
  readonly #early: (() => void)[] = [];

  constructor(parts: LifecycleParts) {
    this.#parts = parts;
    const { modules, name, guards, broker, NidoModule } = parts;
    for (const module of modules.values()) {
      if (module.metatype === NidoModule) module.distance = NEAREST;
    }
    const listeners = listenersOf(modules, name);
    if (broker === null) {
      this.#refuseHostedOnly(listeners);
      return;
    }
    guard(broker, guards);
    for (const listener of listeners) this.#listen(broker, listener);
  }

  onApplicationBootstrap(): void {
    if (this.#parts.broker !== null) this.#refuseScoped();
    this.#parts.gate.open();
    for (const call of this.#early.splice(0)) call();
  }

  /** What is observed ends here: an HTTP server that streams it waits for that to close. */
  async onModuleDestroy(): Promise<void> {
    const { strategy, clients } = this.#parts;
    await strategy.drain();
    await Promise.all([...clients].map((client) => client.endObserved()));
  }

  async onApplicationShutdown(): Promise<void> {
    const { clients, link, strategy } = this.#parts;
    await Promise.all([...clients].map((client) => client.close()));
    await link.close({ deadlineMs: strategy.closeDeadlineMs });
  }

  #listen(broker: Broker, { event, wrapper, method }: FoundListener): void {
    broker.on(event, (...args: unknown[]) => {
      const call = (): void => this.#call(wrapper.instance, method, args);
      if (this.#parts.gate.isOpen) call();
      else if (this.#early.length < EARLY_EVENTS_MAX) this.#early.push(call);
      else this.#log.warn(`${event} before the application is bootstrapped: not told`);
    });
  }

  #call(instance: unknown, method: string, args: unknown[]): void {
    const target = instance as Record<string, (...args: unknown[]) => unknown>;
    const failed = (error: unknown): void => {
      this.#log.error(`${target.constructor.name}.${method}: ${messageOf(error)}`);
    };
    try {
      const result = target[method](...args);
      if (result instanceof Promise) result.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  /** The broker calls instances that are there: none is made for a client or an event. */
  #refuseScoped(): void {
    const { modules, name } = this.#parts;
    const called = [
      ...ROLES.flatMap((role) => rolesOf(modules, role, name)),
      ...listenersOf(modules, name).map(({ wrapper }) => wrapper),
    ];
    const scoped = called.filter((wrapper) => !isSingleton(wrapper)).map(nameOf);
    if (scoped.length === 0) return;
    throw new NidoNestError(
      'NIDO_NEST_PROVIDER_SCOPED',
      `${[...new Set(scoped)].join(', ')}: the broker calls it, so it has to be a singleton. It, ` +
        'or something that it injects, is request-scoped or transient',
    );
  }

  /** Joined: there is no broker here to inject, to guard or to listen to. */
  #refuseHostedOnly(listeners: readonly FoundListener[]): void {
    const { modules, name } = this.#parts;
    const ours = new Set<unknown>([getLinkToken(name), getLifecycleToken(name)]);
    const injectors = injectorsOf(modules, getBrokerToken(name), ours);
    if (injectors.length > 0) {
      throw new NidoNestError(
        'NIDO_NEST_BROKER_IN_JOIN',
        `${injectors.join(', ')} injects Broker, but this application joins broker ${name} and ` +
          'hosts none: inject NidoClient, which is there in both modes, or host the broker',
      );
    }
    const roles = ROLES.flatMap((role) => rolesOf(modules, role, name)).map(nameOf);
    const methods = listeners.map(({ wrapper, method }) => `${nameOf(wrapper)}.${method}`);
    const idle = [...roles, ...methods];
    if (idle.length === 0) return;
    this.#log.warn(
      `${idle.join(', ')}: decorated for a hosted broker, but this application joins broker ` +
        `${name}: they are never called`,
    );
  }
}

function nameOf(wrapper: Wrapper): string {
  return classOf(wrapper)?.name ?? String(wrapper.name);
}
