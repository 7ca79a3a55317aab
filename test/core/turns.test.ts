/**
 * Nobody keeps the event loop: what is much work is done in pieces, and others have their turn
 * between them.
 */
import { describe, expect, it } from '@jest/globals';
import { Core } from '../../lib/core/core.js';
import type { CoreOptions, SessionHandle } from '../../lib/core/contract.js';
import type { DurableEvents } from '../../lib/core/durable.js';
import type { Transport } from '../../lib/listener/transport.js';
import { Lab, build } from './lab.js';
import type { Peer } from './lab.js';
import { Hub } from './simulation/hub.js';
import { Schedule } from './simulation/network.js';
import { ROOMY } from './simulation/world.js';

const LIMITS = { memoryBytes: 128 << 20, connectionsMax: 4096, sessionsMax: 8192 };

/** Receivers that take nothing from the network: what they are sent stays in the core. */
function frozenReceivers(lab: Lab, topicFilter: string, count: number): Peer[] {
  return Array.from({ length: count }, (_, n) => {
    const receiver = lab.client(`receiver-${n}`);
    receiver.subscribe(topicFilter, 0);
    receiver.wire.frozen = true;
    return receiver;
  });
}

describe('a chunk of messages that have very many receivers each', () => {
  it('lets others publish before it is through, and keeps its own order', () => {
    const lab = new Lab(LIMITS);
    const receivers = frozenReceivers(lab, 't', 700);
    const watcher = lab.client('watcher');
    watcher.subscribe('w', 0);
    const [flood, other] = [lab.client('flood'), lab.client('other')];
    const packets = Array.from({ length: 300 }, (_, n) => flood.publish('t', `${n}`.padStart(4)));
    flood.wire.send(Buffer.concat([...packets, flood.publish('w', 'flood is through')]));
    other.wire.send(other.publish('w', 'other'));
    lab.pass(1000);
    expect(watcher.words()).toEqual(['PUBLISH 0 w other', 'PUBLISH 0 w flood is through']);
    receivers[0]!.wire.thaw();
    lab.pass(1000);
    expect(receivers[0]!.words()).toEqual(
      Array.from({ length: 300 }, (_, n) => `PUBLISH 0 t ${`${n}`.padStart(4)}`),
    );
  });

  it('is read to its end although the publisher sends more meanwhile', () => {
    const lab = new Lab(LIMITS);
    const [receiver] = frozenReceivers(lab, 't', 700);
    const flood = lab.client('flood');
    for (let at = 0; at < 300; at += 100) {
      flood.wire.send(Buffer.concat(Array.from({ length: 100 }, (_, n) => {
        return flood.publish('t', `${at + n}`.padStart(4));
      })));
    }
    flood.send(build.pingreq());
    lab.pass(1000);
    expect(flood.words()).toEqual(['PINGRESP']);
    receiver!.wire.thaw();
    lab.pass(1000);
    expect(receiver!.take()).toHaveLength(300);
  });
});

/** A core whose turns the test makes, with clients that take everything at once. */
class Turns {
  readonly core: Core;
  writes = 0;
  private now = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(options: Partial<CoreOptions>, private readonly writeMs: number) {
    this.core = new Core({ ...ROOMY, ...options }, new Hub(new Schedule(() => 0), ROOMY), {
      now: () => this.now, defer: (fn) => this.waiting.push(fn),
    });
  }

  client(): SessionHandle {
    const { core } = this;
    const connection = core.open({
      open: () => undefined, pause: () => undefined, resume: () => undefined,
      write: () => {
        this.writes++;
        this.now += this.writeMs;
        return true;
      },
    } as unknown as Transport);
    const session = core.createSession();
    core.accept(connection, session, {
      keepAliveMs: 0, receiveMaximum: 10, maximumPacketSize: 0, topicAliasMaximum: 0,
      publishPolicy: 'allow', connack: { reasonCode: 0, sessionPresent: false },
    });
    return session;
  }

  /** Turns until nothing is left to do; what `measure` grew by in each of them. */
  run(measure: () => number): number[] {
    const grown: number[] = [];
    while (this.waiting.length !== 0) {
      const before = measure();
      for (const fn of this.waiting.splice(0)) fn();
      grown.push(measure() - before);
    }
    return grown;
  }
}

describe('one message for very many receivers', () => {
  const RECEIVERS = 1500;

  it('is written in pieces, and every one of them gets it', () => {
    const turns = new Turns(LIMITS, 0.05);
    const { core } = turns;
    for (let n = 0; n < RECEIVERS; n++) core.subscribe(turns.client(), 't', { qos: 0 });
    turns.run(() => 0); // CONNACK
    turns.writes = 0;
    core.publish({ topicName: 't', payload: 'x', qos: 0, retain: false });
    const perTurn = turns.run(() => turns.writes);
    expect(turns.writes).toBe(RECEIVERS);
    expect(Math.max(...perTurn)).toBeLessThan(500);
  });
});

describe('replays of very many subscriptions at once', () => {
  const [RECEIVERS, RETAINED] = [60, 3000];

  it('go on in turns, each to its end', () => {
    const turns = new Turns({ ...LIMITS, retainedMessagesMax: RETAINED }, 0);
    const { core } = turns;
    for (let n = 0; n < RETAINED; n++) {
      core.publish({ topicName: `r/${n}`, payload: 'x', qos: 0, retain: true });
    }
    const receivers = Array.from({ length: RECEIVERS }, () => turns.client());
    turns.run(() => 0);
    const sent = (): number => core.stats().publishSent;
    const before = sent();
    for (const session of receivers) core.subscribe(session, 'r/#', { qos: 0 });
    const perTurn = turns.run(sent);
    expect(sent() - before).toBe(RECEIVERS * RETAINED);
    expect(Math.max(...perTurn)).toBeLessThanOrEqual(8192);
  });
});

describe('very many sessions that end at once', () => {
  it('are freed in pieces, all of them, in the order in which they ended', () => {
    const turns = new Turns({ ...LIMITS, sessionsMax: 20_000 }, 0);
    const { core } = turns;
    const told: SessionHandle[] = [];
    const durable = core.closeGate({
      ended: (session: SessionHandle) => told.push(session),
    } as unknown as DurableEvents);
    const sessions = Array.from({ length: 10_000 }, () => core.createSession());
    for (const session of sessions) {
      durable.keep(session);
      core.endSession(session);
    }
    const perTurn = turns.run(() => told.length);
    expect(Math.max(...perTurn)).toBeLessThanOrEqual(4096);
    expect(told).toEqual(sessions);
    expect(core.stats().memoryUsedBytes.record).toBe(0);
  });
});

describe('a session with very many subscriptions', () => {
  it('may name a filter that very many others have again and again', () => {
    const [OWN, OTHERS, AGAIN] = [10_000, 4000, 20_000];
    const { core } = new Turns(LIMITS, 0);
    const session = core.createSession();
    core.subscribe(session, 'alone', { qos: 0 });
    core.subscribe(session, 'alerts', { qos: 0 });
    for (let n = 0; n < OTHERS; n++) core.subscribe(core.createSession(), 'alerts', { qos: 0 });
    for (let n = 0; n < OWN; n++) core.subscribe(session, `own/${n}`, { qos: 0 });
    const time = (filter: string): number => {
      const began = performance.now();
      for (let n = 0; n < AGAIN; n++) core.subscribe(session, filter, { qos: 0 });
      return performance.now() - began;
    };
    time('alone');
    expect(time('alerts')).toBeLessThan(10 * time('alone') + 20);
  });
});
