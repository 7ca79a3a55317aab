/** The flags that pub and sub have in common: where the server is, and who asks. */
import { readFileSync } from 'node:fs';
import type { ClientOptions } from '../../client/index.js';
import { parseUrl } from '../../client/server-target.js';
import { CliError } from '../cli-error.js';
import type { Flag, FlagValues } from './flags.js';
import { invalid } from './flags.js';
import type { PropertySets } from './properties.js';
import { wordsOfProperty } from './properties.js';

export const CONNECTION_FLAGS: readonly Flag[] = [
  flag(['-h', '--host'], ['host'], 'server (default: localhost)'),
  flag(['-p', '--port'], ['port'], 'port (default: 1883, with TLS 8883)'),
  flag(['-L', '--url'], ['url'], 'mqtt(s)://, ws(s)://[user[:password]@]host[:port]/topic'),
  flag(['--unix'], ['path'], 'unix socket of the server'),
  flag(['--ws'], ['path'], 'over WebSocket, with this path'),
  flag(['-A'], ['address'], 'local address of the socket'),
  flag(['-i', '--id'], ['id'], 'Client Identifier'),
  flag(['-I', '--id-prefix'], ['prefix'], 'Client Identifier: this and the process id'),
  flag(['-u', '--username'], ['name'], 'User Name'),
  flag(['-P', '--pw'], ['password'], 'Password (others may see it: better in NIDOMQ_PASSWORD)'),
  flag(['-V', '--protocol-version'], ['version'],
    'mqttv5, mqttv311, mqttv31, 5, 311, 31 (default: 5; 3.1.1 if the server does not know it)'),
  flag(['-k', '--keepalive'], ['seconds'], 'Keep Alive, 5 to 65535 (default: 60)'),
  flag(['-c', '--disable-clean-session'], [], 'take the session up again, and leave it there'),
  flag(['-x', '--session-expiry-interval'], ['seconds'], 'how long it stays; -1: for ever'),
  flag(['-M', '--max-inflight'], ['messages'], 'QoS 1 and 2 messages under way'),
  flag(['--nodelay'], [], 'accepted; small packets never wait'),
  flag(['-d', '--debug'], [], 'tell what happens, on stderr'),
  flag(['--quiet'], [], 'no error messages'),
  {
    names: ['-D', '--property'], values: ['command', 'name', 'value'],
    count: wordsOfProperty,
    help: 'property of MQTT 5 for connect, publish, will, subscribe, unsubscribe or disconnect '
      + '(user-property: name, value)',
  },
];

export const WILL_FLAGS: readonly Flag[] = [
  flag(['--will-topic'], ['topic'], 'Topic Name of the Will Message'),
  flag(['--will-payload'], ['payload'], 'its payload (default: empty)'),
  flag(['--will-qos'], ['qos'], 'its QoS'),
  flag(['--will-retain'], [], 'it is retained'),
];

export const TLS_FLAGS: readonly Flag[] = [
  flag(['--cafile'], ['file'], 'whom to trust; turns TLS on'),
  flag(['--tls-use-os-certs'], [], 'trust whom Node trusts; turns TLS on'),
  flag(['--cert'], ['file'], 'certificate of this client'),
  flag(['--key'], ['file'], 'its private key'),
  flag(['--ciphers'], ['list'], 'as OpenSSL names them'),
  flag(['--tls-version'], ['version'], 'tlsv1.2 or tlsv1.3: nothing older'),
  flag(['--tls-alpn'], ['protocol'], 'name for ALPN'),
  flag(['--insecure'], [], 'do not check the name in the server\'s certificate'),
  flag(['--psk'], ['hex'], 'pre-shared key instead of certificates; turns TLS (1.2) on'),
  flag(['--psk-identity'], ['identity'], 'whose key that is'),
];

