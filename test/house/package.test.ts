/**
 * The package as a stranger gets it: packed, installed into an empty project, and used from ESM,
 * from CommonJS, from a shell and from TypeScript. It packs dist/ as it is, so build first
 * (`npm test` does).
 */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ROOT } from './source-files.js';

const run = promisify(execFile);
const INSTALL_DEADLINE_MS = 120_000;
const USE_DEADLINE_MS = 60_000;

interface PackedFile { readonly path: string; readonly mode: number }
interface Manifest {
  readonly version: string;
  readonly exports: Record<string, string | Record<string, string>>;
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;
/** Entry points with code; the others need a framework that an empty project does not have. */
const ENTRY_POINTS = ['nidomq', 'nidomq/client', 'nidomq/testing'];

let project = '';
let packed: PackedFile[] = [];

beforeAll(async () => {
  if (!existsSync(join(ROOT, 'dist/index.js'))) {
    throw new Error('dist/ is missing: run `npm run build`, or `npm test`, which builds it');
  }
  project = mkdtempSync(join(tmpdir(), 'nidomq-package-'));
  writeFileSync(join(project, 'package.json'), '{ "name": "stranger", "private": true }\n');
  // Scripts are left out: `prepack` would build again under the other tests' feet.
  const { stdout } = await run(
    'npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', project], { cwd: ROOT },
  );
  const [pack] = JSON.parse(stdout) as { filename: string; files: PackedFile[] }[];
  packed = pack.files;
  await run(
    'npm', ['install', `./${pack.filename}`, '--prefer-offline', '--no-audit', '--no-fund'],
    { cwd: project },
  );
}, INSTALL_DEADLINE_MS);

afterAll(() => {
  if (project !== '') rmSync(project, { recursive: true, force: true });
});

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

  it('holds every file that the manifest points at', () => {
    const paths = new Set(packed.map((file) => `./${file.path}`));
    const targets = Object.values(manifest.exports).flatMap((target) =>
      (typeof target === 'string' ? [target] : Object.values(target)));
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
  it.each(ENTRY_POINTS)('import and require of %s give the same module', async (entry) => {
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
    const { stdout } = await run(process.execPath, ['-e', script], { cwd: project });
    expect(stdout.trim().split(' ').length).toBeGreaterThan(0);
    if (entry === 'nidomq') expect(stdout.split(/\s+/)).toContain('Broker');
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

  it('the command is there and says its version', async () => {
    const command = join(project, 'node_modules/.bin/nidomq');
    const { stdout } = await run(command, ['--version'], { cwd: project });
    expect(stdout.trim()).toBe(manifest.version);
  }, USE_DEADLINE_MS);

  it('a strict TypeScript program compiles against its types', async () => {
    const files: Record<string, string> = {
      'use.mts': `import { Broker } from 'nidomq';
const broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }] });
await broker.listen();
await broker.close();
`,
      'use.cts': `import { Broker } from 'nidomq';
export const make = (): Broker => new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }] });
`,
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(project, name), text);
    const options = [
      '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node',
      '--typeRoots', join(ROOT, 'node_modules/@types'),
    ];
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    const { stdout } = await run(
      process.execPath, [tsc, ...options, ...Object.keys(files)], { cwd: project },
    ).catch((error: { stdout: string }) => error);
    expect(stdout).toBe('');
  }, USE_DEADLINE_MS);
});
