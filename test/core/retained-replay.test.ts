/** docs/adr/0011: a retained replay is a walk in pieces that stops nobody. */
import { describe, expect, it } from '@jest/globals';
import type { CoreOptions } from '../../lib/core/contract.js';
import { Lab, build } from './lab.js';
import type { Peer } from './lab.js';

const MANY = 3000;
const LIMITS = {
  retainedMessagesMax: MANY + 100, slabBytesMax: 65_536, slabWatermarkBytes: 2048,
  retainedBytesMax: 8 << 20,
};

function labWithRetained(count = MANY, more: Partial<CoreOptions> = {}): Lab {
  const lab = new Lab({ ...LIMITS, ...more });
  for (let n = 0; n < count; n++) {
    lab.core.publish({ topicName: `r/${n}`, payload: `${n}`, qos: 1, retain: true });
  }
  return lab;
}
/** The table of edges keeps its smallest size. */
const KEPT_BYTES = 1024;

const topicsOf = (peer: Peer): string[] => {
  return peer.take().filter(({ name }) => name === 'PUBLISH').map(({ topic }) => topic);
};

describe('a replay of retained messages', () => {
  it('sends each exactly once, however small the receiver’s window', () => {
    const lab = labWithRetained();
    const receiver = lab.client('receiver', { receiveMaximum: 3 });
    receiver.subscribe('r/#', 1);
    const heard: string[] = [];
    for (let round = 0; round < MANY && heard.length < MANY; round++) {
      const packets = receiver.take().filter(({ name }) => name === 'PUBLISH');
      expect(packets.length).toBeLessThanOrEqual(3);
      heard.push(...packets.map(({ topic }) => topic));
      receiver.acknowledge(...packets.map(({ packetId }) => packetId));
    }
    expect(heard).toHaveLength(MANY);
    expect(new Set(heard).size).toBe(MANY);
  });

  it('goes in pieces: live messages of others pass between them', () => {
    const lab = labWithRetained();
    const frozen = lab.client('frozen');
    frozen.wire.frozen = true;
    frozen.send(build.subscribe(5, 1, [['r/#', 0]], []));
    const used = lab.core.stats().memoryUsedBytes.slab;
    expect(used).toBeLessThan(LIMITS.slabBytesMax); // the walk waits for its receiver
    const other = lab.client('other');
    other.subscribe('live', 0);
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('live', 'now'));
    expect(other.words()).toEqual(['PUBLISH 0 live now']);
    frozen.wire.thaw();
    lab.pass(10_000);
    expect(topicsOf(frozen)).toHaveLength(MANY);
  });

  it('never brings a retained message behind a newer live one of its topic', () => {
    const lab = labWithRetained();
    const receiver = lab.client('receiver', { receiveMaximum: 1 });
    receiver.subscribe('r/#', 1);
    const publisher = lab.client('publisher');
    for (let n = 0; n < MANY; n += 100) {
      publisher.send(publisher.publish(`r/${n}`, 'newer', { retain: true }));
    }
    const last = new Map<string, string>();
    for (let round = 0; round < 2 * MANY; round++) {
      const packets = receiver.take().filter(({ name }) => name === 'PUBLISH');
      if (packets.length === 0) break;
      for (const { topic, payload } of packets) last.set(topic, payload.toString());
      receiver.acknowledge(...packets.filter(({ qos }) => qos > 0).map(({ packetId }) => packetId));
    }
    expect(last.size).toBe(MANY);
    for (let n = 0; n < MANY; n += 100) expect(last.get(`r/${n}`)).toBe('newer');
  });

  it('comes before what is published behind the SUBSCRIBE, in the same piece', () => {
    const lab = labWithRetained(200, { slabWatermarkBytes: 65_536 });
    const client = lab.client('client');
    client.send(
      build.subscribe(5, 1, [['r/7', 1], ['r/+', 0]], []),
      client.publish('r/7', 'live'), client.publish('r/199', 'live'),
    );
    const words = client.words();
    expect(words[0]).toBe('SUBACK 1');
    expect(words).toHaveLength(1 + 1 + 200 + 2);
    expect(words.slice(-2)).toEqual(['PUBLISH 0 r/7 live', 'PUBLISH 0 r/199 live']);
  });

  it('goes on where it was when its client comes back', () => {
    const lab = labWithRetained(500);
    const first = lab.client('receiver', { receiveMaximum: 10 });
    first.subscribe('r/#', 1);
    const heard = new Set(topicsOf(first)); // 10 of them, unacknowledged
    expect(heard.size).toBe(10);
    first.cut();
    const again = lab.client('receiver', { receiveMaximum: 10 });
    for (let round = 0; round < 500; round++) {
      const packets = again.take().filter(({ name }) => name === 'PUBLISH');
      if (packets.length === 0) break;
      for (const { topic } of packets) heard.add(topic);
      again.acknowledge(...packets.map(({ packetId }) => packetId));
    }
    expect(heard.size).toBe(500);
  });

  it('passes over what is deleted while it is under way, and ends with its subscription', () => {
    const lab = new Lab(LIMITS);
    const empty = lab.core.stats().memoryUsedBytes.retained;
    for (let n = 0; n < 500; n++) {
      lab.core.publish({ topicName: `r/${n}`, payload: `${n}`, qos: 1, retain: true });
    }
    const receiver = lab.client('receiver', { receiveMaximum: 1 });
    receiver.subscribe('r/#', 1);
    for (let n = 0; n < 500; n++) {
      lab.core.publish({ topicName: `r/${n}`, payload: '', qos: 0, retain: true });
    }
    const packets = receiver.take().filter(({ name, retain }) => name === 'PUBLISH' && retain);
    receiver.acknowledge(...packets.map(({ packetId }) => packetId));
    expect(packets.length).toBeLessThanOrEqual(1);
    expect(receiver.take().filter(({ retain }) => retain)).toEqual([]);
    expect(lab.core.stats().retainedMessages).toBe(0);
    lab.hub.end('receiver');
    lab.pass(1000);
    expect(lab.core.stats().memoryUsedBytes.retained).toBeLessThanOrEqual(empty + KEPT_BYTES);
  });
});
