/** Tables of the client role: rows become one case for each version, and run with a time limit. */
import { VERSION_NAME } from '../kit.js';
import { inTurns } from '../run.js';
import type { Version } from '../wire/packets.js';
import { ClientKit } from './client-kit.js';

export interface ClientRow {
  readonly name: string;
  /** Version -> numbers of the statements it checks, without `MQTT-`. */
  readonly on: Readonly<Partial<Record<Version, readonly string[]>>>;
  /** It keeps the process busy: others that measure time would be late beside it. */
  readonly alone?: true;
  readonly run: (t: ClientKit) => Promise<void>;
}

export interface ClientCase {
  /** Unique: `client 5.0: a QoS 1 PUBLISH is answered by PUBACK`. */
  readonly name: string;
  readonly version: Version;
  readonly group: string;
  readonly statements: readonly string[];
  readonly alone: boolean;
  readonly run: (t: ClientKit) => Promise<void>;
}

export function expandClient(group: string, rows: readonly ClientRow[]): ClientCase[] {
  return rows.flatMap((row) => ([3, 4, 5] as const)
    .filter((version) => row.on[version] !== undefined)
    .map((version) => ({
      name: `client ${VERSION_NAME[version]}: ${row.name}`,
      version,
      group,
      statements: (row.on[version] ?? []).map((number) => `MQTT-${number}`),
      alone: row.alone === true,
      run: row.run,
    })));
}

const CASE_MS = 120_000;

/** Why a case failed, with what went over its connections; undefined when it passed. */
export async function runClientCase(one: ClientCase): Promise<string | undefined> {
  const kit = new ClientKit(one.version);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${CASE_MS} ms`)), CASE_MS);
  });
  try {
    await kit.listen();
    await Promise.race([one.run(kit), late]);
    return undefined;
  } catch (error) {
    return `${(error as Error).message} [${one.statements.join(' ')}]\n${kit.transcript()}`;
  } finally {
    clearTimeout(timer);
    await kit.close();
  }
}

/** Cases in flight at once: they wait most of the time, but each has a core of its own. */
const CONCURRENT_CLIENT_CASES = 16;

/** Runs them; by name, why a case failed, or undefined. Those that want to be alone come last. */
export function startClientCases(
  cases: readonly ClientCase[],
): Map<string, Promise<string | undefined>> {
  const together = cases.filter((one) => !one.alone);
  const results = inTurns(together, CONCURRENT_CLIENT_CASES, runClientCase);
  let before: Promise<unknown> = Promise.all(results.values());
  for (const one of cases.filter(({ alone }) => alone)) {
    const result = before.then(() => runClientCase(one));
    results.set(one.name, result);
    before = result;
  }
  return results;
}
