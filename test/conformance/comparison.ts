/**
 * docs/conformance.md: the scores of several brokers under the same cases, and what they missed.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VERSION_NAME } from './kit.js';
import { gapsOf, readManifest } from './manifest.js';
import type { Role } from './manifest.js';
import type { CaseResult } from './run.js';
import { scores } from './scores.js';
import type { Run } from './scores.js';
import type { Version } from './wire/packets.js';
import { CONFORMANCE_DIRECTORY, STATEMENTS } from './wire/tables.js';

const DOCUMENT = 'docs/conformance.md';
const MUTATION_RESULTS = join(CONFORMANCE_DIRECTORY, 'mutation-results.json');
type Row = readonly string[];

function table(head: Row, rows: readonly Row[]): string {
  const line = (cells: Row): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, at) => (at === 0 ? '---' : '---:'))), ...rows.map(line)]
    .join('\n');
}

function score(passed: number, ran: number, listed: number): string {
  if (ran === 0) return 'not run';
  return `${passed} / ${ran}${ran < listed ? ` (${listed - ran} not run)` : ''}`;
}

function sum(results: readonly CaseResult[]): string {
  const passed = results.filter((one) => one.status === 'passed').length;
  const ran = results.filter((one) => one.status !== 'not run').length;
  return score(passed, ran, results.length);
}

function byKind(runs: readonly Run[]): string {
  const kinds = [['normative', 'numbered statements'], ['announced', 'what CONNACK announces'],
    ['easily-wrong', 'easily got wrong'], ['non-normative', 'relied upon, not normative']] as const;
  const rows = kinds.map(([kind, title]) => [title, ...runs.map((run) =>
    sum(run.results.filter((one) => one.kind === kind)))]);
  return table(['kind of case', ...runs.map((run) => run.target)], rows);
}

/** A statement holds when every case that checks it passed. */
function byStatement(runs: readonly Run[]): string {
  const rows = (['3.1.1', '5.0'] as const).map((version) => {
    const statements = STATEMENTS.filter((one) => one.version === version
      && one.appliesTo !== 'client');
    return [`${version} (${statements.length})`, ...runs.map((run) => {
      const results = run.results.filter((one) => VERSION_NAME[one.version as Version] === version);
      let [held, seen] = [0, 0];
      for (const { id } of statements) {
        const cases = results.filter((one) =>
          one.statements.includes(id) && one.status !== 'not run');
        if (cases.length === 0) continue;
        seen++;
        if (cases.every((one) => one.status === 'passed')) held++;
      }
      return score(held, seen, statements.length);
    })];
  });
  return table(['statements that bind a server', ...runs.map((run) => run.target)], rows);
}

function byGroup(runs: readonly Run[]): string {
  const tables = runs.map((run) => scores(run.results));
  const keys = [...new Set(tables.flatMap((one) => [...one.keys()]))].sort();
  const rows = keys.map((key) => [key.replace(' | ', ': '), ...tables.map((one) =>
    score(...(one.get(key) ?? [0, 0, 0])))]);
  const all = ['**all**', ...runs.map((run) => `**${sum(run.results)}**`)];
  return table(['version and chapter', ...runs.map((run) => run.target)], [...rows, all]);
}

function missed(run: Run): string {
  const failed = run.results.filter((one) => one.status === 'failed');
  if (failed.length === 0) return `### ${run.target}\n\nNothing.\n`;
  const lines = failed.map((one) => {
    const ids = one.statements.length > 0 ? ` (${one.statements.join(', ')})` : '';
    const reason = (one.detail ?? '').split('\n')[0]?.replace(/ \[MQTT[^\]]*\]$/, '');
    return `- ${one.name}${ids}: ${reason?.slice(0, 160)}`;
  });
  return `### ${run.target}\n\n${lines.join('\n')}\n`;
}

function notRun(runs: readonly Run[]): string {
  const reasons = new Map<string, number>();
  for (const run of runs) {
    for (const one of run.results.filter((each) => each.status === 'not run')) {
      const key = `${run.target}: ${one.detail ?? ''}`;
      reasons.set(key, (reasons.get(key) ?? 0) + 1);
    }
  }
  return [...reasons].map(([reason, count]) => `- ${reason} (${count} cases)`).join('\n');
}

interface MutationRun {
  readonly seed: number;
  readonly role: string;
  readonly statements: number;
  readonly caught: number;
  readonly survived: readonly string[];
  readonly notMutable: readonly string[];
}

/** What `npm run mutation-check -- --record` has kept. */
function mutationCheck(): string {
  const runs = JSON.parse(readFileSync(MUTATION_RESULTS, 'utf8')) as MutationRun[];
  const list = (ids: readonly string[]): string =>
    ids.length === 0 ? '0' : `${ids.length}: ${ids.join(', ').replaceAll('MQTT-', '')}`;
  const rows = runs.map((run) => [`${run.seed}`, run.role, `${run.statements}`, `${run.caught}`,
    list(run.survived), list(run.notMutable)]);
  return `Statements are drawn by a seed; the lines that carry their tags are broken by rule, one at
a time, in a copy of the repository; then the tests run that the manifest names for the statement.
Caught means that one of them failed. What survived is repaired afterwards (a missing test, a test
that was too kind, or a tag at a line that does not enforce); the table keeps the figures as they
came. Again: \`npm run mutation-check -- --seed N\`.

${table(['seed', 'role', 'statements', 'caught', 'survived', 'not mutable'], rows)}`;
}

export function writeComparison(runs: readonly Run[]): void {
  const manifest = readManifest();
  const testedOf = (role: Role): string => {
    const bound = manifest.filter((entry) => entry[role]);
    const tested = bound.filter((entry) => entry[role]?.status === 'tested');
    return `${tested.length} of ${bound.length} tested`;
  };
  const gaps = gapsOf(manifest);
  const text = `# Conformance

<!-- Generated by \`npm run conformance -- --compare\`. Do not edit. -->

The same black-box cases (raw bytes over a socket, an independent reader of the replies) against
several brokers, each in its default configuration or the one a case asks for. Where the standard
allows several outcomes all of them pass. \`test/conformance/manifest.json\` leads from every
numbered statement to its tests; the tag of a statement, for example \`[MQTT-3.3.1-4]\`, leads to
the line that enforces it.

Statements that bind a server: ${testedOf('server')}. Statements that bind a client, tested with
our client role against a server whose bytes the cases write: ${testedOf('client')}. Known gaps:
${gaps.length}.

Run it yourself: \`npm run conformance -- --target host:port\`.

## Statements

${byStatement(runs)}

## Cases by kind

${byKind(runs)}

## Cases by chapter

${byGroup(runs)}

## Mutation check

${mutationCheck()}

## What was missed

${runs.map(missed).join('\n')}
## What was not run

A broker that is started elsewhere cannot be reconfigured, one that does not offer an option cannot
be asked for it, and a version that is not spoken has no score.

${notRun(runs)}
`;
  writeFileSync(DOCUMENT, text);
  process.stdout.write(`wrote ${DOCUMENT}\n`);
}
