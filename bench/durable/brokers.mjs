// The brokers of the durable bench, each in a process and a directory of its own.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

const TICKS_PER_SECOND = 100;
const START_DEADLINE_MS = 20_000;

/** What each keeps when it acknowledges, in its own configuration. */
export const PROMISES = {
  nidomq: 'acknowledges what is on disk',
  mosquitto: 'persistence, autosave_on_changes, autosave_interval 1: acknowledges before it saves',
  aedes: 'aedes-persistence-level: acknowledges what was given to LevelDB, without sync',
};

export function availableBrokers(packages) {
  const names = ['nidomq'];
  if (spawnSync('mosquitto', ['-h']).error === undefined) names.push('mosquitto');
  else console.log('left out: mosquitto is not installed');
  if (packages && existsSync(join(packages, 'node_modules', 'aedes-persistence-level'))) {
    names.push('aedes');
  } else {
    console.log('left out: aedes-persistence-level is not installed (npm install aedes '
      + 'aedes-persistence-level classic-level in a folder, then --peers FOLDER)');
  }
  return names;
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
async function untilOpen(port) {
  const limit = Date.now() + START_DEADLINE_MS;
  while (Date.now() < limit) {
    const isOpen = await new Promise((resolve) => {
      const socket = connect({ host: '127.0.0.1', port });
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nobody answers on port ${port}`);
}

function spawnNode(script, args, env, profile) {
  const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  return spawn(process.execPath, [...flags, join(import.meta.dirname, script), ...args], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env,
  });
}

async function spawnBroker(name, path, { env, packages, durability, limits, profile }) {
  const all = { ...process.env, ...env };
  if (name === 'mosquitto') {
    const port = await freePort();
    const file = join(path, 'mosquitto.conf');
    writeFileSync(file, [
      `user ${userInfo().username}`, 'allow_anonymous true', 'log_type none', `listener ${port} 127.0.0.1`,
      'persistence true', `persistence_location ${path}/`, 'autosave_on_changes true',
      'autosave_interval 1', 'max_queued_messages 0', 'max_inflight_messages 0', '',
    ].join('\n'));
    const child = spawn('mosquitto', ['-c', file], { stdio: 'ignore', env: all });
    await untilOpen(port);
    return { child, port };
  }
  const data = join(path, 'data');
  const child = name === 'aedes' ? spawnNode('aedes-server.mjs', [packages, data], all)
    : spawnNode('nidomq-server.mjs', [data, durability, JSON.stringify(limits ?? {})], all, profile);
  const { port } = await nextMessage(child);
  return { child, port };
}
function nextMessage(child) {
  return new Promise((resolve, reject) => {
    child.once('message', resolve);
    child.once('close', () => reject(new Error('the broker ended')));
  });
}

export async function startBroker(name, options) {
  const path = mkdtempSync(join(options.directory ?? tmpdir(), 'nidomq-bench-'));
  const { child, port } = await spawnBroker(name, path, options);
  return {
    port,
    /** User and system time of all its threads, in seconds. */
    cpu() {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
    },
    reset: () => void (child.connected && child.send('reset')),
    /** Only nidomq has one. */
    async report() {
      if (name !== 'nidomq') return undefined;
      const answer = nextMessage(child);
      child.send('report');
      return answer;
    },
    async stop() {
      const closed = new Promise((resolve) => child.once('close', resolve));
      child.kill(options.profile === undefined ? 'SIGKILL' : 'SIGINT');
      await closed;
      rmSync(path, { recursive: true, force: true });
    },
  };
}
