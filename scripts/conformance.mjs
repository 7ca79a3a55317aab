#!/usr/bin/env node
/**
 * Conformance from the outside: sends the suite's bytes to any MQTT broker and prints its score.
 *
 *   npm run conformance -- --target 127.0.0.1:1883 [--ws 127.0.0.1:8080/mqtt] [--version 5]
 *   npm run conformance -- --broker nidomq | mosquitto | aedes      (started here)
 *   npm run conformance -- --compare       (all three, and writes docs/conformance.md)
 *   npm run conformance -- --role client   (our client role, against a server of the suite's own)
 *   npm run conformance -- --write-manifest
 *
 * Further options: --only TEXT (cases whose name contains it), --names FILE (a JSON list of names),
 * --json FILE, --quiet, --concurrent N.
 * Exits 1 when a case failed.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { transformSync } from '@swc/core';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const OUT = join(ROOT, 'build', 'conformance');
process.chdir(ROOT);

/** The suite is TypeScript; every file under `from` becomes JavaScript at the same place in OUT. */
function compile(from) {
  for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.ts') || entry.name.endsWith('.test.ts')) continue;
    const file = join(entry.parentPath ?? entry.path, entry.name);
    const to = join(OUT, relative(ROOT, file)).replace(/\.ts$/, '.js');
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, transformSync(readFileSync(file, 'utf8'), {
      filename: file,
      jsc: {
        parser: { syntax: 'typescript', decorators: true },
        transform: { legacyDecorator: true, decoratorMetadata: true },
        target: 'es2022',
      },
      module: { type: 'es6' },
    }).code);
  }
}

rmSync(OUT, { recursive: true, force: true });
for (const folder of ['test/conformance', 'lib', 'assembly/shared']) compile(join(ROOT, folder));
const { main } = await import(
  pathToFileURL(join(OUT, 'test', 'conformance', 'command.js')).href);
process.exit(await main(process.argv.slice(2)).catch((error) => {
  console.error(`conformance: ${error.message} (--help lists the options)`);
  return 2;
}));
