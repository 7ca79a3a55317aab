/** The page about the client says what is so. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { OPTIONS_TABLE } from '../../lib/client/index.js';
import { Stage } from './support/servers.js';

jest.setTimeout(120_000);

const page = readFileSync(join(process.cwd(), 'docs/client.md'), 'utf8');
const stage = new Stage();
afterEach(() => stage.stop());

describe('docs/client.md', () => {
  it('has a first program that runs', async () => {
    const { url } = await stage.ours();
    const program = /```js\n([^]*?)```/.exec(page)![1];
    // The package finds itself by its name from within its own folder.
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      env: { ...process.env, MQTT_URL: url }, stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
    const status = await new Promise((resolve) => child.on('close', resolve));
    expect(out.trim().split('\n').sort())
      .toEqual(['published: 0', 'sensors/kitchen/temperature: 21.5']);
    expect(status).toBe(0);
  });

  it('has every option of MQTT.js in its table', () => {
    for (const { key, note } of OPTIONS_TABLE) {
      expect(page).toMatch(new RegExp(`\\| \`${key}\` \\| .*\\|`));
      expect(page).toContain(note.split('|')[0]);
    }
  });
});
