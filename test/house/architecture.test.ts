/**
 * The plan of the house: which room may use which. Arrows go downward only, doors never use each
 * other. When a test here is red the import is wrong, or the plan has changed: then
 * docs/architecture changes in the same commit.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import type { Plan } from './imports.js';
import { describeImport, importsOf, packageOf, roomOf, targetOf, trespasses } from './imports.js';
import { ROOT, inventedFiles, lineOf, sourceFiles, walk } from './source-files.js';
import type { SourceFile } from './source-files.js';

const LOGGER = 'lib/broker/logger.ts';
const HOOKS = 'lib/broker/hooks.ts';
const TRANSPORT = 'lib/listener/transport.ts';

/** What the rooms at the top may use: everything below, never each other. */
const DOOR: Plan[string] = {
  core: 'all', engine: 'all', listener: 'all', broker: 'all', guard: 'all', client: 'all',
  index: 'all',
};

/** Room -> rooms it may use. What is not here is forbidden. */
const PLAN: Plan = {
  'assembly/shared': {},
  assembly: { 'assembly/shared': 'all' },
  core: { 'assembly/shared': 'all', listener: [TRANSPORT] },
  listener: { broker: [LOGGER] },
  engine: { core: 'all', broker: [LOGGER] },
  broker: { core: 'all', engine: 'all', listener: 'all' },
  guard: { core: 'all', broker: [HOOKS, LOGGER], listener: [TRANSPORT] },
  client: { core: 'all', listener: 'all', engine: 'all', broker: [LOGGER] },
  nest: DOOR,
  testing: DOOR,
  cli: DOOR,
  schematics: {},
  index: { core: 'all', engine: 'all', listener: 'all', broker: 'all', guard: 'all' },
};

/**
 * Packages that a file may name in a static import, by room. Everywhere else: Node's own modules
 * only.
 */
const STATIC_PACKAGES: Readonly<Record<string, RegExp>> = {
  nest: /^(@nestjs\/(common|core|microservices|terminus)|rxjs|reflect-metadata)$/,
  cli: /^commander$/,
  listener: /^ws$/,
};

const NEST_ONLY = /^(@nestjs\/.*|rxjs|reflect-metadata)$/;
const lib = sourceFiles('lib');
const assembly = sourceFiles('assembly');
const everyImport = [...lib, ...assembly].flatMap(importsOf);

describe('the plan of the house', () => {
  it('knows every room', () => {
    const rooms = new Set([...lib, ...assembly].map((file) => roomOf(file.path)));
    expect([...rooms].filter((room) => PLAN[room] === undefined)).toEqual([]);
  });

  it('lets imports go downward only', () => {
    expect(trespasses([...lib, ...assembly], PLAN)).toEqual([]);
  });

  it('has no circle between files at run time', () => {
    expect(circles()).toEqual([]);
  });

  it('notices an import that goes up, and one that takes more than types', () => {
    const files = inventedFiles({
      'lib/core/a.ts': `import { Broker } from '../broker/broker.js';`,
      'lib/guard/b.ts': `import { Denied } from '../broker/hooks.js';`,
      'lib/guard/c.ts': `import type { Authorizer } from '../broker/hooks.js';`,
      'lib/nest/d.ts': `const run = () => import('../cli/nidomq.js');`,
    });
    expect(trespasses(files, PLAN).map((sentence) => sentence.split(' ')[0])).toEqual([
      'lib/core/a.ts:1', 'lib/guard/b.ts:1', 'lib/nest/d.ts:1',
    ]);
  });
});

describe('the tables that both compilers read', () => {
  it('are imported by lib/core/*.ts alone, with the specifier that the build rewrites', () => {
    const wrong = everyImport.filter((from) => {
      const crosses = from.file.path.startsWith('lib/') && targetOf(from).startsWith('assembly/');
      const isAllowed = /^lib\/core\/[^/]+\.ts$/.test(from.file.path)
        && from.specifier.startsWith('../../assembly/shared/');
      return crosses && !isAllowed;
    });
    expect(wrong.map(describeImport)).toEqual([]);
  });

  it('import nothing outside their folder', () => {
    const wrong = everyImport.filter((from) =>
      roomOf(from.file.path) === 'assembly/shared' && roomOf(targetOf(from)) !== 'assembly/shared');
    expect(wrong.map(describeImport)).toEqual([]);
  });
});

describe('packages', () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as
    Record<string, Record<string, string> | undefined>;
  const shipped = new Set(
    ['dependencies', 'optionalDependencies', 'peerDependencies'].flatMap((kind) =>
      Object.keys(manifest[kind] ?? {})),
  );
  const fromPackages = everyImport.filter((from) => packageOf(from) !== undefined);

  it('of NestJS and rxjs stay in lib/nest', () => {
    const wrong = fromPackages.filter((from) =>
      NEST_ONLY.test(packageOf(from)!) && roomOf(from.file.path) !== 'nest');
    expect(wrong.map(describeImport)).toEqual([]);
  });

  it('are loaded when they are needed, not when the file is', () => {
    const wrong = fromPackages.filter((from) =>
      from.kind === 'static'
      && !STATIC_PACKAGES[roomOf(from.file.path)]?.test(packageOf(from)!));
    expect(wrong.map(describeImport)).toEqual([]);
  });

  it('are in the manifest as something that an installation brings', () => {
    const wrong = fromPackages.filter((from) =>
      from.kind !== 'type' && !shipped.has(packageOf(from)!));
    expect(wrong.map(describeImport)).toEqual([]);
  });
});

