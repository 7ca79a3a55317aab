/** Sessions and subscriptions in LevelDB: as text, and as the bytes that formats up to 2 wrote. */
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { ClassicLevel } from 'classic-level';
import fc from 'fast-check';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  checkDirectory, createFileEngine, restoreSnapshot, snapshotDirectory,
} from '../../lib/engine/index.js';
import { sealValue } from '../../lib/engine/checksum.js';
import { FORMAT_VERSION, establishIdentity, readIdentity } from '../../lib/engine/identity.js';
import type { KeyRange } from '../../lib/engine/keys.js';
import {
  KEY_RELEASED, KEY_RETAINED, KEY_SESSION, KEY_SUBSCRIPTION, KEY_WILL, classRange, numberKey,
  sessionRange, storeKey,
} from '../../lib/engine/keys.js';
import { LevelStore } from '../../lib/engine/level-store.js';
import { MemoryStore } from '../../lib/engine/memory-store.js';
import { OperationLog } from '../../lib/engine/operation-log.js';
import type { Readable, StoreEntry } from '../../lib/engine/store.js';
import { scanAll } from '../../lib/engine/store.js';
import type { StoredMessage } from '../../lib/engine/index.js';
import { Recorder, enqueue, loaded, message, session } from './contract.js';
import { root, path, moveTo, start, startLoaded } from './directory.js';

const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_none, byte) => byte));
const EVERYTHING: KeyRange = { from: Buffer.alloc(0), before: Buffer.from([0xff]) };
const CLASSES = [KEY_RELEASED, KEY_RETAINED, KEY_SESSION, KEY_SUBSCRIPTION, KEY_WILL];
/** Around every length that a number has as text, and every carry. */
const IDS = [
  0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x1_0000, 2 ** 31, 2 ** 32 - 1, 2 ** 32,
  2 ** 32 + 0x80, 2 ** 47, 2 ** 53 - 0x81, 2 ** 53 - 2,
];

type Level = ClassicLevel<Buffer, Buffer>;
type Batch = ReturnType<Level['batch']>;
/** What stands in the directory, byte for byte. */
async function inLevel<Result>(work: (level: Level) => Promise<Result>): Promise<Result> {
  const level: Level = new ClassicLevel<Buffer, Buffer>(path, {
    keyEncoding: 'buffer', valueEncoding: 'buffer', createIfMissing: false,
  });
  await level.open();
  try {
    return await work(level);
  } finally {
    await level.close();
  }
}
function rawEntries(keyClasses: string): Promise<StoreEntry[]> {
  return inLevel(async (level) => (await level.iterator().all())
    .filter(([key]) => keyClasses.includes(String.fromCharCode(key[0]))));
}
const asBytes = (text: Buffer): Buffer => Buffer.from(text.toString(), 'latin1');

/** Makes of the directory what format 2 left: both classes as bytes, and its number. */
async function setBack(formatVersion = 2): Promise<void> {
  await inLevel(async (level) => {
    const identity = await level.get(storeKey('identity')) as Buffer;
    const body = Buffer.from(identity.subarray(0, -4));
    body.writeUInt32BE(formatVersion);
    const batch = level.batch().put(storeKey('identity'), sealValue(storeKey('identity'), body));
    for (const [key, value] of await level.iterator().all()) {
      if (key[0] !== 0x53 && key[0] !== 0x55) continue;
      const bytes = asBytes(key);
      bytes[0] += 0x20;
      batch.del(key).put(bytes, asBytes(value));
    }
    await batch.write({ sync: true });
  });
}
const behind = (key: Buffer): Buffer => Buffer.concat([key, Buffer.alloc(1)]);
async function found(store: Readable, range: KeyRange): Promise<string[]> {
  const lines: string[] = [];
  await scanAll(store, range, (key, value) => {
    lines.push(`${key.toString('hex')} ${value.toString('hex')}`);
  });
  return lines;
}

