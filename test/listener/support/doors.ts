/** Every kind of door, open on loopback, and the way to connect to it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createListener, openTransport } from '../../../lib/listener/index.js';
import type {
  Listener, ListenerOptions, OpenTransportOptions, Transport, TransportKind,
} from '../../../lib/listener/index.js';
import type { Certificates, Pair } from './certificates.js';

export type DoorKind = Exclude<TransportKind, 'memory'>;
export const DOOR_KINDS: readonly DoorKind[] = ['tcp', 'tls', 'unix', 'ws', 'wss'];
export const LOOPBACK = '127.0.0.1';

export interface OpenDoor {
  readonly listener: Listener;
  connect(more?: OpenTransportOptions): Promise<Transport>;
  close(): Promise<void>;
}

const servers = new WeakMap<Certificates, Pair>();

/** One for all doors: each costs two processes of openssl. */
function serverOf(certificates: Certificates): Pair {
  const pair = servers.get(certificates) ?? certificates.server();
  servers.set(certificates, pair);
  return pair;
}

export async function openDoor(
  kind: DoorKind, certificates: Certificates, accept: (transport: Transport) => void,
): Promise<OpenDoor> {
  const folder = mkdtempSync(join(tmpdir(), 'nidomq-door-'));
  const path = join(folder, 'door.sock');
  const pair = kind === 'tls' || kind === 'wss' ? serverOf(certificates) : undefined;
  const place: ListenerOptions = kind === 'unix' ? { path } : { port: 0, host: LOOPBACK };
  const listener = createListener({
    ...place,
    ...pair === undefined ? {} : { tls: pair },
    ...kind === 'ws' || kind === 'wss' ? { ws: '/mqtt' } : {},
  });
  await listener.start(accept);
  return {
    listener,
    connect: (more = {}) => openTransport({
      ...kind === 'unix' ? { path } : { host: LOOPBACK, port: listener.port },
      ...pair === undefined ? {} : { tls: { caFile: certificates.caFile } },
      ...kind === 'ws' || kind === 'wss' ? { ws: '/mqtt' } : {},
      ...more,
    }),
    close: async () => {
      await listener.stop(1_000);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
