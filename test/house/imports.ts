/** Which file takes what from where, and which of it is against the plan of the house. */
import { posix } from 'node:path';
import ts from 'typescript';
import type { SourceFile } from './source-files.js';
import { lineOf, walk } from './source-files.js';

/**
 * `type` leaves nothing at run time, `dynamic` loads when the line runs, `static` when the file
 * does.
 */
export type ImportKind = 'static' | 'type' | 'dynamic';

export interface Import {
  readonly file: SourceFile;
  readonly specifier: string;
  readonly kind: ImportKind;
  readonly line: number;
}

/** What a room may take from another: everything, or types of the named files only. */
export type Permission = 'all' | readonly string[];
export type Plan = Readonly<Record<string, Readonly<Record<string, Permission>>>>;

export function importsOf(file: SourceFile): Import[] {
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined, kind: ImportKind, node: ts.Node): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) return;
    found.push({ file, specifier: specifier.text, kind, line: lineOf(file, node.getStart()) });
  };
  walk(file, (node) => {
    if (ts.isImportDeclaration(node)) {
      add(node.moduleSpecifier, isTypeOnly(node) ? 'type' : 'static', node);
    } else if (ts.isExportDeclaration(node)) {
      add(node.moduleSpecifier, node.isTypeOnly ? 'type' : 'static', node);
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node.argument.literal, 'type', node);
    } else if (ts.isCallExpression(node) && isDynamicImport(node)) {
      add(node.arguments[0], 'dynamic', node);
    }
  });
  return found;
}

function isTypeOnly(node: ts.ImportDeclaration): boolean {
  return node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
}

/** `import('x')`, and `require('x')` of a createRequire, which loads at the same moment. */
function isDynamicImport(node: ts.CallExpression): boolean {
  const callee = node.expression;
  return callee.kind === ts.SyntaxKind.ImportKeyword
    || (ts.isIdentifier(callee) && callee.text === 'require');
}

/**
 * `lib/broker/x.ts` is of room `broker`; `lib/index.ts` is the room `index`; all of assembly/ is
 * `assembly`.
 */
export function roomOf(path: string): string {
  const parts = path.split('/');
  if (parts[0] === 'assembly') return parts[1] === 'shared' ? 'assembly/shared' : 'assembly';
  return parts.length === 2 ? parts[1].replace(/\.ts$/, '') : parts[1];
}

/** Path from the root of what a relative specifier names: `lib/broker/x.ts`. */
export function targetOf(from: Import): string {
  const path = posix.join(posix.dirname(from.file.path), from.specifier);
  return path.replace(/\.js$/, '.ts');
}

export function isRelative(from: Import): boolean {
  return from.specifier.startsWith('.');
}

/** Name of the package of a specifier that is neither relative nor Node's own. */
export function packageOf(from: Import): string | undefined {
  if (isRelative(from) || from.specifier.startsWith('node:')) return undefined;
  const parts = from.specifier.split('/');
  return from.specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0];
}

export function describeImport(from: Import): string {
  return `${from.file.path}:${from.line} imports '${from.specifier}' (${from.kind})`;
}

/** Sentences about imports between rooms that the plan does not allow. */
export function trespasses(files: readonly SourceFile[], plan: Plan): string[] {
  const found: string[] = [];
  for (const from of files.flatMap(importsOf).filter(isRelative)) {
    const room = roomOf(from.file.path);
    const target = targetOf(from);
    const other = roomOf(target);
    if (room === other) continue;
    const permission = plan[room]?.[other];
    if (permission === 'all') continue;
    if (permission === undefined) {
      found.push(`${describeImport(from)}: room ${room} may take nothing from ${other}`);
    } else if (from.kind !== 'type' || !permission.includes(target)) {
      found.push(
        `${describeImport(from)}: room ${room} may take only types from ${permission.join(', ')}`,
      );
    }
  }
  return found;
}
