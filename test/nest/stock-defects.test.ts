/**
 * What was measured at Nest's stock MQTT transport and must not happen here: one test for each row,
 * hosted and joined. The names of the rows are those of the measurements.
 */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Module } from '@nestjs/common';
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  ClientProxy, Ctx, EventPattern, MessagePattern, MqttRecordBuilder, Payload,
} from '@nestjs/microservices';
import { firstValueFrom, lastValueFrom } from 'rxjs';
import { Broker } from '../../lib/index.js';
import { NidoClient, NidoContext, NidoStrategy } from '../../lib/nest/index.js';
import {
  LogBook, closeAll, connectDevice, onClose, openBroker, startBare, until, urlOf,
} from './kit.js';

const calls: [string, unknown][] = [];
function called(name: string): unknown[] {
  return calls.filter(([one]) => one === name).map(([, data]) => data);
}
function moduleOf(controller: Type<unknown>): Type<unknown> {
  @Module({ controllers: [controller] })
  class AppModule {}
  return AppModule;
}
async function clientOf(url: string, options: object = {}): Promise<NidoClient> {
  const client = new NidoClient({ url, ...options });
  onClose(() => client.close());
  await client.connect();
  return client;
}

@Controller()
class Handlers {
  @EventPattern('casa/#')
  all(@Payload() data: unknown): void { calls.push(['casa/#', data]); }
  @EventPattern('casa/+/temp')
  plus(@Payload() data: unknown): void { calls.push(['casa/+/temp', data]); }
  @EventPattern('casa/sala/temp')
  exact(@Payload() data: unknown): void { calls.push(['casa/sala/temp', data]); }

  @EventPattern<string>('+')
  oneLevel(@Payload() _data: unknown, @Ctx() context: NidoContext): void {
    calls.push(['+', context.getTopic()]);
  }
  @EventPattern('lv/+/x')
  empty(@Payload() data: unknown): void { calls.push(['lv/+/x', data]); }
  @EventPattern('dev/in')
  device(@Payload() data: unknown): void { calls.push(['dev/in', data]); }

  @MessagePattern('rw/#')
  everything(@Payload() data: unknown): unknown {
    calls.push(['rw/#', data]);
    return { got: data };
  }
  @MessagePattern('two')
  first(@Payload() data: unknown): string { calls.push(['two', data]); return 'first'; }
  @MessagePattern('two')
  second(@Payload() data: unknown): string { calls.push(['two', data]); return 'second'; }
  @EventPattern('two')
  event(@Payload() data: unknown): void { calls.push(['two event', data]); }
  @MessagePattern('specific/+')
  general(): string { return 'general'; }
  @MessagePattern('specific/one')
  special(): string { return 'special'; }
  @MessagePattern('record')
  record(): unknown {
    return new MqttRecordBuilder({ on: true }).setQoS(1).setRetain(true).build();
  }
}

