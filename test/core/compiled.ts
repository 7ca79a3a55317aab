/** A part of the core alone, compiled for its tests. */
import { execFileSync } from 'node:child_process';
import {
  existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync,
} from 'node:fs';
import { join } from 'node:path';

const ROOT = process.cwd();
const ASSEMBLY = join(ROOT, 'assembly');

/**
 * Compiles `test/core/entries/<name>.entry.ts`, unless a test file that ran before has just done so:
 * the compiler takes longer than most of these tests.
 */
export function compiled(name: string): WebAssembly.Module {
  const entry = `test/core/entries/${name}.entry.ts`;
  const out = join(ROOT, `build/${name}-test.wasm`);
  if (!existsSync(out) || statSync(out).mtimeMs <= newestSource(entry)) {
    mkdirSync(join(ROOT, 'build'), { recursive: true });
    // Two workers may be at this: each puts a whole file in place, and both the same.
    const half = join(ROOT, 'build', `${name}.${process.pid}.wasm`);
    const flags = ['--target', 'release', '-o', half, '-t', half.replace(/wasm$/, 'wat')];
    const asc = join(ROOT, 'node_modules/assemblyscript/bin/asc.js');
    execFileSync(process.execPath, [asc, entry, ...flags], { cwd: ROOT, stdio: 'pipe' });
    rmSync(half.replace(/wasm$/, 'wat'));
    renameSync(half, out);
  }
  return new WebAssembly.Module(readFileSync(out));
}

function newestSource(entry: string): number {
  const files = readdirSync(ASSEMBLY, { recursive: true }).map((path) => join(ASSEMBLY, `${path}`));
  const all = [...files, join(ROOT, entry), join(ROOT, 'package-lock.json')];
  return Math.max(...all.map((file) => statSync(file).mtimeMs));
}
