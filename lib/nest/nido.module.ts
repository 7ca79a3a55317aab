/**
 * NidoModule: broker or connection, strategy and clients as providers.
 *
 *     imports: [NidoModule.forRoot({ host: { listeners: [{ port: 1883 }] } })]
 *     imports: [NidoModule.forRoot({ join: { url: 'mqtt://broker:1883' } })]
 *     app.connectMicroservice({ strategy: app.get(NidoStrategy) });
 */
import { Module } from '@nestjs/common';
import type {
  DynamicModule, FactoryProvider, ModuleMetadata, Provider, Type,
} from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { Broker } from '../broker/broker.js';
import { warnOfUnknownBrokers } from './broker-names.js';
import { NidoNestError } from './errors.js';
import { guardsOf, withGuards } from './hosted-hooks.js';
import type { ProvidedGuards } from './hosted-hooks.js';
import { HostLink } from './link/host-link.js';
import { JoinLink } from './link/join-link.js';
import type { Link } from './link/link.js';
import { makeBroker } from './link/make-link.js';
import { NidoLifecycle } from './nido.lifecycle.js';
import { NidoClient } from './nido.client.js';
import type { NidoClientOptions } from './nido.client.js';
import { NidoStrategy } from './nido.strategy.js';
import { checkFeature, checkPlace } from './option-checks.js';
import { DEFAULT_NAME } from './options.js';
import type { NidoOptions, SharedOptions } from './options.js';
import { ReadinessGate } from './readiness.js';
import {
  getBrokerToken,
  getClientToken,
  getClientsToken,
  getGateToken,
  getGuardsToken,
  getLifecycleToken,
  getLinkToken,
  getOptionsToken,
  getStrategyToken,
} from './tokens.js';

/** A provider that makes the options, for `forRootAsync({ useClass })` or `useExisting`. */
export interface NidoOptionsFactory {
  createNidoOptions(): NidoOptions | Promise<NidoOptions>;
}

/** One of `useFactory`, `useClass` and `useExisting`. */
export interface NidoAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  /** Name of the broker, when there are several. */
  readonly name?: string;
  readonly inject?: FactoryProvider['inject'];
  readonly useFactory?: (...args: never[]) => NidoOptions | Promise<NidoOptions>;
  /** Made by NidoModule. */
  readonly useClass?: Type<NidoOptionsFactory>;
  /** A provider of one of the `imports`, or of a global module. */
  readonly useExisting?: Type<NidoOptionsFactory> | string | symbol;
}

/** A client token of `forFeature`, injected by `@InjectNido(name)`. */
export interface NidoFeature extends Pick<
  SharedOptions, 'codec' | 'envelope' | 'requestTimeout'
> {
  readonly name: string;
  /** In front of every topic of this client. */
  readonly prefix?: string;
  /** Name of the broker that it talks to. */
  readonly broker?: string;
}

@Module({})
export class NidoModule {
  /** Once for each broker; `name` tells them apart. Its providers are there in all modules. */
  static forRoot(options: NidoOptions): DynamicModule {
    const { name = DEFAULT_NAME } = options;
    return rootModule(name, { provide: getOptionsToken(name), useValue: options });
  }

  static forRootAsync(options: NidoAsyncOptions): DynamicModule {
    const { name = DEFAULT_NAME, imports = [], useClass } = options;
    const root = rootModule(name, asyncProvider(options, name));
    const { providers = [] } = root;
    return { ...root, imports, providers: useClass ? [useClass, ...providers] : providers };
  }

  /** Clients with names, on the broker or connection of `forRoot`. */
  static forFeature(features: readonly NidoFeature[]): DynamicModule {
    features.forEach(checkFeature);
    const providers = features.map(clientProvider);
    return { module: NidoModule, providers, exports: providers };
  }
}

function rootModule(name: string, options: Provider): DynamicModule {
  const exported = [
    options,
    { provide: getGateToken(name), useFactory: () => new ReadinessGate('waiting') },
    guardsProvider(name),
    brokerProvider(name),
    linkProvider(name),
    { provide: getClientsToken(name), useFactory: () => new Set<NidoClient>() },
    strategyProvider(name),
    clientProvider({ name, broker: name }),
  ];
  return {
    module: NidoModule,
    global: true,
    providers: [...exported, lifecycleProvider(name)],
    exports: exported,
  };
}

