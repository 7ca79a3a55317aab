/** The same service on nidomq: one line, and its import. */
import type { INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { NidoStrategy } from 'nidomq/nest';
import { AppModule } from './app.module.js';

export function create(url: string): Promise<INestMicroservice> {
  return NestFactory.createMicroservice(AppModule, {
    strategy: new NidoStrategy({ join: { url } }),
    logger: ['error'],
  });
}