/** Sessions and subscriptions of every kind, and something of other classes. */
async function fillMixed(sessions: number): Promise<Recorder> {
  const engine = await startLoaded();
  const more = Array.from({ length: sessions - IDS.length + 1 }, (_none, i) => 1_000_000 + i * 97);
  const ids = [...IDS.slice(1), ...more];
  const batch = engine.createBatch();
  batch.require('disk');
  for (const id of ids) {
    batch.putSession(session(id, {
      clientIdentifier: `ÿ€-${id}`, sentThrough: id, detachedAt: 1_790_000_000_123,
      attributes: EVERY_BYTE,
    }));
    const record = { sessionId: id, options: 0xff, subscriptionIdentifier: id % 2 ** 28 };
    batch.putSubscription({ ...record, topicFilter: `ü/${id}/+` });
    if (id === 1) batch.putSubscription({ ...record, topicFilter: '\u{10ffff}/#' });
  }
  for (let i = 0; i < 20; i++) {
    batch.putRetained(message(engine.nextNumber(), { topicName: Buffer.from(`r/${i}`) }));
    const will = message(engine.nextNumber());
    batch.putWill({ sessionId: ids[i], dueAt: 0, willDelayIntervalSeconds: 0, message: will });
    batch.putInbound(ids[i], i + 1);
    enqueue(batch, message(engine.nextNumber()), ids.slice(i, i + 1 + i % 2));
  }
  await engine.commit(batch);
  await engine.close();
  return loadedAnew();
}
async function loadedAnew(): Promise<Recorder> {
  const engine = await start();
  const recorder = await loaded(engine);
  await engine.close();
  return recorder;
}
/** Messages are read out of their records when they are asked: compared by what they say. */
function plain(of: StoredMessage): unknown {
  const { number, topicName, properties, payload, qos, retain, expiresAt, publisher } = of;
  const parts = [topicName, properties, payload].map((part) => Buffer.from(part).toString('hex'));
  return { number, parts, qos, retain, expiresAt, publisher };
}
function told(recorder: Recorder): unknown {
  return {
    ...recorder,
    wills: recorder.wills.map((will) => ({ ...will, message: plain(will.message) })),
    retainedMessages: [...recorder.retainedMessages.values()].map(plain),
    messages: [...recorder.messages.values()].map(plain),
  };
}

