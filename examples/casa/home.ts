/** Starts the application: a Nest microservice that hosts the broker in its own process. */
import type { INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { Broker, NidoStrategy } from 'nidomq/nest';
import { AppModule } from './app.module.js';

const USUAL_PORT = 1883;
const ANY_FREE_PORT = 0;

export interface Home {
  readonly port: number;
  close(): Promise<void>;
}

/** On 1883 when nobody has it, else on a free port. */
export async function openHome(): Promise<Home> {
  for (const port of [USUAL_PORT, ANY_FREE_PORT]) {
    const app = await createApp(port);
    try {
      await app.listen();
      return { port: app.get(Broker).listeners[0].port!, close: () => app.close() };
    } catch (error) {
      await app.close();
      if ((error as { code?: string }).code !== 'NIDO_LISTENER_PORT_TAKEN') throw error;
      console.log(`Port ${port} is taken by another program: using a free one.`);
    }
  }
  throw new Error('no free port on 127.0.0.1');
}

function createApp(port: number): Promise<INestMicroservice> {
  return NestFactory.createMicroservice<AsyncMicroserviceOptions>(AppModule.onPort(port), {
    // Nest's own lines would hide those of the house.
    logger: ['error', 'warn'],
    inject: [NidoStrategy],
    useFactory: (strategy: NidoStrategy) => ({ strategy }),
  });
}
