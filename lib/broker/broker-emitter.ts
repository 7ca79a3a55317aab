/**
 * Typed events over Node's emitter. A listener that throws is reported and stops neither the others
 * nor the broker.
 */
import { EventEmitter } from 'node:events';
import type { EventTeller } from './context.js';
import type { BrokerEvents } from './events.js';

export type EventName = keyof BrokerEvents;
export type EventListener<Name extends EventName> = (...event: BrokerEvents[Name]) => void;

export class BrokerEmitter implements EventTeller {
  readonly #emitter = new EventEmitter();
  readonly #threw: (name: EventName, error: unknown) => void;

  constructor(threw: (name: EventName, error: unknown) => void) {
    this.#threw = threw;
    this.#emitter.setMaxListeners(0);
  }

  hears(name: EventName): boolean {
    return this.#emitter.listenerCount(name) > 0;
  }

  tell<Name extends EventName>(name: Name, ...event: BrokerEvents[Name]): void {
    if (!this.hears(name)) return;
    // `rawListeners` answers a copy: who is removed meanwhile is still told, as with emit.
    for (const listener of this.#emitter.rawListeners(name)) this.#call(name, listener, event);
  }

  on<Name extends EventName>(name: Name, listener: EventListener<Name>): void {
    this.#emitter.on(name, listener as () => void);
  }

  once<Name extends EventName>(name: Name, listener: EventListener<Name>): void {
    this.#emitter.once(name, listener as () => void);
  }

  off<Name extends EventName>(name: Name, listener: EventListener<Name>): void {
    this.#emitter.off(name, listener as () => void);
  }

  #call(name: EventName, listener: CallableFunction, event: readonly unknown[]): void {
    try {
      Reflect.apply(listener, undefined, event);
    } catch (error) {
      this.#threw(name, error);
    }
  }
}
