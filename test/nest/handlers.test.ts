/** What a handler gets and what stands around it: parameters, pipes, guards, filters, scopes. */
import { afterEach, describe, expect, it } from '@jest/globals';
import {
  Catch, Controller, Inject, Injectable, Module, ParseIntPipe, Scope, UseFilters, UseGuards,
  UseInterceptors,
} from '@nestjs/common';
import type {
  CallHandler, CanActivate, ExceptionFilter, ExecutionContext, NestInterceptor, Type,
} from '@nestjs/common';
import {
  CONTEXT, Ctx, EventPattern, MessagePattern, MqttContext, Payload, RpcException,
} from '@nestjs/microservices';
import { firstValueFrom, map, throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import {
  MqttPacket, MqttUserProperties, NidoClient, NidoContext, OnRequest, OnTopic, TopicParam,
  TopicPrefix, topic,
} from '../../lib/nest/index.js';
import type { PublishPacket, TopicParams } from '../../lib/nest/index.js';
import { aWhile, closeAll, connectDevice, onClose, startBare, until } from './kit.js';

const calls: unknown[][] = [];
afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

function moduleOf(controllers: Type<unknown>[], providers: Type<unknown>[] = []): Type<unknown> {
  @Module({ controllers, providers })
  class AppModule {}
  return AppModule;
}

async function clientOf(url: string): Promise<NidoClient> {
  const client = new NidoClient({ url, envelope: 'auto', protocolVersion: 5 });
  onClose(() => client.close());
  await client.connect();
  return client;
}

const SET = ':habitacion/luz/:n/set';

@Controller()
@TopicPrefix('casa')
class Casa {
  @OnTopic(':habitacion/temperatura')
  temperature(
    @TopicParam('habitacion') room: string, @Payload() data: unknown,
    @MqttUserProperties('trace') trace?: string, @MqttUserProperties() all?: object,
    @MqttPacket() packet?: PublishPacket, @MqttPacket('qos') qos?: number,
  ): void {
    calls.push(['temperature', room, data, trace, { ...all }, packet?.topic, qos]);
  }
  @OnRequest(SET)
  set(
    @TopicParam() params: TopicParams<typeof SET>, @TopicParam('n', ParseIntPipe) n: number,
    @Payload() data: unknown, @Ctx() context: MqttContext,
  ): object {
    return { ...params, n, data, topic: context.getTopic(), isStock: context instanceof MqttContext };
  }
  @OnTopic(['puerta/:which', 'ventana/:which'])
  opened(@TopicParam('which') which: string, @Ctx() context: NidoContext): void {
    calls.push(['opened', which, context.getTopic()]);
  }
  @EventPattern('literal/:name')
  literal(@Payload() data: unknown): void { calls.push(['literal', data]); }
}

@Controller()
@TopicPrefix('jardin')
class Garden extends Casa {}

describe.each(['host', 'join'] as const)('a handler, %s', (mode) => {
  it('gets parameters of its topic, user properties and the packet', async () => {
    const { url } = await startBare(moduleOf([Casa]), mode);
    const { client } = await connectDevice(url);
    const properties = { userProperties: { trace: 't1', other: ['a', 'b'] } };
    await client.publishAsync('casa/sala/temperatura', '21.5', { qos: 1, properties });
    await until('the call', () => calls.length === 1);
    expect(calls[0]).toEqual([
      'temperature', 'sala', 21.5, 't1', { trace: 't1', other: ['a', 'b'] },
      'casa/sala/temperatura', 1,
    ]);
  });

  it('may log and copy the packet', async () => {
    @Controller()
    class Logging {
      @EventPattern<string>('log')
      handle(@Payload() _data: unknown, @Ctx() context: MqttContext): void {
        calls.push([{ ...context.getPacket() }, JSON.stringify(context.getPacket())]);
      }
    }
    const { url } = await startBare(moduleOf([Logging]), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('log', 'x', { qos: 1 });
    await until('the call', () => calls.length === 1);
    const [copy, text] = calls[0] as [object, string];
    expect(copy).toMatchObject({ cmd: 'publish', topic: 'log', qos: 1, retain: false, dup: false });
    expect(JSON.parse(text)).toMatchObject({ topic: 'log', qos: 1 });
  });

  it('gets parameters through pipes, and answers a pipe that throws with an error', async () => {
    const { url } = await startBare(moduleOf([Casa]), mode);
    const client = await clientOf(url);
    expect(await client.request('casa/sala/luz/2/set', { on: true })).toEqual({
      habitacion: 'sala', n: 2, data: { on: true }, topic: 'casa/sala/luz/2/set', isStock: true,
    });
    await expect(client.request('casa/sala/luz/two/set', {})).rejects.toThrow();
  });

  it('has several topics, a prefix of its class, and that of a subclass beside it', async () => {
    const { url } = await startBare(moduleOf([Casa, Garden]), mode);
    const { client } = await connectDevice(url);
    for (const name of ['casa/puerta/1', 'casa/ventana/2', 'jardin/puerta/3']) {
      await client.publishAsync(name, '', { qos: 1 });
    }
    await until('three calls', () => calls.length === 3);
    expect(calls).toEqual([
      ['opened', '1', 'casa/puerta/1'], ['opened', '2', 'casa/ventana/2'],
      ['opened', '3', 'jardin/puerta/3'],
    ]);
  });

  it('has :name as a literal level in stock decorators', async () => {
    const { url } = await startBare(moduleOf([Casa]), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('literal/x', '1', { qos: 1 });
    await client.publishAsync('literal/:name', '2', { qos: 1 });
    await until('the call', () => calls.length > 0);
    expect(calls).toEqual([['literal', 2]]);
  });

  it('is called once for a message that several of its patterns match', async () => {
    @Controller()
    class Overlapping {
      @EventPattern(['a/#', 'a/+', 'a/b'])
      handle(@Ctx() context: NidoContext): void { calls.push([context.getTopic()]); }
    }
    const { url } = await startBare(moduleOf([Overlapping]), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('a/b', '', { qos: 1 });
    await client.publishAsync('a/b/c', '', { qos: 1 });
    await until('two calls', () => calls.length === 2);
    expect(calls).toEqual([['a/b'], ['a/b/c']]);
  });

  it('asks the broker for what its options say: retained messages, no local, share', async () => {
    @Controller()
    class Options {
      @OnTopic('r/live', { retainHandling: 2 })
      live(@Payload() data: unknown): void { calls.push(['live', data]); }
      @OnTopic('r/all')
      all(@Payload() data: unknown, @MqttPacket('retain') retain: boolean): void {
        calls.push(['all', data, retain]);
      }
      @OnTopic('mine', { noLocal: true })
      mine(@Payload() data: unknown): void { calls.push(['mine', data]); }
      @OnTopic('shared', { share: 'g' })
      one(@Payload() data: unknown): void { calls.push(['shared', data]); }
      @OnTopic('shared', { share: 'g' })
      other(@Payload() data: unknown): void { calls.push(['shared', data]); }
      @EventPattern('publish')
      async publish(@Ctx() context: NidoContext): Promise<void> {
        await context.client.publish('mine', 'own');
      }
    }
    const { url } = await startBare(moduleOf([Options]), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('publish', '', { qos: 1 });
    await client.publishAsync('mine', 'foreign', { qos: 1 });
    await client.publishAsync('r/live', 'now', { qos: 1, retain: true });
    await client.publishAsync('r/all', 'now', { qos: 1, retain: true });
    for (const data of ['1', '2']) await client.publishAsync('shared', data, { qos: 1 });
    await until('all calls', () => calls.length >= 5);
    await aWhile();
    expect(calls).toHaveLength(5);
    expect(calls).toEqual(expect.arrayContaining([
      ['mine', 'foreign'], ['live', 'now'], ['all', 'now', false], ['shared', 1], ['shared', 2],
    ]));
  });

  it('misses nothing that another one of the same filter does not want', async () => {
    @Controller()
    class Beside {
      @OnTopic('b/:x')
      all(@Payload() data: unknown): void { calls.push(['all', data]); }
      @OnTopic('b/:x', { noLocal: true, retainHandling: 2 })
      live(@Payload() data: unknown): void { calls.push(['foreign', data]); }
      @EventPattern('publish')
      async publish(@Ctx() context: NidoContext): Promise<void> {
        await context.client.publish('b/x', 'own');
      }
    }
    const { url } = await startBare(moduleOf([Beside]), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('publish', '', { qos: 1 });
    await client.publishAsync('b/x', 'device', { qos: 1 });
    await until('the calls', () => calls.length >= 3);
    expect(calls).toEqual(expect.arrayContaining(
      [['all', 'own'], ['all', 'device'], ['foreign', 'device']]));
  });

  it('is called once for a message that share groups and other handlers match, too', async () => {
    @Controller()
    class Overlapping {
      @OnTopic('o/+', { share: 'g' })
      one(): void { calls.push(['g', 'one']); }
      @OnTopic('o/+', { share: 'g' })
      other(): void { calls.push(['g', 'other']); }
      @OnTopic('o/#', { share: 'h' })
      shared(): void { calls.push(['h']); }
      @OnTopic('o/#')
      all(): void { calls.push(['all']); }
      @OnTopic('o/a', { qos: 0 })
      exact(): void { calls.push(['exact']); }
    }
    const { url } = await startBare(moduleOf([Overlapping]), mode);
    const { client } = await connectDevice(url);
    for (const qos of [1, 0] as const) await client.publishAsync('o/a', '', { qos });
    await until('all calls', () => calls.length >= 8);
    await aWhile();
    // The members of a group take turns, whatever else their connection gets.
    expect(calls.map((call) => call.join(' ')).sort()).toEqual(
      ['all', 'all', 'exact', 'exact', 'g one', 'g other', 'h', 'h']);
  });
});

@Injectable()
class Admins implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    calls.push(['guard', context.getClass().name, context.getHandler().name, context.getType()]);
    return context.switchToRpc().getData<{ who: string }>().who === 'admin';
  }
}
@Injectable()
class Wrapping implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler): Observable<unknown> {
    calls.push(['before']);
    return next.handle().pipe(map((value: unknown) => ({ value })));
  }
}
@Catch(RpcException)
class InWords implements ExceptionFilter {
  catch(exception: RpcException): Observable<never> {
    return throwError(() => ({ status: 'error', message: `filtered: ${exception.message}` }));
  }
}
@Injectable({ scope: Scope.REQUEST })
class PerMessage {
  readonly number = (made += 1);
  constructor(@Inject(CONTEXT) readonly context: { getContext?: () => NidoContext }) {}
}
let made = 0;

@Controller()
class Guarded {
  @UseGuards(Admins)
  @UseInterceptors(Wrapping)
  @UseFilters(InWords)
  @MessagePattern('guarded')
  request(@Payload() data: { who: string; fail?: boolean }): string {
    if (data.fail) throw new RpcException('on purpose');
    return data.who;
  }
  @UseGuards(Admins)
  @UseInterceptors(Wrapping)
  @EventPattern('event')
  event(@Payload() _data: unknown): void { calls.push(['event']); }
}
@Controller()
class Scoped {
  constructor(private readonly mine: PerMessage) {}
  @MessagePattern('scoped')
  request(): number { return this.mine.number; }
  @EventPattern('scoped-event')
  event(@Payload() _data: unknown): void { calls.push(['scoped', this.mine.number]); }
}

describe.each(['host', 'join'] as const)('around a handler, %s', (mode) => {
  it('guards, interceptors and filters work as everywhere', async () => {
    const { url } = await startBare(moduleOf([Guarded]), mode);
    const client = await clientOf(url);
    expect(await firstValueFrom(client.send('guarded', { who: 'admin' })))
      .toEqual({ value: 'admin' });
    expect(calls).toEqual([['guard', 'Guarded', 'request', 'rpc'], ['before']]);
    await expect(client.request('guarded', { who: 'bob' }))
      .rejects.toThrow('filtered: Forbidden resource');
    await expect(client.request('guarded', { who: 'admin', fail: true }))
      .rejects.toThrow('filtered: on purpose');
  });

  it('they do for events: an Observable of an interceptor is subscribed, once', async () => {
    const { url, log } = await startBare(moduleOf([Guarded]), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('event', '{"who":"admin"}', { qos: 1 });
    await until('the call', () => calls.length === 3);
    expect(calls).toEqual([['guard', 'Guarded', 'event', 'rpc'], ['before'], ['event']]);
    await client.publishAsync('event', '{"who":"bob"}', { qos: 1 }).catch(() => undefined);
    await until('the log', () => log.matching(/event failed.*Forbidden resource/).length === 1);
  });

  it('a request-scoped provider is made for every message', async () => {
    made = 0;
    const { url } = await startBare(moduleOf([Scoped], [PerMessage]), mode);
    const client = await clientOf(url);
    expect(await client.request('scoped', 0)).toBe(1);
    expect(await client.request('scoped', 0)).toBe(2);
    await client.publish('scoped-event', 0, { qos: 1 });
    await until('the event', () => calls.length === 1);
    expect(calls).toEqual([['scoped', 3]]);
  });
});

describe('topic', () => {
  it('makes a Topic Name of a template, and refuses values that would leave their level', () => {
    expect(topic('casa/:room/luz/:n', { room: 'sala', n: 2 })).toBe('casa/sala/luz/2');
    expect(() => topic('casa/:room', { room: 'a/b' })).toThrow(/room is "a\/b"/);
    expect(() => topic('casa/:room', { room: '' })).toThrow(/room is ""/);
  });

  it('types its parameters from the string', () => {
    const params: TopicParams<'$share/g/casa/:room/luz/:n'> = { room: 'sala', n: '1' };
    // @ts-expect-error: there is no such parameter
    expect(params.name).toBeUndefined();
    // @ts-expect-error: a parameter is missing
    expect(() => topic('casa/:room/:n', { room: 'sala' })).toThrow(/n is ""/);
  });
});
