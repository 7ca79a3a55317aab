/** The standard's tables, read from the CSV files that stand beside the suite. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Tests and scripts run from the root of the repository. */
export const CONFORMANCE_DIRECTORY = join(process.cwd(), 'test', 'conformance');

/** Fields of one CSV line; quoted fields may hold commas, doubled quotes stand for one. */
function fieldsOf(line: string): string[] {
  const fields = line.match(/("(?:[^"]|"")*"|[^,]*)(,|$)/g) ?? [];
  return fields.map((field) => 
    field.replace(/,$/, '').replace(/^"([\s\S]*)"$/, '$1').replace(/""/g, '"'),
  );
}

export function readTable(name: string): Map<string, string>[] {
  const text = readFileSync(join(CONFORMANCE_DIRECTORY, 'spec', name), 'utf8');
  const [head, ...lines] = text.split(/\r?\n/).filter((line) => line.length > 0);
  const names = fieldsOf(head ?? '').filter((field) => field.length > 0);
  return lines.map((line) => {
    const fields = fieldsOf(line);
    return new Map(names.map((field, at) => [field, fields[at] ?? '']));
  });
}

export interface PropertyRow {
  readonly id: number;
  readonly name: string;
  readonly type: string;
  readonly packets: ReadonlySet<string>;
  readonly repeatable: boolean;
}

export const PROPERTY_TABLE: ReadonlyMap<number, PropertyRow> = new Map(
  readTable('mqtt5-properties.csv').map((row) => [
    Number(row.get('id')),
    {
      id: Number(row.get('id')),
      name: row.get('name') ?? '',
      type: row.get('type') ?? '',
      packets: new Set((row.get('packets') ?? '').split(' ')),
      repeatable: (row.get('repeatable') ?? 'no') !== 'no',
    },
  ]),
);

/** Packet name -> the Reason Codes it may carry. */
export const REASON_CODES: ReadonlyMap<string, ReadonlySet<number>> = (() => {
  const table = new Map<string, Set<number>>();
  for (const row of readTable('mqtt5-reason-codes.csv')) {
    for (const name of (row.get('packets') ?? '').split(' ')) {
      const codes = table.get(name) ?? new Set<number>();
      table.set(name, codes.add(Number(row.get('code'))));
    }
  }
  return table;
})();

export interface Statement {
  readonly id: string;
  readonly version: '3.1.1' | '5.0';
  readonly section: string;
  readonly appliesTo: 'server' | 'client' | 'both';
  readonly summary: string;
}

export const STATEMENTS: readonly Statement[] = (['3.1.1', '5.0'] as const).flatMap((version) =>
  readTable(`mqtt-${version}.csv`).map((row) => ({
    id: row.get('id') ?? '',
    version,
    section: row.get('section') ?? '',
    appliesTo: (row.get('applies_to') ?? 'both') as Statement['appliesTo'],
    summary: row.get('summary') ?? '',
  })),
);
