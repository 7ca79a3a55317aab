import { describe, expect, it, jest } from '@jest/globals';
import {
  BanList, ConnectionGate, FlappingDetector, PublishRate, TokenBucket, guardLimitDefaults, guardLimits,
} from '../../lib/guard/index.js';
import type { GuardLimits } from '../../lib/guard/index.js';
import { addressKey, isInRange, parseAddressRange } from '../../lib/guard/limits/address.js';

const WALL = 1_800_000_000_000;

function gateWith(limits: Partial<GuardLimits> = {}): { gate: ConnectionGate; bans: BanList } {
  const table = guardLimits(limits);
  const bans = new BanList(table);
  return { gate: new ConnectionGate(table, bans, 0), bans };
}

describe('the table of limits', () => {
  it('has a default for each, and refuses names and values that make no sense', () => {
    expect(guardLimits({ publishesPerSecond: 7 })).toEqual({ ...guardLimitDefaults, publishesPerSecond: 7 });
    expect(() => guardLimits({ publishPerSecond: 7 } as Partial<GuardLimits>)).toThrow('publishPerSecond');
    expect(() => guardLimits({ toString: 7 } as unknown as Partial<GuardLimits>)).toThrow('toString');
    expect(() => guardLimits({ bansMax: Number.NaN })).toThrow('bansMax');
    expect(() => guardLimits({ bansMax: -1 })).toThrow('bansMax');
  });
});

describe('a token bucket', () => {
  it('lets a burst through, then says how long to wait, and holds the rate over time', () => {
    const bucket = new TokenBucket({ perSecond: 100, burst: 10 }, 0);
    for (let count = 0; count < 10; count += 1) expect(bucket.take(1, 0)).toBe(0);
    expect(bucket.take(1, 0)).toBe(10);
    let now = 0;
    let taken = 0;
    while (now < 10_000) {
      now += Math.max(1, bucket.take(5, now));
      taken += 5;
    }
    expect(taken).toBeGreaterThanOrEqual(995);
    expect(taken).toBeLessThanOrEqual(1015);
  });

  it('is not confused by a clock that steps back, nor full beyond its burst', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 5 }, 1000);
    expect(bucket.take(5, 1000)).toBe(0);
    expect(bucket.take(1, 0)).toBe(100);
    expect(bucket.take(4, 1_000_000)).toBe(0);
    expect(bucket.take(2, 1_000_000)).toBe(100);
  });

  it('without a rate never delays', () => {
    expect(new TokenBucket({ perSecond: 0, burst: 0 }, 0).take(1e9, 0)).toBe(0);
  });
});

describe('the publish rate', () => {
  it('delays by messages and by bytes, whichever is longer, never longer than its bound', () => {
    const limits = guardLimits({
      publishesPerSecond: 10, publishesBurst: 10, publishBytesPerSecond: 1000, publishBytesBurst: 1000,
      rateDelayMsMax: 2000,
    });
    const rate = new PublishRate(limits, 0);
    expect(rate.take({ messages: 10, bytes: 100 }, 0)).toBe(0);
    expect(rate.take({ messages: 1, bytes: 0 }, 0)).toBe(100);
    expect(rate.take({ messages: 0, bytes: 2400 }, 0)).toBe(1500);
    expect(rate.take({ messages: 1000, bytes: 0 }, 0)).toBe(2000);
    expect(PublishRate.isUnlimited(limits)).toBe(false);
    expect(PublishRate.isUnlimited(guardLimits())).toBe(true);
  });
});

describe('addresses', () => {
  it('are one key in all their spellings, IPv6 by its /64', () => {
    expect(addressKey('::ffff:10.0.0.1')).toBe(addressKey('10.0.0.1'));
    expect(addressKey('2001:db8::1')).toBe(addressKey('2001:0DB8:0:0:ffff::9'));
    expect(addressKey('2001:db8::1')).not.toBe(addressKey('2001:db8:0:1::1'));
    expect(addressKey('fe80::1%eth0')).toBe(addressKey('fe80::2'));
    expect(addressKey('')).toBe('');
  });

  it.each([
    ['10.0.0.0/8', '10.255.0.1', true], ['10.0.0.0/8', '11.0.0.1', false], ['10.0.0.7', '10.0.0.7', true],
    ['10.0.0.0/9', '10.127.1.1', true], ['10.0.0.0/9', '10.128.1.1', false], ['0.0.0.0/0', '1.2.3.4', true],
    ['10.0.0.7', '::ffff:a00:7', true], ['2001:db8::/32', '2001:db8:ffff::1', true], ['2001:db8::/32', '10.0.0.1', false],
    ['2001:db8::/33', '2001:db8:8000::1', false], ['::1', '::1', true],
  ])('%s holds %s: %s', (range, address, expected) => {
    const parsed = parseAddressRange(range);
    expect(parsed && isInRange(address, parsed)).toBe(expected);
  });

  it.each(['10.0.0.0/33', '10.0.0', 'host', '10.0.0.0/8/8', '10.0.0.0/', '::/129', ''])('%j is none', (text) => {
    expect(parseAddressRange(text)).toBeUndefined();
  });
});

