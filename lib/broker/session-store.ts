/**
 * What the control plane has kept beyond this process. With the memory engine that is nothing, and
 * every question is answered at once: one code path, whatever the engine.
 */
import type { SubscribeOptions } from '../core/contract.js';
import type { Session } from './records.js';

export interface SessionStore {
  /** Too much waits for the disk: nothing new should be begun that has to be stored. */
  isFull(): boolean;
  /** A client is being accepted: its session, will and expiry stand as they will be. */
  connected(session: Session): void;
  /** CONNACK is written: what waits may follow. */
  opened(session: Session): void;
  /** Its connection has ended; the session goes on. */
  detached(session: Session): void;
  sessionEnded(session: Session): void;
  /** The will was published or withdrawn. */
  willGone(session: Session): void;
  subscribed(session: Session, topicFilter: string, options: SubscribeOptions): void;
  unsubscribed(session: Session, topicFilter: string): void;
  /** Calls back when what was said of this session is durable; at once when it is not kept. */
  after(session: Session, callback: () => void): void;
  /** Calls back when everything that was said so far is durable. */
  afterAll(callback: () => void): void;
}

/** The memory engine's. */
export const NOTHING_STORED: SessionStore = {
  isFull: () => false,
  connected: () => undefined,
  opened: () => undefined,
  detached: () => undefined,
  sessionEnded: () => undefined,
  willGone: () => undefined,
  subscribed: () => undefined,
  unsubscribed: () => undefined,
  after: (_session, callback) => callback(),
  afterAll: (callback) => callback(),
};
