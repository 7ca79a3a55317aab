/** `nest add nidomq` and `nest g -c nidomq topic`, run by the runner of Nest's command line. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { addImport, addToModule } from '../../lib/schematics/source-edit.js';

const ROOT = process.cwd();
const RUN_DEADLINE_MS = 60_000;

type Files = Record<string, string>;
interface Outcome {
  readonly files: Files;
  readonly tasks: readonly { readonly name: string; readonly options: object }[];
  readonly log: readonly string[];
}

/** The starter of Nest 12, as far as the schematics look at it. */
const STARTER: Files = {
  'package.json': JSON.stringify({
    name: 'home', type: 'module',
    dependencies: { '@nestjs/common': '^12.0.1', '@nestjs/core': '^12.0.1', nidomq: '^0.1.0' },
  }),
  'src/main.ts': `import { NestFactory } from '@nestjs/core';
import { AppModule } from './app.module.js';

async function bootstrap() {
  const app = await NestFactory.create(AppModule);
  await app.listen(process.env.PORT ?? 3000);
}
await bootstrap();
`,
  'src/app.module.ts': `import { Module } from '@nestjs/common';
import { AppController } from './app.controller.js';
import { AppService } from './app.service.js';

@Module({
  imports: [],
  controllers: [AppController],
  providers: [AppService],
})
export class AppModule {}
`,
};

let child: ChildProcess | undefined;
afterAll(() => { child?.kill(); });

async function run(schematic: string, options: object, files: Files = STARTER): Promise<Outcome> {
  if (!existsSync(join(ROOT, 'dist/schematics/collection.json'))) {
    throw new Error('dist/ is missing: run `npm run build`, or `npm test`, which builds it');
  }
  child ??= fork('test/schematics/run-schematic.mjs', { cwd: ROOT, execArgv: ['--no-warnings'] });
  const answer = once(child, 'message');
  child.send({ schematic, options, files });
  const [{ outcome, complaint }] = await answer as [{ outcome?: Outcome; complaint?: string }];
  if (outcome === undefined) throw new Error(complaint);
  return outcome;
}

function expectTypeScript(source: string): void {
  const { diagnostics = [] } = ts.transpileModule(source, {
    reportDiagnostics: true,
    compilerOptions: { target: ts.ScriptTarget.ES2022, experimentalDecorators: true },
  });
  expect(diagnostics.map(({ messageText }) => messageText)).toEqual([]);
}

