/**
 * Every option of the broker in one table. Validation, the command line and the docs read it;
 * nothing else holds a default.
 */

import { optionsOfListeners } from './listener-option-table.js';

export type OptionType = 'integer' | 'boolean' | 'string' | 'enum' | 'list' | 'object' | 'any';

export interface OptionSpec {
  /** `limits.packetBytesMax`. `listeners[].port` is the option of every element of a list. */
  readonly path: string;
  readonly type: OptionType;
  /**
   * What holds when the option is left out; undefined means that leaving it out has a meaning of
   * its own.
   */
  readonly default: unknown;
  readonly unit: string;
  readonly description: string;
  readonly allowed?: readonly (string | number)[];
  readonly min?: number;
  readonly max?: number;
  /** `code`: only a program can give it (an object with functions), not the command line. */
  readonly source: 'any' | 'code';
}

/** A default, not an instruction: it stands in the table under its path. */
type Toggle = boolean | undefined;
type Range = readonly [min: number, max: number];
const KIB = 1_024;
const MIB = 1_024 * KIB;
const COUNT_MAX = 1_000_000_000;
/** Handles of the core have 20 bits for the slot; a few stay free for this process itself. */
const HANDLES_MAX = 1_038_575;
const SECONDS_FOREVER = 0xffff_ffff;
/** `WebAssembly.Memory` counts pages of 64 KiB in 32 bits. */
const MEMORY_BYTES_MAX = 4_096 * MIB - 64 * KIB;

function integer(
  path: string,
  value: number,
  unit: string,
  range: Range,
  description: string,
): OptionSpec {
  return {
    path,
    type: 'integer',
    default: value,
    unit,
    description,
    min: range[0],
    max: range[1],
    source: 'any',
  };
}

function toggle(path: string, value: Toggle, description: string): OptionSpec {
  return { path, type: 'boolean', default: value, unit: '', description, source: 'any' };
}

function text(path: string, value: string | undefined, description: string): OptionSpec {
  return { path, type: 'string', default: value, unit: '', description, source: 'any' };
}

function choice(
  path: string,
  value: string | number,
  allowed: readonly (string | number)[],
  description: string,
): OptionSpec {
  return { path, type: 'enum', default: value, unit: '', description, allowed, source: 'any' };
}

function hooks(path: string, description: string): OptionSpec {
  return { path, type: 'list', default: [], unit: '', description, source: 'code' };
}

