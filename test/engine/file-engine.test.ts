import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import type { Engine, FileEngineOptions } from '../../lib/engine/index.js';
import {
  GroupCommit, checkDirectory, createFileEngine, restoreSnapshot,
} from '../../lib/engine/index.js';
import { classRange, numberKey, storeKey, KEY_BATCH, KEY_RETAINED } from '../../lib/engine/keys.js';
import {
  FORMAT_VERSION, MIGRATIONS, establishIdentity, readIdentity,
} from '../../lib/engine/identity.js';
import { LevelStore } from '../../lib/engine/level-store.js';
import { chunksOf } from '../../lib/engine/store.js';
import { damageOfTables } from '../../lib/engine/table-check.js';
import { OperationLog } from '../../lib/engine/operation-log.js';
import { sealValue } from '../../lib/engine/checksum.js';
import { Recorder, enqueue, loaded, message, session } from './contract.js';

let root: string;
let path: string;
const opened: Engine[] = [];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'nidomq-file-'));
  path = join(root, 'data');
});
afterEach(async () => {
  for (const engine of opened.splice(0)) await engine.close();
  await rm(root, { recursive: true, force: true });
});

async function start(options: Partial<FileEngineOptions> = {}): Promise<Engine> {
  const engine = createFileEngine({ path, ...options });
  opened.push(engine);
  await engine.open();
  return engine;
}
async function startLoaded(options: Partial<FileEngineOptions> = {}): Promise<Engine> {
  const engine = await start(options);
  await loaded(engine);
  return engine;
}
/** Some batches of one session each with a queue of ten. */
async function fill(engine: Engine, batches: number, durability: 'disk' | 'os' = 'disk'): Promise<void> {
  for (let i = 0; i < batches; i++) {
    const batch = engine.createBatch();
    batch.require(durability);
    const sessionId = engine.nextNumber();
    batch.putSession(session(sessionId));
    for (let j = 0; j < 10; j++) enqueue(batch, message(engine.nextNumber()), [sessionId]);
    await engine.commit(batch);
  }
}
/** What is said of the tables when one of them looks like this. */
async function damageAfter(file: string, content: Buffer): Promise<readonly string[]> {
  await writeFile(file, content);
  return damageOfTables(path, await readdir(path), Infinity);
}
async function until(condition: () => Promise<boolean>): Promise<void> {
  const limit = Date.now() + 15_000;
  while (!await condition()) {
    if (Date.now() > limit) throw new Error('the condition did not come about in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
/** Changes the closed store behind the engine's back. */
async function tamper(change: (log: OperationLog) => void): Promise<void> {
  const store = new LevelStore({ path, createIfMissing: 'no' });
  await store.open();
  const log = new OperationLog();
  change(log);
  await store.write([log], { sync: 'yes' });
  await store.close();
}
async function flipByte(file: string, at: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[at] ^= 0x40;
  await writeFile(file, bytes);
}
async function filesEnding(ending: string): Promise<string[]> {
  return (await readdir(path)).filter((name) => name.endsWith(ending)).map((name) => join(path, name));
}

describe('file engine: whose directory it is', () => {
  it('refuses a directory that is in use, by this process or another', async () => {
    await start();
    await expect(start()).rejects.toMatchObject({ code: 'NIDO_ENGINE_LOCKED' });
    const level = createRequire(join(process.cwd(), 'package.json')).resolve('classic-level');
    const script = `new (require(${JSON.stringify(level)}).ClassicLevel)(${JSON.stringify(path)}).open()`
      + '.catch((error) => console.log(error.cause.code))';
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', script]);
    expect(stdout.trim()).toBe('LEVEL_LOCKED');
  });

  it('refuses what somebody else keeps there, and leaves it alone', async () => {
    path = root;
    await writeFile(join(root, 'diary.txt'), 'mine');
    await expect(start()).rejects.toMatchObject({ code: 'NIDO_ENGINE_FOREIGN' });
    expect(await readdir(root)).toEqual(['diary.txt']);
  });

  it('refuses a LevelDB store of another program', async () => {
    const store = new LevelStore({ path, createIfMissing: 'yes' });
    await store.open();
    const log = new OperationLog();
    log.copyPut(Buffer.from('k'), Buffer.from('value'));
    await store.write([log], { sync: 'yes' });
    await store.close();
    await expect(start()).rejects.toMatchObject({ code: 'NIDO_ENGINE_FOREIGN' });
  });

  it('refuses a store that a newer version wrote', async () => {
    await (await start()).close();
    const body = Buffer.alloc(20);
    body.writeUInt32BE(99, 0);
    await tamper((log) => log.copyPut(storeKey('identity'), sealValue(storeKey('identity'), body)));
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_FORMAT_NEWER', message: expect.stringContaining('99'),
    });
    await expect(checkDirectory(path)).rejects.toMatchObject({ code: 'NIDO_ENGINE_FORMAT_NEWER' });
  });

  it('reads a bounded number of bytes at a time, however large the messages are', async () => {
    const engine = await startLoaded();
    const batch = engine.createBatch();
    const topics = Array.from({ length: 24 }, (_none, i) => `large/${i}`);
    for (const topic of topics) {
      const fields = { topicName: Buffer.from(topic), payload: Buffer.alloc(256 * 1024) };
      batch.putRetained(message(engine.nextNumber(), fields));
    }
    await engine.commit(batch);
    await engine.close();
    const store = new LevelStore({ path, createIfMissing: 'no' });
    await store.open();
    const cursor = store.scan(classRange(KEY_RETAINED));
    const first = await cursor.next(1_000);
    await cursor.close();
    await store.close();
    expect(first.reduce((bytes, [, value]) => bytes + value.length, 0)).toBeLessThan(2 * 1024 * 1024);
    const recorder = await loaded(await start());
    expect([...recorder.retainedMessages.keys()].sort()).toEqual(topics.sort());
  });
  it('brings a store of an older format up to date, again after a crash in between', async () => {
    const engine = await startLoaded();
    await fill(engine, 2);
    await engine.close();
    const { nodeId } = await checkDirectory(path);
    const body = Buffer.concat([Buffer.alloc(4), Buffer.from(nodeId, 'hex')]); // format 0
    await tamper((log) => log.copyPut(storeKey('identity'), sealValue(storeKey('identity'), body)));
    const store = new LevelStore({ path, createIfMissing: 'no' });
    await store.open();
    let runs = 0;
    const migrate = async (): Promise<void> => {
      const log = new OperationLog();
      log.copyPut(storeKey('new'), sealValue(storeKey('new'), Buffer.from('value')));
      await store.write([log], { sync: 'yes' });
      if (runs++ === 0) throw new Error('the process died here');
    };
    const migrations = new Map([...MIGRATIONS, [0, migrate]]);
    await expect(establishIdentity(store, migrations)).rejects.toThrow('died here');
    expect(await establishIdentity(store, migrations)).toMatchObject({ formatVersion: FORMAT_VERSION });
    expect(runs).toBe(2);
    expect(await establishIdentity(store, migrations)).toMatchObject({ formatVersion: FORMAT_VERSION });
    expect(runs).toBe(2); // and never again
    await expect(readIdentity(store)).resolves.toMatchObject({ formatVersion: FORMAT_VERSION });
    await store.close();
    expect((await loaded(await start())).sessions.size).toBe(2);
  });

  it('refuses an older format from which nothing leads here', async () => {
    await (await start()).close();
    const body = Buffer.alloc(20);
    await tamper((log) => log.copyPut(storeKey('identity'), sealValue(storeKey('identity'), body)));
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_FOREIGN', message: expect.stringContaining('format 0'),
    });
  });

  it('says which option is wrong', () => {
    expect(() => createFileEngine({ path: '' })).toThrow('engine.file.path');
    expect(() => createFileEngine({ path, durability: 'maybe' as 'os' })).toThrow('engine.file.durability');
  });
});

