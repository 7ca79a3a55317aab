/** Every specimen through a real socket: at once, byte by byte, and cut at random places. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Endpoint } from './conformance/wire/peer.js';
import { interopTarget } from './interop/interop-target.js';
import { SPECIMEN_DIRECTORY, mismatch, packetsOf, readSpecimens } from './specimens/specimen.js';
import type { Specimen } from './specimens/specimen.js';

const target = interopTarget();
let endpoint: Endpoint;
beforeAll(async () => {
  const started = await target.endpoint('default');
  if (!started) throw new Error('no broker');
  endpoint = started;
});
afterAll(() => target.close());

const REPLY_MS = 5000;
/** After the last expected packet this long must be silent. */
const SILENCE_MS = 40;
const CONTROL_PACKETS = 15;
const WHY_CHARACTERS_MIN = 20;

/** A small generator (mulberry32): the same seed cuts at the same places. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function play(specimen: Specimen, pieces: readonly Buffer[]): Promise<string | undefined> {
  const socket = connect(endpoint.port, endpoint.host);
  socket.setNoDelay(true);
  let [received, closed] = [Buffer.alloc(0), false];
  let wake: () => void = () => undefined;
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    wake();
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    closed = true;
    wake();
  });
  const wait = (ms: number): Promise<void> => new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
  await new Promise((resolve) => socket.once('connect', resolve));
  for (const piece of pieces) {
    if (!closed) socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const complete = (): boolean => specimen.closed
    ? closed : packetsOf(received).length >= specimen.replies.length;
  const end = Date.now() + REPLY_MS;
  while (!complete() && !closed && Date.now() < end) await wait(end - Date.now());
  if (!specimen.closed && !closed) await wait(SILENCE_MS);
  socket.destroy();
  if (specimen.closed && !complete()) return 'the connection was not closed';
  if (!specimen.closed && closed) return 'the connection was closed';
  return mismatch(specimen, packetsOf(received));
}

function randomPieces(bytes: Buffer, seed: number): Buffer[] {
  const next = random(seed);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = 1 + Math.floor(next() * Math.min(12, bytes.length - at));
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return pieces;
}

const specimens = readSpecimens();
const SEEDS = [1, 2, 3];

describe('specimens', () => {
  it('there is a file for each of the fifteen packet types', () => {
    expect(new Set(specimens.map((one) => one.file)).size).toBe(CONTROL_PACKETS);
  });

  it('every one says why it is there, and what each of its lines is', () => {
    const silent = readdirSync(SPECIMEN_DIRECTORY).filter((file) => file.endsWith('.md'))
      .flatMap((file) => readFileSync(join(SPECIMEN_DIRECTORY, file), 'utf8').split(/^## /m).slice(1)
        .map((text) => ({ file, text })))
      .filter(({ text }) => {
        const [name = '', ...rest] = text.split('\n');
        const why = rest.join('\n').split('```')[0]?.replace(/\[MQTT-[^\]]*\]/g, '').trim() ?? '';
        const lines = [...text.matchAll(/```(?:bytes|reply)\n([^`]*)```/g)]
          .flatMap(([, block = '']) => block.split('\n'))
          .filter((line) => line.trim() !== '' && line.trim() !== 'closed');
        return name === '' || why.length < WHY_CHARACTERS_MIN
          || lines.some((line) => !line.includes(';'));
      });
    expect(silent.map(({ file, text }) => `${file}: ${text.split('\n')[0]}`)).toEqual([]);
  });

  for (const specimen of specimens) {
    const { bytes, file, name } = specimen;
    describe(`${file}: ${name}`, () => {
      it('at once', async () => {
        expect(await play(specimen, [bytes])).toBeUndefined();
      });
      it('byte by byte', async () => {
        expect(await play(specimen, [...bytes].map((one) => Buffer.from([one])))).toBeUndefined();
      });
      it.each(SEEDS)('cut at random places, seed %i', async (seed) => {
        expect(await play(specimen, randomPieces(bytes, seed))).toBeUndefined();
      });
    });
  }
});