const GENERAL: readonly OptionSpec[] = [
  {
    path: 'listeners',
    type: 'list',
    default: [],
    unit: '',
    source: 'any',
    description: 'Doors that clients come in through. None: the broker serves its own process only',
  },
  text(
    'listeners[].name',
    undefined,
    'Name in logs and for authenticators; the address when left out',
  ),
  text('listeners[].host', '127.0.0.1', 'Address to bind; 127.0.0.1 is this machine only'),
  integer('listeners[].port', 1_883, 'port', [0, 65_535], 'TCP port; 0 lets the system choose one'),
  text('listeners[].path', undefined, 'Path of a unix socket, instead of host and port'),
  {
    path: 'listeners[].tls',
    type: 'object',
    default: undefined,
    unit: '',
    source: 'any',
    description:
      "Makes it TLS: options of Node's tls.createServer (cert, key, ca, requestCert, ...)",
  },
  {
    path: 'listeners[].ws',
    type: 'any',
    default: undefined,
    unit: '',
    source: 'any',
    description: 'Makes it WebSocket: the path (for example /mqtt) or an object of options',
  },
  {
    path: 'listeners[].proxyProtocol',
    type: 'any',
    default: undefined,
    unit: '',
    source: 'any',
    description: 'PROXY protocol of trusted sources in front of this door',
  },
  integer(
    'listeners[].connectionsMax',
    1_000_000,
    'connections',
    [1, COUNT_MAX],
    'Open connections of this door',
  ),
  integer(
    'listeners[].backlog',
    2_048,
    'connections',
    [1, 65_535],
    'Connections that the system holds before they are accepted',
  ),
  integer(
    'listeners[].handshakeDeadlineMs',
    10_000,
    'ms',
    [1, 3_600_000],
    'Time for the TLS handshake and for the HTTP request of a WebSocket, each',
  ),
  toggle('listeners[].keepAlive', true, 'TCP keep-alive'),
  integer(
    'listeners[].keepAliveInitialDelay',
    60_000,
    'ms',
    [0, 86_400_000],
    'Silence before TCP keep-alive asks',
  ),
  toggle('listeners[].exclusive', false, 'Not shared with other workers of a cluster'),
  toggle('listeners[].ipv6Only', false, 'An IPv6 address takes no IPv4 connections'),
  toggle('listeners[].readableAll', false, 'Everybody may read the unix socket'),
  toggle('listeners[].writableAll', false, 'Everybody may write to the unix socket'),
  toggle(
    'listeners[].allowAnonymous',
    undefined,
    'Lets clients in that no authenticator decided about; left out: as allowAnonymous',
  ),
  text(
    'listeners[].mountPoint',
    undefined,
    'Prefix of the topics of all clients of this listener, ending in /; %c and %u stand for the ' +
      'Client Identifier and the User Name. Left out: they see every topic',
  ),
  {
    path: 'listeners[].durability',
    type: 'enum',
    default: undefined,
    allowed: ['disk', 'os', 'memory'],
    unit: '',
    source: 'any',
    description:
      'What messages that come in here are promised, where no rule of engine.file.topics is ' +
      'about their topic; left out: as the engine',
  },
  {
    path: 'engine',
    type: 'any',
    default: 'memory',
    unit: '',
    source: 'any',
    description:
      "Where sessions, queues and retained messages live: 'memory', or " +
      "{ file: { path, durability: 'disk' | 'os' | 'memory', onLoss: 'refuse' | 'report', " +
      'topics: [{ topicFilter, durability }] } }',
  },
  toggle(
    'allowAnonymous',
    undefined,
    'Lets clients in that no authenticator decided about; left out: loopback listeners only, ' +
      'and only while there is no authentication',
  ),
  hooks('authentication', 'Authenticators, asked in order; the first that decides has decided'),
  hooks('enhancedAuthentication', 'Authentication Methods of MQTT 5 (AUTH packets)'),
  hooks('authorization', 'Authorizers; a publish or subscription needs the consent of all of them'),
  {
    path: 'gate',
    type: 'object',
    default: undefined,
    unit: '',
    source: 'code',
    description: 'Counts who comes and goes: bans, rates, connections per address and user',
  },
  hooks('interceptors', 'Look at messages before they are routed: change or drop them'),
  {
    path: 'logger',
    type: 'any',
    default: undefined,
    unit: '',
    source: 'code',
    description: 'Where log lines go; false is silence; left out: warnings and errors to stderr',
  },
];

