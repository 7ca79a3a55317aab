/** docs/adr/0008: what a member of a shared subscription left behind. */
import { describe, expect, it } from '@jest/globals';
import { build, Lab } from './lab.js';
import type { Peer } from './lab.js';

/** Two members of one group; the first message goes to the first of them. */
function group(qos: 1 | 2): { lab: Lab; first: Peer; second: Peer; publish(text: string): void } {
  const lab = new Lab({ sharedStrategy: 'round-robin' });
  const [first, second] = [lab.client('first'), lab.client('second')];
  for (const member of [first, second]) member.subscribe('$share/g/t', qos);
  const publisher = lab.client('publisher');
  let packetId = 0;
  const publish = (text: string) => {
    packetId++;
    publisher.send(publisher.publish('t', text, { qos, packetId }));
    if (qos === 2) publisher.send(build.pubrel(packetId));
  };
  return { lab, first, second, publish };
}

describe('a member that leaves', () => {
  it('hands its unacknowledged QoS 1 messages to another, without DUP [MQTT-4.8.2-4]', () => {
    const { lab, first, second, publish } = group(1);
    publish('a');
    publish('b');
    expect([first.words(), second.words()]).toEqual([['PUBLISH 1 t a'], ['PUBLISH 1 t b']]);
    first.cut();
    expect(second.words()).toEqual(['PUBLISH 2 t a']);
    second.acknowledge(1, 2);
    expect(lab.client('first').words()).toEqual([]); // it is not sent to both
  });

  it('hands over what it acknowledged to nobody', () => {
    const { first, second, publish } = group(1);
    publish('a');
    first.acknowledge(1);
    first.cut();
    expect(second.words()).toEqual([]);
  });

  it('keeps a QoS 2 exchange that has begun: completed to the same client [MQTT-4.8.2-5]', () => {
    const { lab, first, second, publish } = group(2);
    publish('a');
    first.take();
    first.cut();
    expect(second.words()).toEqual([]);
    const again = lab.client('first');
    expect(again.words()).toEqual(['PUBLISH! 1 t a']);
    again.send(build.pubrec(1));
    expect(again.words()).toEqual(['PUBREL 1']);
  });

  it('takes a QoS 2 exchange that has begun with its session [MQTT-4.8.2-5]', () => {
    const { lab, first, second, publish } = group(2);
    publish('a');
    first.take();
    first.cut();
    lab.hub.end('first');
    lab.pass(1000);
    expect(second.words()).toEqual([]);
    expect(lab.drops).toEqual({ 'session-ended': 1 });
  });

  it('hands over QoS 2 messages that were never sent', () => {
    const { lab, first, second, publish } = group(2);
    second.cut();
    const narrow = lab.client('second', { receiveMaximum: 1 });
    publish('to the first');
    publish('to the second');
    publish('to the first again');
    publish('waits for room');
    expect(narrow.words()).toEqual(['PUBLISH 1 t to the second']);
    first.take();
    narrow.cut();
    expect(first.words()).toEqual(['PUBLISH 3 t waits for room']);
  });

  it('with nobody else connected keeps its messages until it is back', () => {
    const { lab, first, second, publish } = group(1);
    second.cut();
    publish('a');
    first.take();
    first.cut();
    expect(lab.client('first').words()).toEqual(['PUBLISH! 1 t a']);
  });
});

describe('a member that refuses', () => {
  it.each([1, 2] as const)('QoS %i has had it: no other is asked [MQTT-4.8.2-6]', (qos) => {
    const { lab, first, second, publish } = group(qos);
    publish('a');
    first.send(qos === 1 ? build.puback(1, 0x83) : build.pubrec(1, 0x83));
    first.cut();
    lab.pass(1000);
    expect(second.words()).toEqual([]);
    expect(lab.drops).toEqual({ 'refused-by-receiver': 1 });
  });
});
