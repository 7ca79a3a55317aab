/** `nest g -c nidomq topic <name>`: a controller with handlers, its test, its place in a module. */
import { addImport, addToModule } from './source-edit.js';
import { controllerText, specText } from './topic-templates.js';
import type { Rule, SchematicContext, Tree } from './tree.js';
import { importSuffix, joinPath, readText, relativeImport } from './tree.js';

export interface TopicOptions {
  /** `jardin`, or with folders in front: `casa/jardin`. */
  readonly name: string;
  readonly path?: string;
  readonly sourceRoot?: string;
  readonly flat?: boolean;
  readonly spec?: boolean;
  readonly skipImport?: boolean;
}

export function topic(options: TopicOptions): Rule {
  return (tree, context) => {
    const { sourceRoot = 'src', path, flat = false, spec = true, skipImport = false } = options;
    const folders = options.name.split('/').map(kebab);
    const name = folders.pop() ?? '';
    if (!/^[a-z][a-z0-9-]*$/.test(name)) {
      throw new Error(
        `${JSON.stringify(options.name)} is no name for a class: begin with a letter, then ` +
          'letters, digits and -',
      );
    }
    const folder = joinPath(sourceRoot, path, ...folders, flat ? '' : name);
    const className = `${pascal(name)}Controller`;
    const subject = { name, className, suffix: importSuffix(tree) };
    const file = `${folder}/${name}.controller`;
    tree.create(`${file}.ts`, controllerText(subject));
    if (spec) tree.create(`${file}.spec.ts`, specText(subject));
    if (!skipImport) register(tree, context, { file, className, sourceRoot });
    return tree;
  };
}

interface Registration {
  readonly file: string;
  readonly className: string;
  readonly sourceRoot: string;
}

/** Into the module of the nearest folder that has one. */
function register(tree: Tree, context: SchematicContext, registration: Registration): void {
  const { file, className, sourceRoot } = registration;
  const path = nearestModule(tree, file, sourceRoot);
  const text = path === undefined ? undefined : readText(tree, path);
  const edited = text === undefined ? undefined : addToModule(text, 'controllers', className);
  if (path === undefined || edited === undefined) {
    context.logger.warn(`No module found: add ${className} to the controllers of yours`);
    return;
  }
  const from = relativeImport(path, file) + importSuffix(tree);
  tree.overwrite(path, addImport(edited, className, from));
}

function nearestModule(tree: Tree, file: string, sourceRoot: string): string | undefined {
  const root = joinPath(sourceRoot);
  for (let folder = parentOf(file); folder.length >= root.length; folder = parentOf(folder)) {
    for (const name of [folder.split('/').at(-1)!, 'app']) {
      const path = `${folder}/${name}.module.ts`;
      if (tree.exists(path)) return path;
    }
    if (folder === '') break;
  }
  return undefined;
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

function kebab(text: string): string {
  return text.trim().replace(/([a-z0-9])([A-Z])/g, '$1-$2').replace(/[\s_]+/g, '-').toLowerCase();
}

function pascal(name: string): string {
  return name.replace(/(?:^|-)([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());
}
