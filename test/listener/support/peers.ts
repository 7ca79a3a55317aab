/** Owners of transports for tests, and waiting with a time limit. */
import { Buffer } from 'node:buffer';
import { createCipheriv, createHash } from 'node:crypto';
import type { Listener, Refusal, Transport, TransportOwner } from '../../../lib/listener/index.js';

const LIMIT_MS = 10_000;

/**
 * Waits for a condition, looking at it every few milliseconds; fails with `what` when it does not
 * come.
 */
export async function until(
  what: string, condition: () => boolean, limitMs = LIMIT_MS,
): Promise<void> {
  const end = Date.now() + limitMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`did not happen within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 3); });
  }
}

/** Remembers all that a transport tells, and checks the contract while it does. */
export class Recorder implements TransportOwner {
  readonly chunks: Buffer[] = [];
  bytes = 0;
  closed = 0;
  error?: Error;
  inside = false;
  violations: string[] = [];

  constructor(readonly transport: Transport, private readonly onData?: (chunk: Buffer) => void) {}

  static open(transport: Transport, onData?: (chunk: Buffer) => void): Recorder {
    const recorder = new Recorder(transport, onData);
    transport.open(recorder);
    return recorder;
  }

  transportData(chunk: Uint8Array): void {
    if (this.inside) this.violations.push('calls overlap');
    if (this.closed > 0) this.violations.push('data after close');
    this.inside = true;
    const copy = Buffer.from(chunk);
    this.chunks.push(copy);
    this.bytes += copy.length;
    this.onData?.(copy);
    this.inside = false;
  }

  transportClosed(error?: Error): void {
    if (this.inside) this.violations.push('close within data');
    this.closed += 1;
    this.error = error;
  }

  get content(): Buffer {
    return Buffer.concat(this.chunks);
  }

  digest(): string {
    return digest(this.content);
  }
}

export function digest(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex');
}

/**
 * Sends back what comes; every write has its own memory, which is overwritten as soon as it may be.
 */
export class Echo implements TransportOwner {
  closed = false;
  error?: Error;
  constructor(readonly transport: Transport) {}

  transportData(chunk: Uint8Array): void {
    const copy = Buffer.from(chunk);
    const free = (): void => { copy.fill(0xee); };
    if (this.transport.write(copy, free)) free();
  }

  transportClosed(error?: Error): void {
    this.closed = true;
    this.error = error;
  }
}

/** Takes transports in and keeps them in order of arrival. */
export class Reception {
  readonly transports: Transport[] = [];
  readonly refusals: Refusal[] = [];
  readonly failures: Error[] = [];
  readonly recorders: Recorder[] = [];
  readonly accept = (transport: Transport): void => {
    this.transports.push(transport);
    this.recorders.push(Recorder.open(transport));
  };

  readonly observer = {
    peerRefused: (refusal: Refusal): void => { this.refusals.push(refusal); },
    listenerFailed: (error: Error): void => { this.failures.push(error); },
  };

  async next(count = 1): Promise<Transport> {
    await until(`${count} transports`, () => this.transports.length >= count);
    return this.transports[count - 1];
  }

  async refused(count = 1): Promise<Refusal> {
    await until(`${count} refusals`, () => this.refusals.length >= count);
    return this.refusals[count - 1];
  }
}

/** The error a promise rejects with; fails when it resolves. */
export async function rejection(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('expected a rejection');
}

export async function stopAll(listeners: Iterable<Listener>): Promise<void> {
  for (const listener of listeners) await listener.stop(1_000);
}

/** Deterministic bytes and numbers. */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 0x1_0000_0000;
  };
}

export function randomBytesOf(seed: number, length: number): Buffer {
  const key = Buffer.alloc(16, `${seed}|`);
  return createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length));
}
