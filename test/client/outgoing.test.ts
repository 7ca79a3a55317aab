/** The queue towards the server: what waits, what it holds, and what happens when it is full. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { connect } from '../../lib/client/index.js';
import type { ClientOptions, NidoClient } from '../../lib/client/index.js';
import { ClientKit, within } from '../conformance/client/client-kit.js';
import { serverProperty } from '../conformance/client/server-packets.js';
import { pubcomp, pubrec } from '../conformance/wire/packets.js';
import { Stage, until } from './support/servers.js';

jest.setTimeout(180_000);

const MESSAGE_EXPIRY_INTERVAL = 2;
const CONTENT_TYPE = 3;
const USER_PROPERTY = 38;

const stage = new Stage();
afterEach(() => stage.stop());

function join(url: string, options: ClientOptions = {}): NidoClient {
  const client = connect(url, { logger: false, ...options });
  stage.onStop(() => client.end({ deadlineMs: 0 }));
  return client;
}

describe('QoS 0', () => {
  const MEGABYTE = 1024 * 1024;
  it.each([
    ['a Topic Name of ASCII and text', 'casa/sala', 'texto'],
    ['a Topic Name and text that are not ASCII', 'jardín/水/🌡', '21 °C, 水 🌡'],
    ['no payload', 'casa', ''],
    ['bytes', 'casa', Buffer.from([0, 255, 0x30, 10])],
    ['more bytes than may be written without a block', 'casa', Buffer.alloc(2 * MEGABYTE, 'ñ')],
    ['more text than may be written without a block', 'casa', 'ñ'.repeat(MEGABYTE)],
    ['a Topic Name of 65,535 bytes that are not ASCII', 'ñ'.repeat(32_767) + 'n', 'x'],
  ])('carries %s as it was given', async (_, topicName, payload) => {
    const kit = new ClientKit(5);
    await kit.listen();
    stage.onStop(() => kit.close());
    const { client, peer } = await kit.pair();
    await within(client.publish(topicName, payload, {
      retain: true,
      properties: { contentType: 'é', messageExpiryInterval: 7, userProperties: { a: 'b' } },
    }), 'the promise, which is kept before anybody answers');
    const sent = await kit.expect(
      peer, 'PUBLISH', { topic: topicName, qos: 0, retain: true, dup: false });
    expect(sent.payload.equals(Buffer.from(payload as string))).toBe(true);
    expect(sent.properties.map(({ id, value }) => [id, value])).toEqual([
      [MESSAGE_EXPIRY_INTERVAL, 7], [CONTENT_TYPE, 'é'], [USER_PROPERTY, ['a', 'b']],
    ]);
  });

  it('keeps its place behind what waits, and before what comes', async () => {
    const kit = new ClientKit(5);
    await kit.listen();
    stage.onStop(() => kit.close());
    const client = kit.client({ manualConnect: true });
    const early = [0, 1].map((number) => client.publish('order', `${number}`));
    client.start();
    const { peer } = await kit.greet();
    await within(Promise.all([...early, client.publish('order', '2')]), 'the promises');
    for (const payload of ['0', '1', '2']) await kit.expect(peer, 'PUBLISH', { payload });
  });

  it('larger than the server takes is refused', async () => {
    const kit = new ClientKit(5);
    await kit.listen();
    stage.onStop(() => kit.close());
    const { client } = await kit.pair({}, { properties: [serverProperty.maximumPacketSize(100)] });
    await expect(client.publish('a', Buffer.alloc(100))).rejects.toMatchObject({
      code: 'NIDO_CLIENT_PUBLISH_REFUSED', reasonCode: 0x95, // [MQTT-3.2.2-15]
    });
    expect(client.publishAndForget('a', Buffer.alloc(100))).toBe(false);
    expect(client.publishAndForget('a', 'short')).toBe(true);
  });
});

describe('a payload', () => {
  it.each([[0], [1]] as const)('that is neither text nor bytes is refused, QoS %i', async (qos) => {
    const client = join('mqtt://127.0.0.1', { manualConnect: true });
    for (const payload of [undefined, null, 5, true, {}, [1], new Uint16Array(2), new ArrayBuffer(2)]) {
      await expect(client.publish('a', payload as unknown as string, { qos })).rejects
        .toMatchObject({ code: 'NIDO_CLIENT_PUBLISH_INVALID' });
      expect(client.publishAndForget('a', payload as unknown as string, { qos })).toBe(false);
    }
  });
});

describe('properties that no PUBLISH could carry', () => {
  it.each<[string, unknown]>([
    ['messageExpiryInterval', -1], ['messageExpiryInterval', 1.5],
    ['messageExpiryInterval', 2 ** 32], ['correlationData', 'text'], ['correlationData', 5],
    ['correlationData', Buffer.alloc(65_536)], ['responseTopic', ''],
  ])('are refused: %s %p', async (name, value) => {
    const client = join('mqtt://127.0.0.1', { manualConnect: true });
    const properties = { [name]: value } as object;
    await expect(client.publish('a', 'x', { properties })).rejects.toMatchObject({
      code: 'NIDO_CLIENT_PUBLISH_INVALID', message: expect.stringContaining(name),
    });
  });
});

describe('a message that memory has no room to send', () => {
  const HALF = 10 * 1024 * 1024;

  it.each([['while offline', 'later'], ['while connected', 'first']] as const)(
    'is refused, published %s, and what is behind it leaves', async (_, connects) => {
      const { url } = await stage.ours({ limits: { packetBytesMax: 2 * HALF } });
      const client = join(url, { manualConnect: true });
      if (connects === 'first') {
        client.start();
        await client.connected();
      }
      const large = expect(client.publish('large', Buffer.alloc(HALF), { qos: 1 })).rejects
        .toMatchObject({ code: 'NIDO_CLIENT_QUEUE_FULL' });
      const small = client.publish('small', 'x', { qos: 1 });
      client.start();
      await within(Promise.all([large, small]), 'the answers');
      await expect(within(client.publish('large', Buffer.alloc(HALF)), 'the answer')).rejects
        .toMatchObject({ code: 'NIDO_CLIENT_QUEUE_FULL' });
    });
});

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

  it('calls a message that it drops while connected its own doing, not the server\'s', async () => {
    const kit = new ClientKit(5);
    await kit.listen();
    stage.onStop(() => kit.close());
    const { client } = await kit.pair({ queueMessagesMax: 2, queueOverflow: 'drop-oldest' },
      { properties: [serverProperty.receiveMaximum(1)] });
    const [, second] = [0, 1, 2].map((number) => client.publish('a', `${number}`, { qos: 1 })
      .then(() => undefined, (error: unknown) => error));
    expect(await within(second, 'the answer')).toMatchObject({ code: 'NIDO_CLIENT_QUEUE_FULL' });
  });

  it('drops nothing for a message that would not fit into an empty queue', async () => {
    const { url } = await stage.ours();
    const client = join(url, { ...offline, queueOverflow: 'drop-oldest', queueBytesMax: 4096 });
    const kept = client.publish('a', 'x', { qos: 1 });
    await expect(client.publish('a', Buffer.alloc(8192), { qos: 1 })).rejects
      .toMatchObject({ code: 'NIDO_CLIENT_QUEUE_FULL' });
    client.start();
    await kept;
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

describe('No matching subscribers (0x10)', () => {
  it.each([1, 2] as const)('of a real server is the result, QoS %i', async (qos) => {
    const { url } = await stage.ours();
    const client = join(url);
    expect(await client.publish('nobody', 'x', { qos })).toEqual({ reasonCode: 0x10 });
    await client.subscribe('somebody', () => undefined);
    expect(await client.publish('somebody', 'x', { qos })).toEqual({ reasonCode: 0 });
  });

  it.each([
    ['and PUBCOMP with 0', {}, 0x00],
    ['and PUBCOMP with Packet Identifier not found', {}, 0x92],
    ['and PUBCOMP with 0, of a stored message', { stored: true }, 0x00],
    ['and PUBCOMP with 0 in a later connection', { cut: true }, 0x00],
    ['and PUBCOMP with 0 in a later connection, of a stored message', { cut: true, stored: true },
      0x00],
    ['and a session that is lost before PUBCOMP', { cut: true, lost: true }, 0x00],
  ] as [string, { readonly cut?: true; readonly stored?: true; readonly lost?: true }, number][])(
    'in PUBREC %s is the result', async (_, { cut, stored, lost }, pubcompCode) => {
      const kit = new ClientKit(5);
      await kit.listen();
      stage.onStop(() => kit.close());
      const path = mkdtempSync(joinPath(tmpdir(), 'nidomq-unheard-'));
      stage.onStop(() => rmSync(path, { recursive: true, force: true }));
      const engine = stored === undefined ? undefined : { file: { path } };
      const pair = await kit.pair({ ...kit.lasting(), engine });
      const { client } = pair;
      let { peer } = pair;
      const published = client.publish('a', 'x', { qos: 2 });
      const { packetId } = await kit.expect(peer, 'PUBLISH', { qos: 2 });
      peer.send(pubrec(packetId, 0x10));
      await kit.expect(peer, 'PUBREL', { packetId });
      if (cut) {
        peer.cut();
        ({ peer } = await kit.greet({ sessionPresent: !lost }));
        if (!lost) await kit.expect(peer, 'PUBREL', { packetId });
      }
      if (!lost) peer.send(pubcomp(packetId, pubcompCode));
      expect(await within(published, 'the result')).toEqual({ reasonCode: 0x10 });
      await client.end({ deadlineMs: 0 });
    });
});
