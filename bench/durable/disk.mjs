// The disk under a bench: how long fdatasync takes here, and a library that makes it take longer.
import { execFileSync } from 'node:child_process';
import { closeSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');
const SYNCS = 300;
const APPEND_BYTES = 4_096;

/** Milliseconds that an append of 4 KiB takes until it is on disk. */
export function measureSync(directory = tmpdir()) {
  const folder = mkdtempSync(join(directory, 'nidomq-sync-'));
  const file = openSync(join(folder, 'file'), 'w');
  const bytes = Buffer.alloc(APPEND_BYTES, 1);
  const took = [];
  for (let i = 0; i < SYNCS; i++) {
    const begun = performance.now();
    writeSync(file, bytes);
    fdatasyncSync(file);
    took.push(performance.now() - begun);
  }
  closeSync(file);
  rmSync(folder, { recursive: true, force: true });
  took.sort((a, b) => a - b);
  return { p50: took[Math.floor(SYNCS / 2)], p99: took[Math.floor(SYNCS * 0.99)] };
}

/** The environment in which every fsync takes so much longer; undefined without a C compiler. */
export function slowSync(microseconds) {
  if (microseconds === 0) return {};
  const library = join(ROOT, 'build', 'slow-sync.so');
  const source = join(ROOT, 'test', 'engine', 'native', 'slow-sync.c');
  try {
    mkdirSync(dirname(library), { recursive: true });
    execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], { stdio: 'pipe' });
    return { LD_PRELOAD: library, SLOW_SYNC_US: String(microseconds) };
  } catch (error) {
    console.log(`left out: a slower disk needs a C compiler (${error.message.split('\n')[0]})`);
    return undefined;
  }
}