describe('text in LevelDB', () => {
  const stores: LevelStore[] = [];
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
  });
  async function opened(options: Partial<LevelStore['options']> = {}): Promise<LevelStore> {
    const store = new LevelStore({ path, createIfMissing: 'yes', ...options });
    stores.push(store);
    await store.open();
    return store;
  }

  it('gives every byte of a key and a value back', async () => {
    const store = await opened();
    const log = new OperationLog();
    const recordsOf = (keyClass: number): StoreEntry[] => [...EVERY_BYTE].map((byte) => {
      const key = Buffer.from([keyClass, byte, ...EVERY_BYTE, byte]);
      return [key, sealValue(key, Buffer.from([...EVERY_BYTE, byte]))];
    });
    const written = [KEY_SESSION, KEY_SUBSCRIPTION].flatMap(recordsOf);
    for (const [key, value] of written) log.copyPut(key, value);
    await store.write([log], { sync: 'no' });
    const lines = written.map(([key, value]) => `${key.toString('hex')} ${value.toString('hex')}`);
    expect(await found(store, classRange(KEY_SESSION))).toEqual(lines.slice(0, 256));
    expect(await found(store, classRange(KEY_SUBSCRIPTION))).toEqual(lines.slice(256));
    expect(await store.getMany(written.slice(0, 256).map(([key]) => key)))
      .toEqual(written.slice(0, 256).map(([, value]) => value));
    expect(await found(store, EVERYTHING)).toEqual(lines);
  });

  it('is put, deleted and found in ranges as it is by a sorted map', async () => {
    const id = fc.oneof(fc.constantFrom(...IDS), fc.integer({ min: 0, max: 2 ** 53 - 2 }));
    const part = fc.uint8Array({ maxLength: 6 });
    const keyClass = fc.constantFrom(...CLASSES);
    const key = fc.tuple(keyClass, id, part)
      .map(([of, number, rest]) => Buffer.concat([numberKey(of, number), rest]));
    const change = fc.record({ key, body: fc.option(part, { nil: undefined }) });
    const range = fc.oneof(
      keyClass.map(classRange),
      fc.tuple(keyClass, id).map(([of, number]) => sessionRange(of, number)),
      // As the sweeper goes on, and as one record is read.
      key.map((of) => ({ from: behind(of), before: Buffer.from([of[0] + 1]) })),
      key.map((of) => ({ from: of, before: behind(of) })),
    );
    const level = await opened();
    const twin = new MemoryStore();
    const changed = fc.array(change, { maxLength: 40 });
    const scanned = fc.array(range, { maxLength: 12 });
    await fc.assert(fc.asyncProperty(changed, scanned, async (changes, ranges) => {
      const log = new OperationLog();
      for (const { key: of, body } of changes) {
        if (body !== undefined) log.copyPut(of, sealValue(of, Buffer.from(body)));
        else {
          log.beginKey(of[0]);
          log.raw(of.subarray(1));
          log.endDelete();
        }
      }
      await level.write([log], { sync: 'no' });
      await twin.write([log]);
      for (const keys of [...ranges, ...CLASSES.map(classRange)]) {
        expect(await found(level, keys)).toEqual(await found(twin, keys));
      }
      const everything = (await found(twin, EVERYTHING)).sort();
      expect((await found(level, EVERYTHING)).sort()).toEqual(everything);
      const texts = changes.map((one) => one.key).filter((one) => one[0] === KEY_SESSION);
      expect(await level.getMany(texts)).toEqual(await twin.getMany(texts));
    }), { numRuns: 60 });
  });

  it('is looked at as it was when a view was made', async () => {
    const store = await opened();
    const put = async (number: number): Promise<void> => {
      const log = new OperationLog();
      const key = numberKey(KEY_SESSION, number);
      log.copyPut(key, sealValue(key, EVERY_BYTE));
      await store.write([log], { sync: 'no' });
    };
    await put(0x80);
    const view = store.freeze();
    await put(0x81);
    expect(await found(view, classRange(KEY_SESSION))).toHaveLength(1);
    expect(await found(view, EVERYTHING)).toHaveLength(1);
    expect(await found(store, classRange(KEY_SESSION))).toHaveLength(2);
    await view.close();
  });

  it.each([
    // C2 90 and C3 BD: one bit away from them, and cut to a byte, both would be what they were.
    ['a character of a key', 0x90, (key: Buffer) => (key[key.length - 2] ^= 0x04)],
    ['what then is no UTF-8 in a key', 0xfd, (key: Buffer) => (key[key.length - 2] ^= 0x20)],
    ['a byte of a key', 0x41, (key: Buffer) => (key[key.length - 1] ^= 0x01)],
    ['a character of a value', 0x41, (_: Buffer, of: Buffer) => (of[of.indexOf(0xc3)] ^= 4)],
    ['a byte of a value', 0x41, (_: Buffer, value: Buffer) => (value[2] ^= 0x01)],
    ['what then is no UTF-8 in a value', 0x41, (_: Buffer, value: Buffer) => (value[2] ^= 0x80)],
  ])('is told as damaged when a bit was flipped in %s', async (_what, id, flip) => {
    const engine = await startLoaded();
    const batch = engine.createBatch();
    for (const sessionId of [id, id + 1]) {
      batch.putSession(session(sessionId, { attributes: EVERY_BYTE }));
      batch.putSubscription({ sessionId, topicFilter: 'a', options: 1, subscriptionIdentifier: 0 });
    }
    await engine.commit(batch);
    await engine.close();
    await inLevel(async (level) => {
      const texts = level.iterator({ gte: Buffer.from('S'), lt: Buffer.from('T') });
      const [[key, value]] = await texts.all();
      const damaged = [Buffer.from(key), Buffer.from(value)] as const;
      flip(...damaged);
      await level.batch().del(key).put(...damaged).write({ sync: true });
    });
    const { losses } = await checkDirectory(path);
    expect(losses).toMatchObject([{ kind: 'record', promised: true }]);
    const corrupt = {
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringMatching(/session .* is damaged/),
    };
    await expect(snapshotDirectory(path, join(root, 'copy'))).rejects.toMatchObject(corrupt);
    await expect(startLoaded()).rejects.toMatchObject(corrupt);
  });

  it('is swept of a session that ended, and of no other', async () => {
    const engine = await startLoaded();
    const ids = [0x7f, 0x80, 0x81, 2 ** 32 - 1, 2 ** 32];
    const swept = [0x80, 2 ** 32 - 1];
    const batch = engine.createBatch();
    for (const id of ids) {
      batch.putSession(session(id));
      const record = { sessionId: id, options: 1, subscriptionIdentifier: 0 };
      // Of those that end more than one slice of the sweeper holds.
      for (let i = 0; i < (swept.includes(id) ? 1_200 : 2); i++) {
        batch.putSubscription({ ...record, topicFilter: `ÿ/${i}` });
      }
    }
    for (const id of swept) batch.deleteSession(id);
    await engine.commit(batch);
    for (let remains; (remains = await engine.readRemains()) !== undefined;) {
      const sweep = engine.createBatch();
      remains.writeTo(sweep);
      await engine.commit(sweep);
    }
    await engine.close();
    const { records } = await checkDirectory(path);
    expect(records).toMatchObject({ 'session': 3, 'subscription': 6, 'ended session': 0 });
    const recorder = await loadedAnew();
    expect(recorder.subscriptions.map(({ sessionId }) => sessionId))
      .toEqual([0x7f, 0x7f, 0x81, 0x81, 2 ** 32, 2 ** 32]);
  });

  it('is one moment in a snapshot that is made while it changes', async () => {
    const engine = await startLoaded();
    const move = async (to: number): Promise<void> => {
      const batch = engine.createBatch();
      batch.putSession(session(to));
      const record = { sessionId: to, topicFilter: 'ü', options: 1, subscriptionIdentifier: to };
      batch.putSubscription(record);
      if (to > 1) batch.deleteSubscription(to - 1, 'ü');
      await engine.commit(batch);
    };
    let last = 0;
    while (last < 1_100) await move(++last);
    const copy = join(root, 'copy');
    const taken = engine.snapshot(copy);
    for (let i = 0; i < 300; i++) await move(++last);
    await taken;
    moveTo(join(root, 'restored'));
    await restoreSnapshot(copy, path);
    const { sessions, subscriptions } = await loadedAnew();
    expect(sessions.size).toBeLessThan(last);
    expect([...sessions.keys()]).toEqual(Array.from(sessions.keys(), (_id, i) => i + 1));
    expect(subscriptions.map(({ sessionId }) => sessionId)).toEqual([sessions.size]);
  });
});

