// npm runs this after `npm ci` in a clone, and when the package is installed from git. It makes the
// generated module that editors and tsc need. It must never break an installation: where the
// compiler or its sources are missing (`npm ci --omit=dev`, an unpacked tarball) there is nothing
// to do, because dist/ carries the core.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, hasPackage } from './toolbox.mjs';

if (existsSync(join(ROOT, 'assembly/index.ts')) && hasPackage('assemblyscript/package.json')) {
  await import('./build-wasm.mjs');
}
