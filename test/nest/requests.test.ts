/** Requests and replies, the envelope, payloads and codecs, and the client. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Module } from '@nestjs/common';
import type { Type } from '@nestjs/common';
import {
  ClientProxyFactory, Ctx, EventPattern, MessagePattern, MqttRecordBuilder, Payload, Transport,
} from '@nestjs/microservices';
import type { ClientProxy } from '@nestjs/microservices';
import { firstValueFrom, from, lastValueFrom, take, toArray } from 'rxjs';
import type { Observable } from 'rxjs';
import {
  CodecError, NidoClient, NidoContext, NidoTimeoutError, OnRequest, OnTopic, buffer, cbor, json,
  msgpack, text,
} from '../../lib/nest/index.js';
import type { BinaryFormat, NidoClientOptions } from '../../lib/nest/index.js';
import { aWhile, closeAll, connectDevice, onClose, openBroker, startBare, until, urlOf }
  from './kit.js';

const calls: unknown[][] = [];
afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

function moduleOf(...controllers: Type<unknown>[]): Type<unknown> {
  @Module({ controllers })
  class AppModule {}
  return AppModule;
}

async function clientOf(options: NidoClientOptions): Promise<NidoClient> {
  const client = new NidoClient({ protocolVersion: 5, envelope: 'auto', ...options });
  onClose(() => client.close());
  await client.connect();
  return client;
}

/** Stands in for a package: a byte that says so in front of JSON. */
const MARKED: BinaryFormat = {
  encode: (value) => Buffer.concat([Buffer.from([0xc1]), Buffer.from(JSON.stringify(value))]),
  decode: (payload) => {
    if (payload[0] !== 0xc1) throw new Error('the first byte is not c1');
    return JSON.parse(Buffer.from(payload.subarray(1)).toString()) as unknown;
  },
};

@Controller()
class Handlers {
  @MessagePattern('many')
  many(@Payload() count: number): Observable<number> {
    return from(Array.from({ length: count }, (_, at) => at));
  }
  @MessagePattern('echo')
  echo(@Payload() data: unknown): unknown { return data; }
  @MessagePattern('never')
  never(): Promise<never> { return new Promise(() => undefined); }
  @MessagePattern('late', { timeoutMs: 30 })
  late(): Promise<never> { return new Promise(() => undefined); }
  @MessagePattern('fails')
  fails(): never { throw new Error('secret'); }
  @EventPattern('event')
  event(@Payload() data: unknown): void { calls.push(['event', data]); }
  @OnTopic('as/text', { codec: text() })
  text(@Payload() data: unknown): void { calls.push(['text', data]); }
  @OnTopic('as/json', { codec: json(), onError: 'ignore' })
  json(@Payload() data: unknown): void { calls.push(['json', data]); }
  @OnTopic('as/bytes', { codec: buffer() })
  bytes(@Payload() data: unknown): void { calls.push(['bytes', data]); }
  @OnRequest('as/msgpack', { codec: msgpack(MARKED) })
  msgpack(@Payload() data: unknown): unknown { return { got: data }; }
  @OnRequest('as/cbor', { codec: cbor(MARKED) })
  cbor(@Payload() data: unknown): unknown { return { got: data }; }
  @MessagePattern('mine/+')
  mine(@Ctx() context: NidoContext): string { return context.getTopic(); }
}