describe('file engine: damage', () => {
  it('does not start with a damaged record unless it is told to go on without it', async () => {
    const engine = await startLoaded();
    const batch = engine.createBatch();
    for (const name of ['a', 'b', 'c']) batch.putRetained(message(1, { topicName: Buffer.from(name) }));
    await engine.commit(batch);
    await engine.close();
    const key = Buffer.concat([Buffer.from([KEY_RETAINED]), Buffer.from('b')]);
    await tamper((log) => log.copyPut(key, Buffer.from('not what was written')));

    const refusing = await start();
    await expect(refusing.load(new Recorder())).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringContaining("retained message 'b'"),
    });
    await refusing.close();
    expect((await checkDirectory(path)).losses).toEqual([
      { kind: 'record', promised: true, detail: "retained message 'b' is damaged" },
    ]);
    const recorder = new Recorder();
    const report = await (await start({ onLoss: 'report' })).load(recorder);
    expect([...recorder.retainedMessages.keys()]).toEqual(['a', 'c']);
    expect(report.losses).toHaveLength(1);
  });

  it('notices a flipped bit in a table', async () => {
    const engine = await startLoaded();
    await fill(engine, 50);
    await engine.close();
    await (await start()).close(); // moves the log into a table
    const [table] = await filesEnding('.ldb');
    await flipByte(table, 3_000);
    const outcome = start().then((again) => again.load(new Recorder()));
    await expect(outcome).rejects.toMatchObject({ code: 'NIDO_ENGINE_CORRUPT' });
  });

  it('notices a flipped bit anywhere in a table, not in values alone', async () => {
    const engine = await startLoaded();
    await fill(engine, 60);
    await engine.close();
    await (await startLoaded()).close(); // what stood in the log stands in a table now
    const tables = (await readdir(path)).filter((name) => /\.(ldb|sst)$/.test(name));
    expect(tables.length).toBeGreaterThan(0);
    const file = join(path, tables[0]);
    const whole = await readFile(file);
    expect((await checkDirectory(path)).losses).toEqual([]);
    // The blocks; behind them LevelDB itself notices, or it is padding.
    for (let step = 0; step < 40; step++) {
      const at = Math.floor((whole.length - 100) / 40 * step) + step % 7;
      const damaged = Buffer.from(whole);
      damaged[at] ^= 1 << step % 8;
      expect(await damageAfter(file, damaged)).not.toEqual([]);
    }
    await writeFile(file, whole);
    expect((await loaded(await start())).sessions.size).toBe(60);
  });

  it.each([['cut', 0.5], ['emptied', 0]])('says which table was %s', async (_, share) => {
    const engine = await startLoaded();
    await fill(engine, 60);
    await engine.close();
    await (await startLoaded()).close(); // what stood in the log stands in a table now
    const [table] = await filesEnding('.ldb');
    const length = Math.floor((await stat(table)).size * share);
    await truncate(table, length);
    const named = `table ${basename(table)} has no end: ${length} bytes are left of it`;
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringContaining(named),
    });
    const { losses } = await checkDirectory(path);
    expect(losses.map(({ detail }) => detail)).toContain(named);
  });

  it('notices a batch that is missing in the middle of the log', async () => {
    const engine = await startLoaded();
    await fill(engine, 200);
    const copy = join(root, 'copy');
    await cp(path, copy, { recursive: true }); // as after kill -9
    path = copy;
    const [log] = await filesEnding('.log');
    await flipByte(log, 70_000);
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringMatching(/batch(es)? \d+ .*missing/),
    });
    const reporting = await start({ onLoss: 'report' });
    const report = await reporting.load(new Recorder());
    expect(report.losses.length).toBeGreaterThan(0);
    await reporting.close();
    expect((await checkDirectory(path)).losses).toEqual([]); // told once, not for ever
  });

  it('reports but does not refuse the loss of a batch that was never promised to the disk', async () => {
    const engine = await startLoaded({ durability: 'os' });
    await fill(engine, 10, 'os');
    await engine.close();
    await tamper((log) => {
      log.beginKey(KEY_BATCH);
      log.raw(numberKey(KEY_BATCH, 5).subarray(1));
      log.endDelete();
    });
    const report = await (await start()).load(new Recorder());
    expect(report.losses).toMatchObject([{ kind: 'batch', promised: false }]);
  });

  it('does not take a half batch for a whole one', async () => {
    const engine = await startLoaded();
    await fill(engine, 3);
    await engine.close();
    const body = Buffer.alloc(8);
    body.writeUInt32BE(4, 4);
    await tamper((log) => log.copyPut(storeKey('open'), sealValue(storeKey('open'), body)));
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringContaining('batch 4 was begun'),
    });
  });

  it('does not start empty where a store was', async () => {
    const engine = await startLoaded();
    await fill(engine, 3);
    await engine.close();
    await rm(join(path, 'CURRENT'));
    await expect(start()).rejects.toMatchObject({ code: 'NIDO_ENGINE_CORRUPT' });
    for (const name of await readdir(path)) {
      if (name !== 'nidomq-store.json') await rm(join(path, name));
    }
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringContaining('another one stands in its place'),
    });
  });

  it.each([
    ['CURRENT names a MANIFEST that is empty', { 'CURRENT': 'MANIFEST-000001\n', 'MANIFEST-000001': '' }],
    ['CURRENT is empty', { 'CURRENT': '', 'MANIFEST-000001': '', '000003.log': '' }],
    ['CURRENT is not there yet', { 'MANIFEST-000001': '', '000003.log': '' }],
  ])('begins anew where the power went while the store was made: %s', async (_what, files) => {
    await mkdir(path);
    for (const [name, content] of Object.entries(files)) await writeFile(join(path, name), content);
    const engine = await startLoaded();
    await fill(engine, 3);
    await engine.close();
    expect((await loaded(await start())).sessions.size).toBe(3);
  });

  it.each([
    ['000003.log', 'anything'], ['000005.ldb', 'anything'], ['nidomq-store.json', '{}'],
  ])('and nowhere else: not beside %s', async (name, content) => {
    await mkdir(path);
    await writeFile(join(path, 'CURRENT'), 'MANIFEST-000001\n');
    await writeFile(join(path, 'MANIFEST-000001'), '');
    await writeFile(join(path, name), content);
    await expect(start()).rejects.toMatchObject({ code: 'NIDO_ENGINE_CORRUPT' });
    expect((await readdir(path)).filter((file) => file !== 'LOCK' && !file.startsWith('LOG')).sort())
      .toEqual([name, 'CURRENT', 'MANIFEST-000001'].sort());
  });

  it.each(['cut short', 'deleted'])('notices a log that was %s after the process was killed', async (how) => {
    const engine = await startLoaded();
    await fill(engine, 20);
    // The witness follows a moment later; until then nothing says how long the log was.
    await until(async () => (await readFile(join(path, 'nidomq-store.json'), 'utf8')).includes('"lastBatch":20'));
    const killed = join(root, 'killed');
    await cp(path, killed, { recursive: true });
    const log = (await readdir(killed)).find((name) => name.endsWith('.log')) as string;
    if (how === 'deleted') await rm(join(killed, log));
    else await truncate(join(killed, log), 9_000);
    path = killed;
    const said = /batch 20 was seen before|another one stands in its place/; // all of it was there
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringMatching(said),
    });
    const { losses } = await checkDirectory(path);
    expect(losses).toEqual([expect.objectContaining({
      kind: 'batch', promised: true, detail: expect.stringMatching(said),
    })]);
    const reporting = await startLoaded({ onLoss: 'report' });
    await reporting.close();
    await startLoaded(); // reported once
  });

  it('takes no damaged witness for one', async () => {
    const engine = await startLoaded();
    await fill(engine, 3);
    await engine.close();
    const file = join(path, 'nidomq-store.json');
    const said = await readFile(file, 'utf8');
    expect(said).toContain('"lastBatch":3');
    await writeFile(file, said.replace('"lastBatch":3', '"lastBatch":7'));
    expect((await checkDirectory(path)).losses).toEqual([]);
    expect((await loaded(await start())).sessions.size).toBe(3);
  });

  it('is thrown when its turn comes, not beside whoever reads', async () => {
    const unheard: unknown[] = [];
    const note = (reason: unknown): void => void unheard.push(reason);
    process.on('unhandledRejection', note);
    const entry = [Buffer.from('a'), Buffer.from('b')] as const;
    const answers = [() => Promise.resolve([entry]), () => Promise.reject(new Error('damaged'))];
    const cursor = { next: () => answers.shift()!(), close: () => Promise.resolve() };
    const read = async (): Promise<void> => {
      for await (const entries of chunksOf(cursor)) {
        expect(entries).toEqual([entry]);
        await new Promise((resolve) => setTimeout(resolve, 20)); // the next chunk comes meanwhile
      }
    };
    await expect(read()).rejects.toThrow('damaged');
    process.off('unhandledRejection', note);
    expect(unheard).toEqual([]);
  });

  it('notices a store that was set back to an earlier state', async () => {
    const engine = await startLoaded();
    await fill(engine, 3);
    await engine.close();
    const old = join(root, 'old');
    await cp(path, old, { recursive: true });
    const later = await startLoaded();
    await fill(later, 3);
    await later.close();
    const witness = await readFile(join(path, 'nidomq-store.json'));
    path = old;
    await writeFile(join(path, 'nidomq-store.json'), witness);
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringContaining('batch 6 was seen before'),
    });
  });
});

