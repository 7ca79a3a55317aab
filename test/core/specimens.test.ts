/**
 * Every specimen through the whole core, cut in two at every place, and byte by byte: what the
 * broker answers must not depend on how the network cuts. No socket: the pieces reach the core one
 * call after another.
 */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Broker } from '../../lib/broker/broker.js';
import type { Transport, TransportOwner } from '../../lib/listener/transport.js';
import { mismatch, packetsOf, readSpecimens } from '../specimens/specimen.js';
import type { Specimen } from '../specimens/specimen.js';

const LIMIT_MS = 120_000;
/** Turns of the event loop in which an answer must have come; then as many must be silent. */
const TURNS_MAX = 200;
const TURNS_SILENT = 5;

class Pipe implements Transport {
  readonly kind = 'memory';
  readonly remoteAddress = '127.0.0.1';
  readonly remotePort = 1;
  readonly bytesInFlight = 0;
  received = Buffer.alloc(0);
  isClosed = false;
  isPaused = false;
  private owner: TransportOwner | undefined;

  open(owner: TransportOwner): void {
    this.owner = owner;
  }
  write(bytes: Uint8Array): boolean {
    this.received = Buffer.concat([this.received, bytes]);
    return true;
  }
  cork(): void {}
  uncork(): void {}
  pause(): void {
    this.isPaused = true;
  }
  resume(): void {
    this.isPaused = false;
  }
  end(): void {
    this.destroy();
  }
  destroy(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.owner?.transportClosed();
  }
  /** The chunk is overwritten afterwards: the core may not keep it. */
  give(piece: Buffer): void {
    const chunk = Buffer.from(piece);
    if (!this.isClosed) this.owner?.transportData(chunk);
    chunk.fill(0xee);
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

let broker: Broker;
beforeAll(async () => {
  broker = new Broker({ listeners: [], logger: false });
  await broker.listen();
});
afterAll(() => broker.close());

async function play(specimen: Specimen, pieces: readonly Buffer[]): Promise<string | undefined> {
  const pipe = new Pipe();
  broker.accept(pipe);
  for (const piece of pieces) {
    for (let turns = 0; pipe.isPaused && turns < TURNS_MAX; turns++) await turn();
    pipe.give(piece);
  }
  const isComplete = (): boolean => specimen.closed
    ? pipe.isClosed : packetsOf(pipe.received).length >= specimen.replies.length;
  for (let turns = 0; !isComplete() && turns < TURNS_MAX; turns++) await turn();
  for (let turns = 0; turns < TURNS_SILENT; turns++) await turn();
  const wasClosed = pipe.isClosed;
  pipe.destroy();
  if (wasClosed !== specimen.closed) return wasClosed ? 'was closed' : 'was not closed';
  return mismatch(specimen, packetsOf(pipe.received));
}

describe('specimens, cut in two at every place', () => {
  for (const specimen of readSpecimens()) {
    const { bytes, file, name } = specimen;
    it(`${file}: ${name}`, async () => {
      const wrong: string[] = [];
      for (let at = 0; at < bytes.length; at++) {
        const why = await play(specimen, [bytes.subarray(0, at), bytes.subarray(at)]);
        if (why !== undefined) wrong.push(`cut at ${at}: ${why}`);
      }
      const why = await play(specimen, [...bytes].map((one) => Buffer.from([one])));
      if (why !== undefined) wrong.push(`byte by byte: ${why}`);
      expect(wrong).toEqual([]);
    }, LIMIT_MS);
  }
});