describe.each(['host', 'join'] as const)('gone: %s', (mode) => {
  afterEach(async () => {
    await closeAll();
    calls.length = 0;
  });

  it.each([4, 5] as const)('E1: every matching handler runs, once (MQTT %s)', async (version) => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client } = await connectDevice(url, { protocolVersion: version });
    await client.publishAsync('casa/sala/temp', '21.5', { qos: 1 });
    await until('three calls', () => calls.length >= 3);
    await client.publishAsync('casa/end', '"end"', { qos: 1 });
    await until('the last call', () => called('casa/#').includes('end'));
    expect(called('casa/#')).toEqual([21.5, 'end']);
    expect(called('casa/+/temp')).toEqual([21.5]);
    expect(called('casa/sala/temp')).toEqual([21.5]);
  });

  it('E2: topics that look like JSON are topics', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client } = await connectDevice(url);
    const topics = ['true', 'null', '1.0', '1e3', '007', '{}'];
    for (const topic of topics) await client.publishAsync(topic, 'x', { qos: 1 });
    await until('a call for each', () => called('+').length === topics.length);
    expect(called('+')).toEqual(topics);
  });

  it('E3: + matches an empty level', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('lv//x', 'yes', { qos: 1 });
    await until('the call', () => called('lv/+/x').length === 1);
  });

  it('E4: a device\'s payload arrives untouched, and nothing answers an event', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync('dev/in/reply', { qos: 1 });
    const bytes = Buffer.from([0xff, 0xfe, 0x00, 0x80]);
    const payloads = [
      '{"id":7,"data":{"a":1}}', '{"data":5,"ts":99}', bytes, '123', '12345678901234567890', 'text',
    ];
    for (const payload of payloads) await client.publishAsync('dev/in', payload, { qos: 1 });
    await until('all calls', () => called('dev/in').length === payloads.length);
    expect(called('dev/in')).toEqual([
      { id: 7, data: { a: 1 } }, { data: 5, ts: 99 }, bytes, 123, '12345678901234567890', 'text',
    ]);
    expect(received).toEqual([]);
  });

  it('E6: a record that a handler returns is honoured', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync({ 'record/reply': { qos: 2, rap: true } });
    await client.publishAsync('record', JSON.stringify({ pattern: 'record', data: 1, id: 'x' }));
    await until('the reply', () => received.length === 1);
    expect(JSON.parse(received[0].payload.toString()))
      .toEqual({ response: { on: true }, isDisposed: true, id: 'x' });
    expect(received[0]).toMatchObject({ qos: 1, retain: true });
  });

  it('E7: what the caller gave is not changed', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client: device, received } = await connectDevice(url);
    await device.subscribeAsync('out/#', { qos: 2 });
    const client = await clientOf(url);
    const data = { options: { mine: true }, a: 1 };
    await lastValueFrom(client.emit('out/a', data), { defaultValue: undefined });
    expect(data).toEqual({ options: { mine: true }, a: 1 });
    const record = new MqttRecordBuilder('x').setQoS(1).build();
    for (const topic of ['out/b', 'out/c']) {
      await lastValueFrom(client.emit(topic, record), { defaultValue: undefined });
    }
    await until('three messages', () => received.length === 3);
    expect(received.map(({ qos }) => qos)).toEqual([0, 1, 1]);
  });

  it('E8: the publisher is acknowledged after the handler', async () => {
    const order: string[] = [];
    let finish = (): void => undefined;
    @Controller()
    class Slow {
      @EventPattern('slow')
      async handle(@Payload() _data: unknown): Promise<void> {
        order.push('started');
        await new Promise<void>((resolve) => (finish = resolve));
        order.push('done');
      }
    }
    const { url } = await startBare(moduleOf(Slow), mode);
    const { client } = await connectDevice(url);
    // Joined, the broker acknowledges its publisher; ours is the acknowledgement to the broker.
    const published = client.publishAsync('slow', 'x', { qos: 1 }).then(() => order.push('acked'));
    await until('the start', () => order.includes('started'));
    finish();
    await published;
    await until('the end', () => order.includes('done'));
    if (mode === 'host') expect(order).toEqual(['started', 'done', 'acked']);
  });

  it('E11: close waits for the handlers at work', async () => {
    const order: string[] = [];
    let finish = (): void => undefined;
    @Controller()
    class Slow {
      @EventPattern('slow')
      async handle(@Payload() _data: unknown): Promise<void> {
        order.push('started');
        await new Promise<void>((resolve) => (finish = resolve));
        order.push('done');
      }
    }
    const { url, app } = await startBare(moduleOf(Slow), mode);
    const { client } = await connectDevice(url);
    client.publish('slow', 'x', { qos: 1 });
    await until('the start', () => order.length === 1);
    const closed = app.close().then(() => order.push('closed'));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(order).toEqual(['started']);
    finish();
    await closed;
    expect(order).toEqual(['started', 'done', 'closed']);
  });

  it('E12: the replies of one requester are invisible to others', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const spy = await connectDevice(url);
    await spy.client.subscribeAsync(['#', 'two/reply'], { qos: 2 });
    const client = await clientOf(url, { envelope: 'auto', protocolVersion: 5 });
    for (let at = 0; at < 10; at += 1) {
      expect(await firstValueFrom(client.send<string>('two', at))).toBe('first');
    }
    const replies = spy.received.filter(({ payload }) => payload.toString().includes('first'));
    expect(replies.map(({ topic }) => topic)).toEqual([]);
  });

  it('E13: a request with Response Topic and Correlation Data is answered there', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync('answers/me', { qos: 1 });
    const properties = { responseTopic: 'answers/me', correlationData: Buffer.from('42') };
    await client.publishAsync('rw/a', '{"n":1}', { qos: 1, properties });
    await until('the answer', () => received.length === 1);
    expect(received[0].payload.toString()).toBe('{"got":{"n":1}}');
    expect(received[0].properties?.correlationData?.toString()).toBe('42');
    expect(received[0].properties?.userProperties).toBeUndefined();
  });

  it('E14: a handler never receives its own reply', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync('rw/a/reply', { qos: 1 });
    await client.publishAsync('rw/a', '{"pattern":"rw/a","data":1,"id":"i1"}', { qos: 1 });
    await until('the reply', () => received.length === 1);
    await client.publishAsync('rw/end', '"end"', { qos: 1 });
    await until('the last call', () => called('rw/#').includes('end'));
    expect(called('rw/#')).toEqual([1, 'end']);
  });

  it('E15: at most so many handlers are at work as `concurrency` says', async () => {
    let running = 0;
    let most = 0;
    let done = 0;
    @Controller()
    class Busy {
      @EventPattern('busy', { concurrency: 8 })
      async handle(@Payload() _data: unknown): Promise<void> {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setTimeout(resolve, 1));
        running -= 1;
        done += 1;
      }
    }
    const { url } = await startBare(moduleOf(Busy), mode);
    const { client } = await connectDevice(url);
    await Promise.all(Array.from({ length: 300 }, () =>
      client.publishAsync('busy', 'x', { qos: 1 })));
    await until('all', () => done === 300);
    expect(most).toBe(8);
  });

  it('E18: of several request handlers all run, the first or most specific replies', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const client = await clientOf(url);
    expect(await firstValueFrom(client.send('two', 1))).toBe('first');
    await until('both', () => called('two').length === 2);
    expect(called('two')).toEqual([1, 1]);
    expect(await firstValueFrom(client.send('specific/one', 1))).toBe('special');
    expect(await firstValueFrom(client.send('specific/two', 1))).toBe('general');
  });

  it('E19: events and requests share a topic', async () => {
    const { url } = await startBare(moduleOf(Handlers), mode);
    const client = await clientOf(url);
    await firstValueFrom(client.send('two', 7));
    await until('the event handler', () => called('two event').length === 1);
    expect(called('two event')).toEqual([7]);
  });
});

