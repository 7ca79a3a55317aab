/** Retained messages whose Message Expiry Interval has passed take nothing any more. */
import { describe, expect, it } from '@jest/globals';
import type { DurableEvents } from '../../lib/core/durable.js';
import { Lab } from './lab.js';

const SECOND = 1000;
/** More than one tick looks at. */
const MANY = 40_000;
const ROOMY = {
  retainedMessagesMax: MANY + 100, retainedBytesMax: 64 << 20, memoryBytes: 128 << 20,
};

function retain(lab: Lab, topicName: string, expirySeconds?: number): void {
  const properties = expirySeconds === undefined
    ? {} : { messageExpiryInterval: expirySeconds };
  lab.core.publish({ topicName, payload: 'x', qos: 1, retain: true, properties });
}
/** The laboratory calls `tick` four times in a second. */
const pass = (lab: Lab, seconds: number): void => lab.pass(seconds * SECOND);
const count = (lab: Lab): number => lab.core.stats().retainedMessages;

describe('a retained message that has expired', () => {
  it('does not count any more, and its memory is free; others stay', () => {
    const lab = new Lab(ROOMY);
    retain(lab, 'stays');
    pass(lab, 1);
    const before = lab.core.stats().memoryUsedBytes;
    for (let n = 0; n < 100; n++) retain(lab, `goes/${n}`, 3);
    retain(lab, 'later', 60);
    pass(lab, 2);
    expect(count(lab)).toBe(102);
    pass(lab, 2);
    expect(count(lab)).toBe(2);
    pass(lab, 60);
    expect(count(lab)).toBe(1);
    pass(lab, 2); // the walk has ended
    const { retained, message } = lab.core.stats().memoryUsedBytes;
    expect({ retained, message }).toEqual({ retained: before.retained, message: before.message });
  });

  it('makes room for a new one when there were as many as there may be', () => {
    const lab = new Lab({ ...ROOMY, retainedMessagesMax: 10 });
    for (let n = 0; n < 10; n++) retain(lab, `old/${n}`, 1);
    retain(lab, 'new', 1);
    expect(lab.drops).toEqual({ 'retained-full': 1 });
    pass(lab, 2);
    retain(lab, 'new', 1);
    expect([count(lab), lab.drops]).toEqual([1, { 'retained-full': 1 }]);
  });

  it('is not missed for one of the same topic that came since', () => {
    const lab = new Lab(ROOMY);
    retain(lab, 't', 1);
    retain(lab, 't', 60);
    pass(lab, 5);
    expect(count(lab)).toBe(1);
    retain(lab, 't');
    pass(lab, 120);
    expect(count(lab)).toBe(1);
  });

  it('is found among very many, a piece with each tick, also while a subscriber is sent them', () => {
    const lab = new Lab(ROOMY);
    for (let n = 0; n < MANY; n++) retain(lab, `r/${n % 7}/${n}`, n % 2 === 0 ? 1 : undefined);
    const receiver = lab.client('receiver', { receiveMaximum: 1 });
    receiver.subscribe('r/#', 1);
    pass(lab, 1);
    const left = count(lab);
    expect(left).toBeGreaterThan(MANY / 2);
    expect(left).toBeLessThan(MANY);
    pass(lab, 6);
    expect(count(lab)).toBe(MANY / 2);
  });

  it('is deleted in the store as well', () => {
    const lab = new Lab(ROOMY);
    const log: string[] = [];
    const store: Partial<DurableEvents> = {
      append: () => 16,
      retained: (topicName, message) => {
        log.push(`${topicName.toString()} ${message === undefined ? 'deleted' : 'stored'}`);
      },
    };
    lab.core.closeGate(store as DurableEvents);
    lab.core.publish({
      topicName: 'a/b', payload: 'x', qos: 0, retain: true, properties: { messageExpiryInterval: 1 },
    });
    pass(lab, 3);
    expect(log).toEqual(['a/b stored', 'a/b deleted']);
  });
});