describe('nest add nidomq', () => {
  it('hosts a broker in the starter of Nest', async () => {
    const { files, tasks, log } = await run('nest-add', { sourceRoot: 'src' });
    expect(files['src/app.module.ts']).toBe(STARTER['src/app.module.ts']
      .replace(
        'app.service.js\';\n', 'app.service.js\';\nimport { NidoModule } from \'nidomq/nest\';\n',
      )
      .replace(
        'imports: []',
        'imports: [NidoModule.forRoot({ host: { listeners: [{ host: \'127.0.0.1\', port: 1883 }] } })]',
      ));
    expect(files['src/main.ts']).toContain(`
  const app = await NestFactory.create(AppModule);
  app.connectMicroservice({ strategy: app.get(NidoStrategy) }, { inheritAppConfig: true });
  app.enableShutdownHooks();
  await app.startAllMicroservices();
  await app.listen(process.env.PORT ?? 3000);
`);
    expect(files['src/main.ts']).toContain('import { NidoStrategy } from \'nidomq/nest\';\n');
    expect(JSON.parse(files['package.json'])).toMatchObject({
      dependencies: { '@nestjs/microservices': '^12.0.0', nidomq: '^0.1.0' },
    });
    expect(tasks).toMatchObject([
      { name: 'node-package', options: { command: 'install', packageManager: 'npm' } },
    ]);
    expect(log).toEqual([]);
  }, RUN_DEADLINE_MS);

  it('joins a broker when told to, and uses the package manager of the project', async () => {
    const { files, tasks } = await run(
      'nest-add', { join: 'mqtts://broker:8883' }, { ...STARTER, 'pnpm-lock.yaml': '' },
    );
    expect(files['src/app.module.ts'])
      .toContain('imports: [NidoModule.forRoot({ join: { url: \'mqtts://broker:8883\' } })]');
    expect(tasks).toMatchObject([{ options: { packageManager: 'pnpm' } }]);
  }, RUN_DEADLINE_MS);

  it('leaves the installation to a person who says so', async () => {
    const { files, tasks, log } = await run('nest-add', { skipInstall: true });
    expect(files['package.json']).toContain('@nestjs/microservices');
    expect(tasks).toEqual([]);
    expect(log).toEqual([
      'warn @nestjs/microservices was added to package.json: run npm install',
    ]);
  }, RUN_DEADLINE_MS);

  it('changes nothing the second time', async () => {
    const once = await run('nest-add', {});
    const twice = await run('nest-add', {}, once.files);
    expect(twice.files).toEqual(once.files);
    expect(twice.tasks).toEqual([]);
    expect(twice.log).toEqual([
      'info src/app.module.ts has NidoModule already', 'info src/main.ts has NidoStrategy already',
    ]);
  }, RUN_DEADLINE_MS);

  it('connects its strategy before those that are there are started', async () => {
    const main = STARTER['src/main.ts'].replace(
      '  await app.listen',
      '  app.connectMicroservice({ strategy: other });\n  await app.startAllMicroservices();\n' +
        '  await app.listen');
    const { files } = await run('nest-add', {}, { ...STARTER, 'src/main.ts': main });
    const edited = files['src/main.ts'];
    expect(edited.match(/startAllMicroservices/g)).toHaveLength(1);
    expect(edited.indexOf('app.get(NidoStrategy)')).toBeLessThan(edited.indexOf('startAll'));
    expectTypeScript(edited);
  }, RUN_DEADLINE_MS);

  it('edits a project that does without semicolons', async () => {
    const bare = Object.fromEntries(
      Object.entries(STARTER).map(([path, text]) => [path, text.replaceAll(';\n', '\n')]));
    const { files } = await run('nest-add', {}, bare);
    expect(files['src/main.ts']).toContain(
      'from \'./app.module.js\'\nimport { NidoStrategy } from \'nidomq/nest\';\n');
    expect(files['src/app.module.ts']).toContain(
      'from \'./app.service.js\'\nimport { NidoModule } from \'nidomq/nest\';\n');
    expectTypeScript(files['src/main.ts']);
  }, RUN_DEADLINE_MS);

  it('leaves an application without HTTP to a person, and says how', async () => {
    const main = 'const app = await NestFactory.createMicroservice(AppModule, {});\n' +
      'await app.listen();\n';
    const { files, log } = await run('nest-add', {}, { ...STARTER, 'src/main.ts': main });
    expect(files['src/main.ts']).toBe(main);
    expect(log.join('\n')).toContain(
      'inject: [NidoStrategy], useFactory: (strategy: NidoStrategy) => ({ strategy })');
  }, RUN_DEADLINE_MS);

  it('says what to do by hand where it finds no place', async () => {
    const { files, log } = await run('nest-add', {}, {
      'package.json': STARTER['package.json'], 'src/main.ts': 'start();\n',
    });
    expect(files['src/main.ts']).toBe('start();\n');
    expect(log[0]).toContain('src/app.module.ts is not there: add NidoModule.forRoot({ host:');
    expect(log[1]).toContain('app.connectMicroservice({ strategy: app.get(NidoStrategy) }');
  }, RUN_DEADLINE_MS);
});

