// The brokers that are measured. Each runs alone in a process of its own, made for one scenario:
// no logs, nothing on disk, everybody may come in, no bound that a scenario would reach.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const ROOT = join(import.meta.dirname, '..', '..');
const START_DEADLINE_MS = 15_000;
const STOP_DEADLINE_MS = 5000;
const POLL_MS = 20;

export const FOLDER = mkdtempSync(join(tmpdir(), 'nidomq-bench-'));
process.on('exit', () => rmSync(FOLDER, { recursive: true, force: true }));

function mosquittoCommand({ port, otherPort, door, certificate }) {
  // As root it would become another user, who cannot read the certificate of this one.
  const lines = [
    `user ${userInfo().username}`, 'allow_anonymous true', 'persistence false', 'log_type none',
    'max_queued_messages 0', 'max_inflight_messages 0', 'set_tcp_nodelay true',
  ];
  // 2.0.11 does not start with listeners for WebSocket only.
  if (door === 'ws' || door === 'wss') lines.push(`listener ${otherPort} 127.0.0.1`);
  lines.push(`listener ${port} 127.0.0.1`);
  if (door === 'ws' || door === 'wss') lines.push('protocol websockets');
  if (door === 'tls' || door === 'wss') {
    lines.push(`certfile ${certificate.cert}`, `keyfile ${certificate.key}`);
  }
  const file = join(FOLDER, `mosquitto-${port}.conf`);
  writeFileSync(file, `${lines.join('\n')}\n`);
  return ['mosquitto', '-c', file];
}

function nidomqCommand({ port, door, certificate, profileFolder }) {
  const listener = { host: '127.0.0.1', port };
  if (door === 'ws' || door === 'wss') listener.ws = '/mqtt';
  if (door === 'tls' || door === 'wss') {
    listener.tls = {
      cert: readFileSync(certificate.cert, 'utf8'), key: readFileSync(certificate.key, 'utf8'),
    };
  }
  const file = join(FOLDER, `nidomq-${port}.json`);
  writeFileSync(file, JSON.stringify({ listeners: [listener], engine: 'memory' }));
  const flags = profileFolder === undefined
    ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`];
  return [process.execPath, ...flags, join(ROOT, 'dist/cli/nidomq.js'), 'start', '--config', file];
}

const COMMANDS = {
  nidomq: nidomqCommand,
  mosquitto: mosquittoCommand,
  aedes: ({ port }) =>
    [process.execPath, join(import.meta.dirname, 'aedes-server.mjs'), String(port)],
};

function packageVersion(path) {
  return JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8')).version;
}

/** The brokers that are here, with their versions. */
export function availableBrokers() {
  const { stdout } = spawnSync('mosquitto', ['-h'], { encoding: 'utf8' });
  const mosquitto = /version (\S+)/.exec(stdout ?? '')?.[1];
  return {
    nidomq: packageVersion('.'),
    ...(mosquitto === undefined ? {} : { mosquitto }),
    aedes: packageVersion('node_modules/aedes'),
  };
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** On a machine with more than one core the broker has the first and the generator the second. */
export function pinned(core, command) {
  const able = spawnSync('taskset', ['-c', '0,1', 'true']).status === 0;
  return able ? ['taskset', '-c', String(core), ...command] : command;
}

export async function startBroker(name, options = {}) {
  const { door = 'tcp', certificate, profileFolder, core = 0 } = options;
  const port = await freePort();
  const otherPort = await freePort();
  const made = COMMANDS[name]({ port, otherPort, door, certificate, profileFolder });
  const [command, ...args] = pinned(core, made);
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (bytes) => { complaint = `${complaint}${bytes}`.slice(-500); });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  const deadline = Date.now() + START_DEADLINE_MS;
  while (!await answers(port)) {
    if (child.exitCode !== null || Date.now() > deadline) {
      child.kill('SIGKILL');
      throw new Error(`${name} does not answer on port ${port}: ${complaint}`);
    }
    await sleep(POLL_MS);
  }
  const stop = async () => {
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_DEADLINE_MS);
    await exited;
    clearTimeout(late);
  };
  return { port, pid: child.pid, stop };
}
