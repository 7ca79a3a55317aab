import { describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  GroupCommit, checkDirectory, createFileEngine, restoreSnapshot,
} from '../../lib/engine/index.js';
import { classRange, storeKey, KEY_RETAINED } from '../../lib/engine/keys.js';
import { FORMAT_VERSION, MIGRATIONS, establishIdentity, readIdentity } from '../../lib/engine/identity.js';
import { LevelStore } from '../../lib/engine/level-store.js';
import { OperationLog } from '../../lib/engine/operation-log.js';
import { sealValue } from '../../lib/engine/checksum.js';
import { loaded, message, session } from './contract.js';
import {
  root, path, moveTo, start, startLoaded, fill, tamper,
} from './directory.js';

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
    moveTo(root);
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
    await expect(establishIdentity(store, { migrations })).rejects.toThrow('died here');
    expect(await establishIdentity(store, { migrations })).toMatchObject({ formatVersion: FORMAT_VERSION });
    expect(runs).toBe(2);
    expect(await establishIdentity(store, { migrations })).toMatchObject({ formatVersion: FORMAT_VERSION });
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
    moveTo(join(root, 'restored'));
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
    moveTo(join(root, 'restored'));
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
