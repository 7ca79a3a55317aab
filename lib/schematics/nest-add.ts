/** `nest add nidomq`: NidoModule into AppModule, its strategy into main.ts. */
import { addImport, addToModule } from './source-edit.js';
import type { Rule, SchematicContext, Tree } from './tree.js';
import { joinPath, readManifest, readText, writeManifest } from './tree.js';

export interface NestAddOptions {
  readonly sourceRoot?: string;
  /** URL of a broker to join; without it the application hosts one. */
  readonly join?: string;
  /** Of the hosted broker. Default 1883. */
  readonly port?: number;
  /** What package.json gets is not installed. */
  readonly skipInstall?: boolean;
}

const PACKAGE = 'nidomq/nest';
const MICROSERVICES = '@nestjs/microservices';
const MQTT_PORT = 1_883;
/** An application without HTTP has its strategy from the beginning. */
const ONLY_HANDLERS = 'createMicroservice';
const START_ALL = /^([ \t]*)(?:await\s+)?(\w+)\.startAllMicroservices\(/m;
const LISTEN = /^([ \t]*)(?:await\s+)?(\w+)\.listen\(/m;

export function nestAdd(options: NestAddOptions): Rule {
  return (tree, context) => {
    const { sourceRoot = 'src' } = options;
    addModule(tree, context, joinPath(sourceRoot, 'app.module.ts'), moduleOptions(options));
    addStrategy(tree, context, joinPath(sourceRoot, 'main.ts'));
    if (addMicroservices(tree)) install(tree, context, options);
    return tree;
  };
}

function moduleOptions({ join, port = MQTT_PORT }: NestAddOptions): string {
  if (join !== undefined && join !== '') return `{ join: { url: ${quote(join)} } }`;
  return `{ host: { listeners: [{ host: '127.0.0.1', port: ${port} }] } }`;
}

function quote(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}

function addModule(tree: Tree, context: SchematicContext, path: string, options: string): void {
  const text = readText(tree, path);
  const call = `NidoModule.forRoot(${options})`;
  if (text?.includes('NidoModule')) {
    context.logger.info(`${path} has NidoModule already`);
    return;
  }
  const edited = text === undefined ? undefined : addToModule(text, 'imports', call);
  if (edited === undefined) {
    const why = text === undefined ? 'is not there' : 'has no @Module({...}) that can be edited';
    context.logger.warn(`${path} ${why}: add ${call} to the imports of your module yourself`);
    return;
  }
  tree.overwrite(path, addImport(edited, 'NidoModule', PACKAGE));
}

function addStrategy(tree: Tree, context: SchematicContext, path: string): void {
  const text = readText(tree, path);
  if (text?.includes('NidoStrategy')) {
    context.logger.info(`${path} has NidoStrategy already`);
    return;
  }
  if (text?.includes(ONLY_HANDLERS)) {
    context.logger.warn(
      `${path} has an application without HTTP: give ${ONLY_HANDLERS} the strategy yourself\n` +
        '{ inject: [NidoStrategy], useFactory: (strategy: NidoStrategy) => ({ strategy }) }',
    );
    return;
  }
  const place = text === undefined ? null : placeOf(text);
  if (text === undefined || place === null) {
    context.logger.warn(
      `${path} has no app.listen(): connect the strategy before the application starts:\n` +
        strategyLines('app', '').join('\n'),
    );
    return;
  }
  const [, indent, app] = place;
  const lines = strategyLines(app, text).map((line) => `${indent}${line}\n`).join('');
  const edited = text.slice(0, place.index) + lines + text.slice(place.index);
  tree.overwrite(path, addImport(edited, 'NidoStrategy', PACKAGE));
}

/** The line before which the strategy has to be connected: later it would never be started. */
function placeOf(text: string): RegExpExecArray | null {
  return (text.includes('startAllMicroservices(') ? START_ALL : LISTEN).exec(text);
}

function strategyLines(app: string, before: string): string[] {
  const connect = `${app}.connectMicroservice({ strategy: ${app}.get(NidoStrategy) }, `;
  return [
    `${connect}{ inheritAppConfig: true });`,
    ...(before.includes('enableShutdownHooks(') ? [] : [`${app}.enableShutdownHooks();`]),
    ...(before.includes('startAllMicroservices(')
      ? []
      : [`await ${app}.startAllMicroservices();`]),
  ];
}

/**
 * The transports of Nest are a package of their own, which the starter does not have. Answers
 * whether it was added.
 */
function addMicroservices(tree: Tree): boolean {
  const manifest = readManifest(tree);
  const { dependencies = {} } = manifest;
  const core = dependencies['@nestjs/core'];
  if (core === undefined || dependencies[MICROSERVICES] !== undefined) return false;
  // The majors of both belong together; their minor versions are not released in step.
  const major = /\d+/.exec(core)?.[0];
  const range = major === undefined ? core : `^${major}.0.0`;
  const entries = Object.entries({ ...dependencies, [MICROSERVICES]: range });
  const sorted = Object.fromEntries(entries.sort(([one], [other]) => (one < other ? -1 : 1)));
  writeManifest(tree, { ...manifest, dependencies: sorted });
  return true;
}

function install(tree: Tree, context: SchematicContext, { skipInstall }: NestAddOptions): void {
  const packageManager = packageManagerOf(tree);
  if (skipInstall === true) {
    const command = `${packageManager} install`;
    context.logger.warn(`${MICROSERVICES} was added to package.json: run ${command}`);
    return;
  }
  const options = { command: 'install', quiet: true, hideOutput: true, packageManager };
  context.addTask({ toConfiguration: () => ({ name: 'node-package', options }) });
}

function packageManagerOf(tree: Tree): string {
  if (tree.exists('pnpm-lock.yaml')) return 'pnpm';
  if (tree.exists('yarn.lock')) return 'yarn';
  return tree.exists('bun.lock') || tree.exists('bun.lockb') ? 'bun' : 'npm';
}
