// Folders of TypeScript as plain JavaScript, without type checks: for scripts that run the sources.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import swc from '@swc/core';
import { ROOT } from './toolbox.mjs';

function* sourcesIn(folder) {
  for (const item of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, item.name);
    if (item.isDirectory()) yield* sourcesIn(path);
    else if (/\.ts$/.test(item.name) && !/\.(d|test|entry)\.ts$/.test(item.name)) yield path;
  }
}

const SWC = {
  configFile: false,
  swcrc: false,
  jsc: { parser: { syntax: 'typescript' }, target: 'es2022' },
  module: { type: 'es6' },
};

/** Of one file's text. With swc, as in the tests: tsc takes seconds for what it does in a moment. */
export function asJavaScript(text) {
  return swc.transformSync(text, SWC).code;
}

/** Writes the JavaScript of `folders` (paths from the root) below build/`name`; answers where. */
export function transpile(folders, name) {
  const target = join(ROOT, 'build', name);
  for (const folder of folders) {
    for (const path of sourcesIn(join(ROOT, folder))) {
      const out = join(target, relative(ROOT, path)).replace(/\.ts$/, '.js');
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, asJavaScript(readFileSync(path, 'utf8')));
    }
  }
  return target;
}
