/** The page about interceptors says what is so. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';

const page = readFileSync(join(process.cwd(), 'docs/interceptors.md'), 'utf8');

describe('docs/interceptors.md', () => {
  it('has a program that does what it says', async () => {
    const program = /```js\n([^]*?)```/.exec(page)![1];
    // The package finds itself by its name from within its own folder.
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
    const status = await new Promise((resolve) => child.on('close', resolve));
    expect(out.trim().split('\n').sort()).toEqual([
      'dropped: sensors/kitchen/temperature of kitchen: not a number',
      'refused: 153',
      'sensors/kitchen/temperature: 21.5',
      'suspicious/sensors/kitchen/temperature: 900',
    ]);
    expect(status).toBe(0);
  }, 60_000);
});