const LIMITS: readonly OptionSpec[] = [
  integer(
    'limits.memoryBytes',
    256 * MIB,
    'bytes',
    [16 * MIB, MEMORY_BYTES_MAX],
    'Memory of the core, fixed at start: queues, retained messages, index, buffers',
  ),
  integer(
    'limits.packetBytesMax',
    MIB,
    'bytes',
    [64, 268_435_455 + 5],
    'Largest packet of a client; announced as Maximum Packet Size',
  ),
  integer(
    'limits.receiveMaximum',
    65_535, // clients that do not look at it (MQTT.js 5) must not be cut off for a burst
    'messages',
    [1, 65_535],
    'Unacknowledged QoS 1 and 2 messages from one client; announced as Receive Maximum',
  ),
  integer(
    'limits.inflightMax',
    1_024,
    'messages',
    [1, 65_535],
    'Unacknowledged QoS 1 and 2 messages to one client, whatever Receive Maximum it announces',
  ),
  integer(
    'limits.topicAliasMaximum',
    32,
    'aliases',
    [0, 65_535],
    'Topic aliases of one connection, in each direction; 0 turns them off',
  ),
  integer(
    'limits.topicLevelsMax',
    256,
    'levels',
    [1, 65_535],
    'Levels of a Topic Name or Topic Filter',
  ),
  integer(
    'limits.topicCacheMax',
    65_536,
    'topics',
    [64, COUNT_MAX],
    'Topic Names that the core remembers together with their receivers',
  ),
  integer(
    'limits.userPropertiesMax',
    256,
    'properties',
    [0, 65_535],
    'User Properties of one packet',
  ),
  integer(
    'limits.unauthenticatedBytesMax',
    64 * KIB,
    'bytes',
    [64, 16 * MIB],
    'Bytes that a client may send before it is authenticated',
  ),
  integer(
    'limits.connectTimeoutSeconds',
    10,
    'seconds',
    [1, 3_600],
    'Time from the opening of a connection until its CONNECT is accepted',
  ),
  integer('limits.clientIdBytesMax', 4_096, 'bytes', [23, 65_535], 'Length of a Client Identifier'),
  integer(
    'limits.queueMessagesMax',
    100_000,
    'messages',
    [0, COUNT_MAX],
    'Messages that wait for one session',
  ),
  integer(
    'limits.queueBytesMax',
    64 * MIB,
    'bytes',
    [0, MEMORY_BYTES_MAX],
    'Bytes of the messages that wait for one session',
  ),
  integer(
    'limits.queueMemoryMessagesMax',
    10_000,
    'messages',
    [1, COUNT_MAX],
    'Messages of one session that wait in memory; with the file engine the rest waits on disk',
  ),
  integer(
    'limits.queueMemoryBytesMax',
    8 * MIB,
    'bytes',
    [1_024, MEMORY_BYTES_MAX],
    'Bytes of one session that wait in memory; with the file engine the rest waits on disk',
  ),
  integer(
    'limits.slabBytesMax',
    8 * MIB,
    'bytes',
    [4 * KIB, MEMORY_BYTES_MAX],
    'Bytes on their way to one socket',
  ),
  integer(
    'limits.slabWatermarkBytes',
    256 * KIB,
    'bytes',
    [4 * KIB, MEMORY_BYTES_MAX],
    'Bytes on their way to one socket above which QoS 0 is dropped and QoS 1 and 2 wait',
  ),
  integer(
    'limits.heldBytesMax',
    4 * MIB,
    'bytes',
    [0, MEMORY_BYTES_MAX],
    'Bytes read from a publisher whose acknowledgements are withheld, before it is paused',
  ),
  integer(
    'limits.unstoredBytesMax',
    64 * MIB,
    'bytes',
    [1_024, COUNT_MAX],
    'Bytes that wait for the disk before publishers are refused (0x97, Quota exceeded)',
  ),
  integer(
    'limits.withholdSecondsMax',
    10,
    'seconds',
    [1, 3_600],
    'Time that a receiver may make publishers wait for acknowledgements before it is disconnected',
  ),
  integer(
    'limits.retainedMessagesMax',
    10_000_000,
    'messages',
    [0, COUNT_MAX],
    'Retained messages in all',
  ),
  integer(
    'limits.retainedBytesMax',
    MEMORY_BYTES_MAX,
    'bytes',
    [0, MEMORY_BYTES_MAX],
    'Bytes of all retained messages',
  ),
  integer(
    'limits.connectionsMax',
    100_000,
    'connections',
    [1, HANDLES_MAX],
    'Connections in all; one more is closed at once',
  ),
  integer(
    'limits.sessionsMax',
    250_000,
    'sessions',
    [1, HANDLES_MAX],
    'Sessions in all, connected or not; one more is refused with 0x97',
  ),
  integer(
    'limits.subscriptionsPerSessionMax',
    10_000,
    'subscriptions',
    [1, COUNT_MAX],
    'Subscriptions of one session; one more is refused with 0x97',
  ),
  integer(
    'limits.handlerConcurrency',
    64,
    'messages',
    [1, 65_535],
    'Messages that one handler in this process works on at the same time',
  ),
  integer(
    'limits.handlerTimeoutMs',
    30_000,
    'ms',
    [0, 86_400_000],
    'Time for a handler in this process, then its message counts as failed; 0 means no limit',
  ),
  integer(
    'limits.interceptTimeoutMs',
    5_000,
    'ms',
    [1, 3_600_000],
    'Time for the interceptors of a message, then it is refused with 0x80',
  ),
  integer(
    'limits.interceptWaitingMax',
    10_000,
    'messages',
    [1, 10_000_000],
    'Wills and messages of this process that wait for interceptors; beyond, 0x97',
  ),
  integer(
    'limits.dropEventsPerTurnMax',
    100,
    'events',
    [0, 1_000_000],
    'Events about dropped messages in one turn; all of them are counted',
  ),
  integer(
    'limits.closeDeadlineMs',
    5_000,
    'ms',
    [0, 3_600_000],
    'Time that close() gives handlers and clients when it is not told otherwise',
  ),
];

