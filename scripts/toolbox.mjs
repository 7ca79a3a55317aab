// What the scripts of this folder share: where things are, how a step is run, and whether it has to
// run at all.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Every build depends on its tools, too. */
const TOOLCHAIN = ['package-lock.json', 'scripts'];

/** Path of a tool's own JavaScript file: no shell, no `npx`, no `.cmd` on Windows. */
export function toolPath(packageName, file) {
  const path = join(ROOT, 'node_modules', packageName, file);
  if (existsSync(path)) return path;
  console.error(
    `${packageName} is not installed (${path} is missing).\n` +
    'Run `npm ci` in the folder of the repository first.',
  );
  process.exit(1);
}

/**
 * Runs a JavaScript file with this Node and ends this process when it fails: what follows would
 * only confuse.
 */
export function runNode(file, args) {
  const result = spawnSync(process.execPath, [file, ...args], { cwd: ROOT, stdio: 'inherit' });
  if (result.error) throw result.error;
  if (result.status !== 0) process.exit(result.status ?? 1);
}

/**
 * True when every file of `outputs` is younger than everything under `inputs` (paths from the
 * root). Folders count as well as files, because a deleted file changes only its folder.
 */
export function isFresh(outputs, inputs) {
  const made = outputs.map((path) => join(ROOT, path));
  if (!made.every((path) => existsSync(path))) return false;
  const oldest = Math.min(...made.map((path) => statSync(path).mtimeMs));
  return oldest > Math.max(...[...inputs, ...TOOLCHAIN].map((path) => newest(join(ROOT, path))));
}

function newest(path) {
  if (!existsSync(path)) return 0;
  const stat = statSync(path);
  if (!stat.isDirectory()) return stat.mtimeMs;
  let latest = stat.mtimeMs;
  for (const entry of readdirSync(path)) latest = Math.max(latest, newest(join(path, entry)));
  return latest;
}