/** Flags of mosquitto_pub and mosquitto_sub that are not here, and what to do instead. */
export const FOREIGN_FLAGS: ReadonlyMap<string, string> = new Map([
  ['--capath', 'give one file with all of them: cat directory/*.pem > ca.pem, --cafile ca.pem'],
  ['--keyform', 'keys come from files in PEM (--key)'],
  ['--tls-engine', 'keys come from files in PEM (--key)'],
  ['--tls-engine-kpass-sha1', 'keys come from files in PEM (--key)'],
  ['--proxy', 'open a tunnel through the proxy (ssh -L), and connect to that'],
  ['-o', 'flags are said on the command line'],
]);

export function flag(names: readonly string[], values: readonly string[], help: string): Flag {
  return { names, values, help };
}

const VERSIONS = new Map<string, 3 | 4 | 5>([
  ['mqttv5', 5], ['5', 5], ['mqttv311', 4], ['311', 4], ['4', 4], ['mqttv31', 3], ['31', 3],
  ['3', 3],
]);
const TLS_VERSIONS = new Map<string, 'TLSv1.2' | 'TLSv1.3'>([
  ['tlsv1.2', 'TLSv1.2'], ['tlsv1.3', 'TLSv1.3'],
]);
const FOR_EVER = 0xffff_ffff;
/** As of mosquitto's tools, which take no 0 (none) either. */
const KEEP_ALIVE_SECONDS_MIN = 5;

export interface Connection {
  readonly options: ClientOptions;
  /** The path of `-L`: a Topic Name or Topic Filter. */
  readonly urlTopic?: string;
}

/** Options of `connect`, without the topic. */
export function connectionOf(said: FlagValues, properties: PropertySets): Connection {
  const url = urlParts(said.text('-L'));
  const versionText = said.text('-V');
  const protocolVersion = versionText === undefined ? undefined : VERSIONS.get(versionText);
  if (versionText !== undefined && protocolVersion === undefined) {
    throw invalid(`-V ${versionText}: must be one of ${[...VERSIONS.keys()].join(', ')}`);
  }
  if (properties.size > 0 && protocolVersion !== undefined && protocolVersion !== 5) {
    throw invalid('-D: MQTT 3.x has no properties');
  }
  said.oneOf(['-i', '-I']);
  const prefix = said.text('-I');
  const options: ClientOptions = {
    ...where(said, url),
    clientId: said.text('-i') ?? (prefix === undefined ? undefined : `${prefix}${process.pid}`),
    username: said.text('-u') ?? url.username,
    password: said.text('-P') ?? url.password ?? process.env.NIDOMQ_PASSWORD,
    protocolVersion: protocolVersion ?? (properties.size > 0 ? 5 : undefined),
    keepalive: said.number('-k', KEEP_ALIVE_SECONDS_MIN, 65_535),
    clean: !said.has('-c'),
    inflightMax: said.number('-M', 1, 65_535),
    properties: { ...properties.of('connect'), ...sessionExpiry(said) },
    will: will(said, properties),
    localAddress: said.text('-A'),
    ...tls(said),
    logger: false,
  };
  if (options.clean === false && options.clientId === undefined) {
    throw invalid('-c: a session that stays needs a Client Identifier (-i)');
  }
  const { sessionExpiryInterval = 0 } = properties.of('disconnect');
  const byDefault = options.clean === false ? FOR_EVER : 0;
  const atFirst = options.properties?.sessionExpiryInterval ?? byDefault;
  if (sessionExpiryInterval !== 0 && atFirst === 0) { // a Protocol Error (5.0, 3.14.2.2.2)
    throw invalid('-D disconnect session-expiry-interval: needs a session that stays (-c or -x)');
  }
  return { options, urlTopic: url.topic };
}

interface UrlParts extends Pick<ClientOptions, 'protocol' | 'host' | 'port'> {
  readonly username?: string;
  readonly password?: string;
  readonly topic?: string;
}

