/**
 * Every option of MQTT.js 5 (`IClientOptions`), and what becomes of it here. Nobody's option is
 * dropped in silence.
 */
export type OptionFate = 'supported' | 'ignored' | 'refused';

export interface OptionEntry {
  readonly key: string;
  readonly fate: OptionFate;
  /** What it does here, why it does nothing, or what to do instead. */
  readonly note: string;
}

function supported(key: string, note = 'as in MQTT.js'): OptionEntry {
  return { key, fate: 'supported', note };
}
function ignored(key: string, note: string): OptionEntry {
  return { key, fate: 'ignored', note };
}
function refused(key: string, note: string): OptionEntry {
  return { key, fate: 'refused', note };
}

export const OPTIONS_TABLE: readonly OptionEntry[] = [
  supported('protocol', 'mqtt, mqtts, tcp, ssl, tls, ws, wss, unix'),
  supported('host'),
  supported('hostname'),
  supported('port'),
  supported('path', 'of a WebSocket or a unix socket'),
  supported('defaultProtocol', 'when neither the URL nor `protocol` says one'),
  supported('unixSocket', '`path` is a unix socket'),
  supported('servers', 'in turn; a full round without success waits'),
  supported('query', 'appended to the path of a WebSocket'),
  supported('auth', '`username:password`, when neither is given'),
  supported('wsOptions', 'path, headers, agent, origin, protocols, maxPayload'),
  supported('ca'),
  supported('cert'),
  supported('key'),
  supported('rejectUnauthorized'),
  supported('ALPNProtocols', 'default ["mqtt"]'),
  supported('servername'),
  supported('keyPath', 'same as `keyFile`'),
  supported('certPath', 'same as `certFile`'),
  supported('caPaths', 'same as `caFile`'),
  supported('clientId'),
  supported('protocolVersion', '3, 4 or 5; default 5, falling back to 4'),
  supported('protocolId', 'must fit `protocolVersion`'),
  supported('clean', 'with a Session Expiry Interval only the first CONNECT is clean'),
  supported('keepalive'),
  supported('username'),
  supported('password'),
  supported('will'),
  supported('properties'),
  supported('reconnectPeriod', 'first delay; doubles up to `reconnectPeriodMax`, with jitter'),
  supported('reconnectOnConnackError'),
  supported('connectTimeout'),
  supported('resubscribe'),
  supported('manualConnect', 'call `client.start()`'),
  supported('queueQoSZero'),
  ignored('log', 'use `logger`'),
  ignored('encoding', 'payloads are always Buffers'),
  ignored('binary', 'payloads are always Buffers'),
  ignored('objectMode', 'there is no stream to set up'),
  ignored('browserBufferSize', 'this client does not run in browsers'),
  ignored('browserBufferTimeout', 'this client does not run in browsers'),
  ignored('forceNativeWebSocket', 'this client does not run in browsers'),
  ignored('writeCache', 'writes are gathered once per turn of the event loop, always'),
  ignored('reschedulePings', 'a PINGREQ leaves whenever the keep alive asks for one'),
  ignored('timerVariant', 'one unreferenced timer serves the keep alive'),
  ignored('subscribeBatchSize', 'every Topic Filter has a SUBSCRIBE of its own'),
  ignored('autoUseTopicAlias', 'aliases are used when the server allows them'),
  ignored('autoAssignTopicAlias', 'aliases are used when the server allows them'),
  ignored('my', 'it means nothing'),
  refused('incomingStore', 'state lives in the core; set `clean: false` for a lasting session'),
  refused('outgoingStore', 'messages wait in the core, see `queueMessagesMax` and `queueBytesMax`'),
  refused('messageIdProvider', 'Packet Identifiers are the core\'s'),
  refused('customHandleAcks', 'a handler decides by `ack`, by throwing, and by `error.reasonCode`'),
  refused('authPacket', 'use `enhancedAuthentication`'),
  refused('transformWsUrl', 'give `wsOptions.path` and `wsOptions.headers`'),
  refused('createWebsocket', 'give `wsOptions.agent`, or `createSocket` for TCP and TLS'),
  refused('socksProxy', 'connect through the proxy in `createSocket`'),
  refused('socksTimeout', 'connect through the proxy in `createSocket`'),
];

/** Options of our own, or of Node's TLS. */
export const OWN_OPTIONS: readonly string[] = [
  'pfx', 'passphrase', 'ciphers', 'minVersion', 'maxVersion', 'crl', 'caFile', 'certFile',
  'keyFile', 'pfxFile', 'checkServerIdentity', 'psk', 'secureOptions', 'ecdhCurve', 'sigalgs',
  'createSocket', 'family', 'localAddress', 'serverReference', 'enhancedAuthentication',
  'reconnectPeriodMax', 'memoryBytes', 'packetBytesMax', 'queueMessagesMax', 'queueBytesMax',
  'queueOverflow', 'inflightMax', 'handlerConcurrency', 'handlerTimeoutMs', 'requestTimeoutMs',
  'endDeadlineMs', 'engine', 'logger',
];
