/** When a message is acknowledged, and what a failed handler means for it, hosted and joined. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Module } from '@nestjs/common';
import type { Type } from '@nestjs/common';
import { Ctx, EventPattern, Payload } from '@nestjs/microservices';
import { throwError, timer } from 'rxjs';
import type { Observable } from 'rxjs';
import type { Broker } from '../../lib/index.js';
import { MqttReasonException, NidoContext, OnTopic } from '../../lib/nest/index.js';
import type { HandlerOptions } from '../../lib/nest/index.js';
import { closeAll, connectDevice, startBare, until } from './kit.js';

const MODES = ['host', 'join'] as const;
const calls: string[] = [];
afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

function moduleOf(...controllers: Type<unknown>[]): Type<unknown> {
  @Module({ controllers })
  class AppModule {}
  return AppModule;
}

/** A controller with one handler of `t`, and one beside it that always works. */
function handling(
  work: (data: unknown, context: NidoContext) => unknown, options: HandlerOptions = {},
): Type<unknown> {
  @Controller()
  class Handlers {
    @OnTopic('t/:n', options)
    handle(@Payload() data: unknown, @Ctx() context: NidoContext): unknown {
      calls.push(`t ${String(data)} ${context.attempt}`);
      return work(data, context);
    }
    @EventPattern('t/#')
    beside(@Payload() data: unknown): void { calls.push(`beside ${String(data)}`); }
  }
  return Handlers;
}

