/** The service with Nest's stock transport. */
import type { INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Transport } from '@nestjs/microservices';
import { AppModule } from './app.module.js';

export function create(url: string): Promise<INestMicroservice> {
  return NestFactory.createMicroservice(AppModule, {
    transport: Transport.MQTT, options: { url },
    logger: ['error'],
  });
}
