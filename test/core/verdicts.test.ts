/**
 * docs/adr/0004: a PUBLISH that needs a verdict stops its connection, and nobody else's; verdicts
 * come late and in any order. docs/adr/0005: packets of any size in pieces of any size.
 */
import { describe, expect, it } from '@jest/globals';
import type { ConnectionHandle, SessionHandle } from '../../lib/core/contract.js';
import { build, Lab } from './lab.js';

interface Question {
  readonly connection: ConnectionHandle;
  readonly topicName: string;
}
interface ReceiveQuestion {
  readonly session: SessionHandle;
  readonly topicName: string;
  readonly serial: number;
  readonly rules: number;
}

/** Every publish is asked about; the answers are the test's. */
function asking(): { lab: Lab; questions: Question[]; topics(): string[] } {
  const lab = new Lab();
  const questions: Question[] = [];
  lab.hub.publishPolicy = 'ask';
  lab.hub.authorizePublish = (connection, topicName) => questions.push({ connection, topicName });
  return { lab, questions, topics: () => questions.map(({ topicName }) => topicName) };
}

function answer(lab: Lab, { connection }: Question, code: number, cache: 'yes' | 'no' = 'no'): void {
  lab.core.answerPublish(connection, code, { cache });
  lab.settle();
}

describe('a PUBLISH that waits for its verdict', () => {
  it('keeps what follows on its connection waiting, in order', () => {
    const { lab, questions, topics } = asking();
    const receiver = lab.client('receiver');
    receiver.subscribe('#', 0);
    const publisher = lab.client('publisher');
    publisher.send(
      publisher.publish('a', '1'), publisher.publish('b', '2', { qos: 1, packetId: 1 }),
      publisher.publish('a', '3'), build.pingreq(),
    );
    expect(topics()).toEqual(['a']);
    answer(lab, questions[0]!, 0, 'yes');
    expect(topics()).toEqual(['a', 'b']);
    expect(publisher.words()).toEqual([]); // the ping waits as well
    answer(lab, questions[1]!, 0, 'yes');
    expect(topics()).toEqual(['a', 'b']); // the verdict of `a` with QoS 0 was kept
    expect(publisher.words()).toEqual(['PUBACK 1', 'PINGRESP']);
    expect(receiver.words()).toEqual(['PUBLISH 0 a 1', 'PUBLISH 0 b 2', 'PUBLISH 0 a 3']);
  });

  it('keeps no other connection waiting, in whatever order the verdicts come', () => {
    const { lab, questions } = asking();
    const receiver = lab.client('receiver');
    receiver.subscribe('#', 0);
    const [one, two] = [lab.client('one'), lab.client('two')];
    one.send(one.publish('t', 'first asked', { qos: 1, packetId: 1 }));
    two.send(two.publish('t', 'first answered', { qos: 1, packetId: 1 }));
    answer(lab, questions[1]!, 0);
    expect([one.words(), two.words()]).toEqual([[], ['PUBACK 1']]);
    answer(lab, questions[0]!, 0);
    expect(one.words()).toEqual(['PUBACK 1']);
    expect(receiver.words()).toEqual(['PUBLISH 0 t first answered', 'PUBLISH 0 t first asked']);
  });

  it('is refused: a value for its publisher, the connection lives', () => {
    const { lab, questions } = asking();
    const publisher = lab.client('publisher');
    publisher.send(
      publisher.publish('secret', 'x', { qos: 1, packetId: 1 }),
      publisher.publish('secret', 'y', { qos: 2, packetId: 2 }),
      publisher.publish('open', 'z', { qos: 1, packetId: 3 }),
    );
    answer(lab, questions[0]!, 0x87);
    answer(lab, questions[1]!, 0x87);
    answer(lab, questions[2]!, 0);
    expect(publisher.words()).toEqual(['PUBACK 1 0x87', 'PUBREC 2 0x87', 'PUBACK 3 0x10']);
    expect(lab.drops).toEqual({ 'not-authorized': 2 });
  });

  it('whose connection is gone is answered to nobody, also when its slot is taken again', () => {
    const { lab, questions } = asking();
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'x', { qos: 1, packetId: 1 }));
    publisher.cut();
    const next = lab.client('next');
    next.send(next.publish('u', 'y', { qos: 1, packetId: 1 }));
    answer(lab, questions[0]!, 0x87);
    expect(next.words()).toEqual([]);
    answer(lab, questions[1]!, 0);
    expect(next.words()).toEqual(['PUBACK 1 0x10']);
  });

  it('is asked about again when the rules change', () => {
    const { lab, questions, topics } = asking();
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', '1'));
    answer(lab, questions[0]!, 0, 'yes');
    publisher.send(publisher.publish('t', '2'));
    expect(topics()).toEqual(['t']);
    lab.core.invalidateVerdicts();
    publisher.send(publisher.publish('t', '3'));
    expect(topics()).toEqual(['t', 't']);
  });
});

