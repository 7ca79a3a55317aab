/**
 * Typed events of the client. A listener that throws stops neither the others nor the client; an
 * `error` that nobody hears is no reason to end the process.
 */
import { EventEmitter } from 'node:events';
import type { ConnackFields, DisconnectPacket, DropReason, Qos } from '../core/contract.js';
import type { NidoClientError } from './errors.js';

export interface ConnectEvent {
  readonly sessionPresent: boolean;
  /** The identifier in force, also when the server assigned it. */
  readonly clientIdentifier: string;
  /** `mqtt://host:port` of the server that accepted. */
  readonly server: string;
  readonly connack: ConnackFields;
}
export interface ReconnectEvent {
  /** 1 for the first attempt after the connection was lost. */
  readonly attempt: number;
  readonly server: string;
}
export interface HandlerFailedEvent {
  readonly topicFilter: string;
  readonly topicName: string;
  readonly error: unknown;
  /** `retried`: it will be called again. The others are the end of it. */
  readonly outcome: 'retried' | 'refused' | 'dead-lettered' | 'dropped';
}
export interface DroppedEvent {
  readonly topicName: string;
  readonly qos: Qos;
  readonly reason: DropReason;
}

export interface ClientEvents {
  /** The server has accepted. */
  connect: [event: ConnectEvent];
  /** Another attempt begins. */
  reconnect: [event: ReconnectEvent];
  /** A connection, or an attempt at one, is over. */
  close: [error?: NidoClientError];
  /** The client was connected and is not any more. */
  offline: [];
  /** Something failed. The client goes on by itself, unless its `status` is `closed`. */
  error: [error: NidoClientError];
  /** The server said goodbye (MQTT 5). */
  disconnect: [packet: DisconnectPacket];
  /** `end` is complete, or the client has given up: nothing follows. */
  end: [];
  handlerFailed: [event: HandlerFailedEvent];
  /** A message could not be kept. */
  dropped: [event: DroppedEvent];
}

export type ClientEventName = keyof ClientEvents;
export type ClientEventListener<Name extends ClientEventName> =
  (...event: ClientEvents[Name]) => void;

export class ClientEmitter {
  readonly #emitter = new EventEmitter();
  readonly #threw: (name: ClientEventName, error: unknown) => void;

  constructor(threw: (name: ClientEventName, error: unknown) => void) {
    this.#threw = threw;
    this.#emitter.setMaxListeners(0);
  }

  tell<Name extends ClientEventName>(name: Name, ...event: ClientEvents[Name]): void {
    for (const listener of this.#emitter.rawListeners(name)) {
      try {
        Reflect.apply(listener, undefined, event);
      } catch (error) {
        this.#threw(name, error);
      }
    }
  }
  on<Name extends ClientEventName>(name: Name, listener: ClientEventListener<Name>): void {
    this.#emitter.on(name, listener as () => void);
  }
  once<Name extends ClientEventName>(name: Name, listener: ClientEventListener<Name>): void {
    this.#emitter.once(name, listener as () => void);
  }
  off<Name extends ClientEventName>(name: Name, listener: ClientEventListener<Name>): void {
    this.#emitter.off(name, listener as () => void);
  }
}
