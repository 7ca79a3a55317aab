import { describe, it, expect } from '@jest/globals';
import {
  OPTION_TABLE,
  optionSpec,
  parseOptionText,
  resolveOptions,
} from '../../lib/broker/options.js';
import type { BrokerOptions } from '../../lib/broker/broker-options.js';

function refusal(input: unknown): { code?: string; path?: string; message: string } {
  try {
    resolveOptions(input as BrokerOptions);
  } catch (error) {
    return error as { code?: string; path?: string; message: string };
  }
  throw new Error('was accepted');
}

const isOfOneListener = (path: string): boolean =>
  /^listeners\[\]\.(limits|mqtt)\./.test(path);

describe('options', () => {
  it('has a default and a description for everything, each path once', () => {
    const paths = OPTION_TABLE.map(({ path }) => path);
    expect(new Set(paths).size).toBe(paths.length);
    for (const spec of OPTION_TABLE) {
      expect(spec.description).not.toBe('');
      if (spec.type !== 'integer') continue;
      expect(spec.unit).not.toBe('');
      if (isOfOneListener(spec.path)) {
        expect(spec.default).toBeUndefined(); // the broker's
        continue;
      }
      expect(spec.default).toBeGreaterThanOrEqual(spec.min!);
      expect(spec.default).toBeLessThanOrEqual(spec.max!);
    }
  });

  it('fills in the promised defaults', () => {
    const { limits, mqtt, sys, engine } = resolveOptions();
    expect(limits).toMatchObject({
      memoryBytes: 268_435_456,
      packetBytesMax: 1_048_576,
      receiveMaximum: 65_535,
      topicAliasMaximum: 32,
      topicLevelsMax: 256,
      queueMessagesMax: 100_000,
      queueBytesMax: 67_108_864,
      slabBytesMax: 8_388_608,
      slabWatermarkBytes: 262_144,
      heldBytesMax: 4_194_304,
      withholdSecondsMax: 10,
      unauthenticatedBytesMax: 65_536,
      connectTimeoutSeconds: 10,
      connectionsMax: 100_000,
      subscriptionsPerSessionMax: 10_000,
    });
    expect(mqtt).toMatchObject({
      maximumQos: 2,
      retainAvailable: true,
      sharedStrategy: 'round-robin',
    });
    expect([engine, sys.intervalSeconds]).toEqual(['memory', 10]);
  });

  it('names the path and the allowed values of a wrong option', () => {
    expect(refusal({ limits: { packetBytesMax: 'big' } })).toMatchObject({
      code: 'NIDO_OPTION_INVALID',
      path: 'limits.packetBytesMax',
      allowed: expect.stringContaining('268435460'),
    });
    expect(refusal({ mqtt: { maximumQos: 3 } }).message).toContain('0, 1, 2');
    expect(refusal({ listeners: [{ port: 1 }, { port: 70_000 }] }).path).toBe('listeners[1].port');
    expect(refusal({ limits: 7 }).path).toBe('limits');
    expect(refusal(null).code).toBe('NIDO_OPTION_INVALID');
  });

  it('refuses an option that does not exist and says which do', () => {
    expect(refusal({ limits: { packetBytes: 1 } }).message).toContain('limits.packetBytesMax');
    expect(refusal({ listner: [] }).message).toContain('listeners');
    expect(refusal({ listeners: [{ prot: 1 }] }).message).toContain('listeners[].port');
    expect(refusal({ constructor: 1 }).code).toBe('NIDO_OPTION_INVALID');
    expect(refusal(JSON.parse('{"__proto__": 1}')).code).toBe('NIDO_OPTION_INVALID');
  });

  it('refuses hooks that could never be called, and those that cannot be served', () => {
    expect(refusal({ authentication: [{ autenticate() {} }] }).code).toBe('NIDO_HOOK_INVALID');
    expect(refusal({ authorization: [{ mayReceive: () => true }] }).code).toBe('NIDO_HOOK_INVALID');
    expect(() => resolveOptions({ authorization: [{ canReceive: () => true }] })).not.toThrow();
    expect(refusal({ logger: 'log' }).code).toBe('NIDO_OPTION_INVALID');
  });

  it('reads text as a command line gives it', () => {
    expect(parseOptionText('limits.packetBytesMax', '2048')).toBe(2_048);
    expect(parseOptionText('mqtt.maximumQos', '1')).toBe(1);
    expect(parseOptionText('mqtt.retainAvailable', 'false')).toBe(false);
    expect(parseOptionText('listeners[0].host', '::1')).toBe('::1');
    expect(optionSpec('listeners.3.port')?.path).toBe('listeners[].port');
    expect(() => parseOptionText('mqtt.retainAvailable', 'no')).toThrow('true, false');
    expect(() => parseOptionText('authentication', 'x')).toThrow('in code');
  });
});
