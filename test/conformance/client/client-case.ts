/** Tables of the client role: rows become one case for each version, and run with a time limit. */
import { VERSION_NAME } from '../kit.js';
import { inTurns } from '../run.js';
import type { Version } from '../wire/packets.js';
import { ClientKit } from './client-kit.js';

export interface ClientRow {
  readonly name: string;
  /** Version -> numbers of the statements it checks, without `MQTT-`. */
  readonly on: Readonly<Partial<Record<Version, readonly string[]>>>;
  readonly run: (t: ClientKit) => Promise<void>;
}

export interface ClientCase {
  /** Unique: `client 5.0: a QoS 1 PUBLISH is answered by PUBACK`. */
  readonly name: string;
  readonly version: Version;
  readonly group: string;
  readonly statements: readonly string[];
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
      run: row.run,
    })));
}

const CASE_MS = 30_000;

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

/** Runs them; by name, why a case failed, or undefined. */
export function startClientCases(
  cases: readonly ClientCase[],
): Map<string, Promise<string | undefined>> {
  return inTurns(cases, CONCURRENT_CLIENT_CASES, runClientCase);
}
