/**
 * Reading every plain socket into one reused buffer. Node allocates 64 KiB for each read of a
 * socket and gives most of it back; the garbage collector pays for that. `net.Socket` has `onread`
 * for sockets that *we* open, and the same mechanism without a public name for those that come to
 * us. So it is proven before it is used: a connection over loopback must bring its bytes through
 * the buffer, in order, and its end. Where the proof fails everything is read as ever.
 *
 *     kernel --read--> buffer of this module --(within the call)--> linear memory
 */
import { Socket, connect, createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';

/** As much as libuv asks for. */
const READ_BYTES = 64 * 1024;
const PROOF_DEADLINE_MS = 1_000;
/** More than one read can hold. */
const PROOF_BYTES = 3 * READ_BYTES + 1;

/** What Node's own `onread` sets on a socket and its handle. */
interface ReadingSocket extends Socket {
  readonly _handle?: { readonly useUserBuffer?: (buffer: Uint8Array) => void } | null;
  [name: symbol]: unknown;
}
interface Names {
  readonly buffer: symbol;
  readonly callback: symbol;
}
/** Of one read: valid until it returns. */
export type TakeBytes = (socket: Socket, chunk: Uint8Array) => void;

let isProven = false;
let proof: Promise<void> | undefined;
let names: Names | undefined;
let shared: Buffer | undefined;

/** Resolves when it is known how sockets are read here. Never rejects. */
export function proveReusedReads(): Promise<void> {
  proof ??= prove().then((holds) => { isProven = holds; }, () => {});
  return proof;
}

/**
 * What the socket reads from now on goes to `take`, not to 'data'. False when it does not: then
 * nothing was changed. Bytes that Node has already read would be overtaken, so there must be none.
 */
export function readIntoReused(socket: Socket, take: TakeBytes): boolean {
  return isProven && attach(socket, take);
}

/** Nothing that comes is taken any more; the socket goes on reading to its end. */
export function ignoreReads(socket: Socket): void {
  const reading = socket as ReadingSocket;
  if (names !== undefined && reading[names.buffer] === shared) {
    reading[names.callback] = () => true;
  }
}

function attach(socket: Socket, take: TakeBytes): boolean {
  const reading = socket as ReadingSocket;
  const { _handle: handle } = reading;
  // Not for a TLS socket or a stream that only looks like one of Node's.
  if (Object.getPrototypeOf(socket) !== Socket.prototype) return false;
  if (socket.readableLength !== 0 || typeof handle?.useUserBuffer !== 'function') return false;
  names ??= findNames(socket);
  if (names === undefined || reading[names.buffer] !== null) return false;
  const buffer = (shared ??= Buffer.allocUnsafeSlow(READ_BYTES));
  reading[names.buffer] = buffer;
  reading[names.callback] = (bytes: number) => {
    take(socket, buffer.subarray(0, bytes));
    return true;
  };
  handle.useUserBuffer(buffer);
  return true;
}

function findNames(socket: Socket): Names | undefined {
  const own = Object.getOwnPropertySymbols(socket);
  const buffer = own.find(({ description }) => description === 'kBuffer');
  const callback = own.find(({ description }) => description === 'kBufferCb');
  return buffer === undefined || callback === undefined ? undefined : { buffer, callback };
}

async function prove(): Promise<boolean> {
  const sent = Buffer.alloc(PROOF_BYTES, 'nidomq');
  const server = createServer();
  let cancel: NodeJS.Timeout | undefined;
  try {
    const deadline = new Promise<undefined>((resolve) => {
      cancel = setTimeout(resolve, PROOF_DEADLINE_MS, undefined);
    });
    return (await Promise.race([received(server, sent), deadline]))?.equals(sent) === true;
  } finally {
    clearTimeout(cancel);
    server.close();
  }
}

/** What came through the buffer when the peer has ended; undefined when it could not be used. */
function received(server: Server, sent: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.on('connection', (socket) => {
      const chunks: Buffer[] = [];
      socket.on('error', reject).on('end', () => resolve(Buffer.concat(chunks)));
      if (!attach(socket, (_socket, chunk) => chunks.push(Buffer.from(chunk)))) resolve(undefined);
      socket.resume();
    });
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      const client = connect(port, '127.0.0.1').on('error', reject);
      client.end(sent);
    });
  });
}
