/**
 * The package as a stranger gets it: packed, unpacked into an empty project beside what it depends
 * on, and used from ESM, from CommonJS, from a shell and from TypeScript. It packs dist/ as it is,
 * so build first (`npm test` does). No registry is asked: `npm run readme` installs it for real.
 */
import { execFile } from 'node:child_process';
import {
  existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ROOT } from './source-files.js';

const run = promisify(execFile);
const PACK_DEADLINE_MS = 120_000;
const USE_DEADLINE_MS = 120_000;

interface PackedFile { readonly path: string; readonly mode: number }
interface Manifest {
  readonly version: string;
  readonly schematics: string;
  readonly scripts: Record<string, string>;
  readonly bin: Record<string, string>;
  readonly exports: Record<string, string | Record<string, string>>;
  readonly dependencies: Record<string, string>;
  readonly optionalDependencies: Record<string, string>;
  readonly peerDependencies: Record<string, string>;
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;
/** Entry points that need nothing but the package's own dependencies. */
const PLAIN_ENTRY_POINTS = ['nidomq', 'nidomq/client', 'nidomq/testing'];
const NEST_ENTRY_POINTS = ['nidomq/nest', 'nidomq/terminus'];

/** An empty project, and one that has Nest, too. */
let project = '';
let nestProject = '';
let packed: PackedFile[] = [];

beforeAll(async () => {
  if (!existsSync(join(ROOT, 'dist/index.js'))) {
    throw new Error('dist/ is missing: run `npm run build`, or `npm test`, which builds it');
  }
  project = mkdtempSync(join(tmpdir(), 'nidomq-package-'));
  nestProject = mkdtempSync(join(tmpdir(), 'nidomq-package-'));
  // Scripts are left out: `prepack` would build again under the other tests' feet.
  const { stdout } = await run(
    'npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], { cwd: ROOT },
  );
  const [pack] = JSON.parse(stdout) as { filename: string; files: PackedFile[] }[];
  packed = pack.files;
  const tarball = join(project, pack.filename);
  const own = { ...manifest.dependencies, ...manifest.optionalDependencies };
  await unpack(tarball, project, Object.keys(own));
  const peers = Object.keys({ ...own, ...manifest.peerDependencies });
  await unpack(tarball, nestProject, [...peers, '@nestjs/testing', '@types/node']);
}, PACK_DEADLINE_MS);

afterAll(() => {
  for (const folder of [project, nestProject]) {
    if (folder !== '') rmSync(folder, { recursive: true, force: true });
  }
});

/** As npm would lay it out: the package, what it depends on, and its command. */
async function unpack(
  tarball: string, folder: string, dependencies: readonly string[],
): Promise<void> {
  writeFileSync(join(folder, 'package.json'), '{ "name": "stranger", "private": true }\n');
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, 'nidomq'), { recursive: true });
  await run('tar', ['-xzf', tarball, '-C', join(modules, 'nidomq'), '--strip-components=1']);
  for (const name of dependencies) {
    const installed = join(ROOT, 'node_modules', name);
    // An optional one need not be installed.
    if (!existsSync(installed)) continue;
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(installed, join(modules, name));
  }
  mkdirSync(join(modules, '.bin'));
  for (const [name, path] of Object.entries(manifest.bin)) {
    symlinkSync(join('../nidomq', path), join(modules, '.bin', name));
  }
}

