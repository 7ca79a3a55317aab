/** Reaching a broker: what a client and a strategy do when it is not there, and when it comes. */
import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { Broker } from '../../lib/index.js';
import { NidoClient, NidoStrategy } from '../../lib/nest/index.js';
import type { NidoOptions } from '../../lib/nest/index.js';
import {
  LogBook, aWhile, closeAll, connectDevice, onClose, openBroker, until, urlOf,
} from './kit.js';

const calls: unknown[] = [];
afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

@Controller()
class Handlers {
  @MessagePattern('sum')
  sum(@Payload() data: number[]): number { return data.reduce((a, b) => a + b); }
  @MessagePattern('rw/#')
  rw(@Payload() data: unknown): unknown {
    calls.push(data);
    return { got: data };
  }
  @EventPattern('t')
  event(@Payload() data: unknown): void { calls.push(data); }
}
@Module({ controllers: [Handlers] })
class AppModule {}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function hostAt(port: number): Promise<void> {
  const app = await NestFactory.createMicroservice(AppModule, {
    strategy: new NidoStrategy({ host: { listeners: [{ host: '127.0.0.1', port }] } }),
    logger: new LogBook(),
  });
  onClose(() => app.close());
  await app.listen();
}

describe('a client', () => {
  it('fails while there is no broker, and works when there is one', async () => {
    const port = await freePort();
    const client = new NidoClient({ url: `mqtt://127.0.0.1:${port}`, reconnectPeriod: 20 });
    onClose(() => client.close());
    const failing = async (): Promise<void> => {
      await expect(firstValueFrom(client.send('sum', [1, 2]))).rejects.toMatchObject({
        code: 'NIDO_NEST_UNREACHABLE', cause: { message: expect.stringContaining('ECONNREFUSED') },
      });
    };
    await failing();
    await expect(client.publish('t', 1)).rejects.toMatchObject({ code: 'NIDO_NEST_UNREACHABLE' });
    await failing();
    await hostAt(port);
    let answer: unknown;
    await until('an answer', () => {
      if (answer === undefined) {
        firstValueFrom(client.send('sum', [1, 2])).then((sum) => { answer = sum; }, () => undefined);
      }
      return answer === 3;
    });
  });

  it('may be used again after close, as the stock one', async () => {
    const broker = await openBroker();
    const client = new NidoClient({ url: urlOf(broker) });
    const told: string[] = [];
    client.on('connect', () => told.push('connect'));
    const { client: device, received } = await connectDevice(urlOf(broker));
    await device.subscribeAsync('out');
    for (const data of ['one', 'two']) {
      await client.publish('out', data);
      await client.close();
    }
    await until('both', () => received.length === 2);
    expect(told).toEqual(['connect', 'connect']);
  });

  it('that the broker refuses says why, and tries anew when it is used again', async () => {
    let password = 'other';
    const broker = new Broker({
      listeners: [{ host: '127.0.0.1', port: 0 }], logger: false,
      authentication: [{
        authenticate: (request) => String(request.password) === password
          ? { ok: true, username: 'api' } : { ok: false, reasonCode: 0x86 },
      }],
    });
    await broker.listen();
    onClose(() => broker.close());
    const client = new NidoClient({ url: urlOf(broker), username: 'api', password: 'mine' });
    onClose(() => client.close());
    await expect(client.publish('t', 1)).rejects.toMatchObject({
      code: 'NIDO_NEST_UNREACHABLE',
      message: expect.stringMatching(/one attempt.*refused.*credentials/) as unknown,
    });
    password = 'mine';
    await client.publish('t', 1, { qos: 1 });
  });
});

describe.each(['host', 'join'] as const)('a strategy that could not listen, %s', (mode) => {
  it('may listen again, and every handler is called once', async () => {
    const port = await freePort();
    const url = `mqtt://127.0.0.1:${port}`;
    const options: NidoOptions = mode === 'host'
      ? { host: { listeners: [{ host: '127.0.0.1', port }] } }
      : { join: { url, maxConnectionAttempts: 2, reconnectPeriod: 10 } };
    const occupant = createServer();
    if (mode === 'host') {
      await new Promise<void>((resolve) => occupant.listen(port, '127.0.0.1', resolve));
    }
    const strategy = new NidoStrategy(options);
    const app = await NestFactory.createMicroservice(AppModule, { strategy, logger: new LogBook() });
    onClose(() => app.close());
    await expect(app.listen()).rejects.toMatchObject({
      code: mode === 'host' ? 'NIDO_LISTENER_PORT_TAKEN' : 'NIDO_NEST_UNREACHABLE',
    });
    if (mode === 'host') await new Promise((resolve) => occupant.close(resolve));
    else {
      const broker = new Broker({ listeners: [{ host: '127.0.0.1', port }], logger: false });
      await broker.listen();
      onClose(() => broker.close());
    }
    await app.listen();
    const { client } = await connectDevice(url);
    await client.publishAsync('t', '1', { qos: 1 });
    await client.publishAsync('t', '2', { qos: 1 });
    await until('both', () => calls.includes(2));
    expect(calls).toEqual([1, 2]);
  });
});

describe('replicas that share the work', () => {
  it('do not take each other\'s replies for requests', async () => {
    const broker = await openBroker();
    const url = urlOf(broker);
    for (const clientId of ['a', 'b']) {
      const app = await NestFactory.createMicroservice(AppModule, {
        strategy: new NidoStrategy({ join: { url, clientId, share: 'api' } }), logger: new LogBook(),
      });
      onClose(() => app.close());
      await app.listen();
    }
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync('rw/+/reply', { qos: 1 });
    for (let at = 0; at < 20; at += 1) {
      const request = JSON.stringify({ pattern: `rw/${at}`, data: at, id: `i${at}` });
      await client.publishAsync(`rw/${at}`, request, { qos: 1 });
    }
    await until('all replies', () => received.length === 20);
    await aWhile();
    expect(calls.sort((a, b) => Number(a) - Number(b)))
      .toEqual(Array.from({ length: 20 }, (_, at) => at));
  });
});
