/**
 * How a command reaches the broker that has a directory open: a socket that stands in the directory
 * itself, for its owner only. One line of JSON asks, one line answers.
 */
import { createHash } from 'node:crypto';
import { chmod, realpath, rm } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { join, resolve } from 'node:path';
import type { CheckReport, SnapshotReport } from '../engine/index.js';
import { CliError, codeOf } from './cli-error.js';

export interface ControlledBroker {
  snapshot(directory: string): Promise<SnapshotReport>;
  check(): Promise<CheckReport>;
}
export type ControlRequest =
  | { readonly command: 'snapshot'; readonly directory: string }
  | { readonly command: 'check' };

const SOCKET = 'nidomq.sock';
/** What a system takes as the path of a socket; the shortest is macOS's. */
const SOCKET_PATH_BYTES_MAX = 103;
const REQUEST_BYTES_MAX = 64 * 1024;
const OWNER_ONLY = 0o600;

/** undefined when the path of the directory is too long for a socket in it. */
async function socketOf(data: string): Promise<string | undefined> {
  const directory = await realpath(data).catch(() => resolve(data));
  if (process.platform === 'win32') {
    const name = createHash('sha256').update(directory.toLowerCase()).digest('hex').slice(0, 32);
    return `\\\\.\\pipe\\nidomq-${name}`;
  }
  const path = join(directory, SOCKET);
  return Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX ? undefined : path;
}

/** Answers whoever asks until `close`. undefined when the directory's path is too long for it. */
export async function openControlChannel(
  data: string, broker: ControlledBroker,
): Promise<{ close(): void } | undefined> {
  const path = await socketOf(data);
  if (path === undefined) return undefined;
  // The engine has the directory to itself: a socket that is there was left by a killed process.
  if (process.platform !== 'win32') await rm(path, { force: true });
  const server = createServer((socket) => serve(socket, broker));
  await listen(server, path);
  if (process.platform !== 'win32') await chmod(path, OWNER_ONLY);
  server.unref();
  return { close: () => void server.close() };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.removeListener('error', reject);
      server.on('error', () => undefined); // one that cannot be accepted is its own misfortune
      resolve();
    });
  });
}

function serve(socket: Socket, broker: ControlledBroker): void {
  let text = '';
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: string) => {
    text += chunk;
    if (text.length > REQUEST_BYTES_MAX) socket.destroy();
    const end = text.indexOf('\n');
    if (end < 0) return;
    socket.removeAllListeners('data');
    void answer(text.slice(0, end), broker).then((said) => socket.end(`${JSON.stringify(said)}\n`));
  });
}

async function answer(line: string, broker: ControlledBroker): Promise<object> {
  try {
    const request = JSON.parse(line) as ControlRequest;
    if (request.command === 'check') return { result: await broker.check() };
    return { result: await broker.snapshot(request.directory) };
  } catch (error) {
    return { code: codeOf(error) ?? 'NIDO_CLI_CONTROL', message: (error as Error).message };
  }
}

/** What the broker that has this directory open answers; undefined when there is none. */
export async function askBroker(data: string, request: ControlRequest): Promise<unknown> {
  const path = await socketOf(data);
  const socket = path === undefined ? undefined : await reach(path);
  if (socket === undefined) return undefined;
  const text = await new Promise<string>((resolve, reject) => {
    let said = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      said += chunk;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(said));
    socket.write(`${JSON.stringify(request)}\n`);
  });
  if (!text.endsWith('\n')) {
    throw new CliError('NIDO_CLI_CONTROL', `the broker of ${data} ended before it had answered`);
  }
  const said = JSON.parse(text) as { result?: unknown; code?: string; message?: string };
  if (said.code === undefined) return said.result;
  throw Object.assign(new Error(said.message), { code: said.code });
}

function reach(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error) => {
      const isNobody = ['ENOENT', 'ECONNREFUSED'].includes(codeOf(error) ?? '');
      if (isNobody) resolve(undefined);
      else reject(new CliError('NIDO_CLI_CONTROL', `${path}: ${error.message}`, { cause: error }));
    });
  });
}
