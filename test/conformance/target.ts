/** The broker under test: ours in this process, or any other by its address. */
import type { Variant } from './case.js';
import type { TargetEndpoint } from './kit.js';
import type { Broker as OurBroker } from '../../lib/index.js';
import type { EnhancedStep } from '../../lib/broker/hooks.js';

export interface Target {
  readonly name: string;
  /** Where the broker listens that is configured as `variant` says; undefined if there is none. */
  endpoint(variant: Variant): Promise<TargetEndpoint | undefined>;
  close(): Promise<void>;
}

/** Somebody else's broker: it is as it is, so only the cases for a default configuration run. */
export function addressTarget(name: string, endpoint: TargetEndpoint): Target {
  return {
    name,
    endpoint: (variant) => Promise.resolve(
      variant === 'default' || (variant === 'web-socket' && endpoint.webSocket)
        ? endpoint : undefined),
    close: () => Promise.resolve(),
  };
}

const HOST = '127.0.0.1';
const WEB_SOCKET_PATH = '/mqtt';
type BrokerOptions = NonNullable<ConstructorParameters<typeof OurBroker>[0]>;

/** alice may do everything except under `forbidden/`. */
const GUARD: BrokerOptions = {
  authentication: [{
    authenticate: ({ username, password }) =>
      username === 'alice' && password && Buffer.from(password).toString() === 'secret'
        ? { ok: true } : { ok: false },
  }],
  authorization: [{
    canPublish: (_who, topicName) => !topicName.startsWith('forbidden/'),
    canSubscribe: (_who, topicFilter) => !topicFilter.startsWith('forbidden/'),
  }],
};

/** Method CONFORMANCE: CONNECT "hello" is challenged, "right" is let in, all else is not. */
const ENHANCED: BrokerOptions = {
  allowAnonymous: true,
  enhancedAuthentication: [{
    method: 'CONFORMANCE',
    begin: () => ({
      step: (data): EnhancedStep => {
        const said = Buffer.from(data ?? []).toString();
        if (said === 'hello') return { kind: 'continue', data: Buffer.from('prove it') };
        return said === 'right' ? { kind: 'success', ok: true } : { kind: 'failure' };
      },
    }),
  }],
};

const OPTIONS: Readonly<Record<Variant, BrokerOptions>> = {
  'default': {},
  'maximum-qos-0': { mqtt: { maximumQos: 0 } },
  'maximum-qos-1': { mqtt: { maximumQos: 1 } },
  'no-retain': { mqtt: { retainAvailable: false } },
  'no-wildcard': { mqtt: { wildcardSubscriptionAvailable: false } },
  'no-subscription-identifier': { mqtt: { subscriptionIdentifiersAvailable: false } },
  'no-shared': { mqtt: { sharedSubscriptionAvailable: false } },
  'server-keep-alive': { mqtt: { serverKeepAliveSeconds: 1 } },
  'session-expiry-cap': { mqtt: { sessionExpirySecondsMax: 1, sessionExpirySecondsMaxV3: 1 } },
  'small-packets': { limits: { packetBytesMax: 300 } },
  'few-aliases': { limits: { topicAliasMaximum: 3 } },
  'few-in-flight': { limits: { receiveMaximum: 5 } },
  'guarded': GUARD,
  'enhanced-authentication': ENHANCED,
  'web-socket': {},
};

interface Running {
  readonly broker: OurBroker;
  readonly endpoint: TargetEndpoint;
}

async function startBroker(variant: Variant): Promise<Running> {
  const { Broker } = await import('../../lib/index.js');
  const door = { host: HOST, port: 0 };
  const doors = variant === 'web-socket' ? [door, { ...door, ws: WEB_SOCKET_PATH }] : [door];
  const broker = new Broker({ logger: false, ...OPTIONS[variant], listeners: doors });
  await broker.listen();
  const [port, webSocketPort] = broker.listeners.map((listener) => listener.port);
  if (port === undefined) throw new Error('the broker does not tell its port');
  if (webSocketPort === undefined) return { broker, endpoint: { host: HOST, port } };
  const webSocket = { host: HOST, port: webSocketPort, path: WEB_SOCKET_PATH };
  return { broker, endpoint: { host: HOST, port, webSocket } };
}

/** Our broker, one for each variant, started when the first case asks for it. */
export function startTarget(): Target {
  const running = new Map<Variant, Promise<Running>>();
  return {
    name: 'nidomq',
    endpoint: async (variant) => {
      const started = running.get(variant) ?? startBroker(variant);
      running.set(variant, started);
      return (await started).endpoint;
    },
    close: async () => {
      for (const started of await Promise.allSettled(running.values())) {
        if (started.status === 'fulfilled') await started.value.broker.close();
      }
    },
  };
}
