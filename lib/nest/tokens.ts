/** Injection tokens. The broker without a name has its class as token. */
import { Broker } from '../broker/broker.js';
import { NidoClient } from './nido.client.js';
import { NidoStrategy } from './nido.strategy.js';
import { DEFAULT_NAME } from './options.js';

const OPTIONS_TOKEN = 'nidomq:options:';

export type Token = string | symbol | (abstract new (...args: never[]) => unknown);

/** Of the hosted Broker: `Broker` itself, or one for a named broker. */
export function getBrokerToken(name: string = DEFAULT_NAME): Token {
  return name === DEFAULT_NAME ? Broker : `NidoBroker:${name}`;
}

/** Of the strategy: `NidoStrategy` itself, or one for a named broker. */
export function getStrategyToken(name: string = DEFAULT_NAME): Token {
  return name === DEFAULT_NAME ? NidoStrategy : `NidoStrategy:${name}`;
}

/** Of a client: `NidoClient` itself, or one for a name given in `forFeature` or of a broker. */
export function getClientToken(name: string = DEFAULT_NAME): Token {
  return name === DEFAULT_NAME ? NidoClient : `NidoClient:${name}`;
}

/** Internal tokens: options, guards and link of a broker. */
export function getOptionsToken(name: string = DEFAULT_NAME): symbol {
  return Symbol.for(`${OPTIONS_TOKEN}${name}`);
}
/** Of the broker whose options have this token; undefined of another token. */
export function nameOfOptionsToken(token: unknown): string | undefined {
  const key = typeof token === 'symbol' ? Symbol.keyFor(token) : undefined;
  return key?.startsWith(OPTIONS_TOKEN) === true ? key.slice(OPTIONS_TOKEN.length) : undefined;
}
export function getLinkToken(name: string = DEFAULT_NAME): symbol {
  return Symbol.for(`nidomq:link:${name}`);
}
export function getGuardsToken(name: string = DEFAULT_NAME): symbol {
  return Symbol.for(`nidomq:guards:${name}`);
}
export function getLifecycleToken(name: string = DEFAULT_NAME): symbol {
  return Symbol.for(`nidomq:lifecycle:${name}`);
}
export function getGateToken(name: string = DEFAULT_NAME): symbol {
  return Symbol.for(`nidomq:gate:${name}`);
}
/** All clients on the link of a broker. */
export function getClientsToken(name: string = DEFAULT_NAME): symbol {
  return Symbol.for(`nidomq:clients:${name}`);
}
