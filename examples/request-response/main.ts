/**
 * Requests and replies: MQTT 5's Response Topic, Observables, errors, and peers that know nothing
 * of Nest.
 *
 *     npm run example -- request-response
 *     npm run example -- request-response --stay     keeps the broker open to ask from a terminal
 */
import { parseArgs } from 'node:util';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { Broker, NidoClient, NidoModule, NidoStrategy } from 'nidomq/nest';
import { askFromADevice, askFromAnOldService, askFromTheApplication } from './askers.js';
import { CalculatorController } from './calculator.controller.js';

@Module({
  imports: [NidoModule.forRoot({ host: { listeners: [{ host: '127.0.0.1', port: 0 }] } })],
  controllers: [CalculatorController],
})
class AppModule {}

const { values } = parseArgs({ options: { stay: { type: 'boolean', default: false } } });

const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(AppModule, {
  logger: ['error', 'warn'],
  inject: [NidoStrategy],
  useFactory: (strategy: NidoStrategy) => ({ strategy }),
});
app.enableShutdownHooks();
await app.listen();
const port = app.get(Broker).listeners[0].port!;

await askFromTheApplication(app.get(NidoClient));
await askFromADevice(port);
await askFromAnOldService(port);

if (values.stay) {
  console.log(`
Ask from another terminal:

  mosquitto_rr -V 5 -h 127.0.0.1 -p ${port} -t calc/sum -e replies/me -m '[1,2,3]'

Ctrl-C ends it.`);
} else {
  await app.close();
}
