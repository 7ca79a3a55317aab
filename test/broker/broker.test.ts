import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Broker } from '../../lib/broker/broker.js';
import { Core } from '../../lib/core/core.js';
import type { Transport, TransportOwner } from '../../lib/listener/transport.js';
import { Stage, until, within } from './support/clients.js';

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.stop());

const VERSIONS = [3, 4, 5] as const;
const versionOptions = (version: 3 | 4 | 5) =>
  ({
    protocolVersion: version,
    protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
  }) as const;

describe.each(VERSIONS)('clients of protocol version %i', (version) => {
  const given = versionOptions(version);

  it.each([0, 1, 2] as const)('publish and receive at QoS %i', async (qos) => {
    await stage.broker();
    const receiver = await stage.client({ ...given, clientId: 'receiver' });
    await receiver.mqtt.subscribeAsync('casa/+/luz', { qos });
    const sender = await stage.client({ ...given, clientId: 'sender' });
    for (let n = 0; n < 20; n += 1) {
      await within(sender.mqtt.publishAsync('casa/sala/luz', `on ${n}`, { qos }), 'PUBACK');
    }
    const messages = await receiver.next(20);
    expect(messages.map(({ payload }) => payload)).toEqual(
      Array.from({ length: 20 }, (_, n) => `on ${n}`),
    );
    expect(messages[0].packet.qos).toBe(qos);
  });

  it('find retained messages, and lose them when they are cleared', async () => {
    await stage.broker();
    const sender = await stage.client({ ...given, clientId: 'sender' });
    await sender.mqtt.publishAsync('state/a', 'kept', { qos: 1, retain: true });
    await sender.mqtt.publishAsync('state/b', 'gone', { qos: 1, retain: true });
    await sender.mqtt.publishAsync('state/b', '', { qos: 1, retain: true });
    const receiver = await stage.client({ ...given, clientId: 'receiver' });
    await receiver.mqtt.subscribeAsync('state/#', { qos: 1 });
    await sender.mqtt.publishAsync('state/c', 'live', { qos: 1 });
    const messages = await receiver.next(2);
    expect(messages.map(({ topic, packet }) => [topic, packet.retain])).toEqual([
      ['state/a', true],
      ['state/c', false],
    ]);
  });

  it('keep their session when they want to', async () => {
    await stage.broker();
    const kept = {
      ...given,
      clientId: 'keeper',
      clean: false,
      ...(version === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}),
    };
    const first = await stage.client(kept);
    expect((await first.whenConnected).sessionPresent).toBe(false);
    await first.mqtt.subscribeAsync('news/#', { qos: 1 });
    await first.end();
    const sender = await stage.client({ ...given, clientId: 'sender' });
    await sender.mqtt.publishAsync('news/1', 'while away', { qos: 1 });
    const second = await stage.client(kept);
    expect((await second.whenConnected).sessionPresent).toBe(version !== 3);
    expect((await second.next())[0].payload).toBe('while away');
  });

  it('are cut off when somebody takes their session over', async () => {
    await stage.broker();
    const first = await stage.client({ ...given, clientId: 'twin' });
    await stage.client({ ...given, clientId: 'twin' });
    await within(first.whenClosed, 'the end of the first');
    expect(first.disconnects).toEqual(version === 5 ? [0x8e] : []);
  });

  it('leave a will when they vanish, and none when they say goodbye', async () => {
    await stage.broker();
    const watcher = await stage.client({ ...given, clientId: 'watcher' });
    await watcher.mqtt.subscribeAsync('wills/#', { qos: 1 });
    const will = (name: string) => ({
      topic: `wills/${name}`,
      payload: Buffer.from('gone'),
      qos: 1 as const,
      retain: false,
    });
    const polite = await stage.client({ ...given, clientId: 'polite', will: will('polite') });
    await polite.end();
    const rude = await stage.client({ ...given, clientId: 'rude', will: will('rude') });
    rude.mqtt.stream.destroy();
    expect((await watcher.next())[0].topic).toBe('wills/rude');
  });
});

