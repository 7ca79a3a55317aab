/** MQTT 3.1 has no Session Present: a client that asked for a session that stays cannot know. */
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { ClientKit } from '../conformance/client/client-kit.js';
import { suback } from '../conformance/client/server-packets.js';
import { pubrec, pubrel } from '../conformance/wire/packets.js';

const LIMIT_MS = 60_000;

describe('a connection of MQTT 3.1 that was lost', () => {
  let kit: ClientKit;
  beforeEach(async () => {
    kit = new ClientKit(3);
    await kit.listen();
  });
  afterEach(() => kit.close());

  it('goes on with the exchanges of a session that stays', async () => {
    const { client, peer } = await kit.pair(kit.lasting());
    for (const [payload, qos] of [['received', 2], ['a', 1], ['b', 2]] as const) {
      client.publish('t', payload, { qos }).catch(() => undefined);
    }
    const received = await kit.expect(peer, 'PUBLISH');
    const [a, b] = [await kit.expect(peer, 'PUBLISH'), await kit.expect(peer, 'PUBLISH')];
    peer.send(pubrec(received.packetId));
    await kit.expect(peer, 'PUBREL');
    peer.cut();
    const { peer: next } = await kit.greet();
    await next.expectPacket('PUBREL', { packetId: received.packetId });
    await next.expectPacket('PUBLISH', { packetId: a.packetId, dup: true });
    await next.expectPacket('PUBLISH', { packetId: b.packetId, dup: true });
    await next.expectNothing();
  }, LIMIT_MS);

  it('takes a message of QoS 2 that comes again for the one that it was', async () => {
    const pair = await kit.pair(kit.lasting());
    const heard = await kit.listening(pair);
    pair.peer.send(kit.publish(2, 7, 'once'));
    await kit.expect(pair.peer, 'PUBREC');
    pair.peer.cut();
    const { peer: next } = await kit.greet();
    const { packetId } = await kit.expect(next, 'SUBSCRIBE'); // the server may have forgotten it
    next.send(suback(3, packetId, [2]), kit.publish(2, 7, 'once', { dup: true }));
    await kit.expect(next, 'PUBREC');
    next.send(pubrel(7), kit.publish(2, 7, 'new'));
    await kit.expect(next, 'PUBCOMP');
    await kit.expect(next, 'PUBREC');
    expect(heard.messages.map(({ payload }) => payload.toString())).toEqual(['once', 'new']);
  }, LIMIT_MS);

  it('begins anew when the session was to be clean', async () => {
    const { client, peer } = await kit.pair({ clean: true });
    client.publish('t', 'a', { qos: 1 }).catch(() => undefined);
    expect(await kit.expect(peer, 'PUBLISH')).toMatchObject({ dup: false });
    peer.cut();
    const { peer: next } = await kit.greet();
    expect(await kit.expect(next, 'PUBLISH')).toMatchObject({ dup: false });
  }, LIMIT_MS);
});
