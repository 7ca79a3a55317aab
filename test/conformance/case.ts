/** What a case is, and how a table of them becomes the suites of the three versions. */
import type { Kit } from './kit.js';
import { VERSION_NAME } from './kit.js';
import type { Version } from './wire/packets.js';

/**
 * Brokers the suite asks for. All but the first are configured in a special way (see target.ts).
 */
export type Variant =
  | 'default' | 'maximum-qos-0' | 'maximum-qos-1' | 'no-retain' | 'no-wildcard'
  | 'no-subscription-identifier' | 'no-shared' | 'server-keep-alive' | 'small-packets'
  | 'guarded' | 'enhanced-authentication' | 'session-expiry-cap' | 'few-aliases'
  | 'few-in-flight' | 'web-socket';

export type Kind = 'normative' | 'announced' | 'non-normative' | 'easily-wrong';

/** One row of a table; it becomes one case for every version in `on`. */
export interface CaseRow {
  readonly name: string;
  /** Version -> numbers of the statements it checks, without `MQTT-`. */
  readonly on: Readonly<Partial<Record<Version, readonly string[]>>>;
  readonly kind?: Kind;
  readonly variant?: Variant;
  readonly run: (t: Kit) => Promise<void>;
}

export interface ConformanceCase {
  /** Unique over all suites: `5.0: a QoS 1 PUBLISH is answered by PUBACK`. */
  readonly name: string;
  readonly version: Version;
  readonly group: string;
  readonly kind: Kind;
  readonly variant: Variant;
  readonly statements: readonly string[];
  readonly run: (t: Kit) => Promise<void>;
}

export function expand(group: string, rows: readonly CaseRow[]): ConformanceCase[] {
  return rows.flatMap((row) =>
    ([3, 4, 5] as const)
      .filter((version) => row.on[version] !== undefined)
      .map((version) => ({
        name: `${VERSION_NAME[version]}: ${row.name}`,
        version,
        group,
        kind: row.kind ?? 'normative',
        variant: row.variant ?? 'default',
        statements: (row.on[version] ?? []).map((number) => `MQTT-${number}`),
        run: row.run,
      })),
  );
}
