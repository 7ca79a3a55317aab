/** The queue towards the server: what waits, what it holds, and what happens when it is full. */
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, NidoClient } from '../../lib/client/index.js';
import { Stage, until } from './support/servers.js';

jest.setTimeout(180_000);

const stage = new Stage();
afterEach(() => stage.stop());

function join(url: string, options: ClientOptions = {}): NidoClient {
  const client = connect(url, { logger: false, ...options });
  stage.onStop(() => client.end({ deadlineMs: 0 }));
  return client;
}

describe('QoS 0 faster than the server reads', () => {
  it('waits for the server: awaited publishes never fill the queue', async () => {
    const { url, broker } = await stage.ours();
    const client = join(url, { queueMessagesMax: 50 });
    await client.connected();
    const payload = Buffer.alloc(4096);
    for (let number = 0; number < 2000; number += 1) await client.publish('flood', payload);
    await client.publish('flood', payload, { qos: 1 });
    expect(broker.stats().publishReceived).toBe(2001);
  });
});

describe('a queue that is full while offline', () => {
  const offline: ClientOptions = { manualConnect: true, queueMessagesMax: 3 };

  it('refuses the new message (the default), with a code and the options that say so', async () => {
    const { url } = await stage.ours();
    const client = join(url, offline);
    const kept = [0, 1, 2].map((number) => client.publish('a', `${number}`, { qos: 1 }));
    await expect(client.publish('a', '3', { qos: 1 })).rejects.toMatchObject({
      code: 'NIDO_CLIENT_QUEUE_FULL', reasonCode: 0x97,
      message: expect.stringContaining('queueMessagesMax 3') as unknown as string,
    });
    expect(client.publishAndForget('a', '4')).toBe(false);
    client.start();
    await Promise.all(kept);
  });

  it('drops the oldest with queueOverflow drop-oldest, and tells its publisher', async () => {
    const { url } = await stage.ours();
    const got: string[] = [];
    const receiver = join(url);
    await receiver.subscribe('a', ({ payload }) => { got.push(payload.toString()); }, { qos: 1 });
    const client = join(url, { ...offline, queueOverflow: 'drop-oldest' });
    const first = client.publish('a', '0', { qos: 1 });
    const refused = expect(first).rejects.toMatchObject({ code: 'NIDO_CLIENT_QUEUE_FULL' });
    const kept = [1, 2, 3].map((number) => client.publish('a', `${number}`, { qos: 1 }));
    await refused;
    client.start();
    await Promise.all(kept);
    await until(() => got.length >= 3, 'the messages that were kept');
    expect(got).toEqual(['1', '2', '3']);
  });

  it('does not take QoS 0 with queueQoSZero false', async () => {
    const { url } = await stage.ours();
    const client = join(url, { ...offline, queueQoSZero: false });
    await expect(client.publish('a', '')).rejects.toMatchObject({ code: 'NIDO_CLIENT_QUEUE_FULL' });
    const kept = client.publish('a', '', { qos: 1 });
    client.start();
    await kept;
  });
});
