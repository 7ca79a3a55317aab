/**
 * Sizes. A function fits on a screen, a file in a head, a line in a side-by-side diff. The
 * exceptions are in tidy-exceptions.json as `"path"` or `"path:function"` -> size; they must be
 * exact, so that the list can only shrink: what got smaller is lowered there, what fits is removed.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import type { SourceFile } from './source-files.js';
import { ROOT, inventedFiles, lineOf, sourceFiles, walk } from './source-files.js';

const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 500;
const LINE_COLUMNS_MAX = 100;

type Sizes = Readonly<Record<string, number>>;
interface Exceptions {
  readonly functionLines: Sizes;
  readonly fileLines: Sizes;
  readonly lineColumns: Sizes;
}

const exceptions = JSON.parse(
  readFileSync(join(ROOT, 'test/house/tidy-exceptions.json'), 'utf8'),
) as Exceptions;
const files = [...sourceFiles('lib'), ...sourceFiles('assembly')];

describe('sizes', () => {
  it(`of functions are at most ${FUNCTION_LINES_MAX} lines`, () => {
    expect(complaints(files.flatMap(longFunctions), exceptions.functionLines)).toEqual([]);
  });

  it(`of files are at most ${FILE_LINES_MAX} lines`, () => {
    expect(complaints(files.flatMap(longFile), exceptions.fileLines)).toEqual([]);
  });

  it(`of lines are at most ${LINE_COLUMNS_MAX} columns`, () => {
    expect(complaints(files.flatMap(longestLine), exceptions.lineColumns)).toEqual([]);
  });

  it('are measured: what is too long is noticed, an exact exception is honoured', () => {
    const body = '  work();\n'.repeat(FUNCTION_LINES_MAX);
    const [file] = inventedFiles({ 'lib/x.ts': `function long() {\n${body}}\n` });
    const measured = longFunctions(file);
    expect(measured).toEqual([{ key: 'lib/x.ts:long', size: 72, line: 1 }]);
    expect(complaints(measured, {})).toHaveLength(1);
    expect(complaints(measured, { 'lib/x.ts:long': 72 })).toEqual([]);
    expect(complaints(measured, { 'lib/x.ts:long': 80 })).toHaveLength(1);
    expect(complaints([], { 'lib/x.ts:long': 72 })).toHaveLength(1);
  });
});

describe('unfinished work', () => {
  it('is in the issues, not in comments', () => {
    const marks = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX'].join('|')})\\b`);
    const found = files.flatMap((file) =>
      file.text.split('\n').flatMap((line, index) =>
        (marks.test(line) ? [`${file.path}:${index + 1} ${line.trim()}`] : [])));
    expect(found).toEqual([]);
  });
});

interface Measured {
  readonly key: string;
  readonly size: number;
  readonly line: number;
}

/**
 * Sentences about what is too big and not excepted, and about exceptions that no longer say the
 * truth.
 */
function complaints(measured: readonly Measured[], allowed: Sizes): string[] {
  const found: string[] = [];
  const seen = new Set<string>();
  for (const { key, size, line } of measured) {
    seen.add(key);
    const excepted = allowed[key];
    if (excepted === undefined || size > excepted) found.push(`${key} (line ${line}) has ${size}`);
    else if (size < excepted) found.push(`${key} has ${size} now: lower ${excepted} to it`);
  }
  for (const key of Object.keys(allowed)) {
    if (!seen.has(key)) found.push(`${key} is within the limit now: remove its exception`);
  }
  return found;
}

function longFunctions(file: SourceFile): Measured[] {
  const found: Measured[] = [];
  walk(file, (node) => {
    if (!ts.isFunctionLike(node) || !('body' in node) || node.body === undefined) return;
    const line = lineOf(file, node.getStart());
    const size = lineOf(file, node.getEnd()) - line + 1;
    if (size <= FUNCTION_LINES_MAX) return;
    found.push({ key: `${file.path}:${nameOf(node)}`, size, line });
  });
  return found;
}

function nameOf(node: ts.SignatureDeclaration): string {
  if (ts.isConstructorDeclaration(node)) return 'constructor';
  const named = node.name ?? (ts.isVariableDeclaration(node.parent) ? node.parent.name : undefined);
  return named === undefined ? 'anonymous' : named.getText();
}

function longFile(file: SourceFile): Measured[] {
  const size = file.text.split('\n').length - (file.text.endsWith('\n') ? 1 : 0);
  return size > FILE_LINES_MAX ? [{ key: file.path, size, line: size }] : [];
}

/** The longest line that is over its limit, one for each file. */
function longestLine(file: SourceFile): Measured[] {
  let longest: Measured | undefined;
  file.text.split('\n').forEach((text, index) => {
    const size = [...text].length;
    if (size <= LINE_COLUMNS_MAX) return;
    if (longest !== undefined && size <= longest.size) return;
    longest = { key: file.path, size, line: index + 1 };
  });
  return longest === undefined ? [] : [longest];
}
