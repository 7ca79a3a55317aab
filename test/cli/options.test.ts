import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { OPTION_TABLE } from '../../lib/broker/options.js';
import { GUARD_OPTION_TABLE } from '../../lib/cli/guard-options.js';
import { say } from './recorder.js';

describe('nidomq options', () => {
  it('lists every option with its default, unit and meaning', async () => {
    const { status, lines } = await say('options');
    expect(status).toBe(0);
    for (const spec of [...OPTION_TABLE, ...GUARD_OPTION_TABLE]) {
      expect(lines).toContain(`${spec.path} = `);
      expect(lines).toContain(spec.description);
    }
    expect(lines).toContain('limits.withholdSecondsMax = 10 seconds');
    expect(lines).toContain('a whole number from 1 to 3600');
  });

  it('lists a group alone', async () => {
    const { lines } = await say('options', 'sys');
    expect(lines).toContain('sys.intervalSeconds = 10 seconds');
    expect(lines).not.toContain('limits.');
  });

  it('gives the same to a program as JSON', async () => {
    const { lines } = await say('options', '--json');
    const listed = JSON.parse(lines) as { path: string; unit: string; description: string }[];
    const paths = [...OPTION_TABLE, ...GUARD_OPTION_TABLE].map((spec) => spec.path);
    expect(listed.map((option) => option.path)).toEqual(paths);
    expect(new Set(paths).size).toBe(paths.length);
  });

  it('refuses a prefix that nothing has', async () => {
    const { status, errors } = await say('options', 'limit');
    expect(status).toBe(2);
    expect(errors).toContain('limit: no option starts with this');
  });
});

describe('nidomq', () => {
  it('says the version of the package', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    expect((await say('--version')).lines).toBe(version);
  });

  it('refuses a command that does not exist, and suggests the one that was meant', async () => {
    const { status, errors } = await say('strat');
    expect(status).toBe(2);
    expect(errors).toContain('start');
  });
});
