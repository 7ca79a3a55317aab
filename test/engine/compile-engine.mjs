// The engine as plain JavaScript, for child processes that are going to be killed and for the bench: they must not need jest
// or a whole build. It lands under build/, so that classic-level is found.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import typescript from 'typescript';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

/** Answers the path of the compiled index. */
export function compileEngine() {
  const source = join(ROOT, 'lib', 'engine');
  const target = join(ROOT, 'build', `engine-${process.pid}`);
  mkdirSync(target, { recursive: true });
  for (const name of readdirSync(source)) {
    if (!name.endsWith('.ts')) continue;
    const { outputText } = typescript.transpileModule(readFileSync(join(source, name), 'utf8'), {
      compilerOptions: { module: typescript.ModuleKind.ESNext, target: typescript.ScriptTarget.ES2022 },
    });
    writeFileSync(join(target, name.replace(/\.ts$/, '.js')), outputText);
  }
  return { directory: target, index: join(target, 'index.js') };
}
