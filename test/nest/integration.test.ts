/**
 * What Nest's own integration tests of its MQTT transport ask for, with our strategy and client in
 * place of `Transport.MQTT`, hosting and joining.
 */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Body, Controller, HttpCode, Inject, Injectable, Module, Post, Query,
} from '@nestjs/common';
import type { INestApplication, PipeTransform } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  Client, ClientProxy, ClientsModule, Ctx, EventPattern, MessagePattern, MqttContext, MqttRecordBuilder,
  Payload, RpcException,
} from '@nestjs/microservices';
import { Observable, catchError, from, lastValueFrom, of, scan, take, throwError } from 'rxjs';
import { NidoClient, NidoStrategy } from '../../lib/nest/index.js';
import type { NidoOptions } from '../../lib/nest/index.js';
import { LogBook, closeAll, onClose, openBroker, until, urlOf } from './kit.js';

const seen = { notified: 0, wildcardEvent: 0, wildcardEvent2: 0, shared: 0 };

@Controller()
class MathController {
  constructor(@Inject('CLIENT') private readonly client: ClientProxy) {}

  @Post()
  @HttpCode(200)
  call(@Query('command') cmd: string, @Body() data: number[]): Observable<number> {
    return this.client.send<number>({ cmd }, data);
  }
  @Post('stream')
  @HttpCode(200)
  stream(@Body() data: number[]): Observable<number> {
    return this.client.send<number>({ cmd: 'streaming' }, data).pipe(scan((a, b) => a + b));
  }
  @Post('concurrent')
  @HttpCode(200)
  async concurrent(@Body() data: number[][]): Promise<boolean> {
    const results = await Promise.all(data.map(async (tab) => {
      const result = await lastValueFrom(this.client.send<number>({ cmd: 'sum' }, tab));
      return result === tab.reduce((a, b) => a + b);
    }));
    return results.every(Boolean);
  }
  @Post('record')
  @HttpCode(200)
  record(@Body() data: Record<string, unknown>): Observable<unknown> {
    const record = new MqttRecordBuilder(data)
      .setProperties({ userProperties: { 'x-version': '1.0.0' } }).setQoS(1).build();
    return this.client.send('record', record);
  }
  @Post('error')
  @HttpCode(200)
  error(@Body() data: Record<string, unknown>): Observable<boolean> {
    return this.client.send<boolean>({ cmd: 'error' }, data)
      .pipe(catchError((error: { status: string }) => of(error.status === 'error')));
  }
  @Post('rpc-error')
  @HttpCode(200)
  rpcError(): Observable<unknown> {
    return this.client.send('rpc-error', {}).pipe(catchError((error: unknown) => of(error)));
  }
  @Post('forward')
  @HttpCode(200)
  forward(@Query('topic') topic: string, @Body() data: object): Observable<unknown> {
    return this.client.send<unknown>(topic, data)
      .pipe(catchError((error: { message: string }) => of(error.message)));
  }
  @Post('refused')
  @HttpCode(200)
  refused(): Observable<unknown> {
    return this.forward('inherited', { refuse: true });
  }
  @Post('notify')
  notify(): Observable<unknown> {
    return this.client.emit('notification', true);
  }
  @Post('wildcard-event')
  wildcardEvent(): Observable<unknown> {
    return this.client.emit('wildcard-event/test', [1, 2, 3, 4, 5]);
  }
  @Post('wildcard-event2')
  wildcardEvent2(): Observable<unknown> {
    return this.client.emit('wildcard-event2/test/test', [1, 2, 3, 4, 5]);
  }
  @Post('shared')
  sharedEvent(): Observable<unknown> {
    return this.client.emit('shared-event/test', [1, 2]);
  }