const MQTT: readonly OptionSpec[] = [
  choice('mqtt.maximumQos', 2, [0, 1, 2], 'Highest QoS that is granted and taken'),
  toggle('mqtt.retainAvailable', true, 'Retained messages'),
  toggle('mqtt.wildcardSubscriptionAvailable', true, 'Topic Filters with + and #'),
  toggle('mqtt.sharedSubscriptionAvailable', true, 'Shared subscriptions ($share/name/filter)'),
  toggle('mqtt.subscriptionIdentifiersAvailable', true, 'Subscription Identifiers'),
  choice(
    'mqtt.sharedStrategy',
    'round-robin',
    ['round-robin', 'sticky', 'hash-client', 'hash-topic'],
    'How a shared subscription chooses its receiver',
  ),
  toggle(
    'mqtt.validatePayloadFormat',
    false,
    'Refuses payloads that are declared as UTF-8 and are not, with 0x99',
  ),
  integer(
    'mqtt.serverKeepAliveSeconds',
    0,
    'seconds',
    [0, 65_535],
    'Keep Alive that MQTT 5 clients are told to use; 0 leaves it to the client',
  ),
  integer(
    'mqtt.keepAliveSecondsMax',
    65_535,
    'seconds',
    [1, 65_535],
    'Longest Keep Alive of MQTT 5 clients; below 65535 it also holds for clients that ask for none',
  ),
  integer(
    'mqtt.sessionExpirySecondsMax',
    SECONDS_FOREVER,
    'seconds',
    [0, SECONDS_FOREVER],
    'Longest Session Expiry Interval that is granted; 4294967295 means for ever',
  ),
  integer(
    'mqtt.sessionExpirySecondsMaxV3',
    SECONDS_FOREVER,
    'seconds',
    [0, SECONDS_FOREVER],
    'Life of a 3.1 or 3.1.1 session (clean session 0) after its client left; 4294967295: always',
  ),
  text('mqtt.responseInformation', '', 'Response Information for MQTT 5 clients that ask for it'),
  text(
    'mqtt.serverReference',
    '',
    'Server Reference of refusals with 0x9C or 0x9D and of a close() with these codes',
  ),
  choice(
    'mqtt.sessionOfAnotherUser',
    'refuse',
    ['refuse', 'resume'],
    'An authenticated client whose identifier names the session of a different user',
  ),
];

const SYS: readonly OptionSpec[] = [
  integer(
    'sys.intervalSeconds',
    10,
    'seconds',
    [0, 86_400],
    'How often $SYS/broker/... is published; 0 turns it off',
  ),
];

const OWN = optionsOfListeners([...LIMITS, ...MQTT]);
export const OPTION_TABLE: readonly OptionSpec[] = [...GENERAL, ...OWN, ...LIMITS, ...MQTT, ...SYS];
