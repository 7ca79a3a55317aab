/**
 * Sockets that are accepted and not yet a Transport (PROXY header, TLS handshake): what `stop`
 * cuts.
 */
import type { Socket } from 'node:net';
import { connectionKey } from './peer.js';

const PENDING = Symbol('nidomq.pending');

interface PendingSocket extends Socket {
  [PENDING]?: { readonly peers: PendingPeers; readonly key: string | Socket };
}

export class PendingPeers {
  readonly #sockets = new Map<string | Socket, PendingSocket>();

  add(socket: PendingSocket): void {
    const key = connectionKey(socket) ?? socket;
    socket[PENDING] = { peers: this, key };
    this.#sockets.set(key, socket);
    socket.on('close', onClose);
  }

  /** Takes out the raw socket of this connection; `socket` may be the TLS socket around it. */
  take(socket: Socket): Socket | undefined {
    const pending = this.#sockets.get(connectionKey(socket) ?? socket);
    if (pending !== undefined) this.remove(pending);
    return pending;
  }

  remove(socket: PendingSocket): void {
    const pending = socket[PENDING];
    if (pending === undefined) return;
    socket[PENDING] = undefined;
    socket.removeListener('close', onClose);
    // A new connection may have the same four numbers before the old one's 'close' came through.
    if (this.#sockets.get(pending.key) === socket) this.#sockets.delete(pending.key);
  }

  destroyAll(): void {
    for (const socket of [...this.#sockets.values()]) socket.destroy();
  }
}

function onClose(this: PendingSocket): void {
  this[PENDING]?.peers.remove(this);
}
