/** Sums of results. */
import { VERSION_NAME } from './kit.js';
import type { CaseResult } from './run.js';
import type { Version } from './wire/packets.js';

export interface Run {
  readonly target: string;
  readonly results: readonly CaseResult[];
  readonly seconds: number;
}

/** Cases by version and group: passed of run. */
export function scores(results: readonly CaseResult[]): Map<string, [number, number, number]> {
  const table = new Map<string, [number, number, number]>();
  for (const result of results) {
    const key = `${VERSION_NAME[result.version as Version]} | ${result.group}`;
    const row = table.get(key) ?? [0, 0, 0];
    if (result.status === 'passed') row[0]++;
    if (result.status !== 'not run') row[1]++;
    row[2]++;
    table.set(key, row);
  }
  return table;
}
