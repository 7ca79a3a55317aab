/** A stream over a Transport that cuts what it sends into single bytes, or glues it into pieces. */
import { Buffer } from 'node:buffer';
import { Duplex } from 'node:stream';
import type { Transport } from '../../../lib/listener/index.js';

export type Cut = 'single bytes' | '64 KiB pieces';
const PIECE_BYTES = 65_536;

export function cuttingStream(transport: Transport, cut: Cut): Duplex {
  let waiting: Buffer[] = [];
  let bytes = 0;
  let scheduled: NodeJS.Immediate | undefined;
  const flush = (): void => {
    scheduled = undefined;
    const all = Buffer.concat(waiting);
    waiting = [];
    bytes = 0;
    for (let at = 0; at < all.length; at += PIECE_BYTES) {
      transport.write(all.subarray(at, at + PIECE_BYTES), () => {});
    }
  };
  const stream = new Duplex({
    read: () => { transport.resume(); },
    write(chunk: Buffer, _encoding, done) {
      if (cut === 'single bytes') {
        for (let at = 0; at < chunk.length; at += 1) {
          transport.write(chunk.subarray(at, at + 1), () => {});
        }
      } else {
        waiting.push(Buffer.from(chunk));
        bytes += chunk.length;
        if (bytes >= PIECE_BYTES) flush();
        else scheduled ??= setImmediate(flush);
      }
      done();
    },
    final(done) {
      if (scheduled !== undefined) flush();
      transport.end(2_000);
      done();
    },
    destroy(error, done) {
      clearImmediate(scheduled);
      transport.destroy();
      done(error);
    },
  });
  transport.open({
    transportData: (chunk) => { if (!stream.push(Buffer.from(chunk))) transport.pause(); },
    transportClosed: () => { stream.push(null); },
  });
  return stream;
}
