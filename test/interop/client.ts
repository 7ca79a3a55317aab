/** What the scenarios ask of a foreign client library, and the queue of what it received. */
import type { Endpoint } from '../conformance/wire/peer.js';
import type { Version } from '../conformance/wire/packets.js';

/** MQTT 5 properties of a message, under one spelling for all libraries. */
export interface MessageProperties {
  readonly payloadFormat?: number;
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: string;
  readonly user?: readonly (readonly [string, string])[];
  readonly subscriptionIdentifier?: number;
}

export interface Message {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: number;
  readonly retain: boolean;
  readonly properties: MessageProperties;
}

export interface ConnectSettings {
  readonly endpoint: Endpoint;
  readonly version: Version;
  readonly clientId: string;
  /** The session outlives the connection. */
  readonly persistent?: boolean;
  readonly will?: { topic: string; payload: string; qos: 0 | 1 | 2; retain: boolean };
}

export interface PublishSettings {
  readonly qos?: 0 | 1 | 2;
  readonly retain?: boolean;
  readonly properties?: MessageProperties;
}

export interface InteropClient {
  readonly sessionPresent: boolean;
  readonly inbox: Inbox;
  subscribe(filter: string, qos: 0 | 1 | 2, subscriptionIdentifier?: number): Promise<void>;
  unsubscribe(filter: string): Promise<void>;
  /** Resolves when the exchange of its QoS is complete. */
  publish(topic: string, payload: Buffer | string, settings?: PublishSettings): Promise<void>;
  /** DISCONNECT and close. */
  end(): Promise<void>;
  /** The network fails. */
  cut(): Promise<void>;
}

export interface Library {
  readonly name: string;
  connect(settings: ConnectSettings): Promise<InteropClient>;
  close(): Promise<void>;
}

/** Seconds of session expiry that a persistent MQTT 5 client asks for. */
export const SESSION_EXPIRY_SECONDS = 300;
const MESSAGE_MS = 8000;
const SILENCE_MS = 150;

export class Inbox {
  private readonly queue: Message[] = [];
  private wake: () => void = () => undefined;

  add(message: Message): void {
    this.queue.push(message);
    this.wake();
  }

  async next(ms = MESSAGE_MS): Promise<Message> {
    const end = Date.now() + ms;
    while (this.queue.length === 0) {
      const left = end - Date.now();
      if (left <= 0) throw new Error(`no message within ${ms} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.queue.shift() as Message;
  }

  async expectNothing(ms = SILENCE_MS): Promise<void> {
    const message = await this.next(ms).catch(() => undefined);
    if (message) throw new Error(`expected nothing, got a message on ${message.topic}`);
  }
}
