/** Plain sockets are read into one buffer that is used again and again. */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from '@jest/globals';
import { createListener, openTransport } from '../../lib/listener/index.js';
import type { Listener, Transport } from '../../lib/listener/transport.js';

const stops: (() => unknown)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

class Reader {
  readonly buffers = new Set<ArrayBufferLike>();
  text = '';
  private wake: () => void = () => undefined;
  closed = false;

  transportData(chunk: Uint8Array): void {
    this.buffers.add(chunk.buffer);
    this.text += Buffer.from(chunk).toString();
    this.wake();
  }
  transportClosed(): void {
    this.closed = true;
    this.wake();
  }
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => { this.wake = resolve; });
  }
}

async function door(): Promise<{ listener: Listener; accepted: [Transport, Reader][] }> {
  const listener = createListener({ host: '127.0.0.1', port: 0 });
  const accepted: [Transport, Reader][] = [];
  await listener.start((transport) => {
    const reader = new Reader();
    accepted.push([transport, reader]);
    transport.open(reader);
  });
  stops.push(() => listener.stop(0));
  return { listener, accepted };
}
async function peer({ port }: Listener): Promise<Socket> {
  const socket = connect(port ?? 0, '127.0.0.1');
  stops.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

describe('a TCP door', () => {
  it('reads all its connections into one buffer, and nobody gets bytes of another', async () => {
    const { listener, accepted } = await door();
    const peers = [await peer(listener), await peer(listener)];
    for (let round = 0; round < 100; round++) {
      peers.forEach((socket, at) => socket.write(`${'ab'[at]}${round};`));
      if (round % 10 === 0) await new Promise((resolve) => { setImmediate(resolve); });
    }
    peers.forEach((socket) => socket.write('END'));
    const done = ([, { text }]: [Transport, Reader]): boolean => text.endsWith('END');
    while (accepted.length < 2) await new Promise((resolve) => { setImmediate(resolve); });
    for (const one of accepted) await one[1].until(() => done(one));
    const texts = accepted.map(([, { text }]) => text).sort();
    expect(texts).toEqual(['a', 'b'].map((name) => `${Array.from({ length: 100 },
      (_, round) => `${name}${round};`).join('')}END`));
    const buffers = new Set(accepted.flatMap(([, reader]) => [...reader.buffers]));
    expect(buffers.size).toBe(1);
  });

  it('reads nothing while it is paused, and everything behind that', async () => {
    const { listener, accepted } = await door();
    const socket = await peer(listener);
    socket.write('before;');
    while (accepted.length === 0) await new Promise((resolve) => { setImmediate(resolve); });
    const [transport, reader] = accepted[0];
    await reader.until(() => reader.text === 'before;');
    transport.pause();
    const flood = 'x'.repeat(8 * 1024 * 1024); // more than the kernel keeps for us
    socket.end(flood);
    for (let turn = 0; turn < 50; turn++) {
      await new Promise((resolve) => { setImmediate(resolve); });
    }
    expect(reader.text).toBe('before;');
    transport.resume();
    await reader.until(() => reader.closed || reader.text.length === flood.length + 7);
    expect(reader.text).toBe(`before;${flood}`);
    await reader.until(() => reader.closed);
  });

  it('hears nothing any more once it was told to end', async () => {
    const { listener, accepted } = await door();
    const socket = await peer(listener);
    socket.write('one');
    while (accepted.length === 0) await new Promise((resolve) => { setImmediate(resolve); });
    const [transport, reader] = accepted[0];
    await reader.until(() => reader.text === 'one');
    transport.end(5_000);
    socket.end('two');
    await reader.until(() => reader.closed);
    expect(reader.text).toBe('one');
  });
});

describe('a connection that we open', () => {
  it('is read in the same way', async () => {
    const { listener, accepted } = await door();
    const transport = await openTransport({ host: '127.0.0.1', port: listener.port });
    stops.push(() => transport.destroy());
    const reader = new Reader();
    transport.open(reader);
    while (accepted.length === 0) await new Promise((resolve) => { setImmediate(resolve); });
    for (const word of ['one', 'two', 'three']) {
      accepted[0][0].write(Buffer.from(word), () => undefined);
      await reader.until(() => reader.text.endsWith(word));
    }
    expect(reader.text).toBe('onetwothree');
    expect(reader.buffers.size).toBe(1);
  });
});
