/** Binds a server, and says in words why it could not. */
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import type { ListenOptions, Server } from 'node:net';
import { ListenerError, reasonOf, systemCode } from './listener-error.js';
import { BACKLOG } from './listener-limits.js';
import type { ListenerOptions } from './listener-options.js';

export interface ListeningAt {
  readonly host?: string;
  readonly port?: number;
}

const FIRST_FREE_PORT = 1_024;

export async function listen(
  server: Server, options: ListenerOptions, address: string,
): Promise<ListeningAt> {
  const { path, backlog, exclusive, ipv6Only, readableAll, writableAll } = options;
  // Node takes a `port` that is there but undefined for "any port", and would then ignore `path`.
  const place = path === undefined ? { port: options.port, host: options.host } : { path };
  const how: ListenOptions = {
    ...place, backlog: backlog ?? BACKLOG, exclusive, ipv6Only, readableAll, writableAll,
  };
  try {
    await bind(server, how);
  } catch (error) {
    const taken = systemCode(error) === 'EADDRINUSE';
    if (path === undefined || !taken || !await isLeftBehind(path)) {
      throw explain(error, options, address);
    }
    await unlink(path);
    await bind(server, how).catch((again: unknown) => { throw explain(again, options, address); });
  }
  const at = server.address();
  return at === null || typeof at === 'string' ? {} : { host: at.address, port: at.port };
}

function bind(server: Server, how: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      server.removeListener('listening', done);
      reject(error);
    };
    const done = (): void => {
      server.removeListener('error', failed);
      resolve();
    };
    server.once('error', failed).once('listening', done);
    server.listen(how);
  });
}

/** Whether this is the socket of a process that died. Any other file is somebody's, and stays. */
async function isLeftBehind(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  return found?.isSocket() === true && await nobodyAnswers(path);
}

function nobodyAnswers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', (error) => resolve(systemCode(error) === 'ECONNREFUSED'));
  });
}

function explain(error: unknown, options: ListenerOptions, address: string): ListenerError {
  const { port = 0, host, path } = options;
  const cause = { cause: error };
  switch (systemCode(error)) {
    case 'EADDRINUSE':
      return path === undefined
        ? new ListenerError('NIDO_LISTENER_PORT_TAKEN', `${address}: port ${port} is taken by `
          + `another program or listener. Stop it (\`ss -ltnp 'sport = :${port}'\` says which), or `
          + 'choose another port; 0 picks a free one.', cause)
        : new ListenerError('NIDO_LISTENER_PATH_TAKEN', `${address}: another process answers at `
          + 'this unix socket, or it is another kind of file. Stop the process, or choose another '
          + 'path.', cause);
    case 'EACCES':
    case 'EPERM':
      return path === undefined
        ? new ListenerError('NIDO_LISTENER_PORT_FORBIDDEN', `${address}: this user may not open `
          + `port ${port}${port < FIRST_FREE_PORT ? ' (below 1024)' : ''}. Choose one from 1024 `
          + 'up, or give the program the capability CAP_NET_BIND_SERVICE.', cause)
        : new ListenerError('NIDO_LISTENER_PATH_UNUSABLE', `${address}: this user may not create a `
          + 'socket there. Check owner and rights of the folder.', cause);
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new ListenerError('NIDO_LISTENER_ADDRESS_UNAVAILABLE', `${address}: host `
        + `${host ?? ''} is not an address of this machine. \`ip address\` shows them; leave host `
        + 'out to listen on all.', cause);
    case 'ENOENT':
    case 'ENOTDIR':
      return new ListenerError('NIDO_LISTENER_PATH_UNUSABLE', `${address}: the folder does not `
        + 'exist. Create it.', cause);
    default:
      return new ListenerError('NIDO_LISTENER_FAILED', `${address}: ${reasonOf(error)}.`, cause);
  }
}
