/** What an application may say to `connect`, under the names that MQTT.js users know. */
import type { Socket } from 'node:net';
import type { BrokerLogger } from '../broker/logger.js';
import type { AuthPacket, ProtocolVersion, Qos, UserProperties } from '../core/contract.js';
import type { TlsConnectOptions, WebSocketConnectOptions } from '../listener/index.js';

/** User Properties as pairs, or as an object whose values may be lists. */
export type UserPropertiesInput =
  | UserProperties
  | Readonly<Record<string, string | readonly string[]>>;

export interface PublishProperties {
  readonly payloadFormatIndicator?: 0 | 1 | boolean;
  readonly messageExpiryInterval?: number;
  readonly contentType?: string;
  readonly responseTopic?: string;
  readonly correlationData?: Uint8Array;
  readonly userProperties?: UserPropertiesInput;
}

export interface WillOptions {
  readonly topic: string;
  readonly payload?: Uint8Array | string;
  readonly qos?: Qos;
  readonly retain?: boolean;
  readonly properties?: PublishProperties & { readonly willDelayInterval?: number };
}

/** Properties of CONNECT (MQTT 5). */
export interface ConnectProperties {
  /** Seconds that the server keeps the session. Default: 0 with `clean`, else for ever. */
  readonly sessionExpiryInterval?: number;
  readonly receiveMaximum?: number;
  readonly maximumPacketSize?: number;
  readonly topicAliasMaximum?: number;
  readonly requestResponseInformation?: boolean;
  readonly requestProblemInformation?: boolean;
  readonly userProperties?: UserPropertiesInput;
  readonly authenticationMethod?: string;
  readonly authenticationData?: Uint8Array;
}

export type ClientProtocol =
  'mqtt' | 'mqtts' | 'tcp' | 'ssl' | 'tls' | 'ws' | 'wss' | 'unix' | 'mqtt+unix';

export interface ServerAddress {
  readonly host: string;
  readonly port?: number;
  readonly protocol?: ClientProtocol;
  readonly path?: string;
}

/** Enhanced authentication (MQTT 5): the exchange of AUTH packets, for example SCRAM. */
export interface EnhancedAuthentication {
  /** Authentication Method of CONNECT. */
  readonly method: string;
  /** Authentication Data of CONNECT, and of a re-authentication. A new exchange begins. */
  start(): AuthenticationData | Promise<AuthenticationData>;
  /** The server asks on: what to answer. Throw to give up. */
  continue(
    data: Uint8Array | undefined, packet: AuthPacket,
  ): AuthenticationData | Promise<AuthenticationData>;
  /** The server's last word, with which it may prove itself. Throw to refuse the server. */
  finish?(data: Uint8Array | undefined): void;
}
export type AuthenticationData = Uint8Array | undefined;

export type ClientEngineOption = 'memory' | { readonly file: ClientFileEngine };

export interface ClientFileEngine {
  /** A directory, made when it does not exist. */
  readonly path: string;
  /** `disk` (default) survives power loss, `os` survives kill -9. */
  readonly durability?: 'disk' | 'os';
  /** A store that has lost something: `refuse` (default) it, or `report` and go on. */
  readonly onLoss?: 'refuse' | 'report';
}

