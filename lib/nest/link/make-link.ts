/** A strategy or client without a module makes its own link. */
import { Broker } from '../../broker/broker.js';
import type { BrokerOptions } from '../../broker/broker-options.js';
import { checkPlace } from '../option-checks.js';
import type { HostOptions, NidoOptions } from '../options.js';
import { DEFAULT_NAME } from '../options.js';
import { HostLink, NestBrokerLogger } from './host-link.js';
import { JoinLink } from './join-link.js';
import type { Link } from './link.js';

export function makeBroker(options: HostOptions): Broker {
  const broker: { inClusterWorker?: unknown } & BrokerOptions = { ...options };
  delete broker.inClusterWorker;
  return new Broker({ logger: new NestBrokerLogger(), ...broker });
}

export function makeLink(options: NidoOptions): Link {
  const { host, join, name = DEFAULT_NAME } = options;
  checkPlace(options, `broker ${name}`);
  if (host === undefined) return new JoinLink(join!, { name });
  const { inClusterWorker = 'refuse' } = host;
  return new HostLink(makeBroker(host), { name, inClusterWorker });
}