describe('the ban list', () => {
  it('finds by client id, user and address, exactly, until the ban ends', () => {
    const bans = new BanList({ bansMax: 10 });
    bans.add({ kind: 'clientId', value: 'bad', until: WALL + 1000 }, WALL);
    bans.add({ kind: 'username', value: '__proto__' }, WALL);
    bans.add({ kind: 'address', value: '10.1.0.0/16', reason: 'scan' }, WALL);
    expect(bans.find({ clientId: 'bad' }, WALL)).toMatchObject({ value: 'bad' });
    expect(bans.find({ clientId: 'Bad', username: 'bad', remoteAddress: '10.2.0.1' }, WALL)).toBeUndefined();
    expect(bans.find({ username: '__proto__' }, WALL)).toBeDefined();
    expect(bans.find({ username: 'constructor' }, WALL)).toBeUndefined();
    expect(bans.find({ remoteAddress: '::ffff:10.1.2.3' }, WALL)).toMatchObject({ reason: 'scan' });
    expect(bans.find({ clientId: 'bad' }, WALL + 1000)).toBeUndefined();
    expect(bans.list(WALL + 1000)).toHaveLength(2);
    expect(bans.remove('username', '__proto__')).toBe(true);
    expect(bans.find({ username: '__proto__' }, WALL)).toBeUndefined();
  });

  it('is bounded, forgets ended bans first, and tells who listens', () => {
    const bans = new BanList({ bansMax: 2 });
    const heard = jest.fn();
    bans.onBan(heard);
    bans.add({ kind: 'clientId', value: 'a', until: WALL + 10 }, WALL);
    bans.add({ kind: 'clientId', value: 'b' }, WALL);
    expect(() => bans.add({ kind: 'clientId', value: 'c' }, WALL)).toThrow(expect.objectContaining({ code: 'NIDO_BANS_FULL' }));
    bans.add({ kind: 'clientId', value: 'c' }, WALL + 10);
    expect(heard).toHaveBeenCalledTimes(3);
    expect(() => bans.add({ kind: 'address', value: 'host' }, WALL)).toThrow(expect.objectContaining({ code: 'NIDO_BAN_ADDRESS' }));
  });
});

describe('a flapping client', () => {
  const limits = guardLimits({ flappingDisconnectsMax: 3, flappingWindowMs: 1000, flappingBanMs: 5000, flappingKeysMax: 2 });

  it('is banned for a while after too many ends within the window', () => {
    const detector = new FlappingDetector(limits);
    const ends = [0, 100, 200, 300].map((now) => detector.disconnected('a', '10.0.0.1', now));
    expect(ends).toEqual([false, false, false, true]);
    expect(detector.isBanned('a', '10.0.0.1', 5299)).toBe(true);
    expect(detector.isBanned('a', '10.0.0.1', 5300)).toBe(false);
  });

  it('does not get the same client id at another address banned, nor slow ones', () => {
    const detector = new FlappingDetector(limits);
    for (let now = 0; now < 4; now += 1) detector.disconnected('a', '10.0.0.1', now);
    expect(detector.isBanned('a', '10.0.0.2', 10)).toBe(false);
    for (let now = 0; now < 40_000; now += 400) expect(detector.disconnected('b', '10.0.0.3', now)).toBe(false);
  });

  it('costs bounded memory', () => {
    const detector = new FlappingDetector(limits);
    for (let count = 0; count < 4; count += 1) detector.disconnected('a', '10.0.0.1', 0);
    for (const id of ['b', 'c']) detector.disconnected(id, '10.0.0.1', 0);
    expect(detector.isBanned('a', '10.0.0.1', 1)).toBe(false);
  });
});

