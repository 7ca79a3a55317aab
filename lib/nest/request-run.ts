/**
 * One request at work: the values of its handler go out as replies until the stream is complete,
 * an error, silent for too long, or the application closes.
 */
import type { WritePacket } from '@nestjs/microservices';
import type { ScheduledTask } from '../broker/clock.js';
import type { Observable, Subscription } from 'rxjs';
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

export class RequestRun {
  /** Resolves when nothing more will be answered. */
  readonly done: Promise<void>;
  readonly #parts: RequestRunParts;
  #finish!: () => void;
  #subscription: Subscription | undefined;
  #timer: ScheduledTask | undefined;
  #state: 'running' | 'ended' = 'running';

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

  /** The application closes: nothing more is answered, and the stream is let go. */
  stop(): void {
    this.#end();
  }

  get #isEnded(): boolean {
    return this.#state === 'ended';
  }

  async #answer(packet: WritePacket): Promise<void> {
    if (this.#isEnded) return;
    const { replier, unpublished } = this.#parts;
    this.#arm();
    try {
      if ((await replier.respond(packet)) === 'more') return;
    } catch (error) {
      unpublished(error);
    }
    this.#end();
  }

  #arm(): void {
    this.#timer?.cancel();
    const { timeoutMs, schedule } = this.#parts;
    if (timeoutMs > 0) this.#timer = schedule(() => this.#late(), timeoutMs);
  }

  #late(): void {
    const { replier, late, unpublished } = this.#parts;
    replier.fail(late()).catch(unpublished).finally(() => this.#end());
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#state = 'ended';
    this.#timer?.cancel();
    this.#subscription?.unsubscribe();
    this.#finish();
  }
}
