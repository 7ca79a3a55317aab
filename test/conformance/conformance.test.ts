/** The conformance tables against our broker: one test for each case, all in flight together. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ConformanceCase } from './case.js';
import { VERSION_NAME } from './kit.js';
import { readManifest } from './manifest.js';
import { startCases } from './run.js';
import type { CaseResult } from './run.js';
import { CASES } from './suites.js';
import { startTarget } from './target.js';

const target = startTarget();
const executed = new Set<string>();
let results = new Map<string, Promise<CaseResult>>();

beforeAll(() => {
  results = startCases(CASES, target);
});
afterAll(async () => {
  await Promise.all(results.values());
  await target.close();
});

function groups(version: number): Map<string, ConformanceCase[]> {
  const table = new Map<string, ConformanceCase[]>();
  for (const one of CASES.filter((each) => each.version === version)) {
    table.set(one.group, [...(table.get(one.group) ?? []), one]);
  }
  return table;
}

/** Cases wait for their turn behind others, so the limit is that of the whole run. */
const RUN_MS = 90_000;

for (const version of [3, 4, 5] as const) {
  describe(`MQTT ${VERSION_NAME[version]} conformance`, () => {
    for (const [group, cases] of groups(version)) {
      describe(group, () => {
        it.each(cases.map((one) => [one.name, one.statements.join(' ')]))('%s', async (name) => {
          const result = await results.get(name);
          if (result?.status === 'failed') throw new Error(result.detail);
          // Our own broker can be configured for every case; a case that did not run is a fault.
          expect(result?.status).toBe('passed');
          executed.add(name);
        }, RUN_MS);
      });
    }
  });
}

describe('manifest', () => {
  it('every server test that the manifest names ran and passed in this run', () => {
    const named = readManifest().flatMap((entry) => entry.server?.tests ?? []);
    expect([...new Set(named)].filter((name) => !executed.has(name))).toEqual([]);
  });
});
