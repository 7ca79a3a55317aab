/** What every part of the control plane shares. */
import type { CoreControl } from '../core/contract.js';
import type { BrokerLog } from './broker-log.js';
import type { ResolvedBrokerOptions } from './broker-options.js';
import type { Clock } from './clock.js';
import { messageOf } from './errors.js';
import type { BrokerEvents } from './events.js';
import type { SessionStore } from './session-store.js';
import type { TimerWheel } from './timer-wheel.js';

/** Hands events to the owner. */
export interface EventTeller {
  /** Whether somebody listens: ask before an event object is made on a busy path. */
  hears(name: keyof BrokerEvents): boolean;
  tell<Name extends keyof BrokerEvents>(name: Name, ...event: BrokerEvents[Name]): void;
}

/** Counts since the broker was made; `stats()` and $SYS show them. */
export interface ControlCounters {
  connectionsAccepted: number;
  connectionsRefused: number;
  clientsConnected: number;
  clientsMaximum: number;
  sessionsExpired: number;
  willsPublished: number;
  handlerRuns: number;
  handlerFailures: number;
}

export interface BrokerContext {
  readonly core: CoreControl;
  readonly options: ResolvedBrokerOptions;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly log: BrokerLog;
  readonly events: EventTeller;
  readonly counters: ControlCounters;
  readonly store: SessionStore;
}

export function emptyCounters(): ControlCounters {
  return {
    connectionsAccepted: 0,
    connectionsRefused: 0,
    clientsConnected: 0,
    clientsMaximum: 0,
    sessionsExpired: 0,
    willsPublished: 0,
    handlerRuns: 0,
    handlerFailures: 0,
  };
}

/**
 * The owner's code (hook, handler, event listener) or our own threw where nobody else can be told.
 */
export function reportProblem(context: BrokerContext, where: string, error: unknown): void {
  context.log.error('problem', { where, error: messageOf(error) });
  context.events.tell('problem', { where, error });
}
