/** What every Transport promises, whatever carries the bytes: one suite, run over every door. */
import { Buffer } from 'node:buffer';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Transport } from '../../lib/listener/index.js';
import { Certificates } from './support/certificates.js';
import { DOOR_KINDS, openDoor } from './support/doors.js';
import type { OpenDoor } from './support/doors.js';
import {
  Echo, Reception, Recorder, digest, randomBytesOf, randomOf, until,
} from './support/peers.js';

let certificates: Certificates;
beforeAll(() => { certificates = new Certificates(); });
afterAll(() => { certificates.remove(); });

const MEGABYTE = 1_048_576;
/** More than the kernel's buffers of both sides take on loopback. */
const MORE_THAN_BUFFERS = 24 * MEGABYTE;

describe.each(DOOR_KINDS)('a transport over %s', (kind) => {
  let door: OpenDoor;
  const opened: Transport[] = [];

  async function open(accept: (transport: Transport) => void): Promise<Transport> {
    door = await openDoor(kind, certificates, (transport) => {
      opened.push(transport);
      accept(transport);
    });
    const client = await door.connect();
    opened.push(client);
    return client;
  }

  async function pair(): Promise<{ client: Transport; server: Transport; received: Recorder }> {
    const reception = new Reception();
    const client = await open(reception.accept);
    const server = await reception.next();
    return { client, server, received: reception.recorders[0] };
  }

  afterEach(async () => {
    for (const transport of opened.splice(0)) transport.destroy();
    await door.close();
  });

  it('says what it is and who is there', async () => {
    const { client, server } = await pair();
    expect([client.kind, server.kind]).toEqual([kind, kind]);
    if (kind === 'unix') {
      expect([server.remoteAddress, server.remotePort]).toEqual(['', 0]);
    } else {
      expect(server.remoteAddress).toBe('127.0.0.1');
      expect(server.remotePort).toBeGreaterThan(0);
      expect(door.listener.address).toContain(String(door.listener.port));
    }
    expect(server.identity).toBeUndefined();
  });

  it('echoes 3 MB cut at random, and every buffer may be overwritten when it says so', async () => {
    const client = await open((transport) => { transport.open(new Echo(transport)); });
    const recorder = Recorder.open(client);
    const bytes = randomBytesOf(7, 3 * MEGABYTE);
    const random = randomOf(11);
    for (let at = 0; at < bytes.length;) {
      const size = random() < 0.2 ? 1 : Math.ceil(random() * random() * 90_000);
      const piece = Buffer.from(bytes.subarray(at, at + size));
      const scribble = (): void => { piece.fill(0x5c); };
      if (client.write(piece, scribble)) scribble();
      at += piece.length;
      if (random() < 0.3) await new Promise(setImmediate);
    }
    await until('the echo', () => recorder.bytes === bytes.length);
    expect(recorder.digest()).toBe(digest(bytes));
    expect(recorder.violations).toEqual([]);
    await until('nothing in flight', () => client.bytesInFlight === 0);
  });

  it('carries single bytes in both directions', async () => {
    const client = await open((transport) => { transport.open(new Echo(transport)); });
    const recorder = Recorder.open(client);
    const text = Buffer.from('single bytes, one write each');
    for (const byte of text) {
      client.write(Uint8Array.of(byte), () => {});
      await new Promise(setImmediate);
    }
    await until('the echo', () => recorder.bytes === text.length);
    expect(recorder.content.toString()).toBe(text.toString());
  });

  it('calls done exactly once for each write that was not taken at once, in order', async () => {
    const { client, received } = await pair();
    Recorder.open(client);
    received.transport.pause();
    const done: number[] = [];
    let expected = 0;
    for (let index = 0; index < 40; index += 1) {
      if (!client.write(Buffer.alloc(MEGABYTE, index), () => { done.push(index); })) expected += 1;
      else done.push(index);
    }
    expect(expected).toBeGreaterThan(0);
    expect(client.bytesInFlight).toBeGreaterThan(0);
    received.transport.resume();
    await until('all written', () => done.length >= 40);
    await until('all received', () => received.bytes === 40 * MEGABYTE);
    expect(done).toEqual(Array.from({ length: 40 }, (_, index) => index));
    expect(client.bytesInFlight).toBe(0);
  });

  it('calls done for every pending write also when it is destroyed', async () => {
    const { client, server, received } = await pair();
    const recorder = Recorder.open(client);
    server.pause();
    const done = new Array<number>(30).fill(0);
    const pending: number[] = [];
    for (let index = 0; index < done.length; index += 1) {
      if (!client.write(Buffer.alloc(MEGABYTE), () => { done[index] += 1; })) pending.push(index);
    }
    expect(pending.length).toBeGreaterThan(1);
    client.destroy();
    await until('closed', () => recorder.closed === 1);
    await until('every done', () => pending.every((index) => done[index] === 1));
    expect(done.filter((count) => count > 1)).toEqual([]);
    expect(client.bytesInFlight).toBe(0);
    expect(client.write(Buffer.from('late'), () => { throw new Error('never'); })).toBe(true);
    server.resume();
    await until('the other side closed', () => received.closed === 1);
    expect(recorder.closed).toBe(1);
  });

  it('gathers corked writes and frees them after uncork', async () => {
    const { client, received } = await pair();
    Recorder.open(client);
    let done = 0;
    client.cork();
    for (const word of ['one ', 'two ', 'three']) {
      expect(client.write(Buffer.from(word), () => { done += 1; })).toBe(false);
    }
    client.uncork();
    await until('the words', () => received.bytes === 13);
    expect(received.content.toString()).toBe('one two three');
    await until('done', () => done === 3);
    expect(client.bytesInFlight).toBe(0);
  });

  it('delivers nothing between pause and resume, and loses nothing', async () => {
    const bytes = randomBytesOf(3, 2 * MEGABYTE);
    const reception = new Reception();
    let server: Transport | undefined;
    let paused = false;
    const wrong: string[] = [];
    let recorder: Recorder | undefined;
    const client = await open((transport) => {
      server = transport;
      reception.transports.push(transport);
      recorder = Recorder.open(transport, () => {
        if (paused) wrong.push('data while paused');
        paused = true;
        transport.pause();
        setImmediate(() => {
          paused = false;
          transport.resume();
        });
      });
    });
    Recorder.open(client);
    for (let at = 0; at < bytes.length; at += 7_001) {
      client.write(bytes.subarray(at, at + 7_001), () => {});
    }
    await until('all of it', () => recorder?.bytes === bytes.length);
    expect(wrong).toEqual([]);
    expect(recorder?.digest()).toBe(digest(bytes));
    expect(recorder?.violations).toEqual([]);
    expect(server).toBeDefined();
  });

  it('makes the sender feel a receiver that does not read, and only that one', async () => {
    const reception = new Reception();
    const slow = await open(reception.accept);
    Recorder.open(slow);
    await reception.next();
    const quick = await door.connect();
    opened.push(quick);
    const quickSide = Recorder.open(quick);
    const toQuick = await reception.next(2);
    slow.pause();
    for (let sent = 0; sent < MORE_THAN_BUFFERS; sent += MEGABYTE) {
      reception.transports[0].write(Buffer.alloc(MEGABYTE), () => {});
    }
    toQuick.write(Buffer.from('at once'), () => {});
    await until('the quick one is served', () => quickSide.content.toString() === 'at once');
    expect(reception.transports[0].bytesInFlight).toBeGreaterThan(MEGABYTE);
    slow.resume();
    await until('the slow one drains', () => reception.transports[0].bytesInFlight === 0);
  });

  it('end sends what was written, then closes in peace on both sides', async () => {
    const { client, server, received } = await pair();
    const recorder = Recorder.open(client);
    const bytes = randomBytesOf(5, 6 * MEGABYTE);
    server.write(bytes, () => {});
    server.end(5_000);
    await until('both closed', () => recorder.closed === 1 && received.closed === 1);
    expect(recorder.digest()).toBe(digest(bytes));
    expect([recorder.error, received.error]).toEqual([undefined, undefined]);
  });

  it('end ignores what still comes in', async () => {
    const { client, server, received } = await pair();
    const recorder = Recorder.open(client);
    server.end(5_000);
    client.write(Buffer.alloc(1_000), () => {});
    await until('both closed', () => recorder.closed === 1 && received.closed === 1);
    expect(received.bytes).toBe(0);
  });

  it('end closes by force when the peer does not take it', async () => {
    const { client, server, received } = await pair();
    Recorder.open(client);
    client.pause();
    server.write(Buffer.alloc(MORE_THAN_BUFFERS), () => {});
    server.end(60);
    await until('closed by force', () => received.closed === 1);
    expect((received.error as { code?: string }).code).toBe('NIDO_TRANSPORT_END_DEADLINE');
  });

  it('notices when a buffer is reused too early (the proof that the tests above can '
    + 'fail)', async () => {
    // From the server: a WebSocket client masks, and so sends a copy.
    const { client, server } = await pair();
    const received = Recorder.open(client);
    client.pause();
    const expected: Buffer[] = [];
    for (let index = 0; index < 24; index += 1) {
      const piece = Buffer.alloc(MEGABYTE, index + 1);
      expected.push(Buffer.from(piece));
      server.write(piece, () => {});
      piece.fill(0);
    }
    client.resume();
    await until('all of it', () => received.bytes === 24 * MEGABYTE);
    expect(received.digest()).not.toBe(digest(Buffer.concat(expected)));
  });

  it('destroy closes at once and tells the owner once', async () => {
    const { client, server, received } = await pair();
    const recorder = Recorder.open(client);
    server.destroy();
    server.destroy();
    server.end(10);
    await until('both closed', () => recorder.closed === 1 && received.closed === 1);
    expect(received.error).toBeUndefined();
  });
});