describe('the tarball', () => {
  it('holds what is compiled and what is to be read, and nothing else', () => {
    const strange = packed.map((file) => file.path).filter((path) =>
      !/^dist\/.*\.(js|d\.ts|json|cjs|css|html|svg)$/.test(path)
      && !['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md'].includes(path));
    expect(strange).toEqual([]);
    expect(packed.map((file) => file.path)).toEqual(
      expect.arrayContaining(['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md']),
    );
  });

  it('runs nothing when it is installed', () => {
    const scripts = Object.keys(manifest.scripts);
    expect(scripts).toContain('prepack');
    expect(scripts.filter((name) => /^((pre|post)?install|(pre|post)?prepare)$/.test(name)))
      .toEqual([]);
  });

  it('holds every file that the manifest points at', () => {
    const paths = new Set(packed.map((file) => `./${file.path}`));
    const targets = Object.values(manifest.exports).flatMap((target) =>
      (typeof target === 'string' ? [target] : Object.values(target)));
    targets.push(manifest.schematics, ...Object.values(manifest.bin).map((path) => `./${path}`));
    expect(targets.filter((target) => !paths.has(target))).toEqual([]);
  });

  it('holds what the schematics point at', () => {
    const paths = new Set(packed.map((file) => file.path));
    const collection = JSON.parse(readFileSync(join(ROOT, manifest.schematics), 'utf8')) as {
      readonly schematics: Record<string, { readonly factory: string; readonly schema: string }>;
    };
    const targets = Object.values(collection.schematics).flatMap(({ factory, schema }) =>
      [factory.split('#')[0], schema].map((path) => join(dirname(manifest.schematics), path)));
    expect(targets).toHaveLength(4);
    expect(targets.filter((target) => !paths.has(target))).toEqual([]);
  });

  it('holds no path of the sources: the shared tables are inside', () => {
    const core = packed.filter((file) => file.path.startsWith('dist/core/'));
    const wrong = core.filter((file) =>
      readFileSync(join(ROOT, file.path), 'utf8').includes('../../assembly/'));
    expect(wrong).toEqual([]);
  });
});

