/**
 * Tells a broker that stalls from a machine that is slow. Beside what is measured, an echo over a
 * socket of its own goes on in the same process: whoever waits for an idle broker sees many of its
 * rounds pass, whoever waits for a busy one sees CPU time pass. A machine that has no time for us
 * gives neither.
 */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

/** Between two rounds; a busy echo would be a load itself. */
const PACE_MS = 1;
/** What a broker may cost while one message of a good pair is under way. */
export const STALL_CPU_MS_MAX = 1_500;
export const STALL_ROUNDS_MAX = 1_000;

export interface Mark {
  readonly rounds: number;
  readonly cpuMs: number;
}

export class Witness {
  private rounds = 0;
  private readonly server = createServer((socket) => {
    socket.on('error', () => undefined).on('data', (chunk) => socket.write(chunk));
  });
  private socket: Socket | undefined;
  private timer: NodeJS.Timeout | undefined;

  async start(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    const socket = connect((this.server.address() as AddressInfo).port, '127.0.0.1');
    this.socket = socket;
    await once(socket, 'connect');
    socket.on('error', () => undefined).on('data', () => {
      this.rounds += 1;
      this.timer = setTimeout(() => socket.write('.'), PACE_MS);
    });
    socket.write('.');
  }

  /** Where it is now. */
  mark(): Mark {
    const { user, system } = process.cpuUsage();
    return { rounds: this.rounds, cpuMs: (user + system) / 1_000 };
  }

  since(before: Mark): Mark {
    const now = this.mark();
    return { rounds: now.rounds - before.rounds, cpuMs: now.cpuMs - before.cpuMs };
  }

  stop(): void {
    clearTimeout(this.timer);
    this.socket?.destroy();
    this.server.close();
  }
}
