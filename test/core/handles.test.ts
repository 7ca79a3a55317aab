/** A handle names its tenant and nobody who comes later. */
import { expect, it } from '@jest/globals';
import { Lab } from './lab.js';

/** More than a slot has generations. */
const MANY = 10_000;

it('sessions that come and go one by one have handles of their own for a long time', () => {
  const { core } = new Lab();
  const handles = new Set<number>();
  for (let n = 0; n < MANY; n++) {
    const session = core.createSession();
    handles.add(session);
    core.endSession(session);
  }
  expect(handles.size).toBe(MANY);
});

it('and all slots can be taken at once, again and again', () => {
  const sessionsMax = 3000;
  const lab = new Lab({ sessionsMax });
  for (let round = 0; round < 3; round++) {
    const sessions = Array.from({ length: sessionsMax }, () => lab.core.createSession());
    expect(() => lab.core.createSession()).toThrow('slot');
    expect(new Set(sessions).size).toBe(sessionsMax);
    for (const session of sessions) lab.core.endSession(session);
    lab.settle();
  }
  expect(lab.core.stats().sessions).toBe(0);
});