describe('in an empty project', () => {
  it.each(PLAIN_ENTRY_POINTS)('import and require of %s give the same module', async (entry) => {
    const names = await namesOf(entry, project);
    expect(names.length).toBeGreaterThan(0);
    if (entry === 'nidomq') expect(names).toContain('Broker');
  }, USE_DEADLINE_MS);

  it('a broker opens a door and closes it, from ESM and from CommonJS', async () => {
    const use = `
      const broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }] });
      await broker.listen();
      await broker.close();
      console.log('closed');`;
    const esm = await run(
      process.execPath,
      ['--input-type=module', '-e', `import { Broker } from 'nidomq';${use}`],
      { cwd: project },
    );
    const cjs = await run(
      process.execPath,
      ['-e', `const { Broker } = require('nidomq'); (async () => {${use}})();`],
      { cwd: project },
    );
    expect([esm.stdout.trim(), cjs.stdout.trim()]).toEqual(['closed', 'closed']);
  }, USE_DEADLINE_MS);

  it('over TCP, nothing is loaded but the package itself', async () => {
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', `
      import { Module } from 'node:module';
      import { Broker } from 'nidomq';
      import { connect } from 'nidomq/client';
      const broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }], logger: false });
      await broker.listen();
      const client = connect('mqtt://127.0.0.1:' + broker.listeners[0].port);
      await client.publish('a', 'b', { qos: 1 });
      await client.end();
      await broker.close();
      // What others give is CommonJS (ws, classic-level, prom-client ...), which Node lists.
      console.log(JSON.stringify(Object.keys(Module._cache)));`], { cwd: project });
    expect(JSON.parse(stdout)).toEqual([]);
  }, USE_DEADLINE_MS);

  it('the command is there and says its version', async () => {
    const command = join(project, 'node_modules/.bin/nidomq');
    const { stdout } = await run(command, ['--version'], { cwd: project });
    expect(stdout.trim()).toBe(manifest.version);
  }, USE_DEADLINE_MS);

});

describe('beside Nest', () => {
  it.each(NEST_ENTRY_POINTS)('import and require of %s give the same module', async (entry) => {
    const names = await namesOf(entry, nestProject);
    expect(names).toContain(entry === 'nidomq/nest' ? 'NidoStrategy' : 'NidoHealthIndicator');
  }, USE_DEADLINE_MS);

  it('is told in words by a project without Nest that Nest is missing', async () => {
    await expect(namesOf('nidomq/nest', project)).rejects.toThrow(/Cannot find (package|module)/);
  }, USE_DEADLINE_MS);
});

/** Module resolutions of TypeScript, and the kinds of files that have them. */
const RESOLUTIONS: readonly (readonly [string, string, string])[] = [
  // The declarations themselves are checked once: without skipLibCheck.
  ['nodenext', 'use.mts', '--module nodenext'],
  ['nodenext, CommonJS', 'use.cts', '--module nodenext --skipLibCheck'],
  ['node16', 'use.mts', '--module node16 --skipLibCheck'],
  ['bundler', 'use.ts', '--module esnext --moduleResolution bundler --skipLibCheck'],
  [
    'node10, by typesVersions', 'use.ts',
    '--module commonjs --moduleResolution node10 --ignoreDeprecations 6.0 --skipLibCheck',
  ],
];
/** Nest 12 has no types for node10; `npm run nest:11` compiles with Nest 11 that way. */
const OF_NEST_12 = RESOLUTIONS.filter(([name]) => !name.startsWith('node10'));
const STRICT = ['--noEmit', '--strict', '--target', 'es2022', '--types', 'node'];
const PLAIN_PROGRAM = `import { Broker } from 'nidomq';
import { connect } from 'nidomq/client';
import { TestBroker } from 'nidomq/testing';
export const broker: Broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }] });
export const tests: Promise<TestBroker> = TestBroker.start();
export const client = connect;
// @ts-expect-error There is no such option: the types are there, not just \`any\`.
new Broker({ listners: [] });
`;
const NEST_PROGRAM = `import { Controller } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { NidoModule, NidoStrategy, OnTopic, TopicParam } from 'nidomq/nest';
import { NidoHealthIndicator } from 'nidomq/terminus';
@Controller()
export class Home {
  constructor(readonly health: NidoHealthIndicator) {}
  @OnTopic(':room/light')
  light(@TopicParam('room') room: string, @Payload() on: boolean): void { void [room, on]; }
}
export const module = NidoModule.forRoot({ join: { url: 'mqtt://broker' } });
export const strategy = new NidoStrategy({ host: {} });
`;

interface Compilation { readonly cwd: string; readonly words: readonly string[] }

describe('a strict TypeScript program', () => {
  /** What the compiler complains about, by the name of the program. */
  const complaints = new Map<string, string>();

  beforeAll(async () => {
    const types = ['--typeRoots', join(ROOT, 'node_modules/@types')];
    const nest = ['--experimentalDecorators', '--emitDecoratorMetadata', '--skipLibCheck'];
    const programs = new Map<string, Compilation>();
    for (const [name, file, options] of RESOLUTIONS) {
      writeFileSync(join(project, file), PLAIN_PROGRAM);
      const words = [...STRICT, ...types, ...options.split(' '), file];
      programs.set(name, { cwd: project, words });
    }
    for (const [name, file, options] of OF_NEST_12) {
      writeFileSync(join(nestProject, file), NEST_PROGRAM);
      const words = [...STRICT, ...nest, ...options.split(' '), file];
      programs.set(`Nest, ${name}`, { cwd: nestProject, words });
    }
    const said = await compile([...programs.values()]);
    [...programs.keys()].forEach((name, at) => complaints.set(name, said[at]));
  }, USE_DEADLINE_MS);

  it.each(RESOLUTIONS)('compiles against our types: %s', (name) => {
    expect(complaints.get(name)).toBe('');
  });

  it.each(OF_NEST_12)('compiles with Nest: %s', (name) => {
    expect(complaints.get(`Nest, ${name}`)).toBe('');
  });
});

/** What there is to complain about in each. */
async function compile(programs: readonly Compilation[]): Promise<string[]> {
  const script = join(ROOT, 'test/house/compile-programs.mjs');
  const { stdout } = await run(process.execPath, [script, JSON.stringify(programs)]);
  return JSON.parse(stdout) as string[];
}

/** Names of what an entry point exports; rejects when `import` and `require` differ. */
async function namesOf(entry: string, cwd: string): Promise<string[]> {
  const script = `
    const required = require('${entry}');
    import('${entry}').then((imported) => {
      const names = Object.keys(imported).filter((name) => name !== 'default').sort();
      if (names.length === 0) throw new Error('nothing is exported');
      for (const name of names) {
        if (required[name] !== imported[name]) throw new Error(name + ' differs');
      }
      console.log(names.join(' '));
    });`;
  const { stdout } = await run(process.execPath, ['-e', script], { cwd });
  return stdout.trim().split(/\s+/);
}
