/**
 * `npm run conformance`: options, the run, the score. scripts/conformance.mjs compiles and calls
 * it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { startClientCases } from './client/client-case.js';
import { CLIENT_CASES } from './client/client-cases.js';
import { startAedes, startMosquitto } from './brokers.js';
import { writeComparison } from './comparison.js';
import { writeManifest } from './manifest.js';
import type { TaggedCase } from './manifest.js';
import { CONCURRENT_CASES, startCases } from './run.js';
import type { CaseResult } from './run.js';
import { scores } from './scores.js';
import type { Run } from './scores.js';
import { CASES } from './suites.js';
import { addressTarget, startTarget } from './target.js';
import type { Target } from './target.js';
import { VERSION_NAME } from './kit.js';
import type { Version } from './wire/packets.js';
import { connect } from './wire/packets.js';
import { WirePeer } from './wire/peer.js';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

function addressOf(text: string): { host: string; port: number; path: string } {
  const match = /^(?:\w+:\/\/)?\[?([^\]/]+?)\]?:(\d+)(\/.*)?$/.exec(text);
  if (!match) throw new Error(`"${text}" is not host:port; try --target 127.0.0.1:1883`);
  return { host: match[1] ?? '', port: Number(match[2]), path: match[3] ?? '/mqtt' };
}

/** Does the target speak this version at all? If not, its suite is reported as not run. */
async function speaks(target: Target, version: Version): Promise<boolean> {
  const endpoint = await target.endpoint('default');
  if (!endpoint) return false;
  const peer = await WirePeer.open(endpoint, version);
  peer.send(connect({ version, clientId: `probe${Date.now() % 1_000_000}` }));
  const connack = await peer.next().catch(() => undefined);
  peer.cut();
  return connack?.name === 'CONNACK' && connack.reasonCode === 0;
}

interface RunOptions {
  /** A part of the name of the case, or the id of a statement. */
  readonly only?: string;
  readonly names?: ReadonlySet<string>;
  readonly version?: string;
  readonly concurrent: number;
}

function isChosen(one: TaggedCase, { only, version, names }: RunOptions): boolean {
  return (!names || names.has(one.name))
    && (!only || one.name.includes(only) || one.statements.includes(only))
    && (!version || VERSION_NAME[one.version] === version);
}

export async function runSuites(target: Target, options: RunOptions): Promise<Run> {
  const start = Date.now();
  const spoken = new Set<Version>();
  for (const version of [3, 4, 5] as const) {
    if (await speaks(target, version)) spoken.add(version);
  }
  const chosen = CASES.filter((one) => isChosen(one, options));
  const running = startCases(
    chosen.filter((one) => spoken.has(one.version)), target, options.concurrent);
  const results: CaseResult[] = [];
  for (const one of chosen) {
    const { name, group, kind, version, statements } = one;
    const silent = { name, group, kind, version, statements, ms: 0 };
    const detail = `target does not speak MQTT ${VERSION_NAME[version]}`;
    results.push(await (running.get(name) ?? { ...silent, status: 'not run' as const, detail }));
  }
  return { target: target.name, results, seconds: (Date.now() - start) / 1000 };
}

function print(run: Run, quiet: boolean): void {
  for (const result of run.results) {
    if (result.status === 'failed' && !quiet) say(`FAILED ${result.name}\n  ${result.detail}\n`);
  }
  const reasons = new Map<string, number>();
  for (const { status, detail } of run.results) {
    if (status === 'not run') reasons.set(detail ?? '', (reasons.get(detail ?? '') ?? 0) + 1);
  }
  for (const [reason, count] of reasons) say(`not run: ${count} cases (${reason})`);
  say(`\n${run.target}, ${run.seconds.toFixed(1)} s`);
  let [passed, ran] = [0, 0];
  for (const [key, [good, all, listed]] of scores(run.results)) {
    say(`  ${key.padEnd(52)} ${good}/${all}${all < listed ? ` (${listed - all} not run)` : ''}`);
    passed += good;
    ran += all;
  }
  say(`  ${'all'.padEnd(52)} ${passed}/${ran}\n`);
}

