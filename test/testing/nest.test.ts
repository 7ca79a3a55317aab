/** The kit in a Nest test: no ports, the broker that the strategy hosts is the test's. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Injectable, Module } from '@nestjs/common';
import type { INestMicroservice } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import {
  NidoClient, NidoModule, NidoStrategy, OnClientConnected, OnRequest, OnTopic, TopicParam,
  getBrokerToken,
} from '../../lib/nest/index.js';
import { TestBroker } from '../../lib/testing/index.js';

const seen: string[] = [];

@Injectable()
class Watcher {
  @OnClientConnected()
  came({ clientId }: { clientId: string }): void { seen.push(`came ${clientId}`); }
}

@Controller()
class Lights {
  constructor(private readonly client: NidoClient) {}
  @OnTopic('casa/:room/presencia')
  async presence(@TopicParam('room') room: string, @Payload() data: { on: boolean }): Promise<void> {
    await this.client.publish(`casa/${room}/luz`, { on: data.on }, { qos: 1, retain: true });
  }
  @OnTopic('slow', { timeoutMs: 60_000 })
  slow(@Payload() _data: unknown): Promise<never> { return new Promise(() => undefined); }
  @OnRequest('sum')
  sum(@Payload() data: number[]): number { return data.reduce((a, b) => a + b, 0); }
}

@Module({
  imports: [NidoModule.forRoot({ host: { listeners: [{ port: 1883 }] }, drainMs: 50 })],
  controllers: [Lights], providers: [Watcher],
})
class AppModule {}

describe('an application on a test broker', () => {
  let broker: TestBroker;
  let app: INestMicroservice;

  beforeEach(async () => {
    seen.length = 0;
    broker = new TestBroker();
    const module = await Test.createTestingModule({ imports: [AppModule] })
      .overrideProvider(getBrokerToken()).useValue(broker).compile();
    app = module.createNestMicroservice({ strategy: module.get(NidoStrategy), logger: false });
    await app.listen();
  });
  afterEach(() => app.close());

  it('handles what devices publish, and its own messages are seen', async () => {
    const device = await broker.connect({ clientId: 'sensor' });
    await device.publish('casa/sala/presencia', '{"on":true}', { qos: 1 });
    const { retain } = await broker.expectPublished('casa/+/luz', { payload: { on: true }, qos: 1 });
    expect(retain).toBe(true);
    expect(broker.listeners).toEqual([]);
    expect(seen).toEqual(['came sensor']);
  });

  it('answers requests of its own client', async () => {
    expect(await app.get(NidoClient).request('sum', [1, 2, 3])).toBe(6);
  });

  it('has handlers time out when the clock of the test says so', async () => {
    const device = await broker.connect();
    const published = device.publish('slow', 'x', { qos: 1 });
    const failed = expect(published).rejects.toMatchObject({ reasonCode: 0x80 });
    await broker.quiet();
    await broker.advance(59_000);
    expect(broker.stats().handlersRunning).toBe(1);
    await broker.advance(2_000);
    await failed;
  });
});
