// The engine as plain JavaScript, for child processes that are going to be killed and for the bench: they must not need jest
// or a whole build. It lands under build/, so that classic-level is found.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { asJavaScript } from '../../scripts/transpile.mjs';
import { ROOT } from '../../scripts/toolbox.mjs';

const ENGINE = join('lib', 'engine');
/** What it takes of other rooms. */
const BORROWED = [join('lib', 'core', 'views.ts')];

/** Answers the path of the compiled index. */
export function compileEngine() {
  const target = join(ROOT, 'build', `engine-${process.pid}`);
  const own = readdirSync(join(ROOT, ENGINE)).filter((name) => name.endsWith('.ts'));
  for (const path of [...own.map((name) => join(ENGINE, name)), ...BORROWED]) {
    const out = join(target, path.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(out, asJavaScript(readFileSync(join(ROOT, path), 'utf8')));
  }
  return { directory: target, index: join(target, ENGINE, 'index.js') };
}
