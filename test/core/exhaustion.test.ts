/**
 * docs/adr/0009: exhaustion of a memory budget is a refusal before anything has changed.
 * docs/adr/0010: a trap ends the core and closes its connections, loudly.
 */
import { describe, expect, it } from '@jest/globals';
import { MEMORY_RECORD } from '../../assembly/shared/memory-class.js';
import { build, Lab } from './lab.js';
import type { Peer } from './lab.js';

const SMALL = {
  memoryBytes: 4 << 20, queueMessagesMax: 100_000, queueBytesMax: 64 << 20, packetBytesMax: 300_000,
};

/** Offline sessions whose queues take all the memory that messages may have. */
function exhaust(lab: Lab, publisher: Peer): number {
  for (let refused = 0, n = 0; refused < 3; n++) {
    const packetId = (n % 1000) + 1;
    publisher.send(publisher.publish('fill', 'x'.repeat(20_000), { qos: 1, packetId }));
    if (publisher.words().some((word) => word.endsWith('0x97'))) refused++;
    if (n > 10_000) throw new Error('the memory does not end');
  }
  return lab.core.stats().memoryUsedBytes.message;
}
function offlineReceiver(lab: Lab, clientId: string, topicFilter: string): void {
  const peer = lab.client(clientId);
  peer.subscribe(topicFilter, 1);
  peer.cut();
}

describe('when the memory for messages is used up', () => {
  it('a publish is refused with 0x97, and no receiver has a part of it', () => {
    const lab = new Lab(SMALL);
    offlineReceiver(lab, 'hoarder', 'fill');
    const receivers = Array.from({ length: 20 }, (_, n) => {
      const receiver = lab.client(`receiver-${n}`);
      receiver.subscribe('t', 1);
      return receiver;
    });
    const publisher = lab.client('publisher');
    const used = exhaust(lab, publisher);
    const free = lab.core.stats().queuedMessages;
    publisher.send(publisher.publish('t', 'y'.repeat(250_000), { qos: 1, packetId: 2000 }));
    expect(publisher.words()).toEqual(['PUBACK 2000 0x97']);
    for (const receiver of receivers) expect(receiver.words()).toEqual([]);
    expect(lab.core.stats().memoryUsedBytes.message).toBe(used);
    expect(lab.core.stats().queuedMessages).toBe(free);
  });

  it('a publisher of 3.1.1 is disconnected unacknowledged', () => {
    const lab = new Lab(SMALL);
    offlineReceiver(lab, 'hoarder', 'fill');
    exhaust(lab, lab.client('publisher'));
    const old = lab.client('old', { version: 4 });
    old.send(old.publish('fill', 'y'.repeat(250_000), { qos: 1, packetId: 1 }));
    lab.pass(10_000);
    expect(old.words()).toEqual([]);
    expect(old.isClosed).toBe(true);
  });

  it('acknowledgements, pings and goodbyes still go out', () => {
    const lab = new Lab(SMALL);
    offlineReceiver(lab, 'hoarder', 'fill');
    const publisher = lab.client('publisher');
    exhaust(lab, publisher);
    const other = lab.client('other');
    other.send(build.pingreq());
    expect(other.words()).toEqual(['PINGRESP']);
    other.send(other.publish('nobody', '', { qos: 1, packetId: 1 }));
    expect(other.words()).toEqual(['PUBACK 1 0x10']);
    lab.client('other');
    expect(other.words()).toEqual(['DISCONNECT 0x8e']);
  });

  it('everything works again once there is room', () => {
    const lab = new Lab(SMALL);
    offlineReceiver(lab, 'hoarder', 'fill');
    const publisher = lab.client('publisher');
    const receiver = lab.client('receiver');
    receiver.subscribe('t', 1);
    exhaust(lab, publisher);
    lab.hub.end('hoarder');
    lab.pass(1000);
    publisher.send(publisher.publish('t', 'z', { qos: 1, packetId: 2000 }));
    expect([publisher.words(), receiver.words()]).toEqual([['PUBACK 2000'], ['PUBLISH 1 t z']]);
  });

  it('a QoS 2 message whose identifier cannot be remembered goes to nobody, and comes again', () => {
    const lab = new Lab();
    const receiver = lab.client('receiver');
    receiver.subscribe('t', 2);
    const publisher = lab.client('publisher', { version: 4 });
    const { x } = lab.core as unknown as {
      x: { setMemoryBudget(memoryClass: number, bytes: number): void };
    };
    x.setMemoryBudget(MEMORY_RECORD, 0);
    publisher.send(publisher.publish('t', 'once', { qos: 2, packetId: 1 }));
    expect([publisher.words(), receiver.words()]).toEqual([[], []]);
    x.setMemoryBudget(MEMORY_RECORD, SMALL.memoryBytes);
    lab.pass(1000);
    const again = lab.client('publisher', { version: 4 });
    again.send(again.publish('t', 'once', { qos: 2, packetId: 1, dup: true }));
    expect([again.words(), receiver.words()]).toEqual([['PUBREC 1'], ['PUBLISH 1 t once']]);
  });

  it('who holds it all can come back, take it, and then there is room again', () => {
    const lab = new Lab(SMALL);
    offlineReceiver(lab, 'hoarder', 'fill');
    const publisher = lab.client('publisher');
    exhaust(lab, publisher);
    const others = Array.from({ length: 100 }, (_, n) => lab.client(`other-${n}`));
    const hoarder = lab.client('hoarder');
    for (let heard = hoarder.take(); heard.length !== 0; heard = hoarder.take()) {
      hoarder.acknowledge(...heard.map(({ packetId }) => packetId));
    }
    expect(lab.core.stats().queuedMessages).toBe(0);
    publisher.send(publisher.publish('fill', 'z', { qos: 1, packetId: 2000 }));
    expect([publisher.words(), hoarder.take()]).toMatchObject([['PUBACK 2000'], [{ name: 'PUBLISH' }]]);
    expect(others.filter(({ isClosed }) => isClosed)).toEqual([]);
  });

  it('a packet that comes in pieces is collected as ever', () => {
    const lab = new Lab(SMALL);
    offlineReceiver(lab, 'hoarder', 'fill');
    exhaust(lab, lab.client('publisher'));
    const other = lab.client('other');
    const bytes = other.publish('nobody', 'y'.repeat(3500), { qos: 1, packetId: 1 });
    for (let at = 0; at < bytes.length; at += 600) other.send(bytes.subarray(at, at + 600));
    expect(other.words()).toEqual(['PUBACK 1 0x10']);
  });

  it('messages of every size that have come and gone leave room for as many as before', () => {
    const fresh = new Lab(SMALL);
    offlineReceiver(fresh, 'hoarder', 'fill');
    const before = exhaust(fresh, fresh.client('publisher'));
    const lab = new Lab(SMALL);
    offlineReceiver(lab, 'hoarder', 'fill');
    const publisher = lab.client('publisher');
    const receiver = lab.client('receiver');
    receiver.subscribe('t', 1);
    for (let size = 16; size < 30_000; size = Math.ceil(size * 1.2)) {
      publisher.send(publisher.publish('t', 'y'.repeat(size), { qos: 1, packetId: 1 }));
      receiver.acknowledge(...receiver.take().map(({ packetId }) => packetId));
      publisher.take();
    }
    lab.pass(1000);
    expect(exhaust(lab, publisher)).toBeGreaterThan(before * 0.9);
  });

  it('every drop and every refusal is told', () => {
    const lab = new Lab(SMALL);
    offlineReceiver(lab, 'hoarder', 'fill');
    exhaust(lab, lab.client('publisher'));
    expect(lab.drops['no-receiver-room']).toBe(3);
  });
});

