// The broker as plain JavaScript for processes that are going to be killed, without a whole build and its type check. The
// core must have been built (lib/core/wasm-binary.generated.ts).
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import typescript from 'typescript';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const ROOMS = ['lib/broker', 'lib/core', 'lib/engine', 'lib/listener', 'assembly/shared'];

function* sourcesIn(folder) {
  for (const item of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, item.name);
    if (item.isDirectory()) yield* sourcesIn(path);
    else if (item.name.endsWith('.ts') && !item.name.endsWith('.d.ts')) yield path;
  }
}

/** Answers the path of the compiled broker.ts. */
export function compileBroker() {
  const target = join(ROOT, 'build', `broker-${process.pid}`);
  for (const room of ROOMS) {
    for (const path of sourcesIn(join(ROOT, room))) {
      const { outputText } = typescript.transpileModule(readFileSync(path, 'utf8'), {
        compilerOptions: { module: typescript.ModuleKind.ESNext, target: typescript.ScriptTarget.ES2022 },
      });
      const out = join(target, relative(ROOT, path)).replace(/\.ts$/, '.js');
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, outputText);
    }
  }
  return { directory: target, broker: join(target, 'lib', 'broker', 'broker.js') };
}
