/** What only a hosted broker has: providers that decide, listeners of its events, identities. */
import cluster from 'node:cluster';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Injectable, Module, UseGuards } from '@nestjs/common';
import type { CanActivate, ExecutionContext, INestApplication, Provider, Type } from '@nestjs/common';
import { EventPattern } from '@nestjs/microservices';
import { Test } from '@nestjs/testing';
import type { TestingModuleBuilder } from '@nestjs/testing';
import {
  Broker, MqttAuthenticator, MqttAuthorizer, MqttIdentity, MqttInterceptor, NidoContext, NidoModule, NidoStrategy,
  OnClientConnected, OnClientDisconnected, OnDropped, OnWill, OnSubscribed,
} from '../../lib/nest/index.js';
import type {
  AuthResult, ClientConnectedEvent, ClientDisconnectedEvent, ConnectInfo, Identity,
  InterceptedMessage, Interception, NidoAuthenticator, NidoAuthorizer, NidoInterceptor, SubscriptionEvent, WillEvent,
} from '../../lib/nest/index.js';
import {
  HOSTED, LogBook, closeAll, connectDevice, onClose, until, urlOf,
} from './kit.js';

const seen: string[] = [];
afterEach(async () => {
  await closeAll();
  seen.length = 0;
});

@Injectable()
class Users {
  passwordOf(name: string): string | undefined {
    return name === 'ana' ? 'secret' : undefined;
  }
}

@Injectable()
@MqttAuthenticator()
class DeviceAuth implements NidoAuthenticator {
  constructor(private readonly users: Users) {}
  async authenticate({ username, password }: ConnectInfo): Promise<AuthResult> {
    const wanted = this.users.passwordOf(username ?? '');
    const given = Buffer.from(password ?? []).toString();
    if (wanted === undefined || given !== wanted) return { ok: false, reasonCode: 0x86 };
    return { ok: true, username };
  }
}

@Injectable()
@MqttAuthorizer()
class HomeAcl implements NidoAuthorizer {
  canPublish(_who: Identity, topicName: string): boolean {
    return topicName.startsWith('casa/');
  }
  canSubscribe(_who: Identity, topicFilter: string): boolean {
    return topicFilter !== '#';
  }
}

@Injectable()
@MqttInterceptor('casa/+/raw', { order: 1 })
class Cleaner implements NidoInterceptor {
  constructor(private readonly users: Users) {}
  async intercept({ topicName, payload }: InterceptedMessage): Promise<Interception> {
    if (this.users.passwordOf('ana') === undefined) return { kind: 'pass' };
    const topic = topicName.replace('raw', 'clean');
    return { kind: 'replace', topicName: topic, payload: `${Buffer.from(payload).toString()}2` };
  }
}

@Injectable()
@MqttInterceptor(['casa/#'], { order: 0 })
class First implements NidoInterceptor {
  intercept({ payload }: InterceptedMessage): Interception {
    return { kind: 'replace', payload: `${Buffer.from(payload).toString()}1` };
  }
}

@Module({ providers: [Users, Cleaner, First] })
class CleaningModule {}

@Module({ providers: [Users, DeviceAuth, HomeAcl] })
class SecurityModule {}

@Injectable()
class OnlyAna implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    return context.switchToRpc().getContext<NidoContext>().identity?.username === 'ana';
  }
}

@Controller()
class Handlers {
  @UseGuards(OnlyAna)
  @EventPattern('casa/luz')
  luz(@MqttIdentity() who: Identity): void { seen.push(`luz by ${who.username}`); }
}

@Injectable()
class Watcher {
  @OnClientConnected()
  came({ clientId }: ClientConnectedEvent): void { seen.push(`came ${clientId}`); }
  @OnClientDisconnected()
  went({ clientId }: ClientDisconnectedEvent): void { seen.push(`went ${clientId}`); }
  @OnWill()
  will({ topicName }: WillEvent): void { seen.push(`will ${topicName}`); }
  @OnSubscribed()
  subscribed({ topicFilter }: SubscriptionEvent): void {
    seen.push(`subscribed ${topicFilter}`);
  }
  @OnDropped()
  dropped(): void { seen.push('dropped'); }
}

async function start(
  parts: { imports?: Type<unknown>[]; providers?: Provider[] },
  adapt: (builder: TestingModuleBuilder) => TestingModuleBuilder = (builder) => builder,
): Promise<{ app: INestApplication; url: string }> {
  const builder = Test.createTestingModule({
    imports: [NidoModule.forRoot(HOSTED), ...(parts.imports ?? [])],
    providers: parts.providers ?? [], controllers: [Handlers],
  });
  const module = await adapt(builder).compile();
  const app = module.createNestApplication({ logger: new LogBook() });
  onClose(() => app.close());
  app.connectMicroservice({ strategy: app.get(NidoStrategy) });
  await app.startAllMicroservices();
  await app.init();
  return { app, url: urlOf(app.get(Broker)) };
}

