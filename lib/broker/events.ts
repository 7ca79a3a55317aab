/**
 * What a Broker tells its owner. Listeners run in the order of the events; one that throws is
 * logged and disturbs nobody.
 */
import type { DropReason, ProtocolVersion, Qos } from '../core/contract.js';
import type { EngineError, EngineState } from '../engine/index.js';
import type { TransportKind } from '../listener/transport.js';

/** Whose it is: the same Client Identifier behind another mount point is somebody else. */
export interface NamedClient {
  readonly clientId: string;
  /** Left out for clients that see all topics. */
  readonly mountPoint?: string;
}
/** Who a client is and where it came from. */
export interface ClientDescription extends NamedClient {
  readonly username?: string;
  readonly protocolVersion: ProtocolVersion;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly transport: TransportKind;
  readonly listener: string;
}
export interface ClientConnectedEvent extends ClientDescription {
  readonly sessionPresent: boolean;
  readonly keepAliveSeconds: number;
}
export interface ClientDisconnectedEvent extends ClientDescription {
  /** Who ended it. `network`: the connection broke, or closed without DISCONNECT. */
  readonly by: 'client' | 'broker' | 'network';
  /** Of the DISCONNECT that was sent or received; 0x80 when there was none. */
  readonly reasonCode: number;
  readonly reason: string;
}
export interface ConnectionRefusedEvent {
  readonly clientId: string;
  readonly username?: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly listener: string;
  /** A CONNACK Reason Code of MQTT 5. */
  readonly reasonCode: number;
  readonly reason: string;
}
export interface SubscriptionEvent extends NamedClient {
  /** As the broker knows it: with the mount point. */
  readonly topicFilter: string;
  /** As granted. */
  readonly qos: Qos;
}
export interface WillEvent extends NamedClient {
  readonly topicName: string;
  readonly qos: Qos;
  readonly retain: boolean;
}
export interface SessionEndedEvent extends NamedClient {
  readonly reason: 'expired' | 'clean-start' | 'connection-closed' | 'administrative';
}
/**
 * `clientId` is whose message it was to be, or who published what was refused; `''` for a handler
 * of this process or when nobody in particular loses it.
 */
export interface MessageDroppedEvent extends NamedClient {
  readonly topicName: string;
  readonly qos: Qos;
  readonly reason: DropReason;
  /** The reason that an interceptor gave. */
  readonly detail?: string;
}
export interface HandlerFailedEvent {
  readonly topicFilter: string;
  readonly topicName: string;
  readonly reasonCode: number;
  readonly error: unknown;
}
export interface ListeningEvent {
  readonly name: string;
  readonly address: string;
  readonly port?: number;
}

/** What a start has done so far. */
export interface RestoringEvent {
  /** Records that an earlier version of nidomq wrote and that are written anew. */
  readonly converted: number;
  readonly sessions: number;
  readonly subscriptions: number;
  readonly retainedMessages: number;
  /** Those that memory takes, not those that stay in the store. */
  readonly queuedMessages: number;
}

export interface BrokerEvents {
  /** Every two seconds while `listen()` takes over what the engine keeps. */
  restoring: [RestoringEvent];
  listening: [ListeningEvent];
  clientConnected: [ClientConnectedEvent];
  clientDisconnected: [ClientDisconnectedEvent];
  connectionRefused: [ConnectionRefusedEvent];
  subscribed: [SubscriptionEvent];
  unsubscribed: [SubscriptionEvent];
  willPublished: [WillEvent];
  sessionEnded: [SessionEndedEvent];
  messageDropped: [MessageDroppedEvent];
  handlerFailed: [HandlerFailedEvent];
  /** A hook or listener of the owner threw, or the broker met its own bug. Also logged. */
  problem: [{ readonly where: string; readonly error: unknown }];
  /**
   * The engine: `ok`, `stalled` (nothing is acknowledged until the disk takes writes again) or
   * `failed` (it never will in this process).
   */
  engineState: [{ readonly state: EngineState; readonly error: EngineError | undefined }];
  closed: [];
}
