/** How far a start has come that takes long: what is stored may be millions of records. */
import type { Clock } from './clock.js';
import type { RestoringEvent } from './events.js';

/** As often it is told. */
const TELL_MS = 2_000;
/** Records between two looks at the clock. */
const LOOK_RECORDS = 1_024;

export class RestoreProgress {
  readonly #counts = {
    converted: 0, sessions: 0, subscriptions: 0, retainedMessages: 0, queuedMessages: 0,
  };
  readonly #clock: Clock;
  readonly #tell: (event: RestoringEvent) => void;
  #records = 0;
  #toldAt: number;

  constructor(clock: Clock, tell: (event: RestoringEvent) => void) {
    this.#clock = clock;
    this.#tell = tell;
    this.#toldAt = clock.now();
  }

  /** One more. */
  count(what: keyof RestoringEvent): void {
    this.#counts[what] += 1;
    this.#records += 1;
    if (this.#records % LOOK_RECORDS === 0) this.#look();
  }
  /** So many in all. */
  converted(records: number): void {
    this.#counts.converted = records;
    this.#look();
  }
  #look(): void {
    const now = this.#clock.now();
    if (now - this.#toldAt < TELL_MS) return;
    this.#toldAt = now;
    this.#tell({ ...this.#counts });
  }
}