async function targetsOf(values: Record<string, string | boolean | undefined>): Promise<Target[]> {
  if (typeof values['target'] === 'string') {
    const { host, port } = addressOf(values['target']);
    const ws = typeof values['ws'] === 'string' ? addressOf(values['ws']) : undefined;
    return [addressTarget(values['target'], ws ? { host, port, webSocket: ws } : { host, port })];
  }
  const names = values['compare'] ? ['nidomq', 'mosquitto', 'aedes'] : [values['broker']];
  const targets: Target[] = [];
  for (const name of names) {
    const installed = JSON.parse(readFileSync('node_modules/aedes/package.json', 'utf8'));
    const target = name === 'mosquitto' ? startMosquitto()
      : name === 'aedes' ? await startAedes(installed.version)
        : name === 'nidomq' ? startTarget() : undefined;
    if (target) targets.push(target);
    else say(`"${String(name)}" cannot be started here; it is left out`);
  }
  return targets;
}

/** The client role: its own server, its own clients; the number of cases that failed. */
async function runClientRole(options: RunOptions, quiet: boolean): Promise<number> {
  // What a failing case leaves behind is not another failure.
  process.on('unhandledRejection', () => undefined);
  const chosen = CLIENT_CASES.filter((one) => isChosen(one, options));
  let failed = 0;
  for (const [name, result] of startClientCases(chosen)) {
    const problem = await result;
    if (problem === undefined) continue;
    failed++;
    if (!quiet) say(`FAILED ${name}\n  ${problem}\n`);
  }
  say(`client role: ${chosen.length - failed}/${chosen.length}`);
  return failed;
}

const USAGE = `npm run conformance -- [options]      without a target: nidomq itself
  --target HOST:PORT    a broker that runs already; --ws HOST:PORT[/path] its WebSocket door
  --broker NAME         starts one: nidomq, mosquitto or aedes
  --compare             all three, and writes docs/conformance.md
  --only TEXT           cases whose name holds it; --version 3.1, 3.1.1 or 5.0
  --role client         our client role, against a server whose bytes the cases write
  --json FILE           the results; --quiet leaves out what failed; --concurrent N cases at a time
  --write-manifest      test/conformance/manifest.json, from the cases`;

export async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      'target': { type: 'string' }, 'ws': { type: 'string' }, 'broker': { type: 'string' },
      'compare': { type: 'boolean' }, 'only': { type: 'string' }, 'version': { type: 'string' },
      'json': { type: 'string' }, 'quiet': { type: 'boolean' }, 'concurrent': { type: 'string' },
      'write-manifest': { type: 'boolean' }, 'role': { type: 'string' },
      'names': { type: 'string' }, 'help': { type: 'boolean' },
    },
  });
  if (values.help) {
    say(USAGE);
    return 0;
  }
  if (values['write-manifest']) {
    say(writeManifest({ server: CASES, client: CLIENT_CASES }));
    return 0;
  }
  const concurrent = Number(values.concurrent ?? CONCURRENT_CASES);
  const { only, version } = values;
  const names = values.names === undefined ? undefined
    : new Set(JSON.parse(readFileSync(values.names, 'utf8')) as string[]);
  const chosen = {
    concurrent, ...(only ? { only } : {}), ...(version ? { version } : {}),
    ...(names ? { names } : {}),
  };
  if (values.role === 'client') {
    return await runClientRole(chosen, values.quiet ?? false) === 0 ? 0 : 1;
  }
  const runs: Run[] = [];
  for (const target of await targetsOf(values)) {
    const run = await runSuites(target, chosen).finally(() => target.close());
    print(run, values.quiet ?? values.compare ?? false);
    runs.push(run);
  }
  if (values.compare) writeComparison(runs);
  mkdirSync('build', { recursive: true });
  writeFileSync(values.json ?? 'build/conformance.json', JSON.stringify(runs, undefined, 1));
  // Who names cases wants them run.
  const failed = runs.some((run) => run.results.some(({ status }) =>
    status === 'failed' || (names !== undefined && status !== 'passed')));
  return failed && !values.compare ? 1 : 0;
}
