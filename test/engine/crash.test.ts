/**
 * The crash tests, in short. The long ones are `npm run kill -- --kills 100`, `npm run power-loss --
 * --rounds 60` and `node scripts/engine-crash.mjs kill|power|full`. All run in processes of their
 * own: a test runner is nothing to put LD_PRELOAD in front of.
 */
import { describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const SCRIPT = join(process.cwd(), 'scripts', 'engine-crash.mjs');

async function run(what: string, rounds: number): Promise<{ acknowledged: number; stalls?: number } | undefined> {
  const args = [SCRIPT, what, '--rounds', String(rounds), '--seed', '1'];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const last = stdout.trim().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) {
    process.stdout.write(`${what}: ${last}\n`);
    return undefined;
  }
  return JSON.parse(last) as { acknowledged: number };
}

describe('file engine: what was acknowledged', () => {
  it('survives kill -9 at any moment', async () => {
    const result = await run('kill', 4);
    expect(result?.acknowledged).toBeGreaterThan(100);
  }, 60_000);

  it('survives power loss at any moment, when it was committed to the disk', async () => {
    const result = await run('power', 6);
    if (result !== undefined) expect(result.acknowledged).toBeGreaterThan(100);
  }, 60_000);

  it('reaches real clients once or in order over a broker that is killed again and again', async () => {
    const result = await run('broker', 3);
    expect(result?.acknowledged).toBeGreaterThan(20);
  }, 90_000);

  it('reaches real clients over a broker whose power goes at any moment', async () => {
    const result = await run('broker-power', 3);
    if (result !== undefined) expect(result.acknowledged).toBeGreaterThan(20);
  }, 120_000);

  it('survives a full disk, which stops acknowledgements and nothing else', async () => {
    const result = await run('full', 2);
    if (result !== undefined) expect(result.stalls).toBeGreaterThan(0);
  }, 60_000);
});
