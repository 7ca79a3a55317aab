/** Slow, frozen, absent and hostile peers cost themselves only, and nothing acknowledged is lost. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { MqttClient } from 'mqtt';
import { Stage, until, within } from './support/clients.js';
import type { Client } from './support/clients.js';

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.stop());

/** Publishes `count` messages at once; resolves when all of them are acknowledged. */
async function burst(client: MqttClient, topic: string, count: number, qos: 1 | 2): Promise<void> {
  const all = Array.from({ length: count }, (_, n) => client.publishAsync(topic, `${n}`, { qos }));
  await within(Promise.all(all), `${count} acknowledgements`);
}

async function payloads(client: Client, count: number): Promise<string[]> {
  return (await client.next(count)).map(({ payload }) => payload);
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => `${n}`);

describe.each([4, 5] as const)('with clients of version %i and full queues there is no deadlock', (version) => {
  const small = { limits: { queueMessagesMax: 20, inflightMax: 5, withholdSecondsMax: 2 } };
  const given = { protocolVersion: version } as const;

  it.each([1, 2] as const)('when a client publishes to itself at QoS %i', async (qos) => {
    await stage.broker(small);
    const client = await stage.client({ ...given, clientId: 'narcissus' });
    await client.mqtt.subscribeAsync('self', { qos });
    await burst(client.mqtt, 'self', 300, qos);
    expect(await payloads(client, 300)).toEqual(numbers(300));
  });

  it.each([1, 2] as const)('when two publish to each other at QoS %i', async (qos) => {
    await stage.broker(small);
    const pair = await Promise.all(
      ['a', 'b'].map((clientId) => stage.client({ ...given, clientId })),
    );
    await pair[0].mqtt.subscribeAsync('to-a', { qos });
    await pair[1].mqtt.subscribeAsync('to-b', { qos });
    await Promise.all([
      burst(pair[0].mqtt, 'to-b', 300, qos),
      burst(pair[1].mqtt, 'to-a', 300, qos),
    ]);
    for (const client of pair) expect(await payloads(client, 300)).toEqual(numbers(300));
  });

  it('when three publish in a ring', async () => {
    await stage.broker(small);
    const ring = await Promise.all(
      ['r0', 'r1', 'r2'].map((clientId) => stage.client({ ...given, clientId })),
    );
    await Promise.all(ring.map((client, n) => client.mqtt.subscribeAsync(`to/${n}`, { qos: 1 })));
    await Promise.all(ring.map((client, n) => burst(client.mqtt, `to/${(n + 1) % 3}`, 300, 1)));
    for (const client of ring) expect(await payloads(client, 300)).toEqual(numbers(300));
  });
});

describe('a frozen subscriber', () => {
  it('costs only itself: others get everything, and its session goes on queueing', async () => {
    const broker = await stage.broker({
      limits: { queueMessagesMax: 50, inflightMax: 10, withholdSecondsMax: 1 },
    });
    const keep = { properties: { sessionExpiryInterval: 60 } };
    const frozen = await stage.client({ clientId: 'frozen', ...keep });
    await frozen.mqtt.subscribeAsync('news', { qos: 1 });
    const healthy = await stage.client({ clientId: 'healthy' });
    await healthy.mqtt.subscribeAsync(['news', 'other'], { qos: 1 });
    frozen.mqtt.stream.pause();
    const strangers = await stage.client({ clientId: 'stranger' });
    const publisher = await stage.client({ clientId: 'publisher' });
    const gone = stage.event('clientDisconnected');
    const news = burst(publisher.mqtt, 'news', 400, 1);
    await burst(strangers.mqtt, 'other', 100, 1);
    await news;
    expect(await gone).toMatchObject({ clientId: 'frozen', reasonCode: 0x97 });
    const got = (await healthy.next(500)).filter(({ topic }) => topic === 'news');
    expect(got.map(({ payload }) => payload)).toEqual(numbers(400));
    expect(broker.session('frozen')!.queuedMessages).toBeGreaterThan(0);
  });
});

