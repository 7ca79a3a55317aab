/** docs/adr/0007: a client that comes back finds its exchanges as they were. */
import { describe, expect, it } from '@jest/globals';
import { build, Lab } from './lab.js';
import type { Peer } from './lab.js';

/** Publishes `texts` to `t` with one QoS, from a client of their own. */
function publishAll(publisher: Peer, qos: 1 | 2, ...texts: readonly string[]): void {
  texts.forEach((text, n) => {
    publisher.send(publisher.publish('t', text, { qos, packetId: n + 1 }));
    if (qos === 2) publisher.send(build.pubrel(n + 1));
  });
}

describe.each([4, 5] as const)('a client of version %i that comes back', (version) => {
  it('is sent again what it did not acknowledge: same identifiers, same order, DUP', () => {
    const lab = new Lab();
    const receiver = lab.client('receiver', { version });
    receiver.subscribe('t', 1);
    publishAll(lab.client('publisher'), 1, 'a', 'b', 'c');
    expect(receiver.words()).toEqual(['PUBLISH 1 t a', 'PUBLISH 2 t b', 'PUBLISH 3 t c']);
    receiver.acknowledge(2);
    receiver.cut();
    publishAll(lab.client('publisher'), 1, 'd');
    const again = lab.client('receiver', { version });
    expect(again.words()).toEqual(['PUBLISH! 1 t a', 'PUBLISH! 3 t c', 'PUBLISH 4 t d']);
  });

  it('is sent PUBREL again for what it had received, and no PUBLISH of it', () => {
    const lab = new Lab();
    const receiver = lab.client('receiver', { version });
    receiver.subscribe('t', 2);
    publishAll(lab.client('publisher'), 2, 'a', 'b');
    receiver.send(build.pubrec(1));
    receiver.cut();
    const again = lab.client('receiver', { version });
    expect(again.words()).toEqual(['PUBREL 1', 'PUBLISH! 2 t b']);
    again.send(build.pubcomp(1), build.pubrec(2), build.pubcomp(2));
    expect(lab.core.sessionInfo(again.session)!.queuedMessages).toBe(0);
  });

  it('publishes again: QoS 2 that was received is answered and not routed twice', () => {
    const lab = new Lab();
    const receiver = lab.client('receiver');
    receiver.subscribe('t', 2);
    const publisher = lab.client('publisher', { version });
    publisher.send(publisher.publish('t', 'once', { qos: 2, packetId: 5 }));
    publisher.cut();
    const again = lab.client('publisher', { version });
    again.send(again.publish('t', 'once', { qos: 2, packetId: 5, dup: true }));
    expect(again.words()).toEqual(['PUBREC 5']);
    again.send(build.pubrel(5));
    expect(receiver.words()).toEqual(['PUBLISH 1 t once']);
  });

  it('joins the handler that is still at work on its message', () => {
    const lab = new Lab();
    const tokens: number[] = [];
    const session = lab.handler('t', ({ token }) => tokens.push(token));
    const publisher = lab.client('publisher', { version });
    publisher.send(publisher.publish('t', 'slow', { qos: 1, packetId: 3 }));
    publisher.cut();
    const again = lab.client('publisher', { version });
    again.send(again.publish('t', 'slow', { qos: 1, packetId: 3, dup: true }));
    expect(again.words()).toEqual([]);
    expect(tokens).toHaveLength(1);
    lab.core.settle(session, tokens[0]!, 0);
    lab.settle();
    expect(again.words()).toEqual(['PUBACK 3']);
  });

  it('starts anew with Clean Start: nothing of the old session comes', () => {
    const lab = new Lab();
    const receiver = lab.client('receiver', { version });
    receiver.subscribe('t', 1);
    publishAll(lab.client('publisher'), 1, 'a', 'b');
    receiver.cut();
    const fresh = lab.client('receiver', { version, cleanStart: true });
    publishAll(lab.client('publisher'), 1, 'c');
    lab.pass(1000);
    expect(fresh.words()).toEqual([]);
    expect(lab.core.stats().queuedMessages).toBe(0);
  });
});

describe('a takeover', () => {
  it('says goodbye to the old connection and goes on with the new one', () => {
    const lab = new Lab();
    const old = lab.client('receiver');
    old.subscribe('t', 1);
    publishAll(lab.client('publisher'), 1, 'a');
    old.take();
    const next = lab.client('receiver');
    expect(old.words()).toEqual(['DISCONNECT 0x8e']);
    lab.pass(10_000);
    expect(old.isClosed).toBe(true);
    expect(next.words()).toEqual(['PUBLISH! 1 t a']);
    old.wire.send(build.puback(1)); // speaks for nobody any more
    lab.settle();
    expect(lab.core.sessionInfo(next.session)!.inflight).toBe(1);
  });

  it('keeps the Receive Maximum of the connection that came', () => {
    const lab = new Lab();
    const old = lab.client('receiver', { receiveMaximum: 10 });
    old.subscribe('t', 1);
    publishAll(lab.client('publisher'), 1, 'a', 'b', 'c');
    expect(old.words()).toHaveLength(3);
    const next = lab.client('receiver', { receiveMaximum: 1 });
    expect(next.words()).toEqual(['PUBLISH! 1 t a']);
    next.acknowledge(1);
    expect(next.words()).toEqual(['PUBLISH! 2 t b']);
    next.acknowledge(2);
    expect(next.words()).toEqual(['PUBLISH! 3 t c']);
  });
});