describe('handlers of this process', () => {
  it('receive from sockets and from the process, and answer through publish', async () => {
    const broker = await stage.broker();
    const seen: string[] = [];
    await broker.subscribe('ask/+', async ({ topicName, payload, publisher }) => {
      seen.push(`${publisher?.clientId ?? 'process'} ${topicName} ${payload}`);
      await broker.publish(`answer/${topicName.slice(4)}`, `to ${payload}`, { qos: 1 });
    });
    const client = await stage.client({ clientId: 'asker' });
    await client.mqtt.subscribeAsync('answer/+', { qos: 1 });
    await client.mqtt.publishAsync('ask/1', 'x', { qos: 1 });
    await broker.publish('ask/2', 'y', { qos: 1 });
    expect((await client.next(2)).map(({ topic, payload }) => `${topic} ${payload}`)).toEqual([
      'answer/1 to x',
      'answer/2 to y',
    ]);
    expect(seen).toEqual(['asker ask/1 x', 'process ask/2 y']);
  });

  it('make the publisher wait, and tell it of their failure', async () => {
    const broker = await stage.broker();
    let finish: (() => void) | undefined;
    await broker.subscribe(
      'slow',
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
    );
    await broker.subscribe('bad', () => {
      throw Object.assign(new Error('no'), { reasonCode: 0x83 });
    });
    const client = await stage.client({ clientId: 'waiter' });
    let acknowledged = false;
    const publishing = client.mqtt.publishAsync('slow', 'x', { qos: 1 }).then(() => {
      acknowledged = true;
    });
    await until(() => finish !== undefined, 'the handler');
    await client.mqtt.publishAsync('other', 'x', { qos: 0 });
    expect(acknowledged).toBe(false);
    finish!();
    await within(publishing, 'PUBACK');
    await expect(client.mqtt.publishAsync('bad', 'x', { qos: 1 })).rejects.toMatchObject({
      code: 0x83,
    });
    await expect(broker.publish('bad', 'x', { qos: 1 })).rejects.toMatchObject({
      reasonCode: 0x83,
    });
  });

  it('are never more at work than their concurrency', async () => {
    const broker = await stage.broker();
    let running = 0;
    let most = 0;
    let done = 0;
    await broker.subscribe(
      'work',
      async () => {
        most = Math.max(most, (running += 1));
        await new Promise(setImmediate);
        running -= 1;
        done += 1;
      },
      { concurrency: 3 },
    );
    const publishing = Array.from({ length: 50 }, (_, n) =>
      broker.publish('work', `${n}`, { qos: n % 3 === 0 ? 0 : 1 }),
    );
    await within(Promise.all(publishing), 'all publishes');
    await until(() => done === 50, 'all handlers');
    expect(most).toBe(3);
  });
});

