// Compiles lib/ (and the portable tables of assembly/shared) to dist/, which is what the package
// ships. `--if-stale` does nothing when dist/ is younger than its sources.
//
// tsc keeps the shape of the repository: build/<stage>/lib and build/<stage>/assembly/shared. In
// dist/ the folder lib/ is the root, so the tables move one level nearer, and the import specifier
// of lib/core with them:
//   lib/core/x.ts        '../../assembly/shared/abi.js'
//   dist/core/x.js       '../assembly/shared/abi.js'
// Only lib/core/*.ts may use that specifier (an architecture test holds it to that).
//
// Then esbuild makes a few files of the many: what an entry point needs is one file and what it
// shares with others, because Node takes about a millisecond for every module that it loads. The
// declarations stay as tsc wrote them. Nothing is renamed or minified, so stack traces can be read.
import './require-node.mjs';
import {
  chmodSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync,
  utimesSync, writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { build as bundle } from 'esbuild';
import { ROOT, isFresh, runNode, toolPath } from './toolbox.mjs';

const INPUTS = ['lib', 'assembly/shared', 'tsconfig.json', 'tsconfig.build.json'];
// Not in dist/: the package does not ship it.
const STAMP = 'build/dist.stamp';
const SOURCE_SPECIFIER = '../../assembly/shared/';
const PACKAGE_SPECIFIER = '../assembly/shared/';
const COMMAND = 'cli/nidomq.js';
const SHEBANG = '#!/usr/bin/env node\n';
const SWAP_ATTEMPTS_MAX = 5;
/** What `exports` and `bin` name, and what our own tests and benches load besides. */
const ENTRY_POINTS = [
  'index', 'client/index', 'nest/index', 'nest/terminus/index', 'testing/index', 'cli/nidomq',
  'cli/program', 'cli/signals', 'engine/index',
];
/** The schematics' runner loads single files of CommonJS or ESM by the paths in collection.json. */
const UNBUNDLED = 'schematics';

if (!(process.argv.includes('--if-stale') && isFresh([STAMP, 'dist/index.js'], INPUTS))) {
  await build();
}

async function build() {
  // Named after the process: two builds at once (an editor's and a test's) do not write into each
  // other's folder.
  const stage = join(ROOT, 'build', `tsc-${process.pid}`);
  // Sources that change while tsc runs must look younger than the result, so the stamp is of now.
  const startedAt = new Date();
  process.on('exit', () => rmSync(stage, { recursive: true, force: true }));
  runNode(toolPath('typescript', 'bin/tsc'), ['-p', 'tsconfig.build.json', '--outDir', stage]);

  const next = join(stage, 'lib');
  const tables = join(stage, 'assembly', 'shared');
  if (existsSync(tables)) cpSync(tables, join(next, 'assembly', 'shared'), { recursive: true });
  rewriteSpecifiers(join(next, 'core'));
  await joinModules(next, join(stage, 'joined'));
  copyDescriptions(join(next, 'schematics'));
  makeExecutable(join(next, COMMAND));
  swap(next, join(ROOT, 'dist'));
  writeFileSync(join(ROOT, STAMP), '');
  utimesSync(join(ROOT, STAMP), startedAt, startedAt);
}

function rewriteSpecifiers(folder) {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) {
    if (!/\.(js|d\.ts)$/.test(name)) continue;
    const path = join(folder, name);
    const text = readFileSync(path, 'utf8');
    const rewritten = text.replaceAll(SOURCE_SPECIFIER, PACKAGE_SPECIFIER);
    if (rewritten !== text) writeFileSync(path, rewritten);
  }
}

/** Puts few modules in the place of many; entry points keep their paths. */
async function joinModules(folder, joined) {
  await bundle({
    entryPoints: ENTRY_POINTS.map((entry) => join(folder, `${entry}.js`)),
    outbase: folder,
    outdir: joined,
    bundle: true,
    splitting: true,
    chunkNames: 'shared/[name]-[hash]',
    packages: 'external',
    format: 'esm',
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
  });
  for (const name of readdirSync(folder, { recursive: true })) {
    if (name.endsWith('.js') && !name.startsWith(UNBUNDLED)) rmSync(join(folder, name));
  }
  cpSync(joined, folder, { recursive: true });
}

/** What the schematics' runner reads beside their code. */
function copyDescriptions(folder) {
  const source = join(ROOT, 'lib/schematics');
  for (const name of readdirSync(source).filter((one) => one.endsWith('.json'))) {
    cpSync(join(source, name), join(folder, name));
  }
}

function makeExecutable(path) {
  if (!existsSync(path)) return;
  const text = readFileSync(path, 'utf8');
  if (!text.startsWith('#!')) writeFileSync(path, SHEBANG + text);
  chmodSync(path, 0o755);
}

/**
 * Puts `next` in the place of `target`; another build may do the same at this moment, so it tries
 * again.
 */
function swap(next, target) {
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  for (let attempt = 1; ; attempt++) {
    rmSync(target, { recursive: true, force: true });
    try {
      renameSync(next, target);
      return;
    } catch (error) {
      if (attempt === SWAP_ATTEMPTS_MAX) throw error;
    }
  }
}