describe('nest g -c nidomq topic', () => {
  it('writes a controller and its test, and registers it', async () => {
    const { files } = await run('topic', { name: 'jardinNorte' });
    const controller = files['src/jardin-norte/jardin-norte.controller.ts'];
    expect(controller).toContain('@TopicPrefix(\'jardin-norte\')\nexport class JardinNorteController');
    const spec = files['src/jardin-norte/jardin-norte.controller.spec.ts'];
    expect(spec).toContain('from \'./jardin-norte.controller.js\'');
    expect(files['src/app.module.ts'])
      .toContain('controllers: [AppController, JardinNorteController],');
    expect(files['src/app.module.ts']).toContain(
      'import { JardinNorteController } from \'./jardin-norte/jardin-norte.controller.js\';\n',
    );
    for (const source of [controller, spec, files['src/app.module.ts']]) expectTypeScript(source);
  }, RUN_DEADLINE_MS);

  it('keeps to the ways of a CommonJS project, and to the options', async () => {
    const manifest = JSON.stringify({ name: 'home' });
    const { files } = await run(
      'topic', { name: 'casa/luz', flat: true, spec: false },
      {
        ...STARTER, 'package.json': manifest,
        'src/casa/casa.module.ts': '@Module({})\nexport class CasaModule {}\n',
      },
    );
    expect(Object.keys(files).filter((path) => path.includes('luz')))
      .toEqual(['src/casa/luz.controller.ts']);
    expect(files['src/casa/casa.module.ts']).toBe(`import { LuzController } from './luz.controller';
@Module({
  controllers: [LuzController],
})
export class CasaModule {}
`);
    expect(files['src/app.module.ts']).toBe(STARTER['src/app.module.ts']);
  }, RUN_DEADLINE_MS);

  it('refuses a name that is none', async () => {
    await expect(run('topic', { name: '7#' })).rejects.toThrow('is no name for a class');
  }, RUN_DEADLINE_MS);
});

describe('edits of a module', () => {
  it.each([
    ['one line', '@Module({ imports: [A] })', '@Module({ imports: [A, B] })'],
    ['a comma at the end', '@Module({ imports: [A,] })', '@Module({ imports: [A, B] })'],
    [
      'several lines',
      '@Module({\n  imports: [\n    A.forRoot({ x: [1] }),\n    C,\n  ],\n})',
      '@Module({\n  imports: [\n    A.forRoot({ x: [1] }),\n    C,\n    B,\n  ],\n})',
    ],
    [
      'brackets in strings and comments',
      '@Module({\n  // imports: [no]\n  imports: [A(\'imports: ]\')], /* ] */\n})',
      '@Module({\n  // imports: [no]\n  imports: [A(\'imports: ]\'), B], /* ] */\n})',
    ],
    [
      'a property of the same name further in',
      '@Module({ providers: [f({ imports: [no] })] })',
      '@Module({\n  imports: [B], providers: [f({ imports: [no] })] })',
    ],
    ['an empty module', '@Module({})', '@Module({\n  imports: [B],\n})'],
  ])('add to an array: %s', (_what, before, after) => {
    expect(addToModule(before, 'imports', 'B')).toBe(after);
  });

  it('leave alone what they do not understand', () => {
    expect(addToModule('@Module(options)', 'imports', 'B')).toBeUndefined();
    expect(addToModule('@Module({ imports: all })', 'imports', 'B')).toBeUndefined();
    expect(addToModule('@Module({ imports: [A', 'imports', 'B')).toBeUndefined();
  });

  it('import behind the last import, once', () => {
    const text = 'import a from \'a\';\nimport {\n  b,\n} from \'b\';\n\nrun();\n';
    const edited = addImport(text, 'C', './c.js');
    expect(edited).toBe(
      'import a from \'a\';\nimport {\n  b,\n} from \'b\';\nimport { C } from \'./c.js\';\n\nrun();\n',
    );
    expect(addImport(edited, 'C', './c.js')).toBe(edited);
    expect(addImport('run();\n', 'C', 'c')).toBe('import { C } from \'c\';\nrun();\n');
  });
});
