#!/usr/bin/env node
/**
 * Does a statement's test notice when the line that enforces the statement is broken?
 *
 *   npm run mutation-check -- [--seed N] [--statements 20] [--role server | client]
 *                             [--only "5.0 MQTT-3.3.1-4"] [--record] [--all-lines]
 *
 * Draws statements by the seed (which is printed), finds the lines that carry their tags, breaks
 * one line at a time in a copy of the repository (condition negated, branches swapped, statement
 * dropped, comparison turned round, constant replaced: scripts/mutations.mjs), builds, and runs the
 * tests that the manifest names for the statement. A line is caught when one of its breakages makes
 * one of them fail. `--record` keeps the figures for docs/conformance.md.
 */
import { spawnSync } from 'node:child_process';
import {
  cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { endOf, findTags, mutantsOf } from './mutations.mjs';
import { ROOT } from './toolbox.mjs';

const COPIED = ['assembly', 'lib', 'scripts', 'test/conformance', 'package.json', 'asconfig.json'];
const RESULTS = 'test/conformance/mutation-results.json';
/** The core as the tests load it, and a copy of the one that is not broken. */
const EMBEDDED = 'lib/core/wasm-binary.generated.ts';
const UNBROKEN = 'build/unbroken-core.txt';
const RUN_MS = 120_000;
/** Of one line; the plainest come first. */
const MUTANTS_MAX = 8;
/** Of all lines that one tag speaks of. */
const MUTANTS_OF_PLACE_MAX = 32;

const { values } = parseArgs({
  options: {
    'seed': { type: 'string' }, 'statements': { type: 'string' }, 'role': { type: 'string' },
    'only': { type: 'string' }, 'record': { type: 'boolean' }, 'all-lines': { type: 'boolean' },
  },
});
const role = values.role ?? 'server';
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const wanted = Number(values.statements ?? 20);

/** mulberry32: the same draws for the same seed, everywhere. */
function randomFrom(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function draw(list, count, random) {
  const left = [...list];
  const drawn = [];
  while (drawn.length < count && left.length > 0) {
    drawn.push(...left.splice(Math.floor(random() * left.length), 1));
  }
  return drawn;
}

/** A copy that may be broken, built once. */
function makeCopy() {
  const copy = mkdtempSync(join(tmpdir(), 'nidomq-mutation-'));
  for (const path of COPIED) cpSync(join(ROOT, path), join(copy, path), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  mkdirSync(join(copy, 'build'), { recursive: true });
  return copy;
}

const run = (copy, args) => spawnSync(process.execPath, args, {
  cwd: copy, encoding: 'utf8', timeout: RUN_MS, killSignal: 'SIGKILL',
});

/** The core without optimisation, which is quick to make. False when it does not compile. */
function buildCore(copy) {
  const asc = join(copy, 'node_modules/assemblyscript/bin/asc.js');
  rmSync(join(copy, EMBEDDED), { force: true });
  const built = run(copy, [asc, 'assembly/index.ts', '--outFile', 'build/core.wasm',
    '--optimizeLevel', '1', '--noAssert']);
  if (built.status !== 0) return false;
  return run(copy, ['scripts/embed-wasm.mjs']).status === 0;
}

/** 'passed', 'failed' or 'hung'; `roles` -> names of cases. */
function runTests(copy, named) {
  for (const [who, names] of Object.entries(named)) {
    if (names.length === 0) continue;
    const file = join(copy, 'build', `names-${who}.json`);
    writeFileSync(file, JSON.stringify(names));
    const how = who === 'client' ? ['--role', 'client'] : ['--broker', 'nidomq'];
    const result = run(copy, ['scripts/conformance.mjs', ...how, '--names', file, '--quiet']);
    if (result.signal !== null) return { outcome: 'hung' };
    if (result.status !== 0) return { outcome: 'failed', said: result.stdout + result.stderr };
  }
  return { outcome: 'passed' };
}

/** Breaks one line in every way until a test notices. */
function breakLine(copy, file, at, named, budget) {
  const path = join(copy, file);
  const text = readFileSync(path, 'utf8');
  const lines = text.split('\n');
  const isCore = file.startsWith('assembly/');
  const end = endOf(lines, at);
  const survived = [];
  try {
    for (const { rule, code } of mutantsOf(lines.slice(at, end + 1)).slice(0, MUTANTS_MAX)) {
      if (budget.left-- <= 0) break;
      writeFileSync(path, lines.toSpliced(at, end + 1 - at, code).join('\n'));
      if (isCore && !buildCore(copy)) continue;
      const { outcome } = runTests(copy, named);
      if (outcome !== 'passed') return { verdict: 'caught', rule };
      survived.push(rule);
    }
  } finally {
    writeFileSync(path, text);
    if (isCore) cpSync(join(copy, UNBROKEN), join(copy, EMBEDDED));
  }
  return { verdict: survived.length > 0 ? 'survived' : 'not mutable', rule: survived.join(', ') };
}

/** One place that carries the tag: caught when one of the lines it speaks of is. */
function breakPlace(copy, place, named) {
  let last = { verdict: 'not mutable', at: place.line };
  const budget = { left: MUTANTS_OF_PLACE_MAX };
  for (const at of place.targets) {
    const one = breakLine(copy, place.file, at, named, budget);
    if (one.verdict === 'caught') return { ...one, at };
    if (one.verdict === 'survived') last = { ...one, at };
  }
  return last;
}

function checkStatement(copy, entry, tags) {
  const key = `${entry.version} ${entry.id}`;
  const named = { server: entry.server?.tests ?? [], client: entry.client?.tests ?? [] };
  const results = [];
  for (const place of tags.get(key) ?? []) {
    const result = breakPlace(copy, place, named);
    results.push({ ...result, where: `${place.file}:${place.line + 1}` });
    if (result.verdict === 'caught' && !values['all-lines']) break;
  }
  const of = (verdict) => results.filter((one) => one.verdict === verdict);
  const verdict = of('caught').length > 0 ? 'caught'
    : of('survived').length > 0 ? 'survived' : 'not mutable';
  return { statement: key, verdict, results };
}

function print({ statement, verdict, results }) {
  const detail = results.map((one) =>
    `${one.where} ${one.verdict}${one.rule ? ` (${one.rule}, line ${one.at + 1})` : ''}`);
  console.log(`${verdict.padEnd(12)} ${statement}: ${detail.join('; ') || 'no tag'}`);
}

function record(checked) {
  const path = join(ROOT, RESULTS);
  const before = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : [];
  const row = {
    seed, role, statements: checked.length,
    caught: checked.filter((one) => one.verdict === 'caught').length,
    survived: checked.filter((one) => one.verdict === 'survived').map((one) => one.statement),
    notMutable: checked.filter((one) => one.verdict === 'not mutable').map((one) => one.statement),
  };
  const others = before.filter((one) => one.seed !== seed || one.role !== role);
  writeFileSync(path, `[\n${[...others, row].map((one) => JSON.stringify(one)).join(',\n')}\n]\n`);
}

function main() {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'test/conformance/manifest.json'), 'utf8'));
  const versionsOf = (id) => manifest.filter((one) => one.id === id).map((one) => one.version);
  const tested = manifest.filter((one) => one[role]?.status === 'tested');
  const drawn = values.only === undefined
    ? draw(tested, wanted, randomFrom(seed))
    : tested.filter((one) => values.only.split(',').includes(`${one.version} ${one.id}`));
  console.log(`seed ${seed}: ${drawn.length} of ${tested.length} statements of the ${role}`);
  const copy = makeCopy();
  try {
    if (!buildCore(copy)) throw new Error('the unbroken core does not build');
    cpSync(join(copy, EMBEDDED), join(copy, UNBROKEN));
    const all = (who) => [...new Set(drawn.flatMap((one) => one[who]?.tests ?? []))];
    const whole = runTests(copy, { server: all('server'), client: all('client') });
    if (whole.outcome !== 'passed') {
      throw new Error(`tests fail before anything is broken:\n${whole.said}`);
    }
    const tags = findTags(copy, versionsOf);
    const checked = drawn.map((entry) => {
      const one = checkStatement(copy, entry, tags);
      print(one);
      return one;
    });
    const count = (verdict) => checked.filter((one) => one.verdict === verdict).length;
    console.log(`\nseed ${seed}: ${count('caught')} caught, ${count('survived')} survived, `
      + `${count('not mutable')} not mutable, of ${checked.length}`);
    if (values.record) record(checked);
    return count('survived') === 0 ? 0 : 1;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

process.exit(main());
