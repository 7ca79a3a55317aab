/**
 * The health of a hosted broker or of a joined connection, for @nestjs/terminus.
 *
 *     providers: [NidoHealthIndicator],                    // beside TerminusModule
 *     health.check([() => nido.check('mqtt')]);
 */
import { Injectable } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { HealthIndicatorService } from '@nestjs/terminus';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import type { Broker } from '../../broker/broker.js';
import { NidoNestError } from '../errors.js';
import type { Link, NidoMode, NidoStatus } from '../link/link.js';
import { DEFAULT_NAME } from '../options.js';
import { getLinkToken } from '../tokens.js';

export interface NidoHealthOptions {
  /** Name of the broker, when the application has several. */
  readonly broker?: string;
  /**
   * Hosted: share of `limits.memoryBytes` in use from which on the broker is degraded. Default
   * 0.75: queued messages alone may take 0.8, then they are refused.
   */
  readonly memoryUsedMax?: number;
  /**
   * Joined: milliseconds that a lost connection is degraded; after that it is down. Default 30,000.
   * Counted from the check that first sees it.
   */
  readonly reconnectingMsMax?: number;
}

/** What stands beside `status` in the result. Figures of clients and memory when hosted only. */
export interface NidoHealthDetails {
  readonly mode: NidoMode;
  readonly connection: NidoStatus | 'not opened';
  /** Why it is not `up`. */
  readonly message?: string;
  readonly clients?: number;
  readonly engine?: string;
  /** Of `limits.memoryBytes`, 0..1. */
  readonly memoryUsed?: number;
  readonly queuedMessages?: number;
}

type Health = 'up' | 'degraded' | 'down';
type Finding = readonly [Health, NidoHealthDetails];

/** What a link said last, and since when it has not been connected. */
interface Watched {
  readonly link: Link;
  status: NidoStatus | undefined;
  lostAt: number | undefined;
}

const MEMORY_USED_MAX = 0.75;
const RECONNECTING_MS_MAX = 30_000;
const PERCENT = 100;

@Injectable()
export class NidoHealthIndicator {
  readonly #watched = new Map<string, Watched>();

  constructor(
    private readonly indicators: HealthIndicatorService,
    private readonly modules: ModuleRef,
  ) {}

  /**
   * Hosted: `up` while the doors are open, `degraded` while the store stalls or memory runs short,
   * `down` before `listen`, after `close` and when the store has failed. Joined: `up` while
   * connected, `degraded` while it comes back, `down` when that takes too long.
   *
   * A version of terminus that does not know `degraded` (before 12) is told `up`, with the message.
   * Rejects with NidoNestError when there is no such broker.
   */
  async check<const Key extends string>(
    key: Key,
    options: NidoHealthOptions = {},
  ): Promise<HealthIndicatorResult<Key>> {
    const watched = this.#watch(options.broker ?? DEFAULT_NAME);
    const [health, details] =
      watched.link.mode === 'host' ? hosted(watched, options) : joined(watched, options);
    const session = this.indicators.check(key);
    const data = { ...details };
    if (health === 'down') return session.down(data);
    const knowsDegraded = typeof (session as Partial<typeof session>).degraded === 'function';
    if (health === 'degraded' && knowsDegraded) return session.degraded(data);
    return session.up(data);
  }

  #watch(name: string): Watched {
    const known = this.#watched.get(name);
    if (known !== undefined) return known;
    const watched: Watched = { link: this.#link(name), status: undefined, lostAt: undefined };
    watched.link.status.subscribe((status) => {
      watched.status = status;
      if (status === 'connected') watched.lostAt = undefined;
      else watched.lostAt ??= performance.now();
    });
    this.#watched.set(name, watched);
    return watched;
  }

  #link(name: string): Link {
    try {
      return this.modules.get<Link>(getLinkToken(name), { strict: false });
    } catch (error) {
      throw new NidoNestError(
        'NIDO_NEST_OPTION_INVALID',
        `NidoHealthIndicator: there is no broker ${name} in this application. Import ` +
          'NidoModule.forRoot(...), or give its name as option broker',
        { cause: error },
      );
    }
  }
}

function hosted({ link, status }: Watched, options: NidoHealthOptions): Finding {
  const broker = link.native() as Broker;
  const { clientsConnected, memoryBytes, memoryUsedBytes, queuedMessages } = broker.stats();
  const usedBytes = Object.values(memoryUsedBytes).reduce((sum, used) => sum + used, 0);
  const memoryUsed = Math.round((usedBytes / memoryBytes) * PERCENT) / PERCENT;
  const details: NidoHealthDetails = {
    mode: 'host',
    connection: status ?? 'not opened',
    clients: clientsConnected,
    engine: broker.engineState,
    memoryUsed,
    queuedMessages,
  };
  const told = (health: Health, message: string): Finding => [health, { ...details, message }];
  if (status === undefined) return told('down', 'the doors are not open: nobody called listen');
  if (status !== 'listening') return told('down', `the broker is ${status}`);
  if (broker.engineState === 'failed') return told('down', 'the store has failed for good');
  if (broker.engineState === 'stalled') {
    return told('degraded', 'the disk refuses writes: nothing is acknowledged until it takes them');
  }
  const { memoryUsedMax = MEMORY_USED_MAX } = options;
  if (usedBytes >= memoryBytes * memoryUsedMax) {
    return told('degraded', `${memoryUsed * PERCENT} % of limits.memoryBytes is in use`);
  }
  return ['up', details];
}

function joined({ status, lostAt }: Watched, options: NidoHealthOptions): Finding {
  const details: NidoHealthDetails = { mode: 'join', connection: status ?? 'not opened' };
  if (status === 'connected') return ['up', details];
  if (status === undefined) return ['down', { ...details, message: 'it was never connected' }];
  if (status === 'closed') return ['down', { ...details, message: 'the connection is closed' }];
  const { reconnectingMsMax = RECONNECTING_MS_MAX } = options;
  const lostMs = lostAt === undefined ? 0 : performance.now() - lostAt;
  const message = `no connection to the broker for ${Math.round(lostMs)} ms`;
  return [lostMs < reconnectingMsMax ? 'degraded' : 'down', { ...details, message }];
}
