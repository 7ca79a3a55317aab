/** Files that survive power loss. */
import { mkdir, open, readdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * Beside the files of the store (witness.ts): written when a store has been opened for the first
 * time, before anything is acknowledged.
 */
export const WITNESS_FILE = 'nidomq-store.json';

/** Replaces a file so that either its old or its new content survives power loss. */
export async function writeDurably(path: string, content: string): Promise<void> {
  const file = await open(`${path}.new`, 'w');
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  await syncDirectory(dirname(path));
}

/** Names in a directory, new and changed, are on disk when it resolves. */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return; // directories cannot be opened there, and need not be
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** A directory, with those above it that are missing. */
export async function makeDurably(path: string): Promise<void> {
  const made = await mkdir(path, { recursive: true });
  if (made === undefined) return;
  // Without this the power could take the directory with all that is synced in it.
  for (let at = path; at.length >= made.length; at = dirname(at)) await syncDirectory(dirname(at));
}

/** What others wrote into a directory of files: their content and their names. */
export async function syncFiles(path: string): Promise<void> {
  for (const name of await readdir(path)) {
    const file = await open(join(path, name), 'r+');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await syncDirectory(path);
}
