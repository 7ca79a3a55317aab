/** What is closed, ended, unsubscribed and deleted gives its memory back. */
import { expect, it } from '@jest/globals';
import type { CoreStats } from '../../lib/core/contract.js';
import { build, Lab } from './lab.js';
import type { Peer } from './lab.js';

type Used = CoreStats['memoryUsedBytes'];

const LIMITS = {
  memoryBytes: 64 << 20, queueMessagesMax: 100_000, queueBytesMax: 64 << 20,
  retainedMessagesMax: 10_000, topicCacheMax: 8, heldBytesMax: 64 << 20,
};
/** Tables shrink to a smallest size; some topics stay interned. */
const TABLES_BYTES = 8192;

const used = (lab: Lab): Used => lab.core.stats().memoryUsedBytes;

function subscribeToAll(peer: Peer, n: number): void {
  peer.send(build.subscribe(5, 1, [
    ['t', 2], [`exact/${n}`, 1], [`wild/${n}/+/#`, 1], [`$share/g${n % 3}/t`, 1], ['r/#', 1],
  ], [build.property.subscriptionIdentifier(n + 1)]));
}

/** Everything that a client can leave in the broker. */
function ramp(lab: Lab, round: number): void {
  const peers = Array.from({ length: 40 }, (_, n) => {
    const peer = lab.client(`peer-${n}`, { topicAliasMaximum: 3, receiveMaximum: 10 });
    subscribeToAll(peer, n);
    return peer;
  });
  for (let n = 0; n < 500; n++) {
    const topicName = `r/${round}/${n % 50}/${n}`;
    lab.core.publish({ topicName, payload: 'x'.repeat(n), qos: 1, retain: true });
  }
  peers.forEach((peer, n) => {
    if (n % 4 === 0) peer.wire.frozen = true;
    for (let at = 0; at < 30; at++) {
      const topic = at % 2 ? 't' : `exact/${at}`;
      const alias = [build.property.topicAlias(1 + (at % 3))];
      const qos = (at % 3) as 0 | 1 | 2;
      peer.send(peer.publish(topic, `${at}`, { qos, packetId: at + 1, properties: alias }));
    }
    peer.send(peer.publish('t', 'z'.repeat(20_000)).subarray(0, 1000 * n)); // never whole
  });
  peers.forEach((peer, n) => {
    if (n % 3 === 0) peer.send(build.unsubscribe(5, 2, ['t', 'r/#', `$share/g${n % 3}/t`]));
    if (n % 5 === 0) lab.client(`peer-${n}`); // takes the session over
    else peer.cut();
  });
}

function clean(lab: Lab, round: number): void {
  for (const clientId of [...lab.hub.sessions.keys()]) lab.hub.end(clientId);
  for (let n = 0; n < 500; n++) {
    const topicName = `r/${round}/${n % 50}/${n}`;
    lab.core.publish({ topicName, payload: '', qos: 0, retain: true });
  }
  lab.pass(20_000);
}

it('rounds of everything that clients can leave behind leave nothing behind', () => {
  const lab = new Lab(LIMITS);
  const start = used(lab);
  for (let round = 0; round < 4; round++) {
    ramp(lab, round);
    clean(lab, round);
    const now = used(lab);
    expect({ ...now, index: 0, retained: 0 }).toEqual({ ...start, index: 0, retained: 0 });
    expect(now.index - start.index).toBeLessThan(TABLES_BYTES);
    expect(now.retained - start.retained).toBeLessThan(TABLES_BYTES);
    expect(lab.core.stats()).toMatchObject({
      connections: 0, sessions: 0, subscriptions: 0, retainedMessages: 0, queuedMessages: 0,
    });
  }
});

it('a session that has sent a very long queue needs no more than before', () => {
  const lab = new Lab(LIMITS);
  const receiver = lab.client('receiver', { receiveMaximum: 10 });
  receiver.subscribe('t', 1);
  receiver.cut();
  const before = used(lab).record;
  for (let n = 0; n < 40_000; n++) {
    lab.core.publish({ topicName: 't', payload: 'x', qos: 1, retain: false });
  }
  const back = lab.client('receiver', { receiveMaximum: 10 });
  for (let sent = back.take(); sent.length !== 0; sent = back.take()) {
    back.acknowledge(...sent.map(({ packetId }) => packetId));
  }
  back.cut();
  expect(lab.core.stats().queuedMessages).toBe(0);
  expect(used(lab).record - before).toBeLessThan(1024);
});
