/** What UNSUBSCRIBE and DISCONNECT say beside what they are for (MQTT 5). */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ClientKit } from '../conformance/client/client-kit.js';
import { suback, unsuback } from '../conformance/client/server-packets.js';
import { publish } from '../conformance/wire/packets.js';
import type { Version } from '../conformance/wire/packets.js';
import type { Reply } from '../conformance/wire/reader.js';

const LIMIT_MS = 60_000;
const SESSION_EXPIRY_INTERVAL = 0x11;
const REASON_STRING = 0x1f;
const USER_PROPERTY = 0x26;
const PAIRS = { userProperties: { k: ['1', '2'] } };
const WRITTEN = [[USER_PROPERTY, ['k', '1']], [USER_PROPERTY, ['k', '2']]];

const propertiesOf = (said: Reply): unknown[] => said.properties.map(({ id, value }) => [id, value]);

describe('properties', () => {
  let kit: ClientKit;
  const begin = async (version: Version): Promise<void> => {
    kit = new ClientKit(version);
    await kit.listen();
  };
  beforeEach(() => begin(5));
  afterEach(() => kit.close());

  it('of DISCONNECT leave with it', async () => {
    const { client, peer } = await kit.pair(kit.lasting());
    const ended = client.end({
      properties: { sessionExpiryInterval: 7, reasonString: 'bye', ...PAIRS },
    });
    expect(propertiesOf(await kit.expect(peer, 'DISCONNECT', { reasonCode: 0 }))).toEqual([
      [SESSION_EXPIRY_INTERVAL, 7], [REASON_STRING, 'bye'], ...WRITTEN,
    ]);
    await ended;
  }, LIMIT_MS);

  it('of DISCONNECT are refused when it cannot say them, and the client stays', async () => {
    const { client, peer } = await kit.pair({ clean: true });
    for (const properties of [
      { sessionExpiryInterval: 1 }, // CONNECT said 0
      { sessionExpiryInterval: -1 }, { reasonString: '\0' }, { userProperties: { k: '\0' } },
    ]) {
      await expect(client.end({ properties })).rejects
        .toMatchObject({ code: 'NIDO_CLIENT_OPTION_INVALID' });
    }
    await kit.quiet({ client, peer });
    const ended = client.end({ properties: { sessionExpiryInterval: 0 } });
    expect(propertiesOf(await kit.expect(peer, 'DISCONNECT')))
      .toEqual([[SESSION_EXPIRY_INTERVAL, 0]]);
    await ended;
  }, LIMIT_MS);

  it('of UNSUBSCRIBE leave with it, also when the client was not connected', async () => {
    const { client, peer } = await kit.pair(kit.lasting());
    const now = client.unsubscribe('a', { properties: PAIRS });
    const first = await kit.expect(peer, 'UNSUBSCRIBE');
    expect(propertiesOf(first)).toEqual(WRITTEN);
    peer.send(unsuback(5, first.packetId, [0]));
    await now;
    const isOffline = new Promise<void>((resolve) => client.once('offline', resolve));
    peer.cut();
    await isOffline;
    const later = client.unsubscribe('a', { properties: { userProperties: { k: '3' } } });
    const { peer: next } = await kit.greet({ sessionPresent: true });
    const second = await kit.expect(next, 'UNSUBSCRIBE');
    expect(propertiesOf(second)).toEqual([[USER_PROPERTY, ['k', '3']]]);
    next.send(unsuback(5, second.packetId, [0]));
    await later;
    void client.unsubscribe('a').catch(() => undefined);
    expect(propertiesOf(await kit.expect(next, 'UNSUBSCRIBE'))).toEqual([]);
  }, LIMIT_MS);

  it('of UNSUBSCRIBE are those of the call, whoever has subscribed', async () => {
    const { client, peer } = await kit.pair();
    const subscribed = client.subscribe('a', () => undefined);
    peer.send(suback(5, (await kit.expect(peer, 'SUBSCRIBE')).packetId, [0]));
    await subscribed;
    await expect(client.unsubscribe('a', { properties: { userProperties: { k: '\0' } } })).rejects
      .toMatchObject({ code: 'NIDO_CLIENT_SUBSCRIBE_INVALID' });
    void client.unsubscribe('a', { properties: PAIRS }).catch(() => undefined);
    expect(propertiesOf(await kit.expect(peer, 'UNSUBSCRIBE'))).toEqual(WRITTEN);
  }, LIMIT_MS);

  it('are left out in MQTT 3.1.1, which has none', async () => {
    await kit.close();
    await begin(4);
    const { client, peer } = await kit.pair(kit.lasting());
    void client.unsubscribe('a', { properties: PAIRS }).catch(() => undefined);
    await kit.expect(peer, 'UNSUBSCRIBE');
    const ended = client.end({ deadlineMs: 0, properties: PAIRS });
    await kit.expect(peer, 'DISCONNECT');
    await ended;
  }, LIMIT_MS);
});

describe('end', () => {
  it('begins no handler any more, and leaves what waits unacknowledged', async () => {
    const kit = new ClientKit(5);
    await kit.listen();
    try {
      const { client, peer } = await kit.pair(kit.lasting());
      const got: string[] = [];
      const subscribed = client.subscribe('t', ({ payload }) => {
        got.push(payload.toString());
        void client.end();
      }, { qos: 1 });
      const { packetId } = await kit.expect(peer, 'SUBSCRIBE');
      const messages = [1, 2, 3].map((id) => publish({
        version: 5, topic: 't', payload: `${id}`, qos: 1, packetId: id,
      }));
      peer.send(Buffer.concat([suback(5, packetId, [1]), ...messages])); // in one piece
      await subscribed;
      await kit.expect(peer, 'PUBACK', { packetId: 1 });
      await kit.expect(peer, 'DISCONNECT');
      await client.end();
      expect(got).toEqual(['1']);
    } finally {
      await kit.close();
    }
  }, LIMIT_MS);
});
