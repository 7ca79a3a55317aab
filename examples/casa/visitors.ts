import { Injectable } from '@nestjs/common';
import { OnClientDisconnected } from 'nidomq/nest';
import type { ClientDisconnectedEvent } from 'nidomq/nest';
import { say } from './report.js';

/** Who hosts the broker is told who comes and goes. */
@Injectable()
export class Visitors {
  @OnClientDisconnected()
  gone({ clientId, by }: ClientDisconnectedEvent): void {
    if (by === 'network') say('broker', `${clientId} is gone without a goodbye`);
  }
}
