/** The broker, ready to be hosted by an application. */
export { Broker } from './broker/broker.js';
export type {
  BrokerInternals, BrokerStats, ClientInfo, CloseOptions, DisconnectClientOptions,
} from './broker/broker.js';
export type {
  BrokerOptions, GuardOptions, LimitSettings, ListenerSettings, MqttSettings, ResolvedBrokerOptions,
  SysSettings,
} from './broker/broker-options.js';
export type { Clock, ScheduledTask } from './broker/clock.js';
export { BrokerError, OptionError, PublishError } from './broker/errors.js';
export type { BrokerErrorCode } from './broker/errors.js';
export type * from './broker/events.js';
export { EngineError, checkDirectory, restoreSnapshot, snapshotDirectory } from './engine/index.js';
export type {
  CheckReport, Durability, EngineErrorCode, EngineState, FileEngineOptions, Loss, SnapshotReport,
} from './engine/index.js';
export type {
  MessageHandler, ReceivedMessage, SubscribeHandlerOptions, Subscription,
} from './broker/handlers.js';
export type * from './broker/hooks.js';
export type { MessageProperties } from './core/contract.js';
export type { BrokerLogger } from './broker/logger.js';
export { OPTION_TABLE, resolveOptions } from './broker/options.js';
export type { OptionSpec } from './broker/options.js';
export type { PublishOptions } from './broker/publisher.js';
export {
  AnonymousAuthenticator, CertificateAuthenticator, ChainAuthenticator, HttpAuthenticator,
  JwtAuthenticator, PasswordAuthenticator, PasswordFileAuthenticator, ScramAuthenticator,
  UsersAuthenticator, BanList, ConnectionGate, GuardError, createAuthorizer, createGuard,
  hashPassword, guardLimitDefaults, redactingLogger, testAcl, verifyPassword,
} from './guard/index.js';
export type {
  AccessRule, AclAnswer, AclQuestion, AuthenticationConfig, AuthorizationConfig, Ban, BanKind,
  CertificateOptions, ConfiguredUser, Guard, GuardConfig, GuardLimits, HttpAuthenticatorOptions,
  JwtAlgorithm, JwtKeys, JwtOptions, RulesAuthorizer, ScramOptions, ScramUser,
} from './guard/index.js';
