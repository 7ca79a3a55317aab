/** Pages that are made from the code say what the code says, and links lead somewhere. */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from '@jest/globals';
import { ROOT } from './source-files.js';

const run = promisify(execFile);
const COMMAND_DEADLINE_MS = 60_000;
/** Of the project that README.md makes. */
const OF_THE_STARTER = new Set(['start:prod']);

function pages(): string[] {
  const docs = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name));
  return ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...docs];
}

/** Targets of `[text](target)` within this repository, outside fenced blocks. */
function localLinks(page: string): string[] {
  const text = readFileSync(join(ROOT, page), 'utf8').replace(/^```[\s\S]*?^```/gm, '');
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => (match[1] ?? '').split('#')[0] ?? '')
    .filter((target) => target !== '' && !/^[a-z]+:/.test(target));
}

describe('documentation', () => {
  it('that is made from the code is up to date (`npm run docs` makes it)', async () => {
    const script = join(ROOT, 'scripts/write-docs.mjs');
    const check = run(process.execPath, [script, '--check'], { cwd: ROOT });
    await expect(check).resolves.toMatchObject({ stderr: '' });
  }, COMMAND_DEADLINE_MS);

  it('links to files that exist', () => {
    const dead = pages().flatMap((page) => localLinks(page)
      .filter((target) => !existsSync(join(ROOT, dirname(page), target)))
      .map((target) => `${page}: ${target}`));
    expect(dead).toEqual([]);
  });

  it('names commands of npm that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      readonly scripts: object;
    };
    const named = pages().flatMap((page) =>
      [...readFileSync(join(ROOT, page), 'utf8').matchAll(/npm run ([\w:-]+)/g)]
        .map(([, name]) => name));
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((name) => !(name in scripts) && !OF_THE_STARTER.has(name))).toEqual([]);
  });

  it('is checked by finding links: the README has some', () => {
    expect(localLinks('README.md').length).toBeGreaterThan(2);
  });
});
