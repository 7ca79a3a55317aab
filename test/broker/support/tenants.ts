/** A broker whose listeners have mount points, and a client's side of each. */
import { Broker } from '../../../lib/index.js';
import type { BrokerOptions, ListenerSettings } from '../../../lib/index.js';
import { Kit } from '../../conformance/kit.js';
import { property } from '../../conformance/wire/packets.js';
import type { Version } from '../../conformance/wire/packets.js';

const DOORS: readonly ListenerSettings[] = [
  { port: 0, name: 'whole' },
  { port: 0, name: 'a', mountPoint: 'tenant-a/' },
  { port: 0, name: 'b', mountPoint: 'tenant-b/' },
];
const cleanUp: (() => unknown)[] = [];

/** For the end of a test: last first. */
export function onEnd(step: () => unknown): void {
  cleanUp.push(step);
}
export async function endHouses(): Promise<void> {
  for (const step of cleanUp.splice(0).reverse()) await step();
}

export interface House {
  readonly broker: Broker;
  /** One for each door, in the order of the listeners. */
  readonly kits: readonly Kit[];
  readonly log: readonly string[];
  stop(): Promise<void>;
}

export async function house(options: BrokerOptions = {}, version: Version = 5): Promise<House> {
  const log: string[] = [];
  const write = (line: string): void => void log.push(line);
  const logger = { error: write, warn: write, log: write, debug: write };
  const broker = new Broker({ listeners: DOORS, sys: { intervalSeconds: 0 }, logger, ...options });
  await broker.listen();
  const kits = broker.listeners.map(
    ({ port }) => new Kit({ host: '127.0.0.1', port: port! }, version),
  );
  const stop = async (): Promise<void> => {
    for (const kit of kits) kit.close();
    await broker.close({ deadlineMs: 500 });
  };
  onEnd(stop);
  return { broker, kits, log, stop };
}

export const LASTING = (version: Version) => ({
  cleanStart: false, properties: version === 5 ? [property.sessionExpiry(600)] : [],
});
