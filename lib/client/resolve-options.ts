/** From what an application wrote to complete, checked options. */
import { randomBytes } from 'node:crypto';
import { isUint8Array } from 'node:util/types';
import type { BrokerLogger } from '../broker/logger.js';
import type { ProtocolVersion, Qos, WillMessage } from '../core/contract.js';
import { clientLimits } from './client-limits.js';
import { NidoClientError } from './errors.js';
import {
  messageProperties, pairsProblem, propertiesProblem, userPairs,
} from './message-properties.js';
import { engineOf } from './engine-option.js';
import type {
  ClientFileEngine, ClientOptions, ClientProtocol, ServerAddress, WillOptions,
} from './options.js';
import { OPTIONS_TABLE, OWN_OPTIONS } from './options-table.js';
import { checkProtocol, makeTarget, parseUrl } from './server-target.js';
import type { ServerTarget } from './server-target.js';
import { textProblem } from './wire-text.js';

/** MQTT.js names of things that have another name here, and what only MQTT.js knows. */
interface ForeignOptions {
  readonly defaultProtocol?: string;
  readonly unixSocket?: boolean;
  readonly auth?: string;
  readonly keyPath?: string;
  readonly certPath?: string;
  readonly caPaths?: string | readonly string[];
  readonly protocolId?: string;
}
type GivenOptions = ClientOptions & ForeignOptions;

/** Numbers are complete; what has no default stays undefined. */
export interface ResolvedOptions
  extends Omit<ClientOptions, 'will' | 'password' | 'logger' | 'engine'> {
  /** Undefined = in memory. */
  readonly engine?: { readonly file: ClientFileEngine };
  readonly targets: readonly ServerTarget[];
  readonly clientIdentifier: string;
  /** Nobody asked for an identifier. */
  readonly clientIdentifierIsDefault: boolean;
  readonly protocolVersion: ProtocolVersion;
  /** Nobody asked for a version: an older one will do. */
  readonly versionIsDefault: boolean;
  readonly cleanStart: boolean;
  readonly sessionExpiryInterval: number;
  readonly keepAliveSeconds: number;
  readonly password?: Uint8Array;
  readonly willMessage?: WillMessage;
  readonly receiveMaximum: number;
  readonly maximumPacketSize: number;
  readonly topicAliasMaximum: number;
  readonly limits: ResolvedLimits;
  readonly logger: BrokerLogger;
}

export interface ResolvedLimits {
  readonly memoryBytes: number;
  readonly packetBytesMax: number;
  readonly queueMessagesMax: number;
  readonly queueBytesMax: number;
  readonly handlerConcurrency: number;
  readonly handlerTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly endDeadlineMs: number;
  readonly connectTimeout: number;
  readonly reconnectPeriod: number;
  readonly reconnectPeriodMax: number;
}

const BY_KEY = new Map(OPTIONS_TABLE.map((entry) => [entry.key, entry]));
const OWN = new Set(OWN_OPTIONS);
const SESSION_FOR_EVER = 0xffff_ffff;
const PROTOCOL_IDS: Readonly<Record<number, string>> = { 3: 'MQIsdp', 4: 'MQTT', 5: 'MQTT' };
const WASM_PAGE_BYTES = 65_536;

export function resolveOptions(
  first: string | ClientOptions, second: ClientOptions = {},
): ResolvedOptions {
  const url = typeof first === 'string' ? parseUrl(first) : {};
  const given: GivenOptions = typeof first === 'string' ? second : { ...first, ...second };
  const logger = loggerOf(given.logger);
  checkKeys(given, logger);
  const options = translate(given);
  const [authUser, authPassword] = splitAuth(given.auth);
  const protocolVersion = options.protocolVersion ?? 5;
  checkVersion(protocolVersion, given.protocolId);
  const password = options.password ?? url.password ?? authPassword;
  const properties = options.properties ?? {};
  const engine = engineOf(options.engine);
  const cleanStart = options.clean ?? engine === undefined;
  const clientId = options.clientId ?? url.clientId;
  const resolved: ResolvedOptions = {
    ...options,
    targets: targetsOf(options, given, url),
    clientIdentifier: clientId ?? randomClientIdentifier(),
    clientIdentifierIsDefault: clientId === undefined,
    engine,
    protocolVersion,
    versionIsDefault: options.protocolVersion === undefined,
    cleanStart,
    sessionExpiryInterval:
      properties.sessionExpiryInterval ?? (cleanStart ? 0 : SESSION_FOR_EVER),
    keepAliveSeconds: options.keepalive ?? clientLimits.keepaliveSeconds,
    username: options.username ?? url.username ?? authUser,
    password: bytesOf('password', password),
    willMessage: options.will === undefined ? undefined : willMessage(options.will),
    receiveMaximum: properties.receiveMaximum ?? clientLimits.receiveMaximum,
    maximumPacketSize:
      properties.maximumPacketSize ?? options.packetBytesMax ?? clientLimits.packetBytesMax,
    topicAliasMaximum: properties.topicAliasMaximum ?? clientLimits.topicAliasMaximum,
    limits: limitsOf(options),
    logger,
  };
  checkRanges(resolved);
  checkTexts(resolved);
  const problem = protocolVersion === 5 ? undefined : oldVersionProblem(resolved);
  if (problem !== undefined) throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID', problem);
  return resolved;
}