  @MessagePattern({ cmd: 'sum' })
  sum(data: number[]): number {
    return data.reduce((a, b) => a + b);
  }
  @MessagePattern({ cmd: 'asyncSum' })
  async asyncSum(data: number[]): Promise<number> {
    return Promise.resolve(this.sum(data));
  }
  @MessagePattern({ cmd: 'streamSum' })
  streamSum(data: number[]): Observable<number> {
    return of(this.sum(data));
  }
  @MessagePattern({ cmd: 'streaming' })
  streaming(data: number[]): Observable<number> {
    return from(data);
  }
  @MessagePattern('record')
  useRecord(@Payload() data: object, @Ctx() context: MqttContext): object {
    const packet = context.getPacket() as {
      qos: number; properties?: { userProperties?: Record<string, string> };
    };
    return { ...data, qos: packet.qos, version: packet.properties?.userProperties?.['x-version'] };
  }
  @MessagePattern({ cmd: 'error' })
  throwAnError(): Observable<never> {
    return throwError(() => new Error('test'));
  }
  @MessagePattern('rpc-error')
  throwRpc(): never {
    throw new RpcException({ status: 'error', message: 'in words', code: 7 });
  }
  @MessagePattern('wildcard-message/+')
  wildcard(data: number[]): number {
    return this.sum(data);
  }
  @MessagePattern('wildcard-message2/#')
  wildcard2(data: number[]): number {
    return this.sum(data);
  }
  @MessagePattern('$share/test-group/shared-wildcard-message/+')
  sharedWildcard(data: number[]): number {
    return this.sum(data);
  }
  @EventPattern('notification')
  eventHandler(@Payload() data: unknown): void {
    if (data) seen.notified += 1;
  }
  @EventPattern('wildcard-event/+')
  wildcardEventHandler(@Payload() data: number[]): void {
    if (data.length === 5) seen.wildcardEvent += 1;
  }
  @EventPattern('wildcard-event2/#')
  wildcardEventHandler2(@Payload() data: number[]): void {
    if (data.length === 5) seen.wildcardEvent2 += 1;
  }
  @EventPattern('$share/g/shared-event/+')
  sharedEventHandler(@Payload() _data: unknown): void {
    seen.shared += 1;
  }
  @MessagePattern('inherited')
  inherited(@Payload() data: { value: string }): object {
    return data;
  }
}

@Injectable()
class MarkingPipe implements PipeTransform {
  transform(value: unknown): unknown {
    if (typeof value === 'object' && value !== null && 'refuse' in value) {
      throw new RpcException('refused');
    }
    return value;
  }
}

async function startHybrid(
  options: NidoOptions, clientUrl: () => string,
): Promise<{ post: (path: string, body?: unknown) => Promise<unknown>; app: INestApplication }> {
  @Module({
    imports: [ClientsModule.registerAsync([{
      name: 'CLIENT',
      useFactory: () => ({ customClass: NidoClient, options: { url: clientUrl() } }),
    }])],
    controllers: [MathController],
  })
  class AppModule {}
  const strategy = new NidoStrategy(options);
  const app = await NestFactory.create(AppModule, { logger: new LogBook() });
  onClose(() => app.close());
  app.useGlobalPipes(new MarkingPipe());
  app.connectMicroservice({ strategy }, { inheritAppConfig: true });
  await app.startAllMicroservices();
  await app.listen(0, '127.0.0.1');
  const url = await app.getUrl();
  const post = async (path: string, body?: unknown): Promise<unknown> => {
    const response = await fetch(`${url}${path}`, {
      method: 'POST', body: JSON.stringify(body ?? {}),
      headers: { 'content-type': 'application/json' },
    });
    const text = await response.text();
    try { return JSON.parse(text); } catch { return text; }
  };
  return { post, app };
}

