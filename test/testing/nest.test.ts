/** The kit in a Nest test: no ports, the broker that the strategy hosts is the test's. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Injectable, Module } from '@nestjs/common';
import type { INestMicroservice, Type } from '@nestjs/common';
import { Ctx, Payload } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import type { TestingModuleBuilder } from '@nestjs/testing';
import {
  MqttAuthenticator, MqttAuthorizer, NidoClient, NidoContext, NidoModule, NidoStrategy, OnClientConnected,
  OnRequest, OnTopic, TopicParam, getBrokerToken,
} from '../../lib/nest/index.js';
import type {
  AuthResult, ConnectInfo, Identity, NidoAuthenticator, NidoAuthorizer,
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
  @OnTopic('again', { onError: { retry: { attempts: 2, delayMs: 60_000 } } })
  again(@Payload() data: unknown): void {
    seen.push(`again ${String(data)}`);
    if (seen.length < 2) throw new Error('not yet');
  }
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

  it('has handlers run again when the clock of the test says so', async () => {
    const device = await broker.connect({ clientId: '' });
    seen.length = 0;
    const published = device.publish('again', 'x', { qos: 1 });
    await broker.quiet();
    await broker.advance(59_000);
    expect(seen).toEqual(['again x']);
    await broker.advance(1_000);
    await published;
    expect(seen).toEqual(['again x', 'again x']);
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

describe('an application on a test broker that closes', () => {
  /** Far beyond the time that a hook of a test may take. */
  const DRAIN_MS = 120_000;

  async function start(controller: Type<unknown>): Promise<[INestMicroservice, TestBroker]> {
    const broker = new TestBroker();
    const module = await Test.createTestingModule({
      imports: [NidoModule.forRoot({ host: {}, drainMs: DRAIN_MS })], controllers: [controller],
    }).overrideProvider(getBrokerToken()).useValue(broker).compile();
    const app = module.createNestMicroservice({ strategy: module.get(NidoStrategy), logger: false });
    await app.listen();
    return [app, broker];
  }

  it('has handlers run again that were to, without waiting for the time to go by', async () => {
    const runs: number[] = [];
    @Controller()
    class Again {
      @OnTopic('again', { onError: { retry: { attempts: 3, delayMs: 10_000 } } })
      again(@Ctx() { attempt }: NidoContext): void {
        runs.push(attempt);
        if (attempt < 3) throw new Error('not yet');
      }
    }
    const [app, broker] = await start(Again);
    await broker.publish('again', '', { awaits: 'nobody' });
    await broker.quiet();
    expect(runs).toEqual([1]);
    await app.close();
    expect(runs).toEqual([1, 2, 3]);
  });

  it('waits no longer than drainMs of its clock for a handler that never ends', async () => {
    @Controller()
    class Never {
      @OnTopic('never', { timeoutMs: 0 })
      never(): Promise<never> { return new Promise(() => undefined); }
    }
    const [app, broker] = await start(Never);
    await broker.publish('never', '', { awaits: 'nobody' });
    await broker.quiet();
    const before = broker.clock.now();
    await app.close();
    expect(broker.clock.now() - before).toBeGreaterThanOrEqual(DRAIN_MS);
  });
});

@Injectable()
@MqttAuthenticator()
class DeviceAuth implements NidoAuthenticator {
  authenticate({ username, password }: ConnectInfo): AuthResult {
    const isRight = Buffer.from(password ?? []).toString() === `of ${username}`;
    return isRight ? { ok: true, username } : { ok: false, reasonCode: 0x86 };
  }
}

@Injectable()
@MqttAuthorizer()
class OwnTopics implements NidoAuthorizer {
  canPublish(who: Identity, topicName: string): boolean {
    return topicName.startsWith(`${who.username}/`);
  }
  canSubscribe(_who: Identity, topicFilter: string): boolean {
    return topicFilter !== '#';
  }
}

