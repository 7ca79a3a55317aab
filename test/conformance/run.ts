/** Runs cases against a target, many at a time, each on connections and names of its own. */
import { Kit } from './kit.js';
import type { TargetEndpoint } from './kit.js';
import type { ConformanceCase } from './case.js';
import type { Target } from './target.js';

export interface CaseResult {
  readonly name: string;
  readonly group: string;
  readonly kind: string;
  readonly version: number;
  readonly statements: readonly string[];
  readonly status: 'passed' | 'failed' | 'not run';
  readonly detail?: string;
  readonly ms: number;
}

/** Cases in flight at once: they wait most of the time. */
export const CONCURRENT_CASES = 24;
/** No case may take longer, or it fails. */
export const CASE_MS = 20_000;

function timeLimit(): { promise: Promise<never>; clear: () => void } {
  let timer: NodeJS.Timeout;
  const promise = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${CASE_MS} ms`)), CASE_MS);
  });
  return { promise, clear: () => clearTimeout(timer) };
}

export async function runCase(one: ConformanceCase, target: Target): Promise<CaseResult> {
  const { name, group, kind, version, statements } = one;
  const head = { name, group, kind, version, statements };
  let endpoint: TargetEndpoint | undefined;
  try {
    endpoint = await target.endpoint(one.variant);
  } catch (error) {
    const detail = `no "${one.variant}" broker: ${(error as Error).message}`;
    return { ...head, status: 'failed', detail, ms: 0 };
  }
  if (!endpoint) {
    return { ...head, status: 'not run', detail: `target has no "${one.variant}"`, ms: 0 };
  }
  const kit = new Kit(endpoint, version);
  const limit = timeLimit();
  const start = Date.now();
  try {
    await Promise.race([one.run(kit), limit.promise]);
    return { ...head, status: 'passed', ms: Date.now() - start };
  } catch (error) {
    const ids = statements.length > 0 ? ` [${statements.join(' ')}]` : '';
    const detail = `${(error as Error).message}${ids}\n${kit.transcript()}`;
    return { ...head, status: 'failed', detail, ms: Date.now() - start };
  } finally {
    limit.clear();
    kit.close();
  }
}

/** Begins all of them in the order of the list, so many at a time; one promise each, by name. */
export function inTurns<Case extends { readonly name: string }, Result>(
  cases: readonly Case[], concurrent: number, run: (one: Case) => Promise<Result>,
): Map<string, Promise<Result>> {
  const results = new Map<string, Promise<Result>>();
  const waiting: (() => void)[] = [];
  let running = 0;
  const finished = (): void => {
    running--;
    waiting.shift()?.();
  };
  const turn = (): Promise<void> => new Promise((resolve) => {
    const begin = (): void => {
      running++;
      resolve();
    };
    if (running < concurrent) begin();
    else waiting.push(begin);
  });
  for (const one of cases) results.set(one.name, turn().then(() => run(one)).finally(finished));
  return results;
}

export function startCases(
  cases: readonly ConformanceCase[], target: Target, concurrent = CONCURRENT_CASES,
): Map<string, Promise<CaseResult>> {
  return inTurns(cases, concurrent, (one) => runCase(one, target));
}