describe.each(['host', 'join'] as const)('requests, %s', (mode) => {
  it('are told when the handler takes longer than timeoutMs', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const client = await clientOf({ url });
    await expect(client.request('late', 1)).rejects.toThrow(/took longer than timeoutMs \(30\)/);
  });

  it('get all values of an Observable at their Response Topic', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const client = await clientOf({ url });
    expect(await lastValueFrom(client.send<number>('many', 3).pipe(toArray()))).toEqual([0, 1, 2]);
    expect(await lastValueFrom(client.send<number>('many', 0).pipe(toArray()))).toEqual([]);
    expect(await client.request('many', 1)).toBe(0);
  });

  it('are answered by a stock client in the envelope, and answer a stock client', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const stock: ClientProxy = ClientProxyFactory.create(
      { transport: Transport.MQTT, options: { url } });
    onClose(async () => { await stock.close(); });
    expect(await firstValueFrom(stock.send('echo', { data: 1, id: 2 }))).toEqual({ data: 1, id: 2 });
    expect(await lastValueFrom(stock.send<number>('many', 3).pipe(toArray()))).toEqual([0, 1, 2]);
    await lastValueFrom(stock.emit('event', { a: 1 }), { defaultValue: undefined });
    await until('the event', () => calls.length === 1);
    expect(calls).toEqual([['event', { a: 1 }]]);
    // Stock says so to whoever asks where only an event handler listens.
    await expect(firstValueFrom(stock.send('event', 1)))
      .rejects.toMatch(/no matching message handler/);
  });

  it('end after their time, the default one or their own, and say why', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode, { drainMs: 50 });
    const client = await clientOf({ url, requestTimeout: 40 });
    await expect(client.request('never', 1)).rejects.toBeInstanceOf(NidoTimeoutError);
    await expect(firstValueFrom(client.send('never', 1)))
      .rejects.toMatchObject({ code: 'NIDO_NEST_REQUEST_TIMEOUT', timeoutMs: 40 });
    await expect(client.request('nobody', 1, { timeout: 20 })).rejects.toMatchObject({
      topicName: 'nobody', timeoutMs: 20, message: expect.stringContaining('20 ms') as unknown,
    });
  });

  it('are refused with a time or an expiry that is none', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const client = await clientOf({ url });
    for (const timeout of [-1, NaN, 'soon' as unknown as number]) {
      await expect(client.request('never', 1, { timeout })).rejects.toMatchObject({
        code: 'NIDO_NEST_OPTION_INVALID',
        message: expect.stringContaining('request to "never": timeout is ') as unknown,
      });
    }
    for (const expiry of [-1, 1.5, 2 ** 32]) {
      await expect(client.publish('t', 1, { expiry })).rejects.toThrow(
        /messageExpiryInterval .* from 0 to 4294967295/);
    }
  });

  it('do not tell the words of an unexpected error', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const client = await clientOf({ url });
    await expect(client.request('fails', 1)).rejects.toThrow('Internal server error');
  });

  it('are rejected when the client closes', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode, { drainMs: 50 });
    const client = await clientOf({ url });
    const waiting = client.request('never', 1);
    await aWhile(20);
    const closing = client.close();
    await expect(waiting).rejects.toThrow('Connection closed');
    await closing;
  });

  it('over MQTT 3.1.1 need the envelope, and say so', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const old = await clientOf({ url, protocolVersion: 4 });
    await expect(firstValueFrom(old.send('echo', 1)))
      .rejects.toMatchObject({ code: 'NIDO_NEST_REQUEST_NEEDS_MQTT5' });
    const enveloped = await clientOf({ url, protocolVersion: 4, envelope: 'nest' });
    expect(await firstValueFrom(enveloped.send('echo', { a: 1 }))).toEqual({ a: 1 });
  });
});