describe('an absent subscriber', () => {
  it.each([1, 2] as const)('finds its messages in order when it returns, QoS %i', async (qos) => {
    await stage.broker();
    const keep = { clientId: 'absent', properties: { sessionExpiryInterval: 60 } };
    const before = await stage.client(keep);
    await before.mqtt.subscribeAsync('t', { qos });
    await before.end();
    const publisher = await stage.client({ clientId: 'publisher' });
    await burst(publisher.mqtt, 't', 2_000, qos);
    const after = await stage.client({ ...keep, clean: false });
    expect(await payloads(after, 2_000)).toEqual(numbers(2_000));
  });

  it('leaves its shared QoS 1 messages to the members that stay', async () => {
    await stage.broker();
    const leaver = await stage.client({ clientId: 'leaver' });
    const stayer = await stage.client({ clientId: 'stayer' });
    await leaver.mqtt.subscribeAsync('$share/g/t', { qos: 1 });
    // It reads nothing, so it acknowledges nothing.
    leaver.mqtt.stream.pause();
    await stayer.mqtt.subscribeAsync('$share/g/t', { qos: 1 });
    const publisher = await stage.client({ clientId: 'publisher' });
    await burst(publisher.mqtt, 't', 40, 1);
    leaver.mqtt.stream.destroy();
    const got = await payloads(stayer, 40);
    expect(new Set(got)).toEqual(new Set(numbers(40)));
  });
});

describe('hostile clients', () => {
  it('that take over one identifier again and again leave a pair of others alone', async () => {
    const broker = await stage.broker();
    const subscriber = await stage.client({ clientId: 'subscriber' });
    await subscriber.mqtt.subscribeAsync('pair', { qos: 1 });
    const publisher = await stage.client({ clientId: 'publisher' });
    const storm = (async () => {
      for (let round = 0; round < 40; round += 1) {
        const peers = await Promise.all(Array.from({ length: 10 }, () => stage.socket()));
        for (const peer of peers) {
          peer.send('10 10 0004 4d515454 05 00 003c 00 0003 626164');
          peer.send('82 07 0001 00 0001 23 01');
          peer.send('30 05 0002 7478 00'.repeat(50));
        }
        peers.slice(0, 5).forEach((peer) => peer.socket.destroy());
      }
    })();
    await burst(publisher.mqtt, 'pair', 400, 1);
    await storm;
    expect(await payloads(subscriber, 400)).toEqual(numbers(400));
    await until(() => broker.clients().filter(({ clientId }) => clientId === 'bad').length <= 1, 'one');
  });

  it('cannot write lines of their own into the log', async () => {
    const lines: string[] = [];
    const write = (message: string): void => {
      lines.push(message);
    };
    await stage.broker({ logger: { error: write, warn: write, log: write, debug: write } });
    const clientId = 'x" user="admin\r\nclient connected\u001b[2J\u2028';
    const client = await stage.client({ clientId, username: 'u\n', password: 'hunter2' });
    await client.end();
    await until(() => lines.some((line) => line.startsWith('client disconnected')), 'the log');
    const controls = [...lines.join('')].filter((letter) => letter < ' ' || letter === '\u2028');
    expect(controls).toEqual([]);
    expect(lines.join('')).not.toContain('hunter2');
    expect(lines.find((line) => line.startsWith('client connected'))).toContain('x\\" user=\\"admin');
  });

  it('named like members of objects are clients like any other', async () => {
    const broker = await stage.broker();
    for (const name of ['__proto__', 'constructor', 'toString']) {
      const client = await stage.client({
        clientId: name, username: name, properties: { userProperties: { [`${name}!`]: name } },
      });
      await client.mqtt.subscribeAsync(name, { qos: 1 });
      await client.mqtt.publishAsync(name, name, { qos: 1, retain: true });
      expect((await client.next())[0]).toMatchObject({ topic: name, payload: name });
    }
    expect(broker.clients()).toHaveLength(3);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});
