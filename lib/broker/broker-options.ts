/**
 * What `new Broker(...)` takes, and what it becomes. The table of defaults and limits is
 * option-table.ts.
 */
import type { Durability, FileEngineOptions } from '../engine/index.js';
import type { ListenerOptions } from '../listener/index.js';
import type {
  Authenticator,
  Authorizer,
  ConnectionGatekeeper,
  EnhancedAuthenticator,
  MessageInterceptor,
} from './hooks.js';
import type { BrokerLogger } from './logger.js';

/**
 * One door: what a listener understands, and who may come in. Host is 127.0.0.1 and port 1883 when
 * left out.
 */
export interface ListenerSettings extends ListenerOptions {
  /**
   * Lets clients in that no authenticator decided about. Default: only on loopback, without
   * authentication.
   */
  readonly allowAnonymous?: boolean;
  /**
   * What messages that come in here are promised, where no rule of `engine.file.topics` is about
   * their topic. The engine's durability when left out.
   */
  readonly durability?: Durability;
  /**
   * A prefix for the topics of all clients that come in here, for example `tenant-a/`: they see
   * what is below it and nothing else. `%c` and `%u` stand for the client's identifier and user
   * name, which then may not hold `/` or wildcards. Sessions belong to their mount point.
   */
  readonly mountPoint?: string;
  /** For clients of this listener, instead of the broker's. */
  readonly limits?: Partial<ListenerLimits>;
  readonly mqtt?: Partial<ListenerMqtt>;
}

/** Limits that a listener may have of its own. A session is held to those of its connection. */
export type ListenerLimits = Pick<
  LimitSettings,
  | 'packetBytesMax' | 'receiveMaximum' | 'inflightMax' | 'topicAliasMaximum' | 'topicLevelsMax'
  | 'userPropertiesMax' | 'unauthenticatedBytesMax' | 'connectTimeoutSeconds' | 'clientIdBytesMax'
  | 'slabBytesMax' | 'slabWatermarkBytes' | 'heldBytesMax' | 'subscriptionsPerSessionMax'
>;
export type ListenerMqtt = Omit<MqttSettings, 'sharedStrategy'>;

export interface LimitSettings {
  readonly memoryBytes: number;
  readonly packetBytesMax: number;
  readonly receiveMaximum: number;
  readonly inflightMax: number;
  readonly topicAliasMaximum: number;
  readonly topicLevelsMax: number;
  readonly topicCacheMax: number;
  readonly userPropertiesMax: number;
  readonly unauthenticatedBytesMax: number;
  readonly connectTimeoutSeconds: number;
  readonly clientIdBytesMax: number;
  readonly queueMessagesMax: number;
  readonly queueBytesMax: number;
  readonly queueMemoryMessagesMax: number;
  readonly queueMemoryBytesMax: number;
  readonly slabBytesMax: number;
  readonly slabWatermarkBytes: number;
  readonly heldBytesMax: number;
  readonly unstoredBytesMax: number;
  readonly withholdSecondsMax: number;
  readonly retainedMessagesMax: number;
  readonly retainedBytesMax: number;
  readonly connectionsMax: number;
  readonly sessionsMax: number;
  readonly subscriptionsPerSessionMax: number;
  readonly handlerConcurrency: number;
  readonly handlerTimeoutMs: number;
  readonly interceptTimeoutMs: number;
  readonly interceptWaitingMax: number;
  readonly dropEventsPerTurnMax: number;
  readonly closeDeadlineMs: number;
}

export interface MqttSettings {
  readonly maximumQos: 0 | 1 | 2;
  readonly retainAvailable: boolean;
  readonly wildcardSubscriptionAvailable: boolean;
  readonly sharedSubscriptionAvailable: boolean;
  readonly subscriptionIdentifiersAvailable: boolean;
  readonly sharedStrategy: 'round-robin' | 'sticky' | 'hash-client' | 'hash-topic';
  readonly validatePayloadFormat: boolean;
  readonly serverKeepAliveSeconds: number;
  readonly keepAliveSecondsMax: number;
  readonly sessionExpirySecondsMax: number;
  readonly sessionExpirySecondsMaxV3: number;
  readonly responseInformation: string;
  readonly serverReference: string;
  readonly sessionOfAnotherUser: 'refuse' | 'resume';
}

export interface SysSettings {
  readonly intervalSeconds: number;
}

/** `memory`: nothing survives the process. `file`: a directory of this broker's own. */
export type EngineOption = 'memory' | { readonly file: FileEngineSettings };

export interface FileEngineSettings extends FileEngineOptions {
  /** What messages of these topics are promised; the first rule that matches decides. */
  readonly topics?: readonly TopicDurability[];
}
/**
 * With `memory` a message to persistent sessions is not stored: a restart loses it. Where a session
 * gets it at QoS 2 it is kept as with `os`, so that no Packet Identifier is given twice.
 */
export interface TopicDurability {
  readonly topicFilter: string;
  readonly durability: Durability;
}

/** Who decides about clients: options of a broker, or added to one later. */
export interface GuardOptions {
  readonly authentication?: readonly Authenticator[];
  readonly authorization?: readonly Authorizer[];
  readonly interceptors?: readonly MessageInterceptor[];
}

/** Options of a broker as its owner writes them; everything has a default. */
export interface BrokerOptions extends GuardOptions {
  readonly listeners?: readonly ListenerSettings[];
  /** Where sessions, queues and retained messages live. */
  readonly engine?: EngineOption;
  readonly allowAnonymous?: boolean;
  readonly enhancedAuthentication?: readonly EnhancedAuthenticator[];
  readonly gate?: ConnectionGatekeeper;
  readonly logger?: BrokerLogger | false;
  readonly limits?: Partial<LimitSettings>;
  readonly mqtt?: Partial<MqttSettings>;
  readonly sys?: Partial<SysSettings>;
}

/** The same with every default filled in. */
export interface ResolvedBrokerOptions {
  readonly listeners: readonly ListenerSettings[];
  readonly engine: EngineOption;
  /** undefined: decided by the rule of the loopback. */
  readonly allowAnonymous: boolean | undefined;
  readonly authentication: readonly Authenticator[];
  readonly enhancedAuthentication: readonly EnhancedAuthenticator[];
  readonly authorization: readonly Authorizer[];
  readonly interceptors: readonly MessageInterceptor[];
  readonly gate: ConnectionGatekeeper | undefined;
  readonly logger: BrokerLogger | false | undefined;
  readonly limits: LimitSettings;
  readonly mqtt: MqttSettings;
  readonly sys: SysSettings;
}
