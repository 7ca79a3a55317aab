#!/usr/bin/env node
/**
 * Pages that are made from the code: `npm run docs`. With `--check` nothing is written and the exit
 * code is 1 when a page is not what the code says. Build first (`npm run docs` reads dist/).
 *
 * A page is made whole (`docs/options.md`), or between two marks of a page that people write:
 *   <!-- made:NAME --> ... <!-- /made:NAME -->
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from './toolbox.mjs';

/** One row for each page: where, the mark (none: the whole page), and who says what stands there. */
const PAGES = [
  { file: 'docs/options.md', render: optionsPage },
  { file: 'docs/client.md', mark: 'mqttjs-options', render: mqttJsOptions },
  { file: 'README.md', mark: 'statements', render: statementsTable },
  { file: 'README.md', mark: 'numbers', render: numbersTable },
];

function nidomq(...args) {
  const command = join(ROOT, 'dist/cli/nidomq.js');
  const result = spawnSync(process.execPath, [command, ...args], { encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`nidomq ${args.join(' ')}: ${result.stderr}`);
  return result.stdout;
}

function optionsPage() {
  const options = JSON.parse(nidomq('options', '--json'));
  const groups = groupBy(options);
  const sections = [...groups].map(([group, rows]) => `## ${group}\n\n${optionTable(rows)}`);
  return [
    '# Every option',
    '',
    'Made by `npm run docs` from the table that checks them; `nidomq options [path]` prints the same.',
    'In code they are the keys of `new Broker({ ... })`; on the command line `--set path=value`; in a',
    'configuration file (`--config FILE`, JSON or YAML) the same tree. An unknown or wrong one is',
    'refused at start with its path and the allowed values.',
    '',
    sections.join('\n\n'),
    '',
  ].join('\n');
}

/** What the manifest of conformance says, per version and role. */
function statementsTable() {
  const manifest = JSON.parse(
    readFileSync(join(ROOT, 'test/conformance/manifest.json'), 'utf8'));
  const lines = ['5.0', '3.1.1'].flatMap((version) => ['server', 'client'].map((role) => {
    const states = manifest
      .filter((statement) => statement.version === version && statement[role] !== undefined)
      .map((statement) => statement[role].status);
    const count = (wanted) => states.filter((state) => state === wanted).length;
    return `| MQTT ${version}, ${role} | ${states.length} | ${count('tested')} `
      + `| ${count('not applicable')} | ${count('gap')} |`;
  }));
  return [
    '| statements that bind | | tested | not applicable | gaps |', '|---|---:|---:|---:|---:|',
    ...lines,
  ].join('\n');
}

const FIGURES = {
  usPerMessage: 'µs of CPU a message',
  usPerConnect: 'µs of CPU a connection',
  p50Us: 'µs, median delay',
  bytesPerConnection: 'bytes of memory a connection',
};

/** The results of `npm run bench` that were kept: medians, and the smallest and largest of the rounds. */
function numbersTable() {
  const kept = JSON.parse(readFileSync(join(ROOT, 'bench/results/broker.json'), 'utf8'));
  const { machine, versions, rounds, rows } = kept;
  const brokers = Object.keys(versions);
  const lines = [...new Set(rows.map(({ scenario }) => scenario))].map((scenario) => {
    const own = rows.filter((row) => row.scenario === scenario);
    const cells = brokers.map((broker) => {
      const row = own.find((one) => one.broker === broker);
      const spread = row?.figures[row.figure];
      if (spread === undefined || row.wrong !== undefined) return '-';
      return `${figure(spread.median)} (${figure(spread.min)}..${figure(spread.max)})`;
    });
    return `| ${scenario} | ${FIGURES[own[0].figure]} | ${cells.join(' | ')} |`;
  });
  const named = brokers.map((broker) => `${broker} ${versions[broker]}`);
  return [
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}; `
      + `${kept.at.slice(0, 10)}, median (min..max) of ${rounds} rounds. \`-\`: what came was wrong.`,
    '',
    `| scenario | | ${named.join(' | ')} |`, `|---|---|${'---:|'.repeat(brokers.length)}`,
    ...lines,
  ].join('\n');
}

function figure(number) {
  return Number(number.toPrecision(3)).toString();
}

function mqttJsOptions() {
  const load = 'import(process.argv[1]).then((m) => console.log(JSON.stringify(m.OPTIONS_TABLE)))';
  const module = pathToFileURL(join(ROOT, 'dist/client/index.js')).href;
  const { stdout } = spawnSync(process.execPath, ['-e', load, module], { encoding: 'utf8' });
  const rows = JSON.parse(stdout).map(({ key, fate, note }) =>
    `| \`${key}\` | ${fate === 'ignored' ? 'ignored, with a warning' : fate} | ${cell(note)} |`);
  return ['| option | here | |', '|---|---|---|', ...rows].join('\n');
}

function groupBy(options) {
  const groups = new Map();
  for (const option of options) {
    const group = groupOf(option.path);
    groups.set(group, [...(groups.get(group) ?? []), option]);
  }
  return groups;
}

function groupOf(path) {
  const first = path.split(/[.[]/)[0];
  return path === first ? 'general' : first;
}

function optionTable(rows) {
  const lines = rows.map(({ path, default: value, unit, description, allowed }) =>
    `| \`${path}\` | ${defaultCell(value, unit)} | ${cell(description)}. ${cell(allowed)} |`);
  return ['| option | default | meaning |', '|---|---|---|', ...lines].join('\n');
}

function defaultCell(value, unit) {
  if (value === null) return 'not set';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return `${text === '' ? '(empty)' : cell(text)}${unit && unit !== 'port' ? ` ${unit}` : ''}`;
}

function cell(text) {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ').replaceAll('<', '&lt;');
}

/** The page as it should be. */
function wanted({ file, mark, render }) {
  if (mark === undefined) return render();
  const [begin, end] = [`<!-- made:${mark} -->`, `<!-- /made:${mark} -->`];
  const page = readFileSync(join(ROOT, file), 'utf8');
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${file}: the marks ${begin} ... ${end} are missing`);
  return `${page.slice(0, from + begin.length)}\n${render()}\n${page.slice(to)}`;
}

const checkOnly = process.argv.includes('--check');
let stale = 0;
for (const page of PAGES) {
  const path = join(ROOT, page.file);
  const text = wanted(page);
  if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
  if (checkOnly) {
    console.error(`${page.file} is not what the code says; run \`npm run docs\``);
    stale += 1;
  } else {
    writeFileSync(path, text);
    console.log(`wrote ${page.file}`);
  }
}
process.exit(stale === 0 ? 0 : 1);