function urlParts(text: string | undefined): UrlParts {
  if (text === undefined) return {};
  // The topic is not a path: `#`, `?`, `%` and `..` in it are its own.
  const match = /^((mqtts?|wss?):\/\/[^/]*)(?:\/([\s\S]*))?$/.exec(text);
  if (match === null || !URL.canParse(match[1])) {
    throw invalid(`-L ${text}: must be mqtt(s):// or ws(s)://[user[:password]@]host[:port]/topic`);
  }
  const [, address, protocol, topic] = match;
  const { host, port, username, password } = parseUrl(address);
  return {
    protocol: protocol as ClientOptions['protocol'],
    host, port, username, password,
    topic: topic === '' ? undefined : topic,
  };
}

function where(said: FlagValues, url: UrlParts): ClientOptions {
  said.oneOf(['-L', '-h']);
  said.oneOf(['-L', '-p']);
  const port = said.number('-p', 1, 65_535);
  const unix = said.text('--unix');
  if (unix !== undefined) return { protocol: 'unix', path: unix };
  const usesTls = ['--cafile', '--tls-use-os-certs', '--cert', '--psk']
    .some((name) => said.has(name));
  const path = said.text('--ws');
  const plain = path === undefined ? 'mqtt' : 'ws';
  const secure = path === undefined ? 'mqtts' : 'wss';
  return {
    protocol: url.protocol ?? (usesTls ? secure : plain),
    host: said.text('-h') ?? url.host ?? 'localhost',
    port: port ?? url.port,
    path,
  };
}

function sessionExpiry(said: FlagValues): ClientOptions['properties'] {
  const text = said.text('-x');
  if (text === undefined) return {};
  if (text === '∞') return { sessionExpiryInterval: FOR_EVER };
  const seconds = said.number('-x', -1, FOR_EVER);
  return { sessionExpiryInterval: seconds === -1 ? FOR_EVER : seconds };
}

function will(said: FlagValues, properties: PropertySets): ClientOptions['will'] {
  const topic = said.text('--will-topic');
  if (topic === undefined) {
    const other = ['--will-payload', '--will-qos', '--will-retain'].find((name) => said.has(name));
    if (other !== undefined) throw invalid(`${other} needs --will-topic`);
    return undefined;
  }
  return {
    topic,
    payload: said.text('--will-payload'),
    qos: said.number('--will-qos', 0, 2) as 0 | 1 | 2 | undefined,
    retain: said.has('--will-retain'),
    properties: properties.of('will'),
  };
}

function tls(said: FlagValues): ClientOptions {
  const version = said.text('--tls-version');
  const minVersion = version === undefined ? undefined : TLS_VERSIONS.get(version);
  if (version !== undefined && minVersion === undefined) {
    const known = [...TLS_VERSIONS.keys()].join(', ');
    throw invalid(`--tls-version ${version}: must be one of ${known}`);
  }
  const alpn = said.text('--tls-alpn');
  return {
    ca: fileOf(said, '--cafile'),
    cert: fileOf(said, '--cert'),
    key: fileOf(said, '--key'),
    ciphers: said.text('--ciphers'),
    minVersion,
    ALPNProtocols: alpn === undefined ? undefined : [alpn],
    checkServerIdentity: said.has('--insecure') ? () => undefined : undefined,
    psk: preSharedKey(said),
  };
}

function preSharedKey(said: FlagValues): ClientOptions['psk'] {
  said.oneOf(['--psk', '--cafile']);
  said.oneOf(['--psk', '--cert']);
  const key = said.text('--psk');
  const identity = said.text('--psk-identity');
  if (key === undefined && identity === undefined) return undefined;
  if (key === undefined || identity === undefined) {
    throw invalid('--psk and --psk-identity belong together');
  }
  if (!/^([\da-f]{2})+$/i.test(key)) {
    throw invalid('--psk: must be hexadecimal digits, two for each byte');
  }
  return { identity, key: Buffer.from(key, 'hex') };
}

export function fileOf(said: FlagValues, name: string): Buffer | undefined {
  const file = said.text(name);
  if (file === undefined) return undefined;
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new CliError('NIDO_CLI_FLAG_INVALID',
      `${name} ${file}: ${(cause as Error).message}`, { cause });
  }
}