export interface ClientOptions extends Pick<TlsConnectOptions,
  'ca' | 'cert' | 'key' | 'pfx' | 'passphrase' | 'ciphers' | 'minVersion' | 'maxVersion' | 'crl'
  | 'caFile' | 'certFile' | 'keyFile' | 'pfxFile' | 'servername' | 'ALPNProtocols'
  | 'rejectUnauthorized' | 'checkServerIdentity' | 'psk' | 'secureOptions' | 'ecdhCurve'
  | 'sigalgs'> {
  // --- where ---
  readonly protocol?: ClientProtocol;
  readonly host?: string;
  /** Same as `host`. */
  readonly hostname?: string;
  readonly port?: number;
  /** Path of a WebSocket (default `/mqtt`) or of a unix socket. */
  readonly path?: string;
  readonly servers?: readonly ServerAddress[];
  readonly wsOptions?: WebSocketConnectOptions;
  /** Appended to the path of a WebSocket. */
  readonly query?: Readonly<Record<string, string>>;
  /** Opens the socket of every attempt, for example through a proxy. For TCP and TLS. */
  readonly createSocket?: (server: ServerAddress) => Socket | Promise<Socket>;
  readonly family?: number;
  readonly localAddress?: string;
  /** `follow` (default): goes where CONNACK or DISCONNECT sends it with a Server Reference. */
  readonly serverReference?: 'follow' | 'ignore';

  // --- who ---
  readonly clientId?: string;
  /** Default 5; when nothing was said and the server does not know it, 4 (3.1.1). */
  readonly protocolVersion?: ProtocolVersion;
  /**
   * Default true: the session begins anew. With a `sessionExpiryInterval` this is said once, and
   * every reconnect of this client takes its session up again.
   */
  readonly clean?: boolean;
  readonly username?: string;
  readonly password?: Uint8Array | string;
  /** Seconds; 0 turns it off. Default 60. */
  readonly keepalive?: number;
  readonly will?: WillOptions;
  readonly properties?: ConnectProperties;
  readonly enhancedAuthentication?: EnhancedAuthentication;

  // --- coming back ---
  /** First delay in ms; it doubles up to `reconnectPeriodMax`. 0 = never reconnect. */
  readonly reconnectPeriod?: number;
  readonly reconnectPeriodMax?: number;
  /** Time in ms for the way to CONNACK. */
  readonly connectTimeout?: number;
  /** Try again even after a refusal that will come again (bad password). Default false. */
  readonly reconnectOnConnackError?: boolean;
  /** Default true. */
  readonly resubscribe?: boolean;
  /** Nothing happens until `client.start()`. */
  readonly manualConnect?: boolean;

  // --- bounds ---
  readonly memoryBytes?: number;
  readonly packetBytesMax?: number;
  readonly queueMessagesMax?: number;
  readonly queueBytesMax?: number;
  /**
   * A full queue: `reject` (default) refuses the new message, `drop-oldest` the oldest one that was
   * never sent.
   */
  readonly queueOverflow?: 'reject' | 'drop-oldest';
  /** Whether QoS 0 waits in the queue while offline. Default true. */
  readonly queueQoSZero?: boolean;
  /**
   * Where messages on their way wait. `memory` (default): they survive lost connections, not the
   * end of the process. `file`: publishes of QoS 1 and 2 and the exchanges of QoS 2 are stored in
   * this directory (by the package classic-level, loaded only then) before they count, and go on
   * after a crash: in their order, QoS 2 exactly once while the server keeps the session. So
   * `clean` is false by default then. Without a `clientId` the stored one is taken. One client per
   * directory. QoS 0 is not stored.
   */
  readonly engine?: ClientEngineOption;
  /**
   * QoS 1 and 2 messages that are sent and not acknowledged, at most. With MQTT 5 the server's
   * Receive Maximum counts when it is less. Default: 65,535 with MQTT 5; 20 with MQTT 3.x, where a
   * server cannot say what it takes, and may lose what exceeds it without a word.
   */
  readonly inflightMax?: number;
  readonly handlerConcurrency?: number;
  readonly handlerTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
  readonly endDeadlineMs?: number;
  /** false = says nothing. Default: nothing but warnings about options, to `console.warn`. */
  readonly logger?: BrokerLogger | false;
}

export interface PublishOptions {
  readonly qos?: Qos;
  readonly retain?: boolean;
  readonly properties?: PublishProperties;
  /**
   * What the promise waits for. `acknowledged` (default): the end of the exchange with the server.
   * `stored`: the message is in the store (`engine: { file }`, QoS 1 and 2) and will be sent, in
   * this process or a later one; what the server says to it later is an event when it refuses.
   */
  readonly until?: 'acknowledged' | 'stored';
}

export interface PublishResult {
  /** 0, or 0x10 when the server said that nobody has subscribed. */
  readonly reasonCode: number;
}

export interface RequestOptions {
  readonly qos?: Qos;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly properties?: Omit<PublishProperties, 'responseTopic' | 'correlationData'>;
}

export interface RetryOptions {
  /** Calls after the first one. */
  readonly attempts: number;
  /** Before the second call; doubles up to `delayMsMax`. Default 100. */
  readonly delayMs?: number;
  /** Default 10,000. */
  readonly delayMsMax?: number;
}

export interface UnsubscribeOptions {
  /** Of UNSUBSCRIBE (MQTT 5). */
  readonly properties?: { readonly userProperties?: UserPropertiesInput };
}

export interface SubscribeOptions {
  /** Highest QoS. Default 0, as in MQTT.js. */
  readonly qos?: Qos;
  /** No Local: nothing that this client published (MQTT 5). */
  readonly nl?: boolean;
  /** Retain As Published (MQTT 5). */
  readonly rap?: boolean;
  /** Retain Handling (MQTT 5): 0 now, 1 if the subscription is new, 2 never. */
  readonly rh?: 0 | 1 | 2;
  readonly properties?: {
    readonly userProperties?: UserPropertiesInput;
    /** 1 to 268,435,455. Default: one for each filter, with which the client tells copies apart. */
    readonly subscriptionIdentifier?: number;
  };
  /** Messages at work at the same time. Default `handlerConcurrency`. */
  readonly concurrency?: number;
  /**
   * `after-handler` (default): PUBACK or PUBREC waits for the handler. `on-receipt`: it does not,
   * and a message whose handler fails is lost.
   */
  readonly ack?: 'after-handler' | 'on-receipt';
  /** One call of the handler may take this long; 0 = for ever. Default 30,000. */
  readonly handlerTimeoutMs?: number;
  /** Default: none. A call that ran out of time is not repeated: it may still be at work. */
  readonly retries?: RetryOptions;
  /** Where a message goes when its handler has failed for good; then it counts as done. */
  readonly deadLetterTopic?: string;
  /** What the server is told otherwise (MQTT 5). Default: the error's `reasonCode`, else 0x80. */
  readonly failureReasonCode?: number;
}
