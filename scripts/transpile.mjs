// Folders of TypeScript as plain JavaScript, without type checks: for scripts that run the sources.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import typescript from 'typescript';
import { ROOT } from './toolbox.mjs';

function* sourcesIn(folder) {
  for (const item of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, item.name);
    if (item.isDirectory()) yield* sourcesIn(path);
    else if (/\.ts$/.test(item.name) && !/\.(d|test|entry)\.ts$/.test(item.name)) yield path;
  }
}

/** Writes the JavaScript of `folders` (paths from the root) below build/`name`; answers where. */
export function transpile(folders, name) {
  const target = join(ROOT, 'build', name);
  const compilerOptions = {
    module: typescript.ModuleKind.ESNext, target: typescript.ScriptTarget.ES2022,
  };
  for (const folder of folders) {
    for (const path of sourcesIn(join(ROOT, folder))) {
      const { outputText } = typescript.transpileModule(
        readFileSync(path, 'utf8'), { compilerOptions },
      );
      const out = join(target, relative(ROOT, path)).replace(/\.ts$/, '.js');
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, outputText);
    }
  }
  return target;
}
