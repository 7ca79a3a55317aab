/**
 * A store for the sessions that are kept: it takes its time, commits in order, and says no now and
 * then. What it has been given and not been told to be done with has leaked.
 */
import { NOT_STORED } from '../../../lib/core/durable.js';
import type {
  Append, DurableEntry, DurableEvents, DurableMessage, DurableSide,
} from '../../../lib/core/durable.js';
import type { Core } from '../../../lib/core/core.js';
import type { SessionHandle } from '../../../lib/core/contract.js';
import type { Schedule } from './network.js';

const NUMBER_STEP = 16; // the numbers between belong to the copies of one message
const COMMIT_MS_MAX = 200;
const UNSTORED_TOPIC = 'u';

export class SimulatedStore implements DurableEvents {
  /** `session number` */
  private readonly entries = new Set<string>();
  private readonly gone = new Set<SessionHandle>();
  private readonly side: DurableSide;
  private waiting: (() => void)[] = [];
  private number = 0;

  constructor(
    private readonly schedule: Schedule, core: Core,
    /** MQTT 3 has no word for it: its publisher is cut off, or it would be acknowledged. */
    private readonly refused: (publisher: SessionHandle) => void,
  ) {
    this.side = core.closeGate(this);
  }

  keep(session: SessionHandle): void {
    this.side.keep(session);
  }
  get leftover(): number {
    return this.entries.size;
  }

  /** One batch is on its way at a time; what comes meanwhile joins the next. */
  private later(fn: () => void): void {
    this.waiting.push(fn);
    if (this.waiting.length !== 1) return;
    this.schedule.after(this.schedule.below(COMMIT_MS_MAX), () => {
      const batch = this.waiting;
      this.waiting = [];
      for (const commit of batch) commit();
      this.side.settle();
    });
  }

  append(append: Append): number {
    if (append.others === 'none' && append.retained === 'unchanged' && this.schedule.chance(0.02)) {
      this.refused(append.publisher);
      return 0;
    }
    // Overrides of durability depend on the Topic Name alone.
    if (append.message?.topicName.toString() === UNSTORED_TOPIC) return NOT_STORED;
    this.number += NUMBER_STEP;
    for (const { copy, session } of append.entries) {
      this.entries.add(`${session} ${this.number + copy}`);
    }
    this.later(() => this.side.commit(append.gate));
    return this.number;
  }
  retained(): void {
    // Nothing is read back.
  }
  done(session: SessionHandle, number: number): void {
    this.take(session, number);
  }
  private take(session: SessionHandle, number: number): void {
    // What was at the gate when its session ended moves later.
    if (!this.entries.delete(`${session} ${number}`) && !this.gone.has(session)) {
      throw new Error(`entry ${number} is not stored for session ${session}`);
    }
  }
  release(session: SessionHandle, packetIdentifier: number): void {
    this.later(() => this.side.commitRelease(session, packetIdentifier));
  }
  pubrel(connection: number, _session: SessionHandle, packetIdentifier: number): void {
    this.later(() => this.side.commitPubrel(connection, packetIdentifier));
  }
  moved(
    from: SessionHandle, number: number, _message: DurableMessage, entry: DurableEntry | undefined,
  ): void {
    this.take(from, number);
    if (entry !== undefined) this.entries.add(`${entry.session} ${number}`);
  }
  ended(session: SessionHandle): void {
    this.gone.add(session);
    for (const key of this.entries) if (key.startsWith(`${session} `)) this.entries.delete(key);
  }
}