describe('what require(), jest and bundlers need', () => {
  it('is lib/ without top-level await and without import.meta', () => {
    const found: string[] = [];
    for (const file of lib) {
      walk(file, (node) => {
        const isMeta = ts.isMetaProperty(node)
          && node.keywordToken === ts.SyntaxKind.ImportKeyword;
        if (!isMeta && !isTopLevelAwait(node)) return;
        found.push(`${file.path}:${lineOf(file, node.getStart())}`);
      });
    }
    expect(found).toEqual([]);
  });

  it('is relative imports that end in .js', () => {
    const wrong = lib.flatMap(importsOf).filter((from) =>
      from.specifier.startsWith('.') && !from.specifier.endsWith('.js'));
    expect(wrong.map(describeImport)).toEqual([]);
  });
});

describe('linear memory', () => {
  it('is named in lib/core only', () => {
    const found: string[] = [];
    for (const file of lib.filter((one) => roomOf(one.path) !== 'core')) {
      walk(file, (node) => {
        if (ts.isIdentifier(node) && node.text === 'WebAssembly') {
          found.push(`${file.path}:${lineOf(file, node.getStart())}`);
        }
      });
    }
    expect(found).toEqual([]);
  });
});

describe('the one matcher', () => {
  /** Compares two Topic Filters, which the index is not asked. */
  const ALLOWED = ['lib/guard/rules/topic-levels.ts'];
  const matchersIn = (files: readonly SourceFile[]): string[] => {
    const found = new Set<string>();
    for (const file of files) {
      walk(file, (node) => {
        if (isLevelMatch(node)) found.add(file.path);
      });
    }
    return [...found];
  };

  it('is that of the core: nothing else compares levels with wildcards', () => {
    expect(matchersIn(lib)).toEqual(ALLOWED);
  });

  it('is missed when somebody writes another one', () => {
    const files = inventedFiles({
      'lib/nest/a.ts': `for (const at of a.keys()) if (a[at] !== '+' && a[at] !== b[at]) stop();`,
      'lib/cli/b.ts': `const fits = (one, other) => one === other || one === '+';`,
      'lib/cli/c.ts': `if (level === '+' || level === '#') wild();`,
    });
    expect(matchersIn(files)).toEqual(['lib/nest/a.ts', 'lib/cli/b.ts']);
  });
});

/** `level === '+'` together with `level === other`, in one condition. */
function isLevelMatch(node: ts.Node): boolean {
  if (!ts.isBinaryExpression(node) || !isLogical(node)) return false;
  const operands = operandsOf(node).filter(isComparison);
  const isText = (side: ts.Node): boolean => ts.isLiteralExpression(side);
  const withPlus = operands.some(({ left, right }) =>
    [left, right].some((side) => ts.isStringLiteral(side) && side.text === '+'));
  const isValue = (side: ts.Node): boolean =>
    ts.isIdentifier(side) ? side.text !== 'undefined' : ts.isElementAccessExpression(side);
  return withPlus && operands.some(({ left, right }) =>
    !isText(left) && !isText(right) && isValue(left) && isValue(right));
}

function isLogical(node: ts.BinaryExpression): boolean {
  const { kind } = node.operatorToken;
  return kind === ts.SyntaxKind.AmpersandAmpersandToken || kind === ts.SyntaxKind.BarBarToken;
}

function isComparison(node: ts.Node): node is ts.BinaryExpression {
  if (!ts.isBinaryExpression(node)) return false;
  const { kind } = node.operatorToken;
  return kind === ts.SyntaxKind.EqualsEqualsEqualsToken
    || kind === ts.SyntaxKind.ExclamationEqualsEqualsToken;
}

function operandsOf(node: ts.Expression): ts.Expression[] {
  if (ts.isParenthesizedExpression(node)) return operandsOf(node.expression);
  if (!ts.isBinaryExpression(node) || !isLogical(node)) return [node];
  return [...operandsOf(node.left), ...operandsOf(node.right)];
}

function isTopLevelAwait(node: ts.Node): boolean {
  const waits = ts.isAwaitExpression(node)
    || (ts.isForOfStatement(node) && node.awaitModifier !== undefined);
  if (!waits) return false;
  for (let above = node.parent; above !== undefined; above = above.parent) {
    if (ts.isFunctionLike(above)) return false;
  }
  return true;
}

/**
 * Circles of static imports in lib/: `a -> b -> a`. Decorated classes in one fail at load, others
 * wait to.
 */
function circles(): string[] {
  const next = new Map<string, string[]>();
  for (const from of lib.flatMap(importsOf)) {
    if (from.kind !== 'static' || !from.specifier.startsWith('.')) continue;
    next.set(from.file.path, [...(next.get(from.file.path) ?? []), targetOf(from)]);
  }
  const found: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) found.push([...trail.slice(start), path].join(' -> '));
    if (start >= 0 || done.has(path)) return;
    for (const target of next.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of next.keys()) visit(path, []);
  return found;
}
