/**
 * Nobody keeps the event loop: what is much work is done in pieces, and others have their turn
 * between them.
 */
import { describe, expect, it } from '@jest/globals';
import { Core } from '../../lib/core/core.js';
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

describe('one message for very many receivers', () => {
  /** What a write takes here. */
  const WRITE_MS = 0.05;
  const RECEIVERS = 1500;

  it('is written in pieces, and every one of them gets it', () => {
    const turns: (() => void)[] = [];
    let now = 0;
    let writes = 0;
    const core = new Core({ ...ROOMY, ...LIMITS }, new Hub(new Schedule(() => 0), ROOMY), {
      now: () => now, defer: (fn) => turns.push(fn),
    });
    for (let n = 0; n < RECEIVERS; n++) {
      const connection = core.open({
        kind: 'memory', remoteAddress: '', remotePort: 0, open: () => undefined,
        write: () => {
          writes++;
          now += WRITE_MS;
          return true;
        },
        pause: () => undefined, resume: () => undefined, end: () => undefined,
        destroy: () => undefined,
      } as unknown as Parameters<Core['open']>[0]);
      const session = core.createSession();
      core.accept(connection, session, {
        keepAliveMs: 0, receiveMaximum: 10, maximumPacketSize: 0, topicAliasMaximum: 0,
        publishPolicy: 'allow', connack: { reasonCode: 0, sessionPresent: false },
      });
      core.subscribe(session, 't', { qos: 0 });
    }
    const turn = (): number => {
      const before = writes;
      for (const fn of turns.splice(0)) fn();
      return writes - before;
    };
    while (turns.length !== 0) turn(); // CONNACK
    writes = 0;
    core.publish({ topicName: 't', payload: 'x', qos: 0, retain: false });
    const perTurn: number[] = [];
    while (turns.length !== 0) perTurn.push(turn());
    expect(writes).toBe(RECEIVERS);
    expect(Math.max(...perTurn)).toBeLessThan(500);
  });
});
