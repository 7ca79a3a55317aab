/**
 * Remembers, outside the store, how far it had come: what a store that was emptied, set back or cut
 * short cannot know. Written down a moment after the batches themselves and not synced: it never
 * claims more than there was.
 */
import { open, readFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { checksumOf } from './checksum.js';
import { writeDurably } from './durable-file.js';
import type { Loss } from './engine.js';
import type { Identity } from './identity.js';

export interface Testimony extends Identity {
  readonly lastBatch: number;
  /** The last one that was promised to the disk. */
  readonly lastDiskBatch: number;
}
export interface Witness {
  read(): Promise<Testimony | undefined>;
  /** Durable. The store is open, or has just been closed. */
  write(testimony: Testimony): Promise<void>;
  /** A batch has been committed: of many in a row the last is written down. */
  saw(testimony: Testimony): void;
  close(): Promise<void>;
}
/** Each is as long as the one before: it is written over it. */
const FILE_BYTES = 256;
const DELAY_MS = 100;

export class FileWitness implements Witness {
  readonly #file: string;
  #handle: FileHandle | undefined;
  #latest: Testimony | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(file: string) {
    this.#file = file;
  }

  async read(): Promise<Testimony | undefined> {
    try {
      return parse(await readFile(this.#file, 'utf8'));
    } catch {
      return undefined; // a store without its witness is no worse than one that never had any
    }
  }
  async write(testimony: Testimony): Promise<void> {
    await this.close();
    await writeDurably(this.#file, format(testimony));
  }
  saw(testimony: Testimony): void {
    this.#latest = testimony;
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      // It only sharpens the next start: a disk that refuses shows elsewhere.
      this.#writing = this.#writing.then(() => this.#note()).catch(() => undefined);
    }, DELAY_MS);
    this.#timer.unref();
  }
  async #note(): Promise<void> {
    const testimony = this.#latest;
    if (testimony === undefined) return;
    this.#latest = undefined;
    this.#handle ??= await open(this.#file, 'r+');
    await this.#handle.write(Buffer.from(format(testimony)), 0, FILE_BYTES, 0);
  }
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#latest = undefined;
    await this.#writing;
    await this.#handle?.close().catch(() => undefined);
    this.#handle = undefined;
  }
}

function format({ formatVersion, nodeId, lastBatch, lastDiskBatch }: Testimony): string {
  const said = { formatVersion, nodeId, lastBatch, lastDiskBatch };
  const line = JSON.stringify({ ...said, checksum: checksumIn(said) });
  return `${line.padEnd(FILE_BYTES - 1)}\n`;
}
/** What was damaged, or is older than checksums here, says nothing. */
function parse(text: string): Testimony | undefined {
  const { checksum, ...said } = JSON.parse(text) as Testimony & { readonly checksum?: number };
  return checksum === checksumIn(said) ? said : undefined;
}
function checksumIn(testimony: Testimony): number {
  return checksumOf(Buffer.from(JSON.stringify(testimony)));
}

/** What the store has lost according to its witness. */
export function compareWith(
  before: Testimony | undefined, identity: Identity, lastBatch: number,
): Loss[] {
  if (before === undefined) return [];
  if (before.nodeId !== identity.nodeId) {
    const detail = 'the store that was here before is gone, another one stands in its place';
    return [{ kind: 'batch', promised: true, detail }];
  }
  if (before.lastBatch <= lastBatch) return [];
  const promised = before.lastDiskBatch > lastBatch;
  const why = promised ? '' : '; committed with durability os, which power loss may take';
  const detail = `batch ${lastBatch} is the last one, but batch ${before.lastBatch} was seen `
    + `before${why}`;
  return [{ kind: 'batch', promised, detail }];
}
