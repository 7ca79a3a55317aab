/** The options that users of MQTT.js know: each is supported, ignored aloud, or refused. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { NidoClient, OPTIONS_TABLE } from '../../lib/client/index.js';
import type { ClientOptions } from '../../lib/client/index.js';

const DECLARATIONS = join(process.cwd(), 'node_modules/mqtt/build/lib/client.d.ts');
const OFFLINE = { manualConnect: true };

/** The keys of IClientOptions, with those of the interfaces that it extends in the same file. */
function keysOfMqttJs(): string[] {
  const source = ts.createSourceFile(
    DECLARATIONS, readFileSync(DECLARATIONS, 'utf8'), ts.ScriptTarget.Latest, true);
  const interfaces = new Map(source.statements.filter(ts.isInterfaceDeclaration)
    .map((statement) => [statement.name.text, statement]));
  const keysOf = (name: string): string[] => {
    const found = interfaces.get(name);
    if (found === undefined) throw new Error(`${name} is not declared in ${DECLARATIONS}`);
    const parents = (found.heritageClauses ?? [])
      .flatMap(({ types }) => types.map((type) => type.expression.getText()));
    return [...found.members.map((member) => member.name!.getText()), ...parents.flatMap(keysOf)];
  };
  return keysOf('IClientOptions');
}

/** A value that a user of MQTT.js could have written. */
const SAMPLES = new Map<string, unknown>([
  ['protocol', 'mqtts'], ['host', 'a'], ['hostname', 'a'], ['port', 1], ['path', '/a'],
  ['defaultProtocol', 'ws'], ['servers', [{ host: 'a', port: 1 }]], ['query', { a: 'b' }],
  ['auth', 'user:secret'], ['wsOptions', { headers: { a: 'b' } }], ['ca', 'pem'], ['cert', 'pem'],
  ['key', 'pem'], ['rejectUnauthorized', false], ['ALPNProtocols', ['mqtt']], ['servername', 'a'],
  ['keyPath', 'k'], ['certPath', 'c'], ['caPaths', ['c']], ['clientId', 'a'],
  ['protocolVersion', 4], ['protocolId', 'MQTT'], ['clean', false], ['keepalive', 10],
  ['username', 'a'], ['password', 'b'], ['will', { topic: 'a', payload: 'b', qos: 1, retain: true }],
  ['properties', { receiveMaximum: 10 }], ['reconnectPeriod', 10], ['connectTimeout', 10],
  ['reconnectOnConnackError', true], ['resubscribe', false], ['manualConnect', true],
  ['queueQoSZero', false],
]);

function make(options: object): { client: NidoClient; warnings: string[] } {
  const warnings: string[] = [];
  const logger = { error: () => undefined, warn: (text: string) => void warnings.push(text) };
  const client = new NidoClient({ ...OFFLINE, logger, ...options } as ClientOptions);
  return { client, warnings };
}

describe('the table of MQTT.js options', () => {
  it('has every key of IClientOptions, once, and no other', () => {
    const keys = keysOfMqttJs();
    expect(keys.length).toBeGreaterThan(50);
    expect(OPTIONS_TABLE.map(({ key }) => key).filter((key) => key !== 'unixSocket').sort())
      .toEqual([...new Set(keys)].filter((key) => key !== 'unixSocket').sort());
  });

  it.each(OPTIONS_TABLE.filter(({ fate }) => fate === 'ignored'))(
    '$key is ignored, with a warning that says why', async ({ key, note }) => {
      const { client, warnings } = make({ [key]: true });
      expect(warnings).toEqual([`nidomq client: option ${key} is ignored: ${note}`]);
      await client.end();
    });

  it.each(OPTIONS_TABLE.filter(({ fate }) => fate === 'refused'))(
    '$key is refused, with what to do instead', ({ key, note }) => {
      expect(() => make({ [key]: {} })).toThrow(expect.objectContaining({
        code: 'NIDO_CLIENT_OPTION_REFUSED', message: expect.stringContaining(note),
      }));
    });

  it.each(OPTIONS_TABLE.filter(({ fate }) => fate === 'supported'))(
    '$key is taken without a word', async ({ key }) => {
      const sample = key === 'unixSocket' ? { unixSocket: true, path: '/run/a.sock' }
        : { [key]: SAMPLES.get(key) };
      expect(Object.values(sample)).not.toContain(undefined);
      const name = key === 'password' ? { username: 'a' } : {};
      const { client, warnings } = make({ ...sample, ...name });
      expect(warnings).toEqual([]);
      await client.end();
    });

  it('does not know a misspelt one', () => {
    expect(() => make({ keepAlive: 10 })).toThrow(expect.objectContaining({
      code: 'NIDO_CLIENT_OPTION_INVALID', message: expect.stringContaining('keepAlive'),
    }));
  });

  it.each<[string, object]>([
    ['port', { port: 70_000 }], ['port', { port: 1.5 }], ['port', { port: '18x' }],
    ['port', { servers: [{ host: 'a', port: 0 }] }], ['servers', { servers: ['mqtt://a'] }],
    ['password', { username: 'a', password: 5 }], ['will.topic', { will: {} }],
    ['will.payload', { will: { topic: 'a', payload: 5 } }],
  ])('does not take a %s that no CONNECT could use: %j', (name, options) => {
    expect(() => make(options)).toThrow(expect.objectContaining({
      code: 'NIDO_CLIENT_OPTION_INVALID', message: expect.stringMatching(`^${name}:? `),
    }));
  });

  it('says what is wrong with a URL whose password holds a lone %, without the password', () => {
    expect(() => new NidoClient('mqtt://a:100%secret@localhost')).toThrow(expect.objectContaining({
      code: 'NIDO_CLIENT_OPTION_INVALID', message: expect.not.stringContaining('secret'),
    }));
  });

  it('takes the digits of a port, and a first pause that is longer than the longest', async () => {
    const { client } = make({ host: 'h', port: '1884', reconnectPeriod: 60_000 });
    expect(client.server.name).toBe('mqtt://h:1884');
    expect(client.options.limits.reconnectPeriodMax).toBe(60_000);
    await client.end();
  });

  it('gives MQTT.js names the meaning they have there', async () => {
    const { client } = make({
      auth: 'user:sec:ret', keyPath: 'k', certPath: 'c', caPaths: ['a', 'b'], hostname: 'h',
      defaultProtocol: 'mqtts',
    });
    expect(client.options).toMatchObject({
      username: 'user', password: Buffer.from('sec:ret'), keyFile: 'k', certFile: 'c',
      caFile: ['a', 'b'],
    });
    expect(client.server.name).toBe('mqtts://h:8883');
    await client.end();
  });
});