describe('who may come in and do what', () => {
  it('refuses a listener that is open to everybody, and says both cures', () => {
    const make =
      (options = {}) =>
      () =>
        new Broker({ logger: false, ...options });
    const listeners = [{ host: '0.0.0.0', port: 0 }];
    expect(make({ listeners })).toThrow(/authenticator.*allowAnonymous: true/);
    expect(make({ listeners: [{ host: '::', port: 0 }] })).toThrow(/NIDO|authenticator/);
    expect(make({ listeners, allowAnonymous: true })).not.toThrow();
    expect(
      make({ listeners, authentication: [{ authenticate: () => ({ ok: 'pass' }) }] }),
    ).not.toThrow();
  });

  it('refuses bad passwords and anonymous clients with the code of their version', async () => {
    await stage.broker({
      authentication: [
        {
          authenticate: async ({ username, password }) =>
            username === 'ana' && String(password) === 'secret' ? { ok: true } : { ok: 'pass' },
        },
      ],
    });
    await stage.client({ username: 'ana', password: 'secret' });
    await expect(stage.client({ username: 'ana', password: 'guess' })).rejects.toMatchObject({
      code: 0x86,
    });
    await expect(stage.client({})).rejects.toMatchObject({ code: 0x87 });
    await expect(
      stage.client({ protocolVersion: 4, username: 'ana', password: 'x' }),
    ).rejects.toMatchObject({ code: 4 });
  });

  it('takes guards later, too: a door that was open for want of one is not any more', async () => {
    const broker = await stage.broker();
    const early = await stage.client({});
    broker.addGuards({
      authentication: [
        {
          authenticate: ({ username }) =>
            username === 'ana' ? { ok: true, username } : { ok: 'pass' },
        },
      ],
      authorization: [{ canPublish: (who) => who.username === 'ana' }],
    });
    await expect(stage.client({})).rejects.toMatchObject({ code: 0x87 });
    const ana = await stage.client({ username: 'ana', password: 'x' });
    await ana.mqtt.publishAsync('t', 'x', { qos: 1 });
    await expect(early.mqtt.publishAsync('t', 'x', { qos: 1 })).rejects.toMatchObject({
      code: 0x87,
    });
    expect(() => broker.addGuards({ authentication: [{} as never] })).toThrow(
      /authentication\[1\] has none of the methods authenticate/,
    );
  });

  it('asks authorizers for publishes, subscriptions and wills', async () => {
    const asked: string[] = [];
    await stage.broker({
      authorization: [
        {
          canPublish: async (who, topicName) => {
            asked.push(`${who.clientId} ${topicName}`);
            return topicName !== 'secret';
          },
          canSubscribe: (_who, filter) => filter !== 'secret',
        },
      ],
    });
    const client = await stage.client({ clientId: 'c' });
    await client.mqtt.subscribeAsync('open/#', { qos: 1 });
    await expect(client.mqtt.subscribeAsync('secret', { qos: 1 })).rejects.toThrow(
      /Not authorized|0x87|135/i,
    );
    await expect(client.mqtt.publishAsync('secret', 'x', { qos: 1 })).rejects.toMatchObject({
      code: 0x87,
    });
    for (let n = 0; n < 3; n += 1) await client.mqtt.publishAsync('open/a', `${n}`, { qos: 1 });
    expect(await client.next(3)).toHaveLength(3);
    expect(asked).toEqual(['c secret', 'c open/a']);
    await expect(
      stage.client({ will: { topic: 'secret', payload: Buffer.from(''), qos: 0, retain: false } }),
    ).rejects.toMatchObject({ code: 0x87 });
  });
});

