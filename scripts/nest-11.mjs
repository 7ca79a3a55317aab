// `npm run nest:11 [-- arguments of jest]`: the tests of test/nest with Nest 11, as a CommonJS
// project with jest has it: the packed tarball in a fresh project, with the versions of the lock
// file in test/nest-11. Of the tests only the paths of imports are changed.
import './require-node.mjs';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, runNode } from './toolbox.mjs';

/** Nest has no part in them: the code of docs/nest, and what other packages write and read. */
const NOT_OF_NEST = new Set(['docs.test.ts', 'codec-packages.test.ts']);

const project = mkdtempSync(join(tmpdir(), 'nidomq-nest-11-'));
let status;
try {
  prepare();
  const versions = ['common', 'core', 'microservices'].map(versionOf).join(', ');
  console.log(`Nest ${versions}; Node ${process.versions.node}`);
  compileAsOldProjectsDo();
  const jest = join(project, 'node_modules/jest/bin/jest.js');
  const result = spawnSync(
    process.execPath, [jest, ...process.argv.slice(2)], { cwd: project, stdio: 'inherit' },
  );
  status = result.status ?? 1;
} finally {
  rmSync(project, { recursive: true, force: true });
}
process.exit(status);

function prepare() {
  for (const script of ['build-wasm', 'build-lib']) {
    runNode(join(ROOT, `scripts/${script}.mjs`), ['--if-stale']);
  }
  const quiet = { stdio: ['ignore', 'pipe', 'inherit'] };
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', project];
  const [{ filename }] = JSON.parse(execFileSync('npm', pack, { cwd: ROOT, ...quiet }));
  for (const name of ['package.json', 'package-lock.json']) {
    cpSync(join(ROOT, 'test/nest-11', name), join(project, name));
  }
  const npm = (...words) => execFileSync('npm', words, { cwd: project, ...quiet });
  npm('ci', '--no-audit', '--no-fund');
  npm('install', `./${filename}`, '--no-save', '--no-audit', '--no-fund');
  copyTests('test/nest');
  copyTests('test/support');
  configure();
}

/** `../../lib/x.js` is the package's; CommonJS names a TypeScript file without `.js`. */
function copyTests(folder) {
  mkdirSync(join(project, folder), { recursive: true });
  for (const name of readdirSync(join(ROOT, folder))) {
    if (!name.endsWith('.ts') || NOT_OF_NEST.has(name)) continue;
    const text = readFileSync(join(ROOT, folder, name), 'utf8')
      .replace(/'(\.\.?\/(?!\.\.\/lib\/)[^']*)\.js'/g, `'$1'`)
      .replace(/'\.\.\/\.\.\/lib\//g, `'../../node_modules/nidomq/dist/`);
    writeFileSync(join(project, folder, name), text);
  }
}

/** `moduleResolution: node` knows no `exports`: the types come from typesVersions. */
function compileAsOldProjectsDo() {
  writeFileSync(join(project, 'use.ts'), `import { Payload } from '@nestjs/microservices';
import { NidoModule, NidoStrategy, OnTopic, TopicParam } from 'nidomq/nest';
import { NidoHealthIndicator } from 'nidomq/terminus';
export class Home {
  constructor(readonly health: NidoHealthIndicator) {}
  @OnTopic(':room/light')
  light(@TopicParam('room') room: string, @Payload() on: boolean): void { void [room, on]; }
}
export const module = NidoModule.forRoot({ join: { url: 'mqtt://broker' } });
export const strategy = new NidoStrategy({ host: {} });
`);
  const words = '--noEmit --strict --target es2022 --module commonjs --moduleResolution node10 '
    + '--experimentalDecorators --emitDecoratorMetadata --skipLibCheck use.ts';
  const tsc = join(project, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, ...words.split(' ')], { cwd: project, stdio: 'inherit' });
  console.log('compiled with moduleResolution node10');
}

/** jest as in the README. */
function configure() {
  const compilerOptions = {
    module: 'commonjs', moduleResolution: 'node10', target: 'es2022', esModuleInterop: true,
    experimentalDecorators: true, emitDecoratorMetadata: true, isolatedModules: true,
    ignoreDeprecations: '5.0',
  };
  const manifest = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8'));
  manifest.jest = {
    testEnvironment: 'node',
    roots: ['<rootDir>/test'],
    testRegex: '\\.test\\.ts$',
    moduleFileExtensions: ['js', 'json', 'ts'],
    transform: {
      '^.+\\.(t|j)s$': ['ts-jest', { tsconfig: compilerOptions, diagnostics: false }],
    },
    transformIgnorePatterns: ['/node_modules/(?!\\.pnpm/nidomq@|nidomq/)'],
    testTimeout: 30_000,
  };
  writeFileSync(join(project, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

function versionOf(name) {
  const path = join(project, 'node_modules/@nestjs', name, 'package.json');
  return `${name} ${JSON.parse(readFileSync(path, 'utf8')).version}`;
}