function checkKeys(given: object, logger: BrokerLogger): void {
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue;
    const entry = BY_KEY.get(key);
    if (entry === undefined) {
      if (OWN.has(key)) continue;
      throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
        `${key}: there is no such option; see ClientOptions`);
    }
    if (entry.fate === 'refused') {
      throw new NidoClientError('NIDO_CLIENT_OPTION_REFUSED',
        `${key}: this option of MQTT.js has no meaning here: ${entry.note}`);
    }
    if (entry.fate === 'ignored') {
      logger.warn(`nidomq client: option ${key} is ignored: ${entry.note}`);
    }
  }
}

/** MQTT.js names become ours. */
function translate(given: GivenOptions): ClientOptions {
  const { keyPath, certPath, caPaths, ...rest } = given;
  return {
    ...rest,
    keyFile: rest.keyFile ?? keyPath,
    certFile: rest.certFile ?? certPath,
    caFile: rest.caFile ?? caPaths,
    host: rest.host ?? rest.hostname,
  };
}

function targetsOf(
  options: ClientOptions, given: GivenOptions, url: ReturnType<typeof parseUrl>,
): ServerTarget[] {
  const protocol = (options.protocol ?? url.protocol ?? given.defaultProtocol) as
    ClientProtocol | undefined;
  if (options.servers !== undefined && options.servers.length > 0) {
    return options.servers.map((server: unknown) => {
      if (typeof server !== 'object' || server === null) {
        throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
          `servers: ${String(server)} is not an object such as { host, port, protocol }`);
      }
      const address = server as ServerAddress;
      return makeTarget({ ...address, protocol: address.protocol ?? protocol }, options);
    });
  }
  const address: ServerAddress = {
    protocol: given.unixSocket === true ? 'unix' : protocol && checkProtocol(protocol),
    host: options.host ?? url.host ?? 'localhost',
    port: options.port ?? url.port,
    path: options.path ?? url.path,
  };
  return [makeTarget(address, options)];
}

function splitAuth(auth: string | undefined): [string | undefined, string | undefined] {
  if (auth === undefined) return [undefined, undefined];
  const colon = auth.indexOf(':');
  return colon < 0 ? [auth, undefined] : [auth.slice(0, colon), auth.slice(colon + 1)];
}

function checkVersion(version: number, protocolId: string | undefined): void {
  const id = PROTOCOL_IDS[version];
  if (id === undefined) {
    throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
      `protocolVersion: ${version} is not one of 3 (MQTT 3.1), 4 (3.1.1), 5 (5.0)`);
  }
  if (protocolId !== undefined && protocolId !== id) {
    throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
      `protocolId: ${protocolId} does not fit protocolVersion ${version}, whose name is ${id}`);
  }
}

function willMessage(will: WillOptions): WillMessage {
  const { willDelayInterval = 0, ...properties } = will.properties ?? {};
  return {
    topicName: will.topic,
    payload: bytesOf('will.payload', will.payload) ?? NOTHING,
    qos: will.qos ?? 0,
    retain: will.retain ?? false,
    willDelayIntervalSeconds: willDelayInterval,
    properties: messageProperties(properties) ?? {},
  };
}

const NOTHING = Buffer.alloc(0);

function bytesOf(name: string, given: unknown): Uint8Array | undefined {
  if (given === undefined || given === null) return undefined;
  if (typeof given === 'string') return Buffer.from(given);
  if (isUint8Array(given)) return given;
  throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
    `${name} is neither a string nor a Uint8Array (Buffer)`);
}

function limitsOf(options: ClientOptions): ResolvedLimits {
  const limit = (name: keyof ResolvedLimits): number => options[name] ?? clientLimits[name];
  return {
    memoryBytes: Math.ceil(limit('memoryBytes') / WASM_PAGE_BYTES) * WASM_PAGE_BYTES,
    packetBytesMax: limit('packetBytesMax'),
    queueMessagesMax: limit('queueMessagesMax'),
    queueBytesMax: limit('queueBytesMax'),
    handlerConcurrency: limit('handlerConcurrency'),
    handlerTimeoutMs: limit('handlerTimeoutMs'),
    requestTimeoutMs: limit('requestTimeoutMs'),
    endDeadlineMs: limit('endDeadlineMs'),
    connectTimeout: limit('connectTimeout'),
    reconnectPeriod: limit('reconnectPeriod'),
    // Who asks for a first pause that is longer than the default of the longest gets it.
    reconnectPeriodMax: options.reconnectPeriodMax
      ?? Math.max(limit('reconnectPeriodMax'), limit('reconnectPeriod')),
  };
}

