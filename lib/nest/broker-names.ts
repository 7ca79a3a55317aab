/**
 * Says which handlers, guards and listeners name a broker that this application does not have:
 * nobody ever calls them. It is said and not refused, because it may be meant: a controller that
 * several applications share, a broker that only some configurations import, a test of one module.
 */
import { Logger } from '@nestjs/common';
import type { Transport } from '@nestjs/microservices';
import type { ModulesContainer } from '@nestjs/core';
import { namedBrokersOf } from './discovery.js';
import type { NamedBroker } from './discovery.js';
import { bareStrategies } from './nido.strategy.js';
import { DEFAULT_NAME, defaultTransportIdOf } from './options.js';
import type { SharedOptions } from './options.js';
import { nameOfOptionsToken } from './tokens.js';

type TransportId = Transport | symbol;

/** Letters that a name may be away from the one that was meant, for each letter that it has. */
const ERRORS_PER_LETTER = 1 / 3;

/** Each strategy of an application comes here; one is enough. */
const checked = new WeakSet<ModulesContainer>();

/**
 * To be called when a strategy begins to listen: by then those without a module are there, too,
 * which Nest's container does not know.
 */
export function warnOfUnknownBrokers(modules: ModulesContainer): void {
  if (checked.has(modules)) return;
  checked.add(modules);
  const log = new Logger('NidoModule');
  const own = moduleBrokers(modules);
  const bare = [...bareStrategies].map(([transportId, name]) => [name, transportId] as const);
  // Guards and listeners are found by NidoModule alone.
  const brokers = { handler: new Map([...bare, ...own]), hosted: own };
  const served = new Set<TransportId>([...own.values(), ...bareStrategies.keys()]);
  const lines = new Set<string>();
  for (const named of namedBrokersOf(modules)) {
    const { broker = DEFAULT_NAME, kind } = named;
    const isKnown =
      kind === 'handler' ? served.has(defaultTransportIdOf(broker)) : own.has(broker);
    if (!isKnown) lines.add(lineOf(named, brokers[kind]));
  }
  for (const line of lines) log.warn(line);
}

/** Transport ids of the brokers of NidoModule, by name. */
function moduleBrokers(modules: ModulesContainer): ReadonlyMap<string, TransportId> {
  const found = new Map<string, TransportId>();
  for (const module of modules.values()) {
    for (const [token, { instance }] of module.providers) {
      const name = nameOfOptionsToken(token);
      if (name === undefined) continue;
      const options = instance as SharedOptions | null;
      found.set(name, options?.transportId ?? defaultTransportIdOf(name));
    }
  }
  return found;
}

function lineOf(
  { who, broker, kind }: NamedBroker, brokers: ReadonlyMap<string, TransportId>,
): string {
  const name = broker ?? DEFAULT_NAME;
  const shown = JSON.stringify(name);
  const asked =
    broker === undefined ? `no broker, which means broker ${shown}` : `broker ${shown}`;
  const transportId = brokers.get(name);
  if (transportId !== undefined) {
    return (
      `${who} names ${asked}, whose option transportId is ${String(transportId)}: ` +
      'no NidoStrategy calls it. Leave transportId out, or use @EventPattern or ' +
      '@MessagePattern with it'
    );
  }
  const names = [...brokers.keys()];
  const close = closestTo(name, names);
  const suggestion = close === undefined ? '' : `Did you mean ${JSON.stringify(close)}? `;
  const effect = kind === 'handler' ? 'no NidoStrategy calls it' : 'it is never called';
  return (
    `${who} names ${asked}, which this application does not have: ${effect}. ` +
    `${suggestion}There are: ${names.map((one) => JSON.stringify(one)).join(', ')}. ` +
    `Mend the option broker, or import NidoModule.forRoot({ name: ${shown}, ... })`
  );
}

function closestTo(name: string, names: readonly string[]): string | undefined {
  const errorsMax = Math.max(1, Math.floor(name.length * ERRORS_PER_LETTER));
  const near = names
    .map((one) => ({ one, errors: errorsBetween(name.toLowerCase(), one.toLowerCase()) }))
    .filter(({ errors }) => errors <= errorsMax)
    .sort((left, right) => left.errors - right.errors);
  return near[0]?.one;
}

/** Letters to add, to leave out and to change (Levenshtein). */
function errorsBetween(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_value, index) => index);
  for (const [at, letter] of [...left].entries()) {
    const next = [at + 1];
    for (let index = 0; index < right.length; index += 1) {
      const changed = row[index] + (right[index] === letter ? 0 : 1);
      next.push(Math.min(changed, row[index + 1] + 1, next[index] + 1));
    }
    row = next;
  }
  return row[right.length];
}
