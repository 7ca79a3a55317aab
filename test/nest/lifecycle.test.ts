/** When handlers may run: not before the application is bootstrapped, not after it is destroyed. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Injectable, Module } from '@nestjs/common';
import type {
  DynamicModule, INestApplication, OnApplicationBootstrap, OnModuleDestroy, OnModuleInit, Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, Payload } from '@nestjs/microservices';
import type { NidoClient as MqttClient } from '../../lib/client/index.js';
import { Broker, NidoModule, NidoStrategy } from '../../lib/nest/index.js';
import type { NidoOptions } from '../../lib/nest/index.js';
import {
  HOSTED, LogBook, aWhile, closeAll, connectDevice, onClose, openBroker, until, urlOf,
} from './kit.js';

const order: string[] = [];
let finish: () => void = () => undefined;
afterEach(async () => {
  finish();
  await closeAll();
  order.length = 0;
});

@Injectable()
class Database implements OnModuleInit, OnApplicationBootstrap, OnModuleDestroy {
  state: 'closed' | 'open' = 'closed';
  async onModuleInit(): Promise<void> {
    await aWhile(20);
    this.state = 'open';
    order.push('database open');
  }
  async onApplicationBootstrap(): Promise<void> {
    await aWhile(20);
    order.push('bootstrapped');
  }
  async onModuleDestroy(): Promise<void> {
    order.push('database closed');
    this.state = 'closed';
    await aWhile(20);
  }
}
@Module({ providers: [Database], exports: [Database] })
class DatabaseModule {}

@Controller()
class Handlers {
  constructor(private readonly database: Database) {}
  @EventPattern('t')
  handle(@Payload() data: unknown): void {
    order.push(`handled ${String(data)}, database ${this.database.state}`);
  }
  @EventPattern('slow')
  async slow(@Payload() _data: unknown): Promise<void> {
    order.push('slow began');
    await new Promise<void>((resolve) => { finish = resolve; });
    order.push(`slow ended, database ${this.database.state}`);
  }
}

function appModule(nido: DynamicModule): Type<unknown> {
  @Module({ imports: [nido, DatabaseModule], controllers: [Handlers] })
  class AppModule {}
  return AppModule;
}

interface Setting {
  readonly options: NidoOptions;
  /** Where devices connect. */
  broker(app: INestApplication): Broker;
}

async function settingOf(mode: 'host' | 'join'): Promise<Setting> {
  if (mode === 'host') return { options: HOSTED, broker: (app) => app.get(Broker) };
  const joined = await openBroker();
  return { options: { join: { url: urlOf(joined) } }, broker: () => joined };
}

describe.each(['host', 'join'] as const)('with NidoModule, %s', (mode) => {
  it('no handler runs before the application is bootstrapped', async () => {
    const { options, broker } = await settingOf(mode);
    const app = await NestFactory.create(
      appModule(NidoModule.forRoot(options)), { logger: new LogBook() });
    onClose(() => app.close());
    app.connectMicroservice({ strategy: app.get(NidoStrategy) });
    // The documented order of hybrid applications: the transports listen first.
    await app.startAllMicroservices();
    const { client } = await connectDevice(urlOf(broker(app)));
    const published = client.publishAsync('t', '1', { qos: 1 });
    await aWhile();
    expect(order).toEqual([]);
    await app.init();
    await published;
    await until('the handler', () => order.length === 3);
    expect(order).toEqual(['database open', 'bootstrapped', 'handled 1, database open']);
  });

  it('handlers finish, and none begins, before what they need is destroyed', async () => {
    const { options, broker } = await settingOf(mode);
    const app = await NestFactory.create(
      appModule(NidoModule.forRoot(options)), { logger: new LogBook() });
    onClose(() => app.close());
    app.connectMicroservice({ strategy: app.get(NidoStrategy) });
    await app.startAllMicroservices();
    await app.init();
    const { client } = await connectDevice(urlOf(broker(app)));
    client.publish('slow', 'x', { qos: 1 });
    await until('the slow one', () => order.includes('slow began'));
    const closed = app.close();
    // What the server sent before it had the UNSUBSCRIBE would still be handled.
    await until('the end to begin', () => broker(app).stats().subscriptions === 0);
    client.publish('t', '2', { qos: 1 });
    await aWhile();
    expect(order).toEqual(['database open', 'bootstrapped', 'slow began']);
    finish();
    await closed;
    expect(order.slice(3)).toEqual(['slow ended, database open', 'database closed']);
  });

  it('does not wait longer than drainMs', async () => {
    const { options, broker } = await settingOf(mode);
    const log = new LogBook();
    const app = await NestFactory.create(
      appModule(NidoModule.forRoot({ ...options, drainMs: 60 })), { logger: log });
    app.connectMicroservice({ strategy: app.get(NidoStrategy) });
    await app.startAllMicroservices();
    await app.init();
    const { client } = await connectDevice(urlOf(broker(app)));
    client.publish('slow', 'x', { qos: 1 });
    await until('the slow one', () => order.includes('slow began'));
    await app.close();
    expect(order).not.toContain('slow ended, database open');
    expect(log.matching(/still at work after 60 ms/)).toHaveLength(1);
  });

  it('tells its status in the words of Nest', async () => {
    const { options } = await settingOf(mode);
    const app = await NestFactory.createMicroservice(
      appModule(NidoModule.forRoot(options)),
      { strategy: new NidoStrategy(options), logger: new LogBook() });
    const statuses: string[] = [];
    app.status.subscribe((status: string) => statuses.push(status));
    await app.listen();
    await app.close();
    expect(statuses).toEqual([mode === 'host' ? 'listening' : 'connected', 'closed']);
  });
});

