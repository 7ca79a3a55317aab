// The long runs of the crash tests: of the file engine alone (kill -9, power cuts, a full disk), and of a broker with real
// clients that is killed again and again.
//   node scripts/engine-crash.mjs kill|power|full|broker|broker-power [--rounds 100] [--seed 1] [--durability disk]
// `npm run kill -- --kills 100` is broker, `npm run power-loss -- --rounds 60` is broker-power.
import { rmSync } from 'node:fs';
import { brokerPowerRounds } from '../test/engine/crash/broker-power.mjs';
import { brokerRounds } from '../test/engine/crash/broker-rounds.mjs';
import { compileBroker } from '../test/engine/compile-broker.mjs';
import { compileEngine } from '../test/engine/compile-engine.mjs';
import { diskLibrary, fullDiskRounds, killRounds, powerRounds } from '../test/engine/crash/rounds.mjs';
import { checkWords } from '../bench/load/words.mjs';

checkWords(import.meta.url, {
  options: ['durability', 'kills', 'rounds', 'seed'],
  words: ['kill', 'power', 'full', 'broker', 'broker-power'],
});

function option(name, fallback) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : process.argv[at + 1];
}
const what = process.argv[2];
const RUNS = { kill: killRounds, power: powerRounds, full: fullDiskRounds, broker: brokerRounds, 'broker-power': brokerPowerRounds };
const run = RUNS[what];
if (run === undefined) {
  console.error('Which run? kill, power, full, broker or broker-power.');
  process.exit(2);
}
const needsLibrary = what !== 'kill' && what !== 'broker';
const isBroker = what.startsWith('broker');
const compiled = isBroker ? compileBroker() : compileEngine();
const library = needsLibrary ? diskLibrary() : undefined;
process.on('exit', () => {
  rmSync(compiled.directory, { recursive: true, force: true });
  if (library !== undefined) rmSync(library, { force: true });
});
if (!needsLibrary || library !== undefined) {
  const result = await run({
    ...(isBroker ? { broker: compiled.broker, library }
      : { api: await import(compiled.index), index: compiled.index, library }),
    rounds: Number(option('rounds', option('kills', needsLibrary ? 60 : 100))), seed: Number(option('seed', 1)),
    durability: option('durability', 'disk'), print: (line) => console.log(line),
  });
  console.log(JSON.stringify({ run: what, ...result }));
}