function asyncProvider(options: NidoAsyncOptions, name: string): Provider {
  const { inject = [], useFactory, useClass, useExisting } = options;
  const provide = getOptionsToken(name);
  const given = [useFactory, useClass, useExisting].filter((one) => one !== undefined);
  if (given.length !== 1) {
    throw new NidoNestError(
      'NIDO_NEST_OPTION_INVALID',
      `NidoModule.forRootAsync, broker ${name}: give one of useFactory, useClass and ` +
        `useExisting; ${given.length} are there`,
    );
  }
  if (useFactory !== undefined) {
    return { provide, inject, useFactory: useFactory as FactoryProvider['useFactory'] };
  }
  return {
    provide,
    inject: [useClass ?? useExisting!],
    useFactory: (factory: NidoOptionsFactory) => factory.createNidoOptions(),
  };
}

function guardsProvider(name: string): Provider {
  return {
    provide: getGuardsToken(name),
    inject: [ModulesContainer],
    useFactory: (modules: ModulesContainer) => guardsOf(modules, name),
  };
}

function brokerProvider(name: string): Provider {
  return {
    provide: getBrokerToken(name),
    inject: [getOptionsToken(name), getGuardsToken(name)],
    useFactory: (options: NidoOptions, guards: ProvidedGuards): Broker | null => {
      checkPlace(options, `NidoModule, broker ${name}`);
      const { host } = options;
      return host === undefined ? null : makeBroker(withGuards(host, guards));
    },
  };
}

function linkProvider(name: string): Provider {
  return {
    provide: getLinkToken(name),
    inject: [getOptionsToken(name), getBrokerToken(name)],
    useFactory: (options: NidoOptions, broker: Broker | null): Link => {
      checkPlace(options, `NidoModule, broker ${name}`);
      // A test may put a broker in the place of the one that would be joined, too.
      if (broker === null) return new JoinLink(options.join!, { name });
      const { inClusterWorker = 'refuse' } = options.host ?? {};
      return new HostLink(broker, { name, inClusterWorker });
    },
  };
}

function strategyProvider(name: string): Provider {
  return {
    provide: getStrategyToken(name),
    inject: [getOptionsToken(name), getLinkToken(name), getGateToken(name), ModulesContainer],
    useFactory: (
      options: NidoOptions, link: Link, gate: ReadinessGate, modules: ModulesContainer,
    ) => {
      const beforeListen = (): void => warnOfUnknownBrokers(modules);
      return new NidoStrategy({ ...options, name }, { link, gate, beforeListen });
    },
  };
}

function clientProvider(feature: NidoFeature): Provider {
  const { name, broker = DEFAULT_NAME, ...own } = feature;
  return {
    provide: getClientToken(name),
    inject: [getOptionsToken(broker), getLinkToken(broker), getClientsToken(broker)],
    useFactory: (options: NidoOptions, link: Link, clients: Set<NidoClient>) => {
      const client = new NidoClient(clientOptions(options, own), { link });
      clients.add(client);
      return client;
    },
  };
}

function clientOptions(
  options: NidoOptions,
  own: Omit<NidoFeature, 'name' | 'broker'>,
): NidoClientOptions {
  // The client has its link already: of the broker it needs nothing.
  return { ...options, ...own, host: undefined } as NidoClientOptions;
}

function lifecycleProvider(name: string): Provider {
  return {
    provide: getLifecycleToken(name),
    inject: [
      ModulesContainer,
      getGuardsToken(name),
      getBrokerToken(name),
      getLinkToken(name),
      getGateToken(name),
      getStrategyToken(name),
      getClientsToken(name),
    ],
    useFactory: (
      modules: ModulesContainer,
      guards: ProvidedGuards,
      broker: Broker | null,
      link: Link,
      gate: ReadinessGate,
      strategy: NidoStrategy,
      clients: ReadonlySet<NidoClient>,
    ) =>
      new NidoLifecycle({
        modules, name, guards, broker, link, gate, strategy, clients, NidoModule,
      }),
  };
}