@Module({ imports: [NidoModule.forRoot({ host: {} })], providers: [DeviceAuth, OwnTopics] })
class GuardedModule {}

describe('decorated guards of an application on a test broker', () => {
  let app: INestMicroservice | undefined;
  afterEach(() => app?.close());

  async function start(
    broker: TestBroker,
    adapt: (builder: TestingModuleBuilder) => TestingModuleBuilder = (builder) => builder,
  ): Promise<void> {
    const builder = Test.createTestingModule({ imports: [GuardedModule] })
      .overrideProvider(getBrokerToken()).useValue(broker);
    const module = await adapt(builder).compile();
    app = module.createNestMicroservice({ strategy: module.get(NidoStrategy), logger: false });
    await app.listen();
  }

  it('decide who may connect, publish and subscribe', async () => {
    const broker = new TestBroker();
    await start(broker);
    await expect(broker.connect()).rejects.toMatchObject({ reasonCode: 0x86 });
    await expect(broker.connect({ username: 'ana', password: 'wrong' }))
      .rejects.toMatchObject({ reasonCode: 0x86 });
    const ana = await broker.connect({ username: 'ana', password: 'of ana' });
    await ana.publish('ana/x', '1', { qos: 1 });
    await expect(ana.publish('bob/x', '1', { qos: 1 })).rejects.toMatchObject({ reasonCode: 0x87 });
    await expect(ana.collect('#')).rejects.toMatchObject({ reasonCode: 0x87 });
    await ana.collect('ana/#');
  });

  it('are overridden as any provider', async () => {
    const broker = new TestBroker();
    await start(broker, (builder) => builder
      .overrideProvider(DeviceAuth).useValue({ authenticate: () => ({ ok: true, username: 'bob' }) })
      .overrideProvider(OwnTopics).useValue({ canPublish: () => true }));
    const anybody = await broker.connect();
    await anybody.publish('x', '1', { qos: 1 });
    await anybody.collect('#');
  });

  it('decide beside the guards that the test gave its broker', async () => {
    const broker = new TestBroker({
      authentication: [{
        authenticate: ({ username }) => (username === 'test' ? { ok: true, username } : { ok: 'pass' }),
      }],
    });
    await start(broker);
    const test = await broker.connect({ username: 'test' });
    await expect(test.publish('x', '1', { qos: 1 })).rejects.toMatchObject({ reasonCode: 0x87 });
    await broker.connect({ username: 'ana', password: 'of ana' });
  });

  it('decide about clients that were there before, too', async () => {
    const broker = await TestBroker.start();
    const early = await broker.connect({ clientId: 'early' });
    const inbox = await early.collect('#');
    await early.publish('before', '1', { qos: 1 });
    await start(broker);
    await expect(early.publish('after', '1', { qos: 1 })).rejects.toMatchObject({ reasonCode: 0x87 });
    await broker.advance(0);
    expect(broker.session('early')?.subscriptions).toBe(0);
    expect(inbox.of('before')).toHaveLength(1);
  });
});

@Module({
  imports: [NidoModule.forRoot({ join: { url: 'mqtt://127.0.0.1:1', maxConnectionAttempts: 1 } })],
  controllers: [Lights],
})
class JoinedModule {}

describe('an application that joins a broker, on a test broker', () => {
  it('is fed by it, without a connection', async () => {
    const broker = new TestBroker();
    const module = await Test.createTestingModule({ imports: [JoinedModule] })
      .overrideProvider(getBrokerToken()).useValue(broker).compile();
    const app = module.createNestMicroservice({
      strategy: module.get(NidoStrategy), logger: false,
    });
    await app.listen();
    const device = await broker.connect();
    await device.publish('casa/sala/presencia', '{"on":true}', { qos: 1 });
    await broker.expectPublished('casa/sala/luz', { payload: { on: true } });
    expect(await app.get(NidoClient).request('sum', [1, 2])).toBe(3);
    await app.close();
  });
});