describe('gone: of joining', () => {
  afterEach(closeAll);

  it('ACL: a refused subscription is an error that says so', async () => {
    const broker = new Broker({
      listeners: [{ host: '127.0.0.1', port: 0 }], logger: false,
      authorization: [{ canSubscribe: (_who, filter) => filter !== 'dev/in' }],
    });
    await broker.listen();
    onClose(() => broker.close());
    const strategy = new NidoStrategy({ join: { url: urlOf(broker) } });
    const app = await NestFactory.createMicroservice(moduleOf(Handlers), {
      strategy, logger: new LogBook(),
    });
    onClose(() => app.close());
    await expect(app.listen()).rejects.toMatchObject({
      code: 'NIDO_NEST_SUBSCRIPTION_REFUSED',
      message: expect.stringMatching(/refused the subscription to "dev\/in".*0x87/) as unknown,
    });
  });

  it('down: an unreachable broker is an error that says so', async () => {
    const broker = await openBroker();
    const url = urlOf(broker);
    await broker.close();
    const log = new LogBook();
    const strategy = new NidoStrategy({
      join: { url, maxConnectionAttempts: 2, reconnectPeriod: 10 },
    });
    const app = await NestFactory.createMicroservice(moduleOf(Handlers), { strategy, logger: log });
    onClose(() => app.close());
    await expect(app.listen()).rejects.toMatchObject({
      code: 'NIDO_NEST_UNREACHABLE',
      message: expect.stringContaining(`${url} after 2 attempts`) as unknown,
    });
  });
});
export type { ClientProxy };
