/** Doors: every way a byte stream can come in (`createListener`) or be opened (`openTransport`). */
import type { Server as HttpServer } from 'node:http';
import { AttachedDoor } from './attached-door.js';
import { websocketOptions } from './listener-options.js';
import type { ListenerOptions } from './listener-options.js';
import { ServerDoor } from './server-door.js';
import { TlsDoor } from './tls-door.js';
import type { Listener, ListenerObserver } from './transport.js';

export { ListenerError, TransportError } from './listener-error.js';
export type { ListenerErrorCode, TransportErrorCode } from './listener-error.js';
export type {
  ListenerOptions, SniContextOptions, TlsListenerOptions, WebSocketListenerOptions,
} from './listener-options.js';
export { openTransport } from './open-transport.js';
export type {
  OpenTransportOptions, TlsConnectOptions, WebSocketConnectOptions,
} from './open-transport.js';
export type { PreSharedKeyLookup, PreSharedKeys } from './pre-shared-keys.js';
export type { ProxyProtocolOptions } from './proxy-reader.js';
export { reloadOnSignal } from './reload-on-signal.js';
export type { ReloadOnSignalOptions } from './reload-on-signal.js';
export type * from './transport.js';

/**
 * Rejects with a ListenerError when a door could not be opened with these options: what contradicts
 * itself, and certificates and keys that are missing or wrong. Opens nothing.
 */
export async function checkListener(options: ListenerOptions): Promise<void> {
  const { name } = createListener(options);
  const { tls } = options;
  if (tls !== undefined) await new TlsDoor({ ...options, tls }, name).load();
}

/**
 * Makes a door. Throws a ListenerError when the options contradict each other; nothing is opened
 * before `start`.
 */
export function createListener(options: ListenerOptions, observer?: ListenerObserver): Listener {
  const ws = websocketOptions(options);
  if (ws?.server === undefined) return new ServerDoor(options, observer);
  const server = ws.server as HttpServer;
  return new AttachedDoor({ ...options, ws: { ...ws, server } }, observer);
}
