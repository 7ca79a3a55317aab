/** The code of docs/nest compiles: the `ts` blocks of a page, one after the other, are a module. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';

const ROOT = process.cwd();
const FOLDER = join(ROOT, 'docs', 'nest');
const LIMIT_MS = 120_000;

function codeOf(page: string): string {
  const text = readFileSync(join(FOLDER, page), 'utf8');
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```/gm)].map(([, code]) => code).join('\n');
}

/** What the compiler says about files that exist only here. */
function complaints(files: ReadonlyMap<string, string>): string[] {
  const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), (name) => ts.sys.readFile(name));
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, ROOT);
  const settings = { ...options, noUnusedLocals: false, noUnusedParameters: false };
  const host = ts.createCompilerHost(settings);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.readFile = (name) => files.get(name) ?? readFile(name);
  host.getSourceFile = (name, ...rest) => {
    const code = files.get(name);
    return code === undefined
      ? getSourceFile(name, ...rest) : ts.createSourceFile(name, code, rest[0]);
  };
  const program = ts.createProgram([...files.keys()], settings, host);
  return [...files.keys()].flatMap((name) => {
    const file = program.getSourceFile(name);
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]
      .map(({ start, messageText }) => {
        const { line } = file!.getLineAndCharacterOfPosition(start ?? 0);
        const code = file!.text.split('\n')[line];
        return `${name.slice(FOLDER.length + 1)}: ${code}: `
          + ts.flattenDiagnosticMessageText(messageText, ' ');
      });
  });
}

describe('docs/nest', () => {
  const pages = readdirSync(FOLDER).filter((name) => name.endsWith('.md'));
  const withCode = pages.filter((page) => codeOf(page) !== '');

  it('has code on every page but the first', () => {
    expect(pages.filter((page) => !withCode.includes(page))).toEqual(['README.md']);
    const index = readFileSync(join(FOLDER, 'README.md'), 'utf8');
    expect(withCode.filter((page) => !index.includes(`(${page})`))).toEqual([]);
  });

  it('has code that compiles', () => {
    const files = new Map(withCode.map((page) => [join(FOLDER, `${page}.ts`), codeOf(page)]));
    expect(complaints(files)).toEqual([]);
  }, LIMIT_MS);

  it('is checked by a compiler that complains', () => {
    const wrong = "import { OnTopic } from 'nidomq/nest';\nOnTopic(5);\n";
    expect(complaints(new Map([[join(FOLDER, 'wrong.ts'), wrong]]))).toHaveLength(1);
  }, LIMIT_MS);
});
