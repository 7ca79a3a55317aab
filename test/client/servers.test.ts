/** The client with every server that we have, in the versions they speak, over TCP and TLS. */
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, NidoClient } from '../../lib/client/index.js';
import { Stage, hasMosquitto, until } from './support/servers.js';

// Takes seconds on a quiet machine; nothing here is about speed.
jest.setTimeout(180_000);

const stage = new Stage();
afterEach(() => stage.stop());

function join(url: string, options: ClientOptions = {}): NidoClient {
  const client = connect(url, { logger: false, ...options });
  stage.onStop(() => client.end({ deadlineMs: 0 }));
  return client;
}

const QOS = [0, 1, 2] as const;

/** Everything that every server must do with us. */
async function talk(url: string, options: ClientOptions): Promise<void> {
  const client = join(url, options);
  const got: string[] = [];
  for (const qos of QOS) {
    const subscription = await client.subscribe(`talk/${qos}/+`, (message) => {
      got.push(`${message.topicName} ${message.payload.toString()} ${message.qos}`);
    }, { qos });
    expect(subscription.qos).toBe(qos);
  }
  const wanted: string[] = [];
  for (let number = 0; number < 20; number += 1) {
    for (const qos of QOS) {
      const { reasonCode } = await client.publish(`talk/${qos}/x`, `${number} ñ`, { qos });
      expect(reasonCode).toBe(0);
      wanted.push(`talk/${qos}/x ${number} ñ ${qos}`);
    }
  }
  await until(() => got.length >= wanted.length, 'all messages');
  expect(got.sort()).toEqual(wanted.sort());

  await client.publish('talk/kept', Buffer.alloc(70_000, 7), { qos: 1, retain: true });
  let kept: Buffer | undefined;
  const retained = await client.subscribe('talk/kept', (message) => {
    if (message.retain) kept = message.payload;
  }, { qos: 1 });
  await until(() => kept !== undefined, 'the retained message');
  expect(kept).toEqual(Buffer.alloc(70_000, 7));
  await client.publish('talk/kept', '', { qos: 1, retain: true });
  await retained.close();
  await client.publish('talk/kept', 'nobody hears', { qos: 1 });
  expect(retained.running).toBe(0);
  await client.end();
  expect(client.status).toBe('closed');
}

const NAMES = { 3: 'MQTT 3.1', 4: 'MQTT 3.1.1', 5: 'MQTT 5' } as const;

for (const protocolVersion of [3, 4, 5] as const) {
  describe(`${NAMES[protocolVersion]}, all QoS, retained and large messages`, () => {
    it('with nidomq', async () => {
      await talk((await stage.ours()).url, { protocolVersion });
    });
    it('with nidomq over TLS', async () => {
      const { url, ca } = await stage.oursTls();
      await talk(url, { protocolVersion, ca });
    });
    it('with nidomq over WebSocket', async () => {
      const listeners = [{ host: '127.0.0.1', port: 0, ws: '/mqtt' }];
      const { port } = await stage.ours({ listeners });
      await talk(`ws://127.0.0.1:${port}`, { protocolVersion });
    });
    const mosquitto = hasMosquitto ? it : it.skip;
    mosquitto('with mosquitto (skipped where it is not installed)', async () => {
      await talk((await stage.mosquitto()).url, { protocolVersion });
    });
    mosquitto('with mosquitto over TLS (skipped likewise)', async () => {
      const { url, ca } = await stage.mosquittoTls();
      await talk(url, { protocolVersion, ca });
    });
  });
}

describe('aedes, which speaks MQTT 3.1 and 3.1.1', () => {
  for (const protocolVersion of [3, 4] as const) {
    it(`${NAMES[protocolVersion]}, all QoS, retained and large messages`, async () => {
      await talk((await stage.aedes()).url, { protocolVersion });
    });
    it(`${NAMES[protocolVersion]}, the same over TLS`, async () => {
      const { url, ca } = await stage.aedesTls();
      await talk(url, { protocolVersion, ca });
    });
  }
  it('is spoken to in 3.1.1 when nobody asked for a version', async () => {
    const { url } = await stage.aedes();
    const client = join(url);
    await client.connected();
    expect(client.protocolVersion).toBe(4);
    await talk(url, {});
  });
  it('takes over from a server of MQTT 5 when nobody asked for a version', async () => {
    const [ours, aedes] = [await stage.ours(), await stage.aedes()];
    const servers = [ours.port, aedes.port].map((port) => ({ host: '127.0.0.1', port }));
    const client = connect({ servers, logger: false, reconnectPeriod: 5 });
    stage.onStop(() => client.end({ deadlineMs: 0 }));
    await client.connected();
    expect(client.protocolVersion).toBe(5);
    await ours.broker.close();
    await client.publish('a', 'x', { qos: 1 });
    expect([client.protocolVersion, client.server.name]).toEqual([4, `mqtt://127.0.0.1:${aedes.port}`]);
  });
  it('refuses when MQTT 5 is asked for, and says why', async () => {
    const client = join((await stage.aedes()).url, { protocolVersion: 5 });
    await expect(client.connected()).rejects.toMatchObject({
      code: 'NIDO_CLIENT_REFUSED', reasonCode: 0x84,
    });
    expect(client.status).toBe('closed');
  });
});
