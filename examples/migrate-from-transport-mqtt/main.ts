/**
 * A service with Nest's stock MQTT transport, and the same service on nidomq. `diff before.ts
 * after.ts` is the whole migration; the other service that talks to it keeps its stock client.
 *
 *     npm run example -- migrate-from-transport-mqtt
 *     npm run example -- migrate-from-transport-mqtt --url mqtt://your-broker:1883
 */
import { parseArgs } from 'node:util';
import type { INestMicroservice } from '@nestjs/common';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { Broker } from 'nidomq';
import { catchError, firstValueFrom, lastValueFrom, of, toArray } from 'rxjs';
import { create as createAfter } from './after.js';
import { create as createBefore } from './before.js';

const { values } = parseArgs({ options: { url: { type: 'string' } } });
const broker = values.url === undefined ? await openBroker() : undefined;
const url = values.url ?? `mqtt://127.0.0.1:${broker!.listeners[0].port}`;

console.log('before: transport: Transport.MQTT');
await useService(await createBefore(url));
console.log('after: strategy: new NidoStrategy({ join: { url } })');
await useService(await createAfter(url));
await broker?.close();

/** What another service asks, with the stock client. */
async function useService(app: INestMicroservice): Promise<void> {
  await app.listen();
  const client = ClientProxyFactory.create({ transport: Transport.MQTT, options: { url } });
  await client.connect();
  console.log(`  sum: ${await firstValueFrom(client.send<number>({ cmd: 'sum' }, [1, 2, 3]))}`);
  const rooms = client.send<string>('casa/habitaciones', '').pipe(toArray());
  console.log(`  rooms: ${(await firstValueFrom(rooms)).join(', ')}`);
  const failure = client.send('casa/fail', '').pipe(catchError((error) => of(error as object)));
  console.log(`  error: ${JSON.stringify(await firstValueFrom(failure))}`);
  await lastValueFrom(client.emit('casa/sala/temperatura', 21.5));
  // Answered after the event: when this is here, its handler has run.
  await firstValueFrom(client.send({ cmd: 'sum' }, []));
  await client.close();
  await app.close();
}

async function openBroker(): Promise<Broker> {
  const own = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }], logger: false });
  await own.listen();
  return own;
}
