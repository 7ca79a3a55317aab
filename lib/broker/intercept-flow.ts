/**
 * Where messages meet the interceptors: the core asks about a PUBLISH of a client, and its
 * connection waits; wills and messages of this process come here before the core has them.
 *
 *     PUBLISH:            core -- intercept --> asked    -- pass, replace, drop --> core
 *     will, this process:                       ask      -- decided --> core.publish
 *
 * Order: a connection waits as a whole. What does not come in a PUBLISH is asked about one after
 * the other for each topic.
 */
import type { ConnectionHandle, Delivery } from '../core/contract.js';
import type { ResolvedBrokerOptions } from './broker-options.js';
import type { BrokerContext } from './context.js';
import { reportProblem } from './context.js';
import { isLater, whenDecided } from './decision.js';
import type { InterceptedMessage, MessageInterceptor } from './hooks.js';
import { Interceptors, PASS } from './interception.js';
import type { Outcome } from './interception.js';
import { UNSPECIFIED_ERROR } from './reason-codes.js';
import type { ClientConnection } from './records.js';

type Decided = (outcome: Outcome) => void;

interface Waiting {
  readonly message: InterceptedMessage;
  readonly wanting: readonly MessageInterceptor[];
  readonly decided: Decided;
}

export class InterceptFlow {
  readonly #context: BrokerContext;
  /** undefined when there is none: then nothing is asked. */
  #interceptors: Interceptors | undefined;
  /** Topics with a message of this process that is with the interceptors: what waits behind it. */
  readonly #lines = new Map<string, Waiting[]>();
  #waiting = 0;

  constructor(context: BrokerContext) {
    this.#context = context;
    this.guardsChanged(context.options);
  }

  /** What is with the former interceptors is theirs to answer. */
  guardsChanged({ interceptors }: ResolvedBrokerOptions): void {
    if (interceptors.length === (this.#interceptors?.size ?? 0)) return;
    this.#interceptors?.close();
    this.#interceptors = new Interceptors(this.#context, interceptors);
    this.#context.core.setInterceptors(this.#interceptors.topicFilters);
  }

  get isInUse(): boolean {
    return this.#interceptors !== undefined;
  }

  close(): void {
    this.#interceptors?.close();
  }

  /** The core holds this PUBLISH until it is answered. */
  asked(connection: ClientConnection, message: Delivery): void {
    const { handle, identity } = connection;
    if (this.#interceptors === undefined || identity === undefined) return;
    const { topicName } = message;
    const outcome = this.#interceptors.ask({
      origin: 'client',
      clientId: identity.clientId,
      identity,
      topicName,
      payload: message.payload,
      qos: message.qos,
      retain: message.retain,
      properties: message.properties,
    }, this.#interceptors.wantingKnown(topicName));
    whenDecided(
      outcome,
      (decided) => this.#answer(handle, decided),
      (error) => reportProblem(this.#context, 'interceptor', error),
    );
  }

  /**
   * A message that did not come in a PUBLISH. `decided` is called once, within this call or later.
   * False: too many wait already, and it is not called.
   */
  ask(message: InterceptedMessage, decided: Decided): boolean {
    const { topicName } = message;
    const line = this.#lines.get(topicName);
    const wanting = this.#interceptors?.wanting(topicName) ?? [];
    if (wanting.length === 0) {
      decided(PASS);
      return true;
    }
    if (this.#waiting >= this.#context.options.limits.interceptWaitingMax) return false;
    this.#waiting += 1;
    if (line === undefined) {
      this.#lines.set(topicName, [{ message, wanting, decided }]);
      this.#work(topicName);
    } else {
      line.push({ message, wanting, decided });
    }
    return true;
  }

  /** Asks about one message of the line after the other, until an answer is not there at once. */
  #work(topicName: string): void {
    const line = this.#lines.get(topicName)!;
    for (let next = line.at(0); next !== undefined; next = line.at(0)) {
      const { message, wanting, decided } = next;
      const outcome = this.#interceptors!.ask(message, wanting);
      if (isLater(outcome)) {
        void outcome.then((late) => {
          this.#leave(line, decided, late);
          this.#work(topicName);
        });
        return;
      }
      this.#leave(line, decided, outcome);
    }
    this.#lines.delete(topicName);
  }

  #leave(line: Waiting[], decided: Decided, outcome: Outcome): void {
    line.shift();
    this.#waiting -= 1;
    try {
      decided(outcome);
    } catch (error) {
      reportProblem(this.#context, 'interceptor', error);
    }
  }

  #answer(handle: ConnectionHandle, outcome: Outcome): void {
    const { core } = this.#context;
    // The core ignores an answer for a connection that has gone: its handle is void.
    switch (outcome.kind) {
      case 'pass': core.passIntercepted(handle); break;
      case 'drop': core.dropIntercepted(handle, outcome.reasonCode); break;
      default:
        try {
          core.replaceIntercepted(handle, outcome.message);
        } catch (error) {
          reportProblem(this.#context, 'interceptor', error);
          core.dropIntercepted(handle, UNSPECIFIED_ERROR);
        }
    }
  }
}