describe('a receiver whose topics are asked about', () => {
  it('gets its messages in their order, however late a verdict is', () => {
    const lab = new Lab();
    const questions: ReceiveQuestion[] = [];
    Object.assign(lab.hub, {
      authorizeReceive: (
        session: SessionHandle, topicName: string, serial: number, rules: number,
      ) => questions.push({ session, topicName, serial, rules }),
    });
    const receiver = lab.client('receiver');
    receiver.subscribe('#', 1);
    lab.core.setReceivePolicy(receiver.session, 'ask');
    const publisher = lab.client('publisher');
    ['a', 'b', 'a', 'c'].forEach((topic, n) => {
      publisher.send(publisher.publish(topic, `${n}`, { qos: 1, packetId: n + 1 }));
    });
    expect(receiver.words()).toEqual([]);
    for (let at = 0; at < questions.length; at++) {
      const { session, topicName, ...asked } = questions[at]!;
      lab.core.answerReceive(session, asked, topicName === 'b' ? 'denied' : 'allowed');
      lab.settle();
    }
    expect(questions.map(({ topicName }) => topicName)).toEqual(['a', 'b', 'c']);
    expect(receiver.words()).toEqual(['PUBLISH 1 a 0', 'PUBLISH 2 a 2', 'PUBLISH 3 c 3']);
    expect(lab.drops).toEqual({ 'not-authorized': 1 });
  });

  it('gets them although its topic and those of others push each other out of the cache', () => {
    const lab = new Lab({ topicCacheMax: 1 });
    lab.hub.receivePolicy = 'ask';
    const names = ['a', 'b', 'c'];
    for (const name of names) {
      const receiver = lab.client(name);
      receiver.subscribe(name, 1);
      receiver.cut();
    }
    for (const name of names) {
      lab.core.publish({ topicName: name, payload: 'x', qos: 1, retain: false });
    }
    const late: ReceiveQuestion[] = [];
    lab.hub.authorizeReceive = (session, topicName, serial, rules) => {
      if (late.length > 100) throw new Error('they ask for ever');
      late.push({ session, topicName, serial, rules });
    };
    const receivers = names.map((name) => lab.client(name));
    for (const { session, serial, rules } of late) {
      lab.core.answerReceive(session, { serial, rules }, 'allowed');
    }
    lab.settle();
    expect(receivers.map((receiver) => receiver.words())).toEqual(
      names.map((name) => [`PUBLISH 1 ${name} x`]),
    );
    expect(late.map(({ topicName }) => topicName)).toEqual(names);
  });

  it('gets QoS 0 behind QoS 0 that still waits, also when its topic is allowed by now', () => {
    const lab = new Lab();
    lab.hub.receivePolicy = 'ask';
    const receiver = lab.client('receiver', { receiveMaximum: 1 });
    receiver.subscribe('#', 1);
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('a', 'known'));
    expect(receiver.words()).toEqual(['PUBLISH 0 a known']);
    const asked: (() => void)[] = [];
    lab.hub.authorizeReceive = (session, _topicName, serial, rules) => {
      asked.push(() => lab.core.answerReceive(session, { serial, rules }, 'allowed'));
    };
    publisher.send(
      publisher.publish('q', 'sent', { qos: 1, packetId: 1 }),
      publisher.publish('q', 'waits', { qos: 1, packetId: 2 }),
      publisher.publish('a', 'first'),
    );
    for (let fn = asked.shift(); fn !== undefined; fn = asked.shift()) fn();
    publisher.send(publisher.publish('a', 'second'));
    receiver.acknowledge(1);
    receiver.acknowledge(2);
    expect(receiver.words()).toEqual([
      'PUBLISH 1 q sent', 'PUBLISH 2 q waits', 'PUBLISH 0 a first', 'PUBLISH 0 a second',
    ]);
  });
});

describe('a packet of any size', () => {
  const LARGE = 150_000; // more than the headroom below the RX window

  it.each([1, 1000, 65_535, 65_537])('in chunks of %i bytes arrives whole', (chunk) => {
    const lab = new Lab({ packetBytesMax: 1 << 20, slabBytesMax: 4 << 20 });
    const receiver = lab.client('receiver');
    receiver.subscribe('t', 0);
    const publisher = lab.client('publisher');
    const size = chunk === 1 ? 2000 : LARGE;
    const bytes = Buffer.concat([
      publisher.publish('t', 'before'), publisher.publish('t', 'L'.repeat(size)),
      publisher.publish('t', 'after'),
    ]);
    for (let at = 0; at < bytes.length; at += chunk) {
      publisher.send(bytes.subarray(at, at + chunk));
    }
    expect(receiver.take().map(({ payload }) => payload.length)).toEqual([6, size, 5]);
    publisher.send(build.pingreq()); // a large packet is let go with the next chunk
    expect(lab.core.stats().memoryUsedBytes.carry).toBe(0);
  });

  it('costs memory as its bytes arrive, not as its length claims', () => {
    const lab = new Lab({ packetBytesMax: 1 << 20 });
    const publisher = lab.client('publisher');
    publisher.send(publisher.publish('t', 'x'.repeat(1_000_000)).subarray(0, 100));
    expect(lab.core.stats().memoryUsedBytes.carry).toBeLessThan(1000);
  });
});
