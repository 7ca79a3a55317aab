/** Four who ask the same handlers, each in its own way. */
import { randomUUID } from 'node:crypto';
import { ClientProxyFactory, Transport } from '@nestjs/microservices';
import { connectAsync } from 'mqtt';
import type { NidoClient } from 'nidomq/nest';
import { firstValueFrom, toArray } from 'rxjs';

/** The application itself: a promise for one reply, an Observable for many. */
export async function askFromTheApplication(client: NidoClient): Promise<void> {
  console.log('client.request  calc/sum [1,2,3] =', await client.request('calc/sum', [1, 2, 3]));
  const values = await firstValueFrom(client.send<number>('calc/count/4', '').pipe(toArray()));
  console.log('client.send     calc/count/4 =', values.join(', '));
  const failure: unknown = await client.request('calc/divide', [1, 0]).catch((error) => error);
  console.log('client.request  calc/divide [1,0] fails:', (failure as Error).message);
  const late: unknown = await client
    .request('calc/nobody', 0, { timeout: 200 })
    .catch((error) => error);
  console.log('client.request  calc/nobody fails:', (late as { code?: string }).code);
}

/** A device that knows nothing of Nest: MQTT 5's Response Topic and Correlation Data. */
export async function askFromADevice(port: number): Promise<void> {
  const device = await connectAsync(`mqtt://127.0.0.1:${port}`, { protocolVersion: 5 });
  const responseTopic = `replies/${randomUUID()}`;
  const correlationData = Buffer.from('question 1');
  await device.subscribeAsync(responseTopic, { qos: 1 });
  const answered = new Promise<string>((resolve) => {
    device.on('message', (_topic, payload, packet) => {
      resolve(`${payload.toString()} (to ${String(packet.properties?.correlationData)})`);
    });
  });
  const properties = { responseTopic, correlationData };
  await device.publishAsync('calc/sum', '[4,5,6]', { qos: 1, properties });
  console.log('a device        calc/sum [4,5,6] =', await answered);
  await device.endAsync();
}

/** A service that still has Nest's stock transport: its envelope and `/reply` topic work as ever. */
export async function askFromAnOldService(port: number): Promise<void> {
  const options = { url: `mqtt://127.0.0.1:${port}` };
  const stock = ClientProxyFactory.create({ transport: Transport.MQTT, options });
  console.log(
    'stock transport calc/sum [7,8,9] =',
    await firstValueFrom(stock.send<number>('calc/sum', [7, 8, 9])),
  );
  await stock.close();
}