describe('file engine: snapshots', () => {
  it('copies one moment of a store that goes on being written', async () => {
    const engine = await startLoaded();
    await fill(engine, 40);
    const group = new GroupCommit(engine, { committed() {}, state() {}, fault() {} });
    const copy = join(root, 'snapshot');
    const taken = engine.snapshot(copy);
    for (let i = 0; i < 200; i++) {
      group.unit().putRetained(message(engine.nextNumber(), { topicName: Buffer.from(`r/${i}`) }));
      if (i % 10 === 0) await group.settled();
    }
    const report = await taken;
    await group.settled();
    path = join(root, 'restored');
    await restoreSnapshot(copy, path);
    const found = await loaded(await start());
    expect(found.sessions.size).toBe(40);
    expect(found.entries).toHaveLength(400);
    const retained = [...found.retainedMessages.keys()].map((name) => Number(name.slice(2)));
    expect(retained.sort((a, b) => a - b)).toEqual(retained.map((_, i) => i)); // a prefix, nothing in between
    expect(report.records).toBeGreaterThanOrEqual(480);
  });

  it('restores only into an empty directory, and only a complete and undamaged snapshot', async () => {
    const engine = await startLoaded();
    await fill(engine, 40);
    const copy = join(root, 'snapshot');
    await engine.snapshot(copy);
    await expect(engine.snapshot(copy)).rejects.toMatchObject({ code: 'NIDO_ENGINE_TARGET_NOT_EMPTY' });
    await expect(restoreSnapshot(copy, path)).rejects.toMatchObject({ code: 'NIDO_ENGINE_TARGET_NOT_EMPTY' });
    await expect(restoreSnapshot(path, join(root, 'x'))).rejects.toMatchObject({ code: 'NIDO_ENGINE_FOREIGN' });
    const manifest = join(copy, 'nidomq-snapshot.json');
    const written = JSON.parse(await readFile(manifest, 'utf8')) as object;
    await writeFile(manifest, JSON.stringify({ ...written, digest: 1 }));
    const target = join(root, 'restored');
    await expect(restoreSnapshot(copy, target)).rejects.toMatchObject({ code: 'NIDO_ENGINE_CORRUPT' });
    expect((await readdir(root)).sort()).toEqual(['data', 'snapshot']);
  });

  it('restores to a name that ends with a separator', async () => {
    const engine = await startLoaded();
    await fill(engine, 4);
    const copy = join(root, 'snapshot');
    await engine.snapshot(copy);
    path = join(root, 'restored');
    await mkdir(path);
    await restoreSnapshot(copy, `${path}/`);
    expect((await loaded(await start())).sessions.size).toBe(4);
    expect((await readdir(root)).sort()).toEqual(['data', 'restored', 'snapshot']);
  });

  it('is not written into the directory of the store, which could not be opened again', async () => {
    const engine = await startLoaded();
    for (const inside of [join(path, 'copy'), join(path, 'a', 'b'), path]) {
      await expect(engine.snapshot(inside)).rejects.toMatchObject({
        code: 'NIDO_ENGINE_TARGET_NOT_EMPTY', message: expect.stringContaining(path),
      });
    }
    await engine.close();
    await startLoaded();
  });
});