describe('providers of a hosted broker', () => {
  it('see messages before they are routed, in their order', async () => {
    const { url } = await start({ imports: [CleaningModule] });
    const { client, received } = await connectDevice(url);
    await client.subscribeAsync('#', { qos: 1 });
    await client.publishAsync('casa/sala/raw', 'v', { qos: 1 });
    await client.publishAsync('other', 'v', { qos: 1 });
    await until('both messages', () => received.length === 2);
    expect(received.map(({ topic, payload }) => `${topic} ${payload.toString()}`))
      .toEqual(['casa/sala/clean v12', 'other v']);
  });


  it('decide who may connect and what they may do, found in any module', async () => {
    const { url } = await start({ imports: [SecurityModule] });
    await expect(connectDevice(url)).rejects.toThrow(/Bad User Name|password/i);
    const { client } = await connectDevice(url, { username: 'ana', password: 'secret' });
    await client.publishAsync('casa/luz', 'on', { qos: 1 });
    expect(seen).toEqual(['luz by ana']);
    await expect(client.publishAsync('other', 'x', { qos: 1 })).rejects.toThrow(/Not authorized/);
    const [granted] = await client.subscribeAsync('#').catch((error: unknown) => [error]);
    expect(granted).not.toMatchObject({ qos: 0 });
  });

  it('are overridden as any provider', async () => {
    const { url } = await start({ imports: [SecurityModule] }, (builder) =>
      builder.overrideProvider(DeviceAuth).useValue({
        authenticate: () => ({ ok: true, username: 'ana' }),
      }));
    const { client } = await connectDevice(url);
    await client.publishAsync('casa/luz', 'on', { qos: 1 });
    expect(seen).toEqual(['luz by ana']);
  });

  it('are injected as any provider: what they need may be overridden', async () => {
    const { url } = await start({ imports: [SecurityModule] }, (builder) =>
      builder.overrideProvider(Users).useValue({ passwordOf: () => 'other' }));
    await expect(connectDevice(url, { username: 'ana', password: 'secret' })).rejects.toThrow();
    await connectDevice(url, { username: 'ana', password: 'other' });
  });

  it('are found by their own decorator when they stand for another token', async () => {
    abstract class Gatekeeper {}
    abstract class Observer {}
    @Injectable()
    @MqttAuthorizer()
    class Deaf implements NidoAuthorizer {
      canReceive(_who: Identity, topicName: string): boolean { return topicName !== 'casa/secret'; }
    }
    @MqttInterceptor('casa/#')
    class Marker implements NidoInterceptor {
      intercept({ payload }: InterceptedMessage): Interception {
        return { kind: 'replace', payload: `${Buffer.from(payload).toString()}!` };
      }
    }
    const { url } = await start({
      providers: [
        Users,
        { provide: Gatekeeper, useClass: DeviceAuth },
        { provide: 'ACL', useClass: Deaf },
        { provide: 'MARKER', useValue: new Marker() },
        { provide: Observer, useClass: Watcher },
      ],
    });
    await expect(connectDevice(url, { username: 'eva', password: 'x' })).rejects.toThrow(
      /Bad User Name or Password/);
    const { client, received } = await connectDevice(
      url, { clientId: 'ana', username: 'ana', password: 'secret' });
    await client.subscribeAsync('casa/#');
    await client.publishAsync('casa/secret', 'x', { qos: 1 });
    await client.publishAsync('casa/open', 'x', { qos: 1 });
    await until('the open one', () => received.length > 0);
    expect(received.map(({ topic, payload }) => `${topic} ${payload.toString()}`)).toEqual(
      ['casa/open x!']);
    expect(seen).toContain('came ana');
  });

  it('hear of connections, subscriptions, wills and disconnections', async () => {
    const { url } = await start({ providers: [Watcher] });
    const { client } = await connectDevice(url, {
      clientId: 'lamp', will: { topic: 'casa/gone', payload: Buffer.from('x'), qos: 1, retain: false },
    });
    await client.subscribeAsync('casa/+');
    client.stream.destroy();
    await until('the end', () => seen.includes('went lamp') && seen.length >= 4);
    expect([...seen].sort()).toEqual(
      ['came lamp', 'subscribed casa/+', 'went lamp', 'will casa/gone']);
  });
});

describe('a cluster worker', () => {
  it('is refused to host a broker of its own', async () => {
    const worker = Object.getOwnPropertyDescriptor(cluster, 'isWorker')!;
    Object.defineProperty(cluster, 'isWorker', { ...worker, value: true });
    try {
      await expect(start({})).rejects.toMatchObject({
        code: 'NIDO_NEST_HOST_IN_CLUSTER',
        message: expect.stringContaining('join it') as unknown,
      });
    } finally {
      Object.defineProperty(cluster, 'isWorker', worker);
    }
  });
});
