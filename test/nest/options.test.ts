/** The flat options of the stock transport, where they go to ours. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { firstValueFrom } from 'rxjs';
import { NidoClient, NidoModule, NidoNestError, NidoStrategy } from '../../lib/nest/index.js';
import type { JoinOptions } from '../../lib/nest/index.js';
import { LogBook, closeAll, connectDevice, onClose, openBroker, startBare, until, urlOf }
  from './kit.js';

const calls: unknown[] = [];
afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

@Controller()
class Handlers {
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown { return data; }
  @EventPattern('event')
  event(@Payload() data: unknown): void { calls.push(data); }
}
@Module({ controllers: [Handlers] })
class AppModule {}

async function join(join: JoinOptions): Promise<LogBook> {
  const log = new LogBook();
  const app = await NestFactory.createMicroservice(
    AppModule, { strategy: new NidoStrategy({ join }), logger: log });
  onClose(() => app.close());
  await app.listen();
  return log;
}

describe('the options of the stock transport', () => {
  it('serializer and deserializer stand where the stock ones stood', async () => {
    const broker = await openBroker();
    const url = urlOf(broker);
    /** Everything upside down, as bytes. */
    const turned = {
      serialize: (packet: unknown) => Buffer.from(JSON.stringify(packet)).reverse(),
    };
    const turnedBack = {
      deserialize: (value: unknown) =>
        JSON.parse(Buffer.from(value as Buffer).reverse().toString()) as unknown,
    };
    await join({ url, deserializer: { deserialize: (value: unknown) => ({ data: value, id: 'x' }) } });
    const client = new NidoClient({ url, serializer: turned as never });
    onClose(() => client.close());
    await client.connect();
    const { client: device, received } = await connectDevice(url);
    await device.subscribeAsync('turned');
    await firstValueFrom(client.emit('turned', 7), { defaultValue: 0 });
    await until('the message', () => received.length === 1);
    expect(turnedBack.deserialize(received[0].payload)).toEqual({ pattern: 'turned', data: 7 });
    // The server's deserializer says that everything is a request, so an answer comes.
    await device.subscribeAsync('echo/reply');
    await device.publishAsync('echo', '5');
    await until('the answer', () => received.length === 2);
    expect(JSON.parse(received[1].payload.toString()))
      .toEqual({ response: 5, isDisposed: true, id: 'x' });
  });

  it('subscribeOptions and share are those of every handler', async () => {
    const broker = await openBroker();
    const url = urlOf(broker);
    const log = await join({ url, subscribeOptions: { qos: 0 }, share: 'api', clientId: 'one' });
    await join({ url, share: 'api', clientId: 'two' });
    expect(log.matching(/Mapped {event, event} qos 0, share api/)).toHaveLength(1);
    for (let at = 0; at < 10; at += 1) await broker.publish('event', String(at), { qos: 1 });
    await until('ten calls', () => calls.length >= 10);
    expect([...calls].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

describe('a wrong option', () => {
  it.each([
    [{ concurency: 4 }, /NidoStrategy, broker default: there is no option concurency/],
    [{ concurrency: 0 }, /broker default: concurrency is 0; allowed: whole numbers from 1 to 65535/],
    [{ ack: 'after' }, /ack is "after"; allowed: "after-handler", "on-receipt", "manual"/],
    [{ envelope: 'stock' }, /envelope is "stock"; allowed: "auto", "nest"/],
    [{ requestTimeout: -1 }, /requestTimeout is -1; allowed: whole numbers from 0/],
    [{ codec: 'json' }, /codec is "json"; allowed: json\(\)/],
    [{ replyPrefix: 'a/#' }, /replyPrefix is "a\/#"/],
    [{ onError: { retry: { attempts: 0 } } }, /onError is \{"retry".*allowed: 'reason-code'/],
    [{ onError: { deadLetter: '' } }, /onError is/],
    [{ subscribeOptions: { qos: 7 } }, /subscribeOptions is \{"qos":7\}; allowed: \{ qos: 0 to 2/],
    [{ subscribeOptions: { quos: 1 } }, /subscribeOptions is \{"quos":1\}/],
    [{ host: true }, /broker default: host is true; allowed: an object/],
    [{ host: { inClusterWorker: 'maybe' } }, /host: inClusterWorker is "maybe"; allowed: "refuse"/],
  ])('of a strategy is refused: %j', (options, message) => {
    const make = (): unknown => new NidoStrategy({ host: {}, ...options } as never);
    expect(make).toThrow(message);
    expect(make).toThrow(NidoNestError);
  });

  it.each([
    [{ maxConnectionAttempts: 'x' }, /join: maxConnectionAttempts is "x"; allowed: whole numbers/],
    [{ userProperties: { a: 3 } }, /join: userProperties is \{"a":3\}; allowed: an object whose/],
    [{ share: 'a/b' }, /share is "a\/b"; allowed: a name/],
    [{ subscribeOptions: [] }, /subscribeOptions is \[\]/],
  ])('of join is refused, of a strategy and of a client: %j', (options, message) => {
    expect(() => new NidoStrategy({ join: options } as never)).toThrow(message);
    expect(() => new NidoClient({ join: options } as never)).toThrow(message);
    expect(() => new NidoClient(options as never)).toThrow(message);
  });

  it.each([
    [{ join: {}, typo: 1 }, /NidoClient, broker default: there is no option typo/],
    [{ prefix: 5 }, /NidoClient, broker default: prefix is 5; allowed: a topic/],
  ])('of a client is refused: %j', (options, message) => {
    expect(() => new NidoClient(options as never)).toThrow(message);
  });

  it.each([
    [{ name: 'A', prefx: 'a/' }, /forFeature, client A: there is no option prefx; those that exist/],
    [{ prefix: 'a/' }, /forFeature, client undefined: name is ""; allowed: a name/],
    [{ name: 'A', prefix: 'a/+/' }, /forFeature, client A: prefix is "a\/\+\/"/],
  ])('of a feature is refused: %j', (feature, message) => {
    expect(() => NidoModule.forFeature([feature as never])).toThrow(message);
  });

  it('is what a factory returns that returns nothing', async () => {
    @Module({ imports: [NidoModule.forRootAsync({ useFactory: () => undefined as never })] })
    class Forgetful {}
    const starting = NestFactory.create(Forgetful, { logger: false, abortOnError: false });
    await expect(starting).rejects.toThrow(/NidoModule, broker default: give either host .*neither/);
  });

  it.each([
    [{ qos: 3 }, /handler of t: qos is 3; allowed: 0, 1, 2/],
    [{ share: 'a/b' }, /handler of t: share is "a\/b"/],
    [{ order: 'topics' }, /order is "topics"; allowed: "none", "topic"/],
    [{ rh: 3 }, /retainHandling is 3/],
  ])('of a handler is refused: %j', (extras, message) => {
    const strategy = new NidoStrategy({ host: {} });
    expect(() => strategy.addHandler('t', async () => undefined, true, extras)).toThrow(message);
    strategy.addHandler('t', async () => undefined, true, { somebodyElses: 1 });
  });
});

describe.each(['host', 'join'] as const)('instrumentation, %s', (mode) => {
  it('is told of the begin and the end of the work on every message', async () => {
    const { strategy, url } = await startBare(AppModule, mode);
    const told: string[] = [];
    strategy.setOnProcessingStartHook((_id, context, done) => {
      told.push(`start ${(context as { getTopic(): string }).getTopic()}`);
      void done();
    });
    strategy.setOnProcessingEndHook((_id, context) => {
      told.push(`end ${(context as { getTopic(): string }).getTopic()}`);
    });
    const { client } = await connectDevice(url);
    await client.publishAsync('event', '1', { qos: 1 });
    await until('the end', () => told.length === 2);
    expect(told).toEqual(['start event', 'end event']);
    expect(calls).toEqual([1]);
  });
});
