/** NidoModule: what it provides, several brokers in one application, and what it refuses. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Injectable, Module, Optional, Scope } from '@nestjs/common';
import type { DynamicModule, INestApplication, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import {
  Broker, InjectBroker, InjectNido, NidoClient, NidoModule, NidoStrategy, OnClientConnected,
  OnTopic, MqttAuthenticator, getBrokerToken, getClientToken, getStrategyToken, transportIdOf,
} from '../../lib/nest/index.js';
import type { NidoOptions, NidoOptionsFactory } from '../../lib/nest/index.js';
import {
  HOSTED, LogBook, closeAll, connectDevice, onClose, openBroker, until, urlOf,
} from './kit.js';

interface Parts {
  readonly imports: (DynamicModule | Promise<DynamicModule> | Type<unknown>)[];
  readonly controllers?: Type<unknown>[];
  readonly providers?: Type<unknown>[];
}

function moduleOf(parts: Parts): Type<unknown> {
  @Module(parts)
  class AppModule {}
  return AppModule;
}

async function start(
  module: Type<unknown>, names: (string | undefined)[] = [undefined],
): Promise<{ app: INestApplication; log: LogBook }> {
  const log = new LogBook();
  const app = await NestFactory.create(module, { logger: log, abortOnError: false });
  onClose(() => app.close());
  for (const name of names) {
    app.connectMicroservice(
      { strategy: app.get<NidoStrategy>(getStrategyToken(name)) }, { inheritAppConfig: true });
  }
  await app.startAllMicroservices();
  await app.init();
  return { app, log };
}

const calls: [string, unknown][] = [];
afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

describe('NidoModule', () => {
  it('provides broker, strategy and clients; forFeature clients have their prefix', async () => {
    @Controller()
    class Lights {
      @EventPattern('casa/luz')
      luz(@Payload() data: unknown): void { calls.push(['luz', data]); }
    }
    @Injectable()
    class Service {
      constructor(
        readonly broker: Broker, readonly strategy: NidoStrategy, readonly client: NidoClient,
        @InjectNido('CASA') readonly casa: NidoClient,
        @InjectBroker() readonly same: Broker,
      ) {}
    }
    const { app } = await start(moduleOf({
      imports: [NidoModule.forRoot(HOSTED), NidoModule.forFeature([{ name: 'CASA', prefix: 'casa/' }])],
      controllers: [Lights], providers: [Service],
    }));
    const service = app.get(Service);
    expect(service.same).toBe(service.broker);
    expect(service.strategy.unwrap()).toBe(service.broker);
    await service.casa.publish('luz', { on: true }, { qos: 1 });
    await service.client.publish('casa/luz', 2, { qos: 1 });
    await until('two calls', () => calls.length === 2);
    expect(calls).toEqual([['luz', { on: true }], ['luz', 2]]);
  });

  it('takes its options from other providers, and joins by configuration alone', async () => {
    const broker = await openBroker();
    @Injectable()
    class Config {
      readonly url = urlOf(broker);
    }
    @Module({ providers: [Config], exports: [Config] })
    class ConfigModule {}
    @Controller()
    class Lights {
      @OnTopic('casa/:room/luz')
      luz(@Payload() data: unknown): void { calls.push(['luz', data]); }
    }
    const { app } = await start(moduleOf({
      imports: [NidoModule.forRootAsync({
        imports: [ConfigModule], inject: [Config],
        useFactory: (config: Config): NidoOptions => ({ join: { url: config.url } }),
      })],
      controllers: [Lights],
    }));
    await broker.publish('casa/sala/luz', '"on"', { qos: 1 });
    await until('the call', () => calls.length === 1);
    await app.get(NidoClient).publish('casa/bano/luz', 'off', { qos: 1 });
    await until('the other', () => calls.length === 2);
    expect(calls.map(([, data]) => data)).toEqual(['on', 'off']);
  });

  it('serves several brokers in one application, each handler on its own', async () => {
    const other = await openBroker();
    @Controller()
    class Both {
      @EventPattern('t')
      everywhere(@Payload() data: unknown): void { calls.push(['everywhere', data]); }
      @EventPattern('t', Transport.MQTT)
      main(@Payload() data: unknown): void { calls.push(['main', data]); }
      @EventPattern('t', transportIdOf('cloud'))
      cloud(@Payload() data: unknown): void { calls.push(['cloud', data]); }
      @OnTopic('t', { broker: 'cloud' })
      cloudToo(@Payload() data: unknown): void { calls.push(['cloudToo', data]); }
    }
    const { app } = await start(moduleOf({
      imports: [
        NidoModule.forRoot(HOSTED),
        NidoModule.forRoot({ name: 'cloud', join: { url: urlOf(other) } }),
        NidoModule.forFeature([{ name: 'UP', broker: 'cloud' }]),
      ],
      controllers: [Both],
    }), [undefined, 'cloud']);
    await app.get<NidoClient>(NidoClient).publish('t', 'here', { qos: 1 });
    await app.get<NidoClient>(getClientToken('UP')).publish('t', 'there', { qos: 1 });
    await until('five calls', () => calls.length === 5);
    expect(calls.filter(([, data]) => data === 'here').map(([name]) => name).sort())
      .toEqual(['everywhere', 'main']);
    expect(calls.filter(([, data]) => data === 'there').map(([name]) => name).sort())
      .toEqual(['cloud', 'cloudToo', 'everywhere']);
    expect(app.get(getBrokerToken('cloud'))).toBeNull();
  });

  it('keeps handlers of another transport apart when the strategy has a transport id of its own',
    async () => {
      @Controller()
      class Mixed {
        @EventPattern('t', Transport.TCP)
        tcp(@Payload() data: unknown): void { calls.push(['tcp', data]); }
        @EventPattern('t')
        any(@Payload() data: unknown): void { calls.push(['any', data]); }
      }
      const { app } = await start(moduleOf({
        imports: [NidoModule.forRoot(HOSTED)], controllers: [Mixed],
      }));
      await app.get(NidoClient).publish('t', 1, { qos: 1 });
      await until('a call', () => calls.length === 1);
      expect(calls).toEqual([['any', 1]]);
    });

  it('says at start what each handler subscribes to', async () => {
    @Controller()
    class Some {
      @OnTopic('casa/:room/luz', { qos: 1, share: 'g', concurrency: 8 })
      event(): void {}
      @MessagePattern('sum', { ack: 'manual' })
      request(): void {}
    }
    const { log } = await start(moduleOf({
      imports: [NidoModule.forRoot(HOSTED)], controllers: [Some],
    }));
    expect(log.matching(/Mapped/)).toEqual([
      'log Mapped {casa/+/luz, event} qos 1, share g, ack after-handler, concurrency 8',
      'log Mapped {sum, request} qos 2, ack manual, concurrency 64',
    ]);
  });

  it('takes its options from a class, made by it or by another module', async () => {
    @Injectable()
    class Config implements NidoOptionsFactory {
      createNidoOptions(): NidoOptions { return HOSTED; }
    }
    @Module({ providers: [Config], exports: [Config] })
    class ConfigModule {}
    for (const given of [{ useClass: Config }, { imports: [ConfigModule], useExisting: Config }]) {
      const { app } = await start(moduleOf({ imports: [NidoModule.forRootAsync(given)] }));
      expect(app.get(Broker).listeners).toHaveLength(1);
    }
    expect(() => NidoModule.forRootAsync({})).toThrow(/give one of useFactory.*0 are there/);
  });

  it('lets a provider do without Broker where it joins one', async () => {
    const broker = await openBroker();
    @Injectable()
    class NidoBridge {
      constructor(@Optional() @InjectBroker() readonly broker: Broker | null) {}
    }
    const { app } = await start(moduleOf({
      imports: [NidoModule.forRoot({ join: { url: urlOf(broker) } })], providers: [NidoBridge],
    }));
    expect(app.get(NidoBridge).broker).toBeNull();
  });

  it.each([Scope.REQUEST, Scope.TRANSIENT])(
    'refuses providers that the broker calls when there is no one instance (%s)', async (scope) => {
      @Injectable({ scope })
      class Scoped {}
      @Injectable({ scope })
      @MqttAuthenticator()
      class Auth {
        constructor(readonly scoped: Scoped) {}
        authenticate(): unknown { return { ok: true }; }
      }
      await expect(start(moduleOf({
        imports: [NidoModule.forRoot(HOSTED)], providers: [Scoped, Auth],
      }))).rejects.toMatchObject({
        code: 'NIDO_NEST_PROVIDER_SCOPED', message: expect.stringMatching(/^Auth: /) as unknown,
      });
    });

  it('refuses to inject Broker where it joins one, and says what to do', async () => {
    const broker = await openBroker();
    @Injectable()
    class NidoWants {
      constructor(readonly broker: Broker) {}
    }
    const module = moduleOf({
      imports: [NidoModule.forRoot({ join: { url: urlOf(broker) } })], providers: [NidoWants],
    });
    await expect(start(module)).rejects.toMatchObject({
      code: 'NIDO_NEST_BROKER_IN_JOIN',
      message: expect.stringMatching(/^NidoWants injects Broker.*inject NidoClient/s) as unknown,
    });
  });

  it('warns of decorators that mean a hosted broker where it joins one', async () => {
    const broker = await openBroker();
    @Injectable()
    @MqttAuthenticator()
    class Auth {
      authenticate(): unknown { return { ok: true }; }
    }
    @Injectable()
    class Watcher {
      @OnClientConnected()
      came(): void {}
    }
    const { log } = await start(moduleOf({
      imports: [NidoModule.forRoot({ join: { url: urlOf(broker) } })],
      providers: [Auth, Watcher],
    }));
    expect(log.matching(/Auth, Watcher.came: decorated for a hosted broker/)).toHaveLength(1);
  });

  it('wants either host or join', async () => {
    const wrong = moduleOf({ imports: [NidoModule.forRoot({} as NidoOptions)] });
    await expect(start(wrong)).rejects.toMatchObject({
      code: 'NIDO_NEST_OPTION_INVALID', message: expect.stringContaining('neither') as unknown,
    });
    const both = { host: {}, join: {} } as unknown as NidoOptions;
    expect(() => new NidoStrategy(both)).toThrow(/both are there/);
  });

  it('is told of by devices, too', async () => {
    @Controller()
    class Lights {
      @EventPattern('casa/luz')
      luz(@Payload() data: unknown): void { calls.push(['luz', data]); }
    }
    const { app } = await start(moduleOf({
      imports: [NidoModule.forRoot(HOSTED)], controllers: [Lights],
    }));
    const { client } = await connectDevice(urlOf(app.get(Broker)));
    await client.publishAsync('casa/luz', 'on', { qos: 2 });
    expect(calls).toEqual([['luz', 'on']]);
  });
});
