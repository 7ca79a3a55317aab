/**
 * The same handlers as in examples/casa, in an application that joins a broker instead of hosting
 * one. Any MQTT broker will do:
 *
 *     npx nidomq start --port 1883                                     in one terminal
 *     npm run example -- join --url mqtt://127.0.0.1:1883              in another
 *     npm run example -- join --url mqtt://127.0.0.1:1883 --share casa  a replica that shares the work
 */
import { parseArgs } from 'node:util';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { NidoStrategy } from 'nidomq/nest';
import { AppModule } from './app.module.js';

const { values } = parseArgs({
  options: {
    url: { type: 'string', default: 'mqtt://127.0.0.1:1883' },
    share: { type: 'string' },
  },
});
const { url, share } = values;
const { hostname, port } = new URL(url);

const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(
  AppModule.joining({ url, share }),
  { inject: [NidoStrategy], useFactory: (strategy: NidoStrategy) => ({ strategy }) },
);
app.enableShutdownHooks();
try {
  await app.listen();
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
console.log(`
Joined ${url}. Publish from another terminal, the handlers say what they see:

  mosquitto_pub -h ${hostname} -p ${port || 1883} -t casa/sala/temperatura -m '{"celsius": 25.2}' -q 1

Ctrl-C ends it.`);
