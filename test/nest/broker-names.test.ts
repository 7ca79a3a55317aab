/** Names of brokers in decorators: one that nobody has is said at start, with those that exist. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Injectable, Module } from '@nestjs/common';
import type { DynamicModule, INestApplication, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, Payload } from '@nestjs/microservices';
import type { AsyncMicroserviceOptions } from '@nestjs/microservices';
import {
  InjectNido, MqttAuthenticator, NidoClient, NidoModule, NidoStrategy, OnClientConnected,
  OnRequest, OnTopic, TopicPrefix, getStrategyToken,
} from '../../lib/nest/index.js';
import { HOSTED, LogBook, closeAll, onClose, until } from './kit.js';

interface Parts {
  readonly imports: DynamicModule[];
  readonly controllers?: Type<unknown>[];
  readonly providers?: Type<unknown>[];
}

type Connect = (app: INestApplication) => NidoStrategy[];

const theDefault: Connect = (app) => [app.get(NidoStrategy)];
const SILENCE: string[] = [];
const calls: string[] = [];

function moduleOf(parts: Parts): Type<unknown> {
  @Module(parts)
  class AppModule {}
  return AppModule;
}

/** A hybrid application that listens; `bootstrap`: before its microservices or after them. */
async function start(
  parts: Parts, connect: Connect = theDefault, bootstrap: 'first' | 'last' = 'last',
): Promise<{ app: INestApplication; said: string[] }> {
  const log = new LogBook();
  const app = await NestFactory.create(moduleOf(parts), { logger: log, abortOnError: false });
  onClose(() => app.close());
  if (bootstrap === 'first') await app.init();
  for (const strategy of connect(app)) {
    app.connectMicroservice({ strategy }, { inheritAppConfig: true });
  }
  await app.startAllMicroservices();
  await app.init();
  return { app, said: log.matching(/^warn .*broker "/) };
}

function hosted(name: string): DynamicModule {
  return NidoModule.forRoot({ ...HOSTED, name });
}

afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

@Controller()
class Lights {
  @OnTopic('here')
  here(@Payload() data: string): void { calls.push(data); }
  @OnTopic('cloud', { broker: 'cloud' })
  cloud(): void {}
  @OnTopic(['a', 'b'], { broker: 'clouds' })
  misspelt(): void {}
  @OnRequest('sum', { broker: 'elsewhere' })
  sum(): number { return 0; }
}

describe('a handler that names a broker which nobody has', () => {
  it('is said once at start, with the names that exist and one that is close', async () => {
    const { app, said } = await start(
      { imports: [NidoModule.forRoot(HOSTED), hosted('cloud')], controllers: [Lights] },
      (one) => [one.get(NidoStrategy), one.get<NidoStrategy>(getStrategyToken('cloud'))],
    );
    expect(said).toEqual([
      'warn Lights.misspelt names broker "clouds", which this application does not have: no ' +
        'NidoStrategy calls it. Did you mean "cloud"? There are: "default", "cloud". Mend the ' +
        'option broker, or import NidoModule.forRoot({ name: "clouds", ... })',
      'warn Lights.sum names broker "elsewhere", which this application does not have: no ' +
        'NidoStrategy calls it. There are: "default", "cloud". Mend the option broker, or ' +
        'import NidoModule.forRoot({ name: "elsewhere", ... })',
    ]);
    await app.get(NidoClient).publish('here', 'works', { qos: 1 });
    await until('the handler beside it', () => calls.length === 1);
  });

  it('is said in a microservice, and with the class that has the prefix', async () => {
    class Base {
      @OnTopic('x', { broker: 'Default' })
      inherited(): void {}
    }
    @Controller()
    @TopicPrefix('casa')
    class Kitchen extends Base {}
    const log = new LogBook();
    const app = await NestFactory.createMicroservice<AsyncMicroserviceOptions>(
      moduleOf({ imports: [NidoModule.forRoot(HOSTED)], controllers: [Kitchen] }),
      {
        logger: log, inject: [NidoStrategy], useFactory: (strategy: NidoStrategy) => ({ strategy }),
      },
    );
    onClose(() => app.close());
    await app.listen();
    expect(log.matching(/^warn Kitchen.inherited names broker "Default".*mean "default"\?/))
      .toHaveLength(1);
  });

  it('may name it by leaving the name out', async () => {
    @Controller()
    class Nameless {
      @OnTopic('t')
      nameless(): void {}
    }
    const { said } = await start(
      { imports: [hosted('cloud')], controllers: [Nameless] },
      (app) => [app.get<NidoStrategy>(getStrategyToken('cloud'))],
    );
    expect(said).toEqual([
      expect.stringMatching(/Nameless.nameless names no broker, which means broker "default"/),
    ]);
  });

  it('is said of a name whose strategy has a transportId of its own', async () => {
    @Controller()
    class Mixed {
      @OnTopic('t')
      topic(): void {}
      @EventPattern('t')
      pattern(@Payload() _data: unknown): void {}
    }
    const { said } = await start({
      imports: [NidoModule.forRoot({ ...HOSTED, transportId: Symbol('own') })],
      controllers: [Mixed],
    });
    expect(said).toEqual([
      'warn Mixed.topic names no broker, which means broker "default", whose option transportId ' +
        'is Symbol(own): no NidoStrategy calls it. Leave transportId out, or use @EventPattern ' +
        'or @MessagePattern with it',
    ]);
  });
});

describe('a handler of a broker that is not the one at hand', () => {
  @Controller()
  class Edges {
    @OnTopic('e', { broker: 'edge' })
    edge(): void {}
  }
  @Controller()
  class Clouds {
    @OnTopic('c', { broker: 'cloud' })
    cloud(): void {}
  }

  it.each(['first', 'last'] as const)(
    'is left alone when a strategy without module has the name (bootstrapped %s)',
    async (bootstrap) => {
      const bare = (): NidoStrategy => new NidoStrategy({ ...HOSTED, name: 'edge' });
      const { said } = await start(
        { imports: [NidoModule.forRoot(HOSTED)], controllers: [Edges] },
        (app) => [app.get(NidoStrategy), bare()], bootstrap,
      );
      expect(said).toEqual(SILENCE);
    });

  it('is left alone when a module has the name, whether it is connected or not', async () => {
    const { said } = await start({
      imports: [NidoModule.forRoot(HOSTED), NidoModule.forRootAsync({
        name: 'cloud', useFactory: () => HOSTED,
      })],
      controllers: [Clouds],
    });
    expect(said).toEqual(SILENCE);
  });
});

describe('a guard or listener that names a broker which nobody has', () => {
  it('is said at start', async () => {
    @Injectable()
    @MqttAuthenticator({ broker: 'defualt' })
    class Auth {
      authenticate(): unknown { return { ok: true }; }
    }
    @Injectable()
    class Watcher {
      @OnClientConnected({ broker: 'garden' })
      came(): void {}
      @OnClientConnected()
      here(): void {}
    }
    const { said } = await start({
      imports: [NidoModule.forRoot(HOSTED)], providers: [Auth, Watcher],
    });
    expect(said).toEqual([
      expect.stringMatching(/Auth names broker "defualt".*never called\. Did you mean "default"\?/),
      expect.stringMatching(/^warn Watcher.came names broker "garden"/),
    ]);
  });
});

describe('an injected client that nobody provides', () => {
  it('is refused by Nest with its name', async () => {
    @Injectable()
    class Service {
      constructor(@InjectNido('UPLNIK') readonly client: NidoClient) {}
    }
    await expect(start({ imports: [NidoModule.forRoot(HOSTED)], providers: [Service] }))
      .rejects.toThrow(/Service.*NidoClient:UPLNIK/);
  });

  it('is refused by Nest with the name of the broker that its feature asks for', async () => {
    await expect(start({
      imports: [
        NidoModule.forRoot(HOSTED), NidoModule.forFeature([{ name: 'UP', broker: 'clouds' }]),
      ],
    })).rejects.toThrow(/NidoClient:UP.*nidomq:options:clouds/);
  });
});
