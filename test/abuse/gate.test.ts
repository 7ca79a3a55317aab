/** The abuse gate is whole: forty attacks, each with a test of its number and a line for operators. */
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';

const ATTACKS = Array.from({ length: 40 }, (_, at) => at + 1);
const folder = join(process.cwd(), 'test', 'abuse');

/** Numbers in titles such as `abuse 27 and 28: ...`. */
function numbersIn(text: string): number[] {
  return [...text.matchAll(/['"`]abuse ([\d, and]+):/g)]
    .flatMap(([, list]) => (list.match(/\d+/g) ?? []).map(Number));
}

describe('the abuse gate', () => {
  it('has a test for each of the forty attacks', () => {
    const names = readdirSync(folder).filter((name) => name.endsWith('.test.ts'));
    const found = new Set(names.flatMap((name) => numbersIn(readFileSync(join(folder, name), 'utf8'))));
    expect(ATTACKS.filter((number) => !found.has(number))).toEqual([]);
  });

  it('has a line in docs/guards.md for each', () => {
    const page = readFileSync(join(process.cwd(), 'docs', 'guards.md'), 'utf8');
    const rows = [...page.matchAll(/^\| (\d+) \|/gm)].map(([, number]) => Number(number));
    expect(rows).toEqual(ATTACKS);
  });
});
