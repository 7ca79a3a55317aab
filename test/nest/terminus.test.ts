/** `nidomq/terminus` as a probe sees it: an HTTP endpoint with terminus' HealthCheckService. */
import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Module } from '@nestjs/common';
import type { DynamicModule, INestApplication, Type } from '@nestjs/common';
import {
  HealthCheck, HealthCheckService, HealthIndicatorService, TerminusModule,
} from '@nestjs/terminus';
import { Test } from '@nestjs/testing';
import { ModuleRef } from '@nestjs/core';
import { Broker } from 'nidomq';
import { NidoHealthIndicator } from 'nidomq/terminus';
import type { NidoHealthOptions } from 'nidomq/terminus';
import type { Engine, EngineBatch } from '../../lib/engine/index.js';
import { EngineError, createMemoryEngine } from '../../lib/engine/index.js';
import { NidoModule, NidoStrategy, getBrokerToken } from '../../lib/nest/index.js';
import type { NidoOptions } from '../../lib/nest/index.js';
import { HOSTED, LogBook, closeAll, connectDevice, onClose, openBroker, until, urlOf } from './kit.js';

/** Terminus knows the word since version 12; before, it is told `up`, with the message. */
const IMPAIRED =
  'degraded' in (new HealthIndicatorService().check('x') as object) ? 'degraded' : 'up';

afterEach(closeAll);

interface Probe {
  readonly app: INestApplication;
  /** HTTP status, and what is told about the broker. */
  probe(): Promise<[number, Record<string, unknown>]>;
}

function healthModule(options: NidoHealthOptions): Type<unknown> {
  @Controller('health')
  class HealthController {
    constructor(
      private readonly health: HealthCheckService,
      private readonly nido: NidoHealthIndicator,
    ) {}
    @Get()
    @HealthCheck()
    check() {
      return this.health.check([() => this.nido.check('mqtt', options)]);
    }
  }
  @Module({
    imports: [TerminusModule.forRoot({ logger: false })],
    controllers: [HealthController],
    providers: [NidoHealthIndicator],
  })
  class HealthModule {}
  return HealthModule;
}

async function open(
  nido: NidoOptions, options: NidoHealthOptions = {}, broker?: Broker,
): Promise<Probe> {
  return openWith([NidoModule.forRoot(nido)], options, broker);
}

async function openWith(
  imports: DynamicModule[], options: NidoHealthOptions, broker?: Broker,
): Promise<Probe> {
  const building = Test.createTestingModule({ imports: [...imports, healthModule(options)] });
  if (broker !== undefined) building.overrideProvider(getBrokerToken()).useValue(broker);
  const module = await building.compile();
  const app = module.createNestApplication({ logger: new LogBook() });
  onClose(() => app.close());
  await app.listen(0, '127.0.0.1');
  const url = `${await app.getUrl()}/health`;
  const probe = async (): Promise<[number, Record<string, unknown>]> => {
    const response = await fetch(url);
    const body = await response.json() as { details?: { mqtt?: Record<string, unknown> } };
    return [response.status, body.details?.mqtt ?? (body as Record<string, unknown>)];
  };
  return { app, probe };
}

async function start({ app }: Probe): Promise<void> {
  app.connectMicroservice({ strategy: app.get(NidoStrategy) });
  await app.startAllMicroservices();
}