describe('a store of format 2', () => {
  it('is brought up to date with everything in it', async () => {
    const before = told(await fillMixed(1_500));
    await setBack();
    expect(await rawEntries('SU')).toEqual([]);
    const bytes = await rawEntries('su');
    expect(bytes).toHaveLength(3_001);
    expect(told(await loadedAnew())).toEqual(before);
    expect(await rawEntries('su')).toEqual([]);
    const texts = (await rawEntries('SU')).map(([key, value]) => {
      const back = asBytes(key);
      back[0] += 0x20;
      return [back, asBytes(value)];
    });
    expect(texts).toEqual(bytes);
    expect((await checkDirectory(path)).losses).toEqual([]);
  });

  it('tells how many records have been converted', async () => {
    await fillMixed(1_500);
    await setBack();
    const told: number[] = [];
    const engine = createFileEngine({ path });
    await engine.open((records) => told.push(records));
    await engine.close();
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told.length).toBeGreaterThan(2);
    expect(told.at(-1)).toBe(3_001);
    await engine.open((records) => told.push(-records)); // nothing is left to do
    await engine.close();
    expect(told.at(-1)).toBe(3_001);
  });

  it.each([1, 2])('is checked as it is, and not changed by that (format %d)', async (format) => {
    await fillMixed(100);
    const now = await checkDirectory(path);
    await setBack(format);
    const before = await rawEntries('su');
    expect(await checkDirectory(path)).toEqual({ ...now, formatVersion: format });
    expect(await checkDirectory(path)).toEqual({ ...now, formatVersion: format });
    expect(await rawEntries('su')).toEqual(before);
    expect(await rawEntries('SU')).toEqual([]);
    await loadedAnew();
    expect(await checkDirectory(path)).toEqual(now);
  });

  it('has its damage told before it is converted, and afterwards', async () => {
    await fillMixed(100);
    await setBack();
    await inLevel(async (level) => {
      const value = await level.get(numberKey(KEY_SESSION, 0x80)) as Buffer;
      value[3] ^= 0x10;
      await level.put(numberKey(KEY_SESSION, 0x80), value);
    });
    const damaged = [{ kind: 'record', promised: true, detail: 'session 128 is damaged' }];
    expect((await checkDirectory(path)).losses).toEqual(damaged);
    const engine = await start();
    await expect(engine.load(new Recorder())).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringContaining(damaged[0].detail),
    });
    await engine.close();
    expect((await checkDirectory(path)).losses).toEqual(damaged);
  });

  /** Fails at the nth write, as on a disk that is full. */
  async function startFailingAt(nth: number): Promise<void> {
    const store = new LevelStore({ path, createIfMissing: 'no' });
    await store.open();
    const begin = ClassicLevel.prototype.batch as () => Batch;
    let writes = 0;
    const fake = (function batch(this: Level): Batch {
      const made = begin.call(this);
      if (++writes < nth) return made;
      made.write = async () => {
        await made.close();
        throw new Error('no space left on device');
      };
      return made;
    }) as typeof ClassicLevel.prototype.batch;
    const spy = jest.spyOn(ClassicLevel.prototype, 'batch').mockImplementation(fake);
    try {
      await establishIdentity(store);
    } finally {
      spy.mockRestore();
      await store.close();
    }
  }

  it('is refused while the disk is full, is whole then, and goes on from there', async () => {
    const before = told(await fillMixed(1_500));
    const now = await checkDirectory(path);
    await setBack();
    const left: number[] = [];
    // Before anything is written; and then each start gets one write further than the one before.
    for (let nth = 1; ; nth = 2) {
      const refused = await startFailingAt(nth).then(() => undefined, (error: unknown) => error);
      if (refused === undefined) break;
      expect(refused).toMatchObject({
        code: 'NIDO_ENGINE_IO', message: expect.stringContaining('no space left on device'),
      });
      const report = await checkDirectory(path);
      expect({ ...report, formatVersion: now.formatVersion }).toEqual(now);
      left.push((await rawEntries('su')).length);
    }
    expect(left.slice(0, 2)).toEqual([3_001, 3_001]);
    expect(left.length).toBeGreaterThan(5);
    expect(left.at(-1)).toBe(0); // all but the number was written
    expect(told(await loadedAnew())).toEqual(before);
  });

  it('is no longer for what reads up to 2 as soon as anything is converted', async () => {
    await fillMixed(1_500);
    await setBack();
    await expect(startFailingAt(3)).rejects.toMatchObject({ code: 'NIDO_ENGINE_IO' });
    expect(await rawEntries('SU')).not.toEqual([]);
    const store = new LevelStore({ path, createIfMissing: 'no' });
    await store.open();
    // It would take converted sessions for ended ones, and sweep their subscriptions and queues.
    expect((await readIdentity(store))!.formatVersion).toBeGreaterThan(2);
    await store.close();
  });

  it('has a snapshot of that time restored and brought up to date', async () => {
    const before = told(await fillMixed(200));
    const copy = join(root, 'copy');
    await snapshotDirectory(path, copy);
    moveTo(join(copy, 'store'));
    await setBack();
    // As format 2 wrote it: over everything in the order of the bytes.
    const entries = await rawEntries('bdimpqrsuwx');
    let digest = 0;
    entries.forEach(([, value], i) => {
      const checksum = value.readUInt32LE(value.length - 4);
      digest = (Math.imul(digest ^ checksum, 0x0100_0193) + i + 1) >>> 0;
    });
    const manifest = join(copy, 'nidomq-snapshot.json');
    const written = JSON.parse(await readFile(manifest, 'utf8')) as { records: number };
    expect(written.records).toBe(entries.length);
    await writeFile(manifest, JSON.stringify({ ...written, formatVersion: 2, digest }));
    moveTo(join(root, 'restored'));
    await restoreSnapshot(copy, path);
    expect((await checkDirectory(path)).formatVersion).toBe(2);
    expect(told(await loadedAnew())).toEqual(before);
    expect((await checkDirectory(path)).formatVersion).toBe(FORMAT_VERSION);
  });
});
