/**
 * The manifest says what is true: complete, tests that exist, gaps that only shrink, tags in place.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import {
  GAPS_FILE, formatManifest, gapLine, gapsOf, makeManifest, MANIFEST_FILE, readManifest, rolesOf,
} from './manifest.js';
import { CASES } from './suites.js';
import { STATEMENTS } from './wire/tables.js';

/** Lower it whenever known-gaps.txt gets shorter; it is never raised. */
const KNOWN_GAPS_MAX = 201;

const STATEMENT_COUNTS = { '3.1.1': 141, '5.0': 251 } as const;
const TAG = /\[(MQTT-\d+(?:\.\d+)+-\d+)\]/g;
const REGENERATE = 'run `npm run conformance -- --write-manifest`';

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
    expect(readFileSync(MANIFEST_FILE, 'utf8')).toBe(formatManifest(makeManifest(CASES, manifest)));
  });

  it('names tests wherever it says tested, and a reason wherever it says not-applicable', () => {
    const roles = manifest.flatMap((entry) => rolesOf(entry).map((role) => entry[role]));
    for (const role of roles) {
      if (role?.status === 'tested') expect(role.tests?.length).toBeGreaterThan(0);
      if (role?.status === 'not-applicable') expect(role.reason).toBeTruthy();
    }
  });

  it('names server tests that exist', () => {
    const names = new Set(CASES.map((one) => one.name));
    expect(names.size).toBe(CASES.length);
    const missing = manifest.flatMap((entry) => entry.server?.tests ?? [])
      .filter((name) => !names.has(name));
    expect(missing).toEqual([]);
  });

  it('names client tests that exist, as `file > name`', () => {
    const missing = manifest.flatMap((entry) => entry.client?.tests ?? []).filter((test) => {
      const [file = '', name = ''] = test.split(' > ');
      return name === '' || !existsSync(file) || !readFileSync(file, 'utf8').includes(name);
    });
    expect(missing).toEqual([]);
  });

  it('agrees with known-gaps.txt, which may only shrink', () => {
    const known = readFileSync(GAPS_FILE, 'utf8').split('\n').filter((line) => line !== '');
    expect(gapsOf(manifest)).toEqual(known);
    expect(known.length).toBe(KNOWN_GAPS_MAX);
  });

  it('has no gap of the server', () => {
    expect(gapsOf(manifest).filter((line) => line.startsWith('server'))).toEqual([]);
  });

  it('no case names a statement that does not exist', () => {
    const known = new Set(STATEMENTS.map((one) => one.id));
    const unknown = CASES.flatMap((one) => one.statements.filter((id) => !known.has(id)));
    expect(unknown).toEqual([]);
  });
});

describe('tags in the source', () => {
  const tags = tagsInSource();

  it('every statement that binds a server stands on a line of assembly/ or lib/', () => {
    const untagged = manifest
      .filter((entry) => entry.server?.status === 'tested' && !tags.has(entry.id))
      .map((entry) => gapLine(entry, 'server'));
    expect(untagged).toEqual([]);
  });

  it('no tag names a statement that does not exist', () => {
    const known = new Set(STATEMENTS.map((one) => one.id));
    expect([...tags].filter((tag) => !known.has(tag))).toEqual([]);
  });
});
