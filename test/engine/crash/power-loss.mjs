// Rebuilds the disk as it might look after the power went at some moment: what was synced is there; of what was not, each
// write is there, is not there, or is there in part (torn at a sector), in any combination. Names of files are taken to
// change in order, as journaling file systems do it.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const SECTOR = 512;
const HEAD = 17;

/** What native/disk.c wrote down. */
export function readRecord(bytes) {
  const events = [];
  for (let at = 0; at + HEAD <= bytes.length;) {
    const pathLength = bytes.readUInt32LE(at + 1);
    const length = bytes.readUInt32LE(at + 13);
    const pathAt = at + HEAD;
    const dataAt = pathAt + pathLength;
    if (dataAt + length > bytes.length) break;
    events.push({
      kind: String.fromCharCode(bytes[at]), path: bytes.toString('utf8', pathAt, dataAt),
      offset: Number(bytes.readBigInt64LE(at + 5)), data: bytes.subarray(dataAt, dataAt + length),
    });
    at = dataAt + length;
  }
  return events;
}

class File {
  #synced = Buffer.alloc(0);
  #pending = [];
  write(offset, data) {
    this.#pending.push({ offset, data });
  }
  sync() {
    for (const write of this.#pending) this.#apply(write);
    this.#pending = [];
  }
  #apply({ offset, data }) {
    const end = offset + data.length;
    if (end > this.#synced.length) this.#synced = Buffer.concat([this.#synced, Buffer.alloc(end - this.#synced.length)]);
    data.copy(this.#synced, offset);
  }
  get pending() {
    return this.#pending.length;
  }
  /** What is left of the file when the power goes. */
  remains(how, next) {
    const copy = new File();
    copy.#synced = Buffer.from(this.#synced);
    for (const write of this.#pending) {
      if (how === 'drop') break;
      const fate = next(3);
      if (how === 'some' && fate === 0) continue;
      if (how === 'torn' && fate === 0) {
        const kept = Math.floor(next(write.data.length + 1) / SECTOR) * SECTOR;
        copy.#apply({ offset: write.offset, data: write.data.subarray(0, kept) });
        if (next(2) === 0) break;
      } else {
        copy.#apply(write);
      }
    }
    return copy.#synced;
  }
}

/** Cuts at a random event, `notBefore` or later. Answers the lines that had come out by then. */
export function cutPower({ events, from, to, next, notBefore = 0 }) {
  const files = new Map();
  const file = (path) => {
    if (!files.has(path)) files.set(path, new File());
    return files.get(path);
  };
  const at = notBefore + next(events.length - notBefore) + 1;
  let output = '';
  for (const { kind, path, offset, data } of events.slice(0, at)) {
    if (kind === 'A') output += data.toString();
    else if (kind === 'C') files.set(path, new File());
    else if (kind === 'W') file(path).write(offset, data);
    else if (kind === 'S') file(path).sync();
    else if (kind === 'U') files.delete(path);
    else if (kind === 'R') {
      files.set(data.toString(), file(path));
      files.delete(path);
    }
  }
  const how = ['drop', 'some', 'torn', 'all'][next(4)];
  for (const [path, content] of files) {
    const target = join(to, relative(from, path));
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, content.remains(how, next));
  }
  return { lines: output.split('\n').filter((line) => line !== ''), how: `${how}, event ${at} of ${events.length}` };
}
