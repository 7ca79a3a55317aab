/**
 * Authentication and authorisation as providers, and the identity of a publisher in a guard.
 *
 *     npm run example -- acl
 */
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import { connectAsync } from 'mqtt';
import type { MqttClient } from 'mqtt';
import { Broker, NidoModule, NidoStrategy } from 'nidomq/nest';
import { Accounts } from './accounts.js';
import { DoorKeeper } from './door-keeper.js';
import { HouseController } from './house.controller.js';
import { HouseRules } from './house-rules.js';

@Module({
  imports: [NidoModule.forRoot({ host: { listeners: [{ host: '127.0.0.1', port: 0 }] } })],
  controllers: [HouseController],
  providers: [Accounts, DoorKeeper, HouseRules],
})
class AppModule {}

const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(AppModule, {
  // A refused command is logged as an error; here the client says so, too.
  logger: ['fatal'],
  inject: [NidoStrategy],
  useFactory: (strategy: NidoStrategy) => ({ strategy }),
});
await app.listen();
const url = `mqtt://127.0.0.1:${app.get(Broker).listeners[0].port}`;

await attempt('a stranger connects', connect('nadie', 'nada'));
await attempt('ana connects with a wrong password', connect('ana', 'olvidada'));

const thermometer = await connect('termometro', 'frio');
await attempt('termometro publishes for its room', send(thermometer, 'casa/sala/temperatura', '21'));
await attempt('termometro publishes for another', send(thermometer, 'casa/cocina/temperatura', '9'));

const phone = await connect('telefono', 'mirar');
await attempt('telefono looks at the house', phone.subscribeAsync('casa/#'));
await attempt('telefono looks at everything', phone.subscribeAsync('#'));
await attempt('telefono switches the light', send(phone, 'casa/sala/luz/set', 'on'));

const ana = await connect('ana', 'duena');
await attempt('ana switches the light', send(ana, 'casa/sala/luz/set', 'on'));

await Promise.all([thermometer, phone, ana].map((client) => client.endAsync()));
await app.close();

function connect(username: string, password: string): Promise<MqttClient> {
  return connectAsync(url, { username, password, protocolVersion: 5, reconnectPeriod: 0 }, false);
}

/** QoS 1: the Reason Code of the PUBACK says whether it was taken. */
function send(client: MqttClient, topic: string, payload: string): Promise<unknown> {
  return client.publishAsync(topic, payload, { qos: 1 });
}

async function attempt(what: string, doing: Promise<unknown>): Promise<void> {
  try {
    await doing;
    console.log(`${what}: yes`);
  } catch (error) {
    console.log(`${what}: no, ${(error as Error).message}`);
  }
}