describe('what is sent', () => {
  it.each([
    ['nest', 'emit', { pattern: 't', data: { a: 1 } }],
    ['auto', 'emit', { a: 1 }],
    ['nest', 'publish', { a: 1 }],
    ['auto', 'publish', { a: 1 }],
  ] as const)('with envelope %s by %s', async (envelope, how, wanted) => {
    const broker = await openBroker();
    const { client: device, received } = await connectDevice(urlOf(broker));
    await device.subscribeAsync('t');
    const client = await clientOf({ url: urlOf(broker), envelope });
    if (how === 'emit') await lastValueFrom(client.emit('t', { a: 1 }), { defaultValue: 0 });
    else await client.publish('t', { a: 1 });
    await until('the message', () => received.length === 1);
    expect(JSON.parse(received[0].payload.toString())).toEqual(wanted);
  });

  it('carries retain, expiry and user properties, the client\'s own beside them', async () => {
    const broker = await openBroker();
    const { client: device, received } = await connectDevice(urlOf(broker));
    await device.subscribeAsync({ t: { qos: 2, rap: true } });
    const client = await clientOf({ url: urlOf(broker), userProperties: { app: 'casa' } });
    await client.publish('t', 'x', {
      qos: 1, retain: true, expiry: 60, contentType: 'text/plain', userProperties: { trace: '1' },
    });
    const record = new MqttRecordBuilder('y').setQoS(2)
      .setProperties({ userProperties: { app: 'mine' } }).build();
    await lastValueFrom(client.emit('t', record), { defaultValue: 0 });
    await until('both', () => received.length === 2);
    expect(received[0]).toMatchObject({ qos: 1, retain: true });
    expect(received[0].properties).toMatchObject({
      messageExpiryInterval: 60, contentType: 'text/plain',
      userProperties: { app: 'casa', trace: '1' },
    });
    expect(received[1]).toMatchObject({ qos: 2, properties: { userProperties: { app: 'mine' } } });
  });

  it('is observed by one subscription, however many observe', async () => {
    const broker = await openBroker();
    const client = await clientOf({ url: urlOf(broker) });
    const first = firstValueFrom(client.observe<number>('casa/+/temp').pipe(take(2), toArray()));
    const second = firstValueFrom(client.observeMessages('casa/:room/temp').pipe(take(1)));
    await until('the subscription', () => broker.stats().subscriptions === 1);
    await broker.publish('casa/sala/temp', '1', { qos: 1 });
    await broker.publish('casa/bano/temp', '2', { qos: 1 });
    expect(await first).toEqual([1, 2]);
    expect(await second).toMatchObject({ topicName: 'casa/sala/temp', params: { room: 'sala' } });
    await until('the end of it', () => broker.stats().subscriptions === 0);
  });
});

describe.each(['host', 'join'] as const)('payloads, %s', (mode) => {
  it('are read by the codec of the handler', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('as/text', '{"a":1}', { qos: 1 });
    await client.publishAsync('as/json', '{"a":1}', { qos: 1 });
    await client.publishAsync('as/bytes', '{"a":1}', { qos: 1 });
    await until('three calls', () => calls.length === 3);
    expect(calls).toEqual([
      ['text', '{"a":1}'], ['json', { a: 1 }], ['bytes', Buffer.from('{"a":1}')],
    ]);
  });

  it.each([['as/msgpack', msgpack(MARKED)], ['as/cbor', cbor(MARKED)]])(
    'are binary both ways with the codec of %s', async (name, codec) => {
      const { url } = await startBare(moduleOf(Handlers), mode);
      const client = await clientOf({ url });
      expect(await client.request(name, { on: true }, { codec })).toEqual({ got: { on: true } });
    });

  it('that a codec cannot read are an error of the handler\'s policy', async () => {
    const { url, log } = await startBare(moduleOf(Handlers), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('as/json', '{"a":', { qos: 1 });
    await client.publishAsync('as/json', Buffer.from([0xff, 0xfe]), { qos: 1 });
    await until('two lines', () =>
      log.matching(/as\/json.*json: .*acknowledged and dropped/).length === 2);
    expect(log.matching(/json: the payload is not UTF-8 text/)).toHaveLength(1);
    expect(calls).toEqual([]);
  });
});

describe('a codec', () => {
  it('that throws on something strange says who and what', () => {
    expect(() => json().decode(Buffer.from([0xff]))).toThrow(CodecError);
    expect(() => text().decode(Buffer.from([0xff]))).toThrow(/text: the payload is not UTF-8/);
    expect(() => buffer().encode({})).toThrow(/buffer: a object is not bytes/);
    expect(() => json().encode({ n: 10n })).toThrow(/json: .*BigInt/);
    expect(() => json().encode({ n: 10n })).toThrow(CodecError);
    expect(() => msgpack(MARKED).decode(Buffer.from([0]))).toThrow(/msgpack: the first byte/);
  });
});