describe('file engine: a directory that goes away', () => {
  it.each([
    ['removed', () => rm(path, { recursive: true })],
    ['renamed', () => rename(path, `${path}-away`)],
  ])('stops acknowledgements when it was %s, and goes on when it is back', async (how, goes) => {
    const engine = await startLoaded();
    const states: string[] = [];
    const acknowledged: number[] = [];
    const group = new GroupCommit(engine, {
      committed: (tokens) => acknowledged.push(...tokens),
      state: (state) => states.push(state),
      fault() {},
    }, { retryMs: 5, retryMsMax: 5 });
    let last = 0;
    const until = async (holds: () => boolean): Promise<void> => {
      for (const limit = Date.now() + 10_000; !holds();) {
        if (Date.now() > limit) throw new Error(`${states.join()} ${acknowledged.length} of ${last}`);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    const write = (): void => {
      group.unit().putSession(session(engine.nextNumber()));
      group.wait(++last);
    };
    write();
    await until(() => acknowledged.length === 1);
    await goes();
    await until(() => {
      if (states.length === 0) write();
      return states.length > 0;
    });
    expect(states).toEqual(['stalled']);
    const before = acknowledged.length;
    expect(before).toBeLessThan(last);
    await expect(readdir(path)).rejects.toThrow('ENOENT');
    if (how === 'removed') return;
    await rename(`${path}-away`, path);
    await until(() => acknowledged.length === last);
    expect(states).toEqual(['stalled', 'ok']);
    await engine.close();
    expect((await loaded(await start())).sessions.size).toBe(last);
  });
});