describe.each(MODES)('a handler that fails, %s', (mode) => {
  it('is run again, alone, and the message counts as handled when it works', async () => {
    const { url } = await startBare(moduleOf(handling((_data, { attempt }) => {
      if (attempt < 3) throw new Error('not yet');
    }, { onError: { retry: { attempts: 3, delayMs: 1 } } })), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('t/1', 'x', { qos: 1 });
    await until('the third run', () => calls.includes('t x 3'));
    expect(calls.filter((call) => call.startsWith('t '))).toEqual(['t x 1', 't x 2', 't x 3']);
    expect(calls.filter((call) => call.startsWith('beside'))).toEqual(['beside x']);
  });

  it('sends the message to the dead letters, saying why', async () => {
    const { url } = await startBare(moduleOf(handling(async () => {
      throw new Error('broken lamp');
    }, { onError: { retry: { attempts: 2, delayMs: 1 }, then: { deadLetter: 'dead/t' } } })), mode);
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync('dead/#', { qos: 1 });
    const properties = { userProperties: { trace: '7' } };
    await client.publishAsync('t/1', 'x', { qos: 1, properties });
    await until('the dead letter', () => received.length === 1);
    expect(received[0].payload.toString()).toBe('x');
    expect(received[0].properties?.userProperties).toMatchObject({
      trace: '7', 'nido-topic': 't/1', 'nido-pattern': 't/+', 'nido-attempts': '2',
      'nido-error': expect.stringMatching(/broken lamp|Internal server error/) as unknown,
    });
  });

  it('sends it there too when the error holds what no string of MQTT may', async () => {
    const { url } = await startBare(moduleOf(handling(() => {
      throw new MqttReasonException(0x80, `\0 ${'x'.repeat(253)}\u{1f321}`); // cut in the middle
    }, { onError: { deadLetter: 'dead/t' } })), mode);
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync('dead/#', { qos: 1 });
    await client.publishAsync('t/1', 'x', { qos: 1 });
    await until('the dead letter', () => received.length === 1);
    expect(received[0].properties?.userProperties).toMatchObject({
      'nido-error': `\ufffd ${'x'.repeat(253)}\ufffd`,
    });
  });

  it('may be ignored: the message is acknowledged and the log says so', async () => {
    const { url, log } = await startBare(moduleOf(handling(() => {
      throw new Error('never mind');
    }, { onError: 'ignore' })), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('t/1', 'x', { qos: 1 });
    await until('the log', () => log.matching(/acknowledged and dropped/).length === 1);
  });

  it.each([
    ['a rejected promise', async () => { throw new MqttReasonException(0x97, 'full'); }],
    ['an Observable that errors',
      (): Observable<never> => throwError(() => new MqttReasonException(0x97, 'full'))],
  ])('logs the failure of %s once, with topic and pattern', async (_name, work) => {
    const { url, log } = await startBare(moduleOf(handling(work)), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('t/1', 'x', { qos: 1 }).catch(() => undefined);
    await until('the log', () => log.matching(/failed for "t\/1"/).length > 0);
    expect(log.matching(/handler of t\/\+ failed for "t\/1": full/)).toHaveLength(1);
  });
});

describe('a dead letter that cannot be published', () => {
  it('is said, and the message counts as failed', async () => {
    const { url, log } = await startBare(moduleOf(handling(() => {
      throw new Error('broken lamp');
    }, { onError: { deadLetter: 'not/a/#' } })), 'host');
    const { client } = await connectDevice(url);
    await expect(client.publishAsync('t/1', 'x', { qos: 1 })).rejects.toMatchObject({ code: 0x80 });
    expect(log.matching(/error handler of t.*its dead letter could not be published: .*not\/a\/#/))
      .toHaveLength(1);
  });
});

describe('hosted, the publisher', () => {
  it.each([
    ['an exception', () => { throw new MqttReasonException(0x97, 'full'); }, 0x97],
    ['any other error', async () => { throw new Error('x'); }, 0x80],
    ['a refusal', (_data: unknown, context: NidoContext) => context.nack({ reasonCode: 0x87 }), 0x87],
  ] as const)('gets the Reason Code of %s', async (_name, work, code) => {
    const { url } = await startBare(moduleOf(handling(work)), 'host');
    const { client } = await connectDevice(url);
    await expect(client.publishAsync('t/1', 'x', { qos: 1 })).rejects.toMatchObject({ code });
    await expect(client.publishAsync('t/1', 'x', { qos: 2 })).rejects.toMatchObject({ code });
  });

  it('gets its acknowledgements in the order of arrival', async () => {
    const finish = new Map<string, () => void>();
    const { url } = await startBare(moduleOf(handling((data) =>
      new Promise<void>((resolve) => finish.set(String(data), resolve)))), 'host');
    const { client } = await connectDevice(url);
    const order: string[] = [];
    const published = ['a', 'b'].map((data) =>
      client.publishAsync('t/1', data, { qos: 1 }).then(() => order.push(data)));
    await until('both at work', () => finish.size === 2);
    finish.get('b')!();
    await new Promise((resolve) => setImmediate(resolve));
    finish.get('a')!();
    await Promise.all(published);
    expect(order).toEqual(['a', 'b']);
  });

  it('is told when the handler takes longer than timeoutMs', async () => {
    const { url, log } = await startBare(
      moduleOf(handling(() => new Promise(() => undefined), { timeoutMs: 50 })), 'host');
    const { client } = await connectDevice(url);
    await expect(client.publishAsync('t/1', 'x', { qos: 1 })).rejects.toMatchObject({ code: 0x80 });
    await until('the log', () =>
      log.matching(/error the handler of t\/\+ took longer.*"t\/1" \(option timeoutMs\)/).length === 1);
  });

  it('waits until the Observable of a handler is complete', async () => {
    let isDone = false;
    const { url } = await startBare(moduleOf(handling(() => {
      const values = timer(30);
      values.subscribe({ complete: () => { isDone = true; } });
      return values;
    })), 'host');
    const { client } = await connectDevice(url);
    await client.publishAsync('t/1', 'x', { qos: 1 });
    expect(isDone).toBe(true);
  });

  it('does not wait with ack on-receipt', async () => {
    const { url } = await startBare(
      moduleOf(handling(() => new Promise(() => undefined), { ack: 'on-receipt', timeoutMs: 200 })),
      'host');
    const { client } = await connectDevice(url);
    await client.publishAsync('t/1', 'x', { qos: 1 });
    await until('the run', () => calls.includes('t x 1'));
  });
});

describe.each(MODES)('handlers that publish to handlers like themselves, %s', (mode) => {
  it('do not wait for each other when all are at work', async () => {
    const { url } = await startBare(moduleOf(handling(async (data, { client }) => {
      if (data === 'first') await client.publish('t/again', 'second', { qos: 1 });
    }, { concurrency: 2 })), mode);
    const { client } = await connectDevice(url);
    await Promise.all(Array.from({ length: 6 }, () =>
      client.publishAsync('t/1', 'first', { qos: 1 })));
    await until('all runs', () => calls.filter((call) => call === 't second 1').length === 6);
  });
});

describe.each(MODES)('a handler that takes too long, %s', (mode) => {
  it('has failed, and the policy of failures says what becomes of its message', async () => {
    const { url, log } = await startBare(moduleOf(handling(() => new Promise(() => undefined), {
      timeoutMs: 30, onError: { deadLetter: 'dead/t' },
    })), mode);
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync('dead/#');
    await client.publishAsync('t/1', 'x', { qos: 1 });
    await until('the dead letter', () => received.length === 1);
    expect(log.matching(/took longer than timeoutMs \(30\).*went to dead\/t/)).toHaveLength(1);
  });
});

describe.each(MODES)('a handler that decides itself, %s', (mode) => {
  it('acknowledges when it says so, not when it ends', async () => {
    const contexts: NidoContext[] = [];
    const { url, strategy } = await startBare(moduleOf(handling((_data, context) => {
      contexts.push(context);
    }, { ack: 'manual' })), mode);
    const { client } = await connectDevice(url);
    let isAcked: 'no' | 'yes' = 'no';
    const published = client.publishAsync('t/1', 'x', { qos: 1 }).then(() => { isAcked = 'yes'; });
    await until('the run', () => contexts.length === 1);
    if (mode === 'host') {
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect(isAcked).toBe('no');
      expect(strategy.unwrap<Broker>().stats().handlersRunning).toBe(1);
    }
    contexts[0].ack();
    await published;
  });

  it('has failed when it never says so', async () => {
    const { url, log } = await startBare(moduleOf(handling(() => undefined, {
      ack: 'manual', timeoutMs: 30, onError: { retry: { attempts: 2, delayMs: 1 }, then: 'ignore' },
    })), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('t/1', 'x', { qos: 1 });
    await until('the end', () => log.matching(/took longer.*acknowledged and dropped/).length === 1);
    expect(calls.filter((call) => call.startsWith('t '))).toEqual(['t x 1', 't x 2']);
  });

  it('has it run again later', async () => {
    const { url } = await startBare(moduleOf(handling((_data, context) => {
      if (context.attempt === 1) context.nack({ requeueAfter: 5 });
    })), mode);
    const { client } = await connectDevice(url);
    await client.publishAsync('t/1', 'x', { qos: 1 });
    await until('the second run', () => calls.includes('t x 2'));
  });
});

describe.each(MODES)('the order of topics, %s', (mode) => {
  it('is kept one by one with order: topic, others meanwhile', async () => {
    const running = new Map<string, number>();
    const most = new Map<string, number>();
    const done: string[] = [];
    let together = 0;
    const { url } = await startBare(moduleOf(handling(async (data, context) => {
      const topicName = context.getTopic();
      const now = (running.get(topicName) ?? 0) + 1;
      running.set(topicName, now);
      most.set(topicName, Math.max(now, most.get(topicName) ?? 0));
      together = Math.max(together, [...running.values()].reduce((a, b) => a + b));
      await new Promise((resolve) => setTimeout(resolve, 5));
      running.set(topicName, running.get(topicName)! - 1);
      done.push(`${topicName} ${String(data)}`);
    }, { order: 'topic', concurrency: 8 })), mode);
    const { client } = await connectDevice(url);
    await Promise.all(Array.from({ length: 12 }, (_, at) =>
      client.publishAsync(`t/${at % 2}`, String(at), { qos: 1 })));
    await until('all', () => done.length === 12);
    expect([...most.values()]).toEqual([1, 1]);
    expect(together).toBe(2);
    expect(done.filter((one) => one.startsWith('t/0'))).toEqual(
      [0, 2, 4, 6, 8, 10].map((at) => `t/0 ${at}`));
  });
});
