/** The end of an application: what is at work, what waits, what goes on by itself. */
import { once } from 'node:events';
import { get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Module, Sse } from '@nestjs/common';
import type { DynamicModule, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { Observable, finalize, interval, lastValueFrom, map, take, toArray } from 'rxjs';
import {
  NidoClient, NidoModule, NidoStrategy, OnRequest, OnTopic, getClientToken,
} from '../../lib/nest/index.js';
import type { HandlerOptions, NidoOptions } from '../../lib/nest/index.js';
import {
  HOSTED, LogBook, aWhile, closeAll, connectDevice, onClose, openBroker, startBare, until, urlOf,
} from './kit.js';

const MODES = ['host', 'join'] as const;
const calls: string[] = [];
afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

function moduleOf(controller: Type<unknown>): Type<unknown> {
  return appModule([], [controller]);
}

function appModule(
  imports: (DynamicModule | Type<unknown>)[], controllers: Type<unknown>[] = [],
): Type<unknown> {
  @Module({ imports, controllers })
  class AppModule {}
  return AppModule;
}

function handling(work: (data: unknown) => unknown, options: HandlerOptions): Type<unknown> {
  @Controller()
  class Handlers {
    @OnTopic('t', options)
    handle(@Payload() data: unknown): unknown {
      calls.push(String(data));
      return work(data);
    }
  }
  return moduleOf(Handlers);
}

describe.each(MODES)('when the application closes, %s', (mode) => {
  it('a handler that waits to be run again is not, and its message is not acknowledged', async () => {
    const { app, url } = await startBare(handling(() => {
      throw new Error('not yet');
    }, { onError: { retry: { attempts: 3, delayMs: 100 } } }), mode, { drainMs: 20 });
    const { client } = await connectDevice(url);
    let isAcked: 'no' | 'yes' = 'no';
    client.publishAsync('t', 'x', { qos: 1 }).then(() => { isAcked = 'yes'; }, () => undefined);
    await until('the first run', () => calls.length === 1);
    await app.close();
    await aWhile(200);
    expect(calls).toEqual(['x']);
    if (mode === 'host') expect(isAcked).toBe('no');
  });

  it('messages beyond the concurrency are not begun once drainMs is over', async () => {
    const { app, url } = await startBare(
      handling(() => aWhile(60), { concurrency: 1 }), mode, { drainMs: 30 });
    const { client } = await connectDevice(url);
    for (let at = 0; at < 20; at += 1) client.publish('t', String(at), { qos: 1 });
    await until('the first run', () => calls.length >= 1);
    await app.close();
    const begun = calls.length;
    await aWhile(150);
    expect(calls.length).toBe(begun);
    expect(begun).toBeLessThan(4);
  });

  it('a stream of replies is let go, and nothing is logged of it', async () => {
    let state = 'not begun';
    @Controller()
    class Streaming {
      @MessagePattern('ticks')
      ticks(): Observable<number> {
        state = 'running';
        return interval(5).pipe(finalize(() => { state = 'let go'; }));
      }
    }
    const { app, url, log } = await startBare(moduleOf(Streaming), mode, { drainMs: 30 });
    const client = new NidoClient({ url, envelope: 'auto', protocolVersion: 5 });
    onClose(() => client.close());
    expect(await lastValueFrom(client.send('ticks', 0).pipe(take(3), toArray()))).toEqual([0, 1, 2]);
    expect(state).toBe('running');
    await app.close();
    expect(state).toBe('let go');
    await aWhile(30);
    expect(log.matching(/could not be published/)).toEqual([]);
  });

  it('a stream of replies that is silent does not keep it, and who reads it is told', async () => {
    @Controller()
    class Streaming {
      @MessagePattern('one')
      one(): Observable<number> {
        return new Observable((observer) => observer.next(1));
      }
    }
    const { app, url } = await startBare(moduleOf(Streaming), mode);
    const client = new NidoClient({ url, envelope: 'auto', protocolVersion: 5 });
    onClose(() => client.close());
    const told: unknown[] = [];
    client.send('one', 0).subscribe({
      next: (value) => told.push(value),
      error: (error: Error) => told.push(error.message),
    });
    await until('the value', () => told.length === 1);
    const startedAt = performance.now();
    await app.close();
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    expect(told).toEqual([1, 'the application that answers is closing']);
  });

  it('a stream that an event handler returned is let go', async () => {
    let state = 'not begun';
    const { app, url } = await startBare(handling(() => {
      state = 'running';
      return interval(5).pipe(finalize(() => { state = 'let go'; }));
    }, {}), mode, { drainMs: 30 });
    const { client } = await connectDevice(url);
    client.publish('t', 'x', { qos: 1 });
    await until('the run', () => state === 'running');
    await app.close();
    expect(state).toBe('let go');
  });

  it('what the application observes completes, and a request is told, of every client', async () => {
    const broker = mode === 'join' ? await openBroker() : undefined;
    const options = broker === undefined ? HOSTED : { join: { url: urlOf(broker) } };
    const feature = NidoModule.forFeature([{ name: 'X', prefix: 'x/' }]);
    const app = await NestFactory.create(
      appModule([NidoModule.forRoot(options), feature]), { logger: new LogBook() });
    app.connectMicroservice({ strategy: app.get(NidoStrategy) });
    await app.startAllMicroservices();
    await app.init();
    const clients = [app.get(NidoClient), app.get<NidoClient>(getClientToken('X'))];
    let completed = 0;
    for (const client of clients) client.observe('#').subscribe({ complete: () => completed += 1 });
    const asked = clients.map((client) => client.request('nobody', 1, { timeout: 0 }));
    const told = Promise.all(asked.map((one) => expect(one).rejects.toThrow('Connection closed')));
    await aWhile(20);
    await app.close();
    expect(completed).toBe(2);
    await told;
  });

  it('an HTTP response that streams what is observed does not keep it', async () => {
    @Controller()
    class Live {
      constructor(private readonly client: NidoClient) {}
      @Sse('live')
      live(): Observable<object> { return this.client.observe('x').pipe(map((data) => ({ data }))); }
    }
    const broker = mode === 'join' ? await openBroker() : undefined;
    const options = broker === undefined ? HOSTED : { join: { url: urlOf(broker) } };
    const app = await NestFactory.create(
      appModule([NidoModule.forRoot(options)], [Live]), { logger: new LogBook() });
    app.connectMicroservice({ strategy: app.get(NidoStrategy) });
    await app.startAllMicroservices();
    await app.listen(0, '127.0.0.1');
    // Without an agent, whose connection would stay open for a while.
    const asking = get(`${await app.getUrl()}/live`, { agent: false });
    const [response] = await once(asking, 'response') as [IncomingMessage];
    const ended = once(response.resume(), 'end');
    await app.close();
    await ended;
  });

  it('before it was bootstrapped, messages that wait for that are not waited for', async () => {
    const broker = mode === 'join' ? await openBroker() : undefined;
    const options: NidoOptions = broker === undefined ? HOSTED : { join: { url: urlOf(broker) } };
    const app = await NestFactory.create(
      appModule([NidoModule.forRoot(options), handling(() => undefined, {})]),
      { logger: new LogBook() });
    const strategy = app.get(NidoStrategy);
    app.connectMicroservice({ strategy });
    await app.startAllMicroservices();
    const url = broker === undefined ? urlOf(strategy.unwrap()) : urlOf(broker);
    const { client } = await connectDevice(url);
    client.publish('t', 'x', { qos: 1 });
    await aWhile(30);
    const startedAt = performance.now();
    await strategy.close();
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    await app.close();
    expect(calls).toEqual([]);
  });
});

describe('joined with a session that is kept', () => {
  it('what is published while the application is away is handled when it is back', async () => {
    const broker = await openBroker();
    const join = { url: urlOf(broker), clientId: 'api', clean: false };
    const AppModule = handling(() => undefined, { qos: 1 });
    const first = await NestFactory.createMicroservice(
      AppModule, { strategy: new NidoStrategy({ join }), logger: new LogBook() });
    await first.listen();
    await first.close();
    expect(broker.session('api')?.subscriptions).toBe(1);
    await broker.publish('t', 'meanwhile', { qos: 1 });
    const second = await NestFactory.createMicroservice(
      AppModule, { strategy: new NidoStrategy({ join }), logger: new LogBook() });
    onClose(() => second.close());
    await second.listen();
    await until('the message', () => calls.length === 1);
    expect(calls).toEqual(['meanwhile']);
  });

  it('a message at work when the time for handlers was over comes again', async () => {
    const broker = await openBroker();
    const join = { url: urlOf(broker), clientId: 'api', clean: false };
    let work: () => Promise<void> = () => new Promise(() => undefined);
    const AppModule = handling(() => work(), { qos: 1 });
    const first = await NestFactory.createMicroservice(
      AppModule, { strategy: new NidoStrategy({ join, drainMs: 20 }), logger: new LogBook() });
    await first.listen();
    await broker.publish('t', 'x', { qos: 1 });
    await until('the run', () => calls.length === 1);
    await first.close();
    work = async () => undefined;
    const second = await NestFactory.createMicroservice(
      AppModule, { strategy: new NidoStrategy({ join }), logger: new LogBook() });
    onClose(() => second.close());
    await second.listen();
    await until('the second run', () => calls.length === 2);
  });

  it('leaves no subscription for replies behind', async () => {
    const broker = await openBroker();
    @Controller()
    class Asking {
      @OnRequest('sum')
      sum(@Payload() data: number[]): number { return data.reduce((a, b) => a + b); }
    }
    const url = urlOf(broker);
    await startBare(moduleOf(Asking), 'host');
    const server = await NestFactory.createMicroservice(
      moduleOf(Asking), { strategy: new NidoStrategy({ join: { url } }), logger: new LogBook() });
    onClose(() => server.close());
    await server.listen();
    const client = new NidoClient({ url, clientId: 'asking', clean: false });
    expect(await lastValueFrom(client.send('sum', [1, 2]))).toBe(3);
    await client.close();
    expect(broker.session('asking')?.subscriptions).toBe(0);
  });
});

describe('closing while it begins', () => {
  it('ends the attempts to join, and listen says so', async () => {
    const broker = await openBroker();
    const url = urlOf(broker);
    await broker.close();
    @Controller()
    class Handlers {
      @EventPattern('t')
      handle(@Payload() _data: unknown): void {}
    }
    const strategy = new NidoStrategy({ join: { url, maxConnectionAttempts: -1 } });
    const app = await NestFactory.createMicroservice(
      moduleOf(Handlers), { strategy, logger: new LogBook() });
    const listening = app.listen();
    const outcome = expect(listening).rejects.toMatchObject({ code: 'NIDO_NEST_CLOSED' });
    await aWhile(30);
    await app.close();
    await outcome;
  });
});
