/** NestJS on MQTT: the same handlers, whether the application hosts the broker or joins one. */
import 'reflect-metadata';

export { Broker } from '../broker/broker.js';
export type * from '../broker/events.js';
export type {
  AuthenticationResult, Authenticator, Authorizer, ConnectRequest, Identity, InterceptedMessage,
  Interception,
} from '../broker/hooks.js';
export type { MessageProperties, Qos, UserProperties } from '../core/contract.js';
export { auto, buffer, cbor, json, msgpack, text } from './codec.js';
export type { BinaryFormat, Codec } from './codec.js';
export {
  MqttAuthenticator, MqttAuthorizer, MqttInterceptor, OnBrokerEvent, OnClientConnected,
  OnClientDisconnected, OnConnectionRefused, OnDropped, OnSessionEnded, OnSubscribed,
  OnUnsubscribed, OnWill,
} from './decorators/hosted.decorator.js';
export type { HostedRoleOptions, OnBrokerEventOptions } from './decorators/hosted.decorator.js';
export { InjectBroker, InjectNido, InjectStrategy } from './decorators/inject.decorator.js';
export { OnRequest, OnTopic, TopicPrefix } from './decorators/on-topic.decorator.js';
export type { OnTopicOptions } from './decorators/on-topic.decorator.js';
export {
  MqttIdentity, MqttPacket, MqttUserProperties, TopicParam,
} from './decorators/params.decorator.js';
export { CodecError, MqttReasonException, NidoNestError, NidoTimeoutError } from './errors.js';
export type { NestErrorCode } from './errors.js';
export type {
  AuthResult, ConnectInfo, NidoAuthenticator, NidoAuthorizer, NidoInterceptor,
} from './hosted-hooks.js';
export type { JoinOptions, PacketDeserializer, PacketSerializer } from './link/join-options.js';
export type { IncomingMessage, NidoMode, NidoStatus } from './link/link.js';
export { NidoClient } from './nido.client.js';
export type {
  NidoClientOptions, ObserveOptions, ObservedMessage, RequestOptions, SendOptions,
} from './nido.client.js';
export { NidoContext } from './nido.context.js';
export type { NackOptions } from './nido.context.js';
export { NidoModule } from './nido.module.js';
export type { NidoAsyncOptions, NidoFeature, NidoOptionsFactory } from './nido.module.js';
export { NidoStrategy } from './nido.strategy.js';
export type { NidoEvents } from './nido.strategy.js';
export type {
  AckPolicy, FailurePolicy, FinalFailure, HandlerOptions, HostOptions, NidoHostOptions,
  NidoJoinOptions, NidoOptions, RetryPolicy, SharedOptions,
} from './options.js';
export { transportIdOf } from './options.js';
export { PublishPacket } from './packet.js';
export type { PublishPacketProperties, UserPropertyRecord } from './packet.js';
export {
  getBrokerToken, getClientToken, getLinkToken, getStrategyToken,
} from './tokens.js';
export { topic } from './topic-template.js';
export type { TopicParamNames, TopicParams } from './topic-template.js';
