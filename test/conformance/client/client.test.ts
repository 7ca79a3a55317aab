/** The client role against servers whose every byte is written by the case, many at a time. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { VERSION_NAME } from '../kit.js';
import { readManifest } from '../manifest.js';
import { startClientCases } from './client-case.js';
import { CLIENT_CASES } from './client-cases.js';

const executed = new Set<string>();
const GROUPS = [...new Set(CLIENT_CASES.map((one) => one.group))];
/** Cases wait for their turn behind others, so the limit is that of the whole run. */
const RUN_MS = 300_000;

let results = new Map<string, Promise<string | undefined>>();
beforeAll(() => {
  results = startClientCases(CLIENT_CASES);
});
afterAll(async () => {
  await Promise.all(results.values());
});

for (const version of [3, 4, 5] as const) {
  describe(`MQTT ${VERSION_NAME[version]} client conformance`, () => {
    for (const group of GROUPS) {
      const cases = CLIENT_CASES.filter((one) => one.group === group && one.version === version);
      if (cases.length === 0) continue;
      describe(group, () => {
        it.each(cases.map((one) => [one.name, one.statements.join(' ')]))('%s', async (name) => {
          expect(results.has(name)).toBe(true);
          expect(await results.get(name)).toBeUndefined();
          executed.add(name);
        }, RUN_MS);
      });
    }
  });
}

describe('manifest', () => {
  it('every client test that the manifest names ran and passed in this run', () => {
    const named = readManifest().flatMap((entry) => entry.client?.tests ?? []);
    expect([...new Set(named)].filter((name) => !executed.has(name))).toEqual([]);
  });
});
