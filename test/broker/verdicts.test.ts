/** Verdicts about publishing are asked once for a connection and topic, and kept until rules change. */
import { describe, expect, it } from '@jest/globals';
import type { Authorizer } from '../../lib/broker/hooks.js';
import { underAttack, until } from '../abuse/abuse-kit.js';
import type { Peer, Victim } from '../abuse/abuse-kit.js';
import * as build from '../conformance/wire/packets.js';

/** Of one connection in the core; a topic beyond it may push another one out. */
const VERDICT_SLOTS_MAX = 2_048;
const PUBACK_WINDOW = 500;

/** Lets publish to even topics, and remembers what it was asked. */
class Asked implements Authorizer {
  readonly questions = new Map<string, number>();
  changed: () => void = () => undefined;
  allowed = (topic: string): boolean => Number(topic.split('/')[1]) % 2 === 0;

  canPublish(_: unknown, topic: string): boolean {
    if (!topic.startsWith('verdict/')) return true;
    this.questions.set(topic, (this.questions.get(topic) ?? 0) + 1);
    return this.allowed(topic);
  }

  onChange(changed: () => void): void {
    this.changed = changed;
  }

  /** Since the last time. */
  count(): number {
    const sum = [...this.questions.values()].reduce((all, one) => all + one, 0);
    this.questions.clear();
    return sum;
  }
}

/** Publishes to so many topics, at QoS 1; answers the Reason Codes. */
async function publishTo(peer: Peer, topics: number): Promise<number[]> {
  const codes: number[] = [];
  for (let from = 0; from < topics; from += PUBACK_WINDOW) {
    const size = Math.min(PUBACK_WINDOW, topics - from);
    peer.send(...Array.from({ length: size }, (_, at) => build.publish({
      version: 5, topic: `verdict/${from + at}`, qos: 1, packetId: at + 1, payload: 'x',
    })));
    for (let at = 1; at <= size; at += 1) {
      codes.push((await peer.awaitPacket('PUBACK', { packetId: at }, 20_000)).reasonCode);
    }
  }
  return codes;
}

const expected = (topics: number, even = 0x10, odd = 0x87): number[] =>
  Array.from({ length: topics }, (_, at) => (at % 2 === 0 ? even : odd));

describe('verdicts about publishing', () => {
  it.each([10, 100, 1_000])('are asked once for each of %i topics in turns', async (topics) => {
    const asked = new Asked();
    await underAttack(async ({ kit }) => {
      const peer = await kit.connect();
      // While the table finds its size a few are asked again.
      for (let round = 0; round < 4; round += 1) expect(await publishTo(peer, topics)).toEqual(expected(topics));
      expect(asked.count()).toBeLessThan(topics * 3);
      for (let round = 0; round < 3; round += 1) expect(await publishTo(peer, topics)).toEqual(expected(topics));
      expect(asked.count()).toBeLessThanOrEqual(topics * 0.05);
    }, { authorization: [asked] });
  }, 60_000);

  it('are asked again, and are right, beyond the limit of what is kept', async () => {
    const asked = new Asked();
    const topics = VERDICT_SLOTS_MAX * 2;
    await underAttack(async ({ kit }: Victim) => {
      const peer = await kit.connect();
      for (let round = 0; round < 3; round += 1) expect(await publishTo(peer, topics)).toEqual(expected(topics));
      expect(asked.count()).toBeGreaterThan(topics * 2);
    }, { authorization: [asked] });
  }, 60_000);

  it('are void when the rules changed while somebody thought about them', async () => {
    const asked = new Asked();
    const thinking: (() => void)[] = [];
    const slow: Authorizer = {
      canPublish: (_, topic) => (topic.startsWith('verdict/')
        ? new Promise((resolve) => thinking.push(() => resolve(asked.canPublish(_, topic)))) : true),
      onChange: (changed) => asked.onChange(changed),
    };
    await underAttack(async ({ kit }) => {
      const peer = await kit.connect();
      const publish = (packetId: number): void => {
        peer.send(build.publish({ version: 5, topic: 'verdict/0', qos: 1, packetId, payload: 'x' }));
      };
      publish(1);
      await until('the question', () => thinking.length === 1);
      const answer = thinking.pop()!;
      answer(); // allowed, by rules that the next line ends before the broker hears of it
      asked.allowed = () => false;
      asked.changed();
      await until('the question again', () => thinking.length === 1);
      thinking.pop()!();
      await peer.awaitPacket('PUBACK', { packetId: 1, reasonCode: 0x87 });
      publish(2);
      await peer.awaitPacket('PUBACK', { packetId: 2, reasonCode: 0x87 });
    }, { authorization: [slow] });
  });

  it('are asked anew when the rules change', async () => {
    const asked = new Asked();
    await underAttack(async ({ kit }) => {
      const peer = await kit.connect();
      expect(await publishTo(peer, 100)).toEqual(expected(100));
      asked.allowed = (topic) => Number(topic.split('/')[1]) % 2 === 1;
      asked.changed();
      asked.count();
      expect(await publishTo(peer, 100)).toEqual(expected(100, 0x87, 0x10));
      expect(asked.count()).toBe(100);
    }, { authorization: [asked] });
  });
});
