/**
 * What let a client in may end while it is inside: its user leaves the password file, its key the
 * key set, its token is taken back. When an authenticator says that something of the kind has
 * happened, everybody whom it concerns is asked about again.
 */
import type { ResolvedBrokerOptions } from './broker-options.js';
import type { Connections } from './connections.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { isLater } from './decision.js';
import type { Soon } from './decision.js';
import { NOT_AUTHORIZED } from './reason-codes.js';
import type { ClientConnection } from './records.js';

/** Answers that are awaited at the same time. */
const TOGETHER = 64;

export class IdentityReview {
  readonly #context: BrokerContext;
  readonly #connections: Connections;
  readonly #known = new Set<object>();
  #state: 'idle' | 'at work' | 'asked again' = 'idle';

  constructor(context: BrokerContext, connections: Connections) {
    this.#context = context;
    this.#connections = connections;
    this.guardsChanged(context.options);
  }

  guardsChanged({ authentication, enhancedAuthentication }: ResolvedBrokerOptions): void {
    for (const authenticator of [...authentication, ...enhancedAuthentication]) {
      if (this.#known.has(authenticator)) continue;
      this.#known.add(authenticator);
      authenticator.onChange?.(() => this.begin());
    }
  }

  begin(): void {
    if (this.#state === 'idle') void this.#work();
    else this.#state = 'asked again';
  }

  async #work(): Promise<void> {
    do {
      this.#state = 'at work';
      const awaited: Promise<void>[] = [];
      for (const connection of [...this.#connections.all()]) {
        const looked = this.#look(connection);
        if (looked !== undefined) awaited.push(looked);
        if (awaited.length === TOGETHER) await Promise.all(awaited.splice(0));
      }
      await Promise.all(awaited);
    } while (this.#wasAskedAgain());
    this.#state = 'idle';
  }

  #wasAskedAgain(): boolean {
    return this.#state === 'asked again';
  }

  #look(connection: ClientConnection): Promise<void> | undefined {
    const { stillHolds } = connection;
    if (stillHolds === undefined) return undefined;
    const answer = this.#ask(stillHolds);
    const decided = (holds: boolean): void => {
      // It may have proved anew who it is: then this answer is about something else.
      if (holds === true || connection.stillHolds !== stillHolds) return;
      const reason = 'what let this client in does not hold any more';
      this.#connections.cutOff(connection, NOT_AUTHORIZED, reason);
    };
    if (isLater(answer)) return answer.then(decided);
    decided(answer);
    return undefined;
  }

  #ask(stillHolds: () => Soon<boolean>): Soon<boolean> {
    try {
      const answer = stillHolds();
      return isLater(answer) ? answer.catch((error: unknown) => this.#failed(error)) : answer;
    } catch (error) {
      return this.#failed(error);
    }
  }

  #failed(error: unknown): false {
    reportProblem(this.#context, 'authenticator', error);
    return false;
  }
}