describe('the life of a broker', () => {
  it('tells of clients that come and go', async () => {
    const broker = await stage.broker();
    const connected = stage.event('clientConnected');
    const client = await stage.client({ clientId: 'c', keepalive: 33 });
    expect(await connected).toMatchObject({
      clientId: 'c',
      protocolVersion: 5,
      remoteAddress: '127.0.0.1',
      transport: 'tcp',
      keepAliveSeconds: 33,
    });
    expect(broker.clients().map(({ clientId }) => clientId)).toEqual(['c']);
    const gone = stage.event('clientDisconnected');
    await client.end();
    expect(await gone).toMatchObject({
      clientId: 'c',
      by: 'client',
      reasonCode: 0,
      remoteAddress: '127.0.0.1',
    });
    expect(broker.client('c')).toBeUndefined();
  });

  it('closes silent peers after the connect timeout, and those that send nonsense at once', async () => {
    await stage.broker({ limits: { connectTimeoutSeconds: 1 } });
    const silent = await stage.socket();
    const nonsense = await stage.socket();
    nonsense.send('47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a');
    await within(nonsense.whenClosed, 'the end of nonsense');
    await within(silent.whenClosed, 'the end of silence');
  });

  it('disconnects a client when told so', async () => {
    const broker = await stage.broker();
    const client = await stage.client({ clientId: 'c' });
    expect(broker.disconnectClient('c')).toBe(true);
    await within(client.whenClosed, 'the end');
    expect(client.disconnects).toEqual([0x98]);
    expect(broker.disconnectClient('nobody')).toBe(false);
  });

  it('lets handlers finish and says goodbye when it closes', async () => {
    const broker = await stage.broker();
    let finish: (() => void) | undefined;
    await broker.subscribe(
      'slow',
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
    );
    const client = await stage.client({ clientId: 'c' });
    const publishing = client.mqtt.publishAsync('slow', 'x', { qos: 1 });
    await until(() => finish !== undefined, 'the handler');
    const closing = broker.close({ deadlineMs: 3_000 });
    finish!();
    await within(publishing, 'PUBACK');
    await within(closing, 'close');
    await within(client.whenClosed, 'the end of the client');
    expect(client.disconnects).toEqual([0x8b]);
    await expect(broker.publish('x')).rejects.toMatchObject({ code: 'NIDO_BROKER_CLOSED' });
  });

  it('publishes figures under $SYS, and keeps them from wildcards', async () => {
    await stage.broker({ sys: { intervalSeconds: 1 } });
    const client = await stage.client({ clientId: 'c' });
    await client.mqtt.subscribeAsync(['$SYS/broker/clients/+', '#'], { qos: 0 });
    const topics = (await client.next(3)).map(({ topic }) => topic);
    expect(topics.every((topic) => topic.startsWith('$SYS/broker/clients/'))).toBe(true);
  });

  it('takes a byte pipe of the application, even one that speaks at once', async () => {
    const broker = await stage.broker();
    const written: string[] = [];
    let owner!: TransportOwner;
    const pipe = {
      kind: 'memory', remoteAddress: '', remotePort: 0, bytesInFlight: 0,
      open(given: TransportOwner) {
        owner = given;
        owner.transportData(Buffer.from('101000044d51545405020000000003706970', 'hex'));
        owner.transportData(Buffer.from('c000', 'hex'));
      },
      write(bytes: Uint8Array) {
        written.push(Buffer.from(bytes).toString('hex'));
        return true;
      },
      end: () => owner.transportClosed(),
      destroy: () => owner.transportClosed(),
      cork() {}, uncork() {}, pause() {}, resume() {},
    } as unknown as Transport;
    broker.accept(pipe);
    await until(() => written.join('').endsWith('d000'), 'PINGRESP');
    expect(broker.client('pip')).toMatchObject({ transport: 'memory', listener: 'attached' });
    broker.disconnectClient('pip');
    await until(() => broker.clients().length === 0, 'the end');
  });

  it('leaves no door open when it is closed while they open', async () => {
    const broker = new Broker({ logger: false, listeners: [{ port: 0 }, { port: 0 }] });
    const listening = broker.listen();
    await broker.close();
    await expect(listening).rejects.toMatchObject({ code: 'NIDO_BROKER_CLOSED' });
    expect(broker.listeners).toEqual([]);
    await expect(broker.listen()).rejects.toMatchObject({ code: 'NIDO_BROKER_STATE' });
  });

  it('opens all its doors or none', async () => {
    const first = await stage.broker();
    const second = new Broker({
      logger: false,
      listeners: [{ port: 0 }, { port: first.listeners[0].port }],
    });
    await expect(second.listen()).rejects.toMatchObject({ code: 'NIDO_LISTENER_PORT_TAKEN' });
    expect(second.listeners).toEqual([]);
    await second.close();
  });
});

describe('a core that fails', () => {
  it('is replaced: doors stay open, and handlers of this process go on', async () => {
    const cores: { trap: () => void }[] = [];
    const broker = await stage.broker(
      {},
      {
        createCore: (options, events, around) => {
          cores.push({ trap: () => around.broken(new Error('unreachable')) });
          return new Core(options, events, around);
        },
      },
    );
    const problem = stage.event('problem');
    const seen: string[] = [];
    const subscription = await broker.subscribe('a', ({ payload }) => seen.push(String(payload)));
    await broker.publish('a', 'before', { qos: 1 });
    cores[0].trap();
    expect(await problem).toMatchObject({ where: 'core' });
    expect(cores).toHaveLength(2);
    const client = await stage.client({ clientId: 'after' });
    await client.mqtt.publishAsync('a', 'after', { qos: 1 });
    expect(seen).toEqual(['before', 'after']);
    await subscription.close();
    await client.mqtt.publishAsync('a', 'unheard', { qos: 1 });
    expect(seen).toHaveLength(2);
  });
});