describe('the gate', () => {
  it('counts connections of an address and gives the place back', () => {
    const { gate } = gateWith({ connectionsPerAddressMax: 2 });
    expect(gate.opened('10.0.0.1', 0, WALL).kind).toBe('admit');
    expect(gate.opened('::ffff:10.0.0.1', 0, WALL).kind).toBe('admit');
    expect(gate.opened('10.0.0.1', 0, WALL)).toMatchObject({ kind: 'refuse', reasonCode: 0x97, reason: 'connectionsPerAddressMax' });
    expect(gate.opened('10.0.0.2', 0, WALL).kind).toBe('admit');
    gate.closed('10.0.0.1');
    expect(gate.opened('10.0.0.1', 0, WALL).kind).toBe('admit');
    for (const address of ['10.0.0.1', '10.0.0.1', '10.0.0.2']) gate.closed(address);
    expect(gate.counts).toEqual({ connections: 0, addresses: 0, users: 0 });
  });

  it('slows an address down, and refuses it when that is not enough, without harm to others', () => {
    const { gate } = gateWith({
      connectsPerAddressPerSecond: 10, connectsPerAddressBurst: 5, rateDelayMsMax: 1000,
    });
    const answers = Array.from({ length: 100 }, () => gate.opened('10.0.0.1', 0, WALL));
    expect(answers[5]).toEqual({ kind: 'admit', delayMs: 100 });
    expect(answers.filter((answer) => answer.kind === 'admit')).toHaveLength(15);
    expect(answers[99]).toMatchObject({ kind: 'refuse', reasonCode: 0x9f });
    expect(gate.opened('10.0.0.2', 0, WALL)).toEqual({ kind: 'admit', delayMs: 0 });
    expect(gate.opened('10.0.0.1', 1000, WALL).kind).toBe('admit');
  });

  it('remembers the rate of addressKeysMax addresses, the longest unused goes first', () => {
    const { gate } = gateWith({
      connectsPerAddressPerSecond: 1, connectsPerAddressBurst: 1, rateDelayMsMax: 10,
      addressKeysMax: 2,
    });
    const kinds = ['10.0.0.1', '10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.3', '10.0.0.1']
      .map((address) => gate.opened(address, 0, WALL).kind);
    expect(kinds).toEqual(['admit', 'refuse', 'admit', 'admit', 'refuse', 'admit']);
  });

  it('slows down when everybody comes at once', () => {
    const { gate } = gateWith({ connectsPerSecond: 100, connectsBurst: 10 });
    const answers = Array.from({ length: 20 }, (_, at) => gate.opened(`10.0.0.${at}`, 0, WALL));
    expect(answers[9]).toEqual({ kind: 'admit', delayMs: 0 });
    expect(answers[19]).toEqual({ kind: 'admit', delayMs: 100 });
  });

  it('counts connections of a user over all addresses, and anonymous ones not', () => {
    const { gate } = gateWith({ connectionsPerUserMax: 1 });
    const who = (clientId: string, username?: string) => ({ clientId, username, remoteAddress: '10.0.0.1' });
    expect(gate.enter(who('a', 'anna'), 0, WALL).kind).toBe('admit');
    expect(gate.enter(who('b', 'anna'), 0, WALL)).toMatchObject({ kind: 'refuse', reasonCode: 0x97 });
    expect(gate.enter(who('c', 'bruno'), 0, WALL).kind).toBe('admit');
    expect(gate.enter(who('d'), 0, WALL).kind).toBe('admit');
    expect(gate.enter(who('e'), 0, WALL).kind).toBe('admit');
    gate.left(who('a', 'anna'), 0);
    expect(gate.enter(who('b', 'anna'), 0, WALL).kind).toBe('admit');
  });

  it('keeps banned and flapping clients out with 0x8A', () => {
    const { gate, bans } = gateWith({ flappingDisconnectsMax: 1 });
    const who = { clientId: 'a', username: 'anna', remoteAddress: '10.0.0.1' };
    bans.add({ kind: 'address', value: '10.9.0.0/16' }, WALL);
    bans.add({ kind: 'username', value: 'eve', until: WALL + 5 }, WALL);
    expect(gate.opened('10.9.1.1', 0, WALL)).toMatchObject({ kind: 'refuse', reasonCode: 0x8a });
    expect(gate.enter({ ...who, username: 'eve' }, 0, WALL)).toMatchObject({ reasonCode: 0x8a });
    expect(gate.enter({ ...who, username: 'eve' }, 0, WALL + 5).kind).toBe('admit');
    gate.enter(who, 0, WALL);
    expect(gate.left(who, 0)).toBe(false);
    gate.enter(who, 0, WALL);
    expect(gate.left(who, 1)).toBe(true);
    expect(gate.enter(who, 2, WALL)).toMatchObject({ kind: 'refuse', reasonCode: 0x8a });
  });
});
