import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { readSettings } from '../../lib/cli/settings.js';

const DEFAULT_ENGINE = { engine: { file: { path: './nidomq-data' } } };
const folder = mkdtempSync(join(tmpdir(), 'nidomq-settings-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

describe('what a server is started with', () => {
  it('is one listener and the file engine in ./nidomq-data when nothing is said', async () => {
    expect((await readSettings({})).broker).toEqual({ listeners: [{}], ...DEFAULT_ENGINE });
  });

  it('comes from the file, then the flags, then --set: the later wins', async () => {
    const config = file('all.json', JSON.stringify({
      listeners: [{ host: '::1', port: 1 }, { path: '/run/x.sock' }],
      limits: { queueMessagesMax: 5, inflightMax: 7 },
    }));
    const { broker } = await readSettings({
      config, port: '2', set: ['listeners[1].path=/run/y.sock', 'limits.queueMessagesMax=6'],
    });
    expect(broker).toEqual({
      listeners: [{ host: '::1', port: 2 }, { path: '/run/y.sock' }],
      limits: { queueMessagesMax: 6, inflightMax: 7 }, ...DEFAULT_ENGINE,
    });
  });

  it('can be written as YAML', async () => {
    const config = file('casa.yaml', 'mqtt:\n  maximumQos: 1\nlisteners:\n  - port: 0\n');
    expect((await readSettings({ config })).broker).toEqual({
      mqtt: { maximumQos: 1 }, listeners: [{ port: 0 }], ...DEFAULT_ENGINE,
    });
  });

  it('adds a listener at the end of the list', async () => {
    const { broker } = await readSettings({ set: ['listeners[1].port=0', 'listeners.1.ws=/mqtt'] });
    expect(broker.listeners).toEqual([{}, { port: 0, ws: '/mqtt' }]);
  });

  it('reaches into options that are objects of their own', async () => {
    const { broker } = await readSettings({
      set: ['listeners[0].tls.certFile=a.pem', 'listeners[0].tls.requestCert=true'],
    });
    expect(broker.listeners).toEqual([{ tls: { certFile: 'a.pem', requestCert: true } }]);
  });

  it('gives each listener its limits: those of the broker, and those of the guards by its name', async () => {
    const config = file('tenants.json', JSON.stringify({
      listeners: [{ name: 'inside' }, { host: '127.0.0.1', port: 2, limits: { publishesPerSecond: 7, packetBytesMax: 99 } }],
    }));
    const { broker, guard } = await readSettings({
      config,
      set: ['listeners[0].limits.packetBytesMax=88', 'listeners[0].limits.connectionsPerAddressMax=3', 'listeners[0].mqtt.maximumQos=1'],
    });
    expect(broker.listeners).toEqual([
      { name: 'inside', limits: { packetBytesMax: 88 }, mqtt: { maximumQos: 1 } },
      { host: '127.0.0.1', port: 2, limits: { packetBytesMax: 99 } },
    ]);
    expect(guard.listenerLimits).toEqual({
      inside: { connectionsPerAddressMax: 3 }, '127.0.0.1:2': { publishesPerSecond: 7 },
    });
  });

  it.each([
    ['listeners[0].limits.publishesPerSecond=-1', 'listeners[0].limits.publishesPerSecond'],
    ['listeners[0].limits.packetBytesMax=1', 'listeners[0].limits.packetBytesMax'],
    ['listeners[1].mqtt.maximumQos=3', 'listeners[1].mqtt.maximumQos'],
    ['listeners[0].limits.queueMessagesMax=5', 'listeners[0].limits.queueMessagesMax'],
  ])('refuses --set %s by its path', async (assignment, path) => {
    await expect(readSettings({ set: [assignment] })).rejects.toMatchObject({ code: 'NIDO_OPTION_INVALID', path });
  });

  it('names guards by their kind, from the file and from flags', async () => {
    const config = file('guards.json', JSON.stringify({
      authentication: [{ kind: 'jwt', secret: 's' }], authorization: { rules: [] },
    }));
    const settings = await readSettings({ config, passwordFile: 'p', aclFile: 'a' });
    expect(settings.guard.authentication).toEqual([
      { kind: 'jwt', secret: 's' }, { kind: 'password-file', path: 'p' },
    ]);
    expect(settings.guard.authorization).toEqual({ rules: [], aclFile: 'a' });
    expect(settings.broker).toEqual({ listeners: [{}], ...DEFAULT_ENGINE });
  });

  it('gives the guards their limits and the broker its own', async () => {
    const config = file('limits.json', '{"limits": {"inflightMax": 9, "flappingBanMs": 10}}');
    const settings = await readSettings({ config, set: ['limits.connectionsPerUserMax=3'] });
    expect(settings.broker.limits).toEqual({ inflightMax: 9 });
    expect(settings.guard).toEqual({ limits: { flappingBanMs: 10, connectionsPerUserMax: 3 } });
  });

  it('names the file engine with its folder and durability', async () => {
    const { broker } = await readSettings({ engine: 'file', data: '/d', durability: 'os' });
    expect(broker.engine).toEqual({ file: { path: '/d', durability: 'os' } });
  });

  it('takes flags about the data folder as words about the configured file engine', async () => {
    const config = file('engine.json', JSON.stringify({
      engine: { file: { path: '/configured', onLoss: 'report' } },
    }));
    const { broker } = await readSettings({ config, durability: 'os' });
    expect(broker.engine).toEqual({
      file: { path: '/configured', onLoss: 'report', durability: 'os' },
    });
    expect((await readSettings({ data: '/d' })).broker.engine).toEqual({ file: { path: '/d' } });
    expect((await readSettings({ engine: 'memory' })).broker.engine).toBe('memory');
    const none = file('memory.json', '{"engine": "memory"}');
    expect((await readSettings({ config: none })).broker.engine).toBe('memory');
    expect((await readSettings({ set: ['engine=memory'] })).broker.engine).toBe('memory');
  });
});

describe('what is refused, in words', () => {
  it.each([
    ['an option that does not exist', ['limits.queueMax=1'],
      /^limits\.queueMax: there is no such option\. Allowed: .*limits\.queueMessagesMax/],
    ['a value that it cannot have', ['mqtt.maximumQos=3'],
      /^mqtt\.maximumQos: is "3"\. Allowed: 0, 1, 2/],
    ['a number out of bounds', ['listeners[0].port=70000'],
      /^listeners\[0\]\.port: is 70000\. Allowed: a whole number from 0 to 65535/],
    ['a limit of the guards that is no number', ['limits.bansMax=many'],
      /^limits\.bansMax: is "many"\. Allowed: a whole number from 1/],
    ['an assignment without a value', ['limits.inflightMax'],
      /^--set limits\.inflightMax: write path=value/],
    ['a gap in a list', ['listeners[3].port=0'], /the list has 1 elements, the next one is \[1\]/],
    ['an option for code', ['logger=1'], /^logger: /],
    ['a name that every object has', ['listeners[0].tls.__proto__.x=1'], /not a path of names/],
  ])('%s', async (_what, set, words) => {
    await expect(readSettings({ set })).rejects.toThrow(words);
  });

  it('a file that is not there, is not JSON, or is not an object', async () => {
    await expect(readSettings({ config: join(folder, 'none.json') })).rejects.toThrow(
      'there is no such file',
    );
    const broken = file('broken.json', '{');
    await expect(readSettings({ config: broken })).rejects.toThrow('this is not JSON');
    const list = file('list.json', '[]');
    await expect(readSettings({ config: list })).rejects.toThrow('is an object of options');
  });

  it('a data folder for an engine that keeps nothing', async () => {
    await expect(readSettings({ engine: 'memory', data: '/d' })).rejects.toThrow('--engine file');
  });
});
