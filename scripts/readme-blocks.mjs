// `npm run readme -- --nest 12 --manager npm`: follows README.md as a newcomer does. Its fenced
// blocks run in order, in an empty folder, with the packed tarball in the place of the package of
// the registry. What is changed on the way, and nothing else:
//
//   nidomq               the tarball of this clone
//   1883                 a port that is free here
//   npm, npx             pnpm, with `--manager pnpm`
//   './x.js'             './x' under Nest 11, as the page says
//   nest new             without its own installation; for Nest 11 with the versions and the lock
//                        file of test/nest-11, so that the check means the same next year
//
// A bundle is started with node_modules/nidomq out of the way: it has to be inside.
//
// Needs the registry (or npm's cache). scripts/markdown-blocks.mjs says how blocks are marked.
import './require-node.mjs';
import { execFileSync } from 'node:child_process';
import {
  chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { Command } from './child-process.mjs';
import { blocksOf } from './markdown-blocks.mjs';
import { ROOT, runNode } from './toolbox.mjs';

const PNPM = 'pnpm@10';
const MQTT_PORT = /\b1883\b/g;
/** Commands that go on, and how they say that they are ready. */
const LASTING = [
  [/^npm run start\b/, /Nest application successfully started/],
  [/^npx nidomq start\b/, /is ready on/],
  [/^node \w+\.mjs$/, /./],
  [/^mosquitto_sub\b/, /./],
];

const { values } = parseArgs({
  options: {
    nest: { type: 'string', default: '12' },
    manager: { type: 'string', default: 'npm' },
    page: { type: 'string', default: 'README.md' },
    keep: { type: 'boolean', default: false },
  },
});
const { nest, manager, page } = values;
if (!['11', '12'].includes(nest) || !['npm', 'pnpm'].includes(manager)) {
  console.error('Usage: npm run readme -- [--nest 11|12] [--manager npm|pnpm] [--keep]');
  process.exit(2);
}

const base = mkdtempSync(join(tmpdir(), 'nidomq-readme-'));
const port = String(await freePort());
const env = {
  ...process.env, PORT: String(await freePort()), NO_COLOR: '1',
  npm_config_yes: 'true',
  PATH: `${join(base, 'bin')}:${process.env.PATH}`,
};
const tarball = pack();
let folder = join(base, 'empty');
let waitingFiles = [];
let running = [];
let lastSaid = '';

mkdirSync(folder);
providePnpm();
try {
  for (const block of blocksOf(readFileSync(join(ROOT, page), 'utf8'))) await follow(block);
  console.log(`\n${page} works: Nest ${nest}, ${manager}, Node ${process.versions.node}`);
} catch (error) {
  console.error(`\n${error.message}`);
  process.exitCode = 1;
} finally {
  await stopAll();
  if (values.keep) console.log(`kept: ${base}`);
  else rmSync(base, { recursive: true, force: true });
}

async function follow(block) {
  const where = `${page}:${block.line}`;
  if (block.nest !== undefined && block.nest !== nest) return;
  if (block.notRun !== undefined) console.log(`- ${where} ${block.notRun}`);
  else if (block.file !== undefined) keep(block, where);
  else if (block.language === 'sh') await runAll(block, where);
  else if (block.language === 'text') await expectSaid(block, where);
  else console.log(`- ${where} shown, not run (${block.language || 'no language'})`);
}

/** A file of a project that is made further down waits for it. */
function keep(block, where) {
  const target = dirname(join(folder, block.file));
  if (!existsSync(target)) {
    waitingFiles.push([block, where]);
    return;
  }
  const text = nest === '11' ? block.text.replace(/(from '\.[^']*)\.js'/g, `$1'`) : block.text;
  writeFileSync(join(folder, block.file), text.replace(MQTT_PORT, port));
  console.log(`✓ ${where} ${block.file}`);
}

async function runAll(block, where) {
  for (const line of block.text.split('\n')) {
    const command = line.replace(/\s+#.*$/, '').trim();
    if (command === '') continue;
    const startedAt = Date.now();
    const outcome = await run(command);
    const seconds = ((Date.now() - startedAt) / 1_000).toFixed(1);
    console.log(`${outcome === 'skipped' ? '-' : '✓'} ${where} ${command} (${outcome}, ${seconds} s)`);
  }
}

async function run(command) {
  const peer = /^mosquitto_\w+/.exec(command)?.[0];
  if (peer !== undefined && !isInstalled(peer)) {
    lastSaid = undefined;
    return 'skipped';
  }
  if (command.startsWith('cd ')) {
    folder = join(folder, command.slice('cd '.length));
    for (const [block, where] of waitingFiles.splice(0)) keep(block, where);
    return 'there';
  }
  if (command.startsWith('npx @nestjs/cli@')) return newProject(command);
  if (command === 'npx nest add nidomq') {
    await shell(`npm install ${tarball}`);
    lastSaid = await shell(`${command} --skip-install`);
    await shell('npm install');
    return 'done';
  }
  const lasting = LASTING.find(([pattern]) => pattern.test(command));
  if (lasting === undefined) {
    lastSaid = await shell(command.replace(/^(npm install .*)\bnidomq\b/, `$1${tarball}`));
    return 'done';
  }
  if (peer === undefined) await stopAll();
  if (command.includes('start:prod')) hidePackage();
  const started = new Command(translate(command), { cwd: folder, env });
  running.push(started);
  await started.says(lasting[1]);
  return 'running';
}

function hidePackage() {
  const path = join(folder, 'node_modules/nidomq');
  renameSync(path, join(dirname(path), '.nidomq-out-of-the-way'));
}

/** `nest new`, in a folder whose parents have no packages. */
async function newProject(command) {
  await stopAll();
  folder = join(base, 'projects');
  mkdirSync(folder);
  await shell(`${command} --skip-install`);
  const project = join(folder, /new (\S+)/.exec(command)[1]);
  const home = folder;
  folder = project;
  if (nest === '11') {
    for (const name of ['package.json', 'package-lock.json']) {
      cpSync(join(ROOT, 'test/nest-11', name), join(project, name));
    }
    if (manager === 'npm') await shell('npm ci');
    else {
      await shell('pnpm import');
      rmSync(join(project, 'package-lock.json'));
      await shell('pnpm install --frozen-lockfile');
    }
  } else {
    await shell('npm install');
  }
  folder = home;
  return 'done';
}

/** What stands in the block has been printed by what ran last, or by what is running. */
async function expectSaid(block, where) {
  if (lastSaid === undefined) {
    console.log(`- ${where} not checked: what prints it was skipped`);
    return;
  }
  for (const line of block.text.trim().split('\n')) {
    const literal = new RegExp(line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    if (literal.test(lastSaid)) continue;
    const candidates = running.map((one) => one.says(literal));
    if (candidates.length === 0) throw new Error(`${where} nothing printed: ${line}`);
    await Promise.any(candidates).catch(({ errors }) => { throw errors[0]; });
  }
  console.log(`✓ ${where} printed: ${block.text.trim()}`);
}

function shell(command) {
  return new Command(translate(command), { cwd: folder, env }).succeeds();
}

/** The words of npm in those of the other manager. */
function translate(command) {
  const words = command.replace(MQTT_PORT, port);
  if (manager === 'npm') return words;
  return words
    .replace(/--package-manager npm/, '--package-manager pnpm')
    .replace(/^npm install (?=\S)/, 'pnpm add ')
    .replace(/^npm (install|test|run)\b/, 'pnpm $1')
    .replace(/^npx (nest|nidomq)\b/, 'pnpm exec $1');
}

function pack() {
  for (const script of ['build-wasm', 'build-lib']) {
    runNode(join(ROOT, `scripts/${script}.mjs`), ['--if-stale']);
  }
  const words = ['pack', '--ignore-scripts', '--json', '--pack-destination', base];
  const said = execFileSync('npm', words, { cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'] });
  const [packed] = JSON.parse(said);
  return join(base, packed.filename);
}

/** pnpm need not be installed: npx brings it. Nest's command line wants it on the PATH. */
function providePnpm() {
  const path = join(base, 'bin/pnpm');
  mkdirSync(dirname(path));
  if (manager !== 'pnpm') return;
  writeFileSync(path, `#!/bin/sh\nexec npx --yes ${PNPM} "$@"\n`);
  chmodSync(path, 0o755);
}

function isInstalled(command) {
  try {
    execFileSync('bash', ['-c', `command -v ${command}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function stopAll() {
  const all = running;
  running = [];
  await Promise.all(all.map((one) => one.stop()));
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: free } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return free;
}
