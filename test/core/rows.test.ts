/**
 * Event rows: the table has room for 16,384, and one call can cause more. What the host waits for
 * is told all the same, in order.
 */
import { describe, expect, it } from '@jest/globals';
import { Lab } from './lab.js';

/** More than the table has room for. */
const MANY = 40_000;

const publish = (lab: Lab, topicName: string, token: number): number =>
  lab.core.publish({ topicName, payload: 'x', qos: 1, retain: false }, token);

function expectEachTokenOnce(lab: Lab): void {
  expect(lab.hub.tokens.size).toBe(MANY);
  expect(Math.max(...lab.hub.tokens.values())).toBe(1);
}

describe('when one call causes more rows than the table has room for', () => {
  it('every message that a handler publishes at once is told to be done', () => {
    const lab = new Lab({ memoryBytes: 64 << 20 });
    lab.handler('go', () => {
      for (let token = 1; token <= MANY; token++) publish(lab, 'nobody', token);
    }, 'no');
    lab.core.publish({ topicName: 'go', payload: '', qos: 0, retain: false });
    lab.settle();
    expectEachTokenOnce(lab);
    expect([...lab.hub.tokens.keys()]).toEqual(Array.from({ length: MANY }, (_, n) => n + 1));
  });

  it('every publisher that waited for a receiver hears that it is gone', () => {
    const lab = new Lab({
      memoryBytes: 64 << 20, queueMessagesMax: 2, withholdMsMax: 60_000, heldBytesMax: 64 << 20,
    });
    const receiver = lab.client('receiver', { receiveMaximum: 2 });
    receiver.subscribe('t', 1);
    for (let token = 1; token <= MANY; token++) publish(lab, 't', token);
    lab.settle();
    expect(lab.hub.tokens.size).toBe(2);
    receiver.cut();
    lab.settle();
    expectEachTokenOnce(lab);
  });

  it('the memory of the rows that waited is given back', () => {
    const lab = new Lab({ memoryBytes: 64 << 20 });
    const session = lab.handler('go', () => {
      for (let token = 1; token <= MANY; token++) publish(lab, 'nobody', token);
    }, 'no');
    const before = lab.core.stats().memoryUsedBytes.record;
    lab.core.publish({ topicName: 'go', payload: '', qos: 0, retain: false });
    lab.settle();
    expect(lab.core.sessionInfo(session)).toBeDefined();
    expect(lab.core.stats().memoryUsedBytes.record).toBe(before);
  });
});
