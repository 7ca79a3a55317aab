// The long runs of the crash tests of the file engine.
//   node scripts/engine-crash.mjs kill|power|full [--rounds 100] [--seed 1] [--durability disk]
import { rmSync } from 'node:fs';
import { compileEngine } from '../test/engine/compile-engine.mjs';
import { diskLibrary, fullDiskRounds, killRounds, powerRounds } from '../test/engine/crash/rounds.mjs';

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
const what = process.argv[2];
const run = { kill: killRounds, power: powerRounds, full: fullDiskRounds }[what];
if (run === undefined) {
  console.error('Which run? kill, power or full.');
  process.exit(2);
}
const compiled = compileEngine();
const library = what === 'kill' ? undefined : diskLibrary();
process.on('exit', () => {
  rmSync(compiled.directory, { recursive: true, force: true });
  if (library !== undefined) rmSync(library, { force: true });
});
if (what === 'kill' || library !== undefined) {
  const result = await run({
    api: await import(compiled.index), index: compiled.index, library,
    rounds: Number(option('rounds', what === 'kill' ? 100 : 60)), seed: Number(option('seed', 1)),
    durability: option('durability', 'disk'), print: (line) => console.log(line),
  });
  console.log(JSON.stringify({ run: what, ...result }));
}
