/** Other brokers to compare with, started here on ephemeral loopback ports. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import type { Variant } from './case.js';
import type { TargetEndpoint } from './kit.js';
import type { Target } from './target.js';

const HOST = '127.0.0.1';
const START_MS = 5000;
/** Debian puts it where an ordinary PATH does not look. */
const MOSQUITTO_PLACES = ['mosquitto', '/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto'];

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resolves when somebody accepts connections on `port`. */
async function untilListening(port: number): Promise<void> {
  const end = Date.now() + START_MS;
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, HOST, () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (open) return;
    if (Date.now() > end) throw new Error(`nobody listens on port ${port} after ${START_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** The command that starts mosquitto here, or undefined when it is not installed. */
export function findMosquitto(): string | undefined {
  return MOSQUITTO_PLACES.find((command) => !spawnSync(command, ['-h']).error);
}

const OPEN = 'allow_anonymous true';
const MOSQUITTO_OPTIONS: Readonly<Partial<Record<Variant, readonly string[]>>> = {
  'default': [OPEN],
  'web-socket': [OPEN],
  'maximum-qos-0': [OPEN, 'max_qos 0'],
  'maximum-qos-1': [OPEN, 'max_qos 1'],
  'no-retain': [OPEN, 'retain_available false'],
  'small-packets': [OPEN, 'max_packet_size 300'],
  'few-in-flight': [OPEN, 'max_inflight_messages 5'],
  'few-aliases': [OPEN],
  'guarded': ['allow_anonymous false'],
};

function guardFiles(directory: string): string[] {
  const [passwords, rules] = [join(directory, 'passwords'), join(directory, 'acl')];
  spawnSync('mosquitto_passwd', ['-b', '-c', passwords, 'alice', 'secret']);
  writeFileSync(rules, 'user alice\ntopic readwrite #\ntopic deny forbidden/#\n', { mode: 0o600 });
  return [`password_file ${passwords}`, `acl_file ${rules}`];
}

class MosquittoTarget implements Target {
  readonly name: string;
  private readonly children: ChildProcess[] = [];
  private readonly directories: string[] = [];
  private readonly endpoints = new Map<Variant, Promise<TargetEndpoint>>();

  constructor(private readonly command: string) {
    const text = spawnSync(command, ['-h']).stdout.toString();
    this.name = `mosquitto ${/version (\S+)/.exec(text)?.[1] ?? ''}`.trim();
  }

  endpoint(variant: Variant): Promise<TargetEndpoint | undefined> {
    const options = MOSQUITTO_OPTIONS[variant];
    if (!options) return Promise.resolve(undefined);
    const known = this.endpoints.get(variant) ?? this.start(variant, options);
    this.endpoints.set(variant, known);
    return known;
  }

  private async start(variant: Variant, options: readonly string[]): Promise<TargetEndpoint> {
    const directory = mkdtempSync(join(tmpdir(), 'conformance-mosquitto-'));
    this.directories.push(directory);
    const webSocket = variant === 'web-socket' ? await freePort() : 0;
    const port = await freePort();
    const lines = [
      'per_listener_settings false', 'user root', 'persistence false', 'max_queued_messages 0',
      ...options, ...(variant === 'guarded' ? guardFiles(directory) : []),
      `listener ${port} ${HOST}`,
      ...(webSocket > 0 ? [`listener ${webSocket} ${HOST}`, 'protocol websockets'] : []),
    ];
    // max_qos belongs to the listener, so it goes behind it.
    const own = lines.filter((line) => line.startsWith('max_qos'));
    const rest = lines.filter((line) => !line.startsWith('max_qos'));
    const file = join(directory, 'mosquitto.conf');
    writeFileSync(file, [...rest, ...own].join('\n') + '\n');
    this.children.push(spawn(this.command, ['-c', file], { stdio: 'ignore' }));
    await untilListening(port);
    if (webSocket > 0) await untilListening(webSocket);
    if (webSocket === 0) return { host: HOST, port };
    return { host: HOST, port, webSocket: { host: HOST, port: webSocket, path: '/mqtt' } };
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.endpoints.values());
    for (const child of this.children) child.kill('SIGKILL');
    for (const directory of this.directories) rmSync(directory, { recursive: true, force: true });
  }
}

export function startMosquitto(): Target | undefined {
  const command = findMosquitto();
  return command === undefined ? undefined : new MosquittoTarget(command);
}

/** aedes in this process, as its README starts it. */
export async function startAedes(version: string): Promise<Target> {
  const { Aedes } = await import('aedes');
  const open = async (guarded: boolean): Promise<[TargetEndpoint, () => Promise<void>]> => {
    const broker = await Aedes.createBroker(guarded ? {
      authenticate: (_client, username, password, done) =>
        done(null, username === 'alice' && password?.toString() === 'secret'),
      authorizePublish: (_client, message, done) =>
        done(message.topic.startsWith('forbidden/') ? new Error('forbidden') : null),
      authorizeSubscribe: (_client, subscription, done) =>
        done(null, subscription.topic.startsWith('forbidden/') ? null : subscription),
    } : {});
    const server = createServer(broker.handle);
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    const { port } = server.address() as AddressInfo;
    const close = async (): Promise<void> => {
      server.close();
      await new Promise<void>((resolve) => broker.close(() => resolve()));
    };
    return [{ host: HOST, port }, close];
  };
  const [usual, closeUsual] = await open(false);
  const [guarded, closeGuarded] = await open(true);
  return {
    name: `aedes ${version}`,
    endpoint: (variant) => Promise.resolve(
      variant === 'default' ? usual : variant === 'guarded' ? guarded : undefined),
    close: async () => {
      await closeUsual();
      await closeGuarded();
    },
  };
}
