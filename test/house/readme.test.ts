/**
 * What README.md shows is true of this version: its files compile, its edits are what `nest add`
 * makes. `npm run readme` follows the whole page in a fresh project; that needs the registry.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { nestAdd } from '../../lib/schematics/nest-add.js';
import type { Tree } from '../../lib/schematics/tree.js';
import { ROOT } from './source-files.js';

const run = promisify(execFile);
const COMPILE_DEADLINE_MS = 120_000;

interface Block {
  readonly language: string;
  readonly line: number;
  readonly text: string;
  readonly file?: string;
  readonly nest?: string;
  readonly notRun?: string;
}
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
let blocksOf: (markdown: string) => Block[];
let blocks: Block[] = [];

beforeAll(async () => {
  const path = join(ROOT, 'scripts/markdown-blocks.mjs');
  ({ blocksOf } = await import(path) as { blocksOf: typeof blocksOf });
  blocks = blocksOf(readme);
});

describe('README.md', () => {
  let project = '';
  afterAll(() => {
    if (project !== '') rmSync(project, { recursive: true, force: true });
  });

  it('shows files that compile in a strict project', async () => {
    project = mkdtempSync(join(tmpdir(), 'nidomq-readme-types-'));
    const modules = join(project, 'node_modules');
    mkdirSync(modules);
    for (const name of ['@nestjs', '@types', 'rxjs', 'reflect-metadata']) {
      symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
    }
    symlinkSync(ROOT, join(modules, 'nidomq'));
    const files = blocks.filter(({ file }) => file !== undefined && !file.includes('pack.config'));
    expect(files.map(({ file }) => file)).toEqual([
      'broker.mjs', 'src/casa.controller.ts', 'src/app.module.ts', 'src/casa.controller.spec.ts',
    ]);
    const starter = { 'package.json': '{ "type": "module" }', ...STARTER };
    const ours = Object.fromEntries(files.map(({ file, text }) => [file!, text]));
    for (const [path, text] of Object.entries({ ...starter, ...ours })) {
      mkdirSync(dirname(join(project, path)), { recursive: true });
      writeFileSync(join(project, path), text);
    }
    const words = '--noEmit --strict --target es2022 --module nodenext --allowJs --checkJs '
      + '--skipLibCheck --types node,jest --experimentalDecorators --emitDecoratorMetadata '
      + Object.keys(ours).join(' ');
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    const { stdout } = await run(process.execPath, [tsc, ...words.split(' ')], { cwd: project })
      .catch((error: { stdout: string }) => error);
    expect(stdout).toBe('');
  }, COMPILE_DEADLINE_MS);

  it('shows the edits that nest add makes', () => {
    const files = new Map(Object.entries(STARTER));
    const tree: Tree = {
      exists: (path) => files.has(path),
      read: (path) => files.get(path) ?? null,
      create: (path, text) => void files.set(path, text),
      overwrite: (path, text) => void files.set(path, text),
    };
    const logger = { info: () => undefined, warn: (text: string) => { throw new Error(text); } };
    nestAdd({})(tree, { logger, addTask: () => undefined });
    const [start] = blocks.filter(({ text }) => text.includes('connectMicroservice('));
    expect(files.get('src/main.ts')).toContain(start.text);
    const line = /NidoModule\.forRoot\(.*?\)/.exec(files.get('src/app.module.ts')!)![0];
    expect(blocks.find(({ file }) => file === 'src/app.module.ts')!.text).toContain(line);
  });

  it('has a handler of twelve lines', () => {
    const { text } = blocks.find(({ file }) => file === 'src/casa.controller.ts')!;
    const code = text.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('//'));
    expect(code.length).toBe(12);
  });
});

describe('the blocks of a page', () => {
  it('know their file, their version of Nest and whether they are run', () => {
    const page = [
      '```ts', '// src/a.ts', 'a();', '```', '### Nest 11', '```sh', 'one', '```', '### All', '',
      '<!-- readme: nest 12 -->', '```sh', 'two', '```', '<!-- readme: not run, why -->', '',
      '```sh', 'three', '```', '```text', 'said', '```',
    ].join('\n');
    expect(blocksOf(page).map(({ language, line, file, nest, notRun }) =>
      [language, line, file, nest, notRun])).toEqual([
      ['ts', 1, 'src/a.ts', undefined, undefined],
      ['sh', 6, undefined, '11', undefined],
      ['sh', 12, undefined, '12', undefined],
      ['sh', 17, undefined, undefined, 'not run, why'],
      ['text', 20, undefined, undefined, undefined],
    ]);
  });
});

/** What `nest new` has written, as far as it matters here. */
const STARTER = {
  'src/app.controller.ts': 'export class AppController {}\n',
  'src/app.service.ts': 'export class AppService {}\n',
  'src/app.module.ts': '@Module({ imports: [], controllers: [], providers: [] })\n',
  'src/main.ts': `import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

async function bootstrap() {
  const app = await NestFactory.create(AppModule);
  await app.listen(process.env.PORT ?? 3000);
}
await bootstrap();
`,
};
