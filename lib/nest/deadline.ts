/** Waiting, but not for ever. */

/** Resolves with `done` when `work` is settled within `ms`, else with `late`. Never rejects. */
export async function within(ms: number, work: Promise<unknown>): Promise<'done' | 'late'> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<'late'>((resolve) => {
    timer = setTimeout(() => resolve('late'), ms);
  });
  const done = work.then(() => 'done' as const, () => 'done' as const);
  const outcome = await Promise.race([done, late]);
  clearTimeout(timer);
  return outcome;
}
