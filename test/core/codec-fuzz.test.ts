import { beforeAll, describe, expect, it } from '@jest/globals';
import { PacketMaker } from '../support/random-packets.js';
import type { Sender } from '../support/twin-parser.js';
import { readFrame, readPacket } from '../support/twin-parser.js';
import { CodecHost, compileCodec } from './codec-host.js';

// `node scripts/fuzz-codec.mjs [cases] [seed]` runs many more.
const CASES = Number(process.env.NIDOMQ_FUZZ_CASES ?? 30_000);
const SEED = Number(process.env.NIDOMQ_FUZZ_SEED ?? Date.now() % 4_294_967_296);
const DISAGREEMENTS_SHOWN = 3;
const SPLIT_BYTES_MAX = 8;
/** One packet of so many is compared at every length: that takes as many parses as it has bytes. */
const PREFIX_SHARE = 20;

let host: CodecHost;
beforeAll(() => {
  host = new CodecHost(compileCodec());
}, 120_000);

interface Tally {
  readonly verdicts: Map<string, number>;
  readonly disagreements: string[];
}

function compare(tally: Tally, maker: PacketMaker): void {
  const { bytes, version } = maker.next();
  for (let arrived = 0; arrived <= Math.min(bytes.length, SPLIT_BYTES_MAX); arrived++) {
    const part = bytes.subarray(0, arrived);
    note(tally, bytes, `frame of ${arrived}`, readFrame(part, version), host.frame(part, version));
  }
  const frame = readFrame(bytes, version);
  if (typeof frame === 'string' || bytes.length < frame.bodyAt + frame.remaining) {
    count(tally, typeof frame === 'string' ? frame : 'short');
    return;
  }
  const body = bytes.subarray(frame.bodyAt, frame.bodyAt + frame.remaining);
  compareBodies(tally, frame.header, body, version);
}

function compareBodies(tally: Tally, header: number, body: Uint8Array, version: number): void {
  for (const sender of ['client', 'server'] as Sender[]) {
    const twin = readPacket(header, body, version, sender);
    const core = host.packet(header, body, version, sender);
    const what = `version ${version} from ${sender}, header ${header.toString(16)}`;
    note(tally, body, what, twin, core);
    count(tally, `${header >> 4}:${twin.reason.toString(16)}`);
  }
}

function count(tally: Tally, key: string): void {
  tally.verdicts.set(key, (tally.verdicts.get(key) ?? 0) + 1);
}

function note(tally: Tally, bytes: Uint8Array, what: string, twin: unknown, core: unknown): void {
  const [expected, found] = [JSON.stringify(twin), JSON.stringify(core)];
  if (expected === found) return;
  tally.disagreements.push(
    `${what}: ${Buffer.from(bytes).toString('hex')}\n twin ${expected}\n core ${found}`,
  );
}

function unseen(tally: Tally): string[] {
  const keys = [...tally.verdicts.keys()];
  return ['81', '82', '84', '85', '8f', '90', '94']
    .filter((reason) => !keys.some((key) => key.endsWith(`:${reason}`)));
}

describe('core codec and plain twin parser', () => {
  it(`agree on every prefix of ${CASES / PREFIX_SHARE} packets (seed ${SEED})`, () => {
    const maker = new PacketMaker(SEED);
    const tally: Tally = { verdicts: new Map(), disagreements: [] };
    for (let i = 0; i < CASES / PREFIX_SHARE; i++) {
      const { bytes, version } = maker.next();
      const frame = readFrame(bytes, version);
      if (typeof frame === 'string') continue;
      for (let end = frame.bodyAt; end < bytes.length; end++) {
        compareBodies(tally, frame.header, bytes.subarray(frame.bodyAt, end), version);
      }
    }
    const shown = tally.disagreements.slice(0, DISAGREEMENTS_SHOWN);
    expect(`seed ${SEED}: ${shown.join('\n')}`).toBe(`seed ${SEED}: `);
  }, 600_000);

  it('agree on every property length around one Subscription Identifier', () => {
    const tally: Tally = { verdicts: new Map(), disagreements: [] };
    const values = [[0], [1], [0x7f], [0x80, 0], [0x80, 1], [0xff, 0x7f], [0xff, 0xff, 0x7f],
      [0xff, 0xff, 0xff, 0x7f], [0x80, 0x80, 0x80, 0], [0x80, 0x80, 0x80, 1],
      [0xff, 0xff, 0xff, 0xff, 1]];
    const behind = [[], [11, 5], [1, 1], [2, 0, 0, 0, 9], [38, 0, 1, 0x61, 0, 1, 0x62]];
    for (const id of [1, 2, 11, 35, 38]) {
      for (const value of values) {
        for (const more of behind) {
          const rest = [id, ...value, ...more];
          for (let length = 0; length <= rest.length + 1; length++) {
            for (const payload of [[], [0x78, 0x79]]) {
              const body = Uint8Array.from([0, 1, 0x74, length, ...rest, ...payload]);
              compareBodies(tally, 0x30, body, 5);
            }
          }
        }
      }
    }
    const shown = tally.disagreements.slice(0, DISAGREEMENTS_SHOWN);
    expect(shown.join('\n')).toBe('');
    expect(tally.verdicts.get('3:0')).toBeGreaterThan(100);
    expect(tally.verdicts.get('3:81')).toBeGreaterThan(100);
  });

  it(`agree on ${CASES} packets (seed ${SEED})`, () => {
    const maker = new PacketMaker(SEED);
    const tally: Tally = { verdicts: new Map(), disagreements: [] };
    for (let i = 0; i < CASES; i++) compare(tally, maker);
    // A fuzz that never gets through, or never fails, proves nothing.
    for (let type = 1; type <= 15; type++) {
      expect(tally.verdicts.get(`${type}:0`) ?? 0).toBeGreaterThan(CASES / 300);
    }
    // Some verdicts are rare: those that this seed has not met get more packets.
    for (let i = 0; i < CASES * 9 && unseen(tally).length > 0; i++) compare(tally, maker);
    expect(unseen(tally)).toEqual([]);
    const shown = tally.disagreements.slice(0, DISAGREEMENTS_SHOWN);
    expect(`seed ${SEED}: ${shown.join('\n')}`).toBe(`seed ${SEED}: `);
  }, 600_000);
});