describe('the health of a hosted broker', () => {
  it('is down before the doors are open, then up with figures', async () => {
    const probe = await open(HOSTED);
    const [early, down] = await probe.probe();
    expect([early, down]).toMatchObject([503, { status: 'down', connection: 'not opened' }]);

    await start(probe);
    await connectDevice(urlOf(probe.app.get(Broker)));
    const [status, up] = await probe.probe();
    expect(status).toBe(200);
    expect(up).toMatchObject({
      status: 'up', mode: 'host', connection: 'listening', engine: 'ok', clients: 1,
      queuedMessages: 0,
    });
    expect(up.memoryUsed).toBeGreaterThanOrEqual(0);
    expect(up).not.toHaveProperty('message');
  });

  it('is degraded when its memory runs short', async () => {
    const memoryBytes = 16 * 1024 * 1024;
    const host = { listeners: [{ host: '127.0.0.1', port: 0 }], limits: { memoryBytes } };
    const probe = await open({ host }, { memoryUsedMax: 0.4 });
    await start(probe);
    expect((await probe.probe())[1].status).toBe('up');
    const broker = probe.app.get(Broker);
    for (let at = 0; at < 120; at += 1) {
      await broker.publish(`big/${at}`, Buffer.alloc(65_000), { retain: true });
    }
    const [status, details] = await probe.probe();
    expect([status, details.status]).toEqual([200, IMPAIRED]);
    expect(details.message).toMatch(/^\d+ % of limits.memoryBytes is in use$/);
  });

  it('is degraded while the disk refuses writes', async () => {
    const disk = { isFull: false };
    const broker = new Broker(
      { listeners: [{ host: '127.0.0.1', port: 0 }], logger: false }, { engine: onDisk(disk) },
    );
    const probe = await open(HOSTED, {}, broker);
    await start(probe);
    expect((await probe.probe())[1]).toMatchObject({ status: 'up', engine: 'ok' });
    disk.isFull = true;
    const { client } = await connectDevice(urlOf(broker));
    client.publish('kept', 'x', { qos: 1, retain: true }, () => undefined);
    await until('the stall', () => broker.engineState === 'stalled');
    expect(await probe.probe()).toMatchObject([200, { status: IMPAIRED, engine: 'stalled' }]);
    disk.isFull = false;
    await until('the recovery', () => broker.engineState === 'ok');
    expect(await probe.probe()).toMatchObject([200, { status: 'up', engine: 'ok' }]);
  });

  it('is down once it is closed', async () => {
    const probe = await open(HOSTED);
    await start(probe);
    expect((await probe.probe())[1].status).toBe('up');
    const [microservice] = probe.app.getMicroservices();
    await microservice.close();
    await probe.app.get(Broker).close();
    expect(await probe.probe()).toMatchObject([503, { status: 'down', connection: 'closed' }]);
  });

  it('says that there is no such broker', async () => {
    const { probe } = await openWith([], {});
    const [status] = await probe();
    expect(status).toBe(500);
    const indicator = new NidoHealthIndicator(
      new HealthIndicatorService(), { get: () => { throw new Error('not found'); } } as never,
    );
    await expect(indicator.check('mqtt', { broker: 'garden' })).rejects.toMatchObject({
      code: 'NIDO_NEST_OPTION_INVALID',
      message: expect.stringContaining('there is no broker garden') as unknown as string,
    });
  });
});

describe('the health of a joined connection', () => {
  it('is up, degraded while it comes back, down when that takes too long', async () => {
    const first = await openBroker();
    const { port } = first.listeners[0];
    const join = { url: urlOf(first), reconnectPeriod: 20 };
    const probe = await open({ join });
    await start(probe);
    expect(await probe.probe()).toMatchObject([
      200, { status: 'up', mode: 'join', connection: 'connected' },
    ]);

    const impatient = new NidoHealthIndicator(
      probe.app.get(HealthIndicatorService, { strict: false }),
      probe.app.get(ModuleRef, { strict: false }),
    );
    await first.close();
    let details: Record<string, unknown> = {};
    const deadline = Date.now() + 5_000;
    while (details.message === undefined && Date.now() < deadline) {
      [, details] = await probe.probe();
    }
    expect(details.status).toBe(IMPAIRED);
    expect(details.message).toMatch(/^no connection to the broker for \d+ ms$/);
    expect(await impatient.check('mqtt', { reconnectingMsMax: 0 })).toMatchObject({
      mqtt: { status: 'down' },
    });

    const second = new Broker({ listeners: [{ host: '127.0.0.1', port }], logger: false });
    onClose(() => second.close());
    await second.listen();
    await until('the client to be back', () => second.clients().length === 1);
    let status = '';
    while (status !== 'up' && Date.now() < deadline + 5_000) {
      status = String((await probe.probe())[1].status);
    }
    expect(status).toBe('up');
  });

  it('is told as up, with the message, to a terminus that does not know degraded', async () => {
    const status = { subscribe: (next: (word: string) => void) => next('reconnecting') };
    const link = { mode: 'join', status };
    const up = (data: object) => ({ mqtt: { status: 'up', ...data } });
    const indicator = new NidoHealthIndicator(
      { check: () => ({ up }) } as never, { get: () => link } as never,
    );
    expect(await indicator.check('mqtt')).toEqual({
      mqtt: {
        status: 'up', mode: 'join', connection: 'reconnecting',
        message: expect.stringContaining('no connection') as unknown as string,
      },
    });
  });
});

/** An engine whose disk is full while `isFull` is set. */
function onDisk(disk: { isFull: boolean }): Engine {
  const inner = createMemoryEngine({ durability: 'disk' });
  return new Proxy(inner, {
    get(target, name) {
      if (name === 'commit') {
        return (batch: EngineBatch) =>
          (disk.isFull
            ? Promise.reject(new EngineError('NIDO_ENGINE_IO', 'no space left on device'))
            : target.commit(batch));
      }
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}