describe('when the memory for packets that have not arrived in full is used up', () => {
  it('whoever has small packets goes on, however many others hold large ones back', () => {
    const lab = new Lab({ ...SMALL, memoryBytes: 16 << 20, connectionsMax: 2048, sessionsMax: 2048 });
    for (let size = 262_144, n = 0; size >= 64; size >>= 1) {
      for (let more = 0; more < 40; more++) {
        const hog = lab.client(`hog-${n++}`);
        hog.send(hog.publish('t', 'x'.repeat(290_000)).subarray(0, size));
      }
    }
    const receiver = lab.client('receiver');
    receiver.subscribe('t', 0);
    for (let n = 0; n < 50; n++) {
      const small = lab.client(`small-${n}`);
      const bytes = small.publish('t', 'y'.repeat(1000));
      small.send(bytes.subarray(0, 500));
      small.send(bytes.subarray(500));
      expect([n, small.isClosed, receiver.take()]).toMatchObject([n, false, [{ topic: 't' }]]);
    }
  });
});

/** A store beyond the end of linear memory: a real trap, inside the instance. */
function trap(lab: Lab): void {
  const { x } = lab.core as unknown as { x: { freeMessage(at: number): void } };
  x.freeMessage(0xffff_fff0);
}

describe('a core that traps', () => {
  it('says so once, and closes every connection', () => {
    const lab = new Lab();
    const peers = [lab.client('a'), lab.client('b'), lab.client('c')];
    trap(lab);
    lab.pass(100);
    expect(lab.hub.broken).toHaveProperty('name', 'RuntimeError');
    expect(peers.map(({ isClosed }) => isClosed)).toEqual([true, true, true]);
  });

  it('is never entered again: what still calls finds a core that answers nothing', () => {
    const lab = new Lab();
    const peer = lab.client('a');
    trap(lab);
    lab.pass(100);
    peer.wire.send(build.pingreq());
    lab.pass(100);
    expect(peer.words()).toEqual([]);
    expect(lab.core.publish({ topicName: 't', payload: 'x', qos: 1, retain: false })).toBe(0x97);
    expect(lab.core.tick(lab.schedule.now, 0)).toBe(Infinity);
    expect(() => lab.core.createSession()).toThrow();
  });
});
