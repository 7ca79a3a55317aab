import { describe, expect, it } from '@jest/globals';
import { cp, mkdir, readFile, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { checkDirectory } from '../../lib/engine/index.js';
import { numberKey, storeKey, KEY_BATCH, KEY_RETAINED } from '../../lib/engine/keys.js';
import { chunksOf } from '../../lib/engine/store.js';
import { damageOfTables } from '../../lib/engine/table-check.js';
import { sealValue } from '../../lib/engine/checksum.js';
import { Recorder, loaded, message } from './contract.js';
import {
  root, path, moveTo, start, startLoaded, fill, until, tamper, flipByte, filesEnding,
} from './directory.js';

/** What is said of the tables when one of them looks like this. */
async function damageAfter(file: string, content: Buffer): Promise<readonly string[]> {
  await writeFile(file, content);
  return damageOfTables(path, await readdir(path), Infinity);
}

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
    moveTo(copy);
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
    moveTo(killed);
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
    moveTo(old);
    await writeFile(join(path, 'nidomq-store.json'), witness);
    await expect(start()).rejects.toMatchObject({
      code: 'NIDO_ENGINE_CORRUPT', message: expect.stringContaining('batch 6 was seen before'),
    });
  });
});
