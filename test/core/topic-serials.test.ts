/**
 * Interned topics are known by a serial number of 32 bits. When all were given they begin again,
 * and what was remembered by an old one is never taken for another topic. 2^32 topics are more than
 * a test can make, so the numbers end early here.
 */
import { describe, expect, it } from '@jest/globals';
import type { Delivery } from '../../lib/core/contract.js';
import { Lab, build } from './lab.js';

const SERIAL_MAX = 7;
const TOPIC_ALIAS = 0x23;

/** The cache is smaller than the numbers: a topic that comes back has another one. */
function labOfFewSerials(): Lab {
  const lab = new Lab({ topicCacheMax: 3 });
  const { x } = lab.core as unknown as { x: { setTopicSerialMax(serial: number): void } };
  x.setTopicSerialMax(SERIAL_MAX);
  return lab;
}
/** One of them is in use all the time, and keeps its place in the cache. */
const names = (count: number): string[] => Array.from({ length: count }, (_, n) => {
  return n % 2 === 0 ? 't/0' : `t/${n % 11}`;
});

describe('when the serial numbers of topics begin again', () => {
  it.each([0, 1] as const)('handlers are told the right names, with QoS %i', (qos) => {
    const lab = labOfFewSerials();
    const heard: Delivery[] = [];
    const session = lab.handler('t/+', (delivery) => heard.push(delivery));
    const sent = names(100);
    for (const topicName of sent) {
      lab.core.publish({ topicName, payload: topicName, qos, retain: false });
    }
    for (const { token } of heard) { // what has waited comes while this goes on
      if (token === 0) lab.core.grant(session);
      else lab.core.settle(session, token, 0);
    }
    expect(heard.map(({ topicName }) => topicName)).toEqual(sent);
    expect(heard.map(({ payload }) => payload.toString())).toEqual(sent);
  });

  it('a Topic Alias stands for the topic that it was given for', () => {
    const lab = labOfFewSerials();
    const receiver = lab.client('receiver', { topicAliasMaximum: 5 });
    receiver.subscribe('t/+', 0);
    const publisher = lab.client('publisher');
    const sent = names(100);
    for (const name of sent) publisher.send(publisher.publish(name, name));
    const aliases = new Map<number, string>();
    const heard = receiver.take().map(({ topic, properties, payload }) => {
      const alias = Number(properties.find(({ id }) => id === TOPIC_ALIAS)?.value);
      if (topic !== '') aliases.set(alias, topic);
      return [aliases.get(alias), payload.toString()];
    });
    expect(heard).toEqual(sent.map((name) => [name, name]));
  });

  it('a verdict is not taken for one about another topic', () => {
    const lab = labOfFewSerials();
    lab.hub.publishPolicy = 'ask';
    const isDenied = (name: string): boolean => Number(name.slice(2)) % 3 === 0;
    lab.hub.authorizePublish = (connection, topicName) => {
      lab.core.answerPublish(connection, isDenied(topicName) ? 0x87 : 0, { cache: 'yes' });
    };
    const publisher = lab.client('publisher');
    const sent = names(100);
    for (const name of sent) publisher.send(publisher.publish(name, '', { qos: 1, packetId: 1 }));
    expect(publisher.words()).toEqual(
      sent.map((name) => (isDenied(name) ? 'PUBACK 1 0x87' : 'PUBACK 1 0x10')),
    );
  });

  it('a receiver that is asked about gets what it may, and nothing else', () => {
    const lab = labOfFewSerials();
    lab.hub.receivePolicy = 'ask';
    const isDenied = (name: string): boolean => Number(name.slice(2)) % 3 === 0;
    lab.hub.authorizeReceive = (session, topicName, serial, rules) => {
      const verdict = isDenied(topicName) ? 'denied' : 'allowed';
      lab.core.answerReceive(session, { serial, rules }, verdict);
    };
    const receiver = lab.client('receiver');
    receiver.subscribe('t/+', 1);
    const sent = names(100);
    for (const topicName of sent) {
      lab.core.publish({ topicName, payload: '', qos: 1, retain: false });
      for (const { packetId } of receiver.take()) receiver.send(build.puback(packetId));
      lab.settle();
    }
    expect(lab.drops).toEqual({ 'not-authorized': sent.filter(isDenied).length });
    expect(lab.core.stats().queuedMessages).toBe(0);
  });
});