describe('a bare strategy', () => {
  it('closes twice, and refuses unwrap before it listens', async () => {
    const strategy = new NidoStrategy(HOSTED);
    expect(() => strategy.unwrap()).toThrow(/call "listen"/);
    await strategy.close();
    await strategy.close();
  });

  it('hears events that were asked for before it listens', async () => {
    const broker = await openBroker();
    const strategy = new NidoStrategy({ join: { url: urlOf(broker) } });
    strategy.on('connect', () => order.push('connect'));
    @Module({})
    class Empty {}
    const app = await NestFactory.createMicroservice(Empty, { strategy, logger: new LogBook() });
    onClose(() => app.close());
    await app.listen();
    expect(order).toEqual(['connect']);
  });

  it('comes back by itself when its broker does, and says so', async () => {
    const broker = await openBroker();
    const { port } = broker.listeners[0];
    const strategy = new NidoStrategy({ join: { url: urlOf(broker), reconnectPeriod: 20 } });
    @Controller()
    class Plain {
      @EventPattern('t')
      handle(@Payload() data: unknown): void { order.push(`handled ${String(data)}`); }
    }
    @Module({ controllers: [Plain] })
    class AppModule {}
    const app = await NestFactory.createMicroservice(
      AppModule, { strategy, logger: new LogBook() });
    onClose(() => app.close());
    const statuses: string[] = [];
    app.status.subscribe((status: string) => statuses.push(status));
    await app.listen();
    await broker.close();
    await until('the loss', () => statuses.length > 1);
    const again = new Broker({ listeners: [{ host: '127.0.0.1', port }], logger: false });
    onClose(() => again.close());
    await again.listen();
    await until('the return', () => statuses.at(-1) === 'connected' && statuses.length > 2);
    await until('the subscription', () => again.stats().subscriptions > 0);
    await again.publish('t', '1', { qos: 1 });
    await until('the handler', () => order.length === 1);
  });

  it('has a store when it is told to, and is the same client with it later', async () => {
    const broker = await openBroker();
    const path = mkdtempSync(join(tmpdir(), 'nidomq-nest-store-'));
    onClose(() => Promise.resolve(rmSync(path, { recursive: true, force: true })));
    const identifiers: string[] = [];
    for (let start = 0; start < 2; start += 1) {
      const strategy = new NidoStrategy({
        join: { url: urlOf(broker), engine: { file: { path, durability: 'os' } } },
      });
      @Module({})
      class Empty {}
      const app = await NestFactory.createMicroservice(Empty, { strategy, logger: new LogBook() });
      onClose(() => app.close());
      await app.listen();
      const client = strategy.unwrap<MqttClient>();
      await client.publish('t', 'x', { qos: 2, until: 'stored' });
      identifiers.push(client.clientIdentifier);
      await app.close();
    }
    expect(identifiers[1]).toBe(identifiers[0]);
  });

  it('does not listen twice on a port that is taken, and says so', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onClose(() => new Promise((resolve) => server.close(resolve)));
    const { port } = server.address() as { port: number };
    @Module({})
    class Empty {}
    const strategy = new NidoStrategy({ host: { listeners: [{ host: '127.0.0.1', port }] } });
    const app = await NestFactory.createMicroservice(Empty, { strategy, logger: new LogBook() });
    onClose(() => app.close());
    await expect(app.listen()).rejects.toMatchObject({ code: 'NIDO_LISTENER_PORT_TAKEN' });
  });
});
