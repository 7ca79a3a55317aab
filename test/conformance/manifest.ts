/**
 * manifest.json: every statement of both standards with its status for each role of ours and the
 * names of its tests. It is made from the case tables of both roles (`npm run conformance --
 * --write-manifest`).
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConformanceCase } from './case.js';
import { VERSION_NAME } from './kit.js';
import { CONFORMANCE_DIRECTORY, STATEMENTS } from './wire/tables.js';
import type { Statement } from './wire/tables.js';

export type Role = 'server' | 'client';

export interface RoleEntry {
  readonly status: 'tested' | 'not-applicable' | 'gap';
  readonly reason?: string;
  /** Names of cases: those of the client role begin with "client". */
  readonly tests?: readonly string[];
}

export interface ManifestEntry {
  readonly id: string;
  readonly version: Statement['version'];
  readonly appliesTo: Statement['appliesTo'];
  readonly server?: RoleEntry;
  readonly client?: RoleEntry;
  /** For a client's duty: cases that show how our server meets a client that neglects it. */
  readonly violations?: readonly string[];
}

export const MANIFEST_FILE = join(CONFORMANCE_DIRECTORY, 'manifest.json');
export const GAPS_FILE = join(CONFORMANCE_DIRECTORY, 'known-gaps.txt');

/** What the tables of both roles hold of a case. */
export type TaggedCase = Pick<ConformanceCase, 'name' | 'version' | 'statements'>;

export interface CaseTables {
  readonly server: readonly TaggedCase[];
  readonly client: readonly TaggedCase[];
}

/** Statements that bind a role of ours and cannot apply to it: `role version id` -> reason. */
const NOT_APPLICABLE: ReadonlyMap<string, string> = new Map<string, string>([]);

export function readManifest(): ManifestEntry[] {
  if (!existsSync(MANIFEST_FILE)) return [];
  return JSON.parse(readFileSync(MANIFEST_FILE, 'utf8')) as ManifestEntry[];
}

export const rolesOf = (statement: Pick<Statement, 'appliesTo'>): readonly Role[] =>
  statement.appliesTo === 'both' ? ['server', 'client'] : [statement.appliesTo];

/** One line of known-gaps.txt. */
export const gapLine = (entry: Pick<ManifestEntry, 'id' | 'version'>, role: Role): string =>
  `${role} ${entry.version} ${entry.id}`;

export function gapsOf(manifest: readonly ManifestEntry[]): string[] {
  return manifest.flatMap((entry) =>
    rolesOf(entry)
      .filter((role) => (entry[role]?.status ?? 'gap') === 'gap')
      .map((role) => gapLine(entry, role)));
}

export function testsOf(statement: Statement, cases: readonly TaggedCase[]): string[] {
  return cases
    .filter((one) => VERSION_NAME[one.version] === statement.version
      && one.statements.includes(statement.id))
    .map((one) => one.name);
}

function roleEntry(statement: Statement, role: Role, tests: readonly string[]): RoleEntry {
  if (tests.length > 0) return { status: 'tested', tests };
  const reason = NOT_APPLICABLE.get(gapLine(statement, role));
  return reason === undefined ? { status: 'gap' } : { status: 'not-applicable', reason };
}

/** What the manifest must say, given the cases. */
export function makeManifest(tables: CaseTables): ManifestEntry[] {
  return STATEMENTS.map((statement): ManifestEntry => {
    const { id, version, appliesTo } = statement;
    const tests = testsOf(statement, tables.server);
    const client = roleEntry(statement, 'client', testsOf(statement, tables.client));
    if (appliesTo === 'client') {
      return { id, version, appliesTo, client, ...(tests.length > 0 ? { violations: tests } : {}) };
    }
    const server = roleEntry(statement, 'server', tests);
    return { id, version, appliesTo, server, ...(appliesTo === 'both' ? { client } : {}) };
  });
}

export const formatManifest = (manifest: readonly ManifestEntry[]): string =>
  `[\n${manifest.map((entry) => JSON.stringify(entry)).join(',\n')}\n]\n`;

export function writeManifest(tables: CaseTables): string {
  const manifest = makeManifest(tables);
  writeFileSync(MANIFEST_FILE, formatManifest(manifest));
  const gaps = gapsOf(manifest);
  writeFileSync(GAPS_FILE, gaps.map((line) => `${line}\n`).join(''));
  return `${manifest.length} statements, ${gaps.length} gaps`;
}
