/** MessagePack and CBOR with the packages that do the work, hosted and joined. */
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Controller, Module } from '@nestjs/common';
import { Payload } from '@nestjs/microservices';
import * as msgpackPackage from '@msgpack/msgpack';
import * as cborPackage from 'cborg';
import { firstValueFrom, lastValueFrom, of, toArray } from 'rxjs';
import type { Observable } from 'rxjs';
import { NidoClient, OnRequest, OnTopic, TopicPrefix, cbor, msgpack } from '../../lib/nest/index.js';
import type { Codec, NidoClientOptions } from '../../lib/nest/index.js';
import { closeAll, connectDevice, onClose, startBare, until } from './kit.js';

const calls: unknown[] = [];
afterEach(async () => {
  await closeAll();
  calls.length = 0;
});

const FORMATS = [
  ['msgpack', msgpack, msgpackPackage], ['cbor', cbor, cborPackage],
] as const;

function appModule(): new () => unknown {
  @Controller()
  @TopicPrefix('as')
  class Handlers {
    @OnTopic('event', { onError: 'ignore' })
    event(@Payload() data: unknown): void { calls.push(data); }
    @OnRequest('echo')
    echo(@Payload() data: unknown): unknown { return data; }
    @OnRequest('many')
    many(@Payload() data: unknown): Observable<unknown> { return of(data, data); }
    @OnRequest('unwritable')
    unwritable(): unknown { return { work: () => undefined }; }
  }
  @Module({ controllers: [Handlers] })
  class AppModule {}
  return AppModule;
}

async function clientOf(options: NidoClientOptions): Promise<NidoClient> {
  const client = new NidoClient({ protocolVersion: 5, envelope: 'auto', ...options });
  onClose(() => client.close());
  return client;
}

const READING = {
  room: 'salón', celsius: 21.5, on: true, nothing: null, count: 2 ** 40,
  raw: Uint8Array.from([0xff, 0x00, 0xfe]), list: [1, [2, { deep: 'yes' }]],
};

describe.each(['host', 'join'] as const)('payloads of packages, %s', (mode) => {
  describe.each(FORMATS)('%s', (_name, make, format) => {
    it('come from a device as the package writes them, binary fields and all', async () => {
      const { url } = await startBare(appModule(), mode, { codec: make() });
      const { client } = await connectDevice(url);
      await client.publishAsync('as/event', Buffer.from(format.encode(READING)), { qos: 1 });
      await until('the call', () => calls.length === 1);
      const [{ raw, ...rest }] = calls as (typeof READING)[];
      expect({ ...rest, raw: [...raw] }).toEqual({ ...READING, raw: [0xff, 0x00, 0xfe] });
      expect(raw).toBeInstanceOf(Uint8Array);
    });

    it('go both ways by request, send and publish', async () => {
      const { url } = await startBare(appModule(), mode, { codec: make() });
      // Nobody has loaded this client's codec.
      const client = await clientOf({ url, codec: make() });
      expect(await firstValueFrom(client.send('as/echo', { on: true }))).toEqual({ on: true });
      expect(await lastValueFrom(client.send('as/many', [1]).pipe(toArray()))).toEqual([[1], [1]]);
      const buffer = Buffer.from([0, 1, 0xff]);
      const reply = await client.request<{ raw: Uint8Array }>('as/echo', { raw: buffer });
      expect(Buffer.from(reply.raw)).toEqual(buffer);
      await client.publish('as/event', 'text', { qos: 1 });
      await until('the call', () => calls.length === 1);
      expect(calls).toEqual(['text']);
    });

    it('are observed', async () => {
      const { url } = await startBare(appModule(), mode);
      const client = await clientOf({ url });
      const seen: unknown[] = [];
      const watching = client.observe('out/+', { codec: make() }).subscribe((data) => seen.push(data));
      onClose(async () => watching.unsubscribe());
      const { client: device } = await connectDevice(url);
      await until('an observed message', () => {
        device.publish('out/a', Buffer.from(format.encode({ n: 1 })));
        return seen.length > 0;
      });
      expect(seen[0]).toEqual({ n: 1 });
    });

    it('that are broken are an error of the handler\'s policy, and of who asked', async () => {
      const { url, log } = await startBare(appModule(), mode, { codec: make() });
      const { client: device } = await connectDevice(url);
      const broken = Buffer.from(format.encode(READING)).subarray(0, -3);
      await device.publishAsync('as/event', broken, { qos: 1 });
      await until('the log', () =>
        log.matching(/as\/event.*(msgpack|cbor): .*acknowledged and dropped/).length === 1);
      expect(calls).toEqual([]);
      const client = await clientOf({ url, codec: { ...plain, encode: () => broken } });
      await expect(client.request('as/echo', {})).rejects.toThrow(/^(msgpack|cbor): /);
    });

    it('that cannot be written are an error of whoever wrote them', async () => {
      const { url } = await startBare(appModule(), mode, { codec: make() });
      const client = await clientOf({ url, codec: make() });
      const code = 'NIDO_NEST_CODEC';
      await expect(client.publish('as/event', { work: () => 1 })).rejects.toMatchObject({ code });
      await expect(firstValueFrom(client.send('as/echo', { work: () => 1 })))
        .rejects.toMatchObject({ code });
      await expect(client.request('as/unwritable', 1)).rejects.toThrow(/^(msgpack|cbor): /);
    });
  });
});

const plain: Codec = {
  name: 'plain', envelope: 'never',
  encode: (value) => JSON.stringify(value),
  decode: (payload) => payload.toString(),
};

describe('a codec whose package', () => {
  afterEach(() => { jest.resetModules(); });

  it.each([
    ['msgpack', '@msgpack/msgpack'], ['cbor', 'cborg'],
  ] as const)('cannot be loaded says which one and why: %s', async (name, packageName) => {
    jest.unstable_mockModule(packageName, () => {
      throw new Error(`Cannot find package '${packageName}'`);
    });
    jest.resetModules();
    const codecs = await import('../../lib/nest/index.js');
    await expect(codecs[name]().load!()).rejects.toMatchObject({
      code: 'NIDO_NEST_CODEC_PACKAGE',
      message: expect.stringMatching(
        new RegExp(`${name} cannot use.*Cannot find package.*npm install ${packageName}, or give`),
      ) as unknown,
    });
  });

  it('is given as an object needs none', () => {
    const codec = cbor({ encode: () => Buffer.from('x'), decode: () => 'y' });
    expect([codec.encode(1), codec.decode(Buffer.alloc(0))]).toEqual([Buffer.from('x'), 'y']);
  });
});