const MEMORY_BYTES_MIN = 8 * 1024 * 1024;
const MEMORY_BYTES_MAX = 4 * 1024 * 1024 * 1024 - WASM_PAGE_BYTES;
const TIMER_MS_MAX = 0x7fff_ffff;

function checkRanges(options: ResolvedOptions): void {
  const { limits } = options;
  const will: Qos | undefined = options.willMessage?.qos;
  const ranges: readonly (readonly [string, number | undefined, number, number])[] = [
    ['keepalive', options.keepAliveSeconds, 0, 65_535],
    ['properties.receiveMaximum', options.receiveMaximum, 1, 65_535],
    ['properties.maximumPacketSize', options.maximumPacketSize, 64, 268_435_460],
    ['properties.topicAliasMaximum', options.topicAliasMaximum, 0, 65_535],
    ['properties.sessionExpiryInterval', options.sessionExpiryInterval, 0, SESSION_FOR_EVER],
    ['will.qos', will, 0, 2],
    ['will.properties.willDelayInterval', options.willMessage?.willDelayIntervalSeconds, 0,
      SESSION_FOR_EVER],
    ['memoryBytes', limits.memoryBytes, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX],
    ['packetBytesMax', limits.packetBytesMax, 64, 268_435_460],
    ['queueMessagesMax', limits.queueMessagesMax, 1, 10_000_000],
    ['queueBytesMax', limits.queueBytesMax, 1024, MEMORY_BYTES_MAX],
    ['inflightMax', options.inflightMax, 1, 65_535],
    ['handlerConcurrency', limits.handlerConcurrency, 1, 65_535],
    ['handlerTimeoutMs', limits.handlerTimeoutMs, 0, TIMER_MS_MAX],
    ['requestTimeoutMs', limits.requestTimeoutMs, 1, TIMER_MS_MAX],
    ['endDeadlineMs', limits.endDeadlineMs, 0, TIMER_MS_MAX],
    ['connectTimeout', limits.connectTimeout, 1, TIMER_MS_MAX],
    ['reconnectPeriod', limits.reconnectPeriod, 0, TIMER_MS_MAX],
    ['reconnectPeriodMax', limits.reconnectPeriodMax, 1, TIMER_MS_MAX],
  ];
  for (const [name, value, min, max] of ranges) checkNumber(name, value, min, max);
}

/** What MQTT 3.x does not allow in a CONNECT; undefined when it could be sent. */
export function oldVersionProblem(options: ResolvedOptions): string | undefined {
  if (options.password !== undefined && options.username === undefined) { // 3.1.1 [MQTT-3.1.2-22]
    return 'password: MQTT 3.x has no password without a username';
  }
  if (options.clientIdentifier === '' && !options.cleanStart) { // 3.1.1 [MQTT-3.1.3-7]
    return 'clientId: MQTT 3.x has no empty identifier without `clean`';
  }
  return undefined;
}

/** Nothing that is no MQTT string gets as far as a CONNECT. */
function checkTexts(options: ResolvedOptions): void {
  const { willMessage: will } = options;
  const problems: readonly (readonly [string, string | undefined])[] = [
    ['clientId', textProblem(options.clientIdentifier)], // [MQTT-3.1.3-4]
    // 3.1.1 [MQTT-3.1.3-11], 5.0 [MQTT-3.1.3-12]
    ['username', options.username === undefined ? undefined : textProblem(options.username)],
    // 3.1.1 [MQTT-3.1.3-10], 5.0 [MQTT-3.1.3-11]
    ['will.topic', will === undefined ? undefined : willTopicProblem(will.topicName)],
    ['will.properties', propertiesProblem(will?.properties)],
    ['properties', pairsProblem(userPairs(options.properties?.userProperties))],
  ];
  for (const [name, problem] of problems) {
    if (problem !== undefined) {
      throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID', `${name} ${problem}`);
    }
  }
}

function willTopicProblem(topicName: string): string | undefined {
  if (topicName === '') return 'is empty';
  return /[+#]/.test(topicName) ? 'holds a wildcard' : textProblem(topicName);
}

export function checkNumber(
  name: string, value: number | undefined, min: number, max: number,
): void {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return;
  throw new NidoClientError('NIDO_CLIENT_OPTION_INVALID',
    `${name}: ${String(value)} is not a whole number from ${min} to ${max}`);
}

function randomClientIdentifier(): string {
  return `nidomq_${randomBytes(8).toString('hex')}`;
}

function loggerOf(given: BrokerLogger | false | undefined): BrokerLogger {
  if (given === false) return SILENT;
  return given ?? WARNINGS;
}
const SILENT: BrokerLogger = { error: () => {}, warn: () => {} };
const WARNINGS: BrokerLogger = {
  error: (message) => process.emitWarning(message),
  warn: (message) => process.emitWarning(message),
};