describe.each(['host', 'join'] as const)('Nest\'s MQTT behaviour, %s', (mode) => {
  let post: (path: string, body?: unknown) => Promise<unknown>;

  beforeEach(async () => {
    Object.assign(seen, { notified: 0, wildcardEvent: 0, wildcardEvent2: 0, shared: 0 });
    if (mode === 'host') {
      const port = await freePort();
      const host = { listeners: [{ host: '127.0.0.1', port }] };
      ({ post } = await startHybrid({ host }, () => `mqtt://127.0.0.1:${port}`));
    } else {
      const broker = await openBroker();
      ({ post } = await startHybrid({ join: { url: urlOf(broker) } }, () => urlOf(broker)));
    }
  });
  afterEach(closeAll);

  it.each(['sum', 'asyncSum', 'streamSum'])('answers %s', async (command) => {
    expect(await post(`/?command=${command}`, [1, 2, 3, 4, 5])).toBe(15);
  });

  it('answers with all values of a stream', async () => {
    expect(await post('/stream', [1, 2, 3, 4, 5])).toBe(15);
  });

  it('answers requests at the same time', async () => {
    const tabs = Array.from({ length: 10 }, (_, at) => [at, 2 * at, 3]);
    expect(await post('/concurrent', tabs)).toBe(true);
  });

  it('hands QoS and user properties of a record over', async () => {
    expect(await post('/record', { a: 1 })).toEqual({ a: 1, qos: 1, version: '1.0.0' });
  });

  it('turns an error into an error', async () => {
    expect(await post('/error', {})).toBe(true);
    expect(await post('/rpc-error')).toEqual({ status: 'error', message: 'in words', code: 7 });
  });

  it('matches wildcards in requests, shared ones too', async () => {
    expect(await post('/forward?topic=wildcard-message/test', [1, 2])).toBe(3);
    expect(await post('/forward?topic=wildcard-message2/test/test', [1, 2])).toBe(3);
    expect(await post('/forward?topic=shared-wildcard-message/test', [1, 2])).toBe(3);
  });

  it('handles events, with wildcards and shared', async () => {
    await post('/notify');
    await post('/wildcard-event');
    await post('/wildcard-event2');
    await post('/shared');
    await until('four events', () => Object.values(seen).every((count) => count === 1));
  });

  it('inherits the configuration of the application', async () => {
    expect(await post('/forward?topic=inherited', { value: 'yes' })).toEqual({ value: 'yes' });
    expect(await post('/refused')).toBe('refused');
  });
});

@Controller()
class BroadcastController {
  @Client({ customClass: NidoClient, options: {} } as never)
  client!: ClientProxy;

  @MessagePattern({ cmd: 'broadcast' })
  reply(): Observable<number> {
    return new Observable((observer) => observer.next(1));
  }
}

describe('Nest\'s MQTT broadcast', () => {
  afterEach(closeAll);

  it.each(['host', 'join'] as const)('is answered by every application, the first one: %s',
    async (mode) => {
      const broker = mode === 'join' ? await openBroker() : undefined;
      const port = broker === undefined ? await freePort() : broker.listeners[0].port;
      const join = { url: `mqtt://127.0.0.1:${port}` };
      @Module({ controllers: [BroadcastController] })
      class AppModule {}
      for (const at of [0, 1]) {
        const isHost = at === 0 && broker === undefined;
        const strategy = new NidoStrategy({
          ...(isHost ? { host: { listeners: [{ host: '127.0.0.1', port }] } } : { join }),
          drainMs: 50,
        } as NidoOptions);
        const app = await NestFactory.createMicroservice(
          AppModule, { strategy, logger: new LogBook() });
        onClose(() => app.close());
        await app.listen();
        expect(app.get(BroadcastController).client).toBeInstanceOf(NidoClient);
      }
      const client = new NidoClient(join);
      onClose(() => client.close());
      const answers = client.send<number>({ cmd: 'broadcast' }, {})
        .pipe(scan((a, b) => a + b), take(2));
      expect(await lastValueFrom(answers)).toBe(2);
    });
});

async function freePort(): Promise<number> {
  const { createServer } = await import('node:net');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
