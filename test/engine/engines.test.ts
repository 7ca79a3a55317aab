import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Engine } from '../../lib/engine/index.js';
import { createFileEngine, createMemoryEngine } from '../../lib/engine/index.js';
import { describeEngine } from './contract.js';

describeEngine('memory', async () => {
  const engine = createMemoryEngine();
  await engine.open();
  return {
    engine,
    async restart() {
      await engine.close();
      await engine.open();
      return engine;
    },
    dispose: () => engine.close(),
  };
});

describeEngine('file', async () => {
  const path = await mkdtemp(join(tmpdir(), 'nidomq-engine-'));
  const open = async (): Promise<Engine> => {
    const engine = createFileEngine({ path });
    await engine.open();
    return engine;
  };
  let engine = await open();
  return {
    engine,
    async restart() {
      await engine.close();
      engine = await open();
      return engine;
    },
    async dispose() {
      await engine.close();
      await rm(path, { recursive: true });
    },
  };
});
