/**
 * The manifest says what is true: complete, tests that exist, gaps that only shrink, tags in place.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import {
  GAPS_FILE, formatManifest, gapLine, gapsOf, makeManifest, MANIFEST_FILE, readManifest, rolesOf,
} from './manifest.js';
import { CLIENT_CASES } from './client/client-cases.js';
import { CASES } from './suites.js';
import { STATEMENTS } from './wire/tables.js';

/** Nothing may come back. */
const KNOWN_GAPS_MAX = 0;

const STATEMENT_COUNTS = { '3.1.1': 141, '5.0': 251 } as const;
const TAG = /\[(MQTT-\d+(?:\.\d+)+-\d+)\]/g;
const REGENERATE = 'run `npm run conformance -- --write-manifest`';

const TABLES = { server: CASES, client: CLIENT_CASES };
const manifest = readManifest();

function sourceFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts')
      && !entry.name.includes('.generated.'))
    .map((entry) => join(entry.parentPath, entry.name));
}

function tagsInSource(): Set<string> {
  const tags = new Set<string>();
  for (const file of [...sourceFiles('assembly'), ...sourceFiles('lib')]) {
    for (const [, tag] of readFileSync(file, 'utf8').matchAll(TAG)) tags.add(tag as string);
  }
  return tags;
}

describe('conformance manifest', () => {
  it('carries the standards\' statements: 141 of 3.1.1 and 251 of 5.0', () => {
    for (const version of ['3.1.1', '5.0'] as const) {
      const ids = STATEMENTS.filter((one) => one.version === version).map((one) => one.id);
      expect(new Set(ids).size).toBe(STATEMENT_COUNTS[version]);
    }
  });

  it('has every statement once, with an entry for each role it binds', () => {
    const key = (one: { version: string; id: string }): string => `${one.version} ${one.id}`;
    expect(manifest.map(key)).toEqual(STATEMENTS.map(key));
    const incomplete = manifest.filter((entry) => rolesOf(entry).some((role) => !entry[role]));
    expect(incomplete.map(key)).toEqual([]);
  });

  it(`is what the case tables make (else ${REGENERATE})`, () => {
    expect(readFileSync(MANIFEST_FILE, 'utf8')).toBe(formatManifest(makeManifest(TABLES)));
  });

  it('names tests wherever it says tested, and a reason wherever it says not-applicable', () => {
    const roles = manifest.flatMap((entry) => rolesOf(entry).map((role) => entry[role]));
    for (const role of roles) {
      if (role?.status === 'tested') expect(role.tests?.length).toBeGreaterThan(0);
      if (role?.status === 'not-applicable') expect(role.reason).toBeTruthy();
    }
  });

  it.each(['server', 'client'] as const)('names %s tests that exist', (role) => {
    const names = new Set(TABLES[role].map((one) => one.name));
    expect(names.size).toBe(TABLES[role].length);
    const missing = manifest.flatMap((entry) => entry[role]?.tests ?? [])
      .filter((name) => !names.has(name));
    expect(missing).toEqual([]);
  });

  it('agrees with known-gaps.txt, which may only shrink', () => {
    const known = readFileSync(GAPS_FILE, 'utf8').split('\n').filter((line) => line !== '');
    expect(gapsOf(manifest)).toEqual(known);
    expect(known.length).toBe(KNOWN_GAPS_MAX);
  });

  it('no case names a statement that does not exist', () => {
    const known = new Set(STATEMENTS.map((one) => one.id));
    const named = [...CASES, ...CLIENT_CASES].flatMap((one) => one.statements);
    const unknown = named.filter((id) => !known.has(id));
    expect(unknown).toEqual([]);
  });
});

describe('tags in the source', () => {
  const tags = tagsInSource();

  it.each(['server', 'client'] as const)(
    'every statement that binds a %s stands on a line of assembly/ or lib/', (role) => {
      const untagged = manifest
        .filter((entry) => entry[role]?.status === 'tested' && !tags.has(entry.id))
        .map((entry) => gapLine(entry, role));
      expect(untagged).toEqual([]);
    });

  it('no tag names a statement that does not exist', () => {
    const known = new Set(STATEMENTS.map((one) => one.id));
    expect([...tags].filter((tag) => !known.has(tag))).toEqual([]);
  });
});
