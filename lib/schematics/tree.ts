/**
 * What of @angular-devkit/schematics is used here. Its runner calls our factories; the package
 * itself is not needed, so nothing has to be installed for it.
 */
export interface Tree {
  exists(path: string): boolean;
  read(path: string): { toString(encoding: 'utf8'): string } | null;
  create(path: string, content: string): void;
  overwrite(path: string, content: string): void;
}

export interface SchematicContext {
  readonly logger: { info(message: string): void; warn(message: string): void };
  addTask(task: { toConfiguration(): { name: string; options: object } }): unknown;
}

export type Rule = (tree: Tree, context: SchematicContext) => Tree;

export function readText(tree: Tree, path: string): string | undefined {
  return tree.exists(path) ? tree.read(path)!.toString('utf8') : undefined;
}

/** What the project says of itself; an empty object when it says nothing. */
export interface ProjectManifest {
  type?: string;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
}

const MANIFEST = 'package.json';

export function readManifest(tree: Tree): ProjectManifest {
  return JSON.parse(readText(tree, MANIFEST) ?? '{}') as ProjectManifest;
}

export function writeManifest(tree: Tree, manifest: ProjectManifest): void {
  tree.overwrite(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`);
}

/** Of relative imports: ESM projects name the file, CommonJS ones the module. */
export function importSuffix(tree: Tree): '.js' | '' {
  return readManifest(tree).type === 'module' ? '.js' : '';
}

/** `a//b/../c` as the tree knows it: `a/c`. */
export function joinPath(...parts: readonly (string | undefined)[]): string {
  const levels: string[] = [];
  for (const level of parts.flatMap((part) => (part ?? '').split('/'))) {
    if (level === '' || level === '.') continue;
    if (level === '..') levels.pop();
    else levels.push(level);
  }
  return levels.join('/');
}

export function relativeImport(fromFile: string, toFile: string): string {
  const from = joinPath(fromFile).split('/').slice(0, -1);
  const to = joinPath(toFile).split('/');
  while (from.length > 0 && from[0] === to[0]) {
    from.shift();
    to.shift();
  }
  return `${from.length === 0 ? './' : '../'.repeat(from.length)}${to.join('/')}`;
}
