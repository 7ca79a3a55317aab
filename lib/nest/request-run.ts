/**
 * One request at work: the values of its handler go out as replies until the stream is complete,
 * an error, silent for too long, or the application closes.
 */
import type { WritePacket } from '@nestjs/microservices';
import type { ScheduledTask } from '../broker/clock.js';
import type { Observable, Subscription } from 'rxjs';
import { NidoNestError } from './errors.js';
import type { Replier } from './replies.js';

export interface RequestRunParts {
  readonly replier: Replier;
  /** What the handler has returned. */
  readonly values: Observable<unknown>;
  /** Nest's `Server.send`. */
  readonly stream: (
    values: Observable<unknown>, respond: (packet: WritePacket) => Promise<void>,
  ) => Subscription;
  /** Milliseconds without a value; 0 = no limit. */
  readonly timeoutMs: number;
  readonly schedule: (task: () => void, ms: number) => ScheduledTask;
  /** The error of a handler that says nothing for so long. */
  readonly late: () => Error;
  /** A reply could not be published. */
  readonly unpublished: (error: unknown) => void;
}

/** When the application closes, a stream that has been silent for so long is let go. */
const SILENCE_MS = 1_000;

export class RequestRun {
  /** Resolves when nothing more will be answered. */
  readonly done: Promise<void>;
  readonly #parts: RequestRunParts;
  #finish!: () => void;
  #subscription: Subscription | undefined;
  #timer: ScheduledTask | undefined;
  #silence: NodeJS.Timeout | undefined;
  #state: 'silent' | 'streaming' | 'ended' = 'silent';

  constructor(parts: RequestRunParts) {
    this.#parts = parts;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#arm();
    const subscription = parts.stream(parts.values, (packet) => this.#answer(packet));
    if (this.#isEnded) subscription.unsubscribe();
    else this.#subscription = subscription;
  }

  /** The application closes: a stream whose values keep coming may go on for now. */
  drain(): void {
    if (this.#state === 'streaming') this.#awaitValue();
  }

  /**
   * Waiting is over. Who has had a part of a stream is told that there is no more of it; a request
   * that has no answer yet stays as it is, for whoever gets the message next.
   */
  stop(): void {
    if (this.#state === 'streaming') this.#fail(closing());
    else if (this.#state === 'silent') this.#letGo();
  }

  get #isEnded(): boolean {
    return this.#state === 'ended';
  }

  async #answer(packet: WritePacket): Promise<void> {
    if (this.#isEnded) return;
    this.#state = 'streaming';
    const { replier, unpublished } = this.#parts;
    this.#arm();
    if (this.#silence !== undefined) this.#awaitValue();
    try {
      if ((await replier.respond(packet)) === 'more') return;
    } catch (error) {
      unpublished(error);
    }
    this.#end();
  }

  #arm(): void {
    this.#timer?.cancel();
    const { timeoutMs, schedule, late } = this.#parts;
    if (timeoutMs > 0) this.#timer = schedule(() => this.#fail(late()), timeoutMs);
  }

  #awaitValue(): void {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#fail(closing()), SILENCE_MS);
  }

  #fail(error: Error): void {
    const { replier, unpublished } = this.#parts;
    this.#letGo();
    replier.fail(error).catch(unpublished).finally(() => this.#finish());
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#letGo();
    this.#finish();
  }

  #letGo(): void {
    this.#state = 'ended';
    this.#timer?.cancel();
    clearTimeout(this.#silence);
    this.#subscription?.unsubscribe();
  }
}

function closing(): Error {
  return new NidoNestError('NIDO_NEST_CLOSED', 'the application that answers is closing');
}
